"""Checking photos: looking at each, a quick alignment at low resolution, what it covers, and what to take next."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rilievo import kernels
from rilievo.chain import Chain
from rilievo.checking.alignment import Aligned
from rilievo.checking.looks import Look, LookConfig, look
from rilievo.checking.result import Checked, conclude
from rilievo.codec import content_id
from rilievo.errors import AlignmentError, InputError
from rilievo.gather import Gathered, _file_hash, gather
from rilievo.io import photos as files
from rilievo.pipelines import find_cameras, make_cloud
from rilievo.plan import BuildSettings, Run
from rilievo.project import Project
from rilievo.types import Features, Mesh

# Longer side of the photos that are aligned, and of the depth maps of the draft surface, px.
SIZES = {"draft": (800, 240), "normal": (1000, 320), "high": (1600, 480)}


@dataclass(frozen=True)
class CheckSettings:
    """What may change the result. kind: what is photographed: auto, object, front or area.  num_next: how many photos
    to propose.  surface: whether a draft surface is made."""

    quality: str = "normal"
    kind: str = "auto"
    num_next: int = 5
    surface: bool = True
    seed: int = 0


# CPU seconds a photo that a check takes, about, and a pair of photos; what a time budget chooses from, best first.
_COSTS = {("high", True): 4.5, ("normal", True): 2.2, ("draft", True): 1.5, ("draft", False): 0.9}
_PAIR = 0.03


def fit_budget(settings: CheckSettings, num_photos: int, seconds: float, num_threads: int) -> CheckSettings:
    """The best settings that are expected to fit into so many seconds; the quickest where none does."""
    pairs = _PAIR * num_photos * min(num_photos, 60) / 2
    chosen = settings
    for (quality, surface), cost in _COSTS.items():
        chosen = replace(settings, quality=quality, surface=surface and settings.surface)
        if (cost * num_photos + pairs) / max(num_threads, 1) <= seconds:
            break
    return chosen


@dataclass(frozen=True)
class Shrunk(Gathered):
    """Photos that stages see at low resolution."""

    max_size: int = 1000

    @classmethod
    def of(cls, found: Gathered, max_size: int) -> Shrunk:
        """The same photos with at most that many px on their longer side."""
        photos, ids = [], []
        for photo, photo_id in zip(found.photos, found.photo_ids):
            scale = min(1.0, max_size / max(photo.width, photo.height))
            photos.append(
                replace(
                    photo,
                    content_id=content_id(photo.content_id, max_size),
                    width=max(1, round(photo.width * scale)),
                    height=max(1, round(photo.height * scale)),
                    focal_px=photo.focal_px * scale if photo.focal_px else None,
                    camera_key=f"{photo.camera_key} | at most {max_size} px",
                )
            )
            ids.append(content_id(photo_id, max_size))
        return cls(tuple(photos), tuple(ids), found.sources, found.rejected, None, None, max_size)

    def load_pixels(self, name: str) -> np.ndarray:
        return files.load_pixels(self.source(name), max_size=self.max_size)

    def load_mask(self, name: str, *, matching: bool = False) -> np.ndarray | None:
        return files.load_mask(self.source(name), max_size=self.max_size, matching=matching)


def check_photos(
    paths: Iterable[Path | str],
    *,
    house: Path | None = None,
    masks: Path | None = None,
    settings: CheckSettings = CheckSettings(),
    run: Run = Run(),
    say: Callable[[str], None] = lambda _: None,
) -> Checked:
    """All that can be said of photos before a build. house: the folder that keeps intermediate results, so that the
    same check with more photos does only the new work; None: a temporary one.

    Photos that form no scene are a result, not an error. Raises InputError when nothing can be used at all.
    """
    kernels.set_num_threads(run.num_threads)
    with _keeper(house) as folder:
        chain = Chain(Project(folder), kernels.native().num_threads(), run.progress)
        found = gather(chain, paths, masks=masks)
        looks = look_at_all(chain, found)
        aligned, why = None, ""
        if run.max_seconds is not None:
            settings = fit_budget(settings, len(found.photos), run.max_seconds, chain.num_threads)
        if len(found.photos) < 2:
            why = "one photo alone cannot be aligned"
        else:
            try:
                aligned = align(chain, found, settings)
            except AlignmentError as error:
                why = "; ".join(p for p in (error.what, error.why) if p)
                say(f"no alignment: {why}")
        return conclude(found, looks, aligned, why, kind=settings.kind, num_next=settings.num_next)


def _keeper(folder: Path | None) -> AbstractContextManager[str]:
    """The folder of a project: the one that is given, or a temporary one."""
    return nullcontext(str(folder)) if folder else tempfile.TemporaryDirectory(prefix="rilievo-check-")


def look_at_all(chain: Chain, found: Gathered) -> list[Look]:
    """Measures of all photos, kept by their content."""
    sources = {p.name: s for p, s in zip(found.photos, found.sources)}

    def key(name: str) -> list[str]:
        mask = sources[name].mask
        return [found.photo(name).content_id, _file_hash(mask) if mask else ""]

    def make(name: str) -> dict[str, Any]:
        return look(sources[name], found.photo(name).blur_px).to_value()

    ids = chain.each("looks", LookConfig(), sources, key, make, parallel=True)
    return [Look.from_value(name, chain.project.get(ids[name])) for name in sources]


def align(chain: Chain, found: Gathered, settings: CheckSettings) -> Aligned:
    """Cameras, sparse points and a closed draft surface at low resolution. Raises AlignmentError when the photos form
    no scene."""
    size, depth_size = SIZES[settings.quality]
    small = Shrunk.of(found, size)
    build = BuildSettings(quality="draft", keypoints="sift", seed=settings.seed, depth_size=depth_size)
    sparse = find_cameras(chain, small, build)
    scene = sparse.reconstruction
    matches = [chain.project.get(i) for i in chain.project.read()["made_from"]["matches"]]
    features: dict[str, Features] = {name: chain.project.get(i) for name, i in sparse.features.items()}
    mesh = draft_surface(chain, small, sparse, build) if settings.surface else None
    return Aligned(small.photos, scene, tuple(matches), features, mesh)


def draft_surface(chain: Chain, small: Shrunk, sparse, build: BuildSettings) -> Mesh | None:
    """A coarse surface, closed where nothing was seen (`inferred`); None where the photos give none."""
    from rilievo.stages.mesh import MeshConfig, mesh_cloud

    config = MeshConfig(max_faces=60_000, watertight=True)
    try:
        cloud = make_cloud(chain, small, sparse, build)
        surface = chain.one(
            "draft surface",
            config,
            [cloud, sparse.object_id],
            lambda: mesh_cloud(chain.project.get(cloud), sparse.reconstruction, config=config),
        )
    except (AlignmentError, InputError):  # too little for a surface: the sparse points have to do
        return None
    return chain.project.get(surface)


def check_house(
    house: Path,
    *,
    kept: Path | None = None,
    kind: str = "auto",
    num_next: int = 5,
    run: Run = Run(),
    say: Callable[[str], None] = lambda _: None,
) -> Checked:
    """All that can be said of a house's photos after its build: also why each failed or is weak, and the photo that
    would have helped. The house is only read.

    kept: the folder that keeps the measures of photos; None: a temporary one. Raises InputError when there
    is no build, or its photos are gone."""
    from rilievo.checking import house as after

    kernels.set_num_threads(run.num_threads)
    built = Project(house, create=False)
    aligned = after.aligned_of(built)
    sources = after.sources_of(built, [p.name for p in aligned.photos])
    missing = [p.name for p in aligned.photos if p.name not in sources]
    if not sources:
        raise InputError(
            f"the photos of {house} are gone",
            f"none of {len(aligned.photos)} is where it was",
            "put them back, or check their folder: rilievo check PHOTOS",
        )
    if missing:
        say(f"{len(missing)} photos are no longer where they were, e.g. {missing[0]}: they are not looked at")
    there = [p for p in aligned.photos if p.name in sources]
    ids = tuple("" for _ in there)
    rejected = tuple(files.Rejected(name, "its file is gone") for name in missing)
    found = Gathered(tuple(there), ids, tuple(sources[p.name] for p in there), rejected)
    with _keeper(kept) as folder:
        chain = Chain(Project(folder), kernels.native().num_threads(), run.progress)
        looks = look_at_all(chain, found)
    checked = conclude(found, looks, aligned, "", kind=kind, num_next=num_next, built=True)
    after.explain_photos(aligned, checked.around, checked.document["photos"]["list"])
    return checked
