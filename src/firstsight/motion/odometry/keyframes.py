"""What visual odometry remembers: keyframes, landmarks, what the keyframes measured of them, and every frame's pose.

Bounded: landmarks and measurements belong to the last `window` keyframes. Of older keyframes only the poses stay, and a
frame's pose is kept relative to its keyframe, so that adjusting a keyframe carries its frames along.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

from firstsight.geometry.points import project_points
from firstsight.geometry.se3 import se3_exp, se3_log
from firstsight.motion.depth_alignment import MeasuredMotion
from firstsight.motion.odometry.known_views import KnownView, RecognitionConfig, descriptors_of, recognise
from firstsight.motion.odometry.tracking import Grey, Pixels, TrackingConfig, Tracks
from firstsight.optimisation.bundle.camera_model import Measurements
from firstsight.optimisation.bundle.equations import Ties
from firstsight.optimisation.window_adjustment import Window, adjust, residuals
from firstsight.roles import Trajectory
from firstsight.roles.state import State

Ids = Int64[np.ndarray, " n"]
Rows = Float64[np.ndarray, "n 3"]
Transform = Float64[np.ndarray, "4 4"]


class FramePose(NamedTuple):
    keyframe: int
    keyframe_from_frame: Transform
    valid: bool


class Located(NamedTuple):
    """A frame's pose and the corners in it that agree on the pose; corners that are no landmarks may be among them."""

    camera_from_world: Transform
    tracks: Tracks


UNKNOWN = MeasuredMotion(np.eye(4), np.zeros((6, 6)))
# The arrays of the landmarks of the window and of what was measured of them.
OF_WINDOW = ("ids", "points_world", "measured_by", "measured_id", "measured", "precision")
# What a state keeps as it is.
KEPT = ("intrinsics", "world_from_keyframe", "start", "segments", "segment", "velocity", *OF_WINDOW)
# windows of keyframes that are remembered of segments that were left
MAX_LEFT = 2


