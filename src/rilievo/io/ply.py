"""PLY (Turk 1994): binary little-endian out; ascii and both binary orders in.

Vertex properties: x y z, nx ny nz, red green blue, confidence, sigma (standard deviation of the distance from the true
surface, in the unit of x y z), spacing, s t (texture coordinates); face property `inferred`. With an origin, x y z are
doubles in world coordinates and `comment origin` keeps the value exact.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.io.files import read_bytes, replacing
from rilievo.types import Mesh, PointCloud

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
SIGMA_COMMENT = "sigma: standard deviation of the distance from the true surface, in the unit of x y z (nan: unknown)"
_NAMES = {"u1": "uchar", "i4": "int", "f4": "float", "f8": "double"}


def write(path: Path, value: Mesh | PointCloud) -> tuple[Path, ...]:
    """Writes a mesh or a cloud. A texture goes beside it as NAME.png, named in a `TextureFile` comment."""
    points = value.points if isinstance(value, PointCloud) else value.vertices
    columns: dict[str, np.ndarray] = {}
    comments = ["rilievo: z up, right-handed"]
    if np.any(value.origin != 0):
        comments.append("origin " + " ".join(repr(float(x)) for x in value.origin))
        points = points.astype(np.float64) + value.origin
    if value.sigma is not None:
        comments.append(SIGMA_COMMENT)
    _add(columns, "x y z", points)
    _add(columns, "nx ny nz", value.normals)
    _add(columns, "red green blue", value.colors)
    _add(columns, "confidence", value.confidence)
    _add(columns, "sigma", value.sigma)
    written = (path,)
    faces = None
    if isinstance(value, PointCloud):
        _add(columns, "spacing", value.spacing)
    else:
        _add(columns, "s t", value.uvs)
        faces = value.faces
        if value.texture is not None and value.uvs is not None:
            from rilievo.io.pictures import write_picture

            picture = path.with_suffix(".png")
            write_picture(picture, value.texture)
            comments.append(f"TextureFile {picture.name}")
            written = (path, picture)
    table = np.empty(len(points), np.dtype([(n, _little(c.dtype)) for n, c in columns.items()]))
    for n, c in columns.items():
        table[n] = c
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {c}" for c in comments)]
    header += [
        f"element vertex {len(points)}",
        *(f"property {_NAMES[c.dtype.str[1:]]} {n}" for n, c in columns.items()),
    ]
    face_table = None
    if faces is not None and isinstance(value, Mesh):
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
        fields: list[tuple[Any, ...]] = [("n", "u1"), ("v", "<i4", (3,))]
        if value.inferred is not None:
            header.append("property uchar inferred")
            fields.append(("inferred", "u1"))
        face_table = np.empty(len(faces), np.dtype(fields))
        face_table["n"], face_table["v"] = 3, faces
        if value.inferred is not None:
            face_table["inferred"] = value.inferred
    with replacing(path) as f:
        f.write(("\n".join([*header, "end_header"]) + "\n").encode())
        f.write(table.data)
        if face_table is not None and len(face_table):
            f.write(face_table.data)
    return written


def _add(columns: dict[str, np.ndarray], names: str, values: np.ndarray | None) -> None:
    if values is not None:
        for i, n in enumerate(names.split()):
            columns[n] = values[:, i] if values.ndim == 2 else values


def _little(dtype: np.dtype) -> np.dtype:
    return dtype.newbyteorder("<")


def read(path: Path) -> Mesh | PointCloud:
    """Reads a mesh (faces with more than three corners are cut into fans) or, without faces, a cloud.

    Normals a cloud lacks are zeros, colours are mid grey, confidence, sigma and spacing NaN.
    """
    tables, comments = read_tables(path, read_bytes(path))
    vertex = tables.get("vertex", {})
    if not {"x", "y", "z"} <= set(vertex):
        raise InputError(f"cannot read {path.name}", "the PLY file has no vertices with x, y and z")
    origin = np.zeros(3)
    for c in comments:
        words = c.split()
        if len(words) == 4 and words[0] == "origin":
            origin = np.array([float(w) for w in words[1:]])
    xyz = np.stack([np.asarray(vertex[k], np.float64) for k in "xyz"], 1)
    far = np.abs(xyz).max(initial=0.0)
    if not origin.any() and far > 0 and len(xyz) and far > 16 * np.ptp(xyz, axis=0).max() > 0:
        origin = np.round(xyz.mean(0))  # foreign file far from zero: keep the precision
    points = (xyz - origin).astype(np.float32)
    n = len(points)
    normals = _take(vertex, ("nx", "ny", "nz"), np.float32)
    colors = _take(vertex, ("red", "green", "blue"), np.uint8)
    confidence, sigma = (_take(vertex, (k,), np.float32) for k in ("confidence", "sigma"))
    face = tables.get("face", {})
    index = next((face[k] for k in ("vertex_indices", "vertex_index") if k in face), None)
    if index is None or len(index) == 0:
        unknown = np.full(n, np.nan, np.float32)
        spacing = _take(vertex, ("spacing",), np.float32)
        return PointCloud(
            points,
            np.zeros((n, 3), np.float32) if normals is None else normals,
            np.full((n, 3), 128, np.uint8) if colors is None else colors,
            unknown if confidence is None else confidence,
            unknown if sigma is None else sigma,
            unknown if spacing is None else spacing,
            (),
            np.zeros(n + 1, np.int64),
            np.zeros(0, np.int32),
            origin,
        )
    faces, owner = _triangles(index)
    if faces.size and (faces.min() < 0 or faces.max() >= n):
        raise InputError(f"cannot read {path.name}", f"a face names a vertex that is not there (there are {n})")
    uvs = next((u for u in (_take(vertex, k, np.float32) for k in (("s", "t"), ("texture_u", "texture_v"), ("u", "v")))
                if u is not None), None)  # fmt: skip
    texture = None
    named = [c[len("TextureFile ") :].strip() for c in comments if c.startswith("TextureFile ")]
    if uvs is not None and len(named) == 1 and (path.parent / named[0]).is_file():
        from rilievo.io.pictures import read_picture

        texture = read_picture(path.parent / named[0])
    inferred = np.asarray(face["inferred"])[owner] != 0 if "inferred" in face else None
    return Mesh(points, faces, normals, colors, confidence, sigma, inferred, uvs, texture, origin)


def read_tables(path: Path, raw: bytes) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Of a PLY file's bytes: element -> property -> values (a list property: rows), and the header's comments.

    Raises InputError when the file is damaged; a header that promises more rows than the file has costs nothing.
    """
    elements, order, comments, start = _header(path, raw)
    try:
        return (_ascii if order == "" else _binary)(raw, start, elements, order), comments
    except (ValueError, IndexError, OverflowError) as e:
        raise InputError(f"cannot read {path.name}", f"the PLY file is damaged or cut short ({e})") from e


