"""The nouns: frozen values made of NumPy arrays.

Conventions (CONVENTIONS.md is the definition): camera axes x right, y down, z forward; pixel (0.5, 0.5) is the centre
of the top-left pixel; `depth` is z in the camera, NaN where unknown; arrays are indexed [row, column], points (x, y).
Arrays held by these values are read-only views: make a changed copy with `dataclasses.replace`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, get_type_hints

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8

# Parameter names of the camera models in use, in COLMAP's order.
CAMERA_PARAMS: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fx", "fy", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k1"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV_FISHEYE": ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4"),
}


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


class _Value:
    """Checks shape and dtype of every array against its annotation and makes it read-only."""

    def __post_init__(self) -> None:
        hints = _hints(type(self))
        for f in fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if isinstance(value, np.ndarray):
                if not isinstance(value, hints[f.name]):
                    raise TypeError(
                        f"{type(self).__name__}.{f.name}: expected {hints[f.name]}, "
                        f"got {value.dtype} of shape {value.shape}"
                    )
                if not value.flags.c_contiguous:
                    value = np.ascontiguousarray(value)
                value = value.view()
                value.flags.writeable = False
                object.__setattr__(self, f.name, value)


@dataclass(frozen=True, eq=False)
class Photo(_Value):
    """What is known of one photo before any computing; the pixels stay in the file.

    name: unique within the set (the file's path relative to the folder that was given, with /; a video's frames are
    `clip.mp4/000123.png`).  content_id: sha256 of the file's bytes (of the decoded frame for a video).
    width, height: after the EXIF orientation was applied.
    camera_key: photos with the same key share intrinsics (maker, model, lens, focal length, size, zoom).
    focal_px: focal length in pixels from EXIF, or None.  gps: (latitude deg, longitude deg, height m).
    gps_std_m: its standard deviation (east, north, up) when the file says, else None.
    blur_px: estimated blur, sigma of an equivalent Gaussian in px of the full photo (`io.photos.measure_blur`).
    mask_id: sha256 of the mask file's bytes, or None.
    """

    name: str
    content_id: str
    width: int
    height: int
    camera_key: str
    focal_px: float | None = None
    gps: tuple[float, float, float] | None = None
    gps_std_m: tuple[float, float, float] | None = None
    taken_at: str | None = None
    camera_name: str | None = None
    blur_px: float | None = None
    mask_id: str | None = None


@dataclass(frozen=True, eq=False)
class Camera(_Value):
    """Intrinsics: a COLMAP camera model with its parameters in COLMAP's order (pixels)."""

    model: str
    width: int
    height: int
    params: Float64[np.ndarray, "p"]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in CAMERA_PARAMS:
            raise ValueError(f"unknown camera model {self.model!r}; known: {', '.join(CAMERA_PARAMS)}")
        if len(self.params) != len(CAMERA_PARAMS[self.model]):
            raise ValueError(
                f"{self.model} takes {len(CAMERA_PARAMS[self.model])} parameters "
                f"({', '.join(CAMERA_PARAMS[self.model])}), got {len(self.params)}"
            )

    @classmethod
    def pinhole(cls, width: int, height: int, K: np.ndarray) -> Camera:
        """A PINHOLE camera from a 3 x 3 matrix (skew is ignored)."""
        return cls("PINHOLE", width, height, np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]], np.float64))

    def param(self, name: str, default: float = 0.0) -> float:
        """One parameter by name; `fx` and `fy` also answer for models with a single `f`."""
        names = CAMERA_PARAMS[self.model]
        if name in ("fx", "fy") and name not in names:
            name = "f"
        return float(self.params[names.index(name)]) if name in names else default

    @property
    def fx(self) -> float:
        return self.param("fx")

    @property
    def fy(self) -> float:
        return self.param("fy")

    @property
    def cx(self) -> float:
        return self.param("cx")

    @property
    def cy(self) -> float:
        return self.param("cy")

    @property
    def K(self) -> np.ndarray:
        """float64 (3, 3)."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)


@dataclass(frozen=True, eq=False)
class Features(_Value):
    """Keypoints of one photo, in pixels of the full-resolution photo, strongest first."""

    extractor: str
    keypoints: Float32[np.ndarray, "n 2"]
    scales: Float32[np.ndarray, "n"]
    orientations: Float32[np.ndarray, "n"]
    scores: Float32[np.ndarray, "n"]
    descriptors: UInt8[np.ndarray, "n d"] | Float32[np.ndarray, "n d"]
    colors: UInt8[np.ndarray, "n 3"]


@dataclass(frozen=True, eq=False)
class Matches(_Value):
    """Verified matches of one photo (number 1) with photos that came before it (number 0).

    Pair k is (names0[k], name1); its matches are rows offsets[k] to offsets[k+1] of `matches`: (keypoint index in
    photo 0, keypoint index in photo 1). A pair that was tried and found nothing has no rows but is listed.
    kinds: COLMAP's two-view configuration (1 degenerate, 2 calibrated, 3 uncalibrated, 4 planar, 5 panoramic, 6 planar
    or panoramic).
    num_raw: matches before geometric verification.
    """

    extractor: str
    name1: str
    names0: tuple[str, ...]
    offsets: Int64[np.ndarray, "k1"]
    matches: Int32[np.ndarray, "m 2"]
    num_raw: Int32[np.ndarray, "k"]
    kinds: Int32[np.ndarray, "k"]


@dataclass(frozen=True, eq=False)
class Reconstruction(_Value):
    """Cameras and sparse points. Photo i is names[i] (sorted), taken by cameras[camera_index[i]].

    Observation t: point obs_point[t] was seen by photo obs_photo[t] at pixel obs_xy[t] (of the full, distorted photo).
    frame: "arbitrary" (first photo's axes), "upright" (z up by gravity estimate), "enu" (east, north, up at `origin`).
    unit: "m" or "unknown"; scale_source says where the scale came from ("none", "gps", "reference", ...).
    origin: (latitude, longitude, height) of the world's zero in an "enu" frame, else zeros.
    unplaced: photo name -> reason, one sentence.  num_models: how many separate models the photos formed.
    intrinsics_note: which intrinsics were refined, and why not where they were not.
    georeference_note: how well GPS or other references fit, or why they were not used; empty without any.
    """

    names: tuple[str, ...]
    camera_index: Int32[np.ndarray, "n"]
    cameras: tuple[Camera, ...]
    cam_from_world: Float64[np.ndarray, "n 3 4"]
    points: Float64[np.ndarray, "p 3"]
    point_colors: UInt8[np.ndarray, "p 3"]
    point_errors_px: Float32[np.ndarray, "p"]
    obs_point: Int32[np.ndarray, "t"]
    obs_photo: Int32[np.ndarray, "t"]
    obs_xy: Float32[np.ndarray, "t 2"]
    frame: str = "arbitrary"
    unit: str = "unknown"
    scale_source: str = "none"
    origin: Float64[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    unplaced: dict[str, str] = field(default_factory=dict)
    num_models: int = 1
    intrinsics_note: str = ""
    georeference_note: str = ""

    def camera(self, i: int) -> Camera:
        """The camera that took photo i."""
        return self.cameras[int(self.camera_index[i])]

    @property
    def centers(self) -> np.ndarray:
        """Camera centres in the world, float64 (n, 3)."""
        R, t = self.cam_from_world[:, :, :3], self.cam_from_world[:, :, 3]
        return -np.einsum("nji,nj->ni", R, t)

    def reprojection_error(self) -> float:
        """Mean reprojection error over all observations, px."""
        if not len(self.obs_point):
            return float("nan")
        return float(np.mean(self.point_errors_px[self.obs_point], dtype=np.float64))


@dataclass(frozen=True, eq=False)
class View(_Value):
    """One undistorted photo at working size: pixels, a PINHOLE camera of that size, where it stands, its mask.

    mask: True where the photo may be used (None: everywhere).
    alpha: how opaque the photo is, 255 where nothing shines through (None: everywhere); `pixels` are not multiplied by
    it. Radiance stages put their own background behind such photos.
    """

    name: str
    pixels: UInt8[np.ndarray, "h w 3"]
    camera: Camera
    cam_from_world: Float64[np.ndarray, "3 4"]
    mask: Bool[np.ndarray, "h w"] | None = None
    alpha: UInt8[np.ndarray, "h w"] | None = None


@dataclass(frozen=True, eq=False)
class DepthMap(_Value):
    """Depth of one view (PINHOLE camera of the map's size).

    depth: z in the camera, NaN unknown.  normals: unit, camera axes, facing the camera (z < 0), NaN where depth is.
    confidence: 0..1.  sigma: standard deviation of depth, same unit as depth, NaN unknown.
    sources: names of the photos it was matched with.
    inferred: True where depth comes from a prior (a plane through its surroundings), not from a match (None: nowhere).
    """

    name: str
    camera: Camera
    cam_from_world: Float64[np.ndarray, "3 4"]
    depth: Float32[np.ndarray, "h w"]
    normals: Float32[np.ndarray, "h w 3"]
    confidence: Float32[np.ndarray, "h w"]
    sigma: Float32[np.ndarray, "h w"]
    sources: tuple[str, ...] = ()
    inferred: Bool[np.ndarray, "h w"] | None = None


@dataclass(frozen=True, eq=False)
class PhotoDepth(_Value):
    """What a network sees in one photo (PINHOLE camera of the map's size): inverse depth, known as far as `scale` says.

    scale: "relative" (1/depth = a * disparity + b, with a > 0 and b unknown), "similar" (1/depth = a * disparity) or
    "metric" (1/depth = disparity, in 1/m).
    disparity: >= 0, 0 where infinitely far (sky), NaN where the network gave no answer.
    sigma: standard deviation of `disparity` as the model states it, same unit, NaN unknown.  confidence: 0..1.
    sky: True where there is no surface.  model: its row in `weights.py`.
    focal_source: where the focal length comes from: "given", "exif", "vanishing points", "network" or "assumed".
    focal_sigma: its relative standard deviation.
    """

    name: str
    model: str
    scale: str
    camera: Camera
    focal_source: str
    focal_sigma: float
    disparity: Float32[np.ndarray, "h w"]
    sigma: Float32[np.ndarray, "h w"]
    confidence: Float32[np.ndarray, "h w"]
    sky: Bool[np.ndarray, "h w"]


@dataclass(frozen=True, eq=False)
class ScaleFit(_Value):
    """How a PhotoDepth becomes depth: 1/depth = a * disparity + b, in 1/`unit`.

    covariance: of (a, b), in their units squared.  spread: relative standard deviation of depth that remains at a place
    without a reference (how badly the photo's shape fits the references).
    unit: "m", or "unknown" where nothing fixed the scale.
    method: how it was found, one phrase.  num_references, num_outliers: measured places used, and set aside.
    shift_known: False where b was assumed, so that depth ratios and angles between surfaces may be wrong.
    anchors: where the references lie and what they do: x, y (px of the map), then by how much a and b rise when the
    true depth there is larger by a factor e than the network's shape says.  focal_gain: by how much a and b rise when
    the true focal length is larger by a factor e.  With them the errors of fit and map are told apart near references.
    """

    a: float
    b: float
    covariance: Float64[np.ndarray, "2 2"]
    spread: float
    unit: str
    method: str
    num_references: int = 0
    num_outliers: int = 0
    shift_known: bool = False
    anchors: Float64[np.ndarray, "n 4"] = field(default_factory=lambda: np.zeros((0, 4)))
    focal_gain: Float64[np.ndarray, "2"] = field(default_factory=lambda: np.zeros(2))


@dataclass(frozen=True, eq=False)
class PointCloud(_Value):
    """Oriented coloured points, relative to `origin` (world = points + origin).

    sigma: standard deviation of the distance from the true surface (along the normal), NaN unknown.
    spacing: local surface footprint of a pixel (world units).  inferred: True where only a prior, no photo's match,
    measured the point (None: nowhere).  View v in names[v]; point i was seen by
    view_index[view_offsets[i]:view_offsets[i+1]].
    """

    points: Float32[np.ndarray, "n 3"]
    normals: Float32[np.ndarray, "n 3"]
    colors: UInt8[np.ndarray, "n 3"]
    confidence: Float32[np.ndarray, "n"]
    sigma: Float32[np.ndarray, "n"]
    spacing: Float32[np.ndarray, "n"]
    names: tuple[str, ...]
    view_offsets: Int64[np.ndarray, "n1"]
    view_index: Int32[np.ndarray, "m"]
    origin: Float64[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    inferred: Bool[np.ndarray, "n"] | None = None


@dataclass(frozen=True, eq=False)
class Mesh(_Value):
    """Triangles, counter-clockwise seen from outside, relative to `origin` (world = vertices + origin).

    sigma: per vertex, as a cloud's.
    inferred: True for faces that no photo measured (filled holes, smoothed-over gaps).
    uvs: per vertex (vertices on a seam are repeated); (0, 0) is the texture's lower left corner, as in OpenGL and OBJ.
    texture: image with row 0 at the top.
    face_view: the photo whose colours a face has, names[face_view[i]]; -1 where no photo shows the face and the colours
    were carried over from around it.
    """

    vertices: Float32[np.ndarray, "v 3"]
    faces: Int32[np.ndarray, "f 3"]
    normals: Float32[np.ndarray, "v 3"] | None = None
    colors: UInt8[np.ndarray, "v 3"] | None = None
    confidence: Float32[np.ndarray, "v"] | None = None
    sigma: Float32[np.ndarray, "v"] | None = None
    inferred: Bool[np.ndarray, "f"] | None = None
    uvs: Float32[np.ndarray, "v 2"] | None = None
    texture: UInt8[np.ndarray, "th tw 3"] | None = None
    origin: Float64[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))
    face_view: Int32[np.ndarray, "f"] | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Splats(_Value):
    """3D Gaussians with view-dependent colour (Kerbl et al. 2023), relative to `origin` (world = means + origin).

    quats: unit, w x y z, columns of the rotation are the axes in the world.  scales: standard deviation along each
    axis, world units, > 0.  opacities: 0..1.  sh: coefficients of real spherical harmonics, k = 1, 4, 9 or 16 rows for
    degree 0 to 3, in the order and with the signs of the usual PLY files; colour = 0.5 + sum(basis * sh), of the
    direction from the camera's centre to the mean.
    antialiased: opacities are those of Gaussians that grow by the pixel filter without getting more opaque (Yu et al.
    2024, Mip-Splatting); False for the classic 0.3 px dilation.
    background: colour 0..1 behind everything.
    """

    means: Float32[np.ndarray, "n 3"]
    quats: Float32[np.ndarray, "n 4"]
    scales: Float32[np.ndarray, "n 3"]
    opacities: Float32[np.ndarray, "n"]
    sh: Float32[np.ndarray, "n k 3"]
    antialiased: bool = True
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: Float64[np.ndarray, "3"] = field(default_factory=lambda: np.zeros(3))

    @property
    def degree(self) -> int:
        """Degree of the spherical harmonics, 0 to 3."""
        return {1: 0, 4: 1, 9: 2, 16: 3}[self.sh.shape[1]]


@dataclass(frozen=True, eq=False)
class Field(_Value):
    """A radiance field: density and view-dependent colour of every point (Mueller et al. 2022).

    A point p = (world - center) / radius is looked up at u = p / 2 + 1/2 (the cube of half width `radius` is the
    scene) or, when `unbounded`, at u = contract(p) / 4 + 1/2 (Barron et al. 2022, eq. 10). Density is per `radius`:
    light falls by exp(-density * length / radius).

    table: rows of features, level by level.  levels: cells across, first row, number of rows, 1 where rows are hashed.
    weights: of the density network (4 l, density_width, 16) and the colour network (32, color_width, color_width, 16),
    matrix by matrix, row k what input k adds to every output; see native/field.h.
    occupancy: one bit a cell, bit x % 8 of [z, y, x // 8]; outside of set cells the field is empty.
    edges: distances from the camera, in radii, between which a ray is sampled.
    background: colour 0..1 behind everything.
    """

    table: Float32[np.ndarray, "n 4"]
    levels: Int32[np.ndarray, "l 4"]
    weights: Float32[np.ndarray, "w"]
    density_width: int
    color_width: int
    occupancy: UInt8[np.ndarray, "g g b"]
    edges: Float32[np.ndarray, "k"]
    center: Float64[np.ndarray, "3"]
    radius: float
    unbounded: bool = False
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class FieldState(_Value):
    """A field in training, with all that is needed to go on: the same bytes whether training was cut or not.

    *_mean, *_square: running averages of the gradients and their squares (Kingma & Ba 2015).
    density: what was last known of each cell's density, -1 in cells that the photos rule out.
    num_rays: rays of the next step.  num_samples: samples marched so far.
    """

    field: Field
    table_mean: Float32[np.ndarray, "n 4"]
    table_square: Float32[np.ndarray, "n 4"]
    weight_mean: Float32[np.ndarray, "w"]
    weight_square: Float32[np.ndarray, "w"]
    density: Float32[np.ndarray, "g g g"]
    iteration: int
    num_rays: int
    num_samples: int


@dataclass(frozen=True, eq=False)
class SplatState(_Value):
    """Splats in training after `iteration` steps: all that the next step needs, so that a run can be cut anywhere.

    rows: the Gaussians (stages.splat_rows).  first, second: moments of Adam, like the rows.  score: what decides where
    Gaussians are added.  exposure: gain and bias of red, green, blue for each photo (names), then their moments.
    origin: means are relative to it.  extent: typical distance from a camera to the scene.  method: how it started.
    """

    iteration: int
    rows: Float32[np.ndarray, "n 64"]
    first: Float32[np.ndarray, "n 64"]
    second: Float32[np.ndarray, "n 64"]
    score: Float32[np.ndarray, "n 4"]
    names: tuple[str, ...]
    exposure: Float32[np.ndarray, "p 18"]
    origin: Float64[np.ndarray, "3"]
    extent: float
    method: str
