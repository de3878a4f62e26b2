"""The NodeODM API (its version 2.2.1), so that WebODM, CloudODM and PyODM can use this studio as a processing node.

As there, what goes wrong is told as {"error": ...} with status 200: its clients take other statuses for a broken node.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import psutil
from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse

from rilievo import __version__
from rilievo.errors import RilievoError
from rilievo.studio.multipart import Form, read_form
from rilievo.studio.node_tasks import Tasks, option_documents
from rilievo.studio.parts import Served, Studio
from rilievo.studio.problems import Problem
from rilievo.studio.routes import zip_answer

router = APIRouter(tags=["NodeODM"])
API_VERSION = "2.2.1"
Uuid = Annotated[str, Path(max_length=100)]
_TEXT = {"type": "string"}
_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}


def _form(kind: str = "multipart/form-data", **fields: Any) -> dict[str, Any]:
    """OpenAPI of a form that is read as it comes."""
    return {"requestBody": {"content": {kind: {"schema": {"type": "object", "properties": fields}}}}}


_NEW = {name: _TEXT for name in ("name", "options", "webhook", "outputs", "dateCreated", "skipPostProcessing")}
_UUID_FORM = _form("application/x-www-form-urlencoded", uuid=_TEXT)


def told(error: RilievoError) -> Response:
    """An error as clients of NodeODM read it."""
    text = ": ".join(filter(None, (error.what, error.why, error.hint)))
    status = {413: {"noRetry": True}, 415: {"noRetry": True}}.get(getattr(error, "status", 400), {})
    return JSONResponse({"error": text, **status})


@router.get("/info")
def info(studio: Served) -> dict[str, Any]:
    """What this node is."""
    memory = psutil.virtual_memory()
    waiting = studio.store.one("SELECT count(*) AS n FROM jobs WHERE status IN ('queued','running')")
    return {
        "version": API_VERSION,
        "taskQueueCount": waiting["n"] if waiting else 0,
        "totalMemory": memory.total,
        "availableMemory": memory.available,
        "cpuCores": studio.jobs.threads,
        "maxImages": studio.limits.photos_a_house,
        "maxParallelTasks": 1,
        "engine": "rilievo",
        "engineVersion": __version__,
    }


@router.get("/options")
def options() -> list[dict[str, Any]]:
    """What a task may be told."""
    return option_documents()


@router.get("/auth/info")
def auth_info() -> dict[str, Any]:
    """There is no login, only the token."""
    return {"loginUrl": None, "registerUrl": None, "message": "Give the token that `rilievo serve` printed."}


async def _read(request: Request, studio: Studio, task_id: str | None = None) -> Form:
    """The form; files of it lie in the task's folder."""
    limits = studio.limits
    folder = None if task_id is None else studio.houses.folder(task_id) / "parts"
    if folder is not None:
        length = request.headers.get("content-length", "")
        await run_in_threadpool(studio.uploads.check_disk, int(length) if length.isdigit() else 0)
    most = max(limits.photo_bytes, limits.video_bytes, limits.zip_bytes)
    kind = request.headers.get("content-type", "")
    return await read_form(kind, request.stream(), folder, max_bytes=most, max_files=limits.photos_a_house)


@router.post("/task/new/init", openapi_extra=_form(**_NEW))
async def init(request: Request, studio: Served, set_uuid: Annotated[str | None, Header()] = None) -> Response:
    """A task that files will be uploaded to."""
    try:
        form = await _read(request, studio)
        task_id = await run_in_threadpool(Tasks(studio).begin, form.fields, set_uuid)
    except RilievoError as error:
        return told(error)
    return JSONResponse({"uuid": task_id})


@router.post("/task/new/upload/{uuid}", openapi_extra=_form(images=_FILES))
async def upload(uuid: Uuid, request: Request, studio: Served) -> Response:
    """Files for a task."""
    tasks = Tasks(studio)
    try:
        await run_in_threadpool(tasks.open_row, uuid)
        form = await _read(request, studio, uuid)
        try:
            await run_in_threadpool(tasks.add, uuid, form.files)
        finally:
            await run_in_threadpool(form.discard)
    except RilievoError as error:
        return told(error)
    return JSONResponse({"success": True})


