"""Two and more views of the same points: the epipolar constraint and triangulation.

Points are on the plane z = 1 of their camera (geometry.camera.normalise), so no intrinsics appear.

    E = hat(t) R of b_from_a,   (x_b, 1)' E (x_a, 1) = 0                                       -> essential_matrix()
    r = x_b' E x_a / sqrt((E x_a)_1^2 + (E x_a)_2^2 + (E' x_b)_1^2 + (E' x_b)_2^2)             -> sampson_residual()
    d = r^2                                                                                    -> sampson_distance()
    z_b x_b = z_a R x_a + t in least squares; with y = R x_a and n = y x x_b,
    z_a = n . (x_b x t) / |n|^2,   z_b = n . (y x t) / |n|^2                                   -> midpoint_depths()
    rows x P_3 - P_1 and y P_3 - P_2 of every view, times X, are 0: least singular vector      -> triangulate()

Source: Hartley and Zisserman, Multiple View Geometry (2004), eqs. 9.12 and 11.9, section 12.2.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from firstsight.geometry.se3 import hat


def essential_matrix(b_from_a: Float[Tensor, "... 4 4"]) -> Float[Tensor, "... 3 3"]:
    """The matrix that maps a point of a to its epipolar line in b; zero where there is no translation."""
    return hat(b_from_a[..., :3, 3]) @ b_from_a[..., :3, :3]


def sampson_distance(
    essential_ba: Float[Tensor, "... 3 3"],
    points_a: Float[Tensor, "... points 2"],
    points_b: Float[Tensor, "... points 2"],
) -> Float[Tensor, "... points"]:
    """Squared distance, to first order, by which a pair must be moved to satisfy the constraint."""
    return sampson_residual(essential_ba, points_a, points_b).square()


def sampson_residual(
    essential_ba: Float[Tensor, "... 3 3"],
    points_a: Float[Tensor, "... points 2"],
    points_b: Float[Tensor, "... points 2"],
) -> Float[Tensor, "... points"]:
    """The distance of `sampson_distance` with the sign of the side on which a pair lies, as least squares need it."""
    a, b = homogeneous(points_a), homogeneous(points_b)
    line_b, line_a = a @ essential_ba.transpose(-1, -2), b @ essential_ba
    algebraic = (b * line_b).sum(-1)
    gradient = line_b[..., :2].square().sum(-1) + line_a[..., :2].square().sum(-1)
    return algebraic / gradient.clamp(min=torch.finfo(gradient.dtype).tiny).sqrt()


def triangulate(
    points: Float[Tensor, "... views 2"], camera_from_world: Float[Tensor, "... views 4 4"]
) -> Float[Tensor, "... 3"]:
    """The world point of least algebraic error, seen at `points` by two or more cameras (direct linear transform).

    A point at infinity, as parallel rays have, comes out very far away. It can lie behind a camera: check.
    """
    rows = points[..., None] * camera_from_world[..., 2:3, :] - camera_from_world[..., :2, :]
    least = torch.linalg.svd(rows.flatten(-3, -2)).Vh[..., -1, :]
    smallest = torch.finfo(least.dtype).tiny
    w = torch.where(least[..., 3:].abs() < smallest, smallest, least[..., 3:])
    return least[..., :3] / w


class MidpointDepths(NamedTuple):
    """Depths along both cameras' axes where two rays are nearest to each other, and the angle between the rays.

    A depth below 0 lies behind its camera; both are infinite where the rays are parallel.
    """

    depth_a: Float[Tensor, "... points"]
    depth_b: Float[Tensor, "... points"]
    parallax_rad: Float[Tensor, "... points"]


def midpoint_depths(
    points_a: Float[Tensor, "... points 2"],
    points_b: Float[Tensor, "... points 2"],
    b_from_a: Float[Tensor, "... 4 4"],
) -> MidpointDepths:
    """Where the rays of pairs of points are nearest, in the unit of the motion; differentiable, but for the angle."""
    translation = b_from_a[..., None, :3, 3]
    turned, seen = homogeneous(points_a) @ b_from_a[..., :3, :3].transpose(-1, -2), homogeneous(points_b)
    normal = torch.linalg.cross(turned, seen)
    squared = normal.square().sum(-1)
    crossing = squared > torch.finfo(squared.dtype).eps ** 2 * turned.square().sum(-1) * seen.square().sum(-1)
    safe = torch.where(crossing, squared, 1)
    depth_a, depth_b = (
        torch.where(crossing, (normal * torch.linalg.cross(ray, translation.expand_as(ray))).sum(-1) / safe, torch.inf)
        for ray in (seen, turned)
    )
    with torch.no_grad():
        parallax = torch.atan2(squared.sqrt(), (turned * seen).sum(-1))
    return MidpointDepths(depth_a, depth_b, parallax)


def parallax_angle(
    points: Float[Tensor, "... 3"], centre_a: Float[Tensor, "... 3"], centre_b: Float[Tensor, "... 3"]
) -> Float[Tensor, "..."]:
    """The angle in radians under which a point sees two camera centres."""
    to_a, to_b = centre_a - points, centre_b - points
    across = torch.linalg.cross(to_a, to_b).norm(dim=-1)
    return torch.atan2(across, (to_a * to_b).sum(-1))


def homogeneous(points: Float[Tensor, "... n"]) -> Float[Tensor, "... n+1"]:
    """The points with a 1 appended."""
    return torch.cat([points, torch.ones_like(points[..., :1])], -1)
