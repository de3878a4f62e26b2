"""`rilievo plan`: where to take photos from, of an object, a facade, a room or from the air."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from rilievo.commands.common import Common, Talk, print_result
from rilievo.errors import InputError

if TYPE_CHECKING:
    from rilievo.capture.flight import Flight
    from rilievo.capture.gear import Gear
    from rilievo.capture.stations import Plan

Standard = Literal["minimum", "professional", "high"]
FlightFormat = Literal["dji", "qgc", "ardupilot", "litchi", "kml", "geojson", "csv"]
Out = Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="DIR")]
Length = Annotated[str | None, tyro.conf.arg(metavar="LENGTH")]
Degrees = Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="DEG...")]


@dataclass(frozen=True)
class Detail:
    """How fine, and with what."""

    camera: str = "iPhone 13"
    """a name (see `rilievo plan cameras`), or sensor, focal length, pixels: 23.5x15.6,35,6000x4000"""
    focal: float | None = None
    """focal length of the lens in mm, instead of the table's"""
    gsd: Length = None
    """what a pixel shall span, e.g. 0.2mm"""
    detail: Length = None
    """the smallest detail that shall be seen, e.g. 1mm: three pixels will span it"""
    distance: Length = None
    """how far the camera stands from the surface, e.g. 2m, instead of --gsd and --detail"""

    def gear(self) -> Gear:
        """The camera. Raises InputError."""
        from rilievo.capture.gear import find_gear

        return find_gear(self.camera, focal_mm=self.focal)

    def lengths(self) -> dict[str, float | None]:
        """distance, gsd, detail in metres. Raises InputError."""
        from rilievo.capture.lengths import parse_length

        given = {"distance": self.distance, "gsd": self.gsd, "detail": self.detail}
        return {name: None if text is None else parse_length(text) for name, text in given.items()}


@dataclass(frozen=True)
class PlanObject:
    """Tiers of photos round an object, from above, and of its underside."""

    size: Annotated[str | None, tyro.conf.arg(metavar="WxDxH")] = None
    """width x depth x height, e.g. 30x20x40cm"""
    model: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """a rough mesh of it instead (glb, obj, ply, stl), in metres, z up"""
    detail: Detail = Detail()
    standard: Standard = "professional"
    """minimum: 2 tiers, steps of 30 degrees, 60 % overlap; professional: 3, 12, 80 %; high: 4, 10, 80 %"""
    tiers: Degrees = None
    """elevations of the tiers instead, e.g. 0 25 50"""
    step: Annotated[float | None, tyro.conf.arg(metavar="DEG")] = None
    """largest turn between neighbours"""
    overlap: float | None = None
    """least overlap of neighbours, 0.3 to 0.95"""
    underside: bool = False
    """also turn it over and photograph what it stood on"""
    turntable: bool = False
    """the camera stands on a tripod and the object turns"""
    tripod: bool = False
    """the camera stands still: no limit to the shutter"""
    output: Out = None
    """write plan.json, plan.csv, plan.svg, plan.pdf and plan.glb there"""
    common: Common = Common()

    def make(self) -> Plan:
        """The plan. Raises InputError."""
        from rilievo.capture.around import plan_object
        from rilievo.capture.lengths import parse_size

        triangles, size = None, None
        if (self.size is None) == (self.model is None):
            raise InputError(
                "how large is the object?", "give its size or a rough mesh", "--size 30x20x40cm, or --model FILE"
            )
        if self.model is not None:
            triangles, size = _rough_mesh(self.model)
        elif self.size is not None:
            size = parse_size(self.size, 3, "30x20x40cm")
        return plan_object(
            self.detail.gear(), size, **self.detail.lengths(), standard=self.standard, tiers=self.tiers,  # type: ignore[arg-type]
            step_deg=self.step, overlap=self.overlap, underside=self.underside, turntable=self.turntable,
            triangles=triangles, speed_m_s=0.0 if self.tripod else None,
        )  # fmt: skip


