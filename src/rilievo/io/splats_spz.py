"""Splats in SPZ (Niantic, github.com/nianticlabs/spz, version 1 to 4): one attribute after the other, in few bits each.

Header (little-endian): "NGSP", version, number of Gaussians (three uint32), degree, bits of the fraction, flags (1:
trained with the filter of Mip-Splatting), a reserved byte. Then places (24-bit fixed point), opacities, colours (0.5 +
0.15 f_dc), sizes (16 (log s + 10)), quaternions, harmonics (128 + 128 f), each of all Gaussians; all of it in one
gzip. Version 1 has half floats for places; version 1 and 2 have x y z of the quaternion in a byte each with w >= 0;
later ones the three smallest of the four, 10 bits each, and the number of the largest. Version 4 has a header of 32
bytes and one Zstandard frame an attribute. Version 3 is written, which the most programs read.

Axes are x right, y up, z back where PLY files are x right, y down, z forward: y and z change their signs, and with them
the harmonics that are odd in y z.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from rilievo.errors import InputError, MissingError
from rilievo.gaussians import NUM_COEFFICIENTS
from rilievo.io.files import replacing
from rilievo.io.splats import Raw, world_means
from rilievo.types import Splats

_MAGIC, _HEADER, _ANTIALIASED = 0x5053474E, struct.Struct("<IIIBBBB"), 1
_RATIO = 1100  # deflate cannot make anything smaller than 1/1032
_AXES = np.array([1.0, -1.0, -1.0])
# Signs of the harmonics when y and z change theirs: each is even or odd in (y, z) together.
_SH_SIGNS = np.array([1, -1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1], np.float64)
_STEP_1, _STEP_REST = 8, 16  # 5 bits for degree 1, 4 for the others: what the reference writer keeps


def write(path: Path, splats: Splats) -> None:
    """Writes version 3. Places are kept to 2^-20 or as finely as 24 bits allow."""
    means = world_means(splats)[0].astype(np.float64) * _AXES
    far = float(np.abs(means).max())
    bits = 20
    while bits >= 0 and far * 2**bits > 2**23 - 1:
        bits -= 1
    if bits < 0:
        raise InputError(
            f"cannot write {path.name}",
            f"a Gaussian lies {far:.3g} from zero, and SPZ ends at {2**23}",
            "move the scene with --translate, or write PLY",
        )
    fixed = np.round(means * 2**bits).astype("<i4")
    places = np.ascontiguousarray(fixed).view(np.uint8).reshape(-1, 3, 4)[:, :, :3]
    sh = splats.sh.astype(np.float64) * _SH_SIGNS[: splats.sh.shape[1], None]
    step = np.where(np.arange(1, sh.shape[1]) < 4, _STEP_1, _STEP_REST)[:, None]
    harmonics = _byte(np.floor((np.round(128 + 128 * sh[:, 1:]) + step // 2) / step) * step)
    parts = [
        places,
        _byte(255 * splats.opacities.astype(np.float64)),
        _byte(127.5 + 0.15 * 255 * sh[:, 0]),
        _byte(16 * (np.log(splats.scales.astype(np.float64)) + 10)),
        _smallest_three(splats.quats),
        harmonics,
    ]
    flags = _ANTIALIASED if splats.antialiased else 0
    header = _HEADER.pack(_MAGIC, 3, len(means), splats.degree, bits, flags, 0)
    with replacing(path) as f:
        squeeze = zlib.compressobj(6, zlib.DEFLATED, 31)  # gzip without a date: the same bytes every time
        for part in (header, *(np.ascontiguousarray(p).tobytes() for p in parts)):
            f.write(squeeze.compress(part))
        f.write(squeeze.flush())


def _byte(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _smallest_three(quats: np.ndarray) -> np.ndarray:
    """Unit quaternions w x y z -> uint32: the number of the largest of x y z w, then sign and 9 bits of the others."""
    q = quats[:, [1, 2, 3, 0]].astype(np.float64) * [1, -1, -1, 1]
    largest = np.argmax(np.abs(q), 1)
    q *= np.where(np.take_along_axis(q, largest[:, None], 1) < 0, -1.0, 1.0)
    packed = largest.astype(np.uint32)
    others = np.argsort(np.arange(4) == largest[:, None], axis=1, kind="stable")[:, :3]
    for k in range(3):
        value = np.take_along_axis(q, others[:, k : k + 1], 1)[:, 0]
        size = np.minimum(np.floor(511 * np.abs(value) * np.sqrt(2) + 0.5), 511).astype(np.uint32)
        packed = packed << np.uint32(10) | (value < 0).astype(np.uint32) << np.uint32(9) | size
    return packed.astype("<u4")


def read(path: Path, data: bytes) -> Raw:
    """Reads version 1 to 4. Vendors' extensions are passed over."""
    if data.startswith(b"NGSP"):
        return _read_streams(path, data)
    unpack = zlib.decompressobj(31)
    header = _inflate(path, unpack, data, _HEADER.size)
    version, count, degree, bits, flags = _parse(path, header)
    sizes = _sizes(version, count, degree)
    total = sum(sizes)
    if total > _RATIO * len(data):
        raise InputError(
            f"cannot read {path.name}",
            f"its header promises {count} Gaussians, more than {len(data)} bytes can hold",
            "the file is damaged",
        )
    body = _inflate(path, unpack, unpack.unconsumed_tail, total)
    if len(body) < total:
        raise InputError(f"cannot read {path.name}", f"the file is cut short: {len(body)} of {total} bytes are there")
    _finish(path, unpack)
    ends = np.cumsum([0, *sizes])
    parts = [np.frombuffer(body, np.uint8, n, at) for n, at in zip(sizes, ends)]
    return _decode(parts, version, count, degree, bits, flags)


