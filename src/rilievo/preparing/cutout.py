"""Background removal for a run of `prepare`: which way is taken, and what it needs open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rilievo import weights
from rilievo.errors import InputError
from rilievo.io.photos import Source, load_pixels
from rilievo.preparing.settings import PrepareSettings, file_id
from rilievo.stages import cutout
from rilievo.stages.tiles import narrowed


@dataclass(frozen=True, eq=False)
class House:
    """A project's surface and cameras; object: bool (f,), the faces that stand on the ground."""

    mesh: Any
    scene: Any
    object: np.ndarray


@dataclass(frozen=True, eq=False)
class Cutter:
    """How objects are cut out. inputs: what the result depends on beside the photo."""

    way: str
    inputs: list[str]
    network: Any = None
    empty: np.ndarray | None = None
    house: House | None = None
    box: tuple[int, int, int, int] | None = None

    def cut(self, work: Any, source: Source) -> None:
        """The step `background`: sets the photo's mask, or says why not."""
        pixels = narrowed(work.pixels)
        scale = pixels.shape[1] / work.photo.width
        found, way = self._found(pixels, source, scale), self.way
        if found is None:
            reason = {
                "empty": "the photo of the empty scene is of another view or size",
                "backdrop": "the photo's rim is not an even backdrop",
                "depth": "the project has no camera for this photo",
            }.get(way, "nothing stands out from the background")
            work.told("background", False, reason, way=way)
            return
        share = float((found.mask > 127).mean())
        if not 0.001 < share < 0.995:
            work.told("background", False, f"{100 * share:.1f} % of the photo would be left: not believed", way=way)
            return
        work.mask = found.mask
        note = f"found {found.note}; {100 * share:.0f} % of the photo is kept"
        work.told("background", True, note, way=way, share=share, trust=found.trust)

    def _found(self, pixels: np.ndarray, source: Source, scale: float) -> cutout.Cutout | None:
        if self.box is not None:
            from rilievo.stages.foreground import in_box

            x, y, w, h = (round(v * scale) for v in self.box)
            matte, trust, note = in_box(pixels, self.network, (x, y, w, h))
            return cutout.Cutout(np.rint(matte * 255).astype(np.uint8), trust, note)
        if self.way == "network":
            from rilievo.stages.foreground import foreground

            matte = foreground(pixels, self.network)
            clear = float(np.mean((matte < 0.1) | (matte > 0.9)))
            return cutout.Cutout(np.rint(matte * 255).astype(np.uint8), clear, "by a network (IS-Net)")
        if self.way == "empty":
            assert self.empty is not None
            empty = self.empty
            h, w = pixels.shape[:2]
            if empty.shape[:2] != (h, w) and abs(empty.shape[1] / w - empty.shape[0] / h) < 0.01 * empty.shape[1] / w:
                import cv2

                empty = cv2.resize(empty, (w, h), interpolation=cv2.INTER_CUBIC)
            return cutout.by_difference(pixels, empty)
        if self.way == "backdrop":
            return cutout.by_backdrop(pixels)
        if self.way == "depth":
            return self._by_depth(pixels, source)
        if self.way == "grabcut":
            return cutout.by_grabcut(pixels)
        return cutout.by_backdrop(pixels) or cutout.by_grabcut(pixels)

    def _by_depth(self, pixels: np.ndarray, source: Source) -> cutout.Cutout | None:
        from rilievo.io.known_cameras import fit_camera

        assert self.house is not None
        scene = self.house.scene
        if source.name not in scene.names:
            return None
        i = scene.names.index(source.name)
        camera = fit_camera(scene.camera(i), source.name, pixels.shape[1], pixels.shape[0])
        return cutout.by_depth(pixels, self.house.mesh, self.house.object, camera, scene.cam_from_world[i])


def open_cutter(settings: PrepareSettings, threads: int) -> Cutter:
    """The way to find the background. auto: the empty scene where it is given, a project's depth, the network where its
    weights are here, else an even backdrop, else GrabCut. Raises MissingError without weights that were asked for."""
    way = settings.background
    if way == "auto":
        known = "empty" if settings.empty else "depth" if settings.house else ""
        if settings.box is not None:
            known = ""
        way = known or ("network" if weights.available("isnet") else "auto")
    if way == "network":
        from rilievo.stages.foreground import open_foreground

        return Cutter(way, [way], network=open_foreground(threads=threads), box=settings.box)
    if way == "empty":
        assert settings.empty is not None
        if not settings.empty.is_file():
            raise InputError(f"cannot find {settings.empty}", "there is no such file", "give --empty PHOTO")
        return Cutter(
            way, [way, file_id(settings.empty)], empty=load_pixels(Source(settings.empty.name, settings.empty))
        )
    if way == "depth":
        assert settings.house is not None
        return _open_house(settings)
    return Cutter(way, [way], box=settings.box)


def _open_house(settings: PrepareSettings) -> Cutter:
    from rilievo import geometry
    from rilievo.project import Project

    assert settings.house is not None
    project = Project(settings.house, create=False)
    names = project.read().get("names", {})
    if "mesh" not in names or "cameras" not in names:
        raise InputError(
            f"{settings.house} has no surface", "cameras and mesh are needed", "run `rilievo build` to its end first"
        )
    scene, mesh = project.named("cameras"), project.named("mesh")
    world_from_cam = geometry.invert(scene.cam_from_world)
    focus = _focus(world_from_cam)
    up = -world_from_cam[:, :, 1].mean(0) if scene.frame == "arbitrary" else np.array([0.0, 0.0, 1.0])
    vertices = mesh.vertices.astype(np.float64) + mesh.origin
    chosen = cutout.above_support(vertices, mesh.faces, focus, up / np.linalg.norm(up))
    return Cutter("depth", ["depth", names["mesh"], names["cameras"]], house=House(mesh, scene, chosen))


def _focus(world_from_cam: np.ndarray) -> np.ndarray:
    """The point nearest to all optical axes."""
    A, b = np.zeros((3, 3)), np.zeros(3)
    for m in world_from_cam:
        axis = m[:, 2] / np.linalg.norm(m[:, 2])
        P = np.eye(3) - np.outer(axis, axis)
        A, b = A + P, b + P @ m[:, 3]
    return np.linalg.lstsq(A, b, rcond=1e-6)[0]
