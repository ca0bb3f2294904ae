"""Objects that move by themselves, found where the measured flow is not the flow of a static world.

Paper:  Yin, Shi. GeoNet: Unsupervised Learning of Dense Depth, Optical Flow and Camera Pose. CVPR 2018 (eq. 1, the rigid flow;
        section 3.4, two flows disagree if they differ by more than max(alpha, beta |f|)).
Idea:   r = f - f_rigid(rho), its mean over the last frames, and the noise of flow and depth           -> residual_flow
        What that noise cannot explain is motion; an error of depth shows along the epipolar line alone, with g = df / drho:
        surprise = r_across^2 / v + r_along^2 / (v + sigma_rho^2 |g|^2),  v = share (a^2 + b^2 |f|^2) + error^2
                                                                                                   -> surprise()
        with share, what is left of chance in the mean, and error, what the flow's estimator says of itself there
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
from jaxtyping import Float32, Float64
from numba import njit
from torch import Tensor

from firstsight.matching.selection.edge_aware import smooth
from firstsight.motion.object_tracks import Carried, ObjectTracks
from firstsight.motion.regions import Labels, keep, label, open_share
from firstsight.motion.residual_flow import (
    MIN_DEPTH,
    Comparison,
    Map,
    Mask,
    ResidualMemory,
    Scene,
    read_scene,
    same_surface,
    unexplained,
)
from firstsight.motion.support_planes import on_support
from firstsight.roles import Depth, Flow, MotionSegmenter, MovingObjects
from firstsight.roles.state import State

UNKNOWN_VOTE, UNKNOWN_WEIGHT = -0.3, 0.1  # of a pixel without depth or flow: its surface decides, else it stands still
DOUBTFUL_VOTE = -0.1  # of one whose flow may come from a depth nearby; its weight is the unknown one's
GROUND_VOTE = -1.0
GROUND_SHARE = 0.08  # of the still pixels, that the ground holds at least
GROUND_SIGMAS, GROUND_RELATIVE = 1.5, 0.05  # how far from it a pixel may be; 5 % of the depth: 8 cm seen from 1.6 m
MEMORY_VOTE = 2.0  # at full belief
FAR_SIGMAS = 3.0  # inverse depth below so many sigmas is no depth
LEAST_RHO_SHARE = 0.5  # of the variance of inverse depth: its errors stay with the texture, and hardly average out
PIECE_DEPTH, PIECE_RESIDUAL_PX = 0.2, 5.0  # steps of log depth and residual flow that separate pieces


@dataclass(frozen=True, kw_only=True)
class Config:
    threshold: float = 4.0  # sigmas
    bleed_px: int = 9  # width of the window over which flow may have spread
    reach_px: float = 6.0  # of the smoothing
    depth_edge: float = 0.06  # jump of log depth between surfaces
    # Of an object's surroundings that may be still and as far away; up to twice as much where it is seen to move.
    open_share: float = 0.25
    min_area_px: int = 30
    belief: float = 0.49  # from which an object is reported; all its pixels seen to move give 0.5, then 0.75
    max_gap: int = 5  # frames over which an object keeps its id unseen


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
def surprise(residual, gradient, nearby, variance, rho_variance):
    """Squared sigmas of the residual, (2, h, w): unexplained by noise, and by the inverse depth of a nearby pixel either.

    nearby = (most negative, most positive) change of inverse depth in the window; variance of the flow and of inverse depth;
    (h, w) each.
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
            variance_along = variance[y, x] + rho_variance[y, x] * length**2
            by_flow = across**2 / variance[y, x]
            result[0, y, x] = by_flow + along**2 / variance_along
            result[1, y, x] = by_flow + rest**2 / variance_along
    return result


def recall(scene: Scene, carried: Carried | None, beliefs: Float32[np.ndarray, " ids"]) -> Map:
    """Votes of pixels where an object believed to move is expected, if they are as far away as it was."""
    if carried is None:
        return np.zeros_like(scene.rho)
    there = (carried.ids > 0) & same_surface(carried.depth, scene.rho)
    return (MEMORY_VOTE * np.minimum(1.5 * beliefs[carried.ids], 1) * there).astype(np.float32)


