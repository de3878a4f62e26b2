"""Bytes of a photo file to pixels: format by content (never by name), size, metadata, decoding, orientation."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rilievo.errors import InputError, MissingError
from rilievo.io.exif import CameraNotes, read_jpeg_notes, read_notes, read_tiff_notes

# A file that claims more pixels than this is refused; the largest cameras make 0.2 Gpx, stitched pictures about 1.
MAX_PIXELS = 2_000_000_000
# Pixels a byte of file: real photos stay below 50 even when nearly empty; a bomb of zeros is above 500.
MAX_PIXELS_PER_BYTE = 400

RAW_SUFFIXES = frozenset(
    [
        ".3fr",
        ".arw",
        ".cr2",
        ".cr3",
        ".crw",
        ".dcr",
        ".dng",
        ".erf",
        ".fff",
        ".iiq",
        ".kdc",
        ".mef",
        ".mos",
        ".mrw",
        ".nef",
        ".nrw",
        ".orf",
        ".pef",
        ".raf",
        ".raw",
        ".rw2",
        ".rwl",
        ".sr2",
        ".srf",
        ".srw",
        ".x3f",
    ]
)
PHOTO_SUFFIXES = RAW_SUFFIXES | frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".heic", ".heif", ".hif", ".webp", ".bmp"]
)
VIDEO_SUFFIXES = frozenset([".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mts", ".m2ts", ".3gp"])

warnings_lock = threading.Lock()


@dataclass(frozen=True)
class Opened:
    """A photo file whose header was read. width, height: after orientation. draft: pixels of a smaller decode."""

    format: str
    width: int
    height: int
    notes: CameraNotes
    has_alpha: bool
    decode: Callable[[int], np.ndarray]  # (reduction 1, 2, 4 or 8) -> (h, w, 1, 3 or 4), uint8 or uint16, unturned

    def as_stored(self) -> Opened:
        """The same file with its note on orientation passed over."""
        if self.turns:
            notes = replace(self.notes, orientation=1)
            return replace(self, notes=notes, width=self.height, height=self.width)
        return replace(self, notes=replace(self.notes, orientation=1))

    @property
    def turns(self) -> bool:
        """Whether the stored picture lies on its side."""
        return self.notes.orientation >= 5


def sniff(head: bytes, suffix: str) -> str | None:
    """Format by the first 32 bytes; the suffix only tells apart raw files that are TIFF inside."""
    if head[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand == b"crx ":
            return "raw"
        if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
            return "heic"
        return "video"
    if head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
        return "raw" if suffix in RAW_SUFFIXES else "tiff"
    if head[:4] in (b"IIRO", b"IIRS", b"MMOR", b"IIU\x00", b"FUJI", b"FOVb", b"\x00MRM") or head[6:10] == b"HEAP":
        return "raw"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM":
        return "bmp"
    return None


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation (1 to 8)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _cannot(name: str, why: str, hint: str = "") -> InputError:
    return InputError(f"{name} cannot be used as a photo", why, hint)


def truncated(name: str, format: str) -> InputError:
    """The error of a file whose data stop before the picture ends; decoders would fill it up silently."""
    return _cannot(
        name,
        f"the {format.upper()} is truncated: its data end before the picture does",
        "Copy it again from the camera; the other photos are used.",
    )


def _guard(name: str, width: int, height: int, num_bytes: int) -> None:
    if width < 1 or height < 1:
        raise _cannot(name, f"its header says {width} x {height} pixels")
    if width * height > MAX_PIXELS or (
        width * height > 50_000_000 and width * height > MAX_PIXELS_PER_BYTE * num_bytes
    ):
        raise _cannot(
            name,
            f"its header claims {width} x {height} pixels in a file of {num_bytes:,} bytes: no camera writes that, and "
            "unpacking it could fill the memory",
            "If it is real, save it again as tiles or as a JPEG of ordinary size.",
        )


def open_photo(data: bytes, name: str, suffix: str) -> Opened:
    """Reads the header of a photo file. Raises InputError that says what the file is instead."""
    if not data:
        raise _cannot(name, "the file is empty (0 bytes)", "Copy it again from the camera.")
    format = sniff(data[:32], suffix)
    if format is None:
        looks_like_text = not any(b < 9 for b in data[:512])
        kind = "text" if looks_like_text else "no known picture format"
        raise _cannot(
            name,
            f"its content is {kind}, whatever its name says",
            "Known formats: JPEG, PNG, TIFF, HEIC, WebP, BMP and the raw formats of camera makers.",
        )
    if format == "video":
        raise _cannot(name, "it is a video with the name of a photo", "Rename it to .mp4 or .mov.")
    if format == "png" and b"IEND" not in data[-65536:]:
        raise truncated(name, format)
    try:
        # Pillow warns of damaged notes; the lock keeps the filters of several threads apart.
        with warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _open_raw(data, name) if format == "raw" else _open_picture(data, name, format)
    except (InputError, MissingError, MemoryError):
        raise
    except Exception as error:
        raise _cannot(
            name,
            f"the header of this {format.upper()} file is damaged ({_first_line(error)})",
            "Copy it again from the camera.",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def pillow_picture(file: io.BytesIO, format: str) -> Any:
    """The file as Pillow's picture, its header read. The plugin classes are called directly: Image.open warns about
    sizes by a global limit that is not ours to set."""
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

    plugin: Any = {
        "jpeg": JpegImagePlugin.JpegImageFile,
        "png": PngImagePlugin.PngImageFile,
        "tiff": TiffImagePlugin.TiffImageFile,
        "webp": WebPImagePlugin.WebPImageFile,
        "bmp": BmpImagePlugin.BmpImageFile,
    }[format]
    return plugin(file)


def _open_picture(data: bytes, name: str, format: str) -> Opened:
    file = io.BytesIO(data)
    if format == "heic":
        try:
            import pi_heif
        except ImportError as error:
            raise MissingError(f"{name} is a HEIC photo", "the package pi-heif is not installed") from error
        heif = pi_heif.open_heif(file, convert_hdr_to_8bit=True)
        width, height = heif.size
        _guard(name, width, height, len(data))
        from PIL import Image

        exif = Image.Exif()
        if heif.info.get("exif"):
            exif.load(heif.info["exif"])
        notes = read_notes(exif, xmp=heif.info.get("xmp") or b"")
        notes = CameraNotes(**{**notes.__dict__, "orientation": 1})  # libheif has turned the picture already
        return Opened(format, width, height, notes, False, lambda _: _heif_pixels(data))
    picture = pillow_picture(file, format)
    width, height = picture.size
    _guard(name, width, height, len(data))
    try:
        exif = picture.getexif()
    except Exception:  # a damaged block of notes does not make the pixels worse
        exif = {}
    notes = read_notes(exif, xmp=picture.info.get("xmp") or b"")
    if notes.orientation >= 5:
        width, height = height, width
    has_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info

    def decode(reduction: int) -> np.ndarray:
        if format in ("jpeg", "png", "tiff", "bmp") and picture.mode not in ("CMYK", "P", "1", "PA", "LAB", "YCbCr"):
            return _cv_pixels(data, format, reduction)
        from PIL import Image

        mode = "RGBA" if has_alpha else "RGB"
        with pillow_picture(io.BytesIO(data), format) as again:
            if format == "jpeg" and reduction > 1:
                again.draft(None, (again.width // reduction, again.height // reduction))
            converted: Image.Image = again.convert(mode)
            return np.asarray(converted)

    return Opened(format, width, height, notes, has_alpha, decode)


def _heif_pixels(data: bytes) -> np.ndarray:
    import pi_heif

    heif = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
    return np.asarray(heif.to_pillow().convert("RGB"))


def _cv_pixels(data: bytes, format: str, reduction: int) -> np.ndarray:
    import cv2

    if format == "jpeg":
        flag = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}.get(
            reduction, cv2.IMREAD_REDUCED_COLOR_8
        )
        flag |= cv2.IMREAD_IGNORE_ORIENTATION
    else:
        flag = cv2.IMREAD_UNCHANGED  # keeps 16 bits and alpha; applies no orientation
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    if pixels is None:
        raise ValueError("the decoder gave up")
    if pixels.ndim == 2:
        return pixels[..., None]
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _open_raw(data: bytes, name: str) -> Opened:
    try:
        import rawpy
    except ImportError as error:
        raise MissingError(f"{name} is a camera's raw file", "the package rawpy is not installed") from error
    notes = read_tiff_notes(data)
    with rawpy.imread(io.BytesIO(data)) as raw:
        width, height, flip = raw.sizes.width, raw.sizes.height, raw.sizes.flip
        _guard(name, width, height, len(data))
        if not notes.maker:
            try:
                thumbnail = raw.extract_thumb()
                if thumbnail.format == rawpy.ThumbFormat.JPEG:  # type: ignore[attr-defined]
                    notes = read_jpeg_notes(thumbnail.data)  # type: ignore[arg-type]
            except (rawpy.LibRawError, ValueError):  # type: ignore[attr-defined]
                pass
    if flip in (5, 6):
        width, height = height, width
    notes = CameraNotes(**{**notes.__dict__, "orientation": 1})  # LibRaw turns the picture itself

    def decode(reduction: int) -> np.ndarray:
        with rawpy.imread(io.BytesIO(data)) as raw:
            # no_auto_bright: the same exposure must look the same in every photo of a set.
            return raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=8, half_size=reduction > 1)

    return Opened("raw", width, height, notes, False, decode)


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 (h, w, c) -> uint8, rounded."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        out = np.empty(pixels.shape, np.uint8)
        for i in range(0, len(pixels), 256):  # in bands: a 16-bit photo is large enough as it is
            out[i : i + 256] = (pixels[i : i + 256].astype(np.uint32) + 128) // 257
        return out
    raise ValueError(f"its pixels are {pixels.dtype}, not 8 or 16 bit")


def split_alpha(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(h, w, 1 to 4) -> RGB uint8 as stored and alpha (h, w), None where the picture has none or is opaque."""
    pixels = to_uint8(pixels)
    alpha = None
    if pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1]
        pixels = pixels[..., :-1]
        if alpha.min() == 255:
            alpha = None
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return pixels, alpha


def to_rgb(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """(h, w, 1, 3 or 4) -> RGB uint8 over white and alpha (h, w), None where the picture has none or is opaque."""
    pixels, alpha = split_alpha(pixels)
    if alpha is not None:
        a = alpha[..., None].astype(np.uint16)
        pixels = ((pixels * a + (255 - a) * 255 + 127) // 255).astype(np.uint8)
    return pixels, alpha


def shrink(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Area-averaged to (height, width)."""
    import cv2

    if pixels.shape[:2] == (height, width):
        return pixels
    return cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=cv2.INTER_AREA)


def shrunk_size(width: int, height: int, max_size: int | None) -> tuple[int, int]:
    """(width, height) of the photo scaled so that its long side is at most max_size."""
    if not max_size or max(width, height) <= max_size:
        return width, height
    scale = max_size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))
