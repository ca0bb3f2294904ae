"""Depth and disparity, and who estimates them."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from firstsight.roles.images import Images


class Depth(NamedTuple):
    depth: Float32[Tensor, "batch 1 height width"]
    valid: Bool[Tensor, "batch 1 height width"]


class Disparity(NamedTuple):
    disparity: Float32[Tensor, "batch 1 height width"]
    valid: Bool[Tensor, "batch 1 height width"]


class StereoEstimator(ABC):
    """A rectified pair in, disparity of the left image out (px, > 0)."""

    @abstractmethod
    def __call__(self, left: Images, right: Images) -> Disparity: ...


class DepthEstimator(ABC):
    """One image in, depth out. `scale` says whether the depth is in metres or only up to a factor."""

    scale: ClassVar[Literal["metric", "unknown"]]

    @abstractmethod
    def __call__(self, image: Images) -> Depth: ...


class DepthCompleter(ABC):
    """An image and sparse depth in, dense depth out."""

    @abstractmethod
    def __call__(self, image: Images, sparse: Depth) -> Depth: ...


class MultiViewDepthEstimator(ABC):
    """An image, its neighbours and the motion between them in, depth of the image out, in the unit of the motion."""

    @abstractmethod
    def __call__(
        self,
        image: Float32[Tensor, "1 3 height width"],
        neighbours: Float32[Tensor, "views 3 height width"],
        neighbour_from_image: Float64[Tensor, "views 4 4"],
        intrinsics: Float64[Tensor, "3 3"],
    ) -> Depth: ...
