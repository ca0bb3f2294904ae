from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings.calibration import require_rigid, require_usable, without_lost_poses
from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA, Camera, Lidar, Recording, Rig, Truth

INTRINSICS = np.array([[30.0, 0, 19.5], [0, 31.0, 11.5], [0, 0, 1]])


def camera(name: str, right_m: float = 0.0, **changed) -> Camera:
    """A forward camera `right_m` to the right."""
    stand = BODY_FROM_FORWARD_CAMERA.copy()
    stand[1, 3] = -right_m
    return replace(Camera(name=name, size=(24, 40), intrinsics=INTRINSICS, body_from_camera=stand), **changed)


@pytest.mark.parametrize("scale", [0.0, 2.0, -1.0, float("nan")])
def test_what_is_no_rotation_is_an_error(scale):
    with pytest.raises(InputError, match=r"t\.txt: holds a transform whose rotation is no rotation matrix"):
        require_rigid(np.diag([scale, scale, scale, 1.0]), Path("t.txt"))


def test_poses_that_are_no_rigid_motions_are_missing_in_truth_and_odometry():
    """A turn, a mirror, a stretch, a lost pose as zeros, one as infinities, and a turn that is off by rounding."""
    turn = np.array([[0.0, -1, 0, 3], [1, 0, 0, 4], [0, 0, 1, 5], [0, 0, 0, 1]])
    poses = np.stack([turn] * 6)
    poses[1, 0] *= -1
    poses[2, :3, :3] *= 1.1
    poses[3] = 0
    poses[4] = -np.inf
    poses[5, :3, :3] += 1e-4
    recording = Recording(
        source="drive",
        format="",
        rig=Rig(),
        stamps_ns=np.arange(6),
        odometry=poses,
        truth=Truth(world_from_camera=poses.copy()),
    )
    kept = without_lost_poses(recording)
    for found in (kept.odometry, kept.truth.world_from_camera):
        assert np.isnan(found).all((1, 2)).tolist() == [False, True, True, True, True, False]
        np.testing.assert_array_equal(found[0], turn)
    assert kept.remarks == (
        "4 of 6 frames have no true pose: it is missing or no rigid motion (the first is frame 1)",
        "4 of 6 frames have no odometry: it is missing or no rigid motion (the first is frame 1)",
    )


def test_a_usable_rig_is_itself():
    rig = Rig(cameras=(camera("a"), camera("b", 0.1)), stereo=("a", "b"), lidar=Lidar(body_from_lidar=np.eye(4)))
    assert require_usable(rig, "drive") is rig


@pytest.mark.parametrize(
    ("rig", "message"),
    [
        (Rig(cameras=(camera("a"), camera("b")), stereo=("a", "b")), "stereo cameras a and b are at one place"),
        (Rig(cameras=(camera("a", intrinsics=INTRINSICS * np.nan),)), "camera a: not a camera matrix"),
        (Rig(cameras=(camera("a", intrinsics=INTRINSICS * [-1, 1, 1]),)), "camera a: not a camera matrix"),
        (Rig(cameras=(camera("a", size=(40_000, 40_000)),)), "camera a has 40000x40000 pixels"),
        (Rig(cameras=(camera("a", body_from_camera=np.full((4, 4), np.nan)),)), "camera a: holds a transform"),
        (Rig(lidar=Lidar(body_from_lidar=np.full((4, 4), np.inf))), "LiDAR: holds a transform"),
    ],
)
def test_a_rig_that_nothing_can_be_computed_with_is_refused(rig, message):
    with pytest.raises(InputError, match=f"^drive: .*{message}|^drive: {message}"):
        require_usable(rig, "drive")
