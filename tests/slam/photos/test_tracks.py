"""Tracks are connected features, and none of them sees a photo twice."""

import numpy as np

from firstsight.slam.photos.pairs import Pair
from firstsight.slam.photos.tracks import joined_tracks


def pair(a: int, b: int, *rows: tuple[int, int]) -> Pair:
    return Pair(a, b, np.array(rows, np.int64).reshape(-1, 2), True, np.zeros((3, 3)))


def as_sets(tracks) -> list[set[tuple[int, int]]]:
    """Sets of (photo, feature) in the order of the tracks."""
    sets: list[set[tuple[int, int]]] = [set() for _ in range(tracks.points)]
    for photo, feature, track in zip(*tracks[:3], strict=True):
        sets[track].add((int(photo), int(feature)))
    return sets


def test_matches_chain_to_tracks_longest_first():
    found = joined_tracks([pair(0, 1, (0, 5), (1, 6)), pair(1, 2, (5, 2)), pair(2, 3, (2, 0))], [2, 7, 3, 1])
    assert as_sets(found) == [{(0, 0), (1, 5), (2, 2), (3, 0)}, {(0, 1), (1, 6)}]
    assert found.photo.tolist() == [0, 1, 2, 3, 0, 1]
    assert found.refused == 0


def test_a_match_that_would_see_a_photo_twice_is_refused_and_the_track_kept():
    """The pair that agrees on most comes first, in whatever order pairs are given."""
    strong, weak = pair(0, 1, (0, 0), (1, 1), (2, 2)), pair(1, 2, (0, 0), (1, 1))
    false = pair(0, 2, (2, 0))
    for order in ([strong, weak, false], [false, weak, strong]):
        found = joined_tracks(order, [3, 3, 3])
        assert as_sets(found) == [{(0, 0), (1, 0), (2, 0)}, {(0, 1), (1, 1), (2, 1)}, {(0, 2), (1, 2)}]
        assert found.refused == 1


def test_without_false_matches_tracks_are_the_points():
    rng = np.random.default_rng(0)
    photos, points = 6, 80
    of_photo = [rng.permutation(points)[: rng.integers(30, 60)] for _ in range(photos)]  # feature -> point
    pairs = []
    for a in range(photos):
        for b in range(a + 1, photos):
            rows = [
                (i, int(np.flatnonzero(of_photo[b] == p)[0])) for i, p in enumerate(of_photo[a]) if p in of_photo[b]
            ]
            pairs.append(pair(a, b, *rows))
    found = joined_tracks(pairs, [len(features) for features in of_photo])
    expected = [{(i, int(np.flatnonzero(f == p)[0])) for i, f in enumerate(of_photo) if p in f} for p in range(points)]
    assert sorted(map(sorted, as_sets(found))) == sorted(sorted(track) for track in expected if len(track) > 1)
    sizes = [len(track) for track in as_sets(found)]
    assert sizes == sorted(sizes, reverse=True)


def test_random_matches_never_see_a_photo_twice():
    rng = np.random.default_rng(1)
    pairs = [pair(a, b, *map(tuple, rng.integers(0, 30, (40, 2)))) for a in range(5) for b in range(a + 1, 5)]
    found = joined_tracks(pairs, [30] * 5)
    assert found.refused > 0
    for track in as_sets(found):
        assert len({photo for photo, _ in track}) == len(track) >= 2


def test_no_pairs_make_no_tracks():
    found = joined_tracks([], [4, 4])
    assert found.points == 0
    assert len(found.photo) == 0
