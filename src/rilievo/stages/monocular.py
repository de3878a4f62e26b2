"""Depth from one photo: any depth network, from pixels to a `PhotoDepth`.

The network sees the photo small (and mirrored, and in pieces where that is asked for); its answer is brought to the
photo's edges, sky is taken out, and the focal length is the best of what EXIF, vanishing points and the network say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import cv2
import numpy as np

from rilievo.errors import InputError
from rilievo.networks import Network
from rilievo.stages.focal import FocalConfig, combine_focal, estimate_focal
from rilievo.stages.monocular_contracts import Contract, Look, Seen, check_contract, contract_of, spread
from rilievo.stages.monocular_edges import enlarge
from rilievo.stages.monocular_merge import Piece, align_pieces, blend, fit_line
from rilievo.stages.monocular_sky import clear_of_sky, find_sky
from rilievo.types import Camera, PhotoDepth

MIN_SIDE = 32
LONGEST = 60.0  # times as long as wide: beyond this there is no picture to see
MAX_ASPECT = 2.0  # beyond this a photo is seen in windows
_AT_ONCE = 8  # pieces in memory as the network's pictures


@dataclass(frozen=True)
class MonocularConfig:
    """Settings of `photo_depth`."""

    version: ClassVar[int] = 1

    max_size: int = 1024
    """longer side of the depth map in pixels (0: as large as the photo); a photo longer than 2:1 gets a map of the same
    area instead"""
    network_side: int = 0
    """square root of the number of pixels that the network is shown (0: what suits it best)"""
    mirror: bool = True
    """look at the mirrored photo too and take the mean: steadier, and twice the work"""
    tiles: bool = False
    """look at the photo in overlapping pieces too, for detail as fine as the map"""
    max_tiles: int = 64
    """most pieces; they get larger (and the detail coarser) when the map would take more"""
    step: float = 0.08
    """relative change of disparity from one pixel of the network's map to the next that counts as a step"""
    find_sky: bool = True
    """mark sky, and put it infinitely far"""


