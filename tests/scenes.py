"""Synthetic photos with exact truth: rays against meshes, textured, lit, distorted, noisy, as JPEG with EXIF.

    scene = make_scene("blocks", seed=0)
    cameras = ring_cameras(6, radius=2.0, height=1.0, target=scene.target)
    photo = render(scene, CAMERA, cameras[0], seed=0)            # photo.pixels, photo.depth
    write_capture(scene, folder, CAMERA, cameras)                # folder/photos/*.jpg, folder/truth/...

The same seed gives the same picture. Units are metres, z is up. The surface that is rendered is that of
the truth.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import scene_bench
import scene_sets
from rilievo import geometry
from rilievo.types import Camera
from scene_shapes import vertex_normals
from scene_textures import Albedo, surroundings

# A small camera for tests: lens distortion, principal point off the centre.
CAMERA = Camera("OPENCV", 400, 300, np.array([430.0, 430.0, 203.0, 147.5, -0.05, 0.01, 0.0, 0.0]))


@dataclass(frozen=True)
class Scene:
    """A lit scene. albedo[m] colours the faces with material m; gloss[m] is the strength of their highlight.

    normals, openness: per vertex, for shading only: smooth normal, and share of the sky that is not blocked.
    sun: direction to it (unit).  target: where cameras should look.
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    openness: np.ndarray
    material: np.ndarray
    albedo: tuple[Albedo, ...]
    gloss: tuple[float, ...]
    sun: np.ndarray
    around: np.ndarray
    target: np.ndarray

    @cached_property
    def rays(self) -> Any:
        """The embree scene."""
        return _embree(self.vertices, self.faces)

    @cached_property
    def shadows(self) -> Any:
        """The embree scene of what keeps the sun off."""
        return self.rays

    def radiance(self, eye: np.ndarray, directions: np.ndarray, pixel_angle: float) -> np.ndarray:
        """Linear colour (n, 3) seen from eye (3,) or (n, 3) along directions (n, 3)."""
        return surface_radiance(self, eye, directions, pixel_angle)


@dataclass(frozen=True)
class Rendering:
    """pixels uint8 (h, w, 3); depth float32 (h, w), exact z at the centre of each pixel, NaN where nothing is hit."""

    pixels: np.ndarray
    depth: np.ndarray


def _embree(vertices: np.ndarray, faces: np.ndarray) -> Any:
    from embreex import rtcore_scene
    from embreex.mesh_construction import TriangleMesh

    scene = rtcore_scene.EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(vertices[faces], np.float32))
    return scene


def make_scene(name: str, seed: int = 0) -> Scene:
    """A scene of `scene_sets.SCENES` or `scene_bench.SCENES` by name."""
    rng = np.random.default_rng([seed, *name.encode()])
    parts, target = (scene_sets.SCENES | scene_bench.SCENES)[name](rng)
    return assemble(parts, target, rng)


def assemble(parts: Sequence[scene_sets.Part], target: np.ndarray, rng: np.random.Generator) -> Scene:
    """Parts put together and lit."""
    albedo, gloss = tuple(p.albedo for p in parts), tuple(p.gloss for p in parts)
    vertices, faces, normals, material = [], [], [], []
    start = 0
    for k, part in enumerate(parts):
        # Coordinates that float32 holds exactly: what is rendered, saved and compared is one and the same surface.
        v = np.round(part.shape[0] * 2.0**17) / 2.0**17
        vertices.append(v)
        normals.append(vertex_normals(v, part.shape[1]))
        faces.append(part.shape[1] + start)
        material.append(np.full(len(part.shape[1]), k, np.int32))
        start += len(v)
    v, f, n = np.concatenate(vertices), np.concatenate(faces).astype(np.int32), np.concatenate(normals)
    sun = np.array([0.45, -0.62, 0.75])
    openness = _openness(v, f, n, rng)
    return Scene(
        v, f, n, openness, np.concatenate(material), albedo, gloss, sun / np.linalg.norm(sun), surroundings(rng), target
    )


