"""Objects that move by themselves, found where the measured flow is not the flow of a static world.

Paper:  Yin, Shi. GeoNet: Unsupervised Learning of Dense Depth, Optical Flow and Camera Pose. CVPR 2018 (eq. 1, the rigid flow;
        section 3.4, a residual counts beyond max(alpha, beta |f|)); Kroeger et al. 2016 for what the flow confuses.
Idea:   r = f - f_rigid(rho), rho = 1 / depth; what the errors of flow and depth cannot explain is motion:
        g = df_rigid / drho, along the epipolar line                                              -> explain()
        surprise = r_across^2 / s^2 + r_along^2 / (s^2 + sigma_rho^2 |g|^2),  s^2 = sigma_f^2 + (beta |f|)^2
                                                                                                  -> surprise()
        sigma_f, sigma_rho from the median residuals of the frame itself                          -> measure_noise()
        b_from_a is corrected first by the flow of what follows it already                        -> correct_motion()
        vote = clip(surprise / threshold^2 - 1, -1, 1), averaged over each surface; moving where the mean is positive
                                                                                                  -> edge_aware.smooth()
        Regions of one depth and one residual become objects that keep their ids            -> object_tracks.ObjectTracks
Differs: GeoNet's condition asks whether two flows agree within alpha = 3 px; here the bound follows from the measured noise.
        Flow spreads over depth edges: a residual that the depth of a pixel nearby explains does not count. Pixels on the ground
        vote against motion (contact, shadows), those of an object seen before at the same depth for it.
Role:   MotionSegmenter.
"""

from dataclasses import dataclass
from typing import NamedTuple, final

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int32
from numba import njit
from torch import Tensor

from firstsight.geometry.pnp import PosePrior, refine_pose
from firstsight.motion.edge_aware import label, smooth
from firstsight.motion.object_tracks import ObjectTracks
from firstsight.motion.support_planes import on_support
from firstsight.roles import Depth, Flow, MotionSegmenter, MovingObjects

MAD_TO_SIGMA = 1.4826
UNKNOWN_VOTE, UNKNOWN_WEIGHT = -0.3, 0.1  # of a pixel without depth or flow: the world stands still unless its surface says else
FAR_SIGMAS = 3.0  # inverse depth below so many sigmas is no depth
MOTION_SIGMA_RAD = 1e-3  # how far the given motion may be off; its translation, by this share of the median depth
MOTION_SAMPLES, MOTION_WEIGHT = 5000, 200  # pixels that vote on the motion, and how many independent ones they are worth

Map = Float32[np.ndarray, "height width"]
Mask = Bool[np.ndarray, "height width"]
Vectors = Float32[np.ndarray, "height width 2"]


@dataclass(frozen=True, kw_only=True)
class Config:
    threshold: float = 5.0  # sigmas
    flow_floor_px: float = 0.25  # the least sigma_f
    flow_relative: float = 0.02  # beta
    depth_relative: float = 0.01  # the least sigma_rho, of the median inverse depth
    doubt_vote: float = -0.1
    bleed_px: int = 9  # width of the window over which flow may have been spread
    reach_px: float = 6.0  # of the smoothing
    depth_edge: float = 0.1  # jump of log depth between surfaces
    support_vote: float = -1.0  # of pixels within support_relative of the ground
    support_sigmas: float = 1.0
    support_relative: float = 0.05
    memory_vote: float = 1.0  # of pixels where an object was seen to move
    min_area_px: int = 12
    open: float = 0.3
    same_depth: float = 0.1
    pool_px: float = 0.0
    pool_gain: float = 1.0
    belief: float = 0.35
    belief_rate: float = 0.5
    max_gap: int = 5  # frames over which an object keeps its id unseen


class Noise(NamedTuple):
    """Standard deviations of flow (px) and inverse depth."""

    flow_px: float
    inverse_depth: float


class Scene(NamedTuple):
    """One frame as arrays. `rho` is filled where depth is not valid; `known` where depth and flow are valid."""

    rho: Map
    flow: Float32[np.ndarray, "2 height width"]
    known: Mask
    intrinsics: Float64[np.ndarray, "3 3"]


