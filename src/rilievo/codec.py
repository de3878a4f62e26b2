"""Values to bytes and back: the safetensors layout, written so that the same value always gives the same bytes.

The layout (8 bytes of header length, a JSON header, the arrays) is simple enough to stream: arrays go from memory to
the file and into the hash without a copy, which matters for clouds of many millions of points.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from rilievo import types

VALUE_TYPES: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        types.Photo,
        types.Camera,
        types.Features,
        types.Matches,
        types.Reconstruction,
        types.DepthMap,
        types.PhotoDepth,
        types.ScaleFit,
        types.PointCloud,
        types.Mesh,
        types.Splats,
        types.Field,
        types.FieldState,
        types.SplatState,
    )
}
DTYPES = {
    "BOOL": np.dtype("?"),
    "U8": np.dtype("u1"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}


@runtime_checkable
class Config(Protocol):
    """A frozen dataclass of settings with the version of the method."""

    version: ClassVar[int]


def encode(value: Any) -> Iterator[bytes | memoryview]:
    """The bytes of a value, piece by piece: arrays as safetensors keeps them, everything else as JSON in its header."""
    arrays: dict[str, np.ndarray] = {}
    content = json.dumps(_flatten(value, "", arrays), sort_keys=True, separators=(",", ":"))
    header: dict[str, Any] = {"__metadata__": {"rilievo": content}}
    # Widest types first keeps every array aligned to its item size.
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    end = 0
    for name in order:
        begin, end = end, end + arrays[name].nbytes
        code = _CODES[arrays[name].dtype.newbyteorder("<")]
        header[name] = {"dtype": code, "shape": list(arrays[name].shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in order:
        array = np.ascontiguousarray(arrays[name])
        if array.nbytes:
            yield array.reshape(-1).data.cast("B")


def _flatten(value: Any, prefix: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        arrays[prefix] = value
        return {"$array": prefix}
    if is_dataclass(value) and not isinstance(value, type):
        inner = {
            f.name: _flatten(getattr(value, f.name), f"{prefix}.{f.name}".lstrip("."), arrays) for f in fields(value)
        }
        return {"$type": type(value).__name__, **inner}
    if isinstance(value, tuple | list):
        return [_flatten(v, f"{prefix}.{i}", arrays) for i, v in enumerate(value)]
    if isinstance(value, dict):
        return {"$dict": {k: _flatten(v, f"{prefix}.{k}", arrays) for k, v in value.items()}}
    if isinstance(value, np.generic):
        return value.item()
    return value


def decode(raw: np.ndarray | bytes) -> Any:
    """The value of these bytes (arrays are views into them). Raises ValueError when they are damaged."""
    data = np.frombuffer(raw, np.uint8)
    try:
        size = int.from_bytes(data[:8].tobytes(), "little")
        if size > len(data) - 8:
            raise ValueError("shorter than its header says")
        header = json.loads(data[8 : 8 + size].tobytes())
        body = data[8 + size :]
        content = json.loads(header.pop("__metadata__")["rilievo"])
        arrays = {name: _array(body, **entry) for name, entry in header.items()}
        return _unflatten(content, arrays)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a rilievo object ({error!r})") from error


def _array(body: np.ndarray, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    begin, end = data_offsets
    if not 0 <= begin <= end <= len(body) or end - begin != math.prod(shape) * DTYPES[dtype].itemsize:
        raise ValueError("shorter than its header says")
    return body[begin:end].view(DTYPES[dtype]).reshape(shape)


def _unflatten(content: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(content, list):
        return tuple(_unflatten(item, arrays) for item in content)
    if not isinstance(content, dict):
        return content
    if "$array" in content:
        return arrays[content["$array"]]
    if "$dict" in content:
        return {k: _unflatten(v, arrays) for k, v in content["$dict"].items()}
    cls = VALUE_TYPES[content["$type"]]
    return cls(**{k: _unflatten(v, arrays) for k, v in content.items() if k != "$type"})


def read_value(path: Path) -> Any:
    """The value in a file. Raises OSError, or ValueError when the file is damaged."""
    return decode(np.fromfile(path, np.uint8))


def content_id(*parts: Any) -> str:
    """sha256 of arrays, values, strings and numbers in this order: names an input that is not itself an object."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray) or type(part).__name__ in VALUE_TYPES:
            for piece in encode(part):
                digest.update(piece)
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
        digest.update(b"\0")
    return digest.hexdigest()
