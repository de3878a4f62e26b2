"""Surface to texture plane: patches of faces that share a photo, and where their texels lie.

`UNWRAPPERS` is the table. "views", the default, makes a chart of every patch by the projection of the photo it takes
its colours from: a chart is a cut-out of the photo, texel for pixel, so baking does not blur, and unwrapping is free.
"xatlas" cuts the surface by shape alone (Ignacio Castano's xatlas, after Levy et al. 2002): slower, fewer seams, for
programs that paint on the texture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rilievo import kernels
from rilievo.errors import ResourceError
from rilievo.types import Mesh

BLOCK = 2  # charts are placed on a grid of this many texels
FILL = 0.72  # share of the texture that charts may be expected to fill


@dataclass(frozen=True)
class Unwrapped:
    """Where each face lies in the texture.

    corner_xy: float32 (f, 3, 2) texels, y down.  corner_vertex: int32 (f, 3), the vertex of the unwrapped mesh.
    source_vertex: int32 (v,), the vertex of the mesh each came from.  scales: float64 (n, 2), size of each photo's
    pixels in texels.  cutouts: corner_xy of a face is its place in its photo, scaled and shifted by whole texels.
    """

    corner_xy: np.ndarray
    width: int
    height: int
    corner_vertex: np.ndarray
    source_vertex: np.ndarray
    scales: np.ndarray
    cutouts: bool


def face_neighbors(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The face over each side, int32 (f, 3), and which of its sides that is, int8 (f, 3); -1 at a border.

    Side k runs from corner k to corner k + 1. Where more than two faces meet at an edge, they are paired in order.
    """
    f = len(faces)
    tails, heads = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    low, high = np.minimum(tails, heads).astype(np.int64), np.maximum(tails, heads).astype(np.int64)
    key = low * (int(faces.max(initial=0)) + 1) + high
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.ones(len(key), bool)
    first[1:] = key[1:] != key[:-1]
    run = np.flatnonzero(first)
    rank = np.arange(len(key)) - run[np.cumsum(first) - 1] if len(key) else np.zeros(0, np.int64)
    pair = np.flatnonzero((rank[:-1] % 2 == 0) & ~first[1:]) if len(key) else np.zeros(0, np.int64)
    a, b = order[pair], order[pair + 1]
    neighbor, side = np.full(3 * f, -1, np.int32), np.full(3 * f, -1, np.int8)
    neighbor[a], neighbor[b] = b // 3, a // 3
    side[a], side[b] = b % 3, a % 3
    return neighbor.reshape(f, 3), side.reshape(f, 3)


def split_long_edges(mesh: Mesh, *, share: float = 0.12, min_faces: int = 20_000, max_growth: float = 0.08) -> Mesh:
    """The mesh with long edges halved until none is longer than the edges of `share` times as many equal triangles.

    A face takes its colours from one photo that shows all of it: a wall of two triangles would fit in none. Edges are
    split for both of their faces, so no gaps open, the longest first. min_faces: the number of faces that counts for
    smaller meshes. max_growth: the mesh may have this share more faces than before (or than min_faces), no more.
    """
    num = len(mesh.faces)
    most = num + int(max_growth * num) + (4 * min_faces if num < min_faces else 0)
    corner = mesh.vertices.astype(np.float64)[mesh.faces]
    area = float(np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1).sum()) / 2
    goal = np.sqrt(area / (0.43 * share * max(num, min_faces)))
    squares = ((np.roll(corner, -1, axis=1) - corner) ** 2).sum(-1)
    active = (squares > goal**2).any(1)  # every face of a long edge has it
    if not active.any():
        return mesh
    rest = np.flatnonzero(~active)
    inferred = mesh.inferred
    work = replace(mesh, faces=mesh.faces[active], inferred=None if inferred is None else inferred[active])
    longest = float(np.sqrt(squares.max()))
    while longest > goal:
        longest = max(longest / 1.4, goal)
        split = _split(work, longest, most - len(rest))
        if split is None:
            break
        work = split
    together = np.concatenate([mesh.faces[rest], work.faces])
    if inferred is not None and work.inferred is not None:
        inferred = np.concatenate([inferred[rest], work.inferred])
    return replace(work, faces=together, inferred=inferred)


