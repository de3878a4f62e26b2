"""`rilievo view` from outside: its address, its end, its messages, what it imports."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request

import pytest

from rilievo import cli
from rilievo.io import models
from view_scenes import box, house


def test_a_house_is_served_until_ctrl_c(tmp_path):
    root = house(tmp_path / "h")
    command = [sys.executable, "-m", "rilievo.cli", "view", str(root), "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout is not None
            text = ""
            while "}" not in text:
                line = run.stdout.readline()
                assert line, run.communicate()
                text += line
            told = json.loads(text)
            assert told["url"].startswith(f"http://127.0.0.1:{told['port']}/")
            with urllib.request.urlopen(told["url"] + "scene.json", timeout=20) as answer:
                assert json.load(answer)["title"] == "h"
            run.send_signal(signal.SIGINT)
            assert run.wait(timeout=20) == 0
        finally:
            run.kill()


def test_its_help_imports_nothing_heavy():
    script = (
        "import sys; from rilievo import cli; cli.main([sys.argv[1], '--help'])\n"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    for verb in ("view", "share"):
        run = subprocess.run([sys.executable, "-c", script, verb], capture_output=True, text=True, check=True)
        assert not [m for m in ("numpy", "cv2", "scipy", "pycolmap", "torch", "PIL") if f"'{m}'" in run.stderr]


def test_starting_imports_no_engines(tmp_path):
    models.write(tmp_path / "box.glb", box())
    script = (
        "import sys, pathlib\nfrom rilievo.view.scene import ViewScene\n"
        "with ViewScene([pathlib.Path(sys.argv[1])]) as s:\n    s.answer('scene.json', {}, None)\n"
        "print(sorted(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "box.glb")], capture_output=True, text=True, check=True
    )
    assert not [m for m in ("pycolmap", "torch", "onnxruntime", "rawpy", "av") if f"'{m}'" in run.stdout]


@pytest.mark.parametrize(
    ("name", "words"),
    [("gone.glb", "no such file or folder"), (".", "not a rilievo project"), ("x.txt", "files that can be shown")],
)
def test_what_cannot_be_shown_is_told(tmp_path, capsys, name, words):
    (tmp_path / "x.txt").write_text("x")
    assert cli.main(["view", str(tmp_path / name), "--no-browser"]) == 1
    assert words in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(tmp_path, capsys):
    import socket

    models.write(tmp_path / "box.glb", box())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["view", str(tmp_path / "box.glb"), "--port", str(port), "--no-browser"]) == 1
    assert f"at port {port}" in capsys.readouterr().err
