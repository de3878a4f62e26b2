"""Terrain and surface models: ESRI ASCII grids and GeoTIFF, laid out on a plane; heights to fly at above them."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.capture.coverage import grid_triangles
from rilievo.capture.places import Plane, utm_from_degrees
from rilievo.errors import InputError, MissingError
from rilievo.io.files import read_bytes

_MAX_CELLS = 400_000_000
_HINT = "give a GeoTIFF or ESRI ASCII grid of heights in metres, in WGS 84 degrees or UTM"


@dataclass(frozen=True, eq=False)
class Raster:
    """Heights (h, w), row 0 in the north, NaN unknown. Cell (0, 0) has its centre at x0, y0 and the size dx, dy (dy
    downwards positive). crs: "EPSG:4326" and the like."""

    heights: np.ndarray
    x0: float
    y0: float
    dx: float
    dy: float
    crs: str

    def at_degrees(self, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
        """Heights (n,) between the cells' centres, NaN outside. Raises InputError for a reference system that only
        rasterio knows, without it MissingError."""
        x, y = _projected(self.crs, latitude, longitude)
        return _bilinear(self.heights, (x - self.x0) / self.dx, (self.y0 - y) / self.dy)

    @property
    def spacing_m(self) -> float:
        """Size of a cell in metres, about."""
        if self.crs in _GEOGRAPHIC:
            return abs(self.dy) * 111_000
        return abs(self.dy)


_GEOGRAPHIC = ("EPSG:4326", "EPSG:4258", "EPSG:4269", "EPSG:4979")


def _projected(crs: str, latitude: np.ndarray, longitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if crs in _GEOGRAPHIC:
        return longitude, latitude
    number = int(crs.removeprefix("EPSG:")) if re.fullmatch(r"EPSG:\d+", crs) else 0
    zone, south = None, False
    if 32601 <= number <= 32660 or 32701 <= number <= 32760:
        zone, south = number % 100, number >= 32700
    elif 25828 <= number <= 25838 or 26901 <= number <= 26923:  # ETRS89 and NAD83: within a metre or two of WGS 84
        zone = number % 100
    if zone is not None:
        xy = utm_from_degrees(latitude, longitude, zone, south)
        return xy[..., 0], xy[..., 1]
    try:
        from rasterio.warp import transform
    except ImportError as error:
        raise MissingError(
            f"the reference system {crs} of the terrain needs rasterio",
            "without it WGS 84 degrees and UTM can be read",
            "pip install 'rilievo[survey]', or save the terrain in WGS 84 or UTM",
        ) from error
    x, y = transform("EPSG:4326", crs, np.ravel(longitude).tolist(), np.ravel(latitude).tolist())[:2]
    return np.reshape(x, np.shape(longitude)), np.reshape(y, np.shape(latitude))


def _bilinear(grid: np.ndarray, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    h, w = grid.shape
    ok = (column >= -0.5) & (column <= w - 0.5) & (row >= -0.5) & (row <= h - 0.5)
    c, r = np.clip(np.where(ok, column, 0), 0, w - 1), np.clip(np.where(ok, row, 0), 0, h - 1)
    c0, r0 = np.minimum(c.astype(int), max(w - 2, 0)), np.minimum(r.astype(int), max(h - 2, 0))
    c1, r1 = np.minimum(c0 + 1, w - 1), np.minimum(r0 + 1, h - 1)
    a, b = c - c0, r - r0
    corners = [(grid[r0, c0], (1 - a) * (1 - b)), (grid[r0, c1], a * (1 - b)),
               (grid[r1, c0], (1 - a) * b), (grid[r1, c1], a * b)]  # fmt: skip
    # a corner without weight may be unknown
    total = sum(np.where(weight > 1e-6, value * weight, 0.0) for value, weight in corners)
    return np.where(ok, total, np.nan)


def read_raster(path: Path, crs: str | None = None) -> Raster:
    """A file of heights. crs: what its coordinates are, where the file does not say. Raises InputError."""
    if path.suffix.lower() in (".asc", ".txt", ".grd"):
        return _read_ascii(path, crs)
    if path.suffix.lower() in (".tif", ".tiff"):
        return _read_geotiff(path, crs)
    raise InputError(f"cannot read heights from {path}", "its name ends neither in .tif nor in .asc", _HINT)


def _read_ascii(path: Path, crs: str | None) -> Raster:
    text = read_bytes(path).decode("ascii", "replace")
    header: dict[str, float] = {}
    position = 0
    for line in text.splitlines(keepends=True)[:8]:
        match = re.match(r"\s*([A-Za-z_]+)\s+(\S+)\s*$", line)
        if not match:
            break
        try:
            header[match[1].lower()] = float(match[2])
        except ValueError:
            raise InputError(f"{path} is damaged", f"its header says {line.strip()!r}", _HINT) from None
        position += len(line)
    missing = {"ncols", "nrows", "cellsize"} - set(header)
    if missing or not ({"xllcorner", "xllcenter"} & set(header)) or not ({"yllcorner", "yllcenter"} & set(header)):
        raise InputError(
            f"{path} is no ESRI ASCII grid", "its header lacks ncols, nrows, cellsize or the corner", _HINT
        )
    w, h, size = int(header["ncols"]), int(header["nrows"]), header["cellsize"]
    if not (0 < w * h <= _MAX_CELLS and w > 0 and 0 < size < 1e6):
        raise InputError(f"{path} cannot be used", f"it says {w} x {h} cells of {size:g}", _HINT)
    values = np.fromstring(text[position:], np.float64, sep=" ") if _numbers_only(text[position:]) else np.zeros(0)
    if len(values) != w * h:
        raise InputError(f"{path} is damaged", f"it has {len(values)} heights, its header says {w} x {h}", _HINT)
    grid = values.reshape(h, w)
    grid[grid == header.get("nodata_value", -9999.0)] = np.nan
    x0 = header["xllcenter"] if "xllcenter" in header else header["xllcorner"] + size / 2
    bottom = header["yllcenter"] if "yllcenter" in header else header["yllcorner"] + size / 2
    y0 = bottom + (h - 1) * size
    if crs is None:
        if not (abs(x0) <= 180 and abs(y0) <= 90 and size < 0.1):
            raise InputError(
                f"what are the coordinates of {path}?",
                f"an ASCII grid does not say, and {x0:.0f}, {y0:.0f} are no degrees",
                "say it, e.g. --dem-crs EPSG:32632",
            )
        crs = "EPSG:4326"
    return Raster(grid, x0, y0, size, size, crs.upper())


def _numbers_only(text: str) -> bool:
    return re.fullmatch(r"[\s0-9eE+\-.naN]*", text) is not None


def _read_geotiff(path: Path, crs: str | None) -> Raster:
    try:
        import rasterio
    except ImportError:
        return _read_plain_geotiff(path, crs)
    from rasterio.errors import RasterioError

    if not path.is_file():
        raise InputError(f"cannot read {path}", "there is no such file")
    try:
        with rasterio.open(path) as file:
            if file.width * file.height > _MAX_CELLS:
                raise InputError(f"{path} is too large", f"{file.width} x {file.height} cells", "cut out the area")
            heights = file.read(1, masked=True).astype(np.float64).filled(np.nan)
            t = file.transform
            code = crs or (
                f"EPSG:{epsg}" if file.crs and (epsg := file.crs.to_epsg()) else file.crs and file.crs.to_wkt()
            )
    except RasterioError as error:
        raise InputError(f"{path} is damaged", str(error), _HINT) from error
    if not code:
        raise InputError(
            f"what are the coordinates of {path}?", "it has no reference system", "say it: --dem-crs EPSG:32632"
        )
    if t.b or t.d:
        raise InputError(f"{path} is turned against its axes", "", "warp it to north up first")
    return Raster(
        heights, t.c + t.a / 2, t.f + t.e / 2, t.a, -t.e, str(code).upper() if "EPSG" in str(code)[:5] else str(code)
    )


# Tags of GeoTIFF (OGC 19-008r4): pixel scale, tie point, keys, GDAL's nodata.
_SCALE, _TIE, _KEYS, _NODATA = 33550, 33922, 34735, 42113


def _read_plain_geotiff(path: Path, crs: str | None) -> Raster:
    """Without rasterio: what Pillow decodes, with the reference system that the GeoTIFF keys name by a number."""
    from PIL import Image, UnidentifiedImageError

    read_bytes(path)[:4]  # says clearly when there is no such file
    try:
        with Image.open(path) as picture:
            tags: Any = getattr(picture, "tag_v2", {})
            if picture.width * picture.height > _MAX_CELLS:
                raise InputError(
                    f"{path} is too large", f"{picture.width} x {picture.height} cells", "cut out the area"
                )
            scale, tie, keys = tags.get(_SCALE), tags.get(_TIE), tags.get(_KEYS)
            nodata = str(tags.get(_NODATA, "")).strip("\x00 ")
            heights = np.array(picture)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"cannot read heights from {path}", str(error), "pip install 'rilievo[survey]' reads more kinds of GeoTIFF"
        ) from error
    if heights.ndim != 2:
        raise InputError(f"{path} is a picture, no heights", f"it has {heights.shape[-1]} colours", _HINT)
    if not scale or not tie:
        raise InputError(f"{path} does not say where it lies", "it has no GeoTIFF tags", _HINT)
    rows = np.array(keys or (), int).reshape(-1, 4) if keys and len(keys) % 4 == 0 else np.zeros((0, 4), int)
    named = {int(r[0]): int(r[3]) for r in rows if r[1] == 0}
    code = named.get(3072) or named.get(2048)
    if crs is None:
        if not code or code == 32767:
            raise InputError(
                f"what are the coordinates of {path}?", "it has no reference system", "say it: --dem-crs EPSG:32632"
            )
        crs = f"EPSG:{code}"
    grid = heights.astype(np.float64)
    if nodata:
        with contextlib.suppress(ValueError):
            grid[grid == float(nodata)] = np.nan
    half = 0.0 if named.get(1025) == 2 else 0.5  # pixels are areas unless they are said to be points
    dx, dy = float(scale[0]), float(scale[1])
    x0, y0 = tie[3] + (half - tie[0]) * dx, tie[4] - (half - tie[1]) * dy
    return Raster(grid, float(x0), float(y0), dx, dy, crs.upper())


@dataclass(frozen=True, eq=False)
class Terrain:
    """Heights on a plane: x (w,), y (h,) rise; heights (h, w) above the plane's height, all known."""

    x: np.ndarray
    y: np.ndarray
    heights: np.ndarray

    def at(self, xy: np.ndarray) -> np.ndarray:
        """Heights (n,) at points (n, 2); the border's beyond it."""
        c = np.clip((xy[:, 0] - self.x[0]) / (self.x[1] - self.x[0]), 0, len(self.x) - 1)
        r = np.clip((xy[:, 1] - self.y[0]) / (self.y[1] - self.y[0]), 0, len(self.y) - 1)
        return _bilinear(self.heights, c, r)

    def triangles(self) -> np.ndarray:
        """Facing up, (m, 3, 3)."""
        return grid_triangles(self.x, self.y, self.heights)

    def normals(self) -> np.ndarray:
        """Unit (h, w, 3)."""
        dy, dx = np.gradient(self.heights, self.y, self.x)
        n = np.stack([-dx, -dy, np.ones_like(dx)], -1)
        return n / np.linalg.norm(n, axis=-1, keepdims=True)

    def flight_surface(
        self, window: tuple[float, float], clearance: float, near: float
    ) -> Callable[[np.ndarray], np.ndarray]:
        """What to add a flying height to, at points (n, 2): the terrain smoothed over what a picture shows (houses and
        trees do not shake the flight), raised where `clearance` minus the flying height above anything within `near`
        metres asks for it. clearance: negative, how far tops may rise above the smooth surface."""
        from scipy import ndimage

        step = np.array([self.y[1] - self.y[0], self.x[1] - self.x[0]])
        size: Any = [max(1, round(w / s) | 1) for w, s in zip(window, step)]
        smooth = ndimage.uniform_filter(self.heights, size, mode="nearest")
        around: Any = [max(1, 2 * math.ceil(near / s) + 1) for s in step]
        highest = ndimage.maximum_filter(self.heights, around, mode="nearest")
        return Terrain(self.x, self.y, np.maximum(smooth, highest + clearance)).at


