"""Splats in PLY: the layout that trainers write and viewers read.

Vertex properties, all float: x y z, nx ny nz (zeros), f_dc_0..2, f_rest_0.. (harmonics of degree 1 and higher, all of
red, then green, then blue), opacity (as a logit), scale_0..2 (natural logarithms), rot_0..3 (w x y z). Comments say
what the layout has no place for: `SplatRenderMode: mip` (Gaussians trained with the filter of Mip-Splatting, Brush's
spelling; `default` without it), `origin` (float64, added to x y z) and `background`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.gaussians import NUM_COEFFICIENTS, SH_C0
from rilievo.io.files import replacing
from rilievo.io.ply import read_tables
from rilievo.io.splats import Raw, world_means
from rilievo.io.splats_ply_packed import unpack
from rilievo.types import Splats

_CHUNK = 1 << 16


def write(path: Path, splats: Splats) -> None:
    """Writes every value; nothing is lost but the last bits of logarithms."""
    means, origin = world_means(splats)
    rest = 3 * (splats.sh.shape[1] - 1)
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *(f"f_rest_{i}" for i in range(rest))]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    mode = "mip" if splats.antialiased else "default"
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment rilievo: Gaussian splats",
        f"comment SplatRenderMode: {mode}",
    ]
    header.append("comment background " + " ".join(repr(float(c)) for c in splats.background))
    if origin.any():
        header.append("comment origin " + " ".join(repr(float(x)) for x in origin))
    header += [f"element vertex {len(means)}", *(f"property float {n}" for n in names), "end_header"]
    with replacing(path) as f:
        f.write(("\n".join(header) + "\n").encode())
        for at in range(0, len(means), _CHUNK):
            some = slice(at, at + _CHUNK)
            sh = splats.sh[some]
            # A logit of 17 is as far as a float32 opacity below 1 reaches.
            p = np.clip(splats.opacities[some].astype(np.float64), 4e-8, 1 - 4e-8)
            columns = [
                means[some],
                np.zeros((len(sh), 3)),
                sh[:, 0],
                sh[:, 1:].transpose(0, 2, 1).reshape(len(sh), rest),
                np.log(p / (1 - p))[:, None],
                np.log(splats.scales[some].astype(np.float64)),
                splats.quats[some],
            ]
            f.write(np.concatenate(columns, 1).astype("<f4").tobytes())


def read(path: Path, data: bytes) -> Raw:
    """Reads the layout with its properties in any order and of any type, ascii or binary, with or without normals, and
    PlayCanvas' compressed one."""
    tables, comments = read_tables(path, data)
    vertex = tables.get("vertex", {})
    antialiased, background, origin = _comments(comments)
    if origin is not None and not np.isfinite(origin).all():
        raise InputError(f"cannot read {path.name}", "its origin is not made of finite numbers")
    if "chunk" in tables and "packed_position" in vertex:
        try:
            return Raw(*unpack(tables), antialiased, background, origin)
        except (KeyError, ValueError, TypeError) as e:
            raise InputError(f"cannot read {path.name}", f"the compressed PLY file is damaged ({e!r})") from e
    needed = ("x", "y", "z", "opacity", "scale_0", "scale_1", "rot_0", "rot_1", "rot_2", "rot_3")
    if missing := [n for n in needed if n not in vertex]:
        raise InputError(
            f"{path.name} does not hold Gaussian splats",
            f"its vertices have no {', '.join(missing)}",
            "it may be a mesh or a point cloud: rilievo reads those with `rilievo.io.models`",
        )
    if any(not isinstance(vertex[n], np.ndarray) for n in needed):
        raise InputError(f"cannot read {path.name}", "a property that should be a number is a list")
    sh = _harmonics(path, vertex)
    means = _stack(vertex, "x y z")
    with np.errstate(over="ignore"):
        opacities = 1 / (1 + np.exp(-np.asarray(vertex["opacity"], np.float64)))
        if "scale_2" in vertex:
            scales = np.exp(_stack(vertex, "scale_0 scale_1 scale_2").astype(np.float64))
        else:  # flat Gaussians (Huang et al. 2024): as thin as makes no difference
            scales = np.exp(_stack(vertex, "scale_0 scale_1").astype(np.float64))
            scales = np.column_stack([scales, 1e-4 * scales.min(1)])
    return Raw(means, _stack(vertex, "rot_0 rot_1 rot_2 rot_3"), scales, opacities, sh, antialiased, background, origin)


def _comments(comments: list[str]) -> tuple[bool, tuple[float, float, float], np.ndarray | None]:
    """(antialiased, background, origin) as far as comments tell."""
    antialiased, background, origin = False, (1.0, 1.0, 1.0), None
    for comment in comments:
        words = comment.lower().replace(":", " ").split()
        if len(words) == 2 and words[0] in ("splatrendermode", "antialiased"):
            antialiased = words[1] in ("mip", "antialiased", "1", "true")
        try:
            if len(words) == 4 and words[0] == "origin":
                origin = np.array([float(w) for w in words[1:]])
            elif len(words) == 4 and words[0] == "background":
                background = (float(words[1]), float(words[2]), float(words[3]))
        except ValueError:
            continue  # somebody else's comment
    return antialiased, background, origin


def _stack(vertex: dict[str, Any], names: str) -> np.ndarray:
    """Columns side by side, float32, or float64 where the file has doubles."""
    columns = [np.asarray(vertex[n]) for n in names.split()]
    return np.stack(columns, 1).astype(np.float64 if columns[0].dtype.itemsize == 8 else np.float32)


def _harmonics(path: Path, vertex: dict[str, Any]) -> np.ndarray:
    """float32 (n, k, 3) from f_dc and f_rest, or from plain colours."""
    num_rest = sum(1 for n in vertex if n.startswith("f_rest_"))
    if num_rest not in [3 * (k - 1) for k in NUM_COEFFICIENTS] or any(
        f"f_rest_{i}" not in vertex for i in range(num_rest)
    ):
        raise InputError(
            f"cannot read {path.name}",
            f"{num_rest} properties f_rest_* fit no degree of spherical harmonics that is read here",
            "degree 0 has none, degree 1 has 9, degree 2 has 24, degree 3 has 45",
        )
    if all(f"f_dc_{c}" in vertex for c in range(3)):
        constant = _stack(vertex, "f_dc_0 f_dc_1 f_dc_2")
    elif all(c in vertex for c in ("red", "green", "blue")):
        colors = np.stack([np.asarray(vertex[c], np.float64) for c in ("red", "green", "blue")], 1)
        constant = (colors / (1 if np.asarray(vertex["red"]).dtype.kind == "f" else 255) - 0.5) / SH_C0
    else:
        raise InputError(f"cannot read {path.name}", "its Gaussians have no colour (f_dc_0, f_dc_1, f_dc_2)")
    sh = np.empty((len(constant), 1 + num_rest // 3, 3), np.float32)
    sh[:, 0] = constant
    for i in range(num_rest):
        sh[:, 1 + i % (num_rest // 3), i // (num_rest // 3)] = vertex[f"f_rest_{i}"]
    return sh
