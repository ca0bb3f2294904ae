"""Depth and disparity, and who estimates them."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from firstsight.roles import border
from firstsight.roles.border import DepthLike, ImageLike, Images, MatrixLike


class Depth(NamedTuple):
    """z along the optical axis in metres, > 0 where `valid`; the value elsewhere means nothing.

    `error_m` is the standard deviation of the error that the method expects, in the depth's unit, 0 where it does not know of
    any; None where the method does not tell it.
    """

    depth: Float32[Tensor, "batch 1 height width"]
    valid: Bool[Tensor, "batch 1 height width"]
    error_m: Float32[Tensor, "batch 1 height width"] | None = None


class Disparity(NamedTuple):
    """Disparity of the left image in px, > 0 where `valid`: pixel x of the left image is at x - disparity in the right one."""

    disparity: Float32[Tensor, "batch 1 height width"]
    valid: Bool[Tensor, "batch 1 height width"]


class StereoEstimator(ABC):
    """A rectified pair in, disparity of the left image out."""

    def __call__(self, left: ImageLike, right: ImageLike) -> Disparity:
        """The disparity of a rectified pair. Raises InputError where the images are none, or of two sizes."""
        return self.estimate(*border.images("StereoEstimator", left=left, right=right))

    @abstractmethod
    def estimate(self, left: Images, right: Images) -> Disparity:
        """What the call returns, of images that were checked."""


class DepthEstimator(ABC):
    """One image in, depth out. `scale` says whether the depth is in metres or only up to a factor."""

    scale: ClassVar[Literal["metric", "unknown"]]

    def __call__(self, image: ImageLike) -> Depth:
        """The depth of each image alone. Raises InputError where it is no image."""
        return self.estimate(*border.images("DepthEstimator", image=image))

    @abstractmethod
    def estimate(self, image: Images) -> Depth:
        """What the call returns, of images that were checked."""


class DepthCompleter(ABC):
    """An image and sparse depth in, dense depth out."""

    def __call__(self, image: ImageLike, sparse: DepthLike) -> Depth:
        """Dense depth in metres. Raises InputError where the sparse depth does not lie on the image's pixels."""
        (checked,) = border.images("DepthCompleter", image=image)
        return self.complete(checked, Depth(*border.depth_and_valid("DepthCompleter", "sparse", sparse, checked)))

    @abstractmethod
    def complete(self, image: Images, sparse: Depth) -> Depth:
        """What the call returns, of what was checked."""


class MultiViewDepthEstimator(ABC):
    """An image, its neighbours and the motion between them in, depth of the image out, in the unit of the motion."""

    def __call__(
        self,
        image: ImageLike,
        neighbours: ImageLike,
        neighbour_from_image: MatrixLike,
        intrinsics: MatrixLike,
    ) -> Depth:
        """The depth of one image (1, 3, height, width) from at least one neighbour (views, 3, height, width).

        `neighbour_from_image` is (views, 4, 4), `intrinsics` (3, 3). Raises InputError where they do not fit together.
        """
        role = "MultiViewDepthEstimator"
        one, (others,) = border.one_image(role, image), border.images(role, neighbours=neighbours)
        border.require_alike(role, ("image", one), ("a neighbour", others[:1]))
        motions = border.matrices(role, "neighbour_from_image", neighbour_from_image, (len(others), 4, 4))
        return self.estimate(one, others, motions, border.matrices(role, "intrinsics", intrinsics, (3, 3)))

    @abstractmethod
    def estimate(
        self,
        image: Float32[Tensor, "1 3 height width"],
        neighbours: Float32[Tensor, "views 3 height width"],
        neighbour_from_image: Float64[Tensor, "views 4 4"],
        intrinsics: Float64[Tensor, "3 3"],
    ) -> Depth:
        """What the call returns, of what was checked."""
