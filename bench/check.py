"""How well `rilievo check` finds faults: `python bench/check.py PART... [--scenes N] [--first K] [--json FILE]`.

    PART            photos, sets, next: see below (default: all three)
    --scenes N      generated scenes, none of which was used for tuning (default: 6)
    --first K       the first of them (their seeds are 100 + K ...; default: 0)
    --size WxH      size of the photos (default: 640x480)
    --work DIR      where photos and projects are kept, so that a stopped run goes on (default: a temporary folder)
    --json FILE     writes the figures there; rows of an earlier run with other scenes are kept and counted too

photos: Gaussian blur of 1.5 px and more and motion blur, injected, against the photos as they are; exposure by pixels.
sets: each scene as it is, without a sector, without a tier, as two islands, and with single photos blurred, shaken or
wrongly exposed: area under the ROC curve (AUC) of each fault's score, and how far the missing sector is named off.
next: a sector or a tier is missing; the photos that the check proposes are rendered and added; F1 of the mesh before
and after, against the truth of the whole.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src"), str(ROOT / "bench")]

TIERS = ((16, 1.9, 0.5, 0.0), (12, 1.75, 1.2, 7.0))  # photos, radius, height, first azimuth


# --- generated sets --------------------------------------------------------------------------------------------------


def camera(size: tuple[int, int]):
    """A small camera with distortion."""
    from rilievo.types import Camera

    w, h = size
    f = 1.1 * w
    return Camera("OPENCV", w, h, np.array([f, f, w / 2 + 3, h / 2 - 2, -0.04, 0.01, 0.0, 0.0]))


def make_scene(number: int):
    """A scene by its number."""
    import scene_heap
    import scene_sets
    import scenes

    scene_sets.SCENES.setdefault("heap", scene_heap.heap)
    return scenes.make_scene("heap", 100 + number)


def full_set(number: int, folder: Path, size: tuple[int, int]) -> list[dict[str, Any]]:
    """Renders the whole set once; one row a photo: file, tier, true azimuth (degrees)."""
    import scenes

    rows, poses = [], []
    scene = None
    for t, (n, radius, height, start) in enumerate(TIERS):
        scene = scene or make_scene(number)
        start += 11.0 * number % 360
        c = scenes.ring_cameras(
            n, radius=radius, height=height, target=scene.target, start_deg=start, jitter=0.012, seed=number + t
        )
        for k in range(n):
            eye = -c[k][:, :3].T @ c[k][:, 3] - scene.target
            azimuth = float(np.degrees(np.arctan2(eye[1], eye[0])) % 360)
            rows.append({"name": f"IMG_{len(rows):04}.jpg", "tier": t, "azimuth": azimuth})
            poses.append(c[k])
    if not (folder / "truth" / "mesh.ply").is_file():
        scenes.write_capture(scene, folder, camera(size), np.array(poses), seed=number, samples=1, edge_samples=2)
    return rows


def _arc(azimuth: float, start: float, width: float) -> bool:
    return (azimuth - start) % 360 < width


def subset(rows: list[dict[str, Any]], fault: str, rng: np.random.Generator) -> tuple[list[str], dict[str, Any]]:
    """Names of the photos that stay, and what was done."""
    start = float(rng.uniform(0, 360))
    if fault == "sector":
        width = float(rng.uniform(75, 130))
        keep = [r for r in rows if not _arc(r["azimuth"], start, width)]
        ring = sorted(r["azimuth"] for r in keep)
        # what is really missing: from half a step after the last photo before it to half a step before the next
        gaps = [((b - a) % 360, a, b) for a, b in zip(ring, ring[1:] + ring[:1])]
        w, a, b = max(gaps)
        step = 360 / TIERS[0][0] / 2
        return [r["name"] for r in keep], {"from": (a + step) % 360, "to": (b - step) % 360, "width": w - 2 * step}
    if fault == "tier":
        gone = int(rng.integers(len(TIERS)))
        return [r["name"] for r in rows if r["tier"] != gone], {"tier": gone}
    if fault == "island":
        # of the low tier only: from above, the ground would connect them
        low = [r for r in rows if r["tier"] == 0]
        keep = [r for r in low if _arc(r["azimuth"], start, 85) or _arc(r["azimuth"], start + 180, 85)]
        return [r["name"] for r in keep], {}
    drop = set(rng.choice(len(rows), 2, replace=False).tolist()) if fault == "whole2" else set()
    return [r["name"] for k, r in enumerate(rows) if k not in drop], {}


def smear_kernel(length: float, degrees: float) -> np.ndarray:
    """A straight smear, antialiased, float32; degrees counter-clockwise."""
    n = 2 * int(np.ceil(length / 2)) + 3
    fine = np.zeros((8 * n, 8 * n), np.float32)
    c, a = 4 * n - 0.5, np.radians(degrees)
    for s in np.linspace(-0.5, 0.5, int(32 * length) + 1):
        fine[round(c - 8 * s * length * np.sin(a)), round(c + 8 * s * length * np.cos(a))] += 1
    k = fine.reshape(n, 8, n, 8).sum((1, 3))
    return k / k.sum()


def spoil(pixels: np.ndarray, fault: str, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """A photo with one fault, and how much of it."""
    import cv2

    from faults import _relight

    if fault == "gauss":
        sigma = float(rng.choice([1.5, 2.0, 3.0]))
        return cv2.GaussianBlur(pixels, (0, 0), sigma), {"sigma": sigma}
    if fault == "motion":
        length, turn = float(rng.uniform(5, 14)), float(rng.uniform(0, 180))
        return cv2.filter2D(pixels, -1, smear_kernel(length, turn)), {"length": length, "degrees": turn}
    ev = float(rng.choice([-1, 1]) * rng.uniform(1.0, 2.0))
    return _relight(pixels, 2.0**ev), {"ev": ev}


def auc(clean: list[float], faulty: list[float]) -> float:
    """Chance that a faulty one scores above a clean one."""
    a, b = np.asarray(clean, float), np.asarray(faulty, float)
    if not len(a) or not len(b):
        return float("nan")
    return float((b[:, None] > a).mean() + 0.5 * (b[:, None] == a).mean())


# --- single photos ---------------------------------------------------------------------------------------------------


def photos_part(args: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """One row a photo and fault."""
    import cv2

    from rilievo.stages.photo_quality import measure_photo

    out = []
    for number in range(args.first, args.first + args.scenes):
        rows = full_set(number, work / f"scene{number}", args.size)
        rng = np.random.default_rng([number, 5])
        for r in rows[::3]:
            path = work / f"scene{number}" / "photos" / r["name"]
            clean = cv2.imread(str(path))[..., ::-1]
            for fault in ("none", "gauss", "motion"):
                pixels, facts = (clean, {}) if fault == "none" else spoil(np.ascontiguousarray(clean), fault, rng)
                raw = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
                q = measure_photo(np.ascontiguousarray(cv2.imdecode(raw, 1)[..., ::-1]))
                row = {"part": "photos", "scene": number, "fault": fault, **facts, "sigma_px": q.sigma_px}
                out.append({**row, "motion_px": q.motion_px, "smear": q.smear, "motion_deg": q.motion_deg})
    return out


# --- sets ------------------------------------------------------------------------------------------------------------


def run_check(photos: Path, kept: Path, surface: bool, num_next: int = 5):
    """`rilievo check` on a folder."""
    from rilievo.pipelines_check import CheckSettings, check_photos
    from rilievo.plan import Run

    settings = CheckSettings(quality="draft", surface=surface, num_next=num_next)
    return check_photos([photos], house=kept, settings=settings, run=Run(num_threads=2))


def link_photos(names: list[str], source: Path, folder: Path) -> None:
    """A folder with just these photos."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in names:
        shutil.copyfile(source / name, folder / name)


