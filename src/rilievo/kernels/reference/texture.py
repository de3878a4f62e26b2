"""Plain NumPy twins of native/texture_*.cpp."""

from __future__ import annotations

import numpy as np


def score_faces(
    vertices_cam: np.ndarray,
    faces: np.ndarray,
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    pixels: np.ndarray,
    mask: np.ndarray,
    sharpness: np.ndarray,
    depth: np.ndarray,
    front: np.ndarray,
    back: np.ndarray,
    face_index: np.ndarray,
    min_cos: float,
) -> tuple[np.ndarray, np.ndarray]:
    """How well a view shows each face, float32 (f,), 0 not at all, and its mean colour, float32 (f, 3).

    vertices_cam: float32 (v, 3) in camera axes.  pixels uint8 (h, w, 3), mask uint8 (h, w), 0 = not to be used,
    sharpness float32 (h, w) levels a pixel.  depth, face_index: of `rasterize_mesh`.  front, back: least and greatest
    depth around each pixel, infinite where there is none.
    Quality is area in pixels x cosine of the angle x (sharpness + 4), less at the border of the photo and beside depth
    steps. A face counts as seen when it lies in the image, faces the camera (cosine at least min_cos), and neither its
    centroid nor points near its corners are masked or behind something.
    """
    h, w = pixels.shape[:2]
    quality, colors = np.zeros(len(faces), np.float32), np.zeros((len(faces), 3), np.float32)
    if w < 3 or h < 3:
        return quality, colors
    border, focal = 0.02 * min(w, h), 0.5 * (fx + fy)
    for f, face in enumerate(faces):
        if (face < 0).any() or (face >= len(vertices_cam)).any():
            continue
        p = vertices_cam[face].astype(np.float64)
        if not (p[:, 2] > 1e-9).all():
            continue
        mid = p[0] / 3 + p[1] / 3 + p[2] / 3
        with np.errstate(all="ignore"):
            normal = np.cross(p[1] - p[0], p[2] - p[0])
            cosine = -(normal @ mid) / np.sqrt((normal @ normal) * (mid @ mid))
            if not cosine >= min(min_cos, 0.05):
                continue
            step = mid[2] / focal * (1 + 1.5 * min(12.0, np.sqrt(max(0.0, 1 - cosine * cosine)) / cosine))
            xy = p[:, :2] / p[:, 2:] * [fx, fy] + [cx, cy]
        if not ((xy >= 1).all() and (xy <= [w - 1, h - 1]).all()):
            continue
        points = np.concatenate([0.85 * p + 0.15 * mid, mid[None]])
        at = points[:, :2] / points[:, 2:] * [fx, fy] + [cx, cy]
        col, row = at.astype(int).T
        z = points[:, 2]
        other = face_index[row, col] != f
        hidden = other & (z > depth[row, col] + 6 * step)
        doubtful = cosine < min_cos or (other & (z > depth[row, col] + step)).any()
        own = face_index == f
        count = int(own.sum())
        if hidden.any() or (mask[row, col] == 0).any() or (mask[own] == 0).any():
            continue
        u, v = xy[1] - xy[0], xy[2] - xy[0]
        mx, my = at[3]
        to_border = min(mx, my, w - mx, h - my) / border
        score = 0.5 * abs(u[0] * v[1] - u[1] * v[0]) * cosine * (float(sharpness[int(my), int(mx)]) + 4.0)
        score *= 0.2 + 0.8 * min(max(to_border, 0.0), 1.0)
        behind_edge, on_edge = (z > front[row, col] + 5 * step).any(), (back[row, col] > z + 5 * step).any()
        if doubtful and (behind_edge or on_edge):
            continue
        score *= (0.05 if behind_edge else 1.0) * (0.1 if on_edge else 1.0)
        if doubtful:
            score *= 0.03
        if not (score > 0 and np.isfinite(score)):
            continue
        quality[f] = score
        colors[f] = pixels[own].astype(np.int64).sum(0) / count if count >= 3 else pixels[int(my), int(mx)]
    return quality, colors


