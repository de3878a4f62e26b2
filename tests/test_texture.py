"""stages.texture, unwrap, seams, render: a painted ball whose colour is known everywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rilievo import kernels
from rilievo.errors import AlignmentError, InputError
from rilievo.geometry import look_at, transform
from rilievo.stages.render import RenderConfig, render_mesh
from rilievo.stages.texture import TextureConfig, texture, texture_facts
from rilievo.stages.unwrap import connected_patches, face_neighbors, split_long_edges
from rilievo.stages.view_choice import Ratings, equalize_exposure, find_outliers
from rilievo.types import Camera, Mesh, View

CAMERA = Camera("PINHOLE", 200, 160, np.array([230.0, 230.0, 100.0, 80.0]))


def ball(n: int = 24) -> Mesh:
    """A sphere of radius 1, counter-clockwise from outside."""
    phi, theta = np.meshgrid(np.arange(2 * n) * np.pi / n, np.arange(1, n) * np.pi / n)
    ring = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1)
    vertices = np.concatenate([ring.reshape(-1, 3), [[0, 0, 1], [0, 0, -1]]])
    row, col = np.mgrid[: n - 2, : 2 * n]
    a, b = row * 2 * n + col, row * 2 * n + (col + 1) % (2 * n)
    c, d = a + 2 * n, b + 2 * n
    top, bottom = (n - 1) * 2 * n, (n - 1) * 2 * n + 1
    cap, base = np.arange(2 * n), np.arange(2 * n) + (n - 2) * 2 * n
    faces = [
        np.stack([a, c, b], -1).reshape(-1, 3),
        np.stack([b, c, d], -1).reshape(-1, 3),
        np.stack([np.full(2 * n, top), cap, np.roll(cap, -1)], 1),
        np.stack([np.full(2 * n, bottom), np.roll(base, -1), base], 1),
    ]
    return Mesh(vertices.astype(np.float32), np.concatenate(faces).astype(np.int32))


def paint(x: np.ndarray) -> np.ndarray:
    """The colour of the world at points (..., 3)."""
    waves = np.stack([np.sin(5 * x[..., 0] + 1), np.sin(4 * x[..., 1]), np.sin(6 * x[..., 2] - x[..., 0])], -1)
    return 128 + 70 * waves


def standpoints(num: int = 8) -> dict[str, np.ndarray]:
    angle = np.arange(num) * 2 * np.pi / num
    height = np.where(np.arange(num) % 2, 1.2, -0.8)
    return {f"{i:02}.jpg": look_at(np.array([3.2 * np.cos(a), 3.2 * np.sin(a), z]), np.zeros(3))
            for i, (a, z) in enumerate(zip(angle, height))}  # fmt: skip


def photograph(mesh: Mesh, cam_from_world: np.ndarray, name: str = "x") -> View:
    vertices = transform(cam_from_world, mesh.vertices.astype(np.float64) + mesh.origin).astype(np.float32)
    intrinsics = tuple(CAMERA.params)
    index, _ = kernels.rasterize_mesh(vertices, mesh.faces, *intrinsics, CAMERA.width, CAMERA.height)
    x = kernels.interpolate_pixels(index, vertices, mesh.faces, *intrinsics, mesh.vertices)
    pixels = np.where(index[..., None] >= 0, np.nan_to_num(paint(x)), 15)
    return View(name, np.round(pixels).astype(np.uint8), CAMERA, cam_from_world)


def areas(mesh: Mesh) -> np.ndarray:
    x = mesh.vertices.astype(np.float64)[mesh.faces]
    return np.linalg.norm(np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]), axis=1)


def error_of(out: Mesh) -> np.ndarray:
    """Colour error at the middle of each face, levels (f, 3)."""
    h, w = out.texture.shape[:2]
    uv = out.uvs[out.faces].mean(1)
    row, col = ((1 - uv[:, 1]) * h).astype(int), (uv[:, 0] * w).astype(int)
    return out.texture[row, col] - paint(out.vertices[out.faces].mean(1))


@pytest.fixture(scope="module")
def world() -> tuple[Mesh, dict[str, View]]:
    mesh = ball()
    return mesh, {name: photograph(mesh, c, name) for name, c in standpoints().items()}


@pytest.mark.parametrize("unwrap", ["views", "xatlas"])
def test_colours_are_those_of_the_world(world, unwrap):
    mesh, views = world
    out = texture(mesh, views.__getitem__, list(views), config=TextureConfig(unwrap=unwrap))
    facts = texture_facts(out)
    assert facts["coverage"] > 0.97 and facts["photos_used"] == 8
    seen = out.face_view >= 0
    assert np.abs(error_of(out)[seen]).mean() < 3
    assert np.quantile(np.abs(error_of(out)[seen]), 0.99) < 14
    # the same surface, and every face still turned outside
    assert areas(out).sum() == pytest.approx(areas(mesh).sum(), rel=1e-5)
    x = out.vertices[out.faces]
    assert (np.einsum("fi,fi->f", np.cross(x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]), x.mean(1)) > 0).all()
    assert out.uvs.min() >= 0 and out.uvs.max() <= 1


def test_a_new_view_of_the_model_matches_a_photo_of_the_world(world):
    mesh, views = world
    out = texture(mesh, views.__getitem__, list(views))
    there = look_at(np.array([2.2, 2.4, 0.3]), np.zeros(3))
    image, depth = render_mesh(out, CAMERA, there, config=RenderConfig(supersample=1))
    photo = photograph(mesh, there).pixels
    inside = np.isfinite(depth)
    mse = ((image.astype(float) - photo)[inside] ** 2).mean()
    assert 10 * np.log10(255**2 / mse) > 33
    assert (image[~inside] == 255).all()


def test_exposures_are_equalized_and_seams_vanish(world):
    """Photos taken at different exposures: the steps between neighbouring faces go, and the pattern stays."""
    mesh, views = world
    gains = np.random.default_rng(0).uniform(0.7, 1.25, (len(views), 3))
    dark = {
        n: replace(v, pixels=np.clip(v.pixels * g, 0, 255).astype(np.uint8)) for (n, v), g in zip(views.items(), gains)
    }
    names = list(views)
    raw = texture(mesh, dark.__getitem__, names, config=TextureConfig(equalize=False, blend_radius=0))
    out = texture(mesh, dark.__getitem__, names)
    bare = np.abs(error_of(texture(mesh, views.__getitem__, names)))

    # one factor for the whole is not known: take it out before comparing
    def error(m: Mesh) -> np.ndarray:
        e, truth = error_of(m), paint(m.vertices[m.faces].mean(1))
        color = e + truth
        return color * (truth.mean(0) / color.mean(0)) - truth

    assert np.abs(error(out)).mean() < bare.mean() + 4
    assert np.abs(error(out)).mean() < 0.7 * np.abs(error(raw)).mean()


def test_something_that_only_one_photo_shows_is_left_out(world):
    mesh, views = world
    stained = dict(views)
    name = "03.jpg"
    pixels = views[name].pixels.copy()
    pixels[50:110, 70:130] = np.random.default_rng(0).choice([0, 250], (60, 60, 1)) * np.array([1, 0, 1])
    stained[name] = replace(views[name], pixels=pixels)
    many = {**stained, **{f"b{n}": photograph(mesh, c) for n, c in standpoints(13).items()}}
    kept = texture(mesh, many.__getitem__, list(many), config=TextureConfig(remove_outliers=False))
    clean = texture(mesh, many.__getitem__, list(many))
    stain = lambda m: (np.abs(error_of(m)).max(1) > 60).sum()  # noqa: E731
    assert stain(kept) > 20 and stain(clean) == 0


def test_masked_pixels_are_not_used(world):
    mesh, views = world
    name = "03.jpg"
    pixels, mask = views[name].pixels.copy(), np.ones((160, 200), bool)
    pixels[40:120, 60:140], mask[40:120, 60:140] = (250, 0, 250), False
    masked = {**views, name: replace(views[name], pixels=pixels, mask=mask)}
    out = texture(mesh, masked.__getitem__, list(masked), config=TextureConfig(remove_outliers=False))
    seen = out.face_view >= 0
    assert (np.abs(error_of(out)[seen]).max(1) > 60).sum() == 0


def test_what_stands_in_front_is_not_painted_on_what_lies_behind(world):
    """A small ball before the large one: in no photo may its colour land on the large ball."""
    mesh, _ = world
    small = Mesh((mesh.vertices * 0.25 + np.float32([1.6, 0, 0])).astype(np.float32), mesh.faces)
    n = len(mesh.vertices)
    pair = Mesh(np.concatenate([mesh.vertices, small.vertices]), np.concatenate([mesh.faces, small.faces + n]))
    views = {}
    for name, c in standpoints(12).items():
        view = photograph(pair, c, name)
        vertices = transform(c, pair.vertices.astype(np.float64)).astype(np.float32)
        index, _ = kernels.rasterize_mesh(vertices, pair.faces, *CAMERA.params, 200, 160)
        pixels = view.pixels.copy()
        pixels[index >= len(mesh.faces)] = (255, 0, 255)
        views[name] = replace(view, pixels=pixels)
    out = texture(pair, views.__getitem__, list(views), config=TextureConfig(remove_outliers=False, blend_radius=0))
    large = (np.linalg.norm(out.vertices[out.faces].mean(1), axis=1) < 1.01) & (out.face_view >= 0)
    assert (np.abs(error_of(out)[large]).max(1) > 60).sum() == 0


def test_unseen_surface_takes_the_colours_around_it(world):
    mesh, views = world
    some = ["00.jpg", "01.jpg", "02.jpg"]
    out = texture(mesh, views.__getitem__, some)
    facts = texture_facts(out)
    assert 0.3 < facts["coverage"] < 0.9 and facts["faces_without_photo"] == (out.face_view < 0).sum() > 100
    h, w = out.texture.shape[:2]
    uv = out.uvs[out.faces[out.face_view < 0]].mean(1)
    colors = out.texture[((1 - uv[:, 1]) * h).astype(int), (uv[:, 0] * w).astype(int)]
    assert colors.min() > 20 and colors.max() < 240 and colors.std() > 2


def test_two_large_triangles_are_split_so_that_photos_cover_them():
    corners = np.array([[-3, -3, 0], [3, -3, 0], [3, 3, 0], [-3, 3, 0]], np.float32)
    floor = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32), confidence=np.ones(4, np.float32))
    views = {n: photograph(floor, look_at(np.array([x, y, 2.5]), np.array([x, y + 0.1, 0])), n)
             for n, x, y in [("a", -1.0, -1.0), ("b", 1.0, -1.0), ("c", -1.0, 1.0), ("d", 1.0, 1.0)]}  # fmt: skip
    out = texture(floor, views.__getitem__, list(views))
    assert len(out.faces) > 1000
    assert texture_facts(out)["coverage"] > 0.3
    assert np.abs(error_of(out)[out.face_view >= 0]).mean() < 4


def test_texture_size_is_kept(world):
    mesh, views = world
    out = texture(mesh, views.__getitem__, list(views), config=TextureConfig(max_texture_size=256))
    assert max(out.texture.shape[:2]) <= 256
    assert np.abs(error_of(out)[out.face_view >= 0]).mean() < 6


def test_same_bytes_with_one_and_two_threads(world):
    mesh, views = world
    results = []
    for threads in (1, 2):
        kernels.set_num_threads(threads)
        results.append(texture(mesh, views.__getitem__, list(views)))
    kernels.set_num_threads(0)
    for name in ("vertices", "faces", "uvs", "texture", "face_view"):
        assert getattr(results[0], name).tobytes() == getattr(results[1], name).tobytes()


def test_the_answer_belongs_to_the_version(world):
    """When this fails because the method changed, bump `TextureConfig.version` and take over the new answer."""
    mesh, views = world
    out = texture(mesh, views.__getitem__, list(views))
    assert TextureConfig.version == 3
    assert out.texture.shape == (352, 384, 3)
    assert np.abs(np.bincount(out.face_view + 1) - [576, 1047, 464, 1177, 564, 1024, 1091, 424, 1121]).max() <= 3
    assert np.abs(out.texture.reshape(-1, 3).mean(0) - [112.87, 126.83, 126.31]).max() < 0.2


def test_photos_are_loaded_once_where_memory_allows_and_twice_where_not(world):
    mesh, views = world
    for megapixels, expected in ((1.0, list(views)), (0.0, 2 * list(views)), (0.1, list(views) + list(views)[3:])):
        calls = []
        config = TextureConfig(keep_megapixels=megapixels)
        texture(mesh, lambda n, calls=calls: calls.append(n) or views[n], list(views), config=config)
        assert calls == expected


def test_a_far_origin_changes_nothing(world):
    mesh, views = world
    origin = np.array([1000.0, -2000.0, 500.0])
    far = replace(mesh, origin=origin)
    moved = {}
    for name, view in views.items():
        c = view.cam_from_world.copy()
        c[:, 3] -= c[:, :3] @ origin
        moved[name] = replace(view, cam_from_world=c)
    a, b = (texture(m, v.__getitem__, list(v)) for m, v in ((mesh, views), (far, moved)))
    assert (a.face_view == b.face_view).mean() > 0.99
    assert np.abs(error_of(b)).mean() < np.abs(error_of(a)).mean() + 0.5


def test_messages():
    mesh, view = ball(8), photograph(ball(8), look_at(np.array([3.0, 0, 0]), np.zeros(3)))
    away = replace(view, cam_from_world=look_at(np.array([3.0, 0, 0]), np.array([9.0, 0, 0])))
    with pytest.raises(AlignmentError) as e:
        texture(mesh, lambda _: away, ["a", "b"])
    assert str(e.value) == (
        "error: the mesh cannot be textured\nwhy:   none of the 2 photos shows any face from its front\n"
        "hint:  are the mesh and the cameras in the same frame?"
    )
    with pytest.raises(InputError, match="not known"):
        texture(mesh, lambda _: view, ["a"], config=TextureConfig(unwrap="nonsense"))
    with pytest.raises(InputError, match="cannot be textured"):
        texture(Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)), lambda _: view, ["a"])
    radial = Camera("SIMPLE_RADIAL", 200, 160, np.array([230.0, 100, 80, 0.1]))
    with pytest.raises(InputError) as e:
        texture(mesh, lambda _: replace(view, camera=radial), ["a"])
    assert e.value.why == "its camera has distortion (SIMPLE_RADIAL)"


# ---- pieces


def test_neighbors_meet_over_the_same_edge():
    mesh = ball(6)
    neighbor, side = face_neighbors(mesh.faces)
    assert (neighbor >= 0).all()
    for f in range(len(mesh.faces)):
        for k in range(3):
            g, j = neighbor[f, k], side[f, k]
            assert neighbor[g, j] == f and side[g, j] == k
            assert mesh.faces[f, k] == mesh.faces[g, (j + 1) % 3] and mesh.faces[f, (k + 1) % 3] == mesh.faces[g, j]
    open_, _ = face_neighbors(mesh.faces[:10])
    assert (open_ < 0).any()
    assert face_neighbors(np.zeros((0, 3), np.int32))[0].shape == (0, 3)


def test_patches_are_connected_and_numbered_by_their_first_face():
    mesh = ball(6)
    neighbor, _ = face_neighbors(mesh.faces)
    label = (mesh.vertices[mesh.faces].mean(1)[:, 2] > 0).astype(np.int64)
    patch = connected_patches(neighbor, label)
    assert sorted(set(patch)) == [0, 1] and patch[0] == 0
    assert all(len(set(label[patch == p])) == 1 for p in (0, 1))
    assert connected_patches(neighbor, np.arange(len(label))).max() == len(label) - 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_splitting_keeps_the_surface_and_leaves_no_gaps(seed):
    rng = np.random.default_rng(seed)
    mesh = ball(4)
    mesh = replace(
        mesh,
        vertices=(mesh.vertices * rng.uniform(0.2, 3, 3)).astype(np.float32),
        inferred=rng.random(len(mesh.faces)) < 0.5,
    )
    out = split_long_edges(mesh, share=0.5, min_faces=500)
    assert len(out.faces) > len(mesh.faces)
    assert areas(out).sum() == pytest.approx(areas(mesh).sum(), rel=1e-5)
    assert areas(out)[out.inferred].sum() == pytest.approx(areas(mesh)[mesh.inferred].sum(), rel=1e-4)
    neighbor, _ = face_neighbors(out.faces)
    assert (neighbor >= 0).all()  # still closed


def ratings(color: np.ndarray) -> Ratings:
    """Every one of n views sees every one of f faces: color (f, n, 3)."""
    f, n, _ = color.shape
    face, view = np.repeat(np.arange(f), n), np.tile(np.arange(n, dtype=np.int32), f)
    return Ratings(
        face, view, np.ones(f * n, np.float32), color.reshape(-1, 3).astype(np.float32), np.arange(f + 1) * n
    )


def test_exposure_factors_are_recovered_in_spite_of_outliers():
    rng = np.random.default_rng(0)
    truth = np.exp(rng.normal(0, 0.2, (6, 3)))
    color = rng.uniform(40, 120, (400, 1, 3)) * truth
    color[rng.random((400, 6)) < 0.1] = 200
    gains = equalize_exposure(ratings(color), 6)
    product = gains * truth  # the same for all photos: one factor for the whole is not known
    assert np.abs(product / product.mean(0) - 1).max() < 0.02
    assert np.abs(np.median(np.log(gains), axis=0)).max() < 1e-9  # most photos are left as they are


def test_outliers_are_found_and_honest_colours_are_not():
    rng = np.random.default_rng(0)
    color = rng.uniform(60, 180, (300, 1, 3)) + rng.normal(0, 4, (300, 7, 3))
    bad = np.zeros((300, 7), bool)
    bad[np.arange(0, 300, 3), rng.integers(0, 7, 100)] = True
    color[bad] += 60
    found = find_outliers(ratings(color), np.ones((7, 3))).reshape(300, 7)
    assert (found & bad).sum() == 100 and (found & ~bad).sum() < 10


def test_render_colours_shading_and_depth():
    mesh = ball(16)
    at = look_at(np.array([4.0, 0, 0]), np.zeros(3))
    image, depth = render_mesh(mesh, CAMERA, at)
    assert image.shape == (160, 200, 3) and abs(np.nanmin(depth) - 3) < 0.02
    assert image[80, 100].max() > image[80, 100 - 52].max() > 20  # lit from the camera: darker at the limb
    red = replace(mesh, colors=np.tile(np.uint8([200, 30, 20]), (len(mesh.vertices), 1)))
    assert (render_mesh(red, CAMERA, at)[0][80, 100] == (200, 30, 20)).all()
    with pytest.raises(ValueError, match="distortion"):
        render_mesh(mesh, Camera("SIMPLE_RADIAL", 200, 160, np.array([230.0, 100, 80, 0.1])), at)
