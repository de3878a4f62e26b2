"""Small networks with the signatures of real ones, whose answer is known: a photo's red channel is its disparity."""

from __future__ import annotations

import numpy as np

from rilievo.stages.onnx_graph import Graph

F32 = np.float32


def _channel(g: Graph, x: str, index: int, smear: int) -> str:
    """(1, H, W): one channel, averaged over smear x smear pixels."""
    w = np.zeros((1, 3, 1, 1), F32)
    w[0, index] = 1
    y = g.node("Conv", x, g.constant(w))
    if smear > 1:
        y = g.node("AveragePool", y, kernel_shape=[smear, smear], strides=[1, 1], pads=[smear // 2] * 4)
    return g.node("Squeeze", y, g.constant(np.array([1], np.int64)))


def _times(g: Graph, x: str, a: float, b: float = 0.0) -> str:
    return g.node("Add", g.node("Mul", x, g.constant(np.array(a, F32))), g.constant(np.array(b, F32)))


def _mean(g: Graph, x: str) -> str:
    """(1,), times nothing: gives a shape."""
    return g.node("ReduceMean", x, axes=[1, 2], keepdims=0)


def depth_small(*, smear: int = 5, drift: float = 0.0, focal: float = 1.1) -> bytes:
    """disparity = (1 + drift * mean blue) * red + drift * mean green; sky where red is 0."""
    g = Graph()
    x = g.input("image", [1, 3, "h", "w"])
    red = _channel(g, x, 0, smear)
    d = red
    if drift:
        scale = g.node("ReduceMean", _channel(g, x, 2, 1), axes=[1, 2], keepdims=1)
        shift = g.node("ReduceMean", _channel(g, x, 1, 1), axes=[1, 2], keepdims=1)
        d = g.node("Add", g.node("Mul", d, _times(g, scale, drift, 1.0)), _times(g, shift, drift))
    g.output(d, "disparity", [1, "h", "w"])
    g.output(_times(g, red, 0.0, -2.0), "log_sigma", [1, "h", "w"])
    g.output(_times(g, red, -1000.0, 10.0), "sky", [1, "h", "w"])
    g.output(_times(g, _mean(g, red), 0.0, float(np.log(focal))), "log_focal", [1])
    return g.model()


def depth_anything(*, smear: int = 1) -> bytes:
    """predicted_depth = red, from a photo normalised as ImageNet's."""
    g = Graph()
    x = g.input("pixel_values", ["n", 3, "h", "w"])
    g.output(_times(g, _channel(g, x, 0, smear), 0.229, 0.485), "predicted_depth", ["n", "h", "w"])
    return g.model()


def metric3d(*, canonical: float = 10.0) -> bytes:
    """predicted_depth = canonical * red, as a camera of 1000 px would see it; (1, 1, H, W) like some exports."""
    g = Graph()
    x = g.input("pixel_values", ["n", 3, "h", "w"])
    red = _times(g, _channel(g, x, 0, 1), 0.229 * canonical, 0.485 * canonical)
    depth = g.node("Unsqueeze", red, g.constant(np.array([1], np.int64)))
    g.output(depth, "predicted_depth", ["n", 1, "h", "w"])
    g.output(_times(g, depth, 0.0), "normal_confidence", ["n", 1, "h", "w"])
    return g.model()


def moge(*, shift: float, metric_scale: float, focal: float) -> bytes:
    """Points of depth (1 + red) less `shift`, for a camera of `focal` times the picture's width; mask where green."""
    g = Graph()
    x = g.input("image", ["n", 3, "h", "w"])
    tokens = g.input("num_tokens", [], integer=True)
    z = _times(g, _channel(g, x, 0, 1), 1.0, 1.0)
    shape = g.node("Shape", z)
    one = g.node("Cast", g.node("Mul", tokens, g.constant(np.array(0, np.int64))), to=1)
    ones = g.node("Expand", g.node("Add", one, g.constant(np.array(1, F32))), shape)
    half = g.constant(np.array(0.5, F32))
    width = g.node("Cast", g.node("Gather", shape, g.constant(np.array([2], np.int64)), axis=0), to=1)
    cols = g.node("CumSum", ones, g.constant(np.array(2, np.int64)))
    rows = g.node("CumSum", ones, g.constant(np.array(1, np.int64)))
    height = g.node("Cast", g.node("Gather", shape, g.constant(np.array([1], np.int64)), axis=0), to=1)
    u = g.node("Sub", g.node("Sub", cols, half), g.node("Mul", width, half))
    v = g.node("Sub", g.node("Sub", rows, half), g.node("Mul", height, half))
    f = g.node("Mul", width, g.constant(np.array(focal, F32)))
    axis = g.constant(np.array([3], np.int64))
    xyz = [
        g.node("Div", g.node("Mul", u, z), f),
        g.node("Div", g.node("Mul", v, z), f),
        _times(g, z, 1.0, -shift),
    ]
    points = g.node("Concat", *(g.node("Unsqueeze", p, axis) for p in xyz), axis=3)
    g.output(points, "points", ["n", "h", "w", 3])
    g.output(_channel(g, x, 1, 1), "mask", ["n", "h", "w"])
    g.output(_times(g, _mean(g, z), 0.0, metric_scale), "scale", ["n"])
    return g.model()


def depth_anything_costs(*, layers: int = 12, width: int = 384, features: int = 64, seed: int = 0) -> bytes:
    """A network of the signature and about the arithmetic of Depth Anything V2 Small (ViT-S/14 with a DPT head), with
    random weights: what it answers is noise, what it takes in time and memory is real."""
    rng = np.random.default_rng(seed)
    g = Graph()
    x = g.input("pixel_values", ["n", 3, "h", "w"])

    def weight(*shape: int) -> str:
        return g.constant((rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(F32))

    def conv(y: str, inputs: int, outputs: int, kernel: int, stride: int = 1) -> str:
        pad = kernel // 2 if stride == 1 else 0
        return g.node("Conv", y, weight(outputs, inputs, kernel, kernel), strides=[stride] * 2, pads=[pad] * 4)

    def sized(y: str, factor: float) -> str:
        scales = g.constant(np.array([1, 1, factor, factor], F32))
        return g.node("Resize", y, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")

    def norm(y: str) -> str:
        ones = g.constant(np.ones(width, F32)), g.constant(np.zeros(width, F32))
        return g.node("LayerNormalization", y, *ones, axis=-1, epsilon=1e-6)

    def dense(y: str, inputs: int, outputs: int) -> str:
        return g.node("MatMul", y, g.constant((rng.normal(size=(inputs, outputs)) / inputs**0.5).astype(F32)))

    heads = width // 64
    patches = conv(x, 3, width, 14, 14)
    grid = g.node("Shape", patches)
    flat = g.constant(np.array([0, 0, -1], np.int64))
    tokens = g.node("Transpose", g.node("Reshape", patches, flat), perm=[0, 2, 1])
    split = g.constant(np.array([0, -1, heads, 64], np.int64))
    joined = g.constant(np.array([0, -1, width], np.int64))
    taps = []
    for i in range(layers):
        y = norm(tokens)
        q, k, v = (g.node("Reshape", dense(y, width, width), split) for _ in range(3))
        q, v = (g.node("Transpose", a, perm=[0, 2, 1, 3]) for a in (q, v))
        k = g.node("Transpose", k, perm=[0, 2, 3, 1])
        scores = _times(g, g.node("MatMul", q, k), 0.125)
        mixed = g.node("MatMul", g.node("Softmax", scores, axis=-1), v)
        mixed = g.node("Reshape", g.node("Transpose", mixed, perm=[0, 2, 1, 3]), joined)
        tokens = g.node("Add", tokens, dense(mixed, width, width))
        y = dense(norm(tokens), width, 4 * width)
        y = g.node("Mul", y, _times(g, g.node("Erf", _times(g, y, 2**-0.5)), 0.5, 0.5))
        tokens = g.node("Add", tokens, dense(y, 4 * width, width))
        if i % (layers // 4) == layers // 4 - 1:
            taps.append(g.node("Reshape", g.node("Transpose", norm(tokens), perm=[0, 2, 1]), grid))
    channels, factors = (48, 96, 192, 384), (4.0, 2.0, 1.0, 0.5)

    def unit(y: str) -> str:
        z = conv(g.node("Relu", y), features, features, 3)
        return g.node("Add", y, conv(g.node("Relu", z), features, features, 3))

    levels = [
        conv(sized(conv(t, width, c, 1), f) if f != 1 else conv(t, width, c, 1), c, features, 3)
        for t, c, f in zip(taps, channels, factors)
    ]
    path = ""
    for level in reversed(levels):
        y = unit(level)
        if path:
            like = g.node("Shape", y)
            path = g.node("Resize", path, "", "", like, mode="linear", coordinate_transformation_mode="half_pixel")
            y = g.node("Add", path, y)
        path = conv(unit(y), features, features, 1)
    path = conv(sized(path, 2.0), features, features // 2, 3)
    size = g.node(
        "Concat",
        g.constant(np.array([1, features // 2], np.int64)),
        g.node("Slice", g.node("Shape", x), g.constant(np.array([2], np.int64)), g.constant(np.array([4], np.int64))),
        axis=0,
    )
    path = g.node("Resize", path, "", "", size, mode="linear", coordinate_transformation_mode="half_pixel")
    path = g.node("Relu", conv(path, features // 2, 32, 3))
    depth = g.node("Relu", conv(path, 32, 1, 1))
    g.output(g.node("Squeeze", depth, g.constant(np.array([1], np.int64))), "predicted_depth", ["n", "h", "w"])
    return g.model()
