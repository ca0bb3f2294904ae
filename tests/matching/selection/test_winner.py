"""Winners and peaks against plain loops."""

import numpy as np
import pytest

from firstsight.matching.costs.volumes import no_cost
from firstsight.matching.selection.winner import between_candidates, find_peaks, take_winners

DTYPES = [np.uint16, np.uint32, np.float32]


@pytest.mark.parametrize("dtype", DTYPES)
def test_winners_of_both_images_equal_plain_loops(dtype):
    total = np.random.default_rng(0).integers(0, 2000, (4, 40, 32)).astype(dtype)
    total -= dtype(1000) if dtype is np.float32 else dtype(0)  # costs of float32 may be negative
    position, of_right, found = take_winners(total)
    np.testing.assert_array_equal(np.abs(position - total.argmin(2)) <= 0.5, True)
    assert found.all()
    for y in range(4):
        for x in range(40):
            seen = [total[y, x + d, d] for d in range(32) if x + d < 40]
            assert of_right[y, x] == int(np.argmin(seen))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_has_no_cost_does_not_win_and_is_no_neighbour(dtype):
    total = np.full((1, 2, 8), no_cost(dtype), dtype)
    total[0, 1, 3:5] = 7, 5
    position, of_right, found = take_winners(total)
    assert found.tolist() == [[False, True]]
    assert position.tolist() == [[0.0, 4.0]]
    assert of_right.shape == (1, 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_equal_costs_the_smallest_candidate_wins(dtype):
    position, of_right, _ = take_winners(np.full((2, 3, 32), 7, dtype))
    assert not position.any()
    assert not of_right.any()


@pytest.mark.parametrize("bottom", [4.0, 9.25, 20.5, 27.75])
def test_the_meeting_point_of_two_lines_is_exact(bottom):
    costs = (16 * np.abs(np.arange(32) - bottom)).astype(np.uint16)
    assert take_winners(costs[None, None], "lines").position[0, 0] == np.float32(bottom)


@pytest.mark.parametrize("bottom", [4.0, 9.25, 20.5, 27.75])
def test_the_bottom_of_a_parabola_is_exact(bottom):
    costs = (3 * (np.arange(32) - bottom) ** 2).astype(np.float32)
    assert take_winners(costs[None, None], "parabola").position[0, 0] == np.float32(bottom)
    assert take_winners(costs[None, None], "none").position[0, 0] == costs.argmin()


def test_the_first_and_last_candidate_are_not_refined():
    costs = np.arange(100, 132, dtype=np.uint16)
    assert take_winners(costs[None, None])[0][0, 0] == 0
    assert take_winners(costs[None, None, ::-1].copy())[0][0, 0] == 31


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
            assert ratio[y, x] == pytest.approx(total[y, x, best] / elsewhere)


@pytest.mark.parametrize("dtype", DTYPES)
def test_between_three_costs_by_hand(dtype):
    """Costs 9, 4 and 5: lines meet (9 - 5) / (2 (9 - 4)) = 0.4 behind the middle, the parabola's bottom is 4 / 12 behind it."""
    costs, nothing = np.array([20, 9, 4, 5, 20], dtype), dtype(no_cost(dtype))
    found = [between_candidates(costs, 2, fit, nothing) for fit in (0, 1, 2)]
    assert found == pytest.approx([2, 2.4, 2 + 4 / 12])
    assert between_candidates(costs[::-1].copy(), 2, 1, nothing) == pytest.approx(1.6)
    assert between_candidates(np.array([7, 7, 7], dtype), 1, 2, nothing) == 1
    for beside in (1, 3):
        lone = costs.copy()
        lone[beside] = nothing
        assert [between_candidates(lone, 2, fit, nothing) for fit in (1, 2)] == [2, 2]


@pytest.mark.parametrize(("apart", "ratio"), [(3, 0.25), (4, 0.25), (5, 0.5), (-4, 0.25), (-5, 0.5)])
def test_a_second_best_counts_beyond_what_is_beside(apart, ratio):
    """5 at candidate 12, 10 at another, 20 elsewhere: the tenth counts from the fifth candidate on."""
    total = np.full((1, 1, 32), 20, np.uint16)
    total[0, 0, 12], total[0, 0, 12 + apart] = 5, 10
    assert find_peaks(total, beside=4).ratio[0, 0] == pytest.approx(ratio)


def test_two_costs_of_nothing_are_no_division_by_nothing():
    total = np.full((1, 1, 32), 20.0, np.float32)
    total[0, 0, [3, 20]] = 0
    assert find_peaks(total, beside=4).ratio[0, 0] == 0
