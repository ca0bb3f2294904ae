"""Loops of a LiDAR alone: as loops.py, with places recognised in scans. Odometry's own trajectory is kept beside the closed one."""

from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from firstsight.errors import InputError
from firstsight.formats.atomic import write_bytes
from firstsight.perceive.stages.loops import LoopsStage
from firstsight.recordings.recording import Transforms
from firstsight.roles import Observation
from firstsight.slam.loops.lidar_loop_closing import LidarLoopClosing, View


class LidarLoops(LoopsStage):
    """The trajectory file holds poses of the reference camera or body; loop closing works with those of the LiDAR."""

    method = "lidar-loop-closing"

    @cached_property
    def lidar_from_camera(self) -> Float64[np.ndarray, "4 4"]:
        lidar = self.work.recording.rig.lidar
        assert lidar is not None
        return np.linalg.inv(lidar.body_from_lidar) @ self.work.body_from_camera

    @cached_property
    def closing(self) -> LidarLoopClosing:  # ty: ignore[incompatible-attribute-override]
        """As it was after the frames of `state`."""
        closing = LidarLoopClosing()
        for frame in self.state.frames:
            closing.pass_by(self.work.recording[frame].stamp_ns, self.lidar_pose(frame))
        closing.views = [read_view(self.view_path(frame)) for frame in self.state.views]
        closing.at = [self.state.frames.index(frame) for frame in self.state.views]
        return closing

    def lidar_pose(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        return self.odometry[frame] @ np.linalg.inv(self.lidar_from_camera)

    def process(self, frame: int) -> None:
        closing, pose = self.closing, self.lidar_pose(frame)
        if not np.isfinite(pose).all():
            return
        if closing.is_due(pose):
            closing.integrate(self.observe(frame), pose)
        else:
            closing.pass_by(self.work.recording[frame].stamp_ns, pose)
        self.state.frames.append(frame)
        if len(closing.views) > len(self.state.views):
            write_view(self.view_path(frame), closing.views[-1])
            self.state.views.append(frame)

    def observe(self, frame: int) -> Observation:
        scan = self.work.recording[frame].scan()
        if scan is None:
            raise InputError(f"frame {frame}: no LiDAR sweep at this instant, so no place is known by it")
        times = None if scan.times_s is None else torch.from_numpy(scan.times_s)
        return Observation(
            self.work.recording[frame].stamp_ns, points_lidar=torch.from_numpy(scan.points), point_times_s=times
        )

    def in_metres(self, world_from_camera: Transforms, frames: np.ndarray) -> Transforms:
        """Of the camera again: what the closing returns is of the LiDAR."""
        return world_from_camera @ self.lidar_from_camera


def write_view(path: Path, view: View) -> None:
    """As NumPy's .npz."""
    content = BytesIO()
    np.savez(content, pose=view.world_from_lidar, points=view.points, distance_m=view.distance_m)
    write_bytes(path, content.getvalue())


def read_view(path: Path) -> View:
    with np.load(path) as content:
        return View(content["pose"], content["points"], float(content["distance_m"]))
