"""Whether prepared photos are better for geometry than their originals: measured, by the product's own matching.

The same pairs of photos are matched before and after, with the settings that `rilievo build` uses. All lengths are told
in pixels of the originals, so that a larger copy cannot look more precise than it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import AlignmentError, InputError
from rilievo.io.photos import Photo, Source, find_photos, load_mask, load_pixels, read_photo
from rilievo.mappers import map_threads
from rilievo.plan import BuildSettings, Run
from rilievo.preparing.settings import MANIFEST, MASKS, PHOTOS, write_json
from rilievo.stages.features import FeaturesConfig, extract
from rilievo.stages.matches import MatchesConfig, guess_camera, match
from rilievo.types import Features

MAX_PAIRS = 8
MAX_LOSS, MAX_WORSE = 0.03, 0.05
"""More inliers lost, or a residual larger by more than this share, is worse; a gain must exceed it to be one."""


@dataclass(frozen=True)
class PairScore:
    """One pair of photos. inlier_ratio: verified of all matches.  residual_px: median distance from the epipolar line,
    in pixels of the original photos, of the verified matches.  accurate: verified matches within half such a pixel."""

    features: int
    matches: int
    inliers: int
    accurate: int
    residual_px: float


def prove_set(
    paths: Iterable[Path | str], out: Path, manifest: dict[str, Any], *, run: Run = Run(), truth: Path | None = None
) -> dict[str, Any]:
    """Matches up to MAX_PAIRS pairs before and after, compares, and advises; written into OUT/prepared.json.

    truth: also builds a draft from both, and compares surfaces with this truth. Raises InputError with fewer than two
    photos.
    """
    originals = {s.name: s for s in find_photos(paths)}
    records = [r for r in manifest["photos"] if r["name"] in originals]
    if len(records) < 2:
        raise InputError(
            "nothing can be proved", f"{len(records)} photo was prepared and a pair has two", "prepare the whole set"
        )
    names = [r["name"] for r in records]
    before = {n: originals[n] for n in names}
    after = {r["name"]: _after(out, r) for r in records}
    scales = {r["name"]: float(r["scale"]) for r in records}
    pairs = choose_pairs(names)
    scores: dict[str, list[PairScore]] = {}
    for what, sources, scale in (("before", before, dict.fromkeys(names, 1.0)), ("after", after, scales)):
        scores[what] = score_pairs(sources, pairs, scale, run, what)
    proof: dict[str, Any] = {"pairs": [list(p) for p in pairs], **compare(scores["before"], scores["after"])}
    if truth is not None:
        proof["surface"] = {
            k: _build_and_compare(v, out, k, truth, run) for k, v in (("before", before), ("after", after))
        }
        proof["good_for_geometry"], proof["advice"] = _with_surface(proof)
    proof["lines"] = _lines(proof)
    write_json(out / MANIFEST, {**manifest, "proof": proof})
    return proof


def _after(out: Path, record: dict[str, Any]) -> Source:
    mask = out / record["mask"] if record["mask"] else None
    return Source(record["file"].removeprefix(f"{PHOTOS}/"), out / record["file"], mask)


def choose_pairs(names: list[str]) -> list[tuple[str, str]]:
    """Neighbours in order and every second one, spread over the set, at most MAX_PAIRS."""
    every = [(names[i], names[i + k]) for i in range(len(names)) for k in (1, 2) if i + k < len(names)]
    if len(every) <= MAX_PAIRS:
        return every
    return [every[round(i * (len(every) - 1) / (MAX_PAIRS - 1))] for i in range(MAX_PAIRS)]


def score_pairs(
    sources: dict[str, Source], pairs: list[tuple[str, str]], scales: dict[str, float], run: Run, what: str
) -> list[PairScore]:
    """Features, matches and residuals of each pair; coordinates are divided by the photo's scale first."""
    wanted = list(dict.fromkeys(n for p in pairs for n in p))
    config = FeaturesConfig()

    def find(name: str) -> tuple[Photo, Features]:
        photo = read_photo(sources[name])
        mask = load_mask(sources[name])
        found = extract(load_pixels(sources[name]), name=name, mask=mask, config=config)
        s = scales[name]
        small = replace(photo, width=round(photo.width / s), height=round(photo.height / s))
        if photo.focal_px:
            small = replace(small, focal_px=photo.focal_px / s)
        return small, replace(found, keypoints=found.keypoints / np.float32(s))

    known: dict[str, tuple[Photo, Features]] = {}
    for name, value in zip(wanted, map_threads(find, wanted, max(1, run.num_threads))):
        known[name] = value
        run.progress(f"proof: keypoints {what}", len(known), len(wanted))
    return [_score(known[a], known[b], a, b) for a, b in pairs]


