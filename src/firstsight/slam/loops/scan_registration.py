"""Registration of scans: the motion that lays one cloud's surfaces onto another's, and how far they then agree.

Paper:  Chen, Medioni. Object Modelling by Registration of Multiple Range Images. IVC 10(3), 1992 (point to plane);
        Rusinkiewicz, Levoy. Efficient Variants of the ICP Algorithm. 3DIM 2001;
        Chebrolu et al. Adaptive Robust Kernels for Non-Linear Least Squares. RA-L 2021 (Geman-McClure in registration).
Idea:   one point for each voxel, the mean of those in it                                            -> thinned()
        the surface at a point is the plane of its neighbours, by the eigenvectors of their scatter  -> surfaces_of()
        r = n' (T s - q), q the nearest to T s within reach;  d r / d xi = n' R [I | -hat(s)], T = T exp(xi)
        minimise sum rho(r): weights of Geman-McClure, its scale a share of the reach, which shrinks  -> registered()
        what the residuals leave unsure: their variance times H^-1, and what no amount of points improves   -> information()
        share of upright points that lie on the other's surfaces; how well the weakest direction is held    -> judged()
Differs: overlap is counted on walls and things alone, since ground lies on ground anywhere. A corridor without any
        feature has a small `hold`: points slide along it. The kernel's scale is not the residuals' median: most of a
        street says nothing about the way along it and fits before the few points that do.
Role:   part of lidar_loop_closing.py: judges whether two scans show one place.
Units:  metres, radians; lengths in the configuration are in spacings of the points. z points up. Tangents
        (translation, rotation) on the right of target_from_source.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.spatial import KDTree

from firstsight.geometry.points import Points, move_points
from firstsight.optimisation.tangents import spatial_move
from firstsight.slam.loops.loop_graph import CORRELATED
from firstsight.slam.loops.travelled import Transform

# of upright normals, over half a turn
DIRECTIONS = 6
# of a normal's z: the surface is ground or ceiling
LEVEL = 0.8
# a step so short, in spacings and radians, ends a stage
STILL = 1e-5
# of one stage, at most
ITERATIONS = 12
# pairs of points that can hold a motion
MIN_PAIRS = 6
# spacings and radians: what scans agree to at best
MIN_SIGMA = (0.1, 0.002)
# spacings: residuals of points that lie on the other's surfaces are never smaller
MIN_RESIDUAL_SIGMA = 0.02
# of the trace, added to the normal equations' diagonal, so that what nothing holds stays
RIDGE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Config:
    # that give a point's plane
    neighbours: int = 10
    # variance across a plane over that along its shorter side, at most
    flatness: float = 0.1
    # variance along a plane's shorter side over that along its longer side, at least
    breadth: float = 0.05
    # spacings, stage by stage
    reach: tuple[float, ...] = (16.0, 6.0, 2.5, 1.25)
    # of the reach: residuals beyond lose their say
    kernel: float = 0.3
    # of the source, half of them upright where there are
    max_points: int = 3000
    # cosine of normals that are compared
    alike: float = 0.7
    # spacings from a plane, within which a point lies on it
    on_surface: float = 0.4


class Surfaces(NamedTuple):
    """Points, about `spacing_m` apart, with the normals of those that are `flat`."""

    points: Points
    normals: Points
    flat: Bool[np.ndarray, " n"]
    spacing_m: float
    tree: KDTree

    @property
    def upright(self) -> Bool[np.ndarray, " n"]:
        """What is neither ground nor ceiling."""
        return self.flat & (np.abs(self.normals[:, 2]) < LEVEL)


class Registration(NamedTuple):
    """`overlap`: share of the source's upright points on the target's surfaces; `residual_m`: median distance of these.

    `hold`: share of the normals' squares along the direction that has the least, a third at best.
    """

    target_from_source: Transform
    information: Float64[np.ndarray, "6 6"]
    overlap: float
    residual_m: float
    hold: float


class Pairs(NamedTuple):
    """Source points, as rows, and the target's points and normals that they lie nearest to."""

    rows: Int64[np.ndarray, " n"]
    points: Points
    normals: Points


def thinned(points: Points, voxel_m: float) -> Points:
    """The mean of the points of each voxel, in the order of the voxels."""
    if not len(points):
        return points
    cell = np.floor(points / voxel_m).astype(np.int64)
    cell -= cell.min(0)
    extent = cell.max(0) + 1
    key = (cell[:, 0] * extent[1] + cell[:, 1]) * extent[2] + cell[:, 2]
    _, voxel, count = np.unique(key, return_inverse=True, return_counts=True)
    return np.stack([np.bincount(voxel, points[:, k]) for k in range(3)], 1) / count[:, None]


def surfaces_of(points: Points, spacing_m: float, config: Config) -> Surfaces:
    """The surfaces that points lie on which are thinned to about that spacing."""
    tree = KDTree(points)
    if len(points) < config.neighbours:
        return Surfaces(points, np.zeros((len(points), 3)), np.zeros(len(points), bool), spacing_m, tree)
    near = points[tree.query(points, config.neighbours)[1]]
    near = near - near.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(near.transpose(0, 2, 1) @ near)
    flat = (values[:, 0] < config.flatness * values[:, 1]) & (values[:, 1] > config.breadth * values[:, 2])
    return Surfaces(points, np.ascontiguousarray(vectors[:, :, 0]), flat, spacing_m, tree)


