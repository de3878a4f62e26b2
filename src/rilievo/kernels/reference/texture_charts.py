"""Plain NumPy twins of native/texture_merge.cpp and texture_pack.cpp."""

from __future__ import annotations

from itertools import pairwise

import numpy as np


def reject_colors(offsets: np.ndarray, colors: np.ndarray, tolerance: float) -> np.ndarray:
    """1 for rows whose colour of the face is unlike what most rows of the face say, uint8 (m,).

    offsets: int64 (f + 1,), rows of each face.  colors: float32 (m, 3).  tolerance: the least deviation, levels.
    Around the median colour, mean and spread of the rows within three deviations are taken in turn (a Gaussian fitted
    to the mode, after Waechter et al. 2014, section 3.2). Faces with less than three rows have no outliers.
    """
    out = np.zeros(len(colors), np.uint8)
    for begin, end in pairwise(offsets):
        c = colors[begin:end].astype(np.float64)
        if len(c) < 3 or not np.isfinite(c).all():
            continue
        middle = (len(c) - 1) // 2
        center = np.sort(c, axis=0)[middle]
        # The spread starts from the median deviation: half of the rows may be wrong.
        sigma = np.maximum(tolerance, 1.48 * np.sort(np.abs(c - center), axis=0)[middle])
        inlier = np.ones(len(c), bool)
        for _ in range(5):
            inlier = (((c - center) / sigma) ** 2).sum(1) < 9
            if not inlier.any():
                break
            center = c[inlier].mean(0)
            sigma = np.maximum(tolerance, np.sqrt(((c[inlier] - center) ** 2).mean(0)))
        out[begin:end] = ~inlier
    return out


def merge_patches(
    offsets: np.ndarray,
    labels: np.ndarray,
    costs: np.ndarray,
    neighbors: np.ndarray,
    chosen: np.ndarray,
    most: int,
    worth: float,
) -> np.ndarray:
    """`chosen` int32 (f,) with patches of up to `most` faces given to the label of a neighbouring patch that all of
    their faces may take, when their costs rise by less than `worth` for the whole patch.

    offsets, labels, costs, neighbors as for `label_faces`. Smallest patches first, in up to four rounds.
    """
    label = chosen.copy()
    n = len(label)

    def cost_of(f: int, view: int) -> float:
        at = np.flatnonzero(labels[offsets[f] : offsets[f + 1]] == view)
        return float(costs[offsets[f] + at[0]]) if len(at) else np.inf

    for _ in range(4):
        patch = np.full(n, -1)
        patches: list[list[int]] = []
        for seed in range(n):
            if patch[seed] >= 0:
                continue
            members, stack = [], [seed]
            patch[seed] = len(patches)
            while stack:
                f = stack.pop()
                members.append(f)
                for g in neighbors[f]:
                    if 0 <= g < n and patch[g] < 0 and label[g] == label[f]:
                        patch[g] = len(patches)
                        stack.append(int(g))
            patches.append(sorted(members))
        changed = False
        for faces in sorted((p for p in patches if len(p) <= most and label[p[0]] >= 0), key=len):
            own = label[faces[0]]
            around = {int(label[g]) for f in faces for g in neighbors[f] if 0 <= g < n} - {-1, int(own)}
            totals = [(sum(cost_of(f, view) for f in faces), view) for view in sorted(around) if view >= 0]
            best, view = min(totals, default=(np.inf, -1))
            if best < sum(cost_of(f, own) for f in faces) + worth:
                label[faces] = view
                changed = True
        if not changed:
            break
    return label


def pack_charts(
    corner_xy: np.ndarray, chart_of_face: np.ndarray, num_charts: int, width: int, padding: int, block: int
) -> tuple[np.ndarray, int]:
    """Whole-texel shifts int32 (num_charts, 2) that put the charts beside each other, and the height they take.

    corner_xy: float32 (f, 3, 2).  Shapes are kept on a grid of `block` texels, with `padding` texels free around them:
    largest chart first (rows + columns), each at the first free place row by row. For small charts (24 blocks) the
    search goes on where the last one of the same size was put. The height is -1 when a chart is larger than that.
    """
    shapes: list[tuple[np.ndarray, int, int]] = []
    columns = max(1, width // block)
    shift = np.zeros((num_charts, 2), np.int32)
    for chart in range(num_charts):
        triangles = corner_xy[chart_of_face == chart].astype(np.float64)
        if not len(triangles):
            shapes.append((np.zeros((0, 0), bool), 0, 0))
            continue
        low, high = triangles.min((0, 1)), triangles.max((0, 1))
        x0, y0 = int(np.floor(low[0])) - padding, int(np.floor(low[1])) - padding
        n, m = (int(np.ceil(v)) + padding - o + block - 1 for v, o in ((high[0], x0), (high[1], y0)))
        n, m = n // block, m // block
        if n > columns or m > 2**17 // block:
            return shift, -1
        cells = np.zeros((m, n), bool)
        for t in triangles - [x0, y0]:
            i0, i1 = (int(v / block) for v in (t[:, 0].min() - padding, t[:, 0].max() + padding))
            for i in range(min(max(i0, 0), n - 1), min(max(i1, 0), n - 1) + 1):
                a, b = i * block - padding, (i + 1) * block + padding
                ys = [t[k, 1] for k in range(3) if a <= t[k, 0] <= b]
                for k in range(3):
                    p, q = t[k], t[(k + 1) % 3]
                    ys += [
                        p[1] + (s - p[0]) / (q[0] - p[0]) * (q[1] - p[1]) for s in (a, b) if (p[0] - s) * (q[0] - s) < 0
                    ]
                if ys:
                    first = min(max(int(np.floor((min(ys) - padding) / block)), 0), m - 1)
                    cells[first : max(int(np.ceil((max(ys) + padding) / block)), first + 1), i] = True
        shapes.append((cells, x0, y0))
    taken = np.zeros((sum(len(s[0]) for s in shapes), columns), bool)
    reached: dict[tuple[int, ...], int] = {}
    top = 0
    for chart in sorted(range(num_charts), key=lambda i: -sum(shapes[i][0].shape)):
        cells, x0, y0 = shapes[chart]
        if not cells.size:
            continue
        m, n = cells.shape
        small = m + n <= 24
        row = reached.get(cells.shape, 0) if small else 0
        while True:
            windows = np.lib.stride_tricks.sliding_window_view(taken[row : row + m], n, axis=1)
            free = np.flatnonzero(~(windows & cells[:, None]).any((0, 2)))
            if len(free):
                break
            row += 1
        if small:
            reached[cells.shape] = row
        taken[row : row + m, free[0] : free[0] + n] |= cells
        shift[chart] = free[0] * block - x0, row * block - y0
        top = max(top, (row + m) * block)
    return shift, top
