"""The kernels behind triton_correlation. Importing this module imports triton.

Maps (batch, channels, height, width) and scores (batch, displacements, height, width) are contiguous. A program takes PIXELS
neighbours in a row of one sample; sums are in float32, of float64 in float64.
"""

from typing import no_type_check

import triton
import triton.language as tl

EXTENTS = ["channels", "height", "width", "first_row", "first_column", "step"]
"""Arguments for whose values no kernels of their own are compiled."""


@triton.jit(do_not_specialize=EXTENTS)
@no_type_check
def correlate(
    a, b, out, channels, height, width, first_row, first_column, step,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, EXACT: tl.constexpr, CHANNELS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """out of a and b, for one row of the window: a's features stay while the displacements of the row go by."""
    SUM: tl.constexpr = tl.float64 if EXACT else tl.float32
    line, row = tl.program_id(0), tl.program_id(2)
    sample, y = line // height, line % height
    x = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    plane = tl.cast(height, tl.int64) * width
    other = tl.zeros_like(x) + y + step * (first_row + row)
    for column in range(COLUMNS):
        there = x + step * (first_column + column)
        total = tl.zeros([PIXELS], SUM)
        for first in range(0, channels, CHANNELS):
            c = first + tl.arange(0, CHANNELS)[:, None]
            known = (c < channels) & (x < width)[None, :]
            reached = known & ((other >= 0) & (other < height) & (there >= 0) & (there < width))[None, :]
            at = (sample * channels + c) * plane
            here = tl.load(a + at + y * width + x[None, :], mask=known, other=0)
            values = tl.load(b + at + (other * width + there)[None, :], mask=reached, other=0)
            total += tl.sum(here.to(SUM) * values.to(SUM), axis=0)
        number = (sample * ROWS + row) * COLUMNS + column
        tl.store(out + number * plane + y * width + x, total / channels, mask=x < width)


@triton.jit(do_not_specialize=[*EXTENTS, "sign"])
@no_type_check
def gather(
    scores, other, out, sign, channels, height, width, first_row, first_column, step,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, EXACT: tl.constexpr, CHANNELS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """out, the derivative by `a` (sign 1, other is b) or by `b` (sign -1, other is a), where `scores` arrive."""
    SUM: tl.constexpr = tl.float64 if EXACT else tl.float32
    line = tl.program_id(0)
    sample, y = line // height, line % height
    x = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)[:, None]
    plane = tl.cast(height, tl.int64) * width
    at = (sample * channels + c) * plane
    total = tl.zeros([CHANNELS, PIXELS], SUM)
    for row in range(ROWS):
        there_y = tl.zeros_like(x) + y + sign * step * (first_row + row)
        score_y = tl.where(sign > 0, y, there_y)
        for column in range(COLUMNS):
            there = x + sign * step * (first_column + column)
            reached = (x < width) & (there >= 0) & (there < width) & (there_y >= 0) & (there_y < height)
            number = (sample * ROWS + row) * COLUMNS + column
            from_scores = number * plane + score_y * width + tl.where(sign > 0, x, there)
            arriving = tl.load(scores + from_scores, mask=reached, other=0)
            places = at + (there_y * width + there)[None, :]
            values = tl.load(other + places, mask=(c < channels) & reached[None, :], other=0)
            total += arriving.to(SUM)[None, :] * values.to(SUM)
    tl.store(out + at + y * width + x[None, :], total / channels, mask=(c < channels) & (x < width)[None, :])
