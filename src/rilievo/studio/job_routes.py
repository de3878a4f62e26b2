"""The API of jobs: queue, progress, events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from rilievo.studio.houses import OPEN
from rilievo.studio.models import JobAsked
from rilievo.studio.parts import Served, Studio
from rilievo.studio.problems import Problem
from rilievo.studio.routes import Id

router = APIRouter(prefix="/api", tags=["jobs"])
LOOK_S, QUIET_S = 0.25, 15.0


@router.post("/houses/{house_id}/jobs", status_code=201)
def add_job(house_id: Id, asked: JobAsked, studio: Served) -> dict[str, Any]:
    """A job at the end of the queue."""
    studio.houses.row(house_id)
    options = asked.options.model_dump(exclude_none=True)
    makes = list(dict.fromkeys(asked.makes))
    job_id = studio.jobs.add(house_id, makes, asked.quality, options)
    return {"job_id": job_id, **studio.jobs.document(studio.jobs.row(job_id))}


@router.get("/jobs")
def list_jobs(studio: Served) -> list[dict[str, Any]]:
    """All jobs, the newest first."""
    return studio.jobs.list()


@router.get("/jobs/{job_id}")
def get_job(job_id: Id, studio: Served) -> dict[str, Any]:
    """One job with its stages."""
    return studio.jobs.document(studio.jobs.row(job_id))


@router.post("/jobs/{job_id}/cancel")
def cancel_job(job_id: Id, studio: Served) -> dict[str, Any]:
    """Ends a job; what it has finished is kept."""
    studio.jobs.cancel(job_id)
    return studio.jobs.document(studio.jobs.row(job_id))


@router.post("/jobs/{job_id}/restart")
def restart_job(job_id: Id, studio: Served) -> dict[str, Any]:
    """Puts a job that is over into the queue again; it goes on where it stopped."""
    studio.jobs.restart(job_id)
    return studio.jobs.document(studio.jobs.row(job_id))


@router.get("/jobs/{job_id}/events", response_class=StreamingResponse)
async def job_events(job_id: Id, studio: Served) -> Response:
    """The job's document as a server-sent event whenever it changes, until it is over."""
    await asyncio.to_thread(studio.jobs.row, job_id)
    if studio.streams >= studio.limits.streams:
        raise Problem(429, "Too many pages follow jobs", f"{studio.streams} do", "close some of them")
    return StreamingResponse(_events(studio, job_id), media_type="text/event-stream")


async def _events(studio: Studio, job_id: str) -> AsyncIterator[str]:
    studio.streams += 1
    try:
        last, seen, sent = "", -1, time.monotonic()
        while True:
            version = studio.jobs.version()
            if version != seen:
                seen = version
                try:
                    told = await asyncio.to_thread(lambda: studio.jobs.document(studio.jobs.row(job_id)))
                except Problem:
                    return
                text = json.dumps(told, ensure_ascii=False)
                if text != last:
                    last, sent = text, time.monotonic()
                    yield f"data: {text}\n\n"
                if told["status"] not in OPEN:
                    return
            if time.monotonic() - sent > QUIET_S:  # so that a client that has gone is noticed
                sent = time.monotonic()
                yield ": still there\n\n"
            await asyncio.sleep(LOOK_S)
    finally:
        studio.streams -= 1
