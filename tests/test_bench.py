"""The bench's own rules: what counts as worse, and that every metric reads real reports."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("bench_suite", ROOT / "bench" / "suite.py")
assert spec is not None and spec.loader is not None
suite = importlib.util.module_from_spec(spec)
sys.modules["bench_suite"] = suite
spec.loader.exec_module(suite)

REPORT = {
    "settings": {"quality": "normal"},
    "photos": {"placed": 11, "total": 11, "list": [{"width": 3200, "height": 2000, "placed": True}] * 11},
    "sparse": {"reprojection_error_px": 0.5},
    "stages": [{"stage": "depth", "seconds": 9.0, "cpu_seconds": 17.0, "peak_memory_mb": 800.0}],
}
SCORES = {
    "cameras": {"center_rmse": 0.003, "unit": "m", "center_rmse_gsd": 1.5, "rotation_mean_deg": 0.01},
    "cloud": {"f1": [0.1, 0.2, 0.3], "accuracy": [0.1, 0.9, 1.0], "completeness": [0.1, 0.8, 0.9]},
    "mesh": {
        "f1": [0.4, 0.5, 0.6],
        "accuracy": [0.1, 0.85, 1.0],
        "completeness": [0.1, 0.75, 0.9],
        "inferred_share": 0.03,
    },
}


def test_every_metric_reads() -> None:
    usage = {"wall": 10.0, "cpu": 18.0, "peak_mb": 900.0}
    values = {m.name: m.read(REPORT, SCORES, usage) for m in suite.METRICS}
    assert values["photos_placed"] == 11
    assert values["center_rmse"] == pytest.approx(3.0)
    assert (values["cloud_f1_2gsd"], values["mesh_f1_5gsd"]) == (0.2, 0.6)
    assert (values["cloud_accuracy_2gsd"], values["mesh_completeness_2gsd"]) == (0.9, 0.75)
    assert values["depth_mpx_per_s_core"] == pytest.approx(11 * 1.6 / 17)
    assert None not in values.values()
    empty = {m.name: m.read({}, {}, usage) for m in suite.METRICS}
    assert {name for name, value in empty.items() if value is not None} == {"wall", "cpu", "peak_memory"}
    no_unit = {"cameras": {"center_rmse": 0.003, "unit": "unknown"}}
    assert suite._center_mm({}, no_unit, usage) is None
    stages = suite.stage_metrics(REPORT)
    assert stages["depth.cpu_seconds"][0] == 17.0


@pytest.mark.parametrize(
    ("value", "better", "expected"),
    [
        (100.0, "less", "same"),
        (110.9, "less", "same"),
        (112.0, "less", "WORSE"),
        (80.0, "less", "better"),
        (88.0, "more", "WORSE"),
        (112.0, "more", "better"),
    ],
)
def test_worse_means_beyond_the_tolerance(value: float, better: str, expected: str) -> None:
    rule = suite.Metric("x", "s", better, 0.1, 1.0, lambda r, s, u: None)
    assert suite.compare(value, rule, {"value": 100.0}) == expected
    assert suite.compare(value, rule, None) == "new"


def test_names_are_unique_and_directions_known() -> None:
    assert len({m.name for m in suite.METRICS}) == len(suite.METRICS)
    assert len({c.name for c in suite.CASES}) == len(suite.CASES)
    assert {m.better for m in suite.METRICS} == {"less", "more"}


def test_a_verb_is_run_and_measured(tmp_path: Path) -> None:
    status, text, usage = suite.run(["--version"], tmp_path / "log")
    assert (status, text.startswith("rilievo ")) == (0, True)
    assert 0 < usage["cpu"] < 60 and usage["peak_mb"] > 5
    status, _, _ = suite.run(["no-such-verb"], tmp_path / "log")
    assert status == 2
    assert (tmp_path / "log").read_text()


def test_every_own_scene_is_a_case_and_every_case_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    import scene_bench

    own = {c.name for c in suite.CASES if c.photos.startswith("@scene/")}
    assert own == set(scene_bench.SHOTS)
    readme = (ROOT / "bench" / "README.md").read_text()
    for case in suite.CASES:
        assert case.note and case.name in readme, case.name
    place = suite.place("@scene/wires/photos", Path("data"), Path("rendered"))
    assert place == Path("rendered/wires/photos")
    assert suite.place("@/examples/capture/photos", Path("data")) == ROOT / "examples" / "capture" / "photos"


def test_rendered_scenes_are_kept_until_their_code_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import scene_bench

    specification = importlib.util.spec_from_file_location("bench_scenes", ROOT / "bench" / "scenes.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    written = []

    def write(name: str, folder: Path) -> None:
        (folder / "photos").mkdir(parents=True)
        written.append(name)

    monkeypatch.setattr(scene_bench, "write", write)
    for _ in range(2):
        assert (module.ensure("wires", tmp_path) / "photos").is_dir()
    assert written == ["wires"]
    (tmp_path / "wires" / "made_by").write_text("older")
    module.ensure("wires", tmp_path)
    assert written == ["wires", "wires"] and not (tmp_path / "wires.part").exists()
