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

# What a person would see at once: a page wider than the window, controls that are cut off or lie over each other.
_LAYOUT = """() => {
  const found = [], wide = document.documentElement.scrollWidth - window.innerWidth;
  if (wide > 0) found.push(`the page is ${wide} px wider than the window`);
  const dialog = document.querySelector("dialog[open]");
  const name = (node) => `${node.tagName.toLowerCase()} “${(node.getAttribute("aria-label") || node.textContent || node.id).trim().slice(0, 40)}”`;
  const CONTROL = "a, button, input, select, summary, textarea", root = dialog ?? document.body;
  const words = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  const shown = [...root.querySelectorAll("*")].filter((node) => (node.matches(CONTROL) || words(node))
    && !node.matches("option, script, noscript") && node.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    && !node.closest(".unseen, .skip, #notices, pre"));
  const boxes = shown.map((node) => {
    const own = node.getBoundingClientRect();
    if (node.matches(CONTROL)) return own;
    const range = document.createRange();
    range.selectNodeContents(node);
    const text = range.getBoundingClientRect();  // of the words alone; what an ellipsis hides does not count
    const side = (name, which) => (getComputedStyle(node).overflow === "visible" ? text[name] : which(text[name], own[name]));
    return { left: side("left", Math.max), right: side("right", Math.min), top: side("top", Math.max), bottom: side("bottom", Math.min) };
  });
  shown.forEach((node, i) => {
    const a = boxes[i], scrolls = node.closest("nav, ul.problems");
    if (a.right - a.left < 1 || a.bottom - a.top < 1) return;
    if ((a.left < -1 || a.right > window.innerWidth + 1) && !scrolls) found.push(`${name(node)} is cut off`);
    if (node.matches("button, .button") && node.scrollWidth > node.clientWidth + 1) found.push(`the words of ${name(node)} do not fit`);
    for (let j = i + 1; j < shown.length; j += 1) {
      const b = boxes[j], other = shown[j];
      const over = Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
      if (over && !node.contains(other) && !other.contains(node)) found.push(`${name(node)} lies over ${name(other)}`);
    }
  });
  return found;
}"""
# Controls that a screen reader could not name.
_NAMELESS = """() => [...document.querySelectorAll("a, button, input, select, iframe, progress, img")].filter((node) =>
  node.checkVisibility() && !(node.getAttribute("aria-label") || node.getAttribute("title") || node.getAttribute("alt") !== null
    || node.labels?.length || (node.matches("a, button") && node.textContent.trim()))).map((node) => node.outerHTML.slice(0, 120))"""


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
    found += [f"{name}: no name: {problem}" for problem in page.evaluate(_NAMELESS)]
    width, height = SIZES["desktop"]
    page.set_viewport_size({"width": width, "height": height})
    assert not found, "\n".join(found)
