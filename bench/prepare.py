"""What `rilievo prepare` gains, on photos whose truth is known: restoration, enlarging, blur, noise, cut-outs.

    python bench/prepare.py [PART...] [--photos DIR] [--data DIR] [--mattes DIR] [--model NAME...] [--json]

PART: enlarge, restore, deblur, denoise, frames, cutout, segment (default: all but what lacks its data or weights).
--photos: folder of sharp photos, taken as truth (default: the project's own pictures, and those of $RILIEVO_DATA, else
../shared/data beside the repository, averaged down four times).  --model: networks to compare (fetched before with
`rilievo weights get NAME`; default: all that are here).

enlarge   averaged down twice, then JPEG of quality 95 to 30 (and none); PSNR and SSIM of each model minus those of
          bicubic, mean and worst; `auto` is the product's default and must never be below bicubic
restore   JPEG of quality 85, 60, 45 and 30; gain over the file as it is
deblur    motion of 3 to 8 px at several angles and defocus, noise of one grey level; gain, length found, refusals
denoise   Gaussian noise of 2, 5 and 10 grey levels; gain, and what a clean photo loses
frames    five photos turned and shifted by fractions of a pixel, averaged down twice; gain over bicubic
cutout    objects of the scene generator on a plain and a printed turntable: IoU of the difference from the empty one
segment   the learned segmenter on real photos with known outlines: DIR/NAME.png (or .jpg) and NAME_alpha.png (255 the
          thing, 128 not told) with --mattes DIR, made from packages by bench/mattes.py, which says where each is from
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

import prepare_scenes as scenes  # noqa: E402
from rilievo import weights  # noqa: E402
from rilievo.evaluate.images import psnr, ssim  # noqa: E402
from rilievo.io.blur import measure_blur  # noqa: E402
from rilievo.io.photo_copies import jpeg_tables  # noqa: E402
from rilievo.stages import blur_shapes, cutout, deblur, noise, restore, upscale_frames  # noqa: E402
from rilievo.stages.tiles import narrowed, widened  # noqa: E402
from rilievo.stages.upscale import upscale  # noqa: E402
from rilievo.stages.upscale_network import open_upscaler, upscale_by_network  # noqa: E402
from rilievo.types import Camera  # noqa: E402

SETS = {"sceaux_castle": 4, "fountain_P11": 4, "banana": 4, "idol": 2, "lund_door": 3}
ROWS = {"span": "span-x2", "realesrgan-x2": "realesrgan-x2", "realesrgan-x4plus": "realesrgan-x4plus"}


def rgb(path: Path) -> np.ndarray:
    """uint8 (h, w, 3)."""
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])


def down(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Averaged down."""
    h, w = (n // factor * factor for n in pixels.shape[:2])
    return cv2.resize(pixels[:h, :w], (w // factor, h // factor), interpolation=cv2.INTER_AREA)


def truths(photos: Path | None, data: Path) -> dict[str, np.ndarray]:
    """Sharp photos by name, at most 800 px."""
    if photos is not None:
        found = sorted(p for p in photos.iterdir() if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
        return {p.stem: rgb(p)[:800, :800] for p in found}
    out = {f"drawn {k}": scenes.photo(k) for k in range(2)}
    for name, factor in SETS.items():
        files = sorted(f for f in (data / name).rglob("*") if f.suffix.lower() in (".jpg", ".png", ".jpeg"))
        if files:
            out[name] = down(rgb(files[min(1, len(files) - 1)]), factor)[:600, :800]
    return out


def even(pixels: np.ndarray) -> np.ndarray:
    """Sides that are multiples of 4."""
    return pixels[: pixels.shape[0] // 4 * 4, : pixels.shape[1] // 4 * 4]


def damaged(pixels: np.ndarray, quality: int | None) -> tuple[np.ndarray, list[np.ndarray]]:
    """(uint16 after JPEG, its tables)."""
    if quality is None:
        return widened(pixels), []
    data = scenes.jpeg(pixels, quality)
    return widened(np.ascontiguousarray(cv2.imdecode(np.frombuffer(data, np.uint8), 1)[..., ::-1])), jpeg_tables(data)


def summarised(gains: list[tuple[float, float]]) -> dict[str, float]:
    """Mean and worst of (dB, SSIM)."""
    a = np.array(gains)
    values = {"psnr": a[:, 0].mean(), "psnr_worst": a[:, 0].min(), "ssim": a[:, 1].mean(), "ssim_worst": a[:, 1].min()}
    return {k: round(float(v), 4) for k, v in values.items()}


def enlarge(photos: dict[str, np.ndarray], models: list[str]) -> dict[str, Any]:
    """{quality: {model: gain over bicubic}}."""
    opened = {m: open_upscaler(m, 2, threads=os.cpu_count() or 1) for m in models}
    result: dict[str, Any] = {}
    for quality in (None, 95, 60, 45, 30):
        rows: dict[str, list[tuple[float, float]]] = {}
        for photo in photos.values():
            truth = even(photo)
            small, tables = damaged(down(truth, 2), quality)
            mended = restore.restore_jpeg(small, tables) if tables else small
            made = {
                "bicubic": upscale(small, 2, kind="bicubic", back_project=False),
                "lanczos": upscale(small, 2, back_project=False),
                "auto": upscale(mended, 2),
            }
            for name, network in opened.items():
                given = mended if name == "span" else small
                made[name] = upscale_by_network(given, 2, network, threads=os.cpu_count() or 1)
            scores = {n: (psnr(narrowed(p), truth), ssim(narrowed(p), truth)) for n, p in made.items()}
            for name, (a, b) in scores.items():
                rows.setdefault(name, []).append((a - scores["bicubic"][0], b - scores["bicubic"][1]))
        result[f"quality {quality}" if quality else "clean"] = {n: summarised(g) for n, g in rows.items()}
    return result


def restored(photos: dict[str, np.ndarray]) -> dict[str, Any]:
    """{quality: gain}."""
    result = {}
    for quality in (85, 60, 45, 30):
        gains = []
        for truth in photos.values():
            given, tables = damaged(truth, quality)
            out, before = narrowed(restore.restore_jpeg(given, tables)), narrowed(given)
            gains.append((psnr(out, truth) - psnr(before, truth), ssim(out, truth) - ssim(before, truth)))
        result[f"quality {quality}"] = summarised(gains)
    return result


def deblurred(photos: dict[str, np.ndarray]) -> dict[str, Any]:
    """{blur: gain where it was taken out, length found over true length, how many were left}."""
    inner = np.s_[24:-24, 24:-24]
    result = {}
    kernels = {
        f"motion {n:g} px": blur_shapes.line_kernel(n, a) for n, a in ((3, 20), (4, 75), (5, 70), (6, 110), (8, 140))
    }
    kernels["defocus 5 px"] = blur_shapes.disc_kernel(2.5)
    for name, kernel in kernels.items():
        gains, ratios, left = [], [], 0
        for truth in photos.values():
            soft = cv2.filter2D(truth.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT)
            given = scenes.noisy(soft, 1.0)
            found = deblur.estimate_blur(widened(given), measure_blur(given))
            if not found.usable:
                left += 1
                continue
            out = narrowed(deblur.deconvolve(widened(given), found, threads=os.cpu_count() or 1))
            gains.append(psnr(out[inner], truth[inner]) - psnr(given[inner], truth[inner]))
            ratios.append(found.length_px / float(name.split()[1]))
        result[name] = {
            "gain_db": round(float(np.mean(gains)), 2) if gains else None,
            "worst_db": round(min(gains), 2) if gains else None,
            "length_ratio": round(float(np.median(ratios)), 3) if ratios else None,
            "left": left,
            "of": len(photos),
        }
    return result


def denoised(photos: dict[str, np.ndarray]) -> dict[str, Any]:
    """{sigma: gain}, and the PSNR of clean photos after denoising."""
    result: dict[str, Any] = {}
    for sigma in (2, 5, 10):
        gains = []
        for truth in photos.values():
            given = scenes.noisy(truth, sigma)
            out = narrowed(noise.denoise(widened(given), noise.measure_noise(given)))
            gains.append((psnr(out, truth) - psnr(given, truth), ssim(out, truth) - ssim(given, truth)))
        result[f"sigma {sigma}"] = summarised(gains)
    kept = [psnr(narrowed(noise.denoise(widened(t), noise.measure_noise(t))), t) for t in photos.values()]
    result["clean photos keep, dB"] = round(float(min(kept)), 2)
    return result


def fused(photos: dict[str, np.ndarray]) -> dict[str, Any]:
    """Gain of five photos over one, enlarged twice by bicubic interpolation."""
    gains, inner = [], np.s_[24:-24, 24:-24]
    for photo in photos.values():
        truth = even(photo)
        h, w = truth.shape[:2]
        rng = np.random.default_rng(0)
        frames = []
        for k in range(5):
            turn = cv2.getRotationMatrix2D((w / 2, h / 2), rng.normal() * (k > 0), 1.0)
            turn[:, 2] += rng.uniform(-4, 4, 2) * (k > 0)
            moved = cv2.warpAffine(truth, turn, (w, h), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
            frames.append(widened(scenes.noisy(down(moved, 2), 1.0, k)))
        found = upscale_frames.fuse_frames(frames[0], frames[1:], 2)
        plain = narrowed(upscale(frames[0], 2, kind="bicubic", back_project=False))
        out = plain if found is None else narrowed(found.pixels)
        gains.append((psnr(out[inner], truth[inner]) - psnr(plain[inner], truth[inner]),
                      ssim(out[inner], truth[inner]) - ssim(plain[inner], truth[inner])))  # fmt: skip
    return summarised(gains)


def cut_out() -> dict[str, Any]:
    """IoU of the difference from the empty turntable."""
    camera = Camera("OPENCV", 800, 600, np.array([860.0, 860.0, 406.0, 295.0, -0.05, 0.01, 0.0, 0.0]))
    result = {}
    cases = [(f"{w}, {kind} table", w, seed, kind == "plain")
             for w, seed in (("blocks", 0), ("blocks", 5), ("urn", 2)) for kind in ("plain", "printed")]  # fmt: skip
    for name, what, seed, plain in cases:
        name += f" ({seed})"
        found = []
        for photo, empty, true in scenes.turntable(4, name=what, seed=seed, plain=plain, camera=camera):
            mask = cutout.by_difference(photo, empty)
            found.append(0.0 if mask is None else scenes.iou(mask.mask > 127, true))
        result[name] = {"iou": round(float(np.mean(found)), 4), "worst": round(min(found), 4)}
    return result


def segmented(folder: Path) -> dict[str, Any]:
    """{photo: IoU} of the learned segmenter; the mean over subjects (views of one thing count once), crowds apart."""
    from rilievo.stages.foreground import foreground, open_foreground

    network = open_foreground(threads=1)
    result: dict[str, Any] = {}
    subjects: dict[str, list[float]] = {}
    for matte in sorted(folder.glob("*_alpha.png")):
        stem = matte.name.removesuffix("_alpha.png")
        photo = next(folder / f"{stem}{s}" for s in (".png", ".jpg") if (folder / f"{stem}{s}").is_file())
        told = cv2.imread(str(matte), cv2.IMREAD_GRAYSCALE)
        known = (told < 64) | (told > 191)
        value = scenes.iou((foreground(rgb(photo), network) > 0.5)[known], told[known] > 127)
        subjects.setdefault(stem.rstrip("0123456789"), []).append(value)
        result[stem] = round(value, 4)
    for name, wanted in (("mean of subjects", False), ("mean of crowds", True)):
        means = [float(np.mean(v)) for k, v in subjects.items() if k.startswith("crowd_") == wanted]
        if means:
            result[name] = round(float(np.mean(means)), 4)
    return result


def main() -> int:
    """Runs the parts asked for and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--photos", type=Path, metavar="DIR")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("RILIEVO_DATA") or ROOT.parent / "shared/data"), metavar="DIR"
    )
    parser.add_argument("--mattes", type=Path, metavar="DIR")
    parser.add_argument("--model", nargs="*", choices=ROWS, metavar="NAME")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    photos = truths(options.photos, options.data)
    here = [m for m in ROWS if weights.available(ROWS[m]) and m != "realesrgan-x4plus"]
    models = here if options.model is None else options.model
    jobs: dict[str, Callable[[], dict[str, Any]]] = {
        "enlarge": lambda: enlarge(photos, models),
        "restore": lambda: restored(photos),
        "deblur": lambda: deblurred(photos),
        "denoise": lambda: denoised(photos),
        "frames": lambda: fused(photos),
        "cutout": cut_out,
    }
    mattes = options.mattes or options.data / "mattes"
    if weights.available("isnet") and mattes.is_dir():
        jobs["segment"] = lambda: segmented(mattes)
    if unknown := set(options.parts) - set(jobs):
        parser.error(f"unknown or not possible here: {', '.join(sorted(unknown))}; there are {', '.join(jobs)}")
    result = {}
    for part in options.parts or jobs:
        result[part] = jobs[part]()
        if not options.json:
            print(f"{part} ({len(photos)} photos)" if part not in ("cutout", "segment") else part)
            for name, value in result[part].items():
                print(f"  {name:<18}{value}" if not isinstance(value, dict) else f"  {name}")
                if isinstance(value, dict):
                    for k, v in value.items():
                        print(f"    {k:<18}{v}")
            sys.stdout.flush()
    if options.json:
        print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
