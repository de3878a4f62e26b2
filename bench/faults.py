"""What single bad photos do to a result: `python bench/faults.py [FAULT...]`.

    FAULT           faults to try (default: all; `--list` shows them), always beside the capture as it is
    --capture DIR   folder with photos/ and truth/ (default: the sample capture)
    --photos N      only the first N photos (0: all)
    --quality Q     draft (default), normal or high
    --work DIR      where captures and projects are written (default: a new temporary folder)
    --json FILE     writes the figures there too

A row a fault: photos placed, error of the camera centres, F1 of cloud and mesh at 2 and 5 gsd against the truth, the
capture as it is first; then what the report says about the photos that were touched.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src"), str(ROOT / "bench")]


@dataclass
class Item:
    """One photo of a capture: pixels uint8 (h, w, 3), the file's EXIF, and which file it was."""

    name: str
    pixels: np.ndarray
    exif: bytes
    quality: int = 92
    source: Path | None = None


Change = Callable[[list[Item]], list[str]]


def read_items(folder: Path, num: int = 0) -> list[Item]:
    """The photos of a folder, in order."""
    from PIL import Image

    items = []
    for path in sorted(folder.glob("*.jpg"))[: num or None]:
        with Image.open(path) as image:
            items.append(Item(path.name, np.asarray(image.convert("RGB")), image.info.get("exif", b""), source=path))
    return items


