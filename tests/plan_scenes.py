"""Plans put to the test: their photos are rendered from generated scenes and reconstructed, and what the reconstructed
cameras have of the true surface is held against what the plan said."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import scene_sets
import scene_textures as tx
import scenes
from rilievo import geometry
from rilievo.capture.area import AreaSettings, plan_area
from rilievo.capture.around import plan_object
from rilievo.capture.coverage import sample_triangles
from rilievo.capture.facade import plan_facade
from rilievo.capture.gear import Drone, Gear
from rilievo.capture.places import Plane
from rilievo.capture.room import plan_room
from rilievo.capture.stations import Assessment, Plan, Stations, assess
from rilievo.capture.terrain import Raster
from rilievo.types import Reconstruction
from scene_indoors import rock
from scene_sets import Part
from scene_shapes import box, turned

METRICS = ("gsd_median", "overlap_median", "overlap_across_median", "views_mean", "views_median")


@dataclass(frozen=True)
class Simulation:
    """A plan, the scene its photos are taken of, the world's poses of its stations (the scene's axes), and points of
    the true surface with their normals that the plan is about."""

    plan: Plan
    scene: scenes.Scene
    stations: Stations
    samples: tuple[np.ndarray, np.ndarray]

    @property
    def triangles(self) -> np.ndarray:
        """The true surface."""
        return self.scene.vertices[self.scene.faces].astype(np.float64)

    def planned(self) -> Assessment:
        """What the plan's cameras have of the true surface."""
        return assess(self.stations, self.plan.camera, self.triangles, samples=self.samples)


def printed_room(rng: np.random.Generator) -> tuple[list[Part], np.ndarray]:
    """A room of 4 x 3 x 2.4 m with papered walls, its corner at zero, and three pieces of furniture."""
    tones = ((182, 168, 140), (150, 166, 172), (178, 150, 138), (140, 120, 100), (206, 202, 196))
    paper = [tx.box_mapped(tx.Texture.of(tx.stone(rng, 1024, c, 1.3), 0.004)) for c in tones]
    wood = rock(rng, 1024, (140, 104, 70), 0.003, 1.2)
    x, y, z, t = 4.0, 3.0, 2.4, 0.1
    walls = [
        ([-t, -t, 0], [x + t, 0, z]), ([-t, y, 0], [x + t, y + t, z]), ([-t, 0, 0], [0, y, z]),
        ([x, 0, 0], [x + t, y, z]),
        ([-t, -t, -t], [x + t, y + t, 0]), ([-t, -t, z], [x + t, y + t, z + t]),
    ]  # fmt: skip
    parts = [Part(box(low, high, 0.1), paper[min(k, 4)]) for k, (low, high) in enumerate(walls)]
    for size, angle, place in (([0.9, 0.3, 0.8], 4, [2.0, 0.2, 0]), ([0.4, 0.4, 0.45], 25, [3.3, 2.5, 0]),
                               ([0.3, 0.9, 1.2], 0, [0.18, 1.6, 0])):  # fmt: skip
        half = np.array([size[0] / 2, size[1] / 2, 0.0])
        parts.append(Part(turned(box(-half, half + [0, 0, size[2]], 0.06, 0.01), angle, np.array(place)), wood))
    return parts, np.array([2.0, 1.5, 1.0])


scene_sets.SCENES["printed_room"] = printed_room


