"""GLB: glTF 2.0 in one binary file (Khronos, ISO/IEC 12113:2022).

Axes are turned to y up. Colours that come from photos already hold the light of the day, so they are shown as they are
(KHR_materials_unlit; viewers without it see a matt material). A mesh without colour is matt grey and lit.
One primitive and one material hold the mesh; `extras` say what glTF has no place for: the origin of the coordinates,
the share of surface no photo measured. `_CONFIDENCE` and `_SIGMA` are vertex attributes.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import InputError, ResourceError
from rilievo.io.axes import linear_from_srgb, near_zero, srgb_from_linear, vertex_normals, yup, zup
from rilievo.io.files import read_bytes, replacing
from rilievo.io.pictures import decode_picture, encode_picture
from rilievo.types import Mesh, PointCloud

SIGMA_NOTE = "standard deviation of the distance from the true surface, in the unit of POSITION; -1: unknown"
_FLOAT, _UBYTE, _USHORT, _UINT = 5126, 5121, 5123, 5125
_ARRAY, _ELEMENT = 34962, 34963
_DTYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


class Buffer:
    """Collects the one binary buffer with its views and accessors; every view starts at a multiple of 4 bytes."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, raw: bytes, target: int | None = None) -> int:
        view: dict[str, Any] = {"buffer": 0, "byteOffset": self.size, "byteLength": len(raw)}
        if target is not None:
            view["target"] = target
        padding = -len(raw) % 4
        self.parts += [raw, b"\0" * padding]
        self.size += len(raw) + padding
        self.views.append(view)
        return len(self.views) - 1

    def attribute(self, values: np.ndarray, *, limits: bool = False, normalized: bool = False) -> int:
        kind = {"f4": _FLOAT, "u2": _USHORT, "u4": _UINT}[values.dtype.str[1:]]
        width = 1 if values.ndim == 1 else values.shape[1]
        accessor: dict[str, Any] = {
            "bufferView": self.add(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes(), _ARRAY),
            "componentType": kind,
            "count": len(values),
            "type": {v: k for k, v in _WIDTH.items()}[width],
        }
        if normalized:
            accessor["normalized"] = True
        if limits:
            accessor["min"] = values.min(0).astype(np.float64).tolist()
            accessor["max"] = values.max(0).astype(np.float64).tolist()
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def indices(self, faces: np.ndarray, num_vertices: int) -> int:
        # 65535 is the restart value of 16-bit indices and may not be a vertex.
        kind, dtype = (_USHORT, "<u2") if num_vertices <= 65535 else (_UINT, "<u4")
        view = self.add(faces.astype(dtype).tobytes(), _ELEMENT)
        self.accessors.append({"bufferView": view, "componentType": kind, "count": faces.size, "type": "SCALAR"})
        return len(self.accessors) - 1


