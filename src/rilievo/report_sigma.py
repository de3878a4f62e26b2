"""How sure the surface is: figures for the report, a sentence for people, and a heat map."""

from __future__ import annotations

from typing import Any

import numpy as np

from rilievo import kernels
from rilievo.geometry import transform
from rilievo.stages.mesh_clean import face_areas
from rilievo.stages.render import block_mean
from rilievo.types import Camera, Mesh

# Limits of the colour scale, its marks, and what counts as coarse; in pixel footprints.
LOW, HIGH = 0.05, 5.0
MARKS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
COARSE = 2.0
STRIP = 96  # height of the legend, px


def sigma_facts(mesh: Mesh, gsd: float, unit: str) -> dict[str, Any]:
    """Sigma of the measured surface by area, and how much of the whole was not measured.

    gsd: world length of a pixel's footprint.  unit: "m" or "unknown".  Lengths are in world units, `*_gsd` in
    footprints; None where the mesh has no sigma. `scale` says what 1 sigma is compared with.
    """
    area = face_areas(mesh.vertices, mesh.faces)
    inferred = mesh.inferred if mesh.inferred is not None else np.zeros(len(mesh.faces), bool)
    sigma = face_sigma(mesh)
    measured = ~inferred & np.isfinite(sigma)
    median, most, nearly_all = _quantiles(sigma[measured], area[measured], (0.5, 0.683, 0.954))
    total, known = float(area.sum()), float(area[measured].sum())
    coarse = float(area[measured & (sigma > COARSE * gsd)].sum()) if gsd > 0 else 0.0
    facts: dict[str, Any] = {
        "sigma_median": median,
        "sigma_68": most,
        "sigma_95": nearly_all,
        "sigma_median_gsd": None,
        "sigma_68_gsd": None,
        "sigma_95_gsd": None,
        "share_above_2_gsd": round(coarse / known, 4) if known else None,
        "share_inferred": round(float(area[inferred].sum()) / total, 4) if total else 0.0,
        "unit": "unknown unit" if unit == "unknown" else unit,
    }
    for name in ("sigma_median", "sigma_68", "sigma_95"):
        value = facts[name]
        if value is not None:
            facts[name] = float(f"{value:.3g}")
            facts[name + "_gsd"] = float(f"{value / gsd:.3g}") if gsd > 0 else None
    facts["meaning"] = sigma_sentence(facts)
    return facts


def sigma_sentence(facts: dict[str, Any]) -> str:
    """What the figures mean, in words."""
    if facts["sigma_median"] is None or facts["sigma_median_gsd"] is None:
        return "no precision can be stated: the surface carries no standard deviations"
    if facts["unit"] == "unknown unit":
        half, wide = _plain(facts["sigma_median_gsd"]), _plain(facts["sigma_95_gsd"])
        size, closing = "pixel footprints", "lengths have no metric scale, so this is in footprints of a photo's pixel"
    else:
        half, wide = _length(facts["sigma_median"], facts["unit"]), _length(facts["sigma_95"], facts["unit"])
        size = ""
        closing = (
            f"one pixel's footprint is {_length(facts['sigma_median'] / facts['sigma_median_gsd'], facts['unit'])}"
        )
    below, above = f"{half} {size}".rstrip(), f"{wide} {size}".rstrip()
    text = (
        f"half of the measured surface has a standard deviation below {below}, 95 % below {above}: about two of three "
        "points lie within their own standard deviation of the true surface. Errors of the cameras are included, an "
        f"error of the overall scale is not; {closing}"
    )
    if facts["share_inferred"] > 0:
        text += f". {_plain(100 * facts['share_inferred'])} % of the surface was filled in, not measured"
    return text


def _length(value: float, unit: str) -> str:
    """Two significant digits; metres below one are told in millimetres."""
    if unit == "m" and value < 1:
        return f"{_plain(1000 * value)} mm"
    return f"{_plain(value)} {unit}"


def _plain(value: float) -> str:
    """Two significant digits without an exponent where that is readable."""
    return f"{float(f'{value:.2g}'):g}"


def face_sigma(mesh: Mesh) -> np.ndarray:
    """Mean sigma of each face's corners, float64 (f,), NaN where one is unknown."""
    if mesh.sigma is None:
        return np.full(len(mesh.faces), np.nan)
    return mesh.sigma[mesh.faces].astype(np.float64).mean(1)


def _quantiles(values: np.ndarray, weights: np.ndarray, shares: tuple[float, ...]) -> list[float | None]:
    """Weighted quantiles; None where nothing has weight."""
    if not len(values) or not weights.sum() > 0:
        return [None] * len(shares)
    order = np.argsort(values, kind="stable")
    up_to = np.cumsum(weights[order])
    return [float(values[order][np.searchsorted(up_to, s * up_to[-1])]) for s in shares]


