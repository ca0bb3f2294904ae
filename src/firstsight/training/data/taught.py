"""Pseudo-labels: fields that a finished run of `firstsight perceive` found, in place of the truth.

A source names its run: `drive@taught=runs/drive`. The run must be finished, and of the same source and frames.
A frame for which the run has no depth or flow has none here either (depth 0, `taught_valid` False). Moving objects are
looked for in whole recordings, so a run has their masks for all frames or for none.
"""

from pathlib import Path

import numpy as np

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.recordings.recording import DepthImage, FlowImage, Recording
from firstsight.run_folder import RunFolder
from firstsight.training.data.fields import Field, Size, depth_map, flow_map, id_map, valid_map


def finished_run(folder: str, recording: Recording, frames: str | None) -> RunFolder:
    """The run in a folder. Raises InputError where it is not finished, or of other data than the recording's."""
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
    return run


def described(source: str, frames: str | None, count: int) -> str:
    return f"{source} ({count} frames{f', {frames}' if frames else ''})"


def lacks_depth(run: RunFolder) -> str:
    return lacks(run, "depth")


def lacks_flow(run: RunFolder) -> str:
    return lacks(run, "flow")


def lacks_masks(run: RunFolder) -> str:
    return lacks(run, "moving")


def lacks(run: RunFolder, kind: str) -> str:
    """What the run does not have, "" where it has some."""
    return "" if any((run.path / kind).glob("*.png")) else f"{kind} in its run {run.path}"


def depth_of(run: RunFolder, frame: int, size: Size) -> np.ndarray:
    found = run.read_depth(frame)
    if found is None:
        found = DepthImage(np.zeros((1, 1), np.float32), np.zeros((1, 1), bool))
    return depth_map(found, size)


def flow_of(run: RunFolder, frame: int) -> FlowImage:
    found = run.read_flow(frame)
    unknown = np.zeros((1, 1), bool)
    return FlowImage(np.zeros((1, 1, 2), np.float32), unknown, unknown) if found is None else found


def masks_of(run: RunFolder, frame: int, size: Size) -> np.ndarray:
    return id_map(png.read_sixteen_bit(run.moving_path(frame)), size)


TAUGHT_FIELDS: dict[str, Field] = {
    "taught_flow_ab": Field("pair", lacks_flow, lambda run, frame, size: flow_map(flow_of(run, frame), size)),
    "taught_valid": Field("pair", lacks_flow, lambda run, frame, size: valid_map(flow_of(run, frame), size)),
    "taught_depth_m": Field("frame", lacks_depth, depth_of),
    "taught_masks": Field("frame", lacks_masks, masks_of),
}
