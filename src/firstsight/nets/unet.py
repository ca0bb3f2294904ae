"""A decoder that turns an encoder's maps into maps of the image's size, at four scales.

Paper:  Godard, Mac Aodha, Brostow. Unsupervised Monocular Depth Estimation with Left-Right Consistency. 2017, table 5 of
        the supplement; after Mayer et al., DispNet, CVPR 2016, and Ronneberger, Fischer, Brox, U-Net, MICCAI 2015.
Idea:   from the coarsest map to the finest: double it, put beside it the encoder's map of that size and what the scale
        before computed, and convolve; the last four scales give an output each                       -> UNet
Differs: sizes are doubled by repeating pixels, as in the paper's code, not by transposed convolutions; ELU throughout.
"""

import math
from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SCALES = 4


def convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def output_convolution(in_channels: int, outputs: int, first: float) -> nn.Conv2d:
    """A convolution whose sigmoid begins near `first`."""
    made = convolution(in_channels, outputs)
    assert made.bias is not None
    nn.init.constant_(made.bias, math.log(first / (1 - first)))
    return made


@final
class UNet(nn.Module):
    """`channels` are the encoder's, 1/2 to 1/32; `width` is the finest scale's, 16 in the paper; outputs begin near `first`."""

    def __init__(self, channels: Sequence[int], outputs: int, width: int = 16, first: float = 0.5):
        super().__init__()
        scales = len(channels)
        widths = [width * 2**scale for scale in range(scales)]  # of the scale 1 / 2^scale
        before = [*widths[1:], channels[-1]]
        beside = [0, *channels[:-1]]
        passed = [outputs if scale + 1 < SCALES else 0 for scale in range(scales)]
        self.up = nn.ModuleList(convolution(before[scale], widths[scale]) for scale in range(scales))
        self.join = nn.ModuleList(
            convolution(widths[scale] + beside[scale] + passed[scale], widths[scale]) for scale in range(scales)
        )
        self.answer = nn.ModuleList(output_convolution(widths[scale], outputs, first) for scale in range(SCALES))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Answers in [0, 1] at 1, 1/2, 1/4 and 1/8 of the image's resolution. Sizes must be multiples of 32."""
        within, outputs = maps[-1], []
        for scale in reversed(range(len(maps))):
            within = doubled(F.elu(self.up[scale](within)))
            beside = maps[scale - 1 : scale] if scale > 0 else []
            within = F.elu(self.join[scale](torch.cat([within, *beside, *map(doubled, outputs[-1:])], 1)))
            if scale < SCALES:
                outputs.append(self.answer[scale](within).sigmoid())
        return outputs[::-1]


def doubled(values: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels 2*height 2*width"]:
    """Returns the values at twice the size, pixels repeated."""
    return F.interpolate(values, scale_factor=2, mode="nearest")
