"""Rooms with mirrors and panes as `rilievo mask` sees them after a perfect alignment: views, the shared surface, a
cloud."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import scene_reflections
import scene_room
from rilievo import geometry
from rilievo.stages.mask_scene import Seen, surface_depth
from rilievo.types import Camera, Mesh, PointCloud, View
from scene_optics import FIGURE, GLASS, MIRROR, OpticScene, true_masks
from scenes import pixel_directions, render

SMALL = Camera("PINHOLE", 240, 180, np.array([190.0, 190.0, 120.0, 90.0]))
MIDDLE = Camera("PINHOLE", 320, 240, np.array([255.0, 255.0, 160.0, 120.0]))


@dataclass(frozen=True)
class Room:
    """seen: views and depths of the surface that stands still.  truth: masks a view.  cloud: what stereo would measure,
    images in the mirror included.  mesh: the surface without mirrors and panes."""

    seen: list[Seen]
    truth: list[dict[str, np.ndarray]]
    cloud: PointCloud
    centers: np.ndarray
    scene: OpticScene
    mesh: Mesh


def make(num: int = 12, seed: int = 0) -> Room:
    """Somebody walks through the room while `num` photos are taken."""
    empty = scene_room.room(seed)
    places = scene_room.cameras(num, empty.target, seed)
    figures = [scene_room.figure(*scene_room.walk(k, num), seed=seed) for k in range(num)]
    return _seen(empty, SMALL, places, [empty.with_parts(figure, FIGURE) for figure in figures])


def make_still(name: str, num: int = 12) -> Room:
    """A room of `scene_reflections` without anybody in it."""
    empty = scene_reflections.room(name)
    return _seen(empty, MIDDLE, scene_reflections.cameras(name, num), [empty] * num)


def _seen(empty: OpticScene, camera: Camera, places: np.ndarray, scenes: list[OpticScene]) -> Room:
    static = empty.without(GLASS, MIRROR)
    mesh = Mesh(static.vertices.astype(np.float32), static.faces)
    seen, truth = [], []
    for k, (place, scene) in enumerate(zip(places, scenes)):
        picture = render(scene, camera, place, samples=1, seed=k)
        view = View(f"{k:02}.jpg", picture.pixels, camera, place)
        seen.append(Seen(view, surface_depth(mesh, view)))
        truth.append(true_masks(scene, camera, place))
    return Room(seen, truth, _measured(empty, seen), geometry.invert(places)[:, :, 3], empty, mesh)


def _measured(scene: OpticScene, seen: list[Seen]) -> PointCloud:
    """What each pixel shows, with what is seen in the mirror behind it."""
    points, normals, spacing, owner = [], [], [], []
    solid = scene.without(GLASS)
    for k, s in enumerate(seen):
        world_from_cam = geometry.invert(s.view.cam_from_world)
        d = pixel_directions(s.view.camera, 1).reshape(-1, 3) @ world_from_cam[:, :3].T
        eye = np.tile(world_from_cam[:, 3], (len(d), 1))
        across, offset = np.zeros(3), 0.0  # of the mirror's plane
        for bounce in range(2):
            hit = solid.rays.run(eye.astype(np.float32), d.astype(np.float32), output=True)
            face = hit["primID"]
            there = face >= 0
            n = hit["Ng"].astype(np.float64)
            n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-20)
            n *= -np.sign((n * d).sum(1, keepdims=True))
            p = eye + d * hit["tfar"][:, None]
            mirror = there & (solid.kind[solid.material[face]] == MIRROR)
            plain = there & ~mirror
            image, turned = p.copy(), n.copy()
            if bounce:
                image -= 2 * (image @ across - offset)[:, None] * across
                turned -= 2 * (turned @ across)[:, None] * across
            points.append(image[plain])
            normals.append(turned[plain])
            spacing.append((hit["tfar"] / s.view.camera.fx)[plain])
            owner.append(np.full(plain.sum(), k))
            if bounce or not mirror.any():
                break
            across = n[mirror].mean(0) / np.linalg.norm(n[mirror].mean(0))
            offset = float((p[mirror] @ across).mean())
            d = d[mirror] - 2 * (d[mirror] @ across)[:, None] * across
            eye = p[mirror] + 1e-3 * across
    p = np.concatenate(points)
    views = np.concatenate(owner)
    # Every point is told to be seen by its photo and the next one.
    index = np.stack([views, (views + 1) % len(seen)], 1).astype(np.int32)
    n = len(p)
    return PointCloud(
        p.astype(np.float32),
        np.concatenate(normals).astype(np.float32),
        np.zeros((n, 3), np.uint8),
        np.ones(n, np.float32),
        np.full(n, 0.002, np.float32),
        np.concatenate(spacing).astype(np.float32),
        tuple(s.view.name for s in seen),
        np.arange(n + 1, dtype=np.int64) * 2,
        index.ravel(),
    )


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Shared pixels over all pixels of both."""
    return float((a & b).sum() / max((a | b).sum(), 1))
