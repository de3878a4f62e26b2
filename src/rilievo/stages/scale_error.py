"""How wrong the shape of a network's depth is, and how alike the errors of two places are.

A network's log depth, laid on the truth by its best a and b, is off by a smooth random field: neighbours are off
alike, so a length inside one object is better known than one across the picture. The field has a wide part (walls that
bend), a near part (objects set too far or too close) and a part of its own at each pixel (soft edges). Its shape is a
row for each model, measured on pictures that are in no test of it (`bench/lengths.py --tune`); its level for one photo
comes from that row, from the model's own sigma, and from how well references agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo.types import PhotoDepth


@dataclass(frozen=True)
class ShapeError:
    """What is known of a model's errors. Variances are shares of level squared; distances shares of the diagonal."""

    level: float = 0.16
    """relative standard deviation of depth at a place where the model's sigma is the photo's median"""
    level_doubt: float = 0.5
    """standard deviation of the logarithm of that level from photo to photo"""
    usual_sigma: float = 0.2
    """relative sigma that the model states in the middle of a usual photo"""
    photo_power: float = 0.25
    """the level of a photo follows this power of its median sigma over the usual one"""
    place_power: float = 1.0
    """the field's standard deviation at a place follows this power of the sigma there over the photo's median"""
    wide: float = 0.1
    """share of variance of the wide part"""
    wide_reach: float = 0.35
    """distance over which it changes"""
    near: float = 0.86
    """share of variance of the near part; what is left to 1 belongs to each pixel alone"""
    near_reach: float = 0.07
    """distance over which it changes"""
    depth_reach: float = 0.7
    """difference in log depth over which both parts change as well"""
    edge: float = 0.6
    """share of the variation of depth around a pixel, slopes aside, by which the pixel itself may be off"""
    scale_doubt: float = 0.15
    """standard deviation of the logarithm of a metric model's own scale"""
    contrast: float = 0.2
    """typical logarithm of (depth of the farthest surface / nearest - 1) in a photo"""
    contrast_doubt: float = 1.3
    """its standard deviation"""


# Rows of weights.py. `any` is for models that have not been measured here: published errors, widened.
SHAPE_ERRORS: dict[str, ShapeError] = {
    "any": ShapeError(),
    "depth-small": ShapeError(level=0.13, usual_sigma=0.15, contrast=0.4, contrast_doubt=1.25),
}


def shape_error(model: str) -> ShapeError:
    """The row of a model, that of `any` when it has none."""
    return SHAPE_ERRORS.get(model, SHAPE_ERRORS["any"])


@dataclass(frozen=True)
class Places:
    """Pixels of the map looked up, float64 (n,) each.

    xy: px of the map (n, 2).  disparity: NaN where there is none.  slope: of disparity, a px (n, 2).  ripple: standard
    deviation of disparity around the pixel, slopes aside.  sigma: the model's, NaN unknown.  reason: why there is no
    disparity ("" where there is): "outside", "sky" or "unknown".
    """

    xy: np.ndarray
    disparity: np.ndarray
    slope: np.ndarray
    ripple: np.ndarray
    sigma: np.ndarray
    reason: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.xy)

    def rows(self, chosen: np.ndarray) -> Places:
        """Some of them (indices or bool)."""
        reason = tuple(np.array(self.reason, object)[chosen])
        xy, disparity = self.xy[chosen], self.disparity[chosen]
        return Places(xy, disparity, self.slope[chosen], self.ripple[chosen], self.sigma[chosen], reason)


_WINDOW = np.stack(np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5)), -1).reshape(-1, 2)


def look_up(photo_depth: PhotoDepth, xy: np.ndarray, *, reach: float = 0.006) -> Places:
    """Disparity at pixels xy (n, 2) of the map and how it varies within `reach` (share of the longer side, at least
    1.5 px) around each."""
    height, width = photo_depth.disparity.shape
    xy = np.asarray(xy, np.float64).reshape(-1, 2)
    inside = np.asarray(((xy >= 0) & (xy < [width, height])).all(1))  # False for NaN
    radius = max(1.5, reach * max(width, height))
    safe = np.where(inside[:, None], xy, 0.0)
    around = safe[:, None] + radius * _WINDOW  # (n, 25, 2)
    column = np.clip(np.floor(around[..., 0]).astype(np.int64), 0, width - 1)
    row = np.clip(np.floor(around[..., 1]).astype(np.int64), 0, height - 1)
    near = photo_depth.disparity[row, column].astype(np.float64)
    near[photo_depth.sky[row, column]] = np.nan
    c, r = np.minimum(safe.astype(np.int64), [width - 1, height - 1]).T
    own = photo_depth.disparity[r, c].astype(np.float64)
    sky = photo_depth.sky[r, c]
    known = inside & np.isfinite(own) & ~sky
    slope, ripple = _plane(near, radius)
    # Between pixel centres: along the slope where the surface is smooth, as it is where it jumps.
    offset = safe - (np.floor(safe) + 0.5)
    smooth = ripple < 0.02 * np.maximum(own, 1e-12)
    value = np.where(smooth, own + (offset * slope).sum(1), own)
    sigma = photo_depth.sigma[r, c].astype(np.float64)
    reason = tuple(
        "outside" if not i else "" if k else "sky" if s else "unknown" for i, k, s in zip(inside, known, sky)
    )
    return Places(xy, np.where(known, value, np.nan), slope, ripple, sigma, reason)


