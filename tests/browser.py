"""A real browser for tests: Debian's Chromium, no download; screenshots at two sizes, each looked over for layout."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SIZES = {"desktop": (1280, 800), "phone": (390, 844)}

_LAYOUT = (Path(__file__).parent / "layout.js").read_text(encoding="utf-8")


def executable() -> str:
    """Chromium of this machine. Skips the test where there is none."""
    found = os.environ.get("RILIEVO_CHROMIUM") or shutil.which("chromium")
    if not found:
        pytest.skip("no chromium on this machine: apt-get install chromium (tools/setup.sh does it)")
    return found


@contextlib.contextmanager
def browser(*arguments: str) -> Iterator[Any]:
    """A running Chromium without a window."""
    path = executable()
    playwright = pytest.importorskip("playwright.sync_api", reason="the Playwright wheel is not installed")
    with playwright.sync_playwright() as p:
        running = p.chromium.launch(executable_path=path, args=["--no-sandbox", *arguments])
        try:
            yield running
        finally:
            running.close()


class Complaints(list[str]):
    """What a page says on its console as an error, what it throws, which dialogs it opens. allow: what is expected."""

    def __init__(self, page: Any, allow: str = r"Failed to load resource") -> None:
        super().__init__()
        expected = re.compile(allow)
        self.add = lambda text: None if expected.search(text) else self.append(text)
        page.on("console", lambda message: message.type == "error" and self.add(message.text))
        page.on("pageerror", lambda error: self.add(str(error)))
        page.on("dialog", lambda dialog: (self.add(f"dialog: {dialog.message}"), dialog.dismiss()))


def artefacts(tmp_path: Path) -> Path:
    """Where screenshots are kept: $RILIEVO_ARTEFACTS, or the test's own folder."""
    folder = Path(os.environ.get("RILIEVO_ARTEFACTS") or tmp_path / "artefacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def shots(page: Any, folder: Path, name: str) -> None:
    """Screenshots NAME-desktop.png and NAME-phone.png; fails where something is cut off, covered or has no name."""
    found = []
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(120)
        page.screenshot(path=str(folder / f"{name}-{size}.png"))
        found += [f"{name} at {width} x {height}: {problem}" for problem in page.evaluate(_LAYOUT)]
    width, height = SIZES["desktop"]
    page.set_viewport_size({"width": width, "height": height})
    assert not found, "\n".join(found)
