"""Pictures and exact depth of a training scene: a deferred renderer over the product's own z-buffer.

`kernels.rasterize_mesh` says which face every sample shows; NumPy and OpenCV do the rest: textures from one atlas with
smaller copies, sun or lamps with variance shadow maps (Donnelly & Lauritzen 2006), screen-space ambient occlusion,
highlights (Blinn 1977), reflections of a rough environment, fog, sky, defocus, exposure. Light is linear until the end.

Samples lie half a pixel apart, one of them exactly at each pixel centre. Where these show one smooth surface, the
colour is that of the centre; elsewhere it is their tent-weighted mean. The depth is the centre's, never averaged.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from rilievo import kernels

BAND, ROW = 40, 512
"""Rows, and samples in a row, that are shaded at once: what they need stays in the processor's cache."""


@dataclass
class Material:
    """How a surface looks. Colours are linear light."""

    cell: int = 0
    """Place of the picture in the atlas."""
    tile: float = 1.0
    """Metres of one repeat of the picture (for metric coordinates); 1 for coordinates that count repeats."""
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shine: float = 0.0
    """Strength of highlights, 0..1."""
    gloss: float = 20.0
    """Exponent of highlights."""
    mirror: float = 0.0
    """Reflection of the surroundings, 0..1."""
    emit: float = 0.0
    """Light of its own, in units of the picture's colour."""
    casts: bool = True
    """Throws shadows."""
    offset: tuple[float, float] = (0.0, 0.0)
    turned: bool = False
    stretch: float = 1.0
    """Repeats across per repeat along."""


@dataclass
class Lamp:
    place: tuple[float, float, float]
    color: tuple[float, float, float]
    size: float = 0.25
    """Metres: softens the falloff close by."""


@dataclass
class Light:
    """What lights a scene."""

    sun_toward: tuple[float, float, float] | None = None
    """Unit vector to the sun."""
    sun: tuple[float, float, float] = (0.0, 0.0, 0.0)
    sky_up: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Ambient light on surfaces that face up, and down."""
    sky_down: tuple[float, float, float] = (0.3, 0.3, 0.3)
    side: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Soft light from one side (a window), colour; from `side_toward`."""
    side_toward: tuple[float, float, float] = (1.0, 0.0, 0.0)
    lamps: list[Lamp] = field(default_factory=list)
    flash: float = 0.0
    """Light at the camera."""
    zenith: tuple[float, float, float] = (0.25, 0.45, 0.9)
    horizon: tuple[float, float, float] = (0.8, 0.85, 0.9)
    clouds: float = 0.0
    """Share of the sky with clouds, 0..1."""
    cloud_color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fog: float = 0.0
    """1/m."""
    fog_color: tuple[float, float, float] = (0.7, 0.75, 0.8)
    occlusion_radius: float = 0.5
    occlusion: float = 1.0
    softness: int = 5
    """Width of the blur of shadows, texels."""


