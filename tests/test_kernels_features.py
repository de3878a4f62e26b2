"""Kernels `sift` and `match_nearest`: equal to their twins, the same for any thread count, safe with rubbish."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rilievo import kernels

NO_MASK = np.zeros((0, 0), np.uint8)


def texture(width: int, height: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.uniform(0, 255, (max(2, height // n), max(2, width // n), 3)), (width, height))
        for n in (4, 9, 20)
    ]
    return np.clip(np.mean(layers, axis=0) * 1.6 - 70, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(97, 64), (64, 131), (40, 40)])
@pytest.mark.parametrize("upsample", [True, False])
def test_sift_equals_its_twin(size: tuple[int, int], upsample: bool) -> None:
    pixels = texture(*size, seed=size[0])
    a = kernels.get("sift", "native")(pixels, NO_MASK, upsample=upsample)
    b = kernels.get("sift", "reference")(pixels, NO_MASK, upsample=upsample)
    assert len(b[1]) > (20 if upsample else 5)
    # A decision on the edge of a threshold may differ in the last bit; nearly all keypoints must be there in both.
    key_a, key_b = (np.column_stack([r[0], r[1] * 10, r[2] * 10]) for r in (a, b))
    distance = np.linalg.norm(key_a[:, None] - key_b[None], axis=2)
    near = distance.argmin(1)
    same = distance.min(1) < 0.01
    assert same.mean() > 0.97 and abs(len(key_a) - len(key_b)) <= 0.03 * len(key_b)
    difference = np.abs(a[4][same].astype(int) - b[4][near[same]])
    assert difference.max() <= 6 and difference.mean() < 0.1
    assert np.allclose(a[3][same], b[3][near[same]], atol=1e-3)
    assert np.array_equal(a[5][same], b[5][near[same]])


def test_sift_spreads_like_its_twin() -> None:
    pixels = texture(96, 64, seed=5)
    pixels[:, 48:] //= 2
    a = kernels.get("sift", "native")(pixels, NO_MASK, max_features=40, grid=4)
    b = kernels.get("sift", "reference")(pixels, NO_MASK, max_features=40, grid=4)
    assert len(np.unique(a[0], axis=0)) == 40
    assert np.allclose(a[0], b[0], atol=0.01)
    assert (np.diff(a[3]) <= 0).all()


def test_sift_is_the_same_for_any_threads_and_instruction_set() -> None:
    pixels = texture(700, 260, seed=1)  # several tiles
    native = kernels.native()
    before, level = native.num_threads(), native.simd_level()
    results = []
    try:
        for threads, simd in [(1, "baseline"), (2, "avx2"), (2, "avx512")]:
            native.set_num_threads(threads)
            native.set_simd_level(simd)
            results.append([x.tobytes() for x in native.sift(pixels, NO_MASK)])
    finally:
        native.set_num_threads(before)
        native.set_simd_level(level)
    assert results[0] == results[1] == results[2]


def test_sift_finds_a_blob_where_it_is() -> None:
    """A Gaussian blob of sigma s is an extreme of scale s at its own centre, also at a fraction of a pixel."""
    y, x = np.mgrid[0:80, 0:100] + 0.5
    for cx, cy, sigma in [(40.3, 33.8, 4.0), (61.75, 40.0, 6.0)]:
        blob = 128 + 100 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
        pixels = np.repeat(np.round(blob).astype(np.uint8)[..., None], 3, 2)
        keypoints, scales, _, scores, *_ = kernels.native().sift(pixels, NO_MASK)
        best = int(np.argmax(scores))
        assert np.allclose(keypoints[best], [cx, cy], atol=0.05)
        # The centre of DoG scales; the doubled picture is blurred a little more than its nominal scale.
        assert 0.7 * sigma < scales[best] < 1.3 * sigma


def test_sift_descriptors_survive_a_quarter_turn() -> None:
    pixels = texture(120, 120, seed=3)
    a = kernels.native().sift(pixels, NO_MASK)
    b = kernels.native().sift(np.ascontiguousarray(np.rot90(pixels, -1)), NO_MASK)  # clockwise: (x, y) -> (h - y, x)
    nearest = kernels.native().match_nearest(a[4], b[4])
    rows = np.flatnonzero(nearest >= 0)
    expected = np.column_stack([120 - a[0][rows, 1], a[0][rows, 0]])
    right = np.linalg.norm(b[0][nearest[rows]] - expected, axis=1) < 0.5
    assert len(rows) > 0.7 * len(a[1]) and right.mean() > 0.95


def test_sift_keeps_to_the_mask() -> None:
    pixels = texture(96, 64, seed=2)
    mask = np.zeros((64, 96), np.uint8)
    mask[:, 30:60] = 1
    keypoints = kernels.native().sift(pixels, mask)[0]
    assert len(keypoints) and (keypoints[:, 0] >= 30).all() and (keypoints[:, 0] < 60).all()
    assert len(kernels.native().sift(pixels, np.zeros_like(mask))[0]) == 0


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_sift_with_rubbish(backend: str) -> None:
    sift = kernels.get("sift", backend)
    for shape in [(0, 0, 3), (1, 500, 3), (15, 15, 3), (40, 40, 3)]:
        assert len(sift(np.zeros(shape, np.uint8), NO_MASK)[0]) == 0
    assert len(sift(texture(64, 64, 0), NO_MASK, max_features=0)[0]) == 0
    with pytest.raises((TypeError, ValueError)):
        sift(np.zeros((40, 40, 4), np.uint8), NO_MASK)
    with pytest.raises((TypeError, ValueError)):
        sift(np.zeros((40, 40, 3), np.float32), NO_MASK)
    with pytest.raises((TypeError, ValueError)):
        sift(np.zeros((40, 40, 3), np.uint8), np.zeros((4, 4), np.uint8))


def test_sift_with_extreme_settings() -> None:
    pixels = texture(64, 64, 0)
    assert len(kernels.native().sift(pixels, NO_MASK, min_contrast=float("nan"))[0]) == 0
    many = kernels.native().sift(pixels, NO_MASK, min_contrast=0.0, max_edge_ratio=1e9, max_features=10**9)
    assert np.isfinite(many[0]).all() and (many[0] >= 0).all() and (many[0] <= 64).all()


@pytest.mark.parametrize("n, m, d", [(1, 1, 1), (7, 1, 128), (1, 9, 64), (501, 37, 128), (40, 700, 33), (13, 65, 6)])
@pytest.mark.parametrize("mutual", [True, False])
def test_match_equals_its_twin(n: int, m: int, d: int, mutual: bool) -> None:
    rng = np.random.default_rng(n * m + d)
    targets = rng.integers(0, 256, (m, d), np.uint8)
    queries = np.clip(targets[rng.integers(0, m, n)].astype(int) + rng.integers(-60, 60, (n, d)), 0, 255).astype(
        np.uint8
    )
    expected = kernels.get("match_nearest", "reference")(queries, targets, max_ratio=0.9, mutual=mutual)
    native = kernels.native()
    level = native.simd_level()
    try:
        for simd in ("baseline", "avx2", "avx512"):
            native.set_simd_level(simd)
            for byte_dot in (False, True):
                native.set_byte_dot(byte_dot)
                assert np.array_equal(native.match_nearest(queries, targets, max_ratio=0.9, mutual=mutual), expected)
    finally:
        native.set_simd_level(level)
        native.set_byte_dot(True)


@pytest.mark.parametrize("value", [0, 127, 128, 255])
def test_match_of_the_largest_sums(value: int) -> None:
    """4096 values at the rim of a byte: no product or sum on the way overflows, with or without byte products."""
    rng = np.random.default_rng(value)
    targets = np.full((50, 4096), value, np.uint8)
    targets[np.arange(50), rng.permutation(4096)[:50]] ^= 0x3F
    queries = targets[rng.permutation(50)[:20]]
    expected = kernels.get("match_nearest", "reference")(queries, targets)
    assert (expected >= 0).all()
    native = kernels.native()
    try:
        for byte_dot in (False, True):
            native.set_byte_dot(byte_dot)
            assert np.array_equal(native.match_nearest(queries, targets), expected)
    finally:
        native.set_byte_dot(True)


def test_match_ties_go_to_the_lower_row() -> None:
    targets = np.zeros((40, 8), np.uint8)
    targets[[5, 21]] = 9
    for backend in ("native", "reference"):
        nearest = kernels.get("match_nearest", backend)(targets[:6], targets, max_ratio=2.0, mutual=False)
        # Equal distances fail any ratio below one; with nothing asked of the ratio the lower row wins.
        assert nearest[5] in (-1, 5)
    far = np.full((1, 8), 9, np.uint8)
    near = np.full((3, 8), 7, np.uint8)
    for backend in ("native", "reference"):
        assert kernels.get("match_nearest", backend)(far, near, max_ratio=2.0).tolist() == [0]


def test_match_is_the_same_for_any_threads() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (2000, 128), np.uint8) for _ in range(2))
    native = kernels.native()
    before = native.num_threads()
    try:
        native.set_num_threads(1)
        one = native.match_nearest(a, b, max_ratio=0.99)
        native.set_num_threads(2)
        assert np.array_equal(one, native.match_nearest(a, b, max_ratio=0.99))
    finally:
        native.set_num_threads(before)
    assert (one >= 0).any()


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_match_with_rubbish(backend: str) -> None:
    match = kernels.get("match_nearest", backend)
    some, none = np.ones((3, 128), np.uint8), np.zeros((0, 128), np.uint8)
    assert match(none, some).tolist() == [] and match(some, none).tolist() == [-1, -1, -1]
    for a, b in [
        (some, some[:, :5].copy()),
        (some.astype(np.float32), some),
        (some[0], some),
        (some[:, :0], some[:, :0]),
    ]:
        with pytest.raises((TypeError, ValueError)):
            match(a, b)
