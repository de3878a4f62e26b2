"""What splats are worth: held-out photos beside their renderings, as numbers and as pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from rilievo.chain import Chain
from rilievo.errors import InputError, MissingError
from rilievo.evaluate import images
from rilievo.live import pixels_over
from rilievo.placed import Placed
from rilievo.project import explain_os_errors
from rilievo.stages.splat_photos import PhotoStack
from rilievo.stages.splats import SplatsConfig
from rilievo.stages.splats_render import SplatRenderer
from rilievo.training_run import MAX_SHOWN, publish_quality
from rilievo.types import Splats


def _pair(renderer: SplatRenderer, tests: PhotoStack, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A held-out photo and its rendering, uint8, and where they count."""
    photo = tests.get(name, 0)
    placed = np.array(photo.cam_from_world)
    placed[:, 3] -= placed[:, :3] @ tests.origin  # the renderer takes cameras in the world
    drawn = renderer.picture(photo.pinhole(), placed)
    truth = pixels_over(photo, renderer.splats.background)
    return drawn, truth, None if photo.mask is None else photo.mask > 0


def mean_psnr(splats: Splats, tests: PhotoStack, most: int) -> float:
    if not tests.names or not len(splats.means):
        return float("nan")
    renderer = SplatRenderer(splats)
    return float(np.mean([images.psnr(*_pair(renderer, tests, n)) for n in tests.names[:most]]))


def judge(
    chain: Chain,
    placed: Placed,
    tests: PhotoStack,
    splats: Splats,
    *,
    size: int,
    config: SplatsConfig,
    engine: str,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """PSNR, SSIM and, where its weights are there, LPIPS of each held-out photo, their means, and how the splats were
    made; and pictures, photo left, rendering right, of some."""
    rows, renderer = [], SplatRenderer(splats)
    pictures: dict[str, np.ndarray] = {}
    lpips: Callable[..., float] | None = images.lpips
    why = ""
    for k, name in enumerate(tests.names):
        chain.progress("held-out photos", k, len(tests.names))
        drawn, truth, mask = _pair(renderer, tests, name)
        row: dict[str, Any] = {"photo": name, "psnr": round(images.psnr(drawn, truth, mask), 3)}
        row["ssim"] = round(images.ssim(drawn, truth, mask), 4)
        if lpips is not None:
            try:
                row["lpips"] = round(lpips(drawn, truth), 4)
            except (MissingError, InputError) as error:
                lpips, why = None, f"{error.what}. {error.hint}"
        rows.append(row)
        if len(pictures) < MAX_SHOWN:
            pictures[name] = np.concatenate([truth, drawn], 1)
    if rows:
        chain.progress("held-out photos", len(rows), len(rows))
    mean = lambda key: round(float(np.mean([r[key] for r in rows])), 4) if rows and key in rows[-1] else None  # noqa: E731
    summary = {
        "psnr": mean("psnr"),
        "ssim": mean("ssim"),
        "lpips": mean("lpips"),
        "lpips_note": why,
        "num_splats": len(splats.means),
        "iterations": config.iterations,
        "max_splats": config.max_splats,
        "size_px": size,
        "engine": engine,
        "num_trained": len(placed.scene.names) - len(tests.names),
        "num_held_out": len(tests.names),
        "held_out": rows,
        "unit": placed.scene.unit,
        "unplaced": dict(placed.scene.unplaced),
        "settings": asdict(config),
    }
    return summary, pictures


def publish_splats(
    chain: Chain, splats: Splats, summary: Mapping[str, Any], pictures: Mapping[str, np.ndarray]
) -> None:
    """HOUSE/export/splats.ply, splats.json and splats/PHOTO.jpg."""
    from rilievo.io.splats import write_splats

    folder = chain.project.root / "export"
    with explain_os_errors("write the exports", folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_splats(folder / "splats.ply", splats)
        publish_quality(folder, "splats", summary, pictures)
