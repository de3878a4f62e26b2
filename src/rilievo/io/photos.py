"""Photos in: folders and files to `Photo` values and pixels. A bad file is a result (`Rejected`), not an exception."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from rilievo.errors import InputError, MissingError, ResourceError, RilievoError
from rilievo.io.blur import measure_blur
from rilievo.io.camera_file import read_camera_file
from rilievo.io.exif import focal_px
from rilievo.io.pixels import (
    PHOTO_SUFFIXES,
    RAW_SUFFIXES,
    VIDEO_SUFFIXES,
    Opened,
    open_photo,
    shrink,
    shrunk_size,
    split_alpha,
    to_rgb,
    truncated,
    turn,
)
from rilievo.types import Photo

__all__ = [
    "PhotoSet",
    "Rejected",
    "Source",
    "decode_pixels",
    "decode_whole",
    "find_mask",
    "find_photos",
    "load_mask",
    "load_pixels",
    "load_straight",
    "measure_blur",
    "open_whole",
    "read_camera_file",
    "read_photo",
    "read_photos",
    "select_photos",
    "try_read_photo",
]


@dataclass(frozen=True)
class Source:
    """Where one photo comes from. Small and picklable.

    name: unique within the set, safe as a file name on every system.  mask: its mask file (for a video: the folder).
    pts: time stamp of a video's frame in the stream's own unit; None for photos and whole videos.
    as_stored: do not turn the picture as its notes say (COLMAP and nerfstudio do not).
    """

    name: str
    path: Path
    mask: Path | None = None
    pts: int | None = None
    as_stored: bool = False

    @property
    def is_video(self) -> bool:
        """A whole video: `io.video.choose_frames` turns it into frames."""
        return self.pts is None and self.path.suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True)
class Rejected:
    """A file that is left out, and why, in one sentence."""

    name: str
    reason: str


@dataclass(frozen=True)
class PhotoSet:
    """The photos that can be used, in the order given, and the files that cannot."""

    photos: tuple[tuple[Source, Photo], ...]
    rejected: tuple[Rejected, ...]


def _natural(text: str) -> list[tuple[int, int | str]]:
    """Sort key: IMG_9 before IMG_10."""
    return [(0, int(t)) if t.isdigit() else (1, t.casefold()) for t in re.split(r"([0-9]+)", text) if t]


_RESERVED = {"con", "prn", "aux", "nul", *(f"com{i}" for i in range(1, 10)), *(f"lpt{i}" for i in range(1, 10))}


def safe_name(relative: str) -> str:
    """A path with / whose parts are valid file names on Windows, macOS and Linux."""
    parts = []
    for part in PurePosixPath(unicodedata.normalize("NFC", relative)).parts:
        part = re.sub(r'[<>:"|?*\\\x00-\x1f]', "_", part).rstrip(". ") or "_"
        if part.split(".")[0].casefold() in _RESERVED:
            part = "_" + part
        if part != "/":
            parts.append(part)
    return "/".join(parts)


def find_photos(paths: Iterable[Path | str], *, masks: Path | str | None = None) -> list[Source]:
    """Photos and videos under the given folders and files, in natural order within each folder.

    Hidden files, the masks folder and files with other suffixes are passed over in folders; a file given by name is
    always taken. masks: folder with `photo.jpg.png` beside each other or in the same subfolders as the photos.
    Raises InputError when a path does not exist or nothing is found.
    """
    paths = [Path(p) for p in paths]
    mask_root = Path(masks) if masks is not None else None
    if mask_root is not None and not mask_root.is_dir():
        raise InputError(
            f"the masks folder {mask_root} cannot be used",
            "it is not a folder" if mask_root.exists() else "it does not exist",
            "Give a folder with one PNG a photo, named like IMG_0001.jpg.png.",
        )
    found: list[tuple[str, Path]] = []
    others = 0
    for path in paths:
        if path.is_dir():
            files = _walk(path, mask_root)
            keep = [f for f in files if f.suffix.lower() in PHOTO_SUFFIXES | VIDEO_SUFFIXES]
            others += len(files) - len(keep)
            found += [(f.relative_to(path).as_posix(), f) for f in keep]
        elif path.exists():
            found.append((path.name, path))
        else:
            raise InputError(f"cannot find {path}", "there is no such file or folder", "Check the spelling.")
    if not found:
        where = ", ".join(str(p) for p in paths) or "the input"
        why = "the folder is empty" if not others else f"its files ({others}) have no suffix of a photo or video"
        raise InputError(f"no photos in {where}", why, "Photos may be JPEG, PNG, TIFF, HEIC or raw; videos mp4 or mov.")
    sources = _named(found)
    return [replace(s, mask=find_mask(s, mask_root)) for s in sources] if mask_root is not None else sources


def _walk(folder: Path, skip: Path | None) -> list[Path]:
    """Files under a folder, recursively, hidden ones left out, in natural order."""
    skip = skip.resolve() if skip is not None else None
    files: list[Path] = []
    try:
        entries = sorted(folder.iterdir(), key=lambda p: _natural(p.name))
    except PermissionError as error:
        raise ResourceError(f"cannot read the folder {folder}", "no permission", "Check who owns it.") from error
    for entry in entries:
        if entry.name.startswith(".") or entry.name in ("__MACOSX", "Thumbs.db"):
            continue
        if entry.is_dir():
            if skip is None or entry.resolve() != skip:
                files += _walk(entry, skip)
        else:
            files.append(entry)
    return files


def _named(found: Sequence[tuple[str, Path]]) -> list[Source]:
    """Sources with unique names: a name taken twice is preceded by its folder, then numbered."""
    sources, taken, seen = [], set(), set()
    for relative, path in found:
        real = path.resolve()
        if real in seen:  # the same file given twice
            continue
        seen.add(real)
        name = safe_name(relative)
        if name.casefold() in taken:
            name = safe_name(f"{real.parents[len(PurePosixPath(relative).parts) - 1].name}/{relative}")
        base, number = name, 2
        while name.casefold() in taken:
            suffix = PurePosixPath(base).suffix
            name, number = f"{base.removesuffix(suffix)}~{number}{suffix}", number + 1
        taken.add(name.casefold())
        sources.append(Source(name, path))
    return sources


def find_mask(source: Source, root: Path) -> Path | None:
    """The mask of a photo (`NAME.png`), or the folder of masks of a video; None where there is none."""
    if source.is_video:
        folder = root / source.name
        return folder if folder.is_dir() else None
    for candidate in (root / f"{source.name}.png", root / f"{source.path.name}.png"):
        if candidate.is_file():
            return candidate
    return None


def _read_bytes(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except PermissionError as error:
        raise ResourceError(f"{name} cannot be read", "no permission", f"Check who owns {path}.") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read", error.strerror or str(error)) from error


def _open(source: Source) -> tuple[bytes, Opened]:
    data = _read_bytes(source.path, source.name)
    opened = open_photo(data, source.name, source.path.suffix.lower())
    return data, opened.as_stored() if source.as_stored else opened


def _decode(opened: Opened, name: str, reduction: int = 1) -> np.ndarray:
    try:
        return opened.decode(reduction)
    except (MemoryError, RilievoError):
        raise
    except Exception as error:
        if "Insufficient memory" in str(error):  # OpenCV's own
            raise MemoryError(str(error)) from error
        raise InputError(
            f"{name} cannot be used as a photo",
            f"decoding failed ({(str(error).splitlines() or [''])[0][:120]})",
            "Copy it again from the camera.",
        ) from error


def _check_complete(data: bytes, opened: Opened, name: str) -> None:
    """Raises InputError for a JPEG whose data stop before the picture ends: decoders fill it up with grey."""
    if opened.format != "jpeg" or _jpeg_has_end(data):
        return
    import io

    from PIL import JpegImagePlugin

    try:  # some writers leave out the end marker only
        JpegImagePlugin.JpegImageFile(io.BytesIO(data)).load()
    except OSError as error:
        raise truncated(name, opened.format) from error


def _jpeg_has_end(data: bytes) -> bool:
    """Whether an end-of-image marker follows the first scan (inside a scan FF is never followed by D9)."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:
            return data.rfind(b"\xff\xd9") > at
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def read_photo(source: Source) -> Photo:
    """What is known of one photo: reads the file once, decodes it to see that it is whole and how sharp it is.

    Raises InputError (`why` says what is wrong with the file), ResourceError or MissingError. See also
    `try_read_photo`.
    """
    if source.pts is not None:
        from rilievo.io.video import read_frame

        return read_frame(source)
    if source.is_video:
        raise ValueError(f"{source.name} is a video: choose its frames first (io.video.choose_frames)")
    data, opened = _open(source)
    width, height = opened.width, opened.height
    if min(width, height) < 32:
        raise InputError(
            f"{source.name} cannot be used as a photo", f"it has only {width} x {height} pixels (at least 32 x 32)"
        )
    _check_complete(data, opened, source.name)
    pixels, alpha = to_rgb(_decode(opened, source.name))
    blur = measure_blur(pixels)
    mask_id = None
    if source.mask is not None:
        mask_data = _read_bytes(source.mask, source.mask.name)
        mask_id = hashlib.sha256(mask_data).hexdigest()
        _mask_from(mask_data, source.mask.name, opened, None)
    elif alpha is not None:
        mask_id = "alpha"
    notes = opened.notes
    focal = focal_px(notes, width, height)
    known = notes.camera_name or notes.focal_mm or notes.focal_35mm
    # Without EXIF, photos of one folder and size are taken to come from one camera.
    who = (
        [
            notes.camera_name or "",
            notes.lens,
            f"{notes.focal_mm or notes.focal_35mm or 0:.4g}mm",
            f"x{notes.zoom or 1:g}",
        ]
        if known
        else ["unknown", str(PurePosixPath(source.name).parent)]
    )
    return Photo(
        name=source.name,
        content_id=hashlib.sha256(data).hexdigest(),
        width=width,
        height=height,
        camera_key=" | ".join([*who, f"{width}x{height}"]),
        focal_px=focal,
        gps=notes.gps,
        gps_std_m=notes.gps_std_m,
        taken_at=notes.taken_at,
        camera_name=notes.camera_name,
        blur_px=round(blur, 3) if np.isfinite(blur) else None,
        mask_id=mask_id,
    )