def write(path: Path, value: Mesh | PointCloud, *, jpeg_quality: int = 92) -> tuple[Path, ...]:
    """Writes a mesh (or the points of a cloud) as GLB. Lengths are in the unit of the world: glTF means metres.

    Raises InputError when there is nothing to write or a vertex is not finite.
    """
    xyz = value.vertices if isinstance(value, Mesh) else value.points
    if not len(xyz) or (isinstance(value, Mesh) and not len(value.faces)):
        raise InputError(f"cannot write {path.name}", "the model is empty, and glTF has no empty models")
    if not np.isfinite(xyz).all():
        raise InputError(f"cannot write {path.name}", "the model has vertices that are not finite numbers")
    xyz, origin = near_zero(xyz, value.origin)
    buffer = Buffer()
    attributes: dict[str, int] = {"POSITION": buffer.attribute(yup(xyz), limits=True)}
    primitive: dict[str, Any] = {"attributes": attributes, "material": 0}
    material: dict[str, Any] = {
        "name": "surface",
        "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0},
        "doubleSided": True,
    }
    extras: dict[str, Any] = {}
    root: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "rilievo"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "model"}],
        "meshes": [{"name": "model", "primitives": [primitive]}],
        "materials": [material],
    }
    if origin.any():
        extras["origin"] = origin.tolist()
        extras["origin_axes"] = "x y z with z up; world = vertices (turned back to z up) + origin"
    colored = value.colors is not None
    if isinstance(value, PointCloud):
        primitive["mode"] = 0
        extras["num_points"] = len(xyz)
        lengths = np.linalg.norm(value.normals, axis=1)
        if len(lengths) and np.all(np.abs(lengths - 1) < 1e-3):
            attributes["NORMAL"] = buffer.attribute(unit(yup(value.normals)))
    else:
        attributes["NORMAL"] = buffer.attribute(unit(yup(vertex_normals(value))))
        extras["num_faces"] = len(value.faces)
        if value.inferred is not None:
            extras["inferred_share"] = round(_area_share(value), 6)
        if value.uvs is not None:
            attributes["TEXCOORD_0"] = buffer.attribute(_flip(value.uvs))
        if value.texture is not None and value.uvs is not None:
            colored = True
            raw, ending = encode_picture(value.texture, jpeg_quality)
            root["images"] = [
                {"bufferView": buffer.add(raw), "mimeType": {"jpg": "image/jpeg", "png": "image/png"}[ending]}
            ]
            root["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}]
            root["textures"] = [{"sampler": 0, "source": 0}]
            material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
        primitive["indices"] = buffer.indices(value.faces, len(xyz))
    if value.colors is not None and "images" not in root:
        rgba = np.ones((len(xyz), 4), np.float32)
        rgba[:, :3] = linear_from_srgb(value.colors)
        attributes["COLOR_0"] = buffer.attribute(np.round(rgba * 65535).astype(np.uint16), normalized=True)
    for name, values in (("_CONFIDENCE", value.confidence), ("_SIGMA", value.sigma)):
        if values is not None and np.isfinite(values).any():
            # Floats in glTF must be finite: unknown is -1.
            attributes[name] = buffer.attribute(np.where(np.isfinite(values), values, -1).astype(np.float32))
    if "_SIGMA" in attributes:
        extras["_SIGMA"] = SIGMA_NOTE
    if colored:
        material["extensions"] = {"KHR_materials_unlit": {}}
        root["extensionsUsed"] = ["KHR_materials_unlit"]
    else:
        material["pbrMetallicRoughness"]["baseColorFactor"] = [0.6, 0.6, 0.6, 1.0]
    if extras:
        root["meshes"][0]["extras"] = extras
    write_glb(path, root, buffer, "write PLY, or simplify the mesh first")
    return (path,)


def write_glb(path: Path, root: dict[str, Any], buffer: Buffer, hint: str) -> None:
    """One GLB file of a glTF document and its buffer, which is added to the document. hint: what makes it smaller.

    Raises ResourceError when the file would pass the format's 4 GiB.
    """
    pieces = _glb_pieces(root, buffer)
    total = sum(map(len, pieces))
    if total >= 1 << 32:
        raise ResourceError(
            f"cannot write {path.name}",
            f"it would take {total / 2**30:.1f} GiB and a GLB file ends at 4 GiB",
            hint,
        )
    with replacing(path) as f:
        for piece in pieces:
            f.write(piece)


def pack_glb(root: dict[str, Any], buffer: Buffer) -> bytes:
    """The same in memory; for small models."""
    return b"".join(_glb_pieces(root, buffer))


def _glb_pieces(root: dict[str, Any], buffer: Buffer) -> list[bytes]:
    root |= {
        "buffers": [{"byteLength": buffer.size}],
        "bufferViews": buffer.views,
        "accessors": buffer.accessors,
    }
    text = json.dumps(root, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + buffer.size
    return [
        struct.pack("<4sII", b"glTF", 2, min(total, (1 << 32) - 1)),
        struct.pack("<I4s", len(text), b"JSON") + text,
        struct.pack("<I4s", min(buffer.size, (1 << 32) - 1), b"BIN\0"),
        *buffer.parts,
    ]


def _flip(uvs: np.ndarray) -> np.ndarray:
    """Our v runs up from the lower left corner, glTF's runs down from the upper left."""
    return np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1).astype(np.float32)


def unit(normals: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(normals.astype(np.float64), axis=1, keepdims=True)
    return (normals / np.where(length > 0, length, 1)).astype(np.float32)


def _area_share(mesh: Mesh) -> float:
    x = mesh.vertices.astype(np.float64)[mesh.faces]
    area = np.linalg.norm(np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]), axis=1)
    return float(area[mesh.inferred].sum() / max(area.sum(), 1e-300))


