"""Lengths on the sample capture's surface that are known from its truth, between points that one photo sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from rilievo import geometry
from rilievo.io.truth import load_truth

CAPTURE = Path(__file__).parent.parent / "examples" / "capture"


def known_lengths(scene: dict[str, Any], name: str) -> list[tuple[np.ndarray, float]]:
    """Two pairs of points of the surface, far apart, that the photo `name` sees: their places in the viewer's scene
    (2, 3), by the camera centres, and their distance in metres."""
    truth = load_truth(CAPTURE)
    placed = {photo["name"]: photo for photo in scene["photos"] if photo["placed"]}
    rows = [k for k, known in enumerate(truth.names) if known in placed]
    made = np.array([placed[truth.names[k]]["cam_from_world"] for k in rows]).reshape(-1, 3, 4)
    scale, scene_from_truth = geometry.align(truth.centers[rows], geometry.invert(made)[:, :, 3])

    assert truth.vertices is not None and truth.faces is not None
    surface = trimesh.Trimesh(truth.vertices, truth.faces, process=False)
    k = truth.names.index(name)
    fx, fy, cx, cy = truth.cameras[k].params[:4]
    u, v = (grid.ravel() for grid in np.meshgrid(np.arange(260, 1540, 40.0), np.arange(260, 940, 40.0)))
    # Each place with four close by: where they are on one plane, a click that is half a pixel off does no harm.
    around = np.array([(0, 0), (4, 0), (-4, 0), (0, 4), (0, -4)], float)
    pixels = np.stack([u, v], 1)[:, None] + around
    rays = np.concatenate([(pixels - (cx, cy)) / (fx, fy), np.ones((*pixels.shape[:2], 1))], 2).reshape(-1, 3)
    world_from_cam = geometry.invert(truth.cam_from_world[k])
    directions = rays @ world_from_cam[:, :3].T
    hit, ray, _ = surface.ray.intersects_location(
        np.broadcast_to(world_from_cam[:, 3], directions.shape), directions, multiple_hits=False
    )
    points = np.full((len(rays), 3), np.nan)
    points[ray] = hit
    points = points.reshape(-1, len(around), 3)
    bent = np.linalg.norm((points[:, 1] + points[:, 2] + points[:, 3] + points[:, 4]) / 4 - points[:, 0], axis=1)
    size = np.linalg.norm(points[:, 1] - points[:, 2], axis=1)
    good = points[(bent < 3e-4) & (size < 0.02), 0]

    pairs: list[tuple[np.ndarray, float]] = []
    for _ in range(2):
        distance = np.linalg.norm(good[:, None] - good[None], axis=2)
        i, j = np.unravel_index(int(distance.argmax()), distance.shape)
        pair, far = good[[i, j]], float(distance[i, j])
        pairs.append((scale * pair @ scene_from_truth[:, :3].T + scene_from_truth[:, 3], far))
        good = good[np.linalg.norm(good[:, None] - pair, axis=2).min(1) > 0.3 * far]
    return pairs
