import numpy as np

from firstsight.recordings import association


def nearest_by_loop(stamps, candidates, tolerance):
    chosen = []
    for stamp in stamps:
        distances = [abs(int(stamp) - int(c)) for c in candidates]
        best = min(range(len(candidates)), key=distances.__getitem__)
        chosen.append(best if distances[best] <= tolerance else -1)
    return np.array(chosen)


def test_nearest_equals_a_loop_for_unordered_stamps():
    rng = np.random.default_rng(1)
    stamps, candidates = rng.permutation(10_000)[:200], rng.permutation(10_000)[:80]
    found = association.nearest(stamps, candidates, 40)
    expected = nearest_by_loop(stamps, candidates, 40)
    assert (expected == -1).any()
    np.testing.assert_array_equal(found == -1, expected == -1)
    near = expected >= 0  # two candidates may be equally near
    np.testing.assert_array_equal(np.abs(stamps - candidates[found])[near], np.abs(stamps - candidates[expected])[near])


def test_a_candidate_serves_one_stamp_only():
    stamps, candidates = np.array([0, 33, 66, 100]), np.array([3, 95])
    np.testing.assert_array_equal(association.nearest(stamps, candidates, 50), [0, 0, 1, 1])
    np.testing.assert_array_equal(association.mutually_nearest(stamps, candidates, 50), [0, -1, -1, 1])


def test_no_candidates_serve_none():
    np.testing.assert_array_equal(association.nearest(np.array([1, 2]), np.array([], np.int64), 5), [-1, -1])


def test_streams_are_joined_where_all_have_something_and_the_difference_is_said():
    streams = {"left": np.array([0, 100, 200, 300]), "right": np.array([203, 98, 1]), "depth": np.array([90, 215, 310])}
    items, remarks = association.simultaneous({k: v * 1_000_000 for k, v in streams.items()}, 20_000_000)
    assert {name: rows.tolist() for name, rows in items.items()} == {"left": [1, 2], "right": [1, 0], "depth": [0, 1]}
    assert remarks == ("left and right and depth are up to 15 ms apart and taken for simultaneous",)


def test_a_stream_of_another_clock_is_left_out_and_it_is_said():
    left, right = np.array([0, 100, 200]) * 1_000_000, np.array([7_250, 7_350]) * 1_000_000
    items, remarks = association.simultaneous({"left": left, "right": right, "depth": left}, 20_000_000)
    assert {name: rows.tolist() for name, rows in items.items()} == {"left": [0, 1, 2], "depth": [0, 1, 2]}
    assert remarks == (
        "right left out: nothing of it is of the time of left, the nearest is 7.05 s off; bring the stamps to one clock",
    )


def test_poses_beyond_the_tolerance_are_nan():
    poses = np.stack([np.eye(4), 2 * np.eye(4)])
    found = association.poses_at(np.array([11, 50]), np.array([0, 10]), poses, 5)
    np.testing.assert_array_equal(found[0], 2 * np.eye(4))
    assert np.isnan(found[1]).all()


def test_half_period_survives_a_gap():
    assert association.half_period_ns(np.array([0, 10, 20, 90, 100])) == 5
    assert association.half_period_ns(np.array([7])) == 0
