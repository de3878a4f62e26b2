"""Accuracy of depth from one photo on true depth, beside two priors that any model has to beat.

    python bench/monocular.py [--model NAME|FILE.onnx] [--set NAME...] [--data DIR] [--pictures DIR] [--json]

--model: a depth model of `rilievo weights list`, or an ONNX file (default: the one that comes with the product; "none":
the two priors alone).  --set: see SETS (default: all that are there).  --data: folder of the data sets (default:
$RILIEVO_DATA, else ../shared/data beside the repository); the project's own scenes are rendered by tests/scenes.py and
need none. No model is trained on any of them.  --pictures: writes photo, prediction, truth and error of each frame.

Scale and shift are fitted a photo in inverse depth by least squares, depth capped at the set's limit (Ranftl et al.
2020; exactly: rilievo.evaluate.depth); --align median takes their robust fit instead. The priors get the same fit:

    constant   the same depth everywhere
    gradient   inverse depth grows linearly downwards: a level floor under an upright camera

Printed a set: AbsRel, delta1 (within a factor 1.25), order (pairs of pixels ordered rightly), edges (boundary F1 of
Depth Pro; where truth is dense and exact), sky (share of true sky put nearer than the farthest twentieth of the
surface), lost (share of surface called sky), each the mean over the set's photos; gain: how much smaller than with the
better of the two priors AbsRel, 1 - delta1 and 1 - order are (negative: the prior is better).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench"), str(ROOT / "src")]

from rilievo.evaluate import depth as ev  # noqa: E402

# pixels uint8 (h, w, 3) and focal length in px (NaN unknown) -> inverse depth (any size), and where it says sky (None:
# it cannot)
Predict = Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray | None]]
KEPT = ROOT / "build" / "monocular"


@dataclass(frozen=True)
class Frame:
    """A photo with its truth: depth float (h, w), NaN unknown; sky bool (h, w) or None where it is not known."""

    name: str
    pixels: np.ndarray
    depth: np.ndarray
    sky: np.ndarray | None = None
    focal_px: float = float("nan")


@dataclass(frozen=True)
class Set:
    """Frames with one kind of truth. max_depth: the limit that is usual for it, m.  edges: whether truth is dense and
    exact enough for depth jumps to be compared."""

    read: Callable[[Path], Iterator[Frame]]
    max_depth: float
    what: str
    edges: bool = False


def _rgb(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise FileNotFoundError(path)
    return np.ascontiguousarray(picture[..., ::-1])


def _sensor(path: Path, per_metre: float) -> np.ndarray:
    raw = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if raw is None:
        raise FileNotFoundError(path)
    return np.where((raw > 0) & (raw < 65535), raw / per_metre, np.nan)


def _nyu(data: Path) -> Iterator[Frame]:
    place = data / "metric3d_demo/data/nyu_demo"
    for path in sorted((place / "rgb").glob("*.jpg")):
        depth = _sensor(place / "depth" / f"sync_depth_{path.stem.removeprefix('rgb_')}.png", 1000.0)
        inner = np.full_like(depth, np.nan)  # the part that is compared since Eigen et al. 2014
        inner[45:471, 41:601] = depth[45:471, 41:601]
        yield Frame(path.stem, _rgb(path), inner, focal_px=519.0)


def _kitti(data: Path) -> Iterator[Frame]:
    place = data / "metric3d_demo/data/kitti_demo"
    for path in sorted((place / "rgb").glob("*.png")):
        depth = _sensor(place / "depth" / path.name, 256.0)
        h, w = depth.shape
        inner = np.full_like(depth, np.nan)  # the part that is compared since Garg et al. 2016
        part = (slice(int(0.40810811 * h), int(0.99189189 * h)), slice(int(0.03594771 * w), int(0.96405229 * w)))
        inner[part] = depth[part]
        yield Frame(path.stem, _rgb(path), inner, focal_px=707.05)


def _rgbd(data: Path) -> Iterator[Frame]:
    for path in sorted((data / "rgbd_7scenes/data").glob("*.color.jpg")):
        name = path.name.removesuffix(".color.jpg")
        yield Frame(name, _rgb(path), _sensor(path.with_name(f"{name}.depth.png"), 1000.0), focal_px=585.0)


def _motorcycle(data: Path) -> Iterator[Frame]:
    place = data / "motorcycle_stereo/data"
    disparity = np.load(place / "motorcycle_disp.npz")["arr_0"].astype(np.float64)
    # baseline 193.001 mm, focal length 994.978 px, principal points 31.086 px apart (Scharstein et al. 2014)
    depth = np.where(np.isfinite(disparity), 0.193001 * 994.978 / (disparity + 31.086), np.nan)
    yield Frame("motorcycle_left", _rgb(place / "motorcycle_left.png"), depth, focal_px=994.978)


def _idol(data: Path) -> Iterator[Frame]:
    K = json.loads((data / "idol/truth/cameras.json").read_text())["K"]
    for path in sorted((data / "idol/truth/depth").glob("*.npz")):
        depth = np.load(path)["depth"].astype(np.float64)
        yield Frame(path.stem, _rgb(data / f"idol/photos/{path.stem}.jpg"), depth, ~np.isfinite(depth), K[0][0])


def own_scene(name: str, num: int = 3, scale: float = 0.64) -> Iterator[Frame]:
    """Photos of a scene of the benchmark, rendered with their depth at 768 x 512 (kept in build/monocular)."""
    import scene_bench
    from rilievo.types import Camera
    from scenes import make_scene, render

    made_by = _bench_scenes().made_by()[:16]
    shots = scene_bench.SHOTS[name]
    full = shots.camera
    params = full.params.copy()
    params[:4] *= scale
    camera = Camera(full.model, round(full.width * scale), round(full.height * scale), params)
    paths = [KEPT / f"{name}_{k}_{made_by}.npz" for k in range(num)]
    if not all(path.is_file() for path in paths):
        KEPT.mkdir(parents=True, exist_ok=True)
        scene = make_scene(name, shots.seed)
        cameras = shots.cameras(scene.target)
        chosen = np.linspace(0, len(cameras) - 1, num).round().astype(int)
        for path, k in zip(paths, chosen):
            made = render(scene, camera, cameras[k], samples=2, edge_samples=3, seed=int(k))
            with path.with_suffix(".part").open("wb") as file:
                np.savez_compressed(file, pixels=made.pixels, depth=made.depth)
            path.with_suffix(".part").replace(path)
    for k, path in enumerate(paths):
        with np.load(path) as kept:
            depth = kept["depth"].astype(np.float64)
            yield Frame(f"{name}_{k}", kept["pixels"], depth, ~np.isfinite(depth), camera.fx)


def _bench_scenes():
    import importlib.util

    spec = importlib.util.spec_from_file_location("bench_scenes", ROOT / "bench/scenes.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _own(name: str) -> Set:
    return Set(lambda _: own_scene(name), 80.0, "own scene, rendered", edges=True)


# name -> what it holds; a new set is a row here
SETS: dict[str, Set] = {
    "nyu": Set(_nyu, 10.0, "rooms, Kinect depth (Eigen crop)"),
    "kitti": Set(_kitti, 80.0, "street, laser depth (Garg crop)"),
    "7scenes": Set(_rgbd, 10.0, "an office kitchen, Kinect depth"),
    "motorcycle": Set(_motorcycle, 10.0, "structured light, dense", edges=True),
    "idol": Set(_idol, 80.0, "rendered stone on a ring, rods", edges=True),
    **{n: _own(n) for n in ("white_room", "wires", "slanted_ground", "repetitive", "concavity", "village")},
}


def find_model(name: str | None) -> tuple[str, Predict] | None:
    """The model asked for, and what to call it; None for "none" and where no model is there."""
    from rilievo import weights
    from rilievo.errors import InputError, MissingError
    from rilievo.networks import open_network
    from rilievo.stages.monocular import MonocularConfig, photo_depth
    from rilievo.stages.monocular_contracts import CONTRACTS, check_contract

    if name == "none":
        return None
    try:
        if name is not None and name.endswith(".onnx"):
            network, model = open_network(Path(name), engine="cpu", threads=1), ""
            for model in CONTRACTS:  # a file is of the first model whose inputs and outputs it has
                with contextlib.suppress(InputError):
                    check_contract(network, model)
                    break
            label = Path(name).stem
        else:
            label = model = name or "depth-small"
            network = open_network(weights.get(model), engine="cpu", threads=1)
    except (MissingError, InputError) as error:
        if name is not None:
            raise SystemExit(str(error)) from error
        print(f"no model, the priors alone: {error.what}", file=sys.stderr)
        return None

    def predict(pixels: np.ndarray, focal_px: float) -> tuple[np.ndarray, np.ndarray]:
        known = focal_px if np.isfinite(focal_px) else None
        config = MonocularConfig(max_size=0)
        seen = photo_depth(pixels, name=label, model=model, network=network, focal_px=known, config=config)
        return seen.disparity, seen.sky

    return label, predict


def score(frame: Frame, disparity: np.ndarray, called_sky: np.ndarray | None, kind: Set, align: str) -> ev.DepthScore:
    """One prediction on one frame."""
    shape = frame.depth.shape
    config = ev.DepthEvaluateConfig(method=align, max_depth=kind.max_depth)
    called = None if called_sky is None else ev.fit_size(called_sky.astype(np.float32), shape) > 0.5
    found = ev.evaluate_depth(
        ev.fit_size(disparity, shape), frame.depth, sky=frame.sky, called_sky=called, config=config
    )
    return found if kind.edges else replace(found, boundary_f1=float("nan"))


def comparison(frame: Frame, disparity: np.ndarray, kind: Set, align: str) -> np.ndarray:
    """Photo, prediction, truth (bright is near, one scale) and error (red: too near, blue: too far, full at 30 %)."""
    config = ev.DepthEvaluateConfig(method=align, max_depth=kind.max_depth)
    fitted = ev.fit_size(disparity, frame.depth.shape)
    depth = np.where(frame.depth <= kind.max_depth, frame.depth, np.nan)
    aligned = ev.aligned_inverse(fitted, *ev.align_disparity(fitted, depth, method=align), depth, config=config)
    truth = 1.0 / depth
    low, high = np.nanpercentile(truth, [1, 99])
    error = np.clip((aligned * depth - 1.0) / 0.3, -1, 1)

    def look(values: np.ndarray, bottom: float, top: float, colours: int) -> np.ndarray:
        grey = np.nan_to_num(255 * np.clip((values - bottom) / (top - bottom), 0, 1)).astype(np.uint8)
        picture = np.asarray(cv2.applyColorMap(grey, colours)).copy()
        picture[~np.isfinite(values)] = 0
        return picture

    inferno = cv2.COLORMAP_INFERNO
    parts = [frame.pixels[..., ::-1], look(aligned, low, high, inferno), look(truth, low, high, inferno)]
    parts.append(look(error, -1.0, 1.0, cv2.COLORMAP_JET))
    size = (480, round(480 * depth.shape[0] / depth.shape[1]))
    shown = [cv2.resize(np.ascontiguousarray(p), size, interpolation=cv2.INTER_AREA) for p in parts]
    if size[1] * 2 < size[0]:  # wide pictures one above the other
        return np.concatenate(shown)
    return np.concatenate(shown, 1)


def run(name: str, kind: Set, frames: Iterator[Frame], model: tuple[str, Predict] | None, options) -> dict:
    """Scores of a set: {model or prior: mean}."""
    scores: dict[str, list[ev.DepthScore]] = {}
    for frame in frames:
        for prior, make in ev.BASELINES.items():
            scores.setdefault(prior, []).append(score(frame, make(frame.depth.shape), None, kind, options.align))
        if model is None:
            continue
        disparity, called_sky = model[1](frame.pixels, frame.focal_px)
        scores.setdefault(model[0], []).append(score(frame, disparity, called_sky, kind, options.align))
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            picture = comparison(frame, disparity, kind, options.align)
            cv2.imwrite(str(options.pictures / f"{name}_{frame.name}.png"), picture)
    return {who: {**asdict(ev.mean_score(all_of)), "num_photos": len(all_of)} for who, all_of in scores.items()}


# column -> its number; whether less is better
COLUMNS = {"AbsRel": "abs_rel", "delta1": "delta1", "order": "ordinal", "edges": "boundary_f1", "sky": "sky_near",
           "lost": "sky_lost"}  # fmt: skip


def gains(rows: dict, model: str) -> dict[str, float]:
    """How much smaller the model's error is than that of the better prior, as a share of it."""
    out = {}
    for column, key in list(COLUMNS.items())[:3]:
        of = {who: row[key] if key == "abs_rel" else 1.0 - row[key] for who, row in rows.items()}
        least = min(of[p] for p in ev.BASELINES)
        out[column] = 1.0 - of[model] / least if least > 1e-6 else float("nan")  # a prior without an error
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--set", action="append", choices=list(SETS), metavar="NAME", dest="sets")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("RILIEVO_DATA", ROOT.parent / "shared/data")))
    parser.add_argument("--align", default="least squares", choices=list(ev.METHODS))
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    model = find_model(options.model)
    results: dict[str, dict] = {}
    if not options.json:
        print(f"{'set':<16}{'photos':>6}  {'':<14}" + "".join(f"{c:>8}" for c in COLUMNS))
    for name in options.sets or SETS:
        kind = SETS[name]
        try:
            rows = run(name, kind, kind.read(options.data), model, options)
        except FileNotFoundError:
            rows = {}
        if not rows:
            print(f"{name}: not in {options.data}, skipped", file=sys.stderr)
            continue
        results[name] = rows
        if model:
            rows[model[0]]["gain"] = gains(rows, model[0])
        if not options.json:
            _print(name, rows, model[0] if model else None)
    if options.json:
        print(json.dumps(_told(results), indent=1))
    return 0


def _told(value):
    """The same with None for what could not be told."""
    if isinstance(value, dict):
        return {k: _told(v) for k, v in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _print(name: str, rows: dict, model: str | None) -> None:
    for k, (who, row) in enumerate(sorted(rows.items(), key=lambda item: item[0] in ev.BASELINES)):
        first = f"{name:<16}{row['num_photos']:>6}" if k == 0 else " " * 22
        values = "".join(f"{row[key]:8.3f}" if np.isfinite(row[key]) else f"{'-':>8}" for key in COLUMNS.values())
        print(f"{first}  {who[:14]:<14}{values}")
    if model:
        print(
            " " * 24
            + f"{'gain':<14}"
            + "".join(f"{100 * g:7.0f}%" if np.isfinite(g) else f"{'-':>8}" for g in rows[model]["gain"].values())
        )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
