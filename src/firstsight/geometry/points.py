"""Points seen by a pinhole camera, as NumPy arrays: where they are in the image, and where a pixel's point is.

Source: Hartley and Zisserman, Multiple View Geometry (2004), section 6.1. Intrinsics are without skew, except in
`project_to_depth`.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from firstsight.geometry.camera import MIN_DEPTH

Intrinsics = Float64[np.ndarray, "3 3"]
Points = Float64[np.ndarray, "_ 3"]
Pixels = Float64[np.ndarray, "_ 2"]


def project_points(
    points_camera: Float64[np.ndarray, "points 3"], intrinsics: Intrinsics
) -> Float64[np.ndarray, "points 2"]:
    """Pixels of points before the camera. Points with z <= 0 give finite but meaningless pixels: mask them by z."""
    z = np.maximum(points_camera[:, 2:], MIN_DEPTH)
    return points_camera[:, :2] / z * intrinsics.diagonal()[:2] + intrinsics[:2, 2]


def normalise_pixels(
    pixels: Float64[np.ndarray, "points 2"], intrinsics: Intrinsics
) -> Float64[np.ndarray, "points 2"]:
    """Points on the plane z = 1 of pixels: where their rays pass it, without distortion."""
    return (pixels - intrinsics[:2, 2]) / intrinsics.diagonal()[:2]


def unproject_pixels(
    pixels: Float64[np.ndarray, "points 2"], depth: Float64[np.ndarray, " points"], intrinsics: Intrinsics
) -> Float64[np.ndarray, "points 3"]:
    """Points in the camera frame at these depths (along z), in the unit of depth."""
    z = depth[:, None]
    return np.hstack([normalise_pixels(pixels, intrinsics) * z, z])


def move_points(
    points_b: Float64[np.ndarray, "points 3"], a_from_b: Float64[np.ndarray, "4 4"]
) -> Float64[np.ndarray, "points 3"]:
    """Points given in frame b, in frame a."""
    return points_b @ a_from_b[:3, :3].T + a_from_b[:3, 3]


def project_to_depth(
    points_camera: Float[np.ndarray, "points 3"], intrinsics: Float[np.ndarray, "3 3"], height: int, width: int
) -> tuple[Float32[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Sparse depth (metres along z) of points in the camera frame and where there is any; the nearest point of a pixel wins.

    A point belongs to the pixel whose centre is nearest; points behind the camera or outside the image are left out.
    """
    points = points_camera[points_camera[:, 2] > MIN_DEPTH].astype(np.float64)
    z = points[:, 2]
    x, y = np.rint((points / z[:, None]) @ intrinsics[:2].T.astype(np.float64)).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    depth = np.full(height * width, np.inf, dtype=np.float32)
    np.minimum.at(depth, (y[inside] * width + x[inside]).astype(np.int64), z[inside].astype(np.float32))
    depth = depth.reshape(height, width)
    valid = np.isfinite(depth)
    return np.where(valid, depth, np.float32(0)), valid