def label_faces(
    offsets: np.ndarray,
    labels: np.ndarray,
    costs: np.ndarray,
    neighbors: np.ndarray,
    weights: np.ndarray,
    iterations: int,
) -> np.ndarray:
    """Labels int32 (f,) of low energy: sum of costs + weights of sides between different labels; -1 without labels.

    Face f may take labels[offsets[f]:offsets[f + 1]] (rising) at those costs (float32). neighbors int32 (f, 3),
    -1 none; weights float32 (f, 3), the lesser of both sides' counts. Kolmogorov 2006, figure 3, for the Potts model.
    """
    n = len(neighbors)
    own = [labels[offsets[f] : offsets[f + 1]] for f in range(n)]
    cost = [costs[offsets[f] : offsets[f + 1]].astype(np.float32) for f in range(n)]
    links: list[list[tuple[int, int, int, np.float32]]] = [[] for _ in range(n)]  # (side, neighbour, its side, weight)
    for f in range(n):
        for k in range(3):
            g = int(neighbors[f, k])
            if not (0 <= g < n and g != f and len(own[g]) and len(own[f])):
                continue
            rank = int((neighbors[f, :k] == g).sum())
            sides = np.flatnonzero(neighbors[g] == f)
            if rank < len(sides):
                j = int(sides[rank])
                links[f].append((k, g, j, min(weights[f, k], weights[g, j])))
    share = [
        np.float32(1.0)
        / np.float32(max(1, sum(g < f for _, g, _, _ in links[f]), sum(g > f for _, g, _, _ in links[f])))
        for f in range(n)
    ]
    message = {(f, k): np.zeros(len(own[f]), np.float32) for f in range(n) for k, *_ in links[f]}

    def send(f: int, forward: bool) -> None:
        belief = cost[f].copy()
        for k, *_ in links[f]:
            belief += message[f, k]
        for k, g, j, weight in links[f]:
            if (g > f) != forward:
                continue
            value = share[f] * belief - message[f, k]
            value = np.minimum(value - value.min(), weight)
            out = np.full(len(own[g]), weight, np.float32)
            _, mine, theirs = np.intersect1d(own[f], own[g], return_indices=True)
            out[theirs] = value[mine]
            message[g, j] = out

    for _ in range(iterations):
        for f in range(n):
            send(f, True)
        for f in reversed(range(n)):
            send(f, False)
    pick = np.full(n, -1)

    def settle(f: int, all_known: bool) -> int:
        belief = cost[f].copy()
        for k, g, _, weight in links[f]:
            if all_known or g < f:
                belief += np.where(own[f] == own[g][pick[g]], np.float32(0), weight)
            else:
                belief += message[f, k]
        return int(np.argmin(belief))

    for f in range(n):
        if len(own[f]):
            pick[f] = settle(f, False)
    for _ in range(10):
        before = pick.copy()
        for f in range(n):
            if len(own[f]):
                pick[f] = settle(f, True)
        if (before == pick).all():
            break
    return np.array([own[f][pick[f]] if pick[f] >= 0 else -1 for f in range(n)], np.int32).reshape(n)


def grow_owner(owner: np.ndarray, radius: int) -> np.ndarray:
    """Free texels (-1) within `radius` steps of an owned one get its owner, side neighbours before diagonal ones."""
    grown = owner.copy()
    h, w = owner.shape
    for _ in range(radius):
        before = np.full((h + 2, w + 2), -1, np.int32)
        before[1:-1, 1:-1] = grown
        for dy, dx in ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)):
            neighbor = before[1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w]
            grown = np.where(grown < 0, np.maximum(neighbor, -1), grown)
    return grown


