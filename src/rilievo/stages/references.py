"""References: what is known of a photo's scene in metres, and what that says of depth at pixels.

All pixels are of one picture whose size the caller states (`fit_scale(..., photo_size=...)`); lengths are in one unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rilievo.errors import InputError
from rilievo.types import Camera


@dataclass(frozen=True)
class KnownLength:
    """The straight distance between the points seen at two pixels. sigma: its standard deviation, same unit; 0: the
    config's `tolerance`."""

    xy0: tuple[float, float]
    xy1: tuple[float, float]
    length: float
    sigma: float = 0.0


@dataclass(frozen=True)
class KnownDepth:
    """Depth at a pixel: z in the camera; with `along_ray` the distance from the lens to the point, as a tape or a laser
    measures it. sigma: its standard deviation, 0: the config's `tolerance`."""

    xy: tuple[float, float]
    depth: float
    sigma: float = 0.0
    along_ray: bool = False


@dataclass(frozen=True)
class KnownPlane:
    """A flat rectangle of known size: its four corners in order around it, the side from corner 0 to 1 being `width`,
    from 1 to 2 `height`.

    corner_sigma_px: how well the corners are known, 0: the config's click.  sigma: relative, of the size.
    what: for messages.
    """

    corners: tuple[tuple[float, float], ...]
    width: float
    height: float
    corner_sigma_px: float = 0.0
    sigma: float = 0.002
    what: str = "rectangle"


@dataclass(frozen=True, eq=False)
class DepthPoints:
    """Depth (z in the camera) at many pixels, some of them wrong: sensor, stereo pair, or points of a reconstruction.

    xy float64 (n, 2).  depth float64 (n,).  sigma: of depth (n,), or None: 1 % of depth.  unit: "m" or "unknown".
    what: for messages.
    """

    xy: np.ndarray
    depth: np.ndarray
    sigma: np.ndarray | None = None
    unit: str = "m"
    what: str = "points"


Reference = KnownLength | KnownDepth | KnownPlane | DepthPoints


@dataclass(frozen=True)
class Observation:
    """One measured place or length as fitting wants it, all of it in logarithms.

    kind: "depth", "ray" or "length".  places: rows of the list of places, one or two.  value: log of what is known.
    focal_gain: by how much `value` rises with the log of the focal length.  reference: which one it comes from.
    """

    kind: str
    places: tuple[int, ...]
    value: float
    focal_gain: float
    reference: int


@dataclass
class Gathered:
    """All observations of the references but many points: pixels (n, 2), observations, covariance of their values."""

    xy: list[tuple[float, float]] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    blocks: list[np.ndarray] = field(default_factory=list)

    def add(self, kind: str, xy: Sequence[tuple[float, float]], value: float, variance: float, reference: int) -> None:
        """One independent observation."""
        places = tuple(range(len(self.xy), len(self.xy) + len(xy)))
        self.xy += [(float(x), float(y)) for x, y in xy]
        self.observations.append(Observation(kind, places, value, 0.0, reference))
        self.blocks.append(np.array([[variance]]))

    def covariance(self) -> np.ndarray:
        """(n, n), blocks on the diagonal."""
        size = sum(len(b) for b in self.blocks)
        out, at = np.zeros((size, size)), 0
        for block in self.blocks:
            out[at : at + len(block), at : at + len(block)] = block
            at += len(block)
        return out


