"""All views of a closed trajectory adjusted together: those that overlap are matched, and every sighting is held.

Paper:  Mur-Artal, Tardos. ORB-SLAM2. T-RO 33(5), 2017, section III-E (full bundle adjustment after a loop).
Idea:   of matched neighbours, what one motion near odometry's explains                               -> agreeing()
        views that see the same, as their poses now are, are matched too                           -> overlapping()
        matched features are one point, unless a view has it twice                                      -> tracks()
        points where depth has them, seen where features are                                         -> sightings()
        points that odometry says a view and the next would see, so that none drifts off unseen  -> odometry_sightings()
        poses and points that agree best with all of these                  -> adjusted(), optimisation/joint_adjustment
Units:  the unit of the poses, pixels, radians.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from firstsight.geometry.points import Intrinsics, Points, move_points
from firstsight.optimisation import joint_adjustment
from firstsight.optimisation.bundle.camera_model import Measurements
from firstsight.optimisation.pnp import reprojection_error_px
from firstsight.slam.loops.loop_graph import Chain, Found, is_near
from firstsight.slam.loops.loop_verification import VerificationConfig, located
from firstsight.slam.loops.travelled import Poses, Transform
from firstsight.slam.loops.views import CameraViews, Matches, Rows, View, points_of, seen_in_image

# share of a view's points that another must have in its image to be matched to it
MIN_OVERLAP = 0.3
# points of a view that tell its overlap with others
SAMPLED_POINTS = 100
# earlier views that overlap, for each
MAX_OVERLAPPING = 12
# of the image's width, that features of neighbours may lie from where odometry says
ODOMETRY_PX_SHARE = 0.0125
# of points that stand for odometry, times the distance of what is seen
HELD_DEPTHS = (0.3, 3.0)
HELD_DEPTH_SHARE = 0.05
# of that depth: points that the next view is too near to are left out
HELD_AHEAD = 0.1


class Sightings(NamedTuple):
    """Points in the world and where views saw them."""

    points: Points
    measurements: Measurements


def agreeing(seen: CameraViews, matches: Matches, config: VerificationConfig) -> dict[tuple[int, int], Rows]:
    """Returns the matches of neighbours that one motion near odometry's explains.

    Someone who walks ahead may fill more of the image than what stands still; odometry, step by step, was not misled.
    """
    views, intrinsics, found = seen.views, seen.intrinsics, {}
    for (a, b), rows in matches.items():
        rows = rows[views[a].precision[rows[:, 0]] > 0]
        b_from_a = np.linalg.inv(views[b].world_from_camera) @ views[a].world_from_camera
        points, pixels = points_of(views[a], rows[:, 0], intrinsics), views[b].features.pixels[rows[:, 1]]
        errors_px = reprojection_error_px(b_from_a, points, pixels, intrinsics)
        rows = rows[errors_px < ODOMETRY_PX_SHARE * 2 * intrinsics[0, 2]]
        pose = located(views[a], views[b], rows, intrinsics, config)
        if pose is not None:
            found[a, b] = rows[pose.inliers]
    return found


def overlapping(
    seen: CameraViews, found: Found, known: Matches, config: VerificationConfig
) -> dict[tuple[int, int], Rows]:
    """Matches of further views that, as their poses now are, see the same; each only where a pose near that agrees."""
    intrinsics, matches = seen.intrinsics, {}
    samples = [scale * sample(view, intrinsics) for view, scale in zip(seen.views, found.scale, strict=True)]
    for b, world_from_b in enumerate(found.world_from_view):
        b_from_all = np.linalg.inv(world_from_b) @ found.world_from_view[:b]
        shares = np.array([share_seen(samples[a], b_from_all[a], intrinsics) for a in range(b)])
        best = np.argsort(-shares, kind="stable")[:MAX_OVERLAPPING]
        for a in sorted(int(a) for a in best if shares[a] >= MIN_OVERLAP and (a, b) not in known):
            rows = confirmed(seen, (a, b), b_from_all[a], float(found.scale[a]), config)
            if rows is not None:
                matches[a, b] = rows
    return matches


def confirmed(
    seen: CameraViews, pair: tuple[int, int], b_from_a: Transform, scale: float, config: VerificationConfig
) -> Rows | None:
    """Matches of two views that agree on a motion near this one; None where they do not. `scale` is that of a's lengths."""
    view_a, view_b = seen.views[pair[0]], seen.views[pair[1]]
    rows = seen.matched(*pair)
    pose = located(view_a, view_b, rows, seen.intrinsics, config)
    if pose is None:
        return None
    measured = pose.camera_from_world.copy()
    measured[:3, 3] *= scale
    near = is_near(np.linalg.inv(b_from_a) @ measured, scale * view_a.distance, config.agreement)
    return rows[pose.inliers] if near else None


