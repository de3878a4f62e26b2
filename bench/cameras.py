"""Structure from motion measured: photos placed, camera error, CPU seconds of keypoints, matching and mapping.

    python bench/cameras.py [NAME...] [--data DIR] [--cache DIR] [--refine auto|focal|none] [--threads N]

NAME: one of the sets below (default: all). DIR: folder with the data sets (default: $RILIEVO_DATA, else ../shared/data
beside the repository). --cache keeps keypoints and matches there between runs, for work on mapping alone.
`gsd` is median depth / focal length; the error is the RMSE of camera centres after a similarity to the truth.
The last column is a hash of the result: equal for every run and number of threads.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import pickle
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Set:
    """Photos and truth below the data folder; camera: file with intrinsics to hold."""

    photos: str
    truth: str | None = None
    camera: str | None = None


SETS = {
    "sceaux_castle": Set("sceaux_castle/images"),
    "fountain_P11": Set("fountain_P11/images", "fountain_P11/gt_dense_cameras"),
    "fountain_P11_K": Set("fountain_P11/images", "fountain_P11/gt_dense_cameras", "fountain_P11/images/K.txt"),
    "lund_door": Set("lund_door/images", "lund_door/colmap_ground_truth"),
    "idol": Set("idol/photos", "idol/truth"),
    "banana": Set("banana/images"),
    "berlin": Set("opensfm/berlin/images"),
    "temple": Set("middlebury_rings/templeSparseRing"),
    "dino": Set("middlebury_rings/dinoSparseRing"),
}


def prepare(photos_dir: Path, camera_file: Path | None, cache: Path | None, name: str) -> tuple:
    """(photos, features, matches, known cameras, seconds of keypoints, seconds of matching)."""
    from rilievo.io import photos as io
    from rilievo.io.camera_file import read_camera_file
    from rilievo.stages import features, matches, pairs

    kept = cache / f"{name}.pickle" if cache else None
    if kept and kept.is_file():
        return pickle.loads(kept.read_bytes())
    sources = io.find_photos([photos_dir])
    found = io.read_photos(sources)
    by_name = {source.name: source for source in sources}
    photos = [photo for _, photo in found.photos]
    known = None
    if camera_file is not None:
        camera = read_camera_file(camera_file, size=(photos[0].width, photos[0].height))
        known = {p.name: camera for p in photos}
    begin = time.process_time()
    keypoints = {
        p.name: features.extract(io.load_pixels(by_name[p.name]), name=p.content_id, mask=io.load_mask(by_name[p.name]))
        for p in photos
    }
    middle = time.process_time()
    chosen = pairs.select_pairs(photos, keypoints.__getitem__)
    guess = {p.name: known[p.name] if known else matches.guess_camera(p)[0] for p in photos}
    matched = [
        matches.match(p.name, keypoints[p.name], [(n, keypoints[n], guess[n]) for n in chosen[p.name]], guess[p.name])
        for p in photos[1:]
    ]
    out = (photos, keypoints, matched, known, middle - begin, time.process_time() - middle)
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(pickle.dumps(out))
    return out


def fingerprint(model: object) -> str:
    """Hash of every field."""
    digest = hashlib.sha256()
    for field in dataclasses.fields(model):  # type: ignore[arg-type]
        value = getattr(model, field.name)
        digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return digest.hexdigest()[:10]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--data", type=Path, default=os.environ.get("RILIEVO_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--refine", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    from rilievo import kernels
    from rilievo.evaluate.cameras import evaluate_cameras
    from rilievo.io.truth import load_truth
    from rilievo.stages.cameras import CamerasConfig, reconstruct

    kernels.set_num_threads(arguments.threads)
    print("set             placed    points  obs/photo  error px  rmse mm   gsd   keypoints  match    map  hash")
    for name in arguments.names or SETS:
        item = SETS[name]
        if not (Path(arguments.data) / item.photos).is_dir():
            print(f"{name}: {item.photos} is not there, skipped")
            continue
        photos, keypoints, matched, known, extract_s, match_s = prepare(
            Path(arguments.data) / item.photos,
            Path(arguments.data) / item.camera if item.camera else None,
            arguments.cache,
            name,
        )
        begin = time.process_time()
        config = CamerasConfig(refine=arguments.refine)
        model = reconstruct(photos, keypoints, matched, cameras=known, config=config)
        map_s = time.process_time() - begin
        error = gsd = float("nan")
        if item.truth:
            score = evaluate_cameras(model, load_truth(Path(arguments.data) / item.truth))
            error, gsd = score.center_rmse * 1000, score.center_rmse_gsd
        print(
            f"{name:15s} {len(model.names):3d}/{len(photos):3d} {len(model.points):8d} "
            f"{len(model.obs_point) / len(model.names):10.0f} {model.reprojection_error():9.3f} "
            f"{error:8.3f} {gsd:5.2f} "
            f"{extract_s:9.1f}s {match_s:6.1f}s {map_s:5.1f}s  {fingerprint(model)}",
            flush=True,
        )
        print(f"    {model.frame}; {model.intrinsics_note}", flush=True)
        if model.georeference_note:
            print(f"    {model.georeference_note}")
        for photo, reason in model.unplaced.items():
            print(f"    {photo}: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
