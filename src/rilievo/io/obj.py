"""Wavefront OBJ with its material (.mtl) and texture beside it. Vertex colours follow the position, as most programs
read them. Coordinates stay z up: OBJ names no axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rilievo.errors import InputError
from rilievo.io.axes import near_zero
from rilievo.io.files import read_bytes, replacing
from rilievo.io.pictures import encode_picture, read_picture
from rilievo.types import Mesh


def write(path: Path, value: Mesh, *, jpeg_quality: int = 92) -> tuple[Path, ...]:
    """Writes NAME.obj, and NAME.mtl with NAME.jpg (or NAME.png) when the mesh has a texture."""
    vertices, origin = near_zero(value.vertices, value.origin)
    written = [path]
    textured = value.texture is not None and value.uvs is not None
    head = ["# rilievo: z up, right-handed"]
    if origin.any():
        head.append("# origin " + " ".join(repr(float(v)) for v in origin))
    if textured and value.texture is not None:
        raw, ending = encode_picture(value.texture, jpeg_quality)
        picture, material = path.with_suffix("." + ending), path.with_suffix(".mtl")
        with replacing(picture) as f:
            f.write(raw)
        with replacing(material) as f:
            lines = ["newmtl surface", "Ka 1 1 1", "Kd 1 1 1", "Ks 0 0 0", "illum 1", f"map_Kd {picture.name}"]
            f.write(("\n".join(lines) + "\n").encode())
        written += [material, picture]
        head.append(f"mtllib {material.name}")
    with replacing(path) as f:
        f.write(("\n".join(head) + "\n").encode())
        if value.colors is not None and not textured:
            rows = np.concatenate([vertices.astype(np.float64), value.colors / 255.0], 1)
            f.write(_rows("v %.9g %.9g %.9g %.4g %.4g %.4g\n", rows))
        else:
            f.write(_rows("v %.9g %.9g %.9g\n", vertices))
        corner = value.faces.astype(np.int64) + 1
        columns = "%d"
        if value.uvs is not None:
            f.write(_rows("vt %.9g %.9g\n", value.uvs))
            columns = "%d/%d"
        if value.normals is not None:
            f.write(_rows("vn %.6g %.6g %.6g\n", value.normals))
            columns = "%d/%d/%d" if value.uvs is not None else "%d//%d"
        if textured:
            f.write(b"usemtl surface\n")
        f.write(_rows("f " + " ".join([columns] * 3) + "\n", np.repeat(corner, columns.count("%d"), axis=1)))
    return tuple(written)


def _rows(template: str, values: np.ndarray) -> bytes:
    return ((template * len(values)) % tuple(values.ravel().tolist())).encode()


def read(path: Path) -> Mesh:
    """Reads the triangles of an OBJ; polygons are cut into fans. A vertex is repeated for each texture coordinate and
    normal it is used with. The texture is kept when the file names exactly one."""
    lines = read_bytes(path).decode("utf-8", "replace").splitlines()
    rows: dict[str, list[list[str]]] = {"v": [], "vt": [], "vn": []}
    polygons: list[list[str]] = []
    origin = np.zeros(3)
    libraries: list[str] = []
    try:
        for line in lines:
            words = line.split()
            if not words:
                continue
            if words[0] in rows:
                rows[words[0]].append(words[1:])
            elif words[0] == "f":
                polygons.append(words[1:])
            elif words[0] == "mtllib":
                libraries.append(line.split(None, 1)[1].strip())
            elif words[:2] == ["#", "origin"] and len(words) == 5:
                origin = np.array([float(w) for w in words[2:]])
        if any(len(r) < 3 for r in rows["v"]):
            raise ValueError("a vertex has fewer than three numbers")
        if not rows["v"] or not polygons:
            raise InputError(f"cannot read {path.name}", "the OBJ file has no vertices or no faces")
        v = np.array([r[:3] for r in rows["v"]], np.float64).reshape(-1, 3)
        vt = np.array([r[:2] for r in rows["vt"]], np.float64).reshape(-1, 2)
        vn = np.array([r[:3] for r in rows["vn"]], np.float64).reshape(-1, 3)
        counts = (len(v), len(vt), len(vn))
        corners = np.array([_corner(c, counts) for p in polygons for k in range(1, len(p) - 1) for c in _fan(p, k)])
    except (ValueError, IndexError) as e:
        raise InputError(f"cannot read {path.name}", f"the OBJ file is damaged ({e})") from e
    if not len(corners) or (corners >= np.array(counts)).any() or (corners[:, 0] < 0).any():
        raise InputError(f"cannot read {path.name}", "a face of the OBJ file names a vertex that is not there")
    use = np.array([True, bool((corners[:, 1] >= 0).all()), bool((corners[:, 2] >= 0).all())])
    if not use[1:].any():
        keys, faces = np.arange(len(v))[:, None], corners[:, 0]
        keys = np.repeat(keys, 3, axis=1)
    else:
        corners[:, ~use] = 0
        keys, faces = np.unique(corners, axis=0, return_inverse=True)
    colors = None
    if all(len(r) >= 6 for r in rows["v"]):
        colors = np.clip(np.round(255 * np.array([r[3:6] for r in rows["v"]], np.float64)), 0, 255).astype(np.uint8)
    pictures = _pictures(path, libraries)
    return Mesh(
        v[keys[:, 0]].astype(np.float32),
        faces.reshape(-1, 3).astype(np.int32),
        vn[keys[:, 2]].astype(np.float32) if use[2] else None,
        None if colors is None else colors[keys[:, 0]],
        uvs=vt[keys[:, 1]].astype(np.float32) if use[1] else None,
        texture=read_picture(pictures[0]) if use[1] and len(pictures) == 1 else None,
        origin=origin,
    )


def _fan(polygon: list[str], k: int) -> tuple[str, str, str]:
    return polygon[0], polygon[k], polygon[k + 1]


def _corner(text: str, counts: tuple[int, int, int]) -> tuple[int, int, int]:
    """`v/vt/vn`, counted from 1 or backwards from the end, to indices from 0; -1 where absent."""
    parts = [int(p) if p else 0 for p in text.split("/")] + [0, 0]
    a, b, c = (p - 1 if p > 0 else n + p if p < 0 else -1 for p, n in zip(parts, counts))
    return a, b, c


def _pictures(path: Path, libraries: list[str]) -> list[Path]:
    found: list[Path] = []
    for name in libraries:
        if (path.parent / name).is_file():
            for line in read_bytes(path.parent / name).decode("utf-8", "replace").splitlines():
                words = line.split(None, 1)
                if len(words) == 2 and words[0] == "map_Kd":
                    picture = path.parent / words[1].strip()
                    if picture not in found and picture.is_file():
                        found.append(picture)
    return found
