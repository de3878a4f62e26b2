"""Pictures for the surfaces of the training scenes: procedural ones of many kinds, and crops of free photographs.

Every maker gives a picture (SIZE, SIZE, 3) uint8 sRGB that repeats both ways (drawn pages and posters aside).
"""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

SIZE = 512


def noise(rng: np.random.Generator, slope: float = 1.2, low: float = 1, high: float = 1e9, stretch: float = 1.0):
    """Periodic noise (SIZE, SIZE) of mean 0 and deviation 1 whose spectrum falls as frequency^-slope."""
    f = np.fft.fftfreq(SIZE, 1 / SIZE)
    radius = np.hypot(f[:, None] * stretch, f[None, : SIZE // 2 + 1])
    gain = np.where((radius >= low) & (radius <= high), np.maximum(radius, 1) ** -slope, 0)
    gain[0, 0] = 0
    tile = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((SIZE, SIZE), dtype=np.float32)) * gain, s=(SIZE, SIZE))
    return (tile / (tile.std() + 1e-9)).astype(np.float32)


def color(rng: np.random.Generator, hue=None, sat=(0.05, 0.6), val=(0.2, 0.9)) -> np.ndarray:
    """A random sRGB colour 0..255; hue (low, high) in turns."""
    h = rng.uniform(*(hue or (0, 1))) % 1
    return np.array(colorsys.hsv_to_rgb(h, rng.uniform(*sat), rng.uniform(*val)), np.float32) * 255


def mix(a, b, t) -> np.ndarray:
    t = np.clip(t, 0, 1)[..., None]
    return np.float32(a) * (1 - t) + np.float32(b) * t


def finish(image, rng, grain: float = 3.0) -> np.ndarray:
    image = np.asarray(image, np.float32)
    if grain:
        image = image + rng.standard_normal((SIZE, SIZE, 1), dtype=np.float32) * grain
    return np.clip(image, 0, 255).astype(np.uint8)


def grain(rng):
    """Clouds of two or three colours."""
    t = noise(rng, rng.uniform(0.6, 1.9), stretch=float(np.exp(rng.normal(0, 0.4)))) * 0.25 + 0.5
    a = color(rng)
    b = color(rng) if rng.random() < 0.25 else np.clip(a * rng.uniform(0.5, 1.6) + rng.normal(0, 12, 3), 0, 255)
    out = mix(a, b, t)
    if rng.random() < 0.15:
        out = mix(out, color(rng), (noise(rng, 1.5, 3) - rng.uniform(0.3, 1.2)) * 3)
    return finish(out, rng, rng.uniform(0, 12))


def plaster(rng):
    base = color(rng, hue=(0.0, 0.7), sat=(0, 0.12 if rng.random() < 0.6 else 0.45), val=(0.55, 0.97))
    t = noise(rng, rng.uniform(0.5, 1.6)) * rng.uniform(1, 7) + noise(rng, 2.0) * rng.uniform(0, 8)
    return finish(base + t[..., None], rng, rng.uniform(0, 4))


def stone(rng):
    base = color(rng, hue=(0.03, 0.2), sat=(0.02, 0.35), val=(0.3, 0.85))
    t = noise(rng, rng.uniform(0.7, 1.3)) * rng.uniform(8, 26)
    spots = np.clip(noise(rng, 0.8, 20) - 1.6, 0, 1) * rng.uniform(-70, 40)
    stain = noise(rng, 1.9)[..., None] * rng.uniform(0, 14) * np.float32([1, 0.95, 0.8])
    return finish(base + (t + spots)[..., None] + stain, rng, 4)


def marble(rng):
    y, x = np.mgrid[0:SIZE, 0:SIZE] * (2 * np.pi / SIZE)
    k = rng.integers(1, 5, 2)
    vein = np.abs(np.sin(x * k[0] + y * k[1] + noise(rng, 1.7) * rng.uniform(1, 3)))
    out = mix(
        color(rng, sat=(0, 0.5), val=(0.1, 0.6)),
        color(rng, sat=(0, 0.25), val=(0.6, 0.98)),
        vein ** rng.uniform(0.1, 0.6),
    )
    return finish(out + noise(rng, 1)[..., None] * 5, rng, 2)


