"""Small houses with known geometry for the viewer's tests: a box with its sigma, cameras around it, points on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from rilievo import geometry
from rilievo.project import Project
from rilievo.types import Camera, DepthMap, Mesh, PointCloud, Reconstruction, Splats
from rilievo.view.scene import ViewScene

SIGMA = 0.002


def grid(n: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    """A square sheet in z = 0 around zero: vertices float32, faces int32, normal up."""
    t = np.linspace(-size / 2, size / 2, n + 1)
    x, y = np.meshgrid(t, t)
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1).astype(np.float32)
    a = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    faces = np.concatenate([np.stack([a, a + 1, a + n + 2], 1), np.stack([a, a + n + 2, a + n + 1], 1)])
    return vertices, faces.astype(np.int32)


def box(size=(2.0, 1.0, 0.5), center=(0.0, 0.0, 0.0), sigma: float | None = SIGMA, origin=(0.0, 0.0, 0.0)) -> Mesh:
    """A closed box, outside counter-clockwise."""
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    faces = np.array(
        [
            [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
            [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
        ],
        np.int32,
    )  # fmt: skip
    vertices = (corners * size + center).astype(np.float32)
    known = None if sigma is None else np.full(8, sigma, np.float32)
    return Mesh(vertices, faces, sigma=known, origin=np.array(origin, np.float64))


def hill(n: int = 80, size: float = 4.0, sigma: float = SIGMA) -> Mesh:
    """A cone of radius 1 and height 1 on a sheet."""
    vertices, faces = grid(n, size)
    vertices[:, 2] = np.maximum(1 - np.hypot(vertices[:, 0], vertices[:, 1]), 0)
    return Mesh(vertices, faces, sigma=np.full(len(vertices), sigma, np.float32))


def textured_sphere(n: int = 120) -> Mesh:
    """A unit sphere whose texture says where it is: red rises with x, green with y, blue with z."""
    lat, lon = np.meshgrid(np.linspace(0, np.pi, n + 1), np.linspace(0, 2 * np.pi, 2 * n + 1), indexing="ij")
    place = np.stack([np.sin(lat) * np.cos(lon), np.sin(lat) * np.sin(lon), np.cos(lat)], -1)
    uvs = np.stack([lon / (2 * np.pi), 1 - lat / np.pi], -1)
    w = 2 * n + 1
    a = (np.arange(n)[:, None] * w + np.arange(2 * n)).ravel()
    faces = np.concatenate([np.stack([a, a + w, a + w + 1], 1), np.stack([a, a + w + 1, a + 1], 1)])
    v, u = np.meshgrid((np.arange(256) + 0.5) / 256 * np.pi, (np.arange(512) + 0.5) / 512 * 2 * np.pi, indexing="ij")
    colors = np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], -1)
    texture = np.rint(127.5 + 127.5 * colors).astype(np.uint8)
    flat = place.reshape(-1, 3).astype(np.float32)
    return Mesh(
        flat,
        faces.astype(np.int32),
        sigma=np.abs(flat[:, 2]),
        uvs=uvs.reshape(-1, 2).astype(np.float32),
        texture=texture,
    )


def cameras(
    num: int = 4, unplaced: dict[str, str] | None = None, origin=(0.0, 0.0, 0.0), unit: str = "m"
) -> Reconstruction:
    """Cameras around zero that look at it, points on the box."""
    rng = np.random.default_rng(0)
    camera = Camera("SIMPLE_RADIAL", 320, 240, np.array([300.0, 160, 120, -0.02]))
    angles = np.linspace(0, 2 * np.pi, num, endpoint=False)
    shift = np.array(origin, np.float64)
    eyes = np.stack([4 * np.cos(angles), 4 * np.sin(angles), np.full(num, 1.5)], 1) + shift
    points = rng.uniform(-1, 1, (50, 3)) * [1, 0.5, 0.25] + shift
    return Reconstruction(
        tuple(f"{k}.jpg" for k in range(num)),
        np.zeros(num, np.int32),
        (camera,),
        np.stack([geometry.look_at(e, shift) for e in eyes]),
        points,
        np.full((50, 3), 90, np.uint8),
        np.linspace(0.1, 1, 50).astype(np.float32),
        np.repeat(np.arange(50), 2).astype(np.int32),
        np.tile([0, 1], 50).astype(np.int32),
        np.zeros((100, 2), np.float32),
        frame="upright",
        unit=unit,
        scale_source="reference" if unit == "m" else "none",
        unplaced=unplaced or {},
    )


def cloud(n: int = 1000, origin=(0.0, 0.0, 0.0)) -> PointCloud:
    """Points on the upper side of the box."""
    rng = np.random.default_rng(1)
    points = (rng.uniform(-0.5, 0.5, (n, 3)) * [2, 1, 0] + [0, 0, 0.25]).astype(np.float32)
    ones = np.ones(n, np.float32)
    return PointCloud(
        points, np.tile(np.float32([0, 0, 1]), (n, 1)), np.full((n, 3), 200, np.uint8), ones, ones * np.float32(SIGMA),
        ones * np.float32(0.01), (), np.zeros(n + 1, np.int64), np.zeros(0, np.int32), np.array(origin, np.float64),
    )  # fmt: skip


def splats(n: int = 200) -> Splats:
    """Grey Gaussians on the box."""
    points = cloud(n).points
    quats = np.tile(np.float32([1, 0, 0, 0]), (n, 1))
    return Splats(
        points, quats, np.full((n, 3), 0.05, np.float32), np.full(n, 0.9, np.float32), np.zeros((n, 1, 3), np.float32)
    )


def house(root: Path, *, mesh: Mesh | None = None, photos: bool = True, with_splats: bool = False, **scene) -> Path:  # type: ignore[no-untyped-def]
    """A project folder as a build leaves it, without its exports."""
    project = Project(root)
    cams = cameras(**scene)
    value = box(origin=scene.get("origin", (0, 0, 0))) if mesh is None else mesh
    names = {
        "cameras": project.put(cams),
        "mesh": project.put(value),
        "cloud": project.put(cloud(origin=scene.get("origin", (0, 0, 0)))),
    }
    if with_splats:
        names["splats"] = project.put(splats())
    pinhole = Camera("PINHOLE", 80, 60, np.array([75.0, 75, 40, 30]))
    depth = np.full((60, 80), 4.0, np.float32)
    depth[:10] = np.nan
    maps = DepthMap(
        "0.jpg", pinhole, cams.cam_from_world[0], depth, np.zeros((60, 80, 3), np.float32), depth * 0 + 1, depth * 0
    )
    sources = {}
    if photos:
        folder = root.parent / f"{root.name}-photos"
        folder.mkdir(exist_ok=True)
        for k, name in enumerate(cams.names):
            Image.fromarray(np.full((240, 320, 3), 40 * k + 20, np.uint8)).save(folder / name)
            sources[name] = {"path": str(folder / name)}
    project.update(
        names=names,
        photos=[*cams.names, *cams.unplaced],
        made_from={"cameras": [names["cameras"]], "depth filled": [project.put(maps)]},
        sources=sources,
    )
    return root


def get(scene: ViewScene, place: str, **query: str):
    """The document or the bytes of an answer."""
    answer = scene.answer(place, query, None)
    assert answer.status == 200, answer.body
    return json.loads(answer.body) if answer.kind == "application/json" else answer.body


def post(scene: ViewScene, place: str, status: int = 200, **body):
    answer = scene.answer(place, {}, body)
    assert answer.status == status, answer.body
    return json.loads(answer.body)


def opened(*paths: Path) -> ViewScene:
    scene = ViewScene(paths)
    assert scene.wait(timeout=60)
    return scene


def layer(manifest: dict, kind: str, house: int = 0) -> dict:
    return next(e for e in manifest["layers"] if e["kind"] == kind and e["house"] == house)
