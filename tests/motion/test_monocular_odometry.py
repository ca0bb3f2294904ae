import pickle

import numpy as np
import pytest
import torch

from firstsight.evaluation.trajectory import absolute_errors_m, root_mean_square
from firstsight.motion.monocular_odometry import START_DEPTH, MonocularOdometry
from firstsight.recordings.opening import open_recording
from firstsight.roles import Observation


def run(observations: list[Observation]) -> MonocularOdometry:
    odometry = MonocularOdometry()
    for observation in observations:
        odometry.step(observation)
    return odometry


def ate_m(odometry: MonocularOdometry, world_from_camera: np.ndarray, part: slice = slice(None)) -> float:
    """After Sim(3) alignment, over the valid frames of a part."""
    estimated, valid, _ = (value.numpy()[part] for value in odometry.trajectory())
    return root_mean_square(absolute_errors_m(estimated[valid], world_from_camera[part][valid], "sim3"))


def test_follows_a_drive_and_fills_in_the_frames_before_its_start(drive):
    odometry = run(drive.observations)
    assert odometry.trajectory().valid.all()
    assert ate_m(odometry, drive.world_from_camera) < 0.05
    assert ate_m(odometry, drive.world_from_camera, slice(6)) < 0.05


def test_the_unit_is_a_tenth_of_the_starts_median_depth(drive):
    odometry = MonocularOdometry()
    while odometry._waiting is not None:
        odometry.step(drive.observations[len(odometry.trajectory().valid)])
    first = odometry._keyframes.world_from_keyframe[0]
    assert np.allclose(first, np.eye(4))
    assert np.median(odometry._keyframes.points_world[:, 2]) == pytest.approx(START_DEPTH, rel=1e-6)


def test_a_still_camera_has_no_motion_to_say(drive):
    """The same place again and again, with the camera's noise: no frame is valid, no pose is made up."""
    generator = torch.Generator().manual_seed(0)
    still = drive.observations[0]
    odometry = run(
        [still._replace(image=(still.image + 0.01 * torch.randn(still.image.shape, generator=generator)).clamp(0, 1))
         for _ in range(8)]
    )  # fmt: skip
    assert not odometry.trajectory().valid.any()
    assert torch.equal(odometry.trajectory().first_from_sensor, torch.eye(4, dtype=torch.float64).expand(8, 4, 4))


@pytest.mark.parametrize("cut", [1, 3, 12])
def test_a_restored_run_goes_on_to_the_bit(drive, cut, carried_on):
    """Before the start, when it is near, and after it."""
    whole = run(drive.observations).trajectory()
    odometry = carried_on(run(drive.observations[:cut]), MonocularOdometry())
    for observation in drive.observations[cut:]:
        odometry.step(observation)
    assert torch.equal(odometry.trajectory().first_from_sensor, whole.first_from_sensor)
    assert torch.equal(odometry.trajectory().valid, whole.valid)


def test_two_black_frames_are_bridged(drive, blinded):
    odometry = run(blinded(drive.observations, range(14, 16)))
    assert (~odometry.trajectory().valid).nonzero().flatten().tolist() == [14, 15]
    assert ate_m(odometry, drive.world_from_camera) < 0.1


def test_a_new_start_after_a_loss_keeps_the_scale_roughly(drive, blinded):
    """Eight frames in the dark; the street is about as deep after them as before, so a metre stays about as long."""
    odometry = run(blinded(drive.observations, range(8, 16)))
    estimated, valid, _ = (value.numpy() for value in odometry.trajectory())
    assert valid[:8].all()
    assert not valid[8:15].any()
    assert valid[-4:].all()
    steps = np.linalg.norm(np.diff(estimated[:, :3, 3], axis=0), axis=1)
    true_steps = np.linalg.norm(np.diff(drive.world_from_camera[:, :3, 3], axis=0), axis=1)
    ratio = (steps / true_steps)[[*range(1, 7), *range(20, 23)]]
    assert ratio.max() / ratio.min() < 1.5


def test_a_camera_that_stood_still_in_the_dark_goes_on_where_it_was(drive, blinded):
    """Twenty dark frames, then the old view again, while it waits for a new start: the first segment goes on."""
    seen = drive.observations
    observations = [*seen[:12], *blinded([seen[11]] * 20, range(20)), *seen[11:16]]
    first_from_camera, valid, segments = run(observations).trajectory()
    assert valid.tolist() == [True] * 12 + [False] * 20 + [True] * 5
    assert segments.tolist() == [0] * 37
    step = torch.linalg.norm(first_from_camera[11, :3, 3] - first_from_camera[10, :3, 3])
    assert torch.linalg.norm(first_from_camera[32, :3, 3] - first_from_camera[11, :3, 3]) < 0.1 * step


@pytest.mark.parametrize("cut", [10, 24, 30])
def test_a_broken_run_is_restored_to_the_bit(drive, blinded, cut, carried_on):
    """Lost, in the dark, waiting anew with the old views remembered; then the old place again."""
    seen = drive.observations
    other = [frame._replace(image=frame.image.flip(-1)) for frame in seen[18:21]]
    observations = [
        *seen[:9],
        *blinded([seen[8]] * 14, range(14)),
        *other,
        *blinded([seen[8]] * 3, range(3)),
        *seen[8:12],
    ]
    whole = run(observations).trajectory()
    odometry = carried_on(run(observations[:cut]), MonocularOdometry())
    for observation in observations[cut:]:
        odometry.step(observation)
    for part, expected in zip(odometry.trajectory(), whole, strict=True):
        assert torch.equal(part, expected)
    assert whole.valid[-4:].all()
    assert whole.segments[[8, 24, 29, 32]].tolist() == [0, 1, 0, 0]


def test_changes_of_brightness_are_survived(drive, flickering):
    odometry = run(flickering(drive.observations, seed=2))
    assert odometry.trajectory().valid.all()
    assert ate_m(odometry, drive.world_from_camera) < 0.08


def test_nothing_to_see_and_short_clips(drive, blinded):
    assert not run(blinded(drive.observations[:3], range(3))).trajectory().valid.any()
    assert run([]).trajectory().first_from_sensor.shape == (0, 4, 4)
    assert run(drive.observations[:1]).trajectory().valid.tolist() == [False]


def test_what_is_remembered_does_not_grow_while_waiting(drive):
    still = drive.observations[0]._replace(depth=None, points_lidar=None)
    sizes = [len(pickle.dumps(run([still] * frames).state())) for frames in (110, 160)]
    assert sizes[1] < sizes[0] + 50 * 500


@pytest.mark.slow
def test_kitti_drive(shared_data, observe):
    """Twenty frames in a traffic jam, 4 m. The reference is KISS-ICP's, itself good to some 0.02 m."""
    path = shared_data / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_0000_sync"
    recording = open_recording(str(path), sensors=frozenset({"camera"}))
    odometry = run([observe(frame) for frame in recording])
    assert odometry.trajectory().valid.all()
    assert ate_m(odometry, recording.truth.world_from_camera) < 0.08


@pytest.mark.slow
def test_dashcam(shared_data, observe):
    """No truth: a car that drives straight on goes straight on, at a speed that does not jump."""
    recording = open_recording(str(shared_data / "video" / "dashcam.mp4"), frames="0:100:1")
    odometry = run([observe(frame) for frame in recording])
    positions = odometry.trajectory().first_from_sensor.numpy()[:, :3, 3]
    assert odometry.trajectory().valid.float().mean() > 0.95
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    assert np.percentile(steps, 95) < 2 * np.median(steps)
    assert positions[-1, 2] > 5 * np.abs(positions[-1, :2]).max()
