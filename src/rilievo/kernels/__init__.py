"""One door to the fast code: every kernel is called as `kernels.NAME(...)`.

`RILIEVO_BACKEND=reference` (or `use_backend("reference")`) answers with the plain NumPy twin instead of the C++ one:
the twin is the specification, and the tests hold both equal. The GIL is free while a native kernel runs.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

# kernel name -> module of kernels.reference that holds its twin. A new kernel is a row here.
KERNELS: dict[str, str] = {
    "closest_on_mesh": "nearest",
    "stereo_sweep": "stereo",
    "stereo_cost": "stereo",
    "stereo_measure": "stereo",
    "depth_agreement": "depth_check",
    "depth_pieces": "depth_check",
    "fuse_map": "fusion",
    "distinct_points": "distinct",
    "crowded_points": "distinct",
    "rasterize_mesh": "raster_mesh",
    "interpolate_pixels": "raster_mesh",
    "score_faces": "texture",
    "label_faces": "texture",
    "reject_colors": "texture_charts",
    "merge_patches": "texture_charts",
    "pack_charts": "texture_charts",
    "grow_owner": "texture",
    "bake_faces": "texture",
    "shift_colors": "texture",
    "blend_seams": "texture",
    "fill_gutters": "texture",
    "delaunay": "surface",
    "visibility_capacities": "surface",
    "min_cut": "surface",
    "match_nearest": "features",
    "sift": "features",
    "ball_pivot": "balls",
    "build_tree": "points_near",
    "nearest_points": "points_near",
    "snap_steps": "points_near",
    "edge_twins": "mesh",
    "split_fans": "mesh",
    "join_faces": "mesh",
    "border_loops": "mesh",
    "simplify_mesh": "mesh",
    "warp_surface": "refine",
    "compare_warped": "refine",
    "collect_pixels": "refine",
    "choose_sides": "sides",
    "shrink_blocks": "shrink",
    "field_encode": "field",
    "field_density": "field",
    "field_march": "field_march",
    "field_rays": "field_march",
    "field_gradients": "field_train",
    "field_trace": "field_train",
    "field_adam": "field_train",
    "splat_forward": "splats",
    "splat_backward": "splats",
    "splat_update": "splats_train",
    "photo_loss": "splats_train",
}

_backend = os.environ.get("RILIEVO_BACKEND", "native")
_wrapper: Callable[[str, Callable[..., Any]], Callable[..., Any]] | None = None


def use_backend(name: str) -> str:
    """Chooses "native" or "reference" for the calls that follow; returns the one used before."""
    global _backend
    if name not in ("native", "reference"):
        raise ValueError(f"backend must be native or reference, not {name!r}")
    before, _backend = _backend, name
    return before


@contextmanager
def wrapped(wrapper: Callable[[str, Callable[..., Any]], Callable[..., Any]]) -> Iterator[None]:
    """Within the block, `kernels.NAME` is `wrapper(NAME, kernel)`: for self-tests and profiling."""
    global _wrapper
    before, _wrapper = _wrapper, wrapper
    try:
        yield
    finally:
        _wrapper = before


def native() -> ModuleType:
    """The compiled extension."""
    return importlib.import_module("rilievo._native")


def get(name: str, backend: str | None = None) -> Callable[..., Any]:
    """The kernel of that name from the chosen backend."""
    if (backend or _backend) == "reference":
        return getattr(importlib.import_module(f"rilievo.kernels.reference.{KERNELS[name]}"), name)
    found = getattr(native(), name, None)
    if found is None:
        raise ImportError(
            f"the compiled kernels are older than the source ({name} is missing): sh tools/build_native.sh"
        )
    return found


def __getattr__(name: str) -> Any:
    if name in KERNELS:
        return _wrapper(name, get(name)) if _wrapper else get(name)
    raise AttributeError(name)


def set_num_threads(n: int) -> None:
    """Threads that native kernels may use (0: one per core). Never changes a result."""
    native().set_num_threads(n)
