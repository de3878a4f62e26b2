"""Where known things, people above all, are in a photo: RangiLyu, NanoDet, a one-stage detector whose box sides are
expectations over bins (Li et al., "Generalized Focal Loss", NeurIPS 2020, eq. 3). Outlines: `foreground`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from rilievo import weights
from rilievo.errors import InputError
from rilievo.networks import Engine, Network, open_network
from rilievo.stages.tfjs_graph import to_onnx

_NANODET_SIZE, _STRIDES, _BINS = 416, (8, 16, 32), 11
_BGR_MEAN, _BGR_STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
PERSON = 0
"""Class of COCO's 80."""


@dataclass(frozen=True)
class Found:
    """A thing in a photo: box (left, top, right, bottom) in pixels, score 0..1, its class of COCO's 80."""

    box: tuple[float, float, float, float]
    score: float
    label: int


def open_detector(model: bytes | None = None, *, engine: Engine = "cpu", threads: int = 0) -> Network:
    """NanoDet, ready for `detect`. Raises MissingError when its weights are not here, InputError for a damaged file.

    model: the file that `weights.get("nanodet")` names, if not that.
    """
    onnx, outputs = to_onnx(weights.get("nanodet").read_bytes() if model is None else model)
    wanted = {(1, (_NANODET_SIZE // s) ** 2, c) for s in _STRIDES for c in (80, 4 * _BINS)}
    if set(outputs.values()) != wanted:
        raise InputError("this is not the network expected", f"its outputs are {sorted(outputs.values())}")
    return open_network(onnx, engine=engine, threads=threads)


def detect(
    pixels: np.ndarray, network: Network, *, min_score: float = 0.4, labels: tuple[int, ...] = ()
) -> list[Found]:
    """Things in a photo, best first. pixels: uint8 (h, w, 3) RGB.  labels: which classes (none: all).

    The network looks at 416 x 416 pixels: once at the whole photo, and at overlapping quarters of a larger one.
    """
    h, w = pixels.shape[:2]
    looks = [(0, 0, w, h)]
    if min(h, w) > _NANODET_SIZE:
        a, b = round(0.6 * w), round(0.6 * h)
        looks += [(x, y, x + a, y + b) for y in (0, h - b) for x in (0, w - a)]
    passes = [{next(iter(network.inputs)): _look(pixels[y0:y1, x0:x1])} for x0, y0, x1, y1 in looks]
    names = list(network.outputs)
    found: list[Found] = []
    for (x0, y0, x1, y1), out in zip(looks, network.run_all(names, passes)):
        scale = (x1 - x0) / _NANODET_SIZE, (y1 - y0) / _NANODET_SIZE
        for box, score, label in zip(*_decoded(out, min_score)):
            if labels and int(label) not in labels:
                continue
            left, right = (float(np.clip(v * scale[0] + x0, 0, w)) for v in box[[0, 2]])
            top, bottom = (float(np.clip(v * scale[1] + y0, 0, h)) for v in box[[1, 3]])
            cut = (left < x0 + 3 and x0 > 0) or (right > x1 - 3 and x1 < w) or (top < y0 + 3 and y0 > 0)
            if not cut and not (bottom > y1 - 3 and y1 < h):  # a part of a thing: another look has the whole
                found.append(Found((left, top, right, bottom), float(score), int(label)))
    return _distinct(found)


def _look(pixels: np.ndarray) -> np.ndarray:
    small = cv2.resize(pixels, (_NANODET_SIZE, _NANODET_SIZE), interpolation=cv2.INTER_AREA)[..., ::-1]
    x = (small.astype(np.float32) - np.array(_BGR_MEAN, np.float32)) / np.array(_BGR_STD, np.float32)
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None])


def _decoded(outputs: list[np.ndarray], min_score: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (n, 4) in the network's pixels, scores, labels."""
    by_shape = {o.shape[1:]: o[0] for o in outputs}
    boxes, scores, labels = [], [], []
    for stride in _STRIDES:
        side = _NANODET_SIZE // stride
        score, bins = by_shape[side * side, 80], by_shape[side * side, 4 * _BINS]
        label = score.argmax(1)
        best = score.max(1)
        keep = np.flatnonzero(best >= min_score)
        e = bins[keep].reshape(-1, 4, _BINS).astype(np.float64)
        e = np.exp(e - e.max(2, keepdims=True))
        sides = (e / e.sum(2, keepdims=True)) @ np.arange(_BINS) * stride
        x, y = (keep % side + 0.5) * stride, (keep // side + 0.5) * stride
        boxes.append(np.stack([x - sides[:, 0], y - sides[:, 1], x + sides[:, 2], y + sides[:, 3]], 1))
        scores.append(best[keep])
        labels.append(label[keep])
    return np.concatenate(boxes), np.concatenate(scores), np.concatenate(labels)


def _distinct(found: list[Found], most: float = 0.5) -> list[Found]:
    """Best first, without those that share more than `most` of their union with a better one of their class."""
    kept: list[Found] = []
    for f in sorted(found, key=lambda f: (-f.score, f.box)):
        if all(f.label != k.label or _shared(f.box, k.box) <= most for k in kept):
            kept.append(f)
    return kept


def _shared(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)
