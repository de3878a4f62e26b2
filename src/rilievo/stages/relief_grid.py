"""Triangles over a depth map: few where it is flat, one pixel fine where it bends or tears.

Right triangles that are halved until they fit (Lindstrom & Pascucci 2002, "Terrain Simplification Simplified": the
4-8 mesh, errors nested so that no cracks open). Where the surface tears, each square between four pixels is parted
among the surfaces that meet in it, half way between the pixels (marching squares), and the rims are smoothed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo.stages.relief_shape import Tears

BLOCK = 16  # side in pixels of the squares that the largest triangles halve; a power of two

# The square between four pixels. Corners clockwise from the upper left as (row, column); side k joins corners k, k + 1.
_CORNERS = ((0, 0), (0, 1), (1, 1), (1, 0))
# Points that a pixel owns beside its centre: the middles of the ways to its right, lower, left and upper neighbour,
# then the middles of the four squares around it (x, y).
_POINTS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1), (-1, -1), (1, -1)], np.float32) / 2
# _WAY[corner][side]: which of those points the corner's pixel owns on the side.
_WAY = {(0, 0): 0, (0, 3): 1, (1, 0): 2, (1, 1): 1, (2, 1): 3, (2, 2): 2, (3, 2): 0, (3, 3): 3}


@dataclass(frozen=True)
class Grid:
    """Triangles in the picture. xy: float32 (v, 2), px (pixel centres at .5).  home: int32 (v,), the pixel (row * width
    + column) on whose surface the vertex lies.  faces: int32 (f, 3), counter-clockwise as the camera sees them."""

    xy: np.ndarray
    home: np.ndarray
    faces: np.ndarray


def triangulate(
    inverse: np.ndarray, known: np.ndarray, tears: Tears, *, max_bend: float, max_slide_px: float, smoothing: int
) -> Grid:
    """The grid over all known pixels.

    inverse: 1/depth float32 (h, w), any finite value where not known.  max_bend: by what share of its depth the surface
    may depart from the triangles.  max_slide_px: by how many pixels a texture laid on them may slide (it is
    interpolated in space, not in the picture).  smoothing: rounds of smoothing along the rims.
    """
    height, width = inverse.shape
    if height < 2 or width < 2:
        return Grid(np.zeros((0, 2), np.float32), np.zeros(0, np.int32), np.zeros((0, 3), np.int32))
    torn = tears.across[:-1] | tears.across[1:] | tears.down[:, :-1] | tears.down[:, 1:]
    any_known = known[:-1, :-1] | known[:-1, 1:] | known[1:, :-1] | known[1:, 1:]
    wanted = _nested_errors(inverse, known, torn & any_known, max_bend, max_slide_px) > 1
    faces = _halve(wanted)
    y, x = np.divmod(faces, wanted.shape[1])
    inside = (y.max(1) < height) & (x.max(1) < width)
    y, x = y[inside], x[inside]
    parted, pieces, segments = _part_squares(torn & any_known, known, tears)
    low_y, low_x = y.min(1), x.min(1)
    one = (y.max(1) - low_y == 1) & (x.max(1) - low_x == 1)
    kept = known[y[:, 0], x[:, 0]]
    kept[one] &= ~parted[low_y[one], low_x[one]]
    centre = len(_POINTS)
    whole = (y[kept] * width + x[kept]).astype(np.int64) * (centre + 1) + centre
    keys, corner = np.unique(np.concatenate([whole.ravel(), pieces.ravel()]), return_inverse=True)
    home, point = np.divmod(keys, centre + 1)
    rows, columns = np.divmod(home, width)
    xy = np.stack([columns, rows], 1).astype(np.float32) + np.float32(0.5)
    beside = point < centre
    shift = np.zeros_like(xy)
    shift[beside] = _POINTS[point[beside]]
    if smoothing and beside.any():
        shift[beside] += _smoothing_of_rims(home[beside], point[beside], segments, (height, width), smoothing)
    return Grid(xy + shift, home.astype(np.int32), corner.reshape(-1, 3).astype(np.int32))


def _nested_errors(
    inverse: np.ndarray, known: np.ndarray, torn: np.ndarray, max_bend: float, max_slide_px: float
) -> np.ndarray:
    """float32 (rows, columns), multiples of BLOCK plus 1: for the middle of each possible hypotenuse the largest error
    (1: as large as allowed) of all triangles that would not be made if it is not split; inf where squares are torn."""
    height, width = inverse.shape
    rows, columns = (-(-(n - 1) // BLOCK) * BLOCK + 1 for n in (height, width))
    pad = ((0, rows - height), (0, columns - width))
    w, seen = np.pad(inverse, pad, mode="edge"), np.pad(known, pad)
    bad = np.zeros((rows - 1, columns - 1), bool)
    bad[: height - 1, : width - 1] = torn
    # No triangle may reach over the picture's border into the padding.
    bad[height - 1 : height, :width] = bad[:height, width - 1 : width] = True
    forced = bad.reshape((rows - 1) // 2, 2, (columns - 1) // 2, 2).any((1, 3))
    error = np.zeros((rows, columns), np.float32)

    def own(a: np.ndarray, b: np.ndarray, middle: np.ndarray, length: float) -> np.ndarray:
        total = np.maximum(a + b, np.float32(1e-30))
        bend = np.abs(2 * middle - total) * np.float32(1 / max_bend)
        slide = np.abs(a - b) * np.float32(length / 2 / max_slide_px)
        return np.maximum(bend, slide) / total

    size = 2
    while size <= BLOCK:
        half = size // 2
        centres = error[half::size, half::size]
        lying, standing = error[0::size, half::size], error[half::size, 0::size]
        corner = w[0::size, 0::size]
        lying[:] = own(corner[:, :-1], corner[:, 1:], w[0::size, half::size], size)
        standing[:] = own(corner[:-1], corner[1:], w[half::size, 0::size], size)
        # The diagonals of neighbouring squares alternate: they run towards the centre of the square that holds four.
        middle = w[half::size, half::size]
        falling = own(corner[:-1, :-1], corner[1:, 1:], middle, size * 1.4142135)
        rising = own(corner[:-1, 1:], corner[1:, :-1], middle, size * 1.4142135)
        row, column = np.ogrid[: middle.shape[0], : middle.shape[1]]
        centres[:] = np.where((row + column) % 2 == 0, falling, rising)
        for part, sight in (
            (lying, seen[0::size, half::size]),
            (standing, seen[half::size, 0::size]),
            (centres, seen[half::size, half::size]),
        ):
            part[~sight] = 0
        if size == 2:
            for part in (centres, lying[:-1], lying[1:], standing[:, :-1], standing[:, 1:]):
                part[forced] = np.inf
        else:
            smaller = error[half // 2 :: half, half // 2 :: half]
            pair = np.maximum(smaller[:, 0::2], smaller[:, 1::2])
            np.maximum(lying[:-1], pair[0::2], out=lying[:-1])
            np.maximum(lying[1:], pair[1::2], out=lying[1:])
            pair = np.maximum(smaller[0::2], smaller[1::2])
            np.maximum(standing[:, :-1], pair[:, 0::2], out=standing[:, :-1])
            np.maximum(standing[:, 1:], pair[:, 1::2], out=standing[:, 1:])
        for side in (lying[:-1], lying[1:], standing[:, :-1], standing[:, 1:]):
            np.maximum(centres, side, out=centres)
        size *= 2
    return error


def _halve(wanted: np.ndarray) -> np.ndarray:
    """Triangles int32 (f, 3) of vertex numbers (row * columns + column): those over whole blocks, halved wherever the
    middle of the hypotenuse is wanted."""
    rows, columns = wanted.shape
    i, j = np.mgrid[0 : (rows - 1) // BLOCK, 0 : (columns - 1) // BLOCK].reshape(2, -1)
    upper_left = (i * columns + j) * BLOCK
    upper_right, lower_left = upper_left + BLOCK, upper_left + BLOCK * columns
    lower_right = lower_left + BLOCK
    falling = (i + j) % 2 == 0
    a = np.where(falling, upper_left, upper_right)
    b = np.where(falling, lower_right, lower_left)
    c = np.where(falling, upper_right, lower_right)
    d = np.where(falling, lower_left, upper_left)
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([b, a, d], 1)]).astype(np.int32)
    flat, done = wanted.ravel(), []
    for _ in range(2 * (BLOCK.bit_length() - 1)):
        a, b, c = triangles.T  # the hypotenuse runs from a to b
        middle = (a + b) // 2
        split = flat[middle]
        done.append(triangles[~split])
        a, b, c, middle = a[split], b[split], c[split], middle[split]
        triangles = np.concatenate([np.stack([c, a, middle], 1), np.stack([b, c, middle], 1)])
    return np.concatenate([*done, triangles])


def _part_squares(torn: np.ndarray, known: np.ndarray, tears: Tears) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(which squares are parted bool (h - 1, w - 1), triangles int64 (f, 3), rims int64 (s, 2)).

    Triangles are of keys pixel * 9 + point (`_POINTS`, 8: the pixel's centre). Rims are pairs of the sides of squares
    that a rim runs between: the number of a side is that of its upper or left pixel, plus h * w for a standing one
    (between rows); -1: the middle of the square.
    """
    height, width = known.shape
    y, x = np.nonzero(torn)
    cut = np.stack([tears.across[y, x], tears.down[y, x + 1], tears.across[y + 1, x], tears.down[y, x]], 1)
    several = cut.sum(1) >= 2  # a single cut ends here: the surface goes around it
    y, x, cut = y[several], x[several], cut[several]
    parted = np.zeros(torn.shape, bool)
    parted[y, x] = True
    pixel = np.stack([(y + r) * width + x + c for r, c in _CORNERS], 1).astype(np.int64)
    below = height * width
    side = np.stack([pixel[:, 0], pixel[:, 1] + below, pixel[:, 3], pixel[:, 0] + below], 1)
    seen = np.stack([known[y + r, x + c] for r, c in _CORNERS], 1)
    many = cut.sum(1) >= 3
    triangles, rims = [np.zeros((0, 3), np.int64)], [np.zeros((0, 2), np.int64)]
    num = len(_POINTS) + 1
    for first in range(4):
        before = (first - 1) % 4
        for length in (1, 2, 3):
            last = (first + length - 1) % 4
            run = cut[:, before] & cut[:, last] & seen[:, first]
            for k in range(length - 1):
                run = run & ~cut[:, (first + k) % 4]
            for with_middle in (False, True):
                chosen = run & (many == with_middle)
                if not chosen.any():
                    continue
                own = pixel[chosen] * num
                ring = [own[:, (first + k) % 4] + num - 1 for k in range(length)]
                ring.append(own[:, last] + _WAY[last, last])
                if with_middle:
                    ring.append(own[:, first] + 4 + first)
                ring.append(own[:, first] + _WAY[first, before])
                ends = side[chosen][:, [before, last]]
                if with_middle:
                    nowhere = np.full(len(ends), -1, np.int64)
                    rims += [np.stack([e, nowhere], 1) for e in ends.T]
                else:
                    rims.append(ends)
                hub = (length - 1) // 2
                ring = ring[hub:] + ring[:hub]
                for k in range(1, len(ring) - 1):  # the ring runs clockwise, faces the other way
                    triangles.append(np.stack([ring[0], ring[k + 1], ring[k]], 1))
    return parted, np.concatenate(triangles), np.concatenate(rims)


