"""What stands before its background, by a learned segmenter that looks twice, and by colours where it is unsure.

Qin et al., "Highly Accurate Dichotomous Image Segmentation", ECCV 2022 (IS-Net). The network knows things at the scale
at which it was shown them: one look misses the gaps between columns, another the leaves of a plant. Looks at several
scales are weighed by how clear each is; what stays unsure over more than an edge's width goes to a minimum cut of
colours (Rother et al. 2004, "GrabCut"), so that fur and hair keep the network's soft edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rilievo import weights
from rilievo.errors import InputError
from rilievo.networks import Engine, Network, open_network
from rilievo.stages.onnx_resized import resized

_FINE, _COARSE = 1024, 512
_WORK = 2048  # px: looks are brought together in at most this size
_CUT = 1000  # px: colours are cut in at most this size
_UNSURE, _SURE = 0.1, 0.9
_MAX_SHARED = 0.1
_FITS = 0.72
"""From where on a look in a box is believed (tuned on 30 boxes of labelled photos): else colours decide."""
Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Foreground:
    """IS-Net for 1024 x 1024 pixels, and the same filters for 512 x 512: a quarter of the time, wider context."""

    fine: Network
    coarse: Network


def open_foreground(model: Path | bytes | None = None, *, engine: Engine = "cpu", threads: int = 0) -> Foreground:
    """IS-Net, ready for `foreground`. Raises MissingError without its weights, InputError for a damaged file."""
    model = weights.get("isnet") if model is None else model
    network = open_network(model, engine=engine, threads=threads)
    if "input" not in network.inputs or "output" not in network.outputs:
        raise InputError(
            "this is not the network expected", f"inputs {', '.join(network.inputs)}", "Use IS-Net's file."
        )
    small = resized(model.read_bytes() if isinstance(model, Path) else model, _FINE, _COARSE)
    return Foreground(network, open_network(small, engine=engine, threads=threads))


def foreground(pixels: np.ndarray, network: Foreground) -> np.ndarray:
    """How much of each pixel belongs to what stands before the background: float32 (h, w), 0..1.

    pixels: uint8 (h, w, 3) RGB, of any size. Edges follow the photo's (`fitted_to_edges`). Deterministic on a CPU.
    """
    small = at_most(pixels, _WORK)
    looks = [_look(small, network.fine)]
    box, again = _around(looks[0]), network.coarse
    if box is not None:
        share = max((box[2] - box[0]) / small.shape[1], (box[3] - box[1]) / small.shape[0])
        if share < 0.7 and min(pixels.shape[:2]) > _FINE:
            again = network.fine  # there is more to see in it than the first look was shown
        elif (box[2] - box[0]) * (box[3] - box[1]) > 0.8 * small.shape[0] * small.shape[1]:
            box = None
    looks.append(_look(small, again, box))
    return _finished(cut_where_unsure(small, together(looks)), pixels)


def glance(pixels: np.ndarray, network: Foreground) -> np.ndarray:
    """`foreground` by one look: for crops around something known to be there."""
    return _finished(_look(at_most(pixels, _WORK), network.fine), pixels)


def in_box(pixels: np.ndarray, network: Foreground | None, box: Box) -> tuple[np.ndarray, float, str]:
    """The thing that fills a box (x, y, width, height, pixels): (matte float32 (h, w), trust 0..1, how in words).

    The network looks at the box with and without a surrounding at two scales; the look that fills the box best and
    clearest is taken, or a cut of colours inside against outside where none is convincing.
    Raises InputError for a box that is empty or outside the photo.
    """
    small = at_most(pixels, _WORK)
    h, w = small.shape[:2]
    f = w / pixels.shape[1]
    x0, y0 = max(0, round(box[0] * f)), max(0, round(box[1] * f))
    x1, y1 = min(w, round((box[0] + box[2]) * f)), min(h, round((box[1] + box[3]) * f))
    if min(x1 - x0, y1 - y0) < 8:
        raise InputError(
            f"the box {','.join(map(str, box))} holds nothing",
            f"the photo has {pixels.shape[1]} x {pixels.shape[0]} pixels",
            "give --box x,y,width,height in pixels, x and y of its upper left corner",
        )
    best, score = None, 0.0
    if network is not None:
        mx, my = round(0.1 * (x1 - x0)) + 4, round(0.1 * (y1 - y0)) + 4
        wide = max(0, x0 - mx), max(0, y0 - my), min(w, x1 + mx), min(h, y1 + my)
        for net in (network.coarse, network.fine):
            for framed in (False, True):
                look = _look(small, net, wide, framed=framed)
                fit = _fit(look, (x0, y0, x1, y1))
                if (look[wide[1] : wide[3], wide[0] : wide[2]] > 0.5).mean() > 0.9:
                    fit = 0.0  # it took the cut-out picture itself for the thing
                if best is None or fit > score:
                    best, score = look, fit
    inside = np.zeros((h, w), np.float32)
    inside[y0:y1, x0:x1] = 1
    if best is not None and score >= _FITS:
        soft = cv2.blur(inside, (3, 3))
        return _finished(cut_where_unsure(small, best * soft), pixels), score, "in the box by a network (IS-Net)"
    state = np.where(inside > 0, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    if best is not None and score > 0.5:
        state[(best > _SURE) & (inside > 0)] = cv2.GC_FGD
    state[[0, 1, -1, -2]] = state[:, [0, 1, -1, -2]] = cv2.GC_BGD  # else a box that reaches the rim knows no ground
    mask = np.pad(_cut(small, state, 5)[2:-2, 2:-2], 2, mode="edge") * inside
    mask = _holes_filled(mask, inside, 0.03)
    return _finished(cv2.GaussianBlur(mask, (0, 0), 0.7), pixels), 0.4, "in the box by its colours against those around"


def together(looks: list[np.ndarray]) -> np.ndarray:
    """One matte of several: mean log odds, each look weighed by the square of how clear it is, so that one that sees
    nothing takes nothing away. looks: float32 (h, w), 0..1."""
    trust = [np.float32(clearness(p) ** 2 + 1e-4) for p in looks]
    odds = [k * np.log((p + np.float32(0.002)) / (np.float32(1.002) - p)) for k, p in zip(trust, looks)]
    return 1 / (1 + np.exp(-np.sum(odds, axis=0) / np.sum(trust)))


def clearness(matte: np.ndarray) -> float:
    """Share of what a look finds that it is sure of, 0..1; 0 where it finds nothing."""
    found = float(matte[matte > _UNSURE].sum(dtype=np.float64))
    return float(matte[matte > _SURE].sum(dtype=np.float64)) / found if found > 5e-4 * matte.size else 0.0


def cut_where_unsure(pixels: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """The matte with regions that are unsure over more than an edge's width decided by colour, where what is surely the
    thing and what is surely not share few colours; float32 (h, w)."""
    h, w = matte.shape
    scale = min(1.0, _CUT / max(h, w))
    size = max(1, round(w * scale)), max(1, round(h * scale))
    small, p = at_most(pixels, _CUT), cv2.resize(matte, size, interpolation=cv2.INTER_AREA)
    small = small if small.shape[:2] == p.shape else cv2.resize(small, size, interpolation=cv2.INTER_AREA)
    unsure = ((p > _UNSURE) & (p < _SURE)).astype(np.uint8)
    radius = max(2, round(max(size) / 250))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    wide = np.minimum(cv2.dilate(cv2.erode(unsure, disc), disc), unsure)
    if wide.mean() < 1e-3 or (p >= _SURE).mean() < 1e-3 or (p <= _UNSURE).mean() < 1e-3:
        return matte
    if _shared_colors(small, p >= _SURE, p <= _UNSURE) > _MAX_SHARED:
        return matte
    state = np.where(p > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[p >= _SURE], state[p <= _UNSURE] = cv2.GC_FGD, cv2.GC_BGD
    mask = cv2.GaussianBlur(_cut(small, state, 3), (0, 0), 0.7)
    part = cv2.GaussianBlur(wide.astype(np.float32), (0, 0), 1.0)
    mask, part = (cv2.resize(a, (w, h), interpolation=cv2.INTER_LINEAR) for a in (mask, part))
    return matte * (1 - part) + mask * part


def _shared_colors(pixels: np.ndarray, thing: np.ndarray, ground: np.ndarray) -> float:
    """Overlap of two histograms of 16 x 16 x 16 colours, 0..1."""
    c = cv2.GaussianBlur(pixels, (0, 0), 1.0).astype(np.int32) >> 4
    index = (c[..., 0] << 8) + (c[..., 1] << 4) + c[..., 2]
    a, b = (np.bincount(index[m], minlength=4096) / m.sum() for m in (thing, ground))
    return float(np.minimum(a, b).sum())


def fitted_to_edges(alpha: np.ndarray, pixels: np.ndarray, *, radius: int, epsilon: float = 1e-4) -> np.ndarray:
    """An enlarged matte as a locally linear function of the photo's grey values (He et al., "Guided Image Filtering",
    ECCV 2010, eqs. 5-8): float32 (h, w) 0..1. alpha: float32 (h, w).  radius: of the windows in pixels.
    """
    if radius < 1:
        return alpha
    guide = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(255)
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(a: np.ndarray) -> np.ndarray:
        return cv2.blur(a, size, borderType=cv2.BORDER_REFLECT)

    middle, level = mean(guide), mean(alpha)
    slope = (mean(guide * alpha) - middle * level) / (mean(guide * guide) - middle * middle + np.float32(epsilon))
    return np.clip(mean(slope) * guide + mean(level - slope * middle), 0, 1)


def at_most(pixels: np.ndarray, longest: int) -> np.ndarray:
    """The photo, averaged down where its longer side passes `longest`."""
    s = longest / max(pixels.shape[:2])
    if s >= 1:
        return np.ascontiguousarray(pixels)
    size = max(1, round(pixels.shape[1] * s)), max(1, round(pixels.shape[0] * s))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def _look(pixels: np.ndarray, network: Network, box: Box | None = None, *, framed: bool = False) -> np.ndarray:
    """What the network finds in a photo, or in a box (left, top, right, bottom) of it: float32 (h, w), 0 outside.

    framed: the box is shown with its own blurred mirror image around, so that what its frame cuts looks whole.
    """
    h, w = pixels.shape[:2]
    x0, y0, x1, y1 = box or (0, 0, w, h)
    part = pixels[y0:y1, x0:x1]
    ph, pw = part.shape[:2]
    fy, fx = (ph // 4, pw // 4) if framed else (0, 0)
    if framed:
        around = cv2.copyMakeBorder(part, fy, fy, fx, fx, cv2.BORDER_REFLECT)
        around = cv2.GaussianBlur(around, (0, 0), max(ph, pw) / 20)
        around[fy : fy + ph, fx : fx + pw] = part
        part = around
    shape = network.inputs["input"]
    side = shape[-1] if isinstance(shape[-1], int) else _FINE
    smooth = cv2.INTER_AREA if min(part.shape[:2]) > side else cv2.INTER_LINEAR
    x = (cv2.resize(part, (side, side), interpolation=smooth).astype(np.float32) - np.float32(128)) / np.float32(256)
    (out,) = network.run(["output"], {"input": np.ascontiguousarray(x.transpose(2, 0, 1)[None])})
    alpha = np.clip(np.nan_to_num(out.reshape(out.shape[-2:])), 0, 1)
    alpha = cv2.resize(alpha, part.shape[1::-1], interpolation=cv2.INTER_LINEAR)[fy : fy + ph, fx : fx + pw]
    if box is None:
        return alpha
    full = np.zeros((h, w), np.float32)
    full[y0:y1, x0:x1] = alpha
    return full


def _around(matte: np.ndarray) -> Box | None:
    """A box (left, top, right, bottom) around all larger parts, a fifth wider on each side; None of nothing."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((matte > 0.5).astype(np.uint8))
    if count < 2:
        return None
    kept = stats[1:][stats[1:, cv2.CC_STAT_AREA] > 0.05 * stats[1:, cv2.CC_STAT_AREA].max()]
    x0, y0 = (int(v) for v in kept[:, :2].min(0))
    x1, y1 = (int(v) for v in (kept[:, :2] + kept[:, 2:4]).max(0))
    mx, my = 0.2 * (x1 - x0) + 8, 0.2 * (y1 - y0) + 8
    h, w = matte.shape
    return max(0, int(x0 - mx)), max(0, int(y0 - my)), min(w, int(x1 + mx)), min(h, int(y1 + my))


