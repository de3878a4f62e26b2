"""Placed photos to Gaussian splats: start, training in segments that survive a crash, held-out photos, files."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rilievo import kernels
from rilievo.chain import Chain
from rilievo.codec import content_id
from rilievo.errors import InputError, MissingError
from rilievo.evaluate import images
from rilievo.live import LiveView, LiveViewer, pixels_over
from rilievo.placed import Placed, load_placed
from rilievo.plan import Run
from rilievo.plan_splats import PRESETS, SplatSettings, fit_time, splats_config
from rilievo.project import Project, explain_os_errors
from rilievo.stages import splats as stage
from rilievo.stages.splat_photos import PhotoStack
from rilievo.stages.splat_rows import splats_of
from rilievo.stages.splats_render import SplatRenderer
from rilievo.types import Camera, DepthMap, PointCloud, Splats, SplatState

SEGMENTS = 12  # a crash costs at most this part of the training
MAX_SHOWN = 6  # held-out photos that are put beside their renderings


@dataclass(frozen=True)
class QualityConfig:
    """How held-out photos are judged; no settings."""

    version: ClassVar[int] = 1


@dataclass
class Told:
    """What a run learns on its way. scores: (iteration, PSNR of the held-out photos, number of Gaussians)."""

    seconds: float = 0.0
    stopped: bool = False
    scores: list[tuple[int, float, int]] = field(default_factory=list)


def photos_to_splats(
    source: Path | str,
    house: Path | str | None = None,
    *,
    photos: Path | None = None,
    masks: Path | None = None,
    settings: SplatSettings = SplatSettings(),
    run: Run = Run(),
    say: Callable[[str], None] = lambda text: None,
    live: Callable[[str], None] | None = None,
) -> tuple[Project, dict[str, Any]]:
    """Splats of a project folder, a COLMAP folder or a transforms.json, and what they are worth.

    house: where to (default: the source, when it is a project folder). The project's name is then `splats`; its export
    folder gets `splats.ply`, `splats.json` and held-out photos beside their renderings.
    say: told a line now and then.  live: shows the training in the browser, told the address.
    Returns the project and the summary that `splats.json` holds.

    Raises InputError for unusable input, MissingError when an engine is wanted that cannot run, ResourceError when disk
    or memory is short.
    """
    started = time.perf_counter()
    kernels.set_num_threads(run.num_threads)
    placed = load_placed(source, photos=photos, masks=masks, num_threads=kernels.native().num_threads())
    if placed.project is not None and house is None:
        project = placed.project
    else:
        project = Project(house or Path(f"{Path(source).resolve().stem or 'scene'}-splats"))
    chain = Chain(project, kernels.native().num_threads(), run.progress)
    if project is not placed.project:
        chain.name(cameras=project.put(placed.scene))
    summary = train_splats(chain, placed, settings, run, say=say, live=live, started=started)
    return project, summary


def train_splats(
    chain: Chain,
    placed: Placed,
    settings: SplatSettings,
    run: Run,
    *,
    say: Callable[[str], None] = lambda text: None,
    live: Callable[[str], None] | None = None,
    started: float | None = None,
) -> dict[str, Any]:
    """Trains (or finds) the splats of placed photos, names them, judges them and writes the files; the summary."""
    started = time.perf_counter() if started is None else started
    size = settings.size or PRESETS[settings.quality][0]
    if size < 64:
        raise InputError(f"photos of {size} px are too small to train on", "", "give --size 400 or more")
    names = placed.scene.names
    tested = placed.held_out if placed.held_out is not None else stage.held_out(names, settings.hold_out)
    if settings.hold_out == 0:
        tested = ()
    trained = tuple(n for n in names if n not in set(tested))
    if len(trained) < 2:
        raise InputError(
            f"{len(trained)} photos are left to train on",
            f"{len(tested)} of {len(names)} are held out",
            "use --hold-out 0",
        )
    origin = np.round(np.median(placed.scene.centers, axis=0), 3)
    load = lambda name: placed.load_view(name, size)  # noqa: E731
    stack = PhotoStack(trained, load, origin=origin, max_bytes=min(run.memory_mb * 0.5, 6000) * 2**20)
    first = load(trained[0])
    background = settings.background or ((1.0, 1.0, 1.0) if first.alpha is not None else (0.0, 0.0, 0.0))
    config = splats_config(settings, background)
    engine = choose_engine(settings.engine)
    cloud, points, colors, kind = _start_from(placed, settings, trained)
    inputs = [
        content_id(
            size, kind, engine, list(trained), [placed.photo_ids[n] for n in trained], *map(placed.scene.camera, range(len(names))),
            placed.scene.cam_from_world,
        ),
        cloud or content_id(placed.scene.points, placed.scene.point_colors),
    ]  # fmt: skip

    def start() -> SplatState:
        return stage.start_splats(
            stack, cloud=None if cloud is None else _of_photos(chain.project.get(cloud), trained), points=points, colors=colors, config=config
        )  # fmt: skip

    if run.max_seconds is not None:
        begun = start()
        left = run.max_seconds - (time.perf_counter() - started)
        trial = PhotoStack(trained[: min(6, len(trained))], load, origin=origin)
        for name in trial.names:
            for level in range(config.levels + 1):
                trial.get(name, level)
        reserve = 0.04 * run.max_seconds + 1.0
        config = fit_time(begun, trial, config, max(left - reserve, 1.0), fixed_cap=settings.max_splats is not None)
    say(
        f"{len(trained)} photos of {first.camera.width} x {first.camera.height} px to train on, {len(tested)} held out;"
        f" {config.iterations} steps, at most {config.max_splats} splats, engine {engine}"
    )
    told = Told()
    tests = PhotoStack(tested, load, origin=origin, max_bytes=min(run.memory_mb * 0.2, 2000) * 2**20)
    viewer = None
    if live is not None:
        viewer = _Viewer(placed, (*trained, *tested), set(tested), size, config, started)
        live(viewer.server.url)
    try:
        if found := chain.project.find("splats", config, inputs):
            splats_id = found.output
            told.seconds = _seconds_before(chain.project, splats_id)
            chain.progress("splats", 1, 1, 1)
        else:
            splats_id = _train(chain, config, inputs, start, stack, tests, engine, placed, told, viewer)
        chain.name(splats=splats_id)
        splats: Splats = chain.project.get(splats_id)
        summary = _judge(chain, placed, tests, splats, splats_id, size, told, config, engine)
        summary["wall_seconds"] = round(time.perf_counter() - started, 1)
        _publish(chain, splats, summary, tests)
        if viewer:
            viewer.finished(splats, summary)
    finally:
        if viewer:
            viewer.close()
    return summary


def choose_engine(wanted: str) -> str:
    """ "cpu" or "gsplat". Raises MissingError when gsplat is wanted and cannot run."""
    if wanted == "cpu":
        return "cpu"
    from rilievo.stages import splats_gsplat

    return splats_gsplat.choose_engine(wanted)


def _start_from(
    placed: Placed, settings: SplatSettings, trained: Sequence[str]
) -> tuple[str | None, np.ndarray | None, np.ndarray | None, str]:
    """The cloud's id, points and colours that training starts from, and what was asked for."""
    wanted = settings.start
    if wanted == "cloud" and placed.cloud is None:
        raise InputError(
            "there is no dense cloud to start from", "", "run `rilievo build` first, or use --start points"
        )
    cloud = placed.cloud if wanted in ("auto", "cloud") else None
    if cloud is None and wanted in ("auto", "points") and len(placed.scene.points):
        return None, placed.scene.points, placed.scene.point_colors, wanted
    if wanted == "points" and cloud is None:
        raise InputError("there are no sparse points to start from", "", "use --start random")
    return cloud, None, None, wanted


