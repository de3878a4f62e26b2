"""The self-test of `rilievo doctor`: its scene goes through every stage as they are today."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rilievo import kernels, selftest

GET = kernels.get


def compared_with(twins: dict[str, Callable[..., Any]]) -> Callable[..., Any]:
    """`kernels.get` with other twins; the rest are the kernels themselves, which is quick."""

    def get(name: str, backend: str | None = None) -> Callable[..., Any]:
        return twins.get(name, GET(name, "native")) if backend == "reference" else GET(name, "native")

    return get


def test_every_part_runs_and_none_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "get", compared_with({}))
    outcomes = selftest.run_selftest()
    assert {o.kernel: o.error for o in outcomes if o.error} == {}
    assert {"sift", "stereo_sweep", "fuse_map", "min_cut", "bake_faces"} <= {o.kernel for o in outcomes}
    assert {"splat_forward", "splat_backward", "splat_update", "photo_loss"} <= {o.kernel for o in outcomes}


def test_a_kernel_that_answers_wrongly_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*args: Any, **settings: Any) -> Any:
        return tuple(a + 1 for a in GET("match_nearest", "native")(*args, **settings))

    monkeypatch.setattr(kernels, "get", compared_with({"match_nearest": wrong}))
    monkeypatch.setattr(selftest, "PARTS", {"keypoints and matches": selftest.check_keypoints})
    assert [o.kernel for o in selftest.run_selftest() if o.error] == ["match_nearest"]


@pytest.mark.parametrize("name", ["splat_forward", "splat_backward", "splat_update", "photo_loss"])
def test_splat_kernels_that_answer_wrongly_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "PARTS", {"splats": selftest.check_splats})
    assert {o.kernel: o.error for o in selftest.run_selftest() if o.error} == {}  # the twins themselves

    def wrong(*args: Any, **settings: Any) -> Any:
        answer = GET(name, "reference")(*args, **settings)
        if name == "splat_forward":
            answer.features[:] += 0.1
        elif name == "splat_backward":
            return answer[0] * 2 + 1, answer[1]
        elif name == "splat_update":
            args[3][:, :4] += 0.1  # rows
        else:
            args[-2][:] *= -1  # gradient
        return answer

    twins = {n: GET(n, "reference") for n in ("splat_forward", "splat_backward", "splat_update", "photo_loss")}
    monkeypatch.setattr(kernels, "get", compared_with(twins | {name: wrong}))
    assert name in [o.kernel for o in selftest.run_selftest() if o.error]
