"""Photos onto the surface: one texture whose colours come, face by face, from the photo that shows the face best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from rilievo import kernels
from rilievo.errors import AlignmentError, InputError
from rilievo.stages import seams as seam
from rilievo.stages.unwrap import (
    UNWRAPPERS,
    Unwrapped,
    connected_patches,
    face_neighbors,
    flat_directions,
    split_long_edges,
)
from rilievo.stages.view_choice import (
    Placed,
    Rating,
    choose_views,
    equalize_exposure,
    find_outliers,
    from_camera,
    join_ratings,
    lay_unseen,
    rate_view,
)
from rilievo.types import Mesh, View


@dataclass(frozen=True)
class TextureConfig:
    """Settings of `texture`."""

    version: ClassVar[int] = 3
    unwrap: str = "views"
    """How the surface is cut: views (cut-outs of the photos, sharp and fast) or xatlas (by shape, slow)."""
    max_texture_size: int = 4096
    """Width and height that the texture may have, texels (at most 8192). It is smaller when the photos give less."""
    padding: int = 2
    """Texels kept free around each piece of surface."""
    smoothness: float = 0.9
    """How much a seam may cost in quality of the photo: higher gives fewer and longer seams."""
    max_angle_deg: float = 80.0
    """Photos that see a face at a flatter angle are not used for it."""
    remove_outliers: bool = True
    """Leave out photos whose colour of a face disagrees with the others (people, leaves, reflections)."""
    equalize: bool = True
    """Bring the photos to one exposure and white balance first."""
    blend_radius: int = 16
    """Width of the strip beside a seam in which the colours are made to meet, texels."""
    rating_size: int = 1200
    """Largest side of the photos when the faces are rated, pixels; their colours come from the whole photo."""
    keep_megapixels: float = 100.0
    """Photos kept in memory between rating and copying, so that they need not be read twice (3 MB a megapixel)."""


def texture(
    mesh: Mesh, load: Callable[[str], View], names: Sequence[str], *, config: TextureConfig | None = None
) -> Mesh:
    """The mesh with `uvs`, `texture`, `face_view` and `names`; vertices on seams are repeated and large faces split.

    load(name) gives an undistorted photo (PINHOLE camera). It is called for each name, one at a time (from another
    thread), to rate the faces, and again to copy the pixels of those that were chosen, unless `keep_megapixels` allows
    keeping them until then.
    Raises InputError for a mesh without faces, a photo with distortion or an unknown unwrapper, AlignmentError when no
    photo shows any of the mesh, ResourceError when the charts do not fit in the texture.
    """
    config = config or TextureConfig()
    if config.unwrap not in UNWRAPPERS:
        raise InputError(f"unwrap {config.unwrap!r} is not known", hint=f"choose one of {', '.join(UNWRAPPERS)}")
    if not len(mesh.faces):
        raise InputError("the mesh cannot be textured", "it has no faces")
    mesh = split_long_edges(mesh)
    size = int(np.clip(config.max_texture_size, 64, 8192))
    min_cos = float(np.cos(np.deg2rad(config.max_angle_deg)))
    placed: list[Placed] = []
    parts: list[Rating] = []
    shelf = _Shelf(load, config.keep_megapixels)
    for name, view in zip(names, shelf.each(names)):
        if view.camera.model not in ("PINHOLE", "SIMPLE_PINHOLE"):
            raise InputError(f"{name} cannot be used as texture", f"its camera has distortion ({view.camera.model})")
        placed.append(Placed(view.camera, view.cam_from_world))
        parts.append(rate_view(mesh, view, min_cos=min_cos, size=config.rating_size))
    if not any(len(p.face) for p in parts):
        why = f"none of the {len(placed)} photos shows any face from its front"
        raise AlignmentError("the mesh cannot be textured", why, "are the mesh and the cameras in the same frame?")
    ratings = join_ratings(parts, len(mesh.faces))
    gains = equalize_exposure(ratings, len(placed)) if config.equalize else np.ones((len(placed), 3))
    outlier = find_outliers(ratings, gains) if config.remove_outliers else np.zeros(len(ratings.face), bool)
    neighbors, sides = face_neighbors(mesh.faces)
    face_view = choose_views(mesh, ratings, outlier, neighbors, smoothness=config.smoothness)

    chart_view, face_view = lay_unseen(mesh, placed, face_view, neighbors, size=config.rating_size)
    seen = face_view >= 0
    label, corner_image, image_sizes = _image_corners(mesh, placed, chart_view, neighbors)
    patch = connected_patches(neighbors, label)
    unwrapped = UNWRAPPERS[config.unwrap](
        mesh.vertices, mesh.faces, patch, label, corner_image, image_sizes, max_size=size, padding=config.padding
    )
    owner = _texel_owners(unwrapped, seen)
    image = np.zeros((unwrapped.height, unwrapped.width, 3), np.uint8)
    chosen = [i for i in range(len(names)) if (face_view == i).any()]
    for i, view in zip(chosen, shelf.each([names[i] for i in chosen])):
        selected = np.flatnonzero(face_view == i).astype(np.int32)
        _bake(image, owner, unwrapped, mesh, selected, corner_image, view, i, gains[i])
    border = seam.find_seams(neighbors, sides, patch)
    seam.level_seams(image, owner, unwrapped, mesh.faces, patch, border, seen)
    seam.fill_unseen(image, owner, unwrapped, mesh.faces, seen)
    seam.blend_seams(image, owner, unwrapped, mesh.faces, patch, border, seen, radius=config.blend_radius)
    kernels.fill_gutters(image, owner, 2 * config.padding)
    return _assemble(mesh, unwrapped, image, face_view, names)


class _Shelf:
    """Photos one after the other, the next one loaded while the one before is worked on; kept for the second round as
    far as `keep_megapixels` goes."""

    def __init__(self, load: Callable[[str], View], keep_megapixels: float) -> None:
        self._load, self._room = load, keep_megapixels * 1e6
        self._kept: dict[str, View] = {}

    def _get(self, name: str) -> View:
        if name in self._kept:
            return self._kept[name]
        view = self._load(name)
        pixels = view.pixels.shape[0] * view.pixels.shape[1]
        if pixels <= self._room:
            self._room -= pixels
            self._kept[name] = view
        return view

    def each(self, names: Sequence[str]) -> Iterator[View]:
        """The photos of these names in order."""
        if not names:
            return
        with ThreadPoolExecutor(1) as loader:
            coming = loader.submit(self._get, names[0])
            for following in [*names[1:], None]:
                view = coming.result()
                if following is not None:
                    coming = loader.submit(self._get, following)
                yield view


def texture_facts(mesh: Mesh) -> dict[str, Any]:
    """What a report says of a textured mesh: its size, share of the surface that photos show, photos used."""
    if mesh.face_view is None or mesh.texture is None or mesh.uvs is None:
        return {}
    x = mesh.vertices.astype(np.float64)[mesh.faces]
    area = np.linalg.norm(np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]), axis=1)
    seen = mesh.face_view >= 0
    uv = mesh.uvs.astype(np.float64)[mesh.faces]
    u, v = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    used = np.bincount(mesh.face_view[seen], minlength=len(mesh.names))
    return {
        "width": mesh.texture.shape[1],
        "height": mesh.texture.shape[0],
        "coverage": round(float(area[seen].sum() / max(area.sum(), 1e-300)), 4),
        "faces_without_photo": int((~seen).sum()),
        "photos_used": int((used > 0).sum()),
        "fill": round(float(np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum() / 2), 3),
    }


def _image_corners(
    mesh: Mesh, placed: list[Placed], chart_view: np.ndarray, neighbors: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label int (f,), corners in the photo float32 (f, 3, 2), and sizes int (n + 6, 2) of the labels' photos.

    Faces that no photo lays out (chart_view -1) are laid flat along an axis (labels n to n + 5), at a quarter of the
    usual resolution: their colours will be smooth.
    """
    n = len(placed)
    x = mesh.vertices.astype(np.float64)[mesh.faces]
    normal = np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0])
    corner = np.zeros((len(x), 3, 2))
    sizes = np.zeros((n + 6, 2), np.int64)
    for i, view in enumerate(placed):
        sizes[i] = view.camera.width, view.camera.height
        rows = chart_view == i
        if rows.any():
            c = from_camera(view, x[rows].reshape(-1, 3), mesh.origin)
            focal, center = [view.camera.fx, view.camera.fy], [view.camera.cx, view.camera.cy]
            corner[rows] = (c[:, :2] / c[:, 2:] * focal + center).reshape(-1, 3, 2)
    unseen = chart_view < 0
    label = chart_view.astype(np.int64)
    if unseen.any():
        u, v = corner[~unseen, 1] - corner[~unseen, 0], corner[~unseen, 2] - corner[~unseen, 0]
        pixels = np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum()
        density = 0.25 * np.sqrt(pixels / max(np.linalg.norm(normal[~unseen], axis=1).sum(), 1e-300))
        direction = flat_directions(normal[unseen], neighbors, unseen)
        label[unseen] = n + direction
        plane = np.array([[1, 2], [2, 0], [0, 1]])[direction // 2]
        corner[unseen] = np.take_along_axis(x[unseen], plane[:, None, :], 2) * density
    return label, corner.astype(np.float32), sizes


def _texel_owners(unwrapped: Unwrapped, seen: np.ndarray) -> np.ndarray:
    """The face that each texel belongs to, int32 (h, w), with a margin of two texels; -1 outside. Where faces lie over
    each other, one that a photo shows wins."""
    flat = unwrapped.corner_xy.reshape(-1, 2)
    depth = np.repeat(np.where(seen, np.float32(1), np.float32(2)), 3)[:, None]
    corners = np.concatenate([flat * depth, depth], 1)
    own = np.arange(len(flat), dtype=np.int32).reshape(-1, 3)
    owner, _ = kernels.rasterize_mesh(corners, own, 1.0, 1.0, 0.0, 0.0, unwrapped.width, unwrapped.height)
    return kernels.grow_owner(owner, 2)


def _bake(
    image: np.ndarray,
    owner: np.ndarray,
    unwrapped: Unwrapped,
    mesh: Mesh,
    selected: np.ndarray,
    corner_image: np.ndarray,
    view: View,
    i: int,
    gain: np.ndarray,
) -> None:
    """Copies the pixels of one photo to the texels of the faces that chose it."""
    import cv2

    pixels = view.pixels
    scale = unwrapped.scales[i]
    h, w = pixels.shape[:2]
    small = (max(1, round(w * scale[0])), max(1, round(h * scale[1])))
    if small != (w, h):
        pixels = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
    if not np.allclose(gain, 1):
        table = np.clip(np.round(np.arange(256)[:, None] * gain), 0, 255).astype(np.uint8)
        pixels = cv2.LUT(pixels, table[:, None, :])
    if unwrapped.cutouts:  # the chart is the photo's own plane
        xy = corner_image[selected] * scale
        corner = np.concatenate([xy, np.ones((*xy.shape[:2], 1))], 2)
    else:
        x = mesh.vertices[mesh.faces[selected]].reshape(-1, 3)
        corner = (from_camera(view, x, mesh.origin) @ view.camera.K.T).reshape(-1, 3, 3)
        corner[..., :2] *= scale
    kernels.bake_faces(
        image, owner, unwrapped.corner_xy, selected, corner.astype(np.float32), np.ascontiguousarray(pixels)
    )


def _assemble(mesh: Mesh, unwrapped: Unwrapped, image: np.ndarray, face_view: np.ndarray, names: Sequence[str]) -> Mesh:
    uvs = np.zeros((len(unwrapped.source_vertex), 2), np.float32)
    uvs[unwrapped.corner_vertex] = unwrapped.corner_xy / np.array([unwrapped.width, unwrapped.height], np.float32)
    uvs[:, 1] = 1 - uvs[:, 1]

    def repeated(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[unwrapped.source_vertex]

    return replace(
        mesh,
        vertices=mesh.vertices[unwrapped.source_vertex],
        faces=unwrapped.corner_vertex,
        normals=repeated(mesh.normals),
        colors=repeated(mesh.colors),
        confidence=repeated(mesh.confidence),
        sigma=repeated(mesh.sigma),
        uvs=uvs,
        texture=image,
        face_view=face_view.astype(np.int32),
        names=tuple(names),
    )
