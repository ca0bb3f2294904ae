"""Networks for flow: their published sizes, their parts against loops, and that they learn what they can learn."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from firstsight.errors import InputError
from firstsight.flow.learned import flownet_c, flownet_s, global_matching, pwc_net, spynet
from firstsight.flow.learned.flownet_c import FlowNetC
from firstsight.flow.learned.flownet_s import FlowNetS
from firstsight.flow.learned.global_matching import GlobalMatching, matched, propagated, tokens_of
from firstsight.flow.learned.pwc_net import PwcNet, warped
from firstsight.flow.learned.spynet import SpyNet
from firstsight.flow.learned.supervised import Batch, LearnedFlow
from firstsight.training.data.dataset import Arrays
from firstsight.training.data.wanted import Wanted, frames
from firstsight.training.fit import Runtime, fit
from firstsight.training.recipe import Recipe

SMALL: dict[str, Callable[[], LearnedFlow]] = {
    "flownet-s": lambda: FlowNetS(flownet_s.Config(size=(64, 64), width=8)),
    "flownet-c": lambda: FlowNetC(flownet_c.Config(size=(64, 64), width=8, reach=2, step=1)),
    "pwc-net": lambda: PwcNet(
        pwc_net.Config(size=(64, 64), pyramid=(8, 12, 16), reach=2, decoder=(16, 8), context=(8, 8, 8, 8, 8, 8))
    ),
    "spynet": lambda: SpyNet(spynet.Config(size=(64, 64), levels=3, width=8)),
    "global-matching": lambda: GlobalMatching(global_matching.Config(size=(64, 64), width=24, halvings=2, layers=1)),
}
SCALES = {"flownet-s": 5, "flownet-c": 5, "pwc-net": 2, "spynet": 3, "global-matching": 2}


def shifted(count: int, reach: float, size: int = 64) -> Arrays:
    """Textures moved as a whole by up to `reach` px each way, bilinearly; where the truth leads outside it is not valid."""
    rng = np.random.default_rng(1)
    texture = torch.from_numpy(rng.random((count, 3, size // 4 + 16, size // 4 + 16)).astype(np.float32))
    large = F.interpolate(texture, scale_factor=4, mode="bicubic").clamp(0, 1)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    flow = rng.uniform(-reach, reach, (count, 2, 1, 1)).astype(np.float32)
    margin = (large.shape[-1] - size) // 2

    def crop(offset: np.ndarray) -> torch.Tensor:
        grid = np.stack([x - offset[:, 0] + margin, y - offset[:, 1] + margin], -1)
        unit = torch.from_numpy((2 * grid + 1) / large.shape[-1] - 1).float()
        return F.grid_sample(large, unit, align_corners=False)

    images = torch.stack([crop(np.zeros_like(flow)), crop(flow)], 1)
    landed = np.stack([x, y]) + flow
    inside = ((landed >= 0) & (landed <= size - 1)).all(1, keepdims=True)
    fields = {
        "images": (255 * images).round().byte().numpy(),
        "flow_ab": np.broadcast_to(flow, (count, 2, size, size)).copy(),
        "valid": inside,
    }
    return Arrays(Wanted(Batch, (size, size), clip=frames(0, 1)), fields, "shifted textures")


def epe(method: LearnedFlow, data: Arrays) -> tuple[float, float]:
    """Of the method and of no motion at all, px."""
    errors = []
    for i in range(len(data)):
        sample = data.sample(i)
        image_a, image_b = (torch.from_numpy(image)[None] for image in sample["images"])
        truth, valid = torch.from_numpy(sample["flow_ab"]), torch.from_numpy(sample["valid"])[0]
        found = method.eval()(image_a, image_b).flow[0]
        errors.append([float((one - truth).norm(dim=0)[valid].mean()) for one in (found, torch.zeros_like(found))])
    return tuple(np.mean(errors, axis=0).tolist())


@pytest.mark.parametrize(
    ("kind", "millions"),
    # FlowNet's as the authors of FlowNet2 count them, PWC-Net's of its PyTorch release, SPyNet's of its paper
    [(FlowNetS, 38.68), (FlowNetC, 39.18), (PwcNet, 9.37), (SpyNet, 1.20)],
)
def test_published_sizes(kind: type[LearnedFlow], millions: float):
    count = sum(parameter.numel() for parameter in kind().parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize("name", SMALL)
def test_flows_at_each_scale_begin_small_and_reach_every_parameter(name: str):
    torch.manual_seed(0)
    method = SMALL[name]()
    image_a, image_b = torch.rand(2, 2, 3, 64, 64)
    found = method.flows(image_a, image_b)
    assert len(found) == SCALES[name]
    widths = [flow.shape[-1] for flow in found]
    assert widths == sorted(widths, reverse=True)
    if name != "global-matching":
        assert max(float(flow.detach().abs().max()) for flow in found) < 10
    sum((flow * torch.randn_like(flow)).sum() for flow in found).backward()
    assert all(parameter.grad is not None for parameter in method.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_sixteen_pairs_are_learned_by_heart(name: str, tmp_path):
    torch.manual_seed(0)
    data, method = shifted(16, 4.0), SMALL[name]()
    recipe = Recipe(steps=400, batch=8, learning_rate=3e-3, warm_up=0.05, schedule="cosine", log_every=100)
    fit(method, data, recipe, tmp_path, runtime=Runtime(device="cpu"))
    found, nothing = epe(method, data)
    print(f"{name}: {found:.3f} px, no motion {nothing:.3f} px")
    assert found < 0.5
    assert nothing > 2


def test_warping_divides_by_the_stride_and_leaves_0_outside():
    """A flow of (8, -4) px of the images is (2, -1) of maps with a stride of 4."""
    maps_b = torch.arange(12.0).reshape(1, 1, 3, 4)
    flow = torch.tensor([8.0, -4.0])[None, :, None, None].expand(1, 2, 3, 4)
    expected = torch.tensor([[[[0.0, 0, 0, 0], [2, 3, 0, 0], [6, 7, 0, 0]]]])
    torch.testing.assert_close(warped(maps_b, flow, 4), expected, atol=1e-5, rtol=0)


def test_global_matching_finds_a_permutation():
    """With orthonormal features and a sharp softmax each pixel finds its own, however far."""
    rng = np.random.default_rng(0)
    basis = torch.from_numpy(np.linalg.qr(rng.normal(size=(24, 24)))[0]).float()
    order = rng.permutation(24)
    of_a, of_b = basis.T.reshape(1, 24, 4, 6), basis[order].T.reshape(1, 24, 4, 6)
    found = matched(of_a, of_b, 200.0)
    for pixel in range(24):
        there = int(np.flatnonzero(order == pixel)[0])
        expected = [there % 6 - pixel % 6, there // 6 - pixel // 6]
        assert found[0, :, pixel // 6, pixel % 6].tolist() == pytest.approx(expected, abs=1e-3)


def test_global_matching_against_loops():
    generator = torch.Generator().manual_seed(0)
    of_a, of_b = torch.randn(2, 1, 5, 2, 3, generator=generator)
    found = matched(of_a, of_b, 0.4)
    for x, y in ((0, 0), (2, 1)):
        weights = [math.exp(0.4 * float(of_a[0, :, y, x] @ of_b[0, :, j, i])) for j in range(2) for i in range(3)]
        mean_x = sum(w * (k % 3) for k, w in enumerate(weights)) / sum(weights)
        mean_y = sum(w * (k // 3) for k, w in enumerate(weights)) / sum(weights)
        assert found[0, :, y, x].tolist() == pytest.approx([mean_x - x, mean_y - y], abs=1e-5)


def test_what_has_no_match_takes_the_flow_of_what_is_like_it():
    """Two kinds of pixels: each gets the mean flow of its kind."""
    flow = torch.tensor([[[1.0, 5, 3, 9]], [[0.0, 2, 4, 6]]])[None]
    kinds = 40 * torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])[None]
    torch.testing.assert_close(propagated(flow, kinds, kinds), torch.tensor([[[2.0, 7, 2, 7]], [[2.0, 4, 2, 4]]])[None])
    assert tokens_of(flow).tolist() == [[[1, 0], [5, 2], [3, 4], [9, 6]]]


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: flownet_s.Config(size=(100, 64)), "flownet-s: size 100x64: both sides must be multiples of 64"),
        (lambda: spynet.Config(levels=0), "spynet: 0 levels; choose 1 to 7"),
        (lambda: pwc_net.Config(finest=6), "pwc-net: finest level 6 of 6"),
        (lambda: pwc_net.Config(context=(8, 8)), "pwc-net: context has 2 widths; give 6"),
        (lambda: global_matching.Config(width=10), "global-matching: width 10, halvings 3: give a multiple of 4"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(make: Callable[[], object], line: str):
    with pytest.raises(InputError, match=f"^{line}"):
        make()
