"""That a few paths are what they say, against a plain loop, and that more of them leave fewer errors."""

import numpy as np
import pytest

from firstsight.gallery.figures.depth.path_directions import PENALTIES, experiment, numbers, path_costs
from firstsight.gallery.figures.depth.street_pair import StreetPair
from firstsight.recordings.recording import DisparityImage


def one_path(costs: np.ndarray) -> np.ndarray:
    """Eq. 13 from left to right, for costs (height, width, candidates)."""
    path = costs.astype(np.float64)
    for y, row in enumerate(costs):
        for x in range(1, len(row)):
            before = path[y, x - 1]
            for d in range(len(before)):
                ways = [before[d], before.min() + PENALTIES.p2]
                ways += [before[k] + PENALTIES.p1 for k in (d - 1, d + 1) if 0 <= k < len(before)]
                path[y, x, d] = row[x, d] + min(ways) - before.min()
    return path


def test_one_and_two_paths_are_those_of_the_paper():
    rng = np.random.default_rng(0)
    grey, costs = rng.integers(0, 255, (4, 7)).astype(np.uint8), rng.uniform(0, 8, (4, 7, 5)).astype(np.float32)
    nothing = np.zeros((4, 7), bool)
    truth = DisparityImage(np.zeros((4, 7), np.float32), nothing, nothing)
    pair = StreetPair(np.stack([grey] * 3, -1), grey, grey, truth, 5)
    from_left, from_right = one_path(costs), one_path(costs[:, ::-1])[:, ::-1]
    assert path_costs(pair, costs, 1) == pytest.approx(from_left, abs=1e-4)
    assert path_costs(pair, costs, 2) == pytest.approx(from_left + from_right, abs=1e-4)


def test_more_paths_leave_fewer_errors_and_no_streaks():
    """Streaks are jumps from row to row; stated: twice as many as from column to column, then about as many."""
    found = experiment(0.5)
    bad = [metric.value for metric in numbers(found)]
    assert bad == sorted(bad, reverse=True)
    for count, disparity in found.disparities.items():
        down, across = (np.mean(np.abs(np.diff(disparity, axis=axis)) > 1) for axis in (0, 1))
        assert down > 2 * across if count < 4 else down < 1.3 * across