def photo_depth(
    pixels: np.ndarray,
    *,
    name: str,
    model: str,
    network: Network,
    focal_px: float | None = None,
    focal_source: str = "exif",
    config: MonocularConfig = MonocularConfig(),
) -> PhotoDepth:
    """What a network sees in one photo.

    pixels: uint8 (h, w, 3), RGB, upright, as large as it comes.  model: its row in `weights.py`; network: that file,
    opened by `networks.open_network`.  focal_px: focal length in pixels of `pixels` where it is known, and from where
    ("exif" or "given"); else it is estimated.  Raises InputError when the photo is too small to show anything, when the
    file is not of that model, or when the network gives no answer.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise TypeError(f"expected uint8 (h, w, 3), got {pixels.dtype} {pixels.shape}")
    h, w = pixels.shape[:2]
    if min(h, w) < MIN_SIDE:
        raise InputError(
            f"{name} is too small to see depth in",
            f"it has {w} x {h} pixels, at least {MIN_SIDE} x {MIN_SIDE} are needed",
            "Give the original photo, not a thumbnail.",
        )
    if max(h, w) > LONGEST * min(h, w):
        raise InputError(
            f"{name} is too long to see depth in",
            f"it has {w} x {h} pixels, {max(h, w) / min(h, w):.0f} times as many one way as the other",
            f"Cut it into parts; up to {LONGEST:.0f} times is fine.",
        )
    contract = contract_of(model)
    roles = check_contract(network, model)
    eye = _Eye(contract, roles, network, config)
    guide = _shrunk(pixels, *map_size(h, w, config.max_size))
    focal = estimate_focal(guide, given_px=focal_px, given_source=focal_source, full_size=(h, w), config=FocalConfig())
    known = focal.focal_px if focal.is_measured else None

    if max(h, w) > MAX_ASPECT * min(h, w):
        disparity, sigma, sky, seen = _windows(pixels, guide, eye, known)
    else:
        seen = eye.look(pixels, guide, known)
        if not np.isfinite(seen.disparity).any():
            raise _no_answer(name)
        above = _first_sky(seen, guide, config)
        disparity, sigma, sky = _at_size(seen, guide, above, config)
        if config.tiles:
            disparity, sigma, sky = _pieces(pixels, guide, above, eye, known, (disparity, sigma, sky), seen)
    if not np.isfinite(disparity).any():
        raise _no_answer(name)
    focal = combine_focal(focal, seen.focal_px, seen.focal_sigma)
    scale = seen.scale
    there = find_sky(guide, disparity, sky) if config.find_sky else np.zeros(disparity.shape, bool)
    width = spread(disparity[~there]) or spread(disparity) or 1e-6
    confidence = np.where(np.isfinite(disparity), 1 / (1 + sigma / width), 0).astype(np.float32)
    disparity = np.where(there, 0, disparity).astype(np.float32)
    H, W = disparity.shape
    f = focal.focal_px * math.sqrt(H * W / (h * w))
    return PhotoDepth(
        name=name,
        model=model,
        scale=scale,
        camera=Camera("PINHOLE", W, H, np.array([f, f, W / 2, H / 2], np.float64)),
        focal_source=focal.source,
        focal_sigma=focal.sigma,
        disparity=disparity,
        sigma=np.where(np.isfinite(disparity), sigma, np.nan).astype(np.float32),
        confidence=confidence,
        sky=there,
    )


def map_size(height: int, width: int, max_size: int) -> tuple[int, int]:
    """Height and width of the depth map of a photo."""
    longer, shorter = max(height, width), min(height, width)
    if max_size <= 0:
        return height, width
    s = max_size / longer
    if longer > MAX_ASPECT * shorter:
        s = max_size / math.sqrt(MAX_ASPECT * longer * shorter)
    s = min(s, 1.0)
    return max(1, round(height * s)), max(1, round(width * s))


def _no_answer(name: str) -> InputError:
    return InputError(
        f"the network gives no depth for {name}",
        "every pixel of its answer is empty",
        "Is the photo of one colour? Try another model (rilievo weights list).",
    )


def _shrunk(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    h, w = pixels.shape[:2]
    if (h, w) == (height, width):
        return np.ascontiguousarray(pixels)
    smaller = height * width < h * w
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


@dataclass(frozen=True, eq=False)
class _Eye:
    """A network with what it takes to look at a picture."""

    contract: Contract
    roles: dict[str, str]
    network: Network
    config: MonocularConfig

    def look(self, pixels: np.ndarray, guide: np.ndarray | None, focal_px: float | None) -> Seen:
        """What it sees in a picture, mirrored too where that is asked for. guide: the same picture, smaller."""
        return self.look_all([(pixels, guide)], focal_px)[0]

    def look_all(self, pictures: Sequence[tuple[np.ndarray, np.ndarray | None]], focal_px: float | None) -> list[Seen]:
        """The same for several pictures, side by side."""
        shown = [self._show(pixels, guide, focal_px) for pixels, guide in pictures]
        c = self.contract
        passes = []
        for picture, look in shown:
            for view in (picture, picture[:, ::-1]) if self.config.mirror else (picture,):
                passes.append({c.image: self._array(view), **c.extra(look)})
        roles = [*self.roles]
        outputs = self.network.run_all([self.roles[r] for r in roles], passes)
        n = len(passes) // len(shown)
        all_seen = []
        for i, (_, look) in enumerate(shown):
            first, *mirrored = (
                c.decode(dict(zip(roles, out, strict=True)), look) for out in outputs[i * n : i * n + n]
            )
            if mirrored:
                all_seen.append(self._mean(first, mirrored[0]))
            elif first.sigma is None:
                all_seen.append(replace(first, sigma=self._usual_sigma(first.disparity)))
            else:
                all_seen.append(first)
        return all_seen

    def _show(self, pixels: np.ndarray, guide: np.ndarray | None, focal_px: float | None) -> tuple[np.ndarray, Look]:
        """The photo as the network gets it, uint8 (H, W, 3), and how it lies in that picture."""
        h, w = pixels.shape[:2]
        c = self.contract
        if c.canvas is not None:
            rows, cols = c.canvas if w >= h else c.canvas[::-1]
            s = min(rows / h, cols / w)
            height, width = max(1, round(h * s)), max(1, round(w * s))
            top, left = (rows - height) // 2, (cols - width) // 2
        else:
            s = (self.config.network_side or c.side) / math.sqrt(h * w)
            height, width = (max(c.multiple, round(n * s / c.multiple) * c.multiple) for n in (h, w))
            rows, cols, top, left = height, width, 0, 0
        source = guide if guide is not None and guide.shape[0] >= 1.5 * height else pixels
        picture = _shrunk(source, height, width)
        if (rows, cols) != (height, width):
            fill = tuple(round(255 * m) for m in c.mean)
            borders = (top, rows - height - top, left, cols - width - left)
            picture = cv2.copyMakeBorder(picture, *borders, cv2.BORDER_CONSTANT, value=fill)
        return picture, Look(top, left, height, width, h, w, focal_px)

    def _array(self, picture: np.ndarray) -> np.ndarray:
        """float32 (1, 3, H, W) as the contract wants it."""
        c = self.contract
        scale = np.float32(1) / (np.float32(255) * np.array(c.std, np.float32))
        shift = np.array(c.mean, np.float32) / np.array(c.std, np.float32)
        return np.ascontiguousarray((picture * scale - shift).transpose(2, 0, 1)[None], np.float32)

    def _usual_sigma(self, disparity: np.ndarray) -> np.ndarray:
        return np.full(disparity.shape, self.contract.sigma * spread(disparity), np.float32)

    def _mean(self, a: Seen, b: Seen) -> Seen:
        """Of the photo's answer and the mirrored photo's."""
        other = b.disparity[:, ::-1]
        scale, shift = fit_line(other, a.disparity) if a.scale == "relative" else (1.0, 0.0)
        other = scale * other + shift
        disparity = np.where(
            np.isfinite(a.disparity) & np.isfinite(other), 0.5 * (a.disparity + other), np.fmax(a.disparity, other)
        )
        half = np.nan_to_num(0.5 * (a.disparity - other))
        if a.sigma is not None and b.sigma is not None:
            own = 0.5 * (a.sigma**2 + (scale * b.sigma[:, ::-1]) ** 2)
        else:
            own = self._usual_sigma(disparity) ** 2
        sky = None if a.sky is None or b.sky is None else 0.5 * (a.sky + b.sky[:, ::-1])
        focal = a.focal_px
        if a.focal_px is not None and b.focal_px is not None:
            focal = math.sqrt(a.focal_px * b.focal_px)
        return replace(
            a,
            disparity=np.maximum(disparity, 0).astype(np.float32),
            sigma=np.sqrt(own + half**2).astype(np.float32),
            sky=sky,
            focal_px=focal,
        )


Maps = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def _first_sky(seen: Seen, guide: np.ndarray, config: MonocularConfig) -> np.ndarray:
    """Sky at the size of `guide`, from the coarse maps: bool (H, W)."""
    H, W = guide.shape[:2]
    if not config.find_sky:
        return np.zeros((H, W), bool)
    disparity = cv2.resize(_fill(seen.disparity), (W, H), interpolation=cv2.INTER_LINEAR)
    sky = None if seen.sky is None else cv2.resize(seen.sky, (W, H), interpolation=cv2.INTER_LINEAR)
    return find_sky(guide, disparity, sky)


def _at_size(seen: Seen, guide: np.ndarray, above: np.ndarray, config: MonocularConfig) -> Maps:
    """(disparity, sigma, sky probability) at the size of `guide`; above: sky, bool (H, W)."""
    H, W = guide.shape[:2]
    known = np.isfinite(seen.disparity)
    filled = clear_of_sky(_fill(seen.disparity), above)
    disparity, _ = enlarge(filled, guide, spread=spread(seen.disparity), threshold=config.step)
    assert seen.sigma is not None
    sigma = cv2.resize(np.nan_to_num(seen.sigma, nan=0.0), (W, H), interpolation=cv2.INTER_LINEAR)
    if not known.all():
        there = cv2.resize(known.astype(np.float32), (W, H), interpolation=cv2.INTER_LINEAR) > 0.5
        disparity = np.where(there, disparity, np.nan)
    sky = None if seen.sky is None else cv2.resize(seen.sky, (W, H), interpolation=cv2.INTER_LINEAR)
    return disparity.astype(np.float32), sigma, sky


def _fill(disparity: np.ndarray) -> np.ndarray:
    """NaN replaced by the nearest known value."""
    from scipy.ndimage import distance_transform_edt

    unknown = ~np.isfinite(disparity)
    if not unknown.any():
        return disparity
    index = distance_transform_edt(unknown, return_distances=False, return_indices=True)
    return disparity[tuple(np.asarray(index))]


def _cuts(length: int, piece: int, overlap: int) -> list[int]:
    """Starts of pieces that cover a side evenly."""
    if piece >= length:
        return [0]
    n = math.ceil((length - overlap) / max(piece - overlap, 1))
    return [round(i * (length - piece) / (n - 1)) for i in range(n)] if n > 1 else [0]


def _look_at_pieces(
    pixels: np.ndarray,
    guide: np.ndarray,
    above: np.ndarray,
    eye: _Eye,
    focal_px: float | None,
    rows: list[int],
    cols: list[int],
    size: tuple[int, int],
) -> tuple[list[Piece], list[Seen]]:
    """Each piece of the map (corners and size in its pixels), seen at as much of the photo's resolution as helps."""
    H, W = guide.shape[:2]
    sy, sx = pixels.shape[0] / H, pixels.shape[1] / W
    places = [(top, left) for top in rows for left in cols]
    pieces, all_seen = [], []
    for i in range(0, len(places), _AT_ONCE):
        some = places[i : i + _AT_ONCE]
        boxes = [np.s_[top : top + size[0], left : left + size[1]] for top, left in some]
        full = [
            pixels[
                round(top * sy) : max(round((top + size[0]) * sy), round(top * sy) + 1),
                round(left * sx) : max(round((left + size[1]) * sx), round(left * sx) + 1),
            ]
            for top, left in some
        ]
        seen = eye.look_all([(f, guide[box]) for f, box in zip(full, boxes, strict=True)], focal_px)
        pieces += [
            Piece(*place, *_at_size(s, guide[box], above[box], eye.config))
            for place, box, s in zip(some, boxes, seen, strict=True)
        ]
        all_seen += seen
    return pieces, all_seen


