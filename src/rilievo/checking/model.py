"""The draft surface coloured by how many photos see it, for `rilievo view`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from rilievo.types import Mesh

if TYPE_CHECKING:
    from rilievo.checking.result import Checked

# Views from which on a colour holds: none, one or two, three or four, five to seven, more.
_STEPS = np.array([1, 3, 5, 8])
_COLORS = np.array([(120, 120, 120), (208, 48, 48), (230, 160, 50), (130, 190, 90), (40, 140, 90)], np.uint8)


def coverage_mesh(checked: Checked) -> Mesh | None:
    """The draft surface, grey where no photo sees it, red below three, then yellow to green; None without one."""
    if checked.aligned is None or checked.aligned.mesh is None or checked.patches is None:
        return None
    from scipy.spatial import cKDTree

    mesh = checked.aligned.mesh
    _, near = cKDTree(checked.patches.points).query(mesh.vertices.astype(np.float64) + mesh.origin, 3)
    views = np.median(checked.patches.seen.counts[near], axis=1)
    colors = _COLORS[np.searchsorted(_STEPS, views, side="right")]
    return replace(mesh, colors=colors, confidence=None, sigma=None, uvs=None, texture=None, face_view=None, names=())
