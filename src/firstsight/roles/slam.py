"""Trajectories whose loops are closed, maps of landmarks, pose graphs and reconstructions from photos."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from firstsight.roles import border
from firstsight.roles.motion import Observation
from firstsight.roles.pose_graph import PoseGraph
from firstsight.roles.reconstruction import Reconstruction
from firstsight.roles.state import Resumable


class ClosedLoops(NamedTuple):
    """Poses of the frames taken so far, after their loops; `loops` are pairs of frames found to show one place, of `tried` pairs.

    `disputed` are pairs of which two methods to find false loops judge differently: one to look at where a map is wrong.
    """

    world_from_sensor: Float64[np.ndarray, "frames 4 4"]
    loops: Int64[np.ndarray, "loops 2"]
    tried: int
    disputed: Int64[np.ndarray, "disputed 2"]


class LoopCloser(Resumable):
    """Corrects a trajectory by the places it came back to, when the recording has ended.

    Every frame is given once, in order: to `integrate` where `should_add` says so, else to `skip`, which needs no
    observation. Poses are those of the sensor that observes: the camera's, or the LiDAR's.
    `needs` lists the fields of Observation that must be present; `depth` is used where it is.
    `state()["grows"]` is a list of dicts, one for each frame that is kept. It only ever gets longer and its dicts never
    change, so that they can be stored one by one; everything else in the state is small.
    """

    needs: ClassVar[frozenset[str]]

    @abstractmethod
    def should_add(self, world_from_sensor: Float64[np.ndarray, "4 4"]) -> bool:
        """Whether the next frame, at this pose, may show enough that is new."""

    @abstractmethod
    def integrate(self, observation: Observation, world_from_sensor: Float64[np.ndarray, "4 4"]) -> None:
        """Take the next frame, at the pose that odometry gives it."""

    @abstractmethod
    def skip(self, stamp_ns: int, world_from_sensor: Float64[np.ndarray, "4 4"]) -> None:
        """Take the next frame without looking at it."""

    @abstractmethod
    def close(self) -> ClosedLoops:
        """All poses so far, corrected. Without a loop they are those that were given, to the last bit."""


class LandmarkSlam(Resumable):
    """Estimates where a robot in the plane is and where the landmarks are, from odometry and scans."""

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

    def __call__(self, photos: border.Files) -> Reconstruction:
        """The reconstruction. Raises InputError for fewer than two photos, and for one that is not there."""
        return self.reconstruct(border.files("Reconstructor", "photos", photos))

    @abstractmethod
    def reconstruct(self, photos: Sequence[Path]) -> Reconstruction:
        """What the call returns, of files that exist."""
