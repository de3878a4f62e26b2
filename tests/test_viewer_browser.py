"""The viewer in a real browser without a graphics card: what is seen, measured, saved, compared and shared."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import Complaints, artefacts, browser, executable, shots
from rilievo.cli import main
from rilievo.io import models
from rilievo.live_server import LocalServer
from rilievo.view.scene import ViewScene
from view_scenes import SIGMA, box, hill, house, textured_sphere

TOP = 0.25  # of the box of 2 x 1 x 0.5
# The place of a point of the scene in the window, as fractions of a px.
SEE = """([x, y, z]) => {
  const { stage } = rilievoViewer, at = stage.see({ x, y, z }), box = stage.box.getBoundingClientRect();
  return [box.left + at.x, box.top + at.y];
}"""
PIXEL = "([x, y, z]) => rilievoViewer.stage.pixelAt({ x, y, z })"
# Brightness of the picture of the GPU and of those below it: [mean, spread], of what has colour at all.
LIT = """() => {
  const { stage } = rilievoViewer, out = document.createElement("canvas"), context = out.getContext("2d");
  [out.width, out.height] = [200, 150];
  stage.draw();
  for (const below of stage.below()) context.drawImage(below.canvas, 0, 0, 200, 150);
  context.drawImage(stage.renderer.domElement, 0, 0, 200, 150);
  const rgba = context.getImageData(0, 0, 200, 150).data, lit = [];
  for (let i = 0; i < rgba.length; i += 4) if (rgba[i + 3] > 250) lit.push(rgba[i] + rgba[i + 1] + rgba[i + 2]);
  return [lit.length / 30000, lit.length ? Math.max(...lit) - Math.min(...lit) : 0];
}"""

# Share of the picture that is neither transparent nor background.
GREY = """const { stage } = rilievoViewer, out = document.createElement("canvas"), context = out.getContext("2d");
  [out.width, out.height] = [200, 150];
  stage.draw();
  for (const below of stage.below()) context.drawImage(below.canvas, 0, 0, 200, 150);
  context.drawImage(stage.renderer.domElement, 0, 0, 200, 150);
  const rgba = context.getImageData(0, 0, 200, 150).data;
  let lit = 0;
  for (let i = 0; i < rgba.length; i += 4) lit += (rgba[i + 3] * (rgba[i] + rgba[i + 1] + rgba[i + 2])) / 765 > 60;
  return lit / 30000;"""

NO_WEBGL = """const get = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return /webgl/.test(kind) ? null : get.call(this, kind, ...rest);
};"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser("--use-angle=swiftshader", "--enable-unsafe-swiftshader") as running:
        yield running


@contextlib.contextmanager
def viewing(  # type: ignore[no-untyped-def]
    chromium, *paths: Path, allow: str = "^$", before: str = "", growing: bool = False, query: str = ""
) -> Iterator[Any]:
    """A page of the viewer; fails when the page complains. before: script that runs before those of the page."""
    executable()
    with ViewScene(paths, growing=growing) as scene:
        server = LocalServer(scene.answer, 0, max_body=1 << 18)
        context = chromium.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        context.set_default_timeout(8000)
        page = context.new_page()
        complaints = Complaints(page, allow)
        page.add_init_script(before)
        try:
            page.goto(server.url + query)
            page.rilievo_server = server
            yield page
            assert not complaints, complaints
        finally:
            context.close()
            server.close()


def until(page, script: str, seconds: float = 15):  # type: ignore[no-untyped-def]
    """Waits until the page's answer is true; the page's policy forbids wait_for_function."""
    end = time.monotonic() + seconds
    while not (told := page.evaluate(script)):
        assert time.monotonic() < end, f"never true: {script}"
        page.wait_for_timeout(30)
    return told


def ready(page) -> int:  # type: ignore[no-untyped-def]
    """ms from the start of the page to its first picture."""
    return int(until(page, "document.body.dataset.ready"))


def calm(page) -> None:  # type: ignore[no-untyped-def]
    """All layers are there and the camera stands still."""
    until(page, "!rilievoViewer.scene.busy && document.getElementById('state').hidden")
    page.wait_for_timeout(250)


