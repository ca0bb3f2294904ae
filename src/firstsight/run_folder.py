"""The run folder: what `perceive` writes and everything else reads. The layout is a frozen interface (docs/run_folder.md)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, TypeVar

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt16

from firstsight.errors import InputError
from firstsight.formats import png, trajectory
from firstsight.formats.storage.atomic import write_json
from firstsight.formats.storage.configuration import from_json, read_json
from firstsight.recordings.recording import DepthImage, FlowImage

Pixels = TypeVar("Pixels", bound=np.ndarray | tuple[np.ndarray, ...])


@dataclass(kw_only=True)
class StageRecord:
    """What became of one stage; `reason` says why it was skipped, or what to know about how it was done."""

    name: str
    method: str
    status: Literal["done", "skipped"]
    reason: str = ""
    frames: int = 0
    seconds: float = 0.0


@dataclass(kw_only=True, frozen=True)
class Metric:
    """A measured value with its unit ("" for a pure number) and how exactly it was measured."""

    name: str
    value: float
    unit: str
    protocol: str


@dataclass(kw_only=True, frozen=True)
class Finding:
    """What the doctor found in one check: `measured` in words and numbers, `advice` what to do about it ("" when ok)."""

    check: str
    verdict: Literal["ok", "note", "unfit"]
    measured: str
    advice: str = ""


class FlaggedFrame(TypedDict):
    """A frame that could not be used fully, and why."""

    frame: int
    reason: str


class FoundLoops(TypedDict):
    """The content of loops.json: pairs of frames that show one place, of how many pairs that were tried.

    `disputed` are pairs that two methods to find false loops judge differently.
    """

    tried: int
    loops: list[tuple[int, int]]
    disputed: NotRequired[list[tuple[int, int]]]


@dataclass(kw_only=True)
class RunRecord:
    """The content of run.json."""

    version: str
    source: str
    format: str
    frames: int
    scale: Literal["metric", "unknown"] = "metric"
    sensors: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    flagged_frames: list[FlaggedFrame] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    stages: list[StageRecord] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)


@dataclass(frozen=True)
class RunFolder:
    """Paths and values of one run. Readers return None for what the run does not have."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @property
    def scratch_path(self) -> Path:
        """The folder of working files, removed when the run is complete."""
        return self.path / ".work"

    def single_files(self) -> tuple[Path, ...]:
        """Every file of a run but its record and those of single frames, whether or not it is there."""
        trajectories = (self.trajectory_path, self.odometry_path, self.loops_path)
        maps = (self.cloud_path, self.mesh_path, self.occupancy_path, self.occupancy_path.with_suffix(".yaml"))
        return (*trajectories, *maps, self.places_path, self.objects_path, self.rerun_path, self.report_path)

    @property
    def record_path(self) -> Path:
        return self.path / "run.json"

    @property
    def trajectory_path(self) -> Path:
        return self.path / "trajectory.txt"

    @property
    def odometry_path(self) -> Path:
        """The trajectory before its loops were closed."""
        return self.path / "odometry.txt"

    @property
    def loops_path(self) -> Path:
        return self.path / "loops.json"

    @property
    def cloud_path(self) -> Path:
        return self.path / "map.ply"

    @property
    def mesh_path(self) -> Path:
        return self.path / "mesh.ply"

    @property
    def occupancy_path(self) -> Path:
        return self.path / "map.pgm"

    @property
    def places_path(self) -> Path:
        return self.path / "places.json"

    @property
    def objects_path(self) -> Path:
        return self.path / "objects.json"

    @property
    def rerun_path(self) -> Path:
        return self.path / "recording.rrd"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    def depth_path(self, frame: int) -> Path:
        return self.path / "depth" / f"{frame:06d}.png"

    def depth_error_path(self, frame: int) -> Path:
        return self.path / "depth_error" / f"{frame:06d}.png"

    def flow_path(self, frame: int) -> Path:
        return self.path / "flow" / f"{frame:06d}.png"

    def flow_error_path(self, frame: int) -> Path:
        return self.path / "flow_error" / f"{frame:06d}.png"

    def moving_path(self, frame: int) -> Path:
        return self.path / "moving" / f"{frame:06d}.png"

    def read_record(self) -> RunRecord:
        """Raises InputError where the folder holds no run, or its record is damaged."""
        if not self.record_path.exists():
            raise InputError(f"{self.path}: not a run folder (no run.json); make one with `firstsight perceive`")
        try:
            return from_json(RunRecord, read_json(self.record_path), str(self.record_path))
        except InputError as error:
            reason = str(error).removeprefix(f"{self.record_path}: ")
            raise InputError(
                f"{self.record_path}: not a run record ({reason}); move it away or choose another folder"
            ) from None

    def holds_run(self) -> bool:
        """Whether the record is one that `perceive` wrote, in this version or another."""
        try:
            content = read_json(self.record_path)
        except InputError:
            return False
        words, lists = ("version", "source", "format"), ("stages", "metrics")
        texts = all(isinstance(content.get(name), str) for name in words)
        return texts and all(isinstance(content.get(name), list) for name in lists)

    def write_record(self, record: RunRecord) -> None:
        write_json(self.record_path, asdict(record))

    @cached_property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of the reference camera's images as the record has it; None where it has none."""
        try:
            camera = self.read_record().sensors["cameras"][0]
            return int(camera["height"]), int(camera["width"])
        except (InputError, LookupError, TypeError, ValueError):
            return None

    def holds(self, path: Path) -> bool:
        """Whether the image of a frame is there, not cut off and of the size of the run's images."""
        try:
            size = png.whole_size(path)
        except InputError:
            return False
        return self.image_size in (None, size)

    def _read(self, path: Path, read: Callable[[Path], Pixels]) -> Pixels | None:
        """What `read` makes of the image of a frame, None where there is none.

        Raises InputError where it is damaged, or not of the size of the run's images.
        """
        if not path.exists():
            return None
        content = read(path)
        size = (content[0] if isinstance(content, tuple) else content).shape[:2]
        if self.image_size not in (None, size):
            height, width = self.image_size
            raise InputError(
                f"{path}: is {size[1]}x{size[0]}, the run's images are {width}x{height}; make the run anew (--overwrite)"
            )
        return content

    def read_depth(self, frame: int) -> DepthImage | None:
        """Depth in metres. Raises InputError, as all that read an image, where it is damaged or of another size."""
        stored = self._read(self.depth_path(frame), png.read_scaled)
        return None if stored is None else DepthImage(*stored)

    def write_depth(self, frame: int, depth: DepthImage) -> None:
        png.write_scaled(self.depth_path(frame), depth.depth, depth.valid)

    def read_depth_error(self, frame: int) -> Float32[np.ndarray, "height width"] | None:
        """The error that the depth's method expects, as a standard deviation in the unit of depth; None if not told."""
        stored = self._read(self.depth_error_path(frame), png.read_scaled)
        return None if stored is None else stored[0]

    def read_flow(self, frame: int) -> FlowImage | None:
        """Flow of frame -> frame + 1; what is valid is also what was found visible."""
        stored = self._read(self.flow_path(frame), png.read_flow)
        return None if stored is None else FlowImage(*stored, stored[1])

    def read_flow_error(self, frame: int) -> Float32[np.ndarray, "height width"] | None:
        """The error that the flow's method expects, px as a standard deviation, 0 where it is not valid; None if not told."""
        stored = self._read(self.flow_error_path(frame), png.read_scaled)
        return None if stored is None else stored[0]

    def read_moving(self, frame: int) -> UInt16[np.ndarray, "height width"] | None:
        """Ids of moving objects, 0 where nothing moves by itself."""
        return self._read(self.moving_path(frame), png.read_sixteen_bit)

    def read_trajectory(self) -> tuple[Int64[np.ndarray, " rows"], Float64[np.ndarray, "rows 4 4"]] | None:
        return trajectory.read_tum(self.trajectory_path) if self.trajectory_path.exists() else None

    def read_segments(self) -> Int64[np.ndarray, " rows"] | None:
        """The segment of each row of the trajectory: how one lies to another was not measured."""
        return trajectory.read_segments(self.trajectory_path) if self.trajectory_path.exists() else None

    def read_odometry(self) -> tuple[Int64[np.ndarray, " rows"], Float64[np.ndarray, "rows 4 4"]] | None:
        """The trajectory before its loops were closed; None where no loops were looked for."""
        return trajectory.read_tum(self.odometry_path) if self.odometry_path.exists() else None

    def read_loops(self, frames: int) -> list[tuple[int, int]]:
        """Pairs of the recording's `frames` that show one place. Raises InputError where the file is damaged."""
        if not self.loops_path.exists():
            return []
        try:
            loops = from_json(FoundLoops, read_json(self.loops_path), str(self.loops_path))["loops"]
        except InputError as error:
            raise InputError(f"{error}; delete it and run again") from None
        for pair in loops:
            if not all(0 <= frame < frames for frame in pair):
                raise InputError(
                    f"{self.loops_path}: frames {pair[0]} and {pair[1]} of a recording of {frames}; delete it and run again"
                )
        return loops
