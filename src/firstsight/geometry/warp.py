"""Warping one view into another by flow, disparity or depth and motion.

Source: GeoNet (Yin and Shi 2018), eq. 1 for the rigid flow; UnFlow (Meister et al. 2018), eq. 2 for the consistency check.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from firstsight.geometry.camera import project, unproject
from firstsight.geometry.pixels import Sampled, pixel_grid, sample
from firstsight.geometry.se3 import transform


def warp_by_flow(
    image_b: Float[Tensor, "batch channels height width"], flow_ab: Float[Tensor, "batch 2 height width"]
) -> Sampled:
    """Image b seen on the grid of a: value(p) = b(p + flow_ab(p))."""
    height, width = flow_ab.shape[-2:]
    return sample(image_b, pixel_grid(height, width, flow_ab.dtype, flow_ab.device) + flow_ab)


def warp_by_disparity(
    right: Float[Tensor, "batch channels height width"], disparity_left: Float[Tensor, "batch 1 height width"]
) -> Sampled:
    """The right image seen on the grid of the left: value(x) = right(x - disparity)."""
    return warp_by_flow(right, torch.cat([-disparity_left, torch.zeros_like(disparity_left)], 1))


def disparity_to_depth(
    disparity: Float[Tensor, "..."], fx: float, baseline_m: float, cx_left_minus_right: float = 0.0
) -> Float[Tensor, "..."]:
    """depth = fx baseline / (disparity - (cx_left - cx_right)), infinite where the point would lie behind the cameras."""
    parallax = disparity - cx_left_minus_right
    return torch.where(parallax > 0, fx * baseline_m / parallax.clamp(min=1e-9), torch.inf)


def rigid_flow(
    depth_a: Float[Tensor, "batch 1 height width"],
    b_from_a: Float[Tensor, "batch 4 4"],
    intrinsics: Float[Tensor, "batch 3 3"],
) -> tuple[Float[Tensor, "batch 2 height width"], Bool[Tensor, "batch 1 height width"]]:
    """The flow a static world would show, and where it is defined (depth positive, point before both cameras)."""
    height, width = depth_a.shape[-2:]
    points_a = unproject(depth_a, intrinsics).flatten(-2).transpose(-1, -2)
    points_b = transform(b_from_a.to(depth_a.dtype), points_a)
    pixels = project(points_b, intrinsics.to(depth_a.dtype)).transpose(-1, -2).unflatten(-1, (height, width))
    before = (points_b[..., 2] > 0).unflatten(-1, (height, width))[:, None] & (depth_a > 0)
    return pixels - pixel_grid(height, width, depth_a.dtype, depth_a.device), before


def forward_backward_check(
    flow_ab: Float[Tensor, "batch 2 height width"],
    flow_ba: Float[Tensor, "batch 2 height width"],
    relative: float = 0.01,
    absolute_px2: float = 0.5,
) -> tuple[Bool[Tensor, "batch 1 height width"], Float[Tensor, "batch 1 height width"]]:
    """Whether a pixel returns, |f + f'|^2 < relative (|f|^2 + |f'|^2) + absolute with p + f inside b, and |f + f'| in px."""
    back, inside = warp_by_flow(flow_ba, flow_ab)
    gap = (flow_ab + back).square().sum(1, keepdim=True)
    size = (flow_ab.square() + back.square()).sum(1, keepdim=True)
    return inside & (gap < relative * size + absolute_px2), gap.sqrt()
