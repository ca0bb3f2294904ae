"""Correlation of every pixel with every other, of which only what is looked up is computed.

Paper:  Teed, Deng. RAFT: Recurrent All-Pairs Field Transforms for Optical Flow. ECCV 2020, section 3.2.
Idea:   V_l(x, y) = <a(x), b_l(y)> / sqrt(C), b_l the mean of b over 2^l x 2^l pixels: pooling the volume over y and pooling b
        first are the same, for both are linear                                                       -> pooled()
        at a position p the values V_l(x, p / 2^l + d) are looked up for all d of a square, bilinearly, 0 outside -> lookup()
        All d share the fractions of p, so (2 r + 2)^2 scores of whole pixels give (2 r + 1)^2 values -> lookup_kernels
Differs: the volume, which grows with the square of the pixels, is never held on a CPU in float32; what is looked up again is
        computed again, which costs less for the first dozens of times (benchmarks/correlation.md). Elsewhere it is held.
        Displacements are listed row by row; no derivative by the positions, which RAFT stops as well.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from firstsight.errors import InputError
from firstsight.geometry.pixels import sample
from firstsight.matching.correlation.local import Maps, each_row
from firstsight.matching.correlation.lookup_kernels import look_up, scatter

Positions = Float[Tensor, "batch 2 height width"]  # x, y in px of the second map


def pooled(b: Maps, levels: int) -> list[Tensor]:
    """The second map at each level, halved each time; odd last rows and columns are left out."""
    maps = [b]
    while len(maps) < levels:
        maps.append(F.avg_pool2d(maps[-1], 2))
    return maps


def lookup(
    a: Maps, b_levels: Sequence[Tensor], positions: Tensor, radius: int
) -> Float[Tensor, "batch scores height width"]:
    """The (2 radius + 1)^2 scores of each pixel of `a` around a position in each level of `b`, level by level, row by row.

    `positions` (batch, 2, height, width) are x, y in px of the finest level.

    Raises InputError for positions that are not those of a's pixels.
    """
    if positions.shape != (len(a), 2, *a.shape[2:]):
        wanted = (len(a), 2, *a.shape[2:])
        raise InputError(f"lookup: positions of {tuple(positions.shape)}; give {wanted}, one of each pixel")
    plain = any(part.dtype != torch.float32 or part.device.type != "cpu" for part in (a, *b_levels, positions))
    look = in_volume if plain else _Lookup.apply
    parts = [look(a, b, positions.detach() / 2**level, radius) for level, b in enumerate(b_levels)]
    return torch.cat(parts, 1)


def in_volume(a: Maps, b: Tensor, positions: Positions, radius: int) -> Float[Tensor, "batch scores height width"]:
    """The scores of one level by the whole volume: the slow reference, for any type and device."""
    batch, channels, height, width = a.shape
    volume = torch.einsum("bchw,bcij->bhwij", a, b).flatten(0, 2)[:, None] / channels**0.5
    steps = torch.arange(-radius, radius + 1, dtype=a.dtype, device=a.device)
    around = torch.stack(torch.meshgrid(steps, steps, indexing="xy"))  # (2, rows, columns)
    at = positions.permute(0, 2, 3, 1).reshape(-1, 2, 1, 1) + around
    # a border of zeros, which is repeated
    found = sample(F.pad(volume, (1, 1, 1, 1)), at + 1).values
    return found.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


class _Lookup(torch.autograd.Function):
    """in_volume() by kernels, of maps with the channels of a pixel side by side."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, positions: Tensor, radius: int) -> Tensor:
        pixels_a, pixels_b = by_pixel(a), by_pixel(b)
        ctx.save_for_backward(pixels_a, pixels_b, positions)
        ctx.radius = radius
        batch, channels, height, width = a.shape
        out = a.new_empty(batch, (2 * radius + 1) ** 2, height, width)
        at, scale = positions.numpy(), np.float32(channels**-0.5)
        maps_a, maps_b = pixels_a.numpy(), pixels_b.numpy()
        each_row(lambda i, rows: look_up(maps_a[i], maps_b[i], at[i], radius, scale, out[i].numpy(), rows), a)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        pixels_a, pixels_b, positions = ctx.saved_tensors
        by_a, by_b = torch.zeros_like(pixels_a), torch.zeros_like(pixels_b)
        arriving, scale = gradients[0].contiguous().numpy(), np.float32(pixels_a.shape[-1] ** -0.5)
        for i in range(len(by_a)):  # pixels share neighbours, so that rows cannot go at once
            maps = (pixels_a[i].numpy(), pixels_b[i].numpy())
            scatter(*maps, positions[i].numpy(), ctx.radius, scale, arriving[i], by_a[i].numpy(), by_b[i].numpy())
        return by_a.permute(0, 3, 1, 2), by_b.permute(0, 3, 1, 2), None, None


def by_pixel(maps: Maps) -> Float[Tensor, "batch height width channels"]:
    return maps.detach().permute(0, 2, 3, 1).contiguous()
