"""Small files for sharing: meshes as quantised GLB (KHR_mesh_quantization), splats and clouds thinned to a size."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from rilievo.io import gltf
from rilievo.io.axes import vertex_normals
from rilievo.io.pictures import encode_picture
from rilievo.types import Mesh, Splats

_SHORT, _BYTE = 5123, 5120


def quantised_glb(mesh: Mesh, origin: np.ndarray, *, texture_size: int, jpeg_quality: int = 85) -> bytes:
    """The mesh relative to `origin`, z up by its node: positions and texture coordinates in 16 bits, normals in 8;
    and sigma."""
    import cv2

    low = mesh.vertices.min(0).astype(np.float64)
    side = float(max(np.ptp(mesh.vertices.astype(np.float64), axis=0).max(), 1e-12))
    position = np.rint((mesh.vertices - low) * (65535 / side)).astype("<u2")
    buffer = gltf.Buffer()
    attributes = {"POSITION": _padded(buffer, position, _SHORT, limits=True)}
    material: dict[str, Any] = {
        "doubleSided": True,
        "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1},
    }
    root: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "rilievo"},
        "extensionsUsed": ["KHR_mesh_quantization"],
    }
    root["extensionsRequired"] = ["KHR_mesh_quantization"]
    normals = np.rint(vertex_normals(mesh) * 127).astype("i1")
    attributes["NORMAL"] = _padded(buffer, normals, _BYTE, normalized=True)
    if mesh.sigma is not None and np.isfinite(mesh.sigma).any():
        attributes["_SIGMA"] = buffer.attribute(_rounded(np.where(np.isfinite(mesh.sigma), mesh.sigma, -1)))
    if mesh.texture is not None and mesh.uvs is not None:
        uv = np.stack([mesh.uvs[:, 0], 1 - mesh.uvs[:, 1]], 1).astype(np.float64)
        attributes["TEXCOORD_0"] = _padded(
            buffer, np.rint(np.clip(uv, 0, 1) * 65535).astype("<u2"), _SHORT, normalized=True
        )
        texture = np.asarray(mesh.texture)
        shrink = texture_size / max(texture.shape[:2])
        if shrink < 1:
            size = (max(round(texture.shape[1] * shrink), 1), max(round(texture.shape[0] * shrink), 1))
            texture = cv2.resize(texture, size, interpolation=cv2.INTER_AREA)
        raw, _ = encode_picture(np.ascontiguousarray(texture), jpeg_quality)
        root |= {
            "images": [{"bufferView": buffer.add(raw), "mimeType": "image/jpeg"}],
            "samplers": [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}],
            "textures": [{"sampler": 0, "source": 0}],
        }
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
    elif mesh.colors is not None:
        attributes["COLOR_0"] = _padded(buffer, _linear(mesh.colors), _SHORT, normalized=True)
    else:
        material["pbrMetallicRoughness"]["baseColorFactor"] = [0.6, 0.6, 0.6, 1.0]
    if mesh.colors is not None or "images" in root:
        material["extensions"] = {"KHR_materials_unlit": {}}
        root["extensionsUsed"].append("KHR_materials_unlit")
    step = side / 65535
    matrix = np.diag([step, step, step, 1.0])
    matrix[:3, 3] = low + mesh.origin - origin
    root |= {
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "matrix": matrix.T.ravel().tolist()}],
        "materials": [material],
        "meshes": [
            {
                "primitives": [
                    {"attributes": attributes, "material": 0, "indices": buffer.indices(mesh.faces, len(position))}
                ],
                "extras": {"num_faces": len(mesh.faces)},
            }
        ],
    }
    return gltf.pack_glb(root, buffer)


def _padded(
    buffer: gltf.Buffer, values: np.ndarray, kind: int, *, limits: bool = False, normalized: bool = False
) -> int:
    """An accessor whose rows start at multiples of 4 bytes, as glTF wants them."""
    width, item = values.shape[1], values.dtype.itemsize
    stride = -(-width * item // 4) * 4
    rows = np.zeros((len(values), stride // item), values.dtype)
    rows[:, :width] = values
    view = buffer.add(rows.tobytes(), 34962)
    buffer.views[view]["byteStride"] = stride
    accessor: dict[str, Any] = {"bufferView": view, "componentType": kind, "count": len(values), "type": f"VEC{width}"}
    if normalized:
        accessor["normalized"] = True
    if limits:
        accessor |= {"min": values.min(0).tolist(), "max": values.max(0).tolist()}
    buffer.accessors.append(accessor)
    return len(buffer.accessors) - 1


def _rounded(values: np.ndarray) -> np.ndarray:
    """float32 with 8 bits behind the first: within 0.4 %, and smaller when packed."""
    return (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF8000)).view(np.float32)


def _linear(colors: np.ndarray) -> np.ndarray:
    from rilievo.io.axes import linear_from_srgb

    rgba = np.full((len(colors), 4), 65535, "<u2")
    rgba[:, :3] = np.rint(linear_from_srgb(colors) * 65535)
    return rgba


def thinned(splats: Splats, num: int, degree: int) -> Splats:
    """At most `num` Gaussians, those that cover most (opacity times the area of their larger two axes), in their order,
    with harmonics up to `degree`."""
    k = (min(degree, splats.degree) + 1) ** 2
    out = replace(splats, sh=np.ascontiguousarray(splats.sh[:, :k]))
    if num >= len(splats.means):
        return out
    axes = np.sort(splats.scales, axis=1)
    weight = splats.opacities * axes[:, 1] * axes[:, 2]
    keep = np.sort(np.argsort(-weight, kind="stable")[:num])
    return replace(
        out,
        means=splats.means[keep],
        quats=splats.quats[keep],
        scales=splats.scales[keep],
        opacities=splats.opacities[keep],
        sh=np.ascontiguousarray(out.sh[keep]),
    )


def fewer(now: int, size: float, wanted: float) -> int:
    """How many of `now` things of `size` bytes are likely to fit into `wanted` bytes."""
    return max(1, math.floor(now * min(0.95 * wanted / max(size, 1.0), 0.9)))
