"""ROS messages as this package's types. Messages are those of rosbags, of ROS 1 or ROS 2 alike."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt16

from firstsight.errors import InputError
from firstsight.formats.png import decode_bytes, eight_bits
from firstsight.formats.trajectory import from_rows
from firstsight.recordings.calibration import require_intrinsics, require_rigid
from firstsight.recordings.files import depth_from_raw
from firstsight.recordings.recording import DepthImage, Distortion, Image, Scan, Transform
from firstsight.recordings.ros.point_times import Clock
from firstsight.recordings.ros.rvl import decode_rvl

DEPTH_PER_METRE = 1000.0  # of 16-bit depth (REP 118)
DEPTH_ENCODINGS = frozenset({"16UC1", "32FC1"})
LIGHT_ENCODINGS = ("mono16", "16UC1")
COMPRESSED_DEPTH_HEADER = 12  # bytes in front of the PNG or RVL
VIDEO_CODECS = ("h264", "h265", "hevc", "av1", "vp8", "vp9", "theora")  # whose messages are no images by themselves

# Encoding -> channels and OpenCV's conversion to RGB. OpenCV's own Bayer names are shifted by a row and a column; these are not.
COLOUR_CONVERSIONS = {
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "bayer_rggb8": (1, cv2.COLOR_BayerRGGB2RGB),
    "bayer_bggr8": (1, cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg8": (1, cv2.COLOR_BayerGBRG2RGB),
    "bayer_grbg8": (1, cv2.COLOR_BayerGRBG2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
}
# Models and their number of coefficients.
DISTORTION_MODELS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4, "fisheye": 4}
FISHEYE_MODELS = frozenset({"equidistant", "fisheye"})

# sensor_msgs/PointField
POINT_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
INTENSITY_FIELDS = ("intensity", "reflectivity", "reflectance", "i")
TIME_FIELDS = ("t", "time", "timestamp", "time_stamp", "offset_time", "timeOffset")


def is_compressed(message: Any) -> bool:
    return hasattr(message, "format")


def encoding_of(message: Any) -> str:
    """The pixel encoding of an Image, or of what a CompressedImage was made from (`bgr8; jpeg compressed bgr8`)."""
    return message.format.split(";")[0].strip() if is_compressed(message) else message.encoding


def is_depth(message: Any, topic: str) -> bool:
    """Whether the image holds depth rather than light."""
    encoding = encoding_of(message)
    return encoding in DEPTH_ENCODINGS or (encoding in ("mono16", "png") and "depth" in topic)


def may_be_light(message: Any, topic: str) -> bool:
    """Whether 16-bit values that look like depth could as well be those of a thermal camera."""
    return encoding_of(message) == "16UC1" and "depth" not in topic.lower()


def sixteen_bit_light(message: Any, source: str) -> UInt16[np.ndarray, "height width"] | None:
    """The light of an Image with 16 bits, None for one with 8 or a compressed one."""
    if is_compressed(message) or message.encoding not in LIGHT_ENCODINGS:
        return None
    return _pixels(message, "u2", 1, source)


def size_of(message: Any, source: str) -> tuple[int, int]:
    """(height, width)"""
    if is_compressed(message):
        height, width = _compressed_depth(message, source).shape[:2]
        return height, width
    return message.height, message.width


def image(message: Any, white: int, source: str) -> Image:
    """RGB of an Image or CompressedImage, of 16-bit ones with `white` at 255.

    Raises InputError for an encoding that is not known or damaged data.
    """
    if is_compressed(message):
        return np.ascontiguousarray(_decompressed(message, cv2.IMREAD_COLOR, source)[:, :, ::-1])
    light = sixteen_bit_light(message, source)
    if light is not None:
        return cv2.cvtColor(eight_bits(light, white), cv2.COLOR_GRAY2RGB)
    if message.encoding not in COLOUR_CONVERSIONS:
        known = ", ".join((*COLOUR_CONVERSIONS, *LIGHT_ENCODINGS))
        raise InputError(f"{source}: image encoding '{message.encoding}' is none of {known}; convert the topic")
    channels, conversion = COLOUR_CONVERSIONS[message.encoding]
    pixels = _pixels(message, "u1", channels, source)
    return cv2.cvtColor(pixels, conversion) if conversion is not None else pixels.copy()


def depth(message: Any, source: str) -> DepthImage:
    """Metres of an Image with encoding 16UC1 (mm) or 32FC1 (m), or of a CompressedImage with 16-bit PNG or RVL (mm)."""
    if is_compressed(message):
        raw = _compressed_depth(message, source)
        if raw.dtype != np.uint16 or raw.ndim != 2:
            raise InputError(f"{source}: compressed depth must be 16-bit PNG of millimetres; record the raw topic")
        return depth_from_raw(raw, DEPTH_PER_METRE, (0,))
    if message.encoding != "32FC1":
        return depth_from_raw(_pixels(message, "u2", 1, source), DEPTH_PER_METRE, (0,))
    metres = _pixels(message, "f4", 1, source)
    valid = np.isfinite(metres) & (metres > 0)
    return DepthImage(np.where(valid, metres, np.float32(0)), valid)


def _compressed_depth(message: Any, source: str) -> np.ndarray:
    """What a CompressedImage holds, at its own depth."""
    if "compressedDepth rvl" in message.format:
        return decode_rvl(bytes(message.data)[COMPRESSED_DEPTH_HEADER:], source)
    return _decompressed(message, cv2.IMREAD_UNCHANGED, source)


def _decompressed(message: Any, flags: int, source: str) -> np.ndarray:
    """Raises InputError where the message is damaged, or holds a part of a video instead of an image."""
    content, kind = bytes(message.data), message.format.lower()
    if any(codec in kind for codec in VIDEO_CODECS):
        raise InputError(
            f"{source}: a video in pieces ('{message.format}'), not images; decode it to JPEG, PNG or raw images"
        )
    if "compressedDepth" in message.format:
        content = content[COMPRESSED_DEPTH_HEADER:]
    return decode_bytes(content, source, flags)


def _pixels(message: Any, dtype: str, channels: int, source: str) -> np.ndarray:
    """The array of an Image, without the padding of its rows; (height, width) for one channel."""
    stored = np.dtype((">" if message.is_bigendian else "<") + dtype)
    height, width = message.height, message.width
    row_bytes = width * channels * stored.itemsize
    content = np.frombuffer(bytes(message.data), np.uint8)
    if not row_bytes or message.step < row_bytes or not 0 < height * message.step <= len(content):
        raise InputError(f"{source}: {len(content)} bytes are too few for {width}x{height} '{message.encoding}'")
    rows = content[: height * message.step].reshape(height, message.step)[:, :row_bytes]
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.ascontiguousarray(rows).view(stored).astype(np.dtype(dtype)).reshape(shape)


class Calibration(NamedTuple):
    """CameraInfo of one camera; `rectified_from_camera` and `projection` belong to its stereo pair."""

    intrinsics: Float64[np.ndarray, "3 3"]
    distortion: Distortion | None
    rectified_from_camera: Float64[np.ndarray, "3 3"]
    projection: Float64[np.ndarray, "3 4"]

    def rectified(self) -> "Calibration":
        """The calibration of the images after image_proc's rectification."""
        return Calibration(self.projection[:, :3].copy(), None, np.eye(3), self.projection)