def registered(source: Surfaces, target: Surfaces, start: Transform, config: Config) -> Registration | None:
    """The motion from a start that is right to about the first reach; None where nothing holds it."""
    if not len(source.points) or not target.flat.any():
        return None
    motion, chosen = np.array(start, order="C"), sample(source, config.max_points)
    for reach in config.reach:
        for _ in range(ITERATIONS):
            pairs = paired(source, target, motion, chosen, reach, config)
            if len(pairs.rows) < MIN_PAIRS:
                return None
            jacobian, residuals = linearised(source, pairs, motion)
            weights = robust_weights(residuals, config.kernel * reach * target.spacing_m)
            hessian = jacobian.T @ (weights[:, None] * jacobian)
            hessian += RIDGE * np.trace(hessian) * np.eye(6)
            step = -np.linalg.solve(hessian, jacobian.T @ (weights * residuals))
            spatial_move(motion, step)
            if np.linalg.norm(step[:3]) < STILL * target.spacing_m and np.linalg.norm(step[3:]) < STILL:
                break
    return judged(source, target, motion, chosen, config)


def sample(surfaces: Surfaces, count: int) -> Int64[np.ndarray, " n"]:
    """Rows of points evenly over the cloud, half of them upright, and of these as many of each direction as there are.

    In a street most surfaces run along it; those across hold the motion along it (Rusinkiewicz, Levoy, section 3.1).
    """
    upright = surfaces.upright
    turn = np.arctan2(surfaces.normals[:, 1], surfaces.normals[:, 0]) / np.pi % 1.0
    direction = (turn * DIRECTIONS).astype(np.int64) % DIRECTIONS
    parts = [np.flatnonzero(upright & (direction == k)) for k in range(DIRECTIONS)]
    chosen = [thinly(part, count // (2 * DIRECTIONS)) for part in parts]
    return np.concatenate([*chosen, thinly(np.flatnonzero(~upright), count // 2)])


def thinly(rows: Int64[np.ndarray, " n"], count: int) -> Int64[np.ndarray, " m"]:
    """Every k-th row, so that no more than `count` are left."""
    return rows[:: max(1, -(-len(rows) // count))]


def paired(
    source: Surfaces,
    target: Surfaces,
    target_from_source: Transform,
    rows: Int64[np.ndarray, " n"],
    reach: float,
    config: Config,
) -> Pairs:
    """The pairs whose nearest target point is within `reach` spacings, on a surface that is rotated alike."""
    moved = move_points(source.points[rows], target_from_source)
    distance, nearest = target.tree.query(moved, distance_upper_bound=reach * target.spacing_m)
    hit = np.flatnonzero(np.isfinite(distance))
    hit = hit[target.flat[nearest[hit]]]
    normals = target.normals[nearest[hit]]
    rotated = source.normals[rows[hit]] @ target_from_source[:3, :3].T
    alike = ~source.flat[rows[hit]] | (np.abs((rotated * normals).sum(1)) > config.alike)
    return Pairs(rows[hit[alike]], target.points[nearest[hit[alike]]], normals[alike])


def linearised(
    source: Surfaces, pairs: Pairs, target_from_source: Transform
) -> tuple[Float64[np.ndarray, "n 6"], Float64[np.ndarray, " n"]]:
    """Jacobian and residuals: distances from the planes."""
    points = source.points[pairs.rows]
    residuals = ((move_points(points, target_from_source) - pairs.points) * pairs.normals).sum(1)
    by_translation = pairs.normals @ target_from_source[:3, :3]
    return np.hstack([by_translation, np.cross(points, by_translation)]), residuals


def robust_weights(residuals: Float64[np.ndarray, " n"], scale_m: float) -> Float64[np.ndarray, " n"]:
    """The weights of Geman-McClure's kernel."""
    return 1 / (1 + (residuals / scale_m) ** 2) ** 2


def sigma_of(residuals: Float64[np.ndarray, " n"]) -> float:
    """The standard deviation by the median, so that what does not fit has no say."""
    return 1.4826 * float(np.median(np.abs(residuals)))


def judged(
    source: Surfaces, target: Surfaces, motion: Transform, chosen: Int64[np.ndarray, " n"], config: Config
) -> Registration | None:
    """How far the surfaces agree at this motion; None where nothing holds it."""
    reach = config.reach[-1]
    pairs = paired(source, target, motion, chosen, reach, config)
    if len(pairs.rows) < MIN_PAIRS:
        return None
    jacobian, residuals = linearised(source, pairs, motion)
    on_surface = np.abs(residuals) < config.on_surface * target.spacing_m
    upright = source.upright
    overlap = upright[pairs.rows[on_surface]].sum() / max(int(upright[chosen].sum()), 1)
    weights = robust_weights(residuals, config.kernel * reach * target.spacing_m)
    of_normals = (weights[:, None] * pairs.normals).T @ pairs.normals
    hold = float(np.linalg.eigvalsh(of_normals)[0] / np.trace(of_normals))
    sigma_m = max(sigma_of(residuals), MIN_RESIDUAL_SIGMA * target.spacing_m)
    residual_m = float(np.median(np.abs(residuals[on_surface]))) if on_surface.any() else np.inf
    measured = information(jacobian, weights, sigma_m, target.spacing_m)
    return Registration(motion, measured, float(overlap), residual_m, hold)


def information(
    jacobian: Float64[np.ndarray, "n 6"],
    weights: Float64[np.ndarray, " n"],
    sigma_m: float,
    spacing_m: float,
) -> Float64[np.ndarray, "6 6"]:
    """Inverse covariance of the motion's right tangent."""
    hessian = jacobian.T @ (weights[:, None] * jacobian)
    covariance = CORRELATED * sigma_m**2 * np.linalg.inv(hessian + RIDGE * np.trace(hessian) * np.eye(6))
    along, about = MIN_SIGMA
    covariance += np.diag(np.repeat([(along * spacing_m) ** 2, about**2], 3))
    inverse = np.linalg.inv(covariance)
    return (inverse + inverse.T) / 2
