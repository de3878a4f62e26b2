"""Scale and shift of a network's depth from references.

A network that gives disparity knows depth up to a scale and a shift of its inverse; two depths at different distance, a
plane, or lengths at different depths fix both, one length fixes the scale for an assumed shift only (and the fit says
so). Every uncertainty is one standard deviation and counts the references, the clicks, the focal length and the
network's own error, which is the largest part and nearly the same for neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rilievo.errors import AlignmentError, InputError
from rilievo.stages.references import DepthPoints, Gathered, Observation, Reference, gather, spell
from rilievo.stages.scale_error import Field, Places, look_up, shape_error
from rilievo.stages.scale_points import gather_cells
from rilievo.stages.scale_solve import Family, Problem, Solution, solve
from rilievo.types import Camera, PhotoDepth, ScaleFit


@dataclass(frozen=True)
class ScaleConfig:
    """Settings of `fit_scale`, `metric_depth` and `length_between`."""

    version: ClassVar[int] = 1

    click_px: float = 1.5
    """standard deviation of a pixel that a person chose (pixels of the picture in which it was chosen)"""
    tolerance: float = 0.01
    """relative standard deviation of a known length or depth that states none"""
    max_deviation: float = 4.5
    """standard deviations beyond which a reference among three or more is set aside, and two contradict each other"""
    max_outliers: float = 0.34
    """share of single references that may be set aside"""
    known_shift: float = 0.25
    """relative standard deviation of the ratio of far to near depth below which the shift counts as known"""


DEFAULT = ScaleConfig()


def fit_scale(
    photo_depth: PhotoDepth,
    references: Sequence[Reference] = (),
    *,
    photo_size: tuple[int, int] | None = None,
    config: ScaleConfig = DEFAULT,
) -> ScaleFit:
    """(a, b) of 1/depth = a * disparity + b, most probable for references, network and typical photos.

    photo_size: width and height of the picture whose pixels the references count in; None: the map's own.
    Without references a relative network keeps an unknown unit and a typical shift, a metric one its own metres.
    Raises InputError for a reference outside the photo, on the sky or where the network gave nothing; AlignmentError
    when references contradict each other or the photo.
    """
    width, height = photo_depth.camera.width, photo_depth.camera.height
    sx, sy = (1.0, 1.0) if photo_size is None else (width / photo_size[0], height / photo_size[1])
    family = Family.of(_known(photo_depth), photo_depth.scale == "relative")
    prior_scale = _prior_scale(photo_depth, family)
    if not references:
        return _alone(photo_depth, family)
    problem, counts = _problem(photo_depth, references, (sx, sy), family, config)
    return _fitted(photo_depth, references, problem, counts, family, prior_scale, config)


def _known(photo_depth: PhotoDepth) -> np.ndarray:
    """Disparities of surfaces, at most about 40 000 of them."""
    step = max(1, int(math.sqrt(photo_depth.disparity.size / 40000)))
    disparity = photo_depth.disparity[::step, ::step]
    good = np.isfinite(disparity) & ~photo_depth.sky[::step, ::step]
    if good.sum() < 20:
        raise AlignmentError(
            f"{photo_depth.name} shows no surface that could be measured",
            f"{photo_depth.model} gave depth for {good.mean():.1%} of the photo; the rest is sky or unknown",
            "take a photo with something nearby in it",
        )
    return disparity[good].astype(np.float64)


def _prior_scale(photo_depth: PhotoDepth, family: Family) -> tuple[float, float]:
    """Mean and standard deviation of log_scale: a metric network's a is about 1."""
    if photo_depth.scale == "metric":
        return math.log(family.typical), shape_error(photo_depth.model).scale_doubt
    return 0.0, math.inf


def _alone(photo_depth: PhotoDepth, family: Family) -> ScaleFit:
    """The fit without a reference."""
    row = shape_error(photo_depth.model)
    if photo_depth.scale == "metric":
        a, b, covariance, unit = 1.0, 0.0, np.diag([row.scale_doubt**2, 0.0]), "m"
        text = f"the metres of {photo_depth.model}, not checked by any reference"
    elif photo_depth.scale == "similar":
        a, b = family.factors(0.0)
        covariance, unit, text = np.zeros((2, 2)), "unknown", "no reference: no unit"
    else:
        a, b = family.factors(-row.contrast)
        J = family.jacobian(0.0, -row.contrast)[:, 1:]
        covariance, unit = J @ J.T * row.contrast_doubt**2, "unknown"
        text = "no reference: no unit, and a shift as in typical photos"
    spread = Field.of(photo_depth, a, b).level
    return ScaleFit(a, b, covariance, spread, unit, text, shift_known=photo_depth.scale != "relative")


