"""Splats in GLB with KHR_gaussian_splatting (Khronos, release candidate of 2026): points with attributes of their own.

POSITION, ROTATION (x y z w), SCALE (lengths), OPACITY (0..1), SH_DEGREE_l_COEF_n (as in PLY files); COLOR_0 shows
points to viewers that do not know the extension. Axes are turned from z up to y up, as for meshes, with quaternions and
harmonics: a mesh and the splats of one project lie together. `extras` say what the extension has no place for: the
filter they were trained with, the background, the origin.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.gaussians import NUM_COEFFICIENTS, SH_C0, rotate_quats, rotate_sh, turn_points
from rilievo.io import gltf
from rilievo.io.axes import YUP_FROM_ZUP, linear_from_srgb, yup
from rilievo.io.splats import Raw, world_means
from rilievo.types import Splats

_NAME = "KHR_gaussian_splatting"
_COEFFICIENTS = [f"SH_DEGREE_{degree}_COEF_{n}" for degree in range(4) for n in range(2 * degree + 1)]


def write(path: Path, splats: Splats) -> None:
    """Writes every value in float32. Lengths are in the unit of the world: glTF means metres."""
    means, origin = world_means(splats)
    sh = rotate_sh(splats.sh, YUP_FROM_ZUP)
    quats = rotate_quats(splats.quats, YUP_FROM_ZUP)
    buffer = gltf.Buffer()
    attributes = {"POSITION": buffer.attribute(yup(means), limits=True)}
    colors = np.clip(np.round(255 * (0.5 + SH_C0 * splats.sh[:, 0].astype(np.float64))), 0, 255).astype(np.uint8)
    rgba = np.column_stack([linear_from_srgb(colors), splats.opacities])
    attributes["COLOR_0"] = buffer.attribute(np.round(rgba * 65535).astype(np.uint16), normalized=True)
    attributes[f"{_NAME}:ROTATION"] = buffer.attribute(np.ascontiguousarray(quats[:, [1, 2, 3, 0]]))
    attributes[f"{_NAME}:SCALE"] = buffer.attribute(splats.scales)
    attributes[f"{_NAME}:OPACITY"] = buffer.attribute(splats.opacities)
    for k in range(sh.shape[1]):
        attributes[f"{_NAME}:{_COEFFICIENTS[k]}"] = buffer.attribute(np.ascontiguousarray(sh[:, k]))
    extras: dict[str, Any] = {"antialiased": splats.antialiased, "background": list(splats.background)}
    if origin.any():
        extras["origin"] = origin.tolist()
        extras["origin_axes"] = "x y z with z up; world = positions (turned back to z up) + origin"
    primitive = {
        "attributes": attributes,
        "mode": 0,
        "extensions": {
            _NAME: {
                "kernel": "ellipse",
                "colorSpace": "srgb_rec709_display",
                "projection": "perspective",
                "sortingMethod": "cameraDistance",
            }
        },
    }
    root: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "rilievo"},
        "extensionsUsed": [_NAME],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "splats"}],
        "meshes": [{"name": "splats", "primitives": [primitive], "extras": extras}],
    }
    gltf.write_glb(path, root, buffer, "write PLY, SPZ or SOG")


def read(path: Path, data: bytes) -> Raw:
    """Reads all primitives with the extension as one, placed by their nodes, in z-up axes."""
    root, blob = gltf.read_chunks(path, data)
    needed = set(root.get("extensionsRequired", [])) - {_NAME, "KHR_materials_unlit", "KHR_mesh_quantization"}
    if needed:
        raise InputError(f"cannot read {path.name}", f"it needs {', '.join(sorted(needed))}, which is not read here")
    try:
        pieces = [
            _piece(path, root, blob, p, matrix) for p, matrix in gltf.placed(root) if _NAME in p.get("extensions", {})
        ]
        if not pieces:
            raise InputError(
                f"{path.name} does not hold Gaussian splats",
                f"no primitive has the extension {_NAME}",
                "it may be a mesh",
            )
        extras: dict[str, Any] = {}
        for mesh in root["meshes"]:
            extras |= mesh.get("extras", {}) if isinstance(mesh.get("extras"), dict) else {}
        background = tuple(float(c) for c in extras.get("background", (1, 1, 1)))
        origin = np.array(extras["origin"], np.float64) if "origin" in extras else None
        if len(background) != 3 or (origin is not None and (origin.shape != (3,) or not np.isfinite(origin).all())):
            raise ValueError("origin or background")
        num = max(piece.sh.shape[1] for piece in pieces)
        for piece in pieces:
            piece.sh = np.pad(piece.sh, ((0, 0), (0, num - piece.sh.shape[1]), (0, 0)))
        return Raw(
            np.concatenate([p.means for p in pieces]),
            np.concatenate([p.quats for p in pieces]),
            np.concatenate([p.scales for p in pieces]),
            np.concatenate([p.opacities for p in pieces]),
            np.concatenate([p.sh for p in pieces]),
            bool(extras.get("antialiased", False)),
            background,
            origin,
        )
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as e:
        raise InputError(f"cannot read {path.name}", f"the GLB file is damaged ({e!r})") from e


def _piece(path: Path, root: dict[str, Any], blob: bytes, primitive: dict[str, Any], matrix: np.ndarray) -> Raw:
    extension = primitive["extensions"][_NAME]
    if compressed := list(extension.get("extensions", {})):
        raise InputError(
            f"cannot read {path.name}", f"it is packed with {', '.join(compressed)}, which is not read here"
        )
    if extension.get("kernel", "ellipse") != "ellipse":
        raise InputError(f"cannot read {path.name}", f"its Gaussians have the kernel {extension['kernel']!r}")
    named = primitive["attributes"]

    def attribute(name: str) -> np.ndarray:
        return np.asarray(gltf.accessor(root, blob, named[name]), np.float64)

    means, scales = attribute("POSITION"), attribute(f"{_NAME}:SCALE")
    quats = attribute(f"{_NAME}:ROTATION")[:, [3, 0, 1, 2]]
    opacities = attribute(f"{_NAME}:OPACITY")
    degree = max((d for d in range(4) if f"{_NAME}:SH_DEGREE_{d}_COEF_0" in named), default=-1)
    if degree < 0:
        raise InputError(f"cannot read {path.name}", "its Gaussians have no spherical harmonics")
    names = _COEFFICIENTS[: NUM_COEFFICIENTS[degree]]
    sh = np.stack([attribute(f"{_NAME}:{n}") for n in names], 1).astype(np.float32)
    if not len(means) == len(scales) == len(quats) == len(opacities) == len(sh):
        raise ValueError("attributes of different lengths")
    if (scales < 0).any():  # drafts before 2026-04 had logarithms here
        scales = np.exp(scales)
    # The placing may turn, move and enlarge: a Gaussian that is sheared is no longer told by these attributes.
    zup_from_node = YUP_FROM_ZUP.T.astype(np.float64) @ matrix[:3, :3]
    size = float(np.cbrt(np.linalg.det(zup_from_node)))
    if not size > 0 or np.abs(zup_from_node @ zup_from_node.T / size**2 - np.eye(3)).max() > 1e-4:
        raise InputError(
            f"cannot read {path.name}", "a node stretches or mirrors its Gaussians, which is not read here"
        )
    rotation = np.round(zup_from_node / size, 9)
    quats = quats / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-30)
    offset = YUP_FROM_ZUP.T.astype(np.float64) @ matrix[:3, 3]
    return Raw(
        (turn_points(means * size, rotation) + offset).astype(np.float32),
        np.where(np.isfinite(quats).all(1, keepdims=True), rotate_quats(quats, rotation), np.nan),
        scales * size,
        opacities,
        rotate_sh(sh, rotation),
    )
