"""Depth maps with known answers for tests of fusion and surfaces: a sphere on nothing, seen by a ring of cameras."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rilievo.geometry import look_at
from rilievo.types import Camera, DepthMap, PointCloud, Reconstruction


def sphere_map(name: str, eye: np.ndarray, width: int = 48, height: int = 40, noise: float = 0.0) -> DepthMap:
    """Depth of the unit sphere at the origin; noise: standard deviation of the depth."""
    camera = Camera.pinhole(width, height, np.array([[50.0, 0, width / 2], [0, 50.0, height / 2], [0, 0, 1]]))
    cam_from_world = look_at(eye, np.zeros(3))
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    ray = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones_like(x)], -1)
    world = ray @ cam_from_world[:, :3]
    a, b, c = (world**2).sum(-1), world @ eye, eye @ eye - 1
    root = b * b - a * c
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.nan)
    normals = (eye + depth[..., None] * world) @ cam_from_world[:, :3].T
    rng = np.random.default_rng(int(name[1:]))
    depth = depth + noise * rng.normal(size=depth.shape)
    return DepthMap(
        name,
        camera,
        cam_from_world,
        depth.astype(np.float32),
        normals.astype(np.float32),
        np.full(depth.shape, 0.8, np.float32),
        np.where(np.isfinite(depth), 0.01, np.nan).astype(np.float32),
    )


@dataclass
class Ring:
    """A MapSource: `num` cameras around the unit sphere, two heights."""

    num: int = 16
    noise: float = 0.0
    loads: list[str] = field(default_factory=list)

    def eye(self, i: int) -> np.ndarray:
        angle = 2 * np.pi * i / self.num
        return 3.2 * np.array([np.cos(angle), np.sin(angle), 0.2 if i % 2 else -0.2]) / np.hypot(1, 0.2)

    @property
    def names(self) -> list[str]:
        return [f"p{i:02d}" for i in range(self.num)]

    @property
    def neighbours(self) -> dict[str, list[str]]:
        names = self.names
        return {n: [names[(i + s) % self.num] for s in (1, -1, 2, -2)] for i, n in enumerate(names)}

    def load(self, name: str) -> tuple[DepthMap, np.ndarray]:
        self.loads.append(name)
        depth_map = sphere_map(name, self.eye(int(name[1:])), noise=self.noise)
        return depth_map, np.full((*depth_map.depth.shape, 3), (200, 100, 50), np.uint8)

    def reconstruction(self) -> Reconstruction:
        maps = [sphere_map(name, self.eye(i)) for i, name in enumerate(self.names)]
        return Reconstruction(
            tuple(self.names),
            np.zeros(self.num, np.int32),
            (maps[0].camera,),
            np.stack([m.cam_from_world for m in maps]),
            np.zeros((0, 3)),
            np.zeros((0, 3), np.uint8),
            np.zeros(0, np.float32),
            np.zeros(0, np.int32),
            np.zeros(0, np.int32),
            np.zeros((0, 2), np.float32),
        )


def sphere_cloud(num: int = 3000, noise: float = 0.0, seed: int = 0) -> tuple[PointCloud, Reconstruction]:
    """Points on the unit sphere, each seen by the cameras of a Ring that face it."""
    ring = Ring()
    rng = np.random.default_rng(seed)
    i = np.arange(num) + 0.5
    z, angle = 1 - 2 * i / num, np.pi * (1 + 5**0.5) * i
    normals = np.stack([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z], -1)
    points = normals * (1 + noise * rng.normal(size=(num, 1)))
    eyes = np.stack([ring.eye(k) for k in range(ring.num)])
    toward = eyes[None] - points[:, None]
    sees = (toward * normals[:, None]).sum(-1) > 0.05 * np.linalg.norm(toward, axis=-1)
    spacing = np.full(num, np.sqrt(4 * np.pi / num))
    cloud = PointCloud(
        points.astype(np.float32),
        normals.astype(np.float32),
        np.full((num, 3), (10, 20, 30), np.uint8),
        np.full(num, 0.5, np.float32),
        np.full(num, 0.01, np.float32),
        spacing.astype(np.float32),
        tuple(ring.names),
        np.concatenate([[0], np.cumsum(sees.sum(1))]).astype(np.int64),
        np.nonzero(sees)[1].astype(np.int32),
    )
    return cloud, ring.reconstruction()
