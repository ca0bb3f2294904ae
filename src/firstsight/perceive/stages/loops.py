"""Loops: the trajectory as it is when places passed again are known to be the same. Odometry's own is kept beside it.

The stage reads `odometry.txt`, a copy of what the motion stage wrote, and writes `trajectory.txt` in one piece, so that a
killed run finds either the open or the closed trajectory, and starts from the open one in any case.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from firstsight.evaluation.trajectory import on_frames
from firstsight.formats.atomic import write_bytes, write_json
from firstsight.formats.state import read_state, write_state
from firstsight.formats.trajectory import read_tum
from firstsight.perceive.stage import Stage
from firstsight.perceive.stages.motion import metric_scale, write_poses
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Transforms
from firstsight.roles import LoopCloser, Observation
from firstsight.slam.loops.loop_closing import LoopClosing


class LoopsStage(Stage):
    """Closes the loops of what odometry found, with poses of the reference camera."""

    name = "loops"
    method = "loop-closing"

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.closing: LoopCloser = self.closer()
        self.frames: list[int] = []
        self.stored = 0

    def closer(self) -> LoopCloser:
        """What does the work."""
        return LoopClosing()

    @property
    def state(self) -> dict[str, Any]:
        """The frames taken and the state of the closing, whose views are stored one by one in the scratch folder."""
        state = self.closing.state()
        views = state.pop("grows")
        for number in range(self.stored, len(views)):
            write_state(self.view_path(number), views[number])
        self.stored = len(views)
        return {"frames": list(self.frames), "closing": state, "views": self.stored}

    @state.setter
    def state(self, kept: dict[str, Any]) -> None:
        views = [read_state(self.view_path(number)) for number in range(kept["views"])]
        self.closing.restore({**kept["closing"], "grows": views})
        self.frames, self.stored = list(kept["frames"]), kept["views"]

    @cached_property
    def odometry(self) -> Transforms:
        """The open trajectory by frame; NaN where a frame has none."""
        run = self.work.run
        if not run.trajectory_path.exists():  # the motion stage found none
            return np.full((len(self.work.recording), 4, 4), np.nan)
        if not run.odometry_path.exists():
            write_bytes(run.odometry_path, run.trajectory_path.read_bytes())
        return on_frames(*read_tum(run.odometry_path), self.work.recording.stamps_ns)

    def view_path(self, number: int) -> Path:
        return self.work.scratch / "loops" / f"{number:06d}.npz"

    def pose(self, frame: int) -> np.ndarray:
        """Where odometry has the sensor; NaN where it does not know."""
        return self.odometry[frame]

    def process(self, frame: int) -> None:
        pose = self.pose(frame)
        if not np.isfinite(pose).all():
            return
        if self.closing.should_add(pose):
            self.closing.integrate(self.observe(frame), pose)
        else:
            self.closing.skip(self.work.recording[frame].stamp_ns, pose)
        self.frames.append(frame)

    def observe(self, frame: int) -> Observation:
        work = self.work
        return Observation(work.recording[frame].stamp_ns, image=work.image(frame), intrinsics=work.intrinsics)

    def finish(self) -> str:
        if not self.frames:
            return "no trajectory to close"
        closed = self.closing.close()
        frames = np.array(self.frames, np.int64)
        loops = [[int(frames[a]), int(frames[b])] for a, b in closed.loops]
        write_json(self.work.run.loops_path, {"tried": closed.tried, "loops": loops})
        remark = f"{len(loops)} loops of {closed.tried} pairs tried"
        if not loops:
            write_bytes(self.work.run.trajectory_path, self.work.run.odometry_path.read_bytes())
            return f"{remark}: the trajectory stays as it is"
        write_poses(self.work, frames, self.in_metres(closed.world_from_sensor, frames))
        return remark

    def in_metres(self, world_from_sensor: Transforms, frames: np.ndarray) -> Transforms:
        """Poses of the reference camera, in metres where anything tells them."""
        return world_from_sensor


class DepthCameraLoops(LoopsStage):
    """With depth from a sensor or from stereo."""

    def observe(self, frame: int) -> Observation:
        return super().observe(frame)._replace(depth=self.work.depth(frame))


class CameraLoops(LoopsStage):
    """One camera alone: the scale is closed too, and measured against the recorded odometry again where there is one."""

    def in_metres(self, world_from_sensor: Transforms, frames: np.ndarray) -> Transforms:
        odometry = self.work.recording.odometry
        if odometry is None:
            return world_from_sensor
        scaled = world_from_sensor.copy()
        origin = scaled[0, :3, 3]
        scale = metric_scale(scaled, odometry[frames] @ self.work.body_from_camera, np.ones(len(frames), bool))
        scaled[:, :3, 3] = origin + scale * (scaled[:, :3, 3] - origin)
        return scaled