def try_read_photo(source: Source) -> Photo | Rejected:
    """`read_photo`, with a problem of this file as a value. Picklable: for use with a mapper."""
    try:
        return read_photo(source)
    except (InputError, MissingError, ResourceError) as error:
        return Rejected(source.name, error.why or error.what)
    except MemoryError:
        return Rejected(source.name, "the memory is too short to decode it")


def select_photos(sources: Sequence[Source], results: Sequence[Photo | Rejected]) -> PhotoSet:
    """Sorts what `try_read_photo` gave: leaves out exact copies and raw files whose JPEG is there too.

    Raises InputError when nothing usable remains.
    """
    photos: list[tuple[Source, Photo]] = []
    rejected: list[Rejected] = []
    by_content: dict[str, str] = {}
    developed = {
        (str(s.path.parent), s.path.stem.casefold()): s.name
        for s, r in zip(sources, results)
        if isinstance(r, Photo) and s.pts is None and s.path.suffix.lower() not in RAW_SUFFIXES
    }
    for source, result in zip(sources, results):
        if isinstance(result, Rejected):
            rejected.append(result)
        elif result.content_id in by_content:
            rejected.append(Rejected(source.name, f"it is an exact copy of {by_content[result.content_id]}"))
        elif source.path.suffix.lower() in RAW_SUFFIXES and (
            twin := developed.get((str(source.path.parent), source.path.stem.casefold()))
        ):
            rejected.append(Rejected(source.name, f"it is the raw file of {twin}, which is used"))
        else:
            by_content[result.content_id] = source.name
            photos.append((source, result))
    if not photos:
        shown = "; ".join(f"{r.name}: {r.reason}" for r in rejected[:3])
        more = f"; and {len(rejected) - 3} more" if len(rejected) > 3 else ""
        raise InputError("none of the files given can be used", shown + more, "Give at least two photos.")
    return PhotoSet(tuple(photos), tuple(rejected))


