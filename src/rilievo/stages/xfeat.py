"""XFeat keypoints and the LighterGlue matcher, run by onnxruntime from graphs that are assembled here.

Potje et al., "XFeat: Accelerated Features for Lightweight Image Matching", CVPR 2024 (network: section 3 and
supplement); Lindenberger et al., "LightGlue: Local Feature Matching at Light Speed", ICCV 2023 (eqs. 1-9).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from rilievo import weights
from rilievo.stages.onnx_graph import Graph
from rilievo.types import Features

_WIDTH, _LAYERS = 96, 6  # of LighterGlue
MAX_SIZE = 1600  # long side at which the network looks: its descriptors see context, not pixels
MAX_POINTS = 2048


def _session(model: bytes) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    # One thread an operator: sums in one order, so the same bytes on every machine with these instructions.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _backbone(t: dict[str, np.ndarray]) -> bytes:
    """x (1, 1, h, w) (multiples of 32) -> features (1, 64, h/8, w/8), cells (1, 65, ..), reliability (1, 1, ..)."""
    g = Graph()

    def plain(x: str, name: str, **attributes: Any) -> str:
        return g.node("Conv", x, g.constant(t[f"{name}.weight"]), g.constant(t[f"{name}.bias"]), **attributes)

    def layer(x: str, name: str, stride: int = 1) -> str:
        w = t[f"{name}.layer.0.weight"]  # batch normalisation without its own parameters, folded into the weights
        scale = 1 / np.sqrt(t[f"{name}.layer.1.running_var"] + 1e-5)
        bias = -t[f"{name}.layer.1.running_mean"] * scale
        pad = (w.shape[-1] - 1) // 2
        args = g.constant(w * scale[:, None, None, None]), g.constant(bias)
        return g.node("Relu", g.node("Conv", x, *args, strides=[stride] * 2, pads=[pad] * 4))

    def block(x: str, name: str, strides: list[int]) -> str:
        for i, stride in enumerate(strides):
            x = layer(x, f"{name}.{i}", stride)
        return x

    def enlarge(x: str, times: int) -> str:
        scales = g.constant(np.array([1, 1, times, times], np.float32))
        return g.node("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")

    x = g.input("x", [1, 1, "h", "w"])
    skip = plain(g.node("AveragePool", x, kernel_shape=[4, 4], strides=[4, 4]), "skip1.1")
    x2 = block(g.node("Add", block(x, "block1", [1, 2, 1, 2]), skip), "block2", [1, 1])
    x3 = block(x2, "block3", [2, 1, 1])
    x4 = block(x3, "block4", [2, 1, 1])
    x5 = block(x4, "block5", [2, 1, 1, 1])
    fused = g.node("Add", g.node("Add", x3, enlarge(x4, 2)), enlarge(x5, 4))
    features = plain(block(fused, "block_fusion", [1, 1]), "block_fusion.2")
    reliability = g.node("Sigmoid", plain(block(features, "heatmap_head", [1, 1]), "heatmap_head.2"))
    cells = g.node("SpaceToDepth", x, blocksize=8)
    logits = plain(block(cells, "keypoint_head", [1, 1, 1]), "keypoint_head.3")
    g.output(features, "features", [1, 64, "h8", "w8"])
    g.output(g.node("Softmax", logits, axis=1), "cells", [1, 65, "h8", "w8"])
    g.output(reliability, "reliability", [1, 1, "h8", "w8"])
    return g.model()


def _matcher(t: dict[str, np.ndarray]) -> bytes:
    """d0 (n, 64), k0 (n, 2) normalised, d1 (m, 64), k1 (m, 2) -> log assignment (n, m)."""
    g = Graph()
    t = {k.removeprefix("matcher."): v for k, v in t.items()}

    def linear(x: str, name: str, rows: slice | None = None) -> str:
        w, b = t[f"{name}.weight"], t[f"{name}.bias"]
        if rows is not None:
            w, b = w[rows], b[rows]
        return g.node("Add", g.node("MatMul", x, g.constant(w.T)), g.constant(b))

    def times(x: str, c: float) -> str:
        return g.node("Mul", x, g.constant(np.array(c, np.float32)))

    def attend(q: str, k: str, v: str) -> str:
        scores = times(g.node("MatMul", q, g.node("Transpose", k, perm=[1, 0])), _WIDTH**-0.5)
        return g.node("MatMul", g.node("Softmax", scores, axis=-1), v)

    def feed(x: str, message: str, name: str) -> str:
        y = linear(g.node("Concat", x, message, axis=-1), f"{name}.0")
        norm = g.constant(t[f"{name}.1.weight"]), g.constant(t[f"{name}.1.bias"])
        y = g.node("LayerNormalization", y, *norm, axis=-1, epsilon=1e-5)
        bell = g.node("Add", g.node("Erf", times(y, 2**-0.5)), g.constant(np.array(1, np.float32)))
        return g.node("Add", x, linear(times(g.node("Mul", y, bell), 0.5), f"{name}.3"))

    # Rotary code: pairs of neighbouring channels turn by an angle that is linear in the place (eq. 8). `turn` is the
    # matrix that maps (a, b) to (-b, a) in each pair, `twice` repeats every angle for its pair.
    turn, twice = np.zeros((_WIDTH, _WIDTH), np.float32), np.zeros((_WIDTH // 2, _WIDTH), np.float32)
    for i in range(_WIDTH // 2):
        turn[2 * i + 1, 2 * i], turn[2 * i, 2 * i + 1] = -1, 1
        twice[i, 2 * i] = twice[i, 2 * i + 1] = 1
    turning, angles = g.constant(turn), g.constant(t["posenc.Wr.weight"].T @ twice)

    def turned(x: str, code: tuple[str, str]) -> str:
        return g.node("Add", g.node("Mul", x, code[0]), g.node("Mul", g.node("MatMul", x, turning), code[1]))

    x, code = [], []
    for i, free in enumerate("nm"):
        d, k = g.input(f"d{i}", [free, 64]), g.input(f"k{i}", [free, 2])
        x.append(linear(d, "input_proj"))
        angle = g.node("MatMul", k, angles)
        code.append((g.node("Cos", angle), g.node("Sin", angle)))
    for n in range(_LAYERS):
        name = f"transformers.{n}.self_attn"
        for i in range(2):
            q, k, v = (linear(x[i], f"{name}.Wqkv", slice(c, None, 3)) for c in range(3))
            message = linear(attend(turned(q, code[i]), turned(k, code[i]), v), f"{name}.out_proj")
            x[i] = feed(x[i], message, f"{name}.ffn")
        name = f"transformers.{n}.cross_attn"
        q, v = [linear(y, f"{name}.to_qk") for y in x], [linear(y, f"{name}.to_v") for y in x]
        messages = [linear(attend(q[i], q[1 - i], v[1 - i]), f"{name}.to_out") for i in range(2)]
        x = [feed(x[i], messages[i], f"{name}.ffn") for i in range(2)]
    name = f"log_assignment.{_LAYERS - 1}"
    p = [times(linear(y, f"{name}.final_proj"), _WIDTH**-0.25) for y in x]
    similarity = g.node("MatMul", p[0], g.node("Transpose", p[1], perm=[1, 0]))
    # log sigmoid(z) = -softplus(-z)
    sure = [g.node("Neg", g.node("Softplus", g.node("Neg", linear(y, f"{name}.matchability")))) for y in x]
    both = g.node("Add", sure[0], g.node("Transpose", sure[1], perm=[1, 0]))
    soft = g.node("Add", g.node("LogSoftmax", similarity, axis=1), g.node("LogSoftmax", similarity, axis=0))
    g.output(g.node("Add", soft, both), "log_assignment", ["n", "m"])
    return g.model()


@cache
def _networks(name: str) -> Any:
    build = {"xfeat": _backbone, "lighterglue": _matcher}[name]
    return _session(build(weights.load_tensors(weights.get(name))))


def detect(pixels: np.ndarray, mask: np.ndarray | None, max_features: int) -> Features:
    """XFeat keypoints of RGB uint8 (h, w, 3): at most max_features and MAX_POINTS, descriptors float32 (n, 64).

    The network answers in whole pixels of a picture of at most MAX_SIZE: places are good to about 1 px of that. Moving
    them to the next corner was measured and did not help (they are not corners). Raises MissingError without weights.
    """
    import cv2

    network = _networks("xfeat")
    full_h, full_w = pixels.shape[:2]
    scale = min(1.0, MAX_SIZE / max(full_h, full_w))
    w, h = max(1, round(full_w * scale)), max(1, round(full_h * scale))
    small = cv2.resize(pixels, (w, h), interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    grey = small.astype(np.float32).mean(axis=2)
    if min(h, w) < 32 or float(grey.std()) < 1e-3:
        return _features(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros((0, 64), np.float32), pixels)
    padded = np.pad(grey, ((0, -h % 32), (0, -w % 32)), mode="edge")
    x = (padded - padded.mean()) / np.sqrt(padded.var() + 1e-5)
    features, cells, reliability = network.run(None, {"x": x[None, None].astype(np.float32)})
    features = features[0] / np.maximum(np.linalg.norm(features[0], axis=0), 1e-12)
    _, hc, wc = features.shape
    heat = cells[0, :64].reshape(8, 8, hc, wc).transpose(2, 0, 3, 1).reshape(hc * 8, wc * 8)
    peak = (heat == cv2.dilate(heat, np.ones((5, 5), np.uint8))) & (heat > 0.05)
    peak[h:], peak[:, w:] = False, False
    if mask is not None:
        peak[:h, :w] &= cv2.resize(mask.astype(np.uint8), (w, h), interpolation=cv2.INTER_NEAREST) > 0
    y, x = np.nonzero(peak)
    # Cells are sampled as the network was trained: places over the extent between the outermost pixel centres.
    u, v = x * (wc / (wc * 8 - 1)) - 0.5, y * (hc / (hc * 8 - 1)) - 0.5
    scores = heat[y, x] * _sample(reliability[0], u, v)[:, 0]
    order = np.argsort(-scores, kind="stable")[: min(max_features, MAX_POINTS)]
    x, y, u, v, scores = x[order], y[order], u[order], v[order], scores[order]
    descriptors = _sample(features, u, v)
    descriptors /= np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-12)
    xy = np.stack([x, y], 1).astype(np.float32)
    xy = (xy + 0.5) * np.array([full_w / w, full_h / h], np.float32)
    return _features(xy.astype(np.float32), scores.astype(np.float32), descriptors.astype(np.float32), pixels)


def _features(xy: np.ndarray, scores: np.ndarray, descriptors: np.ndarray, pixels: np.ndarray) -> Features:
    h, w = pixels.shape[:2]
    at = np.clip(xy.astype(int), 0, [w - 1, h - 1])
    size = np.full(len(xy), 4.0 * max(1.0, max(h, w) / MAX_SIZE), np.float32)
    colors = pixels[at[:, 1], at[:, 0]]
    return Features("xfeat", xy, size, np.zeros(len(xy), np.float32), scores, descriptors, colors)


def _sample(maps: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """maps (c, h, w) at columns u and rows v, linear in between, zero outside: (n, c)."""
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    u, v = u + 1, v + 1
    iu = np.clip(np.floor(u).astype(int), 0, padded.shape[2] - 2)
    iv = np.clip(np.floor(v).astype(int), 0, padded.shape[1] - 2)
    fu, fv = u - iu, v - iv
    top = padded[:, iv, iu] * (1 - fu) + padded[:, iv, iu + 1] * fu
    bottom = padded[:, iv + 1, iu] * (1 - fu) + padded[:, iv + 1, iu + 1] * fu
    return (top * (1 - fv) + bottom * fv).T


def match_learned(features0: Features, features1: Features, *, min_score: float = 0.1) -> np.ndarray:
    """LighterGlue matches of two photos' XFeat features: int32 (m, 2).

    Raises MissingError without the weights.
    """
    if not len(features0.scales) or not len(features1.scales):
        return np.zeros((0, 2), np.int32)
    feed = {}
    for i, f in enumerate((features0, features1)):
        low, high = f.keypoints.min(0), f.keypoints.max(0)
        # Features does not hold the photo's size; the extent of its keypoints comes close.
        feed[f"k{i}"] = ((f.keypoints - (low + high) / 2) / max(float((high - low).max()) / 2, 1.0)).astype(np.float32)
        feed[f"d{i}"] = np.ascontiguousarray(f.descriptors, np.float32)
    score = _networks("lighterglue").run(None, feed)[0]
    best0, best1 = score.argmax(1), score.argmax(0)
    rows = np.arange(len(score))
    keep = (best1[best0] == rows) & (score[rows, best0] > np.log(min_score))
    return np.stack([rows[keep], best0[keep]], 1).astype(np.int32)
