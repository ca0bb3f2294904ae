import numpy as np
import pytest

from firstsight.motion.object_tracks import ObjectTracks

SHAPE = (30, 60)


def boxes(*corners: tuple[int, int, int]) -> np.ndarray:
    """Labels 1, 2, ... of squares at (x, y) with the given size."""
    labels = np.zeros(SHAPE, np.int32)
    for i, (x, y, size) in enumerate(corners):
        labels[y : y + size, x : x + size] = i + 1
    return labels


def frame(
    tracks: ObjectTracks, regions: np.ndarray, dx: float = 0.0, log_depth: np.ndarray | None = None, known: bool = True
):
    """One frame whose regions all move by dx, to the right."""
    depth = np.zeros(SHAPE, np.float32) if log_depth is None else log_depth
    ids = tracks.assign(regions, depth)
    everything = np.full(SHAPE, known)
    tracks.judge(ids, everything, everything)
    flow = np.zeros((2, *SHAPE), np.float32)
    flow[0] = dx
    tracks.carry(ids, np.exp(depth), flow, everything)
    return ids


def test_ids_follow_the_flow():
    tracks = ObjectTracks(max_gap=3)
    first = frame(tracks, boxes((5, 5, 8), (40, 10, 8)), dx=8)
    second = frame(tracks, boxes((48, 10, 8), (13, 5, 8)), dx=8)  # labels in the other order
    assert second[6, 14] == first[6, 6] > 0
    assert second[12, 50] == first[12, 42] != second[6, 14]


def test_new_objects_get_new_ids_and_old_ids_are_not_used_again():
    tracks = ObjectTracks(max_gap=0)
    gone = frame(tracks, boxes((5, 5, 8))).max()
    frame(tracks, boxes())
    frame(tracks, boxes())
    assert frame(tracks, boxes((5, 5, 8))).max() > gone


def test_a_short_gap_keeps_the_id():
    tracks = ObjectTracks(max_gap=3)
    before = frame(tracks, boxes((5, 5, 8)), dx=4).max()
    for _ in range(3):
        assert not frame(tracks, boxes(), dx=4, known=False).any(), (
            "carried on by the flow it last had, but not reported"
        )
    assert frame(tracks, boxes((21, 5, 8))).max() == before


def test_a_region_over_two_objects_is_divided():
    tracks = ObjectTracks(max_gap=3)
    first = frame(tracks, boxes((10, 5, 10), (20, 5, 10)))
    merged = (first > 0).astype(np.int32)
    second = frame(tracks, merged)
    assert np.array_equal(second, first)


def test_a_part_that_breaks_off_keeps_the_id_only_at_the_same_distance():
    whole = np.zeros(SHAPE, np.int32)
    whole[5:15, 10:30] = 1
    parts = whole.copy()
    parts[:, 18:20] = 0
    parts[:, 20:] *= 2
    near, far = ObjectTracks(max_gap=3), ObjectTracks(max_gap=3)
    for tracks in (near, far):
        frame(tracks, whole)
    log_depth = np.where(np.arange(SHAPE[1]) < 20, 0.0, 1.0).astype(np.float32) * np.ones((SHAPE[0], 1), np.float32)
    assert set(np.unique(frame(near, parts))) == {0, 1}
    assert set(np.unique(frame(far, parts, log_depth=log_depth))) == {0, 1, 2}
    assert far.tracks[1].belief == 0.75
    assert far.tracks[2].belief == 0.625, "it inherits half of 0.5, and all of it is seen to move"


def test_belief_follows_what_was_seen():
    tracks = ObjectTracks(max_gap=3)
    regions = boxes((5, 5, 10))
    tracks.assign(regions, np.zeros(SHAPE, np.float32))
    decided, moving = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    tracks.judge(regions, decided, moving)
    assert tracks.beliefs().tolist() == [0, 0], "nothing seen, nothing changed"
    decided[5:10] = True  # half of it
    moving[5:10, :11] = True  # of which six tenths move
    tracks.judge(regions, decided, moving)
    assert tracks.beliefs()[1] == pytest.approx(0.5 * 0.5 * 0.6)


def test_reported_numbers_count_up_without_gaps():
    tracks = ObjectTracks(max_gap=3)
    tracks.assign(boxes((5, 5, 10), (30, 5, 9)), np.zeros(SHAPE, np.float32))
    tracks.tracks[2].belief = 0.9
    assert tracks.numbers(0.5).tolist() == [0, 0, 1]
    tracks.tracks[1].belief = 0.8
    assert tracks.numbers(0.5).tolist() == [0, 2, 1]
    tracks.tracks[2].belief = 0.1
    assert tracks.numbers(0.5).tolist() == [0, 2, 0]
    tracks.tracks[2].belief = 0.9
    assert tracks.numbers(0.5).tolist() == [0, 2, 1], "a number stays with its object"


def test_the_nearer_object_hides_the_farther():
    tracks = ObjectTracks(max_gap=3)
    log_depth = np.where(np.arange(SHAPE[1]) < 20, 1.0, 0.0).astype(np.float32) * np.ones((SHAPE[0], 1), np.float32)
    ids = tracks.assign(boxes((5, 5, 8), (21, 5, 8)), log_depth)
    flow = np.zeros((2, *SHAPE), np.float32)
    flow[0, :, :20], flow[0, :, 20:] = 8, -8
    tracks.carry(ids, np.exp(log_depth), flow, np.ones(SHAPE, bool))
    assert tracks.carried.ids[8, 15] == ids[8, 25]
