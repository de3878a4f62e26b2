"""A plan as a mesh for viewers: the surface coloured by how many photos see it, and a small pyramid for each camera."""

from __future__ import annotations

import numpy as np

from rilievo import geometry
from rilievo.capture.coverage import Obstacles, view_counts
from rilievo.capture.outlines import inside
from rilievo.capture.stations import Plan
from rilievo.types import Mesh

# number of photos from which a colour counts, and the colour: none and few are reds, enough is green, plenty is blue
COUNT_COLORS: tuple[tuple[int, tuple[int, int, int]], ...] = (
    (0, (70, 20, 20)), (1, (190, 50, 40)), (2, (225, 120, 50)), (3, (235, 195, 80)), (4, (150, 195, 95)),
    (6, (80, 165, 110)), (10, (60, 140, 160)), (20, (60, 95, 165)),
)  # fmt: skip
GROUP_COLORS = ("#1f6fb2", "#c8553d", "#4c8c4a", "#8a5aa8", "#b08900", "#3a8f95", "#a83f6f", "#5a6472")


def count_colors(counts: np.ndarray) -> np.ndarray:
    """uint8 (n, 3)."""
    steps = np.array([limit for limit, _ in COUNT_COLORS])
    return np.array([c for _, c in COUNT_COLORS], np.uint8)[np.searchsorted(steps, counts, side="right") - 1]


def subdivided(triangles: np.ndarray, min_faces: int = 3000) -> np.ndarray:
    """Triangles cut in four until there are enough to carry colours."""
    while 0 < len(triangles) < min_faces:
        a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        triangles = np.concatenate([np.stack(p, 1) for p in parts])
    return triangles


def plan_mesh(plan: Plan) -> Mesh:
    """Surface and cameras as one coloured mesh, relative to a float64 origin."""
    surface = subdivided(plan.triangles)
    normals = np.cross(surface[:, 1] - surface[:, 0], surface[:, 2] - surface[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    poses = plan.stations.cam_from_world
    found = view_counts(
        surface.mean(1),
        normals,
        [plan.camera],
        np.zeros(len(poses), np.int32),
        poses,
        obstacles=Obstacles(plan.triangles),
    )
    tones = count_colors(found.counts)
    if "outline" in plan.facts:  # what lies around an area is not asked for
        tones[~inside(np.array(plan.facts["outline"]), surface.mean(1)[:, :2])] = (176, 176, 170)
    pyramids = _pyramids(plan)
    per_camera = len(pyramids) // max(len(poses), 1)
    tint = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in GROUP_COLORS], np.uint8)
    colors = np.concatenate([tones, np.repeat(tint[plan.stations.group % len(tint)], per_camera, axis=0)])
    triangles = np.concatenate([surface, pyramids])
    across = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-30)
    # viewers show colours as they are: a little light of their own, so that shapes can be told
    colors = (colors * (0.78 + 0.22 * across @ [0.35, -0.5, 0.79])[:, None]).astype(np.uint8)
    origin = np.round(plan.triangles.reshape(-1, 3).mean(0)) if len(plan.triangles) else np.zeros(3)
    return Mesh(
        vertices=np.ascontiguousarray((triangles.reshape(-1, 3) - origin).astype(np.float32)),
        faces=np.arange(3 * len(triangles), dtype=np.int32).reshape(-1, 3),
        colors=np.repeat(colors, 3, axis=0),
        origin=origin,
    )


def _pyramids(plan: Plan) -> np.ndarray:
    """Six triangles a camera, (6 n, 3, 3): its pyramid of view, a fraction of the distance long."""
    poses, camera = plan.stations.cam_from_world, plan.camera
    if not len(poses):
        return np.zeros((0, 3, 3))
    centers = plan.stations.centers
    gaps = np.linalg.norm(np.diff(centers, axis=0), axis=1) if len(centers) > 1 else np.array([plan.depth])
    length = min(0.12 * plan.depth, 0.6 * float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else plan.depth)
    x, y = camera.width / camera.fx / 2, camera.height / camera.fy / 2
    tips = length * np.array([[0, 0, 0], [-x, -y, 1], [x, -y, 1], [x, y, 1], [-x, y, 1]])
    faces = [(0, 1, 2), (0, 2, 3), (0, 3, 4), (0, 4, 1), (1, 3, 2), (1, 4, 3)]
    back = geometry.invert(poses)
    points = np.einsum("nij,kj->nki", back[:, :, :3], tips) + back[:, None, :, 3]
    return points[:, np.array(faces)][:, :, ::-1].reshape(-1, 3, 3)
