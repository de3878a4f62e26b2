"""Colour steps between charts that come from different photos, taken out of the texture.

First globally: every patch gets a smooth offset, as large at the seams as it must be for both sides to agree (Lempitsky
& Ivanov 2007, "Seamless mosaicing of image-based texture maps", eq. 3; Waechter et al. 2014, section 3.3). What is left
is spread into a strip beside the seam. Surface without a photo gets the colours around it, carried in by diffusion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo import kernels
from rilievo.stages.unwrap import Unwrapped


@dataclass(frozen=True)
class Seams:
    """Edges between faces of different patches: side0 of face0 is side1 of face1, run through the other way."""

    face0: np.ndarray
    side0: np.ndarray
    face1: np.ndarray
    side1: np.ndarray


def find_seams(neighbors: np.ndarray, sides: np.ndarray, patch: np.ndarray) -> Seams:
    """Every edge between two patches once."""
    face, side = np.nonzero(neighbors >= 0)
    other, other_side = neighbors[face, side], sides[face, side]
    keep = (patch[face] != patch[other]) & (face < other)
    return Seams(face[keep], side[keep], other[keep], other_side[keep].astype(np.int64))


def sample(texture: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Bilinear colours float32 (n, 3) at texels (n, 2)."""
    h, w = texture.shape[:2]
    x = np.clip(xy[:, 0] - 0.5, 0, w - 1).astype(np.float32)
    y = np.clip(xy[:, 1] - 0.5, 0, h - 1).astype(np.float32)
    x0, y0 = x.astype(np.int64), y.astype(np.int64)
    x1, y1 = np.minimum(x0 + 1, w - 1), np.minimum(y0 + 1, h - 1)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    top = texture[y0, x0] * (1 - fx) + texture[y0, x1] * fx
    low = texture[y1, x0] * (1 - fx) + texture[y1, x1] * fx
    return top * (1 - fy) + low * fy


def _ends(unwrapped: Unwrapped, face: np.ndarray, side: np.ndarray, *, swap: bool) -> tuple[np.ndarray, np.ndarray]:
    """Texels of the two ends of an edge; swapped for the second face, which runs through it the other way."""
    a, b = unwrapped.corner_xy[face, side], unwrapped.corner_xy[face, (side + 1) % 3]
    return (b, a) if swap else (a, b)


def level_seams(
    texture: np.ndarray,
    owner: np.ndarray,
    unwrapped: Unwrapped,
    faces: np.ndarray,
    patch: np.ndarray,
    seams: Seams,
    seen: np.ndarray,
    *,
    smoothness: float = 0.2,
    pull: float = 1e-2,
    iterations: int = 300,
) -> None:
    """Adds to `texture`, in place, the offsets that make the two sides of every seam agree.

    Unknown: an offset for each (vertex, patch). Least squares of (difference across the seam at both ends of an edge),
    `smoothness` times (difference of offsets along a mesh edge), and a weak `pull` to zero, by conjugate gradients.
    """
    both = seen[seams.face0] & seen[seams.face1]
    f0, s0, f1, s1 = (v[both] for v in (seams.face0, seams.side0, seams.face1, seams.side1))
    if not len(f0):
        return
    num_vertices = int(faces.max()) + 1
    keys, node = np.unique(patch[:, None].astype(np.int64) * num_vertices + faces, return_inverse=True)
    node = node.reshape(-1, 3)
    a0, b0 = _ends(unwrapped, f0, s0, swap=False)
    a1, b1 = _ends(unwrapped, f1, s1, swap=True)
    # Colour at an end: the mean along the half of the edge that is nearer, so that noise and small shifts cancel.
    steps = (np.arange(8) + 0.5) / 8
    at_a, at_b = np.zeros((len(f0), 3)), np.zeros((len(f0), 3))
    for t in steps:
        t32 = np.float32(t)
        step = (sample(texture, a1 + (b1 - a1) * t32) - sample(texture, a0 + (b0 - a0) * t32)).astype(np.float64)
        at_a += step * (1 - t)
        at_b += step * t
    at_a, at_b = at_a / (1 - steps).sum(), at_b / steps.sum()
    i = np.concatenate([node[f0, s0], node[f0, (s0 + 1) % 3]])
    j = np.concatenate([node[f1, (s1 + 1) % 3], node[f1, s1]])
    step = np.concatenate([at_a, at_b])
    tail, head = node.ravel(), np.roll(node, -1, axis=1).ravel()
    # A step unlike the rest between the same two patches, or a very large one, is another content (a shifted edge,
    # something in front), not another exposure: it hardly counts (weights of Geman & McClure).
    pair = patch[f0].astype(np.int64) * (int(patch.max()) + 1) + patch[f1]
    usual = _group_median(np.concatenate([pair, pair]), step)
    weight = 1 / (1 + ((step - usual) ** 2).mean(1) / 6**2) ** 2 / (1 + (usual**2).mean(1) / 15**2) ** 2
    solution = _solve(len(keys), (i, j, step, weight), (tail, head, smoothness / 2), pull, iterations)
    shift = solution[node].astype(np.float32)
    shift[~seen] = 0
    kernels.shift_colors(texture, owner, unwrapped.corner_xy, shift)