def _problem(
    photo_depth: PhotoDepth,
    references: Sequence[Reference],
    map_from_photo: tuple[float, float],
    family: Family,
    config: ScaleConfig,
) -> tuple[Problem, tuple[int, int]]:
    """All references as observations of the map, and (inliers, outliers) of the many points."""
    camera = photo_depth.camera
    sx, sy = map_from_photo
    in_photo = Camera.pinhole(
        round(camera.width / sx), round(camera.height / sy), np.diag([1 / sx, 1 / sy, 1.0]) @ camera.K
    )
    gathered = gather(references, in_photo, tolerance=config.tolerance, click_px=config.click_px)
    places = look_up(photo_depth, np.array(gathered.xy, np.float64).reshape(-1, 2) * [sx, sy])
    _check(places, gathered, references, photo_depth)
    counts = (0, 0)
    for index, given in enumerate(references):
        if isinstance(given, DepthPoints):
            more, inliers, outliers = _points(photo_depth, given, index, (sx, sy), family, gathered)
            counts = (counts[0] + inliers, counts[1] + outliers)
            places = more if not len(places) else _joined(places, more)
    click = config.click_px * 0.5 * (sx + sy)
    problem = Problem(
        places,
        tuple(gathered.observations),
        gathered.covariance(),
        camera,
        float(photo_depth.focal_sigma),
        click,
    )
    return problem, counts


def _points(
    photo_depth: PhotoDepth,
    given: DepthPoints,
    index: int,
    map_from_photo: tuple[float, float],
    family: Family,
    gathered: Gathered,
) -> tuple[Places, int, int]:
    """Adds the cells of many points to `gathered`. Returns their places and how many points agreed and did not."""
    xy = np.asarray(given.xy, np.float64).reshape(-1, 2) * map_from_photo
    depth = np.asarray(given.depth, np.float64).reshape(-1)
    sigma = 0.01 * depth if given.sigma is None else np.asarray(given.sigma, np.float64).reshape(-1)
    good = np.isfinite(depth) & (depth > 0) & np.isfinite(sigma) & np.isfinite(xy).all(1)
    seen = look_up(photo_depth, xy[good])
    usable = np.isfinite(seen.disparity)
    if not usable.any():
        raise InputError(
            f"none of the {len(xy)} {given.what} can be used",
            f"{int(good.sum())} have a depth; where they lie the network has none",
            "",
        )
    seen = seen.rows(usable)
    diagonal = math.hypot(photo_depth.camera.width, photo_depth.camera.height)
    cells = gather_cells(seen, depth[good][usable], sigma[good][usable], diagonal, shifted=family.shifted)
    first = len(gathered.xy)
    for k, (value, variance) in enumerate(zip(cells.log_depth, cells.variance)):
        gathered.observations.append(Observation("depth", (first + k,), float(value), 0.0, index))
        gathered.blocks.append(np.array([[float(variance)]]))
    chosen = seen.rows(cells.index)
    gathered.xy += [(float(x), float(y)) for x, y in chosen.xy]
    return chosen, cells.num_inliers, cells.num_outliers


def _joined(p: Places, q: Places) -> Places:
    def both(name: str) -> np.ndarray:
        return np.concatenate([getattr(p, name), getattr(q, name)])

    return Places(both("xy"), both("disparity"), both("slope"), both("ripple"), both("sigma"), p.reason + q.reason)


def _check(places: Places, gathered: Gathered, references: Sequence[Reference], photo_depth: PhotoDepth) -> None:
    """Raises InputError for the first reference that lies where there is no depth."""
    for seen in gathered.observations:
        for k in seen.places:
            if reason := places.reason[k]:
                what = getattr(references[seen.reference], "what", "") or "reference"
                raise no_depth(reason, gathered.xy[k], photo_depth, what)


def no_depth(reason: str, xy: Sequence[float], photo_depth: PhotoDepth, what: str = "pixel") -> InputError:
    """The error for a pixel without depth: reason as in `Places`."""
    why = {
        "outside": "it lies outside the photo",
        "sky": "the sky is there, which has no depth",
        "unknown": f"{photo_depth.model} gave no depth there",
    }[reason]
    return InputError(f"the {what} at {spell(xy)} has no depth", why, "choose a pixel on a surface nearby")


