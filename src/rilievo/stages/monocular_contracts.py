"""What each depth network takes and gives, and what its numbers mean: one row a model.

Sources: Depth Anything V2 (Yang et al. 2024: affine-invariant disparity), MoGe-2 (Wang et al. 2025: affine point map,
section 3), Metric3D v2 (Hu et al. 2024: metric depth in a canonical camera, section 3.1), MiDaS (Ranftl et al. 2020:
why disparity up to scale and shift).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.networks import Network

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MIN_DISPARITY = 1e-6  # in the unit of a metric network: beyond 1000 km nothing has a distance


@dataclass(frozen=True)
class Look:
    """How a piece of a photo lies in the picture that a network is shown.

    top, left, height, width: its place in the network's picture.  photo_height, photo_width: its size in pixels of the
    photo.  focal_px: focal length in pixels of the photo, None unknown.
    """

    top: int
    left: int
    height: int
    width: int
    photo_height: int
    photo_width: int
    focal_px: float | None


@dataclass(frozen=True, eq=False)
class Seen:
    """What a network says of one piece of a photo, on its own grid (h, w), float32.

    disparity: >= 0, NaN no answer.  sigma: its standard deviation, None where the network states none.
    sky: probability that there is no surface, None where it says nothing of that.  scale: as in `PhotoDepth`.
    focal_px: focal length in pixels of the photo as the network believes, None.  focal_sigma: relative.
    """

    disparity: np.ndarray
    sigma: np.ndarray | None
    sky: np.ndarray | None
    scale: str
    focal_px: float | None = None
    focal_sigma: float = math.inf


@dataclass(frozen=True)
class Contract:
    """One row.

    image: name of the input, float32 (1, 3, H, W), RGB, (value / 255 - mean) / std.  multiple: of both sides.
    side: square root of the number of pixels at which it sees best.  canvas: height and width of a picture of fixed
    size, with the photo in its middle and `mean` around it; None for a picture as large as the photo asks.
    outputs: role -> (accepted names, rank).  optional: roles that may be missing.  extra: further inputs.
    sigma: standard deviation of its disparity, in mean absolute deviations of the picture's, where it states none.
    """

    image: str
    multiple: int
    side: int
    outputs: dict[str, tuple[tuple[str, ...], int]]
    decode: Callable[[Mapping[str, np.ndarray], Look], Seen]
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    canvas: tuple[int, int] | None = None
    optional: tuple[str, ...] = ()
    extra: Callable[[Look], dict[str, np.ndarray]] = lambda look: {}
    extra_names: tuple[str, ...] = ()
    sigma: float = 0.15


def _plane(a: np.ndarray, look: Look) -> np.ndarray:
    """The photo's part of an output (..., H, W), which may come at another size than the input."""
    return np.asarray(a, np.float32).reshape(a.shape[-2:])[
        look.top : look.top + look.height, look.left : look.left + look.width
    ]


def spread(disparity: np.ndarray) -> float:
    """Mean absolute deviation from the median, of what is known."""
    known = disparity[np.isfinite(disparity)]
    return float(np.mean(np.abs(known - np.median(known)))) if len(known) else 0.0


def _decode_small(out: Mapping[str, np.ndarray], look: Look) -> Seen:
    disparity = np.maximum(_plane(out["disparity"], look), 0)
    sigma = math.sqrt(2) * np.exp(np.clip(_plane(out["log_sigma"], look), -12, 4)) * spread(disparity)
    sky = 1 / (1 + np.exp(-np.clip(_plane(out["sky"], look), -30, 30)))
    longer = max(look.photo_height, look.photo_width)
    focal = math.exp(float(np.clip(np.ravel(out["log_focal"])[0], -3, 3))) * longer
    return Seen(disparity, sigma.astype(np.float32), sky.astype(np.float32), "relative", focal, 0.2)


def _decode_disparity(out: Mapping[str, np.ndarray], look: Look) -> Seen:
    return Seen(np.maximum(_plane(out["disparity"], look), 0), None, None, "relative")


