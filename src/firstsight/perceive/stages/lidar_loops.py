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

    def pose(self, frame: int) -> np.ndarray:
        return self.odometry[frame] @ np.linalg.inv(self.lidar_from_camera)

    def observe(self, frame: int) -> Observation:
        scan = self.work.recording[frame].scan()
        if scan is None:
            raise InputError(f"frame {frame}: no LiDAR sweep at this instant, so no place is known by it")
        times = None if scan.times_s is None else torch.from_numpy(scan.times_s)
        return Observation(
            self.work.recording[frame].stamp_ns, points_lidar=torch.from_numpy(scan.points), point_times_s=times
        )

    def in_metres(self, world_from_sensor: Transforms, frames: np.ndarray) -> Transforms:
        """Returns the poses of the camera again: what the closing returns is of the LiDAR."""
        return world_from_sensor @ self.lidar_from_camera
