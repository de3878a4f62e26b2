"""What a radiance field is worth: held-out photos beside their renderings, as numbers and as pictures; its files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.chain import Chain
from rilievo.evaluate import images
from rilievo.io.files import replacing
from rilievo.live import pixels_over
from rilievo.placed import Placed
from rilievo.project import explain_os_errors
from rilievo.stages.field import FieldConfig
from rilievo.stages.field_render import render_field
from rilievo.types import Field, Mesh

MAX_SHOWN = 6  # held-out photos that are put beside their renderings


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


def write_field(path: Path, field: Field) -> None:
    """A NumPy archive with the arrays and numbers of `types.Field`, by their names; same field, same bytes."""
    with replacing(path) as file:
        arrays: dict[str, Any] = {f.name: np.asarray(getattr(field, f.name)) for f in fields(field)}
        np.savez(file, **arrays)


def publish_field(chain: Chain, field: Field, summary: Mapping[str, Any], pictures: Mapping[str, np.ndarray]) -> None:
    """HOUSE/export/field.npz, field.json and field/PHOTO.jpg."""
    import cv2

    folder = chain.project.root / "export"
    with explain_os_errors("write the exports", folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_field(folder / "field.npz", field)
        shown = folder / "field"
        shown.mkdir(exist_ok=True)
        for old in shown.glob("*.jpg"):
            old.unlink()
        for name, pixels in pictures.items():
            _, packed = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
            (shown / (name.replace("/", "_").replace("\\", "_") + ".jpg")).write_bytes(packed.tobytes())
        with replacing(folder / "field.json") as file:
            file.write(json.dumps(summary, indent=1, ensure_ascii=False).encode())


def publish_mesh(chain: Chain, mesh: Mesh) -> None:
    """HOUSE/export/field_mesh.glb."""
    from rilievo.io import models

    folder = chain.project.root / "export"
    with explain_os_errors("write the exports", folder):
        models.write(folder / "field_mesh.glb", mesh)