def sets_part(args: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """One row a set, and one a photo of the sets with spoilt photos."""
    out = []
    for number in range(args.first, args.first + args.scenes):
        base = work / f"scene{number}"
        rows = full_set(number, base, args.size)
        for k, fault in enumerate(("whole", "whole2", "sector", "sector", "tier", "tier", "island")):
            rng = np.random.default_rng([number, k])
            names, facts = subset(rows, fault, rng)
            folder = base / f"{fault}{k}"
            link_photos(names, base / "photos", folder)
            # one project for all sets of a scene: keypoints are found once
            checked = run_check(folder, base / "kept", surface=False)
            d, around = checked.document, checked.around
            row = {"part": "sets", "scene": number, "fault": fault.rstrip("2"), **facts, "level": d["level"]}
            a = d["alignment"]
            placed = a["placed"] / len(names) if a["done"] else 0.0
            row["island_score"] = 1 - min(placed, a["graph"]["connected_share"] if a["done"] else 0.0)
            if around is not None:
                row |= {
                    "kind": around.kind,
                    "gap": around.largest_gap_deg - around.step_deg,
                    "tier_gap": around.tier_gap,
                }
            if fault == "sector" and around is not None:
                row["named"] = named_error(checked, rows, facts)
            out.append(row)
            print(json.dumps(row), flush=True)
        out += spoilt_set(number, base, rows)
    return out


def named_error(checked: Any, rows: list[dict[str, Any]], facts: dict[str, Any]) -> float:
    """How far the widest sector that the check names lies off, degrees: the worse of its two sides. The check's azimuth
    is laid on the true one by the photos."""
    around, scene = checked.around, checked.aligned.scene
    if not around.sectors:
        return 180.0
    true = {r["name"]: r["azimuth"] for r in rows}
    turn = np.radians([true[n] - a for n, a in zip(scene.names, around.azimuth_deg)])
    offset = float(np.degrees(np.angle(np.exp(1j * turn).mean())))
    s = around.sectors[0]
    ends = [(s.start_deg + offset - facts["from"], 0), (s.end_deg + offset - facts["to"], 1)]
    return max(abs((e + 180) % 360 - 180) for e, _ in ends)


def spoilt_set(number: int, base: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The whole set with every third photo spoilt in one of three ways; one row a photo."""
    import cv2

    rng = np.random.default_rng([number, 50])
    folder = base / "spoilt"
    link_photos([r["name"] for r in rows], base / "photos", folder)
    done: dict[str, tuple[str, dict[str, float]]] = {}
    for k, r in enumerate(rows[1::3]):
        fault = ("gauss", "exposure", "motion")[k % 3]
        pixels = np.ascontiguousarray(cv2.imread(str(folder / r["name"]))[..., ::-1])
        pixels, facts = spoil(pixels, fault, rng)
        cv2.imwrite(str(folder / r["name"]), pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        done[r["name"]] = fault, facts
    checked = run_check(folder, base / "kept", surface=False)
    out = []
    for row in checked.document["photos"]["list"]:
        fault, facts = done.get(row["name"], ("none", {}))
        kinds = {f["kind"]: f["value"] for f in row["findings"]}
        q = row["quality"]
        out.append(
            {
                "part": "spoilt", "scene": number, "fault": fault, **facts, "sigma_px": q["sigma_px"] or 0.0,
                "smear": q["smear"] or 0.0, "ev_score": abs(kinds.get("exposure", 0.0) or 0.0), "level": row["level"],
            }
        )  # fmt: skip
    return out


# --- photos to take next ---------------------------------------------------------------------------------------------


def next_part(args: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """One row a case: F1 before, and with the proposed photos rendered and added."""
    import scenes
    from rilievo import geometry
    from rilievo.evaluate import align_to_truth, load_truth

    out = []
    for number in range(args.first, args.first + args.scenes):
        base = work / f"scene{number}"
        rows = full_set(number, base, args.size)
        truth = load_truth(base / "truth")
        scene = make_scene(number)
        for k, fault in enumerate(("sector", "tier")):
            rng = np.random.default_rng([number, 2 + 2 * k])
            names, _ = subset(rows, fault, rng)
            folder = base / f"next_{fault}"
            link_photos(names, base / "photos", folder)
            checked = run_check(folder, base / "kept", surface=True)
            if checked.aligned is None:
                continue
            before = build_f1(folder, base / f"built_{fault}", truth)
            laid = align_to_truth(checked.aligned.scene, truth)
            world = laid.truth_from_world
            for i, p in enumerate(checked.proposals):
                eye = laid.apply(geometry.invert(p.cam_from_world)[:, 3][None])[0]
                R = p.cam_from_world[:, :3] @ world[:, :3].T
                pose = np.concatenate([R, -(R @ eye)[:, None]], 1)
                picture = scenes.render(scene, camera(args.size), pose, samples=1, edge_samples=2, seed=7000 + i)
                exif = scenes.exif_bytes(camera(args.size), number=100 + i)
                scenes.write_photo(folder / f"NEXT_{i:04}.jpg", picture.pixels, exif=exif)
            after = build_f1(folder, base / f"built_{fault}", truth)
            row = {"part": "next", "scene": number, "fault": fault, "num": len(checked.proposals)}
            out.append({**row, "before": before, "after": after, "score": checked.document["coverage"]["score"]})
            print(json.dumps(out[-1]), flush=True)
    return out


def build_f1(photos: Path, house: Path, truth: Any) -> dict[str, float]:
    """F1, accuracy and completeness of a draft mesh within 5 gsd of the truth (of the whole set's)."""
    from rilievo import kernels
    from rilievo.chain import Chain
    from rilievo.evaluate import align_to_truth, evaluate_mesh, prepare_surface
    from rilievo.gather import gather
    from rilievo.pipelines import find_cameras, make_cloud
    from rilievo.plan import BuildSettings
    from rilievo.project import Project
    from rilievo.stages.mesh import mesh_cloud

    kernels.set_num_threads(2)
    chain = Chain(Project(house), 2)
    settings = BuildSettings(quality="draft", keypoints="sift", depth_size=320)
    found = gather(chain, [photos])
    sparse = find_cameras(chain, found, settings)
    cloud = chain.project.get(make_cloud(chain, found, sparse, settings))
    mesh = mesh_cloud(cloud, sparse.reconstruction)
    surface = prepare_surface(truth)
    s = evaluate_mesh(mesh, align_to_truth(sparse.reconstruction, truth), surface)
    k = s.thresholds_gsd.index(5.0)
    return {"f1": round(s.f1[k], 4), "accuracy": round(s.accuracy[k], 4), "completeness": round(s.completeness[k], 4)}


# --- summing up ------------------------------------------------------------------------------------------------------


def sum_up(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The figures of all rows."""
    by: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for r in rows:
        by[r["part"]][r["fault"]].append(r)

    def get(part: str, fault: str, key: str) -> list[float]:
        return [r[key] for r in by[part][fault] if r.get(key) is not None]

    out: dict[str, float] = {}
    for part in ("photos", "spoilt"):
        if by[part]:
            out[f"auc {part} gaussian"] = auc(get(part, "none", "sigma_px"), get(part, "gauss", "sigma_px"))
            sharp = get(part, "none", "smear") + get(part, "gauss", "smear")
            out[f"auc {part} motion against sharp"] = auc(
                get(part, "none", "sigma_px"), get(part, "motion", "sigma_px")
            )
            out[f"auc {part} motion against sharp and defocus"] = auc(sharp, get(part, "motion", "smear"))
    if by["photos"]:
        g, m = by["photos"]["gauss"], by["photos"]["motion"]
        out["gaussian sigma off, median %"] = 100 * float(np.median([abs(r["sigma_px"] / r["sigma"] - 1) for r in g]))
        seen = [r for r in m if r["motion_px"] > 0]
        out["motion called so %"] = 100 * len(seen) / len(m)
        out["motion length off, median %"] = 100 * float(
            np.median([abs(r["motion_px"] / r["length"] - 1) for r in seen])
        )
        turn = [abs((r["motion_deg"] - r["degrees"] + 90) % 180 - 90) for r in seen]
        out["motion direction off, median deg"] = float(np.median(turn))
    if by["spoilt"]:
        clean = [r["ev_score"] for f in ("none", "gauss", "motion") for r in by["spoilt"][f]]
        out["auc exposure"] = auc(clean, get("spoilt", "exposure", "ev_score"))
    if by["sets"]:
        whole = by["sets"]["whole"]
        out["auc sector"] = auc([r["gap"] for r in whole], get("sets", "sector", "gap"))
        out["auc tier"] = auc([r["tier_gap"] for r in whole], get("sets", "tier", "tier_gap"))
        out["auc island"] = auc([r["island_score"] for r in whole], get("sets", "island", "island_score"))
        named = get("sets", "sector", "named")
        out["sector named within 10 deg %"] = 100 * float(np.mean([n <= 10 for n in named]))
        out["sector named off, worst deg"] = max(named)
    if by["next"]:
        cases = [r for rows in by["next"].values() for r in rows]
        better = [r["after"]["f1"] > r["before"]["f1"] for r in cases]
        out["next: cases"], out["next: F1 rose in"] = len(cases), int(sum(better))
        gain = [r["after"]["f1"] - r["before"]["f1"] for r in cases]
        out["next: F1 gain, median"] = float(np.median(gain))
    return out


def main() -> int:
    """Runs the parts and prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--scenes", type=int, default=6)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--size", default="640x480", type=lambda t: tuple(int(x) for x in t.split("x")))
    parser.add_argument("--work", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    parts = {"photos": photos_part, "sets": sets_part, "next": next_part}
    if unknown := [p for p in args.parts if p not in parts]:
        parser.error(f"unknown part {unknown[0]}; there are {', '.join(parts)}")
    rows: list[dict[str, Any]] = []
    if args.json and args.json.is_file():
        rows = json.loads(args.json.read_text())["rows"]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        for name in args.parts or list(parts):
            done = parts[name](args, work)
            fresh = {(r["part"], r["scene"]) for r in done}
            rows = [r for r in rows if (r["part"], r["scene"]) not in fresh] + done
            if args.json:
                args.json.write_text(json.dumps({"figures": sum_up(rows), "rows": rows}, indent=1) + "\n")
    for key, value in sum_up(rows).items():
        print(f"{key:<46} {value:.4g}")
    print(f"{time.perf_counter() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