@router.post("/task/new/commit/{uuid}")
def commit(uuid: Uuid, studio: Served) -> Response:
    """All files are there."""
    try:
        Tasks(studio).commit(uuid)
    except RilievoError as error:
        return told(error)
    return JSONResponse({"uuid": uuid})


@router.post("/task/new", openapi_extra=_form(images=_FILES, zipurl=_TEXT, **_NEW))
async def new(request: Request, studio: Served, set_uuid: Annotated[str | None, Header()] = None) -> Response:
    """A task in one go."""
    tasks = Tasks(studio)
    task_id = None
    try:
        # Files may come before the fields, so the task is begun first and told its options afterwards.
        task_id = await run_in_threadpool(tasks.begin, {}, set_uuid)
        form = await _read(request, studio, task_id)
        try:
            await run_in_threadpool(tasks.describe, task_id, form.fields)
            await run_in_threadpool(tasks.add, task_id, form.files)
            await run_in_threadpool(tasks.commit, task_id)
        finally:
            await run_in_threadpool(form.discard)
    except BaseException as error:
        if task_id is not None:
            await run_in_threadpool(studio.delete_house, task_id)
        if isinstance(error, RilievoError):
            return told(error)
        raise
    return JSONResponse({"uuid": task_id})


@router.get("/task/list")
def task_list(studio: Served) -> list[dict[str, str]]:
    """All tasks."""
    return Tasks(studio).listed()


@router.get("/task/{uuid}/info")
def task_info(uuid: Uuid, studio: Served, with_output: Annotated[int | None, Query()] = None) -> Response:
    """How far a task is."""
    tasks = Tasks(studio)
    try:
        document = tasks.document(uuid)
        if with_output is not None:
            document["output"] = tasks.output(uuid, with_output)
    except RilievoError as error:
        return told(error)
    return JSONResponse(document)


@router.get("/task/{uuid}/output")
def task_output(uuid: Uuid, studio: Served, line: int = 0) -> Response:
    """What a task said, line by line."""
    try:
        return JSONResponse(Tasks(studio).output(uuid, line))
    except RilievoError as error:
        return told(error)


@router.get("/task/{uuid}/download/{asset:path}")
def download(uuid: Uuid, asset: str, studio: Served) -> Response:
    """all.zip, textured_model.zip, or a file of the exports."""
    try:
        found = Tasks(studio).asset(uuid, asset)
    except RilievoError as error:
        return told(error)
    if isinstance(found, dict):
        return zip_answer(found, asset.removesuffix(".zip"))
    return FileResponse(found, filename=found.name, media_type="application/octet-stream")


async def _uuid_and_more(request: Request) -> dict[str, str]:
    """Clients send a form, or JSON."""
    kind = request.headers.get("content-type", "")
    if kind.split(";")[0].strip() == "application/json":
        try:
            told = json.loads(await request.body())
        except (ValueError, RecursionError) as error:
            raise Problem(400, "The request is no JSON", str(error)[:100], "") from error
        if not isinstance(told, dict):
            raise Problem(400, "The request is no JSON object", "", "")
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in told.items()}
    return (await read_form(kind, request.stream(), None, max_bytes=0, max_files=0)).fields


@router.post("/task/cancel", openapi_extra=_UUID_FORM)
async def cancel(request: Request, studio: Served) -> Response:
    """Ends a task."""
    return await _command(request, lambda uuid, _: studio.jobs.cancel(Tasks(studio).job(uuid)["id"]))


@router.post("/task/remove", openapi_extra=_UUID_FORM)
async def remove(request: Request, studio: Served) -> Response:
    """Deletes a task and what it made."""

    def work(uuid: str, _: dict[str, str]) -> None:
        Tasks(studio).row(uuid)
        studio.delete_house(uuid)

    return await _command(request, work)


@router.post("/task/restart", openapi_extra=_UUID_FORM)
async def restart(request: Request, studio: Served) -> Response:
    """Again, with other options where they are given."""
    return await _command(request, lambda uuid, more: Tasks(studio).restart(uuid, more.get("options")))


async def _command(request: Request, work: Any) -> Response:
    try:
        fields = await _uuid_and_more(request)
        await run_in_threadpool(work, fields.get("uuid", ""), fields)
    except RilievoError as error:
        return told(error)
    return JSONResponse({"success": True})