def _barycentric(corner: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    o, a, b = corner.astype(np.float64)
    a, b = a - o, b - o
    with np.errstate(all="ignore"):
        inverse = 1 / (a[0] * b[1] - a[1] * b[0])
    if not np.isfinite(inverse):
        return None
    dx, dy = x - o[0], y - o[1]
    w1, w2 = (dx * b[1] - dy * b[0]) * inverse, (a[0] * dy - a[1] * dx) * inverse
    return np.stack([1 - w1 - w2, w1, w2])


def _texels(owner: np.ndarray, f: int, corner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    h, w = owner.shape
    if not np.isfinite(corner).all():
        return np.zeros(0, int), np.zeros(0, int)
    low = np.clip(corner.astype(np.float64).min(0) - 3, 0, [w, h]).astype(int)
    high = np.clip(corner.astype(np.float64).max(0) + 3, 0, [w, h]).astype(int)
    row, col = np.nonzero(owner[low[1] : high[1], low[0] : high[0]] == f)
    return row + low[1], col + low[0]


def bake_faces(
    texture: np.ndarray,
    owner: np.ndarray,
    corner_xy: np.ndarray,
    selected: np.ndarray,
    corner_photo: np.ndarray,
    pixels: np.ndarray,
) -> None:
    """Writes the colours of a photo, bilinear, into the texels that the selected faces own (`texture` is changed).

    texture uint8 (h, w, 3), owner int32 (h, w), corner_xy float32 (f, 3, 2) texels, selected int32 (s,).
    corner_photo: float32 (s, 3, 3), homogeneous pixels of each selected face's corners: linear over the face.
    """
    h, w = pixels.shape[:2]
    if h < 1 or w < 1:
        return
    for f, photo in zip(selected, corner_photo.astype(np.float64)):
        if not 0 <= f < len(corner_xy):
            continue
        row, col = _texels(owner, int(f), corner_xy[f])
        weight = _barycentric(corner_xy[f], col + 0.5, row + 0.5)
        if weight is None or not len(row):
            continue
        p = weight.T @ photo
        with np.errstate(all="ignore"):
            u, v = p[:, 0] / p[:, 2] - 0.5, p[:, 1] / p[:, 2] - 0.5
        good = np.isfinite(u) & np.isfinite(v)
        row, col, u, v = row[good], col[good], np.clip(u[good], 0, w - 1), np.clip(v[good], 0, h - 1)
        x0, y0 = u.astype(int), v.astype(int)
        x1, y1 = np.minimum(x0 + 1, w - 1), np.minimum(y0 + 1, h - 1)
        fx, fy = (u - x0)[:, None], (v - y0)[:, None]
        top = (1 - fx) * pixels[y0, x0] + fx * pixels[y0, x1]
        low = (1 - fx) * pixels[y1, x0] + fx * pixels[y1, x1]
        texture[row, col] = np.clip((1 - fy) * top + fy * low + 0.5, 0, 255).astype(np.uint8)


def shift_colors(texture: np.ndarray, owner: np.ndarray, corner_xy: np.ndarray, corner_shift: np.ndarray) -> None:
    """Adds colours that are linear over each face, float32 (f, 3 corners, 3 channels), to the texels it owns, in place.

    In a face's margin the values of its border go on.
    """
    for f in range(len(corner_xy)):
        row, col = _texels(owner, f, corner_xy[f])
        weight = _barycentric(corner_xy[f], col + 0.5, row + 0.5)
        if weight is None or not corner_shift[f].any() or not len(row):
            continue
        weight = np.maximum(weight, 0)
        d = weight.T @ corner_shift[f].astype(np.float64) / weight.sum(0)[:, None]
        old = texture[row, col]
        with np.errstate(invalid="ignore"):
            new = np.clip(old + d + 0.5, 0, 255)
        texture[row, col] = np.where(np.isfinite(d), new, old).astype(np.uint8)


def blend_seams(
    texture: np.ndarray,
    owner: np.ndarray,
    patch_of_face: np.ndarray,
    sample_xy: np.ndarray,
    sample_patch: np.ndarray,
    sample_shift: np.ndarray,
    radius: float,
) -> None:
    """Adds to the texels of each patch, in place, the mean of its samples' shifts nearby, fading out over `radius`.

    sample_xy float32 (s, 2) texels, sample_patch int32 (s,), sample_shift float32 (s, 3) levels.
    """
    h, w = owner.shape
    if not radius > 0:
        return
    known = (owner >= 0) & (owner < len(patch_of_face))
    patch = np.where(known, patch_of_face[np.where(known, owner, 0)] if len(patch_of_face) else -1, -1)
    total, nearest = np.zeros((h, w, 4)), np.full((h, w), radius**2)
    for (x, y), p, shift in zip(sample_xy.astype(np.float64), sample_patch, sample_shift.astype(np.float64)):
        if not (0 <= x <= w and 0 <= y <= h and np.isfinite(shift).all()):
            continue
        r0, r1 = (int(np.clip(v, 0, h)) for v in (y - radius, y + radius + 1))
        c0, c1 = (int(np.clip(v, 0, w)) for v in (x - radius, x + radius + 1))
        d2 = (np.arange(c0, c1) + 0.5 - x) ** 2 + ((np.arange(r0, r1) + 0.5 - y) ** 2)[:, None]
        hit = (d2 < radius**2) & (patch[r0:r1, c0:c1] == p) & (p >= 0)
        weight = np.where(hit, 1 / (1 + d2 / (0.08 * radius**2)) ** 2, 0)
        total[r0:r1, c0:c1] += weight[..., None] * np.concatenate([[1], shift])
        nearest[r0:r1, c0:c1] = np.where(hit, np.minimum(nearest[r0:r1, c0:c1], d2), nearest[r0:r1, c0:c1])
    t = np.clip((np.sqrt(nearest) - 0.7) / radius, 0, 1)
    fade = ((1 - t) ** 2 * (1 + 2 * t))[..., None]
    has = total[..., :1] > 0
    shift = np.where(has, fade * total[..., 1:] / np.where(has, total[..., :1], 1), 0)
    texture[...] = np.where(has, np.clip(texture + shift + 0.5, 0, 255), texture).astype(np.uint8)


def fill_gutters(texture: np.ndarray, owner: np.ndarray, radius: int) -> None:
    """Texels that nobody owns get the mean of their neighbours, in place, `radius` steps out; the rest the mean."""
    known = owner >= 0
    if not known.any():
        return
    mean = texture[known].astype(np.float64).mean(0)
    h, w = owner.shape
    for _ in range(min(radius, 250)):
        value = np.zeros((h + 2, w + 2, 4), np.int64)
        value[1:-1, 1:-1, :3] = texture * known[..., None]
        value[1:-1, 1:-1, 3] = known
        around = sum(value[1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w] for dy in (-1, 0, 1) for dx in (-1, 0, 1))
        assert isinstance(around, np.ndarray)
        num = around[..., 3]
        new = ~known & (num > 0)
        texture[new] = ((around[new, :3] + num[new][:, None] // 2) // num[new][:, None]).astype(np.uint8)
        known = known | new
    texture[~known] = np.clip(mean + 0.5, 0, 255).astype(np.uint8)