def _decode_canonical(out: Mapping[str, np.ndarray], look: Look) -> Seen:
    """Depth as a camera of 1000 px focal length would have it (Metric3D v2, eq. 2): true depth grows with the focal
    length in pixels of the network's picture."""
    longer = max(look.photo_height, look.photo_width)
    focal = look.focal_px if look.focal_px is not None else assumed_focal(longer)
    shrunk = math.sqrt(look.height * look.width / (look.photo_height * look.photo_width))
    depth = _plane(out["depth"], look) * (focal * shrunk / 1000.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        disparity = np.where(depth > 0, 1 / depth, np.nan)
    # It was trained on depths up to 200 m of the canonical camera and puts the sky there.
    sky = (_plane(out["depth"], look) > 190).astype(np.float32)
    return Seen(disparity.astype(np.float32), None, sky, "metric" if look.focal_px is not None else "similar")


def _decode_points(out: Mapping[str, np.ndarray], look: Look) -> Seen:
    """An affine point map: true points are metric_scale * (x, y, z + shift); shift (and the focal length, where it is
    not known) are those for which the points fall onto their pixels."""
    points = np.asarray(out["points"], np.float32).reshape(*out["points"].shape[-3:])
    mask = _plane(out["mask"], look) > 0.5
    h, w = mask.shape
    x = ((np.arange(w) + 0.5) / w - 0.5) * look.photo_width
    y = ((np.arange(h) + 0.5) / h - 0.5) * look.photo_height
    uv = np.stack(np.meshgrid(x, y), -1)
    rows, cols = np.linspace(0, h - 1, min(h, 64)).astype(int), np.linspace(0, w - 1, min(w, 64)).astype(int)
    some = np.ix_(rows, cols)
    keep = mask[some] & np.isfinite(points[some]).all(-1)
    focal, shift = recover_focal(points[some][keep], uv[some][keep], look.focal_px)
    depth = (points[..., 2] + shift) * float(np.ravel(out["metric_scale"])[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        disparity = np.where(mask & (depth > 0), 1 / depth, np.nan).astype(np.float32)
    return Seen(disparity, None, (~mask).astype(np.float32), "metric", focal, 0.06)


def recover_focal(points: np.ndarray, uv: np.ndarray, focal: float | None) -> tuple[float, float]:
    """(focal, shift) with focal * (x, y) / (z + shift) closest to uv, points float (n, 3), uv (n, 2) from the centre.

    The best focal length for a shift has a closed form, so only the shift is searched. Raises InputError when fewer
    than 16 points are given.
    """
    from scipy.optimize import least_squares

    if len(points) < 16:
        raise InputError(
            "the network saw nothing in this photo",
            f"it marks only {len(points)} of its sample points as surface",
            "Is the photo all sky, or all of one colour? Try another model.",
        )
    xy, z = points[:, :2].astype(np.float64), points[:, 2].astype(np.float64)
    size = float(np.median(np.abs(z))) or 1.0
    low = -float(z.min()) + 1e-3 * size  # everything in front of the camera

    def best(shift: float) -> tuple[float, np.ndarray]:
        ray = xy / (z + shift)[:, None]
        f = focal if focal is not None else float((ray * uv).sum() / max((ray * ray).sum(), 1e-12))
        return f, (f * ray - uv).ravel() / max(np.abs(uv).max(), 1e-9)

    start = max(0.0, low + 1e-2 * size)
    found = least_squares(
        lambda t: best(float(t[0]))[1],
        [start],
        bounds=([low], [max(low, 0.0) + 1e3 * size]),
        loss="soft_l1",
        f_scale=0.01,
    )
    shift = float(found.x[0])
    return best(shift)[0], shift


def assumed_focal(longer_px: int) -> float:
    """Of a camera that sees 60 degrees along the photo's longer side."""
    return longer_px / 2 / math.tan(math.radians(30))


CONTRACTS: dict[str, Contract] = {
    "depth-small": Contract(
        image="image",
        multiple=32,
        side=320,
        outputs={
            "disparity": (("disparity",), 3),
            "log_sigma": (("log_sigma",), 3),
            "sky": (("sky",), 3),
            "log_focal": (("log_focal",), 1),
        },
        decode=_decode_small,
    ),
    "depth-anything-v2-small": Contract(
        image="pixel_values",
        multiple=14,
        side=518,
        outputs={"disparity": (("predicted_depth",), 3)},
        decode=_decode_disparity,
        mean=_IMAGENET[0],
        std=_IMAGENET[1],
    ),
    "moge-2-vits-normal": Contract(
        image="image",
        multiple=14,
        side=594,  # 1800 tokens of 14 x 14
        outputs={
            "points": (("points",), 4),
            "mask": (("mask",), 3),
            "metric_scale": (("metric_scale", "scale"), 1),
        },
        decode=_decode_points,
        extra=lambda look: {"num_tokens": np.array(look.height * look.width // 196, np.int64)},
        extra_names=("num_tokens",),
        sigma=0.1,
    ),
    "metric3d-v2-small": Contract(
        image="pixel_values",
        multiple=14,
        side=809,
        outputs={"depth": (("predicted_depth",), 3)},
        decode=_decode_canonical,
        mean=_IMAGENET[0],
        std=_IMAGENET[1],
        canvas=(616, 1064),
        sigma=0.1,
    ),
}


def contract_of(model: str) -> Contract:
    """The row of a model. Raises InputError when there is none."""
    if model not in CONTRACTS:
        raise InputError(f"{model!r} is not a network that sees depth", "", f"Depth models are {', '.join(CONTRACTS)}.")
    return CONTRACTS[model]


def check_contract(network: Network, model: str) -> dict[str, str]:
    """role -> name of the output. Raises InputError that names what was expected and what was found."""
    contract = contract_of(model)
    wrong = []
    shape = network.inputs.get(contract.image)
    if shape is None or len(shape) != 4 or (shape[1] not in (3, None) and not isinstance(shape[1], str)):
        wrong.append(f"an input {contract.image!r} of shape (1, 3, H, W)")
    wrong += [f"an input {name!r}" for name in contract.extra_names if name not in network.inputs]
    for name in network.inputs:
        if name not in (contract.image, *contract.extra_names):
            wrong.append(f"no input {name!r}")
    found = {}
    for role, (names, rank) in contract.outputs.items():
        name = next((n for n in names if n in network.outputs), None)
        if name is not None and len(network.outputs[name]) in (0, rank, rank + 1, rank - 1):
            found[role] = name
        elif role not in contract.optional:
            wrong.append(f"an output {' or '.join(map(repr, names))} of {rank} dimensions")
    if wrong:
        have = "; ".join(
            f"{kind} " + ", ".join(f"{n!r} {_spell(s)}" for n, s in values.items())
            for kind, values in (("inputs", network.inputs), ("outputs", network.outputs))
        )
        raise InputError(
            f"this network is not {model!r}",
            f"expected {', '.join(wrong)}; found {have}",
            "The file is of another model: give it another name, or get the right one with rilievo weights get.",
        )
    return found


def _spell(shape: tuple[Any, ...]) -> str:
    return "(" + ", ".join("?" if n is None else str(n) for n in shape) + ")"
