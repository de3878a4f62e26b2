"""The studio's own API: houses, uploads, photos, exports."""

from __future__ import annotations

import shutil
from pathlib import Path as FilePath
from typing import Annotated, Any

import psutil
from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse

from rilievo import __version__
from rilievo.studio.exports import export_file, export_files, listed, zipped
from rilievo.studio.models import MAX_SIZE, HouseAsked, PredictAsked, UploadAsked
from rilievo.studio.parts import Served
from rilievo.studio.predict import predict
from rilievo.studio.problems import Problem, gone

router = APIRouter(prefix="/api")
Id = Annotated[str, Path(max_length=64)]
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"


@router.get("/state", tags=["studio"])
def state(studio: Served) -> dict[str, Any]:
    """Version, machine and limits."""
    memory = psutil.virtual_memory()
    limits = studio.limits
    return {
        "version": __version__,
        "lan": studio.lan,
        "machine": {
            "threads": studio.jobs.threads,
            "memory_mb": round(memory.total / 1e6),
            "free_memory_mb": round(memory.available / 1e6),
            "free_disk_mb": round(shutil.disk_usage(studio.root).free / 1e6),
        },
        "limits": {
            n: getattr(limits, n) for n in ("photo_bytes", "video_bytes", "zip_bytes", "photo_pixels", "photos_a_house")
        },
    }


# houses


@router.get("/houses", tags=["houses"])
def list_houses(studio: Served) -> list[dict[str, Any]]:
    """All houses, the newest first."""
    studio.adopt()
    return studio.houses.list()


@router.post("/houses", tags=["houses"], status_code=201)
def make_house(asked: HouseAsked, studio: Served) -> dict[str, Any]:
    """A new, empty house."""
    return studio.houses.document(studio.houses.row(studio.houses.make(asked.title)))


@router.get("/houses/{house_id}", tags=["houses"])
def get_house(house_id: Id, studio: Served) -> dict[str, Any]:
    """One house."""
    return studio.houses.document(studio.houses.row(house_id))


@router.patch("/houses/{house_id}", tags=["houses"])
def rename_house(house_id: Id, asked: HouseAsked, studio: Served) -> dict[str, Any]:
    """Another title."""
    return studio.houses.rename(house_id, asked.title)


@router.delete("/houses/{house_id}", tags=["houses"], status_code=204)
def delete_house(house_id: Id, studio: Served) -> Response:
    """Deletes a house and all that was made of it; a job of it is ended."""
    studio.delete_house(house_id)
    return Response(status_code=204)


# uploads


@router.post("/houses/{house_id}/uploads", tags=["uploads"], status_code=201)
def begin_upload(house_id: Id, asked: UploadAsked, studio: Served) -> dict[str, Any]:
    """Announces a file; where it was begun before, offset says how much has arrived."""
    return studio.uploads.begin(house_id, asked.name, asked.size, asked.sha256)


@router.patch(
    "/uploads/{upload_id}",
    tags=["uploads"],
    openapi_extra={
        "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def append_upload(
    upload_id: Id,
    request: Request,
    studio: Served,
    upload_offset: Annotated[int, Header(ge=0, le=MAX_SIZE)],
) -> dict[str, Any]:
    """The next bytes, from Upload-Offset on. The last ones make the file join its house: then the answer has `photo`
    (of a zip: `photos` and `left_out`), or says why the file cannot be used."""
    return await studio.uploads.append(upload_id, upload_offset, request.stream())


@router.get("/uploads/{upload_id}", tags=["uploads"])
@router.head("/uploads/{upload_id}", tags=["uploads"], include_in_schema=False)
def get_upload(upload_id: Id, studio: Served, response: Response) -> dict[str, Any]:
    """How much has arrived; also as header Upload-Offset."""
    told = studio.uploads.document(studio.uploads.row(upload_id))
    response.headers["Upload-Offset"] = str(told["offset"])
    return told


@router.delete("/uploads/{upload_id}", tags=["uploads"], status_code=204)
def cancel_upload(upload_id: Id, studio: Served) -> Response:
    """Forgets an upload that is not complete."""
    studio.uploads.cancel(upload_id)
    return Response(status_code=204)


# photos


@router.get("/houses/{house_id}/photos", tags=["photos"])
def list_photos(house_id: Id, studio: Served) -> list[dict[str, Any]]:
    """Photos and videos with sharpness (sigma of the blur, px; null while it is not known) and warnings."""
    studio.houses.row(house_id)
    return studio.houses.photos(house_id)


@router.get("/houses/{house_id}/photos/{name}/thumb.jpg", tags=["photos"], response_class=FileResponse)
def thumb(house_id: Id, name: str, studio: Served) -> Response:
    """A small picture; a grey one while there is none."""
    row = studio.houses.photo(house_id, name)
    file = studio.houses.folder(house_id) / "thumbs" / f"{row['name']}.jpg"
    if not file.is_file():
        return Response(_BLANK, media_type="image/svg+xml", headers={"Cache-Control": "no-store"})
    return FileResponse(file, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})