def _smoothing_of_rims(
    home: np.ndarray, point: np.ndarray, rims: np.ndarray, shape: tuple[int, int], rounds: int
) -> np.ndarray:
    """How far each point beside a pixel moves, float32 (n, 2): along the rim the points go half way to the middle of
    their two neighbours in each round, but stay between the two pixels. Both surfaces at a rim move alike; ends and
    meeting points of rims stay."""
    width, below = shape[1], shape[0] * shape[1]
    shift = np.zeros((len(home), 2), np.float32)
    ends = np.sort(rims[(rims >= 0).all(1)], 1)
    fixed = np.unique(rims[(rims < 0).any(1)])
    if not len(ends):
        return shift
    ends = np.unique(ends[:, 0] * (2 * below) + ends[:, 1])
    ends = np.stack(np.divmod(ends, 2 * below), 1)
    sides, node = np.unique(ends, return_inverse=True)
    node = node.reshape(-1, 2)
    pixel, standing = sides % below, sides >= below
    start = np.stack([pixel % width + np.where(standing, 0, 0.5), pixel // width + np.where(standing, 0.5, 0)], 1)
    degree = np.bincount(node.ravel(), minlength=len(sides))
    free = (degree == 2) & ~np.isin(sides, fixed)
    # Far along the side that the point lies on, hardly across it: so no triangle can turn over.
    reach = np.stack([np.where(standing, 0.04, 0.45), np.where(standing, 0.45, 0.04)], 1)
    place = start.copy()
    a, b = node.T
    for _ in range(rounds):
        total = np.stack(
            [np.bincount(a, place[b, k], len(sides)) + np.bincount(b, place[a, k], len(sides)) for k in range(2)],
            1,
        )
        moved = place + 0.5 * (total / 2 - place)
        place = np.where(free[:, None], np.clip(moved, start - reach, start + reach), place)
    number = home.astype(np.int64) + np.array([0, below, -1, below - width, 0, 0, 0, 0])[point]
    at = np.minimum(np.searchsorted(sides, number), len(sides) - 1)
    found = (point < 4) & (sides[at] == number)
    shift[found] = (place - start)[at[found]]
    return shift
