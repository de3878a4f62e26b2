"""Coarser levels of a mesh: its seams closed, simplified, and its colours carried over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rilievo.types import Mesh


def joined(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(vertices, faces int32, row of the mesh's vertices) with vertices of equal position made one; faces that lose
    their area that way are left out."""
    position = np.ascontiguousarray(mesh.vertices).view(np.dtype((np.void, 12))).ravel()
    _, first, same = np.unique(position, return_index=True, return_inverse=True)
    faces = same.ravel()[mesh.faces].astype(np.int32)
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return np.ascontiguousarray(mesh.vertices[first]), np.ascontiguousarray(faces[whole]), first


def level_sizes(num_faces: int) -> list[int]:
    """Faces of the levels below a mesh of so many, coarsest first; none where it is small itself."""
    return [n for n in (20_000, 100_000, 400_000) if num_faces >= 2 * n]


def coarser(mesh: Mesh, max_faces: int, texture_size: int) -> Mesh:
    """The mesh with at most `max_faces` faces, as far as its topology allows; texture, colours and sigma are those of
    the nearest place on the mesh. texture_size: longest side of the new texture, px."""
    return next(coarser_levels(mesh, [(max_faces, texture_size)]))


def coarser_levels(mesh: Mesh, sizes: Sequence[tuple[int, int]]) -> Iterator[Mesh]:
    """Several coarser meshes, each simplified from the one before; sizes: (most faces, texture size), finest first."""
    from rilievo.stages.mesh_clean import simplify, split_nonmanifold

    vertices, faces, _ = joined(mesh)
    vertices, faces = split_nonmanifold(vertices, faces)
    for max_faces, texture_size in sizes:
        vertices, faces = simplify(vertices, faces, max_faces)
        yield _dressed(mesh, vertices, faces, texture_size)


def _dressed(mesh: Mesh, vertices: np.ndarray, faces: np.ndarray, texture_size: int) -> Mesh:
    """A surface with the colours and the sigma of the mesh it lies on."""
    from rilievo.stages.mesh_clean import vertex_normals

    corners = vertices.astype(np.float64)
    on = Places(mesh, corners)
    sigma = None if mesh.sigma is None else on.mean(mesh.sigma)
    normals = vertex_normals(vertices, faces).astype(np.float32)
    if mesh.texture is None or mesh.uvs is None:
        colors = None if mesh.colors is None else np.rint(on.mean(mesh.colors.astype(np.float32))).astype(np.uint8)
        return Mesh(vertices, faces, normals, colors, None, sigma, origin=mesh.origin)
    faces = faces[_nearby_order(corners[faces].mean(1))]
    uvs, texture = _bake(mesh, corners, faces, texture_size)
    rows = faces.ravel()
    return Mesh(
        vertices[rows],
        np.arange(len(rows), dtype=np.int32).reshape(-1, 3),
        normals[rows],
        sigma=None if sigma is None else sigma[rows],
        uvs=uvs,
        texture=texture,
        origin=mesh.origin,
    )


class Places:
    """The places on a mesh that are nearest to points float64 (n, 3), all relative to the mesh's origin.

    face int32 (n,); weights float64 (n, 3): of the face's corners; distance float64 (n,).
    """

    def __init__(self, mesh: Mesh, points: np.ndarray) -> None:
        from rilievo import kernels

        self.mesh = mesh
        vertices = mesh.vertices.astype(np.float64)
        faces = np.ascontiguousarray(mesh.faces)
        self.distance, self.face = kernels.closest_on_mesh(np.ascontiguousarray(points), vertices, faces, np.inf)
        a, b, c = (vertices[faces[self.face, k]] for k in range(3))
        self.weights = barycentric(points, a, b, c)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Values per vertex (v, ...) at the places, float32 (n, ...). NaN where a corner's is."""
        corners = self.mesh.faces[self.face]
        out = sum(values[corners[:, k]] * self.weights[:, k].reshape(-1, *[1] * (values.ndim - 1)) for k in range(3))
        return np.asarray(out, np.float32)


