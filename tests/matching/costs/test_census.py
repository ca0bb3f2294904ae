"""The census transform against the paper's definition, and the property it exists for."""

import numpy as np
import pytest

from firstsight.matching.costs.census import bit_count, census_transform


def census_by_definition(grey: np.ndarray, rows: int, columns: int) -> np.ndarray:
    height, width = grey.shape
    codes = np.zeros((height, width), np.uint64)
    for y in range(height):
        for x in range(width):
            bits = ""
            for dy in range(-rows, rows + 1):
                for dx in range(-columns, columns + 1):
                    if (dy, dx) != (0, 0):
                        neighbour = grey[np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)]
                        bits += str(int(neighbour < grey[y, x]))
            codes[y, x] = int(bits, 2)
    return codes


@pytest.mark.parametrize("radius", [(1, 1), (2, 3), (3, 4)])
def test_equals_the_definition(radius):
    grey = np.random.default_rng(0).integers(0, 256, (9, 13)).astype(np.uint8)
    np.testing.assert_array_equal(census_transform(grey, radius), census_by_definition(grey, *radius))


def test_a_three_by_three_window_by_hand():
    grey = np.array([[1, 9, 9], [9, 5, 2], [9, 3, 9]], np.uint8)
    assert census_transform(grey, (1, 1))[1, 1] == 0b10001010


def test_monotone_change_of_brightness_changes_nothing():
    grey = np.random.default_rng(1).integers(0, 100, (20, 20)).astype(np.uint8)
    brighter = (40 + 2 * grey).astype(np.uint8)
    np.testing.assert_array_equal(census_transform(grey, (2, 3)), census_transform(brighter, (2, 3)))


def test_windows_beyond_64_bits_are_refused():
    assert bit_count((3, 4)) == 62
    with pytest.raises(AssertionError):
        census_transform(np.zeros((9, 9), np.uint8), (4, 4))
