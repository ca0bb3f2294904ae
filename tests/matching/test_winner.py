"""Winners, the left-right check and the filling against plain loops."""

import numpy as np
import pytest

from firstsight.matching.winner import (
    drop_speckles,
    fill_from_background,
    find_peaks,
    left_right_consistent,
    take_winners,
)


def test_winners_of_both_images_equal_plain_loops():
    total = np.random.default_rng(0).integers(0, 2000, (4, 40, 32)).astype(np.uint16)
    position, of_right = take_winners(total)
    np.testing.assert_array_equal(np.abs(position - total.argmin(2)) <= 0.5, True)
    for y in range(4):
        for x in range(40):
            seen = [total[y, x + d, d] for d in range(32) if x + d < 40]
            assert of_right[y, x] == int(np.argmin(seen))


def test_of_equal_costs_the_smallest_candidate_wins():
    position, of_right = take_winners(np.full((2, 3, 32), 7, np.uint16))
    assert not position.any()
    assert not of_right.any()


@pytest.mark.parametrize("bottom", [4.0, 9.25, 20.5, 27.75])
def test_the_meeting_point_of_two_lines_is_exact(bottom):
    costs = (16 * np.abs(np.arange(32) - bottom)).astype(np.uint16)
    position, _ = take_winners(costs[None, None])
    assert position[0, 0] == np.float32(bottom)


def test_the_first_and_last_candidate_are_not_refined():
    costs = np.arange(100, 132, dtype=np.uint16)
    assert take_winners(costs[None, None])[0][0, 0] == 0
    assert take_winners(costs[None, None, ::-1].copy())[0][0, 0] == 31


def test_left_right_check():
    position = np.array([[0.0, 1.4, 2.0, 3.6, 9.0]], np.float32)
    of_right = np.array([[2, 0, 0, 0, 0]], np.uint16)
    # pixel 0 -> 0, which says 2; 1 -> 0, says 2; 2 -> 0, says 2; 3 -> -1, outside; 4 -> outside
    np.testing.assert_array_equal(left_right_consistent(position, of_right, 1.0), [[False, True, True, False, False]])


def test_fill_takes_the_background_beside():
    position = np.array([[9, 5, 9, 9, 2, 9], [9, 9, 9, 9, 9, 9]], np.float32)
    valid = np.array([[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], bool)
    expected = np.array([[5, 5, 2, 2, 2, 2], [0, 0, 0, 0, 0, 0]], np.float32)
    np.testing.assert_array_equal(fill_from_background(position, valid), expected)


def test_speckles_go_and_surfaces_stay():
    position = np.full((40, 40), 5, np.float32)
    position[5:9, 5:9] = 20
    valid = np.ones((40, 40), bool)
    valid[30:] = False
    kept = drop_speckles(position, valid, area_px=20)
    assert not kept[5:9, 5:9].any()
    assert kept.sum() == 30 * 40 - 16


def test_peaks_equal_plain_loops():
    total = np.random.default_rng(1).integers(1, 2000, (5, 7, 32)).astype(np.uint16)
    total[0, 0, :] = 9  # a tie
    position, lowest, ratio = find_peaks(total, beside=4)
    for y in range(5):
        for x in range(7):
            best = int(np.argmin(total[y, x]))
            elsewhere = min(int(total[y, x, d]) for d in range(32) if abs(d - best) > 4)
            assert lowest[y, x] == total[y, x, best]
            assert abs(position[y, x] - best) <= 0.5
            assert ratio[y, x] == np.float32(total[y, x, best] / elsewhere)
