"""The motion between two depth images of a static scene: point-to-plane registration with projective association.

Paper:  Chen, Medioni. Object modelling by registration of multiple range images. IVC 1992.  Newcombe et al.
        KinectFusion. ISMAR 2011, section 3.5.
Idea:   a depth pixel of the current image, moved into the reference image, should lie on the plane that the reference
        has at the pixel where it falls.
        r = n . (reference_from_current p - q) / sigma(z)                                 -> _point_to_plane()
        m = R' n,   dr / dxi = [m, p x m] / sigma  for reference_from_current exp(xi)
        A = sum w J' J,   A xi = -sum w J' r,   w of Cauchy, sigma by the median of |r|   -> align_depth()
Differs: the result is a measurement with its information A, to be joined with what image corners say: directions in
        which the surfaces can slide (a plain wall) have little information. Depth that is not a depth sensor's is left
        to the corners: stereo errs by whole patches, so its surfaces pull harder than they know. It is recognised by
        surfaces that cover too little of the image, being too far away, or disagree more than a sensor's would.
Units:  metres and radians; tangents are (translation, rotation).
"""

from dataclasses import dataclass
from typing import NamedTuple, no_type_check

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from numba import njit

from firstsight.geometry.se3 import se3_exp

MEDIAN_TO_SIGMA = 1.4826  # of |r|, for Gaussian r
MAX_BEND = 3.0  # sigmas that depth may depart from a plane within the normal's reach; more is an edge
MIN_SCALE = 0.05  # no depth is more certain than this share of the noise that is expected of a sensor


class DepthNoise(NamedTuple):
    """sigma(z) = constant_m + quadratic_per_m z^2, as triangulation gives it."""

    constant_m: float
    quadratic_per_m: float

    def sigma_m(self, z_m: np.ndarray) -> np.ndarray:
        return self.constant_m + self.quadratic_per_m * z_m**2

    def inverse_depth_sigma(self, inverse_depth: np.ndarray) -> np.ndarray:
        """sigma(1 / z) = sigma(z) / z^2, in 1 / m."""
        return self.constant_m * inverse_depth**2 + self.quadratic_per_m


SENSOR_NOISE = DepthNoise(0.002, 0.004)  # generous for a depth sensor: a Kinect has a third of it


@dataclass(frozen=True, kw_only=True)
class DepthAlignmentConfig:
    noise: DepthNoise = SENSOR_NOISE
    largest_sigma_m: float = 0.05  # depth less certain than this has no surface
    stride_px: int = 4  # every so many pixels of the current image, both ways
    normal_px: int = 3  # normals come from pixels this far to each side
    gate_sigmas: float = 4.0
    cauchy_sigmas: float = 2.0
    iterations: int = 6
    smallest_overlap: float = 0.5  # the share of the current pixels that must meet a surface
    largest_disagreement: float = (
        0.5  # of the noise; a Kinect's surfaces disagree by 0.3, those of stereo by 0.7 and more
    )


class Surface(NamedTuple):
    """Points of a depth image and the normals there; NaN where there is none."""

    points: Float32[np.ndarray, "height width 3"]
    normals: Float32[np.ndarray, "height width 3"]


class MeasuredMotion(NamedTuple):
    """A motion with the information (inverse covariance) of its right tangent."""

    a_from_b: Float64[np.ndarray, "4 4"]
    information: Float64[np.ndarray, "6 6"]


def surface_of(
    depth: Float32[np.ndarray, "height width"],
    valid: Bool[np.ndarray, "height width"],
    intrinsics: Float64[np.ndarray, "3 3"],
    config: DepthAlignmentConfig,
) -> Surface | None:
    """Points and normals where depth is certain and has no edge; None where that is too little of the image to align."""
    max_z = np.sqrt((config.largest_sigma_m - config.noise.constant_m) / config.noise.quadratic_per_m)
    certain = valid & (depth < max_z)
    if certain.mean() < config.smallest_overlap:
        return None
    smooth = cv2.bilateralFilter(np.where(certain, depth, np.float32(0)), 5, 0.03, 4)
    return Surface(
        *_surface(np.where(certain, smooth, np.float32(0)), intrinsics, config.normal_px, config.noise, MAX_BEND)
    )