@njit(cache=True)
def fill_rows(depth, valid):
    """depth (h, w) with the farther of the nearest valid values to the left and right where it is not valid itself."""
    height, width = depth.shape
    filled = np.zeros((height, width), np.float32)
    for y in range(height):
        last = np.float32(0)
        for x in range(width):
            last = depth[y, x] if valid[y, x] else last
            filled[y, x] = last
        last = np.float32(0)
        for x in range(width - 1, -1, -1):
            last = depth[y, x] if valid[y, x] else last
            filled[y, x] = max(filled[y, x], last)
    return filled


@njit(cache=True)
def explain(rho, flow, b_from_a, intrinsics):
    """(residual, gradient), both (h, w, 2): flow (2, h, w) less the rigid flow of rho (h, w), and the rigid flow's d/drho."""
    height, width = rho.shape
    residual = np.empty((height, width, 2), np.float32)
    gradient = np.empty((height, width, 2), np.float32)
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    r, t = b_from_a[:3, :3], b_from_a[:3, 3]
    for y in range(height):
        ray_y = (y - cy) / fy
        for x in range(width):
            ray_x = (x - cx) / fx
            z = max(r[2, 0] * ray_x + r[2, 1] * ray_y + r[2, 2] + rho[y, x] * t[2], 1e-3)
            u = (r[0, 0] * ray_x + r[0, 1] * ray_y + r[0, 2] + rho[y, x] * t[0]) / z
            v = (r[1, 0] * ray_x + r[1, 1] * ray_y + r[1, 2] + rho[y, x] * t[1]) / z
            residual[y, x, 0] = flow[0, y, x] - (fx * u + cx - x)
            residual[y, x, 1] = flow[1, y, x] - (fy * v + cy - y)
            gradient[y, x, 0] = fx * (t[0] - u * t[2]) / z
            gradient[y, x, 1] = fy * (t[1] - v * t[2]) / z
    return residual, gradient


@njit(cache=True)
def surprise(residual, gradient, flow, nearby, sigmas, relative):
    """Squared sigmas of the residual that neither noise nor the inverse depth of a nearby pixel explains, (h, w).

    nearby = (most negative, most positive) change of inverse depth in the window, (h, w) each; sigmas = (flow, inverse depth).
    """
    height, width, _ = residual.shape
    result = np.empty((2, height, width), np.float32)
    lower, upper = nearby
    for y in range(height):
        for x in range(width):
            gx, gy = gradient[y, x]
            rx, ry = residual[y, x]
            length = np.sqrt(gx * gx + gy * gy) + 1e-6
            along, across = (rx * gx + ry * gy) / length, (rx * gy - ry * gx) / length
            rest = along - min(max(along, lower[y, x] * length), upper[y, x] * length)
            squared = sigmas[0] ** 2 + relative**2 * (flow[0, y, x] ** 2 + flow[1, y, x] ** 2)
            across = across**2 / squared
            squared += (sigmas[1] * length) ** 2
            result[0, y, x], result[1, y, x] = across + along**2 / squared, across + rest**2 / squared
    return result


def measure_noise(residual: Vectors, gradient: Vectors, scene: Scene, config: Config) -> Noise:
    """Noise from the medians over the frame, most of which is taken to stand still."""
    some = (slice(None, None, 3),) * 2
    r, g = residual[some][scene.known[some]], gradient[some][scene.known[some]]
    floor = config.depth_relative * float(np.median(scene.rho[some]))
    if len(r) < 100:
        return Noise(config.flow_floor_px, floor)
    length = np.linalg.norm(g, axis=1) + 1e-6
    across = np.abs(r[:, 0] * g[:, 1] - r[:, 1] * g[:, 0]) / length
    flow_px = max(MAD_TO_SIGMA * float(np.median(across)), config.flow_floor_px)
    strong = length >= np.median(length)
    ratio = MAD_TO_SIGMA * float(np.median(np.abs((r * g).sum(1))[strong] / length[strong] ** 2))
    unexplained = ratio**2 - (flow_px / float(np.median(length[strong]))) ** 2
    return Noise(flow_px, max(np.sqrt(max(unexplained, 0.0)), floor))


