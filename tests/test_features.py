"""Stage `extract`: keypoints in px of the photo, whatever size was searched; the mask; determinism."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rilievo.stages.features import EXTRACTORS, FeaturesConfig, extract


def photo(width: int = 320, height: int = 240, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.uniform(0, 255, (height // n, width // n, 3)), (width, height)) for n in (6, 15, 40)]
    return np.clip(np.mean(layers, axis=0) * 1.6 - 70, 0, 255).astype(np.uint8)


def test_features_are_strongest_first_and_inside() -> None:
    found = extract(photo(), name="a")
    assert found.extractor == "sift" and found.descriptors.shape == (len(found.scales), 128)
    assert len(found.scales) > 200
    assert (np.diff(found.scores) <= 0).all()
    assert (found.keypoints > 0).all() and (found.keypoints < [320, 240]).all()
    lengths = np.linalg.norm(found.descriptors.astype(float), axis=1)
    assert np.abs(lengths - 512).max() < 12
    xy = found.keypoints.astype(int)
    assert np.array_equal(found.colors, photo()[xy[:, 1], xy[:, 0]])


def test_smaller_search_gives_places_in_the_full_photo() -> None:
    pixels = photo()
    full, half = extract(pixels, name="a"), extract(pixels, name="a", config=FeaturesConfig(max_size=160))
    large = half.keypoints[half.scales > 3]
    distance = np.linalg.norm(large[:, None] - full.keypoints[None], axis=2).min(1)
    assert len(large) > 30 and np.median(distance) < 0.3


def test_mask_hides_keypoints() -> None:
    mask = np.zeros((240, 320), bool)
    mask[:, :100] = True
    assert (extract(photo(), name="a", mask=mask).keypoints[:, 0] < 100).all()
    assert len(extract(photo(), name="a", mask=np.zeros_like(mask)).scales) == 0
    with pytest.raises(ValueError, match="mask is"):
        extract(photo(), name="a", mask=mask[:50])


def test_empty_wall_has_no_features_and_is_no_error() -> None:
    assert len(extract(np.full((100, 100, 3), 200, np.uint8), name="a").scales) == 0


def test_unknown_extractor() -> None:
    assert "sift" in EXTRACTORS
    with pytest.raises(KeyError):
        extract(photo(), name="a", config=FeaturesConfig(extractor="none"))


def test_golden() -> None:
    """Changing this answer means raising FeaturesConfig.version."""
    found = extract(photo(160, 120, seed=7), name="a")
    assert FeaturesConfig.version == 2
    assert abs(len(found.scales) - 151) <= 1  # another mathematics library may move one over a threshold
    assert abs(found.descriptors.sum() / len(found.scales) - 679126 / 151) < 10
