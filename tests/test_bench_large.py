"""The synthetic estate of bench/large.py: its depth maps lie on its truth, and replicate."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("bench_large", ROOT / "bench" / "large.py")
assert spec is not None and spec.loader is not None
large = importlib.util.module_from_spec(spec)
sys.modules["bench_large"] = large
spec.loader.exec_module(large)


@pytest.fixture(scope="module")
def estate():
    return large.Estate(8000)


@pytest.mark.parametrize("name", ["000_000", "002_001"])
def test_maps_lie_on_the_truth_whichever_camera(estate, name):
    depth_map, pixels = estate.load(name)
    assert pixels.shape == (*depth_map.depth.shape, 3)
    rows, columns = np.indices(depth_map.depth.shape)
    K = depth_map.camera.K
    ray = np.stack([(columns + 0.5 - K[0, 2]) / K[0, 0], (rows + 0.5 - K[1, 2]) / K[1, 1], np.ones(rows.shape)], -1)
    R, t = depth_map.cam_from_world[:, :3], depth_map.cam_from_world[:, 3]
    depth = np.array(estate._base[0], np.float64)
    world = (depth[..., None] * ray - t) @ R
    # To first order: near the house's corners and where the ground curves a little is left.
    assert np.quantile(large.distance_to_truth(world.reshape(-1, 3)), 0.999) < 0.01 * estate.footprint
    error = np.abs(depth_map.depth - depth) / depth_map.sigma
    assert 0.6 < np.quantile(error, 0.68) < 1.5 and (error > 8).mean() < 2 * large.WRONG
    normals = depth_map.normals
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    assert ((normals * ray).sum(-1) < 1e-6).all()  # they face the camera


def test_samples_of_a_plot_lie_on_the_truth():
    places = large.sample_plot(0.02)
    assert large.distance_to_truth(places).max() < 1e-12
    assert (places[:, 2] > 0.2).any()


def test_neighbours_are_cameras_of_the_estate(estate):
    assert len(estate.names) == estate.n**2
    for name, others in estate.neighbours.items():
        assert name not in others and set(others) <= set(estate.names) and 3 <= len(others) <= 8


def test_size_follows_the_points():
    small, big = large.Estate(4000), large.Estate(16000)
    assert big.size > 1.5 * small.size or big.n > small.n


def test_fused_and_judged(estate, tmp_path):
    out = large.fuse_part(estate, tmp_path / "house")
    assert out["points"] > 4000
    judged = large.judge_part(estate, tmp_path / "house")
    assert judged["cloud_seen_within_1.5"] > 0.9
    assert judged["cloud_rms_within_3"] < 0.6
