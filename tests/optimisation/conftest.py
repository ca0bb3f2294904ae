"""Residuals and derivatives of keyframes' measurements one by one, from their definition: what the fast equations are held against."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pytest
import torch

from firstsight.geometry.se3 import se3_exp
from firstsight.optimisation.bundle.camera_model import Measurements
from firstsight.optimisation.robust_kernels import Kernel


class Linearised(NamedTuple):
    """Whitened residuals and their derivatives, all times the root of the robust weight, and the robust cost."""

    residual: np.ndarray
    by_camera: np.ndarray
    by_point: np.ndarray
    cost: float


def exp(tangents: np.ndarray) -> np.ndarray:
    return se3_exp(torch.from_numpy(np.asarray(tangents, float))).numpy()


RHO: dict[Kernel, Callable[[float, float], float]] = {
    Kernel.SQUARED: lambda s, t: s**2,
    Kernel.HUBER: lambda s, t: s**2 if s <= t else 2 * t * s - t**2,
    Kernel.CAUCHY: lambda s, t: t**2 * np.log(1 + s**2 / t**2),
}


def residual(
    pose: np.ndarray, point: np.ndarray, measured: np.ndarray, precision: np.ndarray, k: np.ndarray
) -> np.ndarray:
    x, y, z = pose[:3, :3].T @ (point - pose[:3, 3])
    return precision * (np.array([k[0, 0] * x / z + k[0, 2], k[1, 1] * y / z + k[1, 2], 1 / z]) - measured)


def weight(size: float, kernel: Kernel, threshold: float) -> float:
    """drho / ds^2 by differences."""
    if size < 1e-9:
        return 1.0
    h = 1e-6 * size
    rho = RHO[kernel]
    return (rho(size + h, threshold) - rho(size - h, threshold)) / (4 * h * size)


def linearise(
    poses: np.ndarray,
    points: np.ndarray,
    seen: Measurements,
    intrinsics: np.ndarray,
    kernel: Kernel = Kernel.HUBER,
    threshold: float = 2.0,
) -> Linearised:
    rows, by_camera, by_point, cost, h = [], [], [], 0.0, 1e-6
    for camera, point, measured, precision in zip(*seen, strict=True):

        def at(tangent, shift, pose=poses[camera], x=points[point], m=measured, p=precision):
            return residual(pose @ exp(tangent), x + shift, m, p, intrinsics)

        r = at(np.zeros(6), np.zeros(3))
        j = np.stack([(at(h * u, np.zeros(3)) - at(-h * u, np.zeros(3))) / (2 * h) for u in np.eye(6)], 1)
        by_x = np.stack([(at(np.zeros(6), h * u) - at(np.zeros(6), -h * u)) / (2 * h) for u in np.eye(3)], 1)
        sizes = np.linalg.norm(r[:2]), abs(r[2])
        roots = np.sqrt([weight(size, kernel, threshold) for size in sizes])[[0, 0, 1], None]
        cost += sum(RHO[kernel](size, threshold) for size in sizes)
        rows.append(roots[:, 0] * r)
        by_camera.append(roots * j)
        by_point.append(roots * by_x)
    return Linearised(np.array(rows), np.array(by_camera), np.array(by_point), float(cost))


def dense_step(
    poses: np.ndarray,
    points: np.ndarray,
    seen: Measurements,
    intrinsics: np.ndarray,
    fixed: np.ndarray,
    damping: float,
    **robust,
) -> tuple[np.ndarray, np.ndarray]:
    """Cameras' and points' steps of the full normal equations, without using their sparsity."""
    linear, free = linearise(poses, points, seen, intrinsics, **robust), np.flatnonzero(~fixed)
    size = 6 * len(free)
    jacobian = np.zeros((linear.residual.size, size + 3 * len(points)))
    for i, (camera, point) in enumerate(zip(seen.camera, seen.point, strict=True)):
        rows = slice(3 * i, 3 * i + 3)
        if camera in free:
            column = 6 * int(np.flatnonzero(free == camera)[0])
            jacobian[rows, column : column + 6] = linear.by_camera[i]
        jacobian[rows, size + 3 * point : size + 3 * point + 3] = linear.by_point[i]
    information = jacobian.T @ jacobian
    information += damping * np.diag(information.diagonal())
    step = np.linalg.solve(information, -jacobian.T @ linear.residual.reshape(-1))
    return step[:size], step[size:].reshape(-1, 3)


class Slow(NamedTuple):
    """The functions of this file, as a fixture."""

    linearise: Callable[..., Linearised] = linearise
    dense_step: Callable[..., tuple[np.ndarray, np.ndarray]] = dense_step
    rho: Mapping[Kernel, Callable[[float, float], float]] = RHO


@pytest.fixture(scope="session")
def slow() -> Slow:
    return Slow()
