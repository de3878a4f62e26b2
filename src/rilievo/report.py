"""The report: what was made, how good it is and what could not be seen, as data and as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from rilievo.report_sigma import sigma_facts
from rilievo.types import Mesh, Photo, PointCloud, Reconstruction

if TYPE_CHECKING:
    from rilievo.stages.faults import Fault


def photo_rows(
    photos: Sequence[Photo],
    features: Mapping[str, int],
    reconstruction: Reconstruction,
    faults: Mapping[str, Sequence[Fault]] | None = None,
) -> list[dict[str, Any]]:
    """One row a photo: placed or why not, keypoints, observations, mean reprojection error (px), blur (px), faults."""
    index = {name: i for i, name in enumerate(reconstruction.names)}
    num_observations = np.bincount(reconstruction.obs_photo, minlength=len(index))
    error = np.bincount(
        reconstruction.obs_photo, reconstruction.point_errors_px[reconstruction.obs_point], minlength=len(index)
    )
    rows = []
    for photo in photos:
        i = index.get(photo.name)
        row: dict[str, Any] = {
            "name": photo.name,
            "width": photo.width,
            "height": photo.height,
            "placed": i is not None,
            "reason": "" if i is not None else reconstruction.unplaced.get(photo.name, "no verified matches"),
            "blur_px": _round(photo.blur_px, 2),
            "num_keypoints": features.get(photo.name, 0),
            "num_observations": 0,
            "reprojection_error_px": None,
            "faults": [{**asdict(f), "value": _round(f.value, 3)} for f in (faults or {}).get(photo.name, ())],
        }
        if i is not None:
            row["num_observations"] = int(num_observations[i])
            row["reprojection_error_px"] = _round(error[i] / max(num_observations[i], 1), 3)
        rows.append(row)
    return rows


def median_gsd(reconstruction: Reconstruction) -> float:
    """Ground sample distance: median over observations of depth / focal length, in world units."""
    if not len(reconstruction.obs_point):
        return float("nan")
    points = reconstruction.points[reconstruction.obs_point]
    cams = reconstruction.cam_from_world[reconstruction.obs_photo]
    depth = np.einsum("ni,ni->n", cams[:, 2, :3], points) + cams[:, 2, 3]
    focal = np.array([reconstruction.camera(i).fx for i in range(len(reconstruction.names))])
    return float(np.median(depth / focal[reconstruction.obs_photo]))


def surface_area(mesh: Mesh, faces: np.ndarray | None = None) -> float:
    """Area of the mesh, or of some of its faces, in square world units."""
    corners = mesh.vertices[mesh.faces if faces is None else mesh.faces[faces]].astype(np.float64)
    if not len(corners):
        return 0.0
    return float(
        np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    )


def cloud_facts(cloud: PointCloud, gsd: float) -> dict[str, Any]:
    """Size, views per point and estimated precision of a cloud."""
    views = np.diff(cloud.view_offsets)
    sigma = cloud.sigma[np.isfinite(cloud.sigma)]
    return {
        "num_points": len(cloud.points),
        "median_views": float(np.median(views)) if len(views) else 0.0,
        "share_seen_by_3": _round(float(np.mean(views >= 3)) if len(views) else 0.0, 4),
        "median_confidence": _round(float(np.median(cloud.confidence)) if len(cloud.points) else None, 3),
        "sigma_median": _significant(np.median(sigma) if len(sigma) else None),
        "sigma_90": _significant(np.quantile(sigma, 0.9) if len(sigma) else None),
        "sigma_median_gsd": _round(float(np.median(sigma) / gsd) if len(sigma) and gsd > 0 else None, 3),
    }


def mesh_facts(mesh: Mesh, boundary_lengths: Sequence[float]) -> dict[str, Any]:
    """Size, inferred share and holes of a mesh; lengths in world units, the ten longest hole borders listed."""
    area = surface_area(mesh)
    inferred = surface_area(mesh, np.flatnonzero(mesh.inferred)) if mesh.inferred is not None else 0.0
    extent = np.ptp(mesh.vertices, axis=0) if len(mesh.vertices) else np.zeros(3)
    return {
        "num_vertices": len(mesh.vertices),
        "num_faces": len(mesh.faces),
        "area": _significant(area),
        "extent": [_significant(x) for x in extent],
        "inferred_share": _round(inferred / area if area else 0.0, 4),
        "num_holes": len(boundary_lengths),
        "hole_lengths": [_significant(x) for x in sorted(boundary_lengths, reverse=True)[:10]],
        "texture_size": list(mesh.texture.shape[:2]) if mesh.texture is not None else None,
    }


def build_report(
    *,
    version: str,
    settings: Mapping[str, Any],
    photos: Sequence[Photo],
    rejected: Sequence[tuple[str, str]],
    num_keypoints: Mapping[str, int],
    reconstruction: Reconstruction,
    cloud: PointCloud,
    mesh: Mesh,
    boundary_lengths: Sequence[float],
    texture_facts: Mapping[str, Any],
    stages: Sequence[Mapping[str, Any]],
    faults: Mapping[str, Sequence[Fault]] | None = None,
    prior: Mapping[str, Mapping[str, Any]] | None = None,
    masked: Mapping[str, float] | None = None,
    kinds: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Everything a reader or a program wants to know of a result (the content of report.json).

    masked: share of each photo that its mask hides.  kinds: what `rilievo mask` found, when its masks were used.
    """
    gsd = median_gsd(reconstruction)
    rows = photo_rows(photos, num_keypoints, reconstruction, faults)
    placed = sum(row["placed"] for row in rows)
    counts = np.bincount(reconstruction.obs_point, minlength=len(reconstruction.points))
    for row in rows:
        row["masked"] = _round((masked or {}).get(row["name"]), 4)
    report: dict[str, Any] = {
        "rilievo": version,
        "settings": dict(settings),
        "photos": {
            "total": len(rows),
            "placed": placed,
            "list": rows,
            "rejected": [{"name": name, "reason": reason} for name, reason in rejected],
        },
        "cameras": [
            {
                "model": camera.model,
                "width": camera.width,
                "height": camera.height,
                "params": [round(float(x), 6) for x in camera.params],
                "photos": int((reconstruction.camera_index == i).sum()),
            }
            for i, camera in enumerate(reconstruction.cameras)
        ],
        "intrinsics_note": reconstruction.intrinsics_note,
        "sparse": {
            "num_points": len(reconstruction.points),
            "num_observations": len(reconstruction.obs_point),
            "mean_track_length": _round(float(counts.mean()) if len(counts) else 0.0, 2),
            "reprojection_error_px": _round(reconstruction.reprojection_error(), 3),
            "num_models": reconstruction.num_models,
        },
        "frame": reconstruction.frame,
        "unit": reconstruction.unit,
        "scale_source": reconstruction.scale_source,
        "scale": scale_sentence(reconstruction),
        "gsd": _significant(gsd),
        "cloud": cloud_facts(cloud, gsd),
        "mesh": mesh_facts(mesh, boundary_lengths),
        "precision": sigma_facts(mesh, gsd, reconstruction.unit),
        "texture": dict(texture_facts),
        "masks": {
            "photos": len(masked or {}),
            "share": _round(float(np.mean(list(masked.values()))) if masked else 0.0, 4),
            "kinds": {k: dict(v) for k, v in (kinds or {}).items()},
        },
        "photo_prior": {name: dict(row) for name, row in (prior or {}).items()},
        "stages": [dict(stage) for stage in stages],
        "total_seconds": _round(sum(stage["seconds"] for stage in stages), 1),
        "peak_memory_mb": _round(max((stage["peak_memory_mb"] for stage in stages), default=0.0), 0),
    }
    report["warnings"] = list_warnings(report)
    report["verdict"] = verdict(report)
    return report


