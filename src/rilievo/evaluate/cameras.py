"""Cameras against truth, and the similarity that lays a reconstruction on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rilievo import geometry
from rilievo.errors import InputError
from rilievo.io.truth import Truth
from rilievo.types import Reconstruction


@dataclass(frozen=True)
class Alignment:
    """x_in_truth = scale * R x + t with truth_from_world = [R | t]."""

    scale: float
    truth_from_world: np.ndarray

    def apply(self, x_in_world: np.ndarray) -> np.ndarray:
        """Points (n, 3) of the reconstruction -> points (n, 3) in the frame of the truth, float64."""
        return geometry.transform(self.truth_from_world, self.scale * np.asarray(x_in_world, np.float64))


@dataclass(frozen=True)
class CameraScore:
    """Cameras against truth. Lengths in the truth's unit; *_gsd in ground sample distances (nan without any depth).

    num_truth: photos whose truth is known.  num_placed: of these, how many the reconstruction has.
    scale: truth length per reconstruction length; for a metric reconstruction its distance from 1 is the scale error.
    focal_error_percent, principal_point_error_px: mean over the placed photos, at the truth's picture size.
    """

    num_truth: int
    num_placed: int
    missing: tuple[str, ...]
    unit: str
    scale: float
    center_rmse: float
    center_median: float
    center_max: float
    center_rmse_gsd: float
    rotation_mean_deg: float
    rotation_max_deg: float
    focal_error_percent: float
    principal_point_error_px: float
    gsd: float


def _pair_names(names: tuple[str, ...], true_names: tuple[str, ...]) -> list[tuple[int, int]]:
    """(photo, true photo) with the same name, or else with the same last part of the name where that is unique."""
    by_name = {n: i for i, n in enumerate(names)}
    by_last: dict[str, list[int]] = {}
    for i, n in enumerate(names):
        by_last.setdefault(n.rsplit("/", 1)[-1], []).append(i)
    pairs = []
    for j, n in enumerate(true_names):
        last = by_last.get(n.rsplit("/", 1)[-1], [])
        i = by_name.get(n, last[0] if len(last) == 1 else None)
        if i is not None:
            pairs.append((i, j))
    return pairs


def align_to_truth(reconstruction: Reconstruction, truth: Truth) -> Alignment:
    """The similarity that lays the reconstruction's camera centres on the true ones. Raises InputError for fewer than
    3 common photos or centres on one line."""
    pairs = _pair_names(reconstruction.names, truth.names)
    try:
        scale, truth_from_world = geometry.align(
            reconstruction.centers[[i for i, _ in pairs]], truth.centers[[j for _, j in pairs]]
        )
    except ValueError as error:
        raise InputError(
            "the reconstruction cannot be laid on the truth",
            f"{len(pairs)} of its {len(reconstruction.names)} photos are named in the truth; {error}",
            "check that the photo names in the truth are those of the photos that were reconstructed",
        ) from error
    return Alignment(scale, truth_from_world)


def evaluate_cameras(reconstruction: Reconstruction, truth: Truth, *, gsd: float | None = None) -> CameraScore:
    """Errors of camera centres, rotations and intrinsics after alignment by centres.

    gsd: the true surface's (`prepare_surface`); without it the median depth of the reconstruction's own points is used.
    Raises InputError as `align_to_truth`.
    """
    alignment = align_to_truth(reconstruction, truth)
    pairs = _pair_names(reconstruction.names, truth.names)
    if gsd is None:
        gsd = _sparse_gsd(reconstruction) * alignment.scale
    ours, theirs = (np.array(side) for side in zip(*pairs))
    errors = np.linalg.norm(alignment.apply(reconstruction.centers[ours]) - truth.centers[theirs], axis=1)
    R = reconstruction.cam_from_world[ours, :, :3] @ alignment.truth_from_world[:, :3].T
    relative = R @ np.swapaxes(truth.cam_from_world[theirs, :, :3], 1, 2)
    # atan2 of both parts of the angle: arccos alone loses everything below 1e-6 degrees
    axis = np.stack([relative[:, 2, 1] - relative[:, 1, 2], relative[:, 0, 2] - relative[:, 2, 0],
                     relative[:, 1, 0] - relative[:, 0, 1]], -1)  # fmt: skip
    angles = np.degrees(np.arctan2(np.linalg.norm(axis, axis=1), np.trace(relative, axis1=1, axis2=2) - 1.0))
    focal, center = [], []
    for i, j in pairs:
        camera, true = reconstruction.camera(i), truth.cameras[j]
        zoom = true.width / camera.width
        focal.append(abs(zoom * (camera.fx + camera.fy) / (true.fx + true.fy) - 1.0) * 100.0)
        center.append(math.hypot(zoom * camera.cx - true.cx, zoom * camera.cy - true.cy))
    rmse = float(np.sqrt(np.mean(errors**2)))
    return CameraScore(
        num_truth=len(truth.names),
        num_placed=len(pairs),
        missing=tuple(n for j, n in enumerate(truth.names) if j not in set(theirs.tolist())),
        unit=truth.unit,
        scale=alignment.scale,
        center_rmse=rmse,
        center_median=float(np.median(errors)),
        center_max=float(errors.max()),
        center_rmse_gsd=rmse / gsd,
        rotation_mean_deg=float(angles.mean()),
        rotation_max_deg=float(angles.max()),
        focal_error_percent=float(np.mean(focal)),
        principal_point_error_px=float(np.mean(center)),
        gsd=gsd,
    )


def _sparse_gsd(reconstruction: Reconstruction) -> float:
    """Median over all observations of depth / focal length, in the reconstruction's unit (nan without points)."""
    i = reconstruction.obs_photo
    if not len(i):
        return float("nan")
    row = reconstruction.cam_from_world[i, 2]
    depth = (row[:, :3] * reconstruction.points[reconstruction.obs_point]).sum(1) + row[:, 3]
    focal = np.array([reconstruction.camera(k).fx for k in range(len(reconstruction.names))])
    return float(np.median(depth / focal[i]))
