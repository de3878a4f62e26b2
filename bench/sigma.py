"""Is sigma true? Coverage of the estimated standard deviations, measured against truth.

    python bench/sigma.py [CASE...] [--data DIR] [--quality draft|normal|high] [--work DIR] [--threads N] [--json FILE]

Every case is built with the code of `rilievo build` as far as the mesh, then each error is held against the sigma that
the result states: of the depth maps before and after the check (along z), of the points (distance from the true
surface) and of the mesh (the same, sampled by area, measured faces only; inferred faces have a row of their own).

CASE: idol, demo, slant, noisy, motorcycle (default: all whose data is there). A name with `@known` takes the true
cameras, without it they are estimated from the photos and laid on the truth by their centres: then what is measured is
what a user has, errors of the cameras included.

  in 1, in 2   share of |error| within 1 and 2 sigma (Gaussian errors: 0.683 and 0.954). Nothing is left out: outliers,
               and depth where the truth has none, count as missed.
  ratio        median of |error| / sigma (Gaussian: 0.674)
  by fifth     share within 1 sigma in each fifth of the data from the smallest sigma to the largest: a sigma that is
               right on average only shows here
  rank         Spearman correlation of sigma and |error|
  gain         sparsification: how much of the way from random order to the oracle's the error falls when the data of
               largest sigma is removed first (errors clipped at 10 footprints; 0: a constant sigma, 1: perfect)
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2  # noqa: F401  (before pycolmap)
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from rilievo import geometry, kernels, pipelines  # noqa: E402
from rilievo.chain import Chain  # noqa: E402
from rilievo.evaluate import align_to_truth, load_truth, sample_by_area  # noqa: E402
from rilievo.evaluate.cameras import Alignment  # noqa: E402
from rilievo.gather import gather  # noqa: E402
from rilievo.io.truth import Truth  # noqa: E402
from rilievo.project import Project  # noqa: E402
from rilievo.types import Camera, DepthMap, Mesh, PointCloud, Reconstruction, View  # noqa: E402

DATA = Path(os.environ.get("RILIEVO_DATA", ROOT.parent / "shared" / "data"))
CASES = ("idol", "idol@known", "demo", "demo@known", "slant", "slant@known", "noisy", "noisy@known", "motorcycle@known")
COLUMNS = ("in 1", "in 2", "ratio", "by fifth", "rank", "gain", "sigma", "error")


# --- the figures ------------------------------------------------------------------------------------------------------


def figures(error: np.ndarray, sigma: np.ndarray, footprint: np.ndarray | float) -> dict[str, Any]:
    """All columns for errors (infinite: nothing is there in truth; NaN: the truth is not known) with their sigma;
    `footprint`: of a pixel, same unit."""
    known = np.isfinite(sigma) & (sigma > 0) & ~np.isnan(error)
    error, sigma = np.abs(error[known]).astype(np.float64), sigma[known].astype(np.float64)
    footprint = np.broadcast_to(footprint, known.shape)[known]
    if len(error) < 50:
        return {"num": len(error)}
    within = error <= sigma
    order = np.argsort(sigma, kind="stable")
    clipped = np.minimum(error / footprint, 10.0)
    return {
        "num": len(error),
        "in 1": float(within.mean()),
        "in 2": float((error <= 2 * sigma).mean()),
        "ratio": float(np.median(error / sigma)),
        "by fifth": [float(part.mean()) for part in np.array_split(within[order], 5)],
        "rank": _rank_correlation(sigma, error),
        "gain": _sparsification(clipped, order),
        "sigma": float(np.median(sigma / footprint)),
        "error": float(np.median(error / footprint)),
    }


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(x, kind="stable"), kind="stable") for x in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _sparsification(error: np.ndarray, order: np.ndarray) -> float:
    def area(sequence: np.ndarray) -> float:  # mean error of the surest k, averaged over k
        return float(np.mean(np.cumsum(sequence) / np.arange(1, len(sequence) + 1)))

    random, ours, oracle = float(error.mean()), area(error[order]), area(np.sort(error))
    return (random - ours) / max(random - oracle, 1e-12)


def show(name: str, row: dict[str, Any]) -> str:
    if "in 1" not in row:
        return f"{name:<34} too little data ({row['num']})"
    fifths = " ".join(f"{x:.2f}" for x in row["by fifth"])
    return (
        f"{name:<34}{row['in 1']:6.3f}{row['in 2']:7.3f}{row['ratio']:7.2f}  [{fifths}]"
        f"{row['rank']:6.2f}{row['gain']:6.2f}{row['sigma']:8.3f}{row['error']:8.3f}{row['num']:10,}"
    )


# --- a built case -----------------------------------------------------------------------------------------------------


class Built:
    """What a case gave: its maps (streamed), cloud and mesh, and the way to the truth's frame."""

    def __init__(self, project: Project, truth: Truth, alignment: Alignment) -> None:
        from scenes import _embree

        self.project, self.truth, self.alignment = project, truth, alignment
        assert truth.vertices is not None and truth.faces is not None
        self.rays = _embree(truth.vertices, truth.faces)

    def maps(self, stage: str, limit: int = 12) -> Iterator[DepthMap]:
        """Up to `limit` of the depth maps of a stage, spread evenly."""
        ids = self.project.read()["made_from"][stage]
        for k in np.unique(np.linspace(0, len(ids) - 1, limit).round().astype(int)):
            yield self.project.get(ids[k])

    def true_depth(self, found: DepthMap) -> np.ndarray:
        """z where the rays of the map's pixels meet the true surface, in the map's unit; infinite where they do not."""
        camera, a = found.camera, self.alignment
        x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
        rays = np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones_like(x)], -1).reshape(-1, 3)
        world_from_cam = geometry.invert(found.cam_from_world)
        start = a.apply(world_from_cam[:, 3][None])[0]
        rays = a.scale * rays @ (a.truth_from_world[:, :3] @ world_from_cam[:, :3]).T
        hit = self.rays.run(np.tile(start.astype(np.float32), (len(rays), 1)), rays.astype(np.float32), output=True)
        return np.where(hit["primID"] < 0, np.inf, hit["tfar"]).reshape(camera.height, camera.width)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance of points of the world from the true surface, in the world's unit."""
        assert self.truth.vertices is not None and self.truth.faces is not None
        scale = self.alignment.scale
        limit = 0.2 * float(np.ptp(self.truth.vertices, axis=0).max())
        return (
            kernels.closest_on_mesh(self.alignment.apply(points), self.truth.vertices, self.truth.faces, limit)[0]
            / scale
        )


