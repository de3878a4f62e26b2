"""The files for people: models, cameras and the report, made from a project's objects. Safe to delete, made again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rilievo import __version__, geometry, report, report_page
from rilievo.chain import Chain
from rilievo.codec import content_id
from rilievo.gather import Gathered
from rilievo.project import Project, explain_os_errors
from rilievo.report_sigma import sigma_picture
from rilievo.types import Camera, Features, Mesh, Reconstruction

if TYPE_CHECKING:
    from rilievo.stages.faults import Fault

PICTURE_SIZE = (960, 720)


def publish(chain: Chain, found: Gathered, features: Mapping[str, str], settings: Mapping[str, Any]) -> None:
    """Writes HOUSE/export, unless it already shows these results."""
    project = chain.project
    folder = project.root / "export"
    content = project.read()
    names = content["names"]
    rejected = [(r.name, r.reason) for r in found.rejected]
    shown = content_id(__version__, names, settings, rejected, content["accounts"], content.get("title"))
    if content.get("published") == shown and (folder / "report.html").is_file():
        return
    chain.progress("export", 0, 1)
    project.update(published=None)
    with explain_os_errors("write the exports", folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_models(project, folder)
        write_report(chain, found, features, settings, rejected)
    project.update(published=shown)
    chain.progress("export", 1, 1)


def write_models(project: Project, folder: Path) -> None:
    """model.glb, model.obj, cloud.ply, cameras/ and transforms.json."""
    from rilievo.io import cameras, models

    mesh: Mesh = project.named("mesh")
    models.write(folder / "model.glb", mesh)
    models.write(folder / "model.obj", mesh)
    models.write(folder / "cloud.ply", project.named("cloud"))
    scene: Reconstruction = project.named("cameras")
    shutil.rmtree(folder / "cameras", ignore_errors=True)
    cameras.write_colmap(folder / "cameras", scene)
    cameras.write_transforms(folder / "transforms.json", scene)


def write_report(
    chain: Chain,
    found: Gathered,
    features: Mapping[str, str],
    settings: Mapping[str, Any],
    rejected: list[tuple[str, str]],
) -> None:
    """report.json and report.html."""
    from rilievo.stages.mesh_clean import holes
    from rilievo.stages.texture import texture_facts

    project = chain.project
    scene: Reconstruction = project.named("cameras")
    mesh: Mesh = project.named("mesh")
    accounts = project.read()["accounts"]
    small = {p.name: _thumbnail(found, p.name) for p in found.photos[:400]}
    keypoints = {name: project.get(i) for name, i in features.items()}
    facts = report.build_report(
        version=__version__,
        settings=settings,
        photos=found.photos,
        rejected=rejected,
        num_keypoints={name: len(f.keypoints) for name, f in keypoints.items()},
        reconstruction=scene,
        cloud=project.named("cloud"),
        mesh=mesh,
        boundary_lengths=[loop.length for loop in holes(project.get(project.read()["made_from"]["surface"][0]))],
        texture_facts=texture_facts(mesh),
        stages=[{"stage": stage, **account} for stage, account in accounts.items()],
        faults=_faults(project, found, keypoints, scene, small),
        prior=_prior(project, settings),
        masked=(masked := _masked(found)),
        kinds=_kinds(project, found) if masked else None,
    )
    folder = project.root / "export"
    pictures = take_pictures(scene, mesh, lambda name, size: found.load_view(scene, name, size).pixels)
    thumbnails = {name: report_page.to_jpeg(pixels, 75) for name, pixels in small.items()}
    title = project.read().get("title") or project.root.resolve().name
    page = report_page.render_page(facts, scene, pictures, thumbnails, title)
    _replace(folder / "report.html", page)
    _replace(folder / "report.json", json.dumps(facts, indent=1, ensure_ascii=False))


def _masked(found: Gathered) -> dict[str, float]:
    """Share of each photo that its mask hides; photos without one are left out."""
    out = {}
    for photo in found.photos:
        if photo.mask_id is not None:
            mask = found.load_mask(photo.name)
            out[photo.name] = 0.0 if mask is None else round(1 - float(mask.mean()), 4)
    return out


def _kinds(project: Project, found: Gathered) -> dict[str, Any]:
    """What `rilievo mask` found, when the masks of this build are the ones that it wrote."""
    for source in found.sources:
        if source.mask is None:
            continue
        for folder in source.mask.parents:
            with suppress(OSError, ValueError, KeyError, TypeError):
                return dict(json.loads((folder / "masks.json").read_text("utf-8"))["kinds"])
        break
    return {}


def _prior(project: Project, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a depth network did for each photo; nothing where none was asked for."""
    if settings.get("prior") != "depth":
        return {}
    return project.get(project.read()["made_from"]["photo prior"][0])


