"""How good and how fast textures are: `python bench/texture.py [HOUSE PHOTOS]...`.

    HOUSE PHOTOS      project folders of finished builds and the photos they came from; default: sceaux_castle of the
                      data folder, else the bundled capture, built at draft quality into a temporary folder
    --data DIR        folder with the data sets (default: $RILIEVO_DATA, else ../shared/data beside the repository)
    --view-size N     largest side of the photos used as texture, pixels (default 1200)
    --texture-size N  largest side of the texture (default 2048)
    --rating-size N   largest side of the photos when faces are rated
    --faces N         bring the surface to about N faces first (may be given several times; 0: as it is)
    --hold-out I      number of the photo that is not used and compared with (default 2; -1: none)
    --threads N       (default 2)
    --speed           without the comparisons with the photos
    --save DIR        writes the rendered and the real photo beside each other as PNG

One line a surface: CPU seconds of the parts, what the atlas is like, the colour step that is left along its seams, and
how like the photos the model looks from where they were taken. Photo and model are brought to one exposure (a factor a
channel) and compared over the pixels that the surface covers, two pixels inside its outline.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from rilievo import kernels  # noqa: E402
from rilievo.chain import Chain  # noqa: E402
from rilievo.gather import gather  # noqa: E402
from rilievo.project import Project  # noqa: E402
from rilievo.stages import seams, unwrap  # noqa: E402
from rilievo.stages import texture as stage  # noqa: E402
from rilievo.stages.render import RenderConfig, render_mesh  # noqa: E402
from rilievo.types import Mesh, View  # noqa: E402

PARTS = {
    "choice": (
        ("rate_view", "join_ratings", "equalize_exposure", "find_outliers", "choose_views", "face_neighbors"),
        ("lay_unseen",),
    ),
    "unwrap": (("split_long_edges", "connected_patches", "_image_corners", "_texel_owners", "_assemble"), ()),
    "bake": (("_bake",), ()),
}


class Watch:
    """Wraps the parts of the stage and adds up their CPU seconds."""

    instance: Watch

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        for part, names in PARTS.items():
            for name in (n for group in names for n in group):
                if hasattr(stage, name):
                    setattr(stage, name, self.timed(part, getattr(stage, name)))
        for name in ("level_seams", "fill_unseen", "blend_seams", "find_seams"):
            setattr(seams, name, self.timed("seams", getattr(seams, name)))
        stage.UNWRAPPERS["views"] = self.timed("unwrap", stage.UNWRAPPERS["views"])

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[part] = self.seconds.get(part, 0.0) + time.process_time() - start

        return call


def bare_surface(project: Project) -> Mesh:
    """The mesh of a project before it was textured."""
    for entry in project.ledger():
        if entry["stage"] == "surface" and project.has(entry["output"]):
            return project.get(entry["output"])
    raise SystemExit(f"{project.root} holds no surface")


def seam_steps(mesh: Mesh) -> np.ndarray:
    """Mean colour step, levels, over each edge where two charts meet (three places an edge)."""
    assert mesh.uvs is not None and mesh.texture is not None
    _, welded = np.unique(mesh.vertices.view(np.dtype((np.void, 12))).ravel(), return_inverse=True)
    neighbor, side = unwrap.face_neighbors(welded[mesh.faces].astype(np.int32))
    f, k = np.nonzero(neighbor >= 0)
    g, j = neighbor[f, k], side[f, k].astype(np.int64)
    keep = (f < g) & (
        (mesh.faces[f, k] != mesh.faces[g, (j + 1) % 3]) | (mesh.faces[f, (k + 1) % 3] != mesh.faces[g, j])
    )
    f, k, g, j = f[keep], k[keep], g[keep], j[keep]
    h, w = mesh.texture.shape[:2]
    xy = np.stack([mesh.uvs[:, 0] * w, (1 - mesh.uvs[:, 1]) * h], 1)
    a0, b0 = xy[mesh.faces[f, k]], xy[mesh.faces[f, (k + 1) % 3]]
    a1, b1 = xy[mesh.faces[g, (j + 1) % 3]], xy[mesh.faces[g, j]]
    steps = [
        np.abs(seams.sample(mesh.texture, a0 + (b0 - a0) * t) - seams.sample(mesh.texture, a1 + (b1 - a1) * t)).mean(1)
        for t in (np.float32(0.25), np.float32(0.5), np.float32(0.75))
    ]
    return np.mean(steps, 0)


def likeness(mesh: Mesh, view: View, save: Path | None = None) -> tuple[float, float]:
    """PSNR (dB) and SSIM of the model against a photo."""
    image, depth = render_mesh(mesh, view.camera, view.cam_from_world, config=RenderConfig(supersample=1))
    covered = cv2.erode(np.isfinite(depth).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if view.mask is not None:
        covered &= view.mask.astype(bool)
    if covered.sum() < 100:
        return float("nan"), float("nan")
    photo, shown = view.pixels.astype(np.float64), image.astype(np.float64)
    shown = shown * (np.median(photo[covered], 0) / np.maximum(np.median(shown[covered], 0), 1))
    shown = np.clip(shown, 0, 255)
    mse = ((photo - shown)[covered] ** 2).mean()
    a, b = (cv2.cvtColor(v.astype(np.float32), cv2.COLOR_RGB2GRAY) for v in (photo, shown))
    blur: Callable[[np.ndarray], np.ndarray] = lambda v: cv2.GaussianBlur(v, (11, 11), 1.5)  # noqa: E731
    ma, mb = blur(a), blur(b)
    va, vb, both = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    ssim = (2 * ma * mb + 6.5) * (2 * both + 58.5) / ((ma * ma + mb * mb + 6.5) * (va + vb + 58.5))
    if save:
        cv2.imwrite(str(save), np.concatenate([image, view.pixels], 1)[..., ::-1])
    return float(10 * np.log10(255**2 / max(mse, 1e-9))), float(ssim[covered].mean())


def density(mesh: Mesh, views: list[View]) -> float:
    """Texels for each pixel of the photo that a face's colours come from, along a side (median over faces)."""
    assert mesh.uvs is not None and mesh.texture is not None and mesh.face_view is not None
    h, w = mesh.texture.shape[:2]
    uv = mesh.uvs.astype(np.float64)[mesh.faces] * [w, h]
    texels = np.abs(np.linalg.det(np.stack([uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]], 1)))
    ratio = []
    for i, view in enumerate(views):
        rows = mesh.face_view == i
        x = mesh.vertices[mesh.faces[rows]].astype(np.float64) + mesh.origin
        p = (x @ view.cam_from_world[:, :3].T + view.cam_from_world[:, 3]) @ view.camera.K.T
        q = p[..., :2] / p[..., 2:]
        pixels = np.abs(np.linalg.det(np.stack([q[:, 1] - q[:, 0], q[:, 2] - q[:, 0]], 1)))
        ratio.append(texels[rows] / np.maximum(pixels, 1e-9))
    return float(np.sqrt(np.median(np.concatenate(ratio))))


