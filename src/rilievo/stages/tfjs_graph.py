"""TensorFlow.js graph models as ONNX, without TensorFlow: only the operators that the networks of `weights.py` use.

The file is the model's JSON and right after it its weights; tensors lie one after the other in the order of the JSON's
`weightsManifest`, half floats where it says so.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.stages.onnx_graph import Graph

Node = dict[str, Any]


def to_onnx(file: bytes) -> tuple[bytes, dict[str, tuple[int, ...]]]:
    """The ONNX file, and output name -> shape. Raises InputError for a file or an operator that is not known here."""
    try:
        model, data = _split(file)
        tensors = _tensors(model["weightsManifest"], data)
        nodes = model["modelTopology"]["node"]
        inputs, outputs = (
            {k: _shape(v) for k, v in model["signature"][side].items()} for side in ("inputs", "outputs")
        )
        return _Translation(nodes, tensors).run(inputs, outputs), {k.split(":")[0]: v for k, v in outputs.items()}
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise InputError(
            "this is not a TensorFlow.js model that can be used", f"{type(error).__name__}: {error}"
        ) from error


def _split(file: bytes) -> tuple[Any, bytes]:
    """(the JSON, what follows it)."""
    text = file.decode("latin-1")  # one character a byte, whatever the weights are
    model, end = json.JSONDecoder().raw_decode(text)
    while end < len(text) and text[end] in "\r\n":
        end += 1
    return model, file[end:]


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(int(d["size"]) for d in value["tensorShape"]["dim"])


def _tensors(manifest: Any, data: bytes) -> dict[str, np.ndarray]:
    """name -> float32 or int64 array."""
    out, at = {}, 0
    for entry in (w for group in manifest for w in group["weights"]):
        half = entry.get("quantization", {}).get("dtype") == "float16"
        stored = {"float32": np.dtype("<f2" if half else "<f4"), "int32": np.dtype("<i4")}[entry["dtype"]]
        count = int(np.prod(entry["shape"], dtype=np.int64))
        if at + count * stored.itemsize > len(data):
            raise ValueError("its weights end early")
        array = np.frombuffer(data, stored, count, at).reshape(entry["shape"])
        out[entry["name"]] = array.astype(np.float32 if entry["dtype"] == "float32" else np.int64)
        at += count * stored.itemsize
    if at != len(data):
        raise ValueError("its weights are longer than its tensors")
    return out


def _strides(node: Node) -> list[int]:
    return [int(i) for i in node["attr"]["strides"]["list"]["i"]][1:3]


class _Translation:
    """Walks back from the outputs; values known beforehand stay NumPy arrays until a node of the graph needs them."""

    def __init__(self, nodes: list[Node], tensors: dict[str, np.ndarray]) -> None:
        self.nodes = {n["name"]: n for n in nodes}
        self.done: dict[str, str] = {}
        self.known = dict(tensors)
        self.g = Graph()

    def run(self, inputs: dict[str, tuple[int, ...]], outputs: dict[str, tuple[int, ...]]) -> bytes:
        for name, shape in inputs.items():
            plain = name.split(":")[0]
            self.done[plain] = self.g.input(plain, shape)
        for name, shape in outputs.items():
            plain = name.split(":")[0]
            self.g.output(self.value(plain), plain, shape)
        return self.g.model()

    def array(self, name: str) -> np.ndarray:
        """A value that doesn't depend on the photo."""
        if name not in self.known:
            node = self.nodes[name]
            arguments = [self.array(i) for i in node.get("input", [])]
            self.known[name] = _FOLDED[node["op"]](*arguments)
        return self.known[name]

    def value(self, name: str) -> str:
        """A value's name in the new graph."""
        if name not in self.done:
            base, _, part = name.partition(":")
            node = self.nodes[base]
            if node["op"] == "Const":
                self.done[name] = self.g.constant(self.array(name))
            else:
                self.done[name] = _OPERATORS[node["op"]](self, node, int(part or 0))
        return self.done[name]

    def inputs(self, node: Node) -> list[str]:
        return [self.value(i) for i in node["input"]]

    def turned(self, x: str, to: str) -> str:
        return self.g.node("Transpose", x, perm=[0, 3, 1, 2] if to == "nchw" else [0, 2, 3, 1])


