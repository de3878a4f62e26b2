"""Speed and accuracy as named metrics: `python bench/suite.py` (or `make bench`).

    --list            show the cases and end
    --only NAME       only cases whose name contains NAME (may be given several times)
    --data DIR        folder with the data sets (default: $RILIEVO_DATA, else ../shared/data beside the repository)
    --quality Q       draft, normal (default) or high
    --threads N       threads for the builds (default 2)
    --scenes DIR      where the project's own scenes are rendered and kept (default: build/scenes)
    --work DIR        where projects are written (default: a new temporary folder)
    --update          writes the values into bench/baseline.json
    --json FILE       writes the values there too

Every case runs through the command line in a process of its own, as a user would, into an empty project. Cases whose
data is absent are skipped. Exit status 1 where a metric is worse than the baseline by more than its tolerance, or a
case fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BASELINE = ROOT / "bench" / "baseline.json"
SCENES = ROOT / "build" / "scenes"


@dataclass(frozen=True)
class Case:
    """One data set: photos and truth below the data folder. "@" stands for the repository, "@scene/NAME" for a scene of
    bench/scenes.py, which is rendered when it is first wanted. note: what it is there for."""

    name: str
    photos: str
    truth: str | None = None
    options: tuple[str, ...] = ()
    note: str = ""


def _scene(name: str, note: str) -> Case:
    return Case(name, f"@scene/{name}/photos", f"@scene/{name}/truth", note=note)


CASES = (
    Case(
        "demo",
        "@/examples/capture/photos",
        "@/examples/capture/truth",
        note="the sample capture: an urn on a table, exact truth",
    ),
    Case("idol", "idol/photos", "idol/truth", note="carved stone, three rods, a table; exact truth"),
    Case(
        "fountain_P11",
        "fountain_P11/images",
        "fountain_P11/gt_dense_cameras",
        note="a fountain in relief (Strecha et al. 2008), no EXIF; true cameras",
    ),
    Case(
        "fountain_P11_K",
        "fountain_P11/images",
        "fountain_P11/gt_dense_cameras",
        ("--camera", "fountain_P11/images/K.txt"),
        note="the same with known intrinsics",
    ),
    Case("sceaux_castle", "sceaux_castle", note="a castle's front, 6 Mpx; speed"),
    Case(
        "lund_door",
        "lund_door/images",
        "lund_door/colmap_ground_truth",
        note="a church door; reference cameras",
    ),
    Case("banana", "banana/images", note="an object from two sides"),
    _scene("white_room", "weak texture: white walls, furniture"),
    _scene("wires", "thin things: wires and rods of 1.5 to 6 px before gravel and bricks"),
    _scene("slanted_ground", "grazing angles: paving seen at 75 to 86 degrees"),
    _scene("repetitive", "repetition: fifteen equal windows, bricks that repeat"),
    _scene("concavity", "deep hollows: arcade, vault, niche, basin"),
    _scene("village", "from the air: 24 photos straight down, GPS off by 1.5 m"),
)


@dataclass(frozen=True)
class Metric:
    """One number. better: "less" or "more". tolerance: how much worse than the baseline passes, as a share of it;
    slack: and how much in the metric's own unit. read: takes (report, scores, usage), None where there is none."""

    name: str
    unit: str
    better: str
    tolerance: float
    slack: float
    read: Callable[[dict[str, Any], dict[str, Any], dict[str, float]], float | None]


def find(tree: Any, *keys: str | int) -> float | None:
    """tree[key][key]..., None where a step is missing."""
    for key in keys:
        try:
            tree = tree[key]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _share(surface: str, what: str, k: int) -> Callable[..., float | None]:
    return lambda report, scores, usage: find(scores, surface, what, k)


def _f1(surface: str, k: int) -> Callable[..., float | None]:
    return _share(surface, "f1", k)


def _center_mm(report: dict[str, Any], scores: dict[str, Any], usage: dict[str, float]) -> float | None:
    value = find(scores, "cameras", "center_rmse")
    return 1000 * value if value is not None and find(scores, "cameras", "unit") == "m" else None


def _depth_rate(report: dict[str, Any], scores: dict[str, Any], usage: dict[str, float]) -> float | None:
    """Mpx of depth maps a CPU second of all that makes them."""
    from rilievo.stages.depth import DepthConfig

    used = [s.get("cpu_seconds") for s in report.get("stages", []) if str(s.get("stage", "")).startswith("depth")]
    settings, rows = report.get("settings", {}), find(report, "photos", "list")
    if not used or None in used or not isinstance(rows, list):
        return None
    size = settings.get("depth_size") or DepthConfig.for_quality(settings.get("quality", "normal")).max_size
    placed = [(row["width"], row["height"]) for row in rows if row["placed"]]
    mpx = sum(w * h * min(1.0, size / max(w, h)) ** 2 for w, h in placed) / 1e6
    return mpx / sum(used) if sum(used) > 1.0 else None


