"""Renders the project's own scenes for the benchmark: `python bench/scenes.py [NAME...] [-o DIR]`.

    NAME      scenes to render (default: all); `--list` shows them
    -o DIR    where DIR/NAME/photos and DIR/NAME/truth are written (default: build/scenes)

What was rendered by the same code before is kept. One to two minutes a scene on one core; the same bytes each time.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "scenes"
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]


def made_by() -> str:
    """Hash of the code that draws the scenes."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "tests").glob("scene*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def ensure(name: str, folder: Path = FOLDER) -> Path:
    """The folder of a rendered scene, rendered first where it is absent or older code made it. Raises KeyError for an
    unknown name."""
    import scene_bench

    place, stamp = folder / name, made_by()
    if (place / "made_by").is_file() and (place / "made_by").read_text() == stamp:
        return place
    unfinished = folder / f"{name}.part"
    shutil.rmtree(unfinished, ignore_errors=True)
    scene_bench.write(name, unfinished)
    (unfinished / "made_by").write_text(stamp)
    shutil.rmtree(place, ignore_errors=True)
    unfinished.rename(place)
    return place


def main() -> int:
    import scene_bench

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("-o", "--output", type=Path, default=FOLDER, metavar="DIR")
    parser.add_argument("--list", action="store_true", help="show the scenes and end")
    options = parser.parse_args()
    if options.list:
        for name, make in scene_bench.SCENES.items():
            print(f"{name:<16}{' '.join((make.__doc__ or '').split())}")
        return 0
    if unknown := set(options.names) - set(scene_bench.SHOTS):
        parser.error(f"no scene {', '.join(sorted(unknown))}; there are {', '.join(scene_bench.SHOTS)}")
    for name in options.names or scene_bench.SHOTS:
        begin = time.process_time()
        place = ensure(name, options.output)
        num = len(list((place / "photos").iterdir()))
        print(f"{place}: {num} photos, {time.process_time() - begin:.0f} CPU s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