def _faults(
    project: Project,
    found: Gathered,
    keypoints: Mapping[str, Features],
    scene: Reconstruction,
    small: Mapping[str, np.ndarray],
) -> dict[str, tuple[Fault, ...]]:
    """What is wrong with single photos; without keypoints (cameras that were given) what the rest tells."""
    from rilievo.stages.faults import find_faults

    matches = [project.get(i) for i in project.read()["made_from"].get("matches", [])] if keypoints else []
    return find_faults(
        found.photos,
        keypoints,
        matches,
        scene,
        brightness={name: float(np.median(pixels)) for name, pixels in small.items()},
    )


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, "utf-8")
    temporary.replace(path)


def _thumbnail(found: Gathered, name: str) -> np.ndarray:
    from rilievo.io import photos

    return photos.load_pixels(found.source(name), max_size=160)


def take_pictures(
    scene: Reconstruction, mesh: Mesh, load_pixels: Callable[[str, int], np.ndarray]
) -> list[tuple[str, np.ndarray]]:
    """A photo beside the model seen from the same place, its bare shape, and the model from other places."""
    from rilievo.stages.render import render_mesh

    bare = replace(mesh, texture=None, uvs=None, colors=None)
    middle = scene.names[len(scene.names) // 2]
    pictures = []
    for number, name in enumerate(dict.fromkeys([middle, scene.names[0], scene.names[-1]])):
        pixels = load_pixels(name, PICTURE_SIZE[0])
        i = scene.names.index(name)
        camera = _pinhole(scene.camera(i), pixels.shape[1], pixels.shape[0])
        if number == 0:
            pictures.append((f"photo {name}", pixels))
        image, _ = render_mesh(mesh, camera, scene.cam_from_world[i])
        pictures.append((f"the model, seen from where {name} was taken", image))
        if number == 0:
            image, _ = render_mesh(bare, camera, scene.cam_from_world[i])
            pictures.append(("its shape without texture", image))
    camera, cam_from_world = overview(scene, mesh)
    image, _ = render_mesh(mesh, camera, cam_from_world)
    pictures.append(("the model from further away", image))
    if mesh.sigma is not None:
        heat = sigma_picture(mesh, camera, cam_from_world, gsd=report.median_gsd(scene), unit=scene.unit)
        pictures.append(("how sure each spot is: violet within a fraction of a pixel's footprint, yellow worse", heat))
    return pictures


def _pinhole(camera: Camera, width: int, height: int) -> Camera:
    scale = width / camera.width
    K = np.diag([scale, height / camera.height, 1.0]) @ camera.K
    return Camera.pinhole(width, height, K)


def overview(scene: Reconstruction, mesh: Mesh) -> tuple[Camera, np.ndarray]:
    """A camera that sees the whole model from the middle of the photographers' side, a little from above."""
    vertices = mesh.vertices + mesh.origin
    low, high = np.quantile(vertices, [0.02, 0.98], axis=0)
    center, radius = (low + high) / 2, max(float(np.linalg.norm(high - low)) / 2, 1e-9)
    toward = np.median(scene.centers, axis=0) - center
    toward[2] = max(toward[2], 0.35 * float(np.hypot(*toward[:2])))
    if np.linalg.norm(toward[:2]) < 1e-6 * radius:
        toward = scene.centers[0] - center
    toward /= np.linalg.norm(toward)
    width, height = PICTURE_SIZE
    focal = 1.3 * width
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    eye = center + toward * radius * 2.6
    return Camera.pinhole(width, height, K), geometry.look_at(eye, center)
