"""Which photo is placed next: one whose known points are spread over it."""

import numpy as np

from firstsight.slam.photos.growth import spread

SIZE = (240, 320)


def test_spread_points_count_more_than_many_together():
    rng, size = np.random.default_rng(0), np.array(SIZE)
    wide, narrow = rng.uniform((0, 0), SIZE[::-1], (30, 2)), rng.uniform((50, 50), (60, 60), (300, 2))
    assert spread(wide, size) > spread(narrow, size)
    assert spread(np.array([[0.0, 0.0]]), size, levels=3) == 4 + 16 + 64
    assert spread(np.array([[0.0, 0.0], [319.0, 239.0]]), size, levels=3) == 2 * (4 + 16 + 64)