def _cells(rng, rows: int, columns: int, offset: float, gap: float):
    """Row and column numbers of courses, and how deep in the joint each texel lies (0 joint .. 1)."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    wobble = noise(rng, 1.4) * 0.0012
    r = (y + wobble) * rows
    row = np.floor(r).astype(int) % rows
    c = (x + wobble) * columns + (row * offset)
    column = np.floor(c).astype(int) % columns
    edge_y = np.minimum(r % 1, 1 - r % 1) / rows
    edge_x = np.minimum(c % 1, 1 - c % 1) / columns
    joint = np.clip(np.minimum(edge_x, edge_y) / gap, 0, 1)
    return row * columns + column, joint, c % 1, r % 1


def bricks(rng):
    rows = int(rng.integers(4, 11)) * 2
    which, joint, _, _ = _cells(rng, rows, rows // 3 + 1, 0.5, rng.uniform(0.002, 0.006))
    base = color(rng, hue=(0.98, 1.12), sat=(0.15, 0.65), val=(0.3, 0.85))
    tone = rng.normal(0, 18, which.max() + 1)[which] + noise(rng, 0.9) * 12
    out = base + tone[..., None] * np.float32([1, 0.8, 0.7])
    out = mix(color(rng, sat=(0, 0.2), val=(0.3, 0.85)) + noise(rng, 1)[..., None] * 6, out, joint**0.7)
    return finish(out, rng, 5)


def tiles(rng):
    n = int(rng.integers(2, 9))
    which, joint, u, v = _cells(rng, n, n, 0.0, rng.uniform(0.002, 0.006))
    a, b = color(rng, sat=(0, 0.35), val=(0.3, 0.97)), color(rng, sat=(0, 0.4), val=(0.1, 0.97))
    if rng.random() < 0.6:
        b = np.clip(a * rng.uniform(0.6, 1.2), 0, 255)
    kind = (0, 0, 1, 2, 3)[int(rng.integers(0, 5))]
    pick = np.zeros(which.shape) if kind == 0 else ((which // n + which % n) % 2)
    if kind == 3:
        pick = (np.hypot(u - 0.5, v - 0.5) * rng.uniform(4, 16)).astype(int) % 2
    out = (
        mix(a, b, pick.astype(np.float32))
        + (rng.normal(0, rng.uniform(1, 8), n * n)[which] + noise(rng, 1.2) * 4)[..., None]
    )
    return finish(mix(color(rng, sat=(0, 0.1), val=(0.2, 0.9)), out, joint), rng, 2)


def planks(rng):
    rows = int(rng.integers(3, 10))
    which, joint, _, _ = _cells(rng, rows, int(rng.integers(1, 4)), rng.uniform(0.2, 0.6), rng.uniform(0.0006, 0.003))
    base = color(rng, hue=(0.04, 0.12), sat=(0.2, 0.7), val=(0.25, 0.85))
    fibre = noise(rng, 0.9, 2, stretch=1 / rng.uniform(8, 20)) * rng.uniform(5, 14)
    ring = np.sin(noise(rng, 1.9, stretch=1 / 8) * 9 + which) * rng.uniform(2, 9)
    out = base + (rng.normal(0, rng.uniform(3, 18), which.max() + 1)[which] + fibre + ring)[..., None] * np.float32(
        [1, 0.85, 0.65]
    )
    return finish(mix(base * 0.35, out, joint), rng, 2)


def wood(rng):
    base = color(rng, hue=(0.03, 0.12), sat=(0.2, 0.75), val=(0.2, 0.88))
    fibre = noise(rng, 0.9, 2, stretch=1 / rng.uniform(10, 25)) * rng.uniform(4, 14)
    ring = np.sin(noise(rng, 1.9, stretch=1 / 10) * rng.uniform(5, 14)) * rng.uniform(2, 12)
    return finish(base + (fibre + ring)[..., None] * np.float32([1, 0.85, 0.65]), rng, 2)


def fabric(rng):
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    k = int(rng.choice([32, 64, 128]))
    weave = np.sin(x * (2 * np.pi * k / SIZE)) * np.sin(y * (2 * np.pi * k / SIZE)) * rng.uniform(3, 16)
    out = color(rng, sat=(0.0, 0.8), val=(0.12, 0.92)) + (weave + noise(rng, 1.1) * rng.uniform(3, 10))[..., None]
    return finish(out, rng, rng.uniform(2, 9))


def stripes(rng):
    """Stripes, checks and tartans."""
    out = np.zeros((SIZE, SIZE, 3), np.float32) + color(rng)
    for axis in rng.permutation(2)[: rng.integers(1, 3)]:
        for _ in range(rng.integers(1, 4)):
            k, share, phase = int(rng.choice([1, 2, 3, 4, 6, 8, 12, 16])), rng.uniform(0.1, 0.55), rng.random()
            on = ((np.arange(SIZE) * k / SIZE + phase) % 1 < share).astype(np.float32) * rng.uniform(0.4, 1)
            out = mix(out, color(rng, sat=(0, 0.8)), np.broadcast_to(on[:, None] if axis else on[None], (SIZE, SIZE)))
    return finish(out + noise(rng, 1)[..., None] * 5, rng, 5)


def carpet(rng):
    """A mirrored pattern with borders."""
    t = noise(rng, 1.5, 2, 40)
    t = t + t[::-1] + t[:, ::-1] + t[::-1, ::-1]
    levels = np.digitize(t, np.sort(rng.normal(0, 2.0, 4)))
    pens = np.stack([color(rng, sat=(0.1, 0.8), val=(0.15, 0.85)) for _ in range(5)])
    out = pens[levels]
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    edge = np.minimum.reduce([x, y, SIZE - 1 - x, SIZE - 1 - y])
    for low in np.sort(rng.integers(0, 90, rng.integers(1, 5)))[::-1]:
        out = np.where(((edge >= low) & (edge < low + rng.integers(6, 30)))[..., None], color(rng, sat=(0.1, 0.8)), out)
    return finish(out + noise(rng, 0.6)[..., None] * 9, rng, 9)


def wallpaper(rng):
    n = int(rng.choice([2, 4, 8]))
    t = noise(rng, 1.7, 2, 30)[: SIZE // 2, : SIZE // 2]
    t = np.concatenate([t, t[:, ::-1]], 1)
    t = np.concatenate([t, t[::-1]], 0)
    t = np.tile(cv2.resize(t, (SIZE // n, SIZE // n), interpolation=cv2.INTER_AREA), (n, n))
    base = color(rng, sat=(0, 0.4), val=(0.45, 0.97))
    return finish(
        mix(base, base * rng.uniform(0.6, 1.25) + rng.normal(0, 12, 3), (t - rng.uniform(-0.3, 0.7)) * 6), rng, 2
    )


def asphalt(rng):
    base = color(rng, hue=(0.05, 0.65), sat=(0, 0.08), val=(0.2, 0.5))
    speck = noise(rng, rng.uniform(0.1, 0.5)) * rng.uniform(5, 14)
    stain = noise(rng, 1.8) * rng.uniform(2, 9)
    crack = -np.clip(1 - np.abs(noise(rng, 1.6)) * 45, 0, 1) * rng.choice([0, 0, 30])
    return finish(base + (speck + stain + crack)[..., None], rng, 4)


def _voronoi(rng, count: int):
    """Number of the nearest random point and distances to the nearest two, on a torus."""
    from scipy.spatial import cKDTree

    tree = cKDTree(rng.random((count, 2)), boxsize=1.0)
    half = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij"), -1).reshape(-1, 2) / 256
    distance, which = tree.query(half, k=2)
    d = cv2.resize(distance.reshape(256, 256, 2).astype(np.float32), (SIZE, SIZE))
    w = cv2.resize(which[:, 0].reshape(256, 256).astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
    return w.astype(int), d[..., 0], d[..., 1]


def cobbles(rng):
    """Gravel, cobbles, rubble walls."""
    count = int(rng.choice([60, 120, 300, 900, 2500]))
    which, near, second = _voronoi(rng, count)
    base = color(rng, hue=(0.03, 0.16), sat=(0, 0.3), val=(0.3, 0.75))
    dome = 1 - near * count**0.5 * rng.uniform(0.4, 0.9)
    joint = np.clip((second - near) * count**0.5 * rng.uniform(3, 8), 0, 1)
    tone = rng.normal(0, rng.uniform(8, 26), (count, 3)) * [1, 0.9, 0.8]
    out = (base + tone[which] + noise(rng, 0.9)[..., None] * 8) * (0.55 + 0.45 * dome)[..., None]
    return finish(mix(base * rng.uniform(0.25, 0.6), out, joint), rng, 5)


def grass(rng):
    base = color(rng, hue=(0.14, 0.34), sat=(0.25, 0.7), val=(0.25, 0.6))
    t = noise(rng, 0.5, stretch=rng.uniform(0.3, 1)) * rng.uniform(12, 26) + noise(rng, 1.6) * 10
    dry = mix(
        base,
        color(rng, hue=(0.08, 0.16), sat=(0.2, 0.5), val=(0.4, 0.7)),
        noise(rng, 1.5) * 0.4 + rng.uniform(-0.2, 0.4),
    )
    return finish(dry + t[..., None] * np.float32([0.9, 1, 0.6]), rng, 8)


def foliage(rng):
    count = int(rng.choice([400, 1000, 2500]))
    which, near, _ = _voronoi(rng, count)
    base = color(rng, hue=(0.12, 0.38), sat=(0.25, 0.75), val=(0.2, 0.65))
    tone = rng.normal(0, 24, count)[which] - near * count**0.5 * 45 + noise(rng, 1.4) * 16
    return finish(base + tone[..., None] * np.float32([0.9, 1, 0.5]), rng, 7)


def soil(rng):
    base = color(rng, hue=(0.05, 0.13), sat=(0.15, 0.55), val=(0.25, 0.75))
    t = noise(rng, 0.7) * 13 + noise(rng, 1.7) * 13
    green = mix(base, color(rng, hue=(0.15, 0.3), sat=(0.3, 0.6), val=(0.3, 0.5)), (noise(rng, 1.4) - 0.7) * 2)
    return finish(green + t[..., None], rng, 7)


def metal(rng):
    base = color(rng, sat=(0, 0.2), val=(0.3, 0.85))
    t = noise(rng, 0.7, 2, stretch=1 / rng.uniform(4, 30)) * rng.uniform(1, 9)
    rust = mix(
        base, color(rng, hue=(0.02, 0.09), sat=(0.5, 0.8), val=(0.25, 0.6)), (noise(rng, 1.4) - rng.uniform(0.5, 3)) * 2
    )
    return finish(rust + t[..., None], rng, 2)


def paint(rng):
    """One clear colour with little structure."""
    return finish(
        color(rng, sat=(0, 0.95), val=(0.04, 0.98)) + noise(rng, 1.6)[..., None] * rng.uniform(0.5, 5), rng, 1
    )


def roof(rng):
    rows = int(rng.integers(6, 16))
    which, _, u, v = _cells(rng, rows, rows, 0.5, 0.004)
    base = color(rng, hue=(0.97, 1.1), sat=(0.1, 0.65), val=(0.25, 0.75))
    shade = (0.45 + 0.55 * v) * (0.75 + 0.25 * np.sin(np.pi * u))
    out = (base + rng.normal(0, 13, which.max() + 1)[which][..., None] + noise(rng, 1)[..., None] * 8) * shade[
        ..., None
    ]
    return finish(out, rng, 4)


def corrugated(rng):
    k = int(rng.integers(8, 40))
    wave = np.sin(np.arange(SIZE) * (2 * np.pi * k / SIZE)) * rng.uniform(8, 30)
    return finish(color(rng, sat=(0, 0.5)) + wave[None, :, None] + noise(rng, 1.5)[..., None] * 7, rng, 2)


def _write(image, rng, x0, y0, x1, y1, height: int, ink) -> None:
    """Lines of word-like strokes."""
    y = y0 + height
    while y < y1:
        x = x0
        while x < x1:
            word = int(rng.integers(1, 9)) * height // 2
            for left in range(int(x), int(min(x + word, x1)), max(2, height // 2)):
                top = y - int(height * rng.uniform(0.45, 0.8))
                cv2.line(
                    image, (left, y), (left + int(rng.integers(-1, height // 3 + 1)), top), ink, max(1, height // 7)
                )
                if rng.random() < 0.6:
                    cv2.line(
                        image,
                        (left, top),
                        (left + height // 3, top + int(rng.integers(0, height // 2 + 1))),
                        ink,
                        max(1, height // 8),
                    )
            x += word + height * 0.6
        y += int(height * 1.6)
        if rng.random() < 0.1:
            y += height


def page(rng):
    """A printed sheet."""
    image = np.zeros((SIZE, SIZE, 3), np.float32) + color(rng, sat=(0, 0.12), val=(0.75, 1))
    ink = tuple(float(v) for v in color(rng, sat=(0, 0.6), val=(0, 0.4)))
    columns = int(rng.integers(1, 4))
    for c in range(columns):
        x0, x1 = 20 + c * (SIZE - 20) // columns, (c + 1) * (SIZE - 20) // columns - 4
        _write(image, rng, x0, int(rng.integers(10, 90)), x1, SIZE - 20, int(rng.integers(6, 16)), ink)
    if rng.random() < 0.6:
        _write(image, rng, 30, 10, SIZE - 40, 60, 36, ink)
    for _ in range(rng.integers(0, 3)):
        x, y = rng.integers(20, 300, 2)
        w, h = rng.integers(60, 200, 2)
        image[y : y + h, x : x + w] = mix(color(rng), color(rng), noise(rng, 1.6)[y : y + h, x : x + w] * 0.3 + 0.5)
    return finish(image, rng, 2)


def poster(rng):
    """Shapes, gradients and large type."""
    y = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None] * np.ones((1, SIZE), np.float32)
    image = mix(color(rng), color(rng), y) if rng.random() < 0.6 else np.zeros((SIZE, SIZE, 3), np.float32) + color(rng)
    image = np.ascontiguousarray(image, np.float32)
    for _ in range(rng.integers(2, 14)):
        pen = tuple(float(v) for v in color(rng, sat=(0, 1), val=(0, 1)))
        a, b = (tuple(int(v) for v in rng.integers(0, SIZE, 2)) for _ in range(2))
        kind = rng.integers(0, 4)
        if kind == 0:
            cv2.circle(image, a, int(rng.integers(10, 140)), pen, -1, cv2.LINE_AA)
        elif kind == 1:
            cv2.rectangle(image, a, b, pen, -1)
        elif kind == 2:
            cv2.line(image, a, b, pen, int(rng.integers(2, 40)), cv2.LINE_AA)
        else:
            cv2.fillPoly(
                image, [rng.integers(0, SIZE, (int(rng.integers(3, 7)), 2)).astype(np.int32)], pen, cv2.LINE_AA
            )
    for _ in range(rng.integers(0, 4)):
        pen = tuple(float(v) for v in color(rng, sat=(0, 1), val=(0, 1)))
        top, height = int(rng.integers(10, 400)), int(rng.integers(12, 90))
        _write(image, rng, int(rng.integers(10, 100)), top, SIZE - 20, top + height * 2, height, pen)
    return finish(image, rng, 3)


def landscape(rng):
    """A painting-like picture: sky, hills, ground."""
    y = np.mgrid[0:SIZE, 0:SIZE][0] / SIZE
    image = mix(
        color(rng, hue=(0.5, 0.68), sat=(0.2, 0.8)), color(rng, hue=(0.02, 0.6), sat=(0.05, 0.5), val=(0.6, 1)), y * 2
    )
    image = mix(image, [250, 245, 240], (noise(rng, 1.7) - 0.4) * 0.8 * (y < 0.6))
    level = rng.uniform(0.3, 0.6)
    for _ in range(rng.integers(1, 5)):
        ridge = level + np.cumsum(noise(rng, 1.5)[0]) / SIZE * rng.uniform(0.3, 1.2)
        hill = color(rng, hue=(0.05, 0.6), sat=(0.1, 0.6), val=(0.15, 0.7)) + noise(rng, 1.1)[..., None] * 14
        image = np.where((y > ridge[None])[..., None], hill, image)
        level += rng.uniform(0.05, 0.2)
    return finish(image, rng, 3)


def screen(rng):
    """A monitor's desktop."""
    image = np.zeros((SIZE, SIZE, 3), np.float32) + color(rng, val=(0.05, 0.6))
    for _ in range(rng.integers(1, 5)):
        x, y = (int(v) for v in rng.integers(0, 300, 2))
        w, h = (int(v) for v in rng.integers(120, 400, 2))
        dark = rng.random() < 0.5
        cv2.rectangle(image, (x, y), (x + w, y + h), (30.0,) * 3 if dark else (240.0,) * 3, -1)
        cv2.rectangle(image, (x, y), (x + w, y + 14), tuple(float(v) for v in color(rng)), -1)
        ink = tuple(float(v) for v in color(rng, val=(0.6, 1))) if dark else (40.0, 40.0, 45.0)
        _write(image, rng, x + 6, y + 16, min(SIZE, x + w - 6), min(SIZE, y + h - 6), int(rng.integers(5, 12)), ink)
    return finish(image, rng, 1)


