"""The motion between two depth images of a static scene: point-to-plane registration with projective association.

Paper:  Chen, Medioni. Object modelling by registration of multiple range images. IVC 1992.  Newcombe et al.
        KinectFusion. ISMAR 2011, section 3.5.
Idea:   a depth pixel of the current image, moved into the reference image, should lie on the plane that the reference
        has at the pixel where it falls.
        r = n . (reference_from_current p - q),   sigma(z) = a + b z^2                      -> point_to_plane()
        m = R' n,   dr / dxi = [m, p x m]  for reference_from_current exp(xi)
        A = sum w J' J / sigma^2,  A xi = -sum w J' r / sigma^2,  w of Cauchy               -> align_depth()
Differs: the result is a measurement with its information A, to be joined with what image corners say: directions in
        which the surfaces can slide (a plain wall) have no information and stay where the guess was.
        Neighbouring depth pixels err together, so A counts one sample in `samples_per_independent`.
Units:  metres and radians; tangents are (translation, rotation).
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from numba import njit

from firstsight.geometry.se3 import se3_exp


@dataclass(frozen=True, kw_only=True)
class DepthAlignmentConfig:
    stride_px: int = 6  # every so many pixels of the current image, both ways
    normal_px: int = 3  # normals come from pixels this far to each side
    largest_sigma_m: float = 0.04  # depth less certain than this is left to the corners
    gate_sigmas: float = 10.0
    cauchy_sigmas: float = 2.0
    iterations: int = 6
    overlap: float = 0.3
    scale: float = 1.0
    samples_per_independent: float = 20.0


class DepthNoise(NamedTuple):
    """sigma(z) = constant_m + quadratic_per_m z^2: triangulated depth, from stereo or structured light."""

    constant_m: float
    quadratic_per_m: float

    def sigma_m(self, z_m: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
        return self.constant_m + self.quadratic_per_m * z_m**2

    def inverse_depth_sigma(self, inverse_depth: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
        """sigma(1 / z) = sigma(z) / z^2, in 1 / m."""
        return self.constant_m * inverse_depth**2 + self.quadratic_per_m


class Surface(NamedTuple):
    """Points of a depth image and the normals there, which face the camera; NaN where there is none."""

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
    noise: DepthNoise,
    config: DepthAlignmentConfig,
) -> Surface:
    """Points and normals where the depth is certain enough and does not jump within the normal's reach."""
    smooth = cv2.bilateralFilter(np.where(valid, depth, 0), 5, 0.03, 4)
    certain = valid & (noise.sigma_m(depth) < config.largest_sigma_m)
    z = np.where(certain, smooth, np.nan)
    height, width = depth.shape
    x = (np.arange(width, dtype=np.float32) - np.float32(intrinsics[0, 2])) / np.float32(intrinsics[0, 0])
    y = (np.arange(height, dtype=np.float32) - np.float32(intrinsics[1, 2])) / np.float32(intrinsics[1, 1])
    points = np.stack([x * z, y[:, None] * z, z], -1)
    normals = np.full_like(points, np.nan)
    s = config.normal_px
    along_x = points[s:-s, 2 * s :] - points[s:-s, : -2 * s]
    along_y = points[2 * s :, s:-s] - points[: -2 * s, s:-s]
    normal = np.cross(along_y, along_x)
    reach = np.float32(0.02) + np.float32(0.05) * z[s:-s, s:-s]
    flat = (np.abs(along_x[..., 2]) < reach) & (np.abs(along_y[..., 2]) < reach)
    length = np.linalg.norm(normal, axis=-1)
    usable = flat & (length > 0)
    normals[s:-s, s:-s][usable] = normal[usable] / length[usable, None]
    return Surface(points, normals)


def align_depth(
    reference: Surface,
    depth: Float32[np.ndarray, "height width"],
    valid: Bool[np.ndarray, "height width"],
    reference_from_current: Float64[np.ndarray, "4 4"],
    intrinsics: Float64[np.ndarray, "3 3"],
    noise: DepthNoise,
    config: DepthAlignmentConfig,
) -> MeasuredMotion:
    """reference_from_current near the given guess, with its information (zero where no surfaces meet)."""
    information = np.zeros((6, 6))
    start = config.stride_px // 2
    sampled = np.where(valid, depth, 0)[start :: config.stride_px, start :: config.stride_px]
    scale = 1.0
    for _ in range(config.iterations):
        information, gradient, sizes = _point_to_plane(
            *reference, sampled, reference_from_current, intrinsics, noise, start, config.stride_px,
            config.gate_sigmas, config.cauchy_sigmas, scale,
        )  # fmt: skip
        if len(sizes) < config.overlap * sampled.size or scale > config.scale: return MeasuredMotion(reference_from_current, np.zeros((6, 6)))
        scale = float(np.clip(scale * 1.4826 * np.median(sizes), 0.1, 10))
        damped = information + np.diag(1e-3 * information.diagonal() + 1e-6)
        step = np.linalg.solve(damped, -gradient)
        reference_from_current = reference_from_current @ se3_exp(torch.from_numpy(step)).numpy()
        if np.abs(step).max() < 1e-5:
            break
    return MeasuredMotion(reference_from_current, information / config.samples_per_independent)


@njit(cache=True)
def _point_to_plane(points, normals, depth, reference_from_current, intrinsics, noise, start, stride, gate, cauchy, scale):
    """(h, w, 3), (h, w, 3), sampled depth (rows, columns) -> information (6, 6), gradient (6,)."""
    information, gradient, jacobian = np.zeros((6, 6)), np.zeros(6), np.zeros(6)
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    motion = reference_from_current
    height, width = normals.shape[:2]
    sizes = np.zeros(depth.size)
    count = 0
    p, moved, m = np.zeros(3), np.zeros(3), np.zeros(3)
    for row in range(depth.shape[0]):
        for column in range(depth.shape[1]):
            p[2] = depth[row, column]
            if p[2] <= 0:
                continue
            p[0] = (start + stride * column - cx) / fx * p[2]
            p[1] = (start + stride * row - cy) / fy * p[2]
            for k in range(3):
                moved[k] = motion[k, 0] * p[0] + motion[k, 1] * p[1] + motion[k, 2] * p[2] + motion[k, 3]
            if moved[2] <= 0.05:
                continue
            u, v = int(np.rint(moved[0] / moved[2] * fx + cx)), int(np.rint(moved[1] / moved[2] * fy + cy))
            if u < 0 or v < 0 or u >= width or v >= height or np.isnan(normals[v, u, 0]):
                continue
            n, q = normals[v, u], points[v, u]
            sigma = scale * (noise[0] + noise[1] * moved[2] ** 2)
            r = (n[0] * (moved[0] - q[0]) + n[1] * (moved[1] - q[1]) + n[2] * (moved[2] - q[2])) / sigma
            if abs(r) > gate:
                continue
            sizes[count] = abs(r)
            count += 1
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
    return information, gradient, sizes[:count]
