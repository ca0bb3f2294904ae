"""Loops of a LiDAR alone: as loops.py, with places recognised in scans. Odometry's own trajectory is kept beside the closed one."""

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float64

from firstsight.errors import InputError
from firstsight.perceive import stage
from firstsight.perceive.stages.loops import LoopsStage
from firstsight.recordings.recording import Transforms
from firstsight.roles import Observation
from firstsight.roles.state import State
from firstsight.slam.loops.lidar_loop_closing import View


class LidarLoops(LoopsStage):
    """The trajectory file holds poses of the reference camera or body; loop closing works with those of the LiDAR."""

    needs = frozenset({stage.LIDAR_MOTION})
    gives = frozenset({stage.TRAJECTORY})
    default = "lidar-loop-closing"
    offers = frozenset({"points_lidar", "point_times_s"})

    @cached_property
    def lidar_from_camera(self) -> Float64[np.ndarray, "4 4"]:
        lidar = self.work.recording.rig.lidar
        assert lidar is not None
        return np.linalg.inv(lidar.body_from_lidar) @ self.work.body_from_camera

    def restore(self, state: State) -> None:
        self.frames, self.views = list(state["frames"]), list(state["views"])
        for frame in self.frames:
            self.closing.pass_by(self.work.recording[frame].stamp_ns, self.lidar_pose(frame))
        self.closing.views = [self.view_of(view) for view in state["grows"]]
        self.closing.at = [self.frames.index(frame) for frame in self.views]

    def view_state(self, view: View) -> State:  # ty: ignore[incompatible-method-override]
        return view._asdict()

    def view_of(self, state: State) -> View:  # ty: ignore[incompatible-method-override]
        return View(**state)

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
        self.frames.append(frame)
        if len(closing.views) > len(self.views):
            self.views.append(frame)

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