def _of_photos(cloud: PointCloud, trained: Sequence[str]) -> PointCloud:
    """The points that some photo in training saw: what only held-out photos saw would give them away."""
    known = np.array([n in set(trained) for n in cloud.names])
    seen = np.zeros(len(cloud.points), bool)
    owner = np.repeat(np.arange(len(cloud.points)), np.diff(cloud.view_offsets))
    seen[owner[known[cloud.view_index]]] = True
    keep = np.flatnonzero(seen)
    return replace(
        cloud,
        points=cloud.points[keep],
        normals=cloud.normals[keep],
        colors=cloud.colors[keep],
        confidence=cloud.confidence[keep],
        sigma=cloud.sigma[keep],
        spacing=cloud.spacing[keep],
        view_offsets=np.zeros(len(keep) + 1, np.int64),
        view_index=np.zeros(0, np.int32),
        inferred=None if cloud.inferred is None else cloud.inferred[keep],
    )


def _train(
    chain: Chain,
    config: stage.SplatsConfig,
    inputs: Sequence[str],
    start: Callable[[], SplatState],
    stack: PhotoStack,
    tests: PhotoStack,
    engine: str,
    placed: Placed,
    told: Told,
    viewer: _Viewer | None,
) -> str:
    """Trains in segments, each a step of the ledger, so that a run that was killed goes on where the last one ended. The
    last two states are kept while it runs, none afterwards. Returns the id of the finished splats."""
    project = chain.project
    total = config.iterations
    marks = sorted({round(total * k / SEGMENTS) for k in range(1, SEGMENTS + 1)} - {0})
    recipe = lambda mark: [*inputs, f"iteration {mark}"]  # noqa: E731
    state: SplatState | None = None
    kept: list[str] = []
    done = 0
    for mark in reversed(marks):
        if found := project.find("splats training", config, recipe(mark)):
            state, done, kept = project.get(found.output), mark, [found.output]
            told.seconds = _seconds_before(project, found.output)
            break
    step: Callable[..., SplatState] = stage.train
    if engine == "gsplat":
        from rilievo.stages.splats_gsplat import train_gsplat

        step = train_gsplat
    depths = _depths(project, stack) if config.depth_weight or config.normal_weight else None
    begun = time.perf_counter()
    if state is None:
        chain.progress("splats", 0, total)
        state = start()
        told.seconds += time.perf_counter() - begun
    reused = done

    def watch(iteration: int, rows: np.ndarray) -> bool:
        chain.progress("splats", min(iteration, total - 1), total, reused)
        return viewer.watch(iteration, rows) if viewer else True

    for mark in (m for m in marks if m > done):
        begun = time.perf_counter()
        before = state
        made = step(before, stack, mark, depths=depths, watch=watch, config=config)
        told.seconds += time.perf_counter() - begun
        state = made
        if made.iteration < mark:
            told.stopped = True
            break
        if mark < total:
            output = project.run("splats training", config, recipe(mark), lambda made=made: made).output
            _remember_seconds(project, output, told.seconds)
            kept.append(output)
            while len(kept) > 2:
                _forget(project, kept.pop(0))
        psnr = _psnr(stage.finish(state, config=config), tests, most=8)
        told.scores.append((mark, psnr, len(state.rows)))
        if viewer:
            viewer.psnr = psnr
    splats = stage.finish(state, config=config)
    if not len(splats.means):
        raise InputError(
            "nothing is left of the splats",
            "all Gaussians became transparent: photos and cameras do not belong together, or masks hide everything",
            "look at the cameras with `rilievo info`, and leave out --masks",
        )
    if told.stopped:  # ended by hand: a result of its own, not that of the recipe
        output = project.put(splats)
    else:
        output = project.run("splats", config, inputs, lambda: splats).output
    _remember_seconds(project, output, told.seconds)
    content = project.read()
    project.update(made_from={**content.get("made_from", {}), "splats": [output]})
    for old in kept:
        _forget(project, old)
    chain.progress("splats", total, total, reused)
    return output


