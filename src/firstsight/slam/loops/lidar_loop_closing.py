"""Loop closing of a LiDAR: a trajectory that meets itself again where the sensor came back to a place.

Paper:  Kim, Kim. Scan Context. IROS 2018 (which places are alike);
        Behley, Stachniss. Efficient Surfel-Based SLAM using 3D Laser Range Data in Urban Environments. RSS 2018
        (loops verified by registration to a map);
        Mangelson et al. Pairwise Consistent Measurement Set Maximization. ICRA 2018 (false loops).
Idea:   scans are kept where the way led on enough, as thinned points                                 -> is_due(), view_of()
        places that look alike, also from aside, the way having led away in between
                                                            -> proposed(), scan_context.py, place_recognition.py
        alike is not the same: the scans about one place must lie on those about the other, from the turn that the
        descriptor gives, walls on walls, both ways with one motion       -> local_map(), verified(), scan_registration.py
        points lie as far apart as makes most of them lie on surfaces: in a small room the noise of ranges blurs finer ones
                                                                                                        -> clearest()
        a loop must lie within what odometry leaves open, as proposed and as measured
                                                               -> possible(), loop_closing.odometry(), loop_closing.within()
        pose graph of odometry and loops; loops that contradict the others are left out        -> pose_graph.optimise()
        scans between those kept follow their neighbours                                      -> loop_closing.followed()
Differs: runs when the recording has ended. Descriptors are of the scans about a place, not of one: what is seen from
        the other lane differs too much. They see as far as a multiple of how far away things are, so that
        rooms and streets need no settings. Without an accepted loop the trajectory is left as it is, to the last bit.
Role:   LoopCloser. Poses given and returned are those of the LiDAR, at the end of a sweep whose points carry times.
Units:  metres, radians; the LiDAR's z axis points up. Lengths in the configuration are relative to how far away things
        are, the median range of what is not level.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import ClassVar, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from firstsight.geometry.se3 import se3_exp, se3_log
from firstsight.roles import ClosedLoops, LoopCloser, Observation
from firstsight.roles.pose_graph import Between
from firstsight.slam.loops import loop_closing, place_recognition, scan_context, scan_registration
from firstsight.slam.loops.loop_verification import Loop, is_near
from firstsight.slam.loops.scan_registration import Registration, Surfaces, surfaces_of, thinned
from firstsight.slam.loops.views import Points, Transform, seen_from

INSTANTS = 64  # of a sweep, that points are de-skewed for
LEAST_POINTS = 50  # a scan of fewer is none
NO_ROWS = np.zeros((0, 2), np.int64)


@dataclass(frozen=True, kw_only=True)
class Config:
    places: place_recognition.Config = field(
        default_factory=lambda: place_recognition.Config(per_place=4, left=1.5, least_similarity=0.6, least_share=0.5)
    )
    registration: scan_registration.Config = field(default_factory=scan_registration.Config)
    pose_graph: loop_closing.Config = field(default_factory=loop_closing.Config)
    rings: int = 20
    sectors: int = 60
    described_range: float = 3.0
    aside: tuple[float, ...] = (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3)  # to the left, from where places are looked for
    compared: int = 40  # earlier scans with the most similar ring keys, whose descriptors are compared
    view_way: float = 0.12  # a scan is kept when the way led so far since the last: lengths, plus radians turned
    spacing: float = 0.02  # of thinned points, at least
    coarser: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)  # times that, for local maps
    tried_maps: int = 4  # that decide on it
    map_views: int = 3  # kept before and after a scan, that belong to its local map
    map_range: float = 1.5
    overlap: float = 0.55  # of upright points, both ways
    residual: float = 0.15  # spacings, at most
    hold: float = 0.03  # of the weakest direction, at least
    guess_sigma: tuple[float, float] = (0.2, 0.1)  # of a descriptor: how far off its centre, radians
    agreement: float = 0.01  # of both ways: lengths, radians


class View(NamedTuple):
    """A scan kept: thinned points in the LiDAR frame, and how far away things are."""

    world_from_lidar: Transform
    points: Float32[np.ndarray, "n 3"]
    distance_m: float


@final
class LidarLoopClosing(LoopCloser):
    """`views` are kept for the frames `at`; they may be taken out and put back, to be stored elsewhere meanwhile."""

    needs: ClassVar[frozenset[str]] = frozenset({"points_lidar"})

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        self.poses: list[Transform] = []
        self.stamp_ns = 0
        self.views: list[View] = []
        self.at: list[int] = []

    def integrate(self, observation: Observation, world_from_camera: Transform) -> None:
        """`world_from_camera` is world_from_lidar here."""
        due = self.is_due(world_from_camera)
        before, seconds = self.poses[-1:], (observation.stamp_ns - self.stamp_ns) * 1e-9
        self.pass_by(observation.stamp_ns, world_from_camera)
        if not due or observation.points_lidar is None:
            return
        points = observation.points_lidar.numpy().astype(np.float64)
        if before and observation.point_times_s is not None and seconds > 0:
            before_from_now = np.linalg.inv(before[0]) @ world_from_camera
            points = deskewed(points, observation.point_times_s, before_from_now, seconds)
        view = view_of(points, world_from_camera, self.config)
        if view is not None:
            self.views.append(view)
            self.at.append(len(self.poses) - 1)

    def pass_by(self, stamp_ns: int, world_from_lidar: Transform) -> None:
        """Take the next frame, of which it is known that it shows nothing new."""
        self.poses.append(world_from_lidar)
        self.stamp_ns = stamp_ns

    def is_due(self, world_from_lidar: Transform) -> bool:
        """Whether the way led on enough since the last scan kept."""
        if not self.views:
            return True
        last = self.views[-1]
        both = np.stack([last.world_from_lidar, world_from_lidar])
        way = place_recognition.way_of(both, np.full(2, last.distance_m))[1]
        return bool(way > self.config.view_way)

    def close(self) -> ClosedLoops:
        poses = np.array(self.poses).reshape(-1, 4, 4)
        unchanged = ClosedLoops(poses, NO_ROWS, 0)
        if len(self.views) < 3:
            return unchanged
        found = find_loops(self.views, self.config)
        if not found.loops:
            return unchanged._replace(tried=found.tried)
        pairs = np.array([(self.at[loop.a], self.at[loop.b]) for loop in found.loops])
        closed = loop_closing.followed(poses, np.array(self.at), found.world_from_view)
        return ClosedLoops(closed, pairs, found.tried)


# Scans


def deskewed(points: Points, times_s: Tensor, before_from_now: Transform, seconds: float) -> Points:
    """As if all were measured at the end of the sweep, at the speed that odometry had since the scan before."""
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


def view_of(points: Points, world_from_lidar: Transform, config: Config) -> View | None:
    """None where there are too few points to know a place by."""
    ranges = np.linalg.norm(points, axis=1)
    points = points[np.isfinite(ranges) & (ranges > 1e-3)]
    if len(points) < LEAST_POINTS:
        return None
    distance_m = distance_of(points)
    thin = thinned(points, config.spacing * distance_m)
    return View(world_from_lidar, thin.astype(np.float32), distance_m) if len(thin) >= LEAST_POINTS else None


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
    return float(np.median(mean[upright] if upright.sum() >= LEAST_POINTS else mean))


def around(views: Sequence[View], k: int, config: Config) -> Points:
    """What the scans about one that is kept saw, in its frame: one alone is sparse, and much is hidden from it."""
    near = range(max(0, k - config.map_views), min(len(views), k + config.map_views + 1))
    here = np.linalg.inv(views[k].world_from_lidar)
    clouds = [seen_from(views[i].points.astype(np.float64), here @ views[i].world_from_lidar) for i in near]
    return np.concatenate(clouds)


def local_map(views: Sequence[View], k: int, unit_m: float, config: Config) -> Surfaces:
    points = around(views, k, config)
    points = points[np.hypot(points[:, 0], points[:, 1]) < config.map_range * unit_m]
    spacing_m = config.spacing * unit_m
    return surfaces_of(thinned(points, spacing_m), spacing_m, config.registration)


def clearest(views: Sequence[View], unit_m: float, config: Config) -> float:
    """The spacing at which most points of local maps lie on surfaces; coarser ones lose what is small."""
    tried = np.unique(np.linspace(0, len(views) - 1, config.tried_maps).astype(np.int64)).tolist()

    def share(spacing: float) -> float:
        maps = [local_map(views, k, unit_m, replace(config, spacing=spacing)) for k in tried]
        return sum(int(surfaces.flat.sum()) for surfaces in maps) / max(
            1, sum(len(surfaces.points) for surfaces in maps)
        )

    return max((config.spacing * factor for factor in config.coarser), key=share)


# Loops


class Proposed(NamedTuple):
    """Pairs (a, b), a < b, of scans that look alike, and a_from_b by their descriptors."""

    pairs: Int64[np.ndarray, "n 2"]
    a_from_b: Float64[np.ndarray, "n 4 4"]


def proposed(views: Sequence[View], way: Float64[np.ndarray, " views"], unit_m: float, config: Config) -> Proposed:
    """The way back may lie beside the way there: a place is also looked for as it would be seen from aside."""
    settings = scan_context.Config(
        rings=config.rings, sectors=config.sectors, max_range_m=config.described_range * unit_m
    )
    floor_m = float(np.median([np.quantile(view.points[:, 2], 0.02) for view in views]))
    aside_m = np.array(config.aside) * unit_m
    seen = np.array([described(around(views, k, config), aside_m, floor_m, settings) for k in range(len(views))])
    straight = seen[:, int(np.abs(aside_m).argmin())]
    keys, count = scan_context.ring_keys(straight), len(views)
    similarity = np.zeros((count, count), np.float32)
    motions: dict[tuple[int, int], Transform] = {}
    for b in range(1, count):
        earlier = np.flatnonzero(way[b] - way[:b] >= config.places.left)
        for context, key, left_m in zip(seen[b], scan_context.ring_keys(seen[b]), aside_m, strict=True):
            nearest = np.argsort(np.linalg.norm(keys[earlier] - key, axis=1), kind="stable")[: config.compared]
            rows = np.append(earlier[nearest], b - 1)
            alike = scan_context.aligned(straight[rows], context)
            better = alike.similarity > similarity[b, rows]
            similarity[b, rows[better]] = alike.similarity[better]
            for a, shift in zip(rows[better], alike.shift[better], strict=True):
                motions[int(a), b] = turned(scan_context.yaw_rad(int(shift), config.sectors)) @ moved_left(-left_m)
    pairs = place_recognition.candidates(similarity, way, config.places)
    return Proposed(pairs, np.array([motions[a, b] for a, b in pairs.tolist()]).reshape(-1, 4, 4))


def described(
    points: Points, aside_m: Float64[np.ndarray, " places"], floor_m: float, settings: scan_context.Config
) -> Float64[np.ndarray, "places rings sectors"]:
    """As seen from so far to the left of the sensor."""
    return np.array([scan_context.described(points - [0.0, y, 0.0], floor_m, settings) for y in aside_m])


def find_loops(views: Sequence[View], config: Config) -> loop_closing.Found:
    poses = np.array([view.world_from_lidar for view in views])
    unit_m = float(np.median([view.distance_m for view in views]))
    distance = np.full(len(views), unit_m)
    chain = loop_closing.odometry(poses, distance, config.pose_graph)
    alike = proposed(views, place_recognition.way_of(poses, distance), unit_m, config)
    guesses = [
        guess(a, b, a_from_b, unit_m, config)
        for (a, b), a_from_b in zip(alike.pairs.tolist(), alike.a_from_b, strict=True)
    ]
    guesses = possible(guesses, chain, len(views), config)
    if not guesses:
        return loop_closing.Found([], 0, poses, np.ones(len(poses)))
    config = replace(config, spacing=clearest(views, unit_m, config))
    mapped = cache(lambda k: local_map(views, k, unit_m, config))
    checked = [verified((mapped(at.a), mapped(at.b)), at, unit_m, config) for at in guesses]
    loops = possible([loop for loop in checked if loop is not None], chain, len(views), config)
    if not loops:
        return loop_closing.Found([], len(guesses), poses, np.ones(len(poses)))
    return loop_closing.closed_graph(poses, distance, chain, loops, len(guesses), config.pose_graph)


def possible(loops: list[Loop], chain: Between, views: int, config: Config) -> list[Loop]:
    """Those that odometry leaves open."""
    holds = loop_closing.within(loops, chain, views, config.pose_graph)
    return [loop for loop, hold in zip(loops, holds, strict=True) if hold]


def guess(a: int, b: int, a_from_b: Transform, unit_m: float, config: Config) -> Loop:
    """What descriptors say of a loop: the turn, and about where."""
    along, about = config.guess_sigma
    information = np.diag(np.repeat([1 / (along * unit_m) ** 2, 1 / about**2], 3))
    return Loop(a, b, a_from_b, information, 1.0, NO_ROWS)


def verified(maps: tuple[Surfaces, Surfaces], start: Loop, unit_m: float, config: Config) -> Loop | None:
    """The loop that both maps agree on, from a guess to start with; None where they do not."""
    forth = scan_registration.registered(maps[1], maps[0], start.a_from_b, config.registration)
    if forth is None or not agrees(forth, maps[0], config):
        return None
    back = scan_registration.registered(maps[0], maps[1], np.linalg.inv(forth.target_from_source), config.registration)
    if back is None or not agrees(back, maps[1], config):
        return None
    if not is_near(forth.target_from_source @ back.target_from_source, unit_m, config.agreement):
        return None
    return start._replace(a_from_b=forth.target_from_source, information=forth.information)


def agrees(registration: Registration, target: Surfaces, config: Config) -> bool:
    return (
        registration.overlap >= config.overlap
        and registration.residual_m <= config.residual * target.spacing_m
        and registration.hold >= config.hold
    )


def turned(yaw_rad: float) -> Transform:
    """About the upright axis."""
    pose = np.eye(4)
    pose[0, 0] = pose[1, 1] = np.cos(yaw_rad)
    pose[1, 0] = np.sin(yaw_rad)
    pose[0, 1] = -pose[1, 0]
    return pose


def moved_left(left_m: float) -> Transform:
    pose = np.eye(4)
    pose[1, 3] = left_m
    return pose
