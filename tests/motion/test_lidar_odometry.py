import numpy as np
import pytest
import torch

from firstsight.evaluation.trajectory import absolute_errors_m, root_mean_square
from firstsight.geometry.se3 import se3_exp
from firstsight.motion.lidar_odometry import Config, LidarOdometry, relative_times, usable
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import Recording
from firstsight.roles import Observation


def run(observations: list[Observation]) -> LidarOdometry:
    odometry = LidarOdometry()
    for observation in observations:
        odometry.step(observation)
    return odometry


def world_from_camera(odometry: LidarOdometry, recording: Recording) -> np.ndarray:
    """The camera's poses in the first LiDAR's frame."""
    rig = recording.rig
    lidar_from_camera = np.linalg.inv(rig.lidar.body_from_lidar) @ rig.cameras[0].body_from_camera
    return odometry.trajectory().first_from_sensor.numpy() @ lidar_from_camera


def without(observation: Observation, **changed) -> Observation:
    return observation._replace(image=None, depth=None, intrinsics=None, **changed)


def test_follows_a_drive(drive):
    odometry = run(drive.observations)
    assert odometry.trajectory().valid.all()
    error = root_mean_square(
        absolute_errors_m(world_from_camera(odometry, drive.recording), drive.world_from_camera, "se3")
    )
    raw = root_mean_square(absolute_errors_m(drive.odometry, drive.world_from_camera, "se3"))
    assert error < raw / 3


@pytest.mark.parametrize("cut", [0, 1, 8, 15])
def test_a_restored_run_goes_on_as_the_whole_one(drive, cut, carried_on):
    """With a sweep missing on either side. 1e-9 is promised; to the bit is what it is."""
    observations = list(drive.observations)
    for missing in (5, 12):
        observations[missing] = without(observations[missing], points_lidar=torch.zeros(0, 3))
    whole = run(observations).trajectory()
    odometry = carried_on(run(observations[:cut]), LidarOdometry())
    for observation in observations[cut:]:
        odometry.step(observation)
    resumed = odometry.trajectory()
    assert (resumed.first_from_sensor - whole.first_from_sensor).abs().max() < 1e-9
    assert torch.equal(resumed.valid, whole.valid)


def test_an_empty_sweep_is_not_valid_and_the_motion_goes_on(drive):
    observations = list(drive.observations[:12])
    observations[8] = without(observations[8], points_lidar=torch.zeros(0, 3))
    poses, valid, _ = run(observations).trajectory()
    assert (~valid).nonzero().flatten().tolist() == [8]
    before, there = (torch.linalg.inv(poses[i]) @ poses[i + 1] for i in (6, 7))
    assert torch.allclose(before, there)
    gap = torch.linalg.inv(poses[8]) @ poses[9]
    assert torch.allclose(gap, there, atol=0.15)


def test_nothing_but_bad_points_from_the_start():
    bad = torch.full((500, 3), torch.nan)
    poses, valid, _ = run([Observation(0, points_lidar=bad), Observation(1, points_lidar=bad)]).trajectory()
    assert not valid.any()
    assert torch.equal(poses, torch.eye(4, dtype=torch.float64).expand(2, 4, 4))
    assert LidarOdometry().trajectory().first_from_sensor.shape == (0, 4, 4)


def test_bad_points_are_dropped(drive):
    clean = drive.observations[:4]
    bad = torch.tensor([[torch.nan, 0.0, 0.0], [torch.inf, 0.0, 0.0], [0.0, 0.0, 0.0], [500.0, 0.0, 0.0]])
    dirty = [seen._replace(points_lidar=torch.cat([bad, seen.points_lidar]), point_times_s=None) for seen in clean]
    bare = [seen._replace(point_times_s=None) for seen in clean]
    assert torch.equal(run(dirty).trajectory().first_from_sensor, run(bare).trajectory().first_from_sensor)
    assert usable(bad.double().numpy(), Config()).sum() == 0


