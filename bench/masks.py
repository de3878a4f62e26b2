"""Masks measured on generated rooms with exact masks: `python bench/masks.py [CASE...] [--quality Q] [--json]`.

    room      a furnished room with a mirror and a glazed cabinet; somebody walks through while it is photographed
    bare      a room with next to nothing to match; somebody keeps in step with the camera (weights nanodet and isnet)
    reflections   rooms with mirrors, panes, doorways or none of these: `mirror` and `glass` alone
    hall, companion, studio, street, cart
              places where people or a cart move (tests/scene_moving.py); masks `moving` only; settings were chosen on
              room, bare, hall and studio
    objects   single generated things before busy backgrounds: the learned background segmenter (weights isnet)

Printed for places: intersection over union of the masks `moving` (with `people`) and `mirror` over all photos, then
camera error, F1 of cloud and mesh without masks, with these masks and with the true ones. CASE:SEED is the same place
with other textures and another walk; --alone leaves `people` out. All is made in build/masks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "masks"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]


def capture(case: str) -> Path:
    """The photos of a room, rendered when older code made them."""
    import scene_moving
    import scene_room

    name, _, seed = case.partition(":")
    digest = hashlib.sha256()
    for path in sorted((ROOT / "tests").glob("scene*.py")):
        digest.update(path.read_bytes())
    folder, stamp = FOLDER / case.replace(":", "-"), digest.hexdigest()
    if (folder / "made_by").is_file() and (folder / "made_by").read_text() == stamp:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    if name in scene_moving.CASES:
        scene_moving.capture(name, folder, seed=int(seed or 0))
    else:
        scene_room.capture(folder, bare=name == "bare", seed=int(seed or 0), samples=1)
    (folder / "made_by").write_text(stamp)
    return folder


def rendered(name: str) -> Path:
    """The photos of a room of `scene_reflections`."""
    import scene_reflections

    digest = hashlib.sha256(repr(scene_reflections.ROOMS[name]).encode())
    for module in ("scene_reflections", "scene_optics", "scene_room", "scene_textures", "scenes"):
        digest.update((ROOT / "tests" / f"{module}.py").read_bytes())
    folder, stamp = FOLDER / "reflections" / name, digest.hexdigest()
    if not (folder / "made_by").is_file() or (folder / "made_by").read_text() != stamp:
        shutil.rmtree(folder, ignore_errors=True)
        scene_reflections.capture(name, folder)
        (folder / "made_by").write_text(stamp)
    return folder


def measure_reflections(quality: str) -> dict[str, Any]:
    """Intersection over union of mirrors and panes, a room; where there is none, the share of pixels wrongly masked."""
    import cv2
    import numpy as np

    import scene_reflections
    from rilievo import Run
    from rilievo.pipelines_mask import MaskSettings, photos_to_masks

    out: dict[str, Any] = {}
    for name in scene_reflections.ROOMS:
        folder = rendered(name)
        settings = MaskSettings(kinds=("mirror", "glass"), quality=quality)
        told = photos_to_masks([folder / "photos"], folder / "masked", settings=settings, run=Run())
        row: dict[str, Any] = {"held_out": name in scene_reflections.HELD_OUT}
        for kind in ("mirror", "glass"):
            truth = folder / "truth" / "masks" / kind
            there = any(np.any(cv2.imread(str(f), cv2.IMREAD_GRAYSCALE)) for f in truth.glob("*.png"))
            found = overlap([folder / "masked" / "masks" / "by-kind" / kind], truth)
            row[f"{kind}_iou" if there else f"{kind}_wrongly"] = (
                round(found, 4) if there else told["kinds"][kind]["share"]
            )
        out[name] = row | {"notes": told["notes"]}
    return out


def overlap(found: list[Path], truth: Path) -> float:
    """Intersection over union of masks (black: masked) of several folders together with true ones (white)."""
    import cv2
    import numpy as np

    shared = total = 0
    for file in sorted(truth.glob("*.png")):
        true = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) > 0
        mask = np.zeros(true.shape, bool)
        for folder in found:
            if (folder / file.name).is_file():
                mask |= cv2.imread(str(folder / file.name), cv2.IMREAD_GRAYSCALE) == 0
        shared += int((mask & true).sum())
        total += int((mask | true).sum())
    return shared / max(total, 1)


def score(photos: Path, house: Path, truth: Path, quality: str, masks: Path | None) -> dict[str, Any]:
    """Camera error and F1 at 5 gsd of a build."""
    from rilievo import BuildSettings, Run, photos_to_mesh
    from rilievo.errors import RilievoError
    from rilievo.evaluate import evaluate, load_truth

    shutil.rmtree(house, ignore_errors=True)
    try:
        project = photos_to_mesh([photos], house, masks=masks, settings=BuildSettings(quality=quality), run=Run())
        found = evaluate(*(project.named(n) for n in ("cameras", "cloud", "mesh")), load_truth(truth))
    except RilievoError as error:
        return {"failed": f"{error.what}: {error.why}"}
    assert found.cloud is not None and found.mesh is not None
    return {
        "placed": found.cameras.num_placed,
        "camera_error_gsd": round(found.cameras.center_rmse_gsd, 3),
        "rotation_error_deg": round(found.cameras.rotation_mean_deg, 4),
        "cloud_accuracy": round(found.cloud.accuracy[-1], 4),
        "cloud_f1": round(found.cloud.f1[-1], 4),
        "mesh_accuracy": round(found.mesh.accuracy[-1], 4),
        "mesh_f1": round(found.mesh.f1[-1], 4),
    }


def measure_place(case: str, quality: str, *, alone: bool) -> dict[str, Any]:
    import cv2
    import numpy as np

    from rilievo import Run, weights
    from rilievo.io.mask_files import write_mask
    from rilievo.pipelines_mask import MaskSettings, photos_to_masks

    folder = capture(case)
    photos, truth = folder / "photos", folder / "truth" / "masks"
    mirror = (truth / "mirror").is_dir()
    kinds = ("moving", "mirror") if mirror else ("moving",)
    if case.startswith("bare") and weights.available("nanodet") and not alone:
        kinds = ("people", *kinds)
    house = folder / "masked"
    shutil.rmtree(house, ignore_errors=True)
    told = photos_to_masks([photos], house, settings=MaskSettings(kinds=kinds), run=Run())
    by_kind = house / "masks" / "by-kind"
    figure = overlap([by_kind / "moving", by_kind / "people"], truth / "figure")
    out: dict[str, Any] = {"figure_iou": round(figure, 4)}
    if mirror:
        out["mirror_iou"] = round(overlap([by_kind / "mirror"], truth / "mirror"), 4)
    out["masked"] = told["hidden"]
    for file in sorted((truth / "figure").glob("*.png")):
        moved = cv2.imread(str(file), 0) > 0
        still = cv2.imread(str(truth / "mirror" / file.name), 0) > 0 if mirror else np.zeros_like(moved)
        write_mask(folder / "true", file.name.removesuffix(".png"), ~(moved | still), ~moved)
    for key, masks in (("without", None), ("with", house / "masks"), ("with_true", folder / "true")):
        out[key] = score(photos, folder / key, folder / "truth", quality, masks)
    return out


def measure_objects() -> dict[str, Any]:
    """Intersection over union of IS-Net's foreground with the true outline of generated things."""
    import numpy as np

    import scene_objects
    from rilievo import weights
    from rilievo.stages import foreground

    if not weights.available("isnet"):
        return {"left_out": "weights isnet are not here (rilievo weights get isnet --accept-licence)"}
    network = foreground.open_foreground(threads=1)
    rows = []
    for name, pixels, truth in scene_objects.pictures():
        found = foreground.foreground(pixels, network) > 0.5
        rows.append((name, float((found & truth).sum() / max((found | truth).sum(), 1))))
    return {**{name: round(v, 4) for name, v in rows}, "mean": round(float(np.mean([v for _, v in rows])), 4)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--quality", default="draft", choices=("draft", "normal", "high"))
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    others = {"objects": measure_objects, "reflections": partial(measure_reflections, options.quality)}
    cases = options.cases or ["room", "bare", "reflections", "objects"]
    known = {*others, "room", "bare", "hall", "companion", "studio", "street", "cart"}
    if unknown := {c.partition(":")[0] for c in cases} - known:
        parser.error(f"no case {', '.join(sorted(unknown))}")
    result = {}
    for c in cases:
        result[c] = others[c]() if c in others else measure_place(c, options.quality, alone=options.alone)
    if options.json:
        print(json.dumps(result, indent=1))
        return 0
    for case, row in result.items():
        print(case)
        for key, value in row.items():
            print(f"  {key:<12}{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
