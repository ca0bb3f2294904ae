"""A scene of two layers with everything known: a background that moves and a square before it that moves otherwise."""

from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class TwoLayers(NamedTuple):
    image_a: Tensor
    image_b: Tensor
    flow_ab: Tensor
    flow_ba: Tensor
    hidden_a: Tensor  # what of a is behind the square in b
    outside_a: Tensor  # what of a leaves the image


BACKGROUND, SQUARE = (2, -1), (-4, 3)  # (right, down) in px
TOP, LEFT, SIDE = 26, 48, 36


def texture(height: int, width: int, seed: int) -> Tensor:
    """RGB in [0, 1] with structure of all sizes, from 3 to 25 px."""
    draw = torch.Generator().manual_seed(seed)
    total = torch.zeros(1, 3, height, width)
    for size in (3, 9, 25):
        noise = torch.randn(1, 3, height + size - 1, width + size - 1, generator=draw)
        total += F.avg_pool2d(noise, size, 1) * size / 3
    return (total - total.amin()) / (total.amax() - total.amin())


@cache
def two_layers(height: int = 96, width: int = 128) -> TwoLayers:
    wide, square = 0.5 + texture(height + 20, width + 20, 0) / 2, texture(SIDE, SIDE, 1) / 2

    def view(shift: tuple[int, int], top: int, left: int) -> tuple[Tensor, Tensor]:
        right, down = shift
        image = wide[..., 10 - down : 10 - down + height, 10 - right : 10 - right + width].clone()
        image[..., top : top + SIDE, left : left + SIDE] = square
        on = torch.zeros(1, 1, height, width, dtype=torch.bool)
        on[..., top : top + SIDE, left : left + SIDE] = True
        return image, on

    image_a, on_a = view((0, 0), TOP, LEFT)
    image_b, on_b = view(BACKGROUND, TOP + SQUARE[1], LEFT + SQUARE[0])
    moves = [torch.tensor(motion, dtype=torch.float32).view(1, 2, 1, 1) for motion in (SQUARE, BACKGROUND)]
    flow_ab, flow_ba = torch.where(on_a, *moves), -torch.where(on_b, *moves)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    u, v = x + flow_ab[:, 0].long(), y + flow_ab[:, 1].long()
    outside = ~((u >= 0) & (u < width) & (v >= 0) & (v < height))
    behind = on_b[0, 0, v.clamp(0, height - 1), u.clamp(0, width - 1)] & ~outside
    return TwoLayers(image_a, image_b, flow_ab, flow_ba, behind[:, None] & ~on_a, outside[:, None])