def read_photos(sources: Iterable[Source]) -> PhotoSet:
    """All photos, one after another; videos are replaced by chosen frames.

    Raises InputError when nothing usable remains.
    """
    from rilievo.io.video import choose_frames

    expanded: list[Source] = []
    results: list[Photo | Rejected] = []
    for source in sources:
        if not source.is_video:
            expanded.append(source)
            results.append(try_read_photo(source))
            continue
        try:
            frames = choose_frames(source)
        except (InputError, MissingError, ResourceError) as error:
            expanded.append(source)
            results.append(Rejected(source.name, error.why or error.what))
            continue
        expanded += frames
        results += [try_read_photo(f) for f in frames]
    return select_photos(expanded, results)


def load_pixels(source: Source, *, max_size: int | None = None) -> np.ndarray:
    """RGB uint8 (h, w, 3), orientation applied, transparent parts white, long side at most max_size.

    Sizes are those of `shrunk_size`, area-averaged. A JPEG is decoded at a half, quarter or eighth where that still
    has at least max_size pixels.
    """
    if source.pts is not None:
        from rilievo.io.video import load_frame

        pixels = load_frame(source)
        width, height = shrunk_size(pixels.shape[1], pixels.shape[0], max_size)
        return np.ascontiguousarray(shrink(pixels, width, height))
    _, opened = _open(source)
    return decode_pixels(opened, source.name, max_size=max_size)[0]


