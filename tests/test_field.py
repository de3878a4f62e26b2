"""Training a radiance field on small pictures of a scene that is known."""

from dataclasses import replace

import numpy as np
import pytest

from rilievo import kernels
from rilievo.errors import InputError
from rilievo.evaluate import images
from rilievo.geometry import look_at
from rilievo.live import pixels_over
from rilievo.stages.field import FieldConfig, finish, region_of, start_field, train_segment
from rilievo.stages.field_render import render_field
from rilievo.stages.field_scene import pack_photos
from rilievo.types import Camera, View

SIZE = 48
CONFIG = FieldConfig(iterations=160, samples=1 << 13, levels=4, table_bits=12, coarsest=8, steps=256, grid=32)
BALL = np.array([0.3, -0.2, 1.0])  # its centre, in the world
RADIUS = 0.8


def camera(size=SIZE):
    return Camera.pinhole(size, size, np.array([[size * 1.1, 0, size / 2], [0, size * 1.1, size / 2], [0, 0, 1]]))


def pixel_rays(cam_from_world, size, per_pixel=1):
    """(centre (3,), unit directions (size per_pixel, size per_pixel, 3)) in the world."""
    K = camera(size)
    at = (np.arange(size * per_pixel) + 0.5) / per_pixel
    x, y = np.meshgrid((at - K.param("cx")) / K.param("fx"), (at - K.param("cy")) / K.param("fy"))
    d = np.stack([x, y, np.ones_like(x)], -1) @ cam_from_world[:, :3]
    return -cam_from_world[:, :3].T @ cam_from_world[:, 3], d / np.linalg.norm(d, axis=-1, keepdims=True)


def photo(name, cam_from_world, *, ground=False, per_pixel=3):
    """A ball with bands of colour; before nothing (alpha), or on a chequered ground under a sky."""
    center, d = pixel_rays(cam_from_world, SIZE, per_pixel)
    b, c = d @ (center - BALL), (center - BALL) @ (center - BALL) - RADIUS**2
    hit = b * b - c > 0
    normal = (center + (-b - np.sqrt(np.maximum(b * b - c, 0)))[..., None] * d - BALL) / RADIUS
    color = 0.5 + 0.4 * np.sin(np.array([3, 4, 5]) * normal + np.array([0, 1, 2]))
    opaque = hit.astype(float)
    if ground:
        t = (BALL[2] - RADIUS - center[2]) / np.minimum(d[..., 2], -1e-3)
        x = np.floor((center + t[..., None] * d)[..., :2] / 1.5).sum(-1) % 2
        floor = np.where(x[..., None] > 0, [0.7, 0.6, 0.4], [0.3, 0.35, 0.3])
        behind = np.where((d[..., 2] < -0.05)[..., None], floor, [0.6, 0.75, 0.95])
        color, opaque = np.where(hit[..., None], color, behind), np.ones_like(opaque)
    mean = lambda a: a.reshape(SIZE, per_pixel, SIZE, per_pixel, -1).mean((1, 3))  # noqa: E731
    share = mean(opaque)
    pixels = np.round(255 * mean(color * opaque[..., None]) / np.maximum(share, 1e-9)).astype(np.uint8)
    alpha = None if ground else np.round(255 * share[..., 0]).astype(np.uint8)
    return View(name, pixels, camera(), cam_from_world, alpha=alpha)


def views(num=12, *, ground=False, turn=0.0):
    poses = []
    for k in range(num):
        a, height = 2 * np.pi * k / num + turn, (0.3, 1.6, 2.4)[k % 3]
        poses.append(look_at(BALL + np.array([3 * np.cos(a), 3 * np.sin(a), height]), BALL))
    return [photo(f"{k}.png", pose, ground=ground) for k, pose in enumerate(poses)]


def psnr(field, view):
    """Of the field's picture of a photo, over the field's background."""
    drawn, _ = render_field(field, view.camera, view.cam_from_world)
    return images.psnr(drawn, pixels_over(view, field.background), None)


