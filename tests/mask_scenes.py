"""The room with a mirror as `rilievo mask` sees it after a perfect alignment: views, the shared surface, a cloud."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import scene_room
from rilievo import geometry
from rilievo.stages.mask_scene import Seen, surface_depth
from rilievo.types import Camera, Mesh, PointCloud, View
from scene_optics import FIGURE, GLASS, MIRROR, OpticScene, true_masks
from scenes import pixel_directions, render

SMALL = Camera("PINHOLE", 240, 180, np.array([190.0, 190.0, 120.0, 90.0]))


@dataclass(frozen=True)
class Room:
    """seen: views and depths of the surface that stands still.  truth: masks a view.  cloud: what stereo would measure,
    images in the mirror included."""

    seen: list[Seen]
    truth: list[dict[str, np.ndarray]]
    cloud: PointCloud
    centers: np.ndarray
    scene: OpticScene


def make(num: int = 12, seed: int = 0) -> Room:
    """Somebody walks through the room while `num` photos are taken."""
    empty = scene_room.room(seed)
    static = empty.without(GLASS, MIRROR)
    mesh = Mesh(static.vertices.astype(np.float32), static.faces)
    seen, truth = [], []
    places = scene_room.cameras(num, empty.target, seed)
    for k, place in enumerate(places):
        scene = empty.with_parts(scene_room.figure(*scene_room.walk(k, num), seed=seed), FIGURE)
        picture = render(scene, SMALL, place, samples=1, seed=k)
        view = View(f"{k:02}.jpg", picture.pixels, SMALL, place)
        seen.append(Seen(view, surface_depth(mesh, view)))
        truth.append(true_masks(scene, SMALL, place))
    centers = geometry.invert(places)[:, :, 3]
    return Room(seen, truth, _measured(empty, seen), centers, empty)


def _measured(scene: OpticScene, seen: list[Seen]) -> PointCloud:
    """What each pixel shows, with what is seen in the mirror behind it."""
    points, normals, spacing, owner = [], [], [], []
    solid = scene.without(GLASS)
    for k, s in enumerate(seen):
        world_from_cam = geometry.invert(s.view.cam_from_world)
        d = pixel_directions(SMALL, 1).reshape(-1, 3) @ world_from_cam[:, :3].T
        eye = np.tile(world_from_cam[:, 3], (len(d), 1))
        plane = 0.0
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
                image[:, 1], turned[:, 1] = 2 * plane - image[:, 1], -turned[:, 1]
            points.append(image[plain])
            normals.append(turned[plain])
            spacing.append((hit["tfar"] / SMALL.fx)[plain])
            owner.append(np.full(plain.sum(), k))
            if bounce or not mirror.any():
                break
            plane = float(p[mirror, 1].mean())
            d, eye = d[mirror] * [1, -1, 1], p[mirror] - [0, 1e-3, 0]
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