def spines(rng):
    """Backs of books on shelves, as a flat picture."""
    image = np.zeros((SIZE, SIZE, 3), np.float32) + color(rng, sat=(0.2, 0.5), val=(0.1, 0.3))
    rows = int(rng.integers(1, 5))
    for r in range(rows):
        x, bottom = 0, (r + 1) * SIZE // rows - 10
        while x < SIZE:
            w, h = int(rng.integers(8, 44)), int(SIZE / rows * rng.uniform(0.6, 0.92))
            pen = tuple(float(v) for v in color(rng, sat=(0, 0.8), val=(0.1, 0.95)))
            cv2.rectangle(image, (x, bottom - h), (x + w, bottom), pen, -1)
            cv2.rectangle(image, (x + w - 2, bottom - h), (x + w, bottom), tuple(0.5 * v for v in pen), -1)
            ink = tuple(float(v) for v in color(rng, sat=(0, 0.6), val=(0, 1)))
            for _ in range(rng.integers(1, 6)):
                t = bottom - int(h * rng.uniform(0.1, 0.9))
                cv2.line(image, (x + 3, t), (x + max(4, w - 4), t), ink, int(rng.integers(1, 5)))
            x += w
    return finish(image + noise(rng, 1)[..., None] * 5, rng, 3)


