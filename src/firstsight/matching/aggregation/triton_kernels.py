"""The kernels behind matching.gpu. Importing this module imports triton.

Candidates lie across the lanes of a program: LANES of them, a power of two. A lane beyond the last candidate is a cell
without a cost. Path costs and sums are computed in int32, of float32 costs in float32. All arrays are C-contiguous.
"""

from typing import no_type_check

import triton
import triton.language as tl

EXTENTS = ["height", "width", "dx", "dy", "halvings"]
"""Arguments for whose values no kernels of their own are compiled."""


@triton.jit(do_not_specialize=EXTENTS)
@no_type_check
def census(grey, codes, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr, LANES: tl.constexpr):
    """codes (height, width) uint64, written, of grey (height, width) uint8. Here the lanes are pixels."""
    pixel = tl.program_id(0) * LANES + tl.arange(0, LANES)
    y, x = pixel // width, pixel % width
    inside = y < height
    centre = tl.load(grey + pixel, mask=inside, other=0)
    code = tl.zeros([LANES], tl.uint64)
    for i in tl.static_range(-ROWS, ROWS + 1):
        for j in tl.static_range(-COLUMNS, COLUMNS + 1):
            if i != 0 or j != 0:
                at = _inside(y + i, height) * width + _inside(x + j, width)
                neighbour = tl.load(grey + at, mask=inside, other=0)
                code = (code << 1) | (neighbour < centre).to(tl.uint64)
    tl.store(codes + pixel, code, mask=inside)


@triton.jit
@no_type_check
def _inside(i, count):
    """The border is repeated."""
    return tl.minimum(tl.maximum(i, 0), count - 1)


