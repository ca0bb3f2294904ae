"""Objects that move by themselves, found where the measured flow is not the flow of a static world.

Paper:  Yin, Shi. GeoNet: Unsupervised Learning of Dense Depth, Optical Flow and Camera Pose. CVPR 2018 (eq. 1, the rigid flow;
        section 3.4, two flows disagree if they differ by more than max(alpha, beta |f|)).
Idea:   r = f - f_rigid(rho), rho = 1 / depth; what the errors of flow and depth cannot explain is motion:
        g = df_rigid / drho, along the epipolar line                                               -> explain()
        surprise = r_across^2 / s^2 + r_along^2 / (s^2 + sigma_rho^2 |g|^2),  s^2 = sigma_f^2 + (beta |f|)^2 + var
                                                                                                   -> surprise()
        with sigma_f and sigma_rho from the median residuals of the frame itself                   -> measure_noise()
        and var that of the residual within a surface, large where the flow was guessed            -> scatter()
        and b_from_a corrected first by the flow of what follows it already                        -> correct_motion()
        vote = clip(surprise / threshold^2 - 1, -1, 1); moving is where the mean vote of a surface is positive
                                                                                -> gather_evidence(), edge_aware.smooth()
        Pieces of one depth and one residual that end where their depth ends become objects     -> regions, object_tracks
Differs: GeoNet's bound is 3 px or 5 %; here it follows from the measured noise. Flow spreads over depth edges: a residual that
        the depth of a pixel nearby would explain is doubtful. Pixels on the ground vote against motion (an object's shadow and
        the flow that it drags along lie there), those of an object seen to move before, at the same depth, for it.
Role:   MotionSegmenter.  Depth may be in any unit.
"""

from dataclasses import dataclass
from typing import NamedTuple, final, no_type_check

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from numba import njit
from torch import Tensor

from firstsight.matching.selection.edge_aware import smooth
from firstsight.motion.object_tracks import Carried, ObjectTracks
from firstsight.motion.regions import keep, label, open_share
from firstsight.motion.support_planes import on_support
from firstsight.optimisation.pnp import PosePrior, refine_pose, reprojection_error_px
from firstsight.roles import Depth, Flow, MotionSegmenter, MovingObjects
from firstsight.roles.state import State

MAD_TO_SIGMA = 1.4826
UNKNOWN_VOTE, UNKNOWN_WEIGHT = -0.3, 0.1  # of a pixel without depth or flow: its surface decides, else it stands still
DOUBTFUL_VOTE = -0.1  # of one whose flow may come from a depth nearby; its weight is the unknown one's
GROUND_VOTE = -1.0
GROUND_SHARE = 0.08  # of the still pixels, that the ground holds at least
GROUND_SIGMAS, GROUND_RELATIVE = 1.5, 0.05  # how far from it a pixel may be; 5 % of the depth: 8 cm seen from 1.6 m
MEMORY_VOTE, MEMORY_DEPTH = 1.0, 0.15  # at full belief; difference of log depth
SPREAD_REACH_PX = 12.0  # over which the residual's variance is taken
MIN_DEPTH = 1e-6  # stands for an unknown one in logarithms
FAR_SIGMAS = 3.0  # inverse depth below so many sigmas is no depth
MIN_SIGMA_RHO = 0.01  # of the median inverse depth
PIECE_DEPTH, PIECE_RESIDUAL_PX = 0.2, 5.0  # steps of log depth and residual flow that separate pieces
MOTION_SIGMA_RAD = 1e-3  # how far the given motion may be off; in translation by this share of the median depth
MOTION_SAMPLES, MOTION_WEIGHT = (
    5000,
    200,
)  # pixels that correct the motion, and how many independent ones they are worth

Map = Float32[np.ndarray, "height width"]
Mask = Bool[np.ndarray, "height width"]
Vectors = Float32[np.ndarray, "height width 2"]
Motion = Float64[np.ndarray, "4 4"]