def load_straight(source: Source) -> tuple[np.ndarray, np.ndarray | None]:
    """RGB uint8 (h, w, 3) of the full photo, not multiplied by its alpha, and alpha uint8 (h, w); None where the photo
    has none or is opaque. Raises InputError when the file is no photo or cut short."""
    if source.pts is not None:
        from rilievo.io.video import load_frame

        return load_frame(source), None
    _, opened = open_whole(source)
    pixels, alpha = split_alpha(_decode(opened, source.name))
    turned = [None if p is None else turn(p, opened.notes.orientation) for p in (pixels, alpha)]
    assert turned[0] is not None
    return np.ascontiguousarray(turned[0]), None if turned[1] is None else np.ascontiguousarray(turned[1])


def open_whole(source: Source) -> tuple[bytes, Opened]:
    """The bytes of a photo's file and its header. Raises InputError when it is no photo, or a JPEG cut short."""
    data, opened = _open(source)
    _check_complete(data, opened, source.name)
    return data, opened


def decode_whole(opened: Opened, name: str) -> np.ndarray:
    """Every value of a file that was opened, upright: uint8 or uint16 (h, w, 1 to 4). Raises InputError when it cannot
    be decoded."""
    pixels = _decode(opened, name)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{name} cannot be used as a photo", f"its pixels are {pixels.dtype}, not 8 or 16 bit")
    return np.ascontiguousarray(turn(pixels, opened.notes.orientation))


def decode_pixels(opened: Opened, name: str, *, max_size: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """`load_pixels` of a file that was opened, and its alpha uint8 (h, w) of the same size, None where it has none."""
    width, height = shrunk_size(opened.width, opened.height, max_size)
    reduction = 1
    while reduction < 8 and max(opened.width, opened.height) >= 2 * reduction * max(width, height):
        reduction *= 2
    pixels, alpha = to_rgb(_decode(opened, name, reduction))
    turned = (height, width) if opened.turns else (width, height)
    parts = [
        None if part is None else np.ascontiguousarray(turn(shrink(part, *turned), opened.notes.orientation))
        for part in (pixels, alpha)
    ]
    assert parts[0] is not None
    return parts[0], parts[1]


def load_mask(source: Source, *, max_size: int | None = None, matching: bool = False) -> np.ndarray | None:
    """bool (h, w), True where the photo may be used; None where there is no mask. Same size as `load_pixels`.

    matching: where it may be used to find cameras; that is also where a mask file is dark grey (a quarter to a half of
    white), as are things that stand still but have no surface there, such as the image in a mirror.
    A mask file wins over the photo's own transparency. Raises InputError when the mask's size is not the photo's.
    """
    if source.mask is None:
        if source.pts is not None:
            return None
        _, opened = _open(source)
        if not opened.has_alpha:
            return None
        _, alpha = to_rgb(_decode(opened, source.name))
        if alpha is None:
            return None
        mask = turn(alpha, opened.notes.orientation) > 127
        return _shrink_mask(mask, *shrunk_size(opened.width, opened.height, max_size))
    data = _read_bytes(source.mask, source.mask.name)
    if source.pts is not None:
        from rilievo.io.video import load_frame

        h, w = load_frame(source).shape[:2]
        return _mask_from_size(data, source.mask.name, w, h, max_size, matching=matching)
    _, opened = _open(source)
    return _mask_from(data, source.mask.name, opened, max_size, matching)


def _mask_from(data: bytes, name: str, opened: Opened, max_size: int | None, matching: bool = False) -> np.ndarray:
    turned = opened.notes.orientation
    return _mask_from_size(data, name, opened.width, opened.height, max_size, turned, matching=matching)


def _mask_from_size(
    data: bytes, name: str, width: int, height: int, max_size: int | None, orientation: int = 1, *,
    matching: bool = False,
) -> np.ndarray:  # fmt: skip
    opened = open_photo(data, name, Path(name).suffix.lower())
    values = _decode(opened, name)
    grey = values.max(axis=2) if values.shape[2] in (1, 3) else values[..., -1]
    if grey.shape != (height, width) and orientation >= 5 and grey.shape == (width, height):
        grey = turn(grey, orientation)  # the mask was drawn on the picture as it is stored
    if grey.shape != (height, width):
        raise InputError(
            f"the mask {name} does not fit its photo",
            f"the mask has {grey.shape[1]} x {grey.shape[0]} pixels, the photo {width} x {height}",
            "Make masks at the photo's own size: white where it may be used, black where not.",
        )
    # Half of the mask's own largest value: files with 0 and 1 are as common as files with 0 and 255.
    mask = grey > grey.max() // (4 if matching else 2)
    return _shrink_mask(mask, *shrunk_size(width, height, max_size))


def _shrink_mask(mask: np.ndarray, width: int, height: int) -> np.ndarray:
    """A smaller pixel may be used only where all that it covers may be."""
    if mask.shape == (height, width):
        return np.ascontiguousarray(mask)
    return shrink(mask.astype(np.uint8) * 255, width, height) == 255
