"""Gaussians with known numbers, for tests of splat files and edits."""

from __future__ import annotations

import numpy as np

from rilievo.gaussians import sh_basis
from rilievo.geometry import rotation_from_quaternion
from rilievo.types import Splats


def random_splats(n: int = 50, degree: int = 3, seed: int = 0, **values) -> Splats:
    """Gaussians around zero; coefficients small enough for every format."""
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(n, 4))
    sh = rng.uniform(-0.5, 0.5, (n, (degree + 1) ** 2, 3))
    sh[:, 0] = rng.uniform(-1.7, 1.7, (n, 3))
    return Splats(
        rng.normal(size=(n, 3)).astype(np.float32),
        (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        np.exp(rng.uniform(-6, -2, (n, 3))).astype(np.float32),
        rng.uniform(0.02, 0.98, n).astype(np.float32),
        sh.astype(np.float32),
        **values,
    )


def covariances(splats: Splats) -> np.ndarray:
    """float64 (n, 3, 3)."""
    R = rotation_from_quaternion(splats.quats) * splats.scales[:, None, :].astype(np.float64)
    return R @ R.transpose(0, 2, 1)


def colors(splats: Splats, direction: np.ndarray) -> np.ndarray:
    """float64 (n, 3), seen along a unit direction (3,)."""
    return 0.5 + np.einsum("k,nkc->nc", sh_basis(np.asarray(direction)[None], splats.degree)[0], splats.sh)


def paired(splats: Splats, truth: Splats) -> np.ndarray:
    """For each Gaussian the number of the one of `truth` at the same place; each is there once."""
    world, true = (s.means.astype(np.float64) + s.origin for s in (splats, truth))
    nearest = ((world[:, None] - true[None]) ** 2).sum(-1).argmin(1)
    assert sorted(nearest) == list(range(len(true)))
    return nearest


def assert_same(
    splats: Splats, truth: Splats, *, place: float, log_scale: float, opacity: float, turn: float, sh: float
) -> None:
    """Compares what is seen, not how it is stored: covariances (relative), colours from some directions."""
    order = paired(splats, truth)
    world, true = (s.means.astype(np.float64) + s.origin for s in (splats, truth))
    assert np.abs(world - true[order]).max() <= place
    assert np.abs(np.log(splats.scales / truth.scales[order])).max() <= log_scale
    assert np.abs(splats.opacities - truth.opacities[order]).max() <= opacity
    a, b = covariances(splats), covariances(truth)[order]
    size = np.linalg.norm(b, axis=(1, 2))
    assert (np.linalg.norm(a - b, axis=(1, 2)) / size).max() <= turn + 2.5 * log_scale
    assert splats.degree == truth.degree
    for direction in ([1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.48, 0.64], [-0.48, 0.8, -0.36]):
        assert np.abs(colors(splats, direction) - colors(truth, direction)[order]).max() <= sh


def foreign_ply(order: str, names: list[str], rows: np.ndarray, *comments: str, kinds: dict | None = None) -> bytes:
    """A PLY with float properties, or those of `kinds`: name -> (PLY's name of the type, NumPy's)."""
    kinds = kinds or {}
    form = {"": "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}[order]
    lines = ["ply", f"format {form} 1.0", *(f"comment {c}" for c in comments), f"element vertex {len(rows)}"]
    lines += [f"property {kinds.get(n, ('float', 'f4'))[0]} {n}" for n in names]
    head = "\n".join([*lines, "end_header"]).encode() + b"\n"
    if not order:
        return head + "\n".join(" ".join(repr(float(v)) for v in row) for row in rows).encode() + b"\n"
    table = np.empty(len(rows), [(n, order + kinds.get(n, ("float", "f4"))[1]) for n in names])
    for i, n in enumerate(names):
        table[n] = rows[:, i]
    return head + table.tobytes()


def columns_of(splats, degree: int) -> dict[str, np.ndarray]:
    p = splats.opacities.astype(np.float64)
    columns = {"rot_3": splats.quats[:, 3] * 7, "rot_0": splats.quats[:, 0] * 7, "opacity": np.log(p / (1 - p))}
    columns |= {"extra": p, "rot_1": splats.quats[:, 1] * 7, "rot_2": splats.quats[:, 2] * 7}
    columns |= {f"scale_{i}": np.log(splats.scales[:, i].astype(np.float64)) for i in (2, 0, 1)}
    per = (degree + 1) ** 2 - 1
    columns |= {f"f_rest_{c * per + k}": splats.sh[:, 1 + k, c] for k in range(per) for c in range(3)}
    columns |= {f"f_dc_{c}": splats.sh[:, 0, c] for c in range(3)}
    return columns | {n: splats.means[:, i] for i, n in enumerate("xyz")}
