"""What every calibration must fulfil, whichever reader it comes from: cameras that see, and stands that are rigid."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from firstsight.errors import InputError
from firstsight.formats.png import MAX_PIXELS
from firstsight.recordings.recording import Rig

# Two cameras nearer to each other than this are at one place.
MIN_BASELINE_M = 1e-6


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
    rotation = matrix[:3, :3]
    if not (
        np.isfinite(matrix).all()
        and np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2)
        and np.linalg.det(rotation) > 0
    ):
        raise InputError(f"{source}: holds a transform whose rotation is no rotation matrix; restore the file")
    return matrix


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
