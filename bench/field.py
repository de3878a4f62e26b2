"""Radiance fields on the chair of NeRF's synthetic scenes: `python bench/field.py [--minutes 3 10] [--json FILE]`.

    --minutes M...    time budgets of `rilievo field`, minutes (default: 3 10)
    --threads N       threads (default 2)
    --data DIR        folder with the data sets (default: $RILIEVO_DATA, else ../shared/data beside the repository)
    --speed-only      only the time a sample takes
    --json FILE       writes the values there too

Protocol: `chair`, the 50 training photos that are there (transforms_train.json), 800 x 800, judged on the 10 of
transforms_val.json before white: mean PSNR and SSIM of 8 bit pictures. A budget is that of the command: reading the
photos, choosing the number of steps, training, judging and writing are all within it; `training` is the part that
trains.

Speed: medians of 60 steps after 400 at the command's settings: microseconds of wall time a marched sample for rays,
and for
forward and backward (encoding, networks, compositing, gradients of table and weights), and for the optimiser (Adam over
what was touched); and the CPU time of the same, halved.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent


def speed(source: Path, threads: int) -> dict[str, float]:
    """Microseconds a sample of the parts of a step."""
    from rilievo import kernels
    from rilievo.placed import load_placed
    from rilievo.stages import field as stage
    from rilievo.stages.field_scene import pack_photos

    kernels.set_num_threads(threads)
    placed = load_placed(source, num_threads=threads)
    tested = set(placed.held_out or ())
    views = [placed.load_view(n, 1000) for n in placed.scene.names if n not in tested]
    config = stage.FieldConfig(background=(1.0, 1.0, 1.0))
    state = stage.start_field(views, config=config)
    trainer = stage.Trainer(state, pack_photos(views, stage.region_of(state.field)), config)
    del views
    for _ in range(400):
        trainer.step()
    parts: dict[str, list[float]] = {"field_rays": [], "field_gradients": [], "field_adam": []}
    cpus: list[float] = []

    def timed(name: str, kernel: Any) -> Any:
        def call(*args: Any) -> Any:
            began, used = time.perf_counter(), time.process_time()
            answer = kernel(*args)
            spent = time.perf_counter() - began
            if name in parts:
                parts[name].append(spent)
            if name == "field_gradients":
                cpus.append((time.process_time() - used) / answer[1])
                marched.append(answer[1])
                kept.append(answer[2])
            return answer

        return call

    marched: list[int] = []
    kept: list[int] = []
    with kernels.wrapped(timed):
        for _ in range(60):
            trainer.step()
    adam = np.array(parts["field_adam"]).reshape(-1, 2).sum(1)  # table, weights
    a_sample = lambda seconds: 1e6 * statistics.median(s / n for s, n in zip(seconds, marched))  # noqa: E731
    return {
        "forward_backward_us": a_sample(parts["field_gradients"]),
        "forward_backward_cpu_us_halved": 1e6 * statistics.median(cpus) / 2,
        "optimiser_us": a_sample(adam),
        "rays_us": a_sample(parts["field_rays"]),
        "samples_a_step": statistics.median(marched),
        "share_kept": sum(kept) / sum(marched),
    }


def quality(source: Path, minutes: float, threads: int) -> dict[str, float]:
    """What the command reaches within a budget."""
    from rilievo.pipelines_field import photos_to_field
    from rilievo.plan import Run

    with tempfile.TemporaryDirectory() as folder:
        wall, before = time.perf_counter(), os.times()
        _, summary = photos_to_field(source, Path(folder) / "house", run=Run(threads, max_seconds=60 * minutes))
        wall, after = time.perf_counter() - wall, os.times()
    return {
        "minutes": minutes,
        "psnr": summary["psnr"],
        "ssim": summary["ssim"],
        "iterations": summary["iterations"],
        "million_samples": summary["num_samples"] / 1e6,
        "training_s": summary["seconds"],
        "wall_s": wall,
        "cpu_s": after.user + after.system - before.user - before.system,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, nargs="+", default=[3.0, 10.0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, default=os.environ.get("RILIEVO_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--speed-only", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    source = Path(args.data) / "chair"
    if not source.is_dir():
        raise SystemExit(f"no chair in {args.data}: name the folder with --data")
    found: dict[str, Any] = {"threads": args.threads, "speed": speed(source, args.threads), "quality": []}
    for name, value in found["speed"].items():
        print(f"{name:<32}{value:>12.3f}", flush=True)
    if not args.speed_only:
        print(
            f"\n{'budget':>8}{'PSNR':>8}{'SSIM':>8}{'steps':>8}{'Msamples':>10}{'train s':>9}{'wall s':>8}{'CPU s':>8}"
        )
        for minutes in args.minutes:
            row = quality(source, minutes, args.threads)
            found["quality"].append(row)
            print(
                f"{minutes:>6g} m{row['psnr']:>8.2f}{row['ssim']:>8.4f}{row['iterations']:>8}"
                f"{row['million_samples']:>10.0f}{row['training_s']:>9.0f}{row['wall_s']:>8.0f}{row['cpu_s']:>8.0f}",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
