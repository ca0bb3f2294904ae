"""The robot's own pose as a ROS bag records it: in Odometry, in pose messages or in /tf."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64

from firstsight.errors import InputError
from firstsight.formats.trajectory import require_times
from firstsight.geometry import se3
from firstsight.recordings.recording import Transforms
from firstsight.recordings.ros import messages as ros_messages
from firstsight.recordings.ros.frames import FrameTree, frame_name
from firstsight.recordings.ros.topics import Bag

ODOMETRY = "nav_msgs/msg/Odometry"
POSES = ("geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped")


class BodyPoses(NamedTuple):
    """World_from_body over time; `body` is the frame it places, None where the messages do not say."""

    topic: str
    body: str | None
    stamps_ns: Int64[np.ndarray, " samples"]
    world_from_body: Float64[np.ndarray, "samples 4 4"]


def recorded_poses(bag: Bag, tree: FrameTree) -> tuple[BodyPoses | None, str]:
    """The topic of odometry with most messages, else of poses, else what /tf says; and what was left out ("" for nothing)."""
    for types in ((ODOMETRY,), POSES):
        if topics := bag.topics(*types):
            return _poses_of(bag, max(topics, key=bag.count))
    edge = tree.robot_edge()
    if edge is None:
        return None, ""
    stamps, poses = zip(*tree.robot[edge], strict=True)
    times = require_times(stamps, f"{bag.path}: /tf")
    return BodyPoses(f"/tf {edge[0]} -> {edge[1]}", edge[1], times, np.stack(poses)), ""


def _poses_of(bag: Bag, topic: str) -> tuple[BodyPoses | None, str]:
    """The poses of a topic that are poses; None where none is."""
    stamps, poses, problems = [], [], []
    body = None
    for time_ns, raw, kind in bag.raw(topic):
        message = bag.decode(raw, kind)
        try:
            poses.append(ros_messages.pose(message, f"{bag.path}: {topic}"))
        except InputError as error:
            problems.append(str(error))
            continue
        stamps.append(bag.header_stamp_ns(raw) or time_ns)
        body = frame_name(getattr(message, "child_frame_id", "")) or body
    if not poses:
        return None, f"odometry left out: {problems[0]}"
    found = BodyPoses(topic, body, require_times(stamps, f"{bag.path}: {topic}"), np.stack(poses))
    left_out = f"left out: {len(problems)} of {len(problems) + len(poses)} poses; {problems[0]}" if problems else ""
    return found, left_out


def interpolated(poses: BodyPoses, stamps_ns: Int64[np.ndarray, " frames"]) -> Transforms:
    """Poses at the stamps, at constant velocity between samples; the first or last one outside their times."""
    times, first = np.unique(poses.stamps_ns, return_index=True)
    samples = torch.from_numpy(poses.world_from_body[first])
    after = np.searchsorted(times, stamps_ns).clip(1, max(len(times) - 1, 1)).clip(max=len(times) - 1)
    before = (after - 1).clip(0)
    step = np.maximum(times[after] - times[before], 1)
    fraction = np.clip((stamps_ns - times[before]) / step, 0.0, 1.0)
    return se3.interpolate(samples[before], samples[after], torch.from_numpy(fraction)).numpy()
