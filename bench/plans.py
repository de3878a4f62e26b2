"""Do plans keep what they say? Their photos are rendered from generated scenes, reconstructed, and measured again.

    python bench/plans.py [object] [facade] [room] [area] [--mesh] [--samples N] [--json] [-o DIR]

For each plan (tests/plan_scenes.py) it prints, for the cameras of the plan and for those that rilievo found in the
rendered photos, what they have of the true surface: median gsd, median overlap of neighbours in a strip and to the
side, views of a point, and how far apart the two are. Photos that could not be placed count as not taken.

    --mesh        build the whole model and let its own mesh, not the true surface, decide what hides what
    --samples N   rays a pixel along each side (default 2)
    -o DIR        keep photos and houses there (default: a temporary folder)
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]


def measured(name: str, folder: Path, samples: int, with_mesh: bool) -> dict[str, object]:
    """One plan put to the test."""
    import plan_scenes

    simulation = plan_scenes.SIMULATIONS[name]()
    planned = simulation.planned().figures()
    begin = time.process_time()
    photos = plan_scenes.photograph(simulation, folder, samples=samples)
    rendered = time.process_time()
    surface = None
    if with_mesh:
        from rilievo import photos_to_mesh
        from rilievo.plan import BuildSettings

        house = photos_to_mesh([photos], folder / "house", settings=BuildSettings(quality="draft"))
        model, mesh = house.named("cameras"), house.named("mesh")
        surface = (mesh.vertices.astype(np.float64) + mesh.origin)[mesh.faces]
    else:
        model = plan_scenes.find_cameras(photos, folder / "house")
    found, error = plan_scenes.achieved(simulation, model, surface)
    figures = found.figures()
    rows = {
        metric: {"planned": planned[metric], "achieved": figures[metric], "off": figures[metric] / planned[metric] - 1}
        for metric in plan_scenes.METRICS
        if np.isfinite(planned[metric])
    }
    return {
        "plan": name,
        "photos": len(simulation.stations.group),
        "placed": len(model.names),
        "said_gsd": simulation.plan.facts["figures"]["gsd_median"],
        "camera_error_m": error,
        "render_s": rendered - begin,
        "build_s": time.process_time() - rendered,
        "figures": rows,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--mesh", action="store_true")
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    import plan_scenes

    known = [name for name in plan_scenes.SIMULATIONS if name != "small"]
    if unknown := set(options.names) - {*known, "small"}:
        parser.error(f"no plan {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.names or known:
            result = measured(name, (options.output or Path(temporary)) / name, options.samples, options.mesh)
            results.append(result)
            if options.json:
                continue
            error = 1000 * float(str(result["camera_error_m"]))
            print(
                f"{name}: {result['placed']} of {result['photos']} photos placed, cameras off by {error:.1f} mm; ",
                end="",
            )
            print(f"{result['render_s']:.0f} + {result['build_s']:.0f} CPU s")
            for metric, row in result["figures"].items():  # type: ignore[attr-defined]
                print(
                    f"  {metric:<24}{row['planned']:>10.4g}{row['achieved']:>10.4g}{100 * row['off']:>+8.2f} %",
                    flush=True,
                )
    if options.json:
        print(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