def _fit(matte: np.ndarray, box: Box) -> float:
    """How well what was found fills a box, keeps to it, and is clear: 0..1."""
    x0, y0, x1, y1 = box
    inner = matte[y0:y1, x0:x1]
    rows, cols = np.nonzero(inner > 0.5)
    if len(rows) < 50:
        return 0.0
    filled = (np.ptp(cols) + 1) * (np.ptp(rows) + 1) / inner.size
    kept = float(inner.sum(dtype=np.float64)) / max(float(matte.sum(dtype=np.float64)), 1e-9)
    return float(filled * kept * clearness(matte))


def _cut(pixels: np.ndarray, state: np.ndarray, rounds: int) -> np.ndarray:
    """float32 (h, w) 0 or 1, by GrabCut, at most `_CUT` pixels long. state: uint8 as cv2.grabCut takes it."""
    h, w = state.shape
    small = at_most(pixels, _CUT)
    state = cv2.resize(state, small.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    if not (state & 1).any() or (state & 1).all():
        return cv2.resize((state & 1).astype(np.float32), (w, h), interpolation=cv2.INTER_NEAREST)
    cv2.setRNGSeed(0)  # its colour clusters start at random
    cv2.grabCut(small, state, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), rounds, cv2.GC_INIT_WITH_MASK)
    return cv2.resize((state & 1).astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR)


def _holes_filled(mask: np.ndarray, inside: np.ndarray, share: float) -> np.ndarray:
    """Gaps that lie in a box wholly and take less than `share` of it closed: a label on a pot. float32 0..1 each."""
    count, label, stats, _ = cv2.connectedComponentsWithStats((mask < 0.5).astype(np.uint8), connectivity=4)
    open_ = np.unique(label[inside == 0])
    small = [k for k in range(1, count) if k not in open_ and stats[k, cv2.CC_STAT_AREA] < share * inside.sum()]
    return np.where(np.isin(label, small), np.float32(1), mask)


def _finished(matte: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """At the photo's size, its edges on the photo's."""
    h, w = pixels.shape[:2]
    if matte.shape != (h, w):
        matte = cv2.resize(matte, (w, h), interpolation=cv2.INTER_LINEAR)
    matte = fitted_to_edges(matte, pixels, radius=max(w, h) // 512) if max(h, w) > _FINE else matte
    return np.ascontiguousarray(matte, np.float32)