def everything(state):
    """All bytes of a state."""
    f = state.field
    arrays = (f.table, f.levels, f.weights, f.occupancy, f.edges, f.center, state.table_mean, state.table_square,
              state.weight_mean, state.weight_square, state.density)  # fmt: skip
    return b"".join(a.tobytes() for a in arrays), state.iteration, state.num_rays, state.num_samples


@pytest.fixture(scope="module")
def object_views():
    return views()


@pytest.fixture(scope="module")
def start(object_views):
    return start_field(object_views, config=CONFIG)


@pytest.fixture(scope="module")
def trained(start, object_views):
    return train_segment(start, object_views, 160, config=CONFIG)


def test_an_object_before_nothing_is_learned(start, trained):
    """Held-out photos get close to the truth; the field lies around the ball."""
    held_out = views(3, turn=0.4)
    end = finish(trained)
    assert not end.unbounded and np.abs(end.center - BALL).max() < 0.1 and 0.75 < end.radius < 1.0
    before = np.mean([psnr(start.field, v) for v in held_out])
    after = np.mean([psnr(end, v) for v in held_out])
    assert before < 17 and after > 24.5
    assert trained.iteration == 160 and trained.num_samples > 160 * 1000


def test_empty_space_is_found(trained):
    """Cells well outside of the ball are no longer looked at, those of its surface are."""
    f, grid = trained.field, CONFIG.grid
    full = np.unpackbits(f.occupancy, axis=-1, bitorder="little").astype(bool)
    at = (np.stack(np.meshgrid(*[np.arange(grid)] * 3, indexing="ij"), -1)[..., ::-1] + 0.5) / grid * 2 - 1
    away = np.linalg.norm(at * f.radius + f.center - BALL, axis=-1)
    cell = 2 * f.radius / grid
    assert full[np.abs(away - RADIUS) < 0.5 * cell].mean() > 0.85  # few photos see the ball from below
    assert full[away > RADIUS + 3 * cell].mean() < 0.05


def test_a_scene_without_end_is_learned():
    """The ball on a ground under a sky, nothing transparent."""
    photos, held_out = views(24, ground=True), views(3, ground=True, turn=0.13)
    config = replace(CONFIG, iterations=300, samples=1 << 15, steps=64, rate=2e-2)
    state = start_field(photos, config=config)
    assert state.field.unbounded
    end = train_segment(state, photos, 300, config=config).field
    assert np.mean([psnr(state.field, v) for v in held_out]) < 14
    assert np.mean([psnr(end, v) for v in held_out]) > 17.5  # measured: 18.5


def test_a_step_looks_at_about_the_samples_that_were_asked_for(object_views):
    for samples in (1 << 12, 1 << 14):
        config = replace(CONFIG, samples=samples)
        state = train_segment(start_field(object_views, config=config), object_views, 20, config=config)
        further = train_segment(state, object_views, 40, config=config)
        assert (further.num_samples - state.num_samples) / 20 == pytest.approx(samples, rel=0.15)


@pytest.mark.parametrize("cut", [1, 16, 23])
def test_cut_in_segments_or_not_the_same_bytes(start, object_views, cut):
    before = everything(start)
    whole = train_segment(start, object_views, 40, config=CONFIG)
    heard = []

    def watch(trainer):
        heard.append(trainer.iteration)
        return True

    half = train_segment(start, object_views, cut, config=CONFIG, watch=watch)
    both = train_segment(half, object_views, 40, config=CONFIG, watch=watch)
    assert heard == list(range(1, 41))
    assert everything(both) == everything(whole)
    assert everything(start) == before  # values: nothing was changed in place
    assert everything(train_segment(whole, object_views, 40, config=CONFIG)) == everything(whole)


def test_same_bytes_for_any_threads_and_instruction_set(object_views):
    native = kernels.native()
    before_threads, before_level = native.num_threads(), native.simd_level()
    answers = []
    try:
        for threads, level in [(1, before_level), (2, before_level), (2, "baseline")]:
            native.set_num_threads(threads)
            native.set_simd_level(level)
            start = start_field(object_views, config=CONFIG)
            answers.append(everything(train_segment(start, object_views, 20, config=CONFIG)))
    finally:
        native.set_num_threads(before_threads)
        native.set_simd_level(before_level)
    assert answers[0] == answers[1] == answers[2]


