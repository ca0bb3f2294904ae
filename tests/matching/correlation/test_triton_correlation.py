"""The GPU's kernels of correlation against its slow reference: compiled where there is a GPU, else run by Triton's interpreter."""

import os

import pytest
import torch

from firstsight.matching.correlation.local import Window, by_shifts, correlation

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
pytest.importorskip("triton", reason="triton is not installed: pip install 'triton>=3.3'")

from firstsight.matching.correlation.triton_correlation import TritonCorrelation  # noqa: E402

WINDOWS = [Window.disparities(3), Window((-1, 0), (-2, -1), 2), Window((1, 2), (0, 1), -1)]


def maps(shape: tuple[int, int, int, int], dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=generator, dtype=dtype).to(DEVICE).requires_grad_() for _ in "ab"]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("shape", [(2, 3, 4, 9), (1, 17, 2, 66)])
def test_scores_and_their_derivatives_equal_the_reference(window: Window, shape: tuple[int, int, int, int]):
    a, b = maps(shape, torch.float32)
    expected, found = by_shifts(a, b, window), TritonCorrelation.apply(a, b, window)
    arriving = torch.randn(expected.shape, generator=torch.Generator().manual_seed(4)).to(DEVICE)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    for by, reference in zip(
        torch.autograd.grad(found, (a, b), arriving), torch.autograd.grad(expected, (a, b), arriving), strict=True
    ):
        torch.testing.assert_close(by, reference, atol=1e-6, rtol=1e-5)


def test_derivatives_in_double_precision():
    a, b = maps((1, 1, 2, 3), torch.float64)
    window = Window((0, 1), (-1, 0))
    assert torch.autograd.gradcheck(lambda a, b: TritonCorrelation.apply(a, b, window), (a, b), fast_mode=True)


def test_derivative_by_one_map_alone():
    a, b = maps((1, 2, 3, 4), torch.float32)
    TritonCorrelation.apply(a.detach(), b, Window.square(1)).sum().backward()
    assert b.grad is not None
    assert a.grad is None


@pytest.mark.skipif(DEVICE == "cpu", reason="no GPU")
def test_maps_on_a_gpu_take_these_kernels():
    a, b = maps((1, 4, 6, 20), torch.float32)
    assert type(correlation(a, b, Window.square(2)).grad_fn).__name__ == "TritonCorrelationBackward"
