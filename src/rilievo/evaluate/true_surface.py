"""The true surface made ready for comparing: sampled by area, and what of it the photos can see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int32

from rilievo import geometry
from rilievo.capture import coverage
from rilievo.errors import InputError
from rilievo.io.truth import Truth
from rilievo.types import _Value


@dataclass(frozen=True)
class EvaluateConfig:
    version: ClassVar[int] = 1
    thresholds_gsd: tuple[float, ...] = (1.0, 2.0, 5.0)
    """Distances at which accuracy, completeness and F1 are given, in ground sample distances."""
    num_samples: int = 200_000
    """Points drawn on each surface."""
    min_photos: int = 3
    """True surface counts for completeness where at least this many photos see it."""
    max_angle_deg: float = 85.0
    """A photo does not see surface that is turned away from it by more than this."""
    seed: int = 0
    """Seed of the random samples."""


DEFAULT = EvaluateConfig()


@dataclass(frozen=True, eq=False)
class TrueSurface(_Value):
    """True surface made ready for comparing: `seen` are points on it that enough photos see (relative to `origin`, as
    are `vertices`); `gsd` its ground sample distance; `seen_share` the share of its area that is seen."""

    vertices: Float64[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"] | None
    seen: Float64[np.ndarray, "n 3"]
    origin: Float64[np.ndarray, "3"]
    gsd: float
    seen_share: float


def sample_by_area(
    vertices: np.ndarray, faces: np.ndarray, num_samples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) drawn evenly by area, float64, and the face of each (n,)."""
    return coverage.sample_by_area(vertices[faces], num_samples, seed)


def prepare_surface(truth: Truth, *, config: EvaluateConfig = DEFAULT) -> TrueSurface:
    """Samples the true surface, finds which samples enough photos see (inside the picture, facing the camera, nothing
    in between: rays against the mesh) and the ground sample distance.

    Raises InputError where the truth has neither mesh nor points, or no photo sees the surface. A truth of points alone
    has nothing to hide behind: only "inside the picture" is tested.
    """
    if truth.vertices is not None and truth.faces is not None and len(truth.faces):
        vertices, faces = truth.vertices, truth.faces
        origin = vertices.mean(0)
        samples, face = sample_by_area(vertices - origin, faces, config.num_samples, config.seed)
        a, b, c = (vertices[faces[:, k]] for k in range(3))
        normals = np.cross(b - a, c - a)[face]
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        scene = coverage.Obstacles((vertices - origin)[faces])
    elif truth.points is not None and len(truth.points):
        vertices, faces, normals, scene = truth.points, None, None, None
        origin = vertices.mean(0)
        samples = vertices - origin
    else:
        raise InputError(
            "there is no true surface to compare with",
            "the truth holds cameras only",
            "put mesh.ply (or cloud.ply) beside cameras.json",
        )
    count = np.zeros(len(samples), np.int32)
    depths, focals = [], []
    min_cos = math.cos(math.radians(config.max_angle_deg))
    for camera, cam_from_world in zip(truth.cameras, truth.cam_from_world):
        cam_from_local = cam_from_world.copy()
        cam_from_local[:, 3] += cam_from_world[:, :3] @ origin
        index = np.flatnonzero(coverage.Picture(camera).inside(cam_from_local, samples))
        eye = geometry.invert(cam_from_local)[:, 3]
        ray = samples[index] - eye
        distance = np.linalg.norm(ray, axis=1)
        if normals is not None and scene is not None:
            # an open surface is seen from both sides; the far side of a solid is hidden by the solid itself
            keep = np.abs((ray * normals[index]).sum(1)) > min_cos * distance
            index, ray, distance = index[keep], ray[keep], distance[keep]
            keep = scene.visible(eye, samples[index])
            index, ray, distance = index[keep], ray[keep], distance[keep]
        count[index] += 1
        depth = geometry.transform(cam_from_local, samples[index])[:, 2]
        # evenly by area on the surface -> evenly by pixel in the picture: weight by solid angle
        depths.append(_weighted_median(depth, _pixel_weight(ray, distance, normals, index)))
        focals.append(0.5 * (camera.fx + camera.fy))
    per_photo = np.array(depths) / np.array(focals)
    seen = count >= config.min_photos
    if not seen.any():
        raise InputError(
            "no part of the true surface is seen by enough photos",
            f"none of {len(samples)} points on it is seen by {config.min_photos} of {len(truth.names)} cameras",
            "check that cameras and mesh of the truth share one frame (camera axes: x right, y down, z forward)",
        )
    return TrueSurface(
        vertices=np.ascontiguousarray(vertices - origin),
        faces=faces,
        seen=np.ascontiguousarray(samples[seen]),
        origin=origin,
        gsd=float(np.nanmedian(per_photo)),
        seen_share=float(seen.mean()),
    )


def _pixel_weight(ray: np.ndarray, distance: np.ndarray, normals: np.ndarray | None, index: np.ndarray) -> np.ndarray:
    if normals is None:
        return 1.0 / distance**2
    return np.abs((ray * normals[index]).sum(1)) / distance**3


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    if not len(values):
        return float("nan")
    order = np.argsort(values, kind="stable")
    summed = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(summed, 0.5 * summed[-1])]])