# --- the picture ------------------------------------------------------------------------------------------------------


def sigma_picture(
    mesh: Mesh, camera: Camera, cam_from_world: np.ndarray, *, gsd: float, unit: str = "unknown"
) -> np.ndarray:
    """A heat map of sigma on the model with its legend below, uint8 (h + STRIP, w, 3).

    Colours are those of viridis on a logarithmic scale of pixel footprints (the same in every report), a little shaded
    so that the shape can be seen; what was not measured is hatched grey. camera: PINHOLE.
    """
    k = 2
    width, height = camera.width * k, camera.height * k
    intrinsics = (camera.fx * k, camera.fy * k, camera.cx * k, camera.cy * k)
    vertices = transform(cam_from_world, mesh.vertices.astype(np.float64) + mesh.origin).astype(np.float32)
    face, _ = kernels.rasterize_mesh(vertices, mesh.faces, *intrinsics, width, height)
    seen = face >= 0
    sigma = mesh.sigma if mesh.sigma is not None else np.full(len(mesh.vertices), np.nan, np.float32)
    value = kernels.interpolate_pixels(face, vertices, mesh.faces, *intrinsics, sigma[:, None])[..., 0] / max(
        gsd, 1e-300
    )
    unmeasured = seen & ~np.isfinite(value)
    if mesh.inferred is not None and len(mesh.inferred):
        unmeasured |= seen & mesh.inferred[np.maximum(face, 0)]
    color = heat(value)
    y, x = np.mgrid[:height, :width]
    color[unmeasured] = np.where(((x + y) % (8 * k) < 2 * k)[unmeasured, None], HATCH_LINE, HATCH)
    corners = vertices.astype(np.float64)[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = np.abs((normal * corners.mean(1)).sum(1))
    facing /= np.maximum(np.linalg.norm(normal, axis=1) * np.linalg.norm(corners.mean(1), axis=1), 1e-300)
    shade = 0.72 + 0.28 * facing
    color *= np.append(shade, 1.0)[face][..., None].astype(np.float32)
    color[~seen] = 255
    color = block_mean(color, k)
    return np.concatenate([np.clip(np.round(color), 0, 255).astype(np.uint8), legend(camera.width, gsd, unit)])


HATCH, HATCH_LINE = np.full(3, 205, np.float32), np.full(3, 150, np.float32)


def heat(footprints: np.ndarray) -> np.ndarray:
    """Colours float32 (..., 3) of sigmas in footprints: violet is sure, yellow is not."""
    import cv2

    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.log(footprints / LOW) / np.log(HIGH / LOW)
    index = np.clip(np.nan_to_num(share) * 255, 0, 255).astype(np.uint8)
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]
    return table.astype(np.float32)[index]


def legend(width: int, gsd: float, unit: str) -> np.ndarray:
    """The colour scale with footprints above and lengths below, uint8 (STRIP, width, 3)."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, STRIP), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(14)
    left, right = 24, width - 190
    top, bottom = 44, 62
    bar = heat(LOW * (HIGH / LOW) ** np.linspace(0, 1, right - left))
    image.paste(Image.fromarray(np.repeat(bar[None].round().astype(np.uint8), bottom - top, 0)), (left, top))
    draw.rectangle((left - 1, top - 1, right, bottom), outline=(90, 90, 90))
    named = "" if unit == "unknown" else " (above) and as a length (below)"
    draw.text(
        (left, 6), f"standard deviation of the surface, in footprints of a photo's pixel{named}", (30, 30, 30), font
    )
    for mark in MARKS:
        x = left + round((right - left - 1) * float(np.log(mark / LOW) / np.log(HIGH / LOW)))
        draw.line((x, top - 5, x, bottom + 4), (30, 30, 30))
        draw.text((x, top - 5), f"{mark:g}", (30, 30, 30), font, anchor="mb")
        if unit != "unknown" and gsd > 0:
            draw.text((x, bottom + 6), _length(mark * gsd, unit), (30, 30, 30), font, anchor="mt")
    box = (right + 40, top, right + 66, bottom)
    pattern = np.empty((bottom - top, 26, 3), np.float32)
    y, x = np.mgrid[: bottom - top, :26]
    pattern[:] = np.where(((x + y) % 8 < 2)[..., None], HATCH_LINE, HATCH)
    image.paste(Image.fromarray(pattern.astype(np.uint8)), box[:2])
    draw.rectangle((box[0] - 1, box[1] - 1, box[2], box[3]), outline=(90, 90, 90))
    draw.text((box[2] + 8, (top + bottom) // 2), "not measured", (30, 30, 30), font, anchor="lm")
    return np.asarray(image)
