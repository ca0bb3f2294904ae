"""Objects that nobody labelled."""

from abc import ABC, abstractmethod

from jaxtyping import Float32
from torch import Tensor

from firstsight.roles.images import Images


class Discoverer(ABC):
    """Images in, what belongs together in each out: weights in [0, 1] that each pixel has in each object."""

    @abstractmethod
    def __call__(self, image: Images) -> Float32[Tensor, "batch objects height width"]: ...
