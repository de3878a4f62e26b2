"""Why a photo was not placed, in words: from the evidence that matching and mapping left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rilievo.errors import AlignmentError
from rilievo.geometry import undistort
from rilievo.stages.mapping import MIN_PAIR_MATCHES, MIN_REGISTER, components, pairs
from rilievo.types import Camera, Features, Matches, Photo, Reconstruction

# A photo is called blurred from this sigma on (px of the full photo), if the others are sharper.
BLURRED_PX = 2.5
# Below this parallax two photos were taken from one standpoint.
STANDPOINT_DEG = 0.25


def unplaced_reason(
    photo: Photo,
    photos: Sequence[Photo],
    matches: Sequence[Matches],
    placed: Sequence[str],
    other_models: Sequence[Sequence[str]] = (),
) -> str:
    """One sentence: why `photo` is not among the `placed` ones."""
    inside = set(placed)
    best_raw, counts = partners(photo.name, matches)
    blurred = is_blurred(photo, photos)
    tail = f"; it is blurred ({photo.blur_px:.1f} px)" if blurred and photo.blur_px else ""
    strong = {name: n for name, n in counts.items() if n >= MIN_PAIR_MATCHES}
    if not strong:
        if not counts and not best_raw:
            return f"it was compared with no other photo{tail}"
        name, n = max(best_raw.items(), key=lambda item: (item[1], item[0]), default=("", 0))
        if n:
            return f"no verified matches with any other photo (at best {n} unverified ones, with {name}){tail}"
        return f"no matches with any other photo{tail}"
    with_placed = {name: n for name, n in strong.items() if name in inside}
    if not with_placed:
        for model in other_models:
            if photo.name in model:
                rest = [name for name in model if name != photo.name]
                return (
                    f"it belongs to a separate model with {_listed(rest)} that shares too few matches with the main one"
                    f"{tail}"
                )
        return f"matches only with other photos that were not placed: {_listed(sorted(strong))}{tail}"
    name, n = max(with_placed.items(), key=lambda item: (item[1], item[0]))
    for model in other_models:
        if photo.name in model:
            return (
                f"it belongs to a separate model of {len(model)} photos; with the main one it shares at most "
                f"{n} verified matches ({name}){tail}"
            )
    if n < MIN_REGISTER:
        return f"only {n} verified matches with {name}, its best partner (needs {MIN_REGISTER}){tail}"
    if len(with_placed) == 1:
        return (
            f"{n} verified matches with {name} but with no other placed photo: one partner does not fix where it stood"
            f"{tail}"
        )
    return (
        f"{n} verified matches with {name}, but too few of them agree with one camera position: repeated structure, "
        f"moving things or a different zoom{tail}"
    )


def diagnose(
    photo: str,
    photos: Sequence[Photo],
    features: Mapping[str, Features],
    matches: Sequence[Matches],
    reconstruction: Reconstruction | None = None,
) -> str:
    """All the evidence about one photo, as text for people: keypoints, sharpness, partners (verified of raw matches,
    placed or not), why it was not placed, and which photo would help. Raises KeyError for a name that is not in the
    set.
    """
    by_name = {p.name: p for p in photos}
    item = by_name[photo]
    raw, counts = partners(photo, matches)
    placed = reconstruction.names if reconstruction is not None else ()
    lines = []
    if photo in placed and reconstruction is not None:
        k = reconstruction.names.index(photo)
        rows = reconstruction.obs_photo == k
        mean = float(np.mean(reconstruction.point_errors_px[reconstruction.obs_point[rows]])) if rows.any() else 0.0
        lines.append(f"{photo} was placed: it sees {int(rows.sum())} points of the model, mean error {mean:.2f} px")
    elif reconstruction is not None:
        reason = reconstruction.unplaced.get(photo) or unplaced_reason(item, photos, matches, placed)
        lines.append(f"{photo} was not placed: {reason}")
    else:
        lines.append(f"{photo}: no model yet")
    keypoints = len(features[photo].keypoints) if photo in features else 0
    median = int(np.median([len(f.keypoints) for f in features.values()])) if features else 0
    lines.append(f"keypoints: {keypoints} (median of the set {median})")
    if item.blur_px is not None:
        others = [p.blur_px for p in photos if p.blur_px is not None]
        lines.append(f"blur: {item.blur_px:.1f} px (median of the set {float(np.median(others)):.1f} px)")
    best = sorted(raw, key=lambda n: (-counts.get(n, 0), -raw[n], n))[:5]
    if best:
        lines.append("best partners:")
        for name in best:
            state = "" if reconstruction is None else (", placed" if name in placed else ", not placed")
            lines.append(f"  {name}: {counts.get(name, 0)} verified of {raw[name]} matches{state}")
    else:
        lines.append("best partners: none, it was compared with no other photo or nothing matched")
    if photo not in placed:
        lines.append("hint: " + _hint(item, photos, counts, set(placed)))
    return "\n".join(lines)


def _hint(photo: Photo, photos: Sequence[Photo], counts: Mapping[str, int], placed: set[str]) -> str:
    """What would help."""
    if is_blurred(photo, photos):
        return "take it again with a steadier hand or a shorter exposure"
    names = sorted(p.name for p in photos)
    strong = [n for n in sorted(counts, key=lambda n: (-counts[n], n)) if counts[n] > 0]
    with_placed = [n for n in strong if n in placed]
    if with_placed:
        return f"take one or two photos between the standpoints of {photo.name} and {with_placed[0]}"
    k = names.index(photo.name)
    near = [n for n in names[:k][::-1][:1] + names[k + 1 :][:1] if n in placed] or sorted(placed)[:1]
    if near:
        return (
            f"take two or three photos on the way from {near[0]} to {photo.name}, each showing half of the one before"
        )
    return "take photos that overlap by two thirds with their neighbours, from different standpoints"


def no_model_error(
    photos: Sequence[Photo],
    features: Mapping[str, Features],
    matches: Sequence[Matches],
    cameras: Mapping[str, tuple[int, Camera, bool]],
) -> AlignmentError:
    """The error for a set of which not even two photos could be placed."""
    names = [p.name for p in photos]
    found = sorted(
        ((len(rows), name0, name1, rows, kind) for name0, name1, rows, _, kind in pairs(matches)),
        key=lambda r: (-r[0], r[1], r[2]),
    )
    most, name0, name1 = found[0][:3] if found else (0, "", "")
    if most < MIN_PAIR_MATCHES:
        blurred = sum(is_blurred(p, photos) for p in photos)
        best = f"; the best pair is {name0} and {name1} with {most}" if most else ""
        soft = f"; {blurred} of the photos are blurred" if blurred else ""
        keypoints = int(np.median([len(features[n].keypoints) for n in names if n in features] or [0]))
        few = f"; the photos have {keypoints} keypoints at the median, which is very few" if keypoints < 200 else ""
        return AlignmentError(
            f"the {len(names)} photos do not overlap: no two of them show the same thing",
            f"fewer than {MIN_PAIR_MATCHES} verified matches in every pair{best}{soft}{few}",
            "take photos that share at least two thirds of the picture with the one before, walking around the subject",
        )
    parallax = largest_parallax_deg(features, matches, cameras)
    if parallax < STANDPOINT_DEG:
        return AlignmentError(
            f"the {len(names)} photos were taken from one standpoint: there is no depth to measure",
            f"the pictures differ by a turn of the camera only (parallax: {parallax:.2f} degrees)",
            "walk sideways between the photos, at least a tenth of the distance to the subject each time",
        )
    groups = components(names, matches)
    return AlignmentError(
        f"no two of the {len(names)} photos could start a model",
        f"the best pair, {name0} and {name1}, has {most} verified matches (needs about 50 with parallax); "
        f"the photos form {len(groups)} groups without matches between them"
        if len(groups) > 1
        else f"the best pair, {name0} and {name1}, has {most} verified matches (needs about 50 with parallax)",
        "take more photos with more overlap, or try --quality high for more keypoints",
    )


def parallax_deg(x0: np.ndarray, x1: np.ndarray, focal_px: float, *, known_focal: bool) -> float:
    """How far matches (n, 2) of two photos, px from the centre, are from a pure turn of the camera: the median angle in
    degrees that is left between rays after the best rotation. Where the focal length is a guess, the one that leaves
    least is taken, from half to twice the guess.
    """
    best = np.inf
    for factor in [1.0] if known_focal else np.geomspace(0.5, 2.0, 21):
        f = focal_px * factor
        rays = [np.concatenate([x / f, np.ones((len(x), 1))], 1) for x in (x0, x1)]
        a, b = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in rays)
        weight = np.ones(len(a))
        for _ in range(8):
            U, _, Vt = np.linalg.svd((b * weight[:, None]).T @ a)
            R = (U * [1, 1, np.sign(np.linalg.det(U @ Vt))]) @ Vt
            left = np.linalg.norm(b - a @ R.T, axis=1)
            weight = 1 / np.maximum(left, 1e-5)
        # An angle of f px is seen at another scale when f is wrong: compare in the guess's degrees.
        best = min(best, float(np.median(left)) * factor)
    return float(np.rad2deg(best))


def largest_parallax_deg(
    features: Mapping[str, Features], matches: Sequence[Matches], cameras: Mapping[str, tuple[int, Camera, bool]]
) -> float:
    """The parallax that the best tenth of the pairs (of up to 60, evenly chosen) exceeds; see `parallax_deg`."""
    found = [(len(rows), name0, name1, rows, kind) for name0, name1, rows, _, kind in pairs(matches)]
    found = sorted((r for r in found if r[0] >= MIN_PAIR_MATCHES), key=lambda r: (r[1], r[2]))
    chosen = [found[k * len(found) // min(len(found), 60)] for k in range(min(len(found), 60))]
    angles = [_parallax_deg(row, features, cameras) for row in chosen]
    return float(np.quantile(angles, 0.9)) if angles else 0.0


def one_standpoint(
    features: Mapping[str, Features], matches: Sequence[Matches], cameras: Mapping[str, tuple[int, Camera, bool]]
) -> bool:
    """Whether all photos were taken from one place: every pair is explained by a turn of the camera."""
    return largest_parallax_deg(features, matches, cameras) < STANDPOINT_DEG


def _parallax_deg(
    row: tuple, features: Mapping[str, Features], cameras: Mapping[str, tuple[int, Camera, bool]]
) -> float:
    _, name0, name1, rows, _ = row
    x = []
    for k, name in enumerate((name0, name1)):
        camera = cameras[name][1]
        keypoints = features[name].keypoints[rows[:, k]].astype(np.float64)
        x.append(undistort(camera, keypoints) * camera.fx)
    _, camera, known = cameras[name0]
    return parallax_deg(x[0], x[1] * camera.fx / cameras[name1][1].fx, camera.fx, known_focal=known)


def partners(name: str, matches: Sequence[Matches]) -> tuple[dict[str, int], dict[str, int]]:
    """(raw matches, verified matches) of one photo by partner; partners with none of a kind are left out of it."""
    raw: dict[str, int] = {}
    verified: dict[str, int] = {}
    for name0, name1, rows, num_raw, _ in pairs(matches):
        if name in (name0, name1):
            other = name1 if name == name0 else name0
            if num_raw:
                raw[other] = num_raw
            if len(rows):
                verified[other] = len(rows)
    return raw, verified


def is_blurred(photo: Photo, photos: Sequence[Photo]) -> bool:
    blurs = [p.blur_px for p in photos if p.blur_px is not None]
    return (
        photo.blur_px is not None
        and photo.blur_px >= BLURRED_PX
        and (photo.blur_px > 1.5 * float(np.median(blurs)) or float(np.median(blurs)) >= BLURRED_PX)
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


__all__ = ["diagnose", "no_model_error", "one_standpoint", "unplaced_reason"]
