"""correlation() on a GPU: no more is held there than the maps and the result.

Tensors lie on one CUDA or ROCm device. With TRITON_INTERPRET=1 in the environment before this module is imported they lie on the
CPU, and Triton's interpreter runs the same kernels, slowly.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from firstsight.matching.correlation.local import Window
from firstsight.matching.correlation.triton_kernels import correlate, gather

PIXELS, CHANNELS = 64, 16  # of a program


class TritonCorrelation(torch.autograd.Function):
    """The scores of two maps of floats of one type, in that type."""

    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, window: Window) -> Tensor:
        a, b = a.contiguous(), b.contiguous()
        ctx.save_for_backward(a, b)
        ctx.window = window
        batch, channels, height, width = a.shape
        rows, columns = window.shape
        out = a.new_empty(batch, rows * columns, height, width)
        grid = (batch * height, -(-width // PIXELS), rows)
        with torch.cuda.device_of(a):
            correlate[grid](a, b, out, channels, height, width, *numbers_of(window, a))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        a, b = ctx.saved_tensors
        arriving = gradients[0].contiguous()
        by_a = gathered(arriving, b, ctx.window, 1) if ctx.needs_input_grad[0] else None
        by_b = gathered(arriving, a, ctx.window, -1) if ctx.needs_input_grad[1] else None
        return by_a, by_b, None


def gathered(arriving: Tensor, other: Tensor, window: Window, sign: int) -> Tensor:
    """The derivative by one of the maps: by `a` with sign 1, where `other` is b; by `b` with -1, where it is a."""
    batch, channels, height, width = other.shape
    out, numbers = torch.empty_like(other), numbers_of(window, other)
    grid = (batch * height, -(-width // PIXELS), -(-channels // CHANNELS))
    with torch.cuda.device_of(other):
        gather[grid](arriving, other, out, sign, channels, height, width, *numbers)
    return out


def numbers_of(window: Window, maps: Tensor) -> tuple:
    """First row, first column, step, rows, columns, whether in float64, channels and pixels at once, as the kernels take them."""
    exact = maps.dtype == torch.float64
    return window.rows[0], window.columns[0], window.step, *window.shape, exact, CHANNELS, PIXELS
