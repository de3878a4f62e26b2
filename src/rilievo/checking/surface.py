"""What photos see of the draft surface: patches with their number of views and best angles, score, overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rilievo import geometry
from rilievo.capture.coverage import Coverage, Obstacles, Picture, sample_by_area, view_counts
from rilievo.checking.alignment import Aligned
from rilievo.types import Camera, Reconstruction

NUM_PATCHES = 4000
# A patch is covered from this many photos on, whose directions span this angle, one of them this square to it.
MIN_VIEWS, MIN_ANGLE_DEG, MAX_INCIDENCE_DEG = 3, 10.0, 60.0
MIN_OVERLAP, PRO_OVERLAP = 0.6, 0.8


@dataclass(frozen=True, eq=False)
class Patches:
    """Points of the surface, each for an equal share of area. points, normals (n, 3) float64; normals None where the
    surface is not known.  inferred: bool (n,), nobody saw it.  weight: (n,) how much it belongs to what is photo-
    graphed, 0 to 1.  seen: of the photos that are there."""

    points: np.ndarray
    normals: np.ndarray | None
    inferred: np.ndarray
    weight: np.ndarray
    seen: Coverage
    obstacles: Obstacles | None

    def quality(self) -> np.ndarray:
        """0 to 1 each: see `quality_of`."""
        return quality_of(self.seen.counts, self.seen.angle_deg, self.seen.incidence_deg)

    def score(self, wanted: np.ndarray | None = None) -> float:
        """Coverage, 0 to 100: mean quality over the surface that is wanted (bool (n,), None: all)."""
        weight = self.weight if wanted is None else self.weight * wanted
        total = float(weight.sum())
        return 100 * float((weight * self.quality()).sum()) / total if total > 0 else 0.0

    def holes(self, wanted: np.ndarray | None = None) -> np.ndarray:
        """True (n,) where fewer than three photos see it."""
        few = self.seen.counts < MIN_VIEWS
        return few if wanted is None else few & wanted


def quality_of(counts: np.ndarray, angle_deg: np.ndarray, incidence_deg: np.ndarray) -> np.ndarray:
    """How well a patch can be measured, 0 to 1: 1 from three photos on whose directions span 15 degrees, one of them
    within 50 degrees of its normal; 0 with fewer than two photos."""
    views = np.clip((counts - 1) / (MIN_VIEWS - 1), 0, 1)
    angle = np.clip(np.nan_to_num(angle_deg) / 15.0, 0, 1)
    slant = np.where(np.isnan(incidence_deg), 1.0, np.clip((75.0 - incidence_deg) / 25.0, 0, 1))
    return np.where(counts >= 2, 0.5 * views + 0.3 * angle + 0.2 * slant, 0.0)


def make_patches(aligned: Aligned, num: int = NUM_PATCHES, seed: int = 0) -> Patches:
    """Patches of the draft surface, or of the sparse points where there is none."""
    scene, mesh = aligned.scene, aligned.mesh
    cameras, index, poses = scene.cameras, scene.camera_index, scene.cam_from_world
    if mesh is not None and len(mesh.faces):
        triangles = (mesh.vertices.astype(np.float64) + mesh.origin)[mesh.faces]
        points, face = sample_by_area(triangles, num, seed)
        a, b, c = (triangles[face, k] for k in range(3))
        normals = np.cross(b - a, c - a)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
        inferred = np.zeros(len(points), bool) if mesh.inferred is None else mesh.inferred[face]
        obstacles = Obstacles(triangles)
        # a little above the surface: the draft is rough and would hide itself
        size = float(np.median(np.linalg.norm(scene.centers - points.mean(0), axis=1)))
        points = points + 0.003 * size * normals
    else:
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.choice(len(scene.points), min(num, len(scene.points)), replace=False))
        points, normals, obstacles = scene.points[chosen], None, None
        inferred = np.zeros(len(points), bool)
    seen = view_counts(points, normals, cameras, index, poses, obstacles=obstacles)
    return Patches(points, normals, inferred, _belonging(scene, points), seen, obstacles)


def _belonging(scene: Reconstruction, points: np.ndarray) -> np.ndarray:
    """How much a place belongs to what is photographed: what most photos have in their frame, whether they see it or
    not, counts fully, the surroundings that some have at their rim little."""
    pictures = [Picture(c) for c in scene.cameras]
    framed = np.zeros(len(points))
    for k, pose in enumerate(scene.cam_from_world):
        framed += pictures[int(scene.camera_index[k])].inside(pose, points)
    usual = float(np.quantile(framed, 0.9)) if len(framed) else 1.0
    return np.clip((framed / max(usual, 1.0) - 0.15) / 0.5, 0, 1)


# --- overlap ----------------------------------------------------------------------------------------------------------


def overlaps(
    scene: Reconstruction, obstacles: Obstacles | None, num_near: int = 10, per_side: int = 20
) -> dict[str, list[tuple[str, float]]]:
    """For each photo how much of the surface in it is in others too: (photo, share), best first, over the nearest
    photos that look a similar way. Without a surface, of its sparse points."""
    pictures = [Picture(c) for c in scene.cameras]
    rays = [p.rays(per_side) for p in pictures]
    centers, ahead = scene.centers, scene.cam_from_world[:, 2, :3]
    n = len(scene.names)
    out: dict[str, list[tuple[str, float]]] = {}
    for i in range(n):
        points = _shown(scene, obstacles, i, rays[int(scene.camera_index[i])])
        found: list[tuple[str, float]] = []
        if len(points):
            depth = float(np.median(np.linalg.norm(points - centers[i], axis=1)))
            away = np.linalg.norm(centers - centers[i], axis=1) / max(depth, 1e-12) + 1 - ahead @ ahead[i]
            away[i] = np.inf
            for j in np.argsort(away, kind="stable")[: min(num_near, n - 1)]:
                inside = pictures[int(scene.camera_index[j])].inside(scene.cam_from_world[j], points)
                if obstacles is not None and inside.any():
                    inside[inside] = obstacles.visible(centers[j], points[inside])
                found.append((scene.names[j], float(inside.mean())))
        out[scene.names[i]] = sorted(found, key=lambda f: (-f[1], f[0]))
    return out


def _shown(scene: Reconstruction, obstacles: Obstacles | None, i: int, rays: np.ndarray) -> np.ndarray:
    """Points of the surface behind a grid of pixels of photo i, a little in front of it."""
    if obstacles is None:
        return scene.points[np.unique(scene.obs_point[scene.obs_photo == i])]
    world_from_cam = geometry.invert(scene.cam_from_world[i])
    directions = rays @ world_from_cam[:, :3].T
    times = obstacles.first_hit(np.tile(world_from_cam[:, 3], (len(rays), 1)), directions)
    hit = np.isfinite(times)
    return world_from_cam[:, 3] + 0.997 * times[hit, None] * directions[hit]


def second_best(overlap: dict[str, list[tuple[str, float]]]) -> dict[str, float]:
    """What each photo shares with its second-best neighbour: every photo needs one on two sides."""
    return {name: found[1][1] if len(found) > 1 else 0.0 for name, found in overlap.items()}


def usual_camera(scene: Reconstruction) -> Camera:
    """The camera that most photos were taken with."""
    return scene.cameras[int(np.argmax(np.bincount(scene.camera_index, minlength=len(scene.cameras))))]
