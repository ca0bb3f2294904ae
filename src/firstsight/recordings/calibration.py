"""What every calibration must fulfil, whichever reader it comes from: cameras that see, and stands that are rigid."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64

from firstsight.errors import InputError
from firstsight.formats.png import MAX_PIXELS
from firstsight.recordings.recording import Recording, Rig, Transforms

# Two cameras nearer to each other than this are at one place.
MIN_BASELINE_M = 1e-6
ROTATION_TOLERANCE = 1e-2


def camera_matrix(fx: float, fy: float, cx: float, cy: float) -> Float64[np.ndarray, "3 3"]:
    """The intrinsics of focal lengths and a principal point in px."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def require_intrinsics(matrix: Float64[np.ndarray, "3 3"], source: Path | str) -> Float64[np.ndarray, "3 3"]:
    """The matrix. Raises InputError where it cannot be a camera's: focal lengths not positive, or another last row."""
    if not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0 and (matrix[2] == (0, 0, 1)).all()):
        raise InputError(
            f"{source}: not a camera matrix (fx 0 cx; 0 fy cy; 0 0 1 with positive fx, fy); restore the calibration"
        )
    return matrix


def require_rigid(matrix: Float64[np.ndarray, "4 4"], source: Path | str) -> Float64[np.ndarray, "4 4"]:
    """The matrix. Raises InputError where its upper left part is no rotation."""
    if not is_rigid(matrix[None]).all():
        raise InputError(f"{source}: holds a transform whose rotation is no rotation matrix; restore the file")
    return matrix


def is_rigid(matrices: Float64[np.ndarray, "poses 4 4"]) -> Bool[np.ndarray, " poses"]:
    """Whether the upper left part is a rotation, to a hundredth, and all is finite; the last row is not looked at."""
    rotation = matrices[..., :3, :3]
    finite = np.asarray(np.isfinite(matrices).all((-2, -1), keepdims=True))
    rotation = np.where(finite, rotation, 0.0)
    square = (np.abs(rotation @ rotation.swapaxes(-1, -2) - np.eye(3)) < ROTATION_TOLERANCE).all((-2, -1))
    return finite[:, 0, 0] & square & (np.linalg.det(rotation) > 0)


def without_lost_poses(recording: Recording) -> Recording:
    """The recording whose true poses and odometry are rigid or NaN, with a remark where only some frames have one.

    Datasets write zeros, infinities or an empty quaternion where tracking was lost.
    """
    true, odometry = recording.truth.world_from_camera, recording.odometry
    if true is not None:
        true, remarks = rigid_or_missing(true, "true pose")
        recording = replace(
            recording,
            truth=replace(recording.truth, world_from_camera=true),
            remarks=(*recording.remarks, *remarks),
        )
    if odometry is not None:
        odometry, remarks = rigid_or_missing(odometry, "odometry")
        recording = replace(recording, odometry=odometry, remarks=(*recording.remarks, *remarks))
    return recording


def rigid_or_missing(poses: Transforms, what: str) -> tuple[Transforms, tuple[str, ...]]:
    """The poses with NaN in the place of those that are no rigid motion, and a remark where there are such or none."""
    lost = ~is_rigid(poses)
    if not lost.any():
        return poses, ()
    remark = (
        f"{lost.sum()} of {len(poses)} frames have no {what}: it is missing or no rigid motion "
        f"(the first is frame {lost.argmax()})"
    )
    return np.where(lost[:, None, None], np.nan, poses), (remark,)


def require_usable(rig: Rig, source: Path | str) -> Rig:
    """The rig. Raises InputError, naming the source and the sensor, where nothing could be computed with it."""
    for camera in rig.cameras:
        height, width = camera.size
        if not 0 < height * width <= MAX_PIXELS:
            raise InputError(
                f"{source}: camera {camera.name} has {width}x{height} pixels; at most {MAX_PIXELS:,} are read"
            )
        require_intrinsics(camera.intrinsics, f"{source}: camera {camera.name}")
        require_rigid(camera.body_from_camera, f"{source}: camera {camera.name}")
    if rig.lidar is not None:
        require_rigid(rig.lidar.body_from_lidar, f"{source}: LiDAR")
    if rig.stereo is not None:
        left, right = rig.stereo_cameras
        apart_m = np.linalg.norm(left.body_from_camera[:3, 3] - right.body_from_camera[:3, 3])
        if apart_m < MIN_BASELINE_M:
            raise InputError(
                f"{source}: the stereo cameras {left.name} and {right.name} are at one place (no baseline); "
                "restore the calibration"
            )
    return rig
