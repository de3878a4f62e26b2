"""What a job's child makes, and how far the account says it is."""

from __future__ import annotations

import io
import json

import pytest

from rilievo import plan_field, plan_splats
from rilievo.errors import InputError
from rilievo.studio import stages, worker
from studio_server import small_photos


def test_model_splats_and_field_in_one_job(tmp_path, monkeypatch):
    monkeypatch.setitem(plan_splats.PRESETS, "draft", (128, 60, 2000))
    monkeypatch.setitem(plan_field.PRESETS, "draft", (96, 60, 16, 12))
    small_photos(tmp_path / "photos", 6, (320, 240))
    out = io.StringIO()
    job = {
        "makes": ["splats", "field"], "quality": "draft", "options": {"seed": 3, "max_faces": 3000}, "threads": 2,
        "memory_mb": 4000.0, "photos": [str(tmp_path / "photos")], "masks": None, "title": "Urn",
        "house": str(tmp_path / "model"),
        "depth": str(tmp_path / "depth"),
    }  # fmt: skip
    facts = worker.make(job, worker.Lines(out))
    assert facts["model"] and facts["splats"]["iterations"] == 60 and facts["field"]["iterations"] == 60
    files = {p.name for p in (tmp_path / "model" / "export").iterdir()}
    assert {"model.glb", "splats.ply", "field.npz"} <= files

    account = stages.Account(job["makes"], "draft")
    last = 0.0
    for line in out.getvalue().splitlines():
        told = json.loads(line)
        if "stage" in told:
            account.take(told["stage"], told["done"], told["total"], told["reused"])
            assert account.progress() >= last
            last = account.progress()
    assert last > 0.98
    names = [row["name"] for row in account.document()["stages"]]
    assert names.index("cloud") < names.index("splats") < names.index("field")
    assert all(row["done"] >= row["total"] for row in account.document(over=True)["stages"])


def test_depth_wants_a_photo_of_the_house(tmp_path):
    small_photos(tmp_path / "photos", 1)
    job = {"options": {"photo": "other.jpg"}, "quality": "draft", "threads": 1, "photos": [str(tmp_path / "photos")]}
    with pytest.raises(InputError, match="no photo to make depth of"):
        worker.make_depth(job, worker.Lines(io.StringIO()))