def click(page, *points) -> None:  # type: ignore[no-untyped-def]
    """Clicks where points of the scene are seen."""
    for point in points:
        page.mouse.click(*page.evaluate(SEE, list(point)))


def test_first_picture_layers_and_looks(chromium, tmp_path, capsys):
    root = house(tmp_path / "ball", mesh=textured_sphere(90), unplaced={"far.jpg": "no verified matches"})
    started = time.monotonic()
    with viewing(chromium, root) as page:
        ms, whole = ready(page), time.monotonic() - started
        with capsys.disabled():
            print(f"\nfirst picture of a mesh of 32 400 faces after {ms} ms; with the server's start {whole:.2f} s")
        calm(page)
        share, spread = page.evaluate(LIT)
        assert share > 0.08 and spread > 200
        folder = artefacts(tmp_path)
        shots(page, folder, "viewer-mesh")
        page.get_by_role("button", name="Uncertainty").click()
        assert "1 σ, m" in page.locator("#legend").inner_text()
        page.locator("[data-layer=cameras]").check()
        page.wait_for_timeout(300)
        shots(page, folder, "viewer-sigma")
        page.locator("[data-layer=mesh]").uncheck()
        page.locator("[data-layer=cloud]").check()
        until(page, "rilievoViewer.layers.all.get('cloud').drawn === 1000")
        page.locator("[data-layer=cloud]").uncheck()
        page.locator("[data-layer=sparse]").check()
        until(page, "rilievoViewer.layers.all.get('sparse').drawn === 50")
        assert "px" in page.locator("#legend").inner_text()
        page.locator("[data-layer=mesh]").check()
        calm(page)
        eye, seen = (
            "rilievoViewer.stage.camera.position.toArray()",
            "rilievoViewer.layers.pick(430, 330).point.toArray()",
        )
        before, point = page.evaluate(eye), page.evaluate(seen)
        start = np.array(page.evaluate(SEE, point))
        page.mouse.move(*start)
        page.mouse.down()
        page.mouse.move(*(start + [80, 20]), steps=4)
        page.mouse.up()
        after = page.evaluate(eye)  # a drag turns about what was under the pointer: it stays where it is seen
        assert np.linalg.norm(np.subtract(after, before)) > 0.1
        assert np.abs(np.subtract(page.evaluate(SEE, point), start)).max() < 1
        page.mouse.move(*start)
        page.mouse.wheel(0, -300)  # and so does what the wheel comes nearer to
        near = np.linalg.norm(np.subtract(page.evaluate(eye), point)) / np.linalg.norm(np.subtract(after, point))
        assert near < 0.8 and np.abs(np.subtract(page.evaluate(SEE, point), start)).max() < 1
        page.mouse.move(*start)
        page.keyboard.down("Shift")
        page.mouse.down()
        page.mouse.move(*(start + [-60, 30]), steps=4)
        page.mouse.up()
        page.keyboard.up("Shift")
        assert np.abs(np.subtract(page.evaluate(SEE, point), start + [-60, 30])).max() < 1
        page.wait_for_timeout(300)
        drawn = page.evaluate("document.body.dataset.drawn")
        page.wait_for_timeout(400)
        assert page.evaluate("document.body.dataset.drawn") == drawn  # nothing changes: nothing is drawn
        page.get_by_role("tab", name="About").click()
        shots(page, folder, "viewer-about")
        page.locator("#help").click()
        shots(page, folder, "viewer-help")
        page.keyboard.press("Escape")
        with page.expect_download() as got:
            page.locator("#shot").click()
        picture = np.asarray(Image.open(got.value.path()).convert("L"))
        assert picture.shape[1] > 900 and picture.std() > 5


