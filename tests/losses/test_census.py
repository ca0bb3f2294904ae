"""The soft census against its formula pixel by pixel, and the kernels against float64 autograd."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from firstsight.errors import InputError
from firstsight.losses.census import by_slices, census, grey_levels
from firstsight.losses.photometric import photometric


def pair(shape: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[torch.Tensor, ...]:
    draw = torch.Generator().manual_seed(seed)
    a = torch.rand(shape, generator=draw, dtype=torch.float64)
    return a.to(dtype), (a + 0.02 * torch.randn(shape, generator=draw, dtype=torch.float64)).to(dtype)


def slow(a: list, b: list) -> list[list[float]]:
    """The formula for grey levels of one image, one pixel and one neighbour at a time."""
    height, width = len(a), len(a[0])
    out = [[0.0] * (width - 6) for _ in range(height - 6)]
    for y in range(3, height - 3):
        for x in range(3, width - 3):
            for v in range(-3, 4):
                for u in range(-3, 4):
                    s = []
                    for g in (a, b):
                        t = g[y + v][x + u] - g[y][x]
                        s.append(t / math.sqrt(0.81 + t * t))
                    d2 = (s[0] - s[1]) ** 2
                    out[y - 3][x - 3] += d2 / (0.1 + d2)
    return out


@pytest.mark.parametrize("shape", [(2, 3, 9, 12), (1, 1, 7, 23)])
def test_equation(shape):
    a, b = pair(shape)
    weights = (0.299, 0.587, 0.114) if shape[1] == 3 else (1.0,)
    greys = [[sum(w * image[n, c] * 255 for c, w in enumerate(weights)) for n in range(shape[0])] for image in (a, b)]
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-3)):
        found = census(a.to(dtype), b.to(dtype))
        assert found.shape == (shape[0], 1, shape[2] - 6, shape[3] - 6)
        for n in range(shape[0]):
            expected = slow(greys[0][n].tolist(), greys[1][n].tolist())
            assert found[n, 0].numpy() == pytest.approx(np.array(expected), abs=tolerance)


def test_one_bright_neighbour():
    """One neighbour 10 grey levels above an even image: s = 10 / sqrt(100.81) = 0.99597, s^2 / (0.1 + s^2) = 0.90842."""
    even = torch.full((1, 1, 7, 7), 0.4, dtype=torch.float64)
    other = even.clone()
    other[0, 0, 1, 5] += 10 / 255
    assert float(census(even, other)) == pytest.approx(0.908421, abs=1e-5)
    other = even.clone()
    other[0, 0, 3, 3] += 10 / 255
    assert float(census(even, other)) == pytest.approx(48 * 0.908421, abs=1e-3)
    assert float(census(even, even)) == 0


@pytest.mark.parametrize("shape", [(2, 3, 11, 37), (1, 1, 8, 7)])
def test_the_kernels_derivatives_are_those_of_float64(shape):
    a, b = (image.requires_grad_() for image in pair(shape, torch.float32))
    draw = torch.Generator().manual_seed(1)
    arriving = torch.randn(shape[0], 1, shape[2] - 6, shape[3] - 6, generator=draw)
    (census(a, b) * arriving).sum().backward()
    exact = [image.detach().double().requires_grad_() for image in (a, b)]
    sums = by_slices(*(grey_levels(image) for image in exact))[:, None, 3:-3, 3:-3]
    (sums * arriving.double()).sum().backward()
    for mine, theirs in zip((a, b), exact, strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert (mine.grad - theirs.grad).abs().max() < 1e-3 * theirs.grad.abs().max()


def test_gradient():
    a, b = (image.requires_grad_() for image in pair((1, 1, 8, 9)))
    assert torch.autograd.gradcheck(census, (a, b), fast_mode=True)


def test_brightness_and_contrast_change_nothing():
    """b = 0.7 a + 0.2 looks a quarter different to absolute difference, and not 1 % to the census."""
    draw = torch.Generator().manual_seed(2)
    a = torch.rand(1, 3, 30, 40, generator=draw)
    assert census(a, a + 0.2).max() < 1e-3
    changed = 0.7 * a + 0.2
    shifted = a.roll(1, -1)
    assert census(a, changed).mean() < 0.01 * census(a, shifted).mean()
    assert photometric(a, changed, 0.0).mean() > 0.2 * photometric(a, shifted, 0.0).mean()


def test_truth_beats_perturbation():
    texture = torch.rand(1, 3, 20, 80, generator=torch.Generator().manual_seed(2))
    moved = texture[..., 5:55]
    losses = [float(census(moved, texture[..., 10 - s : 60 - s]).mean()) for s in range(0, 11)]
    assert losses[5] < 1e-3
    assert min(losses[:5] + losses[6:]) > 10


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InputError, match="at least 7x7 px"):
        census(torch.zeros(1, 3, 6, 20), torch.zeros(1, 3, 6, 20))
    with pytest.raises(InputError, match="1 or 3 channels"):
        census(torch.zeros(1, 2, 8, 20), torch.zeros(1, 2, 8, 20))
    with pytest.raises(TypeCheckError):
        census(torch.zeros(1, 3, 8, 20), torch.zeros(1, 3, 8, 21))