def barycentric(p: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Weights (n, 3) of the corners for points (n, 3), of triangles of which they are the nearest: clipped to 0..1."""
    u, v, w = b - a, c - a, p - a
    uu, uv, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    wu, wv = (w * u).sum(1), (w * v).sum(1)
    det = uu * vv - uv * uv
    flat = ~(det > 1e-14 * (uu + vv) ** 2)
    det = np.where(flat, 1.0, det)
    s = np.where(flat, 0.0, (vv * wu - uv * wv) / det)
    t = np.where(flat, 0.0, (uu * wv - uv * wu) / det)
    weights = np.clip(np.stack([1 - s - t, s, t], 1), 0, 1)
    return weights / weights.sum(1, keepdims=True)


def _nearby_order(centers: np.ndarray) -> np.ndarray:
    """An order of points in which neighbours are near each other."""
    from rilievo.view.octree import morton

    low = centers.min(0)
    return np.argsort(morton(centers, low, float(max(np.ptp(centers, axis=0).max(), 1e-12)) * (1 + 1e-6)))


def _bake(mesh: Mesh, vertices: np.ndarray, faces: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """uvs float32 (3 f, 2) and a texture of the mesh's colours for faces of their own: two of them share a square cell,
    each with its corner in one of the cell's, a texel's rim around it."""
    import cv2

    assert mesh.uvs is not None and mesh.texture is not None
    side = int(np.ceil(np.sqrt((len(faces) + 1) // 2)))
    cell = min(max(size // side, 6), 64)
    # Where the corners lie in a cell (edges of texels): of the lower left face, then of the upper right one.
    corner = np.array(
        [[[1, 1], [cell - 3, 1], [1, cell - 3]], [[cell - 1, cell - 1], [3, cell - 1], [cell - 1, 3]]], float
    )
    x, y = np.meshgrid(np.arange(cell) + 0.5, np.arange(cell) + 0.5)
    half = (x + y > cell).astype(int)
    weights = np.empty((cell, cell, 3))
    for k in (0, 1):
        a, ab, ac = corner[k, 0], corner[k, 1] - corner[k, 0], corner[k, 2] - corner[k, 0]
        st = np.linalg.solve(np.stack([ab, ac], 1), np.stack([x - a[0], y - a[1]]).reshape(2, -1))
        weights[half == k] = np.stack([1 - st.sum(0), *st], 1).reshape(cell, cell, 3)[half == k]
    picture = np.zeros((side * cell, side * cell, 3), np.uint8)
    source = _area_shrunk(mesh, vertices, faces, cell)
    rows = max(400_000 // (side * cell * cell), 1)  # at a time: bounds memory
    for start in range(0, side, rows):
        mine = 2 * np.arange(start * side, min(start + rows, side) * side)
        if mine[0] >= len(faces):
            break
        face = np.minimum(mine[:, None, None] + half, len(faces) - 1)
        points = np.einsum("ijk,nijkd->nijd", weights, vertices[faces[face]])
        on = Places(mesh, points.reshape(-1, 3))
        uv = on.mean(mesh.uvs).astype(np.float64)
        h, w = source.shape[:2]
        map_x = (uv[:, 0] * w - 0.5).astype(np.float32).reshape(-1, cell)
        map_y = ((1 - uv[:, 1]) * h - 0.5).astype(np.float32).reshape(-1, cell)
        # remap takes at most 32767 rows.
        colors = np.concatenate(
            [
                cv2.remap(source, map_x[i : i + 30_000], map_y[i : i + 30_000], cv2.INTER_LINEAR)
                for i in range(0, len(map_x), 30_000)
            ]
        )
        colors = colors.reshape(-1, side, cell, cell, 3).transpose(0, 2, 1, 3, 4).reshape(-1, side * cell, 3)
        picture[start * cell : start * cell + len(colors)] = colors
    k = np.arange(len(faces))
    place = np.stack([k // 2 % side, k // 2 // side], 1)[:, None] * cell + corner[k % 2]
    uvs = place.reshape(-1, 2) / (side * cell)
    uvs[:, 1] = 1 - uvs[:, 1]
    return uvs.astype(np.float32), picture


def _area_shrunk(mesh: Mesh, vertices: np.ndarray, faces: np.ndarray, cell: int) -> np.ndarray:
    """The mesh's texture, shrunk by the power of two by which a new texel spans more of the surface than an old one."""
    import cv2

    assert mesh.uvs is not None and mesh.texture is not None
    texture = np.ascontiguousarray(mesh.texture)
    per_face = (cell - 4) ** 2 / 2
    u, v = (mesh.uvs[mesh.faces[:, k]] - mesh.uvs[mesh.faces[:, 0]] for k in (1, 2))
    used = float(np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum()) / 2
    ratio = np.sqrt(used * texture.shape[0] * texture.shape[1] / max(per_face * len(faces), 1))
    shrink = 1
    while shrink * 2 <= ratio * 1.2 and min(texture.shape[:2]) > 128 * shrink:
        shrink *= 2
    if shrink > 1:
        size = (texture.shape[1] // shrink, texture.shape[0] // shrink)
        texture = cv2.resize(texture, size, interpolation=cv2.INTER_AREA)
    return texture
