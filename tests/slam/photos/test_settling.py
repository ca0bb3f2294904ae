"""Angles under which points are seen."""

import numpy as np

from firstsight.slam.photos.settling import narrowest_cosines


def test_the_widest_angle_equals_the_loops():
    rng = np.random.default_rng(0)
    group = np.sort(rng.integers(0, 8, 30))
    directions = rng.normal(size=(30, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    slow = np.ones(9)
    for i in range(30):
        for j in range(i + 1, 30):
            if group[i] == group[j]:
                slow[group[i]] = min(slow[group[i]], float(directions[i] @ directions[j]))
    np.testing.assert_allclose(narrowest_cosines(group, directions, 9), slow)
