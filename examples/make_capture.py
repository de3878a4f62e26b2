"""Makes the sample capture: `python examples/make_capture.py [FOLDER]`. About ten minutes on one core.

28 photos of the scene "urn" of tests/scenes.py, 1800 x 1200, on two tiers around it, hand-held in that place, aim, roll
and exposure stray a little. The lens has distortion and a principal point off the centre, as real ones have.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

import scenes  # noqa: E402
from rilievo.types import Camera  # noqa: E402

SEED = 2026
CAMERA = Camera("OPENCV", 1800, 1200, np.array([1950.0, 1950.0, 907.0, 595.0, -0.06, 0.02, 0.0, 0.0]))


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples" / "capture"
    scene = scenes.make_scene("urn", SEED)
    low = scenes.ring_cameras(16, radius=1.18, height=0.34, target=scene.target, jitter=0.02, seed=SEED)
    high = scenes.ring_cameras(
        12, radius=0.98, height=0.84, target=scene.target - [0, 0, 0.06], start_deg=11, jitter=0.02, seed=SEED + 1
    )
    cameras = np.concatenate([low, high])
    paths = scenes.write_capture(scene, folder, CAMERA, cameras, seed=SEED, quality=88, packed=True)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    print(f"{len(paths)} photos in {folder}, {size / 1e6:.1f} MB with truth")


if __name__ == "__main__":
    main()
