"""The report on one photo's depth: which network answered, how far to trust it, what it could not see; as data, as a
few lines and as one HTML page in the style of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from rilievo import report_page as page
from rilievo.types import DepthMap, Mesh, PhotoDepth, ScaleFit

# model -> what may be believed of it, without any reference
TRUST = {
    "depth-small": "rilievo's own small network tells near from far and the rough shape of large things; fine shape, "
    "thin things, glass and mirrors, and scenes unlike rooms, streets and landscapes may be wrong",
    "depth-anything-v2-small": "Depth Anything V2 Small is usually right about what is nearer and about the shape of "
    "things; glass, mirrors, pictures on walls and thin things may be wrong",
    "moge-2-vits-normal": "MoGe-2 is usually right about shapes and angles; its own metres are an estimate from what "
    "things usually measure, typically off by several percent and sometimes by much more",
    "metric3d-v2-small": "Metric3D v2 estimates metres from the focal length and from what things usually measure: "
    "they are off by as much as the focal length is, and by several percent more",
}
FOCAL = {
    "given": "given by you",
    "exif": "from the camera's notes (EXIF)",
    "vanishing points": "from vanishing points in the photo",
    "network": "as the network estimates it",
    "assumed": "assumed: a usual lens",
}


def build_photo_report(
    *,
    version: str,
    photo: Mapping[str, Any],
    photo_depth: PhotoDepth,
    fit: ScaleFit,
    depth_map: DepthMap,
    model: Mapping[str, Any],
    mesh: Mesh,
    invented: Mesh | None,
    cut_share: float,
    island_share: float,
    settings: Mapping[str, Any],
    files: Sequence[str],
    stages: Sequence[Mapping[str, Any]],
    peak_memory_mb: float,
) -> dict[str, Any]:
    """The content of report.json. photo: name, width, height, camera, content_id; model: name, what, licence..."""
    known = np.isfinite(depth_map.depth)
    depth = depth_map.depth[known]
    spread = np.quantile(depth, [0.02, 0.5, 0.98]) if depth.size else np.full(3, np.nan)
    relative = depth_map.sigma[known] / depth if depth.size else np.zeros(0)
    relative = relative[np.isfinite(relative)]
    camera = photo_depth.camera
    focal = camera.fx * photo["width"] / camera.width
    unknown = ~known & ~photo_depth.sky
    num_invented = 0 if invented is None else len(invented.faces)
    seen_area, invented_area = _area(mesh), 0.0 if invented is None else _area(invented)
    report: dict[str, Any] = {
        "rilievo": version,
        "settings": dict(settings),
        "photo": dict(photo),
        "model": {**model, "scale": photo_depth.scale},
        "unit": fit.unit,
        "scale": scale_sentence(photo_depth, fit),
        "fit": {
            "a": fit.a,
            "b": fit.b,
            "method": fit.method,
            "num_references": fit.num_references,
            "num_outliers": fit.num_outliers,
            "shift_known": bool(fit.shift_known),
            "relative_sigma": _significant(fit.spread),
        },
        "focal": {
            "px": _significant(focal, 6),
            "fov_deg": _significant(2 * math.degrees(math.atan(photo["width"] / 2 / focal))),
            "source": photo_depth.focal_source,
            "relative_sigma": _significant(photo_depth.focal_sigma),
        },
        "depth": {
            "width": camera.width,
            "height": camera.height,
            "near": _significant(spread[0]),
            "median": _significant(spread[1]),
            "far": _significant(spread[2]),
            "relative_sigma_median": _significant(np.median(relative)) if relative.size else None,
            "sky_share": _share(photo_depth.sky.mean()),
            "unanswered_share": _share(unknown.mean()),
        },
        "surface": {
            "num_vertices": len(mesh.vertices) + (0 if invented is None else len(invented.vertices)),
            "num_faces": len(mesh.faces) + num_invented,
            "cut_share": _share(cut_share),
            "left_out_share": _share(island_share),
            "invented_faces": num_invented,
            "invented_share": _share(invented_area / max(seen_area + invented_area, 1e-30)),
        },
        "trust": trust_sentence(photo_depth, fit),
        "files": list(files),
        "stages": [dict(stage) for stage in stages],
        "total_seconds": round(sum(stage["seconds"] for stage in stages), 2),
        "peak_memory_mb": round(peak_memory_mb),
    }
    report["unseen"] = unseen_sentence(report)
    report["warnings"] = list_warnings(report)
    report["verdict"] = verdict(report)
    return report


def _area(mesh: Mesh) -> float:
    x = mesh.vertices.astype(np.float64)[mesh.faces]
    return float(np.linalg.norm(np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]), axis=1).sum() / 2) if len(x) else 0.0


def scale_sentence(photo_depth: PhotoDepth, fit: ScaleFit) -> str:
    """What the lengths are, in words."""
    if fit.unit == "unknown":
        if photo_depth.scale == "similar":
            return "relative, not measured: shapes and angles hold, but there is no unit (give --scale)"
        return (
            "relative, not measured: nearer and further hold, lengths, ratios of depth and angles do not "
            "(give --scale with references at two depths)"
        )
    text = f"in {fit.unit}: {fit.method}"
    if not fit.shift_known:
        text += "; only the size is fixed, ratios of depth are assumed (give references at two depths)"
    return text


def trust_sentence(photo_depth: PhotoDepth, fit: ScaleFit) -> str:
    """How far to trust it, in plain words."""
    own = TRUST.get(photo_depth.model, f"nothing is known of how good {photo_depth.model} is")
    if fit.num_references:
        checked = f"It was fitted to {fit.num_references} reference{'s' if fit.num_references > 1 else ''}"
        if fit.num_outliers:
            checked += f", {fit.num_outliers} more did not fit and were set aside"
        return f"{own}. {checked}; away from them depth is off by about {100 * fit.spread:.0f} % (1 sigma)."
    return f"{own}. No reference was given, so nothing of it was checked."


def unseen_sentence(report: Mapping[str, Any]) -> str:
    """What the photo could not show."""
    depth, surface = report["depth"], report["surface"]
    parts = ["backs of things and what they hide were not seen"]
    if surface["invented_faces"]:
        parts = [
            f"what things hide was not seen: {100 * surface['invented_share']:.0f} % of the surface is invented "
            "(material `invented`)"
        ]
    if depth["sky_share"] > 0.001:
        parts.append(f"{100 * depth['sky_share']:.0f} % of the photo is sky and has no surface")
    if depth["unanswered_share"] > 0.001:
        parts.append(f"{100 * depth['unanswered_share']:.0f} % got no answer")
    if surface["left_out_share"] > 0.001:
        parts.append(f"{100 * surface['left_out_share']:.1f} % are small loose pieces that the surface leaves out")
    return "; ".join(parts)


def list_warnings(report: Mapping[str, Any]) -> list[str]:
    """What a careful person should know before using the result."""
    warnings = []
    depth, focal = report["depth"], report["focal"]
    if focal["source"] == "assumed":
        warnings.append(
            f"the focal length is assumed ({focal['fov_deg']:.0f} degrees across): the model may be stretched or flat "
            "in depth; give --focal or --fov"
        )
    if depth["sky_share"] + depth["unanswered_share"] > 0.6:
        warnings.append("most of the photo has no depth")
    if report["model"].get("own_file"):
        warnings.append("the network's file is one that you gave: its answers were not tested by rilievo")
    return warnings


def verdict(report: Mapping[str, Any]) -> str:
    """One sentence: what is it good for?"""
    depth, unit = report["depth"], report["unit"]
    if depth["median"] is None:
        return f"{report['model']['name']} gave no depth for this photo."
    length = "" if unit == "unknown" else f" {unit}"
    text = f"depth by {report['model']['name']}, {_number(depth['near'])} to {_number(depth['far'])}{length}"
    return f"{text}; {report['scale']}."


def summarize_photo(report: Mapping[str, Any]) -> str:
    """A few lines for a terminal."""
    depth, surface, focal = report["depth"], report["surface"], report["focal"]
    lines = [
        report["verdict"],
        f"trust     {report['trust']}",
        f"camera    focal length {focal['px']:.0f} px ({focal['fov_deg']:.0f} degrees), {FOCAL[focal['source']]}",
        f"depth     {depth['width']} x {depth['height']} px, {100 * depth['sky_share']:.0f} % sky",
        f"surface   {surface['num_faces']:,} triangles; {report['unseen']}",
        f"time      {report['total_seconds']:.1f} s, peak memory {report['peak_memory_mb']} MiB",
        *(f"warning   {w}" for w in report["warnings"]),
    ]
    return "\n".join(lines)


def render_photo_page(report: Mapping[str, Any], pictures: Sequence[tuple[str, np.ndarray]]) -> str:
    """The HTML of report.html. pictures: (caption, uint8 (h, w, 3))."""
    title = report["photo"]["name"]
    unit = "" if report["unit"] == "unknown" else f" {report['unit']}"
    depth, surface, focal = report["depth"], report["surface"], report["focal"]
    cards = [
        (report["model"]["name"], "answered"),
        (f"{_number(depth['near'])} to {_number(depth['far'])}{unit}", "depth" if unit else "depth, relative"),
        (f"{100 * depth['sky_share']:.0f} %", "sky"),
        (f"{surface['num_faces']:,}", "triangles"),
        (f"{focal['fov_deg']:.0f}°", f"across; focal length {FOCAL[focal['source']]}"),
        (f"{report['total_seconds']:.1f} s", "computing time"),
    ]
    fit, model = report["fit"], report["model"]
    rows = [
        ("Network", f"{model['name']}: {model['what']} (licence {model['licence']}, run by {model['engine']})"),
        ("Trust", report["trust"]),
        ("Scale", report["scale"]),
        ("References", f"{fit['num_references']} used, {fit['num_outliers']} set aside"),
        ("Depth is off by", _percent(depth["relative_sigma_median"])),
        ("Focal length", f"{focal['px']:.0f} px, {FOCAL[focal['source']]}, off by {_percent(focal['relative_sigma'])}"),
        ("Not seen", report["unseen"]),
        ("Cut along silhouettes", f"{100 * surface['cut_share']:.1f} % of the pixels lie at a cut"),
        ("Files", ", ".join(report["files"])),
    ]
    figures = "".join(
        f"<figure>{page.image_tag(page.to_jpeg(p), c)}<figcaption>{escape(c)}</figcaption></figure>"
        for c, p in pictures
    )
    steps = [(escape(s["stage"]), f"{s['seconds']:.2f} s", f"{s['cpu_seconds']:.2f} s") for s in report["stages"]]
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict">{escape(report["verdict"])}</p>',
        *(f'<p class="warn">{escape(w)}</p>' for w in report["warnings"]),
        '<div class="cards">',
        *(f'<div class="card"><b>{escape(b)}</b><span>{escape(s)}</span></div>' for b, s in cards),
        "</div>",
        f'<h2>What it looks like</h2><div class="pictures">{figures}</div>',
        "<h2>How far to trust it</h2>",
        page.html_table(("", ""), [(escape(k), escape(v)) for k, v in rows]),
        "<h2>Time</h2>",
        page.html_table(("stage", "time", "CPU time"), steps, numeric=(1, 2)),
        f"<p>peak memory {report['peak_memory_mb']} MiB</p>",
    ]
    return page.whole_page(title, "".join(body))


def depth_picture(depth_map: DepthMap, size: int = 640) -> np.ndarray:
    """Depth in colours, near is warm, no depth is grey: uint8 (h, w, 3)."""
    import cv2

    known = np.isfinite(depth_map.depth)
    inverse = np.where(known, 1 / np.where(known, depth_map.depth, 1), 0).astype(np.float32)
    low, high = np.quantile(inverse[known], [0.01, 0.99]) if known.any() else (0.0, 1.0)
    level = np.clip((inverse - low) / max(high - low, 1e-30), 0, 1)
    picture = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1].copy()
    picture[~known] = 120
    return _small(picture, size)


def normal_picture(depth_map: DepthMap, size: int = 640) -> np.ndarray:
    """Directions of the surface in colours: uint8 (h, w, 3)."""
    n = np.nan_to_num(depth_map.normals) * np.array([127, -127, -127], np.float32) + 128
    return _small(np.clip(n, 0, 255).astype(np.uint8), size)


def _small(picture: np.ndarray, size: int) -> np.ndarray:
    import cv2

    factor = size / max(picture.shape[:2])
    if factor >= 1:
        return picture
    return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def _number(x: float | None) -> str:
    return "?" if x is None else f"{x:.3g}"


def _percent(x: float | None) -> str:
    return "?" if x is None else f"about {100 * x:.2g} % (1 sigma)"


def _share(x: Any) -> float:
    return round(float(x), 4)


def _significant(x: Any, digits: int = 4) -> float | None:
    return None if x is None or not np.isfinite(x) else float(f"{float(x):.{digits}g}")
