"""Normalised cross-correlation against plain loops, and what it is good for."""

import numpy as np
import pytest

from firstsight.matching.costs.absolute_difference import AbsoluteDifference
from firstsight.matching.costs.normalised_correlation import NormalisedCorrelation
from firstsight.matching.costs.volumes import no_cost


def window(image: np.ndarray, y: int, x: int, radius: tuple[int, int]) -> np.ndarray:
    rows = np.clip(np.arange(y - radius[0], y + radius[0] + 1), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(x - radius[1], x + radius[1] + 1), 0, image.shape[1] - 1)
    return image[np.ix_(rows, columns)].astype(np.float64)


def cost_by_definition(a: np.ndarray, b: np.ndarray) -> float:
    """1 - ZNCC of two windows, 1 where one has no variance."""
    a, b = a - a.mean(), b - b.mean()
    if not (np.abs(a).max() > 1e-9 and np.abs(b).max() > 1e-9):
        return 1.0
    return 1 - (a * b).mean() / (a.std() * b.std())


def random_pair(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Related images with patches of no variance and of the extreme grey levels."""
    rng = np.random.default_rng(seed)
    left = rng.integers(0, 256, shape).astype(np.uint8)
    right = np.clip(left.astype(int) + rng.integers(-40, 41, shape), 0, 255).astype(np.uint8)
    left[:, shape[1] // 2 : shape[1] // 2 + 4] = 255
    right[: shape[0] // 2, : shape[1] // 3] = 0
    return left, right


def filled(settings: NormalisedCorrelation, left: np.ndarray, right: np.ndarray, candidates: int) -> np.ndarray:
    volume = np.empty((*left.shape, candidates), np.float32)
    assert settings.fill(settings.describe(left), settings.describe(right), volume) is volume
    return volume


def shifted_texture(shape: tuple[int, int], shift: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    texture = np.random.default_rng(seed).integers(0, 200, (shape[0], shape[1] + shift)).astype(np.uint8)
    return texture[:, : shape[1]].copy(), texture[:, shift:].copy()


@pytest.mark.parametrize("radius", [(1, 1), (0, 3), (3, 2)])
@pytest.mark.parametrize(("shape", "candidates"), [((7, 25), 16), ((3, 6), 9), ((1, 1), 2)])
def test_the_volume_equals_the_definition(radius, shape, candidates):
    left, right = random_pair(shape, seed=sum(shape))
    volume = filled(NormalisedCorrelation(radius=radius), left, right, candidates)
    for y, x, d in np.ndindex(volume.shape):
        if x - d < 0:
            assert volume[y, x, d] == no_cost(np.float32)
        else:
            expected = cost_by_definition(window(left, y, x, radius), window(right, y, x - d, radius))
            assert volume[y, x, d] == pytest.approx(expected, abs=2e-6)


def test_strips_of_columns_join_without_a_seam():
    """As many candidates as make the strips narrow."""
    left, right = random_pair((4, 30), seed=3)
    wide = filled(NormalisedCorrelation(radius=(1, 2)), left, right, 1024)
    np.testing.assert_array_equal(wide[:, :, :8], filled(NormalisedCorrelation(radius=(1, 2)), left, right, 8))


def test_the_largest_window_does_not_overflow():
    """Checkerboards have the largest variance there is; equal ones correlate fully, a negative not at all."""
    board = (np.indices((25, 40)).sum(0) % 2 * 255).astype(np.uint8)
    volume = filled(NormalisedCorrelation(radius=(9, 9)), board, board, 2)
    np.testing.assert_allclose(volume[:, :, 0], 0, atol=1e-6)
    np.testing.assert_allclose(volume[9:-9, 10:-9], np.broadcast_to([0, 2], (7, 21, 2)), atol=1e-5)
    with pytest.raises(AssertionError, match="361"):
        NormalisedCorrelation(radius=(9, 10))


@pytest.mark.parametrize("radius", [(1, 1), (2, 4)])
def test_between_aligned_images_it_is_the_first_candidate(radius):
    left, right = random_pair((9, 33), seed=1)
    settings = NormalisedCorrelation(radius=radius)
    expected = filled(settings, left, right, 1)[:, :, 0]
    np.testing.assert_allclose(settings.between(left, right), expected, atol=1e-6)
    assert expected.min() >= 0
    assert expected.max() <= settings.largest


def test_windows_without_variance_cost_one():
    settings = NormalisedCorrelation()
    flat, textured = np.full((8, 9), 77, np.uint8), random_pair((8, 9), seed=4)[0]
    assert (settings.between(flat, textured) == 1).all()
    assert (settings.between(textured, flat) == 1).all()
    assert (settings.between(flat, flat) == 1).all()


def test_gain_and_offset_change_nothing_where_absolute_differences_change():
    left, right = shifted_texture((20, 60), 5, seed=6)
    dimmer = (right // 2).astype(np.float64)  # even levels, so that halving is exact
    right, dimmer = (2 * dimmer).astype(np.uint8), (dimmer + 90).astype(np.uint8)
    correlation, difference = NormalisedCorrelation(), AbsoluteDifference()
    volume = filled(correlation, left, right, 16)
    np.testing.assert_allclose(filled(correlation, left, dimmer, 16), volume, atol=2e-6)
    described = [difference.describe(image) for image in (left, right, dimmer)]
    costs = [difference.fill(described[0], other, np.empty(volume.shape, np.uint8)) for other in described[1:]]
    found = [(cost[:, 16:-1].argmin(2) == 5).mean() for cost in costs]
    assert found[0] > 0.9
    assert found[1] < 0.3
    assert (filled(correlation, left, dimmer, 16)[:, 16:-4].argmin(2) == 5).mean() > 0.95


@pytest.mark.parametrize("shift", [0, 3, 17])
def test_the_true_disparity_beats_the_others(shift):
    left, right = shifted_texture((30, 90), shift, seed=shift)
    best = filled(NormalisedCorrelation(radius=(2, 2)), left, right, 24).argmin(2)
    assert (best[:, 24:-3] == shift).mean() > 0.95


def test_rows_can_be_cut():
    left, right = random_pair((20, 30), seed=2)
    settings = NormalisedCorrelation(radius=(2, 3))
    rows = slice(5 - settings.reach, 9 + settings.reach)
    cut = filled(settings, left[rows], right[rows], 8)[settings.reach : -settings.reach]
    np.testing.assert_array_equal(cut, filled(settings, left, right, 8)[5:9])
