"""Sheets: parts of planes cut into cells, what photos show there, and what they would show if a mirror lay there.

The mirrored surface is drawn without mirroring a photo: the cells of a sheet are the pixels of a camera that stands at
the mirror image of the eye and looks through the sheet into the room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rilievo import geometry, kernels
from rilievo.stages.mask_scene import Seen, look
from rilievo.types import Mesh

_DECODED = np.array([v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.arange(256) / 255.0])


@dataclass(frozen=True, eq=False)
class Sheet:
    """Points x of the plane have normal @ x = offset (the normal points to the cameras); cell [r, c] of shape (rows,
    columns) is at origin + (c + 0.5) * step * right + (r + 0.5) * step * down."""

    normal: np.ndarray
    offset: float
    origin: np.ndarray
    right: np.ndarray
    down: np.ndarray
    step: float
    shape: tuple[int, int]

    def centers(self) -> np.ndarray:
        """World points (rows, columns, 3)."""
        r, c = (self.step * (np.arange(n) + 0.5) for n in self.shape)
        return self.origin + c[None, :, None] * self.right + r[:, None, None] * self.down

    def cells(self, points: np.ndarray) -> np.ndarray:
        """(column, row) float64 (n, 2) of points of the plane."""
        at = points - self.origin
        return np.stack([at @ self.right, at @ self.down], -1) / self.step


@dataclass(frozen=True, eq=False)
class Surface:
    """What stands in the scene: vertices float64 (v, 3) in world axes and faces int32 (f, 3)."""

    vertices: np.ndarray
    faces: np.ndarray

    @staticmethod
    def of(mesh: Mesh) -> Surface:
        return Surface(mesh.vertices + mesh.origin, mesh.faces)

    def before(self, sheet: Sheet, least: float) -> Surface:
        """The faces at least that far before a sheet."""
        height = self.vertices @ sheet.normal - sheet.offset
        return Surface(self.vertices, self.faces[(height[self.faces] > least).all(1)])


@dataclass(frozen=True, eq=False)
class Shown:
    """What a view shows at a sheet: light float32 (rows, columns, 3), linear, 0..1; known: not hidden, and in the
    picture; behind: its surface lies behind the sheet; on: its surface lies there. bool (rows, columns)."""

    light: np.ndarray
    known: np.ndarray
    behind: np.ndarray
    on: np.ndarray


def sheet_of(
    normal: np.ndarray, offset: float, points: np.ndarray, step: float, level: np.ndarray, *, most: int = 240
) -> Sheet:
    """The sheet around points of a plane. level: a direction that its columns should run along, where they can."""
    down = level - (level @ normal) * normal
    if np.linalg.norm(down) < 0.3:
        down = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
    down = down / np.linalg.norm(down)
    right = np.cross(down, normal)
    u = np.stack([points @ right, points @ down], -1)
    low, high = u.min(0), u.max(0)
    step = max(step, float((high - low).max()) / most)
    size = np.maximum(np.ceil((high - low) / step).astype(int), 4)
    origin = normal * offset + right * low[0] + down * low[1]
    return Sheet(normal, float(offset), origin, right, down, float(step), (int(size[1]), int(size[0])))


def to_light(pixels: np.ndarray) -> np.ndarray:
    """Linear light 0..1 float32 of colours 0..255 (any shape), taken for sRGB."""
    return np.interp(pixels, np.arange(256.0), _DECODED).astype(np.float32)


def at_sheet(sheet: Sheet, seen: Seen, picture: np.ndarray, slack: float) -> Shown:
    """What a view shows there. picture: float32 (h, w, 3), linear light of the view, or what belongs to it (NaN:
    unknown).  slack: distance from the sheet within which a surface lies on it, as a share of depth."""
    x, y, z = _project(seen, sheet.centers().reshape(-1, 3))
    c = seen.view.camera
    inside = (z > 0) & (x > 0.5) & (x < c.width - 0.5) & (y > 0.5) & (y < c.height - 0.5)
    column, row = (np.clip(np.where(inside, a, 0).astype(np.int64), 0, n - 1) for a, n in ((x, c.width), (y, c.height)))
    depth = seen.depth[row, column]
    known = inside & (depth > (1 - slack) * z)
    if seen.view.mask is not None:
        known &= seen.view.mask[row, column]
    light = _sample(picture, np.where(inside, x, -9), np.where(inside, y, -9))
    known &= np.isfinite(light).all(-1)
    light[~known] = 0
    rows = sheet.shape
    behind = known & (depth > (1 + slack) * z)
    return Shown(light.reshape(*rows, -1), known.reshape(rows), behind.reshape(rows), (known & ~behind).reshape(rows))


def mirrored_at(
    sheet: Sheet, eye: np.ndarray, surface: Surface, others: Sequence[Seen], pictures: Sequence[np.ndarray], far: float
) -> tuple[np.ndarray, np.ndarray]:
    """What would be seen from `eye` in a mirror there: light float32 (rows, columns, 3), the mean of the views that see
    the place directly, and how many do, uint8 (rows, columns). surface: `Surface.before` the sheet."""
    points, there = reflected_places(sheet, eye, surface)
    total = np.zeros((*sheet.shape, 3), np.float32)
    count = np.zeros(sheet.shape, np.uint8)
    at = points[there]
    if not len(at):
        return total, count
    light, num = np.zeros((len(at), 3), np.float32), np.zeros(len(at), np.uint8)
    for other, picture in zip(others, pictures):
        _, sees, _ = look(at, other, far)
        if not sees.any():
            continue
        x, y, _ = _project(other, at[sees])
        value = _sample(picture, x, y)
        light[sees] += value
        num[sees] += 1
    total[there] = light / np.maximum(num, 1)[:, None]
    count[there] = num
    return total, count


def reflected_places(sheet: Sheet, eye: np.ndarray, surface: Surface) -> tuple[np.ndarray, np.ndarray]:
    """World points (rows, columns, 3) that the cells would show if a mirror lay there, and where there are any."""
    height = float(eye @ sheet.normal - sheet.offset)
    image = eye - 2 * height * sheet.normal
    local = surface.vertices - image
    axes = np.stack([sheet.right, sheet.down, sheet.normal])
    vertices = (local @ axes.T).astype(np.float32)
    f = height / sheet.step
    cx, cy = ((image - sheet.origin) @ axes[:2].T) / sheet.step
    rows, columns = sheet.shape
    _, z = kernels.rasterize_mesh(vertices, surface.faces, f, f, float(cx), float(cy), columns, rows)
    there = np.isfinite(z)
    through = sheet.centers() - image
    return image + through * (np.where(there, z, 0).astype(np.float64) / height)[..., None], there


def _project(seen: Seen, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    c = seen.view.camera
    p = geometry.transform(seen.view.cam_from_world, points)
    with np.errstate(all="ignore"):
        return c.fx * p[:, 0] / p[:, 2] + c.cx, c.fy * p[:, 1] / p[:, 2] + c.cy, p[:, 2]


def _sample(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear values (n, 3) at x, y (n,); what lies outside is what the rim shows."""
    out = np.zeros((len(x), picture.shape[2]), np.float32)
    for a in range(0, len(x), 30_000):  # remap takes maps of at most 32767 rows
        mx, my = (v[a : a + 30_000, None].astype(np.float32) - np.float32(0.5) for v in (x, y))
        part = cv2.remap(picture, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        out[a : a + 30_000] = part.reshape(-1, picture.shape[2])
    return out