def lay_out(
    raster: Raster, plane: Plane, low: np.ndarray, high: np.ndarray, max_cells: int = 160
) -> tuple[Terrain, float]:
    """The raster on a plane from low to high (x, y), at most max_cells along the longer side, and the share of it that
    was unknown and is filled from around. Heights are above plane.height. Raises InputError where it lies elsewhere."""
    from scipy import ndimage

    step = max(float((high - low).max()) / max_cells, min(raster.spacing_m, float((high - low).min()) / 8))
    x, y = (np.linspace(low[k], high[k], max(4, math.ceil((high[k] - low[k]) / step) + 1)) for k in (0, 1))
    X, Y = np.meshgrid(x, y)
    degrees = plane.to_degrees(np.stack([X.ravel(), Y.ravel()], -1))
    heights = raster.at_degrees(degrees[:, 0], degrees[:, 1]).reshape(X.shape) - plane.height
    unknown = ~np.isfinite(heights)
    if unknown.all():
        raise InputError(
            "the terrain does not cover the area",
            f"no height is known near {plane.latitude:.5f}, {plane.longitude:.5f}",
            "check its reference system (--dem-crs) and extent",
        )
    if unknown.any():
        nearest: Any = ndimage.distance_transform_edt(unknown, return_distances=False, return_indices=True)
        heights = heights[tuple(nearest)]
    return Terrain(x, y, heights), float(unknown.mean())
