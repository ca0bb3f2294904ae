"""Maps from observations whose poses are known."""

from abc import ABC, abstractmethod

from jaxtyping import Float64
from torch import Tensor

from firstsight.roles.motion import Observation


class Mapper(ABC):
    """Builds a map from observations whose poses are known. Instances can be pickled at any step."""

    @abstractmethod
    def integrate(self, observation: Observation, world_from_camera: Float64[Tensor, "4 4"]) -> None: ...
