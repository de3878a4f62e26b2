"""Are lengths in one photo as good as they say? Measured after two references, held against truth.

    python bench/lengths.py [--model NAME|FILE.onnx] [--set NAME...] [--trials N] [--focal given|guessed] [--data DIR]
                            [--click PX] [--json]
    python bench/lengths.py --tune [--set NAME...]

Each trial takes a photo of the set in turn, two references at random pixels (by turns two known depths, two known
lengths, and one of each), and measures a length between two more random pixels: by turns anywhere in the photo, and 5
to 25 % of its diagonal apart. Truth is the set's depth map; every pixel that it knows is as likely.

  within    share of lengths whose error is at most the plus-minus that is printed (meant: 95 %, asked: 90 %)
  error     median of |length - truth| / truth
  +-        median of plus-minus / length
  refused   trials in which the references were said to contradict each other, or the pixel to have no depth

--focal given: the camera's true focal length, as EXIF would have it; guessed: what network and vanishing points say.
--click: pixels of every reference and end are off by this standard deviation.  --model: as in bench/monocular.py.

--tune prints what a row of SHAPE_ERRORS in stages/scale_error.py is made from: errors of log depth after the best
scale and shift, their size by photo, how alike they are by distance and by depth ratio, how they follow sigma, and
the contrast of depth. The rows were tuned on every set but 7scenes and motorcycle, on which they are judged.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench"), str(ROOT / "src")]

from monocular import SETS, Frame  # noqa: E402
from rilievo.errors import RilievoError  # noqa: E402
from rilievo.stages.references import KnownDepth, KnownLength, Reference  # noqa: E402
from rilievo.stages.scale import fit_scale, length_between, plus_minus  # noqa: E402
from rilievo.stages.scale_error import Field, look_up  # noqa: E402
from rilievo.stages.scale_points import line_through  # noqa: E402
from rilievo.types import PhotoDepth  # noqa: E402

JUDGED = ("7scenes", "motorcycle")
KINDS = ("depths", "lengths", "both")


@dataclass(frozen=True)
class Seen:
    """A frame with what the network made of it."""

    frame: Frame
    photo_depth: PhotoDepth

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the photo."""
        h, w = self.frame.depth.shape
        return w, h


def predictions(name: str, data: Path, model: str | None, focal: str, most: int) -> Iterator[Seen]:
    """Photos of a set, at most `most` of them spread evenly, with the network's depth."""
    from rilievo import weights
    from rilievo.networks import open_network
    from rilievo.stages.monocular import MonocularConfig, photo_depth

    frames = list(SETS[name].read(data))
    chosen = [frames[k] for k in np.unique(np.linspace(0, len(frames) - 1, most).round().astype(int))]
    if model is not None and model.endswith(".onnx"):
        row, path = "depth-small", Path(model)
    else:
        row = model or "depth-small"
        path = weights.get(row)
    network = open_network(path, engine="cpu", threads=1)
    for frame in chosen:
        known = frame.focal_px if focal == "given" else None
        found = photo_depth(
            frame.pixels, name=frame.name, model=row, network=network, focal_px=known, focal_source="given",
            config=MonocularConfig(max_size=768),
        )  # fmt: skip
        h, w = frame.depth.shape
        if frame.pixels.shape[:2] != (h, w):
            raise ValueError(f"{name}: photo and truth differ in size")
        yield Seen(frame, found)


# --- trials -----------------------------------------------------------------------------------------------------------


def points(frame: Frame, xy: np.ndarray) -> np.ndarray:
    """True points (n, 3) at pixels (n, 2)."""
    z = frame.depth[xy[:, 1].astype(int), xy[:, 0].astype(int)]
    h, w = frame.depth.shape
    return np.concatenate([(xy - [w / 2, h / 2]) / frame.focal_px, np.ones((len(xy), 1))], 1) * z[:, None]


def draw(frame: Frame, rng: np.random.Generator, num: int) -> np.ndarray:
    """Centres of known pixels (num, 2)."""
    h, w = frame.depth.shape
    while True:
        xy = rng.integers(0, [w, h], (40 * num, 2))
        known = xy[np.isfinite(frame.depth[xy[:, 1], xy[:, 0]])]
        if len(known) >= num:
            return known[:num] + 0.5


