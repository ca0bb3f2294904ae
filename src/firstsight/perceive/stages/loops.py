"""Loops: the trajectory as it is when places passed again are known to be the same. Odometry's own is kept beside it.

The stage reads `odometry.txt`, a copy of what the motion stage wrote, and writes `trajectory.txt` in one piece, so that a
killed run finds either the open or the closed trajectory, and starts from the open one in any case.
"""

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from firstsight.evaluation.trajectory import on_frames
from firstsight.formats.atomic import write_bytes, write_json
from firstsight.formats.trajectory import read_tum
from firstsight.perceive.stage import Stage
from firstsight.perceive.stages.motion import metric_scale, write_poses
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Transforms
from firstsight.roles import Observation
from firstsight.slam.loops.loop_closing import LoopClosing
from firstsight.slam.loops.views import read_view, write_view


class Taken(NamedTuple):
    """The frames that loop closing was given, and which of those it keeps as views, whose files lie in the scratch folder."""

    frames: list[int]
    views: list[int]


class LoopsStage(Stage):
    """A camera with depth, or one camera alone."""

    name = "loops"
    method = "loop-closing"

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.state = Taken([], [])

    @cached_property
    def odometry(self) -> Transforms:
        """The open trajectory by frame; NaN where a frame has none."""
        run = self.work.run
        if not run.trajectory_path.exists():  # the motion stage found none
            return np.full((len(self.work.recording), 4, 4), np.nan)
        if not run.odometry_path.exists():
            write_bytes(run.odometry_path, run.trajectory_path.read_bytes())
        return on_frames(*read_tum(run.odometry_path), self.work.recording.stamps_ns)

    @cached_property
    def closing(self) -> LoopClosing:
        """As it was after the frames of `state`."""
        closing = LoopClosing()
        closing.intrinsics = self.work.intrinsics.numpy()
        closing.poses = list(self.odometry[self.state.frames])
        closing.views = [read_view(self.view_path(frame)) for frame in self.state.views]
        closing.at = [self.state.frames.index(frame) for frame in self.state.views]
        return closing

    def view_path(self, frame: int) -> Path:
        return self.work.scratch / "loops" / f"{frame:06d}.npz"

    def process(self, frame: int) -> None:
        pose, closing = self.odometry[frame], self.closing
        if not np.isfinite(pose).all():
            return
        if self.shows_nothing_new(pose):
            closing.pass_by(pose)
        else:
            closing.integrate(self.observe(frame), pose)
        self.state.frames.append(frame)
        if len(closing.views) > len(self.state.views):
            write_view(self.view_path(frame), closing.views[-1])
            self.state.views.append(frame)

    def shows_nothing_new(self, pose: np.ndarray) -> bool:
        """Known without looking where the last view has depth: then nothing needs to be decoded."""
        return False

    def observe(self, frame: int) -> Observation:
        work = self.work
        return Observation(work.recording[frame].stamp_ns, image=work.image(frame), intrinsics=work.intrinsics)

    def finish(self) -> str:
        if not self.state.frames:
            return "no trajectory to close"
        closed = self.closing.close()
        frames = np.array(self.state.frames, np.int64)
        loops = [[int(frames[a]), int(frames[b])] for a, b in closed.loops]
        write_json(self.work.run.loops_path, {"tried": closed.tried, "loops": loops})
        remark = f"{len(loops)} loops of {closed.tried} pairs tried"
        if not loops:
            write_bytes(self.work.run.trajectory_path, self.work.run.odometry_path.read_bytes())
            return f"{remark}: the trajectory stays as it is"
        write_poses(self.work, frames, self.in_metres(closed.world_from_camera, frames))
        return remark

    def in_metres(self, world_from_camera: Transforms, frames: np.ndarray) -> Transforms:
        return world_from_camera


class DepthCameraLoops(LoopsStage):
    """With depth from a sensor or from stereo."""

    def shows_nothing_new(self, pose: np.ndarray) -> bool:
        return bool(self.closing.views) and not self.closing.is_due(pose)

    def observe(self, frame: int) -> Observation:
        return super().observe(frame)._replace(depth=self.work.depth(frame))


class CameraLoops(LoopsStage):
    """One camera alone: the scale is closed too, and measured against the recorded odometry again where there is one."""

    def in_metres(self, world_from_camera: Transforms, frames: np.ndarray) -> Transforms:
        odometry = self.work.recording.odometry
        if odometry is None:
            return world_from_camera
        scaled = world_from_camera.copy()
        origin = scaled[0, :3, 3]
        scale = metric_scale(scaled, odometry[frames] @ self.work.body_from_camera, np.ones(len(frames), bool))
        scaled[:, :3, 3] = origin + scale * (scaled[:, :3, 3] - origin)
        return scaled
