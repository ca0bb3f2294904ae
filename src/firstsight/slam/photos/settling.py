"""Settling: which sightings, points and photos belong to the model as it now is."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

from firstsight.slam.photos.model import Config, Model


def settle(model: Model, config: Config) -> None:
    """Decides anew which sightings, points and photos belong to the model."""
    settle_points(model, np.flatnonzero(model.known), config)
    seen = np.bincount(model.tracks.photo[model.used], minlength=len(model.registered))
    lost = model.registered & (seen < config.min_seen)
    if lost.any() and model.registered.sum() - lost.sum() >= 2:
        model.registered &= ~lost
        settle_points(model, np.flatnonzero(model.known), config)


def settle_points(model: Model, tracks: Int64[np.ndarray, " tracks"], config: Config) -> None:
    """Uses the sightings of these points that agree; forgets points with less than two, or without angle."""
    chosen = np.zeros(model.tracks.points, bool)
    chosen[tracks] = True
    rows = np.flatnonzero(chosen[model.tracks.track])
    model.used[rows] = False
    rows = rows[model.placed[rows]]
    good, _ = model.agrees(model.points, rows, model.tracks.track[rows])
    rows = rows[good]
    cosine = narrowest_cosines(model.tracks.track[rows], world_directions(model, rows), model.tracks.points)
    kept = cosine < np.cos(config.min_angle_rad)
    model.known[tracks] = kept[tracks]
    model.used[rows] = kept[model.tracks.track[rows]]


def world_directions(model: Model, rows: Int64[np.ndarray, " rows"]) -> Float64[np.ndarray, "rows 3"]:
    """Unit vectors from the photos towards what they see."""
    rays = np.column_stack([model.rays(rows), np.ones(len(rows))])
    rotated = np.einsum("nij,nj->ni", model.world_from_camera[model.tracks.photo[rows], :3, :3], rays)
    return rotated / np.linalg.norm(rotated, axis=1, keepdims=True)


def narrowest_cosines(
    group: Int64[np.ndarray, " rows"], directions: Float64[np.ndarray, "rows 3"], groups: int
) -> Float64[np.ndarray, " groups"]:
    """The cosine of the widest angle between two directions of each group; 1 where there are not two."""
    out = np.ones(groups)
    _narrowest_cosines(group, directions, out)
    return out


@njit(cache=True)
@no_type_check
def _narrowest_cosines(group, directions, out):
    for i in range(len(group)):
        j = i + 1
        while j < len(group) and group[j] == group[i]:
            cosine = 0.0
            for k in range(3):
                cosine += directions[i, k] * directions[j, k]
            out[group[i]] = min(out[group[i]], cosine)
            j += 1