METRICS = (
    Metric("photos_placed", "photos", "more", 0, 0, lambda r, s, u: find(r, "photos", "placed")),
    Metric("center_rmse", "mm", "less", 0.10, 0.1, _center_mm),
    Metric("center_rmse_gsd", "gsd", "less", 0.10, 0.05, lambda r, s, u: find(s, "cameras", "center_rmse_gsd")),
    Metric("rotation_mean", "deg", "less", 0.10, 0.002, lambda r, s, u: find(s, "cameras", "rotation_mean_deg")),
    Metric("reprojection", "px", "less", 0.05, 0.01, lambda r, s, u: find(r, "sparse", "reprojection_error_px")),
    Metric("cloud_f1_1gsd", "", "more", 0.0, 0.01, _f1("cloud", 0)),
    Metric("cloud_f1_2gsd", "", "more", 0.0, 0.01, _f1("cloud", 1)),
    Metric("cloud_f1_5gsd", "", "more", 0.0, 0.01, _f1("cloud", 2)),
    Metric("mesh_f1_1gsd", "", "more", 0.0, 0.01, _f1("mesh", 0)),
    Metric("mesh_f1_2gsd", "", "more", 0.0, 0.01, _f1("mesh", 1)),
    Metric("mesh_f1_5gsd", "", "more", 0.0, 0.01, _f1("mesh", 2)),
    Metric("cloud_accuracy_2gsd", "", "more", 0.0, 0.01, _share("cloud", "accuracy", 1)),
    Metric("cloud_completeness_2gsd", "", "more", 0.0, 0.01, _share("cloud", "completeness", 1)),
    Metric("mesh_accuracy_2gsd", "", "more", 0.0, 0.01, _share("mesh", "accuracy", 1)),
    Metric("mesh_completeness_2gsd", "", "more", 0.0, 0.01, _share("mesh", "completeness", 1)),
    Metric("mesh_inferred", "", "less", 0.10, 0.01, lambda r, s, u: find(s, "mesh", "inferred_share")),
    Metric("depth_mpx_per_s_core", "Mpx/s", "more", 0.20, 0.0, _depth_rate),
    Metric("wall", "s", "less", 0.30, 5.0, lambda r, s, u: u["wall"]),
    Metric("cpu", "s", "less", 0.15, 5.0, lambda r, s, u: u["cpu"]),
    Metric("peak_memory", "MiB", "less", 0.10, 50.0, lambda r, s, u: u["peak_mb"]),
)


def stage_metrics(report: dict[str, Any]) -> dict[str, tuple[float, str, Metric]]:
    """Wall and CPU seconds and peak memory of each stage: name -> (value, unit, rule)."""
    rows = {}
    for stage in report.get("stages", []):
        for key, unit, tolerance, slack in (
            ("seconds", "s", 0.30, 2.0),
            ("cpu_seconds", "s", 0.20, 2.0),
            ("peak_memory_mb", "MiB", 0.15, 50.0),
        ):
            if stage.get(key) is not None:
                name = f"{stage['stage']}.{key}"
                rule = Metric(name, unit, "less", tolerance, slack, lambda r, s, u: None)
                rows[name] = (float(stage[key]), unit, rule)
    return rows


def run(arguments: list[str], log: Path) -> tuple[int, str, dict[str, float]]:
    """One verb in its own process: exit status, stdout, and what the process used. stderr goes to log."""
    started = time.perf_counter()
    with log.open("a") as talk, tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([sys.executable, "-m", "rilievo.cli", *arguments], stdout=out, stderr=talk)
        usage = {"cpu": float("nan"), "peak_mb": float("nan")}
        if hasattr(os, "wait4"):
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            kilo = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss: bytes there, KiB elsewhere
            usage = {"cpu": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / kilo}
        process.wait()
        out.seek(0)
        return process.returncode, out.read(), {"wall": time.perf_counter() - started, **usage}


def place(name: str, data: Path, rendered: Path = SCENES) -> Path:
    """A path of a case; "@scene/NAME/..." lies in the folder of rendered scenes."""
    if name.startswith("@scene/"):
        return rendered / name.removeprefix("@scene/")
    return ROOT / name[2:] if name.startswith("@/") else data / name


