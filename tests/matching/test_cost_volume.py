"""Cost volumes against plain loops."""

import numpy as np
import pytest

from firstsight.matching.census import bit_count
from firstsight.matching.cost_volume import (
    LARGEST_COST,
    block_cost,
    census_cost,
    halvings,
    hamming_volume,
    largest_census_cost,
)


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
    every_bit_differs = np.full((3, 3, 32), bit_count(radius), np.uint8)
    assert block_cost(every_bit_differs, halvings(radius))[1, 1, 0] == largest_census_cost(radius)
    assert LARGEST_COST / 2 < largest_census_cost(radius) <= LARGEST_COST


def test_census_cost_is_zero_at_the_true_shift():
    right = np.random.default_rng(2).integers(0, 256, (20, 80)).astype(np.uint8)
    left = np.roll(right, 11, axis=1)
    volume = census_cost(left, right, (2, 3), np.empty((20, 80, 32), np.uint8))
    inner = volume[:, 20:-5]
    assert (inner[:, :, 11] == 0).all()
    assert np.delete(inner, 11, axis=2).min() > 0