def correct_motion(
    scene: Scene, b_from_a: Float64[np.ndarray, "4 4"], gradient: Vectors, noise: Noise, config: Config
) -> Float64[np.ndarray, "4 4"]:
    """The motion near the given one that explains most of the flow; outliers are dropped in three rounds."""
    stride = max(1, int(np.sqrt(scene.rho.size / MOTION_SAMPLES)))
    y, x = (stride * index for index in np.nonzero(scene.known[::stride, ::stride]))
    if len(x) < 100:
        return b_from_a
    pixels = np.column_stack([x, y]).astype(np.float64)
    flow = scene.flow[:, y, x].T.astype(np.float64)
    rays = np.column_stack([pixels, np.ones(len(x))]) @ np.linalg.inv(scene.intrinsics).T
    points = rays / scene.rho[y, x, None]
    along = noise.inverse_depth * np.linalg.norm(gradient[y, x], axis=1)
    sigma = np.sqrt(noise.flow_px**2 + (config.flow_relative**2 * flow**2).sum(1) + along**2)
    measured = np.column_stack([pixels + flow, np.zeros(len(x))])
    weight = np.sqrt(MOTION_WEIGHT / len(x))
    spread = MOTION_SIGMA_RAD * np.array([np.median(points[:, 2])] * 3 + [1.0] * 3)
    prior = PosePrior(np.linalg.inv(b_from_a), np.diag(spread**-2.0))
    follows = np.ones(len(x))
    for _ in range(3):
        precision = np.column_stack([follows / sigma, follows / sigma, np.zeros(len(x))]) * weight
        b_from_a = refine_pose(b_from_a, points, measured, precision, scene.intrinsics, weight, prior)
        seen = points @ b_from_a[:3, :3].T + b_from_a[:3, 3]
        moved = (seen @ scene.intrinsics.T)[:, :2] / seen[:, 2:]
        follows = (np.linalg.norm(moved - measured[:, :2], axis=1) < 2.5 * sigma).astype(np.float64)
    return b_from_a


