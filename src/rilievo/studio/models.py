"""What the studio is asked, as OpenAPI describes it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Make = Literal["model", "splats", "field", "depth"]
Quality = Literal["draft", "normal", "high"]
MAX_SIZE = 2**50


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HouseAsked(_Asked):
    """A house to make, or its new title."""

    title: Annotated[str, Field(max_length=1000)] = ""


class UploadAsked(_Asked):
    """A file that will come. size: bytes. sha256: of the file, if it shall be checked."""

    name: Annotated[str, Field(min_length=1, max_length=1000)]
    size: Annotated[int, Field(ge=0, le=MAX_SIZE)]
    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")] | None = None


class Options(_Asked):
    """Settings of a job beyond its quality; what is left out is chosen by it."""

    photo: Annotated[str, Field(max_length=1000)] | None = None
    surface: Literal["auto", "delaunay", "poisson", "ball-pivoting", "splats"] | None = None
    keypoints: Literal["auto", "sift", "xfeat"] | None = None
    max_faces: Annotated[int, Field(ge=100, le=50_000_000)] | None = None
    texture_size: Annotated[int, Field(ge=64, le=16384)] | None = None
    depth_size: Annotated[int, Field(ge=64, le=8192)] | None = None
    watertight: bool | None = None
    prior: Literal["planes", "depth"] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None


class PredictAsked(_Asked):
    """What a job would take."""

    makes: Annotated[list[Make], Field(min_length=1, max_length=8)]
    quality: Quality = "normal"


class JobAsked(PredictAsked):
    """A job to queue."""

    options: Options = Options()