@pytest.mark.parametrize("times", [0.0, 7.5, np.nan])
def test_equal_times_are_no_times(drive, times):
    """With de-skewing on, they end the process inside the package."""
    bare = [seen._replace(point_times_s=None) for seen in drive.observations[:3]]
    equal = [
        seen._replace(point_times_s=torch.full((len(seen.points_lidar),), times, dtype=torch.float64)) for seen in bare
    ]
    assert torch.equal(run(equal).trajectory().first_from_sensor, run(bare).trajectory().first_from_sensor)


def test_times_are_given_from_zero_to_one():
    keep = np.array([True, False, True, True])
    times = relative_times(torch.tensor([0.02, 9.0, 0.07, 0.12], dtype=torch.float64), keep)
    assert np.allclose(times, [0, 0.5, 1])
    assert len(relative_times(None, keep)) == 0


def turning(time_s: float) -> np.ndarray:
    """world_from_lidar of a robot that speeds up to 10 m/s while it turns at half a radian per second."""
    travelled = 10 * time_s**2 if time_s < 0.5 else 10 * (time_s - 0.25)
    pose = se3_exp(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 0.5 * time_s], dtype=torch.float64)).numpy()
    pose[:2, 3] = travelled, 2 * np.sin(time_s)
    return pose


def hall() -> np.ndarray:
    """Points of two long and two short walls and two rows of pillars."""
    rng = np.random.default_rng(0)
    ends = [
        np.column_stack([np.full(3000, x), rng.uniform(-15, 15, 3000), rng.uniform(-2, 4, 3000)]) for x in (-20, 45)
    ]
    sides = [
        np.column_stack([rng.uniform(-20, 45, 6000), np.full(6000, y), rng.uniform(-2, 4, 6000)]) for y in (-15, 15)
    ]
    pillars = [
        np.column_stack([x + rng.uniform(-0.5, 0.5, 600), np.full(600, y), rng.uniform(-2, 4, 600)])
        for x in range(-15, 45, 10)
        for y in (-9, 9)
    ]
    return np.concatenate([*ends, *sides, *pillars])


def swept(points: np.ndarray, start_s: float, bins: int = 100) -> Observation:
    """A sweep of 0.1 s, once around, each point seen from where the robot is at its time."""
    middle = turning(start_s + 0.05)
    local = (points - middle[:3, 3]) @ middle[:3, :3]
    share = (np.arctan2(local[:, 1], local[:, 0]) / np.pi + 1) / 2
    for part in range(bins):
        now = turning(start_s + 0.1 * (part + 0.5) / bins)
        seen = (share * bins).astype(int).clip(0, bins - 1) == part
        local[seen] = (points[seen] - now[:3, 3]) @ now[:3, :3]
    return Observation(0, points_lidar=torch.from_numpy(local).float(), point_times_s=torch.from_numpy(0.1 * share))


def test_with_times_a_fast_turn_is_followed_better_and_poses_are_those_of_the_sweeps_end():
    points = hall()
    sweeps = [swept(points, 0.1 * i) for i in range(20)]
    at_end = np.stack([turning(0.1 * (i + 1)) for i in range(20)])

    def error_m(observations: list[Observation], true: np.ndarray) -> float:
        estimated = run(observations).trajectory().first_from_sensor.numpy()
        return root_mean_square(absolute_errors_m(estimated, true, "se3"))

    with_times = error_m(sweeps, at_end)
    assert with_times < 0.7 * error_m([sweep._replace(point_times_s=None) for sweep in sweeps], at_end)
    assert with_times < 0.12


@pytest.mark.slow
def test_kitti_drive(shared_data):
    path = shared_data / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_0000_sync"
    recording = open_recording(str(path))
    scans = [frame.scan() for frame in recording]
    odometry = run([Observation(i, points_lidar=torch.from_numpy(scan.points)) for i, scan in enumerate(scans)])
    errors = absolute_errors_m(world_from_camera(odometry, recording), recording.truth.world_from_camera, "se3")
    assert root_mean_square(errors) < 0.03
