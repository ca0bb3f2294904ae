import numpy as np
import torch

from firstsight.geometry.se3 import se3_exp
from firstsight.motion.depth_alignment import MeasuredMotion
from firstsight.motion.odometry.keyframes import Keyframes

INTRINSICS = np.array([[500.0, 0.0, 319.5], [0.0, 500.0, 239.5], [0.0, 0.0, 1.0]])
GREY = np.zeros((48, 64), np.uint8)
RNG = np.random.default_rng(0)
POINTS = np.column_stack([RNG.uniform(-3, 3, (80, 2)), RNG.uniform(6, 12, 80)])


def pose(frame: int) -> np.ndarray:
    return se3_exp(torch.tensor([0.1 * frame, 0.0, 0.2 * frame, 0.0, 0.01 * frame, 0.0], dtype=torch.float64)).numpy()


def seen(world_from_camera: np.ndarray, points: np.ndarray = POINTS) -> np.ndarray:
    """(x, y, inverse depth)."""
    local = (points - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
    return np.column_stack([local[:, :2] / local[:, 2:] * 500 + INTRINSICS[:2, 2], 1 / local[:, 2]])


def filled(count: int, window: int = 4, depth_precision: float = 0.0) -> Keyframes:
    """Keyframes along the path, all landmarks known and measured by each."""
    keyframes = Keyframes(INTRINSICS, window, fixed=2)
    ids = np.arange(len(POINTS))
    for k in range(count):
        keyframes.add_keyframe(pose(k), GREY)
        precision = np.tile([1.0, 1.0, depth_precision], (len(ids), 1))
        keyframes.add_measurements(k, ids, seen(pose(k)), precision)
        if k == 0:
            keyframes.add_landmarks(ids, POINTS)
    return keyframes


def test_only_the_window_is_remembered_but_every_keyframes_pose():
    keyframes = filled(9)
    keyframes.adjust()
    assert len(keyframes) == 9
    assert set(keyframes.measured_by) == {5, 6, 7, 8}
    assert len(keyframes.motions) == 4
    assert np.allclose(keyframes.world_from_keyframe[0], pose(0))


def test_adjusting_mends_a_keyframe_and_carries_its_frames_along():
    keyframes = filled(4)
    off = se3_exp(torch.tensor([0.05, 0.0, 0.0, 0.0, 0.01, 0.0], dtype=torch.float64)).numpy()
    keyframes.world_from_keyframe[3] = pose(3) @ off
    keyframes.add_frame(pose(4) @ off, valid=True)
    before = np.linalg.inv(keyframes.world_from_keyframe[3]) @ keyframes.world_from_frame(0)
    keyframes.adjust()
    assert np.abs(keyframes.world_from_keyframe[3] - pose(3)).max() < 1e-5
    after = np.linalg.inv(keyframes.world_from_keyframe[3]) @ keyframes.world_from_frame(0)
    assert np.allclose(before, after, atol=1e-12)


def test_measurements_of_points_behind_the_keyframe_are_forgotten():
    """Such a measurement pulls at nothing, so nothing would ever bring the point back to where it is seen."""
    keyframes = filled(4)
    behind = pose(3)[:3, 3] - 5 * pose(3)[:3, 2]
    keyframes.add_landmarks(np.array([900]), behind[None])
    for k in (2, 3):
        keyframes.add_measurements(k, np.array([900]), np.array([[320.0, 240.0, 0.0]]), np.array([[1.0, 1.0, 0.0]]))
    keyframes.adjust()
    assert 900 not in keyframes.measured_id
    assert 900 not in keyframes.ids
    assert len(keyframes.ids) == len(POINTS)


def test_wrong_measurements_are_forgotten():
    keyframes = filled(4)
    keyframes.measured[5, 0] += 40.0  # keyframe 0 of landmark 5
    keyframes.adjust()
    assert len(keyframes.measured) == 4 * len(POINTS) - 1
    assert ((keyframes.measured_id == 5) & (keyframes.measured_by == 0)).sum() == 0
    keyframes.adjust()
    assert np.abs(keyframes.points_world - POINTS).max() < 1e-3  # the next adjustment is free of it


def test_a_landmark_seen_once_without_depth_is_forgotten_and_with_depth_kept():
    for precision, kept in ((0.0, 0), (100.0, 80)):
        keyframes = filled(1, depth_precision=precision)
        keyframes.adjust()
        assert len(keyframes.ids) == kept


def test_measurements_wait_for_their_landmark():
    """Tracks are measured before they have parallax; the first measurement is found again when they are made landmarks."""
    keyframes = filled(3)
    point = np.array([[1.0, 1.0, 8.0]])
    for k in (1, 2):
        keyframes.add_measurements(k, np.array([500]), seen(pose(k), point), np.array([[1.0, 1.0, 0.0]]))
    keyframes.adjust()
    first = keyframes.first_seen(np.array([500]))
    assert keyframes.measured_by[first] == 1
    assert np.allclose(keyframes.measured[first], seen(pose(1), point))
    assert keyframes.rows(np.array([500, 3])).tolist() == [-1, 3]
    keyframes.add_landmarks(np.array([500]), point)
    assert keyframes.rows(np.array([500])) == 80


def test_measured_motions_move_a_keyframe_that_sees_nothing():
    keyframes = filled(3)
    keyframes.add_keyframe(pose(2), GREY, MeasuredMotion(np.linalg.inv(pose(2)) @ pose(3), 1e6 * np.eye(6)))
    keyframes.adjust()
    assert np.abs(keyframes.world_from_keyframe[3] - pose(3)).max() < 1e-4


def test_a_new_segment_leaves_the_old_one_alone():
    keyframes = filled(4)
    keyframes.start_segment()
    keyframes.add_keyframe(pose(7), GREY)
    keyframes.adjust()
    assert keyframes.oldest == 4
    assert len(keyframes.ids) == 0
    assert np.allclose(keyframes.world_from_keyframe[4], pose(7))


def test_segments_are_numbered_by_their_measured_frames():
    """Two frames measured, one lost; a segment without a measured frame; two measured again."""
    keyframes = filled(2)
    keyframes.add_frame(pose(0), valid=True)
    keyframes.add_frame(pose(1), valid=True)
    keyframes.add_frame(pose(2), valid=False)
    for k in (3, 4):
        keyframes.start_segment()
        keyframes.add_keyframe(pose(k), GREY)
        keyframes.add_frame(pose(k), valid=False)
    keyframes.add_frame(pose(5), valid=True)
    keyframes.add_frame(pose(6), valid=True)
    assert keyframes.trajectory().segments.tolist() == [0, 0, 0, 0, 0, 1, 1]


def test_a_segment_that_was_left_goes_on_with_its_window():
    keyframes = filled(6, depth_precision=20.0)
    for k in range(6):
        keyframes.add_frame(pose(k), valid=True)
    keyframes.adjust()
    keyframes.start_segment()
    keyframes.add_keyframe(pose(9), GREY)
    keyframes.add_frame(pose(9), valid=True)
    keyframes.adjust()
    assert [view.keyframe for view in keyframes.left] == [2, 3, 4, 5]
    assert len(keyframes.ids) == 0
    keyframes.return_to(keyframes.left[1])
    assert keyframes.oldest == 7
    assert len(keyframes) == 11
    assert keyframes.ids.tolist() == list(range(80))
    assert np.abs(keyframes.points_world - POINTS).max() < 1e-6
    assert np.bincount(keyframes.measured_by, minlength=11).tolist() == 7 * [0] + 4 * [80]
    keyframes.add_frame(pose(5), valid=True)
    assert keyframes.trajectory().segments.tolist() == [0, 0, 0, 0, 0, 0, 1, 0]
    assert [view.keyframe for view in keyframes.left] == [6]


def test_the_expected_motion_dies_away():
    """A step of 0.4 m forward while turning by 0.08 rad: half of it, a quarter; together never twice the step."""
    keyframes = filled(1)
    keyframes.add_frame(np.eye(4), valid=True)
    keyframes.add_frame(se3_exp(torch.tensor([0.0, 0.0, 0.4, 0.0, 0.08, 0.0], dtype=torch.float64)).numpy(), valid=True)
    for _ in range(30):
        keyframes.slow_down()
        keyframes.add_frame(keyframes.predicted(), valid=False)
    way = np.linalg.norm(np.diff([keyframes.world_from_frame(i)[:3, 3] for i in range(32)], axis=0), axis=1)
    assert np.allclose(way[:4], [0.4, 0.2, 0.1, 0.05], rtol=1e-3)
    assert np.arccos(keyframes.world_from_frame(-1)[0, 0]) < 0.16001


def test_expected_pixels_are_projections_of_what_is_before_the_camera():
    keyframes = filled(1)
    keyframes.add_landmarks(np.array([100]), np.array([[0.0, 0.0, -5.0]]))
    last = np.full((3, 2), 7.0)
    expected = keyframes.expected_pixels(np.array([4, 100, 999]), last, pose(2))
    assert np.allclose(expected[0], seen(pose(2))[4, :2])
    assert (expected[1:] == 7.0).all()


def test_prediction_goes_on_with_the_last_measured_motion():
    keyframes = filled(1)
    keyframes.add_frame(pose(0), valid=True)
    assert np.allclose(keyframes.predicted(), pose(0))
    step = se3_exp(torch.tensor([0.0, 0.0, 0.3, 0.0, 0.02, 0.0], dtype=torch.float64)).numpy()
    keyframes.add_frame(pose(0) @ step, valid=True)
    keyframes.add_frame(keyframes.predicted(), valid=False)
    keyframes.add_frame(keyframes.predicted(), valid=False)
    assert np.allclose(keyframes.world_from_frame(3), pose(0) @ step @ step @ step)
    assert keyframes.trajectory().valid.tolist() == [True, True, False, False]


def test_scaling_the_start_keeps_what_is_seen():
    keyframes = filled(2)
    keyframes.scale_start(3.0)
    baseline = keyframes.world_from_keyframe[1, :3, 3] - keyframes.world_from_keyframe[0, :3, 3]
    assert np.allclose(baseline, 3 * (pose(1)[:3, 3] - pose(0)[:3, 3]))
    for k in range(2):
        assert np.allclose(seen(keyframes.world_from_keyframe[k], keyframes.points_world)[:, :2], seen(pose(k))[:, :2])


def test_nothing_stepped_is_an_empty_trajectory():
    trajectory = Keyframes(INTRINSICS, 4, 2).trajectory()
    assert trajectory.first_from_sensor.shape == (0, 4, 4)
    assert trajectory.valid.shape == (0,)
