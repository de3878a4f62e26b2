"""The studio in a real browser: photos in, model out, and every state of its pages, looked over at two sizes."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import Complaints, artefacts, browser, executable, shots
from known_lengths import known_lengths

PHOTOS = sorted((Path(__file__).parent.parent / "examples" / "capture" / "photos").glob("*.jpg"))
# The place of a point of the scene in the viewer's window.
SEE = """([x, y, z]) => {
  const { stage } = rilievoViewer, at = stage.see({ x, y, z }), box = stage.box.getBoundingClientRect();
  return [box.left + at.x, box.top + at.y];
}"""
EVIL = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser("--use-angle=swiftshader", "--enable-unsafe-swiftshader") as running:
        yield running


@contextlib.contextmanager
def serving(houses: Path, *options: str) -> Iterator[str]:
    """A running `rilievo serve`: the address that it prints."""
    executable()
    command = [sys.executable, "-m", "rilievo.cli", "serve", str(houses), "--port", "0", "--no-browser", *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as server:
        assert server.stdout is not None
        talk: list[str] = []
        found = None
        for line in server.stdout:
            talk.append(line)
            if found := re.search(r"http://127\.\S*", line):
                break
        assert found, "".join(talk)
        # Nobody may wait for a full pipe.
        drain = threading.Thread(target=lambda: talk.extend(server.stdout or ()), daemon=True)
        drain.start()
        try:
            yield found.group()
        finally:
            server.terminate()
            server.wait(20)
            drain.join(5)


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    """The studio of these tests."""
    with serving(tmp_path_factory.mktemp("houses")) as found:
        yield found


@pytest.fixture
def page(chromium, address) -> Iterator[Any]:
    """A page of the studio, at the gallery; the test fails when the page complains."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(10_000)
    opened = context.new_page()
    complaints = Complaints(opened)
    opened.goto(address)
    opened.wait_for_selector(".welcome, .card")
    yield opened
    context.close()
    assert not complaints, "\n".join(complaints)


def choose(page: Any, button: str, files: list[Path]) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=button, exact=True).click()
    chooser.value.set_files([str(path) for path in files])


def new_house(page: Any, title: str, files: list[Path]) -> None:
    """Makes a house in the browser and sends its photos; ends at its page of photos."""
    page.goto(page.url.split("#")[0] + "#/new")
    page.get_by_label("Name", exact=True).fill(title)
    choose(page, "Choose files", files)
    page.wait_for_selector(".house-head")


def small(folder: Path, names: list[str], size: tuple[int, int] = (300, 200)) -> list[Path]:
    """Sample photos made small, under other names."""
    made = []
    for source, name in zip(itertools.cycle(PHOTOS), names):
        with Image.open(source) as photo:
            photo.resize(size).save(folder / name, quality=85)
        made.append(folder / name)
    return made


def photos_arrive(page: Any, number: int) -> None:
    page.wait_for_function("n => document.querySelectorAll('.photo img').length === n", arg=number)
    page.wait_for_function("() => !document.querySelector('.sending-panel progress:not([hidden])')?.checkVisibility()")


def until(frame: Any, script: str, seconds: float = 20) -> Any:
    """Waits for the viewer's answer; its policy forbids wait_for_function."""
    end = time.monotonic() + seconds
    while not (told := frame.evaluate(script)):
        assert time.monotonic() < end, f"never true: {script}"
        time.sleep(0.05)
    return told


