"""Where one is in a map, how to get somewhere, and what to do next."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float32, Float64
from torch import Tensor

from firstsight.roles.motion import Observation

Map = TypeVar("Map")
Place = TypeVar("Place")
Seen = TypeVar("Seen")


class PoseBelief(NamedTuple):
    """Poses that the body may have in a map, most probable first; the probabilities sum to 1 over all that was considered."""

    map_from_body: Float64[np.ndarray, "hypotheses 4 4"]
    probability: Float64[np.ndarray, " hypotheses"]


class Localiser(ABC, Generic[Map]):
    """A map and what is seen in it in, where that was seen out."""

    @abstractmethod
    def localise(self, known: Map, observation: Observation) -> PoseBelief:
        """Poses at which the observation may have been made."""


class Planner(ABC, Generic[Map, Place]):
    """A map and two of its places in, the way between them out. Places are cells (row, column) of grids, nodes of graphs."""

    @abstractmethod
    def plan(self, known: Map, start: Place, goal: Place) -> Sequence[Place]:
        """The places from start to goal, both included; empty where no way is known."""


class Policy(ABC, Generic[Seen]):
    """What is seen in, what to do out: images, features or maps with a goal, as the policy was trained."""

    @abstractmethod
    def begin(self) -> None:
        """Forget what was seen before: a new episode."""

    @abstractmethod
    def act(self, seen: Seen) -> Float32[Tensor, "batch actions"]:
        """The next action of each of the batch's robots, in the unit of the actions it learned from."""
