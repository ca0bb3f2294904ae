"""Depth, flow and motion of a static scene: any two give the third, and all three tell whether they agree.

Paper:  Zhao, Liu, Shu, Liu. Towards Better Generalization: Joint Depth-Pose Learning without PoseNet. CVPR 2020
        (TrianFlow); Zou, Luo, Huang. DF-Net. ECCV 2018.
Idea:   depth and motion give flow                                                         -> geometry.warp.rigid_flow()
        flow and motion give depth, where two rays are nearest; with parallax, before both cameras  -> depth_from_flow()
        flow and depth give motion: PnP by RANSAC, then one step of Gauss-Newton that the gradient passes through,
            xi = -(J'J)^-1 J' r, r the pixels between p + f and the moved point, b_from_a exp(xi)  -> motion_from_flow()
        with t the triangulated depth and d the predicted one, s = sum (d / t) / sum (d / t)^2, no gradient -> scale_to()
        mean (1 - s d / t)^2                                                                    -> triangulation_term()
        mean |f_rigid(s d, motion) - f|_1                                                              -> rigid_term()
        flow that a rotation alone explains has no depth in it; flow of a plane may mean two motions -> degeneracy()
        how much of a frame agrees as it is, with another depth, with another motion: who errs            -> disagreement()
Differs: TrianFlow's relative motion comes from the flow's essential matrix alone, which odometry/two_view.py does; its
        depths are those of the point midway between the rays, these of the point on the pixel's own ray.
Units:  depth in the unit of the motion's translation, flow in px, angles in radians.
"""

from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from firstsight.geometry.camera import MIN_DEPTH, normalise, project
from firstsight.geometry.epipolar import homogeneous, midpoint_depths
from firstsight.geometry.pixels import pixel_grid
from firstsight.geometry.se3 import hat, se3_exp, transform
from firstsight.geometry.warp import rigid_flow
from firstsight.losses.unsupervised_flow import masked_mean
from firstsight.optimisation.pnp import robust_pnp

DepthMap = Float[Tensor, "batch 1 height width"]
Flow = Float[Tensor, "batch 2 height width"]
Mask = Bool[Tensor, "batch 1 height width"]
Motion = Float[Tensor, "batch 4 4"]
Intrinsics = Float[Tensor, "batch 3 3"]
Points = Float[Tensor, "batch points 2"]

# rad; a tenth of a degree, 1 px at a focal length of 570 px
MIN_PARALLAX_RAD = 0.00175
# pixels of a frame that motions are fitted to, on a grid
SAMPLES = 5000
INLIER_PX = 2.0
MIN_INLIERS = 10
# the share of pixels that a homography explains within this many px, from which on it is said to explain the flow
EXPLAINED_PX, EXPLAINED_SHARE = 1.0, 0.95
# a pixel agrees within the larger of these (KITTI's limits for flow), and a frame if so many of its pixels do
AGREEING_PX, AGREEING_RELATIVE = 3.0, 0.05
AGREEING_SHARE = 0.8


class DepthFromFlow(NamedTuple):
    """`valid` where the rays meet before both cameras, under an angle of at least the least parallax, inside b."""

    depth: DepthMap
    parallax_rad: DepthMap
    valid: Mask


def depth_from_flow(
    flow_ab: Flow, b_from_a: Motion, intrinsics: Intrinsics, min_parallax_rad: float = MIN_PARALLAX_RAD
) -> DepthFromFlow:
    """The depth of every pixel of a by triangulation; differentiable in flow and motion.

    Where the rays are parallel it is infinite, and below 0 where they meet behind the camera: not valid both.
    """
    height, width = flow_ab.shape[-2:]
    grid = pixel_grid(height, width, flow_ab.dtype, flow_ab.device)
    here, there = (pixels.flatten(-2).transpose(-1, -2) for pixels in (grid.expand_as(flow_ab), grid + flow_ab))
    motion, camera = b_from_a.to(flow_ab.dtype), intrinsics.to(flow_ab.dtype)
    found = midpoint_depths(normalise(here, camera), normalise(there, camera), motion)
    in_b = ((there >= 0) & (there <= there.new_tensor([width - 1, height - 1]))).all(-1)
    valid = in_b & (found.depth_a > 0) & (found.depth_b > 0) & (found.parallax_rad > min_parallax_rad)
    valid &= found.depth_a.isfinite()
    depth, parallax, valid = (
        values.unflatten(-1, (height, width))[:, None] for values in (found.depth_a, found.parallax_rad, valid)
    )
    return DepthFromFlow(depth, parallax, valid)


