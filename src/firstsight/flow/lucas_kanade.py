"""Dense optical flow from small windows alone, which shows where a window knows the motion and where only a part of it.

Paper:  Lucas, Kanade. An Iterative Image Registration Technique with an Application to Stereo Vision. IJCAI 1981;
        Bouguet. Pyramidal Implementation of the Lucas Kanade Feature Tracker. Intel 2000 (coarse to fine);
        Shi, Tomasi. Good Features to Track. CVPR 1994 (the eigenvalue test);
        Le Besnerais, Champagnat. Dense Optical Flow by Iterative Local Window Registration. ICIP 2005 (one warp).
Idea:   brightness constancy, linearised around the flow u0 so far: g (u - u0) + d = 0, where at each pixel
        d = b(p + u0) - a(p),  g = (grad a(p) + grad b(p + u0)) / 2, both 0 where p + u0 leaves b         -> linearise()
        over a window with weights w:  G u = r,  G = sum w g g^T,  r = sum w g (g u0 - d)          -> normal_equations()
        l1 <= l2, the eigenvalues of G                                                                  -> eigenvalues()
        full flow where l1 > t; normal flow, along the gradient, where only l2 > 2 t; else none               -> kinds()
        u = u0 + G^+ (r - G u0), G^+ the inverse on what is known, so the rest stays as it was                 -> step()
        repeated, then carried to the next finer image                                               -> lucas_kanade()
        at last only what is known is kept, which is the shortest flow that explains the windows              -> known()
        valid = full flow that is found again on the way back                          -> warp.forward_backward_check()
Differs: gradients are averaged over both frames (with those of the first alone, windows that reach over a motion
        boundary or out of the image converge worse), and a step moves a pixel by at most MAX_STEP_PX of its level.
        Reading b between pixels blurs it and not a: fine texture is off by some hundredths of a pixel.
Role:   FlowEstimator.  Flow in px of the given grid. `lucas_kanade` is differentiable, `lucas_kanade_numba` the same on
        the CPU and several times faster. Single points: point_tracking.py.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple, final

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from firstsight.errors import InputError
from firstsight.flow import lucas_kanade_kernels
from firstsight.flow.expected_error import expected_errors_px
from firstsight.flow.point_tracking import level_count, window_profile
from firstsight.geometry.images import luma
from firstsight.geometry.pixels import pixel_grid, sample
from firstsight.geometry.warp import forward_backward_check
from firstsight.roles import Flow, FlowEstimator, Images

# of its level, that a step moves a pixel
MAX_STEP_PX = 2.0
# before every other pixel is dropped
HALVING = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
SCHARR_SMOOTH, SCHARR_SLOPE = (3 / 16, 10 / 16, 3 / 16), (-1 / 2, 0.0, 1 / 2)
TINY = 1e-30
# a pixel of the finer image on the coarser one
HALF = np.array([[0.5, 0, 0], [0, 0.5, 0]])

Grey = Float[Tensor, "batch 1 height width"]
Vectors = Float[Tensor, "batch 2 height width"]
# xx, xy, yy of a symmetric matrix per pixel
Matrices = Float[Tensor, "batch 3 height width"]
GreyArray = Float32[np.ndarray, "height width"]
Planes = Float32[np.ndarray, "2 height width"]


class Kind(IntEnum):
    """What a window knows of its motion."""

    NONE = 0
    NORMAL = 1
    FULL = 2


class LocalFlow(NamedTuple):
    """What the windows know: all of the flow, its part along the gradient (the rest is 0), or nothing (0); see `Kind`.

    `eigenvalues` of G, smallest first: squared gradients of images in [0, 1] over the window, 1 / px^2.
    """

    flow: Float[Tensor, "batch 2 height width"]
    kind: UInt8[Tensor, "batch 1 height width"]
    eigenvalues: Float[Tensor, "batch 2 height width"]


@dataclass(frozen=True, kw_only=True)
class Config:
    # odd
    window_px: int = 15
    # a Gaussian ends at three standard deviations
    window: Literal["gaussian", "box"] = "gaussian"
    # images of the pyramid, the full one included; fewer where one would be smaller than a window
    levels: int = 5
    # per level
    iterations: int = 5
    # t, 1 / px^2: gradients of 0.8 grey levels per px in every direction
    min_eigenvalue: float = 1e-5
    # share of the squared lengths of the two flows by which the way back may miss
    consistency_relative: float = 0.01
    consistency_absolute_px2: float = 0.5


def filtered(image: Grey, column: tuple[float, ...], row: tuple[float, ...]) -> Grey:
    """Correlation with a separable kernel; the image is mirrored at its border pixels."""
    down, right = image.new_tensor(column), image.new_tensor(row)
    padded = F.pad(image, [len(row) // 2] * 2 + [len(column) // 2] * 2, mode="reflect")
    return F.conv2d(F.conv2d(padded, down[None, None, :, None]), right[None, None, None])


def pyramid(grey: Grey, levels: int) -> list[Float[Tensor, "batch 1 _ _"]]:
    """The image and its halves: pixel p of one is pixel 2 p of the one before."""
    images = [grey]
    while len(images) < levels:
        images.append(filtered(images[-1], HALVING, HALVING)[..., ::2, ::2])
    return images


def gradients(grey: Grey) -> Vectors:
    """Returns the gradients along x and y per px (Scharr)."""
    along_x = filtered(grey, SCHARR_SMOOTH, SCHARR_SLOPE)
    return torch.cat([along_x, filtered(grey, SCHARR_SLOPE, SCHARR_SMOOTH)], 1)


def linearise(grey_a: Grey, grey_b: Grey, flow: Vectors) -> tuple[Vectors, Grey]:
    """(g, d): the mean gradient and the difference of the two images along the flow, 0 where it leaves b."""
    pixels = pixel_grid(*flow.shape[-2:], dtype=flow.dtype, device=flow.device) + flow
    seen, inside = sample(torch.cat([grey_b, gradients(grey_b)], 1), pixels)
    gradient = (gradients(grey_a) + seen[:, 1:]) / 2
    return gradient * inside, (seen[:, :1] - grey_a) * inside


def window_sum(
    values: Float[Tensor, "batch n height width"], profile: Float[Tensor, " size"]
) -> Float[Tensor, "batch n height width"]:
    """Weighted sum over the window around each pixel; beyond the border is nothing."""
    each, half = values.flatten(0, 1)[:, None], len(profile) // 2
    down = F.conv2d(each, profile[None, None, :, None], padding=(half, 0))
    return F.conv2d(down, profile[None, None, None], padding=(0, half))[:, 0].view_as(values)


def normal_equations(
    gradient: Vectors, difference: Grey, flow: Vectors, profile: Float[Tensor, " size"]
) -> tuple[Matrices, Vectors]:
    """(G, r) of the least squares problem of each window."""
    gx, gy = gradient.split(1, 1)
    target = (gradient * flow).sum(1, keepdim=True) - difference
    sums = window_sum(torch.cat([gx * gx, gx * gy, gy * gy, gx * target, gy * target], 1), profile)
    return sums[:, :3], sums[:, 3:]


def eigenvalues(matrix: Matrices) -> Vectors:
    """Smallest first."""
    xx, xy, yy = matrix.unbind(1)
    half_gap = ((xx - yy).square() / 4 + xy.square()).clamp(min=TINY).sqrt()  # the root has no slope at 0
    mean = (xx + yy) / 2
    return torch.stack([mean - half_gap, mean + half_gap], 1)


def kinds(values: Vectors, min_eigenvalue: float) -> UInt8[Tensor, "batch 1 height width"]:
    """`Kind` of each pixel from its eigenvalues. The factor 2 keeps them apart, so that normal flow has a direction."""
    smallest, largest = values.split(1, 1)
    full, normal = smallest > min_eigenvalue, largest > 2 * min_eigenvalue
    return torch.where(full, int(Kind.FULL), torch.where(normal, int(Kind.NORMAL), int(Kind.NONE))).to(torch.uint8)


def pseudo_inverse(matrix: Matrices, values: Vectors, kind: UInt8[Tensor, "batch 1 height width"]) -> Matrices:
    """G^-1 for full flow; e e^T / l2 for normal flow, e the eigenvector of l2; else 0."""
    xx, xy, yy = matrix.unbind(1)
    (smallest, largest), kind = values.unbind(1), kind[:, 0]
    full, normal = kind == Kind.FULL, kind == Kind.NORMAL
    denominator = torch.where(full, xx * yy - xy * xy, torch.where(normal, (largest - smallest) * largest, 1.0))
    adjugate = torch.stack([yy, -xy, xx], 1)
    along = torch.stack([xx - smallest, xy, yy - smallest], 1)  # (l2 - l1) e e^T
    parts = torch.where(full[:, None], adjugate, torch.where(normal[:, None], along, 0.0))
    return parts / denominator[:, None]


def times(matrix: Matrices, vector: Vectors) -> Vectors:
    """The product at each pixel."""
    (xx, xy, yy) = matrix.unbind(1)
    (x, y) = vector.unbind(1)
    return torch.stack([xx * x + xy * y, xy * x + yy * y], 1)


def step(matrix: Matrices, right: Vectors, flow: Vectors, min_eigenvalue: float) -> Vectors:
    """The flow that solves the windows' equations; where they do not say it, it stays."""
    values = eigenvalues(matrix)
    inverse = pseudo_inverse(matrix, values, kinds(values, min_eigenvalue))
    return flow + times(inverse, right - times(matrix, flow)).clamp(-MAX_STEP_PX, MAX_STEP_PX)


