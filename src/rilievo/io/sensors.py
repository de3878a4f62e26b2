"""Sensor widths of cameras by maker and model: facts needed to turn a focal length in mm into pixels.

Rows are (pattern of "maker model" in lower case, width of the sensor's long side in mm); the first match wins. Makers
use few formats, so a row names a family where the whole family shares one. Phones are not listed: they write the 35 mm
equivalent, which is more reliable than a table that is out of date every autumn.
"""

from __future__ import annotations

import re
from functools import cache

FULL_FRAME, APS_C, APS_C_CANON, FOUR_THIRDS, ONE_INCH = 36.0, 23.5, 22.3, 17.3, 13.2
INCH_1_7, INCH_2_3, INCH_2_5 = 7.44, 6.17, 5.76  # the type sizes 1/1.7, 1/2.3 and 1/2.5 of compact cameras

_ROWS: tuple[tuple[str, float], ...] = (
    # Nikon: FX bodies, then 1-inch "Nikon 1", then DX bodies by their published widths
    (r"nikon.* (d[345]s?x?|d6|df|d6[01]0|d7[0158]0|d8[015]0[ea]?|z ?[56789](_?[23i]+)?|z ?f)$", 35.9),
    (r"nikon.* z ?(30|50|50_?2|fc)$", APS_C),
    (r"nikon.* (d40x?|d[56]0|d70s?|d80|d100|d200|d3000|d1[hx]?|d2[hx]s?)$", 23.6),
    (r"nikon.* d3[12345]00$", 23.2),
    (r"nikon.* (d5[0-9]00|d7[0-9]00|d90|d300s?|d500)$", 23.5),
    (r"nikon 1 ", ONE_INCH),
    # Canon: full frame, APS-H, APS-C
    (r"canon eos[- -]?(1ds|1d x|5d|5ds|6d|r$|rp$|r[13568]$|r5 ?c|r5m2|r6m2|ra$)", FULL_FRAME),
    (r"canon eos[- -]?1d", 27.9),
    (r"canon eos[- -]?(r7|r10|r50|r100|m|[0-9]{2,4}d|7d|kiss|rebel|d30|d60)", APS_C_CANON),
    (r"canon powershot (g[1579] ?x|sx70)", ONE_INCH),
    (r"canon powershot (g1[0-6]|g[79]|s9[05]|s1[0-2]0)", INCH_1_7),
    (r"canon powershot (sx|elph|a[0-9]|sd[0-9])|canon (ixus|digital ixus)", INCH_2_3),
    # Sony
    (r"sony (ilce-(7|9|1$|1m)|slt-a99|dslr-a[89]00|dsc-rx1|ilme-fx3|zv-e1$)", 35.8),
    (r"sony (ilce-|nex-|slt-|dslr-|zv-e10|ilca-77)", APS_C),
    (r"sony (dsc-rx(100|10)|dsc-rx0|zv-1)", ONE_INCH),
    (r"sony dsc-(hx|wx|tx|h[0-9]|w[0-9])", INCH_2_3),
    # Fujifilm, Pentax, Ricoh, Leica, Hasselblad, Sigma
    (r"fujifilm gfx", 43.8),
    (r"fujifilm (x-(t|e|pro|h|s|m|a)[0-9]|x100|x70|xf10)", 23.5),
    (r"fujifilm (x10|x20|x30|xq)", 8.8),
    (r"fujifilm finepix (s|hs|xp|f|j|t|a)", INCH_2_3),
    (r"pentax 645", 43.8),
    (r"(pentax|ricoh).* k-1", 35.9),
    (r"pentax (k|\*ist)", 23.5),
    (r"ricoh gr", 23.5),
    (r"leica (m|sl|q)", FULL_FRAME),
    (r"leica (t|cl|x)", APS_C),
    (r"hasselblad (x1d|x2d|907x)", 43.8),
    # Micro Four Thirds and compacts of Panasonic, Olympus
    (r"panasonic dc-s", 35.6),
    (r"panasonic (dmc-(g[0-9fhmx]|l1|l10)|dc-(g|bgh))", FOUR_THIRDS),
    (r"panasonic (dmc-|dc-)(lx100)", FOUR_THIRDS),
    (r"panasonic (dmc-|dc-)(fz1000|fz2|tz1[01]0|zs1[01]0|tz2|zs2|cm1)", ONE_INCH),
    (r"panasonic dmc-(lx[357])", 8.07),
    (r"panasonic (dmc-|dc-)(fz|tz|zs|ft|ts|fs)", INCH_2_3),
    (r"(olympus|om digital).* (e-|om-)", FOUR_THIRDS),
    (r"olympus.* (tg|sp|sz|u[0-9]|mju|stylus)", INCH_2_3),
    # Kodak, Samsung, Casio compacts
    (r"kodak.* (z612|z650|z710|z712|z740|z7590|dx|c[3-9]|v[5-9])", INCH_2_5),
    (r"kodak.* (z|m|c|pixpro)", INCH_2_3),
    (r"samsung nx(1$|5|10|11|20|30|100|200|210|300|500|1000|1100|2000|3000)", 23.5),
    # Drones and action cameras. DJI camera names: fc220 Mavic Pro, fc330/fc350 Phantom 4 / X3, fc6310 P4 Pro, ...
    (r"dji (fc220|fc330|fc300[a-z]?|fc350|fc3[26]5[0-9]?2?|fc7203|fc7303|fc7503|fc2103|fc2403)$", INCH_2_3),
    (r"dji (fc6310[rs]?|fc6360|fc1102|fc8282|fc3411|fc9113)$", ONE_INCH),
    (r"dji (fc65[0-9]0|fc550.*|fc3170|fc4170|l2d-20c)$", FOUR_THIRDS),
    (r"dji (fc4280|zenmuse ?p1)$", 35.9),
    (r"dji (m3e)$", FOUR_THIRDS),
    (r"hasselblad l1d-20c$", ONE_INCH),
    (r"hasselblad l2d-20c$", FOUR_THIRDS),
    (r"gopro.*", INCH_2_3),
    (r"parrot .*anafi", 5.9),
    (r"autel.* xt70[159]", 6.4),
)


@cache
def sensor_width_mm(maker: str, model: str) -> float | None:
    """Width in mm of the long side of the sensor, or None when the camera is not in the table."""
    maker, model = " ".join(maker.lower().split()), " ".join(model.lower().split())
    maker = re.sub(r" (corporation|company|co\.?,? ?ltd\.?|imaging corp\.?|optical co.*|electronics)\b.*", "", maker)
    maker = maker.replace("eastman kodak", "kodak")
    name = model if model.startswith(maker.split(" ")[0]) and maker else f"{maker} {model}"
    for pattern, width in _ROWS:
        if re.match(pattern, name):
            return width
    return None