def sample(view: View, intrinsics: Intrinsics) -> Points:
    """Some of the view's points, in its camera."""
    known = np.flatnonzero(view.precision > 0)
    return points_of(view, known[:: max(1, len(known) // SAMPLED_POINTS)], intrinsics)


def share_seen(points: Points, b_from_a: Transform, intrinsics: Intrinsics) -> float:
    """The share of a's points that b has in its image; 0 where there are none."""
    return float(seen_in_image(move_points(points, b_from_a), intrinsics)[1].mean()) if len(points) else 0.0


def adjusted(seen: CameraViews, chain: Chain, found: Found, matches: Matches, config: joint_adjustment.Config) -> Poses:
    """World_from_view after adjusting all tracks of the matched features."""
    tracked = sightings(seen, found, matches)
    points, measurements = joined(
        tracked, odometry_sightings(chain, found, seen.intrinsics, first_point=len(tracked.points))
    )
    fixed = np.arange(len(seen.views)) == 0
    return joint_adjustment.adjust(
        found.world_from_view, points, measurements, seen.intrinsics, fixed, config
    ).world_from_camera


def sightings(seen: CameraViews, found: Found, matches: Matches) -> Sightings:
    """Every track that some view knows the depth of: the mean of where views have it, and where all saw it."""
    views = seen.views
    starts = np.concatenate([[0], np.cumsum([len(view.features.pixels) for view in views])])
    camera = np.repeat(np.arange(len(views)), np.diff(starts))
    point = tracks(starts, camera, matches)
    precision = np.concatenate([view.precision for view in views])
    known = (point >= 0) & (precision > 0)
    count = int(point.max(initial=-1)) + 1
    weight = np.bincount(point[known], minlength=count)
    world = world_points(seen, found)
    total = np.stack([np.bincount(point[known], world[known, k], count) for k in range(3)], 1)
    placed = weight > 0
    chosen = np.flatnonzero(point >= 0)
    chosen = chosen[placed[point[chosen]]]
    number = np.cumsum(placed) - 1
    pixels = np.concatenate([view.features.pixels for view in views])
    inverse_depth = np.concatenate([view.inverse_depth for view in views])
    of_pixels = np.full((len(chosen), 2), 1 / seen.config.sigma_px)
    of_depth = precision[chosen] if seen.metric else np.zeros(len(chosen))
    measurements = Measurements(
        camera[chosen],
        number[point[chosen]],
        np.column_stack([pixels[chosen], inverse_depth[chosen]]),
        np.column_stack([of_pixels, of_depth]),
    )
    return Sightings(total[placed] / weight[placed, None], measurements)


def world_points(seen: CameraViews, found: Found) -> Points:
    """Returns where the features of all views lie, one view after the other; 0 where their depth is not known."""
    world = []
    for view, scale, world_from_view in zip(seen.views, found.scale, found.world_from_view, strict=True):
        rows = np.flatnonzero(view.precision > 0)
        points = np.zeros((len(view.precision), 3))
        points[rows] = move_points(scale * points_of(view, rows, seen.intrinsics), world_from_view)
        world.append(points)
    return np.concatenate(world)


def odometry_sightings(chain: Chain, found: Found, intrinsics: Intrinsics, first_point: int) -> Sightings:
    """Points that odometry says a view and the next would see, as unsure as it is, so that none drifts off unseen.

    They are numbered from `first_point`.
    """
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in HELD_DEPTHS])
    world, rows, count = [np.zeros((0, 3))], [no_measurements()], first_point
    motions = zip(chain.motions.a_from_b, chain.motions.information, chain.distance, strict=False)
    for k, (motion, information, distance) in enumerate(motions):
        z = corners[:, 2:] * distance
        here = np.hstack([corners[:, :2] * intrinsics[:2, 2] / intrinsics.diagonal()[:2] * z, z])
        there = move_points(here, np.linalg.inv(motion))
        ahead = there[:, 2] > HELD_AHEAD * distance * corners[:, 2]
        sigma_px = np.sqrt(ahead.sum() / information[3, 3]) * intrinsics[0, 0]
        numbers = count + np.arange(ahead.sum())
        for view, points in ((k, here[ahead]), (k + 1, there[ahead])):
            rows.append(held(view, numbers, points, float(found.scale[k]), float(sigma_px), intrinsics))
        world.append(move_points(found.scale[k] * here[ahead], found.world_from_view[k]))
        count += len(numbers)
    return Sightings(np.concatenate(world), concatenated(rows))


def held(
    view: int, numbers: Int64[np.ndarray, " n"], points: Points, scale: float, sigma_px: float, intrinsics: Intrinsics
) -> Measurements:
    """A view's measurements of points in its camera, whose lengths are `scale` times as long in the world."""
    measured = np.column_stack([seen_in_image(points, intrinsics)[0], 1 / (scale * points[:, 2])])
    sigma = np.column_stack([np.full((len(points), 2), sigma_px), HELD_DEPTH_SHARE * measured[:, 2]])
    return Measurements(np.full(len(points), view), numbers, measured, 1 / sigma)


def joined(first: Sightings, then: Sightings) -> Sightings:
    """Both, whose points are numbered one after the other."""
    return Sightings(np.concatenate([first.points, then.points]), concatenated([first.measurements, then.measurements]))


def concatenated(parts: Sequence[Measurements]) -> Measurements:
    """All measurements, one after the other."""
    return Measurements(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))


def no_measurements() -> Measurements:
    """None of any point."""
    nobody = np.zeros(0, np.int64)
    return Measurements(nobody, nobody, np.zeros((0, 3)), np.zeros((0, 3)))


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