def align_depth(
    reference: Surface,
    depth: Float32[np.ndarray, "height width"],
    valid: Bool[np.ndarray, "height width"],
    reference_from_current: Float64[np.ndarray, "4 4"],
    intrinsics: Float64[np.ndarray, "3 3"],
    config: DepthAlignmentConfig,
) -> MeasuredMotion | None:
    """reference_from_current near the given guess; None where the surfaces hardly overlap or disagree beyond the noise."""
    information, scale, disagreement = np.zeros((6, 6)), 1.0, np.inf
    start, stride = config.stride_px // 2, config.stride_px
    sampled = np.where(valid, depth, 0)[start::stride, start::stride]
    for iteration in range(config.iterations):
        noise = (scale * config.noise.constant_m, scale * config.noise.quadratic_per_m)
        information, gradient, sizes = _point_to_plane(
            *reference, sampled, reference_from_current, intrinsics, noise, start, stride,
            config.gate_sigmas, config.cauchy_sigmas,
        )  # fmt: skip
        if len(sizes) < config.smallest_overlap * sampled.size:
            return None
        disagreement = scale * MEDIAN_TO_SIGMA * float(np.median(sizes))
        scale = float(np.clip(disagreement, max(MIN_SCALE, 0.5 ** (iteration + 1)), 1.0))  # a small surface may be last
        step = np.linalg.solve(information + np.diag(1e-3 * information.diagonal() + 1e-6), -gradient)
        reference_from_current = reference_from_current @ se3_exp(torch.from_numpy(step)).numpy()
        if np.abs(step).max() < 1e-5 and scale == disagreement:
            break
    return MeasuredMotion(reference_from_current, information) if disagreement < config.largest_disagreement else None


@njit(cache=True)
@no_type_check
def _surface(depth, intrinsics, reach, noise, max_bend):
    """(h, w), 0 where unknown -> points (h, w, 3), normals (h, w, 3)."""
    height, width = depth.shape
    points = np.full((height, width, 3), np.nan, np.float32)
    normals = np.full((height, width, 3), np.nan, np.float32)
    for v in range(height):
        for u in range(width):
            if depth[v, u] > 0:
                points[v, u, 0] = (u - intrinsics[0, 2]) / intrinsics[0, 0] * depth[v, u]
                points[v, u, 1] = (v - intrinsics[1, 2]) / intrinsics[1, 1] * depth[v, u]
                points[v, u, 2] = depth[v, u]
    x, y, normal = np.zeros(3), np.zeros(3), np.zeros(3)
    for v in range(reach, height - reach):
        for u in range(reach, width - reach):
            for k in range(3):
                x[k] = points[v, u + reach, k] - points[v, u - reach, k]
                y[k] = points[v + reach, u, k] - points[v - reach, u, k]
            z = points[v, u, 2]
            bend_x = abs(points[v, u + reach, 2] + points[v, u - reach, 2] - 2 * z)
            bend_y = abs(points[v + reach, u, 2] + points[v - reach, u, 2] - 2 * z)
            largest = max_bend * (noise[0] + noise[1] * z * z)
            if bend_x < largest and bend_y < largest:  # false where any of the five is NaN
                for k in range(3):
                    normal[k] = x[k - 2] * y[k - 1] - x[k - 1] * y[k - 2]
                length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
                for k in range(3):
                    normals[v, u, k] = normal[k] / length
    return points, normals


@njit(cache=True)
@no_type_check
def _point_to_plane(points, normals, depth, motion, intrinsics, noise, start, stride, gate, cauchy):
    """(h, w, 3), (h, w, 3), sampled depth (rows, columns) -> information (6, 6), gradient (6,), sizes |r| (used,)."""
    information, gradient, jacobian = np.zeros((6, 6)), np.zeros(6), np.zeros(6)
    fx, fy = intrinsics[0, 0], intrinsics[1, 1]
    cx, cy = intrinsics[0, 2], intrinsics[1, 2]
    height, width = normals.shape[:2]
    sizes, used = np.zeros(depth.size), 0
    p, moved, m = np.zeros(3), np.zeros(3), np.zeros(3)
    for row in range(depth.shape[0]):
        for column in range(depth.shape[1]):
            p[2] = depth[row, column]
            p[0] = (start + stride * column - cx) / fx * p[2]
            p[1] = (start + stride * row - cy) / fy * p[2]
            for k in range(3):
                moved[k] = motion[k, 0] * p[0] + motion[k, 1] * p[1] + motion[k, 2] * p[2] + motion[k, 3]
            if p[2] <= 0 or moved[2] <= 0.05:
                continue
            u, v = int(np.rint(moved[0] / moved[2] * fx + cx)), int(np.rint(moved[1] / moved[2] * fy + cy))
            if u < 0 or v < 0 or u >= width or v >= height or np.isnan(normals[v, u, 0]):
                continue
            n, q = normals[v, u], points[v, u]
            sigma = noise[0] + noise[1] * moved[2] ** 2
            r = (n[0] * (moved[0] - q[0]) + n[1] * (moved[1] - q[1]) + n[2] * (moved[2] - q[2])) / sigma
            if abs(r) > gate:
                continue
            sizes[used] = abs(r)
            used += 1
            for k in range(3):
                m[k] = (motion[0, k] * n[0] + motion[1, k] * n[1] + motion[2, k] * n[2]) / sigma
            jacobian[:3] = m
            jacobian[3] = p[1] * m[2] - p[2] * m[1]
            jacobian[4] = p[2] * m[0] - p[0] * m[2]
            jacobian[5] = p[0] * m[1] - p[1] * m[0]
            weight = 1 / (1 + (r / cauchy) ** 2)
            for i in range(6):
                gradient[i] += weight * jacobian[i] * r
                for j in range(6):
                    information[i, j] += weight * jacobian[i] * jacobian[j]
    return information, gradient, sizes[:used]
