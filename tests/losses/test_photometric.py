"""Structural similarity against its formula window by window, and the kernels against float64 autograd."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from firstsight.losses import photometric as module
from firstsight.losses.photometric import MIN_WIDTH, absolute, dissimilarity, photometric


def pair(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """An image with even and rough parts, and one like it."""
    draw = torch.Generator().manual_seed(seed)
    a = torch.rand(shape, generator=draw, dtype=torch.float64)
    a[..., : shape[-1] // 2] = a[..., : shape[-1] // 2] * 1e-3 + 0.8
    b = (a + 0.1 * torch.randn(shape, generator=draw, dtype=torch.float64)).clamp(0, 1)
    return a.to(dtype), b.to(dtype)


def slow(a: np.ndarray, b: np.ndarray, alpha: float) -> np.ndarray:
    """Eq. 2 of Godard et al. (2017), one window of one colour of one image at a time."""
    batch, colours, height, width = a.shape
    out = np.zeros((batch, 1, height - 2, width - 2))
    for n in range(batch):
        for y in range(height - 2):
            for x in range(width - 2):
                for c in range(colours):
                    one, other = (image[n, c, y : y + 3, x : x + 3].ravel() for image in (a, b))
                    cov = np.cov(one, other, bias=True)
                    ssim = (2 * one.mean() * other.mean() + 0.01**2) * (2 * cov[0, 1] + 0.03**2)
                    ssim /= one.mean() ** 2 + other.mean() ** 2 + 0.01**2
                    ssim /= cov[0, 0] + cov[1, 1] + 0.03**2
                    out[n, 0, y, x] += alpha * np.clip((1 - ssim) / 2, 0, 1) / colours
                    out[n, 0, y, x] += (1 - alpha) * abs(one[4] - other[4]) / colours
    return out


@pytest.mark.parametrize("shape", [(2, 3, 7, 21), (1, 1, 3, 18), (2, 3, 5, 9)])
@pytest.mark.parametrize("alpha", [0.0, 0.85, 1.0])
def test_equation(shape, alpha):
    a, b = pair(shape, torch.float64)
    expected = slow(a.numpy(), b.numpy(), alpha)
    assert photometric(a, b, alpha).numpy() == pytest.approx(expected, abs=1e-12)
    tolerance = 1e-6 if shape[-1] >= MIN_WIDTH else 3e-4  # E[a^2] - E[a]^2 where the kernels do not reach
    assert photometric(a.float(), b.float(), alpha).numpy() == pytest.approx(expected, abs=tolerance)


def test_structure_has_85_percent_and_images_of_two_types_are_compared():
    """The default share, from the paper; float32 beside float64 is as exact as float32."""
    a, b = pair((1, 2, 5, 20), torch.float64)
    expected = slow(a.numpy(), b.numpy(), 0.85)
    assert photometric(a, b).numpy() == pytest.approx(expected, abs=1e-12)
    for one, other in ((a.float(), b), (a, b.float())):
        assert photometric(one, other).numpy() == pytest.approx(expected, abs=3e-4)


@pytest.mark.parametrize("alpha", [0.85, 0.3])
@pytest.mark.parametrize("shape", [(2, 3, 11, 37), (1, 1, 3, 18), (1, 2, 4, 34), (3, 3, 20, 64)])
def test_the_kernels_derivatives_are_those_of_float64(shape, alpha):
    a, b = (image.requires_grad_() for image in pair(shape))
    arriving = torch.randn(shape[0], 1, shape[2] - 2, shape[3] - 2, generator=torch.Generator().manual_seed(1))
    (photometric(a, b, alpha) * arriving).sum().backward()
    exact = [image.detach().double().requires_grad_() for image in (a, b)]
    plain = alpha * dissimilarity(*exact).mean(1, keepdim=True) + (1 - alpha) * absolute(*exact)
    (plain * arriving.double()).sum().backward()
    for mine, theirs in zip((a, b), exact, strict=True):
        assert mine.grad is not None
        assert theirs.grad is not None
        assert (mine.grad - theirs.grad).abs().max() < 1e-5 * theirs.grad.abs().max()


def test_gradient():
    a, b = (image.requires_grad_() for image in pair((1, 2, 5, 6), torch.float64))
    assert torch.autograd.gradcheck(photometric, (a, b), fast_mode=True)


def test_only_what_is_asked_for_is_differentiated():
    a, b = pair((1, 3, 6, 20))
    photometric(a, b.requires_grad_()).sum().backward()
    assert a.grad is None
    assert b.grad is not None


def test_similarity_is_symmetric_and_zero_for_equals():
    a, b = pair((2, 3, 9, 20))
    assert photometric(a, a).abs().max() < 1e-6
    assert torch.allclose(photometric(a, b), photometric(b, a), atol=1e-7)
    assert photometric(a, 1 - a).max() <= 1


def test_truth_beats_perturbation():
    """A texture shifted by 5 px: of all shifts the true one has the least loss."""
    texture = torch.rand(1, 3, 20, 80, generator=torch.Generator().manual_seed(2))
    moved = texture[..., 5:55]
    losses = [float(photometric(moved, texture[..., 10 - s : 60 - s]).mean()) for s in range(0, 11)]
    assert int(np.argmin(losses)) == 5
    assert losses[5] < 1e-6
    assert min(losses[:5] + losses[6:]) > 0.2


def test_strides_and_threads_change_nothing(monkeypatch):
    a, b = pair((4, 3, 12, 40))
    expected = photometric(a, b)
    crossed = a.to(memory_format=torch.channels_last)
    assert torch.equal(photometric(crossed, b), expected)
    monkeypatch.setattr(module.torch, "get_num_threads", lambda: 3)
    assert torch.equal(photometric(a, b), expected)


def test_images_of_different_sizes_are_refused():
    with pytest.raises(TypeCheckError):
        photometric(torch.zeros(1, 3, 5, 20), torch.zeros(1, 3, 5, 21))
