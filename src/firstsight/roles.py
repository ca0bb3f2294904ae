"""What a method can be. Each role is one abstract class with one thing to do; method classes are final.

Images are float32 RGB in [0, 1], (batch, 3, height, width). Depth is z in metres, disparity and flow are in pixels of the
given grid, every value with a bool `valid`. Poses are `a_from_b`. See docs/conventions.md.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from firstsight.formats.g2o import PoseGraph
from firstsight.formats.reconstruction import Reconstruction

Images = Float32[Tensor, "batch 3 height width"]


class Depth(NamedTuple):
    depth: Float32[Tensor, "batch 1 height width"]
    valid: Bool[Tensor, "batch 1 height width"]


class Disparity(NamedTuple):
    disparity: Float32[Tensor, "batch 1 height width"]
    valid: Bool[Tensor, "batch 1 height width"]


class Flow(NamedTuple):
    """`flow`: pixel p of a is at p + flow_ab(p) in b. `valid`: seen in both images as far as the method can tell."""

    flow: Float32[Tensor, "batch 2 height width"]
    valid: Bool[Tensor, "batch 1 height width"]


class Observation(NamedTuple):
    """What one frame offers to odometry and mapping; None is what the rig lacks."""

    stamp_ns: int
    image: Float32[Tensor, "1 3 height width"] | None = None
    intrinsics: Float64[Tensor, "3 3"] | None = None
    depth: Depth | None = None
    points_lidar: Float32[Tensor, "points 3"] | None = None
    point_times_s: Float64[Tensor, " points"] | None = None


class Trajectory(NamedTuple):
    """Poses of the observations stepped so far, in the frame of the first; `valid` False where the method was lost."""

    first_from_sensor: Float64[Tensor, "frames 4 4"]
    valid: Bool[Tensor, " frames"]


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


class FlowEstimator(ABC):
    """Two images in, motion of the first one's pixels out."""

    @abstractmethod
    def __call__(self, image_a: Images, image_b: Images) -> Flow: ...


class Odometry(ABC):
    """Poses from a stream. Instances can be pickled at any step, so that a killed run goes on where it stopped.

    `needs` lists the fields of Observation that must be present; `scale` is "unknown" for one camera alone.
    """

    needs: ClassVar[frozenset[str]]
    scale: ClassVar[Literal["metric", "unknown"]]

    @abstractmethod
    def step(self, observation: Observation) -> None:
        """Take the next frame."""

    @abstractmethod
    def trajectory(self) -> Trajectory:
        """All poses so far; later steps may refine earlier poses."""


class MovingObjects(NamedTuple):
    """`ids` is 0 where static or unknown; the same id is the same object over time."""

    ids: Int64[Tensor, "height width"]
    residual_px: Float32[Tensor, "height width"]


class MotionSegmenter(ABC):
    """Finds what moves by itself, frame after frame. Instances can be pickled at any step."""

    @abstractmethod
    def step(
        self,
        depth: Depth,
        flow_ab: Flow,
        b_from_a: Float64[Tensor, "4 4"],
        intrinsics: Float64[Tensor, "3 3"],
    ) -> MovingObjects: ...


class Mapper(ABC):
    """Builds a map from observations whose poses are known. Instances can be pickled at any step."""

    @abstractmethod
    def integrate(self, observation: Observation, world_from_camera: Float64[Tensor, "4 4"]) -> None: ...


class Encoder(ABC):
    """Images in, one feature vector for each out."""

    @abstractmethod
    def __call__(self, image: Images) -> Float32[Tensor, "batch features"]: ...


class Discoverer(ABC):
    """Images in, what belongs together in each out: weights in [0, 1] that each pixel has in each object."""

    @abstractmethod
    def __call__(self, image: Images) -> Float32[Tensor, "batch objects height width"]: ...


class ClosedLoops(NamedTuple):
    """Poses of the frames taken so far, after their loops; `loops` are pairs of frames found to show one place, of `tried` pairs."""

    world_from_camera: Float64[np.ndarray, "frames 4 4"]
    loops: Int64[np.ndarray, "loops 2"]
    tried: int


class LoopCloser(ABC):
    """Mends a trajectory by the places it came back to. Instances can be pickled at any step."""

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


__all__ = [
    "ClosedLoops",
    "Depth",
    "DepthCompleter",
    "DepthEstimator",
    "Discoverer",
    "Disparity",
    "Encoder",
    "Flow",
    "FlowEstimator",
    "Images",
    "LandmarkSlam",
    "LoopCloser",
    "Mapper",
    "MotionSegmenter",
    "MovingObjects",
    "MultiViewDepthEstimator",
    "Observation",
    "Odometry",
    "PoseGraphOptimiser",
    "Reconstructor",
    "StereoEstimator",
    "Trajectory",
]
