"""Photometric refinement: the mesh moves until the photos, seen through it, look most alike.

Vu, Labatut, Pons & Keriven 2012, "High accuracy and visibility-consistent dense multiview stereo", section 4, with a
Gauss-Newton step in place of their gradient step: every vertex knows how sharply the photos hold it, and the thin plate
that joins the vertices decides only where they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from rilievo.errors import InputError
from rilievo.stages import mesh_clean
from rilievo.stages.refine_photos import Measured, Photos, choose_pairs
from rilievo.stages.refine_shape import curvature_operator, edges_of, move, solve_step, split_edges
from rilievo.types import Mesh, Reconstruction, View

# Movement of a step that costs as much as a deviation of one sigma, pixel footprints: holds what nothing else holds.
_LOOSE = 2.0
# Mean energy below which the photos are taken to differ by this much all the same.
_LEAST_ENERGY = 0.01
# A step after which the energy is higher by more than this share is taken back.
_MAX_RISE = 0.02


@dataclass(frozen=True)
class RefineConfig:
    """How the mesh is refined by the photos."""

    version: ClassVar[int] = 2
    scales: tuple[float, ...] = (1.0,)
    """Sizes of the photos, coarse to fine. Smaller ones help where the mesh is off by more than a pixel; where it is
    not they cost accuracy."""
    steps: tuple[int, ...] = (2,)
    """Most steps at each size."""
    num_sources: int = 4
    """Photos that each photo is compared with."""
    radius: int = 3
    """Windows are 2 radius + 1 pixels wide and high."""
    noise: float = 6.0
    """Variance of grey values that is not texture."""
    softness: float = 0.3
    """Windows whose 1 - ZNCC is larger than this count less and less."""
    blur_px: float = 0.6
    """Blur of the photos, sigma: grey values between pixels then vary smoothly."""
    face_area_px: float = 16.0
    """Triangles larger than about this are split where the photos hold detail (0: none are)."""
    detail: float = 0.5
    """Photos hold detail where they fix a vertex to this many pixel footprints (standard deviation)."""
    max_faces: int = 1_000_000
    """No triangles are split beyond this number (0: no limit)."""
    roughness: float = 0.3
    """Expected distance of a vertex from the smooth surface through its neighbours, pixel footprints: the larger, the
    less is smoothed."""
    crease: float = 8.0
    """How fast smoothing falls with the angle between normals of neighbours: the larger, the sharper edges stay."""
    correlation: float = 4.0
    """Pixels and pairs of photos that carry the information of one."""
    max_step: float = 1.0
    """A vertex moves at most this far in a step, pixel footprints."""
    min_gain: float = 0.0
    """Steps at one size end when the mean energy falls by a smaller share than this (0: never)."""


@dataclass(frozen=True, eq=False)
class Refinement:
    """A refined mesh and how it came about.

    energies: (scale, mean energy of a pixel, number of faces) before each step.  movement: how far the vertices of the
    given mesh moved along their normals, pixel footprints at full size: 50 % and 95 % of them at most this far.
    num_pairs: pairs of photos that were compared.
    """

    mesh: Mesh
    energies: tuple[tuple[float, float, int], ...]
    movement: tuple[float, float]
    num_pairs: int


def refine_mesh(
    mesh: Mesh,
    load_view: Callable[[str], View],
    names: Sequence[str],
    reconstruction: Reconstruction,
    *,
    config: RefineConfig = RefineConfig(),
) -> Mesh:
    """The mesh as `refine` leaves it."""
    return refine(mesh, load_view, names, reconstruction, config=config).mesh


def refine(
    mesh: Mesh,
    load_view: Callable[[str], View],
    names: Sequence[str],
    reconstruction: Reconstruction,
    *,
    config: RefineConfig = RefineConfig(),
) -> Refinement:
    """Moves vertices along their normals to where pairs of photos agree best; splits triangles where that shows detail.

    load_view(name) gives an undistorted photo (PINHOLE camera) of `names`, which are in `reconstruction`; it may be
    called several times, and a few photos are in memory at a time. Vertices of faces marked as inferred, and those that
    no two photos see, only follow their neighbours. Colours, confidence, sigma and `inferred` are carried over; sigma
    becomes what the photos leave where that is less. Without any pair of photos the mesh comes back as it is.

    Raises InputError for a mesh without faces, with a place that is not finite, or that is textured already (vertices
    on seams are repeated and would part), for a photo without a place, and for one with distortion.
    """
    _check(mesh, names, reconstruction, config)
    pairs = choose_pairs(mesh, reconstruction, names, config.num_sources)
    num_pairs = sum(len(others) for others in pairs.values())
    start, num = mesh, len(mesh.vertices)
    energies: list[tuple[float, float, int]] = []
    measured: Measured | None = None
    last_scale = 1.0
    for scale, steps in zip(config.scales, config.steps) if num_pairs else ():
        photos = Photos(load_view, pairs, scale=scale, blur_px=config.blur_px)
        before: Mesh | None = None
        for _ in range(steps):
            if measured is not None:
                whole = _split_large(mesh, measured, last_scale / scale, config)
                before = None if before is None or len(whole.faces) != len(mesh.faces) else before
                mesh = whole
            x = mesh.vertices.astype(np.float64) + mesh.origin
            normals = mesh_clean.vertex_normals(mesh.vertices, mesh.faces).astype(np.float64)
            measured = photos.measure(
                x, normals, mesh.faces, radius=config.radius, noise=config.noise, softness=config.softness
            )
            last_scale = scale
            earlier = energies[-1][1] if energies and energies[-1][0] == scale else None
            energies.append((scale, measured.mean_energy, len(mesh.faces)))
            if earlier is not None and before is not None and measured.mean_energy > (1 + _MAX_RISE) * earlier:
                mesh = before
                break
            if earlier is not None and config.min_gain and measured.mean_energy > (1 - config.min_gain) * earlier:
                break
            before = mesh
            moved = move(x, mesh.faces, _step(x, normals, mesh, measured, config))
            mesh = replace(mesh, vertices=(moved - mesh.origin).astype(np.float32))
    mesh = replace(mesh, normals=mesh_clean.vertex_normals(mesh.vertices, mesh.faces))
    movement = (0.0, 0.0)
    if measured is not None and np.isfinite(measured.footprint).any():
        mesh = _with_sigma(mesh, measured, config)
        along = np.linalg.norm(mesh.vertices[:num] - start.vertices, axis=1) / (measured.footprint[:num] * last_scale)
        movement = (float(np.nanquantile(along, 0.5)), float(np.nanquantile(along, 0.95)))
    return Refinement(mesh, tuple(energies), movement, num_pairs)


def photo_energy(
    mesh: Mesh,
    load_view: Callable[[str], View],
    names: Sequence[str],
    reconstruction: Reconstruction,
    *,
    config: RefineConfig = RefineConfig(),
) -> float:
    """How unlike the photos are when seen through the mesh at the last of the scales: mean of the robust 1 - ZNCC, 0
    alike to `softness` at worst. Raises InputError as `refine`."""
    _check(mesh, names, reconstruction, config)
    photos = Photos(
        load_view,
        choose_pairs(mesh, reconstruction, names, config.num_sources),
        scale=config.scales[-1],
        blur_px=config.blur_px,
    )
    x = mesh.vertices.astype(np.float64) + mesh.origin
    normals = mesh_clean.vertex_normals(mesh.vertices, mesh.faces).astype(np.float64)
    settings = {"radius": config.radius, "noise": config.noise, "softness": config.softness}
    return photos.measure(x, normals, mesh.faces, **settings).mean_energy


def _check(mesh: Mesh, names: Sequence[str], reconstruction: Reconstruction, config: RefineConfig) -> None:
    if not len(mesh.faces):
        raise InputError("the mesh cannot be refined", "it has no faces")
    if not np.isfinite(mesh.vertices).all():
        raise InputError("the mesh cannot be refined", "the place of a vertex is not a number")
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        raise InputError("the mesh cannot be refined", "a face names a vertex that is not there")
    if mesh.uvs is not None:
        raise InputError(
            "the mesh cannot be refined",
            "it is textured, and its vertices on seams are repeated",
            "refine the mesh before it is textured",
        )
    missing = sorted(set(names) - set(reconstruction.names))
    if missing:
        raise InputError(f"{missing[0]} has no place in the reconstruction", "", "see `rilievo why`")
    if len(config.scales) != len(config.steps) or not all(0 < s <= 1 for s in config.scales):
        raise InputError("scales must lie above 0 and up to 1, with one number of steps for each", str(config.scales))


def _variance(measured: Measured, config: RefineConfig) -> float:
    """Energy that is worth half a squared standard deviation: a pixel's 1 - ZNCC is half its normalised squared
    difference, and not every pixel tells something of its own."""
    return 2 * max(measured.mean_energy, _LEAST_ENERGY) * config.correlation


def _step(x: np.ndarray, normals: np.ndarray, mesh: Mesh, measured: Measured, config: RefineConfig) -> np.ndarray:
    """Movement float64 (v, 3) of one step."""
    if not np.isfinite(measured.footprint).any():
        return np.zeros(x.shape)
    held = np.zeros(len(x), bool)
    if mesh.inferred is not None:
        held[mesh.faces[mesh.inferred]] = True
    footprint = measured.footprint
    footprint = np.where(np.isfinite(footprint), footprint, np.nanmedian(footprint))
    slope, curvature = (
        np.where(held, 0, values / _variance(measured, config)) for values in (measured.slope, measured.curvature)
    )
    damping = 1 / (_LOOSE * footprint) ** 2
    along = solve_step(
        curvature_operator(x, normals, mesh.faces, config.crease),
        x,
        normals,
        slope,
        curvature,
        stiffness=1 / (config.roughness * footprint) ** 2,
        damping=damping,
        # Where no photo holds a vertex the shape that is there is the best guess: it is not smoothed.
        smoothing=curvature / (curvature + 4 * damping),
    )
    limit = config.max_step * footprint
    return np.clip(along, -limit, limit)[:, None] * normals


def _with_sigma(mesh: Mesh, measured: Measured, config: RefineConfig) -> Mesh:
    if mesh.sigma is None:
        return mesh
    with np.errstate(divide="ignore"):
        left = np.sqrt(_variance(measured, config) / measured.curvature)
    if mesh.inferred is not None:
        left[mesh.faces[mesh.inferred]] = np.inf
    return replace(mesh, sigma=np.fmin(mesh.sigma, left).astype(np.float32))


def _split_large(mesh: Mesh, measured: Measured, coarser: float, config: RefineConfig) -> Mesh:
    """The mesh with edges cut that are long, in pixels, where the photos hold detail. coarser: the scale that
    was measured / the scale that comes."""
    room = max(config.max_faces - len(mesh.faces), 0) // 2 if config.max_faces else len(mesh.faces)
    if config.face_area_px <= 0 or not room:
        return mesh
    edges, side, _ = edges_of(mesh.faces)
    with np.errstate(divide="ignore", invalid="ignore"):
        sigma = np.sqrt(_variance(measured, config) / measured.curvature) / measured.footprint
    detailed = np.nan_to_num(sigma, nan=np.inf) < config.detail
    footprint = np.nan_to_num(measured.footprint * coarser, nan=np.inf)[edges].min(1)
    x = mesh.vertices.astype(np.float64)
    length = np.linalg.norm(x[edges[:, 0]] - x[edges[:, 1]], axis=1) / footprint
    # Side of an equilateral triangle of that area; halves must not be much shorter.
    chosen = (length > 1.4 * np.sqrt(4 / np.sqrt(3) * config.face_area_px)) & detailed[edges].all(1)
    if mesh.inferred is not None:
        chosen[side[mesh.inferred]] = False
    at = np.flatnonzero(chosen)
    if len(at) > room:
        chosen[at[np.argsort(-length[at], kind="stable")[room:]]] = False
    if not chosen.any():
        return mesh
    faces, parent, ends = split_edges(mesh.faces, chosen, len(x))

    def extended(values: np.ndarray | None) -> np.ndarray | None:
        if values is None:
            return None
        middle = values[ends].astype(np.float64).mean(1)
        return np.concatenate([values, (np.rint(middle) if values.dtype == np.uint8 else middle).astype(values.dtype)])

    return replace(
        mesh,
        vertices=extended(mesh.vertices),
        faces=faces,
        normals=None,
        colors=extended(mesh.colors),
        confidence=extended(mesh.confidence),
        sigma=extended(mesh.sigma),
        inferred=None if mesh.inferred is None else mesh.inferred[parent],
    )
