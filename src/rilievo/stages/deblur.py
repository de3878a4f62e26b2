"""Blur taken out of a photo where its kernel can be told and a trial on the photo itself shows a gain.

Kernel: `blur_kernel`. Deconvolution in two steps (Dabov et al. 2008, "Image restoration by sparse 3D transform-domain
collaborative filtering", sections 2-3, on single blocks): a regularised inverse, then shrinkage of what noise became in
it. Lightness so; colour by the first step alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from rilievo import kernels
from rilievo.stages.blur_kernel import backward, estimate_kernel, forward, otf, taper, wiener
from rilievo.stages.blur_shapes import disc_kernel, likeness, line_kernel, recognised, shape_of
from rilievo.stages.noise import OPPONENT, measure_noise
from rilievo.stages.tiles import luma, map_tiles, unit

MIN_SPREAD, MIN_AGREEMENT, MIN_GAIN_DB, MAX_SIZE = 0.65, 0.72, 1.0, 31
MIN_FIT, MAX_FIT = 0.85, 1.6
_TILE, _STRENGTH, _ROUNDING = 320, 4e-3, 0.29 / 255


@dataclass(frozen=True, eq=False)
class Blur:
    """A photo's blur. kernel: float32 (n, n).  kind: motion, defocus or mixed.  spread_px: standard deviation along its
    longest direction.

    length_px, angle_deg: of the motion (counter-clockwise from the right; for defocus the disc's diameter).
    roundness: width across over width along.  agreement: how alike the kernels of the photo's halves are, 0..1.
    gain_db: what the trial gained.  noise: sigma, 0..1.  note: what is to be said of it.
    """

    kernel: np.ndarray
    kind: str
    spread_px: float
    length_px: float
    angle_deg: float
    roundness: float
    agreement: float
    gain_db: float
    noise: float
    usable: bool
    note: str

    def figures(self) -> dict[str, Any]:
        """For the record; the kernel in rows."""
        out: dict[str, Any] = {
            "kind": self.kind, "length_px": round(self.length_px, 2), "angle_deg": round(self.angle_deg, 1),
            "roundness": round(self.roundness, 2), "agreement": round(self.agreement, 3),
            "gain_db": round(self.gain_db, 2),
        }  # fmt: skip
        if self.kernel.size > 1:
            out["kernel"] = np.round(self.kernel.astype(float), 4).tolist()
        return out


def estimate_blur(pixels: np.ndarray, blur_px: float) -> Blur:
    """The blur of a photo uint16 (h, w, 3), and whether it should be taken out. blur_px: as `io.blur` measured it."""
    noise = measure_noise(pixels).sigma / 255
    nothing = Blur(np.ones((1, 1), np.float32), "none", 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, noise, False, "")
    if not math.isfinite(blur_px):
        return replace(nothing, note="no edges to tell blur by")
    if blur_px < 0.8:
        return replace(nothing, note=f"blur of {blur_px:.2f} px: nothing to undo")
    size = min(MAX_SIZE, 2 * math.ceil(2.2 * blur_px + 2) + 1)
    tiles = textured_tiles(pixels, _TILE)
    if len(tiles) < 2:
        tiles = textured_tiles(pixels, _TILE // 2)
    if len(tiles) < 2:
        return replace(nothing, note="too few places with edges to tell a kernel")
    agreement = _agreement(pixels, size)
    kernel, kind = recognised(estimate_kernel(tiles, size))
    kernel = sharpest(tiles[:2], kernel, kind, noise)
    along, across, angle = shape_of(kernel)
    found = replace(
        nothing, kernel=kernel, kind=kind, spread_px=along, length_px=_length(kind, along), angle_deg=angle,
        roundness=across / max(along, 1e-6), agreement=agreement,
    )  # fmt: skip
    what = describe(found)
    if along < MIN_SPREAD:
        return replace(found, note=f"the kernel found is {along:.2f} px wide: nothing to undo")
    if agreement < MIN_AGREEMENT:
        note = f"two halves of the photo disagree on the kernel (likeness {agreement:.2f}): not one blur for all, left"
        return replace(found, note=note)
    if not MIN_FIT < blur_px / along < MAX_FIT:
        note = f"{what} is what fits best, but edges are {blur_px:.2f} px soft: the two do not agree, left"
        return replace(found, note=note)
    gain = trial(tiles[0], kernel, noise)
    found = replace(found, gain_db=gain)
    if gain < MIN_GAIN_DB:
        return replace(found, note=f"{what}, but the trial gains only {gain:+.1f} dB at this noise: left")
    return replace(found, usable=True, note=f"{what} taken out; the trial on its own pixels gains {gain:.1f} dB")


def _agreement(pixels: np.ndarray, size: int) -> float:
    """How alike the kernels of left and right, and of top and bottom, are: the lesser, 0 to 1. Halves without edges
    tell nothing; where no pair can be compared it is 1."""
    h, w = pixels.shape[:2]
    pairs = (pixels[:, : w // 2], pixels[:, w - w // 2 :]), (pixels[: h // 2], pixels[h - h // 2 :])
    found = [1.0]
    for pair in pairs:
        tiles = [textured_tiles(np.ascontiguousarray(half), min(_TILE, *half.shape[:2]), most=2) for half in pair]
        if all(tiles):
            found.append(likeness(*(estimate_kernel([t for t in ts if t.shape == ts[0].shape], size) for ts in tiles)))
    return min(found)


def _length(kind: str, along: float) -> float:
    """Of the motion, or the diameter of the disc, of this standard deviation."""
    return 4 * along if kind == "defocus" else along * math.sqrt(12)


def describe(blur: Blur) -> str:
    """In words."""
    if blur.kind == "defocus":
        return f"defocus of {blur.length_px:.1f} px across"
    what = "motion" if blur.kind == "motion" else "uneven motion"
    return f"{what} of {blur.length_px:.1f} px at {blur.angle_deg:.0f} degrees"


def textured_tiles(pixels: np.ndarray, side: int, *, most: int = 6) -> list[np.ndarray]:
    """Up to `most` grey tiles with the most edges and little clipping, float32 0..1, of one size."""
    h, w = pixels.shape[:2]
    side = min(side, h, w)
    if side < 96:
        return []
    found = []
    for r in sorted({round((h - side) * i / 6) for i in range(7)}):
        for c in sorted({round((w - side) * i / 6) for i in range(7)}):
            grey = luma(unit(pixels[r : r + side, c : c + side]))
            gx, gy = np.diff(grey, axis=1)[:-1], np.diff(grey, axis=0)[:, :-1]
            strong = np.hypot(gx, gy)
            clipped = ((grey > 0.98) | (grey < 0.01)).mean()
            found.append((float(np.percentile(strong, 95)) * (1 - clipped), r, c, grey))
    found.sort(key=lambda f: (-f[0], f[1], f[2]))
    chosen: list[tuple[float, int, int, np.ndarray]] = []
    for f in found:
        apart = all(abs(f[1] - g[1]) >= side * 0.6 or abs(f[2] - g[2]) >= side * 0.6 for g in chosen)
        if apart and f[0] > 0.01 and len(chosen) < most:
            chosen.append(f)
    return [f[3] for f in chosen]


def sharpest(tiles: list[np.ndarray], kernel: np.ndarray, kind: str, noise: float) -> np.ndarray:
    """The motion or disc near a first estimate whose removal leaves the sparsest gradients: a kernel too short leaves
    blur, one too long makes ringing (Krishnan et al. 2011, "Blind deconvolution using a normalized sparsity measure",
    eq. 1). A kernel of another shape stays as it is."""
    along, _, angle = shape_of(kernel)
    if kind == "mixed":
        return kernel

    def shape(size: float, turn: float) -> np.ndarray:
        return disc_kernel(size / 2) if kind == "defocus" else line_kernel(size, angle + turn)

    def best(candidates: list[tuple[float, float]]) -> tuple[float, float]:
        return min(candidates, key=lambda c: sum(sparsity(t, shape(*c), noise) for t in tiles))

    first = _length(kind, along)
    size, turn = best([(first * f, 0.0) for f in (0.7, 0.8, 0.9, 1.0, 1.1)])
    turns = (-4.0, 0.0, 4.0) if kind == "motion" else (0.0,)
    size, turn = best([(size * f, t) for f in (0.95, 1.0, 1.05) for t in turns])
    return shape(size, turn)


def sparsity(tile: np.ndarray, kernel: np.ndarray, noise: float) -> float:
    """L1 over L2 of the gradients of a tile without this blur: 1 for noise, small for few strong edges."""
    x = sharpened(taper(tile, kernel), kernel, noise)[16:-16, 16:-16]
    gx, gy = np.diff(x, axis=1), np.diff(x, axis=0)
    total = float(np.abs(gx).sum() + np.abs(gy).sum())
    return total / math.sqrt((float((gx * gx).sum() + (gy * gy).sum()) + 1e-12) * gx.size)


def trial(tile: np.ndarray, kernel: np.ndarray, noise: float) -> float:
    """dB that deconvolution gains when the photo's own sharpened pixels are blurred and made noisy again: the smaller
    of two, since the kernel is an estimate: with the kernel itself, and with one 0.6 px narrower."""
    truth = np.clip(sharpened(taper(tile, kernel), kernel, noise), 0, 1)
    inner = np.s_[len(kernel) : -len(kernel), len(kernel) : -len(kernel)]
    gains = []
    for real in (kernel, _narrower(kernel)):
        rng = np.random.default_rng(0)
        blurred = backward(forward(truth) * otf(real, truth.shape), truth.shape)
        blurred = (np.rint((blurred + noise * rng.normal(size=truth.shape)) * 255) / 255).astype(np.float32)
        again = sharpened(blurred, kernel, noise)
        before, after = (float(((x - truth)[inner] ** 2).mean()) for x in (blurred, again))
        gains.append(10 * math.log10(max(before, 1e-12) / max(after, 1e-12)))
    return min(gains)


def _narrower(kernel: np.ndarray, by_px: float = 0.6) -> np.ndarray:
    length = shape_of(kernel)[0] * math.sqrt(12)
    factor = max(0.5, 1 - by_px / max(length, 1e-6))
    side, middle = len(kernel), len(kernel) // 2
    turn = np.array([[1 / factor, 0, middle * (1 - 1 / factor)], [0, 1 / factor, middle * (1 - 1 / factor)]])
    out = cv2.warpAffine(kernel, turn, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return out / max(float(out.sum()), 1e-9)


def sharpened(a: np.ndarray, kernel: np.ndarray, noise: float) -> np.ndarray:
    """A periodic picture a, float32 (h, w), without the blur: deconvolved, then freed of the noise that this amplified
    (its spectrum is known, since the filter is)."""
    out = np.ascontiguousarray(wiener(a, kernel, _STRENGTH)[None])
    spectrum = max(noise, _ROUNDING) * amplified(kernel)[None]
    pilot = kernels.shrink_blocks(out, np.zeros((0, 0, 0), np.float32), spectrum, step=2, hard=2.7)
    return kernels.shrink_blocks(out, pilot, spectrum, step=2, hard=0.0)[0]


def amplified(kernel: np.ndarray) -> np.ndarray:
    """float32 (8, 8): by how much `wiener` amplifies white noise in each coefficient of a cosine transform."""
    half = len(kernel) // 2
    at = np.arange(-half, half + 1)
    # Coefficient i gathers the frequencies around i / 16 cycles a pixel, of either sign.
    f = (np.arange(8)[:, None] + [-0.3, 0.0, 0.3]).ravel() / 16
    power = np.zeros((24, 24))
    for sign in (1, -1):
        rows, columns = np.exp(-2j * np.pi * np.outer(f, at)), np.exp(-2j * np.pi * sign * np.outer(f, at))
        K = rows @ kernel @ columns.T
        smooth = 4 * np.sin(np.pi * f)[:, None] ** 2 + 4 * np.sin(np.pi * f)[None] ** 2
        power += np.abs(np.conj(K) / (np.abs(K) ** 2 + _STRENGTH * smooth + 1e-6)) ** 2 / 2
    return np.sqrt(power.reshape(8, 3, 8, 3).mean((1, 3))).astype(np.float32)


def deconvolve(pixels: np.ndarray, blur: Blur, *, threads: int = 1) -> np.ndarray:
    """uint16 (h, w, 3) without the blur."""
    kernel = blur.kernel

    def work(tile: np.ndarray) -> np.ndarray:
        planes = np.moveaxis(tile @ OPPONENT.T, 2, 0)
        scale = np.float32(math.sqrt(3))
        out = [sharpened(taper(planes[0] / scale, kernel), kernel, blur.noise) * scale]
        out += [wiener(taper(p, kernel), kernel, 0.03) for p in planes[1:]]
        return np.stack(out, -1) @ OPPONENT

    return map_tiles(pixels, work, halo=2 * len(kernel) + 8, tile=384, threads=threads)
