"""What a recording is, whatever file format it came from.

Readers convert to these types at the border, so that nothing behind them knows a format. Conventions (docs/conventions.md):
transforms are `a_from_b`; cameras look along +z with x right and y down; the body has x forward, y left, z up; images are
uint8 RGB of shape (height, width, 3); depth is z in metres; time is int64 nanoseconds.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, NamedTuple, TypeVar, overload

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8, UInt16

from firstsight.errors import InputError

T = TypeVar("T")

Image = UInt8[np.ndarray, "height width 3"]
Transform = Float64[np.ndarray, "4 4"]
Transforms = Float64[np.ndarray, "frames 4 4"]


class DepthImage(NamedTuple):
    """Depth along the optical axis in metres; meaningless where not `valid`."""

    depth: Float32[np.ndarray, "height width"]
    valid: Bool[np.ndarray, "height width"]


class DisparityImage(NamedTuple):
    """True disparity of the left image in px; `visible` are the valid pixels that the right camera sees too."""

    disparity: Float32[np.ndarray, "height width"]
    valid: Bool[np.ndarray, "height width"]
    visible: Bool[np.ndarray, "height width"]


class FlowImage(NamedTuple):
    """True motion of each pixel to the next frame in px (x right, y down); `visible` are those not hidden or outside there."""

    flow: Float32[np.ndarray, "height width 2"]
    valid: Bool[np.ndarray, "height width"]
    visible: Bool[np.ndarray, "height width"]


class Scan(NamedTuple):
    """One LiDAR sweep in the LiDAR frame.

    `times_s` is each point's instant relative to the frame's stamp (None: unknown, or the scan is already de-skewed).
    """

    points: Float32[np.ndarray, "points 3"]
    intensity: Float32[np.ndarray, " points"] | None = None
    times_s: Float64[np.ndarray, " points"] | None = None


class Box(NamedTuple):
    """An oriented 3-D box: `camera_from_box` places its centre and axes, `size_m` is (length, width, height) along x, y, z."""

    object_id: int
    label: str
    camera_from_box: Transform
    size_m: tuple[float, float, float]
    moving: bool


class OccupancyTruth(NamedTuple):
    """Cells of the static world that hold a surface at obstacle height; `origin_m` is the world (x, y) of cell [0, 0]'s corner.

    Row i, column j covers x in origin + j * cell_size, y in origin + i * cell_size (y grows with the row).
    """

    occupied: Bool[np.ndarray, "rows columns"]
    origin_m: tuple[float, float]
    cell_size_m: float


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """Lens distortion with OpenCV's coefficient order: (k1, k2, p1, p2[, k3[, k4, k5, k6]]) or, equidistant, (k1 ... k4)."""

    model: Literal["radial-tangential", "equidistant"]
    coefficients: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A camera: pixel centres at integers, `size` is (height, width). `assumed`: the intrinsics are a guess, not a calibration."""

    name: str
    size: tuple[int, int]
    intrinsics: Float64[np.ndarray, "3 3"]
    body_from_camera: Transform
    distortion: Distortion | None = None
    assumed: bool = False


@dataclass(frozen=True, kw_only=True)
class Lidar:
    """A scanning range sensor. `sweep_s` is how long one sweep takes, None if unknown."""

    body_from_lidar: Transform
    max_range_m: float = 100.0
    sweep_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Rig:
    """The sensors. The first camera is the reference: depth, flow and trajectory belong to it.

    `stereo` names (left, right) cameras whose rows correspond once undistorted; left is then the reference.
    """

    cameras: tuple[Camera, ...] = ()
    stereo: tuple[str, str] | None = None
    lidar: Lidar | None = None

    @property
    def reference(self) -> Camera | None:
        return self.cameras[0] if self.cameras else None

    def camera(self, name: str) -> Camera:
        """The camera of that name. Raises InputError, with the names that there are, where there is none."""
        for camera in self.cameras:
            if camera.name == name:
                return camera
        names = ", ".join(repr(camera.name) for camera in self.cameras) or "none"
        raise InputError(f"camera {name!r}: the recording has no such camera; there is {names}")

    @property
    def stereo_cameras(self) -> tuple[Camera, Camera]:
        """(left, right) of a rig that has a stereo pair."""
        assert self.stereo is not None, "this rig has no stereo pair"
        left, right = self.stereo
        return self.camera(left), self.camera(right)

    @property
    def baseline_m(self) -> float | None:
        """Distance of the right camera along the left camera's x axis, None without a stereo pair."""
        if self.stereo is None:
            return None
        left, right = self.stereo_cameras
        return float((np.linalg.inv(left.body_from_camera) @ right.body_from_camera)[0, 3])


# Camera axes (x right, y down, z forward) seen from body axes (x forward, y left, z up): a camera that looks ahead.
BODY_FROM_FORWARD_CAMERA = np.array(
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)


class Channel(Generic[T]):
    """Items that are loaded when asked for; the last few stay in memory.

    Not a `Sequence`, so that nothing loads items behind the user's back, as type checks of sequences do.
    """

    def __init__(self, length: int, load: Callable[[int], T], keep: int = 3):
        self._length, self._load, self._keep = length, load, keep
        self._recent: OrderedDict[int, T] = OrderedDict()

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> T:
        """Item `index`, counted from the end where negative. Never a slice: it would load everything at once."""
        index = from_front(index, self._length)
        if index not in self._recent:
            self._recent[index] = self._load(index)
            while len(self._recent) > self._keep:
                self._recent.popitem(last=False)
        return self._recent[index]

    def at(self, indices: Sequence[int]) -> "Channel[T]":
        """The channel of the chosen items, still lazy."""
        chosen = list(indices)
        return Channel(len(chosen), lambda i: self[chosen[i]], keep=1)

    def map(self, function: Callable[[T], T]) -> "Channel[T]":
        """The channel with `function` applied to each item when it is loaded."""
        return Channel(self._length, lambda i: function(self[i]), self._keep)


