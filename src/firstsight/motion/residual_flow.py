"""The flow that the motion of the camera leaves over, how noisy it is, and its mean over the last frames.

Idea:   r = f - f_rigid(rho), rho = 1 / depth;  g = df_rigid / drho, along the epipolar line                    -> explain()
        sigma_f^2 = a^2 + b^2 |f|^2, a and b from the residual across the epipolar lines in six parts of the frame by |f|,
        sigma_rho from that along them; by quantiles, since most of the frame stands still               -> measure_noise()
        the camera's motion corrected first by the flow of what follows it already                     -> correct_motion()
        R_t = sum_k d^k r_{t-k} / sum_k d^k along the flow: what errs by chance goes to the factor
        s = (1 - d) (1 + d^n) / ((1 + d) (1 - d^n)) of its variance in n frames, what moves stays      -> ResidualMemory
"""

from dataclasses import dataclass
from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64
from numba import njit
from scipy.optimize import nnls
from torch import Tensor

from firstsight.motion.forward_splat import forward_splat
from firstsight.optimisation.pnp import PosePrior, refine_pose, reprojection_error_px
from firstsight.roles import Depth, Flow
from firstsight.roles.state import State

# Sigma from the median of absolute values, and from the quantile that a frame keeps whose tenth moves.
MEDIAN_SIGMAS, QUANTILE, QUANTILE_SIGMAS = 0.6745, 0.85, 1.44
PARTS = 6  # of the frame by the length of its flow
MIN_FLOW_PX = 0.05
UNKNOWN_VARIANCE = 100.0  # px^2, of a flow that is not valid
MIN_SIGMA_RHO = 0.01  # of the median inverse depth
MIN_DEPTH = 1e-6  # stands for an unknown one in logarithms
SAME_DEPTH = 0.15  # difference of log depth by which what was carried is still the same surface
DECAY = 0.7  # of what was seen, per frame
LEAST_WEIGHT = 0.4  # of what is remembered to be known: seen two frames ago
MOTION_SIGMA_RAD = 1e-3  # how far the given motion may be off; in translation by this share of the median depth
# Pixels that correct the motion, and how many independent ones they are worth.
MOTION_SAMPLES, MOTION_WEIGHT = 5000, 200

Map = Float32[np.ndarray, "height width"]
Mask = Bool[np.ndarray, "height width"]
Vectors = Float32[np.ndarray, "height width 2"]
Motion = Float64[np.ndarray, "4 4"]


class Noise(NamedTuple):
    """Standard deviations: of flow in px, at rest and per px of its length, and of inverse depth."""

    flow_px: float
    relative: float
    rho: float

    def flow_variance(self, flow: Float[np.ndarray, "2 ..."]) -> Float[np.ndarray, "..."]:
        return np.float32(self.flow_px**2) + np.float32(self.relative**2) * (flow**2).sum(0)


class Scene(NamedTuple):
    """One frame as arrays. `depth` is filled where it was not valid; `known` is where depth and flow were; flow 0 elsewhere.

    `variance` is that of the flow's error (px^2) as its estimator tells it, 0 where it does not; `rho_error` the standard
    deviation of inverse depth that depth's estimator tells, 0 where it does not.
    """

    depth: Map
    rho: Map
    flow: Float32[np.ndarray, "2 height width"]
    known: Mask
    variance: Map
    rho_error: Map
    intrinsics: Float64[np.ndarray, "3 3"]


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
    known = seen & depth.valid[0, 0].numpy()
    error = np.zeros_like(rho) if flow_ab.error_px is None else flow_ab.error_px[0, 0].numpy()
    rho_error = np.zeros_like(rho) if depth.error_m is None else depth.error_m[0, 0].numpy() * rho**2
    variance = np.where(known, error**2, np.float32(UNKNOWN_VARIANCE))
    return Scene(filled, rho, flow, known, variance, rho_error, intrinsics.numpy())


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