def image_size_of(info: Any) -> tuple[int, int]:
    """(height, width) of the images that a CameraInfo belongs to: its region of interest, binned. (0, 0) where it says none."""
    (by_x, by_y), _, (height, width) = _window(info)
    return height // by_y, width // by_x


def _window(info: Any) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Binning (x, y), where the region of interest starts (x, y), and its (height, width), in pixels of the full image."""
    roi, whole = info.roi, (info.height, info.width)
    region = (roi.height, roi.width) if roi.height and roi.width else whole
    return (max(info.binning_x, 1), max(info.binning_y, 1)), (roi.x_offset, roi.y_offset), region


def windowed(calibration: "Calibration", info: Any) -> "Calibration":
    """The calibration, which is of the full image, for the images of the CameraInfo's region, binned (REP 104)."""
    (by_x, by_y), (x, y), _ = _window(info)
    change = np.array([[1 / by_x, 0, -x / by_x], [0, 1 / by_y, -y / by_y], [0, 0, 1]])
    return calibration._replace(intrinsics=change @ calibration.intrinsics, projection=change @ calibration.projection)


def calibration(info: Any, source: str) -> Calibration | None:
    """The content of a CameraInfo, None where it says that the camera is not calibrated (K is zero)."""
    k, r, p = (_numbers(info, name) for name in "krp")
    if k[0] == 0:
        return None
    intrinsics = require_intrinsics(k.reshape(3, 3).copy(), f"{source}: K of its CameraInfo")
    rectified_from_camera, projection = np.eye(4), np.hstack([intrinsics, np.zeros((3, 1))])
    if r.any():
        rectified_from_camera[:3, :3] = r.reshape(3, 3)
        require_rigid(rectified_from_camera, f"{source}: R of its CameraInfo")
    if p.any():
        projection = p.reshape(3, 4)
        require_intrinsics(projection[:, :3], f"{source}: P of its CameraInfo")
    return Calibration(
        intrinsics=intrinsics,
        distortion=_distortion(info.distortion_model, _numbers(info, "d"), source),
        rectified_from_camera=rectified_from_camera[:3, :3],
        projection=projection,
    )


def _numbers(info: Any, name: str) -> Float64[np.ndarray, " numbers"]:
    """A matrix of a CameraInfo, row by row; ROS 1 calls it by an upper case letter."""
    return np.asarray(getattr(info, name.upper()) if hasattr(info, name.upper()) else getattr(info, name), np.float64)