class MotionFromFlow(NamedTuple):
    """The motion and the share of the valid samples that it explains; the identity and 0 where there is no motion."""

    b_from_a: Motion
    inlier_share: Float[Tensor, " batch"]


class Samples(NamedTuple):
    """Pixels of a grid in each frame, where they are in b, and which of them are valid."""

    here: Points
    there: Points
    valid: Bool[Tensor, "batch points"]


def take_samples(flow_ab: Flow, valid: Mask) -> tuple[Samples, slice]:
    """Returns about SAMPLES pixels on a grid, the same in all frames, and the slice of rows and columns that they are in."""
    height, width = flow_ab.shape[-2:]
    stride = max(1, round((height * width / SAMPLES) ** 0.5))
    every = slice(stride // 2, None, stride)
    grid = pixel_grid(height, width, flow_ab.dtype, flow_ab.device)
    here, there = (
        values[..., every, every].flatten(-2).transpose(-1, -2) for values in (grid.expand_as(flow_ab), grid + flow_ab)
    )
    return Samples(here, there, valid[:, 0, every, every].flatten(1)), every


def motion_from_flow(depth_a: DepthMap, flow_ab: Flow, valid: Mask, intrinsics: Intrinsics) -> MotionFromFlow:
    """The motion of the camera that explains the flow of most valid pixels; differentiable in depth and flow.

    About SAMPLES pixels on a grid are looked at. A motion needs MIN_INLIERS of them within INLIER_PX.
    """
    samples, every = take_samples(flow_ab, valid)
    camera = intrinsics.to(flow_ab.dtype)
    z = depth_a[:, 0, every, every].flatten(1)[..., None].to(flow_ab.dtype)
    points_a = torch.cat([normalise(samples.here, camera) * z, z], -1)
    start, inliers = torch.eye(4).repeat(len(z), 1, 1).to(z), torch.zeros_like(samples.valid)
    for i, usable in enumerate(samples.valid):
        known = (points_a[i, usable], samples.there[i, usable], intrinsics[i])
        pose = robust_pnp(
            *(each.detach().double().cpu().numpy() for each in known), inlier_px=INLIER_PX, min_inliers=MIN_INLIERS
        )
        if pose is not None:
            start[i] = torch.from_numpy(pose.camera_from_world)
            inliers[i, usable] = torch.from_numpy(pose.inliers).to(inliers.device)
    step = _gauss_newton_step(points_a, samples.there, inliers, camera, start)
    share = inliers.sum(1) / samples.valid.sum(1).clamp(min=1)
    return MotionFromFlow(start @ se3_exp(step), share.to(z.dtype))


def _gauss_newton_step(
    points_a: Tensor, pixels_b: Tensor, inliers: Tensor, intrinsics: Tensor, b_from_a: Tensor
) -> Float[Tensor, "batch 6"]:
    """The right tangent of one step from `b_from_a`, 0 without inliers; only the residual carries a gradient."""
    points_b = transform(b_from_a, points_a)
    residual = torch.where(inliers[..., None], project(points_b, intrinsics) - pixels_b, 0)
    with torch.no_grad():
        x, y, z = points_b.unbind(-1)
        inverse, zero = 1 / z.clamp(min=MIN_DEPTH), torch.zeros_like(z)
        rows = [inverse, zero, -x * inverse**2, zero, inverse, -y * inverse**2]
        by_point_b = intrinsics[:, None, :2, :2] @ torch.stack(rows, -1).unflatten(-1, (2, 3))
        by_point_a = by_point_b @ b_from_a[:, None, :3, :3]
        jacobian = torch.cat([by_point_a, -by_point_a @ hat(points_a)], -1)
        jacobian = torch.where(inliers[..., None, None], jacobian, 0).flatten(1, 2)
        hessian = jacobian.transpose(-1, -2) @ jacobian
        hessian += torch.eye(6).to(hessian) * (~inliers.any(1))[:, None, None]
    return -torch.linalg.solve(hessian, jacobian.transpose(-1, -2) @ residual.flatten(1)[..., None])[..., 0]


def scale_to(triangulated: DepthMap, predicted: DepthMap, valid: Mask) -> Float[Tensor, "batch 1 1 1"]:
    """The factor on the predicted depth that brings it nearest to the triangulated one, relatively; 1 where nothing is valid."""
    with torch.no_grad():
        ratio = torch.where(valid, predicted / torch.where(valid, triangulated, 1), 0)
        first, second = (values.sum((1, 2, 3), keepdim=True) for values in (ratio, ratio.square()))
        return torch.where(second > 0, first / second.clamp(min=1e-12), 1)


def triangulation_term(triangulated: DepthMap, predicted: DepthMap, valid: Mask) -> Float[Tensor, ""]:
    """The mean squared share by which the predicted depth is off the triangulated one, after their scales are aligned."""
    scale = scale_to(triangulated.detach(), predicted, valid)
    ratio = scale * predicted / torch.where(valid, triangulated, 1)
    return masked_mean((1 - torch.where(valid, ratio, 1)).square(), valid.to(ratio.dtype))


def rigid_term(
    depth_a: DepthMap, flow_ab: Flow, valid: Mask, b_from_a: Motion, intrinsics: Intrinsics
) -> Float[Tensor, ""]:
    """The mean of |x| + |y| of the rigid flow less the flow, px. Detach what shall not be taught."""
    rigid, before = rigid_flow(depth_a, b_from_a, intrinsics)
    used = valid & before
    difference = torch.where(used, rigid - flow_ab, 0).abs().sum(1, keepdim=True)
    return masked_mean(difference, used.to(difference.dtype))


class Degeneracy(NamedTuple):
    """The shares of a flow that a rotation, and that any homography, explains within EXPLAINED_PX."""

    by_rotation: float
    by_homography: float

    @property
    def kind(self) -> Literal["none", "rotation", "plane"]:
        """What the flow cannot tell: depth (the camera only turned, or hardly moved), or which of two motions it was."""
        if self.by_rotation >= EXPLAINED_SHARE:
            return "rotation"
        return "plane" if self.by_homography >= EXPLAINED_SHARE else "none"


def degeneracy(
    flow_ab: Float[Tensor, "1 2 height width"],
    valid: Bool[Tensor, "1 1 height width"],
    intrinsics: Float[Tensor, "1 3 3"],
) -> Degeneracy:
    """How much of a flow is that of a camera that turned, or of a plane; none where fewer than MIN_INLIERS pixels are valid."""
    samples, _ = take_samples(flow_ab, valid)
    here, there = (pixels[samples.valid].double().cpu().numpy() for pixels in (samples.here, samples.there))
    if len(here) < MIN_INLIERS:
        return Degeneracy(0.0, 0.0)
    homography, _ = cv2.findHomography(here, there, method=cv2.USAC_MAGSAC, ransacReprojThreshold=EXPLAINED_PX)
    if homography is None:
        return Degeneracy(0.0, 0.0)
    camera = intrinsics[0].double().cpu().numpy()
    u, _, v = np.linalg.svd(np.linalg.inv(camera) @ homography @ camera * np.sign(np.linalg.det(homography)))
    rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ v)]) @ v
    turning = camera @ rotation @ np.linalg.inv(camera)
    return Degeneracy(*(explained_share(matrix, here, there) for matrix in (turning, homography)))


