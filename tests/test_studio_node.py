"""The studio as a processing node: PyODM as it is published drives it."""

from __future__ import annotations

import io
import json
import time
import warnings
import zipfile

import pytest

from studio_server import PHOTOS, Studio, small_photos

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pyodm import Node
    from pyodm.exceptions import NodeResponseError
    from pyodm.types import TaskStatus

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning")


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    with Studio(tmp_path_factory.mktemp("node") / "houses") as running:
        yield running


@pytest.fixture(scope="module")
def node(studio):
    return Node("127.0.0.1", studio.port, studio.token)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return [str(p) for p in small_photos(tmp_path_factory.mktemp("photos"), 6, (320, 240))]


def until(task, statuses, seconds=120):
    ends = time.monotonic() + seconds
    while (info := task.info()).status not in statuses:
        assert time.monotonic() < ends, info
        assert info.status in (TaskStatus.QUEUED, TaskStatus.RUNNING), info
        time.sleep(0.1)
    return info


def test_the_node_tells_what_it_is(node):
    info = node.info()
    assert info.engine == "rilievo" and info.version == "2.2.1" and info.cpu_cores >= 1 and info.max_images > 100
    options = {o.name: o for o in node.options()}
    assert options["quality"].value == "normal" and options["quality"].domain == ["draft", "normal", "high"]
    with pytest.raises(NodeResponseError, match="token"):
        Node("127.0.0.1", node.port, "wrong").info()


def test_a_task_with_the_sample_photos_is_made_and_unpacked(node, tmp_path):
    files = [str(p) for p in PHOTOS[:8]]
    sent = []
    options = {"quality": "draft", "depth-size": 240, "dsm": True}  # dsm: of other engines, left out
    task = node.create_task(files, options, "Urn", progress_callback=sent.append)
    assert sent[-1] == 100
    assert {"uuid": task.uuid} in node.get("/task/list")
    info = task.info(with_output=0)
    assert info.name == "Urn" and info.images_count == 8 and isinstance(info.output, list)
    assert info.options == [{"name": "quality", "value": "draft"}, {"name": "depth-size", "value": 240}]
    seen = set()

    def watch(info):
        seen.add(round(info.progress))

    task.wait_for_completion(interval=1, status_callback=watch)
    info = task.info()
    assert info.status == TaskStatus.COMPLETED and info.processing_time > 1000 and info.progress == 100
    assert len(seen) > 1
    assert any("cameras" in line for line in task.output())
    assert task.output(-2) == task.output()[-2:]

    unpacked = tmp_path / "unpacked"
    task.download_assets(str(unpacked))
    assert (unpacked / "model.glb").read_bytes()[:4] == b"glTF"
    assert {"model.obj", "cloud.ply", "report.html", "cameras"} <= {p.name for p in unpacked.iterdir()}
    textured = task.get(f"/task/{task.uuid}/download/textured_model.zip")
    with zipfile.ZipFile(io.BytesIO(textured.content)) as archive:
        assert {"model.obj", "model.mtl", "model.glb"} <= set(archive.namelist())
    with pytest.raises(NodeResponseError, match=r"There is no orthophoto\.tif: none was made"):
        task.get(f"/task/{task.uuid}/download/orthophoto.tif")
    with pytest.raises(NodeResponseError, match="There is no"):
        task.get(f"/task/{task.uuid}/download/../../studio.sqlite3".replace("/../", "/%2e%2e/"))
    assert task.remove()
    with pytest.raises(NodeResponseError, match="not found"):
        task.info()


def test_cancel_restart_remove(node, studio, photos):
    first = node.create_task(photos, {"quality": "draft"})
    second = node.create_task(photos, {"quality": "draft"})
    assert second.info().status == TaskStatus.QUEUED
    assert node.info().task_queue_count == 2
    with pytest.raises(NodeResponseError, match="status is"):
        second.download_zip("nowhere")
    assert second.cancel() and second.info().status == TaskStatus.CANCELED
    assert first.cancel() and first.info().status == TaskStatus.CANCELED
    assert first.restart({"quality": "normal", "max-faces": 5000})
    assert first.info().options == [{"name": "quality", "value": "normal"}, {"name": "max-faces", "value": 5000}]
    assert first.cancel() and first.remove() and second.remove()
    assert not (studio.houses / first.uuid).exists()


def test_a_task_in_one_go_and_its_failure(node, photos):
    task = node.create_task_fallback(photos[:1], {"quality": "draft"}, "alone")
    info = until(task, [TaskStatus.FAILED])
    assert "two photos" in info.last_error
    task.remove()


def test_what_cannot_be_is_told(node, studio, photos, tmp_path):
    text = tmp_path / "a.jpg"
    text.write_text("no photo")
    with pytest.raises(NodeResponseError, match="content is text"):
        node.create_task([str(text)], max_retries=0)
    with pytest.raises(NodeResponseError, match="quality"):
        node.create_task([str(text)], {"quality": "best"})
    with pytest.raises(NodeResponseError, match="max_faces"):
        node.create_task([str(text)], {"max-faces": -1})
    ask = studio.client.post
    assert "no photos" in ask("/task/new/commit/" + ask("/task/new/init").json()["uuid"]).json()["error"]
    assert "not found" in ask("/task/new/commit/x").json()["error"]
    control = tmp_path / "gcp_list.txt"
    control.write_text("EPSG:32633\n")
    with pytest.raises(NodeResponseError, match="Ground control"):
        node.create_task([*photos, str(control)], max_retries=0)
    groups = tmp_path / "image_groups.txt"
    groups.write_text("a.jpg 1\n")
    task = node.create_task([*photos[:1], str(groups)], {"quality": "draft"})
    assert task.output()[0] == "left out: 'image_groups.txt' (this node does not use such files)"
    task.remove()
    assert "JSON" in ask("/task/new/init", data={"options": "{"}).json()["error"]
    assert "zipurl" in ask("/task/new", data={"zipurl": "http://example.org/a.zip"}).json()["error"]
    uuid = "0b5c9d3e-1c53-4d0c-8a54-1a0b5f6c1a2b"
    assert ask("/task/new/init", headers={"set-uuid": uuid}).json() == {"uuid": uuid}
    assert "taken" in ask("/task/new/init", headers={"set-uuid": uuid}).json()["error"]
    assert "UUID" in ask("/task/new/init", headers={"set-uuid": "../x"}).json()["error"]
    assert ask("/task/remove", content=json.dumps({"uuid": uuid}), headers={"Content-Type": "application/json"}).json()
    broken = ask("/task/new", content=b"--x\r\nbroken", headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert broken.status_code == 200 and "form" in broken.json()["error"]
