"""Depth at many pixels from a second source: a rectified stereo pair, a sensor's depth map."""

from __future__ import annotations

import math

import numpy as np

from rilievo.errors import AlignmentError, InputError
from rilievo.stages.references import DepthPoints

MAX_POINTS = 4000


def stereo_points(
    left: np.ndarray, right: np.ndarray, focal_baseline: float, *, offset_px: float = 0.0, max_width: int = 1000
) -> DepthPoints:
    """Depth of the left photo of a rectified pair (uint8 (h, w, 3) both): focal_baseline / (disparity + offset_px).

    focal_baseline: focal length in px times baseline in m.  offset_px: x of the right principal point less the left's.
    Semi-global matching (Hirschmueller 2008, OpenCV's) both ways, kept where both agree and there is
    texture.
    Raises AlignmentError when the photos do not match.
    """
    import cv2

    width = left.shape[1]
    shrink = min(1.0, max_width / width)
    grey = []
    for pixels in (left, right):
        g = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        grey.append(cv2.resize(g, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else g)
    num = max(16, 16 * math.ceil(0.25 * grey[0].shape[1] / 16))
    matcher = cv2.StereoSGBM.create(
        minDisparity=0, numDisparities=num, blockSize=5, P1=8 * 25, P2=32 * 25, uniquenessRatio=12,
        speckleWindowSize=60, speckleRange=2,
    )  # fmt: skip
    # Borders, so that points whose partner lies near the border can be matched too.
    padded = [cv2.copyMakeBorder(g, 0, 0, num, num, cv2.BORDER_REPLICATE) for g in grey]
    forth = matcher.compute(*padded).astype(np.float32)[:, num:-num] / 16
    flipped = [np.ascontiguousarray(g[:, ::-1]) for g in padded]
    back = matcher.compute(flipped[1], flipped[0]).astype(np.float32)[:, ::-1][:, num:-num] / 16
    rows, columns = np.indices(forth.shape)
    partner = np.round(columns - forth).astype(np.int64)
    good = (forth > 0.5) & (partner >= 0)
    other = back[rows, np.clip(partner, 0, forth.shape[1] - 1)]
    good &= np.abs(other - forth) < 1.0
    texture = cv2.boxFilter(np.abs(cv2.Sobel(grey[0], cv2.CV_32F, 1, 0)), -1, (5, 5))
    good &= texture > 8
    y, x = np.nonzero(good)
    shift = forth[y, x] / shrink + offset_px
    ahead = shift > 0.5
    y, x, shift = y[ahead], x[ahead], shift[ahead].astype(np.float64)
    if len(x) < 200 or len(x) < 0.02 * forth.size:
        raise AlignmentError(
            "the two photos do not match as a stereo pair",
            f"{len(x) / forth.size:.1%} of the pixels find each other along the rows",
            "they must be rectified (the same point in the same row), the first photo the left one",
        )
    chosen = np.linspace(0, len(x) - 1, min(MAX_POINTS, len(x))).astype(np.int64)
    xy = np.stack([(x[chosen] + 0.5) / shrink, (y[chosen] + 0.5) / shrink], 1)
    depth = focal_baseline / shift[chosen]
    return DepthPoints(xy, depth, depth * (0.4 / shrink) / shift[chosen], what="points of the stereo pair")


def sensor_points(steps: np.ndarray, step: float, photo_size: tuple[int, int], name: str = "the sensor") -> DepthPoints:
    """Depth (z) of a sensor that looks at the same view, uint16 (h, w), 0 unknown, `step` metres each, at pixels of a
    photo of photo_size (width, height): at most 4000 of them, away from jumps of depth.

    Raises InputError when the shapes cannot be those of one view, or hardly anything is known.
    """
    import cv2

    height, width = steps.shape
    stretch = (photo_size[0] / width) / (photo_size[1] / height)
    if not 0.97 < stretch < 1.03:
        raise InputError(
            f"{name} is not the depth of this photo",
            f"it is {width} x {height}, the photo {photo_size[0]} x {photo_size[1]}: not the same shape",
        )
    depth = steps.astype(np.float64) * step
    known = (steps > 0) & (steps < 65535)
    least = cv2.erode(np.where(known, depth, 1e9), np.ones((5, 5)))
    most = cv2.dilate(np.where(known, depth, 1e9), np.ones((5, 5)))
    known &= most < 1.06 * least
    y, x = np.nonzero(known)
    if len(x) < 50:
        raise InputError(
            f"{name} tells hardly any depth", f"{len(x)} of its pixels lie on a surface", "is it a 16-bit depth map?"
        )
    chosen = np.linspace(0, len(x) - 1, min(MAX_POINTS, len(x))).astype(np.int64)
    y, x = y[chosen], x[chosen]
    xy = np.stack([(x + 0.5) * photo_size[0] / width, (y + 0.5) * photo_size[1] / height], 1)
    value = depth[y, x]
    return DepthPoints(xy, value, 0.01 * value + step, what="depths of the sensor")
