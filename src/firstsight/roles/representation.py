"""Features of images, and images out of nothing."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float32
from torch import Tensor

from firstsight.roles import border
from firstsight.roles.border import ImageLike, Images


class Encoder(ABC):
    """Images in, one feature vector for each out."""

    def __call__(self, image: ImageLike) -> Float32[Tensor, "batch features"]:
        """The features of each image. Raises InputError where it is no image."""
        return self.encode(*border.images("Encoder", image=image))

    @abstractmethod
    def encode(self, image: Images) -> Float32[Tensor, "batch features"]:
        """What the call returns, of images that were checked."""


class DenseFeatures(NamedTuple):
    """Features on a grid over the image, and keys: what attention compares, whose cosines tell which patches go together.

    Methods without attention give the features as keys.
    """

    features: Float32[Tensor, "batch features rows columns"]
    keys: Float32[Tensor, "batch keys rows columns"]


class DenseEncoder(ABC):
    """Images in, a grid of features for each out. A class may be an Encoder as well, so the call is left to that role."""

    def dense_features(self, image: ImageLike) -> DenseFeatures:
        """Features and keys of each image's patches. Raises InputError where it is no image."""
        return self.encode_patches(*border.images("DenseEncoder", image=image))

    @abstractmethod
    def encode_patches(self, image: Images) -> DenseFeatures:
        """What `dense_features` returns, of images that were checked."""


class Generator(ABC):
    """Draws what could have been among the data it learned from: images, or states over time."""

    @abstractmethod
    def generate(self, count: int, random: torch.Generator) -> Float32[Tensor, "count ..."]:
        """New samples; images as (count, 3, height, width) in [0, 1]. The same state of `random` gives the same ones."""
