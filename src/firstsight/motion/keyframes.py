"""Keyframes, landmarks and what the keyframes measured of them: the state that visual odometry keeps.

Bounded: landmarks and measurements belong to the last `window` keyframes; of older keyframes only their poses stay,
and every frame's pose is kept relative to its keyframe, so that adjusting a keyframe carries its frames along.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64

from firstsight.geometry.pnp import Kernel, Measurements, linearise
from firstsight.motion.window_adjustment import Ties, Window, adjust

Ids = Int64[np.ndarray, " n"]
Rows = Float64[np.ndarray, "n 3"]


class Keyframes:
    """Landmarks have increasing ids; `world` is the first frame's camera."""

    def __init__(self, intrinsics: Float64[np.ndarray, "3 3"], window: int, fixed: int) -> None:
        self.intrinsics = intrinsics
        self.window = window
        self.fixed = fixed
        self.world_from_keyframe = np.zeros((0, 4, 4))
        self.previous_from_keyframe = np.zeros((0, 4, 4))
        self.motion_information = np.zeros((0, 6, 6))
        self.ids = np.zeros(0, np.int64)
        self.points_world = np.zeros((0, 3))
        self.measured_by = np.zeros(0, np.int64)
        self.measured_id = np.zeros(0, np.int64)
        self.measured = np.zeros((0, 3))
        self.precision = np.zeros((0, 3))

    def __len__(self) -> int:
        return len(self.world_from_keyframe)

    @property
    def oldest(self) -> int:
        """The first keyframe of the window."""
        return max(0, len(self) - self.window)

    def rows(self, ids: Ids) -> Int64[np.ndarray, " n"]:
        """Where landmarks of these ids are; -1 where there is no such landmark."""
        if not len(self.ids):
            return np.full(len(ids), -1)
        rows = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
        return np.where(self.ids[rows] == ids, rows, -1)

    def add_keyframe(self, world_from_camera: Float64[np.ndarray, "4 4"], ids: Ids, measured: Rows, precision: Rows, tie=None) -> None:
        """A new keyframe and what it measured of landmarks, known ones or some to be added; the oldest keyframe leaves."""
        self.measured_by = np.concatenate([self.measured_by, np.full(len(ids), len(self))])
        self.measured_id = np.concatenate([self.measured_id, ids])
        self.measured = np.concatenate([self.measured, measured])
        self.precision = np.concatenate([self.precision, precision])
        self.world_from_keyframe = np.concatenate([self.world_from_keyframe, world_from_camera[None]])
        self.previous_from_keyframe = np.concatenate([self.previous_from_keyframe, (np.eye(4) if tie is None else tie[0])[None]])
        self.motion_information = np.concatenate([self.motion_information, (np.zeros((6, 6)) if tie is None else tie[1])[None]])
        self._keep_measurements(self.measured_by >= self.oldest)

    def add_landmarks(self, ids: Ids, points_world: Rows) -> None:
        """New landmarks, their ids greater than all before."""
        self.ids = np.concatenate([self.ids, ids])
        self.points_world = np.concatenate([self.points_world, points_world])

    def adjust(self, kernel: Kernel, threshold: float, outlier_sigmas: float, max_iterations: int) -> None:
        """Bundle adjustment of the window; measurements that then disagree by `outlier_sigmas` are forgotten."""
        order = np.argsort(self.measured_id, kind="stable")
        rows = self.rows(self.measured_id[order])
        order, rows = order[rows >= 0], rows[rows >= 0]
        measurements = Measurements(
            self.measured_by[order] - self.oldest, rows, self.measured[order], self.precision[order]
        )
        cameras = self.world_from_keyframe[self.oldest :]
        fixed = np.arange(len(cameras)) < self.fixed
        if fixed.all():
            return
        later = np.arange(1, len(cameras))
        ties = Ties(
            later - 1, later, self.previous_from_keyframe[self.oldest + 1 :], self.motion_information[self.oldest + 1 :]
        )
        window = Window(cameras, self.points_world, measurements, self.intrinsics, fixed, ties)
        adjusted = adjust(window, kernel, threshold, max_iterations)
        self.world_from_keyframe[self.oldest :] = adjusted.world_from_camera
        self.points_world = adjusted.points_world
        residual = linearise(
            adjusted.world_from_camera, self.points_world, measurements, self.intrinsics, Kernel.SQUARED
        ).residual
        agree = np.ones(len(self.measured_id), bool)
        agree[order] = np.linalg.norm(residual[:, :2], axis=1) < outlier_sigmas
        self._keep_measurements(agree)

    def _keep_measurements(self, keep: Bool[np.ndarray, " m"]) -> None:
        """Forget the other measurements, and the landmarks that are then measured nowhere."""
        self.measured_by, self.measured_id = self.measured_by[keep], self.measured_id[keep]
        self.measured, self.precision = self.measured[keep], self.precision[keep]
        seen = np.isin(self.ids, self.measured_id)
        self.ids, self.points_world = self.ids[seen], self.points_world[seen]