def test_a_known_length_is_measured_saved_and_exported(chromium, tmp_path):
    root = house(tmp_path / "box")
    with viewing(chromium, root) as page:
        ready(page)
        calm(page)
        page.get_by_role("button", name="Top", exact=True).click()
        calm(page)
        page.get_by_role("tab", name="Measure").click()
        page.locator("[data-tool=distance]").click()
        inset = page.evaluate(PIXEL, [0, 0, TOP])  # the edge itself may be missed
        click(page, [-1 + inset, 0, TOP], [1 - inset, 0, TOP])
        value = until(page, "rilievoViewer.tools.list[0]?.value")
        assert abs(value - 2) < 0.01 * 2, value
        text = page.locator(".measures .value").inner_text()
        assert " m ± " in text and text.startswith(("1.9", "2.0")), text
        page.locator("[data-tool=distance]").click()
        page.keyboard.press("Escape")
        page.locator("[data-tool=area]").click()
        click(page, *([x, y, TOP] for x, y in ((-0.5, -0.4), (0.5, -0.4), (0.5, 0.4), (-0.5, 0.4))))
        page.locator("#tool-done").click()
        until(page, "rilievoViewer.tools.list.length === 2 && !rilievoViewer.tools.busy")
        assert abs(page.evaluate("rilievoViewer.tools.list[1].value") - 0.8) < 0.008
        page.locator("#tool-cancel").click()
        page.get_by_label("name of Distance 1").fill("=long side")
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Home", exact=True).click()
        calm(page)
        page.locator("#section-on").check()
        page.locator("#section-measure").click()
        until(page, "rilievoViewer.tools.list.length === 3 && !rilievoViewer.tools.busy")
        assert abs(page.evaluate("rilievoViewer.tools.list[2].value") - 6) < 0.06  # round the box
        page.wait_for_timeout(300)
        shots(page, artefacts(tmp_path), "viewer-measure")
        with page.expect_download() as got:
            page.get_by_role("link", name="CSV").click()
        rows = list(csv.reader(io.StringIO(Path(got.value.path()).read_text("utf-8-sig"))))
        assert [row[1] for row in rows[1:]] == ["distance", "area", "section"] and rows[1][0] == "'=long side"
        page.get_by_role("button", name="Delete Area 1").click()
        until(page, "rilievoViewer.tools.list.length === 2 && !rilievoViewer.tools.busy")
        page.wait_for_timeout(200)
    kept = json.loads((root / "project.json").read_text())["measures"]["list"]
    assert [m["name"] for m in kept] == ["=long side", "Section 1"]
    assert SIGMA < kept[0]["sigma"] < 10 * SIGMA
    with viewing(chromium, root) as page:
        ready(page)
        assert page.evaluate("rilievoViewer.tools.list.length") == 2


def test_path_height_angle_and_volume_and_their_export(chromium, tmp_path):
    """On a cone of radius 1 and height 1, seen from above: clicks are known places."""
    root = house(tmp_path / "hill", mesh=hill(120))
    with viewing(chromium, root) as page:
        ready(page)
        calm(page)
        page.get_by_role("button", name="Top", exact=True).click()
        calm(page)
        page.mouse.move(480, 400)
        page.mouse.wheel(0, 900)  # the sheet is larger than what the cameras look at
        calm(page)
        page.get_by_role("tab", name="Measure").click()

        def use(tool: str, *points: tuple[float, float, float], ends: str = "") -> dict[str, Any]:
            number = page.evaluate("rilievoViewer.tools.list.length")
            if page.locator(f"[data-tool={tool}]").get_attribute("aria-pressed") != "true":
                page.locator(f"[data-tool={tool}]").click()
            click(page, *points)
            if ends:
                page.keyboard.press(ends)
            until(page, f"rilievoViewer.tools.list.length === {number + 1} && !rilievoViewer.tools.busy")
            return page.evaluate("rilievoViewer.tools.list.at(-1)")

        side = [(-1.5, -1.5, 0), (1.5, -1.5, 0), (1.5, 1.5, 0), (-1.5, 1.5, 0)]
        path = use("path", *side, ends="Enter")
        assert path["value"] == pytest.approx(9, rel=0.01) and path["unit"] == "m"
        height = use("height", (1.5, 0, 0), (0.5, 0, 0.5))
        assert height["value"] == pytest.approx(0.5, abs=0.01)
        angle = use("angle", (1.5, 0, 0), (1.5, 1.5, 0), (0, 1.5, 0))
        assert angle["value"] == pytest.approx(90, abs=0.5) and "°" in angle["text"]
        volume = use("volume", *side, ends="Enter")
        assert volume["value"] == pytest.approx(np.pi / 3, rel=0.01)
        assert all("±" in m["text"] for m in (path, height, angle, volume))
        # A point too many is taken back; what is half done is left by Escape.
        page.locator("[data-tool=path]").click()
        click(page, *side[:3])
        page.keyboard.press("Backspace")
        assert page.evaluate("rilievoViewer.tools.points.length") == 2
        page.keyboard.press("Escape")
        assert page.evaluate("rilievoViewer.tools.points.length") == 0
        shots(page, artefacts(tmp_path), "viewer-tools")
        with page.expect_download() as got:
            page.get_by_role("link", name="JSON").click()
        told = json.loads(Path(got.value.path()).read_text("utf-8"))
        assert [m["kind"] for m in told["measures"]] == ["path", "height", "angle", "volume"]
        assert told["measures"][3]["value"] == volume["value"] and told["measures"][3]["sigma"] > 0


