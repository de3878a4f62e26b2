"""Projects that `rilievo build` wrote into the houses folder are houses of the studio."""

from __future__ import annotations

import json
import shutil
import time

from rilievo.studio import adopted
from studio_server import Studio, is_done


def test_a_built_project_is_a_house(tiny, tiny_house, tmp_path):
    houses = tmp_path / "houses"
    houses.mkdir()
    shutil.copytree(tiny_house, houses / "my urn")
    (houses / "notes").mkdir()
    photos = sorted((tiny / "photos").iterdir())
    with Studio(houses) as studio:
        [house] = studio.get("/api/houses")
        place = f"/api/houses/{house['id']}"
        assert house["title"] == "my urn" and house["status"] == "done" and house["makes"] == ["model"]
        assert house["num_photos"] == len(photos) and house["size_bytes"] > 100_000
        for _ in range(400):
            told = studio.get(f"{place}/photos")
            if all(p["checked"] for p in told):
                break
            time.sleep(0.05)
        assert [p["name"] for p in told] == [p.name for p in photos] and told[0]["sharpness"] > 0
        assert studio.client.get(told[0]["thumb"]).headers["content-type"] == "image/jpeg"
        assert "model.glb" in {f["name"] for f in studio.get(f"{place}/exports")}
        assert "<h1>house</h1>" in studio.client.get(f"{place}/report").text
        scene = studio.get(f"{place}/view/scene.json")
        assert scene["title"] == "my urn" and sum(p["placed"] for p in scene["photos"]) == len(photos)
        assert studio.client.post(f"{place}/predict", json={"makes": ["splats"], "quality": "draft"}).json()["seconds"]

        # Made again under another title, nothing is computed, but the report says it.
        studio.client.patch(place, json={"title": "Urn & lid"})
        job = studio.post(f"{place}/jobs", makes=["model"], quality="draft")["job_id"]
        job = studio.wait(job, is_done)
        assert {s["name"]: s["reused"] == s["total"] for s in job["stages"] if s["total"] > 1}["keypoints"]
        assert "<h1>Urn &amp; lid</h1>" in studio.client.get(f"{place}/report").text

        shutil.copytree(tiny_house, houses / "second")
        time.sleep(2)
        assert {h["title"] for h in studio.get("/api/houses")} == {"Urn & lid", "second"}
        shutil.rmtree(houses / "second")
        time.sleep(2)
        assert [h["title"] for h in studio.get("/api/houses")] == ["Urn & lid"]
        assert studio.client.delete(place).status_code == 204
        assert not (houses / "my urn").exists() and all(p.is_file() for p in photos)
        assert studio.get("/api/houses") == []


def test_what_a_damaged_project_says_is_nothing(tmp_path):
    house = tmp_path / "a"
    house.mkdir()
    assert adopted.projects(tmp_path) == []
    for text in (
        "{",
        "[]",
        json.dumps({"sources": {"a.jpg": 3, "b.jpg": {"path": "gone.jpg"}}, "names": 7}),
        "[" * 9999,
    ):
        (house / "project.json").write_text(text)
        told = adopted.describe(house)
        assert (told["photos"], adopted.makes(house), told["title"]) == ([], [], "a")
    assert adopted.projects(tmp_path) == ["a"]
    assert adopted.projects(tmp_path / "none") == []
