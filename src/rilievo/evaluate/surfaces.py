"""Clouds and meshes against the true surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo import kernels
from rilievo.evaluate.cameras import Alignment
from rilievo.evaluate.true_surface import DEFAULT, EvaluateConfig, TrueSurface, sample_by_area
from rilievo.types import Mesh, PointCloud


@dataclass(frozen=True)
class SurfaceScore:
    """A surface against truth at each threshold. Distances in gsd.

    accuracy_measured: accuracy without the faces marked as inferred (None where nothing is marked).
    inferred_share: share of the reconstructed area that is marked as inferred.
    error_median_gsd: median distance of reconstructed surface from truth.  gap_median_gsd: of seen truth from the
    reconstruction.  seen_share: share of the true area that enough photos see.
    """

    thresholds_gsd: tuple[float, ...]
    accuracy: tuple[float, ...]
    completeness: tuple[float, ...]
    f1: tuple[float, ...]
    accuracy_measured: tuple[float, ...] | None
    inferred_share: float
    error_median_gsd: float
    gap_median_gsd: float
    seen_share: float
    gsd: float
    num_samples: int


def _to_truth(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray | None, limit: float) -> np.ndarray:
    """Distance of points to a mesh, or to points where faces is None; infinity beyond limit."""
    if faces is not None:
        return kernels.closest_on_mesh(points, vertices, faces, limit)[0]
    from scipy.spatial import cKDTree

    return cKDTree(vertices).query(points, distance_upper_bound=limit)[0]


def _shares(distances: np.ndarray, thresholds: tuple[float, ...], gsd: float) -> tuple[float, ...]:
    return tuple(float(np.mean(distances <= t * gsd)) if len(distances) else 0.0 for t in thresholds)


def _score(
    config: EvaluateConfig, surface: TrueSurface, errors: np.ndarray, gaps: np.ndarray, inferred: np.ndarray | None
) -> SurfaceScore:
    gsd = surface.gsd
    accuracy, completeness = _shares(errors, config.thresholds_gsd, gsd), _shares(gaps, config.thresholds_gsd, gsd)
    measured = None if inferred is None else _shares(errors[~inferred], config.thresholds_gsd, gsd)
    return SurfaceScore(
        thresholds_gsd=config.thresholds_gsd,
        accuracy=accuracy,
        completeness=completeness,
        f1=tuple(2 * a * c / (a + c) if a + c > 0 else 0.0 for a, c in zip(accuracy, completeness)),
        accuracy_measured=measured,
        inferred_share=0.0 if inferred is None else float(inferred.mean()),
        error_median_gsd=float(np.median(errors)) / gsd if len(errors) else float("nan"),
        gap_median_gsd=float(np.median(gaps)) / gsd,
        seen_share=surface.seen_share,
        gsd=gsd,
        num_samples=len(errors),
    )


def _search_limit(config: EvaluateConfig, surface: TrueSurface) -> float:
    return 4.0 * max(config.thresholds_gsd) * surface.gsd


def evaluate_mesh(
    mesh: Mesh, alignment: Alignment, surface: TrueSurface, *, config: EvaluateConfig = DEFAULT
) -> SurfaceScore:
    """A mesh against the true surface, both sampled by area. Faces marked as inferred count like all others in
    `accuracy` (they are in the model that people get); `accuracy_measured` leaves them out."""
    vertices = alignment.apply(mesh.vertices.astype(np.float64) + mesh.origin) - surface.origin
    samples, face = sample_by_area(vertices, mesh.faces, config.num_samples, config.seed + 1)
    limit = _search_limit(config, surface)
    errors = _to_truth(samples, surface.vertices, surface.faces, limit)
    gaps = kernels.closest_on_mesh(surface.seen, vertices, np.ascontiguousarray(mesh.faces), limit)[0]
    return _score(config, surface, errors, gaps, None if mesh.inferred is None else mesh.inferred[face])


def evaluate_cloud(
    cloud: PointCloud, alignment: Alignment, surface: TrueSurface, *, config: EvaluateConfig = DEFAULT
) -> SurfaceScore:
    """A point cloud against the true surface. The cloud is thinned to one point a cube of half a gsd (the first), so
    that surface which many depth maps cover does not count more than the rest."""
    points = alignment.apply(cloud.points.astype(np.float64) + cloud.origin) - surface.origin
    points = points[np.isfinite(points).all(1)]
    cell = np.floor(points / (0.5 * surface.gsd)).astype(np.int64)
    _, first = np.unique(cell, axis=0, return_index=True)
    points = np.ascontiguousarray(points[np.sort(first)])
    limit = _search_limit(config, surface)
    errors = _to_truth(points, surface.vertices, surface.faces, limit)
    gaps = _to_truth(surface.seen, points, None, limit) if len(points) else np.full(len(surface.seen), np.inf)
    return _score(config, surface, errors, gaps, None)
