"""What is wrong with single photos, measured: mirrored, turned, over- or underexposed, blurred, empty, focal length not
as EXIF says. A fault is told with its number and what to do; it does not change the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rilievo.stages.diagnose import is_blurred, partners
from rilievo.stages.mapping import MIN_PAIR_MATCHES
from rilievo.stages.matches import guess_camera, match
from rilievo.types import Features, Matches, Photo, Reconstruction


@dataclass(frozen=True)
class FaultsConfig:
    """Settings of `find_faults`."""

    version: ClassVar[int] = 1

    max_gain_ev: float = 0.7
    """a photo lighter or darker than the others by more than this is named (1 EV is twice the light)"""
    max_tint_ev: float = 0.3
    """and one whose red or blue is off by this against its green"""
    max_focal_error: float = 0.15
    """a focal length that differs from EXIF's by more than this share is named"""
    dark_level: float = 16.0
    """a photo whose median brightness (0 to 255) is below this is called nearly black"""
    num_mirror: int = 12
    """photos that a photo without partners is compared with as its mirror image"""
    max_tested: int = 24
    """photos that are tested for being mirrored"""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a photo. kind: "mirrored", "turned", "exposure", "tint", "focal", "blur", "dark",
    "alone".  text: a sentence without the photo's name ("is ...").  hint: what to do, empty where nothing needs to be
    done.  value: the number in the text."""

    kind: str
    text: str
    hint: str
    value: float


def find_faults(
    photos: Sequence[Photo],
    features: Mapping[str, Features],
    matches: Sequence[Matches],
    scene: Reconstruction,
    *,
    brightness: Mapping[str, float] | None = None,
    config: FaultsConfig = FaultsConfig(),
) -> dict[str, tuple[Fault, ...]]:
    """Photo name -> its faults; photos without any are left out.

    features: keypoints of every photo as matched.  brightness: median brightness of photos (0..255) where it is known.
    """
    placed = {name: k for k, name in enumerate(scene.names)}
    gains = relative_gains(scene, features)
    turned = _turned(photos, scene)
    mirrored = _mirrored(photos, features, matches, placed, config)
    known = [(p.focal_px, scene.camera(placed[p.name]).fx) for p in photos if p.focal_px and p.name in placed]
    drifted = len(known) > 2 and all(_differ(exif, measured, config) for exif, measured in known)
    out: dict[str, tuple[Fault, ...]] = {}
    for photo in photos:
        found: list[Fault] = []
        k = placed.get(photo.name)
        if photo.name in mirrored:
            other, num = mirrored[photo.name]
            text = f"is mirrored: its mirror image has {num} verified matches with {other}, itself next to none"
            found.append(Fault("mirrored", text, "flip it left to right and build again", float(num)))
        level = (brightness or {}).get(photo.name)
        if level is not None and level < config.dark_level:
            text = f"is nearly black (median brightness {level:.0f} of 255)"
            found.append(Fault("dark", text, "take it again with more light, or leave it out", level))
        if is_blurred(photo, photos) and photo.blur_px is not None:
            others = float(np.median([p.blur_px for p in photos if p.blur_px is not None]))
            text = f"is blurred by {photo.blur_px:.1f} px (the median of the set is {others:.1f} px)"
            found.append(Fault("blur", text, "take it again with a steadier hand or in focus", photo.blur_px))
        if k is not None:
            found += _color_faults(gains[k], config)
            found += _focal_fault(photo, scene, k, drifted, config)
            if photo.name in turned:
                angle = turned[photo.name]
                text = f"is turned by {angle:+.0f} degrees against the others and was used as it is"
                found.append(Fault("turned", text, "", float(angle)))
        elif not found and not _has_partner(photo.name, matches):
            num = len(features[photo.name].keypoints) if photo.name in features else 0
            text = f"shows nothing that the other photos show ({num} keypoints, none matched)"
            found.append(Fault("alone", text, "leave it out, or take photos that connect it with the others", num))
        if found:
            out[photo.name] = tuple(found)
    return out


def _has_partner(name: str, matches: Sequence[Matches]) -> bool:
    return any(n >= MIN_PAIR_MATCHES for n in partners(name, matches)[1].values())


# --- light -----------------------------------------------------------------------------------------------------------


def relative_gains(scene: Reconstruction, features: Mapping[str, Features]) -> np.ndarray:
    """How much lighter each placed photo shows the same points than the median photo does: float64 (n, 3), red, green
    and blue in EV (log2 of linear light), NaN where fewer than 20 points tell.

    Colours of the keypoints behind the observations of each point, sRGB undone by a power of 2.2; near black and white
    they tell nothing and are left out. Gains of photos and colours of points are fitted in turn, with medians for the
    photos.
    """
    n = len(scene.names)
    color = np.full((len(scene.obs_point), 3), np.nan)
    for k, name in enumerate(scene.names):
        rows = np.flatnonzero(scene.obs_photo == k)
        if name in features and len(rows) and len(features[name].keypoints):
            at = _find_rows(features[name].keypoints, scene.obs_xy[rows])
            color[rows[at >= 0]] = features[name].colors[at[at >= 0]]
    usable = ((color > 8) & (color < 247)).all(1)
    obs_photo, obs_point = scene.obs_photo[usable], scene.obs_point[usable]
    light = 2.2 * np.log2(color[usable] / 255.0)
    count = np.maximum(np.bincount(obs_point, minlength=len(scene.points)), 1)[:, None]
    gains = np.zeros((n, 3))
    enough = np.bincount(obs_photo, minlength=n) >= 20
    order = np.argsort(obs_photo, kind="stable")
    parts = np.split(order, np.searchsorted(obs_photo[order], np.arange(1, n)))
    for _ in range(12):
        rest = light - gains[obs_photo]
        point = np.stack([np.bincount(obs_point, rest[:, c], len(scene.points)) for c in range(3)], 1) / count
        for k in np.flatnonzero(enough):
            gains[k] = np.median(light[parts[k]] - point[obs_point[parts[k]]], axis=0)
        if enough.any():
            gains -= np.median(gains[enough], axis=0)
    gains[~enough] = np.nan
    return gains


def _find_rows(keypoints: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """For each xy (m, 2) the row of the first keypoint at exactly that place, -1 where there is none."""
    key = np.ascontiguousarray(keypoints, np.float32).view(np.int64)[:, 0]
    wanted = np.ascontiguousarray(xy, np.float32).view(np.int64)[:, 0]
    order = np.argsort(key, kind="stable")
    at = np.minimum(np.searchsorted(key[order], wanted), len(key) - 1)
    return np.where(key[order[at]] == wanted, order[at], -1)


def _color_faults(gain: np.ndarray, config: FaultsConfig) -> list[Fault]:
    if not np.isfinite(gain).all():
        return []
    found = []
    ev = float(gain.mean())
    if abs(ev) > config.max_gain_ev:
        text = f"is {abs(ev):.1f} EV {'lighter' if ev > 0 else 'darker'} than the others"
        found.append(Fault("exposure", text, "hold exposure for all photos (manual mode, or exposure lock)", ev))
    red, blue = float(gain[0] - gain[1]), float(gain[2] - gain[1])
    if max(abs(red), abs(blue)) > config.max_tint_ev:
        text = f"has another white balance than the others (red {red:+.1f} EV, blue {blue:+.1f} EV against green)"
        found.append(
            Fault("tint", text, "hold one white balance for all photos", red if abs(red) > abs(blue) else blue)
        )
    return found


# --- geometry --------------------------------------------------------------------------------------------------------


def _differ(focal0: float, focal1: float, config: FaultsConfig) -> bool:
    return abs(float(np.log(focal0 / focal1))) > np.log1p(config.max_focal_error)


def _focal_fault(photo: Photo, scene: Reconstruction, k: int, drifted: bool, config: FaultsConfig) -> list[Fault]:
    """drifted: no photo of the set agrees with its EXIF; then the cameras may be what is wrong."""
    focal = scene.camera(k).fx
    if not photo.focal_px or not _differ(focal, photo.focal_px, config):
        return []
    if drifted:
        text = (
            f"has a focal length of {photo.focal_px:.0f} px in EXIF and {focal:.0f} px measured, like all of the set: "
            "EXIF is wrong, or the scene (a flat one, say) does not determine the cameras and the model is"
        )
        hint = (
            "look at the model; if it is bent or inside out, give the focal length with --camera or add oblique photos"
        )
    else:
        text = (
            f"has a wrong focal length in EXIF: {photo.focal_px:.0f} px there, {focal:.0f} px measured (which was used)"
        )
        hint = "nothing if the measured one is plausible; else give the true one with --camera"
    return [Fault("focal", text, hint, focal / photo.focal_px)]


def _turned(photos: Sequence[Photo], scene: Reconstruction) -> dict[str, int]:
    """Placed photos that are turned about their axis by a quarter or half against most others, in degrees (clockwise).

    Where the cameras look level, up in the world says how each is turned; those that look straight up or down are left
    out. Known only where the model's frame has an up direction.
    """
    if scene.frame == "arbitrary":
        return {}
    up = scene.cam_from_world[:, :2, 2]  # the world's z axis in camera axes: (0, -1) where the photo is upright
    level = np.linalg.norm(up, axis=1) > 0.35
    quarter = np.round(np.degrees(np.arctan2(-up[:, 0], -up[:, 1])) / 90).astype(int) % 4
    if level.sum() < 3:
        return {}
    usual = int(np.argmax(np.bincount(quarter[level], minlength=4)))
    out = {}
    for k in np.flatnonzero(level & (quarter != usual)):
        out[scene.names[k]] = int((quarter[k] - usual + 1) % 4 - 1) * 90
    if len(out) > 0.3 * level.sum():  # upright and lying photos side by side are a habit, not a fault
        return {}
    return out


def mirrored_features(features: Features, width: int) -> Features:
    """The SIFT features of the photo's mirror image (left and right swapped) without its pixels.

    A descriptor is a grid of 4 x 4 cells of 8 directions in a frame turned to the keypoint; mirroring swaps the rows of
    cells on either side of the keypoint's direction and the sense in which directions count.
    """
    keypoints = features.keypoints.copy()
    keypoints[:, 0] = width - keypoints[:, 0]
    cells = features.descriptors.reshape(-1, 4, 4, 8)[:, ::-1, :, (-np.arange(8)) % 8]
    return replace(
        features,
        keypoints=keypoints,
        orientations=(np.pi - features.orientations).astype(np.float32),
        descriptors=np.ascontiguousarray(cells.reshape(-1, 128)),
    )


def _mirrored(
    photos: Sequence[Photo],
    features: Mapping[str, Features],
    matches: Sequence[Matches],
    placed: Mapping[str, int],
    config: FaultsConfig,
) -> dict[str, tuple[str, int]]:
    """Photos whose mirror image matches others while they do not: name -> (best partner, its verified matches).

    Tested are photos that were not placed, and placed ones with far fewer matches than is usual in the set.
    """
    by_name = {p.name: p for p in photos}
    best = {p.name: max(partners(p.name, matches)[1].values(), default=0) for p in photos}
    usual = float(np.median([best[name] for name in placed])) if placed else 0.0
    suspects = [p for p in photos if best[p.name] < max(0.25 * usual, MIN_PAIR_MATCHES)]
    out: dict[str, tuple[str, int]] = {}
    for photo in sorted(suspects, key=lambda p: (p.name in placed, p.name))[: config.max_tested]:
        mine = features.get(photo.name)
        if mine is None or mine.extractor != "sift" or len(mine.keypoints) < MIN_PAIR_MATCHES:
            continue
        names = sorted(n for n in by_name if n != photo.name and best[n] >= MIN_PAIR_MATCHES and n in features)
        names = [n for n in names if features[n].extractor == "sift"]
        # neighbours in order first, the rest evenly
        place = int(np.searchsorted(names, photo.name))
        near = names[max(place - 2, 0) : place + 2]
        rest = [n for n in names if n not in near]
        step = max(len(rest) / max(config.num_mirror - len(near), 1), 1.0)
        chosen = near + [rest[int(i * step)] for i in range(int(len(rest) / step))]
        others = [(n, features[n], guess_camera(by_name[n])[0]) for n in chosen[: config.num_mirror]]
        found = match(photo.name, mirrored_features(mine, photo.width), others, guess_camera(photo)[0])
        counts = np.diff(found.offsets)
        if len(counts) and counts.max() >= max(2 * MIN_PAIR_MATCHES, 2 * best[photo.name]):
            out[photo.name] = found.names0[int(np.argmax(counts))], int(counts.max())
    return out


__all__ = ["Fault", "FaultsConfig", "find_faults", "mirrored_features", "relative_gains"]
