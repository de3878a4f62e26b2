"""Score a model on real photos with truth that it never saw: `python training/evaluate.py --model FILE --truth FOLDER`.

Prediction and two baselines are each aligned to the truth by the scale and shift of inverse depth with the least
squares (Ranftl et al. 2020, section 6), then compared as depth: AbsRel = mean |z - z*| / z*, delta1 = share of pixels
with max(z / z*, z* / z) < 1.25. Baselines: a constant, and a plane that rises with the row (inverse depth = row).
The official numbers of the product are `bench/monocular.py`'s; this steers training. `--model` is an ONNX file or a
checkpoint. FOLDER is laid out as `photos_with_truth` reads it; sets that are missing are left out.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray, float]]
"""(h, w, 3) uint8 -> disparity, log_sigma, sky logit (h, w), log_focal; h and w are multiples of 32."""


@dataclass(frozen=True)
class Truth:
    """One photo and its depth."""

    collection: str
    """Name of the set."""
    rgb: np.ndarray
    """(h, w, 3) uint8."""
    depth: np.ndarray
    """(h, w) metres, NaN where unknown."""
    focal: float
    """Focal length / longer side."""


def _photo(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(path)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _depth_png(path: Path, units_per_m: float, invalid: float = math.inf) -> np.ndarray:
    raw = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float32)
    return np.where((raw > 0) & (raw < invalid), raw / units_per_m, np.nan)


def photos_with_truth(folder: Path, every: int = 5) -> Iterator[Truth]:
    """Read NYU, KITTI, 7-Scenes (each `every`-th frame), motorcycle and idol where they are."""
    nyu = folder / "metric3d_demo/data/nyu_demo"
    for rgb, depth in zip(sorted((nyu / "rgb").glob("*")), sorted((nyu / "depth").glob("*"))):
        yield Truth("nyu", _photo(rgb), _depth_png(depth, 1000), 518.9 / 640)
    kitti = folder / "metric3d_demo/data/kitti_demo"
    for rgb in sorted((kitti / "rgb").glob("*")):
        yield Truth("kitti", _photo(rgb), _depth_png(kitti / "depth" / rgb.name, 256), 707.0 / 1242)
    for rgb in sorted((folder / "rgbd_7scenes/data").glob("*.color.jpg"))[::every]:
        depth = _depth_png(rgb.with_name(rgb.name.replace("color.jpg", "depth.png")), 1000, 65535)
        yield Truth("7scenes", _photo(rgb), depth, 585 / 640)
    motorcycle = folder / "motorcycle_stereo/data"
    if motorcycle.is_dir():
        disparity = np.load(motorcycle / "motorcycle_disp.npz")["arr_0"]
        known = np.isfinite(disparity) & (disparity > 0)
        # Focal length, baseline and offset of the principal points as the set's calibration gives them.
        depth = np.where(known, 994.978 * 0.193001 / (np.where(known, disparity, 1) + 31.086), np.nan)
        yield Truth("motorcycle", _photo(motorcycle / "motorcycle_left.png"), depth, 994.978 / 741)
    for path in sorted((folder / "idol/truth/depth").glob("*.npz")):
        depth = np.load(path)["depth"].astype(np.float32)
        photo = _photo(next((folder / "idol/photos").glob(path.stem + ".*")))
        yield Truth("idol", photo, np.where(depth > 0, depth, np.nan), math.nan)


def network_size(height: int, width: int, pixels: int) -> tuple[int, int]:
    """Multiples of 32 near the photo's shape and about `pixels` in area."""
    scale = math.sqrt(pixels / (height * width))
    return max(32, round(height * scale / 32) * 32), max(32, round(width * scale / 32) * 32)


def onnx_predictor(path: Path, threads: int = 1) -> Predict:
    """Predict with an exported model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def predict(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        image = np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
        names = ["disparity", "log_sigma", "sky", "log_focal"]
        disparity, log_sigma, sky, log_focal = (np.asarray(x) for x in session.run(names, {"image": image}))
        return disparity[0], log_sigma[0], sky[0], float(log_focal[0])

    return predict


def checkpoint_predictor(path: Path) -> Predict:
    """Predict with the running average of a checkpoint."""
    import torch

    from training.export import Exported, load_average

    network = Exported(load_average(path)[0]).eval()

    def predict(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        image = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)[None], np.float32)) / 255
        with torch.no_grad():
            disparity, log_sigma, sky, log_focal = network(image)
        return disparity[0].numpy(), log_sigma[0].numpy(), sky[0].numpy(), float(log_focal[0])

    return predict


def aligned_depth(disparity: np.ndarray, depth: np.ndarray, max_depth: float) -> np.ndarray:
    """Depth of `disparity` after the scale and shift that bring it nearest to 1/depth in the least squares."""
    known = np.isfinite(depth)
    goal = 1.0 / depth[known]
    d = disparity[known].astype(np.float64)
    design = np.stack([d - d.mean(), np.ones_like(d)], 1)
    (scale, shift), *_ = np.linalg.lstsq(design, goal, rcond=None)
    return 1.0 / np.clip((disparity - d.mean()) * scale + shift, 1.0 / max_depth, None)


def score(depth: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """AbsRel and delta1 over known pixels."""
    known = np.isfinite(truth)
    said, true = depth[known], truth[known]
    return float(np.mean(np.abs(said - true) / true)), float(np.mean(np.maximum(said / true, true / said) < 1.25))


def ordinal(disparity: np.ndarray, truth: np.ndarray, seed: int = 0) -> float:
    """Share of random pairs of pixels, of depths that differ by a tenth or more, that are in the right order."""
    rng = np.random.default_rng(seed)
    rows, columns = np.nonzero(np.isfinite(truth))
    a, b = rng.integers(0, len(rows), (2, 20000))
    za, zb = truth[rows[a], columns[a]], truth[rows[b], columns[b]]
    keep = np.maximum(za / zb, zb / za) > 1.1
    right = (disparity[rows[a], columns[a]] > disparity[rows[b], columns[b]]) == (za < zb)
    return float(right[keep].mean())


def predict_photo(predict: Predict, rgb: np.ndarray, pixels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Predict at about `pixels` and bring the maps to the photo's size."""
    height, width = rgb.shape[:2]
    rows, columns = network_size(height, width, pixels)
    small = cv2.resize(rgb, (columns, rows), interpolation=cv2.INTER_AREA)
    *maps, log_focal = predict(small)
    large = [cv2.resize(m, (width, height), interpolation=cv2.INTER_LINEAR) for m in maps]
    return large[0], large[1], large[2], log_focal


