"""Plain twin of native/ball_pivot.cpp, for small clouds: all points are looked at where the kernel has a grid."""

from __future__ import annotations

from collections import deque

import numpy as np


def ball_pivot(points: np.ndarray, normals: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Faces int32 (f, 3) that balls of the given radii (rising) rest on (Bernardini et al. 1999).

    points, normals float64 (n, 3). A face's three normals look to its front; each directed edge has one face at most.
    Raises ValueError for values that are not finite or radii that do not rise.
    """
    if len(points) != len(normals):
        raise ValueError("ball_pivot: one normal a point is needed")
    if not (np.isfinite(points).all() and np.isfinite(normals).all()):
        raise ValueError("ball_pivot: points and normals must be finite")
    rising = (np.diff(radii) > 0).all() and (radii > 0).all() and np.isfinite(radii).all()
    if not rising or (len(points) and len(radii) and np.abs(points).max() / radii[0] > 2e6):
        raise ValueError("ball_pivot: radii must rise, be positive and not vanish against the coordinates")
    pivot = _Pivot(points, normals)
    for radius in radii:
        pivot.run(float(radius))
    return np.array(pivot.faces, np.int32).reshape(-1, 3)


class _Pivot:
    def __init__(self, points: np.ndarray, normals: np.ndarray) -> None:
        self.points, self.normals = points, normals
        self.faces: list[tuple[int, int, int]] = []
        self.edges: set[tuple[int, int]] = set()
        self.open = np.zeros(len(points), np.int64)
        self.used = np.zeros(len(points), bool)
        self.front: deque[tuple[int, int, np.ndarray]] = deque()
        self.radius = 0.0

    def run(self, radius: float) -> None:
        self.radius = radius
        self.front.clear()
        for a, b, c in list(self.faces):
            for i, j, k in ((a, b, c), (b, c, a), (c, a, b)):
                center = self.rest(i, j, k)
                if (j, i) not in self.edges and center is not None and self.empty(center, i, j, k):
                    self.front.append((i, j, center))
        self.roll()
        for i in range(len(self.points)):
            if not self.used[i]:
                self.seed(i)
                self.roll()

    def near(self, place: np.ndarray, radius: float) -> np.ndarray:
        return np.flatnonzero(((self.points - place) ** 2).sum(1) <= radius * radius)

    def rest(self, a: int, b: int, c: int) -> np.ndarray | None:
        """Centre of the ball in front of a, b, c."""
        u, v = self.points[b] - self.points[a], self.points[c] - self.points[a]
        w = np.cross(u, v)
        w2, u2, v2 = w @ w, u @ u, v @ v
        if not w2 > 1e-12 * u2 * v2 or not (self.normals[[a, b, c]] @ w > 0).all():
            return None
        offset = 0.5 / w2 * (u2 * np.cross(v, w) + v2 * np.cross(w, u))
        height2 = self.radius**2 - offset @ offset
        return self.points[a] + offset + np.sqrt(height2 / w2) * w if height2 >= 0 else None

    def empty(self, center: np.ndarray, *corners: int) -> bool:
        return set(self.near(center, self.radius * (1 - 1e-6)).tolist()) <= set(corners)

    def fits(self, a: int, b: int, c: int) -> bool:
        return not self.edges.intersection(((a, b), (b, c), (c, a)))

    def add(self, a: int, b: int, c: int, center: np.ndarray) -> None:
        self.faces.append((a, b, c))
        for i, j in ((a, b), (b, c), (c, a)):
            self.edges.add((i, j))
            self.used[i] = True
            step = -1 if (j, i) in self.edges else 1
            self.open[[i, j]] += step
            if step > 0:
                self.front.append((i, j, center))

    def seed(self, i: int) -> None:
        around = self.near(self.points[i], 2 * self.radius)
        distance = ((self.points[around] - self.points[i]) ** 2).sum(1)
        around = around[np.argsort(distance, kind="stable")][:24].tolist()
        for j, first in enumerate(around):
            for second in around[j + 1 :]:
                if i in (first, second) or self.used[first] or self.used[second]:
                    continue
                for b, c in ((first, second), (second, first)):
                    center = self.rest(i, b, c)
                    if center is not None:
                        break
                else:
                    continue
                if self.empty(center, i, b, c) and self.fits(i, b, c):
                    self.add(i, b, c, center)
                    return

    def roll(self) -> None:
        while self.front:
            a, b, old = self.front.popleft()
            if (b, a) in self.edges:
                continue
            middle, along = 0.5 * (self.points[a] + self.points[b]), self.points[b] - self.points[a]
            axis = along / np.sqrt(along @ along)
            best, best_angle, best_center = -1, np.inf, old
            for x in self.near(middle, 2 * self.radius).tolist():
                center = self.rest(b, a, x) if x not in (a, b) else None
                if center is None:
                    continue
                start, end = old - middle, center - middle
                angle = np.arctan2(axis @ np.cross(start, end), start @ end)
                angle += 2 * np.pi if angle < -1e-9 else 0
                if angle < best_angle:
                    best, best_angle, best_center = x, angle, center
            if best < 0 or (self.used[best] and self.open[best] == 0) or not self.fits(b, a, best):
                continue
            if self.empty(best_center, a, b, best):
                self.add(b, a, best, best_center)
