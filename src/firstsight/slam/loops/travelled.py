"""The path of a recording: poses of its frames, what is kept of some of them, and how it follows where those turn out to be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float64, Int64

from firstsight.geometry.se3 import interpolate
from firstsight.optimisation.tangents import spatial_log
from firstsight.roles import ClosedLoops
from firstsight.roles.state import State

Transform = Float64[np.ndarray, "4 4"]
Frames = Float64[np.ndarray, "frames 4 4"]
Poses = Float64[np.ndarray, "views 4 4"]
Pairs = Sequence[tuple[int, int]]
Distances = Float64[np.ndarray, " views"]
"""How far away things are in each view: what lengths are relative to."""

# of fewer, none can be a place that was left and came back to
MIN_VIEWS = 3

V = TypeVar("V")
"""What is kept of a frame."""


@dataclass
class Travelled(Generic[V]):
    """The poses of all frames so far; view k is of frame `frames[k]`."""

    poses: list[Transform] = field(default_factory=list)
    views: list[V] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)

    def move_to(self, world_from_sensor: Transform) -> None:
        """Take the next frame."""
        self.poses.append(world_from_sensor)

    def keep(self, view: V) -> None:
        """Keep this of the last frame."""
        self.views.append(view)
        self.frames.append(len(self.poses) - 1)

    @property
    def world_from_sensor(self) -> Frames:
        """Poses of all frames, as they were given."""
        return np.array(self.poses).reshape(-1, 4, 4)

    def unchanged(self, tried: int = 0, disputed: Pairs = ()) -> ClosedLoops:
        """The trajectory as it was given, where none of the pairs tried is a loop."""
        return ClosedLoops(self.world_from_sensor, self.frames_of(()), tried, self.frames_of(disputed))

    def closed(self, world_from_view: Poses, loops: Pairs, tried: int, disputed: Pairs = ()) -> ClosedLoops:
        """The trajectory with its views there; loops are pairs of views."""
        poses = follow(self.world_from_sensor, np.array(self.frames), world_from_view)
        return ClosedLoops(poses, self.frames_of(loops), tried, self.frames_of(disputed))

    def frames_of(self, pairs: Pairs) -> Int64[np.ndarray, "pairs 2"]:
        """The frames of pairs of views."""
        return np.array(self.frames, np.int64)[np.array(pairs, np.int64).reshape(-1, 2)]

    def state(self, packed: Callable[[V], State]) -> State:
        """Poses, and under "grows" what `packed` makes of each view, with its frame."""
        views = [{"frame": frame, **packed(view)} for frame, view in zip(self.frames, self.views, strict=True)]
        return {"poses": self.world_from_sensor, "grows": views}

    def restore(self, state: State, unpacked: Callable[[State], V]) -> None:
        """Become as the instance was whose state this is."""
        self.poses = list(state["poses"])
        self.views = [unpacked(view) for view in state["grows"]]
        self.frames = [view["frame"] for view in state["grows"]]


def path_length(
    world_from_place: Float64[np.ndarray, "places 4 4"], distance: Distances
) -> Float64[np.ndarray, " places"]:
    """How long the path is up to each place: lengths over the distance of what is seen there, plus radians turned."""
    steps = np.linalg.inv(world_from_place[:-1]) @ world_from_place[1:]
    turns = np.array([angle_rad(step) for step in steps])
    lengths = np.linalg.norm(steps[:, :3, 3], axis=1) / np.maximum((distance[:-1] + distance[1:]) / 2, 1e-9)
    return np.concatenate([[0.0], np.cumsum(lengths + turns)])


def angle_rad(motion: Transform) -> float:
    """Returns by how much a motion turns."""
    tangent = np.zeros(6)
    spatial_log(np.ascontiguousarray(motion), tangent)
    return float(np.linalg.norm(tangent[3:]))


def follow(poses: Frames, at: Int64[np.ndarray, " views"], world_from_view: Poses) -> Frames:
    """Poses of all frames, view k being frame `at[k]`.

    Each frame keeps its motion to the views before and after it; what these disagree in is shared by time.
    """
    out = np.empty_like(poses)
    out[: at[0]] = world_from_view[0] @ np.linalg.inv(poses[at[0]]) @ poses[: at[0]]
    out[at[-1] :] = world_from_view[-1] @ np.linalg.inv(poses[at[-1]]) @ poses[at[-1] :]
    for k in range(len(at) - 1):
        a, b = int(at[k]), int(at[k + 1])
        was = float(np.linalg.norm(poses[b, :3, 3] - poses[a, :3, 3]))
        now = float(np.linalg.norm(world_from_view[k + 1, :3, 3] - world_from_view[k, :3, 3]))
        frames = np.arange(a, b)
        scale = now / was if was > 0 else 1.0
        sides = []
        for view, end in ((k, a), (k + 1, b)):
            motion = np.linalg.inv(poses[end]) @ poses[frames]
            motion[:, :3, 3] *= scale
            sides.append(torch.from_numpy(world_from_view[view] @ motion))
        out[frames] = interpolate(*sides, torch.from_numpy((frames - a) / (b - a))).numpy()
    return out