def _inflate(path: Path, unpack: zlib._Decompress, data: bytes, size: int) -> bytes:
    """At most `size` bytes; fewer where the file ends."""
    try:
        return unpack.decompress(data, size) if size else b""
    except zlib.error as e:
        raise InputError(f"cannot read {path.name}", f"the SPZ file is damaged ({e})") from e


def _finish(path: Path, unpack: zlib._Decompress) -> None:
    """Passes over what follows the Gaussians up to the checksum, which tells whether the file is whole."""
    left = 1 << 26
    while not unpack.eof and left > 0:
        piece = _inflate(path, unpack, unpack.unconsumed_tail, 1 << 20)
        if not piece and not unpack.unconsumed_tail:
            break
        left -= len(piece)
    if not unpack.eof:
        why = "the file is cut short" if left > 0 else "it goes on long after its last Gaussian"
        raise InputError(f"cannot read {path.name}", why)


def _parse(path: Path, header: bytes) -> tuple[int, int, int, int, int]:
    if len(header) < _HEADER.size or header[:4] != b"NGSP":
        raise InputError(f"cannot read {path.name}", "it is not an SPZ file (no `NGSP` at its start)")
    _, version, count, degree, bits, flags, _ = _HEADER.unpack(header[: _HEADER.size])
    if not 1 <= version <= 4:
        raise InputError(f"cannot read {path.name}", f"it is SPZ version {version}; 1 to 4 are read")
    if degree > 3:
        raise InputError(f"cannot read {path.name}", f"it has harmonics of degree {degree}; 0 to 3 are read")
    if bits > 24:
        raise InputError(f"cannot read {path.name}", f"the SPZ header is damaged ({bits} bits of a fraction)")
    return version, count, degree, bits, flags


def _sizes(version: int, count: int, degree: int) -> list[int]:
    place, quat = (6 if version == 1 else 9), (4 if version >= 3 else 3)
    return [count * n for n in (place, 1, 3, 3, quat, 3 * (NUM_COEFFICIENTS[degree] - 1))]


