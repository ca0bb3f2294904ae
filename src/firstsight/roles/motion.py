"""The motion of the sensor and of what moves by itself."""

from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple

from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from firstsight.roles.depth import Depth
from firstsight.roles.flow import Flow
from firstsight.roles.state import Resumable


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


class Odometry(Resumable):
    """Poses from a stream of frames; resumable after any of them.

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


class MotionSegmenter(Resumable):
    """Finds what moves by itself, frame after frame; resumable after any of them."""

    @abstractmethod
    def step(
        self,
        depth: Depth,
        flow_ab: Flow,
        b_from_a: Float64[Tensor, "4 4"],
        intrinsics: Float64[Tensor, "3 3"],
    ) -> MovingObjects: ...
