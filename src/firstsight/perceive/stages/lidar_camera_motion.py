"""The trajectory of a LiDAR with a camera: by the sweeps alone or by image corners with the LiDAR's depth, whichever fits.

Registering sweeps is sure, but at small steps its errors are as large as those of one step of corners, which images tell
to a fraction of a pixel. Both are run; the sweeps themselves say which poses lay them on each other better.
"""

from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from firstsight.motion.odometry.sweep_agreement import disagreement_m
from firstsight.motion.visual_odometry import VisualOdometry
from firstsight.perceive import stage
from firstsight.perceive.stages.motion import LidarMotion
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Transforms
from firstsight.roles import Observation, Trajectory
from firstsight.roles.state import State

# Frames between the sweeps that are compared: errors have added up, and the sweeps still see the same surfaces.
GAP = 8
# Pairs of sweeps that are compared, spread over the recording.
MAX_PAIRS = 12
# The sweeps must lie on each other so much better by the corners' poses, as a share.
MARGIN = 0.15


class LidarCameraMotion(LidarMotion):
    """Both methods side by side; a method that is named, as by `--use lidar-odometry`, runs alone."""

    needs: ClassVar[frozenset[str]] = frozenset({stage.CAMERA, stage.LIDAR, stage.DEPTH, stage.NEXT_FRAME})

    def __init__(self, work: Workspace) -> None:
        super().__init__(work)
        self.corners = None if self.named_of(work.use) else VisualOdometry()
        self.by_corners = False

    @property
    def body_from_sensor(self) -> Float64[np.ndarray, "4 4"]:
        return self.work.body_from_camera if self.by_corners else super().body_from_sensor

    def state(self) -> State:
        return super().state() | {"corners": None if self.corners is None else self.corners.state()}

    def restore(self, state: State) -> None:
        super().restore(state)
        self.corners = None if state["corners"] is None else VisualOdometry()
        if self.corners is not None:
            self.corners.restore(state["corners"])

    def process(self, frame: int) -> None:
        work = self.work
        super().process(frame)
        if self.corners is None:
            return
        depth = work.depth(frame)
        if depth is None:
            self.corners = None
            return
        stamp_ns = work.recording[frame].stamp_ns
        self.corners.step(Observation(stamp_ns, work.image(frame), work.intrinsics, depth))

    def finish(self) -> str:
        remark = self.choose() if self.corners is not None and self.frames else ""
        return "; ".join(filter(None, [remark, super().finish()]))

    def choose(self) -> str:
        """Takes the trajectory by which the sweeps lie on each other better; says so."""
        assert self.corners is not None
        sweeps, corners = self.odometry.trajectory(), self.corners.trajectory()
        body_from_lidar = super().body_from_sensor
        lidar_from_camera = np.linalg.inv(body_from_lidar) @ self.work.body_from_camera
        by_corners = lidar_from_camera @ corners.first_from_sensor.numpy() @ np.linalg.inv(lidar_from_camera)
        pairs = self.pairs(sweeps, corners)
        if not pairs:
            return "by the sweeps alone: the camera lost its way, or there are too few frames to tell which is better"
        off_m = np.array(
            [[self.off_m(pair, poses) for poses in (sweeps.first_from_sensor.numpy(), by_corners)] for pair in pairs]
        )
        by_sweeps_m, by_corners_m = np.nanmean(off_m, axis=0)
        self.by_corners = bool(by_corners_m < (1 - MARGIN) * by_sweeps_m)
        if self.by_corners:
            self.odometry, self.method = self.corners, "visual-odometry"
        return (
            f"by {'image corners with the depth of the LiDAR' if self.by_corners else 'the sweeps alone'}: sweeps {GAP} frames "
            f"apart disagree by {1e3 * by_corners_m:.1f} mm by corners, {1e3 * by_sweeps_m:.1f} mm by the sweeps' registration"
        )

    def pairs(self, sweeps: Trajectory, corners: Trajectory) -> list[tuple[int, int]]:
        """Steps of which the sweeps are compared; none where the corners do not give a whole trajectory."""
        whole = bool((corners.valid | ~sweeps.valid).all()) and not corners.segments.any()
        first = np.arange(len(self.frames) - GAP)
        usable = [int(i) for i in first if sweeps.valid[i] and sweeps.valid[i + GAP]]
        if not whole or not usable:
            return []
        chosen = np.unique(np.linspace(0, len(usable) - 1, MAX_PAIRS).astype(int))
        return [(usable[i], usable[i] + GAP) for i in chosen]

    def off_m(self, pair: tuple[int, int], first_from_lidar: Transforms) -> float:
        """How far two sweeps lie apart by these poses."""
        points = []
        for step in pair:
            sweep = self.work.sweep(self.frames[step], "").points_lidar
            assert sweep is not None
            points.append(sweep.numpy().astype(np.float64))
        return disagreement_m(*points, np.linalg.inv(first_from_lidar[pair[0]]) @ first_from_lidar[pair[1]])
