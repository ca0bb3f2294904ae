"""The census cost against plain loops."""

from itertools import product

import numpy as np
import pytest

from firstsight.matching.costs.census import bit_count
from firstsight.matching.costs.census_cost import Census, block_cost, hamming_volume
from firstsight.matching.costs.volumes import MAX_COST, leave_out_left_border, of_right


def test_hamming_volume_counts_differing_bits():
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 2**63, (2, 3, 9), dtype=np.uint64)
    volume = hamming_volume(left, right, np.empty((3, 9, 32), np.uint8))
    for y in range(3):
        for x in range(9):
            for d in range(32):
                expected = (int(left[y, x]) ^ int(right[y, max(x - d, 0)])).bit_count()
                assert volume[y, x, d] == expected


@pytest.mark.parametrize("times", [0, 1, 3])
@pytest.mark.parametrize("shape", [(1, 1, 32), (2, 5, 64), (7, 4, 96)])
def test_block_cost_is_the_rounded_sum_over_three_by_three_pixels(shape, times):
    volume = np.random.default_rng(1).integers(0, 29, shape).astype(np.uint8)
    expected = np.zeros(shape, int)
    for y in range(shape[0]):
        for x in range(shape[1]):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    expected[y, x] += volume[np.clip(y + dy, 0, shape[0] - 1), np.clip(x + dx, 0, shape[1] - 1)]
    expected = (expected + (1 << times) // 2) >> times
    np.testing.assert_array_equal(block_cost(volume, times), expected)


@pytest.mark.parametrize("radius", [(1, 1), (2, 2), (2, 3), (3, 4)])
def test_the_largest_census_cost_is_known_and_uses_the_range(radius):
    census = Census(radius=radius)
    every_bit_differs = np.full((3, 3, 32), bit_count(radius), np.uint8)
    assert block_cost(every_bit_differs, census.halvings)[1, 1, 0] == census.largest
    assert MAX_COST / 2 < census.largest <= MAX_COST
    assert Census(radius=radius, block=False).largest == bit_count(radius)


def shifted_pair(shift: int) -> tuple[np.ndarray, np.ndarray]:
    right = np.random.default_rng(2).integers(0, 256, (20, 80)).astype(np.uint8)
    return np.roll(right, shift, axis=1), right


@pytest.mark.parametrize("census", [Census(), Census(radius=(3, 4))])
def test_census_cost_is_zero_at_the_true_shift(census):
    left, right = (census.describe(image) for image in shifted_pair(11))
    inner = census.fill(left, right, np.empty((20, 80, 32), np.uint8))[:, 36:-5]
    assert (inner[:, :, 11] == 0).all()
    assert np.delete(inner, 11, axis=2).min() > 0


@pytest.mark.parametrize("census", [Census(), Census(block=False)])
def test_a_slice_of_the_volume_is_the_cost_between_shifted_images(census):
    left, right = (census.describe(image) for image in shifted_pair(11))
    volume = census.fill(left, right, np.empty((20, 80, 32), np.uint8))
    for d in (0, 1, 9, 31):
        between = census.between(left[:, d:], right[:, : 80 - d])
        np.testing.assert_array_equal(volume[:, d + 1 : -1, d], between[:, 1:-1])
    assert (leave_out_left_border(volume)[:, :9, 9] == 255).all()
    np.testing.assert_array_equal(volume[:, 10:-1, 9], census.between(left[:, 9:], right[:, : 80 - 9])[:, 1:-1])


def test_the_right_volume_is_the_left_one_read_along_diagonals():
    volume = np.random.default_rng(3).integers(0, 255, (3, 20, 8)).astype(np.uint8)
    mirrored = of_right(volume)
    for x, d in product(range(20), range(8)):
        expected = volume[:, x + d, d] if x + d < 20 else [255] * 3
        np.testing.assert_array_equal(mirrored[:, x, d], expected)