@triton.jit(do_not_specialize=EXTENTS)
@no_type_check
def census_cost(
    left, right, cost, height, width, candidates, halvings,
    REACH: tl.constexpr, COLUMNS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """cost (height, width, candidates) uint8, written, of left and right codes (height, width) uint64.

    A program walks COLUMNS pixels of a row, so that the sum over a block's column is computed once for three blocks.
    """
    y, first = tl.program_id(0), tl.program_id(1) * COLUMNS
    d = tl.arange(0, LANES)
    at = (y.to(tl.int64) * width + first) * candidates + d
    before = _column_sum(left, right, y, first - 1, d, height, width, REACH)
    here = _column_sum(left, right, y, first, d, height, width, REACH)
    for x in range(first, tl.minimum(first + COLUMNS, width)):
        after = _column_sum(left, right, y, x + 1, d, height, width, REACH)
        total = before + here + after if REACH else here
        rounded = (total + ((1 << halvings) >> 1)) >> halvings
        tl.store(cost + at, rounded.to(tl.uint8), mask=d < candidates)
        before, here = here, after
        at += candidates


@triton.jit
@no_type_check
def _column_sum(left, right, y, x, d, height, width, REACH: tl.constexpr):
    """Hamming distances (LANES,), summed over the pixels of column x at most REACH from row y; borders are repeated."""
    x = _inside(x, width)
    match = tl.maximum(x - d, 0)
    total = tl.zeros_like(d)
    for i in tl.static_range(-REACH, REACH + 1):
        row = _inside(y + i, height).to(tl.int64) * width
        total += _count_ones(tl.load(left + row + x) ^ tl.load(right + row + match))
    return total


@triton.jit
@no_type_check
def _count_ones(bits):
    """Counts in pairs, in fours, in bytes, then adds the bytes; compilers know this form and use the instruction."""
    bits = bits - ((bits >> 1) & 0x5555555555555555)
    bits = (bits & 0x3333333333333333) + ((bits >> 2) & 0x3333333333333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F0F0F0F0F
    return ((bits * 0x0101010101010101) >> 56).to(tl.int32)


@triton.jit(do_not_specialize=EXTENTS)
@no_type_check
def add_paths(
    cost, total, left, right, jumps, right_class, height, width, candidates, dx, dy,
    NO_COST: tl.constexpr, NO_SUM: tl.constexpr, UNREACHABLE: tl.constexpr,
    FIRST: tl.constexpr, TWO_IMAGES: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Adds L_r of one direction (dx, dy) to total (height, width, candidates); the FIRST direction sets it.

    A program walks one line of pixels from where it enters the image. No other program touches the cells of this line,
    so plain additions suffice. What the next pixel holds is loaded while the path is extended to this one, which hides
    the way to memory. jumps (256, right classes, 3) int32 or float32: penalties by difference of brightness;
    right_class (256,) uint8.
    """
    d = tl.arange(0, LANES)
    x, y, length = _line(tl.program_id(0), height, width, dx, dy)
    pixel = y.to(tl.int64) * width + x
    path = tl.zeros([LANES], jumps.dtype.element_ty)
    floor = tl.min(path, 0)
    costs, sums, grey, match = _read(
        cost, total, left, right, pixel, x, candidates, candidates, d, NO_COST, FIRST, TWO_IMAGES
    )
    grey_before, match_before = grey, match
    for i in range(length):
        next_pixel = pixel + dy * width + dx
        count = tl.where(i + 1 < length, candidates, 0)
        next_costs, next_sums, next_grey, next_match = _read(
            cost, total, left, right, next_pixel, x + dx, count, candidates, d, NO_COST, FIRST, TWO_IMAGES
        )
        seen = (x >= d) & (x - dx >= d)
        below, above, far = _penalties(
            jumps, right_class, tl.abs(grey - grey_before), tl.abs(match - match_before), seen, TWO_IMAGES
        )
        known = costs < NO_COST  # false of NaN too
        best = _best_way(path, floor, below, above, far, d, UNREACHABLE, LANES)
        path = tl.where(known, costs.to(path.dtype) + best, UNREACHABLE)
        floor = tl.min(path, 0)
        summed = path if FIRST else sums.to(path.dtype) + path
        kept = tl.where(known, summed.to(total.dtype.element_ty), NO_SUM)
        tl.store(total + pixel * candidates + d, kept, mask=d < candidates)
        grey_before, match_before = grey, match
        costs, sums = next_costs, next_sums
        grey, match = next_grey, next_match
        pixel = next_pixel
        x += dx


@triton.jit
@no_type_check
def _line(line, height, width, dx, dy):
    """x, y where a line of step (dx, dy) enters the image, through |dy| rows or |dx| columns, and how long it is."""
    rows, columns = tl.minimum(tl.abs(dy), height), tl.minimum(tl.abs(dx), width)
    rest, across = line - rows * width, tl.maximum(columns, 1)
    x = tl.where(rest < 0, line % width, rest % across)
    y = tl.where(rest < 0, line // width, rows + rest // across)
    steps_x = tl.where(dx == 0, height, (width - 1 - x) // tl.maximum(tl.abs(dx), 1))
    steps_y = tl.where(dy == 0, width, (height - 1 - y) // tl.maximum(tl.abs(dy), 1))
    x, y = tl.where(dx < 0, width - 1 - x, x), tl.where(dy < 0, height - 1 - y, y)
    return x, y, tl.minimum(steps_x, steps_y) + 1


@triton.jit
@no_type_check
def _read(
    cost, total, left, right, pixel, x, count, candidates, d,
    NO_COST: tl.constexpr, FIRST: tl.constexpr, TWO_IMAGES: tl.constexpr,
):  # fmt: skip
    """Reads a pixel's costs and sums (LANES,), its brightness, and that of its candidates' right pixels (LANES,).

    `count` candidates are read; 0 behind the end of a line, where there is no pixel.
    """
    cells, here = pixel * candidates + d, d < count
    costs = tl.load(cost + cells, mask=here, other=NO_COST)
    sums = costs  # unused in the FIRST direction
    if not FIRST:
        sums = tl.load(total + cells, mask=here, other=0)
    grey = tl.load(left + pixel, mask=count > 0, other=0).to(tl.int32)
    match = grey
    if TWO_IMAGES:
        match = tl.load(right + pixel - d, mask=here & (x >= d), other=0).to(tl.int32)
    return costs, sums, grey, match


@triton.jit
@no_type_check
def _penalties(jumps, right_class, difference, right_difference, seen, TWO_IMAGES: tl.constexpr):
    """P1 from below, P1 from above, P2: numbers, or lanes of TWO_IMAGES; what is not `seen` there counts as an edge."""
    if TWO_IMAGES:
        even = jumps + difference * 6
        edge = tl.load(right_class + right_difference, mask=seen, other=1) != 0
        below = tl.where(edge, tl.load(even + 3), tl.load(even))
        above = tl.where(edge, tl.load(even + 4), tl.load(even + 1))
        far = tl.where(edge, tl.load(even + 5), tl.load(even + 2))
    else:
        jump = jumps + difference * 3
        below, above, far = tl.load(jump), tl.load(jump + 1), tl.load(jump + 2)
    return below, above, far


@triton.jit
@no_type_check
def _best_way(path, floor, below, above, far, d, UNREACHABLE: tl.constexpr, LANES: tl.constexpr):
    """What eq. 13 adds to C(p, d): the cheapest way from L_r(p - r), `path`, over its minimum, `floor`.

    Neighbouring candidates are in other lanes, and gather() fetches them: from registers of the same warp, or of
    another one with the barriers that this takes.
    """
    lower = tl.where(d > 0, tl.gather(path, tl.maximum(d - 1, 0), 0), UNREACHABLE)
    upper = tl.where(d < LANES - 1, tl.gather(path, tl.minimum(d + 1, LANES - 1), 0), UNREACHABLE)
    near = tl.minimum(path, tl.minimum(lower + below, upper + above))
    best = tl.minimum(near - floor, far)
    return tl.where(floor < UNREACHABLE, best, 0)  # no candidate before: begin anew


@triton.jit(do_not_specialize=EXTENTS)
@no_type_check
def take_winners(
    total, position, of_right, found, width, candidates,
    NO_SUM: tl.constexpr, FIT: tl.constexpr, COLUMNS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """position float32, of_right uint16, found bool (height, width), written, of total (height, width, candidates).

    A program walks COLUMNS pixels of a row: the sums of a right pixel lie on a diagonal, and one that walks finds most
    of them in its cache. FIT is a SubPixel.
    """
    first = tl.program_id(1) * COLUMNS
    row = tl.program_id(0).to(tl.int64) * width
    d = tl.arange(0, LANES)
    for x in range(first, tl.minimum(first + COLUMNS, width)):
        at = total + (row + x) * candidates
        lowest, best = _cheapest(tl.load(at + d, mask=d < candidates, other=NO_SUM), d, LANES)
        tl.store(found + row + x, lowest != NO_SUM)
        refined = _between(at, lowest, best, candidates, NO_SUM, FIT)
        tl.store(position + row + x, tl.where(lowest != NO_SUM, refined, 0.0))
        seen = (d < candidates) & (x + d < width)
        _, best = _cheapest(tl.load(at + d * (candidates + 1), mask=seen, other=NO_SUM), d, LANES)
        tl.store(of_right + row + x, best.to(tl.uint16))


@triton.jit
@no_type_check
def _cheapest(costs, d, LANES: tl.constexpr):
    """The smallest cost and the first candidate that has it."""
    lowest = tl.min(costs, 0)
    return lowest, tl.min(tl.where(costs == lowest, d, LANES), 0)


@triton.jit
@no_type_check
def _between(at, lowest, d, candidates, NO_SUM: tl.constexpr, FIT: tl.constexpr):
    """d and an offset within half a candidate, from the costs beside it; computed in float64, as the twin does."""
    before, after = tl.load(at + tl.maximum(d - 1, 0)), tl.load(at + tl.minimum(d + 1, candidates - 1))
    inner = (d > 0) & (d < candidates - 1) & (before != NO_SUM) & (after != NO_SUM)
    before, after = tl.where(inner, before, 0).to(tl.float64), tl.where(inner, after, 0).to(tl.float64)
    here = tl.where(inner, lowest, 0).to(tl.float64)
    bend = tl.zeros_like(here)
    if FIT == "lines":
        bend = 2 * (tl.maximum(before, after) - here)
    elif FIT == "parabola":
        bend = 2 * (before - 2 * here + after)
    offset = tl.where(bend > 0, (before - after) / tl.where(bend > 0, bend, 1.0), 0.0)
    return (d + offset).to(tl.float32)
