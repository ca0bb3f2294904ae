"""The path of a recording: its length, how frames follow their views, and what every loop closer does alike."""

from pathlib import Path

import numpy as np
import pytest

from firstsight.formats.storage.state import read_state, write_state
from firstsight.roles import LoopCloser
from firstsight.slam.loops.lidar_loop_closing import LidarLoopClosing
from firstsight.slam.loops.loop_closing import LoopClosing
from firstsight.slam.loops.travelled import Travelled, follow, path_length


def rotated(angle_rad: float) -> np.ndarray:
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(angle_rad), -np.sin(angle_rad)], [np.sin(angle_rad), np.cos(angle_rad)]]
    return pose


def test_the_path_counts_lengths_by_distance_and_turns():
    poses = np.tile(np.eye(4), (4, 1, 1))
    poses[1, :3, 3] = [1, 0, 0]
    poses[2], poses[3] = rotated(0.5), rotated(0.5)
    poses[2:, :3, 3] = [1, 0, 0]
    np.testing.assert_allclose(path_length(poses, np.array([4.0, 4.0, 2.0, 2.0])), [0, 0.25, 0.75, 0.75], atol=1e-12)


def test_frames_follow_their_views_and_their_scale():
    poses = np.tile(np.eye(4), (7, 1, 1))
    poses[:, 0, 3] = np.arange(7)
    closed = np.tile(np.eye(4), (2, 1, 1))
    closed[:, 0, 3] = [10.0, 18.0]  # views at frames 1 and 5: twice as far apart as odometry drifted
    found = follow(poses, np.array([1, 5]), closed)
    np.testing.assert_allclose(found[:, 0, 3], [9, 10, 12, 14, 16, 18, 19], atol=1e-12)


def test_loops_of_views_are_told_by_their_frames():
    travelled: Travelled[str] = Travelled()
    for frame in range(7):
        travelled.move_to(np.eye(4))
        if frame in (1, 4, 6):
            travelled.keep(f"view of {frame}")
    closed = travelled.closed(np.tile(np.eye(4), (3, 1, 1)), [(0, 2), (1, 2)], tried=5, disputed=[(0, 1)])
    assert closed.loops.tolist() == [[1, 6], [4, 6]]
    assert closed.tried == 5
    assert closed.disputed.tolist() == [[1, 4]]
    assert travelled.unchanged(3, [(1, 2)]).disputed.tolist() == [[4, 6]]
    assert travelled.state(lambda view: {"text": view})["grows"] == [
        {"frame": 1, "text": "view of 1"},
        {"frame": 4, "text": "view of 4"},
        {"frame": 6, "text": "view of 6"},
    ]


@pytest.mark.parametrize("kind", [LoopClosing, LidarLoopClosing])
def test_frames_that_are_skipped_stay_where_they_are(kind: type[LoopCloser], tmp_path: Path):
    """Also by one that goes on from a state, of no frame and of some."""
    closing, poses = kind(), np.tile(np.eye(4), (4, 1, 1))
    poses[:, 0, 3] = [0, 1, 3, 6]
    for number, pose in enumerate(poses):
        assert closing.should_add(pose)
        write_state(tmp_path / "state.npz", closing.state())
        closing = kind()
        closing.restore(read_state(tmp_path / "state.npz"))
        closing.skip(number * 10**8, pose)
    closed = closing.close()
    np.testing.assert_array_equal(closed.world_from_sensor, poses)
    assert closed.loops.shape == (0, 2)
    assert closed.tried == 0
    assert closing.state()["grows"] == []
