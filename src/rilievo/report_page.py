"""The report as one HTML page with its pictures inside; it loads nothing from anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from rilievo.types import Reconstruction

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --bad: #c33; --good: #2a7; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1080px; padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 36px 0 10px; }
.verdict { font-size: 17px; margin: 0 0 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; }
.card { background: var(--soft); border-radius: 8px; padding: 10px 14px; }
.card b { display: block; font-size: 21px; } .card span { opacity: .75; font-size: 13px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 12px; }
figure { margin: 0; } figure img, figure svg { width: 100%; border-radius: 6px; background: var(--soft); display: block; }
figcaption { font-size: 13px; opacity: .75; padding: 4px 2px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); vertical-align: middle; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } td img { height: 44px; border-radius: 3px; display: block; }
.bad { color: var(--bad); } .good { color: var(--good); } .warn { border-left: 4px solid var(--bad); padding: 4px 12px; margin: 6px 0; }
.bar { background: #58a; height: 10px; border-radius: 3px; min-width: 2px; }
"""


def to_jpeg(pixels: np.ndarray, quality: int = 85) -> bytes:
    """uint8 (h, w, 3) -> JPEG bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def image_tag(jpeg: bytes, alt: str) -> str:
    """<img> with the picture inside."""
    return f'<img alt="{escape(alt)}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'


def render_page(
    report: Mapping[str, Any],
    reconstruction: Reconstruction,
    pictures: Sequence[tuple[str, np.ndarray]],
    thumbnails: Mapping[str, bytes],
    title: str,
) -> str:
    """The HTML of report.html. pictures: (caption, uint8 (h, w, 3)); thumbnails: photo name -> JPEG bytes."""
    unit = "units" if report["unit"] == "unknown" else report["unit"]
    figures = [f"<figure>{image_tag(to_jpeg(p), c)}<figcaption>{escape(c)}</figcaption></figure>" for c, p in pictures]
    plan = f"<figure>{camera_plan(reconstruction)}<figcaption>cameras and points from above</figcaption></figure>"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict">{escape(report["verdict"])}</p>',
        *(f'<p class="warn">{escape(w)}</p>' for w in report["warnings"]),
        _cards(report, unit),
        "<h2>What it looks like</h2>",
        f'<div class="pictures">{"".join(figures)}{plan}</div>',
        "<h2>How good it is</h2>",
        _precision(report),
        _quality(report, unit),
        "<h2>Photos</h2>",
        _photos(report, thumbnails),
        "<h2>Cameras</h2>",
        _cameras(report),
        "<h2>Time and memory</h2>",
        _stages(report),
    ]
    return whole_page(title, "".join(body))


def whole_page(title: str, body: str) -> str:
    """HTML of a page in the house style; body: HTML."""
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
    return f"<!doctype html><html lang=en><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>\n"


def _cards(report: Mapping[str, Any], unit: str) -> str:
    mesh, cloud = report["mesh"], report["cloud"]
    cards = [
        (f"{report['photos']['placed']} / {report['photos']['total']}", "photos placed"),
        (f"{report['sparse']['reprojection_error_px']} px", "reprojection error"),
        (f"{cloud['num_points']:,}", "points"),
        (f"{mesh['num_faces']:,}", "triangles"),
        (f"{_number(report['gsd'])} {unit}", "one pixel spans (gsd)"),
        (f"{_number(cloud['sigma_median'])} {unit}", "estimated precision, 1 sigma"),
        (f"{100 * mesh['inferred_share']:.1f} %", "of the surface inferred"),
        (f"{report['total_seconds']:.0f} s", "computing time"),
    ]
    return (
        '<div class="cards">'
        + "".join(f'<div class="card"><b>{b}</b><span>{s}</span></div>' for b, s in cards)
        + "</div>"
    )


def _number(x: float | None) -> str:
    return "?" if x is None else f"{x:.3g}"


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    """<table> of cells that are HTML; columns in `numeric` are set to the right."""

    def cell(tag: str, i: int, text: str) -> str:
        return f"<{tag}{' class=n' if i in numeric else ''}>{text}</{tag}>"

    lines = ["<tr>" + "".join(cell("th", i, escape(t)) for i, t in enumerate(head)) + "</tr>"]
    lines += ["<tr>" + "".join(cell("td", i, t) for i, t in enumerate(row)) + "</tr>" for row in rows]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _quality(report: Mapping[str, Any], unit: str) -> str:
    cloud, mesh, sparse = report["cloud"], report["mesh"], report["sparse"]
    rows = [
        ("Scale", report["scale"]),
        ("World frame", {"upright": "z is up (estimated from the photos)", "enu": "east, north, up"}.get(report["frame"], report["frame"])),
        ("Sparse points", f"{sparse['num_points']:,}, seen {sparse['mean_track_length']} times on average"),
        ("Surface precision", f"{_number(cloud['sigma_median'])} {unit} median, {_number(cloud['sigma_90'])} {unit} for 90 % (estimated, 1 sigma)"),
        ("Seen by three photos or more", f"{100 * cloud['share_seen_by_3']:.0f} % of the points"),
        ("Extent", " x ".join(_number(x) for x in mesh["extent"]) + f" {unit}"),
        ("Surface area", f"{_number(mesh['area'])} {unit}², {100 * mesh['inferred_share']:.1f} % inferred (not measured by a photo)"),
        ("Holes", f"{mesh['num_holes']}" + (f", the longest border is {_number(mesh['hole_lengths'][0])} {unit}" if mesh["hole_lengths"] else "")),
        ("Texture", f"{mesh['texture_size'][1]} x {mesh['texture_size'][0]} px" if mesh["texture_size"] else "none"),
        ("Intrinsics", report["intrinsics_note"]),
    ]  # fmt: skip
    if report["masks"]["photos"]:
        rows.append(("Masked", _masked(report["masks"])))
    if report["photo_prior"]:
        rows.append(("Depth network", _prior(report["photo_prior"])))
    return html_table(("", ""), [(escape(k), escape(v)) for k, v in rows])


def _masked(masks: Mapping[str, Any]) -> str:
    """60 photos, 12.3 % of their pixels: sky 10 %, moving 2 %."""
    text = f"{masks['photos']} photos, {100 * (masks['share'] or 0):.1f} % of their pixels"
    parts = [f"{kind} {100 * row['share']:.1f} % in {row['photos']} photos" for kind, row in masks["kinds"].items()]
    return f"{text}: {', '.join(parts)}" if parts else text


def _prior(photos: Mapping[str, Mapping[str, Any]]) -> str:
    """What a depth network did, in words."""
    used = [row for row in photos.values() if row["used"]]
    model = next(iter(photos.values()))["model"]
    if not used:
        return f"{model} could not be laid on any photo: nothing was filled"
    filled = 100 * sum(row["filled_share"] for row in used) / len(photos)
    spread = 100 * float(np.median([row["spread"] for row in used]))
    return (
        f"{model} closed {filled:.1f} % of the depth maps, marked as inferred; it was laid on {len(used)} of {len(photos)}"
        f" photos and is off by {spread:.0f} % (median) where other photos confirm depth, before it is corrected"
    )


def _precision(report: Mapping[str, Any]) -> str:
    """The sentence on precision, and its figures."""
    facts = report["precision"]
    sentence = facts["meaning"][:1].upper() + facts["meaning"][1:]
    if facts["sigma_median"] is None:
        return f"<p>{escape(sentence)}.</p>"
    lengths = report["unit"] != "unknown"
    rows = []
    for key, label in (("sigma_median", "half of it"), ("sigma_68", "68 % of it"), ("sigma_95", "95 % of it")):
        gsd = facts[key + "_gsd"]
        length = f"{_number(facts[key])} {facts['unit']}" if lengths else ""
        rows.append((label, "?" if gsd is None else f"{gsd:.2g}", length))
    head = ("of the measured surface, by area", "1 sigma is below (footprints)", "length")
    table = html_table(head, [tuple(escape(c) for c in row) for row in rows], numeric=(1, 2))
    above = f"{100 * (facts['share_above_2_gsd'] or 0):.1f} % of it is less sure than two footprints."
    return f"<p>{escape(sentence)}.</p>{table}<p>{escape(above)}</p>"


def _photos(report: Mapping[str, Any], thumbnails: Mapping[str, bytes]) -> str:
    rows = []
    for row in sorted(report["photos"]["list"], key=lambda r: (r["placed"], r["name"])):
        state = (
            '<span class="good">placed</span>' if row["placed"] else f'<span class="bad">{escape(row["reason"])}</span>'
        )
        state += "".join(f'<br><span class="note">{escape(f["text"])}</span>' for f in row.get("faults", []))
        picture = image_tag(thumbnails[row["name"]], row["name"]) if row["name"] in thumbnails else ""
        error = "" if row["reprojection_error_px"] is None else f"{row['reprojection_error_px']:.2f}"
        blur = "" if row["blur_px"] is None else f"{row['blur_px']:.1f}"
        rows.append(
            (picture, escape(row["name"]), state, str(row["num_keypoints"]), str(row["num_observations"]), error, blur)
        )
    for bad in report["photos"]["rejected"]:
        rows.append(("", escape(bad["name"]), f'<span class="bad">{escape(bad["reason"])}</span>', "", "", "", ""))
    head = ("", "photo", "state", "keypoints", "observations", "error px", "blur px")
    return html_table(head, rows, numeric=(3, 4, 5, 6))


def _cameras(report: Mapping[str, Any]) -> str:
    rows = [
        (c["model"], f"{c['width']} x {c['height']}", ", ".join(f"{p:.5g}" for p in c["params"]), str(c["photos"]))
        for c in report["cameras"]
    ]
    return html_table(("model", "size", "parameters (COLMAP order)", "photos"), rows, numeric=(3,))


def _stages(report: Mapping[str, Any]) -> str:
    longest = max((s["seconds"] for s in report["stages"]), default=1.0) or 1.0
    rows = [
        (
            escape(s["stage"]),
            f"{s['seconds']:.1f} s",
            f"{s['cpu_seconds']:.1f} s",
            f"{s['peak_memory_mb']:.0f} MiB",
            str(s["items"]),
            f'<div class="bar" style="width:{200 * s["seconds"] / longest:.0f}px"></div>',
        )
        for s in report["stages"]
    ]
    return html_table(("stage", "time", "CPU time", "peak memory", "items", ""), rows, numeric=(1, 2, 3, 4))


def camera_plan(reconstruction: Reconstruction, size: int = 480) -> str:
    """SVG of the scene from above: sparse points grey, cameras as wedges that look where the camera looked."""
    centers = reconstruction.centers
    axes = reconstruction.cam_from_world[:, 2, :3]
    points = reconstruction.points
    if len(points) > 3000:
        points = points[:: len(points) // 3000 + 1]
    inside = points
    if len(points) > 50:
        low, high = np.quantile(points, [0.02, 0.98], axis=0)
        inside = points[np.all((points >= low) & (points <= high), axis=1)]
    everything = np.concatenate([inside[:, :2], centers[:, :2]]) if len(inside) else centers[:, :2]
    low, high = everything.min(0), everything.max(0)
    span = max(float((high - low).max()), 1e-9) * 1.12
    middle = (low + high) / 2

    def to_svg(xy: np.ndarray) -> np.ndarray:
        flat = (np.asarray(xy)[..., :2] - middle) / span
        return np.stack([flat[..., 0] + 0.5, 0.5 - flat[..., 1]], -1) * size

    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1"/>' for x, y in to_svg(inside))
    wedges = []
    for center, axis, name in zip(centers, axes, reconstruction.names):
        ahead = axis[:2] / max(float(np.linalg.norm(axis[:2])), 1e-9) * span * 0.035
        side = np.array([-ahead[1], ahead[0]]) * 0.5
        tips = to_svg(np.stack([center[:2], center[:2] + ahead + side, center[:2] + ahead - side]))
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in tips)
        wedges.append(f'<polygon points="{corners}"><title>{escape(name)}</title></polygon>')
    return (
        f'<svg viewBox="0 0 {size} {size}" role="img"><g fill="#888">{dots}</g>'
        f'<g fill="#d62" fill-opacity=".75">{"".join(wedges)}</g></svg>'
    )
