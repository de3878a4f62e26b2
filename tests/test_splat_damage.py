"""Splat files that are damaged, lie, or hold what cannot be read or written."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rilievo.errors import InputError, ResourceError, RilievoError
from rilievo.io.splats import FORMATS, read_finite, read_splats, write_splats
from splat_scenes import columns_of, foreign_ply, random_splats

FOREIGN = Path(__file__).parent / "foreign"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    for format in FORMATS:
        write_splats(folder / f"a.{format}", random_splats(40, 2))
    files = {format: (folder / f"a.{format}").read_bytes() for format in FORMATS}
    files |= {"spz4": (FOREIGN / "splats.spz").read_bytes(), "ply4": (FOREIGN / "splats.compressed.ply").read_bytes()}
    return files


@pytest.mark.parametrize("format", [*FORMATS, "spz4", "ply4"])
def test_files_cut_short(format: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    data, path = whole[format], tmp_path / f"a.{format.rstrip('4')}"
    for length in {0, 1, 3, 4, 19, len(data) // 3, len(data) // 2, len(data) - 9, len(data) - 33}:
        if format == "splat" and length and length % 32 == 0:
            continue
        path.write_bytes(data[:length])
        with pytest.raises(InputError) as caught:
            read_splats(path)
        assert path.name in str(caught.value)


@pytest.mark.parametrize("format", [*FORMATS, "spz4", "ply4"])
def test_files_with_flipped_bytes_give_an_answer_or_an_error(
    format: str, whole: dict[str, bytes], tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    data, path = whole[format], tmp_path / f"a.{format.rstrip('4')}"
    for _ in range(120):
        broken = bytearray(data)
        # Half of the hits go where the header is.
        for at in rng.integers(0, len(data) if rng.random() < 0.5 else min(len(data), 400), rng.integers(1, 4)):
            broken[at] = rng.integers(256)
        path.write_bytes(broken)
        try:
            splats, _ = read_finite(path)
        except RilievoError:
            continue
        assert np.isfinite(splats.means).all() and np.isfinite(splats.sh).all() and (splats.scales > 0).all()
        assert np.abs(np.linalg.norm(splats.quats, axis=1) - 1).max() < 1e-5


def webp(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (width, height)).save(out, "WEBP", lossless=True)
    return out.getvalue()


def bombs(whole: dict[str, bytes]) -> dict[str, bytes]:
    """Small files that promise much."""
    header = struct.pack("<IIIBBBB", 0x5053474E, 3, 4_000_000_000, 3, 12, 0, 0)
    few = struct.pack("<IIIBBBB", 0x5053474E, 3, 1, 0, 12, 0, 0)
    ply = whole["ply"].replace(b"element vertex 40", b"element vertex 1000000000000")
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole["sog"])) as good, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bad:
        for name in good.namelist():
            bad.writestr(name, webp(9000, 9000) if name == "quats.webp" else good.read(name))
    many = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole["sog"])) as good, zipfile.ZipFile(many, "w") as bad:
        for name in good.namelist():
            raw = good.read(name)
            bad.writestr(name, raw.replace(b'"count": 40', b'"count": 4000000000') if name == "meta.json" else raw)
    padded = io.BytesIO()
    with zipfile.ZipFile(padded, "w", zipfile.ZIP_DEFLATED) as bad:
        bad.writestr("meta.json", b" " * 200_000_000)
    return {
        "rows.ply": ply,
        "ascii.ply": ply.replace(b"binary_little_endian", b"ascii"),
        "rows.spz": gzip.compress(header + bytes(1000)),
        "zeros.spz": gzip.compress(few + bytes(200_000_000), 9),
        "four.spz": struct.pack("<IIIBBBBI12x", 0x5053474E, 4, 4_000_000_000, 3, 12, 0, 6, 32) + bytes(200),
        "image.sog": out.getvalue(),
        "rows.sog": many.getvalue(),
        "text.sog": padded.getvalue(),
        "rows.glb": whole["glb"].replace(b'"count":40', b'"count":99'),
    }


def test_files_that_promise_much_cost_little(whole: dict[str, bytes], tmp_path: Path) -> None:
    read_splats(_put(tmp_path / "warm.sog", whole["sog"]))  # what is loaded once does not count
    for name, data in bombs(whole).items():
        path = _put(tmp_path / name, data)
        tracemalloc.start()
        try:
            with pytest.raises(InputError):
                read_splats(path)
            assert tracemalloc.get_traced_memory()[1] < 20e6, name
        finally:
            tracemalloc.stop()


def _put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "format", "why"),
    [
        ("a.spz", "ply", "it starts like ply"),
        ("a.ply", "glb", "it starts like glb"),
        ("a.splat", "ply", "it starts like ply"),
        ("a.sog", "spz", "it starts like spz"),
        ("a.glb", "sog", "it starts like sog"),
        ("a.xyz", "ply", "the format 'xyz' is not known"),
        ("a", "ply", "has no ending"),
    ],
)
def test_files_under_a_wrong_name(name: str, format: str, why: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_splats(_put(tmp_path / name, whole[format]))
    assert why in caught.value.why and caught.value.hint


def test_the_wrong_kind_of_ply_says_what_is_missing(tmp_path: Path) -> None:
    _put(tmp_path / "cloud.ply", foreign_ply("<", ["x", "y", "z", "red"], np.ones((4, 4))))
    with pytest.raises(InputError, match="does not hold Gaussian splats") as caught:
        read_splats(tmp_path / "cloud.ply")
    assert "opacity, scale_0" in caught.value.why


@pytest.mark.parametrize("num_rest", [3, 10, 44, 72])
def test_harmonics_of_no_degree(num_rest: int, tmp_path: Path) -> None:
    columns = columns_of(random_splats(3, 0), 0) | {f"f_rest_{i}": np.zeros(3) for i in range(num_rest)}
    _put(tmp_path / "a.ply", foreign_ply("<", list(columns), np.column_stack(list(columns.values()))))
    with pytest.raises(InputError, match="cannot read") as caught:
        read_splats(tmp_path / "a.ply")
    assert f"{num_rest} properties f_rest_*" in caught.value.why and "degree 3 has 45" in caught.value.hint


@pytest.mark.parametrize("order", ["", "<"])
def test_rows_that_are_not_numbers_are_told_or_left_out(order: str, tmp_path: Path) -> None:
    columns = {n: np.array(c) for n, c in columns_of(random_splats(10, 1), 1).items()}
    columns["x"][2] = np.nan
    columns["f_rest_4"][3] = np.inf
    columns["scale_0"][4] = 200  # more than a float holds
    for n in ("rot_0", "rot_1", "rot_2", "rot_3"):
        columns[n][5] = 0
    columns["opacity"][6], columns["opacity"][7] = np.inf, -np.inf  # opaque and transparent, in some programs' files
    columns["scale_1"][8] = -np.inf  # flat
    path = _put(tmp_path / "a.ply", foreign_ply(order, list(columns), np.column_stack(list(columns.values()))))
    with pytest.raises(InputError, match=r"cannot read a\.ply") as caught:
        read_splats(path)
    assert caught.value.why == "4 of its 10 Gaussians are not made of finite numbers"
    splats, num_broken = read_finite(path)
    assert (len(splats.means), num_broken) == (6, 4)
    assert splats.opacities.max() == 1 and splats.opacities.min() == 0 and splats.scales.min() > 0
    write_splats(tmp_path / "b.ply", splats)
    assert read_splats(tmp_path / "b.ply").opacities.max() > 1 - 1e-7


def test_nothing_and_nonsense_are_not_written(tmp_path: Path) -> None:
    splats = random_splats(4, 0)
    empty = replace(splats, **{n: getattr(splats, n)[:0] for n in ("means", "quats", "scales", "opacities", "sh")})
    bad = splats.means.copy()
    bad[1, 2] = np.nan
    for format in FORMATS:
        path = _put(tmp_path / f"a.{format}", b"what was there before")
        for splats_in, why in (
            (empty, "there are no Gaussians"),
            (replace(splats, means=bad), "not finite"),
            (replace(splats, scales=0 * splats.scales), "no size"),
            (replace(splats, opacities=2 * splats.opacities + 1), "opacity outside"),
        ):
            with pytest.raises(InputError, match=f"cannot write a.{format}") as caught:
                write_splats(path, splats_in)
            assert why in caught.value.why
        assert path.read_bytes() == b"what was there before"


@pytest.mark.parametrize("order", ["", "<"])
def test_a_ply_without_rows(order: str, tmp_path: Path) -> None:
    columns = columns_of(random_splats(1, 0), 0)
    _put(tmp_path / "a.ply", foreign_ply(order, list(columns), np.zeros((0, len(columns)))))
    with pytest.raises(InputError) as caught:
        read_splats(tmp_path / "a.ply")
    assert caught.value.why == "it holds no Gaussians"


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_leaves_nothing_behind(format: str, small_disk: Path) -> None:
    splats = random_splats(60_000 if format == "spz" else 110_000, 0)
    (small_disk / "filler").write_bytes(bytes(2_900_000))
    with pytest.raises(ResourceError, match="could not write") as caught:
        write_splats(small_disk / f"a.{format}", splats)
    assert caught.value.why == "the disk is full"
    assert [p.name for p in small_disk.iterdir()] == ["filler"]
