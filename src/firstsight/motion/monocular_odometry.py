"""Motion of one camera alone, up to scale: a two-view start, triangulated landmarks, PnP and a window of keyframes.

Paper:  Nister, Naroditsky, Bergen. Visual Odometry. CVPR 2004, section 4.  Mur-Artal, Montiel, Tardos. ORB-SLAM.
        T-RO 2015 (when to start, when to make a keyframe).
Idea:   two views with parallax give motion and points; then points give the pose and poses give new points.
        wait for two views that give a motion                                     -> two_view.start_from_two_views()
        scale: the median depth of the points in the first of them is `START_DEPTH` -> MonocularOdometry._start()
        pose of every later frame, and of those that had to wait                  -> optimisation.pnp.robust_pnp()
        at a keyframe: landmarks from tracks that have parallax by now            -> two_view.triangulate_pairs()
        bundle adjustment of the last keyframes, two of them held for the scale   -> keyframes.Keyframes.adjust()
Differs: after a loss the start is made again from the last pose, and its scale chosen so that the scene is as deep as it
        was before: an assumption, better than a jump of scale.
Role:   Odometry of the camera; scale unknown. Frames without a measured motion (a still camera from the beginning, lost
        tracks) are not valid and stay where the last pose was.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, final

import numpy as np
from jaxtyping import Int64

from firstsight.geometry.images import to_grey
from firstsight.motion.odometry.keyframes import FramePose, Keyframes, Located
from firstsight.motion.odometry.known_views import RecognitionConfig
from firstsight.motion.odometry.tracking import Grey, Pixels, TrackingConfig, Tracks, detect_corners, follow, follow_all
from firstsight.motion.odometry.two_view import TwoViewConfig, TwoViews, start_from_two_views, triangulate_pairs
from firstsight.optimisation.pnp import robust_pnp
from firstsight.roles import Observation, Odometry, Trajectory
from firstsight.roles.state import State

# The oldest keyframes of the window that are held: two, so that the scale stays.
FIXED = 2
START_DEPTH = 10.0  # so that, as outdoors, a step is a fraction of a unit
LONGEST_WAIT = 100  # frames whose corners are kept for a pose after the start


@dataclass(frozen=True, kw_only=True)
class Config:
    tracking: TrackingConfig = field(default_factory=lambda: TrackingConfig(corners=600))
    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    two_view: TwoViewConfig = field(default_factory=TwoViewConfig)
    window: int = 10  # keyframes
    sigma_px: float = 1.0
    outlier_sigmas: float = 3.0
    inlier_px: float = 2.0
    min_inliers: int = 15
    min_parallax_rad: float = 0.01  # of a new landmark
    keyframe_share: float = 0.7  # a keyframe is due when fewer landmarks are left than this share,
    keyframe_shift: float = 0.03  # or when corners went this share of the image's longer side
    waiting_share: float = 0.3  # while waiting, a new first view is taken when fewer tracks are left than this share
    frames_until_restart: int = 5


class Waiting(NamedTuple):
    """A frame that waits for the start: its place in the trajectory and the corners it saw."""

    frame: int
    ids: Int64[np.ndarray, " points"]
    pixels: Pixels


@final
class MonocularOdometry(Odometry):
    needs: ClassVar[frozenset[str]] = frozenset({"image", "intrinsics"})
    scale: ClassVar[Literal["metric", "unknown"]] = "unknown"

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self._keyframes: Keyframes | None = None
        self._tracks: Tracks | None = None
        self._waiting: list[Waiting] | None = []  # None once started
        self._next_id = 0
        self._at_keyframe = 0
        self._lost_frames = 0
        self._start_depth = START_DEPTH

    def step(self, observation: Observation) -> None:
        assert observation.image is not None
        assert observation.intrinsics is not None
        grey = to_grey(observation.image)
        if self._keyframes is None:
            self._keyframes = Keyframes(
                observation.intrinsics.numpy(), self.config.window, FIXED, self.config.recognition
            )
            self._wait_from(self._keyframes, grey, np.eye(4))
        elif self._waiting is not None:
            self._wait(self._keyframes, grey, self._waiting)
        else:
            self._next(self._keyframes, grey)

    def trajectory(self) -> Trajectory:
        return (self._keyframes or Keyframes(np.eye(3), 1, 1)).trajectory()

    def state(self) -> State:
        return {
            "keyframes": None if self._keyframes is None else self._keyframes.state(),
            "tracks": None if self._tracks is None else list(self._tracks),
            "waiting": None if self._waiting is None else [list(frame) for frame in self._waiting],
            "next_id": self._next_id,
            "at_keyframe": self._at_keyframe,
            "lost_frames": self._lost_frames,
            "start_depth": self._start_depth,
        }

    def restore(self, state: State) -> None:
        if state["keyframes"] is not None:
            self._keyframes = Keyframes(np.eye(3), self.config.window, FIXED, self.config.recognition)
            self._keyframes.restore(state["keyframes"])
        self._tracks = None if state["tracks"] is None else Tracks(*state["tracks"])
        self._waiting = None if state["waiting"] is None else [Waiting(*frame) for frame in state["waiting"]]
        self._next_id, self._lost_frames = state["next_id"], state["lost_frames"]
        self._at_keyframe, self._start_depth = state["at_keyframe"], state["start_depth"]

    def _wait_from(self, keyframes: Keyframes, grey: Grey, world_from_camera: np.ndarray) -> None:
        """Take the next frame as the first of two views, at the given pose."""
        keyframes.start_segment()
        keyframes.add_keyframe(world_from_camera, grey)
        keyframes.add_frame(world_from_camera, valid=False)
        self._take_first_view(keyframes, grey)

    def _take_first_view(self, keyframes: Keyframes, grey: Grey) -> None:
        """Forget all tracks; the newest keyframe and frame are the first of two views."""
        self._lost_frames = 0
        self._tracks = Tracks(grey, np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros((0, 2)))
        self._add_corners(keyframes)
        self._waiting = [Waiting(len(keyframes.frames) - 1, self._tracks.ids, self._tracks.pixels)]

    def _wait(self, keyframes: Keyframes, grey: Grey, waiting: list[Waiting]) -> None:
        """Follow the corners until the first view and this one give a motion, or this one shows a known place."""
        assert self._tracks is not None
        known = keyframes.recognise(grey, self.config.tracking) if keyframes.left else None
        if known is not None:
            self._waiting = None
            self._go_on(keyframes, known)
            return
        tracks, config = self._tracks, self.config
        followed = follow(tracks.grey, grey, tracks.pixels, tracks.pixels, config.tracking)
        world_from_first = keyframes.world_from_keyframe[-1]
        if followed.found.sum() < max(config.waiting_share * len(waiting[0].ids), config.min_inliers):
            self._wait_from(keyframes, grey, world_from_first)
            return
        self._tracks = tracks.advanced(grey, followed.pixels, np.flatnonzero(followed.found))
        keyframes.add_frame(world_from_first, valid=False)
        waiting.append(Waiting(len(keyframes.frames) - 1, self._tracks.ids, self._tracks.pixels))
        del waiting[1:-LONGEST_WAIT]
        if self._tracks.shift_px() < config.two_view.min_shift * max(grey.shape):
            return
        views = start_from_two_views(
            self._tracks.at_keyframe, self._tracks.pixels, keyframes.intrinsics, config.two_view
        )
        if views is not None:
            self._start(keyframes, views, waiting)

    def _start(self, keyframes: Keyframes, views: TwoViews, waiting: list[Waiting]) -> None:
        """The two keyframes and landmarks, adjusted and scaled; then the poses of the frames that waited."""
        assert self._tracks is not None
        tracks = self._tracks
        world_from_first = keyframes.world_from_keyframe[-1]
        keyframes.add_keyframe(world_from_first @ np.linalg.inv(views.b_from_a), tracks.grey)
        keyframes.add_landmarks(
            tracks.ids[views.good], views.points_a[views.good] @ world_from_first[:3, :3].T + world_from_first[:3, 3]
        )
        self._tracks = tracks.advanced(tracks.grey, tracks.pixels, np.flatnonzero(views.inliers))
        self._measure(keyframes, self._tracks.ids, self._tracks.pixels)
        keyframes.adjust(self.config.outlier_sigmas, held=1)
        if len(keyframes.ids) < self.config.min_inliers:  # they did not agree after all
            keyframes.start_segment()
            keyframes.add_keyframe(world_from_first, tracks.grey)
            self._take_first_view(keyframes, tracks.grey)
            return
        keyframes.scale_start(self._start_depth / self._median_depth(keyframes, world_from_first))
        self._place_waiting(keyframes, waiting)
        self._waiting = None
        self._add_corners(keyframes)

    def _median_depth(self, keyframes: Keyframes, world_from_camera: np.ndarray) -> float:
        """Returns the median depth of the landmarks before a camera."""
        depths = (keyframes.points_world - world_from_camera[:3, 3]) @ world_from_camera[:3, 2]
        return float(np.median(depths[depths > 0])) if (depths > 0).any() else START_DEPTH

    def _place_waiting(self, keyframes: Keyframes, waiting: list[Waiting]) -> None:
        """Poses of the frames since the first view, now that there are landmarks to locate them by."""
        first = len(keyframes) - 2
        keyframes.frames[waiting[0].frame] = FramePose(first, np.eye(4), True)
        for frame, ids, pixels in waiting[1:-1]:
            rows = keyframes.rows(ids)
            located = robust_pnp(
                keyframes.points_world[rows[rows >= 0]], pixels[rows >= 0], keyframes.intrinsics, self.config.inlier_px
            )
            if located is not None:
                first_from_frame = np.linalg.inv(located.camera_from_world @ keyframes.world_from_keyframe[first])
                keyframes.frames[frame] = FramePose(first, first_from_frame, True)
        keyframes.frames[waiting[-1].frame] = FramePose(first + 1, np.eye(4), True)
        keyframes.velocity = np.linalg.inv(keyframes.world_from_frame(-2)) @ keyframes.world_from_frame(-1)

    def _next(self, keyframes: Keyframes, grey: Grey) -> None:
        """Track or recognise, and go on from there."""
        predicted = keyframes.predicted()
        located = self._track(keyframes, grey, predicted)
        if located is None:
            located = keyframes.recognise(grey, self.config.tracking)
        if located is None:
            self._lose(keyframes, grey, predicted)
        else:
            self._go_on(keyframes, located)

    def _track(self, keyframes: Keyframes, grey: Grey, predicted: np.ndarray) -> Located | None:
        """The pose that the landmarks agree on which are tracked into this frame."""
        assert self._tracks is not None
        tracks, config = self._tracks, self.config
        expected = keyframes.expected_pixels(tracks.ids, tracks.pixels, predicted)
        followed = follow_all(tracks, grey, expected, config.tracking, config.waiting_share)
        rows = keyframes.rows(tracks.ids)
        known = np.flatnonzero(followed.found & (rows >= 0))
        points_world, pixels = keyframes.points_world[rows[known]], followed.pixels[known]
        located = robust_pnp(points_world, pixels, keyframes.intrinsics, config.inlier_px, config.min_inliers)
        if located is None:
            return None
        kept = np.union1d(known[located.inliers], np.flatnonzero(followed.found & (rows < 0)))
        return Located(located.camera_from_world, tracks.advanced(grey, followed.pixels, kept))

    def _go_on(self, keyframes: Keyframes, located: Located) -> None:
        """Take the frame's pose and tracks; make a keyframe where one is due."""
        self._lost_frames = 0
        self._tracks = located.tracks
        world_from_camera = np.linalg.inv(located.camera_from_world)
        if self._keyframe_is_due(int((keyframes.rows(self._tracks.ids) >= 0).sum())):
            self._add_keyframe(keyframes, world_from_camera)
            world_from_camera = keyframes.world_from_keyframe[-1]
        keyframes.add_frame(world_from_camera, valid=True)

    def _keyframe_is_due(self, landmarks: int) -> bool:
        assert self._tracks is not None
        few = landmarks < self.config.keyframe_share * self._at_keyframe
        return few or self._tracks.shift_px() > self.config.keyframe_shift * max(self._tracks.grey.shape)

    def _add_keyframe(self, keyframes: Keyframes, world_from_camera: np.ndarray) -> None:
        """Measure the tracks from here, make landmarks of those with parallax, adjust the window, find new corners."""
        assert self._tracks is not None
        tracks = self._tracks
        keyframes.add_keyframe(world_from_camera, tracks.grey)
        self._measure(keyframes, tracks.ids, tracks.pixels)
        self._add_landmarks(keyframes, tracks, world_from_camera)
        before = keyframes.rows(tracks.ids) >= 0
        keyframes.adjust(self.config.outlier_sigmas)
        dropped = before & (keyframes.rows(tracks.ids) < 0)
        self._tracks = tracks.advanced(tracks.grey, tracks.pixels, np.flatnonzero(~dropped))
        self._add_corners(keyframes)

    def _add_landmarks(self, keyframes: Keyframes, tracks: Tracks, world_from_camera: np.ndarray) -> None:
        """Landmarks of the tracks that were first seen from far enough aside."""
        new = keyframes.rows(tracks.ids) < 0
        ids, pixels = tracks.ids[new], tracks.pixels[new]
        first = keyframes.first_seen(ids)
        then = keyframes.world_from_keyframe[keyframes.measured_by[first]]
        now = np.broadcast_to(world_from_camera, then.shape)
        points, good = triangulate_pairs(
            (keyframes.measured[first, :2], pixels),
            (then, now),
            keyframes.intrinsics,
            self.config.min_parallax_rad,
            self.config.inlier_px,
        )
        keyframes.add_landmarks(ids[good], points[good])

    def _add_corners(self, keyframes: Keyframes) -> None:
        """New corners where there are none, measured by the newest keyframe."""
        assert self._tracks is not None
        tracks = self._tracks
        corners = detect_corners(tracks.grey, tracks.pixels, self.config.tracking)
        new_ids = self._next_id + np.arange(len(corners))
        self._next_id += len(corners)
        self._measure(keyframes, new_ids, corners)
        pixels = np.concatenate([tracks.pixels, corners])
        self._tracks = Tracks(tracks.grey, np.concatenate([tracks.ids, new_ids]), pixels, pixels)
        self._at_keyframe = int((keyframes.rows(self._tracks.ids) >= 0).sum())

    def _measure(self, keyframes: Keyframes, ids: np.ndarray, pixels: Pixels) -> None:
        """Pixels seen by the newest keyframe; their depth is not known."""
        values = np.column_stack([pixels, np.zeros(len(pixels))])
        precision = np.tile([1 / self.config.sigma_px, 1 / self.config.sigma_px, 0.0], (len(pixels), 1))
        keyframes.add_measurements(len(keyframes) - 1, ids, values, precision)

    def _lose(self, keyframes: Keyframes, grey: Grey, predicted: np.ndarray) -> None:
        """A frame whose pose is not measured: the last motion goes on, for a while.

        Then a new start is waited for, from the first frame with enough to track.
        """
        self._lost_frames += 1
        long = self._lost_frames > self.config.frames_until_restart
        if long:
            keyframes.slow_down()
        corners = detect_corners(grey, np.zeros((0, 2)), self.config.tracking) if long else ()
        if len(corners) < self.config.min_inliers:
            keyframes.add_frame(predicted, valid=False)
            return
        self._start_depth = self._median_depth(keyframes, keyframes.world_from_keyframe[-1])
        self._wait_from(keyframes, grey, predicted)
