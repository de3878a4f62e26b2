"""The bench of splats: its naive loop is the same step as ours, and its scene is what it says."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from rilievo import geometry
from rilievo.types import Camera

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("bench_splats", ROOT / "bench" / "splats.py")
assert spec is not None and spec.loader is not None
bench = importlib.util.module_from_spec(spec)
sys.modules["bench_splats"] = bench
spec.loader.exec_module(bench)


@pytest.fixture(scope="module")
def case():
    rows = bench.own_scene(4000)
    rows[:, 8:11] += 1.5  # few Gaussians: larger ones
    camera = Camera.pinhole(120, 90, np.array([[110.0, 0, 60], [0, 110.0, 45], [0, 0, 1]]))
    return bench.Case(rows, camera, bench.own_place())


def test_the_scene_is_seeded_flat_and_of_every_opacity():
    rows = bench.own_scene(5000)
    np.testing.assert_array_equal(rows, bench.own_scene(5000))
    assert np.isfinite(rows).all()
    opacity = 1 / (1 + np.exp(-rows[:, 3]))
    assert (opacity > 0.6).mean() > 0.3 and (opacity < 0.3).mean() > 0.3
    thin = np.sort(rows[:, 8:11], 1)
    assert np.median(thin[:, 0] - thin[:, 1]) < -0.7
    table = rows[: 5000 // 4]
    R = geometry.rotation_from_quaternion(table[:, 4:8].astype(np.float64))
    np.testing.assert_allclose(np.abs(R[:, 2, 2]), 1, atol=1e-3)  # discs lie flat on it


def test_the_naive_loop_is_the_same_step(case, tmp_path, monkeypatch, capsys):
    if not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("no C++ compiler")
    monkeypatch.setattr(bench, "BUILD", tmp_path)
    found = bench.naive(case, argparse.Namespace(threads=2, repeat=2))
    # Boxes of three standard deviations cut off what ours draws down to alpha 1/255.
    assert found["picture_difference"] < 0.03 and found["gradient_difference"] < 0.03
    assert 5 < found["gaussians_per_pixel"] < 300
    assert found["ratio_per_thread_cpu"] > 0 and "times as fast" in capsys.readouterr().err


def test_a_step_moves_nothing_and_is_timed(case):
    before = case.rows.copy()
    found = bench.raster(case, argparse.Namespace(threads=2, repeat=2))
    np.testing.assert_array_equal(case.rows, before)
    assert {"forward", "loss", "backward", "iteration"} <= set(found) and found["num_visible"] > 1000


def test_what_is_absent_is_skipped(tmp_path, capsys):
    options = argparse.Namespace(data=tmp_path, budget=None, house=None, threads=2)
    assert bench.chair(options) is None and bench.idol(options) is None
    assert capsys.readouterr().err.count("is not there, skipped") == 2