def _plane(near: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Slope (n, 2) a px of windows (n, 25) of disparity, and the standard deviation of what the slope leaves."""
    held = np.isfinite(near)
    count = held.sum(1)
    terms = np.concatenate([np.ones((len(_WINDOW), 1)), _WINDOW], 1)
    normal = np.einsum("nk,ki,kj->nij", held.astype(np.float64), terms, terms) + 1e-6 * np.eye(3)
    right = np.einsum("nk,ki->ni", np.where(held, near, 0.0), terms)
    found = np.linalg.solve(normal, right[..., None])[..., 0]
    left = np.where(held, near - found @ terms.T, 0.0)
    ripple = np.sqrt((left**2).sum(1) / np.maximum(count - 3, 1))
    enough = count >= 6
    return np.where(enough[:, None], found[:, 1:] / radius, 0.0), np.where(enough, ripple, 0.0)


@dataclass(frozen=True)
class Field:
    """Covariance of log depth errors of one photo at (a, b), for a level of 1."""

    row: ShapeError
    diagonal: float
    a: float
    b: float
    typical: float

    @classmethod
    def of(cls, photo_depth: PhotoDepth, a: float, b: float) -> Field:
        """The field of a photo; `typical` is the median of the model's relative sigma, NaN when it gives none."""
        height, width = photo_depth.disparity.shape
        step = max(1, int(np.sqrt(height * width / 20000)))
        disparity, sigma = photo_depth.disparity[::step, ::step], photo_depth.sigma[::step, ::step]
        inverse = a * disparity + b
        good = (inverse > 0) & np.isfinite(sigma) & (sigma > 0) & ~photo_depth.sky[::step, ::step]
        typical = float(np.median(a * sigma[good] / inverse[good])) if good.any() else float("nan")
        return cls(shape_error(photo_depth.model), float(np.hypot(height, width)), a, b, typical)

    @property
    def level(self) -> float:
        """What to expect of this photo before any reference: relative standard deviation of depth."""
        if not np.isfinite(self.typical):
            return self.row.level
        return self.row.level * float(np.clip(self.typical / self.row.usual_sigma, 0.02, 8.0)) ** self.row.photo_power

    def strength(self, disparity: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """The field's standard deviation relative to its level, from the model's own sigma."""
        if not np.isfinite(self.typical) or self.row.place_power == 0:
            return np.ones(np.shape(disparity))
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = self.a * sigma / (self.a * disparity + self.b) / self.typical
        relative = np.where(np.isfinite(relative) & (relative > 0), relative, 1.0)
        return np.clip(relative, 0.3, 4.0) ** self.row.place_power

    def between(self, p: Places, q: Places) -> np.ndarray:
        """Covariance (n, m) of the parts that places share, for a level of 1."""
        distance = np.linalg.norm(p.xy[:, None] - q.xy[None], axis=-1) / self.diagonal
        log_p, log_q = self._log_inverse(p.disparity), self._log_inverse(q.disparity)
        apart = np.exp(-np.abs(log_p[:, None] - log_q[None]) / self.row.depth_reach)
        alike = self.row.wide * _matern(distance / self.row.wide_reach)
        alike += self.row.near * _matern(distance / self.row.near_reach)
        scale_p, scale_q = self.strength(p.disparity, p.sigma), self.strength(q.disparity, q.sigma)
        return scale_p[:, None] * scale_q[None] * alike * apart

    def alone(self, p: Places) -> np.ndarray:
        """Variance (n,) that belongs to each place alone, for a level of 1."""
        return max(0.0, 1.0 - self.row.wide - self.row.near) * self.strength(p.disparity, p.sigma) ** 2

    def click(self, p: Places, click_px: float) -> np.ndarray:
        """Variance (n,) of log depth from a pixel read `click_px` off and a soft edge; not scaled by the level."""
        inverse = np.maximum(self.a * p.disparity + self.b, 1e-12)
        steep = self.a * np.linalg.norm(p.slope, axis=1) / inverse * click_px
        return steep**2 + (self.row.edge * self.a * p.ripple / inverse) ** 2

    def _log_inverse(self, disparity: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(self.a * disparity + self.b, 1e-12))


def _matern(distance: np.ndarray) -> np.ndarray:
    """Correlation at a distance of so many reaches: Matern's with smoothness 3/2, whose fields have a slope."""
    return (1 + 1.7320508 * distance) * np.exp(-1.7320508 * distance)
