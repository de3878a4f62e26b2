"""`rilievo doctor`: what this machine has, and a self-test of each kernel against its NumPy twin."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import psutil

from rilievo.commands.common import Common, Talk, num_cores, print_result, spell_megabytes

PACKAGES = ("numpy", "pycolmap", "onnxruntime", "opencv-python-headless", "trimesh", "embreex", "xatlas", "usd-core")


def doctor(common: Common = Common()) -> int:
    """What this machine has, and a self-test of each kernel."""
    from rilievo import __version__, kernels
    from rilievo.selftest import run_selftest

    machine: dict[str, Any] = {
        "rilievo": __version__,
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "cores": num_cores(),
        "memory_mb": round(psutil.virtual_memory().total / 2**20),
        "memory_free_mb": round(psutil.virtual_memory().available / 2**20),
        "disk_free_mb": round(shutil.disk_usage(Path.cwd()).free / 2**20),
        "simd": kernels.native().simd_level(),
        "packages": {name: _version(name) for name in PACKAGES},
    }
    talk = Talk(common)
    tests = [
        {"kernel": o.kernel, "ok": o.error is None, "error": o.error, "seconds": round(o.native_seconds, 3)}
        for o in run_selftest(lambda part: talk.say(f"testing {part} ..."))
    ]
    result = {"machine": machine, "kernels": tests, "ok": all(t["ok"] for t in tests)}
    lines = [
        f"rilievo {machine['rilievo']}, Python {machine['python']}, {machine['system']}",
        f"{machine['cores']} cores ({machine['simd']}), memory {spell_megabytes(machine['memory_mb'])}, of it free "
        f"{spell_megabytes(machine['memory_free_mb'])}; disk free here {spell_megabytes(machine['disk_free_mb'])}",
        *(f"  {name:<26}{version or 'not installed'}" for name, version in machine["packages"].items()),
        *(f"  kernel {t['kernel']:<26}{'ok' if t['ok'] else 'FAILED: ' + t['error']}" for t in tests),
        "all kernels work" if result["ok"] else "some kernels FAILED: please report this with the lines above",
    ]
    print_result(result, common.json, "\n".join(lines))
    return 0 if result["ok"] else 1


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
