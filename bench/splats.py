"""Speed and quality of Gaussian splats on the CPU.

    python bench/splats.py [raster] [naive] [viewer] [chair] [idol] [--threads N] [--repeat N] [--data DIR] [--json]
                           [--splats FILE.ply --house HOUSE] [--budget 3m...] [--level L]

raster  one step of training at about 1 Mpx with 200 000 Gaussians: drawing, loss, and gradients with the step of Adam,
        in ms (median and least of N) and in CPU ms of the process, which other work on the machine disturbs less.
        The Gaussians are an own seeded scene, or with --splats a trained model seen by a camera of HOUSE; how many are
        seen, in how many tiles, and how many a pixel takes, is printed, as all times hang on it.
naive   the same step as plain CPU trainers make it (bench/naive_splats.cpp, compiled when it is wanted: one thread,
        scalar, lists for every pixel; without the way back from the image plane and without the optimiser), and how
        much faster ours is a thread, and with N threads.
viewer  pictures a second at about 1 Mpx of 100 000 Gaussians, along a path around them.
chair   DIR/chair (the chair of Mildenhall et al. 2020) through `rilievo splats`, white background, PSNR of its test
        photos after each --budget (default 3m and 10m of training).
idol    DIR/idol, built first with `rilievo build` unless --house is a finished build; photos of 800 px, 5 minutes.

Without names: raster, naive, viewer. DIR: default $RILIEVO_DATA, else ../shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
if (ROOT / "src").is_dir():
    sys.path.insert(0, str(ROOT / "src"))

from rilievo import geometry, kernels  # noqa: E402
from rilievo.gaussians import SH_C0  # noqa: E402
from rilievo.stages.splat_rows import rows_of, splats_of  # noqa: E402
from rilievo.stages.splats_render import SplatRenderer  # noqa: E402
from rilievo.types import Camera  # noqa: E402

BUILD = ROOT / "build" / "bench"
WIDTH, HEIGHT = 1152, 864
NEAR = 0.01


class Case:
    """Gaussians, a camera that looks at them, and the photo that they shall become."""

    def __init__(self, rows: np.ndarray, camera: Camera, cam_from_world: np.ndarray) -> None:
        self.rows, self.camera = np.ascontiguousarray(rows), camera
        self.intrinsics = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
        self.place = np.ascontiguousarray(cam_from_world)
        self.background = np.ones(3, np.float32)
        rng = np.random.default_rng(5)
        drawn = np.clip(np.array(self.draw(None).features) + 0.05 * rng.normal(size=(3, *self.size[::-1])), 0, 1)
        self.photo = np.ascontiguousarray(np.rint(drawn.transpose(1, 2, 0) * 255).astype(np.uint8))
        self.upstream = rng.normal(size=(3, *self.size[::-1])).astype(np.float32)

    @property
    def size(self) -> tuple[int, int]:
        return self.camera.width, self.camera.height

    def draw(self, frame: Any) -> Any:
        return kernels.splat_forward(
            self.rows, self.intrinsics, self.place, *self.size, NEAR, 3, 3, True, self.background, False, frame
        )


def own_scene(n: int, seed: int = 1) -> np.ndarray:
    """Rows of flat Gaussians along a table, a wall and some boulders, as training makes them: most small, few
    large, half nearly opaque and the rest faint, some haze beside the surfaces."""
    rng = np.random.default_rng(seed)
    points, normals = np.zeros((n, 3)), np.zeros((n, 3))
    table, wall = slice(0, n // 4), slice(n // 4, 2 * n // 5)
    stones = np.arange(2 * n // 5, n)
    points[table] = np.stack([*rng.uniform(-1.6, 1.6, (2, n // 4)), np.zeros(n // 4)], 1)
    normals[table] = [0, 0, 1]
    count = wall.stop - wall.start
    points[wall] = np.stack([rng.uniform(-2.2, 2.2, count), np.full(count, 1.7), rng.uniform(-0.2, 1.8, count)], 1)
    normals[wall] = [0, -1, 0]
    direction = rng.normal(size=(len(stones), 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    number = rng.integers(0, 12, len(stones))
    middle, radius = rng.uniform([-1.1, -0.9, 0.1], [1.1, 1.2, 0.6], (12, 3)), rng.uniform(0.15, 0.4, 12)
    bumps = 1 + 0.06 * np.sin(9 * direction[:, :1] + number[:, None]) * np.cos(7 * direction[:, 1:2])
    points[stones] = middle[number] + direction * radius[number][:, None] * bumps
    normals[stones] = direction
    points += 0.015 * normals * rng.normal(size=(n, 1)) * (1 + 4 * (rng.random((n, 1)) < 0.15))
    rows = np.zeros((n, 64), np.float32)
    rows[:, :3] = points
    opacity = np.where(rng.random(n) < 0.45, rng.uniform(0.6, 0.99, n), rng.beta(1, 5, n) + 0.01).clip(0.01, 0.99)
    rows[:, 3] = np.log(opacity / (1 - opacity))
    z = normals / np.linalg.norm(normals, axis=1, keepdims=True)  # the quaternion that turns z to the normal
    q = np.stack([1 + z[:, 2], -z[:, 1], z[:, 0], np.zeros(n)], 1) + 1e-6
    rows[:, 4:8] = q / np.linalg.norm(q, axis=1, keepdims=True)
    size = np.exp(rng.normal(np.log(0.0039), 0.5, n))
    rows[:, 8:11] = np.log(size[:, None] * [1, 1, 0.25] * np.exp(0.4 * rng.normal(size=(n, 3))))
    color = 0.5 + 0.3 * np.sin(5 * points + number.mean()) + 0.1 * rng.normal(size=(n, 3))
    rows[:, 16:19] = (color - 0.5) / SH_C0
    rows[:, 19:] = 0.05 * rng.normal(size=(n, 45))
    return rows


def own_camera() -> Camera:
    return Camera.pinhole(WIDTH, HEIGHT, np.array([[1050.0, 0, WIDTH / 2], [0, 1050.0, HEIGHT / 2], [0, 0, 1]]))


def own_place(angle: float = 0.0) -> np.ndarray:
    """A camera at some angle (0: before the middle, the wall behind)."""
    eye = np.array([1.6 * np.sin(angle), -1.6 * np.cos(angle), 0.6])
    return geometry.look_at(eye, np.array([0, 0.1, 0.3]), up=(0.0, 0.0, 1.0))


def trained_case(splats: Path, house: Path) -> Case:
    """A model from a file and the camera in the middle of a build, its image made about 1 Mpx."""
    from rilievo.io.splats import read_splats
    from rilievo.placed import load_placed

    model, placed = read_splats(splats), load_placed(house)
    names = placed.scene.names
    view = placed.load_view(names[len(names) // 2], round(np.sqrt(1e6 * 4 / 3)))
    place = np.array(view.cam_from_world)
    place[:, 3] += place[:, :3] @ model.origin
    return Case(rows_of(model), view.camera, place)


def timed(work: Callable[[], Any], repeat: int) -> dict[str, float]:
    """Wall ms (median, least) and CPU ms (least) of some runs, after one that is not counted."""
    work()
    wall, cpu = [], []
    for _ in range(repeat):
        begin, used = time.perf_counter(), time.process_time()
        work()
        wall.append(1e3 * (time.perf_counter() - begin))
        cpu.append(1e3 * (time.process_time() - used))
    return {"ms": statistics.median(wall), "least_ms": min(wall), "cpu_ms": min(cpu)}


class Step:
    """One step of training of a case, and its parts. The learning rates are 0: each step finds the same Gaussians."""

    def __init__(self, case: Case) -> None:
        self.case, self.frame = case, case.draw(None)
        w, h = case.size
        self.gradient = np.zeros((3, h, w), np.float32)
        self.errors = np.zeros((-(-h // 16), -(-w // 16)), np.float32)
        self.first, self.second = np.zeros_like(case.rows), np.zeros_like(case.rows)
        self.score = np.zeros((len(case.rows), 4), np.float32)
        self.rates, self.bias = np.zeros(64, np.float32), np.ones((2, 1), np.float32)

    def forward(self) -> None:
        self.frame = self.case.draw(self.frame)

    def loss(self) -> None:
        one, none = np.ones(3, np.float32), np.zeros(3, np.float32)
        kernels.photo_loss(
            self.frame.features,
            self.case.photo,
            None,
            None,
            None,
            self.case.background,
            one,
            none,
            0.2,
            self.gradient,
            self.errors,
        )

    def update(self) -> None:
        kernels.splat_update(
            self.frame,
            self.gradient,
            None,
            self.case.rows,
            self.first,
            self.second,
            self.score,
            self.rates,
            self.bias,
            0.9,
            0.999,
            1e-15,
        )

    def all(self) -> None:
        self.forward()
        self.loss()
        self.update()


def raster(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    kernels.set_num_threads(options.threads)
    step = Step(case)
    parts = {"forward": step.forward, "loss": step.loss, "backward": step.update, "iteration": step.all}
    found: dict[str, Any] = {name: timed(part, options.repeat) for name, part in parts.items()}
    tell(f"\nraster: {counts(case)}; {options.threads} threads, {kernels.native().simd_level()}")
    tell("part            ms   least   CPU ms")
    for name, row in found.items():
        tell(f"{name:<10}{row['ms']:8.1f}{row['least_ms']:8.1f}{row['cpu_ms']:9.1f}")
    return {**found, "num_visible": len(step.frame.visible), "num_pairs": step.frame.num_pairs}


def counts(case: Case) -> str:
    frame = case.draw(None)
    return (
        f"{case.size[0]} x {case.size[1]}, {len(case.rows)} Gaussians, {len(frame.visible)} seen, "
        f"{frame.num_pairs} pairs with tiles, mean transmittance {float(frame.transmittance.mean()):.3f}"
    )


# --- the naive loop ---------------------------------------------------------------------------------------------------


def compiled() -> ctypes.CDLL:
    """bench/naive_splats.cpp as a library, in build/bench."""
    source, library = ROOT / "bench" / "naive_splats.cpp", BUILD / "naive_splats.so"
    if not library.exists() or library.stat().st_mtime < source.stat().st_mtime:
        compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
        if not compiler:
            raise SystemExit("naive: no C++ compiler found (set CXX)")
        library.parent.mkdir(parents=True, exist_ok=True)
        command = [compiler, "-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", str(source), "-o", str(library)]
        subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def naive(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    step_of = compiled().naive_step
    step_of.restype = ctypes.c_int64
    (w, h), n = case.size, len(case.rows)
    features, gradients = np.zeros((3, h, w), np.float32), np.zeros((n, 9), np.float32)
    pointer = lambda a: a.ctypes.data_as(ctypes.c_void_p)  # noqa: E731
    arrays = [pointer(a) for a in (case.background, case.upstream, features, gradients)]
    taken = 0

    def run() -> None:
        nonlocal taken
        taken = step_of(
            pointer(case.rows),
            ctypes.c_int64(n),
            pointer(case.intrinsics),
            pointer(case.place),
            w,
            h,
            ctypes.c_float(NEAR),
            *arrays,
        )

    plain = timed(run, max(options.repeat // 3, 2))
    frame = case.draw(None)
    picture_off = float(np.abs(frame.features - features).max())
    ours_rows, _ = kernels.splat_backward(frame, case.rows, case.upstream)
    a, b = ours_rows[:, 16:19] / SH_C0, gradients[:, 6:9]
    gradient_off = float(np.abs(a - b).sum() / np.abs(a).sum())

    ours: dict[int, dict[str, float]] = {}
    for threads in sorted({1, options.threads}):
        kernels.set_num_threads(threads)
        step = Step(case)
        step.gradient = case.upstream
        ours[threads] = timed(lambda step=step: (step.forward(), step.update()), options.repeat)
    kernels.set_num_threads(options.threads)
    per_thread = plain["least_ms"] / ours[1]["least_ms"]
    per_cpu = plain["cpu_ms"] / ours[1]["cpu_ms"]
    together = plain["least_ms"] / ours[options.threads]["least_ms"]
    mean_taken = taken / (w * h)
    tell(f"\nnaive: {counts(case)}; {mean_taken:.1f} Gaussians a pixel")
    line = "{:<50}{:9.1f} ms, CPU {:.1f} ms"
    tell(line.format("the naive loop (forward and backward, 1 thread)", plain["ms"], plain["cpu_ms"]))
    for threads, row in ours.items():
        tell(line.format(f"ours with Adam, threads: {threads}", row["ms"], row["cpu_ms"]))
    tell(f"ours is {per_thread:.1f} times as fast a thread (CPU time {per_cpu:.1f})")
    tell(f"and {together:.1f} times with {options.threads} threads")
    tell(f"same answer: pictures differ by at most {picture_off:.3f}, gradients by {100 * gradient_off:.2f} %")
    return {
        "naive": plain,
        "ours": {str(k): v for k, v in ours.items()},
        "ratio_per_thread": per_thread,
        "ratio_per_thread_cpu": per_cpu,
        "ratio_all_threads": together,
        "gaussians_per_pixel": mean_taken,
        "picture_difference": picture_off,
        "gradient_difference": gradient_off,
    }


def viewer(options: argparse.Namespace) -> dict[str, Any]:
    kernels.set_num_threads(options.threads)
    model = splats_of(own_scene(100_000), degree=3, antialiased=True, background=(1.0, 1.0, 1.0), origin=np.zeros(3))
    renderer, camera = SplatRenderer(model), own_camera()
    places = [own_place(a) for a in np.linspace(-0.6, 0.6, 12)]
    seconds, used = [], []
    for _ in range(max(options.repeat // 3, 2)):
        for place in places:
            begin, cpu = time.perf_counter(), time.process_time()
            renderer.picture(camera, place)
            seconds.append(time.perf_counter() - begin)
            used.append(time.process_time() - cpu)
    rate, best = 1 / statistics.median(seconds), 1 / min(seconds)
    tell(f"\nviewer: {WIDTH} x {HEIGHT}, {len(model.means)} Gaussians, {options.threads} threads")
    tell(f"{rate:.1f} pictures a second (best {best:.1f}), CPU {1e3 * statistics.median(used):.1f} ms each")
    return {"pictures_per_s": rate, "best_pictures_per_s": best, "cpu_ms": 1e3 * statistics.median(used)}


# --- whole trainings, through the command line ------------------------------------------------------------------------


def rilievo(*arguments: str) -> dict[str, Any]:
    """The JSON answer of a verb; CPU seconds of its process as `cpu_seconds`."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "rilievo.cli", *arguments, "--json"]
    path = os.pathsep.join(p for p in (str(ROOT / "src"), os.environ.get("PYTHONPATH", "")) if p)
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: ended with {done.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(done.stdout), "cpu_seconds": cpu}


