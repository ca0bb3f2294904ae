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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.formats.storage.weights import load_into

# Of an even image.
MIN_SPREAD = 1e-3
# Where the files of the `mccnn` package have the layers of both networks.
CONVOLUTIONS, CONNECTED = "conv_blocks", "fl_blocks"

Grey = Float[Tensor, "batch 1 height width"]
Features = Float[Tensor, "batch channels height width"]


def standardised(grey: Grey) -> Grey:
    """Each image with mean 0 and spread 1."""
    mean = grey.mean((2, 3), keepdim=True)
    spread = (grey - mean).square().mean((2, 3), keepdim=True).sqrt()
    return (grey - mean) / spread.clamp(min=MIN_SPREAD)


@final
class Descriptor(nn.Module):
    """`unit`: vectors of length 1 from the last convolution; else a ReLU follows it."""

    def __init__(self, layers: int, width: int, unit: bool):
        super().__init__()
        self.unit = unit
        channels = [1] + layers * [width]
        blocks: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            blocks += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
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
            blocks += [nn.Conv2d(before, after, 1), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*blocks, nn.Conv2d(channels[-1], 1, 1))

    def forward(self, left: Features, right: Features) -> Float[Tensor, "batch 1 height width"]:
        return self.layers(torch.cat([left, right], 1))


class Sizes(NamedTuple):
    """Layers and channels of the descriptor, hidden layers and channels of the comparison; the latter 0 of a fast network."""

    layers: int
    width: int
    hidden_layers: int = 0
    hidden: int = 0


def published_tensors(weights: Any, path: Path) -> dict[str, Tensor]:
    """Returns what a file of the `mccnn` package holds, by its names; matrices as the 1x1 convolutions that they are here.

    Raises InputError where it does not begin with the convolutions of MC-CNN.
    """
    held = weights.get("model", weights) if isinstance(weights, dict) else {}
    named = held.items() if isinstance(held, dict) else ()
    tensors = {name: value.float() for name, value in named if isinstance(name, str) and isinstance(value, Tensor)}
    first = tensors.get(f"{CONVOLUTIONS}.0.weight")
    if first is None or first.ndim != 4:
        raise InputError(f"{path}: weight {CONVOLUTIONS}.0.weight is missing; give the weights of an MC-CNN")
    for name, value in tensors.items():
        if name.startswith(f"{CONNECTED}.") and value.ndim == 2:
            tensors[name] = value[:, :, None, None]
    return tensors


def published_sizes(tensors: Mapping[str, Tensor]) -> Sizes:
    """The sizes of the networks that published_tensors() are of."""
    layers, connected = (
        [len(torch.atleast_1d(tensors[name])) for name in tensors if name.startswith(part) and name.endswith(".weight")]
        for part in (CONVOLUTIONS, CONNECTED)
    )
    return Sizes(len(layers), layers[0], max(len(connected) - 1, 0), connected[0] if connected else 0)


def load_published(
    descriptor: Descriptor, comparison: Comparison | None, tensors: dict[str, Tensor], path: Path
) -> None:
    """Raises InputError naming, as the file does, the first weight that does not fit, or is of no layer."""
    parts = {CONVOLUTIONS: descriptor.layers} | ({CONNECTED: comparison.layers} if comparison is not None else {})
    load_into(nn.ModuleDict(parts), tensors, path)