def _openness(vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Share of cosine-weighted directions that leave the scene unhindered within its own size, by 24 rays a vertex."""
    scene = _embree(vertices, faces)
    size = float(np.ptp(vertices, axis=0).max())
    blocked = np.zeros(len(vertices))
    num_rays = 24
    for _ in range(num_rays):
        d = rng.normal(size=(len(vertices), 3))
        d /= np.linalg.norm(d, axis=1, keepdims=True)
        d = d + 1.02 * normals
        d /= np.linalg.norm(d, axis=1, keepdims=True)
        start = (vertices + 2e-3 * size * normals).astype(np.float32)
        hit = scene.run(start, d.astype(np.float32), np.full(len(d), 0.35 * size, np.float32), query="OCCLUDED")
        blocked += hit == 0
    # neighbours share their rays: fewer rays, no speckle
    share = 1.0 - blocked / num_rays
    for _ in range(2):
        total, count = share.copy(), np.ones(len(vertices))
        for i in range(3):
            np.add.at(total, faces[:, i], share[faces[:, (i + 1) % 3]])
            np.add.at(count, faces[:, i], 1.0)
        share = total / count
    return share.astype(np.float32)


def ring_cameras(
    num: int, *, radius: float, height: float, target: np.ndarray, start_deg: float = 0.0, spread_deg: float = 360.0,
    jitter: float = 0.0, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """`cam_from_world` (num, 3, 4) of cameras on an arc around target at `height` above it, looking at it. jitter is
    the share of the radius by which place, aim and roll stray, as from a hand."""
    rng = np.random.default_rng(seed)
    step = spread_deg / num if spread_deg >= 360 else spread_deg / max(num - 1, 1)
    out = []
    for k in range(num):
        angle = math.radians(start_deg + k * step)
        eye = target + [radius * math.cos(angle), radius * math.sin(angle), height]
        eye = eye + jitter * radius * rng.normal(size=3)
        aim = target + 0.6 * jitter * radius * rng.normal(size=3)
        roll = jitter * rng.normal()
        up = np.array([math.cos(angle + math.pi / 2) * roll, math.sin(angle + math.pi / 2) * roll, 1.0])
        out.append(geometry.look_at(eye, aim, up))
    return np.array(out)


# --- rendering -----------------------------------------------------------------------------------------------------


def pixel_directions(camera: Camera, samples: int) -> np.ndarray:
    """Ray directions with z = 1 in the camera, float64 (samples h, samples w, 3), through the middles of sub-pixels."""
    s = samples
    x, y = (np.arange(s * camera.width) + 0.5) / s, (np.arange(s * camera.height) + 0.5) / s
    return _directions(camera, *np.meshgrid(x, y))


def _directions(camera: Camera, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Ray directions (..., 3) with z = 1 of pixels x, y (...)."""
    X, Y = (x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy
    k1, k2 = camera.param("k1"), camera.param("k2")
    if camera.param("p1") or camera.param("p2") or camera.param("k3") or camera.model.endswith("FISHEYE"):
        raise ValueError("only k1 and k2 are rendered")
    target = X * X + Y * Y
    q = target.copy()  # squared radius without distortion: q (1 + k1 q + k2 q^2)^2 = target, by Newton's method
    for _ in range(12):
        g = 1 + q * (k1 + q * k2)
        q -= (q * g * g - target) / (g * g + 2 * q * g * (k1 + 2 * k2 * q))
    g = 1 + q * (k1 + q * k2)
    return np.stack([X / g, Y / g, np.ones_like(X)], -1)


def _background(scene: Scene, directions: np.ndarray) -> np.ndarray:
    h, w = scene.around.shape[:2]
    d = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    x = (np.arctan2(d[:, 1], d[:, 0]) / (2 * np.pi) + 0.5) * w - 0.5
    y = np.arccos(np.clip(d[:, 2], -1, 1)) / np.pi * h - 0.5
    out = np.empty((len(d), 3), np.float32)
    for a in range(0, len(d), 32_000):
        part = slice(a, a + 32_000)
        maps = x[part, None].astype(np.float32), y[part, None].astype(np.float32)
        out[part] = cv2.remap(scene.around, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP).reshape(-1, 3)
    return out


def surface_radiance(scene: Scene, eye: np.ndarray, directions: np.ndarray, pixel_angle: float) -> np.ndarray:
    """Linear colour (n, 3) seen from eye (3,) or (n, 3) along directions (n, 3), of surfaces that scatter light."""
    eye = np.broadcast_to(eye, directions.shape)
    origins = np.ascontiguousarray(eye, np.float32)
    hit = scene.rays.run(origins, directions.astype(np.float32), output=True)
    color = np.empty((len(directions), 3), np.float32)
    face = hit["primID"]
    miss = face < 0
    if miss.any():
        color[miss] = _background(scene, directions[miss])
    at = np.flatnonzero(~miss)
    if not len(at):
        return color
    face, d = face[at], directions[at]
    corners = scene.faces[face]
    bary = np.stack([1 - hit["u"][at] - hit["v"][at], hit["u"][at], hit["v"][at]], -1)[..., None]
    n = (scene.normals[corners] * bary).sum(1)
    n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-12)
    point = eye[at] + d * hit["tfar"][at, None]
    length = np.linalg.norm(d, axis=1)
    facing = -(n * d).sum(1) / length
    n = np.where(facing[:, None] < 0, -n, n)
    # footprint of a sample: the geometric mean of its long and short side, so that slanted surface stays sharp
    footprint = hit["tfar"][at] * length * pixel_angle / np.sqrt(np.clip(np.abs(facing), 0.05, 1))
    flat = hit["Ng"][at].astype(np.float64)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-20)
    flat *= np.sign(-(flat * d).sum(1, keepdims=True))
    lit = np.clip(n @ scene.sun, 0, 1)
    towards = np.flatnonzero((lit > 0) & (flat @ scene.sun > 0))
    start = (point[towards] + 1e-4 * length.mean() * flat[towards]).astype(np.float32)
    dark = scene.shadows.run(start, np.tile(scene.sun.astype(np.float32), (len(start), 1)), query="OCCLUDED") == 0
    sunny = np.zeros(len(at), np.float32)
    sunny[towards] = lit[towards] * ~dark
    open_sky = (scene.openness[corners] * bary[..., 0]).sum(1)
    sky = open_sky * (0.62 + 0.38 * n[:, 2])
    light = sunny[:, None] * np.array([1.02, 0.96, 0.86]) + sky[:, None] * np.array([0.50, 0.56, 0.64])
    half = scene.sun - d / length[:, None]
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shine = np.clip((half * n).sum(1), 0, 1) ** 40 * (sunny > 0)
    kind = scene.material[face]
    out = np.empty((len(at), 3), np.float32)
    for m in np.unique(kind):
        k = np.flatnonzero(kind == m)
        out[k] = scene.albedo[m](point[k], n[k], footprint[k]) * light[k] + scene.gloss[m] * shine[k, None]
    color[at] = out
    return color


