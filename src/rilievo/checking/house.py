"""After a build: why photos failed or are weak, and for each the photo that would have helped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rilievo import geometry
from rilievo.checking.alignment import Aligned
from rilievo.checking.around import Around
from rilievo.io.photos import Source
from rilievo.project import Project
from rilievo.stages.camera_path import scene_up
from rilievo.stages.diagnose import diagnose, partners
from rilievo.types import Reconstruction

# A placed photo is weak when it sees fewer points than this share of the median, or fits that much worse.
_FEW_POINTS, _WORSE = 0.35, 1.8


def aligned_of(project: Project) -> Aligned:
    """What the build of a house left. Raises InputError when it has no cameras (any more)."""
    content = project.read()
    scene: Reconstruction = project.named("cameras")
    made = content.get("made_from", {})
    photos = tuple(project.get(i) for i in made.get("photos", ()))
    matches = tuple(project.get(i) for i in made.get("matches", ()))
    keypoints = made.get("keypoints", ())
    features = {p.name: project.get(i) for p, i in zip(photos, keypoints)} if len(keypoints) == len(photos) else {}
    mesh = project.named("mesh") if "mesh" in content.get("names", {}) else None
    return Aligned(photos, scene, matches, features, mesh)


def sources_of(project: Project, names: Sequence[str]) -> dict[str, Source]:
    """Where the photos of a house lie, those that are still there."""
    told, out = project.read().get("sources", {}), {}
    for name in names:
        entry = told.get(name, {})
        places = [Path(entry["path"])] if "path" in entry else []
        if "path_from_house" in entry:
            places.append(project.root.resolve() / entry["path_from_house"])
        path = next((p for p in places if p.is_file()), None)
        if path is not None:
            out[name] = Source(name, path, pts=entry.get("pts"))
    return out


def explain_photos(aligned: Aligned, around: Around | None, rows: list[dict[str, Any]]) -> None:
    """Adds to the rows of photos that failed or are weak: `why` (text with the evidence) and `fix` (the photo that
    would have helped: words and, where it is known, its place)."""
    scene = aligned.scene
    observations = np.bincount(scene.obs_photo, minlength=len(scene.names))
    errors = np.array([_error(scene, k) for k in range(len(scene.names))])
    index = {name: k for k, name in enumerate(scene.names)}
    for row in rows:
        name = row["name"]
        k = index.get(name)
        weak = []
        if k is not None:
            if observations[k] < _FEW_POINTS * np.median(observations):
                weak.append(f"sees {observations[k]} points of the model (median {np.median(observations):.0f})")
            if len(errors) > 3 and errors[k] > _WORSE * np.nanmedian(errors):
                weak.append(f"fits with {errors[k]:.2f} px (median {np.nanmedian(errors):.2f} px)")
        if weak and row["level"] == "good":
            row["level"] = "weak"
        if k is not None and not weak and row["level"] == "good":
            continue
        text = ""
        if name in aligned.features:
            text = diagnose(name, aligned.photos, aligned.features, aligned.matches, scene)
        row["why"] = "\n".join([*(f"{name} {w}" for w in weak), text]).strip()
        if row["reason"] == "" and weak:
            row["reason"] = "; ".join(weak)
        row["fix"] = _fix(aligned, around, name, [p.name for p in aligned.photos], index, bool(weak), row)


def _error(scene: Reconstruction, k: int) -> float:
    points = scene.obs_point[scene.obs_photo == k]
    return float(np.median(scene.point_errors_px[points])) if len(points) else float("nan")


def _fix(
    aligned: Aligned,
    around: Around | None,
    name: str,
    order: Sequence[str],
    index: Mapping[str, int],
    thin: bool,
    row: Mapping[str, Any],
) -> dict[str, Any]:
    """The photo that would have helped."""
    scene = aligned.scene
    spoilt = any(
        x["kind"] in ("defocus", "motion", "dark", "clipped", "jpeg") and x["level"] != "note" for x in row["findings"]
    )
    if name in index:
        k = index[name]
        if spoilt or not thin:
            pose = scene.cam_from_world[k]
            return _told("the same photo again, sharp and well exposed, from the same place", pose)
        away = np.linalg.norm(scene.centers - scene.centers[k], axis=1)
        away[k] = np.inf
        other = scene.names[int(np.argmin(away))]
        return _told(f"one between {name} and {other}, showing half of each", _between(scene, k, index[other]))
    _, verified = partners(name, aligned.matches)
    partner = next((n for n in sorted(verified, key=lambda n: (-verified[n], n)) if n in index), None)
    at = order.index(name)
    before = next((n for n in reversed(order[:at]) if n in index), None)
    after = next((n for n in order[at + 1 :] if n in index), None)
    if before is not None and after is not None:
        pose = _between(scene, index[before], index[after])
        if spoilt:
            return _told(f"{name} again, sharp and well exposed: between {before} and {after}", pose)
        return _told(f"two on the way from {before} over {name} to {after}, each showing two thirds of the last", pose)
    one = partner or before or after
    if one is None:
        return _told("photos that share two thirds with those that were placed", None)
    again = f"{name} again, sharp, and " if spoilt else ""
    return _told(
        f"{again}two on the way from {one} to {name}, each showing two thirds of the last",
        scene.cam_from_world[index[one]],
    )


def _between(scene: Reconstruction, i: int, j: int) -> np.ndarray:
    """A camera halfway between two, looking halfway."""
    eye = (scene.centers[i] + scene.centers[j]) / 2
    ahead = scene.cam_from_world[i, 2, :3] + scene.cam_from_world[j, 2, :3]
    if np.linalg.norm(ahead) < 1e-6:
        ahead = scene.cam_from_world[i, 2, :3]
    return geometry.look_at(eye, eye + ahead, tuple(scene_up(scene.cam_from_world)))


def _told(words: str, pose: np.ndarray | None) -> dict[str, Any]:
    return {
        "words": words,
        "cam_from_world": None if pose is None else np.round(pose, 9).tolist(),
        "center": None if pose is None else np.round(geometry.invert(pose)[:, 3], 6).tolist(),
    }
