"""Scans that loop closing of a LiDAR keeps, and the local maps that they make together.

Idea:   scans are put right as if measured at one instant                                             -> deskewed()
        they are kept as thinned points; lengths are relative to how far away things are  -> view_of(), distance_of()
        the scans about one that is kept are its local map: one alone is sparse                        -> local_map()
        points lie as far apart as makes most of them lie on surfaces: in a small room the noise of ranges blurs finer ones
                                                                                                -> clearest_spacing()
Units:  metres, in the LiDAR's frame, whose z axis points up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from firstsight.geometry.points import Points, move_points
from firstsight.geometry.se3 import se3_exp, se3_log
from firstsight.roles.state import State
from firstsight.slam.loops import scan_registration
from firstsight.slam.loops.scan_registration import Surfaces, surfaces_of, thinned
from firstsight.slam.loops.travelled import Transform

# of a sweep, that points are de-skewed for
INSTANTS = 64
# a scan of fewer is none
MIN_POINTS = 50
# nearer returns are of the sensor itself, or none
MIN_RANGE_M = 1e-3
# times the spacing, that local maps are tried with
COARSER = (1.0, 1.5, 2.0, 3.0)
# local maps that decide on it
TRIED_MAPS = 4


@dataclass(frozen=True, kw_only=True)
class ScanConfig:
    """Lengths are relative to how far away things are."""

    # a scan is kept when the path led so far since the last: lengths, plus radians turned
    min_path: float = 0.12
    # of thinned points, at least
    spacing: float = 0.02
    # kept before and after a scan, that belong to its local map
    map_views: int = 3
    map_range: float = 1.5


class ScanView(NamedTuple):
    """A scan kept: thinned points in the LiDAR frame, and how far away things are."""

    world_from_lidar: Transform
    points: Float32[np.ndarray, "n 3"]
    distance_m: float


class Scans(NamedTuple):
    """The scans of a recording; `unit_m` is how far away things are in most of them."""

    views: Sequence[ScanView]
    unit_m: float
    config: ScanConfig

    @property
    def world_from_lidar(self) -> Float64[np.ndarray, "views 4 4"]:
        """Poses as odometry has them."""
        return np.array([view.world_from_lidar for view in self.views])

    @property
    def distance(self) -> Float64[np.ndarray, " views"]:
        """How far away things are: alike in all views."""
        return np.full(len(self.views), self.unit_m)


def scans_of(views: Sequence[ScanView], config: ScanConfig) -> Scans:
    """The scans kept, with their common unit of length."""
    return Scans(views, float(np.median([view.distance_m for view in views])), config)


def view_of(points: Points, world_from_lidar: Transform, config: ScanConfig) -> ScanView | None:
    """What is kept of a scan; None where there are too few points to know a place by."""
    ranges = np.linalg.norm(points, axis=1)
    points = points[np.isfinite(ranges) & (ranges > MIN_RANGE_M)]
    if len(points) < MIN_POINTS:
        return None
    distance_m = distance_of(points)
    thin = thinned(points, config.spacing * distance_m)
    return ScanView(world_from_lidar, thin.astype(np.float32), distance_m) if len(thin) >= MIN_POINTS else None


def distance_of(points: Points) -> float:
    """Median range of the columns that are not level, or of all where there are few others.

    A column is a hundredth of the farthest range wide, and level if all in it lies within its width. Columns count alike,
    since near things have more points.
    """
    ranges = np.hypot(points[:, 0], points[:, 1])
    size = float(np.quantile(ranges, 0.95)) / 100 + 1e-9
    cell = np.floor(points[:, :2] / size).astype(np.int64)
    cell -= cell.min(0)
    _, column = np.unique(cell[:, 0] * (cell[:, 1].max() + 1) + cell[:, 1], return_inverse=True)
    high, low = np.full(column.max() + 1, -np.inf), np.full(column.max() + 1, np.inf)
    np.maximum.at(high, column, points[:, 2])
    np.minimum.at(low, column, points[:, 2])
    mean = np.bincount(column, ranges) / np.bincount(column)
    upright = high - low > size
    return float(np.median(mean[upright] if upright.sum() >= MIN_POINTS else mean))


def deskewed(points: Points, times_s: Tensor, before_from_now: Transform, seconds: float) -> Points:
    """Points as if all were measured at the end of the sweep, at the speed that odometry had since the scan before."""
    times = times_s.numpy()
    known = np.isfinite(times)
    if not known.any() or np.ptp(times[known]) <= 0:
        return points
    end, extent = times[known].max(), np.ptp(times[known])
    before_end = np.where(known, end - times, 0.0)
    instant = np.rint(before_end * ((INSTANTS - 1) / extent)).astype(np.int64)
    ages = torch.linspace(0, 1, INSTANTS, dtype=torch.float64) * (extent / seconds)
    end_from_instant = se3_exp(-ages[:, None] * se3_log(torch.from_numpy(before_from_now))).numpy()[instant]
    return np.einsum("nij,nj->ni", end_from_instant[:, :3, :3], points) + end_from_instant[:, :3, 3]


def around(scans: Scans, k: int) -> Points:
    """What the scans about one that is kept saw, in its frame: one alone is sparse, and much is hidden from it."""
    views, reach = scans.views, scans.config.map_views
    near = range(max(0, k - reach), min(len(views), k + reach + 1))
    here = np.linalg.inv(views[k].world_from_lidar)
    clouds = [move_points(views[i].points.astype(np.float64), here @ views[i].world_from_lidar) for i in near]
    return np.concatenate(clouds)


def local_map(scans: Scans, k: int, config: scan_registration.Config) -> Surfaces:
    """The surfaces around scan k."""
    points = around(scans, k)
    points = points[np.hypot(points[:, 0], points[:, 1]) < scans.config.map_range * scans.unit_m]
    spacing_m = scans.config.spacing * scans.unit_m
    return surfaces_of(thinned(points, spacing_m), spacing_m, config)


def clearest_spacing(scans: Scans, config: scan_registration.Config) -> float:
    """The spacing at which most points of local maps lie on surfaces; coarser ones lose what is small."""
    tried = np.unique(np.linspace(0, len(scans.views) - 1, TRIED_MAPS).astype(np.int64)).tolist()

    def share(spacing: float) -> float:
        spaced = scans._replace(config=replace(scans.config, spacing=spacing))
        maps = [local_map(spaced, k, config) for k in tried]
        points = sum(len(surfaces.points) for surfaces in maps)
        return sum(int(surfaces.flat.sum()) for surfaces in maps) / max(1, points)

    return max((scans.config.spacing * factor for factor in COARSER), key=share)


def packed(view: ScanView) -> State:
    """A view as arrays and a number."""
    return view._asdict()


def unpacked(state: State) -> ScanView:
    """The view that `packed` made this of."""
    return ScanView(state["world_from_lidar"], state["points"], state["distance_m"])