def trained(source: Path, budgets: list[str], extra: list[str], options: argparse.Namespace) -> dict[str, Any]:
    found = {}
    tell(f"\n{source.name}: {' '.join(extra)}, {options.threads} threads\nbudget     PSNR  Gaussians  seconds  CPU s")
    for budget in budgets:
        with tempfile.TemporaryDirectory() as folder:
            answer = rilievo(
                "splats", str(source), "-o", f"{folder}/house", "--time-budget", budget, *extra,
                "--engine", "cpu", "--threads", str(options.threads),
            )  # fmt: skip
        keys = ("psnr", "ssim", "num_splats", "seconds", "cpu_seconds")
        found[budget] = {k: answer[k] for k in keys if k in answer}
        psnr = f"{answer['psnr']:8.2f}" if answer["psnr"] is not None else "       -"
        tell(f"{budget:<7}{psnr}{answer['num_splats']:11d}{answer['seconds']:9.0f}{answer['cpu_seconds']:7.0f}")
    return found


def chair(options: argparse.Namespace) -> dict[str, Any] | None:
    source = options.data / "chair"
    if not source.is_dir():
        return tell(f"chair: {source} is not there, skipped")
    return trained(source, options.budget or ["3m", "10m"], ["--background", "white"], options)


def idol(options: argparse.Namespace) -> dict[str, Any] | None:
    extra = ["--size", "800"]
    if options.house:
        return trained(options.house, options.budget or ["5m"], extra, options)
    photos = options.data / "idol"
    if not photos.is_dir():
        return tell(f"idol: {photos} is not there, skipped")
    house = BUILD / "idol"
    if not (house / "export" / "report.json").exists():
        inner = photos / "photos" if (photos / "photos").is_dir() else photos
        rilievo("build", str(inner), "-o", str(house), "--threads", str(options.threads))
    return trained(house, options.budget or ["5m"], extra, options)


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], "raster", "naive", "viewer", "chair", "idol"], metavar="NAME")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--splats", type=Path, help="a trained model instead of the own scene (with --house)")
    parser.add_argument("--house", type=Path, help="the build that has the cameras")
    parser.add_argument("--budget", action="append", help="time of training, e.g. 3m (may be given again)")
    parser.add_argument("--level", help="instruction set: baseline, avx2, avx512")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("RILIEVO_DATA", ROOT.parent / "shared/data")))
    parser.add_argument("--json", action="store_true", help="the figures as one JSON document")
    options = parser.parse_args()
    if options.splats and not options.house:
        parser.error("--splats needs --house, which has the cameras")
    if options.level:
        kernels.native().set_simd_level(options.level)
    names = options.names or ["raster", "naive", "viewer"]
    found: dict[str, Any] = {"threads": options.threads, "simd": kernels.native().simd_level()}
    if {"raster", "naive"} & set(names):
        if options.splats:
            case = trained_case(options.splats, options.house)
        else:
            case = Case(own_scene(200_000), own_camera(), own_place())
        for name, measured in {"raster": raster, "naive": naive}.items():
            if name in names:
                found[name] = measured(case, options)
    for name, measure in {"viewer": viewer, "chair": chair, "idol": idol}.items():
        if name in names:
            found[name] = measure(options)
    if options.json:
        print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