def from_front(index: int, length: int) -> int:
    """The index of the same item counted from the front. Raises IndexError where there is none, as a list does."""
    try:
        return range(length)[index]
    except IndexError:
        raise IndexError(f"index {index} of {length}") from None


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known to be true about a recording, each part None where unknown.

    `*_reference` says where it comes from; a frame without a true pose has NaN in its row of `world_from_camera`. Where there
    is no camera, `world_from_camera` holds the body's poses.
    """

    world_from_camera: Transforms | None = None
    trajectory_reference: str = "ground truth"
    depth: Channel[DepthImage] | None = None
    depth_reference: str = "ground truth"
    disparity: Channel[DisparityImage] | None = None
    flow: Channel[FlowImage] | None = None
    moving: Channel[UInt16[np.ndarray, "height width"]] | None = None
    boxes: Channel[tuple[Box, ...]] | None = None
    occupancy: OccupancyTruth | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Recording:
    """A recording: one entry per frame of the reference camera (of the odometry, where there is no camera).

    `images[name][i]`, `depth[i]`, `scans[i]` decode frame i when asked; a frame that cannot be decoded raises InputError.
    `odometry` is world_from_body at each stamp. `remarks` are things the user should know (an assumed field of view,
    assumed timestamps); they are shown in the run and its report. `depth_per_metre` is what a reader took for a metre in raw
    depth images, None where that is beyond doubt.
    """

    source: str
    format: str
    rig: Rig
    stamps_ns: Int64[np.ndarray, " frames"]
    images: Mapping[str, Channel[Image]] = field(default_factory=dict)
    depth: Channel[DepthImage] | None = None
    depth_per_metre: float | None = None
    scans: Channel[Scan | None] | None = None
    odometry: Transforms | None = None
    truth: Truth = field(default_factory=Truth)
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.stamps_ns)

    @overload
    def __getitem__(self, index: int) -> "Frame": ...

    @overload
    def __getitem__(self, index: slice) -> "Recording": ...

    def __getitem__(self, index: int | slice) -> "Frame | Recording":
        """A frame, counted from the end where negative, or for a slice the recording of those frames, still undecoded.

        Raises IndexError where there is no such frame, InputError for a slice that runs backwards in time.
        """
        if not isinstance(index, slice):
            return Frame(self, from_front(index, len(self)))
        if index.step is not None and index.step < 0:
            raise InputError(f"{self.source}: frames in steps of {index.step}: time runs forwards; use a step above 0")
        return select(self, range(len(self))[index])

    def __repr__(self) -> str:
        """One line: where it comes from, how long it is and what was recorded."""
        cameras = [f"{camera.name} {camera.size[0]}x{camera.size[1]}" for camera in self.rig.cameras]
        parts = {"depth": self.depth, "lidar": self.scans, "odometry": self.odometry}
        sensors = [*cameras, *(name for name, part in parts.items() if part is not None)]
        return f"Recording({self.source!r}, {self.format}, {len(self)} frames: {', '.join(sensors)})"

    def __iter__(self) -> Iterator["Frame"]:
        return (self[i] for i in range(len(self)))

    def with_remark(self, remark: str) -> "Recording":
        return replace(self, remarks=(*self.remarks, remark))


@dataclass(frozen=True)
class Frame:
    """One instant of a recording; nothing is decoded before it is asked for."""

    recording: Recording
    index: int

    @property
    def stamp_ns(self) -> int:
        return int(self.recording.stamps_ns[self.index])

    def image(self, camera: str | None = None) -> Image:
        """uint8 RGB of the named camera (None: the reference camera). Raises InputError where there is no such camera."""
        rig = self.recording.rig
        if rig.reference is None:
            raise InputError(f"{self.recording.source}: this recording has no camera")
        return self.recording.images[rig.reference.name if camera is None else rig.camera(camera).name][self.index]

    def depth(self) -> DepthImage | None:
        return self.recording.depth[self.index] if self.recording.depth is not None else None

    def scan(self) -> Scan | None:
        return self.recording.scans[self.index] if self.recording.scans is not None else None


def select(recording: Recording, indices: Sequence[int]) -> Recording:
    """The recording of the chosen frames. True flow survives only where the next chosen frame is the next frame."""
    rows = np.asarray(indices, dtype=np.int64)
    truth = recording.truth
    consecutive = len(rows) < 2 or bool(np.all(np.diff(rows) == 1))

    def at(channel: Channel[T] | None) -> Channel[T] | None:
        return channel.at(rows.tolist()) if channel is not None else None

    return replace(
        recording,
        stamps_ns=recording.stamps_ns[rows],
        images={name: channel.at(rows.tolist()) for name, channel in recording.images.items()},
        depth=at(recording.depth),
        scans=at(recording.scans),
        odometry=recording.odometry[rows] if recording.odometry is not None else None,
        truth=replace(
            truth,
            world_from_camera=truth.world_from_camera[rows] if truth.world_from_camera is not None else None,
            depth=at(truth.depth),
            disparity=at(truth.disparity),
            flow=at(truth.flow) if consecutive else None,
            moving=at(truth.moving),
            boxes=at(truth.boxes),
        ),
    )