def test_without_perspective_lengths_are_the_same_near_and_far(chromium, tmp_path):
    with viewing(chromium, house(tmp_path / "box")) as page:
        ready(page)
        calm(page)
        page.get_by_role("button", name="Top", exact=True).click()
        calm(page)

        def width(z: float) -> float:
            return page.evaluate(SEE, [1, 0, z])[0] - page.evaluate(SEE, [-1, 0, z])[0]

        middle = width(0)
        assert width(TOP) > 1.1 * width(-TOP)
        page.locator("#parallel-on").check()
        assert width(TOP) == pytest.approx(width(-TOP), rel=2e-3)
        assert width(0) == pytest.approx(middle, rel=1e-3)
        page.wait_for_timeout(300)
        assert page.evaluate(LIT)[0] > 0.05
        shots(page, artefacts(tmp_path), "viewer-parallel")
        place = page.evaluate(SEE, [0.5, 0.2, TOP])  # picked where it is seen
        hit = page.evaluate("([x, y]) => rilievoViewer.layers.pick(x, y - 48).point.toArray()", place)
        assert np.abs(np.subtract(hit, [0.5, 0.2, TOP])).max() < 0.01
        page.get_by_role("button", name="Front", exact=True).click()
        calm(page)
        assert page.evaluate(LIT)[0] > 0.02
        page.get_by_role("tab", name="Photos").click()
        page.get_by_role("button", name="stand in 0.jpg").click()
        calm(page)
        assert not page.evaluate("rilievoViewer.stage.parallel")
        x, y = page.evaluate(SEE, [0, 0, 0])
        page.keyboard.press("Escape")
        assert np.abs(np.subtract(page.evaluate(SEE, [0, 0, 0]), [x, y])).max() < 40
        page.keyboard.press("o")
        assert page.evaluate("rilievoViewer.stage.parallel")


def test_fingers_turn_move_and_pinch(chromium, tmp_path):
    with viewing(chromium, house(tmp_path / "box")) as page:
        ready(page)
        calm(page)
        page.set_viewport_size({"width": 390, "height": 844})
        view = "[...rilievoViewer.stage.camera.position.toArray(), ...rilievoViewer.stage.pivot.toArray()]"
        session = page.context.new_cdp_session(page)

        def touch(kind: str, *points: tuple[float, float]) -> None:
            told = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": told})

        before = np.array(page.evaluate(view))
        touch("touchStart", (150, 200))
        touch("touchMove", (170, 200))
        touch("touchMove", (220, 210))
        touch("touchEnd")
        turned = np.array(page.evaluate(view))
        assert np.allclose(turned[3:], before[3:]) and np.linalg.norm(turned[:3] - before[:3]) > 0.2
        touch("touchStart", (150, 200), (250, 200))
        touch("touchMove", (120, 200), (280, 200))
        touch("touchMove", (80, 200), (320, 200))
        touch("touchEnd")
        near = np.array(page.evaluate(view))
        assert np.linalg.norm(near[:3] - near[3:]) < 0.7 * np.linalg.norm(turned[:3] - turned[3:])
        page.get_by_role("tab", name="Layers").click()  # the open tab folds the sheet
        assert page.locator("#stage").bounding_box()["height"] > 700


