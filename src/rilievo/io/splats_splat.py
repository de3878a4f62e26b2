"""Splats in .splat (Kwok, "antimatter15/splat"): 32 bytes a Gaussian and no header.

Three float32 of place, three float32 of size, red green blue opacity in one byte each, the quaternion w x y z in one
byte each (128 + 128 q). Gaussians come in the order of their volume times opacity, largest first, so that a viewer has
something to show early. Colours do not depend on the direction.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rilievo.errors import InputError
from rilievo.gaussians import SH_C0
from rilievo.io.files import replacing
from rilievo.io.splats import Raw, world_means
from rilievo.types import Splats

_ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])


def write(path: Path, splats: Splats) -> None:
    """Writes place, size, direction, colour and opacity. Equally important Gaussians keep their order."""
    importance = splats.scales.astype(np.float64).prod(1) * splats.opacities
    order = np.argsort(-importance, kind="stable")
    rows = np.empty(len(order), _ROW)
    rows["mean"] = world_means(splats)[0][order]
    rows["scale"] = splats.scales[order]
    colors = 0.5 + SH_C0 * splats.sh[order, 0].astype(np.float64)
    rows["rgba"][:, :3] = np.clip(np.round(255 * colors), 0, 255)
    rows["rgba"][:, 3] = np.round(255 * splats.opacities[order].astype(np.float64))
    rows["quat"] = np.clip(np.round(128 + 128 * splats.quats[order].astype(np.float64)), 0, 255)
    with replacing(path) as f:
        f.write(rows.tobytes())


def read(path: Path, data: bytes) -> Raw:
    """Reads whole rows."""
    if not data or len(data) % _ROW.itemsize:
        why = (
            "it is empty"
            if not data
            else f"{len(data)} bytes are no whole number of Gaussians of {_ROW.itemsize} bytes"
        )
        raise InputError(f"cannot read {path.name}", why, "the file is cut short, or is not a .splat")
    rows = np.frombuffer(data, _ROW)
    sh = ((rows["rgba"][:, None, :3] / 255.0 - 0.5) / SH_C0).astype(np.float32)
    quats = (rows["quat"].astype(np.float32) - 128) / 128
    return Raw(rows["mean"].astype(np.float32), quats, rows["scale"], rows["rgba"][:, 3] / 255.0, sh)
