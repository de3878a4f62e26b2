"""The photos of a plan, rendered and reconstructed by the product, have what the plan said of the true surface."""

import pytest

import plan_scenes


def test_a_small_plan_keeps_its_word(tmp_path):
    simulation = plan_scenes.small_object()
    planned = simulation.planned().figures()
    photos = plan_scenes.photograph(simulation, tmp_path, samples=1)
    model = plan_scenes.find_cameras(photos, tmp_path / "house")
    assert len(model.names) >= len(simulation.stations.group) - 1
    found, error = plan_scenes.achieved(simulation, model)
    figures = found.figures()
    for metric in ("gsd_median", "overlap_median", "views_mean"):
        assert figures[metric] == pytest.approx(planned[metric], rel=0.05), metric
    assert error < 0.01


def test_a_missing_tier_is_noticed():
    simulation = plan_scenes.small_object()
    planned = simulation.planned().figures()
    import dataclasses

    keep = simulation.stations.group > 0
    fewer = dataclasses.replace(
        simulation.stations,
        cam_from_world=simulation.stations.cam_from_world[keep],
        group=simulation.stations.group[keep],
        strip=simulation.stations.strip[keep],
    )
    less = dataclasses.replace(simulation, stations=fewer).planned().figures()
    assert less["views_mean"] < 0.7 * planned["views_mean"]


def test_surface_model_is_the_scene_from_above():
    import numpy as np

    import scenes
    from rilievo.capture.places import Plane

    scene = scenes.make_scene("blocks", 3)
    raster = plan_scenes.surface_model(scene, Plane(46.0, 9.0), 100.0, step=0.02)
    middle = Plane(46.0, 9.0).to_degrees(np.array([[0.02, 0.0], [0.6, 0.6]]))
    top, ground = raster.at_degrees(middle[:, 0], middle[:, 1])
    assert top == pytest.approx(100.62, abs=0.02) and ground == pytest.approx(100.0, abs=0.01)