def keys(rng):
    n = int(rng.integers(5, 9))
    which, joint, _, _ = _cells(rng, n, n * 2, 0.4, 0.006)
    out = color(rng, sat=(0, 0.1), val=(0.1, 0.9)) + (rng.random(which.max() + 1)[which] * 10)[..., None]
    return finish(mix([15, 15, 18], out, joint), rng, 2)


def windows(rng):
    """A facade as a picture: a grid of panes between strips of wall."""
    nx, ny = (int(v) for v in rng.integers(2, 7, 2))
    which, _, u, v = _cells(rng, ny, nx, 0, 0.001)
    wall = stone(rng).astype(np.float32) if rng.random() < 0.5 else bricks(rng).astype(np.float32)
    w, h = rng.uniform(0.2, 0.46), rng.uniform(0.25, 0.46)
    pane = (np.abs(u - 0.5) < w) & (np.abs(v - 0.5) < h)
    frame = pane & ~((np.abs(u - 0.5) < w - 0.03) & (np.abs(v - 0.5) < h - 0.03))
    frame |= pane & (np.abs((u - 0.5) % 0.5) < 0.015) & (rng.random() < 0.7)
    dark = color(rng, hue=(0.5, 0.65), sat=(0.1, 0.5), val=(0.08, 0.35))
    glass = (
        dark
        + rng.normal(0, 18, which.max() + 1)[which][..., None]
        + (noise(rng, 1.6) * 12 + (v - 0.5) * rng.uniform(-80, 80))[..., None]
    )
    lit = (rng.random(which.max() + 1) < rng.choice([0.0, 0.1, 0.4]))[which]
    glass = np.where(lit[..., None], color(rng, hue=(0.08, 0.15), sat=(0.1, 0.5), val=(0.7, 1)), glass)
    out = np.where(pane[..., None], glass, wall)
    out = np.where(frame[..., None], color(rng, sat=(0, 0.3), val=(0.2, 0.95)), out)
    return finish(out, rng, 2)


