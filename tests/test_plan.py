"""Prediction of time and memory, and the choice that fits a time budget."""

from __future__ import annotations

import pytest

from rilievo import plan
from rilievo.errors import InputError, ResourceError
from rilievo.gather import Gathered
from rilievo.types import Photo


def found(num: int, width: int = 4000, height: int = 3000) -> Gathered:
    photos = tuple(Photo(f"{k}.jpg", str(k), width, height, "one") for k in range(num))
    return Gathered(photos, tuple(p.name for p in photos), (), ())


def seconds(quality: str, depth_size: int | None = None, num: int = 20) -> float:
    return plan.predict(found(num), plan.BuildSettings(quality=quality, depth_size=depth_size), 2).seconds


def test_more_work_is_expected_to_take_longer() -> None:
    steps = [seconds(*step) for step in plan.STEPS]
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) == len(steps)
    assert seconds("normal", num=40) > 1.9 * (seconds("normal", num=20) - plan.FIXED_SECONDS)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_a_slower_machine_and_fewer_threads_take_longer(threads: int) -> None:
    usual = plan.predict(found(20), plan.BuildSettings(), threads)
    assert plan.predict(found(20), plan.BuildSettings(), threads, 2.0).seconds == pytest.approx(2 * usual.seconds)
    assert plan.predict(found(20), plan.BuildSettings(), 2 * threads).seconds < usual.seconds


def test_a_time_budget_takes_the_best_that_fits() -> None:
    chosen = []
    for step in plan.STEPS:
        settings = plan.fit_budget(found(20), plan.BuildSettings(seed=7), 2, seconds(*step) + 0.1, 1.0)
        assert settings.seed == 7
        chosen.append((settings.quality, settings.depth_size))
    assert tuple(chosen) == plan.STEPS
    least = plan.fit_budget(found(20), plan.BuildSettings(), 2, 1.0, 1.0)
    assert (least.quality, least.depth_size) == plan.STEPS[-1]


def test_a_slow_machine_gets_less_for_the_same_time() -> None:
    time = seconds("normal") + 0.1
    fast = plan.fit_budget(found(20), plan.BuildSettings(), 2, time, 1.0)
    slow = plan.fit_budget(found(20), plan.BuildSettings(), 2, time, 3.0)
    steps = list(plan.STEPS)
    assert steps.index((slow.quality, slow.depth_size)) > steps.index((fast.quality, fast.depth_size))


def test_the_speed_of_this_machine_is_a_plausible_number() -> None:
    assert 0.1 <= plan.measure_slowness() <= 20


def test_limits_are_told_before_the_work_starts() -> None:
    with pytest.raises(InputError, match="at least two photos"):
        plan.check_plan(plan.predict(found(1), plan.BuildSettings(), 2), plan.Run(), "house")
    with pytest.raises(ResourceError, match="memory is too short") as caught:
        plan.check_plan(plan.predict(found(20), plan.BuildSettings(), 2), plan.Run(memory_mb=200), "house")
    assert "--quality draft" in caught.value.hint
    with pytest.raises(InputError, match="too small"):
        plan.depth_config(plan.BuildSettings(depth_size=20))
    assert plan.depth_config(plan.BuildSettings(depth_size=900)).max_size == 900
