"""The pixel grid and the one bilinear sampler. No other module calls grid_sample (a test looks).

Pixel centres are at integers, the top-left one at (0, 0), so an image spans -0.5 to width - 0.5.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


class Sampled(NamedTuple):
    values: Float[Tensor, "batch channels rows columns"]
    inside: Bool[Tensor, "batch 1 rows columns"]


def pixel_grid(
    height: int, width: int, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> Float[Tensor, "2 height width"]:
    """The (x, y) of every pixel."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=dtype, device=device), torch.arange(width, dtype=dtype, device=device), indexing="ij"
    )
    return torch.stack([x, y])


def sample(
    image: Float[Tensor, "batch channels height width"], pixels: Float[Tensor, "batch 2 rows columns"]
) -> Sampled:
    """Bilinear values of `image` at `pixels` (x, y).

    `inside` is where all four neighbours lie in the image; elsewhere the border is repeated. The values at coordinates that are
    NaN are NaN. Differentiable in both.
    """
    height, width = image.shape[-2:]
    x, y = pixels.unbind(1)
    normalised = torch.stack([2 * (x + 0.5) / width - 1, 2 * (y + 0.5) / height - 1], -1)
    # grid_sample takes NaN for a border, and its backward pass on a CPU then reads outside of the image
    known = ~(x.isnan() | y.isnan())
    normalised = torch.where(known[..., None], normalised, 0)
    values = F.grid_sample(image, normalised, mode="bilinear", padding_mode="border", align_corners=False)
    values = torch.where(known[:, None], values, torch.nan)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return Sampled(values, inside[:, None])


def resize(
    image: Float[Tensor, "batch channels height width"], height: int, width: int
) -> Float[Tensor, "batch channels {height} {width}"]:
    """Bilinear resizing (antialiased when it shrinks) that keeps the image's outer edge where it is."""
    return F.interpolate(image, (height, width), mode="bilinear", align_corners=False, antialias=True)


def resize_flow(
    flow: Float[Tensor, "batch 2 height width"], height: int, width: int
) -> Float[Tensor, "batch 2 {height} {width}"]:
    """Flow on another grid: the values scale with it, since they are in pixels of that grid."""
    scale = flow.new_tensor([width / flow.shape[-1], height / flow.shape[-2]])
    return resize(flow, height, width) * scale[:, None, None]