def _score(first: tuple[Photo, Features], second: tuple[Photo, Features], name0: str, name1: str) -> PairScore:
    (photo0, f0), (photo1, f1) = first, second
    cameras = guess_camera(photo0)[0], guess_camera(photo1)[0]
    found = match(name1, f1, [(name0, f0, cameras[0])], cameras[1], config=MatchesConfig())
    a, b = f0.keypoints[found.matches[:, 0]], f1.keypoints[found.matches[:, 1]]
    residual = epipolar_residuals(a, b)
    count = len(f0.keypoints) + len(f1.keypoints)
    if not len(residual):
        return PairScore(count, int(found.num_raw[0]), len(a), 0, float("nan"))
    accurate = int((residual < 0.5).sum())
    return PairScore(count, int(found.num_raw[0]), len(a), accurate, float(np.median(residual)))


def epipolar_residuals(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sampson distance, px, of each match from the fundamental matrix that fits them all best (least squares with large
    residuals damped); empty for fewer than 12."""
    import cv2

    if len(a) < 12:
        return np.zeros(0)
    x, y = a.astype(np.float64), b.astype(np.float64)
    F, _ = cv2.findFundamentalMat(x, y, cv2.FM_LMEDS)
    if F is None or F.shape != (3, 3):
        return np.zeros(0)
    for _ in range(10):
        distance = _sampson(F, x, y)
        near = distance < max(2.5 * float(np.median(distance)) / 0.6745, 0.2)
        if near.sum() < 12:
            break
        F, _ = cv2.findFundamentalMat(x[near], y[near], cv2.FM_8POINT)
        if F is None or F.shape != (3, 3):
            return np.zeros(0)
    return _sampson(F, x, y)


def _sampson(F: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    ah, bh = np.c_[a, np.ones(len(a))], np.c_[b, np.ones(len(b))]
    l1, l0 = ah @ F.T, bh @ F
    return np.abs((bh * l1).sum(1)) / np.sqrt(np.maximum((l1[:, :2] ** 2).sum(1) + (l0[:, :2] ** 2).sum(1), 1e-30))


def compare(before: list[PairScore], after: list[PairScore]) -> dict[str, Any]:
    """Sums over pairs and a verdict in words."""
    figures = {}
    for key, scores in (("before", before), ("after", after)):
        weights = np.array([s.inliers for s in scores], np.float64)
        residuals = np.array([s.residual_px for s in scores])
        known = np.isfinite(residuals) & (weights > 0)
        mean = float((residuals[known] * weights[known]).sum() / weights[known].sum()) if known.any() else None
        matches = sum(s.matches for s in scores)
        figures[key] = {
            "features": sum(s.features for s in scores),
            "matches": matches,
            "inliers": sum(s.inliers for s in scores),
            "inlier_ratio": round(sum(s.inliers for s in scores) / max(matches, 1), 4),
            "accurate": sum(s.accurate for s in scores),
            "residual_px": None if mean is None else round(mean, 4),
        }
    good, advice = verdict(figures["before"], figures["after"])
    return {**figures, "good_for_geometry": good, "advice": advice}


def verdict(before: dict[str, Any], after: dict[str, Any]) -> tuple[bool, str]:
    """(whether the copies may be used for geometry, why). Only what is measurably better is recommended."""
    if not before["inliers"] and not after["inliers"]:
        return False, "no pair could be verified before or after: nothing is proved, use the originals"
    inliers = after["inliers"] / max(before["inliers"], 1) - 1
    accurate = after["accurate"] / max(before["accurate"], 1) - 1
    if before["residual_px"] is None or after["residual_px"] is None:
        residual = 0.0 if after["residual_px"] is not None else 1.0
    else:
        residual = after["residual_px"] / max(before["residual_px"], 1e-6) - 1
    parts = {"verified matches": inliers, "those within half a pixel": accurate, "residual": residual}
    told = ", ".join(f"{what} {100 * share:+.0f} %" for what, share in parts.items())
    if inliers < -MAX_LOSS or accurate < -MAX_LOSS or residual > MAX_WORSE:
        return False, f"{told}: worse, use the originals for geometry (the copies for people and textures)"
    if accurate > MAX_LOSS and residual < MAX_WORSE / 2:
        return True, f"{told}: better in matching, the copies may be tried for geometry (--truth compares surfaces)"
    return False, f"{told}: no clear gain, use the originals for geometry"


def _build_and_compare(sources: dict[str, Source], out: Path, what: str, truth: Path, run: Run) -> dict[str, Any]:
    """A draft from these photos against truth; None in place of figures where they form no scene."""
    from rilievo.evaluate import evaluate
    from rilievo.io.truth import load_truth
    from rilievo.pipelines import photos_to_mesh

    house = out / "proof" / what
    folders = {s.path.parent for s in sources.values()}
    masks = out / MASKS if what == "after" and any(s.mask for s in sources.values()) else None
    paths = sorted(folders) if len(folders) == 1 else sorted(s.path for s in sources.values())
    try:
        project = photos_to_mesh(paths, house, masks=masks, settings=BuildSettings(quality="draft"), run=run)
        result = evaluate(
            project.named("cameras"), project.named("cloud"), project.named("mesh"), load_truth(truth)
        ).to_json()
    except AlignmentError as error:
        return {"placed": 0, "f1": None, "why": error.what}
    mesh = result["mesh"]
    return {
        "placed": result["cameras"]["num_placed"],
        "center_rmse_gsd": result["cameras"].get("center_rmse_gsd"),
        "thresholds_gsd": mesh and mesh["thresholds_gsd"],
        "f1": mesh and mesh["f1"],
    }


def _with_surface(proof: dict[str, Any]) -> tuple[bool, str]:
    """The verdict, the surface having the last word: any threshold that falls counts, a gain must be at the finest."""
    before, after = (proof["surface"][k]["f1"] for k in ("before", "after"))
    if not before or not after:
        worse = bool(before)
        which = "only the originals form" if worse else "only the copies form" if after else "neither forms"
        return bool(after), f"{which} a surface"
    steps = proof["surface"]["before"]["thresholds_gsd"]
    told = ", ".join(f"{b:.3f} -> {a:.3f} within {t:g} gsd" for b, a, t in zip(before, after, steps))
    told = f"F1 of the surface {told}"
    if any(a < b - 0.01 for b, a in zip(before, after)):
        return False, f"{told}: worse, use the originals for geometry"
    if after[0] > before[0] + 0.01:
        return True, f"{told}: better, the copies may be used for geometry"
    return False, f"{told}: no difference, use the originals for geometry"


def _lines(proof: dict[str, Any]) -> list[str]:
    b, a = proof["before"], proof["after"]
    residual = [f"{v['residual_px']:.3f} px" if v["residual_px"] is not None else "none" for v in (b, a)]
    lines = [
        f"proof         {len(proof['pairs'])} pairs: features {b['features']} -> {a['features']}, verified matches"
        f" {b['inliers']} -> {a['inliers']} ({100 * b['inlier_ratio']:.0f} -> {100 * a['inlier_ratio']:.0f} % of all),"
        f" residual {residual[0]} -> {residual[1]} of the original"
    ]
    lines.append(f"advice        {proof['advice']}")
    return lines
