import json
import os
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from rilievo.errors import InputError, ResourceError
from rilievo.mappers import map_serial, map_threads
from rilievo.project import Project
from rilievo.types import Camera


@dataclass(frozen=True)
class TwiceConfig:
    version: ClassVar[int] = 1
    factor: float = 2.0


def camera(x):
    return Camera("PINHOLE", 4, 3, np.array([x, x, 2.0, 1.5]))


def test_a_recipe_is_made_once_and_again_when_config_or_input_changes(tmp_path):
    project, made = Project(tmp_path / "house"), []

    def make():
        made.append(1)
        return camera(2.0)

    first = project.run("twice", TwiceConfig(), ["a"], make)
    again = Project(tmp_path / "house").run("twice", TwiceConfig(), ["a"], make)
    assert (len(made), first.reused, again.reused) == (1, False, True)
    assert first.output == again.output
    project.run("twice", TwiceConfig(factor=3.0), ["a"], make)
    project.run("twice", TwiceConfig(), ["b"], make)
    assert len(made) == 3
    np.testing.assert_array_equal(project.get(first.output).params, camera(2.0).params)


def test_a_deleted_object_is_made_again(tmp_path):
    project = Project(tmp_path)
    step = project.run("twice", TwiceConfig(), ["a"], lambda: camera(2.0))
    project.object_path(step.output).unlink()
    assert project.run("twice", TwiceConfig(), ["a"], lambda: camera(2.0)).reused is False
    assert project.has(step.output)


def test_a_kill_in_the_middle_of_a_write_loses_work_but_no_truth(tmp_path):
    script = textwrap.dedent(f"""
        import os, signal, sys
        import numpy as np
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from rilievo import codec, project
        from test_project import TwiceConfig, camera
        house = project.Project({str(tmp_path)!r})
        house.run("twice", TwiceConfig(), ["a"], lambda: camera(1.0))
        def pieces(value):
            yield next(iter(codec.encode(value)))
            os.kill(os.getpid(), signal.SIGKILL)
        project.encode = pieces
        house.run("twice", TwiceConfig(), ["b"], lambda: camera(2.0))
    """)
    died = subprocess.run([sys.executable, "-c", script], check=False)
    assert died.returncode != 0
    assert len(list((tmp_path / "tmp").iterdir())) == 1
    project = Project(tmp_path)
    assert list((tmp_path / "tmp").iterdir()) == []
    assert project.find("twice", TwiceConfig(), ["b"]) is None
    assert project.run("twice", TwiceConfig(), ["a"], lambda: camera(1.0)).reused


def test_names_survive_and_unknown_projects_are_refused(tmp_path):
    project = Project(tmp_path / "house")
    object_id = project.put(camera(1.0))
    project.update(names={"camera": object_id})
    assert Project(tmp_path / "house", create=False).named("camera").width == 4
    with pytest.raises(InputError, match="no mesh yet"):
        project.named("mesh")
    with pytest.raises(InputError, match="not a rilievo project"):
        Project(tmp_path / "elsewhere", create=False)


def test_a_folder_with_other_things_in_it_is_not_taken_over(tmp_path):
    (tmp_path / "holiday.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        Project(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        Project(tmp_path / "holiday.txt")


def test_a_damaged_object_is_reported_not_used(tmp_path):
    project = Project(tmp_path)
    object_id = project.put(camera(1.0))
    project.object_path(object_id).write_bytes(b"rubbish")
    with pytest.raises(InputError, match="cannot be read"):
        project.get(object_id)


def test_clean_deletes_only_what_no_current_result_needs(tmp_path):
    project = Project(tmp_path)
    kept = project.run("twice", TwiceConfig(), ["a"], lambda: camera(1.0)).output
    dropped = project.run("twice", TwiceConfig(), ["b"], lambda: camera(2.0)).output
    project.update(names={"camera": kept})
    files, size = project.clean()
    assert (files, size > 0) == (2, True)
    assert project.has(kept)
    assert not project.has(dropped)
    assert project.run("twice", TwiceConfig(), ["a"], lambda: camera(1.0)).reused


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_with_a_hint(tmp_path, monkeypatch):
    project = Project(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda fd: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))
    with pytest.raises(ResourceError, match="the disk is full") as caught:
        project.put(camera(1.0))
    assert "run the same command again" in caught.value.hint
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("mapper", [map_serial, lambda f, items: map_threads(f, items, 3)])
def test_mappers_keep_the_order_and_raise_the_first_error(mapper):
    assert list(mapper(lambda x: x * x, range(20))) == [x * x for x in range(20)]

    def fail(x):
        if x in (3, 4):
            raise KeyError(x)
        return x

    with pytest.raises(KeyError, match="3"):
        list(mapper(fail, range(20)))


def test_the_ledger_says_how_a_result_was_made(tmp_path):
    project = Project(tmp_path)
    step = project.run("twice", TwiceConfig(), ["a"], lambda: camera(1.0))
    (entry,) = project.ledger()
    assert entry["output"] == step.output
    assert entry["config"] == {"factor": 2.0}
    assert json.dumps(entry)


def test_processes_that_change_names_at_once_lose_nothing(tmp_path):
    Project(tmp_path / "h").update(start=1)
    script = (
        "import sys, time, pathlib; from rilievo.project import Project\n"
        "p = Project(sys.argv[1], create=False)\n"
        "pathlib.Path(sys.argv[1] + sys.argv[2]).touch()\n"
        "while not pathlib.Path(sys.argv[1] + 'go').exists(): time.sleep(0.001)\n"
        "for k in range(60): p.update(**{f'{sys.argv[2]}{k}': k})"
    )
    runs = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "h"), name]) for name in "ab"]
    while not all((tmp_path / f"h{name}").exists() for name in "ab"):
        assert all(run.poll() is None for run in runs)
        time.sleep(0.01)
    (tmp_path / "hgo").touch()
    assert [run.wait(timeout=120) for run in runs] == [0, 0]
    assert len(Project(tmp_path / "h").read()) == 121