def measure(name: str, surface: Mesh, views: dict[str, View], args: argparse.Namespace) -> dict[str, float]:
    """All numbers of one surface."""
    watch = Watch.instance
    names = list(views)
    config = stage.TextureConfig(max_texture_size=args.texture_size, rating_size=args.rating_size)
    watch.seconds.clear()
    start, wall = time.process_time(), time.perf_counter()
    mesh = stage.texture(surface, views.__getitem__, names, config=config)
    cpu, wall = time.process_time() - start, time.perf_counter() - wall
    row: dict[str, float] = {"faces": len(surface.faces), "cpu_s": cpu, "wall_s": wall}
    row |= {f"{k}_s": v for k, v in watch.seconds.items()}
    facts = stage.texture_facts(mesh)
    step = seam_steps(mesh)
    neighbors, _ = unwrap.face_neighbors(mesh.faces)
    row |= {
        "growth": len(mesh.faces) / len(surface.faces) - 1,
        "vertex_growth": len(mesh.vertices) / max(len(surface.vertices), 1) - 1,
        "charts": float(unwrap.connected_patches(neighbors, np.zeros(len(mesh.faces), int)).max() + 1),
        "fill": facts["fill"],
        "megatexels": mesh.texture.shape[0] * mesh.texture.shape[1] / 1e6,
        "texels_per_pixel": density(mesh, list(views.values())),
        "coverage": facts["coverage"],
        "seam_median": float(np.median(step)) if len(step) else 0.0,
        "seam_95": float(np.quantile(step, 0.95)) if len(step) else 0.0,
    }
    out = Path(args.save) if args.save else None
    if out:
        out.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(out / f"{name}_atlas.png"), mesh.texture[..., ::-1])
    if args.speed:
        return row
    like = [likeness(mesh, v, out / f"{name}_{i}.png" if out else None) for i, v in enumerate(views.values())]
    row["psnr"], row["ssim"] = (float(v) for v in np.nanmean(like, 0))
    if 0 <= args.hold_out < len(names) and len(names) > 2:
        held = names[args.hold_out]
        rest = stage.texture(surface, views.__getitem__, [n for n in names if n != held], config=config)
        row["held_psnr"], row["held_ssim"] = likeness(rest, views[held], out / f"{name}_held.png" if out else None)
    return row


