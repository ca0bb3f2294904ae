"""Undistorted, row-aligned images from distorted ones, resampled when a frame is loaded.

A camera with distortion becomes a pinhole camera of the same size that shows valid pixels only; a stereo pair is turned onto
a common plane whose rows are parallel to the baseline. Cameras and pairs that are so already pass through untouched.

Source: Fusiello, Trucco, Verri, A compact algorithm for rectification of stereo pairs (2000), as in OpenCV's stereoRectify.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float32, Float64

from firstsight.errors import InputError
from firstsight.recordings.calibration import require_intrinsics
from firstsight.recordings.recording import Camera, Channel, DepthImage, Image, Recording, Rig, Truth

ROW_ERROR_PX = 0.5  # of a point at `NEAR_BASELINES` from an aligned pair
NEAR_BASELINES = 10.0
INTRINSICS_TOLERANCE_PX = 0.05


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """The map from the camera as recorded to the `camera` it becomes.

    `x`, `y` are where in the recorded image each new pixel lies; `rectified_from_recorded` is the rotation between both.
    `ray_z` is the recorded camera's z of the new pixel's ray (x, y, 1): depth there is depth here times it.
    """

    camera: Camera
    rectified_from_recorded: Float64[np.ndarray, "3 3"]
    x: Float32[np.ndarray, "height width"]
    y: Float32[np.ndarray, "height width"]
    ray_z: Float32[np.ndarray, "height width"]

    def image(self, image: Image) -> Image:
        return cv2.remap(image, self.x, self.y, cv2.INTER_LINEAR)

    def depth(self, depth: DepthImage) -> DepthImage:
        """Depth of the nearest recorded pixel: values on both sides of an edge are never mixed."""
        values = cv2.remap(depth.depth, self.x, self.y, cv2.INTER_NEAREST)
        valid = cv2.remap(depth.valid.astype(np.uint8), self.x, self.y, cv2.INTER_NEAREST) > 0
        rotated = values / self.ray_z
        return DepthImage(rotated, valid & np.isfinite(rotated))


def rectify(recording: Recording) -> Recording:
    """The recording seen by pinhole cameras whose stereo rows correspond; the recording itself where it is so already.

    True flow, disparity, masks and boxes, which belong to the recorded pixels, are left out where the reference changes.
    """
    try:
        resamplings = _resamplings(recording.rig)
    except cv2.error as error:
        raise InputError(
            f"{recording.source}: its cameras cannot be rectified ({error.err}); check their distortion and positions"
        ) from None
    except InputError as error:
        raise InputError(f"{recording.source}: {error}") from None
    if not resamplings:
        return recording
    for name, resampling in resamplings.items():
        require_intrinsics(resampling.camera.intrinsics, f"{recording.source}: camera {name} without its distortion")
    cameras = tuple(resamplings[c.name].camera if c.name in resamplings else c for c in recording.rig.cameras)
    images = {
        name: images.map(resamplings[name].image) if name in resamplings else images
        for name, images in recording.images.items()
    }
    rectified = replace(recording, rig=replace(recording.rig, cameras=cameras), images=images)
    reference = resamplings.get(recording.rig.cameras[0].name)
    return _with_reference_resampled(rectified, reference) if reference is not None else rectified


def _resamplings(rig: Rig) -> dict[str, Resampling]:
    """How each camera that has to change is resampled."""
    changes = {}
    if rig.stereo is not None and not rows_correspond(rig):
        left, right = rig.stereo_cameras
        changes = dict(zip(rig.stereo, rectified_pair(left, right), strict=True))
    for camera in rig.cameras:
        if camera.distortion is not None and camera.name not in changes:
            changes[camera.name] = undistorted(camera)
    return changes


def rows_correspond(rig: Rig) -> bool:
    """Whether the stereo pair has one size, no distortion and, for points ten baselines away, rows that agree to half a pixel."""
    left, right = rig.stereo_cameras
    if left.size != right.size or left.distortion is not None or right.distortion is not None:
        return False
    focal_difference = np.abs(left.intrinsics - right.intrinsics)[[0, 1, 1], [0, 1, 2]]  # fx, fy, cy: cx may differ
    right_from_left = np.linalg.inv(right.body_from_camera) @ left.body_from_camera
    angle_rad = np.linalg.norm(cv2.Rodrigues(right_from_left[:3, :3])[0])
    x, y, z = np.abs(right_from_left[:3, 3])
    focal_px = left.intrinsics[1, 1]
    row_error_px = focal_px * (angle_rad + max(y, z) / (NEAR_BASELINES * x) if x > 0 else np.inf)
    return bool((focal_difference < INTRINSICS_TOLERANCE_PX).all() and row_error_px < ROW_ERROR_PX)


def undistorted(camera: Camera) -> Resampling:
    """The pinhole camera that sees the largest part of the image without empty borders."""
    height, width = camera.size
    if _is_fisheye(camera):
        intrinsics = cv2.fisheye.estimateNewCameraMatrixForUndistortRectify(
            camera.intrinsics, _coefficients(camera), (width, height), np.eye(3), balance=0.0
        )
    else:
        intrinsics, _ = cv2.getOptimalNewCameraMatrix(camera.intrinsics, _coefficients(camera), (width, height), 0.0)
    return _resampling(camera, np.eye(3), intrinsics)


def rectified_pair(left: Camera, right: Camera) -> tuple[Resampling, Resampling]:
    """Both cameras turned about their centres until their rows correspond, with one intrinsic matrix.

    Raises InputError where the cameras differ in size or in their kind of lens.
    """
    if left.size != right.size or _is_fisheye(left) != _is_fisheye(right):
        raise InputError(
            f"{left.name} and {right.name}: a stereo pair needs one image size and one kind of lens; use one camera alone: --sensors camera"
        )
    right_from_left = np.linalg.inv(right.body_from_camera) @ left.body_from_camera
    arguments = (
        left.intrinsics,
        _coefficients(left),
        right.intrinsics,
        _coefficients(right),
        left.size[::-1],
        right_from_left[:3, :3].copy(),
        right_from_left[:3, 3:].copy(),
    )
    if _is_fisheye(left):
        rectified = cv2.fisheye.stereoRectify(*arguments, flags=cv2.CALIB_ZERO_DISPARITY, balance=0.0)
    else:
        rectified = cv2.stereoRectify(*arguments, flags=cv2.CALIB_ZERO_DISPARITY, alpha=0.0)
    # both return the two turns, then the two projections, then what is not used here
    turns, projections = rectified[:2], rectified[2:4]
    return (
        _resampling(left, turns[0], projections[0][:, :3]),
        _resampling(right, turns[1], projections[1][:, :3]),
    )


def _is_fisheye(camera: Camera) -> bool:
    return camera.distortion is not None and camera.distortion.model == "equidistant"


def _coefficients(camera: Camera) -> Float64[np.ndarray, " k"]:
    return np.array(camera.distortion.coefficients if camera.distortion is not None else (0.0,) * 4)


def _resampling(
    camera: Camera, rectified_from_recorded: Float64[np.ndarray, "3 3"], intrinsics: Float64[np.ndarray, "3 3"]
) -> Resampling:
    height, width = camera.size
    undistort = cv2.fisheye.initUndistortRectifyMap if _is_fisheye(camera) else cv2.initUndistortRectifyMap
    x, y = undistort(
        camera.intrinsics, _coefficients(camera), rectified_from_recorded, intrinsics, (width, height), cv2.CV_32FC1
    )
    body_from_camera = camera.body_from_camera.copy()
    body_from_camera[:3, :3] = body_from_camera[:3, :3] @ rectified_from_recorded.T
    return Resampling(
        camera=replace(camera, intrinsics=intrinsics.copy(), body_from_camera=body_from_camera, distortion=None),
        rectified_from_recorded=rectified_from_recorded,
        x=x,
        y=y,
        ray_z=_recorded_ray_z(camera.size, rectified_from_recorded, intrinsics),
    )


def _recorded_ray_z(
    size: tuple[int, int], rectified_from_recorded: Float64[np.ndarray, "3 3"], intrinsics: Float64[np.ndarray, "3 3"]
) -> Float32[np.ndarray, "height width"]:
    """z in the recorded camera of each new pixel's ray (x, y, 1)."""
    rows, columns = np.indices(size)
    row = rectified_from_recorded.T[2] @ np.linalg.inv(intrinsics)
    return (row[0] * columns + row[1] * rows + row[2]).astype(np.float32)


def _with_reference_resampled(recording: Recording, resampling: Resampling) -> Recording:
    """Depth and truth, which belong to the reference camera, in its new view."""
    truth = recording.truth
    recorded_from_rectified = np.eye(4)
    recorded_from_rectified[:3, :3] = resampling.rectified_from_recorded.T
    poses = truth.world_from_camera
    return replace(
        recording,
        depth=_resampled(recording.depth, resampling),
        truth=Truth(
            world_from_camera=poses @ recorded_from_rectified if poses is not None else None,
            trajectory_reference=truth.trajectory_reference,
            depth=_resampled(truth.depth, resampling),
            depth_reference=truth.depth_reference,
            occupancy=truth.occupancy,
        ),
    )


def _resampled(depth: Channel[DepthImage] | None, resampling: Resampling) -> Channel[DepthImage] | None:
    return depth.map(resampling.depth) if depth is not None else None