KINDS = {
    "grain": (grain, 10),
    "plaster": (plaster, 12),
    "stone": (stone, 8),
    "marble": (marble, 4),
    "bricks": (bricks, 6),
    "tiles": (tiles, 7),
    "planks": (planks, 7),
    "wood": (wood, 9),
    "fabric": (fabric, 9),
    "stripes": (stripes, 8),
    "carpet": (carpet, 6),
    "wallpaper": (wallpaper, 5),
    "asphalt": (asphalt, 5),
    "cobbles": (cobbles, 6),
    "grass": (grass, 5),
    "foliage": (foliage, 6),
    "soil": (soil, 4),
    "metal": (metal, 5),
    "paint": (paint, 10),
    "roof": (roof, 3),
    "corrugated": (corrugated, 3),
    "page": (page, 5),
    "poster": (poster, 10),
    "landscape": (landscape, 4),
    "screen": (screen, 3),
    "spines": (spines, 4),
    "keys": (keys, 2),
    "windows": (windows, 6),
}
GROUPS = {
    "wall": ["plaster"] * 9 + ["paint", "wallpaper", "wallpaper", "bricks", "tiles", "planks", "stone", "grain"],
    "floor": ["planks", "planks", "planks", "tiles", "tiles", "carpet", "fabric", "fabric", "marble", "stone", "wood"],
    "ceiling": ["plaster", "plaster", "paint", "tiles", "planks"],
    "furniture": ["wood", "wood", "wood", "paint", "planks", "metal", "marble", "grain"],
    "cloth": ["fabric", "fabric", "stripes", "carpet", "grain", "paint", "wallpaper"],
    "thing": ["paint", "paint", "poster", "stripes", "metal", "grain", "wood", "page", "photo", "marble", "fabric"],
    "picture": ["landscape", "poster", "photo", "photo", "page", "grain"],
    "ground": ["grass", "soil", "cobbles", "asphalt", "stone", "grain"],
    "masonry": ["stone", "stone", "bricks", "cobbles", "plaster", "marble"],
    "any": [k for k in KINDS if k not in ("keys", "screen")] + ["photo", "photo"],
}