def _conv(t: _Translation, node: Node, _: int) -> str:
    if (
        base64.b64decode(node["attr"]["padding"]["s"]) != b"VALID"
        or base64.b64decode(node["attr"].get("data_format", {}).get("s", "TkhXQw==")) != b"NHWC"
    ):
        raise KeyError("a convolution of another layout")
    weights = t.g.constant(np.ascontiguousarray(t.array(node["input"][1]).transpose(3, 2, 0, 1)))
    x = t.turned(t.value(node["input"][0]), "nchw")
    return t.turned(t.g.node("Conv", x, weights, strides=_strides(node)), "nhwc")


def _max_pool(t: _Translation, node: Node, _: int) -> str:
    size = [int(i) for i in node["attr"]["ksize"]["list"]["i"]][1:3]
    x = t.turned(t.value(node["input"][0]), "nchw")
    return t.turned(t.g.node("MaxPool", x, kernel_shape=size, strides=_strides(node)), "nhwc")


def _resize(t: _Translation, node: Node, _: int) -> str:
    g = t.g
    x = t.turned(t.value(node["input"][0]), "nchw")
    zero, two = g.constant(np.array([0], np.int64)), g.constant(np.array([2], np.int64))
    front = g.node("Slice", g.node("Shape", x), zero, two)
    sizes = g.node("Concat", front, g.constant(t.array(node["input"][1]).astype(np.int64)), axis=0)
    y = g.node("Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode="half_pixel")
    return t.turned(y, "nhwc")


def _pad(t: _Translation, node: Node, _: int) -> str:
    pads = t.g.constant(np.ascontiguousarray(t.array(node["input"][1]).T).ravel().astype(np.int64))
    value = t.array(node["input"][2]) if len(node["input"]) > 2 else np.zeros(1)
    return t.g.node("Pad", t.value(node["input"][0]), pads, t.g.constant(np.asarray(value, np.float32).reshape(())))


def _split_part(t: _Translation, node: Node, part: int) -> str:
    sizes, axis = t.array(node["input"][1]), int(t.array(node["input"][2]))
    start = int(sizes[:part].sum())
    ends = [start, start + int(sizes[part]), axis]
    return t.g.node("Slice", t.value(node["input"][0]), *(t.g.constant(np.array([e], np.int64)) for e in ends))


def _transpose(t: _Translation, node: Node, _: int) -> str:
    return t.g.node("Transpose", t.value(node["input"][0]), perm=[int(i) for i in t.array(node["input"][1])])


def _concat(t: _Translation, node: Node, _: int) -> str:
    *parts, axis = node["input"]
    return t.g.node("Concat", *(t.value(p) for p in parts), axis=int(t.array(axis)))


def _reshape(t: _Translation, node: Node, _: int) -> str:
    return t.g.node("Reshape", t.value(node["input"][0]), t.g.constant(t.array(node["input"][1]).astype(np.int64)))


def _leaky(t: _Translation, node: Node, _: int) -> str:
    return t.g.node("LeakyRelu", *t.inputs(node), alpha=float(node["attr"]["alpha"]["f"]))


def _plain(op: str) -> Callable[[_Translation, Node, int], str]:
    return lambda t, node, _: t.g.node(op, *t.inputs(node))


_OPERATORS: dict[str, Callable[[_Translation, Node, int], str]] = {
    "Conv2D": _conv,
    "MaxPool": _max_pool,
    "ResizeBilinear": _resize,
    "Pad": _pad,
    "PadV2": _pad,
    "SplitV": _split_part,
    "Transpose": _transpose,
    "ConcatV2": _concat,
    "Reshape": _reshape,
    "LeakyRelu": _leaky,
    **{op: _plain(op.removesuffix("V2")) for op in ("Add", "AddV2", "Sigmoid", "Identity")},
}


def _dense(indices: np.ndarray, shape: np.ndarray, values: np.ndarray, default: np.ndarray) -> np.ndarray:
    out = np.full(tuple(int(n) for n in shape), default, np.int64)
    if len(indices):
        out[tuple(indices.T)] = values
    return out


_FOLDED: dict[str, Callable[..., np.ndarray]] = {"SparseToDense": _dense, "AddV2": np.add, "Add": np.add}
