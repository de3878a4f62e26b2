"""Files of radiance fields: what is written comes back, and what is damaged is told."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from field_scenes import sphere_field
from rilievo.errors import InputError
from rilievo.io.field import read_field, write_field

PATH_OF_TRAP = "trap"


class Trap:
    """Makes a file when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (PATH_OF_TRAP,)


def problem(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_field(path)
    assert caught.value.what == f"cannot read {path.name}" and caught.value.why and caught.value.hint
    return caught.value


def contents(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


def test_a_field_comes_back_from_its_file(tmp_path):
    field, path = replace(sphere_field(), unbounded=True, background=(0.25, 0.5, 0.0)), tmp_path / "new" / "field.npz"
    write_field(path, field)
    again = read_field(path)
    for part in fields(field):
        one, two = getattr(field, part.name), getattr(again, part.name)
        assert type(one) is type(two)
        np.testing.assert_array_equal(one, two)
    first = path.read_bytes()
    write_field(path, again)
    assert path.read_bytes() == first


def test_files_that_are_no_field(tmp_path):
    path = tmp_path / "field.npz"
    with pytest.raises(InputError, match=r"cannot read .*field\.npz"):
        read_field(path)
    path.write_bytes(b"")
    assert "damaged, or no .npz" in problem(path).why
    path.write_bytes(b"ply\nformat ascii 1.0\n")
    assert "damaged, or no .npz" in problem(path).why
    np.savez(path, table=np.zeros(3))
    assert "does not hold a radiance field" in problem(path).why
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").replace(path)
    problem(path)


def test_a_file_that_was_cut_off_or_changed(tmp_path):
    path = tmp_path / "field.npz"
    write_field(path, sphere_field())
    whole = path.read_bytes()
    for length in (10, 1000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "damaged" in problem(path).why
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 255  # the archive's checksum sees it
    path.write_bytes(changed)
    assert "damaged" in problem(path).why


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("table", lambda a: a[:-1], "levels do not fit its table"),
        ("table", lambda a: a.astype(np.float64), "its table is float64"),
        ("table", lambda a: a.astype(">f4"), "its table is >f4"),
        ("table", lambda a: a.ravel(), "its table is float32 with 1 axes"),
        (
            "table",
            lambda a: np.where(np.arange(4) == 2, np.nan, a).astype(np.float32),
            "table holds numbers that are not",
        ),
        ("table", lambda a: np.ascontiguousarray(a[:, :2]), "wrong shape"),
        ("weights", lambda a: np.full_like(a, np.inf), "weights holds numbers that are not"),
        ("weights", lambda a: a[1:], "weights, not"),
        ("levels", lambda a: a[:3], "wrong shape"),
        ("levels", lambda a: a * 2, "levels do not fit"),
        ("levels", lambda a: -a, "levels do not fit"),
        ("levels", lambda a: a + np.array([0, 0, 0, 1], np.int32), "levels do not fit"),  # hashed: not powers of two
        ("density_width", lambda a: np.array(20), "widths of 20"),
        ("color_width", lambda a: np.array(-16), "and -16"),
        ("occupancy", lambda a: a[:, :, :2], "its occupancy"),
        ("occupancy", lambda a: a[:0], "its occupancy"),
        ("edges", lambda a: a[::-1], "do not rise"),
        ("edges", lambda a: a[:1], "do not rise"),
        ("edges", lambda a: a - 1, "do not rise"),
        ("center", lambda a: a[:2], "where it is"),
        ("radius", lambda a: np.array(0.0), "where it is"),
        ("radius", lambda a: np.array(np.nan), "radius holds numbers that are not"),
        ("background", lambda a: a + 0.5, "no colour"),
        ("unbounded", lambda a: np.array(1), "its unbounded is int64"),
        ("format", lambda a: np.array("rilievo field 2"), "does not hold a radiance field"),
    ],
)
def test_parts_that_are_not_as_they_must_be(tmp_path, name, change, why):
    path = tmp_path / "field.npz"
    write_field(path, sphere_field())
    held = contents(path)
    np.savez(path, **{**held, name: change(held[name])})
    assert why in problem(path).why
    del held[name]
    np.savez(path, **held)
    assert name in problem(path).why or name == "format"


def test_nothing_in_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_field(tmp_path / "field.npz", sphere_field())
    held = contents(tmp_path / "field.npz")
    for name in ("table", "format"):
        np.savez(tmp_path / "bad.npz", **{**held, name: np.array([Trap()], object)}, allow_pickle=True)
        assert "damaged" in problem(tmp_path / "bad.npz").why
    assert not (tmp_path / PATH_OF_TRAP).exists()