def object_simulation(width: int = 640, **asked: Any) -> Simulation:
    """Stones on printed paper."""
    gear = Gear("test", (23.5, 17.625), 24.0, (width, width * 3 // 4))
    scene = scenes.make_scene("blocks", 3)
    size = (1.3, 0.9, 0.62)
    plan = plan_object(gear, size, portrait=False, **asked)
    triangles = scene.vertices[scene.faces].astype(np.float64)
    points, normals = sample_triangles(triangles, 6000)
    keep = (np.abs(points[:, :2]) < np.array(size[:2]) / 2).all(1) & (normals[:, 2] > -0.5) & (points[:, 2] < size[2])
    return Simulation(plan, scene, plan.stations, (points[keep], normals[keep]))


def facade_simulation(width: int = 600) -> Simulation:
    """A house front of 8 x 6 m."""
    gear = Gear("test", (23.5, 17.625), 20.0, (width, width * 3 // 4))
    scene = scenes.make_scene("facade", 3)
    plan = plan_facade(gear, (8.0, 6.0), distance=5.5, relief=0.25, standard="minimum")
    points, normals = sample_triangles(scene.vertices[scene.faces].astype(np.float64), 12000)
    keep = (normals[:, 1] < -0.7) & (np.abs(points[:, 1]) < 0.3) & (points[:, 2] > 0)
    return Simulation(plan, scene, plan.stations, (points[keep], normals[keep]))


def room_simulation(width: int = 600) -> Simulation:
    """A papered room of 4 x 3 x 2.4 m."""
    gear = Gear("test", (23.5, 17.625), 15.0, (width, width * 3 // 4))
    scene = scenes.make_scene("printed_room", 3)
    plan = plan_room(gear, (4.0, 3.0, 2.4), standard="minimum")
    points, normals = sample_triangles(scene.vertices[scene.faces].astype(np.float64), 9000)
    low, high = np.array([-0.001] * 3), np.array([4.001, 3.001, 2.401])
    keep = ((points > low) & (points < high)).all(1)
    return Simulation(plan, scene, plan.stations, (points[keep], normals[keep]))


def area_simulation(width: int = 720, pattern: str = "grid") -> Simulation:
    """The middle of a village by drone, its surface model followed."""
    gear = Gear("test", (13.2, 8.8), 8.8, (width, width * 2 // 3), kind="drone", drone=Drone(10.0, 30.0, 0.5))
    scene = scenes.make_scene("village", 3)
    place = (46.02, 8.95, 310.0)
    plane = Plane(place[0], place[1])
    outline = plane.to_degrees(np.array([[-35.0, -22.0], [35.0, -22.0], [35.0, 22.0], [-35.0, 22.0]]))
    raster = surface_model(scene, plane, place[2])
    settings = AreaSettings(height=50.0, overlap=0.75, side_overlap=0.6, pattern=pattern)
    plan, _ = plan_area(gear, outline, settings, raster)
    assert plan.place is not None
    # the plan's plane touches at the middle of the outline, its zero height is that of take-off
    shift = plane.from_degrees(np.array([plan.place[0]]), np.array([plan.place[1]]))[0]
    lift = np.array([*shift, plan.place[2] - place[2]])
    poses = plan.stations.cam_from_world.copy()
    poses[:, :, 3] -= poses[:, :, :3] @ lift
    points, normals = sample_triangles(scene.vertices[scene.faces].astype(np.float64), 40000)
    keep = (np.abs(points[:, :2]) < [35, 22]).all(1) & (normals[:, 2] > 0.5)
    return Simulation(plan, scene, replace(plan.stations, cam_from_world=poses), (points[keep], normals[keep]))


def surface_model(scene: scenes.Scene, plane: Plane, height: float, step: float = 1.0) -> Raster:
    """The scene seen straight from above, as a raster in degrees."""
    low, high = scene.vertices[:, :2].min(0), scene.vertices[:, :2].max(0)
    corner = plane.to_degrees(np.array([[low[0], high[1]]]))[0]
    size = math.degrees(step / 6.371e6)
    num = (int((high[1] - low[1]) / step), int((high[0] - low[0]) / step / math.cos(math.radians(plane.latitude))))
    latitude, longitude = corner[0] - size * np.arange(num[0]), corner[1] + size * np.arange(num[1])
    X = np.stack(np.broadcast_arrays(latitude[:, None], longitude[None]), -1).reshape(-1, 2)
    xy = plane.from_degrees(X[:, 0], X[:, 1])
    top = float(scene.vertices[:, 2].max()) + 10
    origins = np.concatenate([xy, np.full((len(xy), 1), top)], 1).astype(np.float32)
    hit = scene.rays.run(origins, np.tile(np.float32([0, 0, -1]), (len(xy), 1)), output=True)
    z = np.where(hit["primID"] < 0, np.nan, top - hit["tfar"]).reshape(num)
    return Raster(z + height, float(longitude[0]), float(latitude[0]), size, size, "EPSG:4326")


def small_object() -> Simulation:
    """The same with few and small photos, for a test."""
    return object_simulation(400, tiers=(25.0, 50.0), step_deg=20.0, overlap=0.6)


SIMULATIONS: dict[str, Callable[[], Simulation]] = {
    "small": small_object,
    "object": object_simulation,
    "facade": facade_simulation,
    "room": room_simulation,
    "area": area_simulation,
}


def photograph(simulation: Simulation, folder: Path, *, samples: int = 2) -> Path:
    """Renders the plan's photos; returns their folder."""
    scenes.write_capture(
        simulation.scene, folder, simulation.plan.camera, simulation.stations.cam_from_world, samples=samples
    )
    return folder / "photos"


def find_cameras(photos: Path, house: Path, quality: str = "draft") -> Reconstruction:
    """The product's own cameras of some photos."""
    from rilievo.chain import Chain
    from rilievo.gather import gather
    from rilievo.pipelines import find_cameras as place
    from rilievo.plan import BuildSettings
    from rilievo.project import Project

    chain = Chain(Project(house), 2)
    return place(chain, gather(chain, [photos]), BuildSettings(quality=quality)).reconstruction


def achieved(
    simulation: Simulation, model: Reconstruction, surface: np.ndarray | None = None
) -> tuple[Assessment, float]:
    """What reconstructed cameras have of the true surface (or of `surface`, triangles in the model's frame, brought to
    the scene's), and their rms error of place in metres. Photos that were not placed count as not taken."""
    index = np.array([int(name[-8:-4]) for name in model.names])
    truth = simulation.stations.centers[index]
    scale, world_from_model = geometry.align(model.centers, truth)
    R, t = world_from_model[:, :3], world_from_model[:, 3]
    turned_poses = np.einsum("nij,kj->nik", model.cam_from_world[:, :, :3], R)
    shift = scale * model.cam_from_world[:, :, 3] - turned_poses @ t
    poses = np.concatenate([turned_poses, shift[..., None]], -1)
    order = np.argsort(index)
    stations = replace(
        simulation.stations,
        cam_from_world=np.ascontiguousarray(poses[order]),
        group=simulation.stations.group[index[order]],
        strip=simulation.stations.strip[index[order]],
    )
    triangles = simulation.triangles if surface is None else scale * surface @ R.T + t
    found = assess(stations, model.cameras[0], triangles, samples=simulation.samples)
    off = geometry.invert(poses)[:, :, 3] - truth
    return found, float(np.sqrt((off**2).sum(1).mean()))
