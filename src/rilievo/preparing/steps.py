"""The steps that `prepare` takes on one photo: each measures first, changes what it may, and says what it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rilievo.io.blur import measure_blur
from rilievo.preparing.colors import SetColors
from rilievo.preparing.settings import Step
from rilievo.stages import color_match, noise
from rilievo.stages import restore as jpeg
from rilievo.stages import sharpen as edges
from rilievo.stages.tiles import narrowed
from rilievo.types import Photo


@dataclass
class Work:
    """A photo on its way: pixels uint16 (h, w, 3); alpha as its file had it, or None; what was done so far.

    mask: uint8 (h, w), 255 where the object is.  invented: uint8 (h, w), 255 where detail was not photographed.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    photo: Photo
    tables: list[np.ndarray]
    threads: int
    steps: list[Step] = field(default_factory=list)
    mask: np.ndarray | None = None
    invented: np.ndarray | None = None
    invented_note: dict[str, Any] | None = None

    def told(self, step: str, done: bool, note: str, **figures: Any) -> None:
        """Adds a step to the account."""
        tidy = {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}
        self.steps.append(Step(step, done, note, tidy))

    @property
    def damaged(self) -> bool:
        """Whether a JPEG's damage is still in the pixels. At any quality: enlarging without removing it first is below
        bicubic interpolation on some photos up to quality 97."""
        return bool(self.tables) and not any(s.step == "restore" and s.done for s in self.steps)


def restore(work: Work, learned: Callable[[Work], None] | None) -> None:
    """Undoes JPEG's damage: by the file's own tables, or by the network that was named."""
    if learned is not None:
        learned(work)
        return
    quality = jpeg.jpeg_quality(work.tables)
    blocks = jpeg.blockiness(work.pixels)
    if not work.tables:
        note = "it is no JPEG"
        if blocks > 1.25:
            note += ", though blocks of an earlier one show: without its tables its damage cannot be told from detail"
        work.told("restore", False, note, blockiness=blocks)
    elif quality > jpeg.MAX_QUALITY:
        work.told("restore", False, f"JPEG quality {quality:.0f}: too little damage", quality=quality)
    else:
        work.pixels = jpeg.restore_jpeg(work.pixels, work.tables)
        after = jpeg.blockiness(work.pixels)
        note = f"JPEG quality {quality:.0f}: noise of quantisation removed by the file's own tables"
        work.told("restore", True, note, quality=quality, blockiness=blocks, blockiness_after=after)


def denoise(work: Work) -> None:
    """Removes noise where there is enough of it to be seen."""
    found = noise.measure_noise(work.pixels)
    figures = {"sigma": found.sigma, "sigma_color": found.sigma_color}
    if max(found.sigma, found.sigma_color) < noise.MIN_SIGMA:
        work.told("denoise", False, f"noise of {found.sigma:.2f} grey levels: nothing to gain", **figures)
        return
    work.pixels = noise.denoise(work.pixels, found)
    after = noise.measure_noise(work.pixels).sigma
    note = f"noise of {found.sigma:.1f} grey levels (colour {found.sigma_color:.1f}) brought to {after:.1f}"
    work.told("denoise", True, note, sigma_after=after, **figures)


def level_colors(work: Work, colors: SetColors) -> None:
    """Brings the photo to the set's exposure and the set to a neutral colour."""
    gains = colors.of(work.photo.name)
    own = work.photo.name in colors.gains
    why = "" if own else "; it overlaps with no other photo, so only the common cast was taken out"
    if np.abs(np.log(gains)).max() < 0.01:
        work.told("white-balance", False, f"it is within 1 % of the set{why}", gains=gains.tolist())
        return
    work.pixels = color_match.apply_gains(work.pixels, gains)
    stops = float(np.log2(gains.mean()))
    work.told("white-balance", True, f"exposure {stops:+.2f} stops{why}", gains=gains.tolist(), stops=stops)


def deblur(work: Work) -> None:
    """Takes motion or defocus out where its kernel can be told and the trial shows a gain."""
    from rilievo.stages import deblur as blind

    found = blind.estimate_blur(work.pixels, measure_blur(narrowed(work.pixels)))
    if not found.usable:
        work.told("deblur", False, found.note, **found.figures())
        return
    work.pixels = blind.deconvolve(work.pixels, found, threads=work.threads)
    work.told("deblur", True, found.note, **found.figures())


def sharpen(work: Work, scale: float) -> None:
    """Steepens edges as far as the blur that was measured allows."""
    blur = measure_blur(narrowed(work.pixels))
    sigma = noise.measure_noise(work.pixels).sigma
    if not np.isfinite(blur):
        work.told("sharpen", False, "no edges to measure blur on")
        return
    if blur < edges.MIN_BLUR:
        work.told("sharpen", False, f"blur of {blur:.2f} px: it is sharp as it is", blur_px=blur)
        return
    if blur > edges.MAX_BLUR * max(1.0, scale):
        note = f"blur of {blur:.1f} px: more than sharpening can undo without inventing edges"
        work.told("sharpen", False, note, blur_px=blur)
        return
    work.pixels = edges.sharpen(work.pixels, blur, sigma, threads=work.threads)
    after = measure_blur(narrowed(work.pixels))
    note = f"blur of {blur:.2f} px brought to {after:.2f} px; no pixel left the range of its surroundings"
    work.told("sharpen", True, note, blur_px=blur, blur_px_after=after, noise=sigma)
