"""The application: its parts put together, its errors as documents, its pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from rilievo import __version__
from rilievo.errors import ResourceError, RilievoError
from rilievo.studio import job_routes, node, pages, routes
from rilievo.studio.parts import Studio
from rilievo.studio.problems import Problem, document
from rilievo.studio.safety import Safety


def create_app(
    studio: Studio, *, token: str, hosts: Collection[str] = ("127.0.0.1", "localhost"), port: int | None = None
) -> Any:
    """The ASGI application of a studio. It closes the studio when it ends.

    token: what every request must show.  hosts: names it may be asked under.  port: None for any.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        studio.close()

    app = FastAPI(
        title="rilievo studio",
        version=__version__,
        description="Photos in, measured 3D out. Every request shows the token: as cookie, `token=` or bearer.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.studio = studio
    for part in (routes.router, job_routes.router, node.router, pages.router):
        app.include_router(part)
    app.add_exception_handler(RilievoError, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _broken)
    return Safety(app, token=token, hosts=hosts, port=port, limits=studio.limits, large=_is_large)


def _is_large(path: str) -> bool:
    """Where bodies are files."""
    return path.startswith(("/api/uploads/", "/task/new"))


def open_studio(root: Path, **options: Any) -> Studio:
    """`Studio.open`."""
    return Studio.open(root, **options)


def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, RilievoError)
    status = error.status if isinstance(error, Problem) else 507 if isinstance(error, ResourceError) else 422
    return JSONResponse(document(error), status)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0] if error.errors() else {}
    where = ".".join(str(p) for p in first.get("loc", ()))[:100]
    why = f"{where}: {first.get('msg', 'it cannot be read')}"[:300]
    told = {"error": "The request cannot be understood", "why": why, "hint": "/openapi.json describes what can be asked"}
    return JSONResponse(told, 422)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told: Any = error.detail
    if not isinstance(told, dict):
        what = {404: "There is no such page", 405: "That cannot be done here"}.get(error.status_code, str(error.detail))
        told = {"error": what, "why": "", "hint": ""}
    return JSONResponse(told, error.status_code, headers=dict(error.headers or {}))


def _broken(request: Request, error: Exception) -> Response:
    told = {
        "error": "The studio made a mistake",
        "why": type(error).__name__,
        "hint": "try it again; the terminal of `rilievo serve` says more",
    }
    return JSONResponse(told, 500)
