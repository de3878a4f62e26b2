"""Surface by ball pivoting (Bernardini et al. 1999): triangles between measured points, holes where there are none."""

from __future__ import annotations

import numpy as np

from rilievo import kernels
from rilievo.stages.points import thin
from rilievo.types import PointCloud

# Radii of the balls, in the distance of the thinned points: one that touches neighbours, then two that step over gaps.
_RADII = (1.0, 2.0, 4.0)


def ball_pivoting(
    cloud: PointCloud, centers: np.ndarray, thinning: float, max_points: int = 0, closed: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices float32 (v, 3) and faces int32 (f, 3): three points are joined where a ball rests on them and holds no
    other point. Nothing is smoothed and nothing is closed, so noise of the size of the balls leaves holes."""
    del centers, max_points, closed
    keep, _ = thin(cloud, thinning)
    points = cloud.points[keep].astype(np.float64)
    middle = points.mean(0)
    step = max(thinning, 1.0) * float(np.median(cloud.spacing))
    faces = kernels.ball_pivot(
        np.ascontiguousarray(points - middle), cloud.normals[keep].astype(np.float64), step * np.array(_RADII)
    )
    return cloud.points[keep], faces
