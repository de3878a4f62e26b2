"""Writes small ONNX models (onnx.proto3 of ONNX 1.12, opset 17) so that onnxruntime can run networks that we assemble.

Only what our networks need; a message is a run of keys (field number, wire type) and values (Protocol Buffers).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

_FLOAT, _INT64 = 1, 7  # TensorProto.DataType


def varint(n: int) -> bytes:
    """A whole number, seven bits a byte, the lowest first."""
    n &= (1 << 64) - 1
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes((*out, n))


def field(number: int, value: int | bytes | str) -> bytes:
    """A field of a message: a whole number or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def _tensor(name: str, a: np.ndarray) -> bytes:
    kind = _INT64 if a.dtype == np.int64 else _FLOAT
    data = np.ascontiguousarray(a, np.int64 if kind == _INT64 else np.float32)
    dims = b"".join(field(1, int(n)) for n in a.shape)
    return dims + field(2, kind) + field(8, name) + field(9, data.astype(data.dtype.newbyteorder("<")).tobytes())


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, float):
        return field(1, name) + varint(2 << 3 | 5) + struct.pack("<f", value) + field(20, 1)
    if isinstance(value, int):
        return field(1, name) + field(3, value) + field(20, 2)
    if isinstance(value, str):
        return field(1, name) + field(4, value) + field(20, 3)
    return field(1, name) + b"".join(field(8, int(v)) for v in value) + field(20, 7)


def _value(name: str, shape: Sequence[int | str], kind: int = _FLOAT) -> bytes:
    dims = b"".join(field(1, field(2, d) if isinstance(d, str) else field(1, d)) for d in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, dims)))


class Graph:
    """Nodes are added in order of use; every method returns the name of its result."""

    def __init__(self) -> None:
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._count = 0

    def _name(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def input(self, name: str, shape: Sequence[int | str], *, integer: bool = False) -> str:
        """A float32 input (or int64); a string in `shape` is a free dimension."""
        self._inputs.append(_value(name, shape, _INT64 if integer else _FLOAT))
        return name

    def constant(self, a: np.ndarray) -> str:
        """float32 or int64."""
        name = self._name()
        self._constants.append(_tensor(name, a))
        return name

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """One operator with one result."""
        name = self._name()
        body = b"".join(field(1, i) for i in inputs) + field(2, name) + field(4, op)
        self._nodes.append(body + b"".join(field(5, _attribute(k, v)) for k, v in sorted(attributes.items())))
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str]) -> None:
        """Gives a result to the caller under this name."""
        self._nodes.append(field(1, value) + field(2, name) + field(4, "Identity"))
        self._outputs.append(_value(name, shape))

    def model(self) -> bytes:
        """The file."""
        graph = b"".join(field(1, n) for n in self._nodes) + field(2, "rilievo")
        graph += b"".join(field(5, c) for c in self._constants)
        graph += b"".join(field(11, i) for i in self._inputs) + b"".join(field(12, o) for o in self._outputs)
        return field(1, 8) + field(2, "rilievo") + field(7, graph) + field(8, field(1, "") + field(2, 17))
