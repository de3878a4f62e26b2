"""`rilievo splats --mesh`: a textured mesh of splats that are trained already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rilievo import kernels
from rilievo.chain import Chain
from rilievo.pipelines import Sparse, make_mesh
from rilievo.pipelines_splat_surface import gathered, make_splat_cloud, stereo_maps
from rilievo.placed import Placed, load_placed
from rilievo.plan import BuildSettings, Run, depth_config
from rilievo.project import Project, explain_os_errors
from rilievo.stages.views import pinhole_for
from rilievo.types import Mesh, Reconstruction


def add_mesh(
    project: Project,
    source: Path | str,
    *,
    photos: Path | None = None,
    masks: Path | None = None,
    quality: str = "normal",
    run: Run = Run(),
) -> dict[str, int]:
    """The mesh of the splats that `photos_to_splats` made of `source` in a project; its number of vertices and faces.
    Raises as `splats_to_mesh` does."""
    chain = Chain(project, kernels.native().num_threads(), run.progress)
    placed = load_placed(source, photos=photos, masks=masks, num_threads=chain.num_threads)
    splats_id = project.read()["names"]["splats"]
    _, mesh_id = splats_to_mesh(chain, placed, splats_id, BuildSettings(quality=quality))
    mesh: Mesh = project.get(mesh_id)
    return {"num_vertices": len(mesh.vertices), "num_faces": len(mesh.faces)}


def splats_to_mesh(
    chain: Chain, placed: Placed, splats_id: str, settings: BuildSettings = BuildSettings()
) -> tuple[str, str]:
    """Cloud and textured mesh (object ids) of the splats `splats_id` of placed photos; where they are the house's own
    and it has depth maps, splats complete these. The project's names are then `splats_cloud` and `splats_mesh`, and
    HOUSE/export has splats_mesh.glb and splats_cloud.ply; where no mesh was before, they are its `cloud`, `mesh` and
    model.glb too.

    Raises InputError when the splats are empty or no depth maps can be drawn that large, AlignmentError when they form
    no surface.
    """
    from rilievo.io import models
    from rilievo.publish import write_models

    project, scene, found = chain.project, placed.scene, gathered(placed)
    stereo = stereo_maps(chain, scene) if placed.project is not None and placed.project.root == project.root else {}
    max_size = _size_of(scene, {name: project.get(i).depth.shape for name, i in stereo.items()})
    if max_size is None:
        stereo, max_size = {}, depth_config(settings).max_size
    cloud = make_splat_cloud(chain, found, scene, splats_id, stereo=stereo, max_size=max_size)
    cameras = project.put(scene)
    # Depth of splats alone is rougher than a pixel: on idol half as many points give the better surface.
    thinning = 3.0 if stereo else 6.0
    mesh = make_mesh(chain, found, Sparse(cameras, scene, {}), cloud, settings, thinning=thinning)
    has = project.read().get("names", {})
    names = {"splats_cloud": cloud, "splats_mesh": mesh}
    first = has.get("mesh") in (None, mesh)
    if first:
        names |= {"cloud": cloud, "mesh": mesh, "cameras": has.get("cameras", cameras)}
    chain.name(**names)
    folder = project.root / "export"
    with explain_os_errors("write the exports", folder):
        folder.mkdir(parents=True, exist_ok=True)
        models.write(folder / "splats_mesh.glb", project.get(mesh))
        models.write(folder / "splats_cloud.ply", project.get(cloud))
        if first:
            write_models(project, folder)
    return cloud, mesh


def _size_of(scene: Reconstruction, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """The `max_size` with which views have these shapes, as maps are completed pixel by pixel; None without any."""
    if not shapes:
        return None
    largest = max(max(shape) for shape in shapes.values())
    for size in (largest, largest + 1):  # a view that is not shrunk is a fraction of a pixel larger than its shape
        views = {name: pinhole_for(scene.camera(scene.names.index(name)), size) for name in shapes}
        if all((v.height, v.width) == shapes[name] for name, v in views.items()):
            return size
    return None