def gather_evidence(scene: Scene, comparison: Comparison, memory: Map, config: Config) -> Evidence:
    """What each pixel has to say."""
    noise = comparison.noise
    window = np.ones((config.bleed_px, config.bleed_px), np.uint8)
    nearby = (cv2.erode(scene.rho, window) - scene.rho, cv2.dilate(scene.rho, window) - scene.rho)
    variance = noise.flow_variance(scene.flow) * comparison.share + scene.variance
    rho_error = np.maximum(np.float32(noise.rho), scene.rho_error)
    rho_variance = rho_error**2 * np.maximum(comparison.share, np.float32(LEAST_RHO_SHARE))
    squared = surprise(comparison.residual, comparison.gradient, nearby, variance, rho_variance)
    own, nearest = squared / config.threshold**2
    near_enough = scene.rho > FAR_SIGMAS * rho_error
    # What is not seen now stands still, unless an object is expected there.
    decided = comparison.known & near_enough & (scene.known | (memory == 0))
    doubtful = (own > 1) & (nearest <= 1)
    vote = np.where(doubtful, np.float32(DOUBTFUL_VOTE), np.clip(nearest - 1, -1, 1))
    vote = np.where(decided, vote, np.float32(UNKNOWN_VOTE))
    tolerance = np.maximum(GROUND_SIGMAS * rho_error, GROUND_RELATIVE * scene.rho)
    ground = on_support(scene.rho, decided & (vote < 0), tolerance, scene.intrinsics, GROUND_SHARE)
    return Evidence(
        vote=vote + np.float32(GROUND_VOTE) * ground + memory * (near_enough & ~ground),
        weight=np.where(decided & ~doubtful, np.float32(1), np.float32(UNKNOWN_WEIGHT)),
        decided=decided,
        moving=decided & (nearest > 1),
        still=decided & (own < 1) & ~ground,
        ground=ground,
    )


def pieces(comparison: Comparison, evidence: Evidence, log_depth: Map, config: Config) -> Labels:
    """What can be an object, numbered from 1: surfaces that mostly move, and that end where their depth ends."""
    score = smooth(evidence.vote, evidence.weight, log_depth, evidence.ground, config.reach_px, config.depth_edge)
    labels = label(score > 0, log_depth, comparison.residual, comparison.known, PIECE_DEPTH, PIECE_RESIDUAL_PX)
    size = np.bincount(labels.ravel())
    seen_to_move = np.bincount(labels[evidence.moving], minlength=len(size)) / np.maximum(size, 1)
    alone = open_share(labels, log_depth, evidence.still) < config.open_share * (1 + seen_to_move)
    return keep(labels, (size >= config.min_area_px) & alone)


@final
class MovingObjectSegmentation(MotionSegmenter):
    """An object is reported once the belief that it moves is high enough, which takes two frames where not all of it is seen."""

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        self.tracks, self.residuals = ObjectTracks(self.config.max_gap), ResidualMemory()

    def step(
        self, depth: Depth, flow_ab: Flow, b_from_a: Float64[Tensor, "4 4"], intrinsics: Float64[Tensor, "3 3"]
    ) -> MovingObjects:
        scene = read_scene(depth, flow_ab, intrinsics)
        residual, gradient = unexplained(scene, b_from_a.numpy())
        comparison = self.residuals.add(residual, gradient, scene)
        memory = recall(scene, self.tracks.carried, self.tracks.beliefs())
        evidence = gather_evidence(scene, comparison, memory, self.config)
        log_depth = np.log(np.maximum(scene.depth, MIN_DEPTH))
        ids = self.tracks.assign(pieces(comparison, evidence, log_depth, self.config), log_depth)
        self.tracks.judge(ids, evidence.decided, evidence.moving)
        reported = self.tracks.numbers(self.config.belief)[ids]
        self.tracks.carry(ids, scene.depth, scene.flow, scene.known)
        # Where the flow is not known, that of the object or of the still world.
        instead = np.where(
            ids > 0, self.tracks.flows()[ids].transpose(2, 0, 1), scene.flow - residual.transpose(2, 0, 1)
        )
        self.residuals.carry(scene.depth, np.where(scene.known, scene.flow, instead))
        residual_px = np.linalg.norm(comparison.residual, axis=-1) * comparison.known
        return MovingObjects(torch.from_numpy(reported.astype(np.int64)), torch.from_numpy(residual_px))

    def state(self) -> State:
        return {"tracks": self.tracks.state(), "residuals": self.residuals.state()}

    def restore(self, state: State) -> None:
        self.tracks.restore(state["tracks"])
        self.residuals.restore(state["residuals"])
