"""Rigid motions as 4x4 matrices named `a_from_b`: `a_from_c = a_from_b @ b_from_c`, adjacent names match.

Tangents are (translation, rotation) in metres and radians, and updates act on the right: `a_from_b @ se3_exp(xi_b)`.
Every function takes any leading batch shape, float32 or float64, and is differentiable, at the identity too.

Source: Barfoot, State Estimation for Robotics (2017), section 7.1; Sola, Deray, Atchuthan, A micro Lie theory (2018).
"""

import torch
from jaxtyping import Float
from torch import Tensor

SMALL_ANGLE_SQUARED = 1e-4  # below it the Taylor series of three terms is exact to float64


def hat(vector: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """The skew-symmetric matrix with hat(v) @ u = cross(v, u)."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def _coefficients(rotation: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(theta^2, sin(theta)/theta, (1 - cos(theta))/theta^2, (theta - sin(theta))/theta^3), smooth at zero; (..., 1, 1)."""
    squared = rotation.square().sum(-1)[..., None, None]
    small = squared < SMALL_ANGLE_SQUARED
    safe = torch.where(small, torch.ones_like(squared), squared)  # keeps the unused branch's gradient finite
    theta = safe.sqrt()
    a = torch.where(small, 1 - squared / 6 * (1 - squared / 20 * (1 - squared / 42)), theta.sin() / theta)
    b = torch.where(
        small, 0.5 - squared / 24 * (1 - squared / 30 * (1 - squared / 56)), 2 * (theta / 2).sin() ** 2 / safe
    )
    c = torch.where(
        small, 1 / 6 - squared / 120 * (1 - squared / 42 * (1 - squared / 72)), (theta - theta.sin()) / (safe * theta)
    )
    return squared, a, b, c


def so3_exp(rotation: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """Rotation matrix of a rotation vector (Rodrigues)."""
    _, a, b, _ = _coefficients(rotation)
    w = hat(rotation)
    return torch.eye(3, dtype=w.dtype, device=w.device) + a * w + b * (w @ w)


def so3_log(rotation: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 3"]:
    """Rotation vector of a rotation matrix, exact near 0 and near pi (through the quaternion)."""
    quaternion = matrix_to_quaternion_wxyz(rotation)
    w, xyz = quaternion[..., :1], quaternion[..., 1:]
    squared = xyz.square().sum(-1, keepdim=True)
    small = squared < SMALL_ANGLE_SQUARED / 4
    norm = torch.where(small, torch.ones_like(squared), squared).sqrt()
    # 2 atan2(s, w) / s; for small s and w > 0 the series of 2 asin(s) / s, since w = sqrt(1 - s^2)
    factor = torch.where(
        small, 2 + squared / 3 * (1 + squared * 9 / 20 * (1 + squared * 25 / 42)), 2 * torch.atan2(norm, w) / norm
    )
    return factor * xyz


def se3_exp(tangent: Float[Tensor, "... 6"]) -> Float[Tensor, "... 4 4"]:
    """The motion of a tangent (translation, rotation)."""
    translation, rotation = tangent[..., :3], tangent[..., 3:]
    _, a, b, c = _coefficients(rotation)
    w = hat(rotation)
    eye = torch.eye(3, dtype=w.dtype, device=w.device)
    left_jacobian = eye + b * w + c * (w @ w)
    return from_parts(eye + a * w + b * (w @ w), (left_jacobian @ translation[..., None])[..., 0])


def se3_log(a_from_b: Float[Tensor, "... 4 4"]) -> Float[Tensor, "... 6"]:
    """The tangent (translation, rotation) of a motion."""
    rotation = so3_log(a_from_b[..., :3, :3])
    squared, a, b, _ = _coefficients(rotation)
    small = squared < SMALL_ANGLE_SQUARED
    safe = torch.where(small, torch.ones_like(squared), squared)
    d = torch.where(small, 1 / 12 + squared / 720 * (1 + squared / 42), (1 - a / (2 * b)) / safe)
    w = hat(rotation)
    inverse_left_jacobian = torch.eye(3, dtype=w.dtype, device=w.device) - w / 2 + d * (w @ w)
    return torch.cat([(inverse_left_jacobian @ a_from_b[..., :3, 3:])[..., 0], rotation], -1)


def from_parts(rotation: Float[Tensor, "... 3 3"], translation: Float[Tensor, "... 3"]) -> Float[Tensor, "... 4 4"]:
    """The 4x4 matrix of a rotation and a translation."""
    top = torch.cat([rotation, translation[..., None]], -1)
    bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=top.dtype, device=top.device).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], -2)


def inverse(a_from_b: Float[Tensor, "... 4 4"]) -> Float[Tensor, "... 4 4"]:
    """b_from_a, without a general matrix inverse."""
    transposed = a_from_b[..., :3, :3].transpose(-1, -2)
    return from_parts(transposed, -(transposed @ a_from_b[..., :3, 3:])[..., 0])


def transform(
    a_from_b: Float[Tensor, "... 4 4"], points_b: Float[Tensor, "... points 3"]
) -> Float[Tensor, "... points 3"]:
    """points_a = a_from_b points_b."""
    return points_b @ a_from_b[..., :3, :3].transpose(-1, -2) + a_from_b[..., None, :3, 3]


def interpolate(
    world_from_a: Float[Tensor, "... 4 4"], world_from_b: Float[Tensor, "... 4 4"], fraction: Float[Tensor, "..."]
) -> Float[Tensor, "... 4 4"]:
    """The pose on the constant-velocity path from a (fraction 0) to b (fraction 1)."""
    return world_from_a @ se3_exp(fraction[..., None] * se3_log(inverse(world_from_a) @ world_from_b))


def matrix_to_quaternion_wxyz(rotation: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 4"]:
    """Unit quaternion with w >= 0. Of four equivalent formulas the one with the largest divisor is taken (Shepperd 1978)."""
    r = rotation.flatten(-2)
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = r.unbind(-1)
    candidates = torch.stack(
        [
            torch.stack([1 + r00 + r11 + r22, r21 - r12, r02 - r20, r10 - r01], -1),
            torch.stack([r21 - r12, 1 + r00 - r11 - r22, r10 + r01, r02 + r20], -1),
            torch.stack([r02 - r20, r10 + r01, 1 - r00 + r11 - r22, r12 + r21], -1),
            torch.stack([r10 - r01, r02 + r20, r12 + r21, 1 - r00 - r11 + r22], -1),
        ],
        -2,
    )
    best = candidates.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None].expand(*r.shape[:-1], 1, 4)
    quaternion = candidates.gather(-2, best)[..., 0, :]
    quaternion = quaternion / quaternion.norm(dim=-1, keepdim=True)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def quaternion_wxyz_to_matrix(quaternion_wxyz: Float[Tensor, "... 4"]) -> Float[Tensor, "... 3 3"]:
    """Rotation matrix of a quaternion, which need not be of unit length."""
    w, x, y, z = (quaternion_wxyz / quaternion_wxyz.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))