def explained_share(
    homography: Float64[np.ndarray, "3 3"],
    here: Float64[np.ndarray, "points 2"],
    there: Float64[np.ndarray, "points 2"],
) -> float:
    """Returns the share of the points that a homography moves to within EXPLAINED_PX of where they are."""
    moved = cv2.perspectiveTransform(here[:, None], homography)[:, 0]
    return float((np.linalg.norm(moved - there, axis=1) < EXPLAINED_PX).mean())


class Agreement(NamedTuple):
    """What the depth, flow and motion of a frame say of each other, at the samples where depth and flow are valid.

    The rigid flow of depth and motion is `median_px` from the flow; a pixel agrees within the larger of 3 px and 5 % of its
    flow. The shares of pixels that do: as they are, with the depth that suits flow and motion best, with the motion that
    suits flow and depth best. All is NaN where nothing is valid. Flow of a few px, see `median_flow_px`, agrees with much.
    """

    median_px: float
    median_flow_px: float
    agreeing: float
    with_other_depth: float
    with_other_motion: float

    @property
    def odd_one_out(self) -> Literal["", "depth", "flow", "motion", "scale"]:
        """The one without which the other two agree; "" where all do.

        "scale" where the flow agrees with each of the others: depth and motion have two units, and either may be wrong.
        """
        if not self.agreeing < AGREEING_SHARE:
            return ""
        if self.with_other_depth >= AGREEING_SHARE:
            return "scale" if self.with_other_motion >= AGREEING_SHARE else "depth"
        return "motion" if self.with_other_motion >= AGREEING_SHARE else "flow"


