"""Which stages a recording allows, by which method, and why the others are skipped."""

from typing import Literal, NamedTuple

from firstsight.perceive.choice import uses
from firstsight.perceive.stage import Stage
from firstsight.perceive.stages import depth, flow, lidar_loops, loops, mapping, motion, moving
from firstsight.recordings.recording import Recording
from firstsight.roles import DepthEstimator


class Skip(NamedTuple):
    """A stage that the sensors cannot support."""

    name: str
    reason: str


Plan = list[type[Stage] | Skip]


def make_plan(recording: Recording, use: tuple[str, ...] = ()) -> Plan:
    """The stages in the order in which they run: one camera's depth needs its motion, all other depth comes first."""
    depth_stage, motion_stage = choose_depth(recording, use), choose_motion(recording, use)
    needs_motion_first = depth_stage is depth.MultiViewDepth
    several = len(recording) > 1
    has_motion, has_depth = not isinstance(motion_stage, Skip), not isinstance(depth_stage, Skip)
    has_surfaces = has_depth or recording.scans is not None
    return [
        *([] if needs_motion_first else [depth_stage]),
        flow.FlowStage if recording.rig.cameras and several else Skip("flow", needs_frames(recording)),
        motion_stage,
        choose_loops(motion_stage),
        *([depth_stage] if needs_motion_first else []),
        moving.MovingStage if has_depth and has_motion else Skip("moving", "needs depth and motion"),
        *(
            stage if has_surfaces and has_motion else Skip(stage.name, "needs motion, and depth or LiDAR")
            for stage in (mapping.CloudStage, mapping.OccupancyStage, mapping.PlacesStage)
        ),
        mapping.MeshStage if has_depth and has_motion else Skip("mesh", "needs motion and depth"),
    ]


def choose_depth(recording: Recording, use: tuple[str, ...] = ()) -> type[Stage] | Skip:
    if not recording.rig.cameras:
        return Skip("depth", "no camera")
    if uses(use, DepthEstimator):
        return depth.LearnedDepth
    if recording.depth is not None:
        return depth.SensorDepth
    if recording.rig.stereo is not None:
        return depth.StereoDepth
    if recording.scans is not None:
        return depth.LidarDepth
    if len(recording) > 1:
        return depth.MultiViewDepth
    return Skip("depth", "one picture of one camera: depth needs a second view, a depth sensor or LiDAR")


def choose_motion(recording: Recording, use: tuple[str, ...] = ()) -> type[Stage] | Skip:
    if recording.odometry is not None and not recording.rig.cameras and recording.scans is None:
        return motion.RecordedMotion
    if len(recording) < 2:
        return Skip("motion", needs_frames(recording))
    learned = recording.rig.cameras and uses(use, DepthEstimator)
    if learned or recording.depth is not None or recording.rig.stereo is not None:
        return motion.DepthCameraMotion  # before LiDAR: its poses fit the pictures to a fraction of a pixel
    if recording.scans is not None:
        return motion.LidarMotion
    if recording.rig.cameras:
        return motion.CameraMotion
    return Skip("motion", "no camera, LiDAR or odometry")


def choose_loops(motion_stage: type[Stage] | Skip) -> type[Stage] | Skip:
    if motion_stage is motion.DepthCameraMotion:
        return loops.DepthCameraLoops
    if motion_stage is motion.CameraMotion:
        return loops.CameraLoops
    if motion_stage is motion.LidarMotion:
        return lidar_loops.LidarLoops
    return Skip("loops", "needs motion measured by a camera or a LiDAR")


def needs_frames(recording: Recording) -> str:
    return "needs two frames or more" if recording.rig.cameras else "no camera"


def scale_of(recording: Recording, use: tuple[str, ...] = ()) -> Literal["metric", "unknown"]:
    """Whether distances of the run are metres: one camera alone cannot know, unless odometry or a trained method tells."""
    learned = uses(use, DepthEstimator)
    if recording.rig.cameras and learned is not None:
        return learned.scale
    alone = choose_motion(recording) is motion.CameraMotion and recording.odometry is None
    return "unknown" if alone else "metric"


def describe_plan(recording: Recording) -> list[tuple[str, str]]:
    """Each stage with its method, or with the reason for which it is skipped."""
    return [
        (stage.name, f"skipped: {stage.reason}" if isinstance(stage, Skip) else stage.method)
        for stage in make_plan(recording)
    ]