def rows_of(built: Built) -> dict[str, dict[str, Any]]:
    """Every row of a case."""
    rows = {}
    for stage, label in (("depth refined", "maps, matched"), ("depth checked", "maps, checked")):
        parts = []
        for found in built.maps(stage):
            true = built.true_depth(found)
            there = np.isfinite(found.depth) & np.isfinite(found.sigma)
            for kind in (False, True):
                chosen = there & ((found.inferred if found.inferred is not None else np.zeros_like(there)) == kind)
                error = (found.depth - true)[chosen]
                parts.append((kind, error, found.sigma[chosen], found.depth[chosen] / found.camera.fx))
        for kind in (False, True):
            columns = [np.concatenate([p[c] for p in parts if p[0] == kind]) for c in (1, 2, 3)]
            if len(columns[0]):
                rows[label + (", inferred" if kind else "")] = figures(*columns)
    cloud: PointCloud = built.project.named("cloud")
    some = np.random.default_rng(0).permutation(len(cloud.points))[:200_000]
    error = built.distance(cloud.points[some].astype(np.float64) + cloud.origin)
    inferred = cloud.inferred[some] if cloud.inferred is not None else np.zeros(len(some), bool)
    for kind in (False, True):
        if (inferred == kind).any():
            k = inferred == kind
            rows["points" + (", inferred" if kind else "")] = figures(
                error[k], cloud.sigma[some][k], cloud.spacing[some][k]
            )
    mesh: Mesh = built.project.named("mesh")
    if mesh.sigma is None:
        return rows
    vertices = mesh.vertices.astype(np.float64) + mesh.origin
    samples, face = sample_by_area(vertices, mesh.faces, 100_000, 1)
    error = built.distance(samples)
    corners = vertices[mesh.faces[face]]
    weight = np.linalg.norm(
        np.cross(corners[:, [1, 2, 0]] - samples[:, None], corners[:, [2, 0, 1]] - samples[:, None]), axis=2
    )
    weight /= np.maximum(weight.sum(1, keepdims=True), 1e-300)
    sigma = (mesh.sigma[mesh.faces[face]] * weight).sum(1)
    footprint = float(np.median(cloud.spacing))
    inferred = mesh.inferred[face] if mesh.inferred is not None else np.zeros(len(face), bool)
    rows["mesh"] = figures(error[~inferred], sigma[~inferred], footprint)
    if inferred.any():
        rows["mesh, inferred"] = figures(error[inferred], sigma[inferred], footprint)
    return rows


# --- the cases --------------------------------------------------------------------------------------------------------