def render_scene(case: Case, rendered: Path) -> None:
    """Renders the case's own scene where it is not there yet, in a process of its own. Raises RuntimeError."""
    if case.photos.startswith("@scene/"):
        name = case.photos.split("/")[1]
        command = [sys.executable, str(ROOT / "bench" / "scenes.py"), name, "-o", str(rendered)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{name} could not be rendered: {done.stderr[-800:]}")


def run_case(
    case: Case, data: Path, work: Path, quality: str, threads: int, rendered: Path = SCENES
) -> dict[str, tuple[float, str, Metric]]:
    """All metrics of one case: name -> (value, unit, rule). Raises RuntimeError where a verb fails."""
    house, log = work / case.name, work / f"{case.name}.log"
    options = [str(data / o) if "/" in o else o for o in case.options]
    common = ["--quality", quality, "--threads", str(threads)]
    status, _, usage = run(["build", str(place(case.photos, data, rendered)), "-o", str(house), *options, *common], log)
    if status:
        raise RuntimeError(f"build ended with {status}; see {log}\n{log.read_text()[-800:]}")
    report = json.loads((house / "export" / "report.json").read_text())
    scores: dict[str, Any] = {}
    if case.truth:
        status, text, _ = run(
            ["evaluate", str(house), "--truth", str(place(case.truth, data, rendered)), "--json"], log
        )
        if status:
            raise RuntimeError(f"evaluate ended with {status}; see {log}\n{log.read_text()[-800:]}")
        scores = json.loads(text)
    rows = {}
    for metric in METRICS:
        value = metric.read(report, scores, usage)
        if value is not None:
            rows[metric.name] = (float(value), metric.unit, metric)
    return rows | stage_metrics(report)


def compare(value: float, rule: Metric, base: dict[str, Any] | None) -> str:
    """ "new", "same", "better" or "WORSE" than the baseline."""
    if base is None:
        return "new"
    allowed = abs(base["value"]) * rule.tolerance + rule.slack
    gain = value - base["value"] if rule.better == "more" else base["value"] - value
    return "WORSE" if gain < -allowed else "better" if gain > max(allowed, 1e-9) else "same"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("RILIEVO_DATA", ROOT.parent / "shared/data")))
    parser.add_argument("--quality", default="normal", choices=["draft", "normal", "high"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scenes", type=Path, default=SCENES)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.list:
        for case in CASES:
            print(f"{case.name:<16}{case.note}")
        return 0
    baseline = json.loads(BASELINE.read_text()) if BASELINE.is_file() else {"metrics": {}}
    with tempfile.TemporaryDirectory(prefix="rilievo-bench-") as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        results, failed, worse = {}, 0, 0
        for case in CASES:
            if options.only and not any(word in case.name for word in options.only):
                continue
            try:
                render_scene(case, options.scenes)
                if not place(case.photos, options.data, options.scenes).exists():
                    print(f"{case.name}: skipped, {place(case.photos, options.data)} is not there", flush=True)
                    continue
                rows = run_case(case, options.data, work, options.quality, options.threads, options.scenes)
            except (RuntimeError, OSError, ValueError) as error:
                print(f"{case.name}: FAILED: {error}", flush=True)
                failed += 1
                continue
            print(f"\n{case.name:<34}{'value':>12} {'unit':<7}{'baseline':>12}", flush=True)
            for name, (value, unit, rule) in rows.items():
                key = f"{case.name}.{options.quality}.{name}"
                base = baseline["metrics"].get(key)
                verdict = compare(value, rule, base)
                worse += verdict == "WORSE"
                results[key] = {
                    "value": round(value, 4), "unit": unit, "direction": rule.better,
                    "tolerance": rule.tolerance, "slack": rule.slack,
                }  # fmt: skip
                shown = f"{base['value']:12.3f}" if base else f"{'-':>12}"
                print(f"  {name:<32}{value:12.3f} {unit:<7}{shown}  {verdict}", flush=True)
    made = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "date": time.strftime("%Y-%m-%d")}
    if options.json:
        options.json.write_text(json.dumps({**made, "metrics": results}, indent=1) + "\n")
    if options.update:
        merged = {**baseline["metrics"], **results}
        BASELINE.write_text(json.dumps({**made, "metrics": dict(sorted(merged.items()))}, indent=1) + "\n")
        print(f"\nwrote {len(results)} values to {BASELINE}")
    print(f"\n{len(results)} values, {worse} worse than the baseline, {failed} cases failed")
    return 1 if failed or (worse and not options.update) else 0


if __name__ == "__main__":
    sys.exit(main())