def trial(seen: Seen, rng: np.random.Generator, number: int, click: float) -> tuple[float, float, float]:
    """(length, plus-minus, truth)."""
    frame = seen.frame
    xy = draw(frame, rng, 6)
    if number % 2:
        diagonal = float(np.hypot(*seen.size))
        others = draw(frame, rng, 300)
        distance = np.linalg.norm(others - xy[4], axis=1) / diagonal
        close = others[(distance > 0.05) & (distance < 0.25)]
        if len(close):
            xy[5] = close[0]
    x = points(frame, xy)
    shown = xy + click * rng.normal(size=xy.shape)
    shown = np.clip(shown, 0.5, np.array(seen.size) - 0.5)

    def at(k: int) -> tuple[float, float]:
        return float(shown[k, 0]), float(shown[k, 1])

    def length(i: int, j: int) -> Reference:
        return KnownLength(at(i), at(j), float(np.linalg.norm(x[i] - x[j])))

    def depth(i: int) -> Reference:
        return KnownDepth(at(i), float(x[i, 2]))

    kind = KINDS[number % 3]
    given = {"depths": [depth(0), depth(1)], "lengths": [length(0, 1), length(2, 3)], "both": [depth(0), length(2, 3)]}
    fit = fit_scale(seen.photo_depth, given[kind], photo_size=seen.size)
    found, sigma = length_between(seen.photo_depth, fit, at(4), at(5), photo_size=seen.size)
    return found, plus_minus(found, sigma), float(np.linalg.norm(x[4] - x[5]))


def judge(photos: list[Seen], trials: int, click: float, seed: int = 0) -> dict:
    """The figures of one set."""
    rows, refused = [], 0
    for k in range(trials):
        rng = np.random.default_rng([seed, k])
        try:
            rows.append((*trial(photos[k % len(photos)], rng, k, click), k))
        except RilievoError:
            refused += 1
    length, spread, truth, number = np.array(rows).T
    within = np.abs(length - truth) <= spread
    out = {
        "within": float(within.mean()),
        "error": float(np.median(np.abs(length - truth) / truth)),
        "plus_minus": float(np.median(spread / length)),
        "refused": refused,
        "trials": trials,
        "within near": float(within[number % 2 == 1].mean()),
        "within far": float(within[number % 2 == 0].mean()),
    }
    for i, kind in enumerate(KINDS):
        out[f"within {kind}"] = float(within[number % 3 == i].mean())
    return out


# --- tuning -----------------------------------------------------------------------------------------------------------


def residuals(seen: Seen, rng: np.random.Generator, num: int = 1500):
    """Places, errors of log depth after the best scale and shift, and that scale and shift."""
    xy = draw(seen.frame, rng, num)
    z = points(seen.frame, xy)[:, 2]
    scale = seen.photo_depth.camera.width / seen.size[0]
    places = look_up(seen.photo_depth, xy * scale)
    good = np.isfinite(places.disparity)
    places, z = places.rows(good), z[good]
    a, b = line_through(places.disparity, 1 / z, shifted=seen.photo_depth.scale == "relative")
    inverse = a * places.disparity + b
    good = inverse > 0.05 / np.median(z)
    return places.rows(good), np.log(z[good]) + np.log(inverse[good]), a, b, 1 - good.mean()


