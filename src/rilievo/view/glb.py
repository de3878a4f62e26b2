"""GLB files that lie where the scene has them: their nodes turn y up to the scene's z up and take off its origin."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.io import gltf
from rilievo.types import Mesh

# z up from y up, as 4 x 4.
_ZUP = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], np.float64)


def place_glb(path: Path, raw: bytes, origin: np.ndarray) -> bytes:
    """The GLB with all of its scene below a node that carries it to z up, relative to `origin`. Raises InputError when
    it is none."""
    root, blob = gltf.read_chunks(path, raw)
    extras = next((m.get("extras") for m in root.get("meshes", []) if isinstance(m, dict)), None)
    own = np.array(extras.get("origin", [0, 0, 0]) if isinstance(extras, dict) else [0, 0, 0], np.float64)
    matrix = _ZUP.copy()
    matrix[:3, 3] = own - origin
    scenes = root.get("scenes") or [{"nodes": list(range(len(root.get("nodes", []))))}]
    nodes = root.setdefault("nodes", [])
    for scene in scenes:
        nodes.append({"matrix": matrix.T.ravel().tolist(), "children": list(scene.get("nodes", []))})
        scene["nodes"] = [len(nodes) - 1]
    root["scenes"] = scenes
    text = json.dumps(root, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(blob)
    return b"".join(
        (
            struct.pack("<4sII", b"glTF", 2, total),
            struct.pack("<I4s", len(text), b"JSON") + text,
            struct.pack("<I4s", len(blob), b"BIN\0"),
            blob,
        )
    )


def mesh_glb(mesh: Mesh, origin: np.ndarray, *, jpeg_quality: int = 90) -> bytes:
    """A mesh as GLB in the scene's coordinates."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mesh.glb"
        gltf.write(path, mesh, jpeg_quality=jpeg_quality)
        return place_glb(path, path.read_bytes(), origin)


def glb_facts(path: Path, raw: bytes) -> dict[str, Any]:
    """faces, textured, has_sigma, sigma_range (of 96 % of the known ones) of a GLB."""
    root, blob = gltf.read_chunks(path, raw)
    faces = 0
    known: list[np.ndarray] = []
    for mesh in root.get("meshes", []):
        for primitive in mesh.get("primitives", []):
            attributes = primitive.get("attributes", {})
            count = root["accessors"][attributes["POSITION"]]["count"] if "POSITION" in attributes else 0
            corners = root["accessors"][primitive["indices"]]["count"] if "indices" in primitive else count
            faces += corners // 3
            if "_SIGMA" in attributes:
                values = gltf.accessor(root, blob, attributes["_SIGMA"])
                known.append(values[np.isfinite(values) & (values >= 0)])
    sigma = np.concatenate(known) if known else np.zeros(0)
    span = np.quantile(sigma, [0.02, 0.98]).tolist() if len(sigma) else None
    return {
        "faces": faces,
        "textured": bool(root.get("textures")),
        "has_sigma": span is not None,
        "sigma_range": span,
    }
