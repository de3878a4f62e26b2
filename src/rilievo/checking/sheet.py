"""The contact sheet: photos, worst first, each beside a piece of it at 100 %."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from rilievo.checking.looks import Look

_CELL, _TEXT, _COLUMNS, MAX_PHOTOS = 256, 46, 3, 30
_RANK = {"bad": 0, "weak": 1, "good": 2}
_COLORS = {"bad": (204, 51, 51), "weak": (200, 125, 30), "good": (70, 110, 170)}


def contact_sheet(looks: Sequence[Look], rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """uint8 (h, w, 3) of at most 30 photos. rows: as in the document, in the order of looks."""
    from PIL import Image, ImageDraw, ImageFont

    order = sorted(
        range(len(rows)),
        key=lambda k: (_RANK[rows[k]["level"]], -(rows[k]["quality"]["sigma_px"] or 0.0), rows[k]["name"]),
    )[:MAX_PHOTOS]
    columns = min(_COLUMNS, max(len(order), 1))
    high = _CELL + _TEXT
    lines = -(-len(order) // columns) or 1
    page = Image.new("RGB", (columns * (2 * _CELL + 24) + 12, lines * (high + 12) + 12), (250, 250, 250))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for place, k in enumerate(order):
        row, look = rows[k], looks[k]
        x, y = 12 + place % columns * (2 * _CELL + 24), 12 + place // columns * (high + 12)
        picture = Image.open(io.BytesIO(look.thumbnail))
        picture.thumbnail((_CELL, _CELL))
        page.paste(picture, (x, y))
        page.paste(Image.open(io.BytesIO(look.crop)), (x + _CELL + 4, y))
        q = look.quality
        draw.rectangle((x, y + _CELL + 3, x + 4, y + _CELL + _TEXT - 4), fill=_COLORS[row["level"]])
        measures = f"blur {q.sigma_px:.1f} px" + (f", shaken {q.motion_px:.0f} px" if q.motion_px > 0 else "")
        draw.text(
            (x + 9, y + _CELL + 3), _cut(f"{row['name']}   {measures}, noise {q.noise:.1f}", 74), (30, 30, 30), font
        )
        said = "; ".join(f["text"] for f in row["findings"][:2]) or row["reason"] or "nothing to object to"
        draw.text((x + 9, y + _CELL + 22), _cut(said, 74), (90, 90, 90), font)
    return np.asarray(page)


def _cut(text: str, length: int) -> str:
    text = text.encode("latin-1", "replace").decode("latin-1")
    return text if len(text) <= length else text[: length - 3] + "..."