def test_scale_up_and_origin_are_set_and_taken_back(chromium, tmp_path):
    root = house(tmp_path / "box", unit="unknown")
    with viewing(chromium, root) as page:
        ready(page)
        calm(page)
        page.locator("[data-view=top]").click()
        calm(page)
        page.get_by_role("tab", name="Measure").click()
        page.locator("[data-tool=scale]").click()
        click(page, [-0.5, 0, TOP], [0.5, 0, TOP])
        page.locator("#scale-length").fill("30")
        page.get_by_label("unit of the length").select_option("cm")
        shots(page, artefacts(tmp_path), "viewer-scale")
        page.get_by_role("button", name="Set scale").click()
        assert abs(until(page, "rilievoViewer.scene.saved.scale !== 1 && rilievoViewer.scene.saved.scale") - 30) < 0.3
        page.get_by_role("button", name="Take back scale").wait_for()
        page.locator("[data-tool=origin]").click()
        click(page, [0.5, 0.2, TOP])
        origin = until(page, "rilievoViewer.scene.saved.origin")
        assert np.abs(np.subtract(origin, [0.5, 0.2, TOP])).max() < 0.02
        page.locator("[data-tool=up]").click()
        click(page, [-0.5, -0.2, TOP], [0.5, -0.2, TOP], [0, 0.3, TOP])
        up = until(page, "rilievoViewer.scene.saved.up")
        assert up[2] > 0.999
        page.get_by_role("button", name="Take back scale").click()
        until(page, "rilievoViewer.scene.saved.scale === 1")
    assert "scale" not in json.loads((root / "project.json").read_text())["frame"]


def test_standing_in_a_photo_and_why_others_are_not_placed(chromium, tmp_path):
    root = house(tmp_path / "box", unplaced={"<b>far.jpg": "no verified matches"})  # whose file is gone
    with viewing(chromium, root, allow="Failed to load resource") as page:
        ready(page)
        calm(page)
        page.get_by_role("tab", name="Photos").click()
        page.get_by_role("button", name="stand in 0.jpg").click()
        calm(page)
        page.locator("#overlay").wait_for()
        assert page.evaluate("rilievoViewer.photos.at") == 0
        # What is seen where: the middle of the scene in the middle of the photo, whose camera looks there.
        frame = page.locator("#overlay").bounding_box()
        x, y = page.evaluate(SEE, [0, 0, 0])
        assert abs(x - frame["x"] - frame["width"] / 2) < 2 and abs(y - frame["y"] - frame["height"] / 2) < 2
        shots(page, artefacts(tmp_path), "viewer-photo")
        page.locator("#opacity").fill("0.2")
        until(page, "getComputedStyle(overlay).opacity === '0.2'")
        page.get_by_role("button", name="Depth").click()
        until(page, "overlay.complete && overlay.naturalWidth === 80")
        page.keyboard.press("n")
        until(page, "rilievoViewer.photos.at === 1")
        page.keyboard.press("Escape")
        page.locator("#photobar").wait_for(state="hidden")
        assert "<b>far.jpg" in page.locator(".unplaced").inner_text()
        page.get_by_role("button", name="why <b>far.jpg").click()
        page.locator(".why").wait_for()