def known(matrix: Matrices, flow: Vectors, min_eigenvalue: float) -> LocalFlow:
    """What of the flow the windows know: G^+ G u."""
    values = eigenvalues(matrix)
    kind = kinds(values, min_eigenvalue)
    part = times(pseudo_inverse(matrix, values, kind), times(matrix, flow))
    return LocalFlow(torch.where(kind == Kind.FULL, flow, part), kind, values)


def enlarged(flow: Vectors, rows: int, columns: int) -> Float[Tensor, "batch 2 {rows} {columns}"]:
    """Flow on the next finer image: pixel p there is p / 2 here."""
    pixels = pixel_grid(rows, columns, flow.dtype, flow.device) / 2
    return 2 * sample(flow, pixels.expand(len(flow), -1, -1, -1)).values


def lucas_kanade(grey_a: Grey, grey_b: Grey, config: Config) -> LocalFlow:
    """Flow of images in [0, 1] from a to b. Differentiable in both."""
    profile = grey_a.new_tensor(window_profile(config.window, config.window_px))
    levels = level_count(*grey_a.shape[-2:], config.window_px, config.levels)
    images = list(zip(pyramid(grey_a, levels), pyramid(grey_b, levels), strict=True))
    flow = torch.zeros_like(images[-1][0]).expand(-1, 2, -1, -1)
    matrix = torch.empty(0)
    for a, b in reversed(images):
        if a.shape[-2:] != flow.shape[-2:]:
            flow = enlarged(flow, *a.shape[-2:])
        for _ in range(config.iterations):
            matrix, right = normal_equations(*linearise(a, b, flow), flow, profile)
            flow = step(matrix, right, flow, config.min_eigenvalue)
    return known(matrix, flow, config.min_eigenvalue)


