"""The figures of a house that are worth a line beside its picture."""

from __future__ import annotations

from typing import Any

from rilievo.view.sources import HouseSource, Source, read_json


def of_source(source: Source) -> dict[str, Any]:
    """From report.json and splats.json, as far as they are there; empty for a file."""
    if not isinstance(source, HouseSource):
        return {}
    report = source.report()
    facts: dict[str, Any] = {}

    def take(name: str, *path: str) -> None:
        value: Any = report
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            facts[name] = value

    take("verdict", "verdict")
    take("warnings", "warnings")
    take("photos_placed", "photos", "placed")
    take("photos_total", "photos", "total")
    take("reprojection_error_px", "sparse", "reprojection_error_px")
    take("sparse_points", "sparse", "num_points")
    take("points", "cloud", "num_points")
    take("sigma_median", "cloud", "sigma_median")
    take("triangles", "mesh", "num_faces")
    take("holes", "mesh", "num_holes")
    take("inferred_share", "mesh", "inferred_share")
    take("gsd", "gsd")
    take("quality", "settings", "quality")
    take("seconds", "total_seconds")
    splats = read_json(source.path / "export" / "splats.json")
    for name in ("psnr", "num_splats"):
        if splats.get(name) is not None:
            facts[f"splats_{name}" if name == "psnr" else name] = splats[name]
    return facts