@dataclass(frozen=True, kw_only=True)
class Config:
    threshold: float = 4.0  # sigmas
    flow_sigma_px: float = 0.25  # the least sigma_f
    flow_relative: float = 0.02  # beta
    bleed_px: int = 9  # width of the window over which flow may have spread
    reach_px: float = 6.0  # of the smoothing
    depth_edge: float = 0.06  # jump of log depth between surfaces
    # Of an object's surroundings that may be still and as far away; up to twice as much where it is seen to move.
    open_share: float = 0.25
    min_area_px: int = 30
    belief: float = 0.49  # from which an object is reported; all its pixels seen to move give 0.5, then 0.75
    max_gap: int = 5  # frames over which an object keeps its id unseen


class Noise(NamedTuple):
    """Standard deviations of flow (px) and inverse depth."""

    flow_px: float
    rho: float


class Scene(NamedTuple):
    """One frame as arrays. `depth` is filled where it was not valid; `known` is where depth and flow were; flow 0 elsewhere."""

    depth: Map
    rho: Map
    flow: Float32[np.ndarray, "2 height width"]
    known: Mask
    intrinsics: Float64[np.ndarray, "3 3"]


class Comparison(NamedTuple):
    """Residual flow (px), how the rigid flow changes with inverse depth, and the noise of both."""

    residual: Vectors
    gradient: Vectors
    noise: Noise


class Evidence(NamedTuple):
    """Votes in [-1, 1], more where memory speaks; `decided` pixels say by themselves whether they are `moving` or `still`."""

    vote: Map
    weight: Map
    decided: Mask
    moving: Mask
    still: Mask
    ground: Mask


@njit(cache=True)
@no_type_check
def fill_rows(depth, valid):
    """depth (h, w) with the farther of the nearest valid values to the left and right where it is not valid itself, else 0."""
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


def read_scene(depth: Depth, flow_ab: Flow, intrinsics: Float64[Tensor, "3 3"]) -> Scene:
    """The frame as arrays."""
    filled = fill_rows(depth.depth[0, 0].numpy(), depth.valid[0, 0].numpy())
    seen = flow_ab.valid[0, 0].numpy()
    flow = np.where(seen, flow_ab.flow[0].numpy(), np.float32(0))
    rho = (1 / np.where(filled > 0, filled, np.inf)).astype(np.float32)
    return Scene(filled, rho, flow, seen & depth.valid[0, 0].numpy(), intrinsics.numpy())