def _forget(project: Project, object_id: str) -> None:
    project.object_path(object_id).unlink(missing_ok=True)


def _remember_seconds(project: Project, object_id: str, seconds: float) -> None:
    kept = dict(project.read().get("splat_seconds", {}))
    kept = {k: v for k, v in kept.items() if project.has(k)}
    project.update(splat_seconds={**kept, object_id: round(seconds, 2)})


def _seconds_before(project: Project, object_id: str) -> float:
    return float(project.read().get("splat_seconds", {}).get(object_id, 0.0))


def _depths(project: Project, stack: PhotoStack) -> Callable[[str, int], DepthMap | None]:
    """Known depth of the house's photos at the size that training asks for. Raises InputError where there is none."""
    made = project.read().get("made_from", {})
    ids = next((made[k] for k in ("depth filled", "depth checked") if made.get(k)), None)
    if ids is None:
        raise InputError("there are no depth maps to learn from", "", "run `rilievo build` on the photos first")
    by_name: dict[str, str] = {}
    for i in ids:
        by_name[project.get(i).name] = i
    kept: dict[tuple[str, int], DepthMap | None] = {}

    def find(name: str, level: int) -> DepthMap | None:
        import cv2

        if (name, level) not in kept:
            if len(kept) > 64:
                kept.clear()
            kept[name, level] = None
            if name in by_name:
                full: DepthMap = project.get(by_name[name])
                size = stack.get(name, level).size
                shrink = lambda a: cv2.resize(a, size, interpolation=cv2.INTER_NEAREST)  # noqa: E731
                kept[name, level] = replace(
                    full, depth=shrink(full.depth), normals=shrink(full.normals), confidence=shrink(full.confidence),
                    sigma=shrink(full.sigma), inferred=None,
                )  # fmt: skip
        return kept[name, level]

    return find


