"""What `rilievo prepare` shall do, and how it keeps account: settings, steps, records, where files go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rilievo.errors import InputError
from rilievo.io.files import read_bytes, replacing
from rilievo.io.photos import Source

VERSION = 2
"""Of the method as a whole: bump it when the same settings give other pixels."""
MANIFEST, PHOTOS, MASKS, INVENTED, RECORDS = "prepared.json", "photos", "masks", "invented", "records"
MODELS = ("auto", "bicubic", "lanczos", "frames", "span", "realesrgan-x2", "realesrgan-x4plus")
LEARNED = ("span", "realesrgan-x2", "realesrgan-x4plus")
BACKGROUNDS = ("auto", "network", "empty", "backdrop", "grabcut", "depth")


@dataclass(frozen=True)
class PrepareSettings:
    """Steps of `prepare_photos`, in the order in which they are done.

    restore: undo damage of JPEG.  denoise, deblur: where it is measured to be needed and to help.  white_balance: one
    exposure and one colour for the set.  upscale: 1 to 6.  model: what enlarges (MODELS), and what restores where a
    learned one is named.  background: how it is found (BACKGROUNDS, "" to leave it).  cutout: "alpha" or "masks".
    box: x, y, width, height in pixels of the original around the thing wanted, in every photo.
    empty: photo of the same view without the object.  house: project whose surface tells depth.
    jpeg_quality: of copies that are JPEG.
    """

    restore: bool = False
    denoise: bool = False
    white_balance: bool = False
    deblur: bool = False
    upscale: float = 1.0
    model: str = "auto"
    sharpen: bool = False
    background: str = ""
    cutout: str = "alpha"
    box: tuple[int, int, int, int] | None = None
    empty: Path | None = None
    house: Path | None = None
    jpeg_quality: int = 97


def check_settings(settings: PrepareSettings) -> None:
    """Raises InputError for what cannot be meant."""
    if not 1 <= settings.upscale <= 6:
        raise InputError(
            f"cannot enlarge {settings.upscale:g} times", "photos grow 1 to 6 times", "give --upscale 2, 3 or 4"
        )
    if settings.model not in MODELS:
        raise InputError(f"unknown model {settings.model!r}", "", f"one of {', '.join(MODELS)}")
    if settings.background not in ("", *BACKGROUNDS):
        raise InputError(f"unknown way to find the background {settings.background!r}", "", ", ".join(BACKGROUNDS))
    if settings.cutout not in ("alpha", "masks"):
        raise InputError(f"unknown kind of cut-out {settings.cutout!r}", "", "give alpha or masks")
    if not 50 <= settings.jpeg_quality <= 100:
        raise InputError(f"a JPEG quality of {settings.jpeg_quality} makes no sense here", "", "give 90 to 100")
    if settings.box is not None:
        if not settings.background:
            raise InputError(
                "a box says where the thing is that is cut out", "nothing is to be cut out", "add --remove-background"
            )
        if settings.background not in ("auto", "network", "grabcut"):
            raise InputError(
                f"a box is of no use to --background {settings.background}", "", "leave --box or --background out"
            )
        if min(settings.box[:2]) < 0 or min(settings.box[2:]) < 1:
            raise InputError(
                f"the box {','.join(map(str, settings.box))} holds nothing", "", "give --box x,y,width,height in pixels"
            )
    if settings.background == "empty" and settings.empty is None:
        raise InputError(
            "the background cannot be found by its difference",
            "no photo without the object was given",
            "give --empty PHOTO: the same view, the turntable empty",
        )
    if settings.background == "depth" and settings.house is None:
        raise InputError(
            "the background cannot be found by depth", "no project was given", "give --house HOUSE (rilievo build)"
        )


@dataclass(frozen=True)
class Step:
    """One step of one photo: whether anything was changed, why or why not, and what was measured."""

    step: str
    done: bool
    note: str
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Targets:
    """Where the files of one photo go, relative to the output folder."""

    photo: str
    mask: str
    invented: str
    record: str


class Folder:
    """The output folder: photos, masks, records. Nothing is overwritten that an earlier run did not write here."""

    def __init__(self, root: Path, sources: Sequence[Source]) -> None:
        self.root = root
        if root.exists() and not root.is_dir():
            raise InputError(f"{root} cannot be the output", "it is a file", "give a folder that is new or empty")
        originals = {s.path.resolve() for s in sources}
        inside = [p for p in originals if (root / PHOTOS).resolve() in p.parents]
        if inside:
            raise InputError(
                f"{root} cannot be the output",
                f"the original {inside[0].name} lies in its folder {PHOTOS}, where prepared photos go",
                "give another folder with -o; originals are never overwritten",
            )
        self._taken: dict[str, str] = {}

    def targets(self, source: Source, suffix: str) -> Targets:
        """Names for a photo that will end in `suffix`."""
        name = PurePosixPath(source.name)
        photo = str(name) if name.suffix.lower() == suffix else str(name.with_suffix(suffix))
        if suffix == ".jpg" and name.suffix.lower() in (".jpeg", ".jpe", ".jfif"):
            photo = str(name)
        if self._taken.setdefault(photo.casefold(), source.name) != source.name:  # a.jpg and a.heic
            photo = f"{name}{suffix}"
            self._taken[photo.casefold()] = source.name
        return Targets(
            f"{PHOTOS}/{photo}", f"{MASKS}/{photo}.png", f"{INVENTED}/{photo}.png", f"{RECORDS}/{source.name}.json"
        )

    def claim(self, source: Source, record: dict[str, Any]) -> None:
        """Takes the name of a photo that is kept from before."""
        self._taken[str(record["file"]).removeprefix(f"{PHOTOS}/").casefold()] = source.name

    def record(self, source: Source, recipe: str) -> dict[str, Any] | None:
        """What an earlier run wrote of this photo, if it did the same and its files are whole."""
        record = self.any_record(source)
        if not record or record.get("recipe") != recipe:
            return None
        try:
            whole = all(file_id(self.root / f) == sha for f, sha in record["files"].items())
        except (OSError, KeyError, AttributeError, InputError):
            return None
        return record if whole else None

    def any_record(self, source: Source) -> dict[str, Any]:
        """The record of this photo, whatever it says; empty where there is none."""
        try:
            found = json.loads((self.root / RECORDS / f"{source.name}.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(
        self, source: Source, files: dict[str, bytes], record: dict[str, Any], targets: Targets
    ) -> dict[str, Any]:
        """Writes a photo's files, then the record that vouches for them. Raises ResourceError when the disk is full and
        InputError where a file stands in the way that no earlier run wrote."""
        mine = set(self.any_record(source).get("files", {}))
        for name in files:
            if (self.root / name).exists() and name not in mine:
                raise InputError(
                    f"{self.root / name} is in the way",
                    "it was not written by rilievo prepare, or for another photo",
                    "give another folder with -o; nothing was overwritten",
                )
        # First the claim, then the files: a run that is killed in between may overwrite what it began.
        record = {**record, "files": {n: hashlib.sha256(d).hexdigest() for n, d in files.items()}}
        claim = {"recipe": "unfinished", "files": dict.fromkeys([*mine, *files], "")}
        write_json(self.root / targets.record, claim)
        for name, data in files.items():
            with replacing(self.root / name) as f:
                f.write(data)
        write_json(self.root / targets.record, record)
        for name in mine - set(files):
            (self.root / name).unlink(missing_ok=True)
        return record


def write_json(path: Path, value: Any) -> None:
    """A JSON file, whole or not at all."""
    with replacing(path) as f:
        f.write(json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")


def file_id(path: Path) -> str:
    """sha256 of a file. Raises InputError or ResourceError."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


def recipe_of(settings: PrepareSettings, parts: Iterable[Any]) -> str:
    """Hash of everything that a photo's result depends on."""
    wanted = {k: v for k, v in asdict(settings).items() if k not in ("empty", "house")}
    text = json.dumps([VERSION, wanted, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
