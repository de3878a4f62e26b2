"""Binary STL: triangles with their normals, single precision, no units, no colour. Coordinates stay z up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rilievo.errors import InputError
from rilievo.io.axes import near_zero
from rilievo.io.files import read_bytes, replacing
from rilievo.types import Mesh

_TRIANGLE = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def write(path: Path, value: Mesh) -> tuple[Path, ...]:
    """Writes the triangles; an origin far from zero is named in the 80-byte header."""
    vertices, origin = near_zero(value.vertices, value.origin)
    head = "rilievo" + ("" if not origin.any() else " origin " + " ".join(f"{v:.10g}" for v in origin))
    x = vertices.astype(np.float64)[value.faces]
    normal = np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    table = np.zeros(len(value.faces), _TRIANGLE)
    table["normal"] = normal / np.where(length > 0, length, 1)
    table["corners"] = x
    with replacing(path) as f:
        f.write(head.encode()[:80].ljust(80) + len(table).to_bytes(4, "little"))
        f.write(table.data)
    return (path,)


def read(path: Path) -> Mesh:
    """Reads binary or ascii STL; corners at the same place become one vertex."""
    raw = read_bytes(path)
    origin = np.zeros(3)
    count = int.from_bytes(raw[80:84], "little")
    if len(raw) >= 84 and len(raw) >= 84 + 50 * count and not (raw[:6] == b"solid " and b"facet" in raw[:512]):
        corners = np.frombuffer(raw, _TRIANGLE, count, 84)["corners"].reshape(-1, 3)
        words = raw[:80].decode("latin-1").split()
        if words[:2] == ["rilievo", "origin"]:
            origin = np.array([float(w) for w in words[2:5]])
    elif raw[:5] == b"solid":
        lines = [w.split()[1:4] for w in raw.decode("latin-1").splitlines() if w.strip().startswith("vertex")]
        try:
            corners = np.array(lines, np.float32).reshape(-1, 3)
        except ValueError as e:
            raise InputError(f"cannot read {path.name}", f"the STL file is damaged ({e})") from e
        corners = corners[: len(corners) // 3 * 3]
    else:
        raise InputError(f"cannot read {path.name}", "it is not an STL file, or it is cut short")
    if not len(corners):
        raise InputError(f"cannot read {path.name}", "the STL file holds no triangles")
    vertices, faces = np.unique(corners, axis=0, return_inverse=True)
    return Mesh(vertices.astype(np.float32), faces.reshape(-1, 3).astype(np.int32), origin=origin)