def _distortion(model: str, coefficients: Float64[np.ndarray, " k"], source: str) -> Distortion | None:
    if not coefficients.any():
        return None
    if not np.isfinite(coefficients).all():
        raise InputError(f"{source}: the distortion coefficients of its CameraInfo are not finite; record it again")
    if model not in DISTORTION_MODELS:
        raise InputError(f"{source}: distortion model '{model}' is none of {', '.join(DISTORTION_MODELS)}")
    count = DISTORTION_MODELS[model]
    used = tuple(float(value) for value in coefficients[:count])
    # "plumb_bob" is written without its k3 too
    if len(used) not in ({4, 5} if model == "plumb_bob" else {count}):
        raise InputError(f"{source}: '{model}' needs {count} distortion coefficients, its CameraInfo has {len(used)}")
    return Distortion(model="equidistant" if model in FISHEYE_MODELS else "radial-tangential", coefficients=used)


def scan(message: Any, stamp_ns: int, clock: Clock | None, source: str) -> Scan:
    """Points of a PointCloud2 that are finite and not at the origin; times are relative to the cloud's stamp."""
    cloud = _returns(message, source)
    points, names = _points(cloud), cloud.dtype.names or ()
    intensity = next((cloud[name].astype(np.float32) for name in INTENSITY_FIELDS if name in names), None)
    times = _times_of(cloud)
    return Scan(points, intensity, clock.seconds(times, stamp_ns) if clock is not None and times is not None else None)


def point_times(message: Any, source: str) -> np.ndarray | None:
    """The time of each point as the message has it, in whatever unit; None where it has none."""
    return _times_of(_returns(message, source))


def _returns(message: Any, source: str) -> np.ndarray:
    """The cloud's points that are finite and not at the origin, as a structured array."""
    cloud = _structured(message, source)
    if not {"x", "y", "z"} <= set(cloud.dtype.names or ()):
        raise InputError(f"{source}: a point cloud without one x, y, z per point; choose another topic")
    points = _points(cloud)
    return cloud[np.isfinite(points).all(1) & points.any(1)]


def _points(cloud: np.ndarray) -> Float32[np.ndarray, "points 3"]:
    return np.stack([cloud[axis] for axis in "xyz"], -1).astype(np.float32)


def _times_of(cloud: np.ndarray) -> np.ndarray | None:
    return next((cloud[name] for name in TIME_FIELDS if name in (cloud.dtype.names or ())), None)


def _structured(message: Any, source: str) -> np.ndarray:
    """The cloud's points as a structured array, flattened."""
    order = ">" if message.is_bigendian else "<"
    fields = [field for field in message.fields if field.datatype in POINT_TYPES and field.count <= 1]
    for field in fields:
        # NumPy takes an offset beyond 32 bits for one in front of the point, and reads what is there
        if field.offset + np.dtype(POINT_TYPES[field.datatype]).itemsize > message.point_step:
            raise InputError(
                f"{source}: the field {field.name} of its points begins at byte {field.offset} of {message.point_step}; "
                "choose another topic"
            )
    try:
        layout = np.dtype(
            {
                "names": [field.name for field in fields],
                "formats": [order + POINT_TYPES[field.datatype] for field in fields],
                "offsets": [field.offset for field in fields],
                "itemsize": message.point_step,
            }
        )
    except ValueError as error:
        raise InputError(f"{source}: fields of the point cloud do not fit ({error}); choose another topic") from None
    content = np.frombuffer(bytes(message.data), np.uint8)
    row_bytes = message.width * message.point_step
    if len(content) < message.height * message.row_step or message.row_step < row_bytes:
        raise InputError(f"{source}: {len(content)} bytes are too few for {message.width}x{message.height} points")
    rows = content[: message.height * message.row_step].reshape(message.height, message.row_step)[:, :row_bytes]
    return np.ascontiguousarray(rows).view(layout).ravel()


def transform(translation: Any, rotation: Any, source: str) -> Transform:
    """The 4x4 matrix of a position and a quaternion. Raises InputError for a quaternion of zeros."""
    values = (translation.x, translation.y, translation.z, rotation.x, rotation.y, rotation.z, rotation.w)
    row = np.array(values, dtype=np.float64)
    if not np.isfinite(row).all():
        raise InputError(f"{source}: a pose that is not finite; leave the topic or the time out of the bag")
    if not row[3:].any():
        raise InputError(f"{source}: a pose with the quaternion 0 0 0 0; record a topic with orientations")
    return from_rows(row[None])[0]


def pose(message: Any, source: str) -> Transform:
    """frame_from_child of an Odometry, PoseStamped or PoseWithCovarianceStamped."""
    inner = message.pose
    inner = inner.pose if hasattr(inner, "pose") else inner
    return transform(inner.position, inner.orientation, source)
