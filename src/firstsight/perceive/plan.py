"""Which stages a recording allows, by which method, and why the others are skipped."""

from typing import Literal, NamedTuple

from firstsight.perceive import depth, flow, mapping, motion, moving
from firstsight.perceive.stage import Stage
from firstsight.recordings.recording import Recording


class Skip(NamedTuple):
    """A stage that the sensors cannot support."""

    name: str
    reason: str


Plan = list[type[Stage] | Skip]


def make_plan(recording: Recording) -> Plan:
    """The stages in the order in which they run: one camera's depth needs its motion, all other depth comes first."""
    depth_stage, motion_stage = choose_depth(recording), choose_motion(recording)
    needs_motion_first = depth_stage is depth.MultiViewDepth
    several = len(recording) > 1
    has_motion, has_depth = not isinstance(motion_stage, Skip), not isinstance(depth_stage, Skip)
    has_surfaces = has_depth or recording.scans is not None
    return [
        *([] if needs_motion_first else [depth_stage]),
        flow.FlowStage if recording.rig.cameras and several else Skip("flow", needs_frames(recording)),
        motion_stage,
        *([depth_stage] if needs_motion_first else []),
        moving.MovingStage if has_depth and has_motion else Skip("moving", "needs depth and motion"),
        *(
            stage if has_surfaces and has_motion else Skip(stage.name, "needs motion, and depth or LiDAR")
            for stage in (mapping.CloudStage, mapping.OccupancyStage, mapping.PlacesStage)
        ),
    ]


def choose_depth(recording: Recording) -> type[Stage] | Skip:
    if not recording.rig.cameras:
        return Skip("depth", "no camera")
    if recording.depth is not None:
        return depth.SensorDepth
    if recording.rig.stereo is not None:
        return depth.StereoDepth
    if recording.scans is not None:
        return depth.LidarDepth
    if len(recording) > 1:
        return depth.MultiViewDepth
    return Skip("depth", "one picture of one camera: depth needs a second view, a depth sensor or LiDAR")


def choose_motion(recording: Recording) -> type[Stage] | Skip:
    if recording.odometry is not None and not recording.rig.cameras and recording.scans is None:
        return motion.RecordedMotion
    if len(recording) < 2:
        return Skip("motion", needs_frames(recording))
    if recording.depth is not None or recording.rig.stereo is not None:
        return motion.DepthCameraMotion  # before LiDAR: its poses fit the pictures to a fraction of a pixel
    if recording.scans is not None:
        return motion.LidarMotion
    if recording.rig.cameras:
        return motion.CameraMotion
    return Skip("motion", "no camera, LiDAR or odometry")


def needs_frames(recording: Recording) -> str:
    return "needs two frames or more" if recording.rig.cameras else "no camera"


def scale_of(recording: Recording) -> Literal["metric", "unknown"]:
    """Whether distances of the run are metres: one camera alone cannot know, unless odometry tells."""
    alone = choose_motion(recording) is motion.CameraMotion and recording.odometry is None
    return "unknown" if alone else "metric"


def describe_plan(recording: Recording) -> list[tuple[str, str]]:
    """Each stage with its method, or with the reason for which it is skipped."""
    return [
        (stage.name, f"skipped: {stage.reason}" if isinstance(stage, Skip) else stage.method)
        for stage in make_plan(recording)
    ]
