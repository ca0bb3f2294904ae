"""Semi-global aggregation of any cost volume: stereo disparities, planes of a sweep, whatever the candidates are.

Paper:  Hirschmueller. Stereo Processing by Semiglobal Matching and Mutual Information. TPAMI 30(2), 2008, section II-C.
Idea:   minimise matching cost plus a penalty for every jump between neighbours, exactly, along straight paths from all sides.
        L_r(p, d) = C(p, d) + min(L_r(p-r, d), L_r(p-r, d +- 1) + P1, min_k L_r(p-r, k) + P2)
                    - min_k L_r(p-r, k)                                                   eq. 13 -> _extend_path()
        S(p, d) = sum over r of L_r(p, d)                                                 eq. 14 -> aggregate()
        Two sweeps over the image carry half of the paths each and remember of a path only its latest L_r, so a volume can be
        swept strip by strip, with the same result                                               -> aggregate_strips()
Differs: the steps r of the 16 directions are those of a knight; the paper walks them in a straight and a diagonal step. Since
         L_r <= C_max + P2 (section II-C), paths are held in as few bits as that and P1 need, exactly; penalties are rounded where
         costs are integers. A cell without a cost is no candidate: its L_r is UNREACHABLE, so large that adding changes nothing. A
         pixel without any candidate ends its paths, and they begin anew behind it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar, no_type_check

import numpy as np
from jaxtyping import Int64, UInt8
from numba import njit

from firstsight.errors import InputError
from firstsight.kernels.lanes import (
    LANES,
    UNREACHABLE,
    add,
    begin_sums,
    broadcast,
    gap,
    lane_count,
    like,
    load,
    load_costs,
    load_or_repeat,
    lowest,
    minimum,
    store,
)
from firstsight.matching.aggregation.penalties import JumpRule, JumpTable, Steps
from firstsight.matching.costs.volumes import Grey, PaddedVolume, Total, Volume, no_cost

G = TypeVar("G")
Directions = Literal[4, 8, 16]

# (dx, dy) to a pixel from the one before it, for the sweep from the top left; the sweep back mirrors them.
STEPS = ((1, 0), (0, 1), (1, 1), (-1, 1), (2, 1), (-2, 1), (1, 2), (-1, 2))


@dataclass(frozen=True)
class SemiGlobal(Generic[G]):
    """How a volume is aggregated. Two-image penalties need the right image, `largest` bounds the costs (None: looked up).

    The grey images are arrays, or tensors on the device of the volume.
    """

    guide: G
    rule: JumpRule
    directions: Directions = 8
    right: G | None = None
    largest: int | float | None = None


def aggregate(cost: Volume, settings: SemiGlobal[Grey], total: np.ndarray | None = None) -> Total:
    """S, the sum of the path costs; no cost where C has none. Into `total`, a volume, where its shape and type are right.

    The sums have 16 bits where those of integer costs fit, else 32; sums of float32 are float32. Fastest for multiples of LANES
    candidates, since others are padded. Raises InputError where the penalties are too large for integers of 16 bits.
    """
    _, summed = next(aggregate_strips(lambda rows: cost, [slice(0, cost.shape[0])], settings, total))
    return summed


def aggregate_strips(
    costs_of: Callable[[slice], Volume],
    strips: Sequence[slice],
    settings: SemiGlobal[Grey],
    total: np.ndarray | None = None,
) -> Iterator[tuple[slice, Total]]:
    """(rows, S of these rows) from the last strip to the first, the same as of the whole volume, in memory for one strip.

    `strips` partition the rows in order. The costs of all strips but the last are asked for twice: paths go down before they
    go up. What is yielded is overwritten by the next strip where `total` is given.
    """
    assert len(strips) == 1 or settings.largest is not None, "strips need the bound on all their costs"
    sweeps: _Sweeps | None = None
    begun = []
    for rows in strips[:-1]:
        cost = padded(costs_of(rows))
        sweeps = sweeps or _Sweeps.of(cost, settings)
        begun.append(sweeps.down.copy())
        sweeps.run(cost, rows, sweeps.room(cost, total), "down")
    for rows in reversed(strips):
        given = costs_of(rows)
        cost = padded(given)
        sweeps = sweeps or _Sweeps.of(cost, settings)
        summed = sweeps.room(cost, total)
        sweeps.run(cost, rows, summed, "down")
        sweeps.run(cost, rows, summed, "up")
        yield rows, summed if given.shape == cost.shape else np.ascontiguousarray(summed[:, :, : given.shape[2]])
        if begun:
            sweeps.down = begun.pop()


def padded(cost: Volume) -> PaddedVolume:
    """The volume with its candidates filled up to a multiple of LANES by cells without a cost."""
    height, width, candidates = cost.shape
    missing = -candidates % LANES
    if not missing:
        return np.ascontiguousarray(cost)
    return np.concatenate([cost, np.full((height, width, missing), no_cost(cost.dtype), cost.dtype)], 2)


def max_cost(cost: Volume) -> float:
    """The largest cost of a volume."""
    known = cost != no_cost(cost.dtype) if cost.dtype.kind == "u" else np.isfinite(cost)
    return float(np.max(cost, initial=0, where=known))


class PathState(NamedTuple):
    """What a sweep remembers of the paths that cross the image: their latest L_r and its minimum over the candidates.

    A slot per path. Those of a direction are numbered across the image, and a path that begins takes the slot of one that has
    ended; the first slot is where all paths begin: zero. The margins at either end of the candidates are unreachable.
    """

    costs: np.ndarray  # (slots, candidates + 2 LANES)
    minima: np.ndarray  # (slots,)

    def copy(self) -> "PathState":
        return PathState(self.costs.copy(), self.minima.copy())


def path_slots(steps: Steps, width: int) -> Int64[np.ndarray, " directions"]:
    """How many slots the paths of each direction need: no more of them cross a row, or two rows where steps are so high."""
    return np.maximum(np.abs(steps[:, 1]) * width, 1)


def begin_paths(steps: Steps, width: int, candidates: int, dtype: Any) -> PathState:
    """The state before the first row."""
    slots = 1 + path_slots(steps, width).sum()
    unreachable = UNREACHABLE if np.dtype(dtype).kind == "f" else no_cost(dtype)
    costs = np.full((slots, candidates + 2 * LANES), unreachable, dtype)
    costs[:, LANES:-LANES] = 0
    return PathState(costs, np.zeros(slots, dtype))


def path_types(cost_type: np.dtype, max_cost: int | float, rule: JumpRule, directions: int) -> tuple[Any, Any]:
    """The smallest types for path costs and for sums of so many. Raises InputError where path costs need more than 16 bits."""
    if cost_type.kind == "f":
        return np.float32, np.float32
    largest = max_cost + rule.p1 + rule.p2
    if largest >= np.iinfo(np.uint16).max:
        raise InputError(f"costs and penalties add up to {largest:.0f}: integers hold 65534; scale them or use float32")
    small = cost_type == np.uint8 and largest < np.iinfo(np.uint8).max
    fits = directions * largest < np.iinfo(np.uint16).max
    return np.uint8 if small else np.uint16, np.uint16 if fits else np.uint32


class _Sweeps:
    """The two sweeps of one image in progress."""

    def __init__(self, settings: SemiGlobal[Grey], width: int, candidates: int, types: tuple[Any, Any]):
        path_type, self.total_type = types
        steps = np.array(STEPS[: settings.directions // 2])
        self.steps = {"down": steps, "up": -steps}
        self.images = (settings.guide, settings.guide if settings.right is None else settings.right)
        self.jumps = {
            way: _Jumps.of(settings.rule.table(way_steps), width, candidates, path_type)
            for way, way_steps in self.steps.items()
        }
        assert settings.right is not None or not self.jumps["down"].reads_right, "two-image penalties need both images"
        self.down, self.up = (begin_paths(steps, width, candidates, path_type) for _ in range(2))

    @classmethod
    def of(cls, cost: Volume, settings: SemiGlobal[Grey]) -> "_Sweeps":
        highest = max_cost(cost) if settings.largest is None else settings.largest
        types = path_types(cost.dtype, highest, settings.rule, settings.directions)
        return cls(settings, *cost.shape[1:], types)

    def room(self, cost: Volume, total: np.ndarray | None) -> Total:
        """Returns where sums go: as many rows of `total` as needed where they fit."""
        if total is not None and total.dtype == self.total_type and total.shape[1:] == cost.shape[1:]:
            return total[: len(cost)]
        return np.empty(cost.shape, self.total_type)

    def run(self, cost: Volume, rows: slice, total: Total, way: Literal["down", "up"]) -> None:
        state = self.down if way == "down" else self.up
        slots = path_slots(self.steps[way], cost.shape[1])
        _sweep((cost, total, rows.start), self.images, self.jumps[way], (self.steps[way], slots), state)


class _Jumps(NamedTuple):
    """JumpTable as the kernel reads it.

    vectors (directions or 1, left classes, 3, length): one penalty for all candidates of a pixel, length 1; or, where the right
    image has a say, one for each right pixel: a row backwards, so that growing disparity walks forwards, and a margin. Then
    they are filled row by row from `values`. `flat` is the same memory, a column where one penalty is for all. `edges` are the
    brightness differences from which on the left and the right image have one; 0: each difference is a class of its own.
    """

    flat: np.ndarray
    vectors: np.ndarray
    values: np.ndarray
    edges: tuple[int, int]
    reads_right: bool

    @classmethod
    def of(cls, table: JumpTable, width: int, candidates: int, dtype: Any) -> "_Jumps":
        rounded = table.values if np.dtype(dtype).kind == "f" else np.rint(table.values)
        values = np.ascontiguousarray(rounded.astype(dtype))
        reads_right = values.shape[2] > 1
        length = width + candidates if reads_right else 1
        vectors = np.broadcast_to(values[:, :, 0, :, None], (*values.shape[:2], 3, length)).copy()
        flat = vectors.reshape(-1) if reads_right else vectors.reshape(-1, 1)
        edges = (_first_edge(table.left_class), _first_edge(table.right_class))
        return cls(flat, vectors, values, edges, reads_right)


def _first_edge(classes: UInt8[np.ndarray, "256"]) -> int:
    """The difference from which on there is an edge; 0 where every difference has a class of its own."""
    if np.array_equal(classes, np.arange(256)):
        return 0
    first = int(np.searchsorted(classes, 1))
    assert np.array_equal(classes, np.arange(256) >= first), "classes are differences, or even and edge"
    return first


@njit(cache=True)
@no_type_check
def _sweep(strip, images, jumps, ways, state):
    """Adds to a strip's total the paths of ways: steps (directions, 2), slots (directions,), which come from pixels already swept.

    strip: cost and total (height, width, candidates), first row; images: left and right (rows of the image, width) uint8.
    The sweep with the first step (1, 0) starts at the top left and sets total; the one with (-1, 0) is its mirror.
    """
    cost, total, first = strip
    left, right = images
    flat_jumps, vectors, values, (left_edge, right_edge), reads_right = jumps
    steps, slots = ways
    height, width, candidates = cost.shape
    flat_cost, flat_total = cost.reshape(-1), total.reshape(-1)
    flat_paths, minima = state.costs.reshape(-1), state.minima
    stride, length = state.costs.shape[1], vectors.shape[3]
    class_stride = 3 * length
    direction_stride = class_stride * vectors.shape[1] if vectors.shape[0] > 1 else 0
    forward = steps[0, 0] == 1
    directions = steps.shape[0]
    edges, right_edges = np.zeros((directions, width), np.uint8), np.ones((directions, vectors.shape[3]), np.uint8)
    before, now = np.empty((directions, width), np.int64), np.empty((directions, width), np.int64)
    for row in range(height):
        i = row if forward else height - 1 - row
        y = first + i
        if reads_right:
            _follow_right_image(right, y, steps, right_edge, right_edges)
            _choose_penalties(right_edges, values, vectors)
        slot = 1
        for r in range(directions):
            _edges_of_row(left, y, steps[r], left_edge, edges[r])
            _slots_of_row(y, left.shape[0], steps[r], (slot, slots[r]), before[r], now[r])
            slot += slots[r]
        for column in range(width):
            x = column if forward else width - 1 - column
            pixel = (flat_cost, flat_total, (i * width + x) * candidates, candidates)
            if forward:
                _begin_sums(pixel)
            offset = width - 1 - x if reads_right else 0
            for r in range(directions):
                ends = (before[r, x] * stride + LANES, now[r, x] * stride + LANES)
                jump = (flat_jumps, r * direction_stride + edges[r, x] * class_stride + offset, length)
                minima[now[r, x]] = _extend_path(pixel, flat_paths, ends, minima[before[r, x]], jump)


@njit(cache=True)
@no_type_check
def _slots_of_row(y, height, step, slots, before, now):
    """The slots of the paths of row y: the one to read and the one to write, `before` and `now` (width,) int64.

    slots = (first, number). Pixels p and p - step have the same number x |dy| - y dx sign(dy), modulo the number of slots.
    """
    (dx, dy) = step
    (first, number), width = slots, now.shape[0]
    phase, across = (-y * (dx if dy > 0 else -dx)) % number, abs(dy)
    first_inside, last_inside = max(dx, 0), width - 1 + min(dx, 0)
    if not 0 <= y - dy < height:
        first_inside = width
    for x in range(width):
        slot = x * across + phase
        now[x] = first + slot - (number if slot >= number else 0)
        before[x] = now[x] if first_inside <= x <= last_inside else 0


@njit(cache=True)
@no_type_check
def _edges_of_row(image, y, step, first_edge, edges):
    """edges (width,) uint8: classes of the differences between pixels of row y of image (height, width) and those before them.

    Where there is none before, edges stay: there paths begin, and penalties do not matter.
    """
    (dx, dy), width = step, image.shape[1]
    if 0 <= y - dy < image.shape[0]:
        begin, end = max(dx, 0), width + min(dx, 0)
        _classes(image[y, begin:end], image[y - dy, begin - dx : end - dx], first_edge, edges[begin:end])


@njit(cache=True)
@no_type_check
def _classes(row, row_before, first_edge, classes):
    """classes (n,) uint8 of the differences of row and row_before (n,) uint8; see _Jumps."""
    edge = np.uint8(first_edge)
    for x in range(classes.shape[0]):
        here, there = row[x], row_before[x]
        difference = np.uint8(max(here, there) - min(here, there))
        classes[x] = difference if edge == 0 else np.uint8(difference >= edge)


@njit(cache=True)
@no_type_check
def _begin_sums(pixel):
    """Sets the totals of a pixel (see _extend_path) to zero, or to no cost where there is none."""
    cost, total, at, candidates = pixel
    for d in range(at, at + candidates, lane_count(cost)):
        store(total, d, begin_sums(load(cost, d), total))


@njit(cache=True)
@no_type_check
def _follow_right_image(right, y, steps, first_edge, edges):
    """edges (directions, width + candidates) uint8: of row y of right (height, width), backwards; 1 outside the image."""
    width = right.shape[1]
    forwards = np.empty(width, np.uint8)
    for r in range(steps.shape[0]):
        forwards[:] = 1
        _edges_of_row(right, y, steps[r], first_edge, forwards)
        for x in range(width):
            edges[r, x] = forwards[width - 1 - x]


@njit(cache=True)
@no_type_check
def _choose_penalties(edges, values, vectors):
    """Fills vectors (directions, left classes, 3, n) from values (directions, left classes, 2, 3) by edges (directions, n)."""
    for r in range(vectors.shape[0]):
        for left in range(vectors.shape[1]):
            for kind in range(3):
                _choose(edges[r], values[r, left, :, kind], vectors[r, left, kind])


@njit(cache=True)
@no_type_check
def _choose(edges, values, chosen):
    """chosen (n,) = the first or second of values by edges (n,) uint8 of 0 and 1."""
    even, edge = values[0], values[1]
    for i in range(chosen.shape[0]):
        chosen[i] = edge if edges[i] else even


@njit(cache=True)
@no_type_check
def _extend_path(pixel, paths, ends, floor, jump):
    """L_r of one pixel (eq. 13), added to its total; returns the minimum over its candidates.

    pixel = (flat costs, flat totals, its first element there, candidates); paths holds L_r(p - r) from element ends[0], whose
    minimum is `floor`, and gets L_r(p) from ends[1], which may be the same; jump = (flat penalties, first, length of a vector).
    """
    cost, total, at, candidates = pixel
    before, now = ends
    penalties, below, length = jump
    above, far = below + length, below + 2 * length
    unreachable = paths[now - LANES]  # what the margins hold
    floors = broadcast(floor)
    most = broadcast(paths.dtype.type(0) if floor == unreachable else unreachable)  # no candidate before: begin anew
    minimum_here = broadcast(unreachable)
    finished = minimum_here  # written one step late, since the next lanes still need the old neighbour
    for d in range(0, candidates, lane_count(paths)):
        from_below = add(load(paths, before + d - 1), load_or_repeat(penalties, below, d))
        from_above = add(load(paths, before + d + 1), load_or_repeat(penalties, above, d))
        near = minimum(load(paths, before + d), minimum(from_below, from_above))
        best = minimum(minimum(gap(near, floors), load_or_repeat(penalties, far, d)), most)
        store(paths, now + d - lane_count(paths), finished)
        finished = add(load_costs(cost, at + d, paths), best)
        store(total, at + d, add(load(total, at + d), like(finished, total)))
        minimum_here = minimum(minimum_here, finished)
    store(paths, now + candidates - lane_count(paths), finished)
    return lowest(minimum_here)
