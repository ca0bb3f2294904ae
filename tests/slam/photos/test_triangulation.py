"""Pairs of rays of one point."""

import numpy as np

from firstsight.slam.photos.triangulation import pairs_within


def test_pairs_within_groups_equal_the_loops():
    group = np.repeat([0, 2, 5, 6], [3, 1, 4, 2])
    slow = [(i, j) for i in range(10) for j in range(i + 1, 10) if group[i] == group[j]]
    assert list(zip(*(x.tolist() for x in pairs_within(group)), strict=True)) == slow