def _read_streams(path: Path, data: bytes) -> Raw:
    version, count, degree, bits, flags = _parse(path, data)
    if version != 4 or len(data) < 32:
        raise InputError(f"cannot read {path.name}", "the SPZ header is damaged")
    num_streams, table = data[15], struct.unpack_from("<I", data, 16)[0]
    sizes = _sizes(version, count, degree)
    if num_streams < (5 if degree == 0 else 6) or table + 16 * num_streams > len(data):
        raise InputError(f"cannot read {path.name}", "the SPZ file is damaged or cut short (its table of streams)")
    at = table + 16 * num_streams
    parts = []
    for i, size in enumerate(sizes):
        packed = struct.unpack_from("<Q", data, table + 16 * i)[0] if i < num_streams else 0
        if at + packed > len(data):
            raise InputError(f"cannot read {path.name}", "the SPZ file is cut short")
        parts.append(np.frombuffer(_zstandard(path, data[at : at + packed], size), np.uint8))
        at += packed
    return _decode(parts, version, count, degree, bits, flags)


def _zstandard(path: Path, frame: bytes, size: int) -> bytes:
    """The `size` bytes of a Zstandard frame."""
    if size == 0:
        return b""
    try:
        import zstandard
    except ImportError as e:
        raise MissingError(
            f"cannot read {path.name}", "SPZ version 4 is packed with Zstandard", "pip install zstandard"
        ) from e
    # A frame says how long it is before anything is unpacked; one that does not is unpacked in small steps.
    out = bytearray()
    try:
        told = zstandard.frame_content_size(frame)
        if told not in (-1, size):
            raise InputError(f"cannot read {path.name}", f"a stream holds {told} bytes where {size} are promised")
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(frame) as stream:
            while len(out) < size and (piece := stream.read(min(1 << 20, size - len(out)))):
                out += piece
    except zstandard.ZstdError as e:
        raise InputError(f"cannot read {path.name}", f"the SPZ file is damaged ({e})") from e
    if len(out) != size:
        raise InputError(f"cannot read {path.name}", f"a stream ends after {len(out)} of {size} bytes")
    return bytes(out)


def _decode(parts: list[np.ndarray], version: int, count: int, degree: int, bits: int, flags: int) -> Raw:
    places, opacities, colors, scales, quats, harmonics = parts
    if version == 1:
        means = places.view("<f2").reshape(count, 3).astype(np.float64)
    else:
        wide = np.zeros((count, 3, 4), np.uint8)
        wide[:, :, 1:] = places.reshape(count, 3, 3)
        means = (wide.view("<i4")[:, :, 0] >> 8) / 2.0**bits
    sh = np.empty((count, NUM_COEFFICIENTS[degree], 3))
    sh[:, 0] = (colors.reshape(count, 3) / 255.0 - 0.5) / 0.15
    sh[:, 1:] = harmonics.reshape(count, -1, 3) / 128.0 - 1 if degree else 0
    sh *= _SH_SIGNS[: sh.shape[1], None]
    return Raw(
        (means * _AXES).astype(np.float32),
        _quats(quats, version, count),
        np.exp(scales.reshape(count, 3) / 16.0 - 10),
        opacities / 255.0,
        sh.astype(np.float32),
        bool(flags & _ANTIALIASED),
    )


def _quats(data: np.ndarray, version: int, count: int) -> np.ndarray:
    """float64 (n, 4) w x y z in our axes."""
    if version < 3:
        xyz = data.reshape(count, 3) / 127.5 - 1
        q = np.column_stack([np.sqrt(np.maximum(1 - (xyz**2).sum(1), 0)), xyz])
        return q * [1, 1, -1, -1]
    packed = data.view("<u4")
    largest = (packed >> 30).astype(np.int64)
    others = np.argsort(np.arange(4) == largest[:, None], axis=1, kind="stable")[:, :3]
    q = np.zeros((count, 4))
    for k in range(3):
        field = packed >> np.uint32(20 - 10 * k) & np.uint32(0x3FF)
        value = (field & 0x1FF) / (511 * np.sqrt(2)) * np.where(field & 0x200, -1.0, 1.0)
        np.put_along_axis(q, others[:, k : k + 1], value[:, None], 1)
    rest = np.sqrt(np.maximum(1 - (q**2).sum(1), 0))
    np.put_along_axis(q, largest[:, None], rest[:, None], 1)
    return q[:, [3, 0, 1, 2]] * [1, 1, -1, -1]
