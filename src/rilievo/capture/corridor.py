"""Corridors: bands along roads, rivers and power lines, flown on lines beside one another.

A drone flies straight lines. So the course is simplified to the fewest straight pieces that stay near it, and
each is flown at all its offsets, beyond its ends where the next one turns away.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from rilievo.capture.places import bends
from rilievo.errors import InputError

# Beyond a bend sharper than this lines go no farther than beyond this one.
_SHARPEST = math.radians(120)
# How far the flown course may leave the drawn one, as a share of what a photo shows across it.
_SIMPLIFY = 0.05


def straight_pieces(course: np.ndarray, shown: float) -> np.ndarray:
    """The course as it is flown: shown: what a photo shows across it. Raises InputError where it has no length."""

    def off(a: int, b: int) -> np.ndarray:
        return _distance(course[a : a + 1], course[b : b + 1], course[a + 1 : b])

    pieces = course[bends(len(course), off, _SIMPLIFY * shown)]
    length = np.linalg.norm(np.diff(pieces, axis=0), axis=1)
    if length.sum() < 1.0:
        raise InputError("the course has no length", "its points lie on one another", "draw it again")
    return pieces[np.concatenate([[True], length > 1e-3])]


def _distance(a: np.ndarray, b: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Distances of points (m, 2) from the pieces a -> b (n, 2): the least of them, (m,)."""
    way = b - a
    along = np.einsum("mnk,nk->mn", points[:, None] - a[None], way) / np.maximum((way**2).sum(1), 1e-12)
    foot = a + np.clip(along, 0, 1)[..., None] * way
    return np.linalg.norm(points[:, None] - foot, axis=2).min(1)


def within(course: np.ndarray, half: float, points: np.ndarray) -> np.ndarray:
    """True where points (m, 2) lie no farther than `half` from the course (n, 2)."""
    out = np.zeros(len(points), bool)
    for k in range(0, len(points), 20_000):
        out[k : k + 20_000] = _distance(course[:-1], course[1:], points[k : k + 20_000]) <= half
    return out


def border(course: np.ndarray, half: float) -> np.ndarray:
    """The outline of the band, to be drawn and measured: (k, 2), right side there, left side back, round at bends."""
    sides = []
    for way in (course, course[::-1]):
        step = np.diff(way, axis=0)
        heading = np.arctan2(step[:, 1], step[:, 0])
        points = []
        for k, p in enumerate(way):
            first, last = heading[max(k - 1, 0)], heading[min(k, len(heading) - 1)]
            turn = (last - first + math.pi) % (2 * math.pi) - math.pi
            if turn > 0:  # the outer side of a bend to the left: an arc; the inner one where both sides meet
                for t in np.linspace(0, 1, 1 + math.ceil(turn / 0.3)):
                    points.append(p + half * _right(first + t * turn))
            else:
                points.append(p + half / max(math.cos(turn / 2), 0.5) * _right(first + turn / 2))
        sides.append(np.array(points))
    return np.concatenate(sides)


def _right(heading: float) -> np.ndarray:
    return np.array([math.sin(heading), -math.cos(heading)])


def band_points(course: np.ndarray, half: float, step: float) -> np.ndarray:
    """Points (k, 2) all over the band, at most `step` apart, its edges among them."""
    found = []
    for a, b in pairwise(course):
        length = float(np.linalg.norm(b - a))
        ahead = (b - a) / length
        u = np.linspace(0, length, max(2, math.ceil(length / step) + 1))
        v = np.linspace(-half, half, max(3, math.ceil(2 * half / step) + 1))
        U, V = np.meshgrid(u, v)
        found.append(a + U.reshape(-1, 1) * ahead + V.reshape(-1, 1) * np.array([ahead[1], -ahead[0]]))
    points = np.concatenate(found)
    return points[within(course, half * (1 + 1e-9), points)]


def lines(course: np.ndarray, reach: float, gap: float, step: float, beyond: float) -> list[tuple[int, np.ndarray]]:
    """Lines along the pieces of a course (n, 2): number of the piece and points (k, 2) of each, `step` apart. The outer
    ones lie `reach` beside it, and they lie at most `gap` apart; the first goes there, the next one comes back.
    beyond: how far they go beyond the course's ends."""
    num = max(2, math.ceil(2 * reach / gap - 1e-9) + 1)
    out: list[tuple[int, np.ndarray]] = []
    for k, offset in enumerate(np.linspace(-reach, reach, num)):
        there = [(i, _piece(course, i, float(offset), step, beyond)) for i in range(len(course) - 1)]
        there = [(i, line) for i, line in there if len(line)]
        out += there if k % 2 == 0 else [(i, line[::-1]) for i, line in reversed(there)]
    return out


def _piece(course: np.ndarray, i: int, offset: float, step: float, beyond: float) -> np.ndarray:
    """Photos of one straight piece, `offset` to its left."""
    a, b = course[i], course[i + 1]
    length = float(np.linalg.norm(b - a))
    ahead = (b - a) / length
    left = np.array([-ahead[1], ahead[0]])
    start = -beyond if i == 0 else -_corner(course, i, offset, step)
    end = length + (beyond if i == len(course) - 2 else _corner(course, i + 1, offset, step))
    if end - start < 0.5 * step:
        return np.zeros((0, 2))
    count = max(2, math.ceil((end - start) / step - 1e-9) + 1)
    us = (start + end) / 2 + step * (np.arange(count) - (count - 1) / 2)
    return a + us[:, None] * ahead + offset * left


def _corner(course: np.ndarray, k: int, offset: float, step: float) -> float:
    """How far a line beside the course goes beyond a bend: to where it meets the next one's, outside; less inside."""
    before, after = course[k] - course[k - 1], course[k + 1] - course[k]
    turn = math.atan2(before[0] * after[1] - before[1] * after[0], float(before @ after))
    turn = max(-_SHARPEST, min(_SHARPEST, turn))
    return -offset * math.tan(turn / 2) + step / 2
