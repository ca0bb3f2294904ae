"""Correlation of feature maps over a window of displacements: the primitive that stereo, flow and localisation share.

Paper:  Dosovitskiy et al. FlowNet: Learning Optical Flow with Convolutional Networks. ICCV 2015, section 3 (k = 0: single pixels);
        Sun, Yang, Liu, Kautz. PWC-Net. CVPR 2018, eq. 3.
Idea:   how well the features of one pixel agree with those of the other map's pixels around the same place:
        c(x, k) = 1/C sum over channels of a(x) b(x + d_k), 0 where x + d_k lies outside                     -> correlation()
        d_k = step (column, row) for the rows and columns of a window, row by row                            -> Window
        dc/da(x) = sum_k g(x, k) b(x + d_k) / C,   dc/db(x) = sum_k g(x - d_k, k) a(x - d_k) / C     -> correlation_kernels.gather()
        A window of one row is a cost volume of stereo, a square one that of flow.
Differs: float32 on a CPU takes kernels that hold no more than the maps and the result, on a GPU those of Triton where it is
        installed; elsewhere torch shifts and multiplies, which is also the slow reference and can be differentiated twice.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from firstsight.errors import InputError
from firstsight.kernels.lanes import FLOAT_LANES
from firstsight.matching.correlation.correlation_kernels import correlate, gather

Maps = Float[Tensor, "batch channels height width"]
Scores = Float[Tensor, "batch displacements height width"]


@dataclass(frozen=True)
class Window:
    """Displacements (dx, dy) = step (column, row), for columns from the first to the last and rows likewise, both included."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    step: int = 1

    def __post_init__(self):
        if self.rows[0] > self.rows[1] or self.columns[0] > self.columns[1] or self.step == 0:
            raise InputError(f"{self}: give the first row and column before the last, and a step other than 0")

    @classmethod
    def square(cls, radius: int, step: int = 1) -> "Window":
        """(2 radius + 1)^2 displacements around none."""
        return cls((-radius, radius), (-radius, radius), step)

    @classmethod
    def disparities(cls, count: int) -> "Window":
        """0, 1, ... px to the left: where the right image of a rectified pair may show a pixel of the left one."""
        return cls((0, 0), (0, count - 1), -1)

    @property
    def shape(self) -> tuple[int, int]:
        """How many rows and columns."""
        return self.rows[1] - self.rows[0] + 1, self.columns[1] - self.columns[0] + 1

    @property
    def displacements(self) -> list[tuple[int, int]]:
        """(dx, dy) in px, in the order of the result's channels."""
        rows, columns = (range(first, last + 1) for first, last in (self.rows, self.columns))
        return [(self.step * column, self.step * row) for row in rows for column in columns]

    @property
    def reach(self) -> tuple[int, int]:
        """How far it reaches to the left and right, px."""
        ends = (self.step * self.columns[0], self.step * self.columns[1])
        return max(0, -min(ends)), max(0, *ends)


def correlation(a: Maps, b: Tensor, window: Window) -> Scores:
    """How well each pixel of `a` agrees with those of `b` at the window's displacements, the mean over the channels.

    Raises InputError for maps of two shapes.
    """
    if a.ndim != 4 or a.shape != b.shape:
        raise InputError(f"correlation: maps of {tuple(a.shape)} and {tuple(b.shape)}; give two of one shape")
    if a.device.type == "cuda" and find_spec("triton") is not None:
        from firstsight.matching.correlation.triton_correlation import TritonCorrelation

        return TritonCorrelation.apply(a, b, window)
    plain = any(maps.dtype != torch.float32 or maps.device.type != "cpu" for maps in (a, b))
    if plain or a.shape[-1] < FLOAT_LANES or torch.compiler.is_compiling():
        return by_shifts(a, b, window)
    return _Correlation.apply(a, b, window)


def by_shifts(a: Maps, b: Maps, window: Window) -> Scores:
    """The same, a displacement at a time: the slow reference, for any type and device."""
    height, width = a.shape[-2:]
    up, down = reach_of([dy for _, dy in window.displacements])
    left, right = window.reach
    padded = F.pad(b, (left, right, up, down))
    shifted = (
        padded[..., up + dy : up + dy + height, left + dx : left + dx + width] for dx, dy in window.displacements
    )
    return torch.stack([(a * other).mean(1) for other in shifted], 1)


def reach_of(displacements: list[int]) -> tuple[int, int]:
    """How far displacements reach against and along an axis."""
    return max(0, -min(displacements)), max(0, *displacements)


class _Correlation(torch.autograd.Function):
    """correlation() by kernels; rows of all channels lie side by side for them."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.window = window
        batch, channels, height, width = a.shape
        rows_a, rows_b = in_rows(a), in_rows(b, window.reach)
        out = a.new_empty(batch, len(window.displacements), height, width)
        scale, numbers = np.float32(1 / channels), numbers_of(window)
        each_row(lambda i, rows: correlate(rows_a[i], rows_b[i], numbers, scale, out[i].numpy().ravel(), rows), a)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        a, b = ctx.saved_tensors
        window, margins = ctx.window, ctx.window.reach[::-1]
        arriving = in_rows(gradients[0], margins)
        by_a = gathered(arriving, b, window, 1) if ctx.needs_input_grad[0] else None
        by_b = gathered(arriving, a, window, -1) if ctx.needs_input_grad[1] else None
        return by_a, by_b, None


def gathered(arriving: np.ndarray, other: Tensor, window: Window, sign: int) -> Tensor:
    """The derivative by one of the maps: by `a` with sign 1, where `other` is b; by `b` with -1, where it is a.

    `arriving` are rows with the window's reach as margins, the right one first.
    """
    batch, channels, height, width = other.shape
    left, right = window.reach
    margins = (left, right) if sign == 1 else (right, left)
    rows_other, side = in_rows(other, margins), (sign, right, margins[0])
    out = other.new_empty(batch, height, channels, width)
    scale, numbers = np.float32(1 / channels), numbers_of(window)
    each_row(lambda i, rows: gather(arriving[i], rows_other[i], numbers, side, scale, out[i].numpy(), rows), other)
    return out.transpose(1, 2)


def in_rows(maps: Tensor, margins: tuple[int, int] = (0, 0)) -> np.ndarray:
    """(batch, height, channels, width) with columns of zeros at both sides."""
    return F.pad(maps.detach(), margins).transpose(1, 2).contiguous().numpy()


def numbers_of(window: Window) -> tuple[int, int, int, int, int, int]:
    """First row, rows, first column, columns, step and the reach to the left, as the kernels take them."""
    (rows, columns), left = window.shape, window.reach[0]
    return window.rows[0], rows, window.columns[0], columns, window.step, left


def each_row(kernel: Callable[[int, tuple[int, int]], None], maps: Tensor) -> None:
    """Runs a kernel of (sample, rows from and to) on as many threads as torch would use."""
    (batch, height), threads = (maps.shape[0], maps.shape[2]), torch.get_num_threads()
    parts = -(-threads // batch)
    edges = [height * k // parts for k in range(parts + 1)]
    jobs = [(i, rows) for i in range(batch) for rows in pairwise(edges)]
    if threads == 1:
        for job in jobs:
            kernel(*job)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda job: kernel(*job), jobs))
