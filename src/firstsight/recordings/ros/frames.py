"""The tree of coordinate frames that /tf and /tf_static describe.

Frame names are compared without a leading slash, as ROS 1 wrote them.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from firstsight.errors import InputError
from firstsight.recordings.recording import Transform
from firstsight.recordings.ros import messages as ros_messages

Edge = tuple[str, str]  # (parent, child)

WORLD_FRAMES = ("odom", "map", "world")  # the smooth one first
BODY_FRAMES = ("base_link", "base_footprint")


@dataclass
class FrameTree:
    """parent_from_child by edge: the first one seen, which edges have changed since, and all samples of the robot's pose.

    Transforms that are none are `left_out`, with the reason of the first by edge: one joint must not close a bag. Only edges
    from a world frame to the robot keep their samples, so that hours of moving joints take no memory.
    """

    first: dict[Edge, Transform] = field(default_factory=dict)
    changed: set[Edge] = field(default_factory=set)
    robot: dict[Edge, list[tuple[int, Transform]]] = field(default_factory=dict)
    left_out: dict[Edge, str] = field(default_factory=dict)

    def add(self, message: Any, source: str) -> None:
        """Takes one TFMessage."""
        for stamped in message.transforms:
            edge = (frame_name(stamped.header.frame_id), frame_name(stamped.child_frame_id))
            if edge in self.changed and edge not in self.robot:
                continue
            try:
                parent_from_child = ros_messages.transform(
                    stamped.transform.translation, stamped.transform.rotation, source
                )
            except InputError as error:
                self.left_out.setdefault(edge, f"left out: from '{edge[0]}' to '{edge[1]}', {error}")
                continue
            if not np.allclose(self.first.setdefault(edge, parent_from_child), parent_from_child, rtol=0, atol=1e-6):
                self.changed.add(edge)
            if edge[0] in WORLD_FRAMES and edge[1] not in WORLD_FRAMES:
                stamp = stamped.header.stamp
                self.robot.setdefault(edge, []).append((stamp.sec * 10**9 + stamp.nanosec, parent_from_child))

    def names(self) -> set[str]:
        return {name for edge in self.first for name in edge}

    def between(self, target: str, source: str) -> Transform | None:
        """target_from_source over edges that never changed, None where they do not connect the two."""
        target_from: dict[str, Transform] = {target: np.eye(4)}
        rigid = _neighbours({edge: matrix for edge, matrix in self.first.items() if edge not in self.changed})
        waiting = deque([target])
        while waiting and source not in target_from:
            here = waiting.popleft()
            for name, here_from_name in rigid.get(here, ()):
                if name not in target_from:
                    target_from[name] = target_from[here] @ here_from_name
                    waiting.append(name)
        return target_from.get(source)

    def robot_edge(self) -> Edge | None:
        """The edge that places the robot in a world frame, None without one; a smooth one to the body is preferred."""
        return min(
            self.robot, key=lambda edge: (not edge[1].startswith("base"), WORLD_FRAMES.index(edge[0])), default=None
        )


def frame_name(name: str) -> str:
    return name.lstrip("/")


def _neighbours(edges: Mapping[Edge, Transform]) -> dict[str, list[tuple[str, Transform]]]:
    """Returns for each frame the adjacent ones with here_from_there."""
    adjacent: dict[str, list[tuple[str, Transform]]] = {}
    for (parent, child), parent_from_child in edges.items():
        adjacent.setdefault(parent, []).append((child, parent_from_child))
        adjacent.setdefault(child, []).append((parent, np.linalg.inv(parent_from_child)))
    return adjacent
