"""What the surface of one depth map is like at each pixel: slopes, normals, and where it tears.

All work is on inverse depth w = 1/z: on a plane, w changes by the same amount from pixel to pixel, however slanted the
plane is. A floor seen at a grazing angle is therefore smooth here, and only a silhouette is a jump.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo.types import Camera

# How far the soft ramp that networks draw over a silhouette may reach to each side, in pixels, from narrow to wide.
RAMP_REACHES = (1, 2, 4, 6)


@dataclass(frozen=True)
class Tears:
    """Where neighbouring pixels do not lie on one surface. across: bool (h, w - 1), between columns x and x + 1; down:
    bool (h - 1, w), between rows. Pixels without depth are torn from all neighbours."""

    across: np.ndarray
    down: np.ndarray


def fill_unknown(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A copy of values (h, w) in which unknown pixels have that of the nearest known one; zeros if none is known."""
    import cv2

    if known.all():
        return values.copy()
    if not known.any():
        return np.zeros_like(values)
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label = np.asarray(labels, np.int32)
    table = np.zeros(int(label.max()) + 1, values.dtype)
    table[label[known]] = values[known]
    return table[label]


def slopes(inverse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(d w / d x, d w / d y) float32 (h, w) per pixel: medians over 5 x 5 differences, so that a jump beside a pixel
    does not tilt its surface."""
    across, down = _median_steps(inverse)
    gx, gy = np.empty_like(inverse), np.empty_like(inverse)
    gx[:, 1:-1] = (across[:, 1:] + across[:, :-1]) / 2
    gx[:, 0], gx[:, -1] = across[:, 0], across[:, -1]
    gy[1:-1] = (down[1:] + down[:-1]) / 2
    gy[0], gy[-1] = down[0], down[-1]
    return gx, gy


def _median_steps(inverse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    across = np.ascontiguousarray(inverse[:, 1:] - inverse[:, :-1])
    down = np.ascontiguousarray(inverse[1:] - inverse[:-1])
    return cv2.medianBlur(across, 5), cv2.medianBlur(down, 5)


def normals_of(inverse: np.ndarray, known: np.ndarray, camera: Camera) -> np.ndarray:
    """Unit normals float32 (h, w, 3) in camera axes that face the camera, NaN where depth is unknown.

    A plane n . x = 1 has w = n . (x - cx) / fx, ...: its normal follows from w and its slopes.
    """
    gx, gy = slopes(fill_unknown(inverse, known))
    height, width = inverse.shape
    x = (np.arange(width, dtype=np.float32) + np.float32(0.5 - camera.cx))[None]
    y = (np.arange(height, dtype=np.float32) + np.float32(0.5 - camera.cy))[:, None]
    n = np.empty((height, width, 3), np.float32)
    n[..., 0] = gx * np.float32(-camera.fx)
    n[..., 1] = gy * np.float32(-camera.fy)
    n[..., 2] = gx * x + gy * y - inverse
    length = np.sqrt(n[..., 0] ** 2 + n[..., 1] ** 2 + n[..., 2] ** 2)
    n /= np.where(length > 0, length, 1)[..., None]
    n[~known | (length <= 0)] = np.nan
    return n


def sharpen(inverse: np.ndarray, known: np.ndarray, pixels: np.ndarray | None = None, *, rise: float) -> np.ndarray:
    """Inverse depth in which the soft ramps over silhouettes are steps: each pixel of a ramp is put on the surface of
    that side to which it is nearer, in depth and in colour.

    A ramp is where w climbs by more than `rise` of itself between two places with little slope of their own. pixels:
    the photo, uint8 (h, w, 3), of the map's size.
    """
    import cv2

    w = fill_unknown(inverse.astype(np.float32), known)
    y: np.ndarray
    x: np.ndarray
    colors = None if pixels is None else cv2.GaussianBlur(pixels, (3, 3), 0).astype(np.int16)
    for reach in RAMP_REACHES:
        gx: np.ndarray = np.asarray(cv2.Scharr(w, cv2.CV_32F, 1, 0, scale=1 / 32))
        gy: np.ndarray = np.asarray(cv2.Scharr(w, cv2.CV_32F, 0, 1, scale=1 / 32))
        # Not cv2.magnitude: its last bit depends on where its arrays lie in memory.
        steep = np.sqrt(gx * gx + gy * gy)
        y, x = np.nonzero((steep * (2 * reach + 2) > 0.4 * rise * w) & known)
        if not len(y):
            continue
        g = steep[y, x]
        ux, uy = gx[y, x] / g, gy[y, x] / g
        far = reach + 1.0
        height, width = w.shape
        xp, yp = np.rint(x + far * ux).astype(np.intp), np.rint(y + far * uy).astype(np.intp)
        xm, ym = np.rint(x - far * ux).astype(np.intp), np.rint(y - far * uy).astype(np.intp)
        fits = (np.minimum(xp, xm) >= 0) & (np.maximum(xp, xm) < width)
        fits &= (np.minimum(yp, ym) >= 0) & (np.maximum(yp, ym) < height)
        kept: list[np.ndarray] = [a[fits] for a in (y, x, xp, yp, xm, ym, ux, uy, g)]
        y, x, xp, yp, xm, ym, ux, uy, g = kept
        # Slopes along the ramp's own direction at its two ends; what they explain is no ramp.
        slope_p = gx[yp, xp] * ux + gy[yp, xp] * uy
        slope_m = gx[ym, xm] * ux + gy[ym, xm] * uy
        wp, wm = w[yp, xp], w[ym, xm]
        outer = np.maximum(np.abs(slope_p), np.abs(slope_m))
        ramp = (wp - wm - outer * 2 * far > rise * np.maximum(wm, 1e-12)) & (g > 1.5 * outer) & known[yp, xp]
        ramp &= known[ym, xm]
        on_ramp = np.zeros(w.shape, bool)
        on_ramp[y[ramp], x[ramp]] = True
        group, sizes = _components(on_ramp)
        ramp &= sizes[group[y, x]] >= _min_line(w.shape)
        kept = [a[ramp] for a in (y, x, xp, yp, xm, ym)]
        y, x, xp, yp, xm, ym = kept
        at_p = wp[ramp] - slope_p[ramp] * far
        at_m = wm[ramp] + slope_m[ramp] * far
        apart = at_p - at_m
        now = w[y, x]
        vote = 2 * (now - at_m) / np.where(apart > 0, apart, 1) - 1
        if colors is not None:
            here = colors[y, x]
            to_p = np.abs(here - colors[yp, xp]).sum(1, dtype=np.float32)
            to_m = np.abs(here - colors[ym, xm]).sum(1, dtype=np.float32)
            vote = vote + 0.8 * (to_m - to_p) / (to_m + to_p + 24)
        side = np.where(vote > 0, np.minimum(at_p, wp[ramp] * 1.05), np.maximum(at_m, wm[ramp] * 0.95))
        changed = w.copy()
        changed[y, x] = np.where(apart > 0, side, now)
        settled: np.ndarray = np.asarray(cv2.medianBlur(changed, 3))
        w[y, x] = settled[y, x]
    return w


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(number of the group of touching pixels at each pixel int32 (h, w), 0 elsewhere; sizes of the groups)."""
    import cv2

    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    label = np.asarray(labels, np.int32)
    return label, np.bincount(label.ravel())


def _min_line(shape: tuple[int, ...]) -> int:
    return max(4, round(0.025 * max(shape)))


def find_tears(inverse: np.ndarray, known: np.ndarray, *, jump: float, weak_jump: float) -> Tears:
    """Where the surface tears: steps of inverse depth beyond what its own slope explains, larger than `jump` of itself
    (the depth behind is so much larger), or than `weak_jump` in a line that is `jump` somewhere. Short lines are noise
    and do not count."""
    w = fill_unknown(inverse, known)
    across, down = w[:, 1:] - w[:, :-1], w[1:] - w[:-1]
    mid_across, mid_down = _median_steps(w)
    tiny = np.float32(1e-12)
    excess_across = np.abs(across - mid_across) / np.maximum(np.minimum(w[:, 1:], w[:, :-1]), tiny)
    excess_down = np.abs(down - mid_down) / np.maximum(np.minimum(w[1:], w[:-1]), tiny)
    at_pixel = np.zeros(w.shape, np.float32)
    for view, excess in (
        (at_pixel[:, :-1], excess_across),
        (at_pixel[:, 1:], excess_across),
        (at_pixel[:-1], excess_down),
        (at_pixel[1:], excess_down),
    ):
        np.maximum(view, excess, out=view)
    lines, sizes = _components(at_pixel > weak_jump)
    strong = np.zeros(len(sizes), bool)
    strong[lines[at_pixel > jump]] = True
    strong &= sizes >= _min_line(w.shape)  # a silhouette is a line; the rest is noise
    strong[0] = False
    kept = strong[lines]
    tear_across = (excess_across > weak_jump) & kept[:, 1:] & kept[:, :-1]
    tear_down = (excess_down > weak_jump) & kept[1:] & kept[:-1]
    tear_across |= ~(known[:, 1:] & known[:, :-1])
    tear_down |= ~(known[1:] & known[:-1])
    return Tears(tear_across, tear_down)


def small_pieces(known: np.ndarray, tears: Tears, min_pixels: int) -> np.ndarray:
    """bool (h, w): known pixels in pieces of surface, as far as it does not tear, of fewer than `min_pixels`."""
    import cv2

    height, width = known.shape
    # Pixels and the ways between them, each a cell of one picture.
    cells = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    cells[::2, ::2] = known
    cells[::2, 1::2] = ~tears.across
    cells[1::2, ::2] = ~tears.down
    _, pieces = cv2.connectedComponents(cells, connectivity=4, ltype=cv2.CV_32S)
    piece = np.asarray(pieces[::2, ::2], np.int32)
    sizes = np.bincount(piece[known], minlength=int(piece.max()) + 1)
    return known & (sizes[piece] < min_pixels)
