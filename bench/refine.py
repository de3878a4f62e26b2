"""Mesh refinement by the photos measured: accuracy before and after, CPU seconds, memory.

    python bench/refine.py HOUSE PHOTOS [--truth DIR] [--size PX] [--threads N] [--save FILE.ply]

HOUSE: a project folder that `rilievo build` filled from the folder PHOTOS. The surface before
texturing is refined with the photos at up to PX on their longer side (default: full size). With --truth, accuracy and
F1 before and after are printed at 0.25, 0.5, 1 and 2 gsd, as are the shares of vertices within one sigma.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]


def main() -> int:
    import cv2  # noqa: F401  (before pycolmap)

    from rilievo import kernels
    from rilievo.io import photos as files
    from rilievo.io.models import write
    from rilievo.project import Project
    from rilievo.stages.refine import photo_energy, refine
    from rilievo.stages.views import undistort_view

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("house", type=Path)
    parser.add_argument("photos", type=Path, help="folder of the photos")
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()

    kernels.set_num_threads(options.threads)
    project = Project(options.house, create=False)
    made = project.read()["made_from"]
    scene, mesh = project.named("cameras"), project.get(made["surface"][0])
    sources = {source.name: source for source in files.find_photos([options.photos])}

    def load(name: str) -> Any:
        i = scene.names.index(name)
        pixels, mask = files.load_pixels(sources[name]), files.load_mask(sources[name])
        return undistort_view(pixels, scene.camera(i), scene.cam_from_world[i], name, max_size=options.size, mask=mask)

    started = time.process_time()
    result = refine(mesh, load, scene.names, scene)
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for scale, energy, num_faces in result.energies:
        print(f"photos at {scale:g}: {num_faces} faces, mean energy {energy:.5f}")
    energy = photo_energy(result.mesh, load, scene.names, scene)
    print(f"at the end: {len(result.mesh.faces)} faces, mean energy {energy:.5f}")
    print(f"vertices moved {result.movement[0]:.3f} (median), {result.movement[1]:.3f} (95 %) pixel footprints")
    print(
        f"{seconds:.1f} CPU s, {seconds / len(result.mesh.faces) * 1e6:.1f} a million faces; peak {peak:.0f} MB in all"
    )
    if options.truth:
        compare(options.truth, scene, {"before": mesh, "after": result.mesh})
    if options.save:
        write(options.save, result.mesh)
    return 0


def compare(truth_dir: Path, scene: Any, meshes: dict[str, Any]) -> None:
    """Prints accuracy, F1 and calibration of sigma of each mesh."""
    from rilievo import kernels
    from rilievo.evaluate import EvaluateConfig, align_to_truth, evaluate_mesh, load_truth, prepare_surface

    truth = load_truth(truth_dir)
    config = EvaluateConfig(thresholds_gsd=(0.25, 0.5, 1.0, 2.0))
    surface, alignment = prepare_surface(truth, config=config), align_to_truth(scene, truth)
    for name, mesh in meshes.items():
        score = evaluate_mesh(mesh, alignment, surface, config=config)
        places = alignment.apply(mesh.vertices.astype(np.float64) + mesh.origin) - surface.origin
        error = kernels.closest_on_mesh(places, surface.vertices, surface.faces, 8 * surface.gsd)[0]
        inside = np.mean(error <= alignment.scale * mesh.sigma) if mesh.sigma is not None else np.nan
        accuracy, f1 = (" ".join(f"{share:.4f}" for share in shares) for shares in (score.accuracy, score.f1))
        print(f"{name:<8}accuracy {accuracy}  F1 {f1}  median {score.error_median_gsd:.3f} gsd", end="")
        print(f"  vertices within one sigma {inside:.3f}")


if __name__ == "__main__":
    raise SystemExit(main())
