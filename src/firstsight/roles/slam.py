"""Trajectories whose loops are closed, maps of landmarks, pose graphs and reconstructions from photos."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from firstsight.roles.motion import Observation
from firstsight.roles.pose_graph import PoseGraph
from firstsight.roles.reconstruction import Reconstruction


class ClosedLoops(NamedTuple):
    """Poses of the frames taken so far, after their loops; `loops` are pairs of frames found to show one place, of `tried` pairs."""

    world_from_camera: Float64[np.ndarray, "frames 4 4"]
    loops: Int64[np.ndarray, "loops 2"]
    tried: int


class LoopCloser(ABC):
    """Mends a trajectory by the places it came back to; `needs` lists the fields of Observation that must be present."""

    needs: ClassVar[frozenset[str]]

    @abstractmethod
    def integrate(self, observation: Observation, world_from_camera: Float64[np.ndarray, "4 4"]) -> None:
        """Take the next frame, at the pose that odometry gives it."""

    @abstractmethod
    def close(self) -> ClosedLoops:
        """All poses so far, mended. Without a loop they are those that were given."""


class LandmarkSlam(ABC):
    """Where a robot in the plane is and where the landmarks are, from odometry and scans. Can be pickled at any step."""

    @abstractmethod
    def step(
        self,
        motion: Float64[np.ndarray, "3"],
        observations: Float64[np.ndarray, "seen 2"],
        ids: Int64[np.ndarray, " ids"] | None = None,
    ) -> Int64[np.ndarray, " seen"]:
        """Take a motion (forward m, left m, turn rad) and (range m, bearing rad) seen after it; returns each one's landmark."""


class PoseGraphOptimiser(ABC):
    """A pose graph in, the graph with the poses and landmarks that agree best with its measurements out."""

    @abstractmethod
    def __call__(self, graph: PoseGraph) -> PoseGraph: ...


class Reconstructor(ABC):
    """Unordered photos of one scene in, their cameras and the scene's points out, up to scale."""

    @abstractmethod
    def __call__(self, photos: Sequence[Path]) -> Reconstruction: ...