def render(
    scene: Scene, camera: Camera, cam_from_world: np.ndarray, *, samples: int = 2, exposure: float = 1.0,
    noise: float = 1.0, blur_px: float = 0.0, seed: int = 0, edge_samples: int = 0,
) -> Rendering:  # fmt: skip
    """One photo. samples: rays a pixel along each side.  edge_samples: the same for pixels that differ from their
    neighbours (0: as all others), so that outlines and thin things are smooth at little cost.  exposure: factor on the
    light.  noise: 1 is a small camera in daylight (shot noise and read noise), 0 none.  blur_px: sigma of a Gaussian
    blur, as out of focus."""
    world_from_cam = geometry.invert(cam_from_world)
    R, eye = world_from_cam[:, :3], world_from_cam[:, 3]
    h, w, s = camera.height, camera.width, samples
    directions = pixel_directions(camera, s)
    picture = np.empty((h, w, 3), np.float32)
    rows = max(1, 400_000 // (w * s * s))
    for top in range(0, h, rows):
        block = directions[top * s : (top + rows) * s].reshape(-1, 3) @ R.T
        color = scene.radiance(eye, block, 1.0 / (camera.fx * s))
        picture[top : top + rows] = color.reshape(-1, s, w, s, 3).mean((1, 3))
    centre = pixel_directions(camera, 1).reshape(-1, 3)
    hit = scene.rays.run(
        np.tile(eye.astype(np.float32), (len(centre), 1)), (centre @ R.T).astype(np.float32), output=True
    )
    if edge_samples > samples:
        part = np.where(hit["primID"] < 0, -1, scene.material[hit["primID"]]).reshape(h, w)
        _refine_edges(scene, camera, R, eye, picture, part, edge_samples)
    if blur_px > 0:
        picture = cv2.GaussianBlur(picture, (0, 0), blur_px)
    depth = np.where(hit["primID"] < 0, np.nan, hit["tfar"]).astype(np.float32).reshape(h, w)
    radius2 = (centre[:, 0] ** 2 + centre[:, 1] ** 2).reshape(h, w, 1)
    light = picture * (exposure * 0.92 / (1 + 0.5 * radius2) ** 2)  # vignetting: milder than cos^4
    rng = np.random.default_rng([seed, 77])
    electrons = 9000.0
    light = light + noise * rng.normal(size=light.shape) * np.sqrt(np.maximum(light, 0) / electrons + 1.6e-6)
    return Rendering(_tone(light), depth)


def _refine_edges(
    scene: Scene, camera: Camera, R: np.ndarray, eye: np.ndarray, picture: np.ndarray, part: np.ndarray, samples: int
) -> None:
    """Renders pixels again with samples^2 rays where parts (h, w) meet or the picture has strong contrast, in place."""
    s = samples
    tone = np.sqrt(np.maximum(picture, 0)).mean(2)
    around, part = np.ones((3, 3), np.uint8), part.astype(np.float32)
    contrast = cv2.dilate(tone, around) - cv2.erode(tone, around)
    edge = (cv2.dilate(part, around) != cv2.erode(part, around)) | (contrast > 0.22)
    rows, columns = np.nonzero(edge)
    at = (np.arange(s) + 0.5) / s
    dx, dy = (a.ravel() for a in np.meshgrid(at, at))
    for k in range(0, len(rows), 400_000 // (s * s)):
        r, c = rows[k : k + 400_000 // (s * s)], columns[k : k + 400_000 // (s * s)]
        block = _directions(camera, c[:, None] + dx, r[:, None] + dy).reshape(-1, 3) @ R.T
        picture[r, c] = scene.radiance(eye, block, 1.0 / (camera.fx * s)).reshape(-1, s * s, 3).mean(1)


def _tone(light: np.ndarray) -> np.ndarray:
    """Linear light -> bytes: a soft shoulder, then the sRGB curve."""
    x = np.clip(light, 0, None)
    x = np.where(x > 0.7, 0.7 + 0.3 * (1 - np.exp(-(x - 0.7) / 0.3)), x)
    srgb = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-9) ** (1 / 2.4) - 0.055)
    return np.clip(np.rint(srgb * 255), 0, 255).astype(np.uint8)


# --- files ---------------------------------------------------------------------------------------------------------


def exif_bytes(
    camera: Camera, *, sensor_width_mm: float = 23.5, model: str = "Scene One", number: int = 0,
    gps: tuple[float, float, float] | None = None,
) -> bytes:  # fmt: skip
    """EXIF with maker, model, focal length (also as of 35 mm film), time, and GPS (latitude, longitude, height m)."""
    from PIL import Image
    from PIL.TiffImagePlugin import IFDRational

    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Rilievo", model
    sub = exif.get_ifd(0x8769)
    focal_mm = camera.fx * sensor_width_mm / camera.width
    sub[0x920A] = IFDRational(round(focal_mm * 100), 100)
    sub[0xA405] = round(camera.fx * 36.0 / camera.width)
    sub[0x9003] = f"2026:05:10 10:{number // 60 % 60:02}:{number % 60:02}"
    sub[0xA002], sub[0xA003] = camera.width, camera.height
    if gps is not None:
        place = exif.get_ifd(0x8825)
        for tag, value, letters in ((1, gps[0], "NS"), (3, gps[1], "EW")):
            a = abs(value)
            minutes = (a % 1) * 60
            place[tag] = letters[value < 0]
            place[tag + 1] = (int(a), int(minutes), IFDRational(round((minutes % 1) * 60 * 10**6), 10**6))
        place[5], place[6] = b"\x00" if gps[2] >= 0 else b"\x01", IFDRational(round(abs(gps[2]) * 1000), 1000)
    return exif.tobytes()


def write_photo(path: Path, pixels: np.ndarray, *, exif: bytes = b"", quality: int = 90) -> None:
    """A JPEG."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=quality, exif=exif, subsampling="4:2:0", optimize=True)


def write_truth(
    folder: Path, scene: Scene, camera: Camera, names: list[str], cam_from_world: np.ndarray, *, packed: bool = False
) -> None:
    """`cameras.json` and `mesh.ply` (or `mesh.ply.gz`), as `rilievo.io.truth` reads them."""
    import trimesh

    folder.mkdir(parents=True, exist_ok=True)
    world_from_cam = geometry.invert(cam_from_world)
    known = {
        "unit": "m",
        "width": camera.width,
        "height": camera.height,
        "K": camera.K.tolist(),
        "k1": camera.param("k1"),
        "k2": camera.param("k2"),
        "world_from_cam": {n: np.round(m, 12).tolist() for n, m in zip(names, world_from_cam)},
    }
    (folder / "cameras.json").write_text(json.dumps(known, indent=1) + "\n")
    ply = trimesh.Trimesh(scene.vertices, scene.faces, process=False).export(file_type="ply")
    if packed:
        (folder / "mesh.ply.gz").write_bytes(gzip.compress(ply, 9, mtime=0))
    else:
        (folder / "mesh.ply").write_bytes(ply)


def write_capture(
    scene: Scene, folder: Path, camera: Camera, cam_from_world: np.ndarray, *, seed: int = 0, samples: int = 2,
    noise: float = 1.0, blur_px: float = 0.0, exposure_spread: float = 0.05, quality: int = 90, packed: bool = False,
    first: int = 0, prefix: str = "IMG_", gps_origin: tuple[float, float, float] | None = None, gps_std_m: float = 0.0,
    edge_samples: int = 0,
) -> list[Path]:  # fmt: skip
    """Renders one photo a camera into folder/photos and writes folder/truth; returns the photos' paths. gps_origin:
    place of the world's zero (east, north, up axes): each photo then carries its GPS position, off by gps_std_m (level;
    twice that in height)."""
    paths = []
    for k, matrix in enumerate(cam_from_world):
        exposure = float(np.exp(exposure_spread * np.random.default_rng([seed, k, 5]).normal()))
        photo = render(
            scene,
            camera,
            matrix,
            samples=samples,
            exposure=exposure,
            noise=noise,
            blur_px=blur_px,
            seed=1000 * seed + k,
            edge_samples=edge_samples,
        )
        gps = None
        if gps_origin is not None:
            stray = gps_std_m * np.random.default_rng([seed, k, 6]).normal(size=3) * [1, 1, 2]
            east, north, up = geometry.invert(matrix)[:, 3] + stray
            latitude = gps_origin[0] + math.degrees(north / 6.371e6)
            longitude = gps_origin[1] + math.degrees(east / (6.371e6 * math.cos(math.radians(gps_origin[0]))))
            gps = (latitude, longitude, gps_origin[2] + up)
        path = folder / "photos" / f"{prefix}{first + k:04}.jpg"
        write_photo(path, photo.pixels, exif=exif_bytes(camera, number=k, gps=gps), quality=quality)
        paths.append(path)
    write_truth(folder / "truth", scene, camera, [p.name for p in paths], cam_from_world, packed=packed)
    return paths


def tiny_capture(folder: Path, *, num: int = 8, seed: int = 0, **options: Any) -> list[Path]:
    """Photos of the scene "blocks" at 400 x 300 in two tiers over a third of a circle, and its truth."""
    scene = make_scene("blocks", seed)
    low = (num + 1) // 2
    tiers = [
        ring_cameras(n, radius=r, height=z, target=scene.target, start_deg=s, spread_deg=75, jitter=0.01, seed=seed + n)
        for n, r, z, s in ((low, 1.75, 0.75, -75), (num - low, 1.5, 1.25, -68))
        if n
    ]
    return write_capture(scene, folder, CAMERA, np.concatenate(tiers), seed=seed, **options)


def one_standpoint(num: int, *, eye: np.ndarray, target: np.ndarray, spread_deg: float = 30.0) -> np.ndarray:
    """Cameras that only turn: `cam_from_world` (num, 3, 4) with one centre."""
    eye = np.asarray(eye, np.float64)
    ray = np.asarray(target, np.float64) - eye
    out = []
    for angle in np.radians(np.linspace(-spread_deg / 2, spread_deg / 2, num)):
        c, s = np.cos(angle), np.sin(angle)
        out.append(geometry.look_at(eye, eye + np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ ray))
    return np.array(out)