def _group_median(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each row of values (n, 3) the lower median of its group (n,), a channel at a time."""
    _, group = np.unique(group, return_inverse=True)
    count = np.bincount(group)
    middle = np.cumsum(count) - count + (count - 1) // 2
    columns = [values[np.lexsort((values[:, c], group))[middle], c] for c in range(values.shape[1])]
    return np.stack(columns, 1)[group]


def _solve(
    n: int,
    jumps: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    links: tuple[np.ndarray, np.ndarray, float],
    pull: float,
    iterations: int,
) -> np.ndarray:
    """x (n, 3) of least sum w (x_i - x_j - step)^2 + weight sum (x_tail - x_head)^2 + pull sum x^2."""
    i, j, step, w = jumps
    tail, head, weight = links
    rows = np.concatenate([i, tail])
    cols = np.concatenate([j, head])
    values = np.concatenate([w, np.full(len(tail), weight)])
    b = np.zeros((n, 3))
    for c in range(3):
        b[:, c] = np.bincount(i, w * step[:, c], n) - np.bincount(j, w * step[:, c], n)
    return _laplace(n, rows, cols, values, np.full(n, pull), b, iterations)


def _laplace(
    n: int, rows: np.ndarray, cols: np.ndarray, weights: np.ndarray, diagonal: np.ndarray, b: np.ndarray, steps: int
) -> np.ndarray:
    """Conjugate gradients (Jacobi preconditioned) on graph Laplacian + diagonal, right-hand sides (n, 3). Sums have one
    order whatever the number of threads."""
    from scipy.sparse import coo_matrix, diags

    link = coo_matrix((weights, (rows, cols)), shape=(n, n)).tocsr()
    link = link + link.T
    total = np.asarray(link.sum(1)).ravel() + diagonal
    A = (diags(total) - link).tocsr()
    inverse = (1 / np.maximum(total, 1e-300))[:, None]
    x = np.zeros_like(b)
    r = b.copy()
    z = inverse * r
    p = z.copy()
    rz = (r * z).sum(0)
    goal = 1e-8 * np.maximum(rz, 1e-300)
    for _ in range(steps):
        if (rz <= goal).all():
            break
        q = A @ p
        alpha = rz / np.maximum((p * q).sum(0), 1e-300)
        x += alpha * p
        r -= alpha * q
        z = inverse * r
        after = (r * z).sum(0)
        p = z + (after / np.maximum(rz, 1e-300)) * p
        rz = after
    return x


def fill_unseen(
    texture: np.ndarray, owner: np.ndarray, unwrapped: Unwrapped, faces: np.ndarray, seen: np.ndarray
) -> None:
    """Colours, in place, of faces that no photo shows: harmonic between the colours of the surface around them."""
    if seen.all():
        return
    n = int(faces.max()) + 1
    middle = sample(texture, unwrapped.corner_xy[seen].mean(1))
    corner = faces[seen].ravel()
    count = np.bincount(corner, minlength=n)
    color = np.stack([np.bincount(corner, np.repeat(middle[:, c], 3), n) for c in range(3)], 1)
    known = count > 0
    color[known] /= count[known][:, None]
    overall = middle.mean(0) if len(middle) else np.full(3, 128.0)
    unknown_faces = faces[~seen]
    new = np.flatnonzero(np.bincount(unknown_faces.ravel(), minlength=n).astype(bool) & ~known)
    color[~known] = overall
    if len(new):
        number = np.full(n, -1, np.int64)
        number[new] = np.arange(len(new))
        tail, head = unknown_faces.ravel(), np.roll(unknown_faces, -1, axis=1).ravel()
        # Twice over, each direction once; links to known vertices become the right-hand side.
        tail, head = np.concatenate([tail, head]), np.concatenate([head, tail])
        free = number[tail] >= 0
        inside, border = free & (number[head] >= 0), free & (number[head] < 0)
        at = number[tail[border]]
        # Parts that touch nothing known go to the mean colour by a very weak pull.
        hold = np.bincount(at, minlength=len(new)) + 1e-5
        b = np.stack([np.bincount(at, color[head[border], c], len(new)) for c in range(3)], 1) + 1e-5 * overall
        half = np.full(int(inside.sum()), 0.5)
        color[new] = _laplace(len(new), number[tail[inside]], number[head[inside]], half, hold, b, 1000)
    solved = color
    shift = np.zeros((len(faces), 3, 3), np.float32)
    shift[~seen] = solved[unknown_faces]
    kernels.shift_colors(texture, owner, unwrapped.corner_xy, shift)


def blend_seams(
    texture: np.ndarray,
    owner: np.ndarray,
    unwrapped: Unwrapped,
    faces: np.ndarray,
    patch: np.ndarray,
    seams: Seams,
    seen: np.ndarray,
    *,
    radius: float,
) -> None:
    """Spreads what is left of the steps at seams into strips `radius` texels wide, in place."""
    if not len(seams.face0) or radius <= 0:
        return
    a0, b0 = _ends(unwrapped, seams.face0, seams.side0, swap=False)
    a1, b1 = _ends(unwrapped, seams.face1, seams.side1, swap=True)
    length = np.maximum(np.linalg.norm(b0 - a0, axis=1), np.linalg.norm(b1 - a1, axis=1))
    count = np.clip(np.ceil(length / 2), 1, 200).astype(np.int64)  # one each two texels: the strip is wider
    edge = np.repeat(np.arange(len(count)), count)
    start = np.cumsum(count) - count
    t = ((np.arange(len(edge)) - start[edge] + 0.5) / count[edge])[:, None].astype(np.float32)
    xy0, xy1 = a0[edge] + (b0 - a0)[edge] * t, a1[edge] + (b1 - a1)[edge] * t
    step = sample(texture, xy1) - sample(texture, xy0)
    step = _along(step, edge, t, faces, patch, seams)
    seen0, seen1 = seen[seams.face0][edge, None], seen[seams.face1][edge, None]
    # Both sides give way by half, unless one has no photo: that one adapts.
    share0 = np.where(seen0 == seen1, 0.5, np.where(seen0, 0.0, 1.0)).astype(np.float32)
    kernels.blend_seams(
        texture,
        owner,
        patch,
        np.concatenate([xy0, xy1]).astype(np.float32),
        np.concatenate([patch[seams.face0][edge], patch[seams.face1][edge]]),
        np.concatenate([step * share0, step * (share0 - 1)]).astype(np.float32),
        float(radius),
    )


def _along(
    step: np.ndarray, edge: np.ndarray, t: np.ndarray, faces: np.ndarray, patch: np.ndarray, seams: Seams
) -> np.ndarray:
    """Steps (s, 3) smoothed along the seam: texture that does not quite fit is left alone, a difference of brightness
    stays. Large ones fade out: they are other content, and spreading them would smear it."""
    num = len(seams.face0)
    count = np.bincount(edge, minlength=num)
    mean = np.stack([np.bincount(edge, step[:, c], num) / count for c in range(3)], 1)
    ends = np.stack([faces[seams.face0, seams.side0], faces[seams.face0, (seams.side0 + 1) % 3]], 1).astype(np.int64)
    pair = patch[seams.face0].astype(np.int64) * (int(patch.max()) + 1) + patch[seams.face1]
    _, pair = np.unique(pair, return_inverse=True)
    _, place = np.unique(pair[:, None] * (int(faces.max()) + 1) + ends, return_inverse=True)
    place = place.reshape(-1, 2)
    size = int(place.max()) + 1
    share = np.bincount(place.ravel(), minlength=size)
    corner = np.zeros((size, 3))
    for _ in range(3):
        corner = np.stack([np.bincount(place.ravel(), np.repeat(mean[:, c], 2), size) / share for c in range(3)], 1)
        mean = corner[place].mean(1)
    corner /= 1 + ((corner / 25) ** 2).mean(1, keepdims=True)
    return (corner[place[edge, 0]] * (1 - t) + corner[place[edge, 1]] * t).astype(np.float32)
