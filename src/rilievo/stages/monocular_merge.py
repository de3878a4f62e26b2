"""Several views of one photo by a network (mirrored, in pieces) made into one map.

Each view knows disparity up to a scale and a shift of its own, so views are brought to one another by robust lines
first. Blending pieces into a coarse whole follows the idea of Miangoleh et al. 2021 (Boosting Monocular Depth): the
whole gives the low frequencies, the pieces give the detail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np


def fit_line(x: np.ndarray, y: np.ndarray, *, rounds: int = 8) -> tuple[float, float]:
    """(a, b), a > 0, for which a * x + b is close to y at most places: least absolute deviations by reweighting.

    Places where either is NaN are passed over. Where x is flat or runs against y, a is the ratio of their spreads.
    """
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep].astype(np.float64), y[keep].astype(np.float64)
    if len(x) == 0:
        return 1.0, 0.0
    mx, my = np.median(x), np.median(y)
    sx, sy = np.mean(np.abs(x - mx)), np.mean(np.abs(y - my))
    if sx <= 1e-9 * max(abs(mx), 1e-9):
        return 1.0, float(my - mx)
    u, v = (x - mx) / sx, y - my
    a, b = sy / sx * sx, 0.0
    floor = max(1e-3 * sy, 1e-12)
    for _ in range(rounds):
        w = 1 / np.maximum(np.abs(a * u + b - v), floor)
        n, su, sv = w.sum(), (w * u).sum(), (w * v).sum()
        det = n * (w * u * u).sum() - su * su
        if det <= 0:
            break
        a = (n * (w * u * v).sum() - su * sv) / det
        b = (sv - a * su) / n
    if a <= 1e-3 * sy:
        a, b = max(sy, 1e-12), 0.0
    return float(a / sx), float(my + b - a * mx / sx)


@dataclass(frozen=True, eq=False)
class Piece:
    """A view of one part of the map: its upper left corner there, and float32 (h, w) maps at the map's resolution."""

    top: int
    left: int
    disparity: np.ndarray
    sigma: np.ndarray
    sky: np.ndarray | None

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns in the map."""
        h, w = self.disparity.shape
        return slice(self.top, self.top + h), slice(self.left, self.left + w)


def align_pieces(
    pieces: Sequence[Piece], whole: np.ndarray, *, trust: float, rounds: int = 4
) -> list[tuple[float, float]]:
    """(a, b) of each piece, for which a * piece + b agrees with the pieces that it overlaps and, with weight `trust`,
    with the whole. Solved for all at once by reweighted least squares on thinned-out pixels."""
    starts = [fit_line(_thin(p.disparity), _thin(whole[p.place])) for p in pieces]
    links: list[tuple[int, int, np.ndarray, np.ndarray]] = []
    for i, p in enumerate(pieces):
        for j in range(i + 1, len(pieces)):
            q = pieces[j]
            rows = slice(max(p.top, q.top), min(p.place[0].stop, q.place[0].stop))
            cols = slice(max(p.left, q.left), min(p.place[1].stop, q.place[1].stop))
            if rows.stop - rows.start < 4 or cols.stop - cols.start < 4:
                continue
            x = _thin(p.disparity[rows.start - p.top : rows.stop - p.top, cols.start - p.left : cols.stop - p.left], 24)
            y = _thin(q.disparity[rows.start - q.top : rows.stop - q.top, cols.start - q.left : cols.stop - q.left], 24)
            keep = np.isfinite(x) & np.isfinite(y)
            links.append((i, j, x[keep].astype(np.float64), y[keep].astype(np.float64)))
    anchors = []
    for p in pieces:
        x, y = _thin(p.disparity, 24), _thin(whole[p.place], 24)
        keep = np.isfinite(x) & np.isfinite(y)
        anchors.append((x[keep].astype(np.float64), y[keep].astype(np.float64)))
    size = max(float(np.nanmean(np.abs(whole - np.nanmedian(whole)))), 1e-9)
    answer = np.array(starts, np.float64)
    for _ in range(rounds):
        n = len(pieces)
        A, r = np.zeros((2 * n, 2 * n)), np.zeros(2 * n)
        for i, (x, y) in enumerate(anchors):
            w = trust / np.maximum(np.abs(answer[i, 0] * x + answer[i, 1] - y), 0.02 * size) / max(len(x), 1)
            rows = np.stack([x, np.ones_like(x)])
            A[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] += (rows * w) @ rows.T
            r[2 * i : 2 * i + 2] += (rows * w) @ y
            # A flat piece says nothing of its scale: hold it weakly to the start.
            A[2 * i, 2 * i] += 1e-6 * (x @ x + 1) / size / max(len(x), 1)
            r[2 * i] += 1e-6 * (x @ x + 1) / size / max(len(x), 1) * starts[i][0]
            A[2 * i + 1, 2 * i + 1] += 1e-9
        for i, j, x, y in links:
            gap = answer[i, 0] * x + answer[i, 1] - answer[j, 0] * y - answer[j, 1]
            w = 1 / np.maximum(np.abs(gap), 0.02 * size) / max(len(x), 1)
            rows = np.stack([x, np.ones_like(x), -y, -np.ones_like(y)])
            at = np.array([2 * i, 2 * i + 1, 2 * j, 2 * j + 1])
            A[np.ix_(at, at)] += (rows * w) @ rows.T
        answer = np.linalg.solve(A, r).reshape(n, 2)
    bad = answer[:, 0] <= 0.05 * np.array([a for a, _ in starts])
    answer[bad] = np.array(starts)[bad]
    return [(float(a), float(b)) for a, b in answer]


def _thin(a: np.ndarray, side: int = 48) -> np.ndarray:
    rows = np.linspace(0, a.shape[0] - 1, min(a.shape[0], side)).astype(int)
    cols = np.linspace(0, a.shape[1] - 1, min(a.shape[1], side)).astype(int)
    return a[np.ix_(rows, cols)].ravel()


def ramp(length: int, before: bool, after: bool, overlap: int) -> np.ndarray:
    """Weights along one side of a piece, float32: falling to nearly nothing where a neighbour overlaps."""
    w = np.ones(length, np.float32)
    n = min(overlap, length)
    rise = (0.5 - 0.5 * np.cos(np.pi * (np.arange(n) + 0.5) / n)).astype(np.float32)
    if before:
        w[:n] *= rise
    if after:
        w[length - n :] *= rise[::-1]
    return w


def blend(
    pieces: Sequence[Piece],
    lines: Sequence[tuple[float, float]],
    shape: tuple[int, int],
    overlap: int,
    whole: np.ndarray | None,
    coarse_px: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(disparity, sigma, sky) of the map, from pieces brought to one scale by `lines`.

    With a `whole`, only what is finer than `coarse_px` is taken from the pieces, the rest from it.
    """
    total = np.zeros(shape, np.float32)
    disparity, sigma = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    sky = np.zeros(shape, np.float32) if pieces and pieces[0].sky is not None else None
    for p, (a, b) in zip(pieces, lines, strict=True):
        h, w = p.disparity.shape
        weight = (
            ramp(h, p.top > 0, p.top + h < shape[0], overlap)[:, None]
            * ramp(w, p.left > 0, p.left + w < shape[1], overlap)[None]
        )
        ours = a * p.disparity + b
        if whole is not None:
            ours = whole[p.place] + detail(ours - whole[p.place], coarse_px)
        known = np.isfinite(ours)
        weight = np.where(known, weight, 0).astype(np.float32)
        total[p.place] += weight
        disparity[p.place] += weight * np.where(known, ours, 0)
        sigma[p.place] += weight * np.where(known, a * p.sigma, 0)
        if sky is not None and p.sky is not None:
            sky[p.place] += weight * np.where(known, p.sky, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.where(total > 0, disparity / total, np.nan).astype(np.float32)
        error = np.where(total > 0, sigma / total, np.nan).astype(np.float32)
        if sky is not None:
            sky = np.where(total > 0, sky / total, 0).astype(np.float32)
    if whole is not None:
        out = np.where(np.isfinite(out), out, whole)
    return np.maximum(out, 0), error, sky


def detail(difference: np.ndarray, coarse_px: float) -> np.ndarray:
    """What is left of (piece - whole) without its low frequencies; NaN stay NaN."""
    known = np.isfinite(difference)
    filled = np.where(known, difference, 0).astype(np.float32)
    low = cv2.GaussianBlur(filled, (0, 0), coarse_px, borderType=cv2.BORDER_REFLECT)
    if not known.all():
        weight = cv2.GaussianBlur(known.astype(np.float32), (0, 0), coarse_px, borderType=cv2.BORDER_REFLECT)
        low = low / np.maximum(weight, 1e-3)
    return np.where(known, filled - low, np.nan).astype(np.float32)
