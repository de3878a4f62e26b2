"""Lengths and sizes as people write them."""

from __future__ import annotations

import re

from rilievo.errors import InputError

_UNITS = {"um": 1e-6, "µm": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0, "km": 1e3, "in": 0.0254, "ft": 0.3048, "": 1.0}
_NUMBER = r"(\d+(?:[.,]\d+)?|[.,]\d+)"
_UNIT = r"(um|µm|mm|cm|m|km|in|ft|)"


def parse_length(text: str) -> float:
    """Metres of `0.5mm`, `3 cm`, `2.5` (metres). Raises InputError."""
    match = re.fullmatch(rf"\s*{_NUMBER}\s*{_UNIT}\s*", text)
    if not match or not float(match[1].replace(",", ".")) > 0:
        raise InputError(
            f"cannot read the length {text!r}",
            "expected a number above zero and a unit",
            "write e.g. 0.5mm, 3cm or 2.5m",
        )
    return float(match[1].replace(",", ".")) * _UNITS[match[2]]


def parse_size(text: str, num: int, example: str) -> tuple[float, ...]:
    """Metres of `30x20x15cm`, `12 x 8 m`, `30cm x 20cm`. A unit holds for the numbers before it. Raises InputError."""
    parts = re.split(r"\s*[x×*]\s*", text.strip().lower())
    found = [re.fullmatch(rf"{_NUMBER}\s*{_UNIT}", part) for part in parts]
    if len(found) != num or not all(found):
        raise InputError(
            f"cannot read the size {text!r}", f"expected {num} lengths with x between them", f"write e.g. {example}"
        )
    unit, out = "", []
    for match in reversed([m for m in found if m]):
        unit = match[2] or unit
        out.append(float(match[1].replace(",", ".")) * _UNITS[unit])
    if not all(v > 0 for v in out):
        raise InputError(f"a side of {text!r} is zero", "", f"write e.g. {example}")
    return tuple(reversed(out))
