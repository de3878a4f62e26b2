"""Cameras and sparse points as files: COLMAP's binary model, nerfstudio's transforms.json, undistorted photos.

COLMAP's axes and pixels are ours. nerfstudio's cameras look along -z with y up (OpenGL), its world has z up as ours, so
`applied_transform` is the identity.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rilievo import geometry
from rilievo.errors import InputError
from rilievo.io.files import read_bytes, replacing
from rilievo.io.pictures import encode_picture
from rilievo.types import CAMERA_PARAMS, Camera, Reconstruction

quaternion = geometry.quaternion_from_rotation

# Model numbers of COLMAP's binary format.
COLMAP_MODELS = {
    "SIMPLE_PINHOLE": 0,
    "PINHOLE": 1,
    "SIMPLE_RADIAL": 2,
    "RADIAL": 3,
    "OPENCV": 4,
    "OPENCV_FISHEYE": 5,
    "FULL_OPENCV": 6,
    "SIMPLE_RADIAL_FISHEYE": 8,
    "RADIAL_FISHEYE": 9,
}
_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0])
_TRANSFORMS_HINT = "give a file as nerfstudio writes it"


# --- COLMAP -----------------------------------------------------------------------------------------------------------


def write_colmap(folder: str | Path, model: Reconstruction) -> list[Path]:
    """cameras.bin, images.bin and points3D.bin in `folder`; ids count from 1 in the order of the model.

    A photo's keypoints are its observations of the model's points. Raises ResourceError when it cannot be written.
    """
    folder = Path(folder)
    by_photo = np.lexsort((np.arange(len(model.obs_photo)), model.obs_photo))
    starts = np.searchsorted(model.obs_photo[by_photo], np.arange(len(model.names) + 1))
    keypoint = np.empty(len(by_photo), np.uint32)
    keypoint[by_photo] = np.arange(len(by_photo)) - starts[model.obs_photo[by_photo]]

    def cameras() -> Iterator[bytes]:
        yield struct.pack("<Q", len(model.cameras))
        for k, camera in enumerate(model.cameras):
            yield struct.pack("<IiQQ", k + 1, COLMAP_MODELS[camera.model], camera.width, camera.height)
            yield camera.params.astype("<f8").tobytes()

    def images() -> Iterator[bytes]:
        row = np.dtype([("xy", "<f8", 2), ("point", "<u8")])
        yield struct.pack("<Q", len(model.names))
        for k, name in enumerate(model.names):
            q, t = quaternion(model.cam_from_world[k, :, :3]), model.cam_from_world[k, :, 3]
            yield struct.pack("<I7dI", k + 1, *q, *t, int(model.camera_index[k]) + 1) + name.encode() + b"\0"
            mine = by_photo[starts[k] : starts[k + 1]]
            rows = np.empty(len(mine), row)
            rows["xy"], rows["point"] = model.obs_xy[mine], model.obs_point[mine] + 1
            yield struct.pack("<Q", len(mine)) + rows.tobytes()

    def points() -> Iterator[bytes]:
        by_point = np.lexsort((model.obs_photo, model.obs_point))
        track = np.empty(len(by_point), np.dtype([("photo", "<u4"), ("keypoint", "<u4")]))
        track["photo"], track["keypoint"] = model.obs_photo[by_point] + 1, keypoint[by_point]
        ends = np.searchsorted(model.obs_point[by_point], np.arange(len(model.points) + 1))
        yield struct.pack("<Q", len(model.points))
        for k, xyz in enumerate(model.points):
            error = float(model.point_errors_px[k])
            yield struct.pack("<Q3d3Bd", k + 1, *xyz, *model.point_colors[k].tolist(), error)
            yield struct.pack("<Q", ends[k + 1] - ends[k]) + track[ends[k] : ends[k + 1]].tobytes()

    written = []
    for name, content in (("cameras.bin", cameras), ("images.bin", images), ("points3D.bin", points)):
        with replacing(folder / name) as file:
            for block in content():
                file.write(block)
        written.append(folder / name)
    return written


def read_colmap(folder: str | Path) -> Reconstruction:
    """A COLMAP model (binary or text) as ours: photos sorted by name, only registered ones, colours and tracks kept.

    The frame is "arbitrary": the format does not say. Raises InputError when the folder holds no model.
    """
    import cv2  # noqa: F401  (after pycolmap it would abort while writing PNG)
    import pycolmap

    folder = Path(folder)
    try:
        model = pycolmap.Reconstruction(str(folder))
    except (ValueError, RuntimeError, IndexError, MemoryError) as error:
        raise InputError(
            f"{folder} holds no COLMAP model that can be read",
            str(error).splitlines()[0] if str(error) else "",
            "give the folder with cameras, images and points3D (.bin or .txt)",
        ) from error
    placed = sorted((model.images[i].name, i) for i in model.reg_image_ids())
    camera_ids = list(dict.fromkeys(model.images[i].camera_id for _, i in placed))
    cameras = []
    for c in camera_ids:
        camera = model.cameras[c]
        if camera.model.name not in CAMERA_PARAMS:
            raise InputError(
                f"the camera model {camera.model.name} of {folder} is not known",
                f"known: {', '.join(CAMERA_PARAMS)}",
                "undistort the photos with COLMAP first",
            )
        params = np.array(camera.params, np.float64)
        cameras.append(Camera(camera.model.name, int(camera.width), int(camera.height), params))
    poses = [np.asarray(model.images[i].cam_from_world().matrix()) for _, i in placed]
    order = {i: k for k, (_, i) in enumerate(placed)}
    point_ids = sorted(model.points3D)
    obs_point, obs_photo, obs_xy = [], [], []
    for k, point_id in enumerate(point_ids):
        elements = sorted((order[e.image_id], e.point2D_idx) for e in model.points3D[point_id].track.elements)
        for photo, index in elements:
            obs_point.append(k)
            obs_photo.append(photo)
            obs_xy.append(model.images[placed[photo][1]].points2D[index].xy)
    found = [model.points3D[i] for i in point_ids]
    return Reconstruction(
        names=tuple(name for name, _ in placed),
        camera_index=np.array([camera_ids.index(model.images[i].camera_id) for _, i in placed], np.int32),
        cameras=tuple(cameras),
        cam_from_world=np.array(poses, np.float64).reshape(-1, 3, 4),
        points=np.array([p.xyz for p in found], np.float64).reshape(-1, 3),
        point_colors=np.array([p.color for p in found], np.uint8).reshape(-1, 3),
        point_errors_px=np.array([p.error for p in found], np.float32),
        obs_point=np.array(obs_point, np.int32),
        obs_photo=np.array(obs_photo, np.int32),
        obs_xy=np.array(obs_xy, np.float32).reshape(-1, 2),
    )


# --- nerfstudio -------------------------------------------------------------------------------------------------------


def write_transforms(path: str | Path, model: Reconstruction, *, photos: dict[str, str] | None = None) -> Path:
    """transforms.json: intrinsics per photo, `transform_matrix` = world_from_cam in OpenGL axes.

    photos: photo name -> file_path to write (default: the name). Unit and frame are kept under the key "rilievo".
    Numbers are written so that reading gives the same float64.
    """
    path = Path(path)
    shared = len(model.cameras) == 1
    frames = []
    for k, name in enumerate(model.names):
        world_from_cam = geometry.invert(model.cam_from_world[k])
        matrix = np.eye(4)
        matrix[:3, :3] = world_from_cam[:, :3] @ _OPENGL_FROM_OPENCV
        matrix[:3, 3] = world_from_cam[:, 3]
        frame: dict[str, Any] = {"file_path": (photos or {}).get(name, name), "transform_matrix": matrix.tolist()}
        if not shared:
            frame |= _intrinsics(model.camera(k))
        frames.append(frame)
    document: dict[str, Any] = _intrinsics(model.cameras[0]) if shared else {}
    if not shared:
        models = {_intrinsics(c)["camera_model"] for c in model.cameras}
        document["camera_model"] = models.pop() if len(models) == 1 else "OPENCV"
    document["applied_transform"] = np.eye(3, 4).tolist()
    document["rilievo"] = {
        "frame": model.frame,
        "unit": model.unit,
        "scale_source": model.scale_source,
        "origin": model.origin.tolist(),
    }
    document["frames"] = frames
    with replacing(path) as file:
        file.write(json.dumps(document, indent=1).encode())
    return path


def read_transforms(path: str | Path) -> Reconstruction:
    """Cameras from a transforms.json (nerfstudio, instant-ngp or Blender's NeRF scenes), without points.

    Blender's files give `camera_angle_x` only: they are PINHOLE and need `w` and `h`, or photos beside the file to take
    the size from. Raises InputError when the file cannot be understood.
    """
    path = Path(path)
    try:
        document = json.loads(read_bytes(path))
    except ValueError as error:
        raise InputError(f"{path} is not a transforms.json", str(error), _TRANSFORMS_HINT) from error
    return transforms_model(document, path)


def transforms_model(document: Any, path: Path) -> Reconstruction:
    """Cameras from the content of a transforms.json that lies at `path`; `applied_transform` is undone. Raises
    InputError when it cannot be understood."""
    try:
        frames = sorted(document["frames"], key=lambda f: str(f["file_path"]))
        applied = np.eye(4)
        applied[:3] = np.array(document.get("applied_transform", np.eye(3, 4)), np.float64)[:3]
        back = np.linalg.inv(applied)
        cameras, index = geometry.distinct_cameras(_read_intrinsics({**document, **frame}, path) for frame in frames)
        poses, names = [], []
        for frame in frames:
            matrix = back @ np.array(frame["transform_matrix"], np.float64).reshape(4, 4)
            world_from_cam = np.concatenate([matrix[:3, :3] @ _OPENGL_FROM_OPENCV, matrix[:3, 3:]], 1)
            poses.append(geometry.invert(world_from_cam))
            names.append(str(frame["file_path"]).removeprefix("./"))
    except (KeyError, TypeError, ValueError, np.linalg.LinAlgError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} is not a transforms.json", why, _TRANSFORMS_HINT) from error
    extra = document.get("rilievo", {})
    model = Reconstruction(
        names=tuple(names),
        camera_index=index,
        cameras=cameras,
        cam_from_world=np.array(poses, np.float64).reshape(-1, 3, 4),
        points=np.zeros((0, 3)),
        point_colors=np.zeros((0, 3), np.uint8),
        point_errors_px=np.zeros(0, np.float32),
        obs_point=np.zeros(0, np.int32),
        obs_photo=np.zeros(0, np.int32),
        obs_xy=np.zeros((0, 2), np.float32),
    )
    known = {k: str(extra[k]) for k in ("frame", "unit", "scale_source") if k in extra}
    return replace(model, **known, origin=np.array(extra.get("origin", [0, 0, 0]), np.float64))


def _intrinsics(camera: Camera) -> dict[str, Any]:
    names = {"cx": camera.cx, "cy": camera.cy, "w": camera.width, "h": camera.height}
    fisheye = camera.model.endswith("FISHEYE")
    last = {"FULL_OPENCV": 6, "OPENCV_FISHEYE": 4, "RADIAL_FISHEYE": 4, "SIMPLE_RADIAL_FISHEYE": 4}.get(camera.model, 2)
    coefficients = {f"k{i}": camera.param(f"k{i}") for i in range(1, last + 1)}
    if not fisheye:
        coefficients |= {"p1": camera.param("p1"), "p2": camera.param("p2")}
    kind = "OPENCV_FISHEYE" if fisheye else "FULL_OPENCV" if camera.model == "FULL_OPENCV" else "OPENCV"
    return {"camera_model": kind, "fl_x": camera.fx, "fl_y": camera.fy, **names, **coefficients}


def _read_intrinsics(values: dict[str, Any], path: Path) -> Camera:
    if "w" not in values:
        values = {**values, **_picture_size(path, str(values["file_path"]))}
    w, h = int(values["w"]), int(values["h"])
    if "fl_x" in values:
        fx = float(values["fl_x"])
        fy = float(values.get("fl_y", fx))
    else:
        fx = fy = 0.5 * w / np.tan(0.5 * float(values["camera_angle_x"]))
    intrinsics = [fx, fy, float(values.get("cx", w / 2)), float(values.get("cy", h / 2))]
    model = str(values.get("camera_model", "OPENCV"))
    if model not in ("OPENCV", "OPENCV_FISHEYE", "FULL_OPENCV", "PINHOLE"):
        raise ValueError(f"camera_model {model!r} is not supported (OPENCV, OPENCV_FISHEYE, FULL_OPENCV or PINHOLE)")
    rest = [float(values.get(name, 0.0)) for name in CAMERA_PARAMS[model][4:]]
    if model == "OPENCV" and not any(rest):
        model, rest = "PINHOLE", []
    return Camera(model, w, h, np.array(intrinsics + rest, np.float64))


def _picture_size(path: Path, file_path: str) -> dict[str, int]:
    """Blender's NeRF scenes leave the size to the pictures, whose ending they leave out too."""
    from PIL import Image

    for candidate in (path.parent / file_path, path.parent / f"{file_path}.png"):
        if candidate.is_file():
            with Image.open(candidate) as image:
                return {"w": image.width, "h": image.height}
    raise ValueError(f"it does not say the size of the photos, and {file_path} is not beside it")


# --- undistorted photos -----------------------------------------------------------------------------------------------


def export_undistorted(
    folder: str | Path,
    model: Reconstruction,
    load_pixels: Callable[[str], np.ndarray],
    *,
    format: str = "colmap",
    max_size: int = 100_000,
) -> list[Path]:
    """Photos without distortion and the model that fits them: `images/`, and `sparse/` (format "colmap", a COLMAP
    workspace) or `transforms.json` ("nerfstudio"). One photo at a time is in memory.

    load_pixels: photo name -> uint8 (h, w, 3), the full photo.  max_size: longer side of what is written, px. Pixels
    that the photo did not see are named in `masks/` (NAME.png, 0 there), where there are any.
    """
    from rilievo.stages.views import undistort_view

    if format not in ("colmap", "nerfstudio"):
        raise ValueError(f"format must be colmap or nerfstudio, not {format!r}")
    folder = Path(folder)
    written: list[Path] = []
    straight_cameras: list[Camera] = []
    obs_xy = np.zeros_like(model.obs_xy)
    files = {name: _picture_name(name) for name in model.names}
    for k, name in enumerate(model.names):
        view = undistort_view(load_pixels(name), model.camera(k), model.cam_from_world[k], name, max_size=max_size)
        straight_cameras.append(view.camera)
        rows = model.obs_photo == k
        ideal = geometry.undistort(model.camera(k), model.obs_xy[rows])
        obs_xy[rows] = ideal * [view.camera.fx, view.camera.fy] + [view.camera.cx, view.camera.cy]
        jpeg = not files[name].lower().endswith(".png")
        pictures = [(folder / "images" / files[name], encode_picture(view.pixels, 95 if jpeg else 100)[0])]
        if view.mask is not None:
            shown = np.repeat(view.mask.astype(np.uint8)[:, :, None] * 255, 3, 2)
            pictures.append((folder / "masks" / f"{files[name]}.png", encode_picture(shown)[0]))
        for target, raw in pictures:
            with replacing(target) as file:
                file.write(raw)
            written.append(target)
    cameras, index = geometry.distinct_cameras(straight_cameras)
    straight = replace(model, cameras=cameras, camera_index=index, obs_xy=obs_xy)
    if format == "nerfstudio":
        photos = {name: f"images/{file}" for name, file in files.items()}
        return [*written, write_transforms(folder / "transforms.json", straight, photos=photos)]
    # COLMAP needs the names to be those of the files, which may sort differently: only the names change.
    renamed = replace(straight, names=tuple(files[name] for name in model.names))
    return [*written, *write_colmap(folder / "sparse", renamed)]


def _picture_name(name: str) -> str:
    """The name of a photo as JPEG or PNG: another kind of file gets .jpg behind its own ending, so names differ."""
    suffix = PurePosixPath(name).suffix.lower()
    return name if suffix in (".jpg", ".jpeg", ".png") else f"{name}.jpg"
