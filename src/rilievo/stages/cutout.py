"""The object of a photo against its background, without learned weights: by the difference from the empty scene or
from an even backdrop, by colour models (Rother et al. 2004, "GrabCut"), by the depth of a reconstruction.

Masks are uint8 (h, w), 255 where the object is.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from rilievo.stages.foreground import fitted_to_edges
from rilievo.types import Camera, Mesh

_WORK = 1600
_GRAB = 900


@dataclass(frozen=True, eq=False)
class Cutout:
    """mask: uint8 (h, w), soft at its rim.  trust: 0..1, how clearly object and background differ.  note: in words."""

    mask: np.ndarray
    trust: float
    note: str


def by_difference(pixels: np.ndarray, empty: np.ndarray) -> Cutout | None:
    """What stands in a photo and not in the photo of the empty scene, both uint8 (h, w, 3); shadows are background.

    None where the two are not of one view: their rims differ.
    """
    small, bare = _small(pixels, _WORK), _small(empty, _WORK)
    if small.shape != bare.shape:
        return None
    photo, back = (cv2.GaussianBlur(a, (0, 0), 1.0).astype(np.float32) for a in (small, bare))
    rim = _rim(photo.shape[:2])
    back = back * np.median(photo[rim] / np.maximum(back[rim], 1), axis=0)  # exposure and colour of the two shots
    off = np.abs(photo - back).max(2)
    level = float(np.median(off[rim])) / 0.6745
    if level > 14:
        return None
    return _from_background(pixels, photo, back, max(level, 1.0), "the empty scene")


def by_backdrop(pixels: np.ndarray) -> Cutout | None:
    """What stands before an even backdrop (a quadratic in x and y for each colour, fitted to the photo's rim). None
    where the rim is not even."""
    photo = cv2.GaussianBlur(_small(pixels, _WORK), (0, 0), 1.0).astype(np.float32)
    h, w = photo.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    x, y = x / w - 0.5, y / h - 0.5
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], -1)
    rim = _rim((h, w), 0.05)
    A, b = terms[rim][::7], photo[rim][::7]
    weight = np.ones(len(A), np.float32)
    coefficients = np.zeros((6, 3), np.float32)
    for _ in range(8):  # the object may reach the rim: what does not fit counts less and less
        coefficients = np.linalg.lstsq(A * weight[:, None], b * weight[:, None], rcond=None)[0]
        off = np.abs(A @ coefficients - b).max(1)
        weight = 1 / np.maximum(1, off / max(1.5 * float(np.median(off)), 1.0))
    back = terms @ coefficients
    off = np.abs(photo - back).max(2)[rim]
    level = float(np.median(off)) / 0.6745
    if level > 8 or float(np.mean(off < 4 * max(level, 1.5))) < 0.75:
        return None
    return _from_background(pixels, photo, back.astype(np.float32), max(level, 1.0), "an even backdrop")


def _from_background(pixels: np.ndarray, photo: np.ndarray, back: np.ndarray, level: float, what: str) -> Cutout | None:
    """The object where a photo departs from its background, shadows aside. level: the background's own unrest."""
    off = np.abs(photo - back).max(2)
    shadow = _shadowed(photo, back, level)
    sure = (off > 4.5 * level + 4) & ~shadow
    clear = off < 2.5 * level + 2
    sure = cv2.morphologyEx(sure.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    sure = _large_parts(sure, 0.015)
    if sure.mean() < 0.001:
        return None
    # Inside the outline, parts that look like the background count as object only where the outline closes tightly.
    joined = cv2.morphologyEx(sure, cv2.MORPH_CLOSE, _disc(max(3, max(sure.shape) // 150)))
    state = np.full(sure.shape, cv2.GC_PR_BGD, np.uint8)
    state[joined > 0] = cv2.GC_PR_FGD
    near = cv2.dilate(joined, _disc(max(3, max(sure.shape) // 80)))
    state[(near == 0) | ((clear | shadow) & (joined == 0))] = cv2.GC_BGD
    state[cv2.erode(sure, _disc(2)) > 0] = cv2.GC_FGD
    mask = _grabbed(np.clip(photo, 0, 255).astype(np.uint8), state, 3)
    mask = _large_parts(_filled(mask, 0.002), 0.015)
    # A hole that shows the background darkened lies under the object's own outline: it is no hole.
    count, label = cv2.connectedComponents(1 - mask, connectivity=4)
    outside = np.unique(np.concatenate([label[0], label[-1], label[:, 0], label[:, -1]]))
    for i in range(1, count):
        hole = label == i
        if i not in outside and shadow[hole].mean() > 0.5:
            mask[hole] = 1
    trust = float(np.clip(np.median(off[mask > 0]) / (12 * level + 12), 0, 1)) if mask.any() else 0.0
    return Cutout(_at_full_size(mask, pixels), trust, f"by its difference from {what}, shadows left out")


def _shadowed(photo: np.ndarray, back: np.ndarray, level: float) -> np.ndarray:
    """bool (h, w): where a photo is its background darkened: all colours and the pattern of the place alike (Horprasert
    et al. 1999, and their neighbourhoods). A surface of the colour of a shadow has a pattern of its own."""
    side = 7

    def mean(a: np.ndarray) -> np.ndarray:
        return cv2.blur(a, (side, side))

    over, under = mean(photo * back), np.maximum(mean(back * back), 1)
    factor = over / under  # for each colour: the sky's light in a shadow is bluer than the sun's
    unlike = np.sqrt(np.maximum(mean(photo * photo) - factor * over, 0).mean(2))
    contrast = np.sqrt(np.maximum(under - mean(back) ** 2, 0).mean(2))
    # A single window may fit a grained surface by chance, so several are averaged; at a shadow's edge the windows on
    # either side tell.
    near = cv2.erode(cv2.blur(np.maximum(unlike - 0.12 * contrast, 0), (5, 5)), np.ones((9, 9), np.uint8))
    own = np.clip(cv2.blur(photo, (3, 3)) / np.maximum(cv2.blur(back, (3, 3)), 8), 0, 2)
    alike = own.max(2) < 1.35 * own.min(2) + 0.02
    dark = (own.mean(2) > 0.25) & (own.max(2) < 0.99)
    found = dark & alike & (near < 1.0 * level + 1.2)
    # Narrow shadows, and those where things touch, by the colour that the wide ones have.
    tint = own / np.maximum(own.mean(2, keepdims=True), 1e-3)
    if found.mean() > 0.001:
        usual = np.median(tint[found], axis=0)
        allowed = 0.03 + 2.0 * level / np.maximum(back.min(2), 20)
        like = (np.abs(tint - usual).max(2) < allowed) & (unlike - 0.2 * contrast < 3 * level + 25)
        found |= dark & like & (near < level + 2)
    return found


def by_grabcut(pixels: np.ndarray, box: tuple[int, int, int, int] | None = None) -> Cutout:
    """What differs in colour from the photo's rim, by GrabCut from a box (x, y, width, height; default: all but a rim
    of 5 %). A guess that is right where object and background share no colours."""
    small = _small(pixels, _GRAB)
    h, w = small.shape[:2]
    factor = w / pixels.shape[1]
    if box is None:
        inset = round(0.05 * w), round(0.05 * h)
        rect = (*inset, w - 2 * inset[0], h - 2 * inset[1])
    else:
        rect = tuple(round(v * factor) for v in box)
    state = np.full((h, w), cv2.GC_BGD, np.uint8)
    state[rect[1] : rect[1] + rect[3], rect[0] : rect[0] + rect[2]] = cv2.GC_PR_FGD
    mask = _large_parts(_filled(_grabbed(small, state, 6), 0.002), 0.1)
    inside = float(mask.mean())
    trust = 0.4 if 0.02 < inside < 0.7 else 0.1
    return Cutout(_at_full_size(mask, pixels), trust, "by its colours against those of the photo's rim: a guess")


def by_depth(pixels: np.ndarray, mesh: Mesh, chosen: np.ndarray, camera: Camera, cam_from_world: np.ndarray) -> Cutout:
    """The chosen faces of a surface, bool (f,), as a photo sees them in front of the others, fitted to its colours."""
    from rilievo import geometry, kernels

    h, w = pixels.shape[:2]
    scale = min(1.0, _GRAB / max(h, w))
    size = max(8, round(w * scale)), max(8, round(h * scale))
    local = (mesh.vertices.astype(np.float64) + mesh.origin) @ cam_from_world[:, :3].T + cam_from_world[:, 3]
    factor = size[0] / camera.width
    K = [camera.fx * factor, camera.fy * factor, camera.cx * factor, camera.cy * factor]
    face, _ = kernels.rasterize_mesh(local.astype(np.float32), mesh.faces, *K, *size)
    seen = np.zeros(size[::-1], np.uint8)
    seen[(face >= 0) & chosen[np.maximum(face, 0)]] = 1
    # The surface was drawn without the lens's distortion: taken back to the photo as it is.
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    flat = geometry.undistort(camera, np.stack([x.ravel(), y.ravel()], 1) / factor)
    at = flat * K[:2] + K[2:] - 0.5
    maps = [np.ascontiguousarray(at[:, k].reshape(size[::-1]), np.float32) for k in range(2)]
    seen = cv2.remap(seen, maps[0], maps[1], cv2.INTER_NEAREST)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    state = np.full(seen.shape, cv2.GC_BGD, np.uint8)
    reach = _disc(max(3, max(size) // 70))
    state[cv2.dilate(seen, reach) > 0] = cv2.GC_PR_BGD
    state[seen > 0] = cv2.GC_PR_FGD
    state[cv2.erode(seen, reach) > 0] = cv2.GC_FGD
    mask = _grabbed(small, state, 3) if (state == cv2.GC_FGD).any() else seen
    return Cutout(_at_full_size(mask, pixels), 0.8, "by the depth of the reconstructed surface, its rim by colour")


def above_support(vertices: np.ndarray, faces: np.ndarray, focus: np.ndarray, up: np.ndarray) -> np.ndarray:
    """bool (f,): faces of what stands on the plane under `focus`, the point that the cameras look at.

    The plane is the one most of the area around and below the focus lies in (every fourth-percentile height along `up`
    is tried, normals within 25 degrees of it); the object is what rises above it near the focus, in one piece.
    """
    corners = vertices[faces]
    middle = corners.mean(1)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normal, axis=1) / 2
    level = np.abs(normal @ up) / np.maximum(2 * area, 1e-12) > np.cos(np.radians(25))
    height = (middle - focus) @ up
    across = np.linalg.norm(middle - focus - height[:, None] * up, axis=1)
    reach = float(np.quantile(across, 0.5)) + 1e-9
    below = level & (height < 0.25 * reach)
    if not below.any():
        return across < reach
    bins = np.linspace(height[below].min(), height[below].max() + 1e-9, 200)
    mass = np.histogram(height[below], bins, weights=area[below])[0]
    mass = np.convolve(mass, np.ones(3), "same")
    # The highest of the wide levels: a table has an underside, too.
    floor = bins[int(np.flatnonzero(mass >= 0.6 * mass.max())[-1])] + (bins[1] - bins[0]) / 2
    return _piece_near(faces, len(vertices), height > floor + max(0.012 * reach, 1.5 * (bins[1] - bins[0])), across)


def _piece_near(faces: np.ndarray, count: int, wanted: np.ndarray, across: np.ndarray) -> np.ndarray:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows = faces[wanted]
    links = np.concatenate([rows[:, [0, 1]], rows[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count))
    _, label = connected_components(graph, directed=False)
    own = label[faces[:, 0]]
    sizes = np.bincount(own[wanted], weights=1 / (1 + (across[wanted] / max(float(across.max()), 1e-9) * 8) ** 2))
    return wanted & (sizes[np.minimum(own, len(sizes) - 1)] > 0.015 * sizes.max()) if len(sizes) else wanted


def _small(pixels: np.ndarray, most: int) -> np.ndarray:
    h, w = pixels.shape[:2]
    scale = most / max(h, w)
    if scale >= 1:
        return np.ascontiguousarray(pixels)
    return cv2.resize(pixels, (max(1, round(w * scale)), max(1, round(h * scale))), interpolation=cv2.INTER_AREA)


def _rim(shape: tuple[int, ...], share: float = 0.03) -> np.ndarray:
    """bool: the outer rows and columns."""
    out = np.ones(shape, bool)
    n = max(2, round(share * min(shape)))
    out[n:-n, n:-n] = False
    return out


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _grabbed(pixels: np.ndarray, state: np.ndarray, rounds: int) -> np.ndarray:
    """uint8 (h, w) 0 or 1."""
    if not ((state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)).any():
        return np.zeros(state.shape, np.uint8)
    if not ((state == cv2.GC_BGD) | (state == cv2.GC_PR_BGD)).any():
        return np.ones(state.shape, np.uint8)
    cv2.setRNGSeed(0)  # its colour clusters start at random
    state = state.copy()
    cv2.grabCut(pixels, state, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), rounds, cv2.GC_INIT_WITH_MASK)
    return ((state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)).astype(np.uint8)


def _large_parts(mask: np.ndarray, share: float) -> np.ndarray:
    """Pieces of at least `share` of the largest one."""
    count, label, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 2:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.isin(label, np.flatnonzero(areas >= share * areas.max())).astype(np.uint8) if areas.max() else mask


def _filled(mask: np.ndarray, share: float) -> np.ndarray:
    """Holes below `share` of the picture closed."""
    count, label, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    small = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] < share * mask.size]
    return np.where(np.isin(label, small), 1, mask).astype(np.uint8)


def _at_full_size(mask: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    h, w = pixels.shape[:2]
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7)
    if mask.shape != (h, w):
        soft = cv2.resize(soft, (w, h), interpolation=cv2.INTER_LINEAR)
        soft = fitted_to_edges(soft, pixels, radius=max(1, round(1.5 * w / mask.shape[1])))
    return np.rint(np.clip(soft, 0, 1) * 255).astype(np.uint8)
