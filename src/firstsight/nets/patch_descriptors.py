"""What the pixels around a pixel look like, as a vector, and how well two of them agree: the networks of MC-CNN.

Paper:  Zbontar, LeCun. Stereo Matching by Training a Convolutional Neural Network to Compare Image Patches. JMLR 17(65), 2016,
        sections 3.1 (fast) and 3.2 (accurate).
Idea:   3x3 convolutions with ReLUs between; of a whole image at once each pixel gets what its patch would     -> Descriptor
        fast: the cosine of two descriptors                                                             -> Descriptor(unit=True)
        accurate: both descriptors to fully connected layers and a sigmoid; as 1x1 convolutions of whole images  -> Comparison
Differs: borders are padded with zeros, where the authors leave them out.
Units:  grey images with mean 0 and spread 1 in, see standardised().
"""

import itertools
from pathlib import Path
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.formats.storage.weights import load_into

LEAST_SPREAD = 1e-3  # of an even image
PUBLISHED = "conv_blocks."  # where published weights have the layers

Grey = Float[Tensor, "batch 1 height width"]
Features = Float[Tensor, "batch channels height width"]


def standardised(grey: Grey) -> Grey:
    """Each image with mean 0 and spread 1."""
    mean = grey.mean((2, 3), keepdim=True)
    spread = (grey - mean).square().mean((2, 3), keepdim=True).sqrt()
    return (grey - mean) / spread.clamp(min=LEAST_SPREAD)


@final
class Descriptor(nn.Module):
    """`unit`: vectors of length 1 from the last convolution; else a ReLU follows it."""

    def __init__(self, layers: int, width: int, unit: bool):
        super().__init__()
        self.unit = unit
        channels = [1] + layers * [width]
        blocks: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            blocks += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*(blocks[:-1] if unit else blocks))

    def forward(self, grey: Grey) -> Features:
        found = self.layers(standardised(grey))
        return F.normalize(found, dim=1) if self.unit else found


@final
class Comparison(nn.Module):
    """The logit that two descriptors are of one point."""

    def __init__(self, width: int, hidden: int, layers: int):
        super().__init__()
        channels = [2 * width] + layers * [hidden]
        blocks: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            blocks += [nn.Conv2d(before, after, 1), nn.ReLU()]
        self.layers = nn.Sequential(*blocks, nn.Conv2d(channels[-1], 1, 1))

    def forward(self, left: Features, right: Features) -> Float[Tensor, "batch 1 height width"]:
        return self.layers(torch.cat([left, right], 1))


def published_descriptor(weights: Any, path: Path) -> Descriptor:
    """The fast network with weights as the `mccnn` package has them. Raises InputError where they are of something else."""
    weights = weights.get("model", weights) if isinstance(weights, dict) else {}
    named = {
        f"layers.{name.removeprefix(PUBLISHED)}": tensor.float()
        for name, tensor in weights.items()
        if isinstance(name, str) and name.startswith(PUBLISHED) and isinstance(tensor, Tensor)
    }
    first = named.get("layers.0.weight")
    if first is None or first.ndim != 4:
        raise InputError(f"{path}: weight {PUBLISHED}0.weight is missing; give the weights of MC-CNN's fast network")
    descriptor = Descriptor(sum(name.endswith("weight") for name in named), len(first), unit=True)
    load_into(descriptor, named, path)
    return descriptor