def measure_noise(residual: Vectors, gradient: Vectors, scene: Scene) -> Noise:
    """Noise from quantiles over the frame, most of which is taken to stand still."""
    some = (slice(None, None, 3),) * 2
    known = scene.known[some]
    r, g, flow = residual[some][known], gradient[some][known], scene.flow[:, ::3, ::3][:, known]
    least = MIN_SIGMA_RHO * float(np.median(scene.rho[some]))
    if len(r) < 100:
        return Noise(MIN_FLOW_PX, 0.0, least)
    length = np.linalg.norm(g, axis=1) + 1e-6
    across = np.abs(r[:, 0] * g[:, 1] - r[:, 1] * g[:, 0]) / length
    noise = Noise(*flow_noise(across, (flow**2).sum(0)), least)
    strong = length >= np.median(length)
    along = float(np.median(np.abs((r * g).sum(1))[strong] / length[strong] ** 2)) / MEDIAN_SIGMAS
    by_flow = float(np.median(noise.flow_variance(flow)) / np.median(length[strong]) ** 2)
    return noise._replace(rho=max(float(np.sqrt(max(along**2 - by_flow, 0.0))), least))


def flow_noise(
    across: Float32[np.ndarray, " pixels"], squared_length: Float32[np.ndarray, " pixels"]
) -> tuple[float, float]:
    """(a, b) of sigma^2 = a^2 + b^2 |f|^2 by least squares over parts of the pixels with flows of like length."""
    parts = np.array_split(np.argsort(squared_length, kind="stable"), PARTS)
    sigma = np.array([np.quantile(across[part], QUANTILE) / QUANTILE_SIGMAS for part in parts])
    weight = 1 / np.maximum(sigma, 1e-3) ** 2
    rows = np.column_stack([np.ones(PARTS), [squared_length[part].mean() for part in parts]])
    (still, by_length), _ = nnls(rows * weight[:, None], sigma**2 * weight)
    return max(float(np.sqrt(still)), MIN_FLOW_PX), float(np.sqrt(by_length))


def correct_motion(scene: Scene, b_from_a: Motion, gradient: Vectors, noise: Noise) -> Motion:
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
    sigma = np.sqrt(noise.flow_variance(flow.T) + by_depth**2)
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


def unexplained(scene: Scene, b_from_a: Motion) -> tuple[Vectors, Vectors]:
    """(residual, gradient) under the corrected motion, see explain()."""
    residual, gradient = explain(scene.rho, scene.flow, b_from_a, scene.intrinsics)
    corrected = correct_motion(scene, b_from_a, gradient, measure_noise(residual, gradient, scene))
    return explain(scene.rho, scene.flow, corrected, scene.intrinsics)


def same_surface(depth: Map, rho: Map) -> Mask:
    """Where what was carried from `depth` is about as far away as what is seen there, at inverse depth `rho`."""
    return np.abs(np.log(np.maximum(depth, MIN_DEPTH) * np.maximum(rho, MIN_DEPTH))) < SAME_DEPTH


class Comparison(NamedTuple):
    """The mean residual (px a frame), how the rigid flow changes with inverse depth, and the noise of one frame.

    `known` is where there is a mean, `share` how much of the variance of one frame is left in it.
    """

    residual: Vectors
    gradient: Vectors
    noise: Noise
    known: Mask
    share: Map


@dataclass
class ResidualMemory:
    """Sums of residuals (x, y) and of their weights at the pixels of the frame to come. Call `add`, then `carry`."""

    sums: Float32[np.ndarray, "height width 3"] | None = None
    depth: Map | None = None

    def add(self, residual: Vectors, gradient: Vectors, scene: Scene) -> Comparison:
        """The mean with this frame's residual where it is known; what is no longer as far away is forgotten."""
        sums = np.dstack([residual, np.ones_like(scene.rho)]) * scene.known[..., None]
        if self.sums is not None and self.depth is not None:
            same = (self.depth > 0) & same_surface(self.depth, scene.rho)
            sums += np.float32(DECAY) * self.sums * same[..., None]
        self.sums = sums
        weight = sums[..., 2]
        frames = np.clip(weight, 1, 1 / (1 - DECAY))
        share = (2 - (1 - DECAY) * frames) / ((1 + DECAY) * frames)
        mean, known = sums[..., :2] / np.maximum(weight, MIN_DEPTH)[..., None], weight > LEAST_WEIGHT
        noise = measure_noise(mean / np.sqrt(share)[..., None], gradient, scene._replace(known=known))
        return Comparison(mean, gradient, noise, known, share)

    def carry(self, depth: Map, flow: Float32[np.ndarray, "2 height width"]) -> None:
        """Moves the sums to the next frame by a flow that is known everywhere."""
        self.sums, self.depth = forward_splat(self.sums, depth, flow, depth > 0)

    def state(self) -> State:
        return {"sums": self.sums, "depth": self.depth}

    def restore(self, state: State) -> None:
        self.sums, self.depth = state["sums"], state["depth"]
