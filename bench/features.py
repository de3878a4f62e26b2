"""Speed and memory of reading, keypoints and matching: `python bench/features.py FOLDER [NUM]`.

CPU seconds of one thread a photo and a pair, peak memory; with pycolmap's SIFT beside it when `--pycolmap` is given.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import psutil

from rilievo import kernels
from rilievo.io import photos
from rilievo.stages.features import extract
from rilievo.stages.matches import guess_camera, match


def main(arguments: list[str]) -> None:
    """Prints a table."""
    options = [a for a in arguments if not a.startswith("--")]
    kernels.set_num_threads(1)
    cv2.setNumThreads(1)
    sources = photos.find_photos([Path(options[0])])[: int(options[1]) if len(options) > 1 else 6]

    def timed(name: str, num: int, work: object) -> list:
        before = time.process_time()
        result = work()  # type: ignore[operator]
        print(f"{name:28s} {(time.process_time() - before) / max(num, 1):7.3f} CPU s", flush=True)
        return result

    found = timed("read (a photo)", len(sources), lambda: [photos.read_photo(s) for s in sources])
    pixels = timed("decode (a photo)", len(sources), lambda: [photos.load_pixels(s) for s in sources])
    print(f"{'size':28s} {found[0].width} x {found[0].height}")
    if "--pycolmap" in arguments:
        import pycolmap

        grey = cv2.cvtColor(pixels[0], cv2.COLOR_RGB2GRAY)
        there = timed("pycolmap SIFT (a photo)", 1, lambda: pycolmap.Sift(device=pycolmap.Device.cpu).extract(grey))
        print(f"{'its keypoints':28s} {len(there[0])}")
    features = timed("keypoints (a photo)", len(pixels), lambda: [extract(p, name="") for p in pixels])
    print(f"{'number of keypoints':28s} {[len(f.scales) for f in features]}")
    cameras = [guess_camera(p)[0] for p in found]
    pairs = [(i, j) for i in range(len(found)) for j in range(i)]
    matched = timed(
        "match and verify (a pair)",
        len(pairs),
        lambda: [match("b", features[i], [("a", features[j], cameras[j])], cameras[i]) for i, j in pairs],
    )
    print(f"{'verified matches':28s} {[int(m.offsets[-1]) for m in matched]}")
    memory = psutil.Process().memory_info()
    print(f"{'peak memory':28s} {getattr(memory, 'peak_wset', 0) / 2**20 or _peak():.0f} MiB, all pixels held")


def _peak() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(sys.argv[1:])
