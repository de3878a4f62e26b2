"""LPIPS (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric"), version 0.1.

Features of both pictures after five layers of a classifier, each channel vector of unit length; their squared
differences weighted per channel (weights that people's judgements trained), summed over channels, averaged over places,
summed over layers (eq. 1). The graph is assembled here from the published weights and run by onnxruntime.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from rilievo import weights
from rilievo.errors import InputError, MissingError
from rilievo.networks import Network, open_network
from rilievo.stages.onnx_graph import Graph

# What classifiers saw in training: pixels from -1 to 1, less the mean of ImageNet, over its standard deviation.
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)

# Layers as (number in torchvision's `features`, stride, padding, where features are taken after it); "M": pooling.
_ALEX = [(0, 4, 2, True), "M", (3, 1, 2, True), "M", (6, 1, 1, True), (8, 1, 1, True), (10, 1, 1, True)]
_VGG: list[Any] = [(0, 1, 1, False), (2, 1, 1, True), "M", (5, 1, 1, False), (7, 1, 1, True), "M"]
_VGG += [(10, 1, 1, False), (12, 1, 1, False), (14, 1, 1, True), "M", (17, 1, 1, False), (19, 1, 1, False)]
_VGG += [(21, 1, 1, True), "M", (24, 1, 1, False), (26, 1, 1, False), (28, 1, 1, True)]

NETS: dict[str, tuple[str, str, list[Any], int]] = {
    "alex": ("alexnet", "lpips-alex", _ALEX, 3),
    "vgg": ("vgg16", "lpips-vgg", _VGG, 2),
}
"""net -> the weights of its classifier and of its channels, its layers, the width of its pooling (stride 2)."""


def distance(image: np.ndarray, truth: np.ndarray, net: str) -> float:
    """LPIPS of pictures float (h, w, 3) from 0 to 1. Raises MissingError without the weights."""
    if net not in NETS:
        raise InputError(f"unknown network {net!r} for LPIPS", "", f"known: {', '.join(NETS)}")
    names = NETS[net][:2]
    if missing := [name for name in names if not weights.available(name)]:
        rows = [weights.WEIGHTS[name] for name in missing]
        accept = " --accept-licence" if any(row.terms for row in rows) else ""
        raise MissingError(
            f"LPIPS with {net!r} needs weights that are not on this machine",
            "; ".join(f"{name}: {row.size / 1e6:.1f} MB, {row.licence}" for name, row in zip(missing, rows)),
            f"Get them with: rilievo weights get {' '.join(missing)}{accept}",
        )
    network = _network(net, *(str(weights.get(name)) for name in names))
    x, y = (np.ascontiguousarray((2 * p - 1).transpose(2, 0, 1)[None], np.float32) for p in (image, truth))
    return float(network.run(["distance"], {"image": x, "truth": y})[0].reshape(()))


@lru_cache(2)
def _network(net: str, classifier: str, heads: str) -> Network:
    tensors = weights.load_tensors(Path(classifier)), weights.load_tensors(Path(heads))
    try:
        return open_network(build(net, *tensors), engine="cpu", threads=1)
    except KeyError as e:
        what = f"the weights for LPIPS with {net!r} are of another network"
        raise InputError(what, f"they have no tensor {e}") from e


def build(net: str, classifier: dict[str, np.ndarray], heads: dict[str, np.ndarray]) -> bytes:
    """An ONNX model: image, truth (1, 3, h, w) from -1 to 1 -> distance (1, 1, 1, 1).

    classifier: torchvision's state (features.N.weight, .bias).  heads: lpips' state (linN.model.1.weight).
    """
    _, _, layers, pool = NETS[net]
    g = Graph()
    scale = [g.constant(np.array(v, np.float32).reshape(1, 3, 1, 1)) for v in (_SHIFT, _SCALE)]
    constants: dict[int, tuple[str, str]] = {}

    def features(x: str) -> list[str]:
        x = g.node("Div", g.node("Sub", x, scale[0]), scale[1])
        taken = []
        for layer in layers:
            if layer == "M":
                x = g.node("MaxPool", x, kernel_shape=[pool] * 2, strides=[2, 2])
                continue
            number, stride, padding, take = layer
            if number not in constants:
                weight, bias = (classifier[f"features.{number}.{part}"] for part in ("weight", "bias"))
                constants[number] = g.constant(weight), g.constant(bias)
            x = g.node("Relu", g.node("Conv", x, *constants[number], strides=[stride] * 2, pads=[padding] * 4))
            if take:
                length = g.node("ReduceL2", x, axes=[1], keepdims=1)
                taken.append(g.node("Div", x, g.node("Add", length, tiny)))
        return taken

    tiny = g.constant(np.full((1, 1, 1, 1), 1e-10, np.float32))
    image, truth = (features(g.input(n, [1, 3, "h", "w"])) for n in ("image", "truth"))
    total = ""
    for i, (a, b) in enumerate(zip(image, truth)):
        difference = g.node("Sub", a, b)
        weighted = g.node("Conv", g.node("Mul", difference, difference), g.constant(heads[f"lin{i}.model.1.weight"]))
        mean = g.node("ReduceMean", weighted, axes=[2, 3], keepdims=1)
        total = g.node("Add", total, mean) if total else mean
    g.output(total, "distance", [1, 1, 1, 1])
    return g.model()
