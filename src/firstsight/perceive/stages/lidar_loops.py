"""Loops of a LiDAR alone: as loops.py, with places recognised in scans. Odometry's own trajectory is kept beside the closed one."""

from functools import cached_property

import numpy as np
from jaxtyping import Float64

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
        return self.work.sweep(frame, "so no place is known by it")

    def in_metres(self, world_from_sensor: Transforms, frames: np.ndarray) -> Transforms:
        """Returns the poses of the camera again: what the closing returns is of the LiDAR."""
        return world_from_sensor @ self.lidar_from_camera