class Keyframes:
    """`window` keyframes are adjusted together, the oldest `fixed` of them held; the world is the first frame's camera."""

    def __init__(
        self,
        intrinsics: Float64[np.ndarray, "3 3"],
        window: int,
        fixed: int,
        recognition: RecognitionConfig | None = None,
    ) -> None:
        self.intrinsics = intrinsics
        self.recognition = recognition or RecognitionConfig()
        self.window = window
        self.fixed = fixed
        self.world_from_keyframe = np.zeros((0, 4, 4))
        self.start = 0  # the keyframe before which nothing is joined to what came after
        self.segments = np.zeros(0, np.int64)  # of each keyframe: the number of its segment
        self.segment = 0  # the number of the current one
        self.greys: list[Grey] = []  # of the keyframes of the window
        self.left: list[KnownView] = []  # views of segments that were left
        self.motions: list[MeasuredMotion] = []  # from each keyframe of the window to the one before, as surfaces say
        self.ids, self.points_world = np.zeros(0, np.int64), np.zeros((0, 3))
        self.measured_by, self.measured_id = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.measured, self.precision = np.zeros((0, 3)), np.zeros((0, 3))
        self.frames: list[FramePose] = []
        self.velocity = np.eye(4)  # from a frame to the one before

    def __len__(self) -> int:
        return len(self.world_from_keyframe)

    @property
    def oldest(self) -> int:
        """The first keyframe of the window."""
        return max(self.start, len(self) - self.window)

    def start_segment(self) -> None:
        """Let the next keyframe start anew: what was measured before stays where it is, its views may be recognised."""
        if self.has_measured_frames():
            leaving = [view._replace(descriptors=descriptors_of(view, self.recognition)) for view in self.views()]
            self.left = [*self.left, *leaving][-MAX_LEFT * self.window :]
            self.segment = int(self.segments.max(initial=-1)) + 1
        self.start = len(self)

    def has_measured_frames(self) -> bool:
        """Whether any frame of the current segment is valid: if none is, there is nothing to leave."""
        for frame in reversed(self.frames):
            if self.segments[frame.keyframe] != self.segment:
                return False
            if frame.valid:
                return True
        return False

    def views(self) -> list[KnownView]:
        """Returns the keyframes of the window as views of their landmarks."""
        rows = self.rows(self.measured_id)
        found = []
        for number in range(max(self.oldest, len(self) - len(self.greys)), len(self)):
            own = np.flatnonzero((self.measured_by == number) & (rows >= 0))
            grey = self.greys[number - len(self)]
            points_world = self.points_world[rows[own]]
            found.append(
                KnownView(number, grey, self.measured_id[own], points_world, self.measured[own], self.precision[own])
            )
        return found

    def recognise(self, grey: Grey, tracking: TrackingConfig) -> Located | None:
        """A lost frame by the views of the window or of segments that were left; then the segment of that view goes on."""
        views = [*self.left, *self.views()]
        found = recognise(views, grey, self.intrinsics, tracking, self.recognition)
        if found is None:
            return None
        view = views[found.view]
        if found.view < len(self.left):
            self.return_to(view)
        tracks = Tracks(grey, view.ids[found.rows], found.pixels, view.measured[found.rows, :2])
        return Located(found.camera_from_world, tracks)

    def return_to(self, view: KnownView) -> None:
        """Make the window that of a view which was left, as it was then, and its segment the current one."""
        number = int(self.segments[view.keyframe])
        views = [other for other in self.left if self.segments[other.keyframe] == number][-self.window :]
        self.start_segment()
        self.segment = number
        self.left = [other for other in self.left if self.segments[other.keyframe] != number]
        self.ids, self.points_world = np.zeros(0, np.int64), np.zeros((0, 3))
        for name in ("measured_by", "measured_id", "measured", "precision"):
            setattr(self, name, getattr(self, name)[:0])
        for other in views:
            self.add_keyframe(self.world_from_keyframe[other.keyframe], other.grey)
            self.add_measurements(len(self) - 1, other.ids, other.measured, other.precision)
            new = self.rows(other.ids) < 0
            self.add_landmarks(other.ids[new], other.points_world[new])

    def rows(self, ids: Ids) -> Int64[np.ndarray, " n"]:
        """Returns the rows of landmarks with these ids; -1 where there is no such landmark."""
        if not len(self.ids):
            return np.full(len(ids), -1)
        rows = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
        return np.where(self.ids[rows] == ids, rows, -1)

    def add_keyframe(self, world_from_camera: Transform, grey: Grey, motion: MeasuredMotion = UNKNOWN) -> None:
        """A new keyframe, with the motion to the one before where surfaces measured it; the oldest one leaves."""
        self.world_from_keyframe = np.concatenate([self.world_from_keyframe, world_from_camera[None]])
        self.segments = np.append(self.segments, self.segment)
        self.greys = [*self.greys, grey][-self.window :]
        self.motions = [*self.motions, motion][-self.window :]

    def add_measurements(self, keyframe: int, ids: Ids, measured: Rows, precision: Rows) -> None:
        """What a keyframe of the window measured of landmarks, known ones or ones that will be added."""
        self.measured_by = np.concatenate([self.measured_by, np.full(len(ids), keyframe)])
        self.measured_id = np.concatenate([self.measured_id, ids])
        self.measured = np.concatenate([self.measured, measured])
        self.precision = np.concatenate([self.precision, precision])

    def add_landmarks(self, ids: Ids, points_world: Rows) -> None:
        ids, points_world = np.concatenate([self.ids, ids]), np.concatenate([self.points_world, points_world])
        order = np.argsort(ids)
        self.ids, self.points_world = ids[order], points_world[order]

    def scale_start(self, factor: float) -> None:
        """Make the segment's second keyframe and the landmarks so many times as far from its first."""
        origin = self.world_from_keyframe[-2, :3, 3]
        self.world_from_keyframe[-1, :3, 3] = origin + factor * (self.world_from_keyframe[-1, :3, 3] - origin)
        self.points_world = origin + factor * (self.points_world - origin)

    def adjust(self, outlier_sigmas: float = 5.0, held: int | None = None) -> None:
        """Bundle adjustment of the window, its `held` oldest keyframes fixed (None: as many as ever).

        Measurements that then disagree by `outlier_sigmas` are forgotten, and so are those of points that then lie behind the camera.
        """
        self._keep_measurements(self.measured_by >= self.oldest)
        rows = self.rows(self.measured_id)
        order = np.argsort(np.where(rows < 0, len(self.ids), rows), kind="stable")[: int((rows >= 0).sum())]
        window = self._window_of(order, rows[order], self.fixed if held is None else held)
        if window.fixed.all() or not len(order):
            return
        adjusted = adjust(window)
        self.world_from_keyframe[self.oldest :], self.points_world = adjusted.world_from_camera, adjusted.points_world
        errors = residuals(
            window._replace(world_from_camera=adjusted.world_from_camera, points_world=adjusted.points_world)
        )
        agrees = np.ones(len(rows), bool)
        agrees[order] = np.linalg.norm(errors[:, :2], axis=1) < outlier_sigmas
        self._keep_measurements(agrees)

    def _window_of(self, order: Ids, rows: Ids, held: int) -> Window:
        """The keyframes of the window and these measurements, of the landmarks in these rows."""
        cameras = self.world_from_keyframe[self.oldest :]
        measurements = Measurements(
            self.measured_by[order] - self.oldest, rows, self.measured[order], self.precision[order]
        )
        later = np.arange(1, len(cameras))
        motions = self.motions[len(self.motions) - len(later) :]
        a_from_b = np.array([motion.a_from_b for motion in motions]).reshape(-1, 4, 4)
        information = np.array([motion.information for motion in motions]).reshape(-1, 6, 6)
        ties = Ties(later - 1, later, a_from_b, information)
        fixed = np.arange(len(cameras)) < held
        return Window(cameras, self.points_world, measurements, self.intrinsics, fixed, ties)

    def _keep_measurements(self, keep: Bool[np.ndarray, " m"]) -> None:
        """Forget the other measurements, and the landmarks that are then undetermined: one view of them and no depth."""
        self.measured_by, self.measured_id = self.measured_by[keep], self.measured_id[keep]
        self.measured, self.precision = self.measured[keep], self.precision[keep]
        seen, views = np.unique(self.measured_id, return_counts=True)
        with_depth = self.measured_id[self.precision[:, 2] > 0]
        determined = np.isin(self.ids, seen[views > 1]) | np.isin(self.ids, with_depth)
        self.ids, self.points_world = self.ids[determined], self.points_world[determined]

    def expected_pixels(self, ids: Ids, pixels: Pixels, world_from_camera: Transform) -> Pixels:
        """Returns where a camera at this pose would see the landmarks; `pixels` for what is no landmark or is not before it."""
        rows = self.rows(ids)
        points_world = self.points_world[rows] if len(self.ids) else np.zeros((len(ids), 3))
        points = (points_world - world_from_camera[:3, 3]) @ world_from_camera[:3, :3]
        before = (rows >= 0) & (points[:, 2] > 1e-2 * np.abs(points).max(1, initial=1e-9))
        return np.where(before[:, None], project_points(points, self.intrinsics), pixels)

    def first_seen(self, ids: Ids) -> Int64[np.ndarray, " n"]:
        """The oldest measurement of each id in the window; every id must have been measured there."""
        seen, first = np.unique(self.measured_id, return_index=True)
        return first[np.searchsorted(seen, ids)]

    def add_frame(self, world_from_frame: Transform, valid: bool) -> None:
        """The next frame's pose, remembered relative to the newest keyframe."""
        if valid and self.frames and self.frames[-1].valid:
            self.velocity = np.linalg.inv(self.world_from_frame(-1)) @ world_from_frame
        keyframe_from_frame = np.linalg.inv(self.world_from_keyframe[-1]) @ world_from_frame
        self.frames.append(FramePose(len(self) - 1, keyframe_from_frame, valid))

    def world_from_frame(self, index: int) -> Transform:
        keyframe, keyframe_from_frame, _ = self.frames[index]
        return self.world_from_keyframe[keyframe] @ keyframe_from_frame

    def slow_down(self) -> None:
        """Halve the motion that is expected of the next frame."""
        self.velocity = se3_exp(se3_log(torch.from_numpy(self.velocity)) / 2).numpy()

    def predicted(self) -> Transform:
        """The next frame's pose if the last measured motion goes on."""
        return self.world_from_frame(-1) @ self.velocity

    def state(self) -> State:
        """Everything but `window` and `fixed`, which are settings."""
        frames = list(zip(*self.frames, strict=True)) or [(), (), ()]
        return {
            **{name: getattr(self, name) for name in KEPT},
            "greys": list(self.greys),
            "left": [list(view) for view in self.left],
            "motions": [list(motion) for motion in self.motions],
            "frame_keyframe": np.array(frames[0], np.int64),
            "keyframe_from_frame": np.array(frames[1]).reshape(-1, 4, 4),
            "frame_valid": np.array(frames[2], bool),
        }

    def restore(self, state: State) -> None:
        for name in KEPT:
            setattr(self, name, state[name])
        self.greys = list(state["greys"])
        self.left = [KnownView(*view) for view in state["left"]]
        self.motions = [MeasuredMotion(*motion) for motion in state["motions"]]
        frames = (state["frame_keyframe"].tolist(), state["keyframe_from_frame"], state["frame_valid"].tolist())
        self.frames = [FramePose(*frame) for frame in zip(*frames, strict=True)]

    def trajectory(self) -> Trajectory:
        poses = [self.world_from_frame(i) for i in range(len(self.frames))]
        valid = torch.tensor([frame.valid for frame in self.frames], dtype=torch.bool)
        return Trajectory(
            torch.from_numpy(np.array(poses).reshape(-1, 4, 4)), valid, torch.from_numpy(self._segments())
        )

    def _segments(self) -> Int64[np.ndarray, " frames"]:
        """The segment of each frame, numbered in the order of their first measured frames; the one before's if not valid."""
        numbers: dict[int, int] = {}
        current, found = 0, np.zeros(len(self.frames), np.int64)
        for i, frame in enumerate(self.frames):
            if frame.valid:
                current = numbers.setdefault(int(self.segments[frame.keyframe]), len(numbers))
            found[i] = current
        return found
