"""What the training scenes are made of: pictures in an atlas, procedural things and fetched models, by role."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from training import scenes_mesh as sm
from training.render import Atlas, Material, Scene
from training.scenes_models import Model, load_models, read_model, read_photos
from training.scenes_objects import MAKERS, Thing
from training.scenes_texture import GROUPS, make_pool

# Metres of one repeat of a picture, low and high, by kind.
TILES = {
    "grain": (0.4, 3), "plaster": (1, 4), "stone": (0.6, 3), "marble": (0.8, 2.5), "bricks": (0.9, 2.4),
    "tiles": (0.5, 2.5), "planks": (0.8, 2.2), "wood": (0.5, 1.6), "fabric": (0.2, 0.8), "stripes": (0.15, 1.2),
    "carpet": (0.8, 2.5), "wallpaper": (0.6, 2), "asphalt": (1.5, 5), "cobbles": (0.6, 3), "grass": (0.8, 3),
    "foliage": (0.8, 3), "soil": (1, 4), "metal": (0.5, 2), "paint": (1, 3), "roof": (1.5, 4),
    "corrugated": (0.6, 2.5), "page": (0.2, 0.6), "poster": (0.3, 1.5), "landscape": (0.6, 3), "screen": (0.4, 1),
    "spines": (0.8, 1.6), "keys": (0.15, 0.4), "windows": (8, 18), "photo": (0.3, 2),
}  # fmt: skip
SHINY = {"marble": 0.4, "tiles": 0.3, "wood": 0.15, "planks": 0.15, "metal": 0.6, "paint": 0.3, "poster": 0.15}


@dataclass
class Library:
    """What one block of scenes is made of."""

    atlas: Atlas
    kinds: dict[str, list[int]]
    things: dict[str, list[Thing]] = field(default_factory=dict)
    source: str = "procedural"

    def material(self, rng: np.random.Generator, want, tile: float | None = None, **changes) -> Material:
        """A random material of a group or kind."""
        if isinstance(want, Material):
            return replace(want, **changes)
        choices = GROUPS.get(want, [want])
        kind = choices[int(rng.integers(len(choices)))]
        if kind not in self.kinds:
            kind = "poster"
        cells = self.kinds[kind]
        low, high = TILES[kind]
        tint = np.clip(rng.uniform(0.55, 1.1) * (1 + rng.normal(0, 0.07, 3)), 0.1, 1.25)
        shiny = rng.random() < (0.6 if kind in SHINY else 0.15)
        material = Material(
            cell=cells[int(rng.integers(len(cells)))],
            tile=float(np.exp(rng.uniform(np.log(low), np.log(high)))) if tile is None else tile,
            tint=tuple(float(t) for t in tint),
            shine=float(SHINY.get(kind, 0.2) * rng.uniform(0.2, 1.6)) if shiny else 0.0,
            gloss=float(np.exp(rng.uniform(2.0, 4.8))),
            mirror=float(rng.uniform(0.02, 0.35)) if shiny and kind in ("marble", "tiles", "metal", "paint") else 0.0,
            offset=(float(rng.random()), float(rng.random())),
            turned=bool(rng.random() < 0.3) if kind in ("wood", "grain", "fabric", "stripes", "metal") else False,
            stretch=1.0,
        )
        return replace(material, **changes)

    def picture(self, rng: np.random.Generator, want: str = "picture", **changes) -> Material:
        """A material for a face whose coordinates run once over it."""
        return self.material(rng, want, tile=1.0, offset=(0.0, 0.0), turned=False, **changes)

    def plain(self, color, **changes) -> Material:
        """One colour (linear light)."""
        return Material(cell=1, tile=1.5, tint=tuple(float(c) for c in color), **changes)

    def pick(self, rng: np.random.Generator, role: str) -> Thing:
        choices = self.things[role]
        return choices[int(rng.integers(len(choices)))]

    def place(self, scene: Scene, rng, thing: Thing, at=(0, 0, 0), yaw=0.0, scale=1.0, matrix=None) -> None:
        """Puts a thing into the scene with materials of its own."""
        numbers = []
        for want in thing.wants:
            if isinstance(want, Material):
                shift = np.clip(1 + rng.normal(0, 0.08, 3), 0.6, 1.3) * np.clip(rng.normal(0.92, 0.12), 0.5, 1.15)
                want = replace(want, tint=tuple(float(a * b) for a, b in zip(want.tint, shift)))
                if want.tile > 1 and rng.random() < 0.3:  # untextured: something else for once
                    want = self.material(rng, ("furniture", "cloth", "thing")[int(rng.integers(3))])
                numbers.append(scene.material(want))
            elif want == "@car":
                tone = [rng.uniform(0.02, 0.9)] * 3 if rng.random() < 0.6 else rng.uniform(0.02, 0.7, 3) ** 1.5
                look = {"shine": 0.7, "gloss": 150.0, "mirror": float(rng.uniform(0.1, 0.4))}
                numbers.append(scene.material(self.plain(tone, **look)))
            elif want.startswith("@"):  # a picture that covers the face once
                glow = float(rng.uniform(0, 2)) if want == "@screen" else 0.0
                numbers.append(scene.material(self.picture(rng, want[1:], emit=glow)))
            else:
                numbers.append(scene.material(self.material(rng, want)))
        scene.add(thing.part, numbers, at, yaw, scale, matrix)


def make_library(rng: np.random.Generator, cache: Path | None) -> Library:
    """Pictures and things for a block of scenes; `cache` is the folder of fetched models and photographs, or None."""
    photos = read_photos(cache) if cache else []
    paths = load_models(cache) if cache else []
    pictures, kinds = make_pool(rng, photos)
    pictures.insert(1, pictures[kinds["plaster"][0]] // 8 + 222)  # near white, for plain colours
    kinds = {k: [n + 1 for n in v] for k, v in kinds.items()}
    things: dict[str, list[Thing]] = {}
    for role, (make, count) in MAKERS.items():
        things[role] = [make(rng) for _ in range(count)]
    taken = dict.fromkeys(LIMITS, 0)
    order = rng.permutation(len(paths))
    for i in order:
        if all(taken[r] >= LIMITS[r] for r in LIMITS):
            break
        role = role_of(paths[i])
        if role is None or taken[role] >= LIMITS[role]:
            continue
        model, images = read_model(paths[i])
        cells = {}
        if len(pictures) + len(images) > 330:
            continue
        for name in sorted(images):
            cells[name] = len(pictures)
            pictures.append(images[name])
        thing = thing_of(model, cells)
        things.setdefault(role, []).append(thing)
        taken[role] += 1
        if role in ALSO:
            things.setdefault(ALSO[role], []).append(thing)
    things["decor"] = things["small"] + things["vase"]
    source = "procedural" + (", sweethome3d-furniture" if paths else "") + (", photographs" if photos else "")
    return Library(Atlas(pictures), kinds, things, source)


LIMITS = {
    "chair": 14, "table": 12, "bed": 7, "sofa": 12, "storage": 16, "lamp": 8, "plant": 12, "person": 14,
    "vehicle": 16, "small": 70, "large": 36, "wall": 12, "street": 10, "bike": 6,
}  # fmt: skip
ALSO = {"chair": "large", "table": "large", "sofa": "large", "storage": "large", "plant": "large", "bike": "street"}
WORDS = {
    "bike": ("bike", "bicycle", "motorbike", "scooter", "yamaha", "moped", "wheelchair", "tricycle"),
    "vehicle": ("car ", "car model", "ford", "sedan", "beetle", "leon", "scenic", "peugeot", "truck", "bus", "suv",
                "chevrolet", "van", "smart car", "fork lift"),
    "person": ("male", "female", "boy", "girl", "man", "woman", "mannequin"),
    "chair": ("chair", "stool", "seat"),
    "sofa": ("sofa", "couch", "armchair", "futon", "pouf", "puff"),
    "bed": ("bed", "crib"),
    "table": ("table", "desk"),
    "storage": ("bookcase", "shel", "wardrobe", "cabinet", "drawers", "cupboard", "dresser", "commode", "fridge",
                "refrigerator", "oven", "stove", "washing machine", "locker", "chest", "piano", "filing"),
    "lamp": ("lamp", "lantern", "light"),
    "plant": ("plant", "flower", "cactus", "orchid", "tulip", "lily", "ficus", "bonsai", "yucca", "bush", "hedge",
              "tree", "palm", "bamboo", "cypress"),
    "street": ("bench", "hydrant", "fence", "railing", "trash", "bin", "cone", "mailbox", "letters box", "street",
               "lamppost", "container", "fountain", "rock", "barrel", "pallet", "crate", "dustbin", "rowboat"),
}  # fmt: skip
AVOID = ("swimming", "door", "window", "elevator", "escalator", "stair", "rail", "parking", "crossing", "arrow",
         "living room", "radiator.", "chimney", "socket", "plug", "switch", "curtain",
         "tatami", "doormat", "rug", "carpet", "sandpit")  # fmt: skip


def role_of(path: Path) -> str | None:
    """Which role a converted model can play, judged by its name and size."""
    with np.load(path) as f:
        about = json.loads(str(f["about"]))
        size = f["corners"].reshape(-1, 3).max(0) - f["corners"].reshape(-1, 3).min(0)
    name = about["name"].lower() + " "
    if any(word in name for word in AVOID) or size.max() > 13 or size.max() < 0.03:
        return None
    if "lying" in name or "sitting" in name:
        return "large"
    for role, words in WORDS.items():
        if any(word in name for word in words):
            if role == "vehicle" and size.max() < 2.2:
                break
            if role == "person" and size[2] < 0.8:
                break
            if role in ("lamp", "plant") and size.max() < 0.6:
                return "small"
            if role == "lamp" and size[2] > 2.4:
                return "street"
            return role
    if size.max() < 0.65:
        return "small"
    if size.min() < 0.12 and size[2] > 0.3:
        return "wall"
    return "large" if size.max() < 3.5 else None


def thing_of(model: Model, cells: dict[str, int]) -> Thing:
    """A fetched model as a thing: pictured slots keep their pictures, the others their colours."""
    part = sm.Part(model.corners, model.normals, model.uvs * np.float32([1, 1]), model.slots)
    # slots without a picture get coordinates in metres, by the axis that they face
    flat = np.cross(part.corners[:, 1] - part.corners[:, 0], part.corners[:, 2] - part.corners[:, 0])
    axis = np.abs(flat).argmax(1)
    pair = np.array([[1, 2], [0, 2], [0, 1]])[axis]
    metric = np.take_along_axis(part.corners, pair[:, None].repeat(3, 1), 2)
    pictured = np.array([n in cells for n in model.images])
    uvs = np.where(pictured[part.slots][:, None, None], part.uvs, metric).astype(np.float32)
    wants = []
    for color, shine, image in zip(model.colors, model.shine, model.images):
        linear = np.clip(color, 0.02, 1) ** 2.0
        look = {"shine": float(shine) * 0.5, "mirror": 0.15 * float(shine > 0.5), "gloss": 30.0}
        if image in cells:
            wants.append(Material(cell=cells[image], tile=1.0, tint=(1.0, 1.0, 1.0), **look))
        else:
            wants.append(Material(cell=1, tile=1.5, tint=tuple(float(c) for c in linear), **look))
    return Thing(sm.Part(part.corners, part.normals, uvs, part.slots), tuple(wants), model.name)
