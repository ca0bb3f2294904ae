"""Pinhole projection, its inverse, and the two lens distortions recordings come with.

Camera axes: x right, y down, z forward. Pixel centres are at integers, the top-left one at (0, 0); points are (x, y).
Source: Hartley and Zisserman, Multiple View Geometry (2004), section 6.1; Brown 1971 (radial-tangential);
Kannala and Brandt 2006 (equidistant). Coefficient orders are OpenCV's.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from firstsight.geometry.pixels import pixel_grid

MIN_DEPTH = 1e-6  # a point this close to the camera plane projects nowhere; keeps the division finite


def project(
    points_camera: Float[Tensor, "... points 3"], intrinsics: Float[Tensor, "... 3 3"]
) -> Float[Tensor, "... points 2"]:
    """Pixels of points in front of the camera. Points with z <= 0 give finite but meaningless pixels: mask them by z."""
    z = points_camera[..., 2:].clamp(min=MIN_DEPTH)
    return apply_intrinsics(points_camera[..., :2] / z, intrinsics)


def apply_intrinsics(
    normalised: Float[Tensor, "... points 2"], intrinsics: Float[Tensor, "... 3 3"]
) -> Float[Tensor, "... points 2"]:
    """Pixels of points on the plane z = 1."""
    return normalised @ intrinsics[..., :2, :2].transpose(-1, -2) + intrinsics[..., None, :2, 2]


def normalise(
    pixels: Float[Tensor, "... points 2"], intrinsics: Float[Tensor, "... 3 3"]
) -> Float[Tensor, "... points 2"]:
    """Points on the plane z = 1 of pixels: the inverse of apply_intrinsics."""
    centred = pixels - intrinsics[..., None, :2, 2]
    return centred @ torch.linalg.inv(intrinsics[..., :2, :2]).transpose(-1, -2)


def unproject(
    depth: Float[Tensor, "batch 1 height width"], intrinsics: Float[Tensor, "batch 3 3"]
) -> Float[Tensor, "batch 3 height width"]:
    """The point in the camera frame behind every pixel, in the unit of depth."""
    height, width = depth.shape[-2:]
    pixels = pixel_grid(height, width, dtype=depth.dtype, device=depth.device).flatten(-2).transpose(-1, -2)
    plane = normalise(pixels, intrinsics.to(depth.dtype)).transpose(-1, -2).unflatten(-1, (height, width))
    return torch.cat([plane * depth, depth], 1)


def scale_intrinsics(intrinsics: Float[Tensor, "... 3 3"], scale_x: float, scale_y: float) -> Float[Tensor, "... 3 3"]:
    """Intrinsics after resizing the image by the factors: the corner -0.5 stays, so centres move by half a pixel."""
    change = intrinsics.new_tensor([[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2], [0, 0, 1]])
    return change @ intrinsics


def distort_radial_tangential(
    normalised: Float[Tensor, "... points 2"], coefficients: Float[Tensor, " k"]
) -> Float[Tensor, "... points 2"]:
    """Returns where the lens puts points of the plane z = 1; coefficients (k1, k2, p1, p2[, k3])."""
    k1, k2, p1, p2 = coefficients[:4]
    k3 = coefficients[4] if len(coefficients) > 4 else torch.zeros_like(k1)
    x, y = normalised.unbind(-1)
    squared = x * x + y * y
    radial = 1 + squared * (k1 + squared * (k2 + squared * k3))
    return torch.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (squared + 2 * x * x),
            y * radial + p1 * (squared + 2 * y * y) + 2 * p2 * x * y,
        ],
        -1,
    )


def distort_equidistant(
    normalised: Float[Tensor, "... points 2"], coefficients: Float[Tensor, "4"]
) -> Float[Tensor, "... points 2"]:
    """Returns where a fisheye lens puts points of the plane z = 1: the radius grows with the angle, not its tangent."""
    radius = normalised.norm(dim=-1, keepdim=True)
    safe = radius.clamp(min=1e-9)
    theta = torch.atan(safe)
    squared = theta * theta
    k1, k2, k3, k4 = coefficients
    bent = theta * (1 + squared * (k1 + squared * (k2 + squared * (k3 + squared * k4))))
    return normalised * torch.where(radius < 1e-9, torch.ones_like(radius), bent / safe)


def field_of_view_intrinsics(height: int, width: int, horizontal_fov_rad: float) -> Float[Tensor, "3 3"]:
    """Intrinsics of an ideal camera whose image spans the given horizontal angle, edge to edge."""
    focal_px = width / 2 / torch.tan(torch.tensor(horizontal_fov_rad / 2, dtype=torch.float64))
    intrinsics = torch.eye(3, dtype=torch.float64)
    intrinsics[0, 0] = intrinsics[1, 1] = focal_px
    intrinsics[0, 2], intrinsics[1, 2] = (width - 1) / 2, (height - 1) / 2
    return intrinsics
