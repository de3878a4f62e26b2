"""The measured points around places: a k-d tree over a cloud, and what it says."""

from __future__ import annotations

import numpy as np

from rilievo import kernels
from rilievo.types import PointCloud


class Neighbours:
    """Nearest points of a cloud. 17 bytes a point."""

    def __init__(self, cloud: PointCloud) -> None:
        self.cloud = cloud
        self.tree: tuple[np.ndarray, np.ndarray, np.ndarray] = kernels.build_tree(cloud.points)

    def nearest(self, places: np.ndarray, count: int = 1, limit: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
        """Numbers int32 (m, count), -1 where there are fewer within `limit`, and distances float64 (m, count)."""
        return kernels.nearest_points(*self.tree, np.ascontiguousarray(places, np.float32), count, limit)

    def gap(self, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Distance of each face's centre to the nearest point, in that point's pixel footprints."""
        out = np.zeros(len(faces), np.float32)
        for start in range(0, len(faces), 1 << 19):
            distance, index = self._to_face(vertices, faces[start : start + (1 << 19)])
            out[start : start + (1 << 19)] = distance / self.cloud.spacing[index]
        return out

    def prior(self, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """bool (f,): the point nearest to the face's centre comes from a prior, not from a photo's match."""
        if self.cloud.inferred is None or not self.cloud.inferred.any():
            return np.zeros(len(faces), bool)
        return self.cloud.inferred[self._to_face(vertices, faces)[1]]

    def _to_face(self, vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b, c = (vertices[faces[:, k]].astype(np.float64) for k in range(3))
        index, distance = self.nearest((a + b + c) / 3)
        return distance[:, 0], index[:, 0]

    def attributes(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Colours, confidence and sigma at vertices: means of the four nearest points, weighted by 1 / distance."""
        cloud = self.cloud
        nearest, distance = self.nearest(vertices, min(4, len(cloud.points)))
        weight = 1.0 / (distance + 0.25 * cloud.spacing[nearest])
        weight /= weight.sum(1, keepdims=True)
        colors = np.einsum("vk,vkc->vc", weight, cloud.colors[nearest].astype(np.float64))
        confidence = (weight * cloud.confidence[nearest]).sum(1)
        sigma = (weight * cloud.sigma[nearest]).sum(1)
        return np.round(colors).astype(np.uint8), confidence.astype(np.float32), sigma.astype(np.float32)

    def trust(self, vertices: np.ndarray) -> np.ndarray:
        """Weight float64 (v,) of the surface at each vertex: inverse variance of the nearest point, against the usual
        one, from 1/4 to 4; 1/4 where the variance is unknown."""
        index, _ = self.nearest(vertices)
        sigma = self.cloud.sigma[index[:, 0]].astype(np.float64)
        known = np.isfinite(sigma) & (sigma > 0)
        if not known.any():
            return np.ones(len(vertices))
        usual = float(np.median(sigma[known]))
        return np.where(known, np.clip((usual / np.where(known, sigma, usual)) ** 2, 0.25, 4.0), 0.25)
