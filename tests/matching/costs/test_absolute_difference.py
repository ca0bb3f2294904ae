"""Truncated absolute differences against plain loops, and what they are good for."""

import numpy as np
import pytest

from firstsight.matching.costs.absolute_difference import MAX_COST, AbsoluteDifference
from firstsight.matching.costs.volumes import no_cost

SETTINGS = [
    AbsoluteDifference(),
    AbsoluteDifference(gradient_share=0.0, largest_difference=30.0),
    AbsoluteDifference(gradient_share=1.0, largest_gradient_difference=12.5),
    AbsoluteDifference(gradient_share=0.35, largest_difference=255.0, largest_gradient_difference=127.5),
]


def cost_by_definition(settings: AbsoluteDifference, a: np.ndarray, xa: int, b: np.ndarray, xb: int) -> float:
    """Eq. 5 for pixels of two rows, scaled but not rounded."""

    def gradient(row: np.ndarray, x: int) -> float:
        return (float(row[min(x + 1, len(row) - 1)]) - float(row[max(x - 1, 0)])) / 2

    share, t1, t2 = settings.gradient_share, settings.largest_difference, settings.largest_gradient_difference
    grey = min(abs(float(a[xa]) - float(b[xb])), t1)
    cost = (1 - share) * grey + share * min(abs(gradient(a, xa) - gradient(b, xb)), t2)
    return MAX_COST * cost / ((1 - share) * t1 + share * t2)


def random_pair(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images that differ by little at many places, so that not everything is truncated."""
    rng = np.random.default_rng(seed)
    left = rng.integers(0, 256, shape).astype(np.uint8)
    noise = rng.integers(-9, 10, shape) * rng.integers(0, 2, shape)
    return left, np.clip(left.astype(int) + noise, 0, 255).astype(np.uint8)


def shifted_texture(shape: tuple[int, int], shift: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    texture = np.random.default_rng(seed).integers(0, 200, (shape[0], shape[1] + shift)).astype(np.uint8)
    return texture[:, : shape[1]].copy(), texture[:, shift:].copy()


def filled(settings: AbsoluteDifference, left: np.ndarray, right: np.ndarray, candidates: int) -> np.ndarray:
    volume = np.empty((*left.shape, candidates), np.uint8)
    assert settings.fill(settings.describe(left), settings.describe(right), volume) is volume
    return volume


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(("shape", "candidates"), [((3, 40), 32), ((2, 9), 20), ((1, 1), 3)])
def test_the_volume_equals_the_definition(settings, shape, candidates):
    left, right = random_pair(shape, seed=sum(shape))
    volume = filled(settings, left, right, candidates)
    for y, x, d in np.ndindex(volume.shape):
        if x - d < 0:
            assert volume[y, x, d] == no_cost(np.uint8)
        else:  # within rounding, of which 0.001 is that of float32
            assert abs(volume[y, x, d] - cost_by_definition(settings, left[y], x, right[y], x - d)) <= 0.501


@pytest.mark.parametrize("settings", SETTINGS)
def test_between_aligned_images_it_is_the_first_candidate(settings):
    left, right = random_pair((5, 33), seed=1)
    costs = settings.between(settings.describe(left), settings.describe(right))
    np.testing.assert_array_equal(costs, filled(settings, left, right, 1)[:, :, 0])


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_largest_cost_is_reached_and_equal_images_cost_nothing(settings):
    stripes = np.tile(np.array([0, 0, 255, 255], np.uint8), (3, 8))
    described, negative = settings.describe(stripes), settings.describe(255 - stripes)
    assert settings.between(described, negative)[:, 1:-1].max() == settings.largest
    assert not settings.between(described, described).any()


@pytest.mark.parametrize("shift", [0, 3, 17])
def test_the_true_disparity_beats_the_others(shift):
    left, right = shifted_texture((30, 90), shift, seed=shift)
    best = filled(AbsoluteDifference(), left, right, 24).argmin(2)
    assert (best[:, 24:-1] == shift).mean() > 0.95


def test_rows_can_be_cut():
    left, right = random_pair((6, 20), seed=2)
    settings = AbsoluteDifference()
    cut = settings.between(settings.describe(left)[2:4], settings.describe(right)[2:4])
    np.testing.assert_array_equal(cut, settings.between(settings.describe(left), settings.describe(right))[2:4])
    assert settings.reach == 0