def _with_gradients(grey: GreyArray) -> Float32[np.ndarray, "3 height width"]:
    """The image and its slopes along x and y per px (Scharr)."""
    return np.stack([grey, cv2.Scharr(grey, -1, 1, 0, scale=1 / 32), cv2.Scharr(grey, -1, 0, 1, scale=1 / 32)])


def _interleaved(planes: Float32[np.ndarray, "3 height width"]) -> Float32[np.ndarray, "height width 4"]:
    """What is read at once lies together; one channel is spare."""
    return np.ascontiguousarray(np.stack([*planes, planes[0]], -1))


def _enlarge(flow: Planes, rows: int, columns: int) -> Float32[np.ndarray, "2 {rows} {columns}"]:
    """Does the same as `enlarged`."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    planes = [
        cv2.warpAffine(axis, HALF, (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE) for axis in flow
    ]
    return 2 * np.stack(planes)


def _iterate(
    grey_a: GreyArray, grey_b: GreyArray, flow: Planes, config: Config
) -> Float32[np.ndarray, "5 height width"]:
    """Moves the flow to where the windows of one level see it; returns the equations of the last step."""
    a, b = _with_gradients(grey_a), _interleaved(_with_gradients(grey_b))
    profile = window_profile(config.window, config.window_px)
    products, equations = np.empty((2, 5, *grey_a.shape), np.float32)
    for _ in range(config.iterations):
        lucas_kanade_kernels.linearise(a, b, flow, products)
        for product, total in zip(products, equations, strict=True):
            cv2.sepFilter2D(product, -1, profile, profile, dst=total, borderType=cv2.BORDER_CONSTANT)
        lucas_kanade_kernels.step(equations, flow, np.float32(config.min_eigenvalue), np.float32(MAX_STEP_PX))
    return equations


def _solve(
    grey_a: GreyArray, grey_b: GreyArray, config: Config
) -> tuple[Planes, Float32[np.ndarray, "5 height width"]]:
    """The flow of one pair and the equations of its last step."""
    images = [(grey_a, grey_b)]
    for _ in range(level_count(*grey_a.shape, config.window_px, config.levels) - 1):
        images.append((cv2.pyrDown(images[-1][0]), cv2.pyrDown(images[-1][1])))
    flow, equations = np.zeros((2, *images[-1][0].shape), np.float32), np.empty(0)
    for a, b in reversed(images):
        if a.shape != flow.shape[1:]:
            flow = _enlarge(flow, *a.shape)
        equations = _iterate(a, b, flow, config)
    return flow, equations


def lucas_kanade_numba(
    grey_a: Float32[Tensor, "batch 1 height width"], grey_b: Float32[Tensor, "batch 1 height width"], config: Config
) -> LocalFlow:
    """Does the same as `lucas_kanade`, on the CPU, without derivatives."""
    solved = [_solve(a[0].numpy(), b[0].numpy(), config) for a, b in zip(grey_a, grey_b, strict=True)]
    flow, equations = (torch.from_numpy(np.stack(parts)) for parts in zip(*solved, strict=True))
    return known(equations[:, :3], flow, config.min_eigenvalue)


def check(image_a: Images, image_b: Images, config: Config) -> None:
    """Raises InputError where there is nothing to compute flow from."""
    height, width = image_a.shape[-2:]
    if min(height, width) < config.window_px:
        raise InputError(
            f"images of {width}x{height} px: a window of {config.window_px} px does not fit; use a smaller window"
        )
    if not (torch.isfinite(image_a).all() and torch.isfinite(image_b).all()):
        raise InputError("images with NaN or infinite values: fill those pixels before computing flow")


@final
class LucasKanade(FlowEstimator):
    """Raises InputError for images that hold no window or are not finite."""

    def __init__(self, config: Config | None = None):
        self.config = config or Config()

    def estimate(self, image_a: Images, image_b: Images) -> Flow:
        flow_ab, kind, _ = self.windows(image_a, image_b)
        flow_ba = self.windows(image_b, image_a).flow
        c = self.config
        found, gap = forward_backward_check(flow_ab, flow_ba, c.consistency_relative, c.consistency_absolute_px2)
        valid = found & (kind == Kind.FULL)
        return Flow(flow_ab, valid, expected_errors_px(image_a, gap, valid))

    def windows(self, image_a: Images, image_b: Images) -> LocalFlow:
        """What each window of a knows of its motion to b, not checked on the way back.

        Differentiable, and then slower, where an image asks for gradients or lies on a GPU.
        """
        check(image_a, image_b, self.config)
        wanted = image_a.requires_grad or image_b.requires_grad or image_a.device.type != "cpu"
        solve = lucas_kanade if wanted else lucas_kanade_numba
        return solve(luma(image_a), luma(image_b), self.config)
