"""Objects that nobody labelled: shares of pixels, masks, boxes in images and in space."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from jaxtyping import Bool, Float32
from torch import Tensor

from firstsight.roles import border
from firstsight.roles.border import ImageLike, Images


class Boxes(NamedTuple):
    """Boxes in an image as COCO has them: `xywh` is left, top, width, height in px, from the image's top-left corner.

    The pixel in that corner alone is (0, 0, 1, 1): its centre, (0, 0) elsewhere in this library, is (0.5, 0.5) here.
    """

    xywh: Float32[Tensor, "objects 4"]
    scores: Float32[Tensor, " objects"]


class Masks(NamedTuple):
    """The pixels of each object, and how sure the method is of it, in [0, 1]; masks may overlap."""

    masks: Bool[Tensor, "objects height width"]
    scores: Float32[Tensor, " objects"]


class Boxes3d(NamedTuple):
    """Oriented boxes in the body frame: `body_from_box` places centre and axes, `size_m` is (length, width, height) along them."""

    body_from_box: Float32[Tensor, "objects 4 4"]
    size_m: Float32[Tensor, "objects 3"]
    scores: Float32[Tensor, " objects"]


class Detections(NamedTuple):
    """The objects of one image, best score first; `masks` of the same objects where the method finds masks."""

    boxes: Boxes
    masks: Masks | None = None


class Discoverer(ABC):
    """Images in, what belongs together in each out, in a fixed number of parts that share every pixel."""

    def __call__(self, image: ImageLike) -> Float32[Tensor, "batch objects height width"]:
        """Shares in [0, 1] that each object has in each pixel, 1 in sum. Raises InputError where it is no image."""
        return self.discover(*border.images("Discoverer", image=image))

    @abstractmethod
    def discover(self, image: Images) -> Float32[Tensor, "batch objects height width"]:
        """What the call returns, of images that were checked."""


class Detector(ABC):
    """Images in, any number of objects in each out."""

    def __call__(self, image: ImageLike) -> list[Detections]:
        """The objects of each image. Raises InputError where it is no image."""
        return self.detect(*border.images("Detector", image=image))

    @abstractmethod
    def detect(self, image: Images) -> list[Detections]:
        """What the call returns, of images that were checked."""


class BoxDetector(ABC):
    """A sweep of a LiDAR in, any number of boxes in space out."""

    @abstractmethod
    def detect(self, points_body: Float32[Tensor, "points 3"]) -> Boxes3d:
        """The objects among points in the body frame, best score first."""