def read(path: Path) -> Mesh | PointCloud:
    """Reads the triangles (or points) of a GLB as one value in z-up axes; nodes are placed by their transforms.

    The texture is kept when all primitives share one, otherwise vertex colours. Compressed or sparse data is an
    InputError.
    """
    raw = read_bytes(path)
    root, blob = read_chunks(path, raw)
    try:
        if unknown := set(root.get("extensionsRequired", [])) - {"KHR_materials_unlit"}:
            raise InputError(
                f"cannot read {path.name}", f"it needs {', '.join(sorted(unknown))}, which is not read here"
            )
        return _assemble(path, root, blob)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as e:
        raise InputError(f"cannot read {path.name}", f"the GLB file is damaged ({e!r})") from e


def read_chunks(path: Path, raw: bytes) -> tuple[dict[str, Any], bytes]:
    """The document and the binary buffer of a GLB. Raises InputError when it is none."""
    if len(raw) < 20 or raw[:4] != b"glTF":
        raise InputError(f"cannot read {path.name}", "it is not a GLB file (no `glTF` at its start)")
    version, total = struct.unpack_from("<II", raw, 4)
    if version != 2 or total > len(raw):
        why = f"glTF version {version}" if version != 2 else f"it should have {total} bytes and has {len(raw)}"
        raise InputError(f"cannot read {path.name}", why)
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= total:
        size, kind = struct.unpack_from("<I4s", raw, at)
        chunks.setdefault(kind, raw[at + 8 : at + 8 + size])
        at += 8 + size
    try:
        root = json.loads(chunks.get(b"JSON", b""))
        if not isinstance(root, dict):
            raise ValueError("no object")
    except ValueError as e:
        raise InputError(f"cannot read {path.name}", f"the GLB file is damaged ({e})") from e
    return root, chunks.get(b"BIN\0", b"")


def accessor(root: dict[str, Any], blob: bytes, index: int) -> np.ndarray:
    """Values (n,) or (n, width) of an accessor. Raises ValueError when they are not in the buffer."""
    a = root["accessors"][index]
    if "sparse" in a or "bufferView" not in a:
        raise ValueError("sparse accessors are not read here")
    view = root["bufferViews"][a["bufferView"]]
    dtype, width, count = np.dtype(_DTYPES[a["componentType"]]), _WIDTH[a["type"]], int(a["count"])
    start = view.get("byteOffset", 0) + a.get("byteOffset", 0)
    stride = view.get("byteStride", dtype.itemsize * width)
    if count < 1 or start + stride * (count - 1) + dtype.itemsize * width > len(blob):
        raise ValueError(f"accessor {index} runs over the end of the buffer")
    values = np.ndarray((count, width), dtype, blob, start, (stride, dtype.itemsize))
    if a.get("normalized"):
        values = values / np.float32(np.iinfo(dtype).max)
    return values[:, 0] if width == 1 else values


def placed(root: dict[str, Any]) -> list[tuple[dict[str, Any], np.ndarray]]:
    """The primitives of the scene in order, each with its world_from_node (4, 4)."""
    found = []
    seen: set[int] = set()
    scene = root.get("scenes", [{}])[root.get("scene", 0)]
    stack: list[tuple[int, np.ndarray]] = [(n, np.eye(4)) for n in reversed(scene.get("nodes", []))]
    while stack:
        index, world_from_parent = stack.pop()
        node = root["nodes"][index]
        world_from_node = world_from_parent @ _node_matrix(node)
        if index in seen:  # glTF 2.0, 3.5.2: nodes are trees, each with one parent at most
            raise ValueError("the nodes form a loop")
        seen.add(index)
        stack += [(c, world_from_node) for c in reversed(node.get("children", []))]
        if "mesh" in node:
            found += [(primitive, world_from_node) for primitive in root["meshes"][node["mesh"]]["primitives"]]
    return found