def resized(mesh: Mesh, num_faces: int) -> Mesh:
    """The surface with about so many faces: every face cut in four as often as needed, then simplified."""
    from rilievo.stages.mesh_clean import simplify

    while len(mesh.faces) < num_faces:
        a, b, c = mesh.faces.T.astype(np.int64)
        ends = np.sort(np.concatenate([np.stack([a, b], 1), np.stack([b, c], 1), np.stack([c, a], 1)]), axis=1)
        key, middle = np.unique(ends[:, 0] * len(mesh.vertices) + ends[:, 1], return_inverse=True)
        first, second = key // len(mesh.vertices), key % len(mesh.vertices)
        p, q, r = (len(mesh.vertices) + middle).reshape(3, -1)
        points = np.concatenate([mesh.vertices, (mesh.vertices[first] + mesh.vertices[second]) / 2])
        faces = np.stack([a, p, r, p, b, q, r, q, c, p, q, r], 1).reshape(-1, 3)
        mesh = Mesh(points.astype(np.float32), faces.astype(np.int32), origin=mesh.origin)
    points, faces = simplify(mesh.vertices, mesh.faces, num_faces)
    return Mesh(points.astype(np.float32), faces.astype(np.int32), origin=mesh.origin)


def default_house(data: Path) -> list[str]:
    from rilievo.cli import main

    photos = data / "sceaux_castle"
    photos = photos if photos.is_dir() else ROOT / "examples" / "capture" / "photos"
    house = tempfile.mkdtemp(prefix="rilievo_texture_")
    main(["build", str(photos), "-o", house, "--quality", "draft", "--quiet"])
    return [house, str(photos)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="*")
    parser.add_argument("--data", default=os.environ.get("RILIEVO_DATA", str(ROOT.parent / "shared" / "data")))
    parser.add_argument("--view-size", type=int, default=1200)
    parser.add_argument("--texture-size", type=int, default=2048)
    parser.add_argument("--faces", type=int, action="append")
    parser.add_argument("--rating-size", type=int, default=stage.TextureConfig().rating_size)
    parser.add_argument("--hold-out", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--save")
    args = parser.parse_args()
    pairs = args.pairs or default_house(Path(args.data))
    if len(pairs) % 2:
        parser.error("give a project folder and its photos, in turn")
    kernels.set_num_threads(args.threads)
    Watch.instance = Watch()
    for house, photos in zip(pairs[::2], pairs[1::2]):
        project = Project(Path(house), create=False)
        scene = project.named("cameras")
        with tempfile.TemporaryDirectory() as scratch:
            found = gather(Chain(Project(Path(scratch)), args.threads), [Path(photos)])
        surface = bare_surface(project)
        views = {n: found.load_view(scene, n, args.view_size) for n in scene.names}
        for num in args.faces or [0]:
            one = resized(surface, num) if num > 0 else surface
            row = measure(f"{Path(house).name}_{len(one.faces)}", replace(one), views, args)
            print(json.dumps({"house": Path(house).name} | {k: round(v, 3) for k, v in row.items()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
