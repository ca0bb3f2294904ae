"""A network that answers an image with maps at four scales: residual encoder, decoder with skips."""

from typing import Literal, final

from jaxtyping import Float
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.nets.resnet import Norm, ResNet
from firstsight.nets.unet import UNet

# Mean and spread of the pixels of natural images.
MEAN, SPREAD = 0.45, 0.225


def check_size(size: tuple[int, int]) -> None:
    """Raises InputError for a size that the network's halvings do not fit."""
    if any(side % 32 or side < 64 for side in size):
        raise InputError(f"size {size[0]}x{size[1]}: both sides must be multiples of 32 and at least 64")


def normalised(images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
    """Images with the mean 0 and the spread 1 of natural ones."""
    return (images - MEAN) / SPREAD


@final
class DepthNet(nn.Module):
    """Encoder and decoder: an image in, `outputs` maps in [0, 1] at four scales out, which begin at `first`."""

    def __init__(
        self, outputs: int, first: float, layers: Literal[18, 34, 50, 101], widths: tuple[int, int], norm: Norm
    ):
        super().__init__()
        self.encoder = ResNet(layers, width=widths[0], norm=norm)
        self.decoder = UNet(self.encoder.channels, outputs, widths[1], first)

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        return self.decoder(self.encoder.features(normalised(image)))
