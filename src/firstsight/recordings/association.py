"""Matching streams that were recorded side by side, by their stamps."""

from collections.abc import Mapping
from typing import NamedTuple

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


class Simultaneous(NamedTuple):
    """What several streams recorded at one time: for each frame the item of each, and what the user should know of it.

    A stream that has nothing at the time of the first one is left out, and that is said.
    """

    items: dict[str, Int64[np.ndarray, " frames"]]
    remarks: tuple[str, ...]


def simultaneous(streams: Mapping[str, Int64[np.ndarray, " items"]], tolerance_ns: int) -> Simultaneous:
    """The items of the first stream that have one of every other mutually nearest within the tolerance, with those."""
    first, *others = streams
    stamps = streams[first]
    items, remarks = {first: np.arange(len(stamps))}, []
    apart_ns = 0
    for name in others:
        chosen = mutually_nearest(stamps, streams[name], tolerance_ns)[items[first]]
        paired = np.flatnonzero(chosen >= 0)
        if len(paired) == 0:
            near_s = np.abs(_to_nearest_ns(stamps, streams[name])).min(initial=2**63 - 1) / 1e9
            remarks.append(
                f"{name} left out: nothing of it is of the time of {first}, the nearest is {near_s:.3g} s off; "
                "bring the stamps to one clock"
            )
            continue
        items = {known: rows[paired] for known, rows in items.items()} | {name: chosen[paired]}
    for name in items.keys() - {first}:
        apart_ns = max(apart_ns, int(np.abs(streams[name][items[name]] - stamps[items[first]]).max()))
    if apart_ns:
        remarks.append(f"{' and '.join(items)} are up to {apart_ns / 1e6:.3g} ms apart and taken for simultaneous")
    return Simultaneous(items, tuple(remarks))


def _to_nearest_ns(stamps_ns: Int64[np.ndarray, " a"], others_ns: Int64[np.ndarray, " b"]) -> Int64[np.ndarray, " c"]:
    """From each stamp to the nearest of the others."""
    chosen = nearest(stamps_ns, others_ns, tolerance_ns=2**63 - 1)
    return others_ns[chosen[chosen >= 0]] - stamps_ns[chosen >= 0]


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
