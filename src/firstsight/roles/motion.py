"""The motion of the sensor and of what moves by itself."""

from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple

from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor

from firstsight.errors import InputError
from firstsight.roles import border
from firstsight.roles.border import DepthLike, ImageLike, MatrixLike
from firstsight.roles.depth import Depth
from firstsight.roles.flow import Flow
from firstsight.roles.state import Resumable


class _Fields(NamedTuple):
    stamp_ns: int
    image: Float32[Tensor, "1 3 height width"] | None = None
    intrinsics: Float64[Tensor, "3 3"] | None = None
    depth: Depth | None = None
    points_lidar: Float32[Tensor, "points 3"] | None = None
    point_times_s: Float64[Tensor, " points"] | None = None


class Observation(_Fields):
    """What one frame offers to odometry, mapping and loop closing; None is what the rig lacks.

    The border of every role that takes frames: arrays and tensors are taken for what they are, as images are elsewhere.
    Raises InputError where a part cannot be meant, or does not belong to the image.
    """

    __slots__ = ()

    def __new__(
        cls,
        stamp_ns: border.Whole,
        image: ImageLike | None = None,
        intrinsics: MatrixLike | None = None,
        depth: DepthLike | None = None,
        points_lidar: MatrixLike | None = None,
        point_times_s: MatrixLike | None = None,
    ) -> "Observation":
        who = "Observation"
        seen = None if image is None else border.one_image(who, image)
        points = None if points_lidar is None else border.rows(who, "points_lidar", points_lidar, (3,)).float()
        times = None if point_times_s is None else border.rows(who, "point_times_s", point_times_s, ()).double()
        if times is not None and (points is None or len(times) != len(points)):
            raise InputError(f"{who}: point_times_s: {len(times)} times; give one for each of points_lidar")
        return super().__new__(
            cls,
            border.whole(who, "stamp_ns", stamp_ns),
            seen,
            None if intrinsics is None else border.matrices(who, "intrinsics", intrinsics, (3, 3)),
            None if depth is None else Depth(*border.depth_and_valid(who, "depth", depth, seen)),
            points,
            times,
        )


class Trajectory(NamedTuple):
    """Poses of the observations stepped so far, in the frame of the first; `valid` False where the method was lost.

    Frames of one segment are joined by what was measured. How two segments lie to each other was not measured: where
    the method lost its way and did not find it again, a new segment starts about where it was lost.
    """

    first_from_sensor: Float64[Tensor, "frames 4 4"]
    valid: Bool[Tensor, " frames"]
    segments: Int64[Tensor, " frames"]


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