def test_masked_pixels_are_not_learned():
    """Photos whose left halves are spoiled and masked train like spoiled otherwise: the same bytes."""
    answers = []
    for spoiled in (0, 255):
        photos = []
        for v in views(6, ground=True):
            pixels, mask = v.pixels.copy(), np.ones((SIZE, SIZE), bool)
            pixels[:, : SIZE // 2], mask[:, : SIZE // 2] = spoiled, False
            photos.append(replace(v, pixels=pixels, mask=mask))
        answers.append(everything(train_segment(start_field(photos, config=CONFIG), photos, 10, config=CONFIG)))
    assert answers[0] == answers[1]


def test_the_seed_matters(start, object_views):
    other = replace(CONFIG, seed=1)
    a = train_segment(start, object_views, 2, config=CONFIG)
    b = train_segment(start_field(object_views, config=other), object_views, 2, config=other)
    assert (a.field.table != b.field.table).mean() > 0.1


def test_who_watches_may_end_a_segment(start, object_views):
    ended = train_segment(start, object_views, 40, config=CONFIG, watch=lambda trainer: trainer.iteration < 5)
    assert ended.iteration == 5
    packed = pack_photos(object_views, region_of(start.field))  # what a pipeline keeps instead of the photos
    assert everything(ended) == everything(train_segment(start, packed, 5, config=CONFIG))


def test_training_that_breaks_down_says_so(start, object_views):
    broken = replace(start, field=replace(start.field, weights=np.full_like(start.field.weights, 1e30)))
    with pytest.raises(InputError, match="broke down in step") as caught:
        train_segment(broken, object_views, 3, config=CONFIG)
    assert "smaller learning rate" in caught.value.hint


@pytest.mark.parametrize("num", [0, 1])
def test_too_few_photos_are_refused(num, object_views):
    with pytest.raises(InputError, match="several photos"):
        start_field(object_views[:num], config=CONFIG)


def test_training_without_photos_is_refused(start):
    with pytest.raises(InputError, match="no photo") as caught:
        train_segment(start, [], 3, config=CONFIG)
    assert caught.value.why and caught.value.hint


def test_photos_that_show_nothing_are_refused(object_views):
    empty = [replace(v, alpha=np.zeros((SIZE, SIZE), np.uint8)) for v in object_views]
    with pytest.raises(InputError, match="no object"):
        start_field(empty, config=CONFIG)


def test_photos_from_one_place_are_refused():
    photos = [photo(f"{k}", look_at(BALL + [3, 0, 0], BALL + [0, 0.1 * k, 0]), ground=True) for k in range(3)]
    with pytest.raises(InputError, match="one place"):
        start_field(photos, config=CONFIG)


@pytest.mark.parametrize(
    "wrong",
    [{"iterations": -1}, {"samples": 0}, {"levels": 5}, {"table_bits": 60}, {"coarsest": 0}, {"finest": 3},
     {"density_width": 20}, {"color_width": 0}, {"steps": 0}, {"grid": 20}, {"rate": float("nan")}, {"last_rate": 0.0},
     {"huber": -1.0}, {"distortion": float("inf")}, {"opacity": -1.0}, {"coarse_until": 2.0}, {"update_every": 0},
     {"background": (2.0, 0.0, 0.0)}, {"background": (0.5,)}, {"seed": -1}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong, start, object_views):
    name, value = next(iter(wrong.items()))
    config = replace(CONFIG, **wrong)
    with pytest.raises(InputError) as caught:
        start_field(object_views, config=config)
    assert caught.value.what == f"the setting {name} is {value}"
    assert caught.value.why.startswith("it must be ") and caught.value.hint
    with pytest.raises(InputError, match=f"the setting {name}"):
        train_segment(start, object_views, 1, config=config)