def build(name: str, data: Path, work: Path, quality: str, threads: int) -> Built | None:
    """Builds a case as far as the mesh; None where its data is absent."""
    base, _, cameras = name.partition("@")
    if base == "motorcycle":
        return build_pair(data / "motorcycle_stereo" / "data", work / name, quality)
    photos, truth_folder = capture(base, data, work)
    if not photos.is_dir():
        return None
    truth = load_truth(truth_folder)
    if base == "idol":  # its truth counts pixels from the middle of the first one, as its depth maps show
        shift = np.array([0, 0, 0.5, 0.5, 0, 0, 0, 0])
        truth = replace(truth, cameras=tuple(replace(c, params=c.params + shift) for c in truth.cameras))
    house = work / name
    project = Project(house)
    kernels.set_num_threads(threads)
    chain = Chain(project, kernels.native().num_threads())
    found = gather(chain, [photos])
    settings = pipelines.BuildSettings(quality=quality)
    sparse = pipelines.find_cameras(chain, found, settings)
    alignment = align_to_truth(sparse.reconstruction, truth)
    if cameras == "known":
        scene = with_true_cameras(sparse.reconstruction, truth, alignment)
        sparse = replace(sparse, object_id=project.put(scene), reconstruction=scene)
        alignment = Alignment(1.0, np.eye(3, 4))
        found = replace(found, known=True)
    finish(chain, found, sparse, settings)
    return Built(project, truth, alignment)


def finish(chain: Chain, found: Any, sparse: Any, settings: pipelines.BuildSettings) -> None:
    """Cloud and surface, without texture."""
    from rilievo.codec import content_id
    from rilievo.stages import mesh

    scene, project = sparse.reconstruction, chain.project
    cloud = pipelines.make_cloud(chain, found, sparse, settings)
    config = mesh.MeshConfig(max_faces=pipelines.TEXTURE_PRESETS[settings.quality][2])
    surface = chain.one(
        "surface",
        config,
        [cloud, content_id(list(scene.names), scene.centers)],
        lambda: mesh.mesh_cloud(project.get(cloud), scene, config=config),
    )
    chain.name(cameras=sparse.object_id, cloud=cloud, mesh=surface)


def with_true_cameras(scene: Reconstruction, truth: Truth, alignment: Alignment) -> Reconstruction:
    """The reconstruction with the truth's cameras; its points laid on the truth serve as first guesses of depth."""
    row = {n.rsplit("/", 1)[-1]: i for i, n in enumerate(truth.names)}
    index = [row[n.rsplit("/", 1)[-1]] for n in scene.names]
    return replace(
        scene,
        cameras=(truth.cameras[0],),
        camera_index=np.zeros(len(scene.names), np.int32),
        cam_from_world=np.ascontiguousarray(truth.cam_from_world[index]),
        points=alignment.apply(scene.points),
    )


def capture(name: str, data: Path, work: Path) -> tuple[Path, Path]:
    """Folders with photos and truth; our own scenes are rendered once."""
    if name == "idol":
        return data / "idol" / "photos", data / "idol" / "truth"
    if name == "demo":
        return ROOT / "examples" / "capture" / "photos", ROOT / "examples" / "capture" / "truth"
    folder = work / f"capture_{name}"
    if not (folder / "truth").is_dir():
        import scenes

        scene = scenes.make_scene("blocks", 3)
        camera = Camera("OPENCV", 800, 600, np.array([860.0, 860.0, 404.0, 297.0, -0.05, 0.01, 0.0, 0.0]))
        if name == "slant":  # the ground at 15 to 25 degrees
            rings = [(8, 1.7, 0.34, -80, 90), (6, 1.6, 0.55, -75, 80)]
            options: dict[str, Any] = {}
        elif name == "noisy":  # a dark room: five times the noise, a little out of focus
            rings = [(9, 1.7, 0.8, -90, 110), (7, 1.5, 1.2, -85, 90)]
            options = {"noise": 5.0, "blur_px": 0.7}
        else:
            raise SystemExit(f"unknown case {name}")
        cameras = [
            scenes.ring_cameras(
                n, radius=r, height=h, target=scene.target, start_deg=s, spread_deg=w, jitter=0.02, seed=n
            )
            for n, r, h, s, w in rings
        ]
        scenes.write_capture(scene, folder, camera, np.concatenate(cameras), **options)
    return folder / "photos", folder / "truth"


# Middlebury 2014, "Motorcycle" at a quarter of its size (Scharstein et al. 2014): focal length and principal points in
# pixels, baseline in millimetres.
FOCAL, LEFT, RIGHT, BASELINE = 994.978, (311.193, 254.877), (342.279, 254.877), 193.001


