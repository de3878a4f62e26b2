"""The files of a check: check.json, check.html, contact.jpg, plan.svg, coverage.glb."""

from __future__ import annotations

import json
import os
from pathlib import Path

from rilievo.checking.drawing import plan_svg
from rilievo.checking.looks import to_jpeg
from rilievo.checking.model import coverage_mesh
from rilievo.checking.page import check_page
from rilievo.checking.result import Checked
from rilievo.checking.sheet import contact_sheet
from rilievo.io import models
from rilievo.project import explain_os_errors


def publish(checked: Checked, folder: Path, title: str) -> list[Path]:
    """Writes the files, each whole or not at all; returns their paths. Raises ResourceError for a full disk or a folder
    that cannot be written."""
    files: dict[str, bytes] = {
        "check.json": (json.dumps(checked.document, indent=1, ensure_ascii=False) + "\n").encode(),
        "check.html": check_page(checked, title).encode(),
    }
    if checked.looks:
        files["contact.jpg"] = to_jpeg(contact_sheet(checked.looks, checked.document["photos"]["list"]), 90)
    plan = plan_svg(checked)
    if plan:
        files["plan.svg"] = plan.encode()
    out = []
    with explain_os_errors("write the report", folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            part = folder / f".{name}.{os.getpid()}.part"
            try:
                part.write_bytes(content)
                part.replace(folder / name)
            finally:
                part.unlink(missing_ok=True)
            out.append(folder / name)
        mesh = coverage_mesh(checked)
        if mesh is not None and not checked.document["built"]:
            models.write(folder / "coverage.glb", mesh)
            out.append(folder / "coverage.glb")
    return out