def scale_sentence(reconstruction: Reconstruction) -> str:
    """Where the scale comes from, in words; the first thing a measuring person needs."""
    if reconstruction.unit == "unknown":
        return "no metric scale: lengths are in arbitrary units (photos carry no usable GPS and no reference was given)"
    return f"lengths are in {reconstruction.unit}, scale from {reconstruction.scale_source}"


def list_warnings(report: Mapping[str, Any]) -> list[str]:
    """What a careful person should know before trusting the result."""
    warnings = []
    photos, sparse, mesh, cloud = report["photos"], report["sparse"], report["mesh"], report["cloud"]
    if missing := [row["name"] for row in photos["list"] if not row["placed"]]:
        names = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        warnings.append(f"{len(missing)} of {photos['total']} photos could not be placed: {names}")
    if photos["rejected"]:
        warnings.append(f"{len(photos['rejected'])} files could not be used as photos")
    if sparse["num_models"] > 1:
        warnings.append(
            f"the photos form {sparse['num_models']} separate groups; only the largest was built: "
            "take photos that connect them"
        )
    if (sparse["reprojection_error_px"] or 0) > 1.5:
        warnings.append(f"the reprojection error is high ({sparse['reprojection_error_px']} px)")
    if hidden := [row["name"] for row in photos["list"] if (row["masked"] or 0) > 0.9]:
        names = ", ".join(hidden[:5]) + (" ..." if len(hidden) > 5 else "")
        warnings.append(f"masks hide more than nine tenths of {len(hidden)} photos: {names}")
    if mesh["inferred_share"] > 0.05:
        warnings.append(f"{100 * mesh['inferred_share']:.0f} % of the surface was not measured by any photo (inferred)")
    if cloud["num_points"] and cloud["share_seen_by_3"] < 0.5:
        warnings.append("less than half of the surface was seen by three photos or more")
    if unused := {name: row for name, row in report["photo_prior"].items() if not row["used"]}:
        name, row = next(iter(unused.items()))
        many, all_ = len(unused), len(report["photo_prior"])
        warnings.append(
            f"the depth network could not be laid on {many} of {all_} photos, their gaps stay open: {name}"
            f" ({row['reason']}){' and others' if many > 1 else ''}"
        )
    return warnings + list_faults(photos["list"])


