"""Loops in groups: one place mistaken for another, many frames running, is one mistake and counts once.

Paper:  Latif, Cadena, Neira. Robust Loop Closing over Time for Pose Graph SLAM. IJRR 32(14), 2013 (clusters of loops).
Idea:   loops whose ends lie near each other along the path, at both ends, and that confirm each other are a group. What made
        one of them false made all of them: that they agree says nothing about their being true         -> groups_of()
        each group is one loop, the member that most others confirm, and needs odometry or other groups to confirm it. Where
        nothing confirms any of them, the largest that odometry does not contradict is where to begin   -> standing()
        of sets of groups that confirm each other the one with the largest sum of log2(1 + loops) is kept  -> strongest()
        true groups over false ones, as far as they are known, are the odds of another one before it is looked at; those
        that are unsure are let in a few at a time, the surest first       -> posterior_bound(), next_groups()
Differs: groups are of loops that agree in what they measure, not of all that are near each other in time.
Units:  as in consistency.py.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from firstsight.roles.pose_graph import Between
from firstsight.slam.pose_graphs.false_loops.consistency import (
    Odometry,
    cycle_errors,
    neighbours,
    odometry_errors,
    outvoted,
    votes_of,
    whitened,
)

# nodes along the path, at both ends, that two loops of one group are apart at most
RUN = 10
# times the odds that are asked for: so much better must chance explain a group than truth, for odometry to rule it out
RULED_OUT = 2.0
# of a loop to be true, all told, for it to be let in at last
MIN_POSTERIOR_ODDS = 20.0
# of which one would contradict, if some were false
MANY_GROUPS = 10
# of a group's size, in which votes are counted by the hundred: of two groups that contradict each other the larger stays
LARGEST = 99


def groups_of(
    loops: Between, odometry: Odometry, gate: float, least_odds: float, space: float
) -> Int64[np.ndarray, " loops"]:
    """The number of each loop's group; a < b. `gate` bounds e' S^-1 e; `least_odds` are log odds, `space` is log V."""
    count = len(loops.a)
    if count < 2:
        return np.zeros(count, np.int64)
    i, j = neighbours(loops)
    near = np.maximum(np.abs(loops.a[i] - loops.a[j]), np.abs(loops.b[i] - loops.b[j])) <= RUN
    i, j = i[near], j[near]
    agree = votes_of(*cycle_errors(loops, odometry, i, j), gate, least_odds, space) > 0
    joined = coo_array((np.ones(int(agree.sum())), (i[agree], j[agree])), (count, count))
    return connected_components(joined, directed=False)[1].astype(np.int64)


def standing(
    loops: Between,
    group: Int64[np.ndarray, " loops"],
    odometry: Odometry,
    gate: float,
    least_odds: float,
    space: float,
) -> Bool[np.ndarray, " loops"]:
    """Loops of the groups that odometry or other groups confirm, else of the largest that odometry allows; a < b."""
    names, member, size = np.unique(group, return_inverse=True, return_counts=True)
    first = np.array([middle(loops, np.flatnonzero(member == k)) for k in range(len(names))])
    chosen = Between(*(part[first] for part in loops))
    errors, spread = odometry_errors(chosen, odometry)
    alone = votes_of(errors, spread, gate, least_odds, space)
    squared, volume = whitened(errors, spread)
    alone[space - (squared + volume) / 2 <= -RULED_OUT * least_odds] = -1
    open_to = np.flatnonzero(alone >= 0)
    kept = np.zeros(len(names), bool)
    if len(open_to):
        others = Between(*(part[open_to] for part in chosen))
        kept[open_to] = strongest(others, alone[open_to], size[open_to], odometry, gate, least_odds, space)
    return kept[member]


def strongest(
    chosen: Between,
    alone: Int64[np.ndarray, " groups"],
    size: Int64[np.ndarray, " groups"],
    odometry: Odometry,
    gate: float,
    least_odds: float,
    space: float,
) -> Bool[np.ndarray, " groups"]:
    """Of groups, each of which stands for so many loops, those that confirm each other and together are the most."""
    count = len(size)
    i, j = neighbours(chosen) if count > 1 else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    votes = votes_of(*cycle_errors(chosen, odometry, i, j), gate, least_odds, space)
    first = 100 * alone + np.minimum(size, LARGEST)
    upheld = outvoted(first, i[votes != 0], j[votes != 0], 100 * votes[votes != 0])
    # groups that odometry confirms by itself agree with each other by that
    link = (votes > 0) & upheld[i] & upheld[j]
    i, j, sure = i[link], j[link], np.flatnonzero(upheld & (alone > 0))
    ends = np.concatenate([i, sure[:-1]]), np.concatenate([j, sure[1:]])
    part = connected_components(coo_array((np.ones(len(ends[0])), ends), (count, count)), directed=False)[1]
    weight = np.bincount(part, np.where(upheld, np.log2(1 + size), 0))
    return upheld & (part == weight.argmax())


def middle(loops: Between, members: Int64[np.ndarray, " members"]) -> int:
    """The member of a group whose ends are nearest to the middle of all members' ends."""
    ends = np.stack([loops.a[members], loops.b[members]], 1)
    return int(members[np.abs(ends - np.median(ends, axis=0)).sum(1).argmin()])


def posterior_bound(
    group: Int64[np.ndarray, " loops"], inside: Bool[np.ndarray, " loops"], against: Bool[np.ndarray, " loops"]
) -> float:
    """The log odds that a loop needs by itself, given how many groups are in the solution and how many contradict it.

    Infinite with fewer than two groups in the solution, which show nothing of each other; minus infinity where of MANY_GROUPS
    or more not one contradicts the solution: there is no sign of a false one.
    """
    if not against.any() and len(np.unique(group)) >= MANY_GROUPS:
        return -np.inf
    true = len(np.unique(group[inside]))
    false = len(np.setdiff1d(group[against & ~inside], group[inside]))
    return float(np.log(MIN_POSTERIOR_ODDS * (false + 1) / true)) if true > 1 else np.inf


def next_groups(
    group: Int64[np.ndarray, " loops"],
    fits: Bool[np.ndarray, " loops"],
    odds: Float64[np.ndarray, " loops"],
    many: int,
) -> Bool[np.ndarray, " loops"]:
    """Those loops that fit of so many groups: the ones whose best loop has the highest odds."""
    order = np.flatnonzero(fits)[np.argsort(-odds[fits], kind="stable")]
    names, first = np.unique(group[order], return_index=True)
    return fits & np.isin(group, names[np.argsort(first)][:many])