def _split(mesh: Mesh, longest: float, most: int) -> Mesh | None:
    """The mesh without edges longer than `longest`; None when it would have more than `most` faces."""
    for _ in range(30):
        x = mesh.vertices.astype(np.float64)
        tail, head = mesh.faces.ravel(), np.roll(mesh.faces, -1, axis=1).ravel()
        long = ((x[tail] - x[head]) ** 2).sum(1) > longest**2
        if not long.any():
            break
        if len(mesh.faces) + long.sum() > most:
            return None
        low, high = np.minimum(tail[long], head[long]), np.maximum(tail[long], head[long])
        cut, index = np.unique(low.astype(np.int64) * len(x) + high, return_inverse=True)
        middle = np.full(len(tail), -1, np.int64)
        middle[long] = len(x) + index
        mesh = _halve(mesh, np.stack([cut // len(x), cut % len(x)], 1), middle.reshape(-1, 3))
    return mesh


def _halve(mesh: Mesh, ends: np.ndarray, middle: np.ndarray) -> Mesh:
    """New vertices in the middle of the edges `ends` (m, 2); `middle` int (f, 3) is the new vertex on each side of each
    face, or -1."""
    number = (middle >= 0).sum(1)
    # Turn each face so that its cut sides come first (one cut: side 0; two cuts: sides 0 and 1).
    first = np.where(number == 2, (np.argmin(middle, axis=1) + 1) % 3, np.argmax(middle >= 0, axis=1))
    turn = (first[:, None] + np.arange(3)) % 3
    a, b, c = np.take_along_axis(mesh.faces.astype(np.int64), turn, 1).T
    p, q, r = np.take_along_axis(middle, turn, 1).T
    pieces = [
        (number == 0, [(a, b, c)]),
        (number == 1, [(a, p, c), (p, b, c)]),
        (number == 2, [(a, p, c), (p, q, c), (p, b, q)]),
        (number == 3, [(a, p, r), (p, b, q), (r, q, c), (p, q, r)]),
    ]
    faces = np.concatenate([np.stack(t, 1)[which] for which, triangles in pieces for t in triangles])
    parent = np.concatenate([np.flatnonzero(which) for which, triangles in pieces for _ in triangles])
    order = np.argsort(parent, kind="stable")

    def halfway(values: np.ndarray | None) -> np.ndarray | None:
        if values is None:
            return None
        both = values[ends].astype(np.float64).mean(1)
        return np.concatenate([values, (np.round(both) if values.dtype == np.uint8 else both).astype(values.dtype)])

    return replace(
        mesh,
        vertices=halfway(mesh.vertices),
        faces=faces[order].astype(np.int32),
        normals=halfway(mesh.normals),
        colors=halfway(mesh.colors),
        confidence=halfway(mesh.confidence),
        sigma=halfway(mesh.sigma),
        inferred=None if mesh.inferred is None else mesh.inferred[parent[order]],
    )


def connected_patches(neighbors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Number of the patch of each face, int32 (f,): faces joined over sides that have the same label.

    Patches are numbered by their first face.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    f = len(neighbors)
    face, side = np.nonzero(neighbors >= 0)
    other = neighbors[face, side]
    same = labels[face] == labels[other]
    graph = coo_matrix((np.ones(int(same.sum()), np.int8), (face[same], other[same])), shape=(f, f))
    _, component = connected_components(graph, directed=False)
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return rank[inverse]


def flat_directions(normals: np.ndarray, neighbors: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """For each chosen face one of +x -x +y -y +z -z, int64 0 to 5, that it faces; neighbours agree where they can.

    normals: (m, 3) of the chosen faces, of any length.  neighbors: (f, 3) of all faces.  chosen: bool (f,).
    """
    m = len(normals)
    unit = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    cosine = np.stack([unit, -unit], 2).reshape(m, 6)
    facing = cosine > 0.25
    facing[np.arange(m), cosine.argmax(1)] = True
    face, label = np.nonzero(facing)
    offsets = np.zeros(m + 1, np.int64)
    np.cumsum(facing.sum(1), out=offsets[1:])
    number = np.full(len(neighbors) + 1, -1, np.int32)
    number[np.flatnonzero(chosen)] = np.arange(m, dtype=np.int32)
    between = np.ascontiguousarray(number[neighbors[chosen]])
    costs = (1 - cosine[face, label]).astype(np.float32)
    weights = np.ones((m, 3), np.float32)
    return kernels.label_faces(offsets, label.astype(np.int32), costs, between, weights, 8).astype(np.int64)


def unwrap_views(
    vertices: np.ndarray,
    faces: np.ndarray,
    patch: np.ndarray,
    label: np.ndarray,
    corner_image: np.ndarray,
    image_sizes: np.ndarray,
    *,
    max_size: int,
    padding: int,
) -> Unwrapped:
    """Each patch is a chart, cut out of its photo.

    vertices (v, 3).  faces, patch, label: as in `texture`.  corner_image: float32 (f, 3, 2) pixels in the photo of the
    face's label.  image_sizes: int (n, 2) width and height of each label's photo; a size of 0 marks a label that has no
    photo.  Raises ResourceError when the charts do not fit in max_size even at a twentieth of the photos' resolution.
    """
    num_patches = int(patch.max(initial=-1)) + 1
    scale = 1.0
    width = 0
    for _ in range(40):
        sizes = np.maximum(1, np.round(image_sizes * scale))
        scales = np.where(image_sizes > 0, sizes / np.maximum(image_sizes, 1), scale)
        corner = (corner_image * scales[label][:, None, :]).astype(np.float32)
        if width == 0:
            u, v = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
            area = float(np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum(dtype=np.float64)) / 2
            if scale == 1.0 and area > FILL * max_size**2:
                scale = float(np.sqrt(FILL * max_size**2 / area))
                continue
            box = np.maximum(np.ptp(corner, axis=1).max(0, initial=1), 1)
            width = _multiple(max(np.sqrt(area / FILL), box[0]) + 2 * padding, 64, max_size)
        shift, height = kernels.pack_charts(corner, patch, num_patches, width, padding, BLOCK)
        if height < 0 or height > max_size:
            if width < max_size:
                width = _multiple(width * 1.25, 64, max_size)
            else:
                scale *= 0.9 if height < 0 else min(0.97, 0.98 * float(np.sqrt(max_size / height)))
            if scale < 0.05:
                break
            continue
        if height > 1.5 * width and width < max_size:
            width = _multiple(width * 1.2, 64, max_size)
            continue
        corner_xy = corner + shift[patch][:, None, :].astype(np.float32)
        key = patch[:, None].astype(np.int64) * len(vertices) + faces
        keys, corner_vertex = np.unique(key, return_inverse=True)
        return Unwrapped(
            corner_xy,
            width,
            _multiple(height, 16, max_size),
            corner_vertex.reshape(-1, 3).astype(np.int32),
            (keys % len(vertices)).astype(np.int32),
            scales,
            True,
        )
    raise ResourceError(
        "the texture does not fit",
        f"{num_patches} pieces of surface need more room than {max_size} x {max_size} texels",
        "simplify the mesh, or allow a larger texture",
    )


def unwrap_xatlas(
    vertices: np.ndarray,
    faces: np.ndarray,
    patch: np.ndarray,
    label: np.ndarray,
    corner_image: np.ndarray,
    image_sizes: np.ndarray,
    *,
    max_size: int,
    padding: int,
) -> Unwrapped:
    """Charts of the surface alone; their size follows the resolution of the photos. Arguments as in `unwrap_views`."""
    import xatlas

    u, v = corner_image[:, 1] - corner_image[:, 0], corner_image[:, 2] - corner_image[:, 0]
    texels = float(np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]).sum(dtype=np.float64)) / 2
    x = vertices[faces].astype(np.float64)
    area = float(np.linalg.norm(np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]), axis=1).sum()) / 2
    density = float(np.sqrt(min(texels, 0.55 * max_size**2) / max(area, 1e-300)))
    for _ in range(20):
        atlas = xatlas.Atlas()
        atlas.add_mesh(np.ascontiguousarray(vertices, np.float32), faces.astype(np.uint32))
        pack = xatlas.PackOptions()
        pack.padding, pack.texels_per_unit, pack.bilinear = padding, density, True
        atlas.generate(pack_options=pack)
        width, height = int(atlas.width), int(atlas.height)
        if atlas.atlas_count == 1 and max(width, height) <= max_size:
            source, corner_vertex, uv = atlas[0]
            corner_xy = (uv.astype(np.float64) * [width, height])[corner_vertex].astype(np.float32)
            scales = np.ones((len(image_sizes), 2))
            return Unwrapped(
                corner_xy, width, height, corner_vertex.astype(np.int32), source.astype(np.int32), scales, False
            )
        density *= 0.9 * min(1.0, max_size / max(width, height, 1))
    raise ResourceError("the texture does not fit", f"xatlas needs more than {max_size} texels", "simplify the mesh")


UNWRAPPERS: dict[str, Callable[..., Unwrapped]] = {"views": unwrap_views, "xatlas": unwrap_xatlas}


def _multiple(value: float, of: int, most: int) -> int:
    return int(min(most, of * int(np.ceil(value / of))))
