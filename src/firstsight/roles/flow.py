"""Optical flow, and who estimates it."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from jaxtyping import Bool, Float32
from torch import Tensor

from firstsight.roles import border
from firstsight.roles.border import ImageLike, Images


class Flow(NamedTuple):
    """`flow`: pixel p of a is at p + flow_ab(p) in b. `valid`: seen in both images as far as the method can tell.

    `error_px` is the error that the method expects where it is valid, as a standard deviation in px; None if it cannot tell.
    """

    flow: Float32[Tensor, "batch 2 height width"]
    valid: Bool[Tensor, "batch 1 height width"]
    error_px: Float32[Tensor, "batch 1 height width"] | None = None


class FlowEstimator(ABC):
    """Two images in, motion of the first one's pixels out."""

    def __call__(self, image_a: ImageLike, image_b: ImageLike) -> Flow:
        """The flow from a to b in px. Raises InputError where the images are none, or of two sizes."""
        return self.estimate(*border.images("FlowEstimator", image_a=image_a, image_b=image_b))

    @abstractmethod
    def estimate(self, image_a: Images, image_b: Images) -> Flow:
        """What the call returns, of images that were checked."""
