from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from firstsight.geometry.images import to_grey
from firstsight.geometry.pnp import *
from firstsight.motion.depth_alignment import *
from firstsight.motion.keyframes import Keyframes
from firstsight.motion.tracking import *
from firstsight.roles import Observation, Odometry, Trajectory


@dataclass(frozen=True, kw_only=True)
class Config:
    tracking: TrackingConfig = TrackingConfig()
    window: int = 10
    fixed: int = 2
    sigma_px: float = 0.5
    depth_sigma: tuple[float, float] = (0.005, 0.003)
    min_inliers: int = 12
    inlier_px: float = 2.0
    keyframe_share: float = 0.7
    keyframe_shift: float = 0.05
    kernel: int = 1
    threshold: float = 2.0
    outlier_sigmas: float = 5.0
    depth_window: int = 2
    depth_spread: float = 0.03
    iterations: int = 8
    frame_depth: bool = True
    max_lost: int = 5
    align: bool = True
    da: DepthAlignmentConfig = DepthAlignmentConfig()
    sensor: tuple = (0.001, 0.002)
    f2f: bool = True
    keep_outliers: bool = False


def sample_depth(depth, valid, pixels, radius, spread):
    """inverse depth median of the window, ok"""
    h, w = depth.shape
    o = np.arange(-radius, radius + 1)
    x = np.rint(pixels[:, 0]).astype(int)[:, None, None] + o[None, None, :]
    y = np.rint(pixels[:, 1]).astype(int)[:, None, None] + o[None, :, None]
    inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
    x, y = np.broadcast_arrays(x.clip(0, w - 1), y.clip(0, h - 1))
    v = (valid[y, x] & inside).reshape(len(pixels), (2 * radius + 1) ** 2)
    z = depth[y, x].astype(np.float64).reshape(len(pixels), (2 * radius + 1) ** 2)
    q = np.where(v, 1 / np.where(v, z, 1), np.nan)
    count = v.sum(1)
    ok = count >= v.shape[1] // 2 + 1
    out = np.zeros(len(pixels))
    if ok.any():
        med = np.nanmedian(q[ok], 1)
        mad = np.nanmax(q[ok], 1) - np.nanmin(q[ok], 1)
        out[ok] = med
        idx = np.flatnonzero(ok)
        ok[idx[mad > spread * med]] = False
    return np.where(ok, out, 0.0), ok


