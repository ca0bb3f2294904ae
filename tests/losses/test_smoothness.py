"""Edge-aware smoothness against loops."""

import math

import pytest
import torch

from firstsight.losses.smoothness import edge_aware


@pytest.mark.parametrize(("order", "sharpness"), [(1, 1), (2, 150.0)])
def test_equation(order, sharpness):
    draw = torch.Generator().manual_seed(0)
    values, image = torch.rand(2, 2, 5, 6, generator=draw), torch.rand(2, 3, 5, 6, generator=draw)
    rough = edge_aware(values, image, order, sharpness)
    assert rough.along_x.shape == (2, 2, 5, 6 - order)
    assert rough.along_y.shape == (2, 2, 5 - order, 6)
    for axis, along in ((3, rough.along_x), (2, rough.along_y)):
        for n, c, y, x in torch.cartesian_prod(*map(torch.arange, along.shape)).tolist():
            at = [(y, x + k) if axis == 3 else (y + k, x) for k in range(order + 1)]
            f = [float(values[n, c, i, j]) for i, j in at]
            change = f[1] - f[0] if order == 1 else f[2] - 2 * f[1] + f[0]
            (i, j), (i0, j0) = at[-1], at[0]
            step = sum(abs(float(image[n, k, i, j] - image[n, k, i0, j0])) for k in range(3)) / 3
            assert float(along[n, c, y, x]) == pytest.approx(abs(change) * math.exp(-sharpness * step), rel=1e-4)


def test_planes_are_smooth():
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    slanted, image = (0.3 * x - 0.2 * y)[None, None], torch.rand(1, 3, 6, 7)
    assert float(edge_aware(torch.full_like(slanted, 3.0), image).mean()) == 0
    assert float(edge_aware(slanted, image).mean()) > 0.1
    assert float(edge_aware(slanted, image, order=2).mean()) < 1e-6


def test_truth_beats_perturbation():
    """A step costs less where the image has one."""
    image = (torch.arange(8) >= 4).float().expand(1, 3, 5, 8)
    step = image[:, :1]
    assert (
        edge_aware(step, image, sharpness=10).mean() < 1e-3 * edge_aware(step.roll(1, -1), image, sharpness=10).mean()
    )


def test_gradient():
    draw = torch.Generator().manual_seed(1)
    values = torch.rand(1, 1, 4, 5, generator=draw, dtype=torch.float64, requires_grad=True)
    image = torch.rand(1, 3, 4, 5, generator=draw, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: edge_aware(v, image, 2, 3.0).mean(), values)
