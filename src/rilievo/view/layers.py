"""Layers of a scene: values to the files that the page loads, and the entries of the manifest that name them.

Entries name files as they lie beside layer.json; `addressed` puts `layer/ID/` before them. All coordinates are relative
to the scene's origin; GLB files carry a node that places them there, splats a `matrix` (scene from file, column by
column, as WebGL has them).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.types import Mesh, PointCloud, Reconstruction, Splats
from rilievo.view import glb
from rilievo.view.mesh_levels import coarser_levels, joined, level_sizes
from rilievo.view.octree import build_octree, pack_nodes
from rilievo.view.store import LayerStore

Write = Callable[[str, bytes], None]


def quantile_range(values: np.ndarray | None) -> list[float] | None:
    """From where to where 96 % of the known values lie."""
    if values is None:
        return None
    known = values[np.isfinite(values) & (values >= 0)]
    if not len(known):
        return None
    low, high = np.quantile(known, [0.02, 0.98])
    return [float(low), float(high)]


def sparse_layer(scene: Reconstruction, origin: np.ndarray, write: Write) -> dict[str, Any]:
    """Sparse points with their reprojection errors, px."""
    return {
        "kind": "sparse",
        "name": "Sparse points",
        "visible": False,
        **_octree((scene.points - origin).astype(np.float32), scene.point_colors, scene.point_errors_px, write),
        "error_range": quantile_range(scene.point_errors_px),
    }


def cloud_layer(cloud: PointCloud, origin: np.ndarray, write: Write) -> dict[str, Any]:
    """A dense cloud with its sigma."""
    points = _moved(cloud.points, cloud.origin - origin)
    return {
        "kind": "cloud",
        "name": "Point cloud",
        "visible": False,
        **_octree(points, cloud.colors, cloud.sigma, write),
        "sigma_range": quantile_range(cloud.sigma),
    }


def _moved(points: np.ndarray, by: np.ndarray) -> np.ndarray:
    return points if not by.any() else (points + by).astype(np.float32)


def _octree(points: np.ndarray, colors: np.ndarray, values: np.ndarray, write: Write) -> dict[str, Any]:
    good = np.isfinite(points).all(1)
    if not good.all():
        points, colors, values = points[good], colors[good], values[good]
    nodes = build_octree(points)
    listed, total = [], 0
    for k, (node, (raw, count)) in enumerate(zip(nodes, pack_nodes(nodes, points, colors, values))):
        write(f"{k}.bin", raw)
        total += len(raw)
        listed.append(
            {
                "id": k,
                "url": f"{k}.bin",
                "count": count,
                "min": node.low.astype(np.float64).tolist(),
                "max": node.high.astype(np.float64).tolist(),
                "spacing": node.spacing,
                "children": node.children,
            }
        )
    return {"count": len(points), "bytes": total, "nodes": listed}


def exported_mesh_layer(file: Path, origin: np.ndarray, write: Write) -> dict[str, Any]:
    """A mesh whose GLB is there already."""
    raw = file.read_bytes()
    facts = glb.glb_facts(file, raw)
    placed = glb.place_glb(file, raw, origin)
    write("full.glb", placed)
    return _mesh_entry([("full.glb", facts["faces"], len(placed))], facts)


def mesh_layer(mesh: Mesh, origin: np.ndarray, write: Write) -> dict[str, Any]:
    """A mesh in full."""
    raw = glb.mesh_glb(mesh, origin)
    write("full.glb", raw)
    sigma = mesh.sigma is not None and bool(np.isfinite(mesh.sigma).any())
    textured = mesh.texture is not None and mesh.uvs is not None
    facts = {"textured": textured, "has_sigma": sigma, "sigma_range": quantile_range(mesh.sigma)}
    return _mesh_entry([("full.glb", len(mesh.faces), len(raw))], facts)


def _mesh_entry(files: list[tuple[str, int, int]], facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "mesh",
        "name": "Textured mesh" if facts["textured"] else "Mesh",
        "visible": True,
        "count": files[-1][1],
        "bytes": sum(size for *_, size in files),
        "textured": facts["textured"],
        "has_sigma": facts["has_sigma"],
        "sigma_range": facts["sigma_range"],
        "levels": [{"url": name, "faces": faces, "bytes": size} for name, faces, size in files],
    }


def level_layer(mesh: Mesh, origin: np.ndarray, write: Write) -> dict[str, Any] | None:
    """Coarser levels of a mesh; None where it is small."""
    levels = []
    sizes = [(num, min(1024 << k, 4096)) for k, num in enumerate(level_sizes(len(mesh.faces)))]
    for k, level in zip(reversed(range(len(sizes))), coarser_levels(mesh, sizes[::-1])):
        raw = glb.mesh_glb(level, origin)
        write(f"{k}.glb", raw)
        levels.append({"url": f"{k}.glb", "faces": len(level.faces), "bytes": len(raw)})
    levels.reverse()
    return {"kind": "levels", "levels": levels} if levels else None


def splats_layer(splats: Splats, name: str, origin: np.ndarray, write: Write, folder: Path) -> dict[str, Any]:
    """Gaussians as SPZ, whose axes are ours with y and z reversed."""
    from dataclasses import replace

    from rilievo.io.splats import SPZ_SCALES, write_splats

    # SPZ holds positions in steps of 1/4096: a small scene is written larger and shrunk by the matrix.
    spread = float(np.linalg.norm(np.subtract(*np.quantile(splats.means, [0.9, 0.1], axis=0))))
    scale = 2.0 ** math.ceil(math.log2(50 / max(spread, 1e-9)))
    scale = min(scale, 2.0 ** math.floor(math.log2(0.5 * SPZ_SCALES[1] / max(float(splats.scales.max()), 1e-9))))
    scale = min(scale, 2.0 ** math.floor(math.log2(2000 / max(float(np.abs(splats.means).max()), 1e-9))))
    local = replace(
        splats, means=splats.means * np.float32(scale), scales=splats.scales * np.float32(scale), origin=np.zeros(3)
    )
    path = folder / "splats.spz"
    folder.mkdir(parents=True, exist_ok=True)
    write_splats(path, local)
    raw = path.read_bytes()
    matrix = np.diag([1 / scale, -1 / scale, -1 / scale, 1.0])
    matrix[:3, 3] = splats.origin - origin
    return {
        "kind": "splats",
        "name": name,
        "visible": False,
        "count": len(splats.means),
        "bytes": len(raw),
        "url": "splats.spz",
        "format": "spz",
        "matrix": matrix.T.ravel().tolist(),
        "degree": splats.degree,
        "background": list(splats.background),
    }


def hole_layer(mesh: Mesh, origin: np.ndarray) -> dict[str, Any] | None:
    """The borders of a mesh as closed loops; None where there are none."""
    from rilievo.stages.mesh_clean import holes

    vertices, faces, _ = joined(mesh)
    loops = holes(Mesh(vertices, faces))
    if not loops:
        return None
    shift = mesh.origin - origin
    lines = [(vertices[h.vertices].astype(np.float64) + shift).round(6).tolist() for h in loops[:500]]
    return {
        "kind": "holes",
        "name": "Holes",
        "visible": False,
        "count": len(loops),
        "bytes": 0,
        "lines": lines,
        "lengths": [h.length for h in loops[:500]],
    }


def inferred_layer(mesh: Mesh, origin: np.ndarray, write: Write) -> dict[str, Any] | None:
    """The faces that no photo measured; None where all were measured, or nobody knows."""
    if mesh.inferred is None or not mesh.inferred.any():
        return None
    faces = mesh.faces[mesh.inferred]
    used, index = np.unique(faces, return_inverse=True)
    raw = glb.mesh_glb(
        Mesh(mesh.vertices[used], index.reshape(faces.shape).astype(np.int32), origin=mesh.origin), origin
    )
    write("inferred.glb", raw)
    return {
        "kind": "inferred",
        "name": "Not measured (inferred)",
        "visible": False,
        "count": len(faces),
        "bytes": len(raw),
        "url": "inferred.glb",
    }


def kept(
    store: LayerStore, name: str, key: Sequence[Any], make: Callable[[Write, Path], dict[str, Any] | None]
) -> tuple[dict[str, Any] | None, Path]:
    """A layer from the store, or made now: (entry or None, folder of its files)."""
    folder = store.folder(name, *key)
    entry = store.find(store.place(folder))
    if entry is None:

        def write(file: str, raw: bytes) -> None:
            store.write(folder, file, raw)

        entry = make(write, folder) or {"none": True}
        store.finish(folder, name, entry)
    return (None if entry.get("none") else entry), store.place(folder)


def addressed(entry: Any, layer: str) -> Any:
    """An entry with all of its addresses below `layer/ID/`."""
    if isinstance(entry, list):
        return [addressed(e, layer) for e in entry]
    if not isinstance(entry, dict):
        return entry
    return {k: f"layer/{layer}/{v}" if k == "url" else addressed(v, layer) for k, v in entry.items()}