@dataclass(frozen=True)
class PlanFacade:
    """Rows of photos along a wall, slanted and tilted ones where they are needed."""

    size: Annotated[str, tyro.conf.arg(metavar="WxH")]
    """width x height, e.g. 12x8m"""
    detail: Detail = Detail()
    standard: Standard = "professional"
    """minimum: overlap 60 % and 40 %; professional: 80 % and 60 %, and slanted photos; high: 85 % and 70 %"""
    relief: Annotated[str, tyro.conf.arg(metavar="LENGTH")] = "0"
    """how far parts stand out or recede, e.g. 40cm"""
    heights: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="LOW HIGH")] = None
    """lowest and highest place of the camera in metres, e.g. 1 2.5 from the ground"""
    overlap: float | None = None
    """least overlap along a row, 0.3 to 0.95"""
    side_overlap: float | None = None
    """least overlap of rows"""
    portrait: bool = False
    """hold the camera upright"""
    tripod: bool = False
    """the camera stands still: no limit to the shutter"""
    output: Out = None
    """write plan.json, plan.csv, plan.svg, plan.pdf and plan.glb there"""
    common: Common = Common()

    def make(self) -> Plan:
        """The plan. Raises InputError."""
        from rilievo.capture.facade import plan_facade
        from rilievo.capture.lengths import parse_length, parse_size

        return plan_facade(
            self.detail.gear(), parse_size(self.size, 2, "12x8m"), **self.detail.lengths(), standard=self.standard,  # type: ignore[arg-type]
            relief=parse_length(self.relief) if self.relief != "0" else 0.0, heights=self.heights, overlap=self.overlap,
            side_overlap=self.side_overlap, portrait=self.portrait, speed_m_s=0.0 if self.tripod else None,
        )  # fmt: skip


@dataclass(frozen=True)
class PlanRoom:
    """Photos along the walls of a room, level and tilted."""

    size: Annotated[str, tyro.conf.arg(metavar="WxDxH")]
    """width x depth x height, e.g. 5x4x2.6m"""
    detail: Detail = Detail()
    standard: Standard = "professional"
    """minimum: one level row, 60 % overlap, turns of 20 degrees; professional: 2, 80 %, 12; high: 2, 85 %, 10"""
    heights: Annotated[tuple[float, float], tyro.conf.arg(metavar="LOW HIGH")] = (0.4, 2.2)
    """lowest and highest place of the camera in metres"""
    overlap: float | None = None
    """least overlap of neighbours, 0.3 to 0.95"""
    step: Annotated[float | None, tyro.conf.arg(metavar="DEG")] = None
    """largest turn between neighbours"""
    portrait: bool = False
    """hold the camera upright"""
    tripod: bool = False
    """the camera stands still: no limit to the shutter"""
    output: Out = None
    """write plan.json, plan.csv, plan.svg, plan.pdf and plan.glb there"""
    common: Common = Common()

    def make(self) -> Plan:
        """The plan. Raises InputError."""
        from rilievo.capture.lengths import parse_size
        from rilievo.capture.room import plan_room

        return plan_room(
            self.detail.gear(), parse_size(self.size, 3, "5x4x2.6m"), **self.detail.lengths(), standard=self.standard,  # type: ignore[arg-type]
            heights=self.heights, overlap=self.overlap, step_deg=self.step, portrait=self.portrait,
            speed_m_s=0.0 if self.tripod else None,
        )  # fmt: skip