def test_splats_without_a_gpu_two_houses_and_the_crop_box(chromium, tmp_path):
    one = house(tmp_path / "one", with_splats=True)
    models.write(tmp_path / "two.glb", box((1.0, 1.0, 1.0)))
    with viewing(chromium, one, tmp_path / "two.glb") as page:
        ready(page)
        calm(page)
        page.locator("[data-layer=mesh]").uncheck()
        page.locator("[data-layer=mesh-1]").uncheck()
        page.locator("[data-layer=splats]").check()
        until(page, "document.body.dataset.frames")
        calm(page)
        assert page.evaluate(LIT)[0] > 0.9
        corner = "rilievoViewer.stage.below()[0].canvas.getContext('2d').getImageData(3, 3, 1, 1).data[0]"
        assert page.evaluate(corner) < 40  # the viewer's background, not the splats' own white
        page.get_by_label("Background").select_option("White")
        until(page, f"{corner} > 250")
        page.get_by_label("Background").select_option("Dark")
        frames = int(page.evaluate("document.body.dataset.frames"))
        page.mouse.move(400, 400)
        page.mouse.down()
        page.mouse.move(500, 430, steps=5)
        page.mouse.up()
        until(page, f"Number(document.body.dataset.frames) > {frames}")
        page.locator("[data-layer=mesh]").check()
        page.locator("[data-layer=mesh-1]").check()
        page.locator("#compare-button").click()
        assert page.locator("#left-name").inner_text() == "one"
        page.locator("#divider").focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#divider").get_attribute("aria-valuenow") == "52"
        calm(page)
        shots(page, artefacts(tmp_path), "viewer-compare")
        page.locator("#compare-button").click()
        page.locator("[data-layer=splats]").uncheck()
        page.locator("#crop-on").check()
        full = page.evaluate(LIT)[0]
        page.get_by_label("crop from the left").fill("0.6")
        page.wait_for_timeout(200)
        assert page.evaluate(LIT)[0] < 0.8 * full


@pytest.mark.parametrize("engine", ["cpu", "gpu"])
def test_crop_and_section_cut_splats(chromium, tmp_path, engine):
    root = house(tmp_path / "box", with_splats=True)
    with viewing(chromium, root, query=f"?splats={engine}") as page:
        ready(page)
        calm(page)
        page.get_by_role("button", name="Top", exact=True).click()
        page.locator("[data-layer=mesh]").uncheck()
        page.locator("[data-layer=splats]").check()
        page.get_by_label("Grid").uncheck()
        page.get_by_label("Axes").uncheck()
        calm(page)
        # Gaussians are sorted by a worker, or drawn by the server: until the picture is there, and then rests.
        grey = f"(() => {{ {GREY} }})()"
        until(page, f"{grey} > 0.1", 40)
        page.wait_for_timeout(500)
        whole = page.evaluate(grey)
        page.locator("#crop-on").check()
        page.get_by_label("crop from the left").fill("0.5")
        until(page, f"{0.3 * whole} < {grey} && {grey} < {0.7 * whole}")
        page.get_by_label("crop from the left").fill("0")
        until(page, f"{grey} > {0.95 * whole}")


def test_empty_gone_and_without_webgl_are_said(chromium, tmp_path):
    (tmp_path / "empty").mkdir()
    with viewing(chromium, tmp_path / "empty", allow="Failed to load resource", growing=True) as page:
        page.get_by_text("There is nothing to see yet").wait_for()
        shots(page, artefacts(tmp_path), "viewer-empty")
        house(tmp_path / "empty", photos=False)  # a build goes on
        ready(page)
        calm(page)
        page.rilievo_server.close()
        page.get_by_text("rilievo does not answer").wait_for(timeout=15000)
        shots(page, artefacts(tmp_path), "viewer-gone")
    root = house(tmp_path / "box", with_splats=True)
    with viewing(chromium, root, allow="WebGL", before=NO_WEBGL) as page:
        page.get_by_text("This browser cannot draw 3D").wait_for()
        page.locator("[data-layer=splats]").check()
        until(page, "document.body.dataset.frames")
        page.locator("#message").wait_for(state="hidden")


@pytest.mark.parametrize("what", ["mesh", "splats"])
def test_a_shared_page_opens_from_disk_without_network(chromium, tmp_path, what):
    root = house(tmp_path / "ball", mesh=textured_sphere(60), with_splats=True)
    file = tmp_path / "page.html"
    assert main(["share", str(root), "-o", str(file), "--what", what]) == 0
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, offline=True)
    page = context.new_page()
    complaints = Complaints(page, "^$")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    ready(page)
    calm(page)
    until(page, f"({LIT})()[0] > 0.01")  # Gaussians are sorted by a worker
    if what == "mesh":
        assert page.evaluate(LIT)[1] > 200
    shots(page, artefacts(tmp_path), f"share-{what}")
    assert not complaints, complaints
    assert not [url for url in asked if not url.startswith(("file:", "blob:", "data:"))]
    context.close()
