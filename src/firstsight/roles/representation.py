"""Features of images."""

from abc import ABC, abstractmethod

from jaxtyping import Float32
from torch import Tensor

from firstsight.roles.images import Images


class Encoder(ABC):
    """Images in, one feature vector for each out."""

    @abstractmethod
    def __call__(self, image: Images) -> Float32[Tensor, "batch features"]: ...
