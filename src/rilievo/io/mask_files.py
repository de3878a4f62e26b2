"""Masks as files: PNG named after the photo (COLMAP's way), white where it may be used; and a sheet to look at."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from rilievo.errors import InputError, ResourceError

COLORS = {
    "sky": (200, 255, 0),
    "people": (255, 140, 0),
    "moving": (255, 40, 60),
    "mirror": (180, 60, 255),
    "glass": (0, 190, 210),
    "background": (120, 120, 120),
}


_ONLY_MATCHED = 96
"""Grey of what helps to find cameras but is not to be measured; not black, so that COLMAP takes keypoints there too."""


def write_mask(folder: Path, name: str, usable: np.ndarray, matched: np.ndarray | None = None) -> Path:
    """`NAME.png` in the folder, in the photo's subfolder: whole or not at all. usable: bool (h, w).  matched: bool (h,
    w), where it helps to find cameras even if it is not usable. Raises InputError for a name that leads out of the
    folder, ResourceError when it cannot be written."""
    path = folder / f"{name}.png"
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"the photo {name} cannot have a mask", "its name leads out of the folder of masks")
    values = np.where(usable, 255, 0).astype(np.uint8)
    if matched is not None and usable.any():  # with white, against which grey is grey
        values[matched & ~usable] = _ONLY_MATCHED
    bits = [] if (values == _ONLY_MATCHED).any() else [cv2.IMWRITE_PNG_BILEVEL, 1]
    ok, data = cv2.imencode(".png", values, bits)
    if not ok:
        raise ResourceError(f"cannot encode the mask of {name}", "", "")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data.tobytes())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def write_overview(
    path: Path, photos: Sequence[tuple[str, np.ndarray, Mapping[str, np.ndarray]]], kinds: Sequence[str]
) -> None:
    """One sheet with all photos, what is masked in the colour of its kind. photos: name, small pixels, kind -> mask."""
    across = max(1, int(np.ceil(np.sqrt(len(photos)))))
    w, h = 320, 240
    rows = (len(photos) + across - 1) // across
    sheet = np.full((rows * (h + 18) + 24, across * w, 3), 24, np.uint8)
    for k, (name, pixels, masks) in enumerate(photos):
        s = min(w / pixels.shape[1], h / pixels.shape[0])
        size = max(1, int(pixels.shape[1] * s)), max(1, int(pixels.shape[0] * s))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        for kind, mask in masks.items():
            there = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None]
            small = small * (1 - 0.6 * there) + 0.6 * there * np.array(COLORS[kind], np.float32)
        y, x = (k // across) * (h + 18) + 24, (k % across) * w
        sheet[y : y + size[1], x : x + size[0]] = np.rint(small).astype(np.uint8)
        text = name if len(name) <= 40 else f"...{name[-37:]}"
        cv2.putText(sheet, text, (x + 4, y + h + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (200, 200, 200), 1, cv2.LINE_AA)
    x = 6
    for kind in kinds:
        cv2.rectangle(sheet, (x, 6), (x + 12, 18), COLORS[kind], -1)
        cv2.putText(sheet, kind, (x + 18, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (230, 230, 230), 1, cv2.LINE_AA)
        x += 30 + 10 * len(kind)
    ok, data = cv2.imencode(".png", np.ascontiguousarray(sheet[..., ::-1]))
    if ok:
        path.write_bytes(data.tobytes())