@dataclass(frozen=True)
class PlanArea:
    """Lines of a drone over an outline, following the terrain, and files to fly them."""

    outline: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTLINE")]
    """one polygon, or one line for a corridor: GeoJSON, KML or KMZ"""
    camera: str = "DJI Mavic 3 Enterprise"
    """the drone (see `rilievo plan cameras`)"""
    gsd: Length = None
    """what a pixel shall span on the ground, e.g. 2cm"""
    height: Length = None
    """height above the ground instead, e.g. 80m"""
    pattern: Literal["grid", "cross", "oblique", "orbit", "corridor"] = "grid"
    """grid: lines; cross: and lines across; oblique: and tilted photos to four sides; orbit: and circles round it;
    corridor: lines along a road, river or power line"""
    width: Length = None
    """of a corridor, e.g. 60m"""
    overlap: float = 0.80
    """forward overlap at the height of roofs"""
    side_overlap: float = 0.70
    """overlap of lines at the height of roofs"""
    roof_height: Annotated[str, tyro.conf.arg(metavar="LENGTH")] = "0"
    """height of what stands on the ground, e.g. 12m; with a surface model (--dem) that tells"""
    dem: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """terrain or surface model to follow: GeoTIFF or ESRI ASCII grid, metres"""
    dem_crs: Annotated[str | None, tyro.conf.arg(metavar="EPSG:N")] = None
    """reference system of --dem, where the file does not say"""
    clearance: Annotated[str, tyro.conf.arg(metavar="LENGTH")] = "20m"
    """least height above anything on the way"""
    angle: Annotated[float | None, tyro.conf.arg(metavar="DEG")] = None
    """course of the lines, clockwise from north (default: the fewest lines)"""
    tilt: Annotated[float, tyro.conf.arg(metavar="DEG")] = 45.0
    """of oblique photos, from straight down"""
    orbit_radius: Length = None
    """radius of orbits (default: outside of the outline)"""
    margin: float = 0.5
    """how far lines go beyond the outline, in footprints"""
    home: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="LAT LON")] = None
    """take-off (default: the first corner of the outline)"""
    speed: float | None = None
    """m/s (default: as fast as the camera writes photos)"""
    every_photo: bool = False
    """a waypoint for each photo, instead of photos at intervals along the lines"""
    plain: bool = False
    """no tilted passes across a grid; they tell the focal length, a calibrated camera does without"""
    max_waypoints: int = 0
    """of one flight: more flights are planned instead (0: what the drone's app takes)"""
    min_views: int = 4
    """photos that shall see every point of ground and roofs"""
    format: Annotated[tuple[FlightFormat, ...], tyro.conf.arg(metavar="FORMAT...")] = (
        "dji", "qgc", "ardupilot", "litchi", "kml", "geojson", "csv",
    )  # fmt: skip
    """of the flight's files: dji qgc ardupilot litchi kml geojson csv"""
    output: Out = None
    """write plan.json, plan.csv, plan.svg, plan.pdf, plan.glb and the flight's files there"""
    common: Common = Common()

    def make_flight(self) -> tuple[Plan, Flight]:
        """The plan and its flight. Raises InputError."""
        from dataclasses import replace

        from rilievo.capture.area import AreaSettings, plan_area
        from rilievo.capture.gear import find_gear
        from rilievo.capture.lengths import parse_length
        from rilievo.capture.outlines import read_course, read_outline
        from rilievo.capture.terrain import read_raster

        if self.height is None and self.gsd is None:
            raise InputError(
                "how high shall it fly?", "neither a gsd nor a height was given", "--gsd 2cm, or --height 80m"
            )
        notes: list[str] = []
        if self.pattern == "corridor":
            outline = read_course(self.outline)
        else:
            outline, notes = read_outline(self.outline)
        settings = AreaSettings(
            height=None if self.height is None else parse_length(self.height),
            gsd=None if self.gsd is None else parse_length(self.gsd),
            pattern=self.pattern, overlap=self.overlap, side_overlap=self.side_overlap,
            roof_height=0.0 if self.roof_height == "0" else parse_length(self.roof_height), angle_deg=self.angle,
            tilt_deg=self.tilt, clearance=parse_length(self.clearance),
            orbit_radius=None if self.orbit_radius is None else parse_length(self.orbit_radius), home=self.home,
            width=None if self.width is None else parse_length(self.width),
            speed_m_s=self.speed, every_photo=self.every_photo, plain=self.plain, margin=self.margin,
            min_views=self.min_views, max_waypoints=self.max_waypoints,
        )  # fmt: skip
        raster = None if self.dem is None else read_raster(self.dem, self.dem_crs)
        made, flight = plan_area(find_gear(self.camera), outline, settings, raster)
        return replace(made, notes=(*notes, *made.notes)), flight


@dataclass(frozen=True)
class Cameras:
    """The cameras that are known by name."""

    common: Common = Common()