def evaluate(predict: Predict, folder: Path, pixels: int, pictures: Path | None = None) -> dict[str, dict[str, float]]:
    """Mean scores of each set: of the model, of a constant, of the row plane; pictures of results on demand."""
    rows: dict[str, list[dict[str, float]]] = {}
    for number, truth in enumerate(photos_with_truth(folder)):
        disparity, log_sigma, sky, log_focal = predict_photo(predict, truth.rgb, pixels)
        max_depth = 4 * float(np.nanmax(truth.depth))
        height, width = truth.depth.shape
        plane = np.repeat(np.linspace(0, 1, height)[:, None], width, 1)
        said = aligned_depth(disparity, truth.depth, max_depth)
        each: dict[str, float] = {}
        contenders = {"model": disparity, "constant": np.zeros_like(plane), "plane": plane}
        for name, guess in contenders.items():
            each[f"{name} absrel"], each[f"{name} delta1"] = score(
                aligned_depth(guess, truth.depth, max_depth), truth.depth
            )
        each["model ordinal"] = ordinal(disparity, truth.depth)
        each["plane ordinal"] = ordinal(plane, truth.depth)
        each["focal ratio"] = math.exp(log_focal) / truth.focal
        error = np.abs(1 / said - 1 / truth.depth)
        known = np.isfinite(error)
        each["doubt rank"] = _rank_correlation(log_sigma[known], error[known])
        rows.setdefault(truth.collection, []).append(each)
        if pictures is not None:
            _draw(pictures / f"{truth.collection}_{number:02d}.png", truth, disparity, log_sigma, sky)
    return {
        name: {key: float(np.mean([each[key] for each in group])) for key in group[0]} for name, group in rows.items()
    }


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    step = max(1, len(a) // 20000)
    ranks = [np.argsort(np.argsort(values[::step])) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def _draw(path: Path, truth: Truth, disparity: np.ndarray, log_sigma: np.ndarray, sky: np.ndarray) -> None:
    """Photo, truth, prediction, doubt and sky in one picture."""

    def coloured(values: np.ndarray, known: np.ndarray) -> np.ndarray:
        low, high = np.percentile(values[known], [1, 99])
        grey = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
        picture = cv2.applyColorMap((grey * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
        return np.where(known[..., None], picture, 90)

    known = np.isfinite(truth.depth)
    everywhere = np.ones_like(known)
    dense = coloured(1 / np.where(known, truth.depth, 1), known)
    if known.mean() < 0.4:
        dense = cv2.dilate(np.where(known[..., None], dense, 0), np.ones((5, 5)))
    parts = [truth.rgb[..., ::-1], dense, coloured(disparity, everywhere), coloured(log_sigma, everywhere)]
    parts.append(cv2.cvtColor((255 / (1 + np.exp(-sky))).astype(np.uint8), cv2.COLOR_GRAY2BGR))
    wide = truth.rgb.shape[1] > 2 * truth.rgb.shape[0]
    size = (520, round(520 * truth.rgb.shape[0] / truth.rgb.shape[1])) if wide else (300, 225)
    small = [cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in parts]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.concatenate(small, 0 if wide else 1))


def main() -> None:
    """Read the command line, evaluate and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="model.onnx or checkpoint.pt")
    parser.add_argument("--truth", type=Path, required=True, help="folder of photos with truth")
    parser.add_argument("--pixels", type=int, default=256 * 320, help="pixels the network sees")
    parser.add_argument("--pictures", type=Path, default=None, help="folder for pictures of the results")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    predict = (onnx_predictor if asked.model.suffix == ".onnx" else checkpoint_predictor)(asked.model)
    table = evaluate(predict, asked.truth, asked.pixels, asked.pictures)
    print(f"{'set':11} {'model':>14} {'constant':>14} {'plane':>14}   order (plane)  focal  doubt")
    for name, row in table.items():
        cells = [f"{row[f'{who} absrel']:.3f} / {row[f'{who} delta1']:.3f}" for who in ("model", "constant", "plane")]
        order = f"{row['model ordinal']:.3f} ({row['plane ordinal']:.3f})"
        print(f"{name:11} {'  '.join(cells)}   {order}  {row['focal ratio']:.2f}  {row['doubt rank']:.2f}")


if __name__ == "__main__":
    main()
