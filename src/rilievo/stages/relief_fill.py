"""What might lie behind: a second layer of surface where near things hide what continues behind them. Invented, and
marked so.

The layer goes on from the far side of each silhouette as the surface there was going, and takes its colours from there
(the layered depth of Shade et al. 1998 with one hidden layer; colours by Telea 2004).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rilievo.stages import relief_grid as grids
from rilievo.stages import relief_shape as shape
from rilievo.stages.relief import ReliefConfig, Surface, place_vertices, to_world
from rilievo.types import Mesh


@dataclass(frozen=True)
class FillConfig:
    """Settings of `fill_behind`."""

    version: ClassVar[int] = 1

    angle_deg: float = 20.0
    """a camera that turns around the middle by this much sees no gap"""
    max_reach: float = 0.25
    """how far the layer reaches behind a silhouette at most (share of the picture's longer side)"""
    bending_px: float = 10.0
    """within how many pixels the layer gives up going on straight for being smooth"""


def fill_behind(
    surface: Surface, pixels: np.ndarray, *, config: FillConfig | None = None, relief: ReliefConfig | None = None
) -> tuple[Mesh, np.ndarray] | None:
    """(the hidden layer, its texture uint8 (h, w, 3)), or None where nothing hides anything.

    pixels: the photo, uint8 (h, w, 3), of the map's size; the texture has the same places. Every face is inferred.
    """
    import cv2

    config, relief = config or FillConfig(), relief or ReliefConfig()
    found = _silhouettes(surface)
    if found is None:
        return None
    near, behind = found
    w, known = surface.inverse, surface.known
    height, width = w.shape
    seeds = np.ones(w.shape, np.uint8)
    seeds.ravel()[near] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    distance, label = np.asarray(distance, np.float32), np.asarray(labels, np.int32)
    far_pixel = np.zeros(int(label.max()) + 1, np.int64)
    far_pixel[label.ravel()[near]] = behind
    source = far_pixel[label]
    far = w.ravel()[source]
    # Parallax between both sides for a camera that moves aside: fx * t * (w - far).
    step = 1.2 * np.tan(np.radians(config.angle_deg)) / max(float(np.median(w[known])), 1e-30)
    reach = np.float32(surface.depth_map.camera.fx * step) * np.maximum(w - far, 0)
    reach = np.minimum(reach + 2, np.float32(config.max_reach * max(height, width)))
    hides = known & (w > far * np.float32(1 + relief.weak_jump))
    hidden = hides & (distance < reach)
    if not hidden.any():
        return None
    gx, gy = shape.slopes(w)
    row, column = np.mgrid[:height, :width]
    source_row, source_column = np.divmod(source, width)
    on = far + gx.ravel()[source] * (column - source_column) + gy.ravel()[source] * (row - source_row)
    on = np.clip(on, 0.4 * far, np.minimum(1.3 * far, 0.995 * w))
    ring = np.zeros(w.shape, bool)
    ring.ravel()[behind] = True
    layer = np.where(ring, w, _smooth(on, w, hidden, ring, config.bending_px))
    # Behind what is seen: also where the layer begins, so that the two never fight for a pixel.
    layer = np.minimum(layer, w * np.float32(0.997)).astype(np.float32)
    there = hidden | ring
    layer = shape.fill_unknown(layer, there)
    # In one piece, also over steps of its own: it is there to leave no gap.
    tears = shape.Tears(~(there[:, 1:] & there[:, :-1]), ~(there[1:] & there[:-1]))
    grid = grids.triangulate(
        layer,
        there,
        tears,
        max_bend=relief.max_bend,
        max_slide_px=relief.max_slide_px,
        smoothing=relief.smoothing,
    )
    if not len(grid.faces):
        return None
    depth_map = surface.depth_map
    vertices, uvs = place_vertices(grid, layer, *shape.slopes(layer), depth_map)
    normals = shape.normals_of(layer, np.ones(layer.shape, bool), depth_map.camera).reshape(-1, 3)[grid.home]
    mesh = Mesh(
        vertices,
        grid.faces,
        normals=np.ascontiguousarray(to_world(normals)),
        inferred=np.ones(len(grid.faces), bool),
        uvs=uvs,
    )
    # Colours only from behind: what hides is taken away further than the layer reaches, and the mixed pixels beside it.
    gone = hides & (distance < 2 * reach + 4)
    gone |= cv2.dilate(ring.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    painted = cv2.inpaint(np.ascontiguousarray(pixels), gone.astype(np.uint8), 4, cv2.INPAINT_TELEA)
    return mesh, np.asarray(painted, np.uint8)


def _silhouettes(surface: Surface) -> tuple[np.ndarray, np.ndarray] | None:
    """Pixels (row * width + column) before each cut between two surfaces and those behind it, int64 (n,) each; of
    several behind one pixel the furthest."""
    w, known, tears = surface.inverse, surface.known, surface.tears
    number = np.arange(w.size).reshape(w.shape)
    pairs = []
    for torn, a, b in (
        (tears.across, number[:, :-1], number[:, 1:]),
        (tears.down, number[:-1], number[1:]),
    ):
        both = torn & known.ravel()[a] & known.ravel()[b]
        pairs.append(np.stack([a[both], b[both]], 1))
    pair = np.concatenate(pairs)
    if not len(pair):
        return None
    depth = w.ravel()[pair]
    swap = depth[:, 0] < depth[:, 1]
    pair[swap] = pair[swap][:, ::-1]
    order = np.lexsort((w.ravel()[pair[:, 1]], pair[:, 0]))
    pair = pair[order]
    first = np.ones(len(pair), bool)
    first[1:] = pair[1:, 0] != pair[:-1, 0]
    return pair[first, 0], pair[first, 1]


def _smooth(on: np.ndarray, w: np.ndarray, hidden: np.ndarray, ring: np.ndarray, bending_px: float) -> np.ndarray:
    """The values `on` inside `hidden`, made smooth and joined to w on `ring`: minimises |grad h|^2 + |h - on|^2 /
    bending_px^2."""
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import spsolve

    height, width = w.shape
    index = np.full(w.shape, -1, np.int64)
    index[hidden] = np.arange(int(hidden.sum()))
    num = int(hidden.sum())
    pull = 1 / bending_px**2
    diagonal = np.full(num, pull)
    right = pull * on[hidden].astype(np.float64)
    rows, columns = [], []
    for dy, dx in ((0, 1), (1, 0)):
        a = index[: height - dy, : width - dx]
        b = index[dy:, dx:]
        both = (a >= 0) & (b >= 0)
        rows += [a[both], b[both]]
        columns += [b[both], a[both]]
        for one in (a[both], b[both]):
            diagonal += np.bincount(one, minlength=num)
        before, after = np.s_[: height - dy, : width - dx], np.s_[dy:, dx:]
        for inner, outer, values in ((a, ring[after], w[after]), (b, ring[before], w[before])):
            at = (inner >= 0) & outer
            diagonal += np.bincount(inner[at], minlength=num)
            right += np.bincount(inner[at], values[at], num)
    row, column = np.concatenate(rows), np.concatenate(columns)
    matrix = csc_matrix(
        (np.concatenate([np.full(len(row), -1.0), diagonal]),
         (np.concatenate([row, np.arange(num)]), np.concatenate([column, np.arange(num)]))),
        shape=(num, num),
    )  # fmt: skip
    out = np.array(on, np.float32)
    out[hidden] = np.asarray(spsolve(matrix, right), np.float32)
    return out
