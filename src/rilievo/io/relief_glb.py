"""The relief of one photo as GLB: the photo itself is the texture, byte for byte where glTF takes it as it is.

Two primitives: "seen" with the photo, and "invented" with a picture of its own where parts were filled in. Its vertices
have the attribute `_INFERRED` (1), those of "seen" 0. Axes: y up, the camera at the origin looking along -z.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rilievo.errors import InputError
from rilievo.io.axes import vertex_normals, yup
from rilievo.io.gltf import SIGMA_NOTE, Buffer, unit, write_glb
from rilievo.types import Mesh

MAX_TEXTURE = 4096


@dataclass(frozen=True)
class Picture:
    """A texture as a file: its bytes, "image/jpeg" or "image/png", and the EXIF orientation (1 to 8) in which its
    pixels are stored."""

    content: bytes
    mime: str
    orientation: int = 1


def photo_picture(content: bytes, width: int, height: int, orientation: int) -> Picture | None:
    """The photo's own JPEG bytes as a texture, without notes (EXIF with the place, XMP, previews, what follows the
    picture), or None where it must be packed anew: no JPEG, more than `MAX_TEXTURE` px, not 8-bit grey or YCbCr.

    width, height: upright. A photo on its side stays as it is stored: texture coordinates are turned instead.
    """
    if max(width, height) > MAX_TEXTURE or content[:3] != b"\xff\xd8\xff":
        return None
    kept, at = [b"\xff\xd8"], 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        size = int.from_bytes(content[at + 2 : at + 4], "big")
        segment = content[at : at + 2 + size]
        if size < 2 or len(segment) < 2 + size:
            return None
        starts_frame = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        if starts_frame and (marker > 0xC2 or len(segment) < 10 or segment[4] != 8 or segment[9] not in (1, 3)):
            return None  # not Huffman, not 8 bits, or CMYK
        if marker == 0xDA:
            end = _end_of_picture(content, at)
            return None if end is None else Picture(b"".join([*kept, content[at:end]]), "image/jpeg", orientation)
        icc = marker == 0xE2 and segment[4:15] == b"ICC_PROFILE"
        if marker in (0xE0, 0xEE) or icc or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(segment)
        at += 2 + size
    return None


def _end_of_picture(content: bytes, scan: int) -> int | None:
    """Index behind the end marker that follows the scan at `scan`, over all scans of a progressive picture."""
    at = scan
    while True:
        size = int.from_bytes(content[at + 2 : at + 4], "big")
        at += 2 + size
        while True:  # packed data: FF is followed by 00 or a restart marker inside
            at = content.find(b"\xff", at)
            if at < 0 or at + 1 >= len(content):
                return None
            marker = content[at + 1]
            if marker == 0xFF:
                at += 1
            elif marker == 0 or 0xD0 <= marker <= 0xD7:
                at += 2
            else:
                break
        while marker not in (0xDA, 0xD9):  # tables between scans
            at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
            if at + 4 > len(content) or content[at] != 0xFF:
                return None if content[at : at + 2] != b"\xff\xd9" else at + 2
            marker = content[at + 1]
        if marker == 0xD9:
            return at + 2


def _stored_uvs(uvs: np.ndarray, orientation: int) -> np.ndarray:
    """Places in the upright photo ((0, 0) lower left) -> glTF's places ((0, 0) upper left) in the picture as stored."""
    u, v = uvs[:, 0], 1 - uvs[:, 1]
    if orientation in (2, 3, 6, 7):
        u = 1 - u
    if orientation in (3, 4, 7, 8):
        v = 1 - v
    if orientation >= 5:
        u, v = v, u
    return np.ascontiguousarray(np.stack([u, v], 1), np.float32)


def write(
    path: Path,
    seen: Mesh,
    picture: Picture,
    *,
    invented: Mesh | None = None,
    invented_picture: Picture | None = None,
    extras: dict[str, Any] | None = None,
) -> None:
    """Writes the GLB. extras: what to tell beside the model (unit, model, how it came about), JSON values.

    Raises InputError when there is no surface, ResourceError when the disk is full or may not be written.
    """
    if not len(seen.faces):
        raise InputError(
            f"cannot write {path.name}",
            "no surface is left: all of the photo is sky, unknown or torn into small pieces",
        )
    buffer = Buffer()
    parts: list[tuple[str, Mesh, Picture]] = [("seen", seen, picture)]
    if invented is not None and invented_picture is not None and len(invented.faces):
        parts.append(("invented", invented, invented_picture))
    primitives, materials, images, textures = [], [], [], []
    for number, (name, mesh, image) in enumerate(parts):
        assert mesh.uvs is not None
        attributes = {
            "POSITION": buffer.attribute(yup(mesh.vertices), limits=True),
            "NORMAL": buffer.attribute(unit(yup(vertex_normals(mesh)))),
            "TEXCOORD_0": buffer.attribute(_stored_uvs(mesh.uvs, image.orientation)),
        }
        if mesh.sigma is not None and np.isfinite(mesh.sigma).any():
            attributes["_SIGMA"] = buffer.attribute(
                np.where(np.isfinite(mesh.sigma), mesh.sigma, -1).astype(np.float32)
            )
        if len(parts) > 1:
            attributes["_INFERRED"] = buffer.attribute(np.full(len(mesh.vertices), number, np.float32))
        primitives.append(
            {"attributes": attributes, "indices": buffer.indices(mesh.faces, len(mesh.vertices)), "material": number}
        )
        materials.append(
            {
                "name": name,
                "pbrMetallicRoughness": {
                    "metallicFactor": 0.0,
                    "roughnessFactor": 1.0,
                    "baseColorTexture": {"index": number},
                },
                "extensions": {"KHR_materials_unlit": {}},
                "doubleSided": True,
            }
        )
        images.append({"bufferView": buffer.add(image.content), "mimeType": image.mime, "name": name})
        textures.append({"sampler": 0, "source": number})
    notes = {"num_faces": sum(len(mesh.faces) for _, mesh, _ in parts), **(extras or {})}
    if any("_SIGMA" in p["attributes"] for p in primitives):
        notes["_SIGMA"] = SIGMA_NOTE
    if len(parts) > 1:
        notes["_INFERRED"] = "1: filled in behind what the photo shows; nothing was seen there"
    root = {
        "asset": {"version": "2.0", "generator": "rilievo"},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "relief"}],
        "meshes": [{"name": "relief", "primitives": primitives, "extras": notes}],
        "materials": materials,
        "images": images,
        "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
        "textures": textures,
    }
    write_glb(path, root, buffer, "lower --depth-size")