class VisualOdometry(Odometry):
    needs: ClassVar[frozenset[str]] = frozenset({"image", "depth", "intrinsics"})
    scale: ClassVar[Literal["metric", "unknown"]] = "metric"

    def __init__(self, config: Config = Config()):
        self.config = config
        self.keyframes = None
        self.frames_keyframe = []
        self.keyframe_from_frame = []
        self.valid = []
        self.velocity = np.eye(4)
        self.lost = 0
        self.next_id = 0

    def step(self, observation):
        c = self.config
        grey = to_grey(observation.image)
        K = observation.intrinsics.numpy()
        depth = observation.depth.depth[0, 0].numpy()
        dv = observation.depth.valid[0, 0].numpy()
        if self.keyframes is None:
            self.keyframes = Keyframes(K, c.window, c.fixed)
            self._new_keyframe(np.eye(4), grey, depth, dv, np.zeros(0, np.int64), np.zeros((0, 2)))
            self._record(np.eye(4), True)
            return
        last = self._last()
        predicted = last @ self.velocity
        rows = self.keyframes.rows(self.ids)
        points = self.keyframes.points_world[rows]
        pc = (points - predicted[:3, 3]) @ predicted[:3, :3]
        front = pc[:, 2] > 0.05
        guess = np.where(front[:, None], pc[:, :2] / np.maximum(pc[:, 2:], 0.05) * K.diagonal()[:2] + K[:2, 2], self.pixels)
        px, found = follow(self.grey, grey, self.pixels, guess, c.tracking)
        est = robust_pnp(points[found], px[found], K, c.inlier_px, c.min_inliers)
        if est is None:
            px, found = follow(self.grey, grey, self.pixels, self.pixels, c.tracking)
            est = robust_pnp(points[found], px[found], K, c.inlier_px, c.min_inliers)
        if est is None:
            self.lost += 1
            if self.lost > c.max_lost:
                self._new_keyframe(predicted, grey, depth, dv, np.zeros(0, np.int64), np.zeros((0, 2)))
                self.lost = 0
            self._record(predicted, False)
            return
        self.lost = 0
        inl = np.flatnonzero(found)[est.inliers]
        measured, precision = self._measure(px[inl], depth, dv)
        prec = precision.copy()
        if not c.frame_depth: prec[:, 2] = 0
        prior = tie = None
        if c.align:
            wk = self.keyframes.world_from_keyframe[-1]
            kfc = np.linalg.inv(wk) @ np.linalg.inv(est.camera_from_world)
            tie = align_depth(self.surface, depth, dv, kfc, K, DepthNoise(*c.sensor), c.da)
            prior = PosePrior(wk @ tie.a_from_b, tie.information)
        cfw = refine_pose(est.camera_from_world, points[inl], measured, prec, K, c.threshold, prior)
        wfc = np.linalg.inv(cfw)
        shift = np.median(np.linalg.norm(px[inl] - self.key_pixels[inl], axis=1))
        if len(inl) < c.keyframe_share * self.at_keyframe or shift > c.keyframe_shift * max(grey.shape):
            self._new_keyframe(wfc, grey, depth, dv, self.ids[inl], px[inl], tie)
            wfc = self.keyframes.world_from_keyframe[-1]
        elif c.f2f:
            keep = np.flatnonzero(found) if c.keep_outliers else inl
            self.ids, self.pixels, self.key_pixels, self.grey = self.ids[keep], px[keep], self.key_pixels[keep], grey
        self._record(wfc, True)
        self.velocity = np.linalg.inv(self._pose(-2)) @ self._pose(-1)

    def _measure(self, px, depth, dv):
        c = self.config
        q, ok = sample_depth(depth, dv, px, c.depth_window, c.depth_spread)
        a, b = c.depth_sigma
        # sigma_q = sigma_z q^2 = a q^2 + b
        return np.column_stack([px, q]), np.column_stack(
            [np.full((len(px), 2), 1 / c.sigma_px), np.where(ok, 1 / (a * q**2 + b), 0.0)])

    def _new_keyframe(self, wfc, grey, depth, dv, ids, px, tie=None):
        c = self.config
        kf = self.keyframes
        new = detect_corners(grey, px, c.tracking)
        m, p = self._measure(new, depth, dv)
        ok = p[:, 2] > 0
        new, m, p = new[ok], m[ok], p[ok]
        new_ids = np.arange(self.next_id, self.next_id + len(new)); self.next_id += len(new)
        mo, po = self._measure(px, depth, dv)
        kf.add_keyframe(wfc, np.concatenate([ids, new_ids]), np.concatenate([mo, m]), np.concatenate([po, p]), tie)
        z = 1 / m[:, 2:]
        K = kf.intrinsics
        pc = np.column_stack([(new - K[:2, 2]) / K.diagonal()[:2] * z, z])
        kf.add_landmarks(new_ids, pc @ wfc[:3, :3].T + wfc[:3, 3])
        kf.adjust(Kernel(c.kernel), c.threshold, c.outlier_sigmas, c.iterations)
        ids, px = np.concatenate([ids, new_ids]), np.concatenate([px, new])
        keep = kf.rows(ids) >= 0
        if c.align: self.surface = surface_of(depth, dv, kf.intrinsics, DepthNoise(*c.sensor), c.da)
        self.ids, self.pixels, self.grey = ids[keep], px[keep], grey
        self.key_pixels = self.pixels
        self.at_keyframe = keep.sum()

    def _record(self, wfc, valid):
        self.frames_keyframe.append(len(self.keyframes) - 1)
        self.keyframe_from_frame.append(np.linalg.inv(self.keyframes.world_from_keyframe[-1]) @ wfc)
        self.valid.append(valid)

    def _pose(self, i):
        return self.keyframes.world_from_keyframe[self.frames_keyframe[i]] @ self.keyframe_from_frame[i]

    def _last(self):
        return self._pose(-1)

    def trajectory(self):
        return Trajectory(torch.from_numpy(np.stack([self._pose(i) for i in range(len(self.valid))])), torch.tensor(self.valid))