def _positive(value: float, what: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{what} of {value:g} is no reference", "it must be larger than zero")
    return float(value)


def gather(references: Sequence[Reference], camera: Camera, *, tolerance: float, click_px: float) -> Gathered:
    """Observations of all references but DepthPoints. camera: PINHOLE, of the picture whose pixels they count in.

    Raises InputError for lengths that are not positive, a length between a pixel and itself, a rectangle whose corners
    are none.
    """
    out = Gathered()
    for index, given in enumerate(references):
        if isinstance(given, KnownLength):
            length = _positive(given.length, "a length")
            if math.dist(given.xy0, given.xy1) < 1.0:
                raise InputError(
                    "a length between a pixel and itself tells nothing", f"both ends are at {spell(given.xy0)}"
                )
            variance = (given.sigma / length) ** 2 if given.sigma > 0 else tolerance**2
            out.add("length", [given.xy0, given.xy1], math.log(length), variance, index)
        elif isinstance(given, KnownDepth):
            depth = _positive(given.depth, "a depth")
            variance = (given.sigma / depth) ** 2 if given.sigma > 0 else tolerance**2
            out.add("ray" if given.along_ray else "depth", [given.xy], math.log(depth), variance, index)
        elif isinstance(given, KnownPlane):
            xy, log_depth, covariance, gain = plane_depth(given, camera, click_px)
            first = len(out.xy)
            out.xy += [(float(x), float(y)) for x, y in xy]
            out.observations += [
                Observation("depth", (first + k,), float(log_depth[k]), float(gain[k]), index) for k in range(len(xy))
            ]
            out.blocks.append(covariance)
    return out


def spell(xy: Sequence[float]) -> str:
    """A pixel for a message."""
    return f"{xy[0]:g},{xy[1]:g}"


# Where depth is taken on a rectangle: away from its border, where the network's map is soft.
_INSIDE = np.array([[0.5, 0.5], [0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]])


def plane_depth(
    plane: KnownPlane, camera: Camera, click_px: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (5, 2) inside a rectangle, log depth there (5,), its covariance (5, 5) and its gain with log focal length.

    Raises InputError when the four corners are not the picture of such a rectangle.
    """
    corners = np.asarray(plane.corners, np.float64)
    width, height = _positive(plane.width, "a width"), _positive(plane.height, "a height")
    sigma = plane.corner_sigma_px or click_px
    check_corners(corners, plane.what)
    K = camera.K
    H = _homography(corners)
    inside = np.concatenate([_INSIDE, np.ones((len(_INSIDE), 1))], 1) @ H.T
    xy = inside[:, :2] / inside[:, 2:]

    def log_depth(c: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, float]:
        R, t, error = rectangle_place(c, width, height, matrix)
        points = np.concatenate([_centred(_INSIDE, width, height), np.zeros((len(_INSIDE), 1))], 1)
        z = points @ R[2] + t[2]
        return np.log(np.maximum(z, 1e-9)), error

    value, error = log_depth(corners, K)
    limit = max(4.0 * sigma, 0.03 * float(np.ptp(corners, 0).max()))
    if not error < limit:
        raise InputError(
            f"the four corners are not those of a {plane.what} of {width:g} x {height:g}",
            f"the best place for it misses them by {error:.1f} px",
            "check the order of the corners (around the rectangle, the first side is the width), its size and the "
            "focal length",
        )
    jacobian = np.zeros((len(_INSIDE), 8))
    step = 0.25
    for k in range(8):
        shift = np.zeros(8)
        shift[k] = step
        plus = log_depth(corners + shift.reshape(4, 2), K)[0]
        jacobian[:, k] = (plus - log_depth(corners - shift.reshape(4, 2), K)[0]) / (2 * step)
    longer, shorter = K.copy(), K.copy()
    longer[[0, 1], [0, 1]] *= 1.02
    shorter[[0, 1], [0, 1]] /= 1.02
    gain = (log_depth(corners, longer)[0] - log_depth(corners, shorter)[0]) / (2 * math.log(1.02))
    noise = max(sigma, error)
    covariance = jacobian @ jacobian.T * noise**2 + plane.sigma**2 + 1e-6 * np.eye(len(_INSIDE))
    return xy, value, covariance, gain


def check_corners(corners: np.ndarray, what: str) -> None:
    """Raises InputError unless corners (4, 2) form a convex quadrilateral of some size, in order around it."""
    if corners.shape != (4, 2) or not np.isfinite(corners).all():
        raise InputError(f"a {what} needs four corners", f"{len(corners)} were given")
    side = np.roll(corners, -1, 0) - corners
    after = np.roll(side, -1, 0)
    turn = side[:, 0] * after[:, 1] - side[:, 1] * after[:, 0]
    if not ((turn > 0).all() or (turn < 0).all()):
        raise InputError(
            f"the four corners of the {what} are in no order around it",
            "the lines from one to the next cross, or three lie in a row",
            "give them one after the other, going around",
        )
    if np.linalg.norm(side, axis=1).min() < 8.0:
        raise InputError(
            f"the {what} is too small in the photo", f"one side is {np.linalg.norm(side, axis=1).min():.1f} px long"
        )


def _centred(unit: np.ndarray, width: float, height: float) -> np.ndarray:
    return (unit - 0.5) * [width, height]


def _homography(corners: np.ndarray) -> np.ndarray:
    """Unit square (0,0), (1,0), (1,1), (0,1) -> corners."""
    import cv2

    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    return np.asarray(cv2.getPerspectiveTransform(unit, corners.astype(np.float32)), np.float64)


def rectangle_place(
    corners: np.ndarray, width: float, height: float, K: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Rotation (3, 3), translation (3,) of a rectangle around its centre and the root mean square error of its corners,
    px (infinite when there is no place): plane-based pose (Collins & Bartoli 2014) and Gauss-Newton.

    A corner is a point in pixels with (0.5, 0.5) the middle of the first pixel; K in the same pixels.
    """
    import cv2

    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
    points = np.concatenate([_centred(square, width, height), np.zeros((4, 1))], 1)
    count, rotations, translations, _ = cv2.solvePnPGeneric(
        points, corners.reshape(4, 1, 2), K, np.zeros(4), flags=cv2.SOLVEPNP_IPPE
    )
    best = (np.eye(3), np.array([0.0, 0.0, 1.0]), math.inf)
    for k in range(int(count)):
        turn, shift = cv2.solvePnPRefineLM(
            points, corners.reshape(4, 1, 2), K, np.zeros(4), rotations[k], translations[k]
        )
        R = np.asarray(cv2.Rodrigues(turn)[0], np.float64)
        t = np.asarray(shift, np.float64).reshape(3)
        x = points @ R.T + t
        if (x[:, 2] <= 0).any():
            continue
        seen = x[:, :2] / x[:, 2:] * [K[0, 0], K[1, 1]] + [K[0, 2], K[1, 2]]
        error = float(np.sqrt(np.mean(np.sum((seen - corners) ** 2, 1))))
        if error < best[2]:
            best = (R, t, error)
    return best
