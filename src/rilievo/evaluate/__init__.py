"""Accuracy against known truth: cameras, clouds and meshes.

The reconstruction is laid on the truth by one similarity from camera centres (Umeyama 1991) and by nothing else: no
fitting of surfaces, so an error of the cameras shows in the surface too.

Surfaces are compared at multiples of the ground sample distance (gsd: median over the photos of their median depth /
focal length):

* accuracy: share of the reconstructed area that lies within t of the true surface (the whole of it: what is right
  counts as right even where too few photos saw it, what hangs in the air or under the ground counts as wrong);
* completeness: share of the true area, of that which at least three photos see, within t of the reconstructed surface;
* F1: their harmonic mean (Knapitsch et al. 2017, "Tanks and Temples", eqs. 3-7).

Meshes are sampled by area, never by vertices. Distances are exact (closest point of any triangle).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from rilievo.evaluate.cameras import Alignment, CameraScore, align_to_truth, evaluate_cameras
from rilievo.evaluate.surfaces import SurfaceScore, evaluate_cloud, evaluate_mesh
from rilievo.evaluate.true_surface import DEFAULT, EvaluateConfig, TrueSurface, prepare_surface, sample_by_area
from rilievo.io.truth import Truth, load_truth
from rilievo.types import Mesh, PointCloud, Reconstruction

__all__ = [
    "Alignment",
    "CameraScore",
    "EvaluateConfig",
    "Evaluation",
    "SurfaceScore",
    "TrueSurface",
    "Truth",
    "align_to_truth",
    "evaluate",
    "evaluate_cameras",
    "evaluate_cloud",
    "evaluate_mesh",
    "load_truth",
    "prepare_surface",
    "sample_by_area",
]


@dataclass(frozen=True)
class Evaluation:
    """Everything that could be compared; `cloud` and `mesh` are None where there is no truth or no result."""

    cameras: CameraScore
    cloud: SurfaceScore | None = None
    mesh: SurfaceScore | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and strings; nan and infinity become None."""
        return _plain(asdict(self))

    def __str__(self) -> str:
        """A few lines for a terminal."""
        c = self.cameras
        unit = "" if c.unit == "unknown" else f" {c.unit}"
        lines = [
            f"cameras   {c.num_placed} of {c.num_truth} placed; centres {c.center_rmse:.3g}{unit} RMSE "
            f"({c.center_rmse_gsd:.2f} gsd), largest {c.center_max:.3g}{unit}; rotations {c.rotation_mean_deg:.3g} deg",
            f"lens      focal length off by {c.focal_error_percent:.3f} %, principal point by "
            f"{c.principal_point_error_px:.2f} px",
            f"gsd       {c.gsd:.4g}{unit}: one pixel on the surface; scale {c.scale:.6g}{unit} per reconstructed unit",
        ]
        for name, score in (("cloud", self.cloud), ("mesh", self.mesh)):
            if score is None:
                continue
            for k, t in enumerate(score.thresholds_gsd):
                lines.append(
                    f"{name:<10}within {t:g} gsd: F1 {score.f1[k]:.3f}, accuracy {score.accuracy[k]:.3f}, "
                    f"completeness {score.completeness[k]:.3f}"
                )
            line = f"{'':<10}median error {score.error_median_gsd:.2f} gsd"
            if score.accuracy_measured is not None:
                line += f"; {100 * score.inferred_share:.1f} % of the surface is inferred, accuracy without it "
                line += ", ".join(f"{a:.3f}" for a in score.accuracy_measured)
            lines.append(line)
        return "\n".join(lines)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def evaluate(
    reconstruction: Reconstruction,
    cloud: PointCloud | None,
    mesh: Mesh | None,
    truth: Truth,
    *,
    config: EvaluateConfig = DEFAULT,
) -> Evaluation:
    """Compares everything that was made with everything that is known. Raises InputError as `align_to_truth` and
    `prepare_surface`."""
    if truth.vertices is None and truth.points is None:
        return Evaluation(evaluate_cameras(reconstruction, truth))
    surface = prepare_surface(truth, config=config)
    alignment = align_to_truth(reconstruction, truth)
    return Evaluation(
        cameras=evaluate_cameras(reconstruction, truth, gsd=surface.gsd),
        cloud=None if cloud is None else evaluate_cloud(cloud, alignment, surface, config=config),
        mesh=None if mesh is None else evaluate_mesh(mesh, alignment, surface, config=config),
    )
