"""How many Gaussians, and where: those that say nothing go, those that the photos pull at most are split in two.

The budget is fixed beforehand, as in Mallick et al. 2024 ("Taming 3DGS") and Kheradmand et al. 2024 (3DGS-MCMC): the
number grows to the cap along a curve, and what grows are the Gaussians of the highest score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo.geometry import rotation_from_quaternion
from rilievo.stages.splat_rows import LOGIT, MEAN, QUAT, SCALE


@dataclass(frozen=True)
class Grown:
    """Rows and moments of Adam after a change, and what was done."""

    rows: np.ndarray
    first: np.ndarray
    second: np.ndarray
    num_pruned: int
    num_split: int


def change(
    rows: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    score: np.ndarray,
    *,
    target: int,
    min_opacity: float,
) -> Grown:
    """Drops Gaussians that are broken or fainter than min_opacity, then splits those of the highest scores until there
    are `target`.

    score (n, 4) as `kernels.splat_update` keeps it: sum of gradient lengths, times seen, largest reach in px.
    """
    opacity = 1 / (1 + np.exp(-np.clip(rows[:, LOGIT].astype(np.float64), -40, 40)))
    keep = (opacity >= min_opacity) & np.isfinite(rows).all(1)
    num_pruned = int((~keep).sum())
    rows, first, second, score = rows[keep], first[keep], second[keep], score[keep]
    seen = score[:, 1]
    value = np.where(seen > 0, score[:, 0] / np.maximum(seen, 1), 0.0)
    room = min(max(target - len(rows), 0), int((value > 0).sum()))
    if room == 0:
        return Grown(rows, first, second, num_pruned, 0)
    order = np.lexsort((np.arange(len(rows)), -value))
    chosen = np.sort(order[:room])
    rows, other = split(rows, chosen)
    first[chosen] = 0
    second[chosen] = 0
    blank = np.zeros_like(other)
    return Grown(
        np.concatenate([rows, other]),
        np.concatenate([first, blank]),
        np.concatenate([second, blank]),
        num_pruned,
        room,
    )


def split(rows: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each chosen Gaussian becomes two along its longest axis, at plus and minus 0.6 of its standard deviation s, of
    0.8 s: together they have the mean and the variance of the one. Their opacity is such that as much as before is
    stopped where both overlap. Returns the rows with the first ones changed, and the second ones."""
    rows = rows.copy()
    one = rows[chosen].astype(np.float64)
    axis = one[:, SCALE].argmax(1)
    q = one[:, QUAT] / np.linalg.norm(one[:, QUAT], axis=1, keepdims=True)
    turned = rotation_from_quaternion(q)
    number = np.arange(len(one))
    step = 0.6 * np.exp(one[number, SCALE.start + axis])[:, None] * turned[number, :, axis]
    # Half way between the two centres each has exp(-0.6^2 / 2 / 0.8^2) of its height.
    opacity = 1 / (1 + np.exp(-one[:, LOGIT]))
    each = np.clip((1 - np.sqrt(1 - opacity)) / np.exp(-0.5 * (0.6 / 0.8) ** 2), 1e-4, 0.99)
    one[:, LOGIT] = np.log(each / (1 - each))
    one[number, SCALE.start + axis] += np.log(0.8)
    left, right = one.copy(), one
    left[:, MEAN] -= step
    right[:, MEAN] += step
    rows[chosen] = left
    return rows, right.astype(np.float32)