def measure(page: Any, keep: Path) -> None:
    """In the embedded viewer: one known length sets the scale, another is measured with it, within 1 %."""
    inside = page.frame_locator("iframe.viewer")
    inside.locator("body[data-ready]").wait_for(timeout=20_000)
    frame = next(frame for frame in page.frames if "/view/" in frame.url)
    calm = "!rilievoViewer.scene.busy && document.getElementById('state').hidden"
    until(frame, calm)
    shots(page, keep, "studio-view")

    scene = page.request.get(frame.url + "scene.json").json()
    name = next(photo["name"] for photo in scene["photos"] if photo["placed"])
    (scale_pair, scale_m), (pair, length_m) = known_lengths(scene, name)
    inside.get_by_role("tab", name="Photos").click()
    inside.get_by_role("button", name=f"stand in {name}").click()
    until(frame, calm)
    inside.get_by_role("tab", name="Measure").click()

    def click(points: np.ndarray) -> None:
        box = page.locator("iframe.viewer").bounding_box()
        for point in points:
            x, y = frame.evaluate(SEE, point.tolist())
            page.mouse.click(box["x"] + x, box["y"] + y)
            page.wait_for_timeout(100)

    inside.locator("[data-tool=scale]").click()
    click(scale_pair)
    inside.locator("#scale-length").fill(f"{scale_m:.4f}")
    inside.get_by_label("unit of the length").select_option("m")
    inside.get_by_role("button", name="Set scale").click()
    until(frame, "rilievoViewer.scene.saved.scale !== 1")
    inside.locator("[data-tool=distance]").click()
    click(pair)
    value = until(frame, "rilievoViewer.tools.list[0]?.value")
    assert abs(value - length_m) < 0.01 * length_m, (value, length_m)
    assert " m ±" in inside.locator(".measures .value").inner_text()
    shots(page, keep, "studio-measured")