_BLANK = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="3"><rect width="4" height="3" fill="#8884"/></svg>'


@router.delete("/houses/{house_id}/photos/{name}", tags=["photos"], status_code=204)
def delete_photo(house_id: Id, name: str, studio: Served) -> Response:
    """Deletes a photo; models that were made with it stay."""
    studio.houses.row(house_id)
    studio.houses.forget_photo(house_id, name)
    return Response(status_code=204)


@router.post("/houses/{house_id}/predict", tags=["jobs"])
def predict_job(house_id: Id, asked: PredictAsked, studio: Served) -> dict[str, Any]:
    """Seconds, memory (MB) and disk (MB) that a job is expected to take."""
    studio.houses.row(house_id)
    free_mb = psutil.virtual_memory().available / 1e6
    return predict(studio.houses.photos(house_id), asked.makes, asked.quality, studio.jobs.threads, free_mb)


# exports


@router.get("/houses/{house_id}/exports", tags=["exports"])
def list_exports(house_id: Id, studio: Served) -> list[dict[str, Any]]:
    """Files that were made."""
    studio.houses.row(house_id)
    return listed(house_id, studio.houses.made(house_id))


@router.get("/houses/{house_id}/exports/{name:path}", tags=["exports"], response_class=FileResponse)
def get_export(house_id: Id, name: str, studio: Served) -> Response:
    """One file, or a range of it."""
    studio.houses.row(house_id)
    file, kind = export_file(studio.houses.made(house_id), name)
    return FileResponse(file, media_type=kind, filename=file.name)


@router.get("/houses/{house_id}/all.zip", tags=["exports"], response_class=StreamingResponse)
def get_all(house_id: Id, studio: Served) -> Response:
    """All files in one zip, written while it is sent."""
    row = studio.houses.row(house_id)
    files = export_files(studio.houses.made(house_id))
    if not files:
        raise Problem(404, "There are no files yet", "nothing has been made of this house", "make something first")
    return zip_answer(files, row["title"] or "house")


def zip_answer(files: dict[str, FilePath], title: str) -> Response:
    """A zip as a download."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in title).strip("-")[:60] or "house"
    headers = {"Content-Disposition": f'attachment; filename="{safe}.zip"'}
    return StreamingResponse(zipped(files), media_type="application/zip", headers=headers)


@router.get("/houses/{house_id}/report", tags=["exports"], response_class=FileResponse)
def get_report(house_id: Id, studio: Served) -> Response:
    """The report as a page without scripts."""
    studio.houses.row(house_id)
    model, depth = studio.houses.made(house_id)
    for file in (model / "export" / "report.html", depth / "report.html"):
        if file.is_file():
            return FileResponse(file, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})
    raise gone("report")


# viewer


@router.get("/houses/{house_id}/view", include_in_schema=False)
def view_folder(house_id: Id, studio: Served) -> Response:
    """The viewer's addresses are relative to a folder."""
    studio.houses.row(house_id)
    return RedirectResponse(f"/api/houses/{house_id}/view/", 303)


@router.get("/houses/{house_id}/view/{place:path}", tags=["viewer"])
def view_get(house_id: Id, place: str, request: Request, studio: Served) -> Response:
    """The viewer's page and what it asks for."""
    return _view(studio, house_id, place, dict(request.query_params), None)


@router.post("/houses/{house_id}/view/{place:path}", tags=["viewer"])
def view_post(house_id: Id, place: str, body: dict[str, Any], request: Request, studio: Served) -> Response:
    """The viewer's tools."""
    return _view(studio, house_id, place, dict(request.query_params), body)


def _view(studio: Served, house_id: str, place: str, query: dict[str, str], body: Any) -> Response:
    row = studio.houses.row(house_id)
    query.pop("token", None)
    answer = studio.viewing.answer(house_id, studio.houses.made(house_id), row["title"], place, query, body)
    headers = dict(answer.headers or {})
    if answer.status == 204:
        return Response(status_code=204, headers=headers)
    return Response(answer.body, answer.status, {**headers, "Content-Type": answer.kind})
