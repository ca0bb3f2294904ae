"""Loop closing: a trajectory that meets itself again where the camera came back to a place.

Paper:  Mur-Artal, Tardos. ORB-SLAM2. T-RO 33(5), 2017 (loops, pose graph, then full bundle adjustment);
        Strasdat, Montiel, Davison. Scale Drift-Aware Large Scale Monocular SLAM. RSS 2010 (one camera: Sim(3));
        Mangelson et al. Pairwise Consistent Measurement Set Maximization. ICRA 2018 (false loops).
Idea:   frames that show enough new are kept as views, features with depth                    -> is_due(), views.py
        places that look alike, the way having led away in between                          -> place_recognition.py
        alike is not the same: two views must agree on a pose both ways                    -> loop_verification.py
        odometry is unsure by a random walk that grows with the way; a loop must lie within that -> odometry(), within()
        pose graph of odometry and loops; loops that contradict the others are left out        -> pose_graph.optimise()
        one camera: a graph of similarities, for its scale drifts                             -> similarity_graph.solve()
        then all views that overlap are matched, and every sighting is adjusted jointly
                                                                       -> overlapping(), joint(), joint_adjustment.py
        frames between views follow their neighbours                                                    -> followed()
Differs: runs when the recording has ended. Without an accepted loop the trajectory is left as it is, to the last bit.
Role:   LoopCloser.  Lengths are relative to how far away things are, so the scale may be unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import chi2

from firstsight.geometry.se3 import interpolate
from firstsight.optimisation import joint_adjustment
from firstsight.optimisation.pnp import Measurements, reprojection_error_px
from firstsight.roles import ClosedLoops, LoopCloser, Observation
from firstsight.roles.pose_graph import Between, pose_graph
from firstsight.slam.loops import place_recognition
from firstsight.slam.loops.loop_verification import Loop, VerificationConfig, is_near, located, verified
from firstsight.slam.loops.views import (
    Intrinsics,
    Matches,
    Pixels,
    Points,
    Rows,
    Transform,
    View,
    ViewConfig,
    points_of,
    seen_from,
    triangulated,
    view_of,
)
from firstsight.slam.photos.photo_matching import match, photo_summaries
from firstsight.slam.pose_graphs import pose_graph as graphs
from firstsight.slam.pose_graphs import similarity_graph
from firstsight.slam.pose_graphs.loop_consistency import cycle_errors, odometry_of

Frames = Float64[np.ndarray, "frames 4 4"]
Poses = Float64[np.ndarray, "views 4 4"]
HOLD_DEPTHS, HOLD_DEPTH_SHARE = (
    (0.3, 3.0),
    0.05,
)  # of points that stand for odometry, times the distance of what is seen
LOOP_SCALE_SIGMA = 0.02  # of the ratio of lengths that a loop of one camera measures
LEAST_WAY = 1e-3  # what a still camera is unsure by, as a way relative to the distance


@dataclass(frozen=True, kw_only=True)
class Config:
    views: ViewConfig = field(default_factory=ViewConfig)
    places: place_recognition.Config = field(default_factory=place_recognition.Config)
    verification: VerificationConfig = field(default_factory=VerificationConfig)
    graph: graphs.Config = field(default_factory=lambda: graphs.Config(false_loops="consistent"))
    adjustment: joint_adjustment.Config = field(default_factory=joint_adjustment.Config)
    view_shift: float = 0.08  # a view is kept when what the last one saw went this share of the image's width
    view_share: float = 0.6  # or when less than this share of it is still seen
    neighbours: int = 5  # views before, that each is matched to
    drift_share: float = 0.02  # sigma after a way as long as the distance of what is seen, as a share of that distance
    drift_rad: float = 0.006  # likewise
    drift_scale: float = 0.02  # likewise, of one camera's unit of length
    gate_probability: float = 1 - 1e-6  # for a true loop to lie within what odometry leaves open
    overlap: float = 0.3  # share of a view's points that another must have in its picture to be matched to it
    most_overlapping: int = 12  # earlier views, for each
    odometry_px_share: float = (
        0.0125  # of the image's width, that features of neighbours may lie from where odometry says
    )
    track_matches: int = 15  # fewer are not used


@final
class LoopClosing(LoopCloser):
    """`views` are kept for the frames `at`; they may be taken out and put back, to be stored elsewhere meanwhile."""

    needs: ClassVar[frozenset[str]] = frozenset({"image", "intrinsics"})

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        self.intrinsics: Intrinsics | None = None
        self.poses: list[Transform] = []
        self.views: list[View] = []
        self.at: list[int] = []

    def integrate(self, observation: Observation, world_from_camera: Transform) -> None:
        assert observation.intrinsics is not None
        self.intrinsics = observation.intrinsics.numpy()
        self.poses.append(world_from_camera)
        if self.views and observation.depth is not None and not self.is_due(world_from_camera):
            return
        view = view_of(observation, world_from_camera, self.config.views)
        if (
            self.views
            and observation.depth is None
            and not shows_enough_new(self.views[-1], view, self.intrinsics, self.config)
        ):
            return
        self.views.append(view)
        self.at.append(len(self.poses) - 1)

    def pass_by(self, world_from_camera: Transform) -> None:
        """Take the next frame, of which it is known that it shows nothing new."""
        self.poses.append(world_from_camera)

    def is_due(self, world_from_camera: Transform) -> bool:
        """Whether a camera with depth sees enough from here that the last view does not."""
        assert self.intrinsics is not None
        last = self.views[-1]
        known = np.flatnonzero(last.precision > 0)
        if len(known) < self.config.track_matches:
            return True
        now_from_then = np.linalg.inv(world_from_camera) @ last.world_from_camera
        points = seen_from(points_of(last, known, self.intrinsics), now_from_then)
        return went_far(last.features.pixels[known], *projected(points, self.intrinsics), self.intrinsics, self.config)

    def close(self) -> ClosedLoops:
        poses = np.array(self.poses).reshape(-1, 4, 4)
        unchanged = ClosedLoops(poses, np.zeros((0, 2), np.int64), 0)
        if len(self.views) < 3:
            return unchanged
        assert self.intrinsics is not None
        metric = any((view.precision > 0).any() for view in self.views)
        matches = neighbour_matches(self.views, self.config)
        views = self.views if metric else triangulated(self.views, matches, self.intrinsics, self.config.views)
        found = find_loops(views, self.intrinsics, metric, self.config)
        if not found.loops:
            return unchanged._replace(tried=found.tried)
        used = agreeing(views, matches, self.intrinsics, self.config)
        used |= overlapping(views, found, matches, self.intrinsics, self.config)
        closed = joint(views, found, used, self.intrinsics, metric, self.config) if used else found.world_from_view
        pairs = np.array([(self.at[loop.a], self.at[loop.b]) for loop in found.loops])
        return ClosedLoops(followed(poses, np.array(self.at), closed), pairs, found.tried)


# Views


def projected(points: Points, intrinsics: Intrinsics) -> tuple[Pixels, Bool[np.ndarray, " n"]]:
    """Pixels, and which lie before the camera and in the picture, whose centre is the principal point."""
    z = np.where(points[:, 2] > 0, points[:, 2], 1.0)
    pixels = points[:, :2] / z[:, None] * intrinsics.diagonal()[:2] + intrinsics[:2, 2]
    inside = (points[:, 2] > 0) & (np.abs(pixels - intrinsics[:2, 2]) < intrinsics[:2, 2] + 0.5).all(1)
    return pixels, inside


def went_far(
    before: Pixels, now: Pixels, inside: Bool[np.ndarray, " n"], intrinsics: Intrinsics, config: Config
) -> bool:
    if inside.mean() < config.view_share:
        return True
    shift = np.median(np.linalg.norm((now - before)[inside], axis=1))
    return bool(shift > config.view_shift * 2 * intrinsics[0, 2])


def shows_enough_new(last: View, view: View, intrinsics: Intrinsics, config: Config) -> bool:
    """The same for one camera alone, by where the features went."""
    rows = match(last.features, view.features, config.views.features.ratio)
    if len(rows) < config.track_matches:
        return True
    before, now = last.features.pixels[rows[:, 0]], view.features.pixels[rows[:, 1]]
    return went_far(before, now, np.ones(len(rows), bool), intrinsics, config)


def neighbour_matches(views: Sequence[View], config: Config) -> dict[tuple[int, int], Rows]:
    pairs = ((a, b) for b in range(len(views)) for a in range(max(0, b - config.neighbours), b))
    matched = {(a, b): match(views[a].features, views[b].features, config.views.features.ratio) for a, b in pairs}
    return {pair: rows for pair, rows in matched.items() if len(rows) >= config.track_matches}


# Loops


class Found(NamedTuple):
    """The loops that hold, of `tried` pairs, and where views then are; `scale` is that of their lengths, 1 if metric."""

    loops: list[Loop]
    tried: int
    world_from_view: Poses
    scale: Float64[np.ndarray, " views"]


def distances(views: Sequence[View]) -> Float64[np.ndarray, " views"]:
    """How far away things are in each view; where it does not know, as in the one before."""
    each = np.array([view.distance for view in views])
    known = np.flatnonzero(np.isfinite(each))
    if not len(known):
        return np.ones(len(each))
    return each[known[np.maximum(np.searchsorted(known, np.arange(len(each)), side="right") - 1, 0)]]


def find_loops(views: Sequence[View], intrinsics: Intrinsics, metric: bool, config: Config) -> Found:
    poses, distance = np.array([view.world_from_camera for view in views]), distances(views)
    summaries = photo_summaries([view.features for view in views], config.places.words)
    pairs = place_recognition.candidates(
        summaries @ summaries.T, place_recognition.way_of(poses, distance), config.places
    )
    checked = [
        verified(
            (views[a], views[b]),
            (a, b),
            match(views[a].features, views[b].features, config.views.features.ratio),
            intrinsics,
            config.views.sigma_px,
            config.verification,
        )
        for a, b in pairs.tolist()
    ]
    chain = odometry(poses, distance, config)
    loops = [loop for loop in checked if loop is not None]
    loops = [loop for loop, holds in zip(loops, within(loops, chain, len(views), config), strict=True) if holds]
    if not loops:
        return Found([], len(pairs), poses, np.ones(len(poses)))
    return (closed_graph if metric else closed_similarities)(poses, distance, chain, loops, len(pairs), config)


def odometry(world_from_view: Poses, distance: Float64[np.ndarray, " views"], config: Config) -> Between:
    """Motions from view to view; their variances grow with the way, relative to how far away things are."""
    away, way = (distance[:-1] + distance[1:]) / 2, np.diff(place_recognition.way_of(world_from_view, distance))
    translation = (config.drift_share * away) ** 2 * (way + LEAST_WAY)
    rotation = config.drift_rad**2 * (way + LEAST_WAY)
    precision = 1 / np.concatenate([np.tile(translation, (3, 1)), np.tile(rotation, (3, 1))]).T
    node = np.arange(len(way))
    steps = np.linalg.inv(world_from_view[:-1]) @ world_from_view[1:]
    return Between(node, node + 1, steps, precision[:, None] * np.eye(6))


def within(loops: Sequence[Loop], chain: Between, views: int, config: Config) -> Bool[np.ndarray, " loops"]:
    """Loops whose cycle with the odometry between their ends has no larger error than odometry leaves open."""
    if not loops:
        return np.zeros(0, bool)
    measured, count = between_of(loops), len(loops)
    still = Between(measured.a, measured.a, np.tile(np.eye(4), (count, 1, 1)), np.tile(1e12 * np.eye(6), (count, 1, 1)))
    both = Between(*(np.concatenate(parts) for parts in zip(measured, still, strict=True)))
    errors, unsure = cycle_errors(both, odometry_of(chain, views), np.arange(count) + count, np.arange(count))
    squared = np.einsum("ni,ni->n", errors, np.linalg.solve(unsure, errors[..., None])[..., 0])
    return squared <= chi2.ppf(config.gate_probability, 6)


def between_of(loops: Sequence[Loop]) -> Between:
    return Between(
        np.array([loop.a for loop in loops]),
        np.array([loop.b for loop in loops]),
        np.array([loop.a_from_b for loop in loops]),
        np.array([loop.information for loop in loops]),
    )


def joined(chain: Between, loops: Between) -> Between:
    return Between(*(np.concatenate(parts) for parts in zip(chain, loops, strict=True)))


def closed_graph(
    poses: Poses, _: Float64[np.ndarray, " views"], chain: Between, loops: list[Loop], tried: int, config: Config
) -> Found:
    solution = graphs.optimise(pose_graph(poses, joined(chain, between_of(loops))), config.graph)
    kept = [loop for loop, holds in zip(loops, solution.confidence[len(chain.a) :] > 0.5, strict=True) if holds]
    return Found(kept, tried, solution.world_from_node, np.ones(len(poses)))


def closed_similarities(
    poses: Poses, distance: Float64[np.ndarray, " views"], chain: Between, loops: list[Loop], tried: int, config: Config
) -> Found:
    """As the pose graph, with the scale of every view unknown too."""
    measured = between_of(loops)
    way = np.diff(place_recognition.way_of(poses, distance)) + LEAST_WAY
    of_chain = with_scale(chain.information, 1 / (config.drift_scale**2 * way))
    of_loops = with_scale(measured.information, np.full(len(loops), 1 / LOOP_SCALE_SIGMA**2))
    motions = similarity_graph.similarity(measured.a_from_b, 1 / np.array([loop.scale for loop in loops]))
    edges = joined(chain._replace(information=of_chain), measured._replace(a_from_b=motions, information=of_loops))
    solution = similarity_graph.solve(poses, edges)
    kept = [loop for loop, holds in zip(loops, solution.confidence[len(chain.a) :] > 0.5, strict=True) if holds]
    return Found(
        kept,
        tried,
        similarity_graph.without_scale(solution.world_from_node),
        similarity_graph.scales(solution.world_from_node),
    )


def with_scale(
    information: Float64[np.ndarray, "n 6 6"], of_scale: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, "n 7 7"]:
    out = np.zeros((len(information), 7, 7))
    out[:, :6, :6], out[:, 6, 6] = information, of_scale
    return out


# Everything that was seen


def overlapping(
    views: Sequence[View], found: Found, known: Matches, intrinsics: Intrinsics, config: Config
) -> dict[tuple[int, int], Rows]:
    """Matches of further views that, as their poses now are, see the same; each only where a pose near that agrees."""
    samples = [scale * sample(view, intrinsics) for view, scale in zip(views, found.scale, strict=True)]
    matches = {}
    for b, world_from_b in enumerate(found.world_from_view):
        b_from_all = np.linalg.inv(world_from_b) @ found.world_from_view[:b]
        shares = np.array([share_seen(samples[a], b_from_all[a], intrinsics) for a in range(b)])
        best = np.argsort(-shares, kind="stable")[: config.most_overlapping]
        for a in sorted(int(a) for a in best if shares[a] >= config.overlap and (a, b) not in known):
            rows = match(views[a].features, views[b].features, config.views.features.ratio)
            pose = located(views[a], views[b], rows, intrinsics, config.verification)
            if pose is None:
                continue
            b_from_a = pose.camera_from_world.copy()
            b_from_a[:3, 3] *= found.scale[a]
            distance = found.scale[a] * views[a].distance
            if is_near(np.linalg.inv(b_from_all[a]) @ b_from_a, distance, config.verification.agreement):
                matches[a, b] = rows[pose.inliers]
    return matches


def agreeing(
    views: Sequence[View], matches: Matches, intrinsics: Intrinsics, config: Config
) -> dict[tuple[int, int], Rows]:
    """Of matched neighbours the matches that one motion near odometry's explains.

    Someone who walks ahead may fill more of the picture than what stands still; odometry, step by step, was not misled.
    """
    found = {}
    for (a, b), rows in matches.items():
        rows = rows[views[a].precision[rows[:, 0]] > 0]
        b_from_a = np.linalg.inv(views[b].world_from_camera) @ views[a].world_from_camera
        errors_px = reprojection_error_px(
            b_from_a, points_of(views[a], rows[:, 0], intrinsics), views[b].features.pixels[rows[:, 1]], intrinsics
        )
        rows = rows[errors_px < config.odometry_px_share * 2 * intrinsics[0, 2]]
        pose = located(views[a], views[b], rows, intrinsics, config.verification)
        if pose is not None:
            found[a, b] = rows[pose.inliers]
    return found


def sample(view: View, intrinsics: Intrinsics, count: int = 100) -> Float64[np.ndarray, "n 3"]:
    known = np.flatnonzero(view.precision > 0)
    return points_of(view, known[:: max(1, len(known) // count)], intrinsics)


def share_seen(points: Float64[np.ndarray, "n 3"], b_from_a: Transform, intrinsics: Intrinsics) -> float:
    return float(projected(seen_from(points, b_from_a), intrinsics)[1].mean()) if len(points) else 0.0


def joint(
    views: Sequence[View], found: Found, matches: Matches, intrinsics: Intrinsics, metric: bool, config: Config
) -> Poses:
    """World_from_view after adjusting all tracks of the matched features."""
    starts = np.concatenate([[0], np.cumsum([len(view.features.pixels) for view in views])])
    camera = np.repeat(np.arange(len(views)), np.diff(starts))
    point = tracks(starts, camera, matches)
    precision = np.concatenate([view.precision for view in views])
    inverse_depth = np.concatenate([view.inverse_depth for view in views])
    pixels = np.concatenate([view.features.pixels for view in views])
    depth_known = precision > 0
    world = np.zeros((len(pixels), 3))
    for k, view in enumerate(views):
        rows = np.flatnonzero(view.precision > 0)
        world[starts[k] + rows] = seen_from(
            found.scale[k] * points_of(view, rows, intrinsics), found.world_from_view[k]
        )
    use = point >= 0
    count = int(point.max(initial=-1)) + 1
    weight = np.bincount(point[use & depth_known], minlength=count)
    total = np.stack([np.bincount(point[use & depth_known], world[use & depth_known, k], count) for k in range(3)], 1)
    placed = weight > 0
    number = np.cumsum(placed) - 1
    chosen = np.flatnonzero(use)[placed[point[use]]]
    sigma_depth = precision[chosen] if metric else np.zeros(len(chosen))
    of_pixels = np.full((len(chosen), 2), 1 / config.views.sigma_px)
    measurements = Measurements(
        camera[chosen],
        number[point[chosen]],
        np.column_stack([pixels[chosen], inverse_depth[chosen]]),
        np.column_stack([of_pixels, sigma_depth]),
    )
    points, measurements = held_by_odometry(
        views,
        found.scale,
        total[placed] / weight[placed, None],
        measurements,
        intrinsics,
        found.world_from_view,
        config,
    )
    fixed = np.arange(len(views)) == 0
    return joint_adjustment.adjust(
        found.world_from_view, points, measurements, intrinsics, fixed, config.adjustment
    ).world_from_camera


def held_by_odometry(
    views: Sequence[View],
    scale: Float64[np.ndarray, " views"],
    points: Float64[np.ndarray, "points 3"],
    measurements: Measurements,
    intrinsics: Intrinsics,
    world_from_view: Poses,
    config: Config,
) -> tuple[Float64[np.ndarray, "all 3"], Measurements]:
    """Adds points that odometry says a view and the next would see, as unsure as it is, so that none drifts off unseen."""
    chain = odometry(np.array([view.world_from_camera for view in views]), distances(views), config)
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in HOLD_DEPTHS])
    more, rows = [points], [measurements]
    count = len(points)
    for k, (motion, information, distance) in enumerate(
        zip(chain.a_from_b, chain.information, distances(views), strict=False)
    ):
        z = corners[:, 2:] * distance
        here = np.hstack([corners[:, :2] * intrinsics[:2, 2] / intrinsics.diagonal()[:2] * z, z])
        there = seen_from(here, np.linalg.inv(motion))
        ahead = there[:, 2] > 0.1 * distance * corners[:, 2]
        sigma_rad = np.sqrt(ahead.sum() / information[3, 3])
        numbers = count + np.arange(ahead.sum())
        for view, p in ((k, here[ahead]), (k + 1, there[ahead])):
            measured = np.column_stack([projected(p, intrinsics)[0], 1 / (scale[k] * p[:, 2])])
            precision = 1 / np.column_stack(
                [np.full((len(p), 2), sigma_rad * intrinsics[0, 0]), HOLD_DEPTH_SHARE * measured[:, 2]]
            )
            rows.append(Measurements(np.full(len(p), view), numbers, measured, precision))
        more.append(seen_from(scale[k] * here[ahead], world_from_view[k]))
        count += len(numbers)
    return np.concatenate(more), Measurements(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))


def tracks(
    starts: Int64[np.ndarray, " views_and_1"], camera: Int64[np.ndarray, " features"], matches: Matches
) -> Int64[np.ndarray, " features"]:
    """The point that each feature shows, -1 for none: matched features are one point, unless a view has it twice."""
    size = int(starts[-1])
    one = np.concatenate([starts[a] + rows[:, 0] for (a, _), rows in matches.items()])
    other = np.concatenate([starts[b] + rows[:, 1] for (_, b), rows in matches.items()])
    _, label = connected_components(coo_array((np.ones(len(one)), (one, other)), (size, size)), directed=False)
    count = np.bincount(label)
    key, times = np.unique(label.astype(np.int64) * len(starts) + camera, return_counts=True)
    good = count >= 2
    good[key[times > 1] // len(starts)] = False
    return np.where(good[label], np.cumsum(good)[label] - 1, -1)


def followed(poses: Frames, at: Int64[np.ndarray, " views"], world_from_view: Poses) -> Frames:
    """Poses of all frames: each keeps its motion to the views before and after it, what they disagree in shared by time."""
    out = np.empty_like(poses)
    out[: at[0]] = world_from_view[0] @ np.linalg.inv(poses[at[0]]) @ poses[: at[0]]
    out[at[-1] :] = world_from_view[-1] @ np.linalg.inv(poses[at[-1]]) @ poses[at[-1] :]
    for k in range(len(at) - 1):
        a, b = int(at[k]), int(at[k + 1])
        was = float(np.linalg.norm(poses[b, :3, 3] - poses[a, :3, 3]))
        now = float(np.linalg.norm(world_from_view[k + 1, :3, 3] - world_from_view[k, :3, 3]))
        frames = np.arange(a, b)
        scale = now / was if was > 0 else 1.0
        sides = []
        for view, end in ((k, a), (k + 1, b)):
            motion = np.linalg.inv(poses[end]) @ poses[frames]
            motion[:, :3, 3] *= scale
            sides.append(torch.from_numpy(world_from_view[view] @ motion))
        out[frames] = interpolate(*sides, torch.from_numpy((frames - a) / (b - a))).numpy()
    return out