@njit(cache=True)
@no_type_check
def explain(rho, flow, b_from_a, intrinsics):
    """(residual, gradient), both (h, w, 2): flow (2, h, w) less the rigid flow of rho (h, w), and the rigid flow's d/drho."""
    height, width = rho.shape
    residual = np.empty((height, width, 2), np.float32)
    gradient = np.empty((height, width, 2), np.float32)
    fx, fy = intrinsics[0, 0], intrinsics[1, 1]
    cx, cy = intrinsics[0, 2], intrinsics[1, 2]
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
@no_type_check
def surprise(residual, gradient, flow, nearby, sigmas, spread, relative):
    """Squared sigmas of the residual, (2, h, w): unexplained by noise, and by the inverse depth of a nearby pixel either.

    nearby = (most negative, most positive) change of inverse depth in the window, (h, w) each; sigmas = (flow, inverse depth);
    spread (h, w): variance of the flow besides.
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
            squared = sigmas[0] ** 2 + spread[y, x] + relative**2 * (flow[0, y, x] ** 2 + flow[1, y, x] ** 2)
            squared_along = squared + (sigmas[1] * length) ** 2
            result[0, y, x] = across**2 / squared + along**2 / squared_along
            result[1, y, x] = across**2 / squared + rest**2 / squared_along
    return result


def scatter(residual: Vectors, gradient: Vectors, scene: Scene, depth_edge: float) -> Map:
    """Variance of the residual within each surface (px^2): a guessed flow jumps about, that of an object does not.

    An object that moves sideways has one residual, one that comes closer one error of inverse depth: the steadier counts.
    Computed at half the resolution.
    """
    half = (slice(None, None, 2),) * 2
    r, g, known = residual[half], gradient[half], scene.known[half]
    log_depth = np.log(np.maximum(scene.depth[half], MIN_DEPTH))
    length = np.linalg.norm(g, axis=-1) + np.float32(1e-3)
    along = (r * g).sum(-1) / length
    across_squared = (r * r).sum(-1) - along**2
    weight, nowhere = known + np.float32(1e-3), np.zeros(known.shape, bool)

    def mean(values: np.ndarray) -> np.ndarray:
        return smooth(values * known, weight, log_depth, nowhere, SPREAD_REACH_PX / 2, depth_edge)

    as_one = mean((r * r).sum(-1)) - mean(r[..., 0]) ** 2 - mean(r[..., 1]) ** 2
    closer = length**2 * (mean((along / length) ** 2) - mean(along / length) ** 2) + mean(across_squared)
    spread = np.maximum(np.minimum(as_one, closer), 0)
    return cv2.resize(spread, scene.known.shape[::-1], interpolation=cv2.INTER_NEAREST)


def measure_noise(residual: Vectors, gradient: Vectors, scene: Scene, config: Config) -> Noise:
    """Noise from the medians over the frame, most of which is taken to stand still."""
    some = (slice(None, None, 3),) * 2
    r, g = residual[some][scene.known[some]], gradient[some][scene.known[some]]
    least = MIN_SIGMA_RHO * float(np.median(scene.rho[some]))
    if len(r) < 100:
        return Noise(config.flow_sigma_px, least)
    length = np.linalg.norm(g, axis=1) + 1e-6
    across = np.abs(r[:, 0] * g[:, 1] - r[:, 1] * g[:, 0]) / length
    flow_px = max(MAD_TO_SIGMA * float(np.median(across)), config.flow_sigma_px)
    strong = length >= np.median(length)
    along = MAD_TO_SIGMA * float(np.median(np.abs((r * g).sum(1))[strong] / length[strong] ** 2))
    by_flow = flow_px / float(np.median(length[strong]))
    return Noise(flow_px, max(float(np.sqrt(max(along**2 - by_flow**2, 0.0))), least))


def correct_motion(scene: Scene, b_from_a: Motion, gradient: Vectors, noise: Noise, config: Config) -> Motion:
    """The motion near the given one that explains most of the flow; what does not follow it is left out in three rounds."""
    stride = max(1, int(np.sqrt(scene.rho.size / MOTION_SAMPLES)))
    y, x = (stride * index for index in np.nonzero(scene.known[::stride, ::stride]))
    if len(x) < 100:
        return b_from_a
    pixels = np.column_stack([x, y]).astype(np.float64)
    flow = scene.flow[:, y, x].T.astype(np.float64)
    rays = np.column_stack([pixels, np.ones(len(x))]) @ np.linalg.inv(scene.intrinsics).T
    points = rays * scene.depth[y, x, None]
    by_depth = noise.rho * np.linalg.norm(gradient[y, x], axis=1)
    sigma = np.sqrt(noise.flow_px**2 + (config.flow_relative**2 * flow**2).sum(1) + by_depth**2)
    measured = np.column_stack([pixels + flow, np.zeros(len(x))])
    weight = np.sqrt(MOTION_WEIGHT / len(x))
    spread = MOTION_SIGMA_RAD * np.array([np.median(points[:, 2])] * 3 + [1.0] * 3)
    prior = PosePrior(np.linalg.inv(b_from_a), np.diag(spread**-2.0))
    follows = np.ones(len(x))
    for _ in range(3):
        precision = np.column_stack([follows / sigma, follows / sigma, np.zeros(len(x))]) * weight
        b_from_a = refine_pose(b_from_a, points, measured, precision, scene.intrinsics, weight, prior)
        error = reprojection_error_px(b_from_a, points, measured[:, :2], scene.intrinsics)
        follows = (error < 2.5 * sigma).astype(np.float64)
    return b_from_a


def recall(scene: Scene, carried: Carried | None, beliefs: Float32[np.ndarray, " ids"]) -> Map:
    """Votes of pixels where an object believed to move is expected, if they are as far away as it was."""
    if carried is None:
        return np.zeros_like(scene.rho)
    ratio = np.maximum(carried.depth, MIN_DEPTH) * np.maximum(scene.rho, MIN_DEPTH)
    there = (carried.ids > 0) & (np.abs(np.log(ratio)) < MEMORY_DEPTH)
    return (MEMORY_VOTE * np.minimum(1.5 * beliefs[carried.ids], 1) * there).astype(np.float32)


def compare(scene: Scene, b_from_a: Motion, config: Config) -> Comparison:
    """Residuals under the corrected motion."""
    for correct in (True, False):
        residual, gradient = explain(scene.rho, scene.flow, b_from_a, scene.intrinsics)
        noise = measure_noise(residual, gradient, scene, config)
        if correct:
            b_from_a = correct_motion(scene, b_from_a, gradient, noise, config)
    return Comparison(residual, gradient, noise)


def gather_evidence(scene: Scene, comparison: Comparison, memory: Map, config: Config) -> Evidence:
    """What each pixel has to say."""
    residual, gradient, noise = comparison
    window = np.ones((config.bleed_px, config.bleed_px), np.uint8)
    nearby = (cv2.erode(scene.rho, window) - scene.rho, cv2.dilate(scene.rho, window) - scene.rho)
    spread = scatter(residual, gradient, scene, config.depth_edge)
    squared = surprise(residual, gradient, scene.flow, nearby, noise, spread, config.flow_relative)
    own, nearest = squared / config.threshold**2
    near_enough = scene.rho > FAR_SIGMAS * noise.rho
    decided, doubtful = scene.known & near_enough, (own > 1) & (nearest <= 1)
    vote = np.where(doubtful, np.float32(DOUBTFUL_VOTE), np.clip(nearest - 1, -1, 1))
    vote = np.where(decided, vote, np.float32(UNKNOWN_VOTE))
    tolerance = np.maximum(GROUND_SIGMAS * noise.rho, GROUND_RELATIVE * scene.rho)
    ground = on_support(scene.rho, decided & (vote < 0), tolerance, scene.intrinsics, GROUND_SHARE)
    return Evidence(
        vote=vote + np.float32(GROUND_VOTE) * ground + memory * (near_enough & ~ground),
        weight=np.where(decided & ~doubtful, np.float32(1), np.float32(UNKNOWN_WEIGHT)),
        decided=decided,
        moving=decided & (nearest > 1),
        still=decided & (own < 1) & ~ground,
        ground=ground,
    )


@final
class MovingObjectSegmentation(MotionSegmenter):
    """An object is reported once the belief that it moves is high enough, which takes one or two frames."""

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        self.tracks = ObjectTracks(self.config.max_gap)

    def step(
        self, depth: Depth, flow_ab: Flow, b_from_a: Float64[Tensor, "4 4"], intrinsics: Float64[Tensor, "3 3"]
    ) -> MovingObjects:
        scene = read_scene(depth, flow_ab, intrinsics)
        comparison = compare(scene, b_from_a.numpy(), self.config)
        evidence = gather_evidence(
            scene, comparison, recall(scene, self.tracks.carried, self.tracks.beliefs()), self.config
        )
        log_depth = np.log(np.maximum(scene.depth, MIN_DEPTH))
        score = smooth(
            evidence.vote, evidence.weight, log_depth, evidence.ground, self.config.reach_px, self.config.depth_edge
        )
        pieces = label(score > 0, log_depth, comparison.residual, scene.known, PIECE_DEPTH, PIECE_RESIDUAL_PX)
        size = np.bincount(pieces.ravel())
        seen_to_move = np.bincount(pieces[evidence.moving], minlength=len(size)) / np.maximum(size, 1)
        alone = open_share(pieces, log_depth, evidence.still) < self.config.open_share * (1 + seen_to_move)
        pieces = keep(pieces, (size >= self.config.min_area_px) & alone)
        ids = self.tracks.assign(pieces, log_depth)
        self.tracks.judge(ids, evidence.decided, evidence.moving)
        reported = self.tracks.numbers(self.config.belief)[ids]
        self.tracks.carry(ids, scene.depth, scene.flow, scene.known)
        residual_px = np.linalg.norm(comparison.residual, axis=-1) * scene.known
        return MovingObjects(torch.from_numpy(reported.astype(np.int64)), torch.from_numpy(residual_px))

    def state(self) -> State:
        return self.tracks.state()

    def restore(self, state: State) -> None:
        self.tracks.restore(state)