def _windows(
    pixels: np.ndarray, guide: np.ndarray, eye: _Eye, focal_px: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, Seen]:
    """A very long photo, seen in overlapping windows brought to one scale; a first look at all of it, squeezed, keeps
    the chain of windows from drifting."""
    H, W = guide.shape[:2]
    short, long = min(H, W), max(H, W)
    squeezed = (short, round(MAX_ASPECT * short)) if W > H else (round(MAX_ASPECT * short), short)
    first = eye.look(_shrunk(guide, *squeezed), None, None)
    whole = cv2.resize(_fill(first.disparity), (W, H), interpolation=cv2.INTER_LINEAR)
    piece = min(round(1.5 * short), long)
    overlap = max(short // 2, 1)
    starts = _cuts(long, piece, overlap)
    rows, cols, size = ([0], starts, (H, piece)) if W > H else (starts, [0], (piece, W))
    above = _first_sky(first, guide, eye.config)
    pieces, all_seen = _look_at_pieces(pixels, guide, above, eye, focal_px, rows, cols, size)
    if first.scale == "relative":
        lines = align_pieces(pieces, whole, trust=0.1)
    else:
        lines = [(1.0, 0.0)] * len(pieces)
    disparity, sigma, sky = blend(pieces, lines, (H, W), overlap, None, 0.0)
    # Each window believes to see a whole photo, so what it says of the focal length is of no use.
    return disparity, sigma, sky, replace(all_seen[0], focal_px=None)


def _pieces(
    pixels: np.ndarray,
    guide: np.ndarray,
    above: np.ndarray,
    eye: _Eye,
    focal_px: float | None,
    maps: Maps,
    seen: Seen,
) -> Maps:
    """The map with the detail of overlapping pieces, each as large as the network sees best."""
    H, W = guide.shape[:2]
    side = eye.config.network_side or eye.contract.side
    while True:
        size = min(H, side), min(W, side)
        overlap = max(side // 3, 1)
        rows, cols = _cuts(H, size[0], overlap), _cuts(W, size[1], overlap)
        if len(rows) * len(cols) <= max(eye.config.max_tiles, 1) or (len(rows) == 1 and len(cols) == 1):
            break
        side = round(side * 1.15)
    if len(rows) * len(cols) == 1:
        return maps
    eye = replace(eye, config=replace(eye.config, mirror=False))
    pieces, _ = _look_at_pieces(pixels, guide, above, eye, focal_px, rows, cols, size)
    disparity, sigma, sky = maps
    whole = _fill(disparity)
    lines = align_pieces(pieces, whole, trust=1.0)
    coarse = 4.0 * W / seen.disparity.shape[1]
    fine, error, _ = blend(pieces, lines, (H, W), overlap, whole, coarse)
    fine = np.where(np.isfinite(disparity), fine, np.nan).astype(np.float32)
    return fine, np.fmax(sigma, np.nan_to_num(error)).astype(np.float32), sky
