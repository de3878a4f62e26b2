"""What a radiance field is worth: held-out photos beside their renderings, as numbers and as pictures; its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from rilievo.chain import Chain
from rilievo.evaluate import images
from rilievo.io.field import write_field
from rilievo.live import pixels_over
from rilievo.placed import Placed
from rilievo.project import explain_os_errors
from rilievo.stages.field import FieldConfig
from rilievo.stages.field_render import render_field
from rilievo.training_run import MAX_SHOWN, publish_quality
from rilievo.types import Field, Mesh


def judge(
    chain: Chain, placed: Placed, tested: Sequence[str], field: Field, *, size: int, config: FieldConfig
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """PSNR and SSIM of each held-out photo, their means, and how the field was made; and pictures, photo left,
    rendering right, of some. Photos with transparency are compared before the field's background."""
    rows: list[dict[str, Any]] = []
    pictures: dict[str, np.ndarray] = {}
    for k, name in enumerate(tested):
        chain.progress("held-out photos", k, len(tested))
        view = placed.load_view(name, size)
        drawn, _ = render_field(field, view.camera, view.cam_from_world)
        truth = pixels_over(view, field.background)
        rows.append(
            {
                "photo": name,
                "psnr": round(images.psnr(drawn, truth, view.mask), 3),
                "ssim": round(images.ssim(drawn, truth, view.mask), 4),
            }
        )
        if len(pictures) < MAX_SHOWN:
            pictures[name] = np.concatenate([truth, drawn], 1)
    if rows:
        chain.progress("held-out photos", len(rows), len(rows))
    mean = lambda key: round(float(np.mean([r[key] for r in rows])), 4) if rows else None  # noqa: E731
    summary = {
        "psnr": mean("psnr"),
        "ssim": mean("ssim"),
        "iterations": config.iterations,
        "size_px": size,
        "unbounded": field.unbounded,
        "num_trained": len(placed.scene.names) - len(tested),
        "num_held_out": len(tested),
        "held_out": rows,
        "unit": placed.scene.unit,
        "unplaced": dict(placed.scene.unplaced),
        "settings": asdict(config),
    }
    return summary, pictures


def publish_field(chain: Chain, field: Field, summary: Mapping[str, Any], pictures: Mapping[str, np.ndarray]) -> None:
    """HOUSE/export/field.npz, field.json and field/PHOTO.jpg."""
    folder = chain.project.root / "export"
    with explain_os_errors("write the exports", folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_field(folder / "field.npz", field)
        publish_quality(folder, "field", summary, pictures)


def publish_mesh(chain: Chain, mesh: Mesh) -> None:
    """HOUSE/export/field_mesh.glb."""
    from rilievo.io import models

    folder = chain.project.root / "export"
    with explain_os_errors("write the exports", folder):
        models.write(folder / "field_mesh.glb", mesh)
