"""What photos say of a surface: how alike they are when seen through it, and how that changes as it moves.

The energy is the sum over pairs of photos and the pixels of the first of a robust 1 - ZNCC (`kernels.compare_warped`);
its derivative lets every point stay on its ray, with visibility by depth buffers (Vu, Labatut, Pons & Keriven 2012,
"High accuracy and visibility-consistent dense multiview stereo", section 4).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rilievo import kernels
from rilievo.errors import InputError
from rilievo.geometry import compose, invert, project, transform
from rilievo.stages.views import SourcesConfig, select_sources
from rilievo.types import Mesh, Reconstruction, View

# A pixel is compared with what the other photo sees within this many pixel footprints of the same depth.
_TOLERANCE_PX = 2.0
# Faces seen at a flatter angle by either photo are not compared.
_MIN_COS = 0.2
# Bytes of photos and their rasters that are kept in memory (two photos are in any case).
_MAX_BYTES = 600e6
# Points of the surface by which pairs of photos are chosen, and the largest side of the rasters that say who sees them.
_NUM_POINTS = 4000
_COARSE_SIZE = 400


@dataclass(frozen=True, eq=False)
class Measured:
    """Sums at vertices over all pairs, for movement along the vertex normals.

    slope, curvature: of the energy, float64 (v,).  energy, count: of pixels weighted by nearness to the vertex, float64
    (v,).  footprint: mean size of a pixel on the surface, world units, NaN where no photo sees the vertex.
    """

    slope: np.ndarray
    curvature: np.ndarray
    energy: np.ndarray
    count: np.ndarray
    footprint: np.ndarray

    @property
    def mean_energy(self) -> float:
        """Energy of a pixel, mean over all."""
        return float(self.energy.sum() / max(self.count.sum(), 1.0))


@dataclass(frozen=True, eq=False)
class _Held:
    """A photo at working size, and the surface as it sees it."""

    view: View
    camera: np.ndarray
    gray: np.ndarray
    depth: np.ndarray
    face_index: np.ndarray
    vertices: np.ndarray


class Photos:
    """The photos at one scale; at most a few are in memory at a time."""

    def __init__(
        self, load: Callable[[str], View], pairs: Mapping[str, Sequence[str]], *, scale: float, blur_px: float
    ) -> None:
        self._load, self._pairs, self._scale, self._blur = load, pairs, scale, blur_px
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._pictures: OrderedDict[str, tuple[View, np.ndarray]] = OrderedDict()

    def measure(
        self,
        vertices: np.ndarray,
        normals: np.ndarray,
        faces: np.ndarray,
        *,
        radius: int,
        noise: float,
        softness: float,
    ) -> Measured:
        """Compares all pairs through the surface. vertices float64 (v, 3) in the world, normals (v, 3) unit."""
        self._held.clear()
        corner_sums = np.zeros((len(faces), 3, 4), np.float32)
        p = vertices[faces]
        face_normals = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
        face_normals /= np.maximum(np.linalg.norm(face_normals, axis=1, keepdims=True), 1e-300)
        size, seen = np.zeros(len(vertices)), np.zeros(len(vertices))
        for name, others in self._pairs.items():
            if not others:
                continue
            first = self._see(name, vertices, faces)
            sums = np.zeros((4, *first.gray.shape), np.float32)
            turned = (face_normals @ first.view.cam_from_world[:, :3].T).astype(np.float32)
            for other in others:
                second = self._see(other, vertices, faces)
                self._held.move_to_end(name)
                motion = compose(second.view.cam_from_world, invert(first.view.cam_from_world))
                slack = _TOLERANCE_PX / float(second.camera[:2].mean())
                warped, slope = kernels.warp_surface(
                    first.depth,
                    first.face_index,
                    turned,
                    first.camera,
                    second.gray,
                    second.depth,
                    second.camera,
                    np.ascontiguousarray(motion),
                    _MIN_COS,
                    slack,
                )
                kernels.compare_warped(first.gray, warped, slope, radius, noise, softness, sums)
            before = corner_sums[:, :, 3].sum(1)
            kernels.collect_pixels(first.face_index, first.vertices, faces, first.camera, sums, corner_sums)
            number = np.repeat(corner_sums[:, :, 3].sum(1) - before, 3)
            depth = first.vertices[:, 2].astype(np.float64) / float(first.camera[:2].mean())
            corner = faces.ravel()
            size += depth * np.bincount(corner, number, len(vertices))
            seen += np.bincount(corner, number, len(vertices))
        return _at_vertices(corner_sums, faces, face_normals, normals, size, seen)

    def _see(self, name: str, vertices: np.ndarray, faces: np.ndarray) -> _Held:
        if name in self._held:
            self._held.move_to_end(name)
            return self._held[name]
        view, gray = self._picture(name)
        camera = view.camera
        intrinsics = (camera.fx, camera.fy, camera.cx, camera.cy)
        own = transform(view.cam_from_world, vertices).astype(np.float32)
        face_index, depth = kernels.rasterize_mesh(own, faces, *intrinsics, camera.width, camera.height)
        if view.mask is not None:
            depth = np.where(view.mask, depth, np.float32(np.nan))
        held = _Held(view, np.array(intrinsics), gray, depth, face_index, own)
        self._held[name] = held
        while len(self._held) > 2 and len(self._held) * (12.0 * gray.size + own.nbytes) > _MAX_BYTES:
            self._held.popitem(last=False)
        return held

    def _picture(self, name: str) -> tuple[View, np.ndarray]:
        """The photo at working size (its `pixels` are of no further use) and its grey values."""
        import cv2

        if name in self._pictures:
            self._pictures.move_to_end(name)
            return self._pictures[name]
        view = self._load(name)
        if view.camera.model not in ("PINHOLE", "SIMPLE_PINHOLE"):
            raise InputError(f"{name} cannot be compared", f"its camera has distortion ({view.camera.model})")
        gray = cv2.cvtColor(view.pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
        view = _resized(view, self._scale)
        size = (view.camera.width, view.camera.height)
        if size != gray.shape[::-1]:
            gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        if self._blur > 0:
            gray = cv2.GaussianBlur(gray, (0, 0), self._blur, borderType=cv2.BORDER_REPLICATE)
        self._pictures[name] = view, gray
        while len(self._pictures) > 2 and len(self._pictures) * 4.0 * gray.size > _MAX_BYTES:
            self._pictures.popitem(last=False)
        return view, gray


def _resized(view: View, scale: float) -> View:
    """The view with a camera and mask of another size; pixels are dropped."""
    import cv2

    camera = view.camera
    w, h = max(2, round(camera.width * scale)), max(2, round(camera.height * scale))
    sx, sy = w / camera.width, h / camera.height
    params = np.array([camera.fx * sx, camera.fy * sy, camera.cx * sx, camera.cy * sy])
    mask = view.mask
    if mask is not None:  # a pixel beside a masked one shares its colour
        mask = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
        mask = cv2.resize(mask, (w, h), interpolation=cv2.INTER_AREA) > 0
    small = replace(camera, model="PINHOLE", width=w, height=h, params=params)
    return View(view.name, np.zeros((0, 0, 3), np.uint8), small, view.cam_from_world, mask)


def _at_vertices(
    corner_sums: np.ndarray,
    faces: np.ndarray,
    face_normals: np.ndarray,
    normals: np.ndarray,
    size: np.ndarray,
    seen: np.ndarray,
) -> Measured:
    # A vertex that moves by 1 along its own normal moves the face by the cosine between the two.
    lean = np.einsum("fkc,fc->fk", normals[faces], face_normals)
    corner, num = faces.ravel(), len(normals)

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(corner, values.ravel().astype(np.float64), num)

    return Measured(
        slope=total(corner_sums[:, :, 0] * lean),
        curvature=total(corner_sums[:, :, 1] * lean * lean),
        energy=total(corner_sums[:, :, 2]),
        count=total(corner_sums[:, :, 3]),
        footprint=np.where(seen > 0, size / np.where(seen > 0, seen, 1), np.nan),
    )


def choose_pairs(
    mesh: Mesh, reconstruction: Reconstruction, names: Sequence[str], num_sources: int
) -> dict[str, tuple[str, ...]]:
    """For each photo the photos that it is compared with, best first: those that see the same points of the surface at
    a good angle and scale (`views.select_sources` on points of the mesh instead of sparse points)."""
    r = reconstruction
    center = np.asarray(mesh.vertices[mesh.faces].mean(1), np.float64) + mesh.origin
    step = max(1, len(center) // _NUM_POINTS)
    points = center[::step]
    photo, point = [], []
    for i, name in enumerate(r.names):
        if name not in names:
            continue
        camera = r.camera(i)
        scale = min(1.0, _COARSE_SIZE / max(camera.width, camera.height))
        w, h = max(2, round(camera.width * scale)), max(2, round(camera.height * scale))
        intrinsics = (camera.fx * scale, camera.fy * scale, camera.cx * scale, camera.cy * scale)
        own = transform(r.cam_from_world[i], mesh.vertices + mesh.origin).astype(np.float32)
        _, depth = kernels.rasterize_mesh(own, mesh.faces, *intrinsics, w, h)
        uv, z = project(camera, r.cam_from_world[i], points)
        inside = (z > 0) & (uv >= 0).all(1) & (uv[:, 0] < camera.width) & (uv[:, 1] < camera.height)
        at = np.flatnonzero(inside)
        x, y = (np.clip((uv[at, k] * scale).astype(int), 0, (w, h)[k] - 1) for k in (0, 1))
        shown = at[np.nan_to_num(depth[y, x]) >= z[at] * (1 - 8 / intrinsics[0])]
        photo.append(np.full(len(shown), i, np.int32))
        point.append(shown.astype(np.int32))
    seen = replace(
        r,
        points=points,
        point_colors=np.zeros((len(points), 3), np.uint8),
        point_errors_px=np.zeros(len(points), np.float32),
        obs_photo=np.concatenate(photo) if photo else np.zeros(0, np.int32),
        obs_point=np.concatenate(point) if point else np.zeros(0, np.int32),
        obs_xy=np.zeros((sum(map(len, photo)), 2), np.float32),
    )
    chosen = select_sources(seen, config=SourcesConfig(num_sources=num_sources))
    return {name: chosen[name] for name in names}
