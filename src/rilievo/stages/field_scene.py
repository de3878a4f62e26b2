"""What the photos say of a scene before a radiance field is trained: where it is, which space can be empty at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rilievo.errors import InputError
from rilievo.stages.field_free import Front, fronts
from rilievo.types import View

NEAR = 0.02  # of the scene's radius: nothing is looked for nearer to a camera
MIN_WEIGHT = 3e-4  # a sample that adds less to its pixel is taken as empty, in training and in pictures
FAR = 100.0  # in radii, of an unbounded scene
SPREAD = 1 / 128  # distance of samples far away, as a share of their distance


@dataclass(frozen=True)
class Region:
    """A scene's place: the cube (bounded) or sphere (unbounded: beyond it space is contracted) of this half width."""

    center: np.ndarray
    radius: float
    unbounded: bool


@dataclass(frozen=True)
class PhotoSet:
    """The photos as `kernels.field_rays` takes them."""

    pixels: np.ndarray  # uint8 (n, 4)
    usable: np.ndarray  # uint8 (n) or (0)
    sizes: np.ndarray  # int64 (photos, 3): first pixel, width, height
    cameras: np.ndarray  # float64 (photos, 16): fx fy cx cy, world_from_cam (9), centre (3) in radii
    has_alpha: bool


def centers_and_axes(views: Sequence[View]) -> tuple[np.ndarray, np.ndarray]:
    """Camera centres and viewing directions in the world, float64 (n, 3) each."""
    poses = np.stack([v.cam_from_world for v in views])
    R, t = poses[:, :, :3], poses[:, :, 3]
    return -np.einsum("nji,nj->ni", R, t), R[:, 2]