def photo_crop(rng: np.random.Generator, photo: np.ndarray) -> np.ndarray:
    """A random part of a photograph, mirrored half of the time so that it repeats, in changed colours."""
    h, w = photo.shape[:2]
    side = int(min(h, w) * rng.uniform(0.3, 1.0))
    y, x = rng.integers(0, h - side + 1), rng.integers(0, w - side + 1)
    crop = photo[y : y + side, x : x + side]
    mirrored = rng.random() < 0.5
    n = SIZE // 2 if mirrored else SIZE
    crop = cv2.resize(crop, (n, n), interpolation=cv2.INTER_AREA if side > n else cv2.INTER_LINEAR)
    if mirrored:
        crop = np.concatenate([crop, crop[:, ::-1]], 1)
        crop = np.concatenate([crop, crop[::-1]], 0)
    out = crop.astype(np.float32)
    if rng.random() < 0.5:  # other colours
        grey = out.mean(-1, keepdims=True)
        out = grey + (out - grey) * rng.uniform(0, 1.3)
        out = out * (0.5 + 0.5 * color(rng, sat=(0, 0.5), val=(0.7, 1.0)) / 255 * 1.6)
    return np.clip(out, 0, 255).astype(np.uint8)


def make_pool(rng: np.random.Generator, photos: list[np.ndarray]) -> tuple[list[np.ndarray], dict[str, list[int]]]:
    """Pictures for one block of scenes, and the numbers of each kind. Number 0 is grey noise, for clouds and dirt."""
    pictures = [np.repeat(finish(noise(rng, 1.7)[..., None] * 42 + 128, rng, 0)[..., :1], 3, 2)]
    kinds: dict[str, list[int]] = {}
    for name, (make, count) in KINDS.items():
        for _ in range(count):
            kinds.setdefault(name, []).append(len(pictures))
            pictures.append(make(rng))
    for _ in range(24 if photos else 0):
        kinds.setdefault("photo", []).append(len(pictures))
        pictures.append(photo_crop(rng, photos[int(rng.integers(len(photos)))]))
    return pictures, kinds
