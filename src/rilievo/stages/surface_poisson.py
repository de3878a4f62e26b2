"""Screened Poisson surface (Kazhdan & Hoppe 2013), with the solver that pycolmap carries."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from rilievo.stages.points import thin
from rilievo.types import PointCloud

_MAX_DEPTH = 12


def poisson(
    cloud: PointCloud, centers: np.ndarray, thinning: float, max_points: int = 0, closed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices float32 (v, 3), faces int32 (f, 3) of the closed surface whose indicator function fits the normals best.

    The octree is as deep as one and a half pixel footprints ask for. The solver runs on one thread: with more, its
    sums and so its vertices depend on timing. It reads and writes files, so a temporary folder is used.
    The surface also closes over places without points; the caller drops what is far from any point.
    """
    import cv2  # noqa: F401  # before pycolmap: the other order breaks cv2's PNG writer
    import pycolmap

    del centers, max_points, closed
    keep, _ = thin(cloud, thinning)
    points, normals = cloud.points[keep], cloud.normals[keep]
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    room = 0.25 * (high - low).max()
    inside = ((points > low - room) & (points < high + room)).all(1)
    points, normals = points[inside], normals[inside]
    extent = 1.1 * float((points.max(0) - points.min(0)).max())
    cell = 1.5 * float(np.median(cloud.spacing))
    depth = int(np.clip(np.ceil(np.log2(max(extent / cell, 2.0))), 5, _MAX_DEPTH))
    options = pycolmap.PoissonMeshingOptions()
    options.depth = depth
    options.trim = 0.0
    options.color = False
    options.num_threads = 1
    with tempfile.TemporaryDirectory(prefix="rilievo-") as folder:
        source, target = Path(folder) / "points.ply", Path(folder) / "mesh.ply"
        _write_points(source, points, normals)
        pycolmap.poisson_meshing(source, target, options)
        return _read_mesh(target)


def _write_points(path: Path, points: np.ndarray, normals: np.ndarray) -> None:
    columns = ("x", "y", "z", "nx", "ny", "nz")
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    header += [f"property float {name}" for name in columns]
    body = np.concatenate([points, normals], 1).astype("<f4")
    path.write_bytes(("\n".join([*header, "end_header"]) + "\n").encode() + body.tobytes())


def _read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The file that the solver writes: x y z (and colours) per vertex, triangles with an int count."""
    content = path.read_bytes()
    end = content.index(b"end_header\n") + len(b"end_header\n")
    sizes = {"float": ("<f4", 4), "double": ("<f8", 8), "uchar": ("u1", 1), "int": ("<i4", 4)}
    counts: dict[str, int] = {}
    fields: list[tuple[str, str]] = []
    element, count_type = "", "<i4"
    for line in content[:end].decode().splitlines():
        words = line.split()
        if words[0] == "element":
            element = words[1]
            counts[element] = int(words[2])
        elif words[0] == "property" and element == "vertex":
            fields.append((words[2], sizes[words[1]][0]))
        elif words[:2] == ["property", "list"]:
            count_type = sizes[words[2]][0]
    vertices = np.frombuffer(content, np.dtype(fields), counts["vertex"], end)
    face = np.dtype([("count", count_type), ("corners", "<i4", 3)])
    faces = np.frombuffer(content, face, counts["face"], end + vertices.nbytes)
    if len(faces) and not (faces["count"] == 3).all():
        raise ValueError("the Poisson solver wrote faces that are not triangles")
    place = np.stack([vertices[axis] for axis in "xyz"], 1).astype(np.float32)
    return place, np.array(faces["corners"], np.int32)
