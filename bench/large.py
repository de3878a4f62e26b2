"""A scene as large as you like: fuses depth maps into a cloud and the cloud into a mesh, and says what it takes.

    python bench/large.py [--points 20e6] [--threads N] [--seed N] [--no-mesh] [--keep DIR] [--json FILE]

The scene is an endless hilly ground with a house on every plot, seen from above by a square of cameras, one over each
plot, so that all depth maps are one map plus noise (made when it is asked for, nothing is stored) and the truth is
exact. --points says how many pixels' footprints the surface seen by the cameras measures. Fusing and meshing run in a
process each; their peak memory is that of the whole process, interpreter, stored cloud and all.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
if (ROOT / "src").is_dir():
    sys.path.insert(0, str(ROOT / "src"))

from rilievo.types import Camera, DepthMap, PointCloud, Reconstruction  # noqa: E402

# One plot is 1 x 1; a photo shows 3 x 3 plots under a field of view of 60 degrees.
SHOWN = 3.0
HEIGHT = SHOWN / 2 / math.tan(math.radians(30))
HOUSE = np.array([[0.38, 0.42, -1.0], [0.62, 0.58, 0.25]])
# Standard deviation of a depth in footprints, and shares of pixels that are wrong.
NOISE = 0.5
WRONG = 0.005
# Axes of a camera that looks down: x east, y south, z down.
DOWN = np.diag([1.0, -1.0, -1.0])


def ground(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Height and its two slopes at places of the ground."""
    u, v = 2 * np.pi * x, 2 * np.pi * y
    height = 0.03 * np.sin(u) * np.cos(v) + 0.01 * np.sin(2 * u + 1) + 0.008 * np.cos(3 * v + 2)
    east = 2 * np.pi * (0.03 * np.cos(u) * np.cos(v) + 0.02 * np.cos(2 * u + 1))
    north = -2 * np.pi * (0.03 * np.sin(u) * np.sin(v) + 0.024 * np.sin(3 * v + 2))
    return height, east, north