# --- judging ----------------------------------------------------------------------------------------------------------


def _pair(renderer: SplatRenderer, tests: PhotoStack, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A held-out photo and its rendering, uint8, and where they count."""
    photo = tests.get(name, 0)
    placed = np.array(photo.cam_from_world)
    placed[:, 3] -= placed[:, :3] @ tests.origin  # the renderer takes cameras in the world
    drawn = renderer.picture(photo.pinhole(), placed)
    truth = photo.pixels
    if photo.alpha is not None:
        a = photo.alpha.astype(np.float32)[..., None] / 255
        behind = np.array(renderer.splats.background, np.float32) * 255
        truth = np.rint(truth * a + behind * (1 - a)).astype(np.uint8)
    return drawn, truth, None if photo.mask is None else photo.mask > 0


def _psnr(splats: Splats, tests: PhotoStack, most: int) -> float:
    if not tests.names or not len(splats.means):
        return float("nan")
    renderer = SplatRenderer(splats)
    return float(np.mean([images.psnr(*_pair(renderer, tests, n)) for n in tests.names[:most]]))


def _judge(
    chain: Chain,
    placed: Placed,
    tests: PhotoStack,
    splats: Splats,
    splats_id: str,
    size: int,
    told: Told,
    config: stage.SplatsConfig,
    engine: str,
) -> dict[str, Any]:
    """The summary: PSNR, SSIM and, where its weights are there, LPIPS of each held-out photo and their means."""
    rows, renderer = [], SplatRenderer(splats)
    lpips: Callable[..., float] | None = images.lpips
    why = ""
    for k, name in enumerate(tests.names):
        chain.progress("held-out photos", k, len(tests.names))
        drawn, truth, mask = _pair(renderer, tests, name)
        row: dict[str, Any] = {"photo": name, "psnr": round(images.psnr(drawn, truth, mask), 3)}
        row["ssim"] = round(images.ssim(drawn, truth, mask), 4)
        if lpips is not None:
            try:
                row["lpips"] = round(lpips(drawn, truth), 4)
            except (MissingError, InputError) as error:
                lpips, why = None, f"{error.what}. {error.hint}"
        rows.append(row)
    if rows:
        chain.progress("held-out photos", len(rows), len(rows))
    mean = lambda key: round(float(np.mean([r[key] for r in rows])), 4) if rows and key in rows[-1] else None  # noqa: E731
    return {
        "psnr": mean("psnr"),
        "ssim": mean("ssim"),
        "lpips": mean("lpips"),
        "lpips_note": why,
        "seconds": round(told.seconds, 1),
        "num_splats": len(splats.means),
        "iterations": config.iterations,
        "stopped": told.stopped,
        "max_splats": config.max_splats,
        "size_px": size,
        "engine": engine,
        "num_trained": len(placed.scene.names) - len(tests.names),
        "num_held_out": len(tests.names),
        "held_out": rows,
        "history": [{"iteration": i, "psnr": None if np.isnan(p) else round(p, 3), "num_splats": n} for i, p, n in told.scores],
        "unit": placed.scene.unit,
        "unplaced": dict(placed.scene.unplaced),
        "settings": asdict(config),
        "splats": splats_id,
    }  # fmt: skip


def _publish(chain: Chain, splats: Splats, summary: Mapping[str, Any], tests: PhotoStack) -> None:
    """HOUSE/export/splats.ply, splats.json and splats/PHOTO.jpg: photo left, rendering right."""
    import cv2

    from rilievo.io.splats import write_splats

    folder = chain.project.root / "export"
    with explain_os_errors("write the exports", folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_splats(folder / "splats.ply", splats)
        partial = folder / "splats.json.part"
        partial.write_text(json.dumps(summary, indent=1, ensure_ascii=False), "utf-8")
        partial.replace(folder / "splats.json")
        pictures = folder / "splats"
        pictures.mkdir(exist_ok=True)
        for old in pictures.glob("*.jpg"):
            old.unlink()
        renderer = SplatRenderer(splats)
        for name in tests.names[:MAX_SHOWN]:
            drawn, truth, _ = _pair(renderer, tests, name)
            beside = np.concatenate([truth, drawn], 1)[..., ::-1]
            _, data = cv2.imencode(".jpg", beside, [cv2.IMWRITE_JPEG_QUALITY, 92])
            (pictures / (name.replace("/", "_").replace("\\", "_") + ".jpg")).write_bytes(data.tobytes())


# --- live -------------------------------------------------------------------------------------------------------------


class _Viewer:
    """Shows the newest Gaussians while they train. The page's frames are drawn from a snapshot that is at most a second
    old; nothing of this changes the result, except when the page says stop."""

    def __init__(
        self,
        placed: Placed,
        names: Sequence[str],
        tested: set[str],
        size: int,
        config: stage.SplatsConfig,
        started: float,
    ) -> None:
        self.config, self.started = config, started
        self.psnr = float("nan")
        self._origin = np.round(np.median(placed.scene.centers, axis=0), 3)
        self._lock = threading.Lock()
        self._renderer: SplatRenderer | None = None
        self._taken = 0.0
        views = []
        for name in names:
            view = placed.load_view(name, 160)  # for its camera; pixels are loaded when the page asks
            scale = size / max(view.camera.width, view.camera.height)
            camera = Camera(
                "PINHOLE",
                round(view.camera.width * scale),
                round(view.camera.height * scale),
                view.camera.params * scale,
            )
            views.append(
                LiveView(name, camera, view.cam_from_world, self._loader(placed, name, camera), name in tested)
            )
        self.server = LiveViewer(self._draw, start=(views[0].camera, views[0].cam_from_world), views=views)

    def _loader(self, placed: Placed, name: str, camera: Camera) -> Callable[[], np.ndarray]:
        def load() -> np.ndarray:
            import cv2

            view = placed.load_view(name, max(camera.width, camera.height))
            pixels = pixels_over(view, self.config.background)
            if pixels.shape[:2] != (camera.height, camera.width):
                pixels = cv2.resize(pixels, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
            return pixels

        return load

    def _draw(self, camera: Camera, cam_from_world: np.ndarray) -> np.ndarray:
        with self._lock:
            renderer = self._renderer
        if renderer is None:
            return np.full((camera.height, camera.width, 3), 128, np.uint8)
        return renderer.picture(camera, cam_from_world)

    def watch(self, iteration: int, rows: np.ndarray) -> bool:
        """After each step: takes a snapshot now and then; waits while the page says pause. False: stop."""
        now = time.perf_counter()
        if now - self._taken > 1.0 or iteration == 1:
            self._show(rows, iteration, "")
            self._taken = time.perf_counter()
        waited = False
        while self.server.wanted() == "pause":
            if not waited:
                self._show(rows, iteration, "paused")
                waited = True
            time.sleep(0.1)
        return self.server.wanted() != "stop"

    def _show(self, rows: np.ndarray, iteration: int, note: str) -> None:
        splats = splats_of(
            rows,
            degree=self.config.degree_at(iteration),
            antialiased=self.config.antialiased,
            background=self.config.background,
            origin=self._origin,
        )
        with self._lock:
            self._renderer = SplatRenderer(splats)
        self._tell(iteration, len(rows), note)

    def _tell(self, iteration: int, number: int, note: str) -> None:
        self.server.update(
            status={
                "iteration": iteration,
                "num_iterations": self.config.iterations,
                "psnr": None if np.isnan(self.psnr) else round(self.psnr, 2),
                "num_splats": number,
                "seconds": round(time.perf_counter() - self.started, 1),
                "note": note,
            }
        )

    def finished(self, splats: Splats, summary: Mapping[str, Any]) -> None:
        """Shows the finished splats until Ctrl-C or the page's stop."""
        with self._lock:
            self._renderer = SplatRenderer(splats)
        self.psnr = float("nan") if summary["psnr"] is None else summary["psnr"]
        self._tell(summary["iterations"], summary["num_splats"], "finished: Ctrl-C in the terminal ends this page")
        if summary["stopped"]:
            return
        try:
            while self.server.wanted() != "stop":
                time.sleep(0.2)
        except KeyboardInterrupt:
            return

    def close(self) -> None:
        self.server.close()
