"""The quality that a JPEG file was saved at, from its own tables."""

from __future__ import annotations

import math

import numpy as np

# Luminance table of ITU-T T.81, K.1, in zigzag order as files store it.
_STANDARD = np.array(
    [16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61,
     60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77, 113,
     121, 112, 100, 120, 92, 101, 103, 99], np.float64)  # fmt: skip


def jpeg_quality(data: bytes) -> float:
    """1 to 100 on the scale of the Independent JPEG Group, whose tables scale the standard's; other tables get the
    quality of the like mean. NaN for what is no JPEG or has no table."""
    table = _luminance_table(data)
    if table is None:
        return math.nan
    scale = 100 * float(np.mean(table / _STANDARD))
    quality = (200 - scale) / 2 if scale <= 100 else 5000 / scale
    return float(min(max(quality, 1.0), 100.0))


def _luminance_table(data: bytes) -> np.ndarray | None:
    """Table 0 of the first definition of tables that has it."""
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDB:
            part, k = data[at + 4 : at + 2 + length], 0
            while k < len(part):
                wide, number = part[k] >> 4, part[k] & 15
                size = 128 if wide else 64
                values = np.frombuffer(part[k + 1 : k + 1 + size], ">u2" if wide else np.uint8)
                if len(values) < 64:
                    return None
                if number == 0:
                    return values.astype(np.float64)
                k += 1 + size
        if marker == 0xDA or length < 2:
            return None
        at += 2 + length
    return None
