"""Mirrors, panes of glass and things that move, for the synthetic scenes; and which pixels show them.

A mirror sends rays back at the angle of incidence and swallows a little; a thin pane lets them through straight and
reflects what Fresnel's equations say of its two faces. Light that a mirror throws onto other things is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from rilievo import geometry
from rilievo.types import Camera
from scene_sets import Part
from scene_shapes import vertex_normals
from scenes import Scene, _embree, assemble, pixel_directions, surface_radiance

MIRROR, GLASS, FIGURE = 1, 2, 3
_MOST_BOUNCES = 4
_GLASS_INDEX = 1.52


@dataclass(frozen=True)
class OpticScene(Scene):
    """A scene with kinds of materials: kind[m] is 0 (plain), MIRROR, GLASS or FIGURE (plain, and moving)."""

    kind: np.ndarray

    @cached_property
    def shadows(self) -> Any:
        solid = self.kind[self.material] != GLASS
        return _embree(self.vertices, self.faces[solid])

    def radiance(self, eye: np.ndarray, directions: np.ndarray, pixel_angle: float) -> np.ndarray:
        return _trace(self, np.broadcast_to(eye, directions.shape), directions, pixel_angle, _MOST_BOUNCES)

    def with_parts(self, parts: Sequence[Part], kind: int) -> OpticScene:
        """The same scene with more parts in it. What they do to the sky's light elsewhere is left out."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        for part in parts:
            v = np.round(part.shape[0] * 2.0**17) / 2.0**17
            more = part.shape[1] + len(values["vertices"])
            values["faces"] = np.concatenate([values["faces"], more]).astype(np.int32)
            values["vertices"] = np.concatenate([values["vertices"], v])
            values["normals"] = np.concatenate([values["normals"], vertex_normals(v, part.shape[1])])
            values["openness"] = np.concatenate([values["openness"], np.full(len(v), 0.7, np.float32)])
            number = len(values["albedo"])
            values["material"] = np.concatenate([values["material"], np.full(len(part.shape[1]), number, np.int32)])
            values["albedo"] = (*values["albedo"], part.albedo)
            values["gloss"] = (*values["gloss"], part.gloss)
            values["kind"] = np.append(values["kind"], kind)
        return OpticScene(**values)

    def without(self, *kinds: int) -> OpticScene:
        """The same scene without the faces of these kinds."""
        keep = ~np.isin(self.kind[self.material], kinds)
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values["faces"], values["material"] = self.faces[keep], self.material[keep]
        return OpticScene(**values)


def make(parts: Sequence[tuple[Part, int]], target: np.ndarray, rng: np.random.Generator) -> OpticScene:
    """Parts, each with its kind."""
    plain = assemble([p for p, _ in parts], target, rng)
    values = {f.name: getattr(plain, f.name) for f in fields(plain)}
    return OpticScene(**values, kind=np.array([k for _, k in parts]))


def fresnel(cosine: np.ndarray) -> np.ndarray:
    """Share of unpolarised light that a pane reflects with both its faces: 2 R / (1 + R), R of one face (n,)."""
    sine_in = np.sqrt(np.maximum(1 - cosine**2, 0)) / _GLASS_INDEX
    inside = np.sqrt(1 - sine_in**2)
    s = ((cosine - _GLASS_INDEX * inside) / (cosine + _GLASS_INDEX * inside)) ** 2
    p = ((inside - _GLASS_INDEX * cosine) / (inside + _GLASS_INDEX * cosine)) ** 2
    R = (s + p) / 2
    return 2 * R / (1 + R)


def _trace(scene: OpticScene, eye: np.ndarray, directions: np.ndarray, angle: float, bounces: int) -> np.ndarray:
    hit = scene.rays.run(np.ascontiguousarray(eye, np.float32), directions.astype(np.float32), output=True)
    kind = np.where(hit["primID"] < 0, 0, scene.kind[scene.material[hit["primID"]]])
    special = (kind == MIRROR) | (kind == GLASS)
    out = np.zeros(directions.shape, np.float32)
    if not special.all():
        out[~special] = surface_radiance(scene, eye[~special], directions[~special], angle)
    if bounces == 0 or not special.any():
        return out
    n = hit["Ng"].astype(np.float64)
    n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-20)
    along = (n * directions).sum(1, keepdims=True)
    point = eye + directions * hit["tfar"][:, None]
    back = directions - 2 * along * n
    off = 1e-4 * np.sign(-along) * n  # off the surface, to the side that the ray came from
    m = np.flatnonzero(kind == MIRROR)
    if len(m):
        out[m] = 0.9 * _trace(scene, (point + off)[m], back[m], angle, bounces - 1)
    g = np.flatnonzero(kind == GLASS)
    if len(g):
        share = fresnel(np.abs(along[g, 0]) / np.linalg.norm(directions[g], axis=1))[:, None]
        through = _trace(scene, (point - off)[g], directions[g], angle, bounces - 1)
        out[g] = share * _trace(scene, (point + off)[g], back[g], angle, bounces - 1) + 0.96 * (1 - share) * through
    return out


def true_masks(scene: OpticScene, camera: Camera, cam_from_world: np.ndarray) -> dict[str, np.ndarray]:
    """bool (h, w) of "mirror" and "glass" (the pixel's centre meets it first) and "figure" (seen directly or through
    glass, not in a mirror)."""
    world_from_cam = geometry.invert(cam_from_world)
    directions = pixel_directions(camera, 1).reshape(-1, 3) @ world_from_cam[:, :3].T
    eye = np.tile(world_from_cam[:, 3].astype(np.float32), (len(directions), 1))

    def kinds(seen: OpticScene) -> np.ndarray:
        face = seen.rays.run(eye, directions.astype(np.float32))
        return np.where(face < 0, 0, seen.kind[seen.material[face]]).reshape(camera.height, camera.width)

    first = kinds(scene)
    behind = kinds(scene.without(GLASS)) if (scene.kind == GLASS).any() else first
    return {"mirror": first == MIRROR, "glass": first == GLASS, "figure": behind == FIGURE}
