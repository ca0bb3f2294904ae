"""Motion of a camera that has depth, from stereo or a depth sensor: corners, PnP and a window of keyframes.

Paper:  Nister, Naroditsky, Bergen. Visual Odometry. CVPR 2004.  Leutenegger et al. Keyframe-based visual-inertial
        odometry using nonlinear optimization. IJRR 2015 (the window).  Chen, Medioni. IVC 1992 (the surfaces).
Idea:   corners whose depth is known are landmarks; where they are seen next tells how the camera moved.
        track corners from frame to frame                                              -> tracking.follow()
        pose that most landmarks agree on, things that move by themselves left out     -> optimisation.pnp.robust_pnp()
        what the depth images' surfaces say of the motion, if a depth sensor's         -> depth_alignment.align_depth()
        pose of least cost of both                                                     -> optimisation.pnp.refine_pose()
        every few frames a keyframe: new corners, landmarks where their depth says,
        and bundle adjustment of the last keyframes                                    -> keyframes.Keyframes.adjust()
Differs: depth is weighed as inverse depth with sigma(1/z) = a/z^2 + b, so that landmarks of uncertain depth still say how
        the camera turned; depth near an edge is not used.
        a lost frame is sought among the views of earlier keyframes                    -> Keyframes.recognise()
Role:   Odometry of the camera, in metres. A frame whose landmarks do not agree is not valid: the last motion goes on for
        `frames_until_restart` frames and then dies away. The first image after these that can be tracked but shows
        nothing known starts a new segment; once the camera sees a place of an earlier segment, that one goes on.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float32, Float64

from firstsight.geometry.images import to_grey
from firstsight.geometry.points import unproject_pixels
from firstsight.motion.depth_alignment import (
    DepthAlignmentConfig,
    DepthNoise,
    MeasuredMotion,
    Surface,
    align_depth,
    surface_of,
)
from firstsight.motion.odometry.keyframes import UNKNOWN, Keyframes, Located
from firstsight.motion.odometry.known_views import RecognitionConfig
from firstsight.motion.odometry.tracking import Grey, Pixels, TrackingConfig, Tracks, detect_corners, follow_all
from firstsight.optimisation.pnp import PosePrior, refine_pose, robust_pnp
from firstsight.roles import Observation, Odometry, Trajectory
from firstsight.roles.state import State

EDGE_SIGMAS = 3.0
LANDMARK_NOISE = DepthNoise(0.001, 0.005)  # as of stereo that errs by half a pixel where fx * baseline is 100 px m


@dataclass(frozen=True, kw_only=True)
class Config:
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    recognition: RecognitionConfig = field(default_factory=RecognitionConfig)
    surfaces: DepthAlignmentConfig = field(default_factory=DepthAlignmentConfig)
    window: int = 8  # keyframes
    fixed: int = 1
    sigma_px: float = 1.0
    depth_noise: DepthNoise = LANDMARK_NOISE
    depth_window_px: int = 5
    depth_spread: float = 0.1  # the largest relative difference of depth within that window, beyond noise
    inlier_px: float = 2.0
    min_inliers: int = 12
    keyframe_share: float = 0.6  # a keyframe is due when fewer corners are left than this share,
    keyframe_shift: float = 0.1  # or when they went this share of the image's longer side
    frames_until_restart: int = 5


class PreparedFrame(NamedTuple):
    """One frame as the method uses it."""

    grey: Grey
    depth: Float32[np.ndarray, "height width"]
    valid: Bool[np.ndarray, "height width"]


class Measured(NamedTuple):
    """(x, y, inverse depth) of corners and 1 / sigma of each, 0 where the depth is not known."""

    values: Float64[np.ndarray, "points 3"]
    precision: Float64[np.ndarray, "points 3"]

    @property
    def has_depth(self) -> Bool[np.ndarray, " points"]:
        return self.precision[:, 2] > 0


def inverse_depth_at(view: PreparedFrame, pixels: Pixels, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Median inverse depth of the window around each pixel, and where it is known: mostly valid, no depth edge inside."""
    height, width = view.depth.shape
    reach = config.depth_window_px // 2
    offsets = np.arange(-reach, reach + 1)
    x = np.rint(pixels[:, 0]).astype(int)[:, None, None] + offsets[None, None, :]
    y = np.rint(pixels[:, 1]).astype(int)[:, None, None] + offsets[None, :, None]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    count = config.depth_window_px**2
    valid = (view.valid[y, x] & inside).reshape(-1, count)
    depth = np.sort(np.where(valid, view.depth[y, x].reshape(-1, count), np.inf), 1)  # unknown ones last
    known = valid.sum(1)
    every = np.arange(len(pixels))
    median, largest = depth[every, (known - 1).clip(0) // 2], depth[every, (known - 1).clip(0)]
    spread_m = config.depth_spread * median + EDGE_SIGMAS * config.depth_noise.sigma_m(median)
    flat = (known > count // 2) & (largest < depth[:, 0] + spread_m)
    return np.where(flat, 1 / np.where(flat, median, 1.0), 0.0), flat


def measure(view: PreparedFrame, pixels: Pixels, config: Config) -> Measured:
    inverse_depth, known = inverse_depth_at(view, pixels, config)
    sigma = config.depth_noise.inverse_depth_sigma(inverse_depth)
    precision_px = np.full((len(pixels), 2), 1 / config.sigma_px)
    return Measured(
        np.column_stack([pixels, inverse_depth]), np.column_stack([precision_px, np.where(known, 1 / sigma, 0.0)])
    )


@final
class VisualOdometry(Odometry):
    needs: ClassVar[frozenset[str]] = frozenset({"image", "depth", "intrinsics"})
    scale: ClassVar[Literal["metric", "unknown"]] = "metric"

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self._keyframes: Keyframes | None = None
        self._tracks: Tracks | None = None
        self._surface: Surface | None = None
        self._next_id = 0
        self._corners_at_keyframe = 0
        self._lost_frames = 0

    def step(self, observation: Observation) -> None:
        assert observation.image is not None
        assert observation.depth is not None
        assert observation.intrinsics is not None
        depth, valid, _ = observation.depth
        view = PreparedFrame(to_grey(observation.image), depth[0, 0].numpy(), valid[0, 0].numpy())
        if self._keyframes is None:
            self._keyframes = Keyframes(
                observation.intrinsics.numpy(), self.config.window, self.config.fixed, self.config.recognition
            )
            self._restart(self._keyframes, view, np.eye(4))
            return
        self._next(self._keyframes, view)

    def trajectory(self) -> Trajectory:
        return (self._keyframes or Keyframes(np.eye(3), 1, 1)).trajectory()

    def state(self) -> State:
        return {
            "keyframes": None if self._keyframes is None else self._keyframes.state(),
            "tracks": None if self._tracks is None else list(self._tracks),
            "surface": None if self._surface is None else list(self._surface),
            "next_id": self._next_id,
            "corners_at_keyframe": self._corners_at_keyframe,
            "lost_frames": self._lost_frames,
        }

    def restore(self, state: State) -> None:
        if state["keyframes"] is not None:
            self._keyframes = Keyframes(np.eye(3), self.config.window, self.config.fixed, self.config.recognition)
            self._keyframes.restore(state["keyframes"])
        self._tracks = None if state["tracks"] is None else Tracks(*state["tracks"])
        self._surface = None if state["surface"] is None else Surface(*state["surface"])
        self._next_id, self._lost_frames = state["next_id"], state["lost_frames"]
        self._corners_at_keyframe = state["corners_at_keyframe"]

    def _next(self, keyframes: Keyframes, view: PreparedFrame) -> None:
        """Track, locate, refine, and make a keyframe where one is due."""
        config, predicted = self.config, keyframes.predicted()
        located = self._track(keyframes, view, predicted)
        if located is None:
            located = keyframes.recognise(view.grey, config.tracking)
        if located is None:
            self._lose(keyframes, view, predicted)
            return
        self._lost_frames = 0
        self._tracks = located.tracks
        points_world = keyframes.points_world[keyframes.rows(self._tracks.ids)]
        measured = measure(view, self._tracks.pixels, config)
        motion = self._align(keyframes, view, located.camera_from_world)
        prior = PosePrior(keyframes.world_from_keyframe[-1] @ motion.a_from_b, motion.information)
        camera_from_world = refine_pose(
            located.camera_from_world, points_world, *measured, keyframes.intrinsics, prior=prior
        )
        if self._keyframe_is_due():
            self._add_keyframe(keyframes, view, np.linalg.inv(camera_from_world), motion)
            keyframes.add_frame(keyframes.world_from_keyframe[-1], valid=True)
        else:
            keyframes.add_frame(np.linalg.inv(camera_from_world), valid=True)

    def _track(self, keyframes: Keyframes, view: PreparedFrame, predicted: np.ndarray) -> Located | None:
        """The pose that the landmarks agree on which are tracked into this frame."""
        assert self._tracks is not None
        config = self.config
        points_world = keyframes.points_world[keyframes.rows(self._tracks.ids)]
        expected = keyframes.expected_pixels(self._tracks.ids, self._tracks.pixels, predicted)
        followed = follow_all(self._tracks, view.grey, expected, config.tracking, config.keyframe_share)
        found = np.flatnonzero(followed.found)
        located = robust_pnp(
            points_world[found], followed.pixels[found], keyframes.intrinsics, config.inlier_px, config.min_inliers
        )
        if located is None:
            return None
        return Located(
            located.camera_from_world, self._tracks.advanced(view.grey, followed.pixels, found[located.inliers])
        )

    def _align(self, keyframes: Keyframes, view: PreparedFrame, camera_from_world: np.ndarray) -> MeasuredMotion:
        """keyframe_from_frame by the depth images' surfaces, near the pose that the corners gave."""
        if self._surface is None:
            return UNKNOWN
        keyframe_from_frame = np.linalg.inv(camera_from_world @ keyframes.world_from_keyframe[-1])
        aligned = align_depth(
            self._surface, view.depth, view.valid, keyframe_from_frame, keyframes.intrinsics, self.config.surfaces
        )
        return aligned or UNKNOWN

    def _keyframe_is_due(self) -> bool:
        assert self._tracks is not None
        few = len(self._tracks.ids) < self.config.keyframe_share * self._corners_at_keyframe
        return few or self._tracks.shift_px() > self.config.keyframe_shift * max(self._tracks.grey.shape)

    def _add_keyframe(
        self, keyframes: Keyframes, view: PreparedFrame, world_from_camera: np.ndarray, motion: MeasuredMotion
    ) -> None:
        """Measure the tracked landmarks from here, add landmarks at new corners, adjust the window."""
        assert self._tracks is not None
        config, old_ids, old_pixels = self.config, self._tracks.ids, self._tracks.pixels
        corners = self._corners(view, old_pixels)
        values, precision = corners
        new_ids = self._next_id + np.arange(len(values))
        self._next_id += len(values)
        keyframes.add_keyframe(world_from_camera, view.grey, motion)
        newest = len(keyframes) - 1
        keyframes.add_measurements(newest, old_ids, *measure(view, old_pixels, config))
        keyframes.add_measurements(newest, new_ids, values, precision)
        points = unproject_pixels(values[:, :2], 1 / values[:, 2], keyframes.intrinsics)
        keyframes.add_landmarks(new_ids, points @ world_from_camera[:3, :3].T + world_from_camera[:3, 3])
        keyframes.adjust()
        ids, pixels = np.concatenate([old_ids, new_ids]), np.concatenate([old_pixels, values[:, :2]])
        kept = keyframes.rows(ids) >= 0
        self._tracks = Tracks(view.grey, ids[kept], pixels[kept], pixels[kept])
        self._corners_at_keyframe = int(kept.sum())
        self._surface = surface_of(view.depth, view.valid, keyframes.intrinsics, config.surfaces)

    def _corners(self, view: PreparedFrame, taken: Pixels) -> Measured:
        """New corners whose depth is known."""
        corners = measure(view, detect_corners(view.grey, taken, self.config.tracking), self.config)
        return Measured(*(part[corners.has_depth] for part in corners))

    def _lose(self, keyframes: Keyframes, view: PreparedFrame, predicted: np.ndarray) -> None:
        """A frame whose pose is not measured: the last motion goes on, for a while, and the tracks wait.

        Then a new segment starts, at the first frame with enough to track.
        """
        assert self._tracks is not None
        self._lost_frames += 1
        long = self._lost_frames > self.config.frames_until_restart
        if long:
            keyframes.slow_down()
        gone = long or len(self._tracks.ids) < self.config.min_inliers
        if gone and len(self._corners(view, np.zeros((0, 2))).values) >= self.config.min_inliers:
            self._restart(keyframes, view, predicted)
        else:
            keyframes.add_frame(predicted, valid=False)

    def _restart(self, keyframes: Keyframes, view: PreparedFrame, world_from_camera: np.ndarray) -> None:
        """Landmarks from this frame alone, placed at the given pose; the first frame is one such, with nothing lost."""
        first = not len(keyframes)
        self._lost_frames = 0
        keyframes.start_segment()
        self._tracks = Tracks(view.grey, np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros((0, 2)))
        self._add_keyframe(keyframes, view, world_from_camera, UNKNOWN)
        enough = self._corners_at_keyframe >= self.config.min_inliers
        keyframes.add_frame(keyframes.world_from_keyframe[-1], valid=first and enough)
