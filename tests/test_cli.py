"""The command line contract: verbs, exit codes, words of messages."""

import contextlib
import json
import subprocess
import sys

import pytest

from rilievo import cli
from rilievo.commands import common
from rilievo.errors import InputError, RilievoError

HELP = """\
usage: rilievo VERB INPUT... [-o HOUSE] [options]

Photos in, measured 3D out, on a plain CPU.

  plan      where to take photos from: object, facade, room, area by drone
  check     which photos are bad, what is missing, which to take next
  prepare   copies of photos, repaired, enlarged or cut out, with proof
  mask      mask sky, people, moving things, mirrors, glass, background in photos
  build     photos or a video in, textured 3D model and report out
  depth     one photo in, depth map and 3D surface out
  render    a video or frames along a path of the camera
  splats    Gaussian splats of photos whose cameras are known
  field     a radiance field of photos whose cameras are known
  view      a house or files of models in the browser: turn, measure, compare
  share     one web page of a model that opens from disk, also on a phone
  serve     the studio in the browser: photos in, everything without a terminal
  export    write a finished model in another format
  info      what a project holds and how good it is
  why       why a photo was or was not placed
  evaluate  compare a result with known truth
  measure   lengths in a photo of `rilievo depth`, with their plus-minus
  doctor    what this machine has, and a self-test of each kernel
  weights   list or get the files of learned models
  clean     delete what no current result of a project needs

`rilievo VERB --help` explains one verb. Start with: rilievo build MY_PHOTOS -o model
"""


def test_help_is_as_promised_and_imports_nothing_heavy(capsys):
    assert cli.main(["--help"]) == 0
    assert capsys.readouterr().out == HELP
    script = "import sys; from rilievo import cli; cli.main(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = run.stderr
    assert not [m for m in ("numpy", "tyro", "rich", "cv2", "pycolmap") if f"'{m}'" in loaded]


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rilievo 0.")


def test_unknown_verb_and_option_are_wrong_usage(capsys):
    assert cli.main(["biuld", "x"]) == 2
    assert capsys.readouterr().err == "error: unknown verb 'biuld'\nhint:  did you mean `rilievo build`?\n"
    assert cli.main(["info", "somewhere", "--colour"]) == 2
    assert "--colour" in capsys.readouterr().err


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_every_verb_has_help_that_names_its_options(verb, capsys):
    assert cli.main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert "--json" in text
    assert f"rilievo {verb}" in text


def test_a_folder_that_is_no_project_is_told_in_three_parts(tmp_path, capsys):
    assert cli.main(["info", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path} is not a rilievo project\n"
        "why:   it has no project.json\n"
        "hint:  give the folder that `rilievo build` wrote (its -o option)\n"
    )


def test_an_interrupt_is_130_and_a_short_memory_1(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("tyro.cli", interrupted)
    assert cli.main(["info", "x"]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err

    def short(*_, **__):
        raise MemoryError

    monkeypatch.setattr("tyro.cli", short)
    assert cli.main(["info", "x"]) == 1
    assert "ran out of memory" in capsys.readouterr().err


def test_times_and_memories_are_read_with_units():
    assert [common.parse_seconds(t) for t in ("90", "90s", "10m", "1.5h")] == [90, 90, 600, 5400]
    assert [common.parse_megabytes(t) for t in ("500M", "4G", "4GiB", "1T")] == [500, 4096, 4096, 1024**2]
    for wrong in ("", "ten", "5x", "-3m"):
        with pytest.raises(InputError):
            common.parse_seconds(wrong)
        with pytest.raises(InputError):
            common.parse_megabytes(wrong)


def test_spelled_durations():
    assert [common.spell_seconds(s) for s in (3.2, 89, 200, 3000, 4000, 7260, float("inf"))] == [
        "3 s", "89 s", "3 min 20 s", "50 min", "66 min", "2 h 1 min", "?",
    ]  # fmt: skip


def test_errors_survive_a_trip_between_processes():
    import pickle

    error = pickle.loads(pickle.dumps(InputError("what", "why", "hint")))
    assert isinstance(error, InputError)
    assert str(error) == "error: what\nwhy:   why\nhint:  hint"
    assert str(RilievoError("what")) == "error: what"


def test_talk_is_silent_when_quiet_and_one_line_a_stage_otherwise(capsys):
    talk = common.Talk(common.Common(quiet=True))
    talk.say("x")
    talk.progress("depth", 3, 3)
    assert capsys.readouterr().err == ""
    talk = common.Talk(common.Common())
    for done in range(4):
        talk.progress("depth", done, 3, reused=1 if done else 0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "depth" in lines[0]
    assert "(1 kept)" in lines[0]


def test_json_results_are_one_document(capsys):
    common.print_result({"a": 1, "name": "é"}, True, "text")
    assert json.loads(capsys.readouterr().out) == {"a": 1, "name": "é"}


def test_a_swallowed_interrupt_is_asked_for_again(monkeypatch):
    import signal

    from rilievo import interrupt
    from rilievo.commands.common import Common, Talk

    before = signal.getsignal(signal.SIGINT)
    try:
        interrupt.listen()
        talk = Talk(Common(quiet=True))
        talk.progress("depth", 1, 3)
        with contextlib.suppress(KeyboardInterrupt):  # as compiled code does
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            talk.progress("depth", 2, 3)
        interrupt.listen()
        talk.progress("depth", 3, 3)
    finally:
        signal.signal(signal.SIGINT, before)