class _PairBuilt(Built):
    """Truth as a depth map: the distance of a point is measured along the left camera's ray, times its cosine."""

    def __init__(self, project: Project, depth: np.ndarray) -> None:
        self.project, self.depth = project, depth
        self.camera = Camera("PINHOLE", depth.shape[1], depth.shape[0], np.array([FOCAL, FOCAL, *LEFT]))
        n = _normals(depth, self.camera)
        x, y = np.meshgrid(np.arange(depth.shape[1]) + 0.5, np.arange(depth.shape[0]) + 0.5)
        rays = np.stack([(x - LEFT[0]) / FOCAL, (y - LEFT[1]) / FOCAL, np.ones_like(x)], -1)
        self.cosine = np.abs((n * rays).sum(-1))

    def maps(self, stage: str, limit: int = 12) -> Iterator[DepthMap]:
        for found in super().maps(stage, limit):
            if found.name == "left.png":
                yield found

    def true_depth(self, found: DepthMap) -> np.ndarray:
        return self.depth

    def distance(self, points: np.ndarray) -> np.ndarray:
        xy, z = geometry.project(self.camera, np.eye(3, 4), points)
        x, y = np.clip(np.floor(np.nan_to_num(xy)).astype(int), 0, [self.depth.shape[1] - 1, self.depth.shape[0] - 1]).T
        return np.abs(z - self.depth[y, x]) * self.cosine[y, x]


def _normals(depth: np.ndarray, camera: Camera) -> np.ndarray:
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    points = np.stack([(x - camera.cx) / camera.fx * depth, (y - camera.cy) / camera.fy * depth, depth], -1)
    n = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    return n / np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-12)


def build_pair(folder: Path, house: Path, quality: str) -> Built | None:
    """One real stereo pair with dense truth, cameras known."""
    if not folder.is_dir():
        return None
    from rilievo.io.pictures import read_picture
    from rilievo.stages import depth, depth_filter, mesh, points

    loaded = np.load(folder / "motorcycle_disp.npz")
    disparity = np.asarray(loaded[loaded.files[0]], np.float64)
    truth = np.where(
        np.isfinite(disparity) & (disparity > 0), FOCAL * BASELINE / (disparity + RIGHT[0] - LEFT[0]), np.nan
    )
    views = []
    for k, (name, center) in enumerate((("left.png", LEFT), ("right.png", RIGHT))):
        pixels = read_picture(folder / f"motorcycle_{name}")
        camera = Camera("PINHOLE", pixels.shape[1], pixels.shape[0], np.array([FOCAL, FOCAL, *center]))
        cam_from_world = np.eye(3, 4)
        cam_from_world[0, 3] = -BASELINE * k
        views.append(View(name, np.ascontiguousarray(pixels[..., :3]), camera, cam_from_world))
    config = replace(depth.DepthConfig.for_quality(quality), max_size=1600)
    span = (0.8 * float(np.nanmin(truth)), 1.25 * float(np.nanmax(truth)))
    seeds = np.zeros((0, 3))
    first = [
        depth.estimate_depth(v, [o], seeds=seeds, depth_range=span, config=config) for v, o in (views, views[::-1])
    ]
    second = [
        depth.estimate_depth(
            views[k],
            [views[1 - k]],
            seeds=seeds,
            depth_range=span,
            start=first[k],
            source_depths=[first[1 - k]],
            config=config,
        )
        for k in (0, 1)
    ]
    checked = [depth_filter.filter_depth(second[k], [second[1 - k]], config=config) for k in (0, 1)]
    project = Project(house)
    names = tuple(v.name for v in views)
    maps = pipelines.StoredMaps(
        names, {names[0]: [names[1]], names[1]: [names[0]]}, lambda n: (checked[names.index(n)], views[names.index(n)])
    )
    cloud = points.fuse(maps)
    cameras, matrices = tuple(v.camera for v in views), np.stack([v.cam_from_world for v in views])
    none, nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
    empty = Reconstruction(
        names, np.arange(2, dtype=np.int32), cameras, matrices, np.zeros((0, 3)), np.zeros((0, 3), np.uint8),
        nothing, none, none, np.zeros((0, 2), np.float32),
    )  # fmt: skip
    surface = mesh.mesh_cloud(cloud, empty)
    project.update(
        made_from={
            "depth refined": [project.put(m) for m in second],
            "depth checked": [project.put(m) for m in checked],
        },
        names={"cloud": project.put(cloud), "mesh": project.put(surface)},
    )
    return _PairBuilt(project, truth)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--quality", default="draft", choices=["draft", "normal", "high"])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    head = "".join(f"{h:>{w}}" for h, w in zip(COLUMNS, (40, 7, 7, 28, 6, 6, 8, 8)))
    print(head + f"{'num':>10}")
    results = {}
    with tempfile.TemporaryDirectory(prefix="rilievo-sigma-") as temporary:
        for name in options.cases or CASES:
            built = build(name, options.data, options.work or Path(temporary), options.quality, options.threads)
            if built is None:
                print(f"{name}: skipped, its data is not in {options.data}")
                continue
            for label, row in rows_of(built).items():
                results[f"{name}.{options.quality}.{label}"] = row
                print(show(f"{name}: {label}", row), flush=True)
    print("sigma and error: medians, in pixel footprints")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