def write_items(items: list[Item], folder: Path) -> None:
    """JPEG files; photos that nothing touched are copied byte for byte."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for item in items:
        if item.source is not None:
            shutil.copyfile(item.source, folder / item.name)
        else:
            Image.fromarray(item.pixels).save(folder / item.name, quality=item.quality, exif=item.exif)


def _touch(item: Item, pixels: np.ndarray) -> str:
    item.pixels, item.source = np.ascontiguousarray(pixels), None
    return item.name


def _relight(pixels: np.ndarray, gain: list[float] | float) -> np.ndarray:
    """Multiplies the light, not the bytes; what is too light is cut off."""
    light = (pixels / 255.0) ** 2.2 * np.array(gain)
    return np.rint(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def exposure(items: list[Item]) -> list[str]:
    """every third photo 1.5 EV lighter or darker, one warm and one cold"""
    touched = []
    for k, item in enumerate(items[1::3]):
        touched.append(_touch(item, _relight(item.pixels, 2.0 ** (1.5 if k % 2 else -1.5))))
    touched.append(_touch(items[2], _relight(items[2].pixels, [1.35, 1.0, 0.70])))
    touched.append(_touch(items[5], _relight(items[5].pixels, [0.72, 1.0, 1.35])))
    return touched


def mirrored(items: list[Item]) -> list[str]:
    """one photo mirrored, left and right swapped"""
    return [_touch(items[3], items[3].pixels[:, ::-1])]


def turned(items: list[Item]) -> list[str]:
    """one photo turned by 90 degrees without a word in EXIF"""
    return [_touch(items[3], np.rot90(items[3].pixels))]


def focal(items: list[Item]) -> list[str]:
    """one photo whose EXIF says twice the focal length"""
    return [_wrong_focal(items[3], 2.0)]


def focal_all(items: list[Item]) -> list[str]:
    """all photos with twice the focal length in EXIF"""
    return [_wrong_focal(item, 2.0) for item in items]


def _wrong_focal(item: Item, factor: float) -> str:
    from PIL import Image

    exif = Image.Exif()
    exif.load(item.exif)
    sub = exif.get_ifd(0x8769)
    if 0x920A in sub:
        sub[0x920A] = float(sub[0x920A]) * factor
    if 0xA405 in sub:
        sub[0xA405] = round(sub[0xA405] * factor)
    item.exif = exif.tobytes()
    return _touch(item, item.pixels)


def blurred(items: list[Item]) -> list[str]:
    """three photos of ten blurred: out of focus by 3 to 5 px, or shaken over 14 px"""
    import cv2

    touched = []
    for k, item in enumerate(items[1::10] + items[4::10] + items[8::10]):
        if k % 3 == 2:
            kernel = np.zeros((15, 15), np.float32)
            cv2.line(kernel, (0, 5), (14, 9), 1.0)
            pixels = cv2.filter2D(item.pixels, -1, kernel / kernel.sum())
        else:
            pixels = cv2.GaussianBlur(item.pixels, (0, 0), 3.0 + k % 3 * 2.0)
        touched.append(_touch(item, pixels))
    return sorted(touched)


def unrelated(items: list[Item]) -> list[str]:
    """one photo of something else among them"""
    import cv2

    import scene_textures

    h, w = items[0].pixels.shape[:2]
    cloth = scene_textures.cloth(np.random.default_rng(9), 1024)
    pixels = np.rint(255 * cv2.resize(cloth, (w, w))[:h] ** (1 / 2.2)).astype(np.uint8)
    items.append(Item("OTHER_0001.jpg", pixels, items[0].exif))
    return ["OTHER_0001.jpg"]


def dark(items: list[Item]) -> list[str]:
    """one photo nearly black"""
    rng = np.random.default_rng(0)
    black = _relight(items[3].pixels, 0.002).astype(float) + rng.normal(0, 1.0, items[3].pixels.shape)
    return [_touch(items[3], np.clip(np.rint(black), 0, 255).astype(np.uint8))]


def duplicates(items: list[Item]) -> list[str]:
    """two photos twice, byte for byte, and two more saved again"""
    for k in (1, 4):
        items.append(Item(f"COPY_{k}.jpg", items[k].pixels, items[k].exif, source=items[k].source))
    for k in (2, 5):
        items.append(Item(f"AGAIN_{k}.jpg", items[k].pixels, items[k].exif, quality=70))
    return ["COPY_1.jpg", "COPY_4.jpg", "AGAIN_2.jpg", "AGAIN_5.jpg"]


# name -> what it does to the photos (in place), giving the names of those it touched
FAULTS: dict[str, Change] = {
    "exposure": exposure,
    "mirrored": mirrored,
    "turned": turned,
    "focal": focal,
    "focal_all": focal_all,
    "blurred": blurred,
    "unrelated": unrelated,
    "dark": dark,
    "duplicates": duplicates,
}


def measure(house: Path, photos: Path, truth: Path, quality: str, threads: int) -> tuple[dict, dict]:
    """Builds and evaluates: (report, figures). Raises RuntimeError where a verb fails."""
    import suite

    log = house.parent / f"{house.name}.log"
    status, _, usage = suite.run(
        ["build", str(photos), "-o", str(house), "--quality", quality, "--threads", str(threads), "--quiet"], log
    )
    if status:
        raise RuntimeError(log.read_text()[-800:])
    report = json.loads((house / "export" / "report.json").read_text())
    status, text, _ = suite.run(["evaluate", str(house), "--truth", str(truth), "--json"], log)
    if status:
        raise RuntimeError(log.read_text()[-800:])
    scores = json.loads(text)
    figures = {
        "placed": report["photos"]["placed"],
        "total": report["photos"]["total"],
        "center_rmse_gsd": suite.find(scores, "cameras", "center_rmse_gsd"),
        "cloud_f1_2gsd": suite.find(scores, "cloud", "f1", 1),
        "cloud_f1_5gsd": suite.find(scores, "cloud", "f1", 2),
        "mesh_f1_2gsd": suite.find(scores, "mesh", "f1", 1),
        "mesh_f1_5gsd": suite.find(scores, "mesh", "f1", 2),
        "cpu": usage["cpu"],
    }
    return report, figures


def said(report: dict, names: list[str]) -> list[str]:
    """What the report says of these photos."""
    lines = []
    for row in [*report["photos"]["list"], *report["photos"]["rejected"]]:
        if row["name"] in names:
            state = "placed" if row.get("placed") else f"not placed: {row['reason']}"
            lines.append("; ".join([f"{row['name']} {state}", *(f["text"] for f in row.get("faults", []))]))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="FAULT")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--capture", type=Path, default=ROOT / "examples" / "capture")
    parser.add_argument("--photos", type=int, default=0)
    parser.add_argument("--quality", default="draft", choices=["draft", "normal", "high"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.list:
        for name, change in FAULTS.items():
            print(f"{name:<12}{change.__doc__}")
        return 0
    if unknown := set(options.names) - set(FAULTS):
        parser.error(f"no fault {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")
    keys = ("center_rmse_gsd", "cloud_f1_2gsd", "cloud_f1_5gsd", "mesh_f1_2gsd", "mesh_f1_5gsd")
    print(f"{'':<12}{'placed':>9}{'centres':>10}{'cloud 2':>10}{'cloud 5':>10}{'mesh 2':>10}{'mesh 5':>10}", flush=True)
    results, failed = {}, 0
    with tempfile.TemporaryDirectory(prefix="rilievo-faults-") as temporary:
        work = options.work or Path(temporary)
        for name in ("clean", *(options.names or FAULTS)):
            items = read_items(options.capture / "photos", options.photos)
            touched = FAULTS[name](items) if name in FAULTS else []
            photos = work / name / "photos"
            shutil.rmtree(work / name, ignore_errors=True)
            write_items(items, photos)
            try:
                report, figures = measure(
                    work / name / "house", photos, options.capture / "truth", options.quality, options.threads
                )
            except RuntimeError as error:
                print(f"{name:<12}FAILED: {error}", flush=True)
                failed += 1
                continue
            shown = "".join(f"{figures[k]:>10.3f}" if figures[k] is not None else f"{'-':>10}" for k in keys)
            print(f"{name:<12}{figures['placed']:>5}/{figures['total']:<3}{shown}", flush=True)
            for line in said(report, touched)[:8]:
                print(f"    {line}", flush=True)
            for warning in report["warnings"]:
                print(f"    warning: {warning}", flush=True)
            results[name] = {**figures, "said": said(report, touched), "warnings": report["warnings"]}
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
