"""Known truth beside a set of photos: cameras, and a mesh or points where there are any.

Three layouts are read (`load_truth`):

* rilievo: `cameras.json` with `world_from_cam` (photo name -> 3 x 4 or 4 x 4), `K`, `width`, `height` and distortion
  `k1`, `k2` (all optional but the first two groups), and optionally `mesh.ply` or `mesh.ply.gz`, or `cloud.ply`.
* Strecha et al. 2008: `*.camera` files (K; zeros; R as rows of camera-to-world; centre; size).
* COLMAP text: `cameras.txt` and `images.txt`.
* Middlebury (Seitz et al. 2006): `*_par.txt` with a line `photo K R t` a photo, the photos beside it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int32

from rilievo import geometry
from rilievo.errors import InputError
from rilievo.types import Camera, _Value


@dataclass(frozen=True, eq=False)
class Truth(_Value):
    """What is known about a scene. Photo i is names[i] (sorted), taken by cameras[i].

    vertices, faces: the surface, counter-clockwise outside, or None.  points: a scan without faces, or None.
    unit: "m" or "unknown".
    """

    names: tuple[str, ...]
    cameras: tuple[Camera, ...]
    cam_from_world: Float64[np.ndarray, "n 3 4"]
    vertices: Float64[np.ndarray, "v 3"] | None = None
    faces: Int32[np.ndarray, "f 3"] | None = None
    points: Float64[np.ndarray, "p 3"] | None = None
    unit: str = "m"

    @property
    def centers(self) -> np.ndarray:
        """Camera centres in the world, float64 (n, 3)."""
        return geometry.invert(self.cam_from_world)[:, :, 3]


def load_truth(folder: str | Path) -> Truth:
    """Truth from a folder in one of the layouts above; a layout may also lie one folder below (`truth/`,
    `gt_dense_cameras/`, `colmap_ground_truth/`). Raises InputError where none is found or a file is damaged."""
    root = Path(folder)
    places = [root] + [root / name for name in ("truth", "gt_dense_cameras", "colmap_ground_truth")]
    for place in places:
        for pattern, read in LAYOUTS.items():
            if any(place.glob(pattern)):
                try:
                    return read(place)
                except (KeyError, ValueError, IndexError, OSError, EOFError) as error:
                    raise InputError(
                        f"the truth in {place} cannot be read",
                        f"{type(error).__name__}: {error}",
                        "see rilievo.io.truth for the layouts that are understood",
                    ) from error
    raise InputError(
        f"no truth found in {root}",
        "the folder exists but holds none of the known layouts" if root.is_dir() else "there is no such folder",
        "give a folder with cameras.json, with *.camera files (Strecha), with images.txt and cameras.txt (COLMAP)"
        " or with a *_par.txt (Middlebury)",
    )


def _load_rilievo(place: Path) -> Truth:
    known = json.loads((place / "cameras.json").read_text())
    names = tuple(sorted(known["world_from_cam"]))
    K = np.array(known["K"], np.float64)
    params = np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2], known.get("k1", 0.0), known.get("k2", 0.0), 0.0, 0.0])
    camera = Camera("OPENCV", int(known["width"]), int(known["height"]), params)
    world_from_cam = np.array([np.array(known["world_from_cam"][n], np.float64)[:3, :4] for n in names])
    vertices = faces = points = None
    for name in ("mesh.ply", "mesh.ply.gz"):
        if (place / name).is_file():
            vertices, faces = _read_ply(place / name)
            break
    if (place / "cloud.ply").is_file():
        points = _read_ply(place / "cloud.ply")[0]
    cam_from_world = geometry.invert(world_from_cam)
    return Truth(names, (camera,) * len(names), cam_from_world, vertices, faces, points, str(known.get("unit", "m")))


def _read_ply(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    import trimesh

    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        loaded = trimesh.load(file, file_type="ply", process=False)
    vertices = np.array(loaded.vertices, np.float64)
    faces = getattr(loaded, "faces", None)
    return vertices, None if faces is None else np.array(faces, np.int32)


def _load_strecha(place: Path) -> Truth:
    names, cameras, cam_from_world = [], [], []
    for path in sorted(place.glob("*.camera")):
        numbers = np.array(path.read_text().split(), np.float64)
        if len(numbers) < 26:
            raise ValueError(f"{path.name} has {len(numbers)} numbers, 26 are expected")
        width, height = (int(x) for x in numbers[24:26])
        R, center = numbers[12:21].reshape(3, 3).T, numbers[21:24]
        names.append(path.name.removesuffix(".camera"))
        cameras.append(Camera.pinhole(width, height, numbers[:9].reshape(3, 3)))
        cam_from_world.append(np.concatenate([R, -(R @ center)[:, None]], 1))
    return Truth(tuple(names), tuple(cameras), np.array(cam_from_world))


def _load_colmap(place: Path) -> Truth:
    def lines(name: str) -> list[str]:
        return [line for line in (place / name).read_text().splitlines() if not line.startswith("#")]

    cameras = {}
    for line in lines("cameras.txt"):
        if line.strip():
            key, model, width, height, *params = line.split()
            cameras[key] = Camera(model, int(width), int(height), np.array(params, np.float64))
    rows = {}
    for line in lines("images.txt")[::2]:  # every second line holds keypoints
        if line.strip():
            _, qw, qx, qy, qz, tx, ty, tz, key, name = line.split(maxsplit=9)
            R = geometry.rotation_from_quaternion(np.array([qw, qx, qy, qz], np.float64))
            rows[name] = (cameras[key], np.concatenate([R, np.array([[tx], [ty], [tz]], np.float64)], 1))
    names = tuple(sorted(rows))
    return Truth(names, tuple(rows[n][0] for n in names), np.array([rows[n][1] for n in names]), unit="unknown")


def _load_middlebury(place: Path) -> Truth:
    from PIL import Image

    path = sorted(place.glob("*_par.txt"))[0]
    names, cameras, cam_from_world = [], [], []
    for line in sorted(path.read_text().splitlines()[1:]):
        if line.strip():
            name, *words = line.split()
            numbers = np.array(words, np.float64)
            if len(numbers) != 21:
                raise ValueError(f"{path.name}: {name} has {len(numbers)} numbers, 21 are expected")
            with Image.open(place / name) as image:
                width, height = image.size
            K = numbers[:9].reshape(3, 3).copy()
            K[:2, 2] += 0.5  # their pixels count from the centre of the first one
            names.append(name)
            cameras.append(Camera.pinhole(width, height, K))
            cam_from_world.append(np.concatenate([numbers[9:18].reshape(3, 3), numbers[18:, None]], 1))
    return Truth(tuple(names), tuple(cameras), np.array(cam_from_world))


# file that shows a layout -> its reader. A new layout is a row here.
LAYOUTS: dict[str, Callable[[Path], Truth]] = {
    "cameras.json": _load_rilievo,
    "*.camera": _load_strecha,
    "images.txt": _load_colmap,
    "*_par.txt": _load_middlebury,
}


def read_depth_picture(path: Path) -> np.ndarray:
    """True depth of a photo, float64 (h, w), NaN unknown: 16 bit PNG or TIFF (0 and 65535: unknown; unit of the file),
    float TIFF, npy, or npz with an array `depth` (else its only one). Raises InputError."""
    import cv2

    try:
        if path.suffix.lower() in (".npz", ".npy"):
            loaded = np.load(path, allow_pickle=False)
            if not isinstance(loaded, np.ndarray):
                name = "depth" if "depth" in loaded.files or len(loaded.files) != 1 else loaded.files[0]
                loaded = loaded[name]
            raw = np.asarray(loaded)
        else:
            raw = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
            if raw is None:
                raise ValueError("it is no picture that can be read")
        if raw.ndim != 2 or raw.dtype == np.uint8 or raw.dtype.kind not in "fui":
            raise ValueError(
                f"its values are {raw.dtype} {raw.shape}; depth is one channel of 16 bit or floating point"
            )
    except (ValueError, OSError, KeyError, EOFError, cv2.error) as error:
        raise InputError(
            f"{path.name} cannot be read as true depth",
            f"{type(error).__name__}: {error}"[:300],
            "give a 16 bit PNG or TIFF, or a npy or npz array of depth",
        ) from error
    depth = raw.astype(np.float64)
    unknown = ~(depth > 0) | ~np.isfinite(depth)
    if raw.dtype == np.uint16:
        unknown |= raw == 65535
    return np.where(unknown, np.nan, depth)
