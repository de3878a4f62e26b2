"""Surfaces from points: one function a method in the table SURFACES, and the cleaning that follows them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rilievo.errors import AlignmentError, InputError
from rilievo.stages import mesh_clean, mesh_close, mesh_snap
from rilievo.stages.neighbours import Neighbours
from rilievo.stages.surface_balls import ball_pivoting
from rilievo.stages.surface_delaunay import delaunay
from rilievo.stages.surface_poisson import poisson
from rilievo.types import Mesh, PointCloud, Reconstruction


@dataclass(frozen=True)
class MeshConfig:
    """How points become a surface."""

    version: ClassVar[int] = 8
    surface: str = "auto"
    """Method: auto, or a name in SURFACES. auto is the one that measured best."""
    max_faces: int = 1_000_000
    """The surface is simplified to this many triangles (0: as it comes)."""
    thinning: float = 3.0
    """One point is used of each cell of this many pixel footprints and each side of a surface (0: all are used)."""
    max_gap: float = 4.0
    """Surface farther from all points than this many pixel footprints is marked as inferred."""
    max_rim: float = 2.0
    """At a rim, surface farther from all points than this many pixel footprints (at most max_gap) is dropped."""
    max_inferred: float = 12.0
    """Surface farther from all points than this many pixel footprints is dropped."""
    max_hole: float = 40.0
    """Holes whose rim is shorter than this many pixel footprints are filled and marked as inferred."""
    min_component: float = 0.0005
    """Pieces with less than this share of the whole area are dropped."""
    smoothing: int = 1
    """Rounds of smoothing that keep volume (0: none)."""
    snapping: int = 1
    """Rounds of pulling the surface onto the points around it, before and after simplifying (0: none)."""
    watertight: bool = False
    """Close the surface: what no photo shows is closed over (open scenes become a block) and marked as inferred."""
    tile_points: int = 2_000_000
    """Scenes with more points than this, after thinning, are solved in tiles (0: never). Bounds memory: a tile takes
    about 0.8 GB a million of its points."""


Surface = Callable[[PointCloud, np.ndarray, float, int, bool], tuple[np.ndarray, np.ndarray]]

# name -> function(cloud, centers of cloud.names (n, 3) relative to cloud.origin, thinning, points in a tile, closed)
# -> vertices, faces
SURFACES: dict[str, Surface] = {"ball-pivoting": ball_pivoting, "delaunay": delaunay, "poisson": poisson}
DEFAULT_SURFACE = "delaunay"


def mesh_cloud(cloud: PointCloud, reconstruction: Reconstruction, *, config: MeshConfig = MeshConfig()) -> Mesh:
    """A surface through the points, with colour, confidence and sigma of the nearest points at its vertices.

    The photos that `cloud.names` names must be in `reconstruction`: methods that reason about visibility need the
    places of the cameras. Faces without a measured point nearby have `inferred` True.

    Raises InputError for an unknown method, a cloud that is too small, or a cloud of other photos; AlignmentError when
    no surface is left.
    """
    name = DEFAULT_SURFACE if config.surface == "auto" else config.surface
    if name not in SURFACES:
        raise InputError(
            f"unknown surface method {config.surface!r}",
            f"the methods are: auto, {', '.join(sorted(SURFACES))}",
            "choose one of them with --surface",
        )
    if len(cloud.points) < 100:
        raise InputError(
            "the point cloud is too small for a surface",
            f"it has {len(cloud.points)} points; at least 100 are needed",
            "check with `rilievo info` how many photos were placed, and take photos that overlap more",
        )
    missing = sorted(set(cloud.names) - set(reconstruction.names))
    if missing:
        raise InputError(
            "the cameras do not belong to this point cloud",
            f"{len(missing)} of {len(cloud.names)} photos have no camera, e.g. {missing[0]}",
            "use the reconstruction from which the depth maps were made",
        )
    row = {photo: i for i, photo in enumerate(reconstruction.names)}
    centers = reconstruction.centers[[row[photo] for photo in cloud.names]].reshape(-1, 3) - cloud.origin

    vertices, faces = SURFACES[name](cloud, centers, config.thinning, config.tile_points, config.watertight)
    vertices, faces = mesh_clean.tidy(vertices, faces)
    near = Neighbours(cloud)
    if config.watertight:
        vertices, faces = mesh_close.close(vertices, faces)
        measured = near.gap(vertices, faces) <= config.max_gap
        vertices, faces = mesh_close.without_voids(vertices, faces, measured)
    else:
        vertices, faces = _trim(vertices, faces, near, config)
    vertices, faces = _drop_pieces(vertices, faces, config.min_component)
    if not len(faces):
        raise AlignmentError(
            "no surface was found",
            f"the {len(cloud.points)} points are too scattered for the method {name}",
            "take photos that overlap more, or try another --surface",
        )
    vertices = mesh_clean.smooth(vertices, faces, config.smoothing)
    vertices = mesh_clean.unfold(mesh_snap.snap(vertices, faces, near, config.snapping), faces)
    vertices, faces = mesh_clean.simplify(vertices, faces, config.max_faces, near.trust(vertices))
    vertices = mesh_clean.unfold(mesh_snap.snap(vertices, faces, near, config.snapping), faces)
    spacing, num_found = float(np.median(cloud.spacing)), len(faces)
    if config.watertight:
        vertices = mesh_close.part_copies(vertices, faces, 0.05 * spacing)
    else:
        vertices, faces = mesh_clean.fill_holes(vertices, faces, config.max_hole * spacing)
    inferred = (near.gap(vertices, faces) > config.max_gap) | near.prior(vertices, faces)
    inferred[num_found:] = True
    colors, confidence, sigma = near.attributes(vertices)
    return Mesh(
        vertices=vertices,
        faces=faces,
        normals=mesh_clean.vertex_normals(vertices, faces),
        colors=colors,
        confidence=confidence,
        sigma=sigma,
        inferred=inferred,
        origin=cloud.origin,
    )


def _trim(
    vertices: np.ndarray, faces: np.ndarray, near: Neighbours, config: MeshConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Without the surface that no point supports, as a manifold with a rim."""
    gap = near.gap(vertices, faces)
    kept = gap <= config.max_inferred
    faces, gap = faces[kept], gap[kept]
    # Unmeasured surface that closes a hole stays and is marked; webs that hang on the rim are nobody's surface.
    faces = faces[~mesh_clean.touches_border(vertices, faces, gap > min(config.max_rim, config.max_gap))]
    return mesh_clean.split_nonmanifold(*mesh_clean.tidy(vertices, faces))


def _drop_pieces(vertices: np.ndarray, faces: np.ndarray, min_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Without connected pieces that have less than this share of the area."""
    if not len(faces):
        return vertices, faces
    label = mesh_clean.components(vertices, faces)
    area = np.bincount(label, mesh_clean.face_areas(vertices, faces))
    return mesh_clean.tidy(vertices, faces[area[label] >= min_share * area.sum()])