def _take(table: dict[str, Any], names: tuple[str, ...], dtype: type) -> np.ndarray | None:
    if not all(n in table and isinstance(table[n], np.ndarray) for n in names):
        return None
    columns = [table[n] for n in names]
    if dtype is np.uint8 and columns[0].dtype.kind == "f":
        columns = [np.clip(np.round(c * 255), 0, 255) for c in columns]
    out = np.stack(columns, 1).astype(dtype)
    return out[:, 0] if len(names) == 1 else out


def _triangles(index: np.ndarray | list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Polygons -> triangles int32 (m, 3) and the polygon each came from (m,)."""
    if isinstance(index, np.ndarray) and index.shape[1] == 3:
        return index.astype(np.int32), np.arange(len(index))
    faces, owner = [], []
    for i, polygon in enumerate(index):
        for k in range(1, len(polygon) - 1):
            faces.append((polygon[0], polygon[k], polygon[k + 1]))
            owner.append(i)
    return np.array(faces, np.int32).reshape(-1, 3), np.array(owner, np.int64)


# an element: (name, count, [(property, type, type of the list's length or "")])
_Element = tuple[str, int, list[tuple[str, str, str]]]


def _header(path: Path, raw: bytes) -> tuple[list[_Element], str, list[str], int]:
    end = raw.find(b"end_header", 0, 1 << 20)
    newline = raw.find(b"\n", end)
    if not raw.startswith(b"ply") or end < 0 or newline < 0:
        raise InputError(f"cannot read {path.name}", "it is not a PLY file (no `ply ... end_header` at its start)")
    elements: list[_Element] = []
    comments: list[str] = []
    order = None
    try:
        for line in raw[:end].decode("latin-1").splitlines():
            words = line.split()
            if not words:
                continue
            if words[0] == "format":
                order = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}[words[1]]
            elif words[0] == "comment":
                comments.append(line.strip()[len("comment ") :])
            elif words[0] == "element":
                elements.append((words[1], int(words[2]), []))
            elif words[0] == "property" and words[1] == "list":
                elements[-1][2].append((words[4], _TYPES[words[3]], _TYPES[words[2]]))
            elif words[0] == "property":
                elements[-1][2].append((words[2], _TYPES[words[1]], ""))
        if order is None or any(e[1] < 0 for e in elements):
            raise ValueError
    except (KeyError, IndexError, ValueError) as e:
        raise InputError(f"cannot read {path.name}", f"the PLY header is damaged ({e})") from e
    return elements, order, comments, newline + 1


def _binary(raw: bytes, start: int, elements: list[_Element], order: str) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    for name, count, properties in elements:
        # Guess that every list is as long as in the first row; where that is wrong, go row by row.
        lengths, at = [], start
        for _, kind, length_kind in properties:
            if length_kind and count:
                lengths.append(int(np.frombuffer(raw, order + length_kind, 1, at)[0]))
                at += int(length_kind[1]) + lengths[-1] * int(kind[1])
            else:
                lengths.append(0)
                at += int(kind[1])
        fields: list[tuple[Any, ...]] = []
        for (p, kind, length_kind), k in zip(properties, lengths):
            if length_kind:
                fields += [(p + "#", order + length_kind), (p, order + kind, (k,))]
            else:
                fields.append((p, order + kind))
        dtype = np.dtype(fields)
        whole = count * dtype.itemsize <= len(raw) - start
        table = np.frombuffer(raw, dtype, count, start) if whole else None
        if table is not None and all(
            (table[p + "#"] == k).all() for (p, _, length_kind), k in zip(properties, lengths) if length_kind
        ):
            tables[name] = {p: table[p] for p, _, _ in properties}
            start += count * dtype.itemsize
        elif any(q[2] for q in properties):
            tables[name], start = _binary_rows(raw, start, count, properties, order)
        else:
            raise ValueError(f"{count} rows of {name!r} do not fit in the file")
    return tables


def _binary_rows(
    raw: bytes, start: int, count: int, properties: list[tuple[str, str, str]], order: str
) -> tuple[dict[str, Any], int]:
    rows: dict[str, list[Any]] = {p: [] for p, _, _ in properties}
    byteorder = "big" if order == ">" else "little"
    for _ in range(count):
        for p, kind, length_kind in properties:
            k = 1
            if length_kind:
                k = int.from_bytes(raw[start : start + int(length_kind[1])], byteorder)
                start += int(length_kind[1])
            values = np.frombuffer(raw, order + kind, k, start)
            start += values.nbytes
            rows[p].append(values if length_kind else values[0])
    return {p: rows[p] if length_kind else np.array(rows[p]) for p, _, length_kind in properties}, start


def _ascii(raw: bytes, start: int, elements: list[_Element], order: str) -> dict[str, dict[str, Any]]:
    lines = raw[start:].decode("latin-1").split("\n")
    lines = [line for line in lines if line.strip()]
    tables: dict[str, dict[str, Any]] = {}
    at = 0
    for name, count, properties in elements:
        if at + count > len(lines):
            raise ValueError(f"{count} rows of {name!r} do not fit in the file")
        chunk = lines[at : at + count]
        at += count
        if not any(length_kind for _, _, length_kind in properties):
            values = np.array(" ".join(chunk).split(), np.float64)
            values = values.reshape(count, -1) if count else np.zeros((0, len(properties)))
            if values.shape[1] < len(properties) and count:
                raise ValueError(f"a row of {name!r} is short")
            tables[name] = {p: values[:, i].astype(kind) for i, (p, kind, _) in enumerate(properties)}
            continue
        rows: dict[str, list[Any]] = {p: [] for p, _, _ in properties}
        for line in chunk:
            words = line.split()
            i = 0
            for p, kind, length_kind in properties:
                k = 1
                if length_kind:
                    k, i = int(words[i]), i + 1
                if i + k > len(words):
                    raise ValueError(f"a row of {name!r} is short")
                values = np.array(words[i : i + k], np.float64).astype(kind)
                i += k
                rows[p].append(values if length_kind else values[0])
        tables[name] = {p: rows[p] if length_kind else np.array(rows[p]) for p, _, length_kind in properties}
    return tables
