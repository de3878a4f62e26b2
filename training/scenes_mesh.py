"""Shapes of the training scenes: loose triangles with normals and texture coordinates, and the ways to make them.

World axes: x, y level, z up, metres. A shape stands on z = 0 with its middle over the origin and its front toward -y.
Texture coordinates are metres along the surface; a material says how many metres one repeat of its picture has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Part:
    """Triangles: corners (n, 3, 3), normals (n, 3, 3), uvs (n, 3, 2), all float32; slots int32 (n,) number the
    materials of the object that the part belongs to."""

    corners: np.ndarray
    normals: np.ndarray
    uvs: np.ndarray
    slots: np.ndarray

    def __len__(self) -> int:
        return len(self.corners)

    def moved(self, at=(0.0, 0.0, 0.0), yaw: float = 0.0, scale=1.0, matrix: np.ndarray | None = None) -> Part:
        """Scaled, then turned by `matrix` (3, 3) and about z by yaw (radians), then moved."""
        turn = yaw_matrix(yaw)
        if matrix is not None:
            turn = turn @ np.asarray(matrix, np.float32)
        scale = np.broadcast_to(np.asarray(scale, np.float32), (3,))
        linear = (turn * scale).astype(np.float32)
        normal = (turn / scale).astype(np.float32)
        n = self.normals @ normal.T
        n /= np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-9)
        return Part(self.corners @ linear.T + np.asarray(at, np.float32), n, self.uvs, self.slots)

    def slotted(self, slot: int) -> Part:
        return Part(self.corners, self.normals, self.uvs, np.full(len(self), slot, np.int32))

    @property
    def low(self) -> np.ndarray:
        return self.corners.reshape(-1, 3).min(0)

    @property
    def high(self) -> np.ndarray:
        return self.corners.reshape(-1, 3).max(0)


def yaw_matrix(yaw: float) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


def turn_matrix(axis: int, angle: float) -> np.ndarray:
    """Rotation about a coordinate axis."""
    c, s = np.cos(angle), np.sin(angle)
    m = np.eye(3, dtype=np.float32)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    m[i, i], m[i, j], m[j, i], m[j, j] = c, -s, s, c
    return m


def join(parts: list[Part]) -> Part:
    return Part(
        np.concatenate([p.corners for p in parts]),
        np.concatenate([p.normals for p in parts]),
        np.concatenate([p.uvs for p in parts]),
        np.concatenate([p.slots for p in parts]),
    )


_SIGNS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
# Six sides of a box: corner numbers counter-clockwise from outside, normal, and the two axes of the picture.
_SIDES = np.array([[0, 4, 5, 1], [4, 6, 7, 5], [6, 2, 3, 7], [2, 0, 1, 3], [1, 5, 7, 3], [2, 6, 4, 0]])
_SIDE_NORMAL = np.array([[0, -1, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, 0, 1], [0, 0, -1]], np.float32)
_SIDE_AXES = np.array([[0, 2], [1, 2], [0, 2], [1, 2], [0, 1], [0, 1]])


def boxes(centers, sizes, slots=0, yaws=None, skip_bottom: bool = False) -> Part:
    """Many boxes at once: centers (n, 3), sizes (n, 3) full lengths, slots (n,), yaws (n,)."""
    centers = np.atleast_2d(np.asarray(centers, np.float32))
    sizes = np.broadcast_to(np.asarray(sizes, np.float32), centers.shape)
    n = len(centers)
    slots = np.broadcast_to(np.asarray(slots, np.int32), (n,))
    local = _SIGNS[None] * sizes[:, None] / 2
    sides = 5 if skip_bottom else 6
    quad = local[:, _SIDES[:sides]]  # n, sides, 4, 3
    normal = np.broadcast_to(_SIDE_NORMAL[None, :sides, None], quad.shape)
    uv = np.take_along_axis(quad, np.broadcast_to(_SIDE_AXES[None, :sides, None], (n, sides, 4, 2)), axis=3)
    uv = uv + (np.arange(sides, dtype=np.float32)[:, None, None] * 0.37 + centers[:, None, None, :1] * 0.7)
    if yaws is not None:
        c, s = np.cos(yaws).astype(np.float32), np.sin(yaws).astype(np.float32)
        turn = np.zeros((n, 3, 3), np.float32)
        turn[:, 0, 0], turn[:, 0, 1], turn[:, 1, 0], turn[:, 1, 1], turn[:, 2, 2] = c, -s, s, c, 1
        quad = np.einsum("nij,nabj->nabi", turn, quad)
        normal = np.einsum("nij,nabj->nabi", turn, normal)
    quad = quad + centers[:, None, None]
    pick = [[0, 1, 2], [0, 2, 3]]
    return Part(
        np.ascontiguousarray(quad[:, :, pick]).reshape(-1, 3, 3).astype(np.float32),
        np.ascontiguousarray(normal[:, :, pick]).reshape(-1, 3, 3).astype(np.float32),
        np.ascontiguousarray(uv[:, :, pick]).reshape(-1, 3, 2).astype(np.float32),
        np.repeat(slots, sides * 2),
    )


def box(size, at=(0, 0, 0), slot: int = 0) -> Part:
    """One box standing on `at`."""
    size = np.asarray(size, np.float32)
    return boxes(np.asarray(at, np.float32)[None] + [[0, 0, size[2] / 2]], size[None], slot)


def quad(p0, p1, p2, p3, slot: int = 0, unit_uv: bool = False) -> Part:
    """A flat four-cornered face, corners counter-clockwise; its picture in metres, or one picture over the whole."""
    p = np.array([p0, p1, p2, p3], np.float32)
    n = np.cross(p[1] - p[0], p[3] - p[0])
    n /= max(np.linalg.norm(n), 1e-9)
    w, h = np.linalg.norm(p[1] - p[0]), np.linalg.norm(p[3] - p[0])
    if unit_uv:
        w = h = 1.0
    uv = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    pick = [[0, 1, 2], [0, 2, 3]]
    return Part(p[pick], np.broadcast_to(n, (2, 3, 3)).astype(np.float32), uv[pick], np.full(2, slot, np.int32))


def upright(wide: float, high: float, middle, slot: int = 0) -> Part:
    """A level rectangle that looks toward -y, with one picture over the whole."""
    (x, y, z), w, h = middle, wide / 2, high / 2
    return quad((x - w, y, z - h), (x + w, y, z - h), (x + w, y, z + h), (x - w, y, z + h), slot, True)


def grid(points: np.ndarray, slot: int = 0, smooth: bool = True, closed_u: bool = False) -> Part:
    """A surface through a grid of points (a, b, 3); smooth normals; the picture follows the grid's lengths."""
    p = np.asarray(points, np.float32)
    a, b = p.shape[:2]
    du = np.empty_like(p)
    du[1:-1] = p[2:] - p[:-2]
    du[0], du[-1] = p[1] - p[0], p[-1] - p[-2]
    if closed_u:
        du[0] = du[-1] = p[1] - p[-2]
    dv = np.empty_like(p)
    dv[:, 1:-1] = p[:, 2:] - p[:, :-2]
    dv[:, 0], dv[:, -1] = p[:, 1] - p[:, 0], p[:, -1] - p[:, -2]
    n = np.cross(du, dv)
    length = np.linalg.norm(n, axis=-1, keepdims=True)
    n = n / np.maximum(length, 1e-12)
    bad = length[..., 0] < 1e-10  # poles: take the neighbour ring's mean
    if bad.any():
        for column, near in ((0, 1), (b - 1, b - 2)):
            if bad[:, column].any():
                mean = n[:, near].mean(0)
                n[:, column] = mean / max(np.linalg.norm(mean), 1e-9)
    step_u = np.linalg.norm(np.diff(p, axis=0), axis=-1).mean(1)
    step_v = np.linalg.norm(np.diff(p, axis=1), axis=-1).mean(0)
    u = np.concatenate([[0], np.cumsum(step_u)])
    v = np.concatenate([[0], np.cumsum(step_v)])
    uv = np.stack(np.meshgrid(u, v, indexing="ij"), -1).astype(np.float32)
    i, j = np.meshgrid(np.arange(a - 1), np.arange(b - 1), indexing="ij")
    k = (i * b + j).ravel()
    tri = np.concatenate([np.stack([k, k + b, k + b + 1], 1), np.stack([k, k + b + 1, k + 1], 1)])
    corners = p.reshape(-1, 3)[tri]
    if smooth:
        normals = n.reshape(-1, 3)[tri]
    else:
        flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
        normals = np.repeat(flat[:, None], 3, 1)
    return Part(corners, normals.astype(np.float32), uv.reshape(-1, 2)[tri], np.full(len(tri), slot, np.int32))