def test_photos_become_a_model(page, tmp_path):
    """Upload, watch, look, download: the way through the studio."""
    keep = artefacts(tmp_path)
    assert page.get_by_text("Photos in, measured 3D out").is_visible()
    shots(page, keep, "studio-empty")
    page.goto(page.url.split("#")[0] + "#/new")
    shots(page, keep, "studio-new")
    photos = PHOTOS[::2]  # enough for a draft; all of them take twice as long
    new_house(page, "Urn in the garden", photos)
    photos_arrive(page, len(photos))
    shots(page, keep, "studio-photos")

    page.get_by_role("link", name="Choose what to make").click()
    page.get_by_role("radio", name="Draft").check()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.cost')].every((cost) => /about|seconds/.test(cost.textContent))"
    )
    shots(page, keep, "studio-make")
    page.get_by_role("button", name="Start").click()
    page.wait_for_selector(".stages .now")
    shots(page, keep, "studio-running")
    page.wait_for_selector(".preview iframe", timeout=120_000)
    page.frame_locator(".preview iframe").locator("body[data-ready]").wait_for(timeout=60_000)
    page.locator(".depths img").first.wait_for(timeout=60_000)
    shots(page, keep, "studio-preview")
    page.wait_for_function("() => document.querySelector('.house-head .state').textContent === 'done'", timeout=400_000)
    page.get_by_role("link", name="Look at it").click()
    measure(page, keep)

    page.get_by_role("link", name="Report", exact=True).click()
    page.wait_for_selector("iframe.report")
    page.frame_locator("iframe.report").get_by_text("photos placed").first.wait_for()
    shots(page, keep, "studio-report")
    page.get_by_role("link", name="Files", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("link", name="download model.glb").click()
    glb = Path(download.value.path()).read_bytes()
    assert download.value.suggested_filename == "model.glb"
    assert glb[:4] == b"glTF" and int.from_bytes(glb[8:12], "little") == len(glb) > 100_000
    shots(page, keep, "studio-files")
    page.get_by_role("link", name="Houses").click()
    page.get_by_text("Urn in the garden").wait_for()
    shots(page, keep, "studio-gallery")


def test_sending_goes_on_after_a_lost_connection_a_pause_and_a_reload(page, tmp_path):
    keep = artefacts(tmp_path)
    photos = PHOTOS[:6]
    page.route(
        "**/api/uploads/*", lambda route: route.abort() if route.request.method == "PATCH" else route.continue_()
    )
    new_house(page, "Interrupted", photos)
    page.wait_for_selector("#silence:not([hidden])")
    shots(page, keep, "studio-silence")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Go on").wait_for()
    shots(page, keep, "studio-paused")
    assert page.locator(".photo").count() == 0
    page.unroute("**/api/uploads/*")
    page.get_by_role("button", name="Go on").click()
    photos_arrive(page, len(photos))

    # A reload in mid-sending: the page goes on by itself with the files that it kept.
    page.route(
        "**/api/uploads/*", lambda route: route.abort() if route.request.method == "PATCH" else route.continue_()
    )
    choose(page, "Add files", PHOTOS[6:9])
    page.get_by_text("0 of 3 files").wait_for()
    page.wait_for_timeout(500)
    page.unroute("**/api/uploads/*")
    page.reload()
    photos_arrive(page, 9)
    page.wait_for_function("() => document.querySelector('#silence').hidden")


def test_folders_and_drops_keep_equal_names_apart(page, tmp_path):
    top = tmp_path / "walk"
    for folder in ("left", "right"):
        (top / folder).mkdir(parents=True)
        small(top / folder, ["IMG_1.jpg", "IMG_2.jpg"])
    (top / "notes.txt").write_text("not a photo")
    page.goto(page.url.split("#")[0] + "#/new")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(str(top))
    photos_arrive(page, 4)
    assert page.get_by_label("name of the house").input_value() == "walk"
    names = page.locator(".photo .name").all_inner_texts()
    assert names == ["left-IMG_1.jpg", "left-IMG_2.jpg", "right-IMG_1.jpg", "right-IMG_2.jpg"]
    page.get_by_text("1 file left out: neither photo nor video").wait_for()

    [photo] = small(tmp_path, ["dropped.jpg"])
    page.evaluate(
        """async (numbers) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(numbers)], "dropped.jpg", { type: "image/jpeg" }));
          const target = document.querySelector(".photos");
          for (const kind of ["dragenter", "dragover", "drop"])
            target.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        list(photo.read_bytes()),
    )
    photos_arrive(page, 5)


def test_the_page_takes_every_kind_of_file_that_rilievo_reads():
    from rilievo import io
    from rilievo.io import pixels

    script = (Path(io.__file__).parent.parent / "web" / "studio" / "files.js").read_text(encoding="utf-8")
    endings = set(re.findall(r"\w+", " ".join(re.findall(r'"([^"]*)"\s*\)?\.split', script))))
    assert endings == {suffix.lstrip(".") for suffix in pixels.PHOTO_SUFFIXES | pixels.VIDEO_SUFFIXES}
    assert '"zip"' in script


def test_names_are_text_and_wrong_files_are_told(page, tmp_path):
    keep = artefacts(tmp_path)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture" * 100)
    new_house(
        page,
        "<script>alert(1)</script> & a name that is so long that it fits no bar",
        [*small(tmp_path, [EVIL, "a.jpg"]), broken],
    )
    photos_arrive(page, 2)
    page.locator(".problems li").wait_for()
    told = page.locator(".problems li").inner_text()
    assert "broken.jpg" in told and len(told) > 30
    shots(page, keep, "studio-wrong-file")
    page.get_by_role("button", name="Dismiss").click()
    page.locator(".sending-panel").wait_for(state="hidden")
    assert page.locator("img[src='x']").count() == 0

    # A photo is deleted after a question.
    page.locator(".photo").first.hover()
    page.locator(".photo button").first.click()
    page.get_by_role("dialog").wait_for()
    shots(page, keep, "studio-question")
    page.keyboard.press("Escape")
    assert page.locator(".photo").count() == 2
    page.locator(".photo").first.hover()
    page.locator(".photo button").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_function("() => document.querySelectorAll('.photo').length === 1")
    page.goto(page.url.split("#")[0] + "#/")
    page.locator(".card").first.wait_for()
    shots(page, keep, "studio-long-names")


def test_a_job_that_cannot_be_done_says_what_why_and_what_to_do(page, tmp_path):
    keep = artefacts(tmp_path)
    plain = []
    for i in range(3):
        plain.append(tmp_path / f"plain{i}.jpg")
        Image.new("RGB", (320, 240), (90 + 40 * i, 120, 90)).save(plain[-1])
    new_house(page, "Nothing to see", plain)
    photos_arrive(page, 3)
    page.get_by_role("link", name="Make", exact=True).click()
    page.get_by_role("radio", name="Draft").check()
    page.get_by_role("button", name="Start").click()
    box = page.locator(".job .trouble")
    box.wait_for(timeout=60_000)
    assert "Why:" in box.inner_text() and "What to do:" in box.inner_text()
    assert page.get_by_role("button", name="Try again").is_visible()
    shots(page, keep, "studio-failed")


def test_queue_cancel_go_on_and_delete(page, tmp_path):
    keep = artefacts(tmp_path)
    files = small(tmp_path, [f"p{i}.jpg" for i in range(8)], (900, 600))
    for title in ("First in the queue", "Second in the queue"):
        new_house(page, title, files)
        photos_arrive(page, len(files))
        page.get_by_role("link", name="Make", exact=True).click()
        page.get_by_role("button", name="Start").click()
        page.get_by_role("button", name="Cancel").wait_for()
    shots(page, keep, "studio-waiting")
    page.get_by_role("link", name="Queue").click()
    page.locator(".jobs").first.get_by_text("Second in the queue").wait_for()
    shots(page, keep, "studio-queue")
    for title in ("Second in the queue", "First in the queue"):
        page.get_by_role("button", name=f"cancel {title}").click()
        page.get_by_role("dialog").get_by_role("button", name="Cancel it").click()
        row = page.locator(".jobs li").filter(has_text=title)
        row.get_by_text("cancelled", exact=True).wait_for()
    page.get_by_role("link", name="First in the queue").click()
    page.get_by_role("button", name="Go on").wait_for()
    shots(page, keep, "studio-cancelled")
    page.get_by_role("button", name="Go on").click()
    page.locator(".job").get_by_role("button", name="Cancel").wait_for()

    # Deleting a house that is being made, with the keyboard alone.
    page.locator(".house-head button").focus()
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Keep"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.hash === '#/'")
    page.locator(".card").first.wait_for()
    page.get_by_text("First in the queue").wait_for(state="detached")


def test_the_keyboard_reaches_everything(page):
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.goto(page.url.split("#")[0] + "#/new")
    page.get_by_label("Name", exact=True).focus()
    seen = []
    for _ in range(5):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert seen[:3] == ["Choose files", "Choose a folder", "Make it without photos for now"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a second address of its own")
def test_a_phone_sends_its_pictures(chromium, tmp_path):
    keep = artefacts(tmp_path)
    with serving(tmp_path / "houses", "--host", "127.0.0.2") as address:
        context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
        context.set_default_timeout(10_000)
        page = context.new_page()
        complaints = Complaints(page)
        page.goto(address.replace("/?", "/capture?"))
        page.get_by_label("A new house").fill("From the phone")
        shots(page, keep, "capture-start")
        page.get_by_role("button", name="Start").tap()
        photos = small(tmp_path, ["image.jpg", "IMG_7.jpg"], (900, 600))
        choose(page, "Take a photo", photos[:1])
        photos_arrive(page, 1)
        choose(page, "Take a photo", photos[:1])  # of the same name, as phones give it
        choose(page, "From the album", photos[1:])
        photos_arrive(page, 3)
        page.get_by_text("3 photos in the house").wait_for()
        shots(page, keep, "capture-photos")
        page.reload()
        photos_arrive(page, 3)
        page.get_by_role("link", name="Done: choose what to make").tap()
        page.get_by_role("button", name="Start").wait_for()
        assert not complaints, complaints
        context.close()
