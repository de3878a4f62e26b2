"""The captures of the benchmark: each scene has one difficulty, photos that a person could take, and exact truth.

    write("white_room", folder)                                  # folder/photos/*.jpg, folder/truth/...

The same name gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rilievo.geometry import look_at
from rilievo.types import Camera
from scene_buildings import concavity, repetitive, village
from scene_indoors import slanted_ground, white_room, wires
from scene_sets import Part

# name -> its maker
SCENES: dict[str, Callable[[np.random.Generator], tuple[list[Part], np.ndarray]]] = {
    "white_room": white_room,
    "wires": wires,
    "slanted_ground": slanted_ground,
    "repetitive": repetitive,
    "concavity": concavity,
    "village": village,
}


@dataclass(frozen=True)
class Shots:
    """How a scene is photographed. cameras: from the point to look at to `cam_from_world` (n, 3, 4).  samples: rays a
    pixel along each side, edge_samples: where there is contrast.  gps: whether photos carry their position."""

    focal_px: float
    cameras: Callable[[np.ndarray], np.ndarray]
    samples: int = 1
    edge_samples: int = 3
    gps: bool = False
    seed: int = 1

    @property
    def camera(self) -> Camera:
        """1200 x 800, mild distortion, the principal point off the centre."""
        f = self.focal_px
        return Camera("OPENCV", 1200, 800, np.array([f, f, 605.5, 396.2, -0.04, 0.01, 0.0, 0.0]))


def _arc(*tiers: tuple[int, float, float, float, float], seed: int = 1) -> Callable[[np.ndarray], np.ndarray]:
    """Tiers of cameras around the target: number, radius, height above it, first angle, spread (degrees)."""
    import scenes

    def cameras(target: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                scenes.ring_cameras(
                    n, radius=r, height=z, target=target, start_deg=a, spread_deg=s, jitter=0.015, seed=seed + k
                )
                for k, (n, r, z, a, s) in enumerate(tiers)
            ]
        )

    return cameras


def _along_front(target: np.ndarray) -> np.ndarray:
    """Two walks along a front that faces -y, looking at it squarely and from below, a little turned."""
    rng = np.random.default_rng(5)
    out = []
    for height, distance, xs in ((1.7, 7.2, np.linspace(0.2, 10.8, 9)), (3.4, 8.6, np.linspace(10.0, 1.0, 7))):
        for x in xs:
            eye = np.array([x, -distance, height]) + 0.12 * rng.normal(size=3)
            aim = np.array([x + 0.22 * (target[0] - x), 0.0, 3.3]) + 0.15 * rng.normal(size=3)
            out.append(look_at(eye, aim))
    return np.array(out)


def _flight(target: np.ndarray) -> np.ndarray:
    """Four lines of six photos straight down from 60 m, flown to and fro, tilted a little by the wind."""
    rng = np.random.default_rng(6)
    out = []
    for row, y in enumerate((-27.0, -9.0, 9.0, 27.0)):
        ahead = 1.0 if row % 2 == 0 else -1.0
        for k in range(6):
            eye = np.array([ahead * (-47.5 + 19.0 * k), y, 60.0]) + rng.normal(size=3) * [0.8, 0.8, 0.5]
            aim = np.array([*(eye[:2] + 1.8 * rng.normal(size=2)), 0.0])
            out.append(look_at(eye, aim, np.array([0.04 * rng.normal(), ahead, 0.0])))
    return np.array(out)


SHOTS = {
    "white_room": Shots(900.0, _arc((9, 3.3, 0.65, -84, 78), (7, 2.9, 0.25, -78, 66))),
    "wires": Shots(1100.0, _arc((11, 2.45, 0.55, -160, 140), (9, 2.25, 1.1, -152, 124)), edge_samples=4),
    "slanted_ground": Shots(950.0, _arc((10, 7.5, 1.15, -150, 120), (8, 6.0, 0.95, -140, 100))),
    "repetitive": Shots(900.0, _along_front),
    "concavity": Shots(900.0, _arc((10, 4.3, 0.5, -140, 100), (8, 3.4, 1.15, -135, 90))),
    "village": Shots(900.0, _flight, gps=True),
}
# Where the village lies: latitude, longitude, height of the world's zero.
PLACE = (46.02, 8.95, 310.0)


def write(name: str, folder: Path) -> list[Path]:
    """Renders the photos of a capture and writes its truth; returns the photos' paths. Raises KeyError for a name that
    is not in SHOTS."""
    import scenes

    shots = SHOTS[name]
    scene = scenes.make_scene(name, shots.seed)
    return scenes.write_capture(
        scene,
        folder,
        shots.camera,
        shots.cameras(scene.target),
        seed=shots.seed,
        samples=shots.samples,
        edge_samples=shots.edge_samples,
        gps_origin=PLACE if shots.gps else None,
        gps_std_m=1.5 if shots.gps else 0.0,
    )