def _assemble(path: Path, root: dict[str, Any], blob: bytes) -> Mesh | PointCloud:
    pieces = [(p, matrix) for p, matrix in placed(root) if p.get("mode", 4) in (0, 4)]
    if not pieces:
        raise InputError(f"cannot read {path.name}", "it holds no triangles and no points")
    meshes = [p for p in pieces if p[0].get("mode", 4) == 4]
    pieces = meshes or pieces
    columns: dict[str, list[np.ndarray | None]] = {}
    faces, base = [], 0
    for primitive, matrix in pieces:
        attributes = primitive["attributes"]
        xyz = accessor(root, blob, attributes["POSITION"])
        moved = not np.array_equal(matrix, np.eye(4))
        columns.setdefault("xyz", []).append(xyz @ matrix[:3, :3].T + matrix[:3, 3] if moved else xyz)
        for name in ("NORMAL", "TEXCOORD_0", "COLOR_0", "_CONFIDENCE", "_SIGMA"):
            values = accessor(root, blob, attributes[name]) if name in attributes else None
            if name == "NORMAL" and values is not None and moved:
                values = values @ np.linalg.inv(matrix[:3, :3])
            columns.setdefault(name, []).append(values)
        if meshes:
            index = primitive.get("indices")
            corner = np.arange(len(xyz)) if index is None else accessor(root, blob, index)
            faces.append(corner[: len(corner) // 3 * 3].reshape(-1, 3).astype(np.int64) + base)
        base += len(xyz)

    def joined(name: str) -> np.ndarray | None:
        parts = [c for c in columns[name] if c is not None]
        return np.concatenate(parts) if len(parts) == len(pieces) else None

    xyz = zup(np.concatenate([c for c in columns["xyz"] if c is not None])).astype(np.float32)
    normals, uvs, colors = joined("NORMAL"), joined("TEXCOORD_0"), joined("COLOR_0")
    if normals is not None:
        normals = unit(zup(normals))
    confidence, sigma = (None if c is None else c.astype(np.float32) for c in (joined("_CONFIDENCE"), joined("_SIGMA")))
    confidence, sigma = (None if c is None else np.where(c < 0, np.float32(np.nan), c) for c in (confidence, sigma))
    extras = root["meshes"][0].get("extras")
    origin = np.array(extras.get("origin", [0, 0, 0]) if isinstance(extras, dict) else [0, 0, 0], np.float64)
    rgb = None if colors is None else srgb_from_linear(colors[:, :3])
    if not meshes:
        n = len(xyz)
        unknown = np.full(n, np.nan, np.float32)
        return PointCloud(
            xyz,
            np.zeros((n, 3), np.float32) if normals is None else normals,
            np.full((n, 3), 128, np.uint8) if rgb is None else rgb,
            unknown if confidence is None else confidence,
            unknown if sigma is None else sigma,
            unknown,
            (),
            np.zeros(n + 1, np.int64),
            np.zeros(0, np.int32),
            origin,
        )
    corners = np.concatenate(faces)
    if corners.size and corners.max() >= len(xyz):
        raise ValueError("a face names a vertex that is not there")
    images = {_image_of(root, primitive) for primitive, _ in pieces}
    texture = None
    if uvs is not None:
        uvs = _flip(uvs)
        image = images.pop() if len(images) == 1 else None
        if image is not None and "bufferView" in root["images"][image]:
            view = root["bufferViews"][root["images"][image]["bufferView"]]
            start = view.get("byteOffset", 0)
            texture = decode_picture(blob[start : start + view["byteLength"]], f"in {path.name}")
    return Mesh(xyz, corners.astype(np.int32), normals, rgb, confidence, sigma, None, uvs, texture, origin)


def _image_of(root: dict[str, Any], primitive: dict[str, Any]) -> int | None:
    if "material" not in primitive:
        return None
    material = root["materials"][primitive["material"]]
    reference = material.get("pbrMetallicRoughness", {}).get("baseColorTexture")
    return None if reference is None else root["textures"][reference["index"]].get("source")


def _node_matrix(node: dict[str, Any]) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    from rilievo.geometry import rotation_from_quaternion

    x, y, z, w = node.get("rotation", [0, 0, 0, 1])
    out = np.eye(4)
    out[:3, :3] = rotation_from_quaternion(np.array([w, x, y, z])) * np.array(node.get("scale", [1, 1, 1]))
    out[:3, 3] = node.get("translation", [0, 0, 0])
    return out