def _fitted(
    photo_depth: PhotoDepth,
    references: Sequence[Reference],
    problem: Problem,
    counts: tuple[int, int],
    family: Family,
    prior_scale: tuple[float, float],
    config: ScaleConfig,
) -> ScaleFit:
    keep = np.ones(len(problem.observations), bool)
    of = np.array([o.reference for o in problem.observations])
    single = {r for r in of.tolist() if not isinstance(references[r], DepthPoints)}
    aside: list[int] = []
    while True:
        part = problem.subset(keep)
        found, _ = _solved(photo_depth, part, family, prior_scale, learn=False)
        worst = int(np.argmax(np.abs(found.alone)))
        if abs(found.alone[worst]) <= config.max_deviation:
            break
        reference = int(of[keep][worst])
        left = len(single) - len(aside)
        others = left - 1 + (counts[0] if counts[0] else 0)
        if reference not in single:
            keep &= ~((of == reference) & (np.arange(len(of)) == np.flatnonzero(keep)[worst]))
            continue
        if others < 2 or len(aside) + 1 > max(1, int(config.max_outliers * len(single))):
            raise _contradiction(part, found, worst, references, photo_depth)
        aside.append(reference)
        keep &= of != reference
    found, level = _solved(photo_depth, part, family, prior_scale, learn=True)
    scale, eta = found.log_scale, found.eta
    factor = math.exp(scale)
    a, b = (factor * v for v in family.factors(eta))
    J = family.jacobian(scale, eta)
    anchors = np.concatenate([part.places.xy, (J @ found.by_place).T], 1)
    anchors = anchors[np.abs(found.by_place).max(0) > 1e-9]
    ratio = 0.0
    if family.shifted:
        ends = np.quantile(_known(photo_depth), [0.1, 0.9])
        rise = family.gradient(ends, eta)[:, 1]
        ratio = abs(float(rise[0] - rise[1])) * math.sqrt(found.covariance[1, 1])
    unit = next((r.unit for r in references if isinstance(r, DepthPoints)), "m")
    return ScaleFit(
        a=float(a),
        b=float(b),
        covariance=J @ found.covariance @ J.T,
        spread=float(level),
        unit="m" if single else unit,
        method=_method(references, aside, counts, photo_depth, ratio <= config.known_shift, a),
        num_references=len(single) - len(aside) + counts[0],
        num_outliers=len(aside) + counts[1],
        shift_known=bool(ratio <= config.known_shift),
        anchors=anchors,
        focal_gain=J @ found.by_focal,
    )


def _solved(
    photo_depth: PhotoDepth,
    problem: Problem,
    family: Family,
    prior_scale: tuple[float, float],
    *,
    learn: bool,
) -> tuple[Solution, float]:
    """Solved with the field of the fit itself; with `learn` at the level of error that the references show."""
    row = shape_error(photo_depth.model)
    a, b = family.factors(-row.contrast)
    start = float(np.median([o.value for o in problem.observations if o.kind != "length"] or [0.0]))
    field = Field.of(photo_depth, a * math.exp(-start), b * math.exp(-start))
    level, found = field.level, None
    sure = 0.5 / row.level_doubt**2  # as if the row had been learned from so many references
    freedom = max(len(problem.observations) - (2 if family.shifted else 1), 0) if learn else 0
    for _ in range(4):
        found = solve(problem, family, field, level, prior_scale)
        a, b = (math.exp(found.log_scale) * v for v in family.factors(found.eta))
        field = Field.of(photo_depth, a, b)
        shown = freedom * min(found.chi_square, 25.0) * level**2
        level = math.sqrt((sure * field.level**2 + shown) / (sure + freedom))
        level = float(np.clip(level, field.level / 3, field.level * 4))
    assert found is not None
    return found, level


def _contradiction(
    problem: Problem, found: Solution, worst: int, references: Sequence[Reference], photo_depth: PhotoDepth
) -> AlignmentError:
    seen = problem.observations[worst]
    off = math.exp(found.residual[worst])
    where = " to ".join(spell(problem.places.xy[k].round(1)) for k in seen.places)
    more = off if off > 1 else 1 / off
    return AlignmentError(
        "the references do not agree with each other and the photo",
        f"the {'length' if seen.kind == 'length' else 'depth'} at {where} (pixels of the depth map) would have to be "
        f"{more:.2f} times as {'small' if off > 1 else 'large'} to agree with the others, "
        f"{abs(found.alone[worst]):.1f} standard deviations away",
        "check the pixels, numbers and units; a third reference shows which one is wrong",
    )


def _method(
    references: Sequence[Reference],
    aside: list[int],
    counts: tuple[int, int],
    photo_depth: PhotoDepth,
    shift_known: bool,
    a: float,
) -> str:
    """One phrase."""
    names: dict[str, int] = {}
    for index, given in enumerate(references):
        if index in aside:
            continue
        if isinstance(given, DepthPoints):
            names[f"{counts[0]} {given.what}"] = 0
        else:
            what = getattr(given, "what", None) or ("known length" if hasattr(given, "length") else "known depth")
            names[what] = names.get(what, 0) + 1
    said = ", ".join(f"{n} {what}{'s' if n > 1 else ''}" if n else what for what, n in names.items())
    if aside:
        said += f"; {len(aside)} set aside"
    if photo_depth.scale == "relative":
        return said + ("; scale and shift" if shift_known else "; scale, with a shift as in typical photos")
    if photo_depth.scale == "metric":
        return said + f"; the metres of {photo_depth.model} times {1 / a:.3f}"
    return said + "; scale"
