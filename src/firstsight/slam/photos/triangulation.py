"""Triangulation: points that two or more registered photos agree on, under enough angle.

Source: Hartley, Zisserman. Multiple View Geometry. 2004, section 12.2 (the linear transform).
"""

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

from firstsight.geometry import epipolar
from firstsight.slam.photos.model import Config, Model
from firstsight.slam.photos.settling import settle_points, world_directions

# pairs of views that are tried for a point
HYPOTHESES = 12
# a point farther away than this, or one that is not finite, is none
MAX_COORDINATE = 1e9


def triangulate(model: Model, wanted: Bool[np.ndarray, " points"], config: Config) -> None:
    """Makes those of the wanted points known that two or more registered photos agree on, under enough angle."""
    rows = np.flatnonzero(wanted[model.tracks.track] & model.placed)
    first, second = view_pairs(model, rows, config)
    if not len(first):
        return
    views = rows[np.stack([first, second], 1)]
    camera_from_world = np.linalg.inv(model.world_from_camera)
    rays = model.rays(views.ravel()).reshape(-1, 2, 2)
    points = triangulated(rays, camera_from_world[model.tracks.photo[views]])
    points = np.where(is_finite(points), points, 0.0)
    best = most_agreed(model, points, model.tracks.track[views[:, 0]], rows)
    if not len(best):
        return
    tracks = model.tracks.track[views[best, 0]]
    place = np.full(model.tracks.points, -1)
    place[tracks] = np.arange(len(tracks))
    rows = rows[place[model.tracks.track[rows]] >= 0]
    good, _ = model.agrees(points[best], rows, place[model.tracks.track[rows]])
    rows = rows[good]
    model.points[tracks] = from_all_views(model, rows, place[model.tracks.track[rows]], points[best], camera_from_world)
    model.known[tracks] = True
    model.used[rows] = True
    settle_points(model, tracks, config)


def view_pairs(
    model: Model, rows: Int64[np.ndarray, " rows"], config: Config
) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
    """Pairs of rows of one track whose rays enclose enough angle; of many, some, from the widest to the narrowest."""
    track = model.tracks.track[rows]
    first, second = pairs_within(track)
    directions = world_directions(model, rows)
    cosine = np.einsum("ni,ni->n", directions[first], directions[second])
    wide = cosine < np.cos(config.min_angle_rad)
    first, second, cosine = first[wide], second[wide], cosine[wide]
    order = np.lexsort((cosine, track[first]))
    first, second = first[order], second[order]
    counts = np.unique(track[first], return_counts=True)[1]
    rank = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = rank % np.repeat(-(-counts // HYPOTHESES), counts) == 0
    return first[kept], second[kept]


def pairs_within(group: Int64[np.ndarray, " rows"]) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
    """All pairs i < j with group[i] = group[j], of groups that lie together."""
    counts = np.unique(group, return_counts=True)[1]
    later = np.repeat(np.cumsum(counts), counts) - np.arange(len(group)) - 1
    first = np.repeat(np.arange(len(group)), later)
    return first, np.arange(len(first)) - np.repeat(np.cumsum(later) - later, later) + first + 1


def most_agreed(
    model: Model,
    points: Float64[np.ndarray, "points 3"],
    track: Int64[np.ndarray, " points"],
    rows: Int64[np.ndarray, " rows"],
) -> Int64[np.ndarray, " tracks"]:
    """Returns for each track the point that most of its sightings agree on, by two at least; ties by their errors."""
    of_track = model.tracks.track[rows]
    start, stop = np.searchsorted(of_track, track, "left"), np.searchsorted(of_track, track, "right")
    counts = stop - start
    point = np.repeat(np.arange(len(points)), counts)
    asked = rows[np.arange(len(point)) - np.repeat(np.cumsum(counts) - counts - start, counts)]
    good, off = model.agrees(points, asked, point)
    votes = np.bincount(point, good, len(points))
    error = np.bincount(point, np.minimum(off, 1.0) ** 2, len(points))
    order = np.lexsort((error, -votes, track))
    order = order[votes[order] >= 2]
    return order[np.unique(track[order], return_index=True)[1]]


def from_all_views(
    model: Model,
    rows: Int64[np.ndarray, " rows"],
    point: Int64[np.ndarray, " rows"],
    points: Float64[np.ndarray, "points 3"],
    camera_from_world: Float64[np.ndarray, "photos 4 4"],
) -> Float64[np.ndarray, "points 3"]:
    """Each point from all of its sightings, where that is no worse; views that are not there are rows of zeros."""
    counts = np.bincount(point, minlength=len(points))
    column = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    rays, cameras = np.zeros((len(points), counts.max(), 2)), np.zeros((len(points), counts.max(), 4, 4))
    rays[point, column], cameras[point, column] = model.rays(rows), camera_from_world[model.tracks.photo[rows]]
    together = triangulated(rays, cameras)
    together = np.where(is_finite(together), together, points)
    errors = [np.bincount(point, model.agrees(p, rows, point)[1], len(points)) for p in (points, together)]
    return np.where((errors[1] <= errors[0])[:, None], together, points)


def triangulated(
    rays: Float64[np.ndarray, "points views 2"], camera_from_world: Float64[np.ndarray, "points views 4 4"]
) -> Float64[np.ndarray, "points 3"]:
    """World points of rays on the plane z = 1 of several views each."""
    return epipolar.triangulate(torch.from_numpy(rays), torch.from_numpy(camera_from_world)).numpy()


def is_finite(points: Float64[np.ndarray, "points 3"]) -> Bool[np.ndarray, "points 3"]:
    """Which coordinates are numbers that a scene can have."""
    return np.isfinite(points) & (np.abs(points) < MAX_COORDINATE)
