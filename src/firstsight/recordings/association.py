"""Matching streams that were recorded side by side, by their stamps."""

import numpy as np
from jaxtyping import Bool, Float64, Int64


def nearest(
    stamps_ns: Int64[np.ndarray, " rows"], candidates_ns: Int64[np.ndarray, " candidates"], tolerance_ns: int
) -> Int64[np.ndarray, " rows"]:
    """Returns for each stamp the index of the nearest candidate, -1 where none is within the tolerance."""
    if len(candidates_ns) == 0:
        return np.full(len(stamps_ns), -1, dtype=np.int64)
    order = np.argsort(candidates_ns, kind="stable")
    ordered = candidates_ns[order]
    after = np.searchsorted(ordered, stamps_ns).clip(0, len(ordered) - 1)
    before = (after - 1).clip(0)
    closer = np.where(np.abs(ordered[before] - stamps_ns) <= np.abs(ordered[after] - stamps_ns), before, after)
    near = np.abs(ordered[closer] - stamps_ns) <= tolerance_ns
    return np.where(near, order[closer], -1)


def mutually_nearest(
    stamps_ns: Int64[np.ndarray, " rows"], candidates_ns: Int64[np.ndarray, " candidates"], tolerance_ns: int
) -> Int64[np.ndarray, " rows"]:
    """Does as `nearest`, but a candidate serves only the stamp that is nearest to it, so none is used twice."""
    chosen = nearest(stamps_ns, candidates_ns, tolerance_ns)
    back = nearest(candidates_ns, stamps_ns, tolerance_ns)
    mutual: Bool[np.ndarray, " rows"] = (chosen >= 0) & (back[chosen] == np.arange(len(stamps_ns)))
    return np.where(mutual, chosen, -1)


def poses_at(
    stamps_ns: Int64[np.ndarray, " rows"],
    pose_stamps_ns: Int64[np.ndarray, " samples"],
    world_from_sensor: Float64[np.ndarray, "samples 4 4"],
    tolerance_ns: int,
) -> Float64[np.ndarray, "rows 4 4"]:
    """The pose nearest in time to each stamp, NaN where none is within the tolerance."""
    chosen = nearest(stamps_ns, pose_stamps_ns, tolerance_ns)
    poses = np.full((len(stamps_ns), 4, 4), np.nan)
    poses[chosen >= 0] = world_from_sensor[chosen[chosen >= 0]]
    return poses


def half_period_ns(stamps_ns: Int64[np.ndarray, " rows"]) -> int:
    """Half the median time between frames: within it, a stamp belongs to one frame only."""
    steps = np.diff(np.sort(stamps_ns))
    return int(np.median(steps)) // 2 if len(steps) else 0