def plan(
    what: Annotated[
        Annotated[PlanObject, tyro.conf.subcommand("object", prefix_name=False)]
        | Annotated[PlanFacade, tyro.conf.subcommand("facade", prefix_name=False)]
        | Annotated[PlanRoom, tyro.conf.subcommand("room", prefix_name=False)]
        | Annotated[PlanArea, tyro.conf.subcommand("area", prefix_name=False)]
        | Annotated[Cameras, tyro.conf.subcommand("cameras", prefix_name=False)],
        tyro.conf.OmitSubcommandPrefixes,
    ],
) -> int:
    """Where to take photos from: distance, tiers, overlap, number, aperture, shutter and the precision to expect.

    Each kind has options of its own: `rilievo plan object --help`. All take -o DIR for files and --json for programs.
    """
    if isinstance(what, Cameras):
        return _list_cameras(what.common)
    from rilievo.capture import told

    flight = None
    if isinstance(what, PlanArea):
        made, flight = what.make_flight()
    else:
        made = what.make()
    result = told.document(made)
    if what.output is not None:
        files = write_plan(made, what.output)
        if isinstance(what, PlanArea) and flight is not None:
            files += write_flight(flight, what.output, what.format)
        result["files"] = [str(path) for path in files]
        Talk(what.common).say(f"written to {what.output}")
    print_result(result, what.common.json, told.text(made))
    return 0


def write_plan(made: Plan, folder: Path) -> list[Path]:
    """The plan as files; what is there already under these names is replaced. Raises ResourceError."""
    import json

    from rilievo.capture import sheet, show, told
    from rilievo.io import models
    from rilievo.io.files import replacing

    pages = sheet.sheet(made)
    contents: dict[str, bytes] = {
        "plan.json": json.dumps(told.document(made), indent=1, ensure_ascii=False, allow_nan=False).encode(),
        "plan.csv": told.shot_list(made).encode(),
        "plan.svg": pages[0].svg().encode(),
        "plan.pdf": sheet.sheet_pdf(made),
    }
    paths = []
    for name, raw in contents.items():
        with replacing(folder / name) as file:
            file.write(raw)
        paths.append(folder / name)
    models.write(folder / "plan.glb", show.plan_mesh(made))
    return [*paths, folder / "plan.glb"]


def write_flight(flight: Flight, folder: Path, formats: tuple[str, ...]) -> list[Path]:
    """A file for each battery and format, read back and compared before it is written. Raises InputError where a format
    cannot hold the flight, and ResourceError."""
    from rilievo.capture.formats import FORMATS, write_mission
    from rilievo.io.files import replacing

    contents = {}
    for number, mission in enumerate(flight.missions, 1):
        for name in formats:
            stem = "flight" if len(flight.missions) == 1 else f"flight-{number}"
            contents[folder / f"{stem}{FORMATS[name].ending}"] = write_mission(name, mission)
    for path, raw in contents.items():
        with replacing(path) as file:
            file.write(raw)
    return list(contents)


def _rough_mesh(path: Path) -> tuple[Any, tuple[float, float, float]]:
    """Triangles of a mesh that stands on z = 0 about the middle, and its size."""
    import numpy as np

    from rilievo.io import models

    mesh = models.read_mesh(path)
    if not len(mesh.faces):
        raise InputError(f"{path} has no triangles", "a plan needs a surface", "give a mesh, or --size")
    triangles = (mesh.vertices.astype(np.float64) + mesh.origin)[mesh.faces]
    points = triangles.reshape(-1, 3)
    if not np.isfinite(points).all():
        raise InputError(f"{path} has vertices that are no numbers", "", "repair the mesh, or give --size")
    low, high = points.min(0), points.max(0)
    return triangles - [*((low + high) / 2)[:2], low[2]], tuple((high - low).tolist())


def _list_cameras(common: Common) -> int:
    from rilievo.capture.gear import TABLE

    rows = [
        {
            "name": g.name,
            "kind": g.kind,
            "sensor_mm": list(g.sensor_mm),
            "focal_mm": g.focal_mm,
            "pixels": list(g.pixels),
        }
        for g in TABLE.values()
    ]
    text = "\n".join(
        f"{g.name:<28} {g.sensor_mm[0]:5.2f} x {g.sensor_mm[1]:5.2f} mm  {g.focal_mm:6.2f} mm  "
        f"{g.pixels[0]} x {g.pixels[1]} px"
        for g in TABLE.values()
    )
    print_result({"cameras": rows}, common.json, text)
    return 0
