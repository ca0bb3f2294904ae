"""Pseudo-labels: fields that a finished run of `firstsight perceive` found, in place of the truth.

A source names its run: `drive@taught=runs/drive`. The run must be finished, and of the same source and frames.
Depth is in the run's unit, metres where its sensors know them, and so are its poses; where the run's depth comes from a stereo
pair or a LiDAR, `taught_disparity` is what it would be between the cameras of the pair.
A frame for which the run has no depth or flow has none here either (depth 0, `taught_valid` False). Moving objects are
looked for in whole recordings, so a run has their masks for all frames or for none.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.formats.trajectory import on_frames
from firstsight.recordings.recording import DepthImage, FlowImage, Recording
from firstsight.run_folder import RunFolder
from firstsight.training.data.fields import (
    Field,
    Size,
    depth_map,
    finite,
    flow_map,
    have,
    id_map,
    nearest,
    unless,
    valid_map,
)


@dataclass(frozen=True)
class Teacher:
    """A finished run, and the recording that it is of."""

    run: RunFolder
    recording: Recording

    @cached_property
    def world_from_camera(self) -> Float64[np.ndarray, "frames 4 4"]:
        """The run's poses, NaN where it has none."""
        written = self.run.read_trajectory()
        if written is None:
            return np.full((len(self.recording), 4, 4), np.nan)
        return on_frames(*written, self.recording.stamps_ns)


def finished_run(folder: str, recording: Recording, frames: str | None) -> Teacher:
    """The run in a folder, as a teacher. Raises InputError where it is not finished, or of other data than the recording's."""
    run = RunFolder(Path(folder).expanduser())
    record = run.read_record()
    if not run.report_path.exists():  # written last
        raise InputError(f"{folder}: this run is not finished; resume it with `firstsight perceive {record.source}`")
    chosen = record.settings.get("frames")
    theirs, ours = (record.source, chosen, record.frames), (recording.source, frames, len(recording))
    if theirs != ours:
        raise InputError(
            f"{folder}: a run of {described(*theirs)}; it cannot teach {described(*ours)}: "
            "name the run of the same source and frames"
        )
    return Teacher(run, recording)


def described(source: str, frames: str | None, count: int) -> str:
    return f"{source} ({count} frames{f', {frames}' if frames else ''})"


def lacks_depth(teacher: Teacher) -> str:
    return lacks(teacher.run, "depth")


def lacks_flow(teacher: Teacher) -> str:
    return lacks(teacher.run, "flow")


def lacks_masks(teacher: Teacher) -> str:
    return lacks(teacher.run, "moving")


def lacks_poses(teacher: Teacher) -> str:
    return "" if finite(teacher.world_from_camera).any() else f"poses in its run {teacher.run.path}"


def lacks_disparity(teacher: Teacher) -> str:
    return lacks_depth(teacher) or unless(teacher.recording.rig.stereo, "stereo pair")


def lacks(run: RunFolder, kind: str) -> str:
    """What the run does not have, "" where it has some."""
    return "" if any((run.path / kind).glob("*.png")) else f"{kind} in its run {run.path}"


def depth_of(teacher: Teacher, frame: int, size: Size) -> np.ndarray:
    found = teacher.run.read_depth(frame)
    if found is None:
        found = DepthImage(np.zeros((1, 1), np.float32), np.zeros((1, 1), bool))
    return depth_map(found, size)


def disparity_of(teacher: Teacher, frame: int, size: Size) -> np.ndarray:
    """In px of that size, 0 where the run has no depth."""
    left, right = teacher.recording.rig.stereo_cameras
    depth_m, scale = depth_of(teacher, frame, size), np.float32(size[1] / left.size[1])
    offset_px = left.intrinsics[0, 2] - right.intrinsics[0, 2]
    disparity = left.intrinsics[0, 0] * have(teacher.recording.rig.baseline_m) / np.maximum(depth_m, 1e-6) + offset_px
    return np.where(depth_m > 0, np.maximum(disparity, 0) * scale, 0).astype(np.float32)


def flow_of(teacher: Teacher, frame: int) -> FlowImage:
    found = teacher.run.read_flow(frame)
    unknown = np.zeros((1, 1), bool)
    return FlowImage(np.zeros((1, 1, 2), np.float32), unknown, unknown) if found is None else found


def flow_error_of(teacher: Teacher, frame: int, size: Size) -> np.ndarray:
    """The error that the flow's method expects, in px of that size; 0 where it told none."""
    found = teacher.run.read_flow_error(frame)
    if found is None:
        return np.zeros((1, *size), np.float32)
    return nearest(found, size)[None] * np.float32(size[1] / found.shape[1])


def masks_of(teacher: Teacher, frame: int, size: Size) -> np.ndarray:
    return id_map(png.read_sixteen_bit(teacher.run.moving_path(frame)), size)


TAUGHT_FIELDS: dict[str, Field] = {
    "taught_flow_ab": Field("pair", lacks_flow, lambda teacher, frame, size: flow_map(flow_of(teacher, frame), size)),
    "taught_valid": Field("pair", lacks_flow, lambda teacher, frame, size: valid_map(flow_of(teacher, frame), size)),
    "taught_flow_error": Field("pair", lacks_flow, flow_error_of),
    "taught_depth_m": Field("frame", lacks_depth, depth_of),
    "taught_disparity": Field("frame", lacks_disparity, disparity_of),
    "taught_world_from_camera": Field(
        "frame",
        lacks_poses,
        lambda teacher, frame, _: teacher.world_from_camera[frame],
        known=lambda teacher: finite(teacher.world_from_camera),
    ),
    "taught_masks": Field("frame", lacks_masks, masks_of),
}
