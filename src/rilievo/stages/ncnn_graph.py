"""Networks in ncnn's format as ONNX, without ncnn: only the layers that the networks of `weights_table` use.

The file is the text that describes the layers (.param) and right after it the weights (.bin). A convolution's weights
begin with a tag: 0 full floats, 0x01306B47 half floats, padded to 4 bytes; its bias and all else are full floats.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rilievo.errors import InputError
from rilievo.stages.onnx_graph import Graph

_MAGIC, _HALF = "7767517", 0x01306B47
_BINARY = {0: "Add", 1: "Sub", 2: "Mul", 3: "Div"}


def to_onnx(file: bytes) -> bytes:
    """An ONNX file with input `data` (1, 3, h, w), RGB 0..1, and output `output`. Raises InputError for a file or a
    layer that is not known here."""
    try:
        return _Translation(file).run()
    except (ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise InputError("this is not an ncnn network that can be used", f"{type(error).__name__}: {error}") from error


class _Translation:
    def __init__(self, file: bytes) -> None:
        lines, at = [], 0
        for _ in range(2):
            lines.append(_line(file, at))
            at += len(lines[-1]) + 1
        if lines[0].strip() != _MAGIC:
            raise ValueError("it does not begin as ncnn's files do")
        self.layers = []
        for _ in range(int(lines[1].split()[0])):
            text = _line(file, at)
            at += len(text) + 1
            self.layers.append(text.split())
        self.data, self.at = file, at
        self.graph, self.names = Graph(), {}

    def floats(self, count: int) -> np.ndarray:
        """The next full floats."""
        if self.at + 4 * count > len(self.data):
            raise ValueError("its weights end early")
        out = np.frombuffer(self.data, "<f4", count, self.at)
        self.at += 4 * count
        return out.astype(np.float32)

    def tagged(self, count: int) -> np.ndarray:
        """The next weights of a convolution."""
        if self.at + 4 > len(self.data):
            raise ValueError("its weights end early")
        tag = int.from_bytes(self.data[self.at : self.at + 4], "little")
        self.at += 4
        if tag == 0:
            return self.floats(count)
        size = -(-2 * count // 4) * 4
        if tag != _HALF or self.at + size > len(self.data):
            raise ValueError("its weights are stored in a way that is not known here")
        out = np.frombuffer(self.data, "<f2", count, self.at)
        self.at += size
        return out.astype(np.float32)

    def run(self) -> bytes:
        """The ONNX file."""
        makers: dict[str, Callable[[list[str], dict[int, list[float]]], str]] = {
            "Convolution": self._convolution,
            "PReLU": self._prelu,
            "Concat": lambda x, _: self.graph.node("Concat", *x, axis=1),
            "Eltwise": self._sum,
            "Interp": self._resize,
            "BinaryOp": self._binary,
            "Sigmoid": lambda x, _: self.graph.node("Sigmoid", *x),
            "Swish": lambda x, _: self.graph.node("Mul", x[0], self.graph.node("Sigmoid", x[0])),
            "PixelShuffle": self._shuffle,
            "MemoryData": self._memory,
        }
        for kind, _, num_in, num_out, *rest in self.layers:
            a, b = int(num_in), int(num_out)
            inputs, outputs = [self.names[n] for n in rest[:a]], rest[a : a + b]
            if kind == "Input":
                self.names[outputs[0]] = self.graph.input("data", (1, 3, "h", "w"))
            elif kind == "Split":
                self.names |= dict.fromkeys(outputs, inputs[0])
            else:
                self.names[outputs[0]] = makers[kind](inputs, _options(rest[a + b :]))
        if self.at != len(self.data):
            raise ValueError("weights are left over")
        self.graph.output(self.names["output"], "output", (1, 3, "H", "W"))
        return self.graph.model()

    def _convolution(self, x: list[str], p: dict[int, list[float]]) -> str:
        channels, side, pad, size = (int(p.get(k, [d])[0]) for k, d in ((0, 0), (1, 1), (4, 0), (6, 0)))
        if any(int(p.get(k, [1])[0]) != 1 for k in (2, 3)):
            raise ValueError("a convolution with strides")
        weights = self.tagged(size).reshape(channels, -1, side, side)
        inputs = [*x, self.graph.constant(weights)]
        if int(p.get(5, [0])[0]):
            inputs.append(self.graph.constant(self.floats(channels)))
        y = self.graph.node("Conv", *inputs, kernel_shape=[side, side], pads=[pad] * 4)
        activation = int(p.get(9, [0])[0])
        if activation == 0:
            return y
        if activation == 1:
            return self.graph.node("Relu", y)
        if activation == 2:
            return self.graph.node("LeakyRelu", y, alpha=float(p[-23310][0]))
        raise KeyError(f"activation {activation}")

    def _prelu(self, x: list[str], p: dict[int, list[float]]) -> str:
        slope = self.floats(int(p[0][0])).reshape(-1, 1, 1)
        return self.graph.node("PRelu", *x, self.graph.constant(slope))

    def _sum(self, x: list[str], p: dict[int, list[float]]) -> str:
        if int(p.get(0, [0])[0]) != 1:
            raise ValueError("only weighted sums of layers are known")
        factors = p.get(-23301, [1.0] * len(x))
        parts = [n if f == 1 else self.graph.node("Mul", n, self._number(f)) for n, f in zip(x, factors, strict=True)]
        total = parts[0]
        for part in parts[1:]:
            total = self.graph.node("Add", total, part)
        return total

    def _resize(self, x: list[str], p: dict[int, list[float]]) -> str:
        scales = self.graph.constant(np.array([1, 1, p[1][0], p[2][0]], np.float32))
        empty = self.graph.constant(np.zeros(0, np.float32))
        kind = int(p[0][0])
        if kind == 1:
            return self.graph.node(
                "Resize", *x, empty, scales, mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )  # fmt: skip
        mode = {2: "linear", 3: "cubic"}[kind]
        return self.graph.node(
            "Resize", *x, empty, scales, mode=mode, cubic_coeff_a=-0.75, coordinate_transformation_mode="half_pixel"
        )

    def _binary(self, x: list[str], p: dict[int, list[float]]) -> str:
        other = x[1] if not int(p.get(1, [0])[0]) else self._number(p[2][0])
        return self.graph.node(_BINARY[int(p.get(0, [0])[0])], x[0], other)

    def _shuffle(self, x: list[str], p: dict[int, list[float]]) -> str:
        return self.graph.node("DepthToSpace", *x, blocksize=int(p[0][0]), mode="CRD")

    def _memory(self, x: list[str], p: dict[int, list[float]]) -> str:
        w, h, c = (max(1, int(p.get(k, [0])[0])) for k in (0, 1, 2))
        return self.graph.constant(self.floats(w * h * c).reshape(c, h, w))

    def _number(self, value: float) -> str:
        return self.graph.constant(np.array([value], np.float32))


def _line(file: bytes, at: int) -> str:
    end = file.find(b"\n", at)
    if end < 0 or end - at > 4000:
        raise ValueError("its text ends early")
    return file[at:end].decode("ascii")


def _options(words: list[str]) -> dict[int, list[float]]:
    """`0=64 -23310=1,0.2` -> {0: [64], -23310: [0.2]}: below -23300 a list stands behind its length."""
    out = {}
    for word in words:
        key, _, value = word.partition("=")
        numbers = [float(v) for v in value.split(",")]
        out[int(key)] = numbers[1:] if int(key) <= -23300 else numbers
    return out
