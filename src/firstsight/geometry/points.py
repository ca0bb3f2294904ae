"""Point clouds seen by a camera."""

import numpy as np
from jaxtyping import Bool, Float, Float32

from firstsight.geometry.camera import MIN_DEPTH


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