# kind of fault -> what a warning says of several photos that have it
FAULTS = {
    "mirrored": "are mirrored",
    "dark": "are nearly black",
    "blur": "are blurred",
    "exposure": "are much lighter or darker than the others",
    "tint": "have another white balance than the others",
    "focal": "have a wrong focal length in EXIF",
    "alone": "show nothing that the other photos show",
}


def list_faults(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One warning a photo for each kind of fault, or one for all where more than two photos have it. What needs no
    action (a photo that is turned) is left to the photo's own row."""
    warnings = []
    for kind, several in FAULTS.items():
        found = [(row["name"], f) for row in rows for f in row["faults"] if f["kind"] == kind]
        if 0 < len(found) <= 2:
            warnings += [f"{name} {f['text']}: {f['hint']}" for name, f in found]
        elif found:
            names = ", ".join(name for name, _ in found[:5]) + (" ..." if len(found) > 5 else "")
            worst = max((f for _, f in found), key=lambda f: abs(f["value"] or 0))
            warnings.append(f"{len(found)} photos {several}: {names} (the most: {worst['text']}); {worst['hint']}")
    faulty = {row["name"] for row in rows for f in row["faults"] if f["kind"] == "blur"}
    blurred = [row["name"] for row in rows if (row["blur_px"] or 0) > 3 and row["name"] not in faulty]
    if blurred:
        warnings.append(f"{len(blurred)} photos are blurred by more than 3 px: {', '.join(blurred[:5])}")
    return warnings


def verdict(report: Mapping[str, Any]) -> str:
    """One sentence: is this good?"""
    photos, cloud = report["photos"], report["cloud"]
    unit = "" if report["unit"] == "unknown" else f" {report['unit']}"
    text = f"{photos['placed']} of {photos['total']} photos placed"
    if cloud["sigma_median"] is not None:
        text += f"; estimated surface precision {cloud['sigma_median']:.3g}{unit or ' units'} (1 sigma, median"
        text += f", {cloud['sigma_median_gsd']:.2g} pixel footprints)" if cloud["sigma_median_gsd"] else ")"
    return text + f"; {report['scale']}."


def summarize(report: Mapping[str, Any]) -> str:
    """A few lines for a terminal."""
    mesh, cloud, sparse = report["mesh"], report["cloud"], report["sparse"]
    inferred = f"{100 * mesh['inferred_share']:.1f} % inferred"
    unit = "units" if report["unit"] == "unknown" else report["unit"]
    lines = [
        report["verdict"],
        f"cameras   reprojection error {sparse['reprojection_error_px']} px, {sparse['num_points']:,} sparse points",
        f"cloud     {cloud['num_points']:,} points, one pixel spans {report['gsd']} {unit}",
        f"mesh      {mesh['num_faces']:,} triangles, {inferred}, {mesh['num_holes']} holes",
        f"time      {report['total_seconds']:.0f} s, peak memory {report['peak_memory_mb']:.0f} MiB",
        *(f"warning   {w}" for w in report["warnings"]),
    ]
    return "\n".join(lines)


def _round(x: float | None, digits: int) -> float | None:
    return None if x is None or not np.isfinite(x) else round(float(x), digits)


def _significant(x: Any, digits: int = 4) -> float | None:
    return None if x is None or not np.isfinite(x) else float(f"{float(x):.{digits}g}")