@dataclass
class View:
    """A camera: world -> camera rotation, place, and focal length in pixels of the finished square picture."""

    turn: np.ndarray
    place: np.ndarray
    focal: float
    exposure: float = 0.35
    """Mean brightness aimed at, linear."""
    blur: float = 0.0
    """Diameter of defocus at infinity against the point of focus, pixels."""
    focus: float = 2.0
    vignette: float = 0.0
    cast: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Atlas:
    """Square pictures and their smaller copies in one big image, RGB uint8."""

    def __init__(self, pictures: list[np.ndarray], size: int = 512, columns: int = 16) -> None:
        self.size, self.columns, self.levels = size, columns, 8
        rows = (len(pictures) + columns - 1) // columns
        self.image = np.zeros((rows * size, columns * size * 3 // 2, 3), np.uint8)
        # place of level k inside its cell: the first at the left, the others stacked at the right
        self.off_x = np.array([0] + [size] * (self.levels - 1), np.float32)
        self.off_y = np.array([0] + [size - (size >> k) for k in range(self.levels - 1)], np.float32)
        self.off_y[1] = 0
        for k in range(2, self.levels):
            self.off_y[k] = self.off_y[k - 1] + (size >> (k - 1))
        self.mean = np.zeros((len(pictures), 3), np.float32)
        for i, picture in enumerate(pictures):
            x0, y0 = (i % columns) * size * 3 // 2, (i // columns) * size
            level = picture
            self.mean[i] = ((picture[::8, ::8].reshape(-1, 3) / 255.0) ** 2).mean(0)
            for k in range(self.levels):
                n = size >> k
                if level.shape[:2] != (n, n):
                    level = cv2.resize(level, (n, n), interpolation=cv2.INTER_AREA)
                x, y = x0 + int(self.off_x[k]), y0 + int(self.off_y[k])
                self.image[y : y + n, x : x + n] = level
        number = np.arange(max(1, len(pictures)))
        self.cell_x = ((number % columns) * (size * 3 // 2)).astype(np.float32)
        self.cell_y = ((number // columns) * size).astype(np.float32)

    def sample(self, cell: np.ndarray, u: np.ndarray, v: np.ndarray, level: np.ndarray) -> list[np.ndarray]:
        """Linear light, three planes (h, w), at repeats (u, v) of each sample's picture, from that copy of it."""
        n = np.float32(self.size) * np.exp2(-level.astype(np.float32))
        x = (u - np.floor(u)) * n - np.float32(0.5)
        y = (v - np.floor(v)) * n - np.float32(0.5)
        top = n - np.float32(1)
        x = np.minimum(np.maximum(x, 0), top) + self.cell_x[cell] + self.off_x[level]
        y = np.minimum(np.maximum(y, 0), top) + self.cell_y[cell] + self.off_y[level]
        color = cv2.remap(self.image, x, y, cv2.INTER_LINEAR)
        return [_LINEAR[plane] for plane in cv2.split(color)]


_LINEAR = (np.arange(256, dtype=np.float32) / np.float32(255)) ** 2


class Scene:
    """Triangles with materials, and light; `prepare` once, then any number of `draw`."""

    def __init__(self, light: Light) -> None:
        self.light = light
        self.materials: list[Material] = []
        self.parts: list = []
        self.corners = np.zeros((0, 3, 3), np.float32)

    def material(self, material: Material) -> int:
        self.materials.append(material)
        return len(self.materials) - 1

    def add(self, part, materials, at=(0.0, 0.0, 0.0), yaw: float = 0.0, scale=1.0, matrix=None) -> None:
        """A part, moved; its slot k becomes material number materials[k] of this scene."""
        table = np.asarray(materials, np.int32).ravel()
        moved = part.moved(at, yaw, scale, matrix)
        self.parts.append((moved.corners, moved.normals, moved.uvs, table[np.minimum(part.slots, len(table) - 1)]))

    def prepare(self, atlas: Atlas) -> None:
        self.atlas = atlas
        self.corners = np.ascontiguousarray(np.concatenate([p[0] for p in self.parts]), np.float32)
        normals = np.concatenate([p[1] for p in self.parts])
        uvs = np.concatenate([p[2] for p in self.parts])
        self.face_material = np.concatenate([p[3] for p in self.parts]).astype(np.int32)
        m = self.materials
        scale = np.array([[s.stretch / s.tile, 1 / s.tile] for s in m], np.float32)
        turned = np.array([s.turned for s in m])[self.face_material]
        uvs = np.where(turned[:, None, None], uvs[..., ::-1], uvs) * scale[self.face_material][:, None]
        uvs = uvs + np.array([s.offset for s in m], np.float32)[self.face_material][:, None]
        uvs = uvs - np.floor(uvs[:, :1])  # keeps float32 exact far from the origin
        uvs[..., 1] *= -1  # rows of a picture run down
        self.attributes = np.concatenate([uvs, normals], -1).astype(np.float32)
        a = self.corners[:, 1:] - self.corners[:, :1]
        b = uvs[:, 1:] - uvs[:, :1]
        area = np.linalg.norm(np.cross(a[:, 0], a[:, 1]), axis=1)
        picture_area = np.abs(b[:, 0, 0] * b[:, 1, 1] - b[:, 0, 1] * b[:, 1, 0])
        self.texels = (atlas.size * np.sqrt(picture_area / np.maximum(area, 1e-12))).astype(np.float32)
        self.cells = np.array([s.cell for s in m], np.int32)
        self.tints = np.ascontiguousarray(np.array([s.tint for s in m], np.float32).T)
        self.shine = np.array([s.shine for s in m], np.float32)
        self.gloss = np.array([s.gloss for s in m], np.float32)
        self.mirror = np.array([s.mirror for s in m], np.float32)
        self.emit = np.array([s.emit for s in m], np.float32)
        self.casts = np.array([s.casts for s in m], bool)[self.face_material]
        self.sun_map = self.lamp_map = None

    def light_up(self, middle, radius: float) -> None:
        """Shadow maps of the sun, over a ball, and of the first lamp."""
        light = self.light
        caster = self.corners[self.casts]
        if light.sun_toward is not None and max(light.sun) > 0:
            self.sun_map = ShadowMap.sun(caster, np.asarray(light.sun_toward, np.float32), middle, radius, 768)
            self.sun_map.soften(light.softness)
        if light.lamps:
            self.lamp_map = ShadowMap.lamp(caster, np.asarray(light.lamps[0].place, np.float32), 640)
            self.lamp_map.soften(light.softness + 2)


class ShadowMap:
    """Depth and its square from a light, blurred: the share of light by Chebyshev's bound."""

    def __init__(self, caster, turn, place, focal, size, shift) -> None:
        self.turn, self.place, self.focal, self.size, self.shift = turn, place, focal, size, shift
        cam = (caster - place) @ turn.T
        c = np.float32(size / 2)
        ahead = (cam[..., 2] > 0.02).all(1)
        half = c / np.float32(focal)
        x, y, z = cam[..., 0], cam[..., 1], cam[..., 2] * half
        inside = ~((x > z).all(1) | (x < -z).all(1) | (y > z).all(1) | (y < -z).all(1))
        cam = np.ascontiguousarray(cam[ahead & inside]).reshape(-1, 3)
        faces = np.arange(len(cam), dtype=np.int32).reshape(-1, 3)
        _, depth = kernels.rasterize_mesh(cam, faces, focal, focal, c, c, size, size)
        depth -= np.float32(shift)
        far = np.nanmax(depth) if np.isfinite(depth).any() else 0.0
        self.depth = np.where(np.isnan(depth), far + 1, depth).astype(np.float32)

    @classmethod
    def sun(cls, caster, toward, middle, radius: float, size: int) -> ShadowMap:
        z = -toward
        x = np.cross([0, 0, 1.0], z)
        x = np.array([1.0, 0, 0]) if np.linalg.norm(x) < 1e-3 else x / np.linalg.norm(x)
        turn = np.stack([x, np.cross(z, x), z]).astype(np.float32)
        away = np.float32(300 * radius)
        place = (np.asarray(middle, np.float32) + toward * away).astype(np.float32)
        return cls(caster, turn, place, float(away / radius * size / 2), size, float(away))

    @classmethod
    def lamp(cls, caster, place, size: int) -> ShadowMap:
        turn = np.array([[1, 0, 0], [0, -1, 0], [0, 0, -1]], np.float32)  # looks down
        return cls(caster, turn, place, size / 2 / np.tan(np.radians(72)), size, 0.0)

    def soften(self, width: int) -> None:
        both = np.stack([self.depth, self.depth**2], -1)
        self.moments = cv2.blur(both, (width, width))

    def share(self, points: list[np.ndarray], bias: float) -> np.ndarray:
        """0..1 of the light that reaches points (three planes); 1 outside of the map."""
        d = [p - np.float32(c) for p, c in zip(points, self.place)]
        x, y, z = (_dot(row, d) for row in self.turn)
        k = np.float32(self.focal) / np.maximum(z, np.float32(1e-3))
        c = np.float32(self.size / 2 - 0.5)
        x, y = x * k + c, y * k + c
        m = cv2.remap(self.moments, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        mean, square = cv2.split(m)
        over = z - np.float32(self.shift) - mean - np.float32(bias)
        variance = np.maximum(square - mean * mean, np.float32(1e-5))
        p = variance / (variance + over * over)
        p = np.clip((p - np.float32(0.25)) * np.float32(1 / 0.75), 0, 1)  # less light leaks
        top = np.float32(self.size)
        lit = (over <= 0) | (x < 0) | (y < 0) | (x > top) | (y > top) | (z <= 0)
        p[lit] = 1
        return p


def visible_faces(cam: np.ndarray, half: float) -> np.ndarray:
    """Numbers of the triangles (n, 3, 3) that may lie in a square view; half = half its width over its focal length."""
    x, y, z = cam[..., 0], cam[..., 1], cam[..., 2] * np.float32(half)
    outside = (x > z).all(1) | (x < -z).all(1) | (y > z).all(1) | (y < -z).all(1) | (cam[..., 2] < 1e-3).all(1)
    return np.flatnonzero(~outside)


def probe(scene: Scene, view: View, size: int, small: int = 40) -> np.ndarray:
    """A coarse depth map (small, small), NaN for sky, to judge a view before it is drawn."""
    cam = ((scene.corners - view.place.astype(np.float32)) @ view.turn.T.astype(np.float32)).astype(np.float32)
    keep = visible_faces(cam, size / 2 / view.focal)
    cam = np.ascontiguousarray(cam[keep]).reshape(-1, 3)
    faces = np.arange(len(cam), dtype=np.int32).reshape(-1, 3)
    f = view.focal * small / size
    return kernels.rasterize_mesh(cam, faces, f, f, small / 2, small / 2, small, small)[1]


def draw(scene: Scene, view: View, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The picture uint8 (size, size, 3) in sRGB and the inverse depth float32 (size, size), 0 where there is sky."""
    n = 2 * size + 1
    focal, c = 2 * view.focal, float(size) + 0.5
    turn, place = view.turn.astype(np.float32), view.place.astype(np.float32)
    cam = ((scene.corners - place) @ turn.T).astype(np.float32)
    keep = visible_faces(cam, (size + 1) / 2 / view.focal)
    flat = np.ascontiguousarray(cam[keep]).reshape(-1, 3)
    faces = np.arange(len(flat), dtype=np.int32).reshape(-1, 3)
    index, depth = kernels.rasterize_mesh(flat, faces, focal, focal, c, c, n, n)
    attributes = np.ascontiguousarray(scene.attributes[keep]).reshape(-1, 5)
    pixel = kernels.interpolate_pixels(index, flat, faces, focal, focal, c, c, attributes)
    cv2.patchNaNs(pixel, 0)
    seen = index >= 0
    z = depth
    cv2.patchNaNs(z, 0)
    face = keep[np.maximum(index, 0)] if len(keep) else np.zeros(index.shape, np.int64)
    line = ((np.arange(n, dtype=np.float32) + np.float32(0.5 - c)) / np.float32(focal)).astype(np.float32)
    occlusion = ambient_occlusion(z[1::4, 1::4], pixel[1::4, 1::4, 2:5], turn, view.focal / 2, scene.light)
    occlusion = cv2.resize(occlusion, (n, n), interpolation=cv2.INTER_LINEAR).ravel()
    rough = _rough(z, np.where(seen, scene.face_material[face], -1))
    wanted = np.zeros((n, n), np.uint8)
    wanted[1::2, 1::2] = rough
    wanted = cv2.dilate(wanted, np.ones((3, 3), np.uint8))
    bias = np.where(
        wanted[1::2, 1::2] > 0, np.float32(-0.4), np.float32(0.4)
    )  # one sample for the whole pixel: coarser
    bias_of = np.full((n, n), -0.4, np.float32)
    bias_of[1::2, 1::2] = bias
    wanted[1::2, 1::2] = 1
    pick = np.flatnonzero(wanted)
    full = -len(pick) % ROW
    pick = np.concatenate([pick, np.repeat(pick[-1:], full)])
    jitter = rng.random(len(pick), dtype=np.float32) + bias_of.ravel()[pick]
    around = _environment(rng, scene.light)
    z_of, face_of, seen_of, pixel_of = z.ravel(), face.ravel(), seen.ravel(), pixel.reshape(-1, 5)
    color = np.zeros((n * n, 3), np.float32)
    for start in range(0, len(pick), BAND * ROW):
        s = slice(start, start + BAND * ROW)
        which = pick[s].reshape(-1, ROW)
        y, x = np.divmod(which, n)
        x, y = line[x], line[y]
        ray = [x * turn[0, k] + (y * turn[1, k] + turn[2, k]) for k in range(3)]
        values = (z_of[which], face_of[which], seen_of[which], pixel_of[which], occlusion[which])
        planes = _shade(scene, place, ray, *values, focal, jitter[s].reshape(-1, ROW), around)
        color[which.ravel()] = cv2.merge(planes).reshape(-1, 3)
    color = color.reshape(n, n, 3)
    kernel = np.array([0.25, 0.5, 0.25], np.float32)
    mean = cv2.sepFilter2D(color, -1, kernel, kernel)[1::2, 1::2]
    color = np.where(rough[..., None], mean, color[1::2, 1::2])
    center = np.ascontiguousarray(z[1::2, 1::2])
    if view.blur > 0:
        color = _defocus(color, center, view)
    color = expose(np.ascontiguousarray(color), view)
    inverse = np.where(center > 0, 1 / np.maximum(center, np.float32(1e-6)), np.float32(0))
    return color, inverse.astype(np.float32)


def _rough(z: np.ndarray, material: np.ndarray) -> np.ndarray:
    """Pixels that need more than the sample at their centre: another material near it, or a bend or step in depth
    (1/z is linear across the picture of a plane)."""
    inverse = np.where(z > 0, 1 / np.maximum(z, np.float32(1e-6)), 0).astype(np.float32)
    center, middle = inverse[1::2, 1::2], material[1::2, 1::2]
    out = np.zeros(center.shape, bool)
    for a, b in (((0, 1), (2, 1)), ((1, 0), (1, 2)), ((0, 0), (2, 2)), ((0, 2), (2, 0))):
        one = (slice(a[0], a[0] + z.shape[0] - 2, 2), slice(a[1], a[1] + z.shape[1] - 2, 2))
        two = (slice(b[0], b[0] + z.shape[0] - 2, 2), slice(b[1], b[1] + z.shape[1] - 2, 2))
        out |= (material[one] != middle) | (material[two] != middle)
        out |= np.abs(inverse[one] + inverse[two] - 2 * center) > np.float32(0.006) * center
    return out


def _environment(rng: np.random.Generator, light: Light) -> np.ndarray:
    """What shiny things mirror: a rough picture (32, 64, 3) by height and bearing."""
    noise = cv2.GaussianBlur(rng.random((32, 64, 3), dtype=np.float32), (0, 0), 1.5)
    noise = np.clip((noise - 0.5) * 5 + 0.5, 0, 1.6)
    up = np.linspace(1, 0, 32, dtype=np.float32)[:, None, None]
    base = np.where(up > 0.5, np.float32(light.zenith) * 0.8 + np.float32(light.horizon) * 0.4, light.sky_down)
    return (base * (0.3 + noise)).astype(np.float32)


def _sky(scene: Scene, ray: list[np.ndarray]) -> list[np.ndarray]:
    """Linear light of the sky, three planes, along rays (three planes, not normalised)."""
    light = scene.light
    length = 1 / np.sqrt(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2])
    d = [r * length for r in ray]
    up = np.sqrt(np.maximum(d[2], 0))
    out = [np.float32(a) + np.float32(b - a) * up for a, b in zip(light.horizon, light.zenith)]
    if light.clouds > 0:
        t = np.float32(0.15) / np.maximum(d[2], np.float32(0.04))
        level = np.where(d[2] > 0.15, 1, 3).astype(np.int32)
        k = scene.atlas.sample(np.zeros(level.shape, np.int32), d[0] * t, d[1] * t, level)[0]
        low = np.float32(0.75 * (1 - light.clouds))
        k = np.clip((np.sqrt(k) - low) * 4, 0, 1) * np.clip(d[2] * 6, 0, 1)
        out = [o + (np.float32(c) - o) * k for o, c in zip(out, light.cloud_color)]
    if light.sun_toward is not None and max(light.sun) > 0:
        toward = [np.float32(v) for v in light.sun_toward]
        glow = np.maximum(d[0] * toward[0] + d[1] * toward[1] + d[2] * toward[2], 0)
        wide = glow * glow
        wide *= wide
        wide *= wide
        glow = np.float32(0.12) * wide + np.float32(0.5) * wide**25 + np.float32(8) * (glow > 0.9995)
        out = [o + np.float32(c) * glow for o, c in zip(out, light.sun)]
    return out


def _dot(a, b) -> np.ndarray:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _shade(scene, place, ray, z, face, seen, pixel, occlusion, focal, jitter, around) -> list[np.ndarray]:
    """Linear light of a band of samples: three planes (h, w), as are `ray` (world, z = 1) and all vectors here."""
    light = scene.light
    if not seen.any():
        return _sky(scene, ray)
    one = np.float32(1)
    material = scene.face_material[face]
    u, v, *normal = cv2.split(pixel)
    inverse = one / np.sqrt(np.maximum(_dot(normal, normal), np.float32(1e-12)))
    length = np.sqrt(_dot(ray, ray))
    facing = _dot(normal, ray) * inverse / length
    inverse = np.where(facing > 0, -inverse, inverse)
    normal = [n * inverse for n in normal]
    eye = [r * (-one / length) for r in ray]
    cosine = np.minimum(np.abs(facing), one)
    points = [np.float32(p) + r * z for p, r in zip(place, ray)]
    # level of the picture's copy: texels a sample covers, half way between across and along the slope
    texels = scene.texels[face] * z / (np.float32(focal) * np.sqrt(np.maximum(cosine, np.float32(0.04))))
    level = np.log2(np.maximum(texels, np.float32(1e-6))) + jitter
    level = np.clip(level, 0, 7).astype(np.int32)
    albedo = scene.atlas.sample(scene.cells[material], u, v, level)
    albedo = [a * scene.tints[k][material] for k, a in enumerate(albedo)]
    # ambient light, darker where little of the sky is seen
    up = normal[2] * np.float32(0.5) + np.float32(0.5)
    lit = [np.float32(a) + np.float32(b - a) * up for a, b in zip(light.sky_down, light.sky_up)]
    if max(light.side) > 0:
        toward = [np.float32(v) for v in light.side_toward]
        side = np.maximum(_dot(normal, toward) * np.float32(0.7) + np.float32(0.3), 0)
        lit = [a + np.float32(c) * side for a, c in zip(lit, light.side)]
    lit = [a * occlusion for a in lit]
    shine = scene.shine[material]
    shiny = bool((shine > 0.01).any())
    highlight = [np.zeros_like(z) for _ in range(3)]
    gloss = scene.gloss[material] if shiny else None

    def strike(direction, incoming, share):
        nonlocal lit
        wrap = np.maximum(_dot(normal, direction), 0) * share
        lit = [a + wrap * np.float32(c) for a, c in zip(lit, incoming)]
        if gloss is not None:
            half = [d + e for d, e in zip(direction, eye)]
            h = _dot(normal, half) / np.sqrt(np.maximum(_dot(half, half), np.float32(1e-9)))
            h = np.exp(gloss * np.log(np.maximum(h, np.float32(1e-3)))) * (wrap > 0) * share
            h *= shine * (gloss * np.float32(0.04) + np.float32(0.3))
            for k in range(3):
                highlight[k] += h * np.float32(incoming[k])

    lifted = None
    if scene.sun_map is not None or scene.lamp_map is not None:
        lifted = [p + n * np.float32(0.02) for p, n in zip(points, normal)]
    if light.sun_toward is not None and max(light.sun) > 0:
        share = scene.sun_map.share(lifted, 0.03) if scene.sun_map is not None else one
        strike([np.float32(v) for v in light.sun_toward], light.sun, share)
    for k, lamp in enumerate(light.lamps):
        d = [np.float32(a) - p for a, p in zip(lamp.place, points)]
        r2 = _dot(d, d)
        back = one / np.sqrt(np.maximum(r2, np.float32(1e-6)))
        d = [a * back for a in d]
        share = one / (r2 + np.float32(lamp.size**2))
        if k == 0 and scene.lamp_map is not None:
            share = share * scene.lamp_map.share(lifted, 0.02)
        strike(d, lamp.color, share)
    if light.flash > 0:
        strike(eye, [light.flash] * 3, one / (z * z + np.float32(0.3)))
    emit = scene.emit[material]
    if emit.any():
        lit = [a + emit for a in lit]
    color = [a * b + h for a, b, h in zip(albedo, lit, highlight)]
    mirror = scene.mirror[material]
    if mirror.any():
        twice = 2 * _dot(normal, eye)
        r = [twice * n - e for n, e in zip(normal, eye)]
        v = (np.float32(0.5) - r[2] * np.float32(0.5)) * 31
        u = (cv2.phase(r[0], r[1]) * np.float32(0.5 / np.pi)) * 63
        back = cv2.split(cv2.remap(around, u, v, cv2.INTER_LINEAR))
        graze = one - cosine
        graze *= graze
        fresnel = mirror * (np.float32(0.25) + np.float32(0.75) * graze * graze)
        fresnel *= np.float32(0.4) + np.float32(0.6) * occlusion
        color = [c + (b - c) * fresnel for c, b in zip(color, back)]
    if light.fog > 0:
        k = np.exp(z * length * np.float32(-light.fog))
        color = [np.float32(f) + (c - np.float32(f)) * k for c, f in zip(color, light.fog_color)]
    if not seen.all():
        color = [np.where(seen, c, s) for c, s in zip(color, _sky(scene, ray))]
    return color


def ambient_occlusion(z, normal, turn, focal, light: Light) -> np.ndarray:
    """Share of the surroundings that each pixel sees, from the depth map alone (after Bavoil & Sainz 2008)."""
    h, w = z.shape
    if light.occlusion <= 0:
        return np.ones((h, w), np.float32)
    near = np.where(z > 0, z, np.float32(1e6)).astype(np.float32)
    x = (np.arange(w, dtype=np.float32)[None] + np.float32(0.5 - w / 2)) / np.float32(focal)
    y = (np.arange(h, dtype=np.float32)[:, None] + np.float32(0.5 - h / 2)) / np.float32(focal)
    n = cv2.split(np.ascontiguousarray(normal))
    n = [_dot(row, n) for row in turn]
    back = 1 / np.sqrt(np.maximum(_dot(n, n), np.float32(1e-12)))
    back = np.where(n[0] * x + n[1] * y + n[2] > 0, -back, back)
    n = [a * back for a in n]
    radius = np.float32(light.occlusion_radius)
    reach = np.clip(np.float32(focal) * radius / near, 1, 24)
    col = np.broadcast_to(np.arange(w, dtype=np.float32)[None], (h, w))
    row = np.broadcast_to(np.arange(h, dtype=np.float32)[:, None], (h, w))
    hidden = np.zeros((h, w), np.float32)
    turns = 8
    spin = ((np.arange(h)[:, None] % 2) * 2 + (np.arange(w)[None] % 2)).astype(np.float32) * np.float32(0.196)
    for k in range(turns):
        angle = np.float32(2 * np.pi * k / turns) + spin
        far = reach * np.float32((0.35, 0.8, 0.55, 1.0)[k % 4])
        px = np.clip(col + np.cos(angle) * far, 0, w - 1)
        py = np.clip(row + np.sin(angle) * far, 0, h - 1)
        there = cv2.remap(near, px, py, cv2.INTER_NEAREST)
        px, py = np.rint(px), np.rint(py)
        dx = (px + np.float32(0.5 - w / 2)) / np.float32(focal) * there - x * near
        dy = (py + np.float32(0.5 - h / 2)) / np.float32(focal) * there - y * near
        dz = there - near
        r2 = dx * dx + dy * dy + dz * dz
        rise = (dx * n[0] + dy * n[1] + dz * n[2]) / np.sqrt(r2 + np.float32(1e-8))
        hidden += np.maximum(rise - np.float32(0.12), 0) * (1 / (1 + r2 / (radius * radius)))
    hidden = cv2.blur(hidden, (3, 3))
    out = np.clip(1 - hidden * np.float32(light.occlusion * 2.6 / turns), 0.12, 1)
    return np.where(z > 0, out, np.float32(1)).astype(np.float32)


def _defocus(color: np.ndarray, z: np.ndarray, view: View) -> np.ndarray:
    """Blur that grows with the difference of inverse depth to the point of focus, in three steps."""
    inverse = np.where(z > 0, 1 / np.maximum(z, np.float32(1e-3)), 0)
    circle = np.abs(inverse - np.float32(1 / view.focus)) * np.float32(view.focus * view.blur)
    circle = np.minimum(cv2.blur(circle.astype(np.float32), (3, 3)), 4)
    out = color
    for width in (1.0, 2.0, 3.5):
        wide = cv2.GaussianBlur(color, (0, 0), width * 0.6)
        share = np.clip((circle - width * 0.5) / (width * 0.5), 0, 1)[..., None]
        out = out + (wide - out) * share
    return out


def expose(color: np.ndarray, view: View) -> np.ndarray:
    """Linear light -> sRGB bytes: automatic exposure to the wanted brightness, soft shoulder, vignette, colour cast."""
    h, w = color.shape[:2]
    grey = np.minimum(color[::4, ::4].mean(-1), 50)
    level = np.exp(np.log(grey + 1e-3).mean()) * 0.6 + float(np.percentile(grey, 90)) * 0.15
    gain = view.exposure / max(float(level), 1e-4)
    x = color * (np.float32(gain) * np.float32(view.cast))
    if view.vignette > 0:
        r = (np.arange(h, dtype=np.float32)[:, None] / h - 0.5) ** 2 + (
            np.arange(w, dtype=np.float32)[None] / w - 0.5
        ) ** 2
        x *= (1 - np.float32(view.vignette) * 1.6 * r)[..., None]
    over = np.maximum(x - np.float32(0.6), 0)
    x = np.minimum(x, np.float32(0.6)) + np.float32(0.4) * (1 - np.exp(over * np.float32(-2.5)))
    x = np.maximum(x, 0)
    low = x <= np.float32(0.0031308)
    bright = np.float32(1.055) * np.power(x, np.float32(1 / 2.4)) - np.float32(0.055)
    x = np.where(low, x * np.float32(12.92), bright)
    return np.clip(x * 255 + np.float32(0.5), 0, 255).astype(np.uint8)
