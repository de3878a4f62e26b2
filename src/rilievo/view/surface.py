"""What is known about the surface at a place: uncertainty, normal, spacing. From the mesh, else from the cloud."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from rilievo.types import Mesh, PointCloud
from rilievo.view.measures import covariance
from rilievo.view.mesh_levels import Places, joined
from rilievo.view.sources import Item, Source


@dataclass(frozen=True)
class Spot:
    """The surface at a place. distance: of the place from it.  sigma: along the normal, None where not known.
    spacing: footprint of a photo's pixel, or of the mesh's edges, there."""

    distance: float
    normal: np.ndarray
    sigma: float | None
    spacing: float | None

    def covariance(self) -> np.ndarray | None:
        """(3, 3) of a point that was picked here: off by sigma along the normal, and in the surface by sigma and half a
        pixel's footprint, which is how well a place can be found in the photos."""
        if self.sigma is None:
            return None
        along = float(np.hypot(self.sigma, 0.5 * (self.spacing or 0.0)))
        return covariance(self.normal, self.sigma, along)


class Surface:
    """The mesh or the cloud of one source, in the scene's coordinates; loaded when it is first asked for."""

    def __init__(self, source: Source, origin: np.ndarray) -> None:
        self._source, self._origin = source, origin
        self._lock = threading.Lock()
        self._loaded: dict[str, tuple[str, Any]] = {}
        self._footprint: float | None = None

    def _value(self, kind: str) -> Any:
        """The newest value of a kind, None without one."""
        item: Item | None = next((i for i in self._source.items() if i.kind == kind), None)
        if item is None:
            return None
        with self._lock:
            if self._loaded.get(kind, ("", None))[0] != item.key:
                self._loaded[kind] = (item.key, item.load())
                self._loaded.pop(f"made {kind}", None)
                self._loaded.pop(f"made {kind} boxes", None)
            return self._loaded[kind][1]

    def _made(self, kind: str, make: Any) -> Any:
        with self._lock:
            if f"made {kind}" not in self._loaded:
                self._loaded[f"made {kind}"] = ("", make())
            return self._loaded[f"made {kind}"][1]

    def mesh(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None] | None:
        """(vertices float64 in the scene, faces that share them, sigma) of the mesh; None without one."""
        mesh = self._value("mesh")
        if mesh is None:
            return None

        def make() -> Any:
            vertices, faces, rows = joined(mesh)
            sigma = None if mesh.sigma is None else mesh.sigma[rows].astype(np.float64)
            return vertices.astype(np.float64) + (mesh.origin - self._origin), faces, sigma

        return self._made("mesh", make)

    def footprint(self) -> float | None:
        """World length that a pixel of the photos spans, median."""
        if self._footprint is None and self._source.scene is not None:
            from rilievo.report import median_gsd

            gsd = median_gsd(self._source.scene)
            self._footprint = gsd if np.isfinite(gsd) else None
        return self._footprint

    def spots(self, points: np.ndarray) -> list[Spot] | None:
        """The surface near points (n, 3) of the scene; None when there is neither mesh nor cloud."""
        mesh = self._value("mesh")
        if isinstance(mesh, Mesh) and len(mesh.faces):
            return self._on_mesh(mesh, points)
        cloud = self._value("cloud")
        if isinstance(cloud, PointCloud) and len(cloud.points):
            return self._in_cloud(cloud, points)
        return None

    def _on_mesh(self, mesh: Mesh, points: np.ndarray) -> list[Spot]:
        local = points - (mesh.origin - self._origin)
        mesh = self._near(mesh, local)
        on = Places(mesh, local)
        x = mesh.vertices.astype(np.float64)[mesh.faces[on.face]]
        normals = np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0])
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        normals = np.where(length > 0, normals / np.where(length > 0, length, 1), [0, 0, 1])
        sigma = np.full(len(points), np.nan) if mesh.sigma is None else on.mean(mesh.sigma)
        edges = np.linalg.norm(x - np.roll(x, 1, 1), axis=2).mean(1)
        spacing = self.footprint()
        return [
            Spot(float(d), n, known(s), float(e) if spacing is None else spacing)
            for d, n, s, e in zip(on.distance, normals, sigma, edges)
        ]

    def _near(self, mesh: Mesh, points: np.ndarray) -> Mesh:
        """The mesh with those faces only that can be nearest to one of a few points: none is further than the nearest
        vertex."""
        if len(points) > 32:
            return mesh
        low, high = self._made("mesh boxes", lambda: _boxes(mesh))
        near = np.zeros(len(mesh.faces), bool)
        for p in points.astype(np.float32):
            # Squares in single precision: a little more is taken than is needed.
            reach = (
                np.sqrt(((mesh.vertices - p) ** 2).sum(1).min()) * np.float32(1.01) + np.float32(1e-5) * np.abs(p).max()
            )
            near |= ((low <= p + reach) & (high >= p - reach)).all(1)
        return Mesh(mesh.vertices, np.ascontiguousarray(mesh.faces[near]), sigma=mesh.sigma, origin=mesh.origin)

    def _in_cloud(self, cloud: PointCloud, points: np.ndarray) -> list[Spot]:
        from scipy.spatial import KDTree

        tree = self._made("cloud", lambda: KDTree(cloud.points))
        distance, row = tree.query(points - (cloud.origin - self._origin))
        return [
            Spot(float(d), cloud.normals[r].astype(np.float64), known(cloud.sigma[r]), known(cloud.spacing[r]))
            for d, r in zip(distance, row)
        ]


def _boxes(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corners of the faces' boxes, float32 (f, 3) each."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    return np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)


def known(x: Any) -> float | None:
    """A number, None where it is not finite or negative (unknown)."""
    return float(x) if np.isfinite(x) and x >= 0 else None
