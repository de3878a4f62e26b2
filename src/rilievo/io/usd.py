"""USDZ (Pixar): a USD scene and its texture in one uncompressed zip whose files start at multiples of 64 bytes.

y up and metres, as phones expect. Needs the optional package usd-core.
"""

from __future__ import annotations

import tempfile
import zlib
from pathlib import Path

import numpy as np

from rilievo.errors import InputError, MissingError
from rilievo.io.axes import near_zero, vertex_normals, yup
from rilievo.io.files import replacing
from rilievo.io.pictures import encode_picture
from rilievo.types import Mesh


def write(path: Path, value: Mesh, *, jpeg_quality: int = 92) -> tuple[Path, ...]:
    """Writes a mesh as USDZ. Raises MissingError without usd-core and InputError for an empty mesh."""
    try:
        from pxr import Gf, Kind, Sdf, Usd, UsdGeom, UsdShade, Vt  # pyright: ignore[reportMissingImports]
    except ImportError as e:
        raise MissingError(
            f"cannot write {path.name}", "USDZ needs the package usd-core", 'pip install "rilievo[usd]"'
        ) from e
    if not len(value.faces):
        raise InputError(f"cannot write {path.name}", "the mesh has no faces")
    vertices, origin = near_zero(value.vertices, value.origin)
    xyz = yup(vertices)
    files: list[tuple[str, bytes]] = []
    with tempfile.TemporaryDirectory() as folder:
        layer = Path(folder) / "model.usdc"
        stage = Usd.Stage.CreateNew(str(layer))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        top = UsdGeom.Xform.Define(stage, "/model")
        stage.SetDefaultPrim(top.GetPrim())
        Usd.ModelAPI(top.GetPrim()).SetKind(Kind.Tokens.component)
        if origin.any():
            top.GetPrim().SetCustomDataByKey("origin", Gf.Vec3d(*[float(v) for v in origin]))
        mesh = UsdGeom.Mesh.Define(stage, "/model/surface")
        mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(xyz))
        mesh.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(value.faces), 3, np.int32)))
        mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(np.ascontiguousarray(value.faces.ravel())))
        mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
        mesh.CreateDoubleSidedAttr(True)
        mesh.CreateExtentAttr([Gf.Vec3f(*map(float, xyz.min(0))), Gf.Vec3f(*map(float, xyz.max(0)))])
        mesh.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(yup(vertex_normals(value))))
        mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
        material = UsdShade.Material.Define(stage, "/model/material")
        shader = UsdShade.Shader.Define(stage, "/model/material/shader")
        shader.CreateIdAttr("UsdPreviewSurface")
        shader.CreateInput("metallic", Sdf.ValueTypeNames.Float).Set(0.0)
        shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(1.0)
        color = shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f)
        color.Set(Gf.Vec3f(0.6, 0.6, 0.6))
        if value.texture is not None and value.uvs is not None:
            raw, ending = encode_picture(value.texture, jpeg_quality)
            files.append((f"textures/surface.{ending}", raw))
            st = UsdGeom.PrimvarsAPI(mesh).CreatePrimvar(
                "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex
            )
            st.Set(Vt.Vec2fArray.FromNumpy(np.ascontiguousarray(value.uvs)))
            reader = UsdShade.Shader.Define(stage, "/model/material/coordinates")
            reader.CreateIdAttr("UsdPrimvarReader_float2")
            reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
            picture = UsdShade.Shader.Define(stage, "/model/material/picture")
            picture.CreateIdAttr("UsdUVTexture")
            picture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(Sdf.AssetPath(files[0][0]))
            picture.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
            for side in ("wrapS", "wrapT"):
                picture.CreateInput(side, Sdf.ValueTypeNames.Token).Set("clamp")
            picture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(
                reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
            )
            color.ConnectToSource(picture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3))
        material.CreateSurfaceOutput().ConnectToSource(shader.CreateOutput("surface", Sdf.ValueTypeNames.Token))
        UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)
        stage.GetRootLayer().Save()
        files.insert(0, ("model.usdc", layer.read_bytes()))
    with replacing(path) as f:
        f.write(package(files))
    return (path,)


def package(files: list[tuple[str, bytes]]) -> bytes:
    """A zip of stored files, each starting at a multiple of 64 bytes, the scene first, without clock times.

    The padding is an extra field of the local header (USDZ specification, "Layout"; APPNOTE.TXT 4.3).
    """
    out, directory = bytearray(), bytearray()
    for name, raw in files:
        encoded = name.encode()
        start = len(out)
        gap = -(start + 30 + len(encoded)) % 64
        gap += 64 if 0 < gap < 4 else 0  # an extra field takes at least 4 bytes
        extra = b"" if gap == 0 else b"\x86\x19" + (gap - 4).to_bytes(2, "little") + b"\0" * (gap - 4)
        crc, size = zlib.crc32(raw).to_bytes(4, "little"), len(raw).to_bytes(4, "little")
        # version 1.0, no flags, stored, midnight of 1980-01-01
        common = b"\x0a\0" + b"\0\0" + b"\0\0" + b"\0\0\x21\0" + crc + size + size + len(encoded).to_bytes(2, "little")
        out += b"PK\x03\x04" + common + len(extra).to_bytes(2, "little") + encoded + extra + raw
        directory += b"PK\x01\x02" + b"\x0a\0" + common + b"\0\0" + b"\0\0" + b"\0" * 8
        directory += start.to_bytes(4, "little") + encoded
    end = b"PK\x05\x06" + b"\0" * 4 + len(files).to_bytes(2, "little") * 2
    end += len(directory).to_bytes(4, "little") + len(out).to_bytes(4, "little") + b"\0\0"
    return bytes(out + directory + end)