def tune(name: str, photos: list[Seen]) -> list[dict]:
    """Figures of each photo."""
    out = []
    for number, seen in enumerate(photos):
        rng = np.random.default_rng(number)
        places, error, a, b, lost = residuals(seen, rng)
        field = replace(Field.of(seen.photo_depth, a, b))
        inverse = a * places.disparity + b
        low, high = np.quantile(inverse, [0.01, 0.99])
        i, j = rng.integers(0, len(error), (2, 60000))
        distance = np.linalg.norm(places.xy[i] - places.xy[j], axis=1) / field.diagonal
        apart = np.abs(np.log(inverse[i] / inverse[j]))
        calm = (places.ripple * a / inverse) < 0.03
        level = 1.4826 * np.median(np.abs(error - np.median(error)))
        centred = np.clip(error - np.median(error), -4 * level, 4 * level)
        product = centred[i] * centred[j] / np.mean(centred**2)
        near = calm[i] & calm[j] & (apart < 0.15)
        edges = [0.002, 0.01, 0.02, 0.04, 0.07, 0.12, 0.2, 0.3, 0.45, 0.7]
        alike = [_mean(product[near & (distance >= lo) & (distance < hi)]) for lo, hi in itertools.pairwise(edges)]
        close = calm[i] & calm[j] & (distance < 0.15)
        steps = [0, 0.1, 0.2, 0.4, 0.7, 1.1, 2]
        ratio = [_mean(product[close & (apart >= lo) & (apart < hi)]) for lo, hi in itertools.pairwise(steps)]
        relative = a * places.sigma / inverse
        order = np.argsort(relative, kind="stable")
        fifths = [float(np.sqrt(np.mean(centred[part] ** 2)) / level) for part in np.array_split(order, 5)]
        sigmas = [float(np.median(relative[part])) for part in np.array_split(order, 5)]
        out.append(
            {
                "photo": f"{name}/{seen.frame.name}", "level": float(np.std(centred)), "robust": float(level),
                "lost": float(lost), "contrast": float(np.log(max(high / low - 1, 1e-3))), "alike": alike,
                "ratio": ratio, "by_sigma": fifths, "sigmas": sigmas,
                "shift": float(b / (a * np.median(places.disparity))),
            }
        )  # fmt: skip
    return out


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) >= 30 else float("nan")


# --- the program ------------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--set", action="append", choices=list(SETS), metavar="NAME", dest="sets")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--focal", choices=("given", "guessed"), default="given")
    parser.add_argument("--click", type=float, default=0.0)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("RILIEVO_DATA", ROOT.parent / "shared/data")))
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    sets = options.sets or ([s for s in SETS if s not in JUDGED] if options.tune else list(JUDGED))
    results: dict[str, object] = {}
    if not (options.json or options.tune):
        print(
            f"{'set':<16}{'trials':>7}{'within':>8}{'error':>8}{'+-':>8}{'refused':>9}   near   far   "
            + "  ".join(KINDS)
        )
    for name in sets:
        try:
            photos = list(predictions(name, options.data, options.model, options.focal, options.photos))
        except FileNotFoundError as missing:
            print(f"{name}: {missing} is not there, skipped", file=sys.stderr)
            continue
        if not photos:
            print(f"{name}: not in {options.data}, skipped", file=sys.stderr)
            continue
        if options.tune:
            rows = tune(name, photos)
            results[name] = rows
            if not options.json:
                for row in rows:
                    print(_spell_row(row))
            continue
        found = judge(photos, options.trials, options.click)
        results[name] = found
        if not options.json:
            print(
                f"{name:<16}{found['trials']:>7}{found['within']:>8.1%}{found['error']:>8.1%}{found['plus_minus']:>8.1%}"
                f"{found['refused']:>9}{found['within near']:>7.0%}{found['within far']:>6.0%}"
                + "".join(f"{found[f'within {k}']:>8.0%}" for k in KINDS)
            )
            sys.stdout.flush()
    if options.json:
        print(json.dumps(results, indent=1))
    return 0


def _spell_row(row: dict) -> str:
    def many(values: list[float]) -> str:
        return " ".join("    -" if not np.isfinite(v) else f"{v:5.2f}" for v in values)

    return (
        f"{row['photo']:<28} level {row['level']:.3f} ({row['robust']:.3f}) lost {row['lost']:.2f} "
        f"contrast {row['contrast']:5.2f} shift {row['shift']:5.2f}\n    alike {many(row['alike'])}  "
        f"by ratio {many(row['ratio'])}\n    by sigma {many(row['by_sigma'])}  sigmas {many(row['sigmas'])}"
    )


if __name__ == "__main__":
    sys.exit(main())
