"""rilievo: photos in, measured 3D out. The public names are loaded when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rilievo.errors import RilievoError
    from rilievo.pipelines import photos_to_mesh
    from rilievo.pipelines_field import photos_to_field
    from rilievo.pipelines_splats import photos_to_splats
    from rilievo.plan import BuildSettings, Run
    from rilievo.plan_field import FieldSettings
    from rilievo.plan_splats import SplatSettings
    from rilievo.project import Project

_NAMES = {
    "photos_to_mesh": "rilievo.pipelines",
    "photos_to_splats": "rilievo.pipelines_splats",
    "photos_to_field": "rilievo.pipelines_field",
    "BuildSettings": "rilievo.plan",
    "SplatSettings": "rilievo.plan_splats",
    "FieldSettings": "rilievo.plan_field",
    "Run": "rilievo.plan",
    "Project": "rilievo.project",
    "RilievoError": "rilievo.errors",
}

__all__ = [
    "BuildSettings",
    "FieldSettings",
    "Project",
    "RilievoError",
    "Run",
    "SplatSettings",
    "__version__",
    "photos_to_field",
    "photos_to_mesh",
    "photos_to_splats",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'rilievo' has no attribute {name!r}")