@final
class MovingObjectSegmentation(MotionSegmenter):
    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        self.tracks = ObjectTracks(self.config.max_gap)
        self.steps = 0

    def step(
        self, depth: Depth, flow_ab: Flow, b_from_a: Float64[Tensor, "4 4"], intrinsics: Float64[Tensor, "3 3"]
    ) -> MovingObjects:
        z = fill_rows(depth.depth[0, 0].numpy(), depth.valid[0, 0].numpy())
        scene = Scene(
            (1 / np.where(z > 0, z, np.inf)).astype(np.float32),
            flow_ab.flow[0].numpy(),
            (depth.valid & flow_ab.valid)[0, 0].numpy(),
            intrinsics.numpy(),
        )
        residual, votes, weights, ground = self.vote(scene, b_from_a.numpy())
        log_depth = np.log(np.maximum(z, 1e-3))
        self.raw = votes
        self.score = score = smooth(votes, weights, log_depth, ground, self.config.reach_px, self.config.depth_edge)
        regions = label(score > 0, log_depth, residual, 0.2, 4.0 + 4 * self.noise.flow_px)
        area = np.bincount(regions.ravel())
        area[0] = 0
        regions = np.where((area >= self.config.min_area_px)[regions], regions, 0)
        n = int(regions.max()) + 1
        wide = cv2.dilate(regions.astype(np.float32), np.ones((7, 7), np.uint8)).astype(np.int32)
        ring = (wide > 0) & (regions == 0)
        mean_z = np.bincount(regions.ravel(), weights=log_depth.ravel(), minlength=n) / np.maximum(1, np.bincount(regions.ravel(), minlength=n))
        same = ring & self.still & ~ground & (np.abs(log_depth - mean_z[wide]) < self.config.same_depth)
        opened = np.bincount(wide[same], minlength=n) / np.maximum(1, np.bincount(wide[ring], minlength=n))
        regions = np.where((opened < self.config.open)[regions], regions, 0)
        ids = self.tracks.assign(regions, log_depth)
        n = self.tracks.next_id
        size = np.bincount(ids.ravel(), minlength=n)
        kn = np.bincount(ids[self.decided], minlength=n)
        mv = np.bincount(ids[self.decided & (self.direct > 0)], minlength=n)
        for i, t in self.tracks.tracks.items():
            if t.gap == 0:
                t.belief += self.config.belief_rate * kn[i] / size[i] * (mv[i] / max(kn[i], 1) - t.belief)
        sure = [i for i, t in self.tracks.tracks.items() if t.belief > self.config.belief]
        out = np.where(np.isin(ids, sure), ids, 0)
        self.tracks.carry(ids, z, scene.flow, scene.known)
        return MovingObjects(torch.from_numpy(out.astype(np.int64)), torch.from_numpy(np.linalg.norm(residual, axis=-1) * scene.known))

    def vote(self, scene, b_from_a):
        config = self.config
        residual, gradient = explain(scene.rho, scene.flow, b_from_a, scene.intrinsics)
        noise = measure_noise(residual, gradient, scene, config)
        b_from_a = correct_motion(scene, b_from_a, gradient, noise, config)
        residual, gradient = explain(scene.rho, scene.flow, b_from_a, scene.intrinsics)
        self.noise = noise = measure_noise(residual, gradient, scene, config)
        window = np.ones((config.bleed_px, config.bleed_px), np.uint8)
        nearby = cv2.erode(scene.rho, window) - scene.rho, cv2.dilate(scene.rho, window) - scene.rho
        pooled = residual
        sig = noise
        if config.pool_px:
            ld = -np.log(np.minimum(scene.rho, 1e3) + 1e-6)
            wt = scene.known.astype(np.float32) + 1e-3
            no = np.zeros(wt.shape, bool)
            pooled = np.stack([smooth(np.ascontiguousarray(residual[..., c]), wt, ld, no, config.pool_px, config.depth_edge) for c in (0, 1)], -1)
            sig = Noise(noise.flow_px * config.pool_gain, noise.inverse_depth * config.pool_gain)
        own, nearest = surprise(pooled, gradient, scene.flow, nearby, sig, config.flow_relative)
        votes = np.clip(nearest / config.threshold**2 - 1, -1, 1).astype(np.float32)
        doubtful = (own > config.threshold**2) & (nearest < config.threshold**2)
        self.direct = votes.copy()
        decided = scene.known & (scene.rho > FAR_SIGMAS * noise.inverse_depth)
        self.decided = decided
        self.still = decided & (own < config.threshold**2)
        votes = np.where(decided, votes, np.float32(UNKNOWN_VOTE))
        votes = np.where(decided & doubtful, np.float32(config.doubt_vote), votes)
        weights = np.where(decided & ~doubtful, np.float32(1), np.float32(UNKNOWN_WEIGHT))
        tolerance = np.maximum(config.support_sigmas * noise.inverse_depth, config.support_relative * scene.rho).astype(np.float32)
        ground = cv2.medianBlur(on_support(scene.rho, decided & (votes < 0), tolerance, 0.04).astype(np.uint8), 5) > 0
        votes += config.support_vote * ground
        carried = self.tracks.carried
        if carried is not None:
            same = (carried.ids > 0) & (np.abs(np.log(np.maximum(carried.depth, 1e-3) * scene.rho + 1e-9)) < 0.15)
            belief = np.zeros(self.tracks.next_id, np.float32)
            for i, t in self.tracks.tracks.items():
                belief[i] = t.belief
            votes += config.memory_vote * np.minimum(1, 1.5 * belief[carried.ids]) * (same & ~ground & (scene.rho > FAR_SIGMAS * noise.inverse_depth))
        return residual, votes, weights, ground
