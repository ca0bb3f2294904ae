"""A decoder that refines flow from the coarsest map of an encoder to a quarter of the image's resolution.

Paper:  Dosovitskiy et al. FlowNet: Learning Optical Flow with Convolutional Networks. ICCV 2015, section 3, figure 3.
Idea:   at each scale flow is predicted; it and the maps are doubled by learned upsampling, and put beside the encoder's maps
        of that size                                                                                     -> FlowDecoder
"""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

SLOPE = 0.1  # of leaky ReLU below 0


def convolution(
    in_channels: int, out_channels: int, size: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """A convolution that keeps the size but for its stride, and a leaky ReLU."""
    made = nn.Conv2d(in_channels, out_channels, size, stride, dilation * (size // 2), dilation)
    nn.init.kaiming_normal_(made.weight, SLOPE)
    assert made.bias is not None
    nn.init.zeros_(made.bias)
    return nn.Sequential(made, nn.LeakyReLU(SLOPE))


def flow_convolution(in_channels: int, size: int = 3) -> nn.Conv2d:
    """Predicts flow, near 0 at first."""
    made = nn.Conv2d(in_channels, 2, size, padding=size // 2)
    nn.init.normal_(made.weight, std=1e-3)
    assert made.bias is not None
    nn.init.zeros_(made.bias)
    return made


def doubling(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """A learned upsampling to twice the size."""
    return nn.ConvTranspose2d(in_channels, out_channels, 4, 2, 1)


@final
class FlowDecoder(nn.Module):
    """`channels` are those of the encoder's maps, finest first; `widths` those of the doubled maps at all but the coarsest."""

    def __init__(self, channels: Sequence[int], widths: Sequence[int]):
        super().__init__()
        beside = [width + skip + 2 for width, skip in zip(widths, channels[:-1], strict=True)]
        joined = [*beside, channels[-1]]
        self.predict = nn.ModuleList(flow_convolution(count) for count in joined)
        self.up = nn.ModuleList(
            nn.Sequential(doubling(below, width), nn.LeakyReLU(SLOPE))
            for below, width in zip(joined[1:], widths, strict=True)
        )
        self.up_flow = nn.ModuleList(doubling(2, 2) for _ in widths)

    def forward(self, maps: list[Tensor]) -> list[Float[Tensor, "batch 2 height width"]]:
        """Flow at each scale, finest first."""
        joined = maps[-1]
        flows = [self.predict[-1](joined)]
        for scale in reversed(range(len(maps) - 1)):
            joined = torch.cat([maps[scale], self.up[scale](joined), self.up_flow[scale](flows[-1])], 1)
            flows.append(self.predict[scale](joined))
        return flows[::-1]