def trace(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth and world normal where rays (a, b, -1) from the middle of plot corner (0, 0, HEIGHT) meet the scene."""
    depth = np.full(a.shape, HEIGHT)
    for _ in range(8):
        h, east, north = ground(depth * a, depth * b)
        depth -= (depth + h - HEIGHT) / (1 + east * a + north * b)
    _, east, north = ground(depth * a, depth * b)
    normal = np.stack([-east, -north, np.ones_like(a)], -1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    ray = np.stack([a, b, np.full_like(a, -1.0)], -1)
    for shift in np.ndindex(5, 5):
        low, high = HOUSE + [shift[0] - 3.0, shift[1] - 3.0, -HEIGHT]
        with np.errstate(divide="ignore", invalid="ignore"):
            one, two = low / ray, high / ray
        enter, leave = np.fmin(one, two), np.fmax(one, two)
        side = enter.argmax(-1)
        first = enter.max(-1)
        hit = (first > 0) & (first < leave.min(-1)) & (first < depth)
        depth[hit] = first[hit]
        normal[hit] = -np.sign(ray[hit, side[hit]])[:, None] * np.eye(3)[side[hit]]
    return depth, normal


def distance_to_truth(points: np.ndarray) -> np.ndarray:
    """Distance of world points (n, 3) to the scene (for the ground to first order)."""
    at = np.concatenate([points[:, :2] % 1.0, points[:, 2:]], 1)
    h, east, north = ground(at[:, 0], at[:, 1])
    to_ground = np.abs(at[:, 2] - h) / np.sqrt(1 + east**2 + north**2)
    middle, half = HOUSE.mean(0), (HOUSE[1] - HOUSE[0]) / 2
    beyond = np.abs(at - middle) - half
    to_house = np.abs(np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(1), 0))
    return np.minimum(to_ground, to_house)


def sample_plot(step: float) -> np.ndarray:
    """Points (n, 3) on ground, roof and walls of plot (0, 0), about one a square of side `step`."""
    low, high = HOUSE
    x, y = (g.ravel() for g in np.meshgrid(*2 * [np.arange(step / 2, 1, step)]))
    z = ground(x, y)[0]
    inside = (x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1])
    z[inside] = high[2]
    parts = [np.stack([x, y, z], -1)]
    for axis, wall in ((0, low[0]), (0, high[0]), (1, low[1]), (1, high[1])):
        along, up = np.arange(low[1 - axis], high[1 - axis], step), np.arange(-0.1, high[2], step)
        s, t = (g.ravel() for g in np.meshgrid(along, up))
        place = np.stack([s, s, t], -1)
        place[:, axis] = wall
        parts.append(place[t > ground(place[:, 0], place[:, 1])[0]])
    return np.concatenate(parts)


class Estate:
    """A MapSource of n x n cameras; maps are made when they are loaded. footprint: of a pixel on flat ground."""

    def __init__(self, points: float, seed: int = 0) -> None:
        # About (n + 1)^2 plots are seen by two cameras or more; the houses' walls add a fifth.
        self.n = max(3, round(math.sqrt(points / 165_000)) - 1)
        self.size = max(48, round(SHOWN * math.sqrt(points / 1.2 / (self.n + 1) ** 2)))
        self.seed = seed
        self.num_loads = 0
        focal = self.size / SHOWN * HEIGHT
        self.footprint = HEIGHT / focal
        self.camera = Camera.pinhole(
            self.size, self.size, np.array([[focal, 0, self.size / 2], [0, focal, self.size / 2], [0, 0, 1]])
        )
        self.names = tuple(f"{row:03d}_{column:03d}" for row in range(self.n) for column in range(self.n))
        self.neighbours = {name: self._around(*map(int, name.split("_"))) for name in self.names}
        self._base = self._make()
        self._noise = np.random.default_rng(seed).normal(size=(self.size, self.size)).astype(np.float32)

    def _around(self, row: int, column: int) -> list[str]:
        steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
        steps.sort(key=lambda s: (abs(s[0]) + abs(s[1]), s))
        near = [(row + i, column + j) for i, j in steps]
        return [f"{i:03d}_{j:03d}" for i, j in near if 0 <= i < self.n and 0 <= j < self.n]

    def cam_from_world(self, name: str) -> np.ndarray:
        row, column = map(int, name.split("_"))
        center = np.array([column, row, HEIGHT], np.float64)
        return np.concatenate([DOWN, -(DOWN @ center)[:, None]], 1)

    def _make(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth, normals in camera axes and colours of any one of the views."""
        size, focal = self.size, self.camera.fx
        depth = np.empty((size, size), np.float32)
        normals = np.empty((size, size, 3), np.float32)
        colors = np.empty((size, size, 3), np.uint8)
        column = (np.arange(size) + 0.5 - size / 2) / focal
        for start in range(0, size, 32):
            rows = slice(start, min(start + 32, size))
            a, b = np.meshgrid(column, -column[rows])
            d, n = trace(a, b)
            depth[rows], normals[rows] = d, n @ DOWN
            wave = np.sin(40 * np.stack([d * a, d * b, d * (a + b)], -1))
            colors[rows] = np.round(128 + 100 * wave)
        return depth, normals, colors

    def load(self, name: str) -> tuple[DepthMap, np.ndarray]:
        """A view's map: the truth, noise, some pixels far off."""
        self.num_loads += 1
        depth, normals, colors = self._base
        row, column = map(int, name.split("_"))
        rng = np.random.default_rng((self.seed, row, column))
        noise = np.roll(self._noise, tuple(rng.integers(0, self.size, 2)), (0, 1))
        sigma = NOISE * depth / np.float32(self.camera.fx)
        noisy = depth + noise * sigma
        wrong = rng.integers(0, depth.size, int(WRONG * depth.size))
        noisy.reshape(-1)[wrong] *= rng.uniform(0.9, 1.1, len(wrong)).astype(np.float32)
        confidence = np.full(depth.shape, 0.8, np.float32)
        return DepthMap(name, self.camera, self.cam_from_world(name), noisy, normals, confidence, sigma), colors

    def reconstruction(self) -> Reconstruction:
        num = len(self.names)
        return Reconstruction(
            self.names,
            np.zeros(num, np.int32),
            (self.camera,),
            np.stack([self.cam_from_world(name) for name in self.names]),
            np.zeros((0, 3)),
            np.zeros((0, 3), np.uint8),
            np.zeros(0, np.float32),
            np.zeros(0, np.int32),
            np.zeros(0, np.int32),
            np.zeros((0, 2), np.float32),
        )


def middle_plot(points: np.ndarray, n: int, margin: float = 0.1) -> np.ndarray:
    """Points over the plot in the middle of the cameras and a little more, moved so that the plot's corner is zero."""
    corner = np.array([n // 2, n // 2, 0.0])
    at = points - corner
    return at[((at[:, :2] > -margin) & (at[:, :2] < 1 + margin)).all(1)]


def fuse_part(estate: Estate, store: Path) -> dict[str, Any]:
    """Fuses and stores the cloud; seconds, and how good it is."""
    from rilievo.project import Project
    from rilievo.stages.points import fuse

    started, cpu = time.perf_counter(), time.process_time()
    cloud = fuse(estate)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    project = Project(store)
    project.update(names={"cloud": project.put(cloud)})
    return {
        "points": len(cloud.points),
        "loads": estate.num_loads,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "mean_views": len(cloud.view_index) / len(cloud.points),
    }


def mesh_part(estate: Estate, store: Path) -> dict[str, Any]:
    """Meshes the stored cloud."""
    from rilievo.project import Project
    from rilievo.stages.mesh import mesh_cloud

    project = Project(store)
    cloud = project.named("cloud")
    started, cpu = time.perf_counter(), time.process_time()
    mesh = mesh_cloud(cloud, estate.reconstruction())
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    project.update(names={**project.read()["names"], "mesh": project.put(mesh)})
    return {
        "points": len(cloud.points),
        "faces": len(mesh.faces),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "inferred_faces": 0.0 if mesh.inferred is None else float(mesh.inferred.mean()),
    }


def judge_part(estate: Estate, store: Path) -> dict[str, Any]:
    """Accuracy of the stored cloud and mesh, in footprints."""
    from scipy.spatial import cKDTree

    from rilievo import kernels
    from rilievo.project import Project

    project = Project(store)
    names = project.read()["names"]
    cloud: PointCloud = project.named("cloud")
    step = estate.footprint
    error = np.concatenate(
        [distance_to_truth(chunk.astype(np.float64) + cloud.origin) for chunk in np.array_split(cloud.points, 64)]
    )
    out: dict[str, Any] = {
        "cloud_rms_within_3": float(np.sqrt(np.mean(error[error < 3 * step] ** 2))) / step,
        "cloud_beyond_3": float(np.mean(error >= 3 * step)),
    }
    part = middle_plot(cloud.points.astype(np.float64) + cloud.origin, estate.n)
    truth = sample_plot(step)
    tree = cKDTree(part)
    out["cloud_seen_within_1.5"] = float(np.mean(tree.query(truth, distance_upper_bound=1.5 * step)[0] < np.inf))
    nearest = tree.query(part, k=[2])[0][:, 0]
    out["near_duplicates_0.5"] = float(np.mean(nearest < 0.5 * step))
    out["points_per_footprint"] = float(((part[:, :2] >= 0) & (part[:, :2] < 1)).all(1).sum()) / len(truth)
    if "mesh" in names:
        mesh = project.named("mesh")
        corner = np.array([estate.n // 2, estate.n // 2, 0.0])
        vertices = mesh.vertices.astype(np.float64) + mesh.origin
        off = distance_to_truth(vertices)
        out["mesh_vertex_rms_within_3"] = float(np.sqrt(np.mean(off[off < 3 * step] ** 2))) / step
        out["mesh_vertex_beyond_3"] = float(np.mean(off >= 3 * step))
        gap = kernels.closest_on_mesh(truth + corner, vertices, np.ascontiguousarray(mesh.faces), 8 * step)[0]
        out["mesh_seen_within_2"] = float(np.mean(gap < 2 * step))
    return out


PARTS = {"fuse": fuse_part, "mesh": mesh_part, "judge": judge_part}


def run_part(part: str, options: argparse.Namespace, store: Path) -> dict[str, Any]:
    """One part in a process of its own: what it says, and `peak_mb` of the process."""
    command = [sys.executable, __file__, "--part", part, "--points", str(options.points), "--seed", str(options.seed)]
    process = subprocess.Popen(
        [*command, "--threads", str(options.threads), "--keep", str(store)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    text = process.stdout.read()
    if hasattr(os, "wait4"):
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    else:
        process.wait()
        peak = float("nan")
    if process.returncode:
        raise SystemExit(f"{part} failed with exit status {process.returncode}")
    return {**json.loads(text), "peak_mb": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=float, default=20e6)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-mesh", action="store_true")
    parser.add_argument("--keep", type=Path, help="project folder for the results (default: a temporary one)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        from rilievo import kernels

        kernels.set_num_threads(options.threads)
        print(json.dumps(PARTS[options.part](Estate(options.points, options.seed), options.keep)))
        return
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = options.keep or Path(folder) / "house"
        for part in PARTS:
            if part == "mesh" and options.no_mesh:
                continue
            result = results[part] = run_part(part, options, store)
            if part in ("fuse", "mesh"):
                millions = results["fuse"]["points"] / 1e6
                print(
                    f"{part:5} {millions:.2f} M points: {result['seconds']:.1f} s, {result['cpu_seconds']:.1f} CPU s "
                    f"({result['cpu_seconds'] / millions:.2f} CPU s a million), peak {result['peak_mb']:.0f} MiB "
                    f"({result['peak_mb'] / 1024 / millions:.3f} GiB a million)",
                    file=sys.stderr,
                )
    text = json.dumps(results, indent=1)
    if options.json:
        options.json.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