def focus_point(centers: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """The point nearest to all viewing axes (least squares); for parallel axes the centres' mean is kept along them."""
    across = np.eye(3) - axes[:, :, None] * axes[:, None]
    A, b = across.sum(0), np.einsum("nij,nj->i", across, centers)
    mean = centers.mean(0)
    small = 1e-3 * len(centers)
    return mean + np.linalg.solve(A + small * np.eye(3), b - A @ mean)


def find_region(views: Sequence[View], points: np.ndarray | None = None) -> Region:
    """Where the scene is.

    Photos that are transparent around an object (alpha) bound it: the cube around all that no silhouette rules out.
    Otherwise the scene is unbounded: its sphere lies around what the cameras look at (with `points`, float64 (p, 3):
    around those that are near that) and holds the cameras where they stand around it.
    """
    centers, axes = centers_and_axes(views)
    focus = focus_point(centers, axes)
    away = np.linalg.norm(centers - focus, axis=1)
    if all(v.alpha is not None for v in views):
        half = float(away.max())
        silhouettes = [_silhouette(v) for v in views]
        for _ in range(3):
            cells = open_cells(views, Region(focus, half, False), 64, silhouettes)
            if not cells.any():
                raise InputError(
                    "the photos agree on no object",
                    "no part of space is inside the opaque part of every photo that sees it",
                    "check that photos and cameras belong together, or that the photos are not all transparent",
                )
            at = np.argwhere(cells)[:, ::-1]
            low = focus + half * (at.min(0) / 32 - 1)
            high = focus + half * ((at.max(0) + 1) / 32 - 1)
            focus, half = (low + high) / 2, 1.02 * float((high - low).max() / 2)
        return Region(focus, half, False)
    if points is not None and len(points) >= 20:
        focus = np.median(points, 0)
        far = np.linalg.norm(points - focus, axis=1)
        # Beyond the radius cells grow: where cameras stand around the scene the space before them should not.
        around = float(np.median(np.linalg.norm(centers - focus, axis=1)))
        radius = float(np.quantile(far, 0.8))
        radius = max(radius, min(1.1 * around, 4 * radius))
    else:
        radius = float(np.median(away))
        if radius < 1e-9:
            raise InputError(
                "the photos were all taken from one place",
                "there is no depth to learn from",
                "add photos from the side",
            )
    return Region(focus, radius, True)


def _shrunk(opaque: np.ndarray, step: int) -> np.ndarray:
    """True where any pixel of a block of step x step is."""
    h, w = opaque.shape
    padded = np.zeros((-(-h // step) * step, -(-w // step) * step), bool)
    padded[:h, :w] = opaque
    return np.asarray(padded.reshape(padded.shape[0] // step, step, -1, step).any((1, 3)))


def _silhouette(view: View) -> tuple[np.ndarray, int] | None:
    """How far it is to the nearest pixel that is not transparent, in blocks of some pixels: (distances, pixels a
    block)."""
    import cv2

    if view.alpha is None:
        return None
    step = max(1, max(view.camera.width, view.camera.height) // 256)
    opaque = _shrunk(view.alpha > 0, step)
    if not opaque.any():
        return np.full(opaque.shape, 1e9, np.float32), step
    return cv2.distanceTransform((~opaque).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), step


def _rules_out(
    view: View,
    silhouette: tuple[np.ndarray, int] | None,
    front: Front | None,
    points: np.ndarray,
    size: np.ndarray,
    strict: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """For points (n, 3): whether the photo tells that nothing is within `size` (n) of them; whether it shows them (not
    strict: or something that near to them)."""
    camera = view.camera
    R, t = view.cam_from_world[:, :3].astype(np.float32), view.cam_from_world[:, 3].astype(np.float32)
    p = points @ R.T + t
    z = np.maximum(p[:, 2], np.float32(1e-9))
    x = np.float32(camera.fx) * p[:, 0] / z + np.float32(camera.cx)
    y = np.float32(camera.fy) * p[:, 1] / z + np.float32(camera.cy)
    reach = np.float32(max(camera.fx, camera.fy)) * size / z
    before = p[:, 2] > size
    # Around the camera anything may be; further aside in its plane the photo shows nothing.
    slope = np.hypot(
        max(camera.cx, camera.width - camera.cx) / camera.fx, max(camera.cy, camera.height - camera.cy) / camera.fy
    )
    near = (p[:, 2] > -size) & ~before & (np.hypot(p[:, 0], p[:, 1]) <= np.float32(1 + 2 * slope) * size)
    rim = np.zeros_like(reach) if strict else reach
    shown = (before & (x > -rim) & (y > -rim) & (x < camera.width + rim) & (y < camera.height + rim)) | near
    inside = before & (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)
    empty = np.zeros(len(points), bool)
    if front is not None:
        empty = inside & front.rules_out(x, y, p[:, 2], size, reach)
        # The camera itself stood somewhere.
        empty |= (np.linalg.norm(p, axis=1) < 2 * size) & (3 * size < front.near)
    if silhouette is None:
        return empty, shown
    clear, step = silhouette
    column = np.clip(x / step, 0, clear.shape[1] - 1).astype(np.int32)
    row = np.clip(y / step, 0, clear.shape[0] - 1).astype(np.int32)
    return empty | (inside & (clear[row, column] * step > reach + 2 * step)), shown


def squeeze(points: np.ndarray, unbounded: bool) -> np.ndarray:
    """Where in [0, 1]^3 points (n, 3) in radii are looked up: see native/field.h."""
    if not unbounded:
        return points / 2 + 0.5
    r = np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1)
    return points * ((2 - 1 / r) / r) / 4 + 0.5


def expand(u: np.ndarray, unbounded: bool) -> np.ndarray:
    """Normalised points of places u in [0, 1]^3: the inverse of what native/field.h says, (n, 3)."""
    if not unbounded:
        return u * 2 - 1
    q = u * 4 - 2
    r = np.linalg.norm(q, axis=-1, keepdims=True)
    far = np.minimum(r, 2 - 1 / FAR)  # |contract(p)| = 2 - 1 / |p|
    return np.where(r <= 1, q, q / np.maximum(r, 1e-9) / (2 - far))


def open_cells(
    views: Sequence[View],
    region: Region,
    size: int,
    silhouettes: Sequence[tuple[np.ndarray, int] | None] | None = None,
    seen: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """The cells of the occupancy grid that may hold something, bool (size, size, size) [z, y, x].

    Ruled out is what a silhouette (alpha) cuts away, what lies in front of points that a photo sees (`seen`, see
    `field_free.fronts`), and what too few photos show: less than half of them around an
    object before transparent background, else less than two."""
    silhouettes = silhouettes or [_silhouette(v) for v in views]
    ends = fronts(views, seen)
    least = max(2, len(views) // 2) if not region.unbounded else min(2, len(views))
    step = size
    while step > 16 and step % 2 == 0:
        step //= 2
    at, keep = np.arange(step**3), np.ones(0, bool)
    while True:  # coarse to fine: only what is left is looked at again
        u = ((np.stack([at % step, at // step % step, at // step**2], -1) + 0.5) / step).astype(np.float32)
        points = expand(u, region.unbounded)
        r = np.maximum(np.linalg.norm(points, axis=1), 1) if region.unbounded else np.ones(len(points))
        width = (4.0 if region.unbounded else 2.0) / step * r * r  # a cell grows by the contraction
        reach = (np.sqrt(3) / 2 * width * region.radius).astype(np.float32)
        world = (points * region.radius + region.center).astype(np.float32)
        good, times = np.ones(len(at), bool), np.zeros(len(at), np.int32)
        for view, silhouette, front in zip(views, silhouettes, ends):
            left = np.flatnonzero(good)
            # What only the rim of photos may show would never be ruled out; around an object it is nothing.
            strict = step == size and not region.unbounded
            empty, shown = _rules_out(view, silhouette, front, world[left], reach[left], strict)
            good[left] = ~empty
            times[left] += shown
        keep = np.zeros(step**3, bool)
        keep[at[good & (times >= least)]] = True
        keep = keep.reshape(step, step, step)
        if step == size or not keep.any():
            break
        step *= 2
        at = np.flatnonzero(keep.repeat(2, 0).repeat(2, 1).repeat(2, 2))
    return keep


def sample_edges(region: Region, views: Sequence[View], steps: int) -> np.ndarray:
    """Distances between which rays are sampled, in radii, float32 (k + 1): even within the scene (`steps` along the
    diagonal of its cube); in an unbounded scene growing with the distance as soon as that asks for less."""
    step = 2 * np.sqrt(3) / steps
    if not region.unbounded:
        centers, _ = centers_and_axes(views)
        away = np.linalg.norm(centers - region.center, axis=1) / region.radius
        last = float(away.max()) + np.sqrt(3)
        return (NEAR + step * np.arange(int(np.ceil((last - NEAR) / step)) + 1)).astype(np.float32)
    first = np.arange(NEAR, max(step / SPREAD, NEAR + step), step)
    more = int(np.ceil(np.log(FAR / first[-1]) / np.log1p(SPREAD)))
    return np.concatenate([first, first[-1] * (1 + SPREAD) ** np.arange(1, more + 1)]).astype(np.float32)


def pack_photos(views: Sequence[View], region: Region) -> PhotoSet:
    """All photos in one array, cameras in radii around the scene's centre."""
    pixels, usable, sizes, cameras, first = [], [], [], [], 0
    masked = any(v.mask is not None for v in views)
    for v in views:
        h, w = v.pixels.shape[:2]
        alpha = np.full((h, w), 255, np.uint8) if v.alpha is None else v.alpha
        pixels.append(np.concatenate([v.pixels, alpha[..., None]], -1).reshape(-1, 4))
        if masked:
            usable.append(np.ones(h * w, np.uint8) if v.mask is None else v.mask.astype(np.uint8).ravel())
        sizes.append((first, w, h))
        first += h * w
        c = v.camera
        world_from_cam = v.cam_from_world[:, :3].T
        center = (-world_from_cam @ v.cam_from_world[:, 3] - region.center) / region.radius
        cameras.append(np.concatenate([[c.fx, c.fy, c.cx, c.cy], world_from_cam.ravel(), center]))
    return PhotoSet(
        np.concatenate(pixels),
        np.concatenate(usable) if masked else np.zeros(0, np.uint8),
        np.array(sizes, np.int64),
        np.array(cameras, np.float64),
        all(v.alpha is not None for v in views),
    )
