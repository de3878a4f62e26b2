"""Larger photos by a network: sharper to the eye, with detail that no camera saw.

Wang et al. 2021 (Real-ESRGAN); Wan et al. 2024 (SPAN). Files in ncnn's format are read by `ncnn_graph` and run by
onnxruntime, one tile a thread, so that the answer does not depend on their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rilievo import weights
from rilievo.errors import InputError
from rilievo.networks import Network, open_network
from rilievo.stages.ncnn_graph import to_onnx
from rilievo.stages.tiles import map_tiles
from rilievo.stages.upscale import fit_size, new_size

_HALO = {"span-x2": 20, "span-x4": 20, "realesrgan-x2": 18, "realesrgan-x4plus": 12}
FACTORS = {"span-x2": 2, "span-x4": 4, "realesrgan-x2": 2, "realesrgan-x4plus": 4}
SECONDS_PER_MPX = {"span-x2": 60, "span-x4": 70, "realesrgan-x2": 60, "realesrgan-x4plus": 1500}
"""Of one thread, for each megapixel that goes in; to be told before the work, not to be relied on."""


@dataclass(frozen=True, eq=False)
class Upscaler:
    """A network that enlarges `factor` times. name: its row of weights."""

    name: str
    factor: int
    network: Network


def open_upscaler(name: str, scale: float, *, threads: int = 1, model: bytes | None = None) -> Upscaler:
    """The network for this scale. name: span, realesrgan-x2 or realesrgan-x4plus.  model: the file's bytes, if not
    those of `weights`. Raises MissingError when its weights are not here, InputError for a damaged file."""
    row = ("span-x2" if scale <= 2 else "span-x4") if name == "span" else name
    onnx = to_onnx(weights.get(row).read_bytes() if model is None else model)
    network = open_network(onnx, engine="cpu", threads=threads)
    return Upscaler(row, FACTORS[row], network)


def upscale_by_network(pixels: np.ndarray, scale: float, upscaler: Upscaler, *, threads: int = 1) -> np.ndarray:
    """uint16 (round(h scale), round(w scale), 3). Beyond its factor the network is applied again, to its own result;
    between, the larger picture is averaged down. scale 1: the photo repaired."""
    out, grown = pixels, 1
    while grown < max(math.ceil(scale - 1e-9), 2):
        out = map_tiles(
            out, lambda tile: _run(upscaler, tile), halo=_HALO[upscaler.name], scale=upscaler.factor, tile=160,
            threads=threads,
        )  # fmt: skip
        grown *= upscaler.factor
        if grown < scale:  # the second pass need not see more than it is to return
            rest = scale / grown
            if rest < upscaler.factor:
                size = new_size(pixels, scale / upscaler.factor)
                out, grown = fit_size(out, size), scale / upscaler.factor
    return fit_size(out, new_size(pixels, scale))


def _run(upscaler: Upscaler, tile: np.ndarray) -> np.ndarray:
    data = np.ascontiguousarray(tile.transpose(2, 0, 1)[None])
    (out,) = upscaler.network.run(["output"], {"data": data})
    h, w = tile.shape[0] * upscaler.factor, tile.shape[1] * upscaler.factor
    if out.shape != (1, 3, h, w):
        raise InputError("this network does not enlarge as it should", f"{data.shape} became {out.shape}")
    return np.nan_to_num(out[0]).transpose(1, 2, 0)
