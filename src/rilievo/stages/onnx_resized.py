"""Networks in ONNX files that were written for one size of picture, made to take another.

Reads only what it changes (onnx.proto3 of ONNX 1.12): the shapes of inputs and outputs, and the sizes that `Resize`
nodes are given as constants. All else is passed on byte by byte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

from rilievo.errors import InputError
from rilievo.stages.onnx_graph import field

_MODEL_GRAPH = 7
_NODE, _INPUT, _OUTPUT, _VALUE_INFO = 1, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 4, 5


def resized(model: bytes, old: int, new: int) -> bytes:
    """The network for pictures of new x new pixels instead of old x old; its filters stay as they are.

    Raises InputError where a size in it does not shrink to a whole number, or the file is no ONNX model.
    """
    try:
        parts = [
            _graph(bytes(v), old, new) if n == _MODEL_GRAPH and isinstance(v, memoryview) else raw
            for n, v, raw in _fields(model)
        ]
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise InputError(
            "this is not an ONNX model", str(error), "Get the file again (rilievo weights get)."
        ) from error
    return b"".join(parts)


def _fields(message: bytes | memoryview) -> Iterator[tuple[int, int | memoryview, bytes]]:
    """(number, value, the field as it stands): a whole number, or the bytes of what has a length (or 4 or 8 bytes)."""
    view = memoryview(message)
    at, end = 0, len(view)
    while at < end:
        start = at
        key, at = _number(view, at)
        wire = key & 7
        if wire == 0:
            value, at = _number(view, at)
        else:
            size, at = {1: (8, at), 5: (4, at)}.get(wire) or (_number(view, at) if wire == 2 else (end + 1, at))
            if at + size > end:
                raise IndexError(f"a field of {size} bytes where {end - at} are left")
            value, at = view[at : at + size], at + size
        yield key >> 3, value, bytes(view[start:at])


def _number(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at
        if shift > 63:
            raise IndexError("a number longer than 64 bits")


def _texts(node: bytes, number: int) -> list[str]:
    return [bytes(v).decode() for n, v, _ in _fields(node) if n == number and isinstance(v, memoryview)]


def _graph(graph: bytes, old: int, new: int) -> bytes:
    fields = [(n, bytes(v) if isinstance(v, memoryview) else b"", raw) for n, v, raw in _fields(graph)]
    nodes = [(v, _texts(v, _NODE_OP), _texts(v, _NODE_INPUT), _texts(v, _NODE_OUTPUT)) for n, v, _ in fields if n == 1]
    sizes = {i[3] for _, op, i, _ in nodes if op == ["Resize"] and len(i) > 3}
    sizes |= {i[-1] for _, op, i, o in nodes if op == ["Concat"] and o[0] in sizes}
    out = []
    for number, value, raw in fields:
        if number == _NODE and _texts(value, _NODE_OP) == ["Constant"] and _texts(value, _NODE_OUTPUT)[0] in sizes:
            raw = field(_NODE, _inside(value, (_NODE_ATTRIBUTE, 5), lambda t: _tensor(t, old, new)))
        elif number in (_INPUT, _OUTPUT):
            raw = field(number, _inside(value, (2, 1, 2), lambda s: _shape(s, old, new)))
        elif number == _VALUE_INFO:
            continue  # shapes between: they are worked out again
        out.append(raw)
    return field(_MODEL_GRAPH, b"".join(out))


def _inside(message: bytes, path: tuple[int, ...], change) -> bytes:  # type: ignore[no-untyped-def]
    """The message with what lies at a path of field numbers changed."""
    if not path:
        return change(message)
    return b"".join(
        field(n, _inside(bytes(v), path[1:], change)) if n == path[0] and isinstance(v, memoryview) else raw
        for n, v, raw in _fields(message)
    )


def _scaled(value: int, old: int, new: int) -> int:
    if value * new % old:
        raise InputError(
            "this network cannot be made smaller", f"{value} pixels do not become a whole number at {new} of {old}"
        )
    return value * new // old


def _tensor(tensor: bytes, old: int, new: int) -> bytes:
    """TensorProto of int64 whose last two values are a height and a width."""
    out = []
    for number, value, raw in _fields(tensor):
        if number == 9 and isinstance(value, memoryview):
            a = np.frombuffer(value, "<i8").copy()
            a[-2:] = [_scaled(int(v), old, new) for v in a[-2:]]
            raw = field(9, a.tobytes())
        out.append(raw)
    return b"".join(out)


def _shape(shape: bytes, old: int, new: int) -> bytes:
    """TensorShapeProto: its last two dimensions."""
    dims = [bytes(v) for n, v, _ in _fields(shape) if n == 1 and isinstance(v, memoryview)]
    for k in range(max(0, len(dims) - 2), len(dims)):
        dims[k] = b"".join(
            field(1, _scaled(v, old, new)) if n == 1 and isinstance(v, int) else raw for n, v, raw in _fields(dims[k])
        )
    return b"".join(field(1, d) for d in dims)