def disagreement(
    depth_a: Float[Tensor, "1 1 height width"],
    flow_ab: Float[Tensor, "1 2 height width"],
    valid: Bool[Tensor, "1 1 height width"],
    b_from_a: Float[Tensor, "1 4 4"],
    intrinsics: Float[Tensor, "1 3 3"],
) -> Agreement:
    """Whether the three agree in one frame, and which of them does not; what moves by itself should not be `valid`."""
    with torch.no_grad():
        samples, every = take_samples(flow_ab, valid & (depth_a > 0))
        if not samples.valid.any():
            return Agreement(*(5 * [float("nan")]))
        here, there = (pixels[samples.valid].double() for pixels in (samples.here, samples.there))
        inverse_depth = 1 / depth_a[:, 0, every, every].flatten(1)[samples.valid].double()
        motion, camera = b_from_a[0].double(), intrinsics[0].double()
        other_motion = motion_from_flow(depth_a, flow_ab, valid & (depth_a > 0), intrinsics).b_from_a[0].double()
        triangulated = midpoint_depths(normalise(here, camera), normalise(there, camera), motion).depth_a
        other_inverse = torch.where(triangulated > 0, 1 / triangulated, 0)
        readings = ((inverse_depth, motion), (other_inverse, motion), (inverse_depth, other_motion))
        residuals = [_moved(here, *reading, camera).sub(there).norm(dim=-1) for reading in readings]
        length = (there - here).norm(dim=-1)
        allowed = (AGREEING_RELATIVE * length).clamp(min=AGREEING_PX)
        shares = (float((residual <= allowed).double().mean()) for residual in residuals)
        return Agreement(float(residuals[0].median()), float(length.median()), *shares)


def _moved(pixels: Tensor, inverse_depth: Tensor, b_from_a: Tensor, intrinsics: Tensor) -> Tensor:
    """Where pixels of a are in b; infinitely far away where their points come behind it."""
    directions = homogeneous(normalise(pixels, intrinsics)) @ b_from_a[:3, :3].T
    points_b = directions + inverse_depth[:, None] * b_from_a[:3, 3]
    return torch.where(points_b[:, 2:] > 0, project(points_b, intrinsics), torch.inf)
