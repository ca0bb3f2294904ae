"""Features of many views that show one point."""

import numpy as np

from firstsight.slam.loops.view_adjustment import tracks


def test_tracks_join_matches_and_drop_contradictions():
    starts, camera = np.array([0, 3, 6, 9]), np.repeat(np.arange(3), 3)
    matches = {
        (0, 1): np.array([[0, 0], [1, 1]]),
        (1, 2): np.array([[0, 2], [1, 1], [2, 1]]),  # features 1 and 2 of view 1 cannot be one point
    }
    found = tracks(starts, camera, matches)
    assert found.tolist() == [0, -1, -1, 0, -1, -1, -1, -1, 0]
