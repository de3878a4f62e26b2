"""What many tests share: captures rendered once a session, a small disk."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every run, and no clock: a red test is red for everybody.
settings.register_profile("rilievo", derandomize=True, deadline=None)
settings.load_profile("rilievo")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """Eight photos at 400 x 300 of a small scene, in `photos`, with `truth` beside them."""
    from scenes import tiny_capture

    folder = tmp_path_factory.mktemp("tiny")
    tiny_capture(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_house(tiny, tmp_path_factory) -> Path:
    """A finished build of `tiny` at draft quality. Tests that change it copy it first."""
    from rilievo import BuildSettings, Run, photos_to_mesh

    house = tmp_path_factory.mktemp("built") / "house"
    photos_to_mesh([tiny / "photos"], house, settings=BuildSettings(quality="draft"), run=Run(num_threads=2))
    return house


@pytest.fixture
def small_disk(tmp_path):
    """A 3 MB file system; skips where this user may not make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("may not mount a small disk here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)
