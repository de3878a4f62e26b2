"""Plain twin of native/simplify.cpp, for small meshes."""

from __future__ import annotations

import heapq

import numpy as np

_RIM = 2.0
_MIN_TURN, _MIN_SHAPE, _FOLD = 0.3, 0.05, -0.5


def simplify_mesh(
    vertices: np.ndarray, faces: np.ndarray, twins: np.ndarray, weight: np.ndarray, target: int, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """(vertices, faces) with at most `target` faces, as far as edges can be collapsed without joining sheets or turning
    faces over. vertices float64 (v, 3), faces and twins (as from `edge_twins`) int32 (f, 3).

    The edge with the least quadric error goes first (Garland & Heckbert 1997). A vertex starts with the planes of its
    faces, weighted by twice their area and by weight float64 (v,) > 0, whose unit normals have the standard deviation
    `noise` (Trettner & Kobbelt 2020, eqs. 8 to 11), and those through the rim's edges, upright on their faces. The mesh
    must have no edge with three faces. Raises ValueError for vertices that are not finite, weights that are not
    positive, faces that use a vertex twice or one that is not there, and twins that do not fit.
    """
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise ValueError("simplify_mesh: a face uses a vertex that is not there")
    if not np.isfinite(vertices).all() or not (weight > 0).all() or not 0 < noise <= 1:
        raise ValueError("simplify_mesh: vertices must be finite, weights positive, noise from 0 to 1")
    if any(len(set(face)) < 3 for face in faces.tolist()):
        raise ValueError("simplify_mesh: a face uses a vertex twice")
    mesh = _Mesh(vertices.copy(), faces.tolist(), twins.tolist(), weight, noise)
    mesh.run(target)
    kept = np.array([face for face in mesh.faces if face is not None], np.int32).reshape(-1, 3)
    used = np.unique(kept)
    return mesh.place[used], np.searchsorted(used, kept).astype(np.int32)


class _Mesh:
    def __init__(self, place: np.ndarray, faces: list, twins: list, weight: np.ndarray, noise: float) -> None:
        num = len(place)
        self.place, self.faces, self.alive = place, faces, len(faces)
        self.A, self.b, self.c = np.zeros((num, 3, 3)), np.zeros((num, 3)), np.zeros(num)
        self.around = [[f for f, face in enumerate(faces) if v in face] for v in range(num)]
        self.stamp, self.rim = [0] * num, [False] * num
        self.folded = [False] * len(faces)
        self.heap: list[tuple[float, int, int, int]] = []
        normals = [self.normal(face) for face in faces]
        for f, face in enumerate(faces):
            length = float(np.linalg.norm(normals[f]))
            for k in range(3):
                u, v = face[k], face[(k + 1) % 3]
                if twins[f][k] < 0:
                    self.rim[u] = self.rim[v] = True
                if not length > 0:
                    continue
                n, middle = normals[f] / length, place[face].mean(0)
                self.add(u, n, middle, float(weight[u]) * length, noise)
                if twins[f][k] >= 0:
                    other = normals[twins[f][k] // 3]
                    self.folded[f] |= bool(n @ other < _FOLD * np.linalg.norm(other))
                    continue
                upright = np.cross(place[v] - place[u], n)
                size = float(np.linalg.norm(upright))
                if size > 0:
                    for w in (u, v):
                        self.add(w, upright / size, place[u], _RIM * float(weight[w]) * size * size, 0.0)
        for f, face in enumerate(faces):
            for k in range(3):
                if twins[f][k] < 3 * f + k:
                    self.push(face[k], face[(k + 1) % 3])

    def normal(self, face: list[int]) -> np.ndarray:
        p, q, r = self.place[face]
        return np.cross(q - p, r - p)

    def add(self, v: int, n: np.ndarray, q: np.ndarray, weight: float, noise: float) -> None:
        self.A[v] += weight * (np.outer(n, n) + noise**2 * np.eye(3))
        self.b[v] += weight * ((n @ q) * n + noise**2 * q)
        self.c[v] += weight * ((n @ q) ** 2 + noise**2 * (q @ q))

    def target_of(self, u: int, v: int) -> tuple[np.ndarray, float]:
        A, b, c = self.A[u] + self.A[v], self.b[u] + self.b[v], self.c[u] + self.c[v]
        p, q = self.place[u], self.place[v]
        if self.rim[u] != self.rim[v]:
            to = p if self.rim[u] else q
        else:
            to = (p + q) / 2
            if abs(np.linalg.det(A)) > 1e-12 * A[0, 0] * A[1, 1] * A[2, 2]:
                best = np.linalg.solve(A, b)
                if ((best - to) ** 2).sum() <= 4 * ((p - q) ** 2).sum():
                    to = best
        return to.copy(), float(to @ A @ to - 2 * (b @ to) + c)

    def push(self, u: int, v: int) -> None:
        u, v = min(u, v), max(u, v)
        heapq.heappush(self.heap, (self.target_of(u, v)[1], u, v, self.stamp[u] + self.stamp[v]))

    def run(self, target: int) -> None:
        while self.alive > target and self.heap:
            _, u, v, stamp = heapq.heappop(self.heap)
            if not self.around[u] or not self.around[v] or self.stamp[u] + self.stamp[v] != stamp:
                continue
            to, _ = self.target_of(u, v)
            if self.allowed(u, v, to):
                self.collapse(u, v, to)

    def ring(self, v: int) -> set[int]:
        return {w for f in self.around[v] for w in self.faces[f]} - {v}

    def allowed(self, u: int, v: int, to: np.ndarray) -> bool:
        shared = [f for f in self.around[u] if v in self.faces[f]]
        if not 1 <= len(shared) <= 2 or (self.rim[u] and self.rim[v] and len(shared) == 2):
            return False
        common = self.ring(u) & self.ring(v)
        if len(common) != len(shared):
            return False
        if any(len(common & set(self.faces[f])) == 2 for f in self.around[v]):
            return False
        return self.stays(u, v, to) and self.stays(v, u, to)

    def stays(self, v: int, partner: int, to: np.ndarray) -> bool:
        for f in self.around[v]:
            face = self.faces[f]
            if partner in face or self.folded[f]:
                continue
            k = face.index(v)
            p, q = self.place[face[(k + 1) % 3]], self.place[face[(k + 2) % 3]]
            before, sides_before = _shape(p, q, self.place[v])
            after, sides_after = _shape(p, q, to)
            size_before, size_after = np.linalg.norm(before), np.linalg.norm(after)
            if size_before > 1e-9 * sides_before and not before @ after > _MIN_TURN * size_before * size_after:
                return False
            worse = size_after * sides_before < size_before * sides_after
            if 2 * np.sqrt(3) * size_after < _MIN_SHAPE * sides_after and worse:
                return False
        return True

    def collapse(self, u: int, v: int, to: np.ndarray) -> None:
        self.place[u] = to
        self.A[u] += self.A[v]
        self.b[u] += self.b[v]
        self.c[u] += self.c[v]
        self.rim[u] |= self.rim[v]
        for f in self.around[v]:
            if u in self.faces[f]:
                for w in set(self.faces[f]) - {v}:
                    self.around[w].remove(f)
                self.faces[f] = None
                self.alive -= 1
            else:
                self.faces[f] = [u if w == v else w for w in self.faces[f]]
                self.around[u].append(f)
        self.around[v] = []
        self.stamp[u] += 1
        for w in self.ring(u):
            self.push(u, w)


def _shape(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, float]:
    """Normal as long as twice the area, and the sum of the squared sides."""
    a, b = q - p, r - p
    return np.cross(a, b), float(a @ a + b @ b + (a - b) @ (a - b))
