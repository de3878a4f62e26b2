"""Point clouds in levels of detail: an octree whose nodes add points to their parents' (Schütz 2016, section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

MAX_POINTS = 30_000  # a node
CELLS_LOG2 = 6  # a node that has children shows one point in each of 64^3 cells
_DEPTH = 21  # levels that fit into a 63 bit number


@dataclass(frozen=True)
class Node:
    """rows: of the cloud, in this node only.  children: numbers of nodes.  spacing: distance of its points."""

    rows: np.ndarray
    low: np.ndarray
    high: np.ndarray
    spacing: float
    children: list[int]


def build_octree(points: np.ndarray) -> list[Node]:
    """The nodes of finite points float32 (n, 3), root first, parents before children. Each point is in one node."""
    if not len(points):
        return []
    low = points.min(0).astype(np.float64)
    side = float(max(np.ptp(points.astype(np.float64), axis=0).max(), 1e-12)) * (1 + 1e-6)
    codes = morton(points, low, side)
    order = np.argsort(codes, kind="stable")
    codes = codes[order]
    nodes: list[Node] = []
    parents = {0: -1}  # code of a node at this level -> number of its parent
    for level in range(_DEPTH + 1):
        if not len(order):
            break
        node_of = codes >> np.uint64(3 * (_DEPTH - level))
        starts = np.flatnonzero(np.r_[True, node_of[1:] != node_of[:-1]])
        ends = np.r_[starts[1:], len(order)]
        keep = np.ones(len(order), bool)  # rows that wait for a deeper level
        next_parents: dict[int, int] = {}
        for a, b in zip(starts.tolist(), ends.tolist()):
            chosen = _choose(codes[a:b], level) if b - a > MAX_POINTS and level < _DEPTH else np.arange(b - a)
            keep[a + chosen] = False
            number, code = len(nodes), int(node_of[a])
            rows = order[a + chosen]
            xyz = points[order[a:b]]
            spacing = side / 2**level / 2**CELLS_LOG2
            nodes.append(Node(rows, xyz.min(0), xyz.max(0), spacing, []))
            parent = parents[code >> 3] if level else -1
            if parent >= 0:
                nodes[parent].children.append(number)
            next_parents[code] = number
        order, codes, parents = order[keep], codes[keep], next_parents
    return nodes


def _choose(codes: np.ndarray, level: int) -> np.ndarray:
    """Positions of one point a cell, at most MAX_POINTS, of a node's sorted codes."""
    shift = 3 * max(_DEPTH - level - CELLS_LOG2, 0)
    cell = codes >> np.uint64(shift)
    first = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
    count = np.diff(np.r_[first, len(codes)])
    # Not the first of each cell, which lies in its corner: one from its middle.
    first = first + count // 2
    if len(first) > MAX_POINTS:
        first = first[np.linspace(0, len(first) - 1, MAX_POINTS).astype(np.int64)]
    return first


def morton(points: np.ndarray, low: np.ndarray, side: float) -> np.ndarray:
    """uint64 (n,): the bits of x, y and z in turns."""
    code = np.zeros(len(points), np.uint64)
    for axis in range(3):
        cell = ((points[:, axis].astype(np.float64) - low[axis]) * ((1 << _DEPTH) / side)).astype(np.int64)
        x = np.clip(cell, 0, (1 << _DEPTH) - 1).astype(np.uint64)
        for shift, mask in (
            (32, 0x1F00000000FFFF),
            (16, 0x1F0000FF0000FF),
            (8, 0x100F00F00F00F00F),
            (4, 0x10C30C30C30C30C3),
            (2, 0x1249249249249249),
        ):
            x = (x | (x << np.uint64(shift))) & np.uint64(mask)
        code |= x << np.uint64(axis)
    return code


def pack_nodes(
    nodes: list[Node], points: np.ndarray, colors: np.ndarray, values: np.ndarray
) -> Iterator[tuple[bytes, int]]:
    """The bytes of each node (float32 xyz, then uint8 rgb, then float32 value, little-endian) and its number of points.
    values that are not known are -1."""
    for node in nodes:
        rows = node.rows
        value = np.where(np.isfinite(values[rows]), values[rows], -1)
        yield (
            points[rows].astype("<f4").tobytes() + colors[rows].astype("u1").tobytes() + value.astype("<f4").tobytes(),
            len(rows),
        )