def lathe(profile, sides: int = 16, slot: int = 0, smooth: bool = True) -> Part:
    """Turned about z: profile (m, 2) of (radius, height) from the bottom up."""
    profile = np.asarray(profile, np.float32)
    t = np.linspace(0, 2 * np.pi, sides + 1)
    x = np.cos(t)[:, None] * profile[None, :, 0]
    y = np.sin(t)[:, None] * profile[None, :, 0]
    z = np.broadcast_to(profile[None, :, 1], x.shape)
    return grid(np.stack([x, y, z], -1), slot, smooth, closed_u=True)


def cylinder(radius: float, height: float, sides: int = 14, slot: int = 0, top: float | None = None) -> Part:
    top = radius if top is None else top
    wall = lathe([(radius, 0), (top, height)], sides, slot)
    lid = lathe([(top, height), (0, height)], sides, slot, smooth=False)
    floor = lathe([(0, 0), (radius, 0)], sides, slot, smooth=False)
    return join([wall, lid, floor])


def ellipsoid(size, sides: int = 14, slot: int = 0, power: float = 1.0) -> Part:
    """Standing on z = 0, full lengths `size`; power < 1 makes it boxy (superellipsoid, Barr 1981)."""
    size = np.asarray(size, np.float32) / 2
    u = np.linspace(0, 2 * np.pi, sides + 1)
    v = np.linspace(-np.pi / 2, np.pi / 2, max(4, sides // 2) + 1)

    def c(t):
        return np.sign(np.cos(t)) * np.abs(np.cos(t)) ** power

    def s(t):
        return np.sign(np.sin(t)) * np.abs(np.sin(t)) ** power

    x = c(u)[:, None] * c(v)[None] * size[0]
    y = s(u)[:, None] * c(v)[None] * size[1]
    z = np.broadcast_to(s(v)[None] * size[2], x.shape) + size[2]
    return grid(np.stack([x, y, z], -1), slot, closed_u=True)


def tube(path, radius, sides: int = 8, slot: int = 0) -> Part:
    """A round rod along a path (m, 3); radius a number or (m,)."""
    path = np.asarray(path, np.float32)
    radius = np.broadcast_to(np.asarray(radius, np.float32), (len(path),))
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    mean = along.mean(0)
    up = np.eye(3, dtype=np.float32)[int(np.argmin(np.abs(mean)))]
    side = np.cross(along, up)
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    other = np.cross(along, side)
    t = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.cos(t)[:, None, None] * side[None] + np.sin(t)[:, None, None] * other[None]
    return grid(path[None] + ring * radius[None, :, None], slot, closed_u=True)


def torus(radius: float, thick: float, sides: int = 20, slot: int = 0) -> Part:
    """Lying on z = 0 about the z axis."""
    t = np.linspace(0, 2 * np.pi, sides + 1)
    s = np.linspace(0, 2 * np.pi, 9)
    r = radius + thick * np.cos(s)[None]
    x, y = np.cos(t)[:, None] * r, np.sin(t)[:, None] * r
    z = np.broadcast_to(thick * np.sin(s)[None], x.shape) + thick
    return grid(np.stack([x, y, z], -1), slot, closed_u=True)


def prism(outline, depth: float, slot: int = 0, smooth: bool = False) -> Part:
    """A convex-ish outline (m, 2) of (x, z), swept along y from -depth/2 to depth/2, closed by fans from its middle."""
    o = np.asarray(outline, np.float32)
    o = np.concatenate([o, o[:1]])
    front = np.stack([o[:, 0], np.full(len(o), -depth / 2, np.float32), o[:, 1]], 1)
    back = front + np.array([0, depth, 0], np.float32)
    wall = grid(np.stack([front, back], 1), slot, smooth)
    caps = []
    for ring, sign in ((front, -1.0), (back, 1.0)):
        middle = ring[:-1].mean(0)
        tri = np.stack([np.broadcast_to(middle, ring[:-1].shape), ring[:-1], ring[1:]], 1)
        n = np.broadcast_to(np.array([0, sign, 0], np.float32), tri.shape)
        caps.append(Part(tri, n, np.ascontiguousarray(tri[..., [0, 2]]), np.full(len(tri), slot, np.int32)))
    return join([wall, *caps])


def cards(rng: np.random.Generator, centers: np.ndarray, size: float, slot: int = 0, outward=None) -> Part:
    """Leaves: one small folded triangle pair at each centre, turned at random (or facing `outward` (n, 3) roughly)."""
    n = len(centers)
    a = rng.normal(size=(n, 3))
    b = rng.normal(size=(n, 3))
    if outward is not None:
        a = np.cross(outward, a)
        b = np.cross(outward, a) + 0.6 * b * np.linalg.norm(a, axis=1, keepdims=True)
    a /= np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-9)
    b -= a * (a * b).sum(1, keepdims=True)
    b /= np.maximum(np.linalg.norm(b, axis=1, keepdims=True), 1e-9)
    s = size * rng.uniform(0.5, 1.4, (n, 1))
    tri = np.stack([centers - a * s, centers + b * s * 0.5, centers + a * s], 1)
    tri2 = np.stack([centers - a * s, centers + a * s, centers - b * s * 0.5], 1)
    corners = np.stack([tri, tri2], 1).reshape(-1, 3, 3).astype(np.float32)
    normal = np.cross(a, b) if outward is None else outward + 0.7 * np.cross(a, b)
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    normals = np.repeat(np.repeat(normal[:, None], 2, 1).reshape(-1, 1, 3), 3, 1).astype(np.float32)
    uv = (corners[..., :2] + corners[..., 2:]).astype(np.float32)
    return Part(corners, normals, uv, np.full(2 * n, slot, np.int32))


def noise_bumps(rng: np.random.Generator, points: np.ndarray, size: float, waves: int = 6) -> np.ndarray:
    """A smooth random number about 0 (deviation near 1) at points (..., 3), with features `size` metres wide."""
    out = np.zeros(points.shape[:-1], np.float32)
    for _ in range(waves):
        k = rng.normal(size=3).astype(np.float32) * (2.2 / size)
        out += np.cos(points @ k + np.float32(rng.uniform(0, 6.28)))
    return out * np.float32((2.0 / waves) ** 0.5)


def lumpy(rng: np.random.Generator, part: Part, size: float, height: float) -> Part:
    """The part with its corners pushed along smooth noise; normals made anew from the faces that meet."""
    c = part.corners
    out = c + np.float32(height) * noise_bumps(rng, c, size)[..., None] * part.normals
    return smoothed(Part(out.astype(np.float32), part.normals, part.uvs, part.slots))


def smoothed(part: Part) -> Part:
    """Normals as the mean over the faces that meet at the same point."""
    c = part.corners
    flat = np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0])
    key = np.round(c.reshape(-1, 3) * 4096).astype(np.int64)
    key = key[:, 0] * 73856093 ^ key[:, 1] * 19349663 ^ key[:, 2] * 83492791
    _, index = np.unique(key, return_inverse=True)
    total = np.stack([np.bincount(index, np.repeat(flat[:, k], 3)) for k in range(3)], 1)
    n = total[index]
    n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-12)
    return Part(c, n.reshape(-1, 3, 3).astype(np.float32), part.uvs, part.slots)
