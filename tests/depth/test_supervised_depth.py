"""Depth from true depth: the loss by hand, what it forgives, masks, fields of view, and that it beats the best constant."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from firstsight.depth.supervised_depth import Batch, Config, SupervisedDepth, scale_invariant
from firstsight.errors import InputError
from firstsight.recordings.simulated import simulate
from firstsight.training.data.clips import Clips
from firstsight.training.data.dataset import Arrays
from firstsight.training.fit import Runtime, fit
from firstsight.training.random_numbers import StepRandom
from firstsight.training.trainable import StepContext

SMALL = Config(size=(64, 64), layers=18, encoder_width=8, decoder_width=4, norm="none")


def row(*values: float) -> torch.Tensor:
    return torch.tensor([[[list(values)]]])


def test_the_loss_by_hand():
    """Errors 0.5, -0.25 and 1 of three known pixels: mean of squares 0.4375, mean 1.25 / 3."""
    found, true, known = row(1.5, 0.75, 3.0, 9.0), row(1.0, 1.0, 2.0, 0.0), row(1.0, 1.0, 1.0, 0.0)
    for invariance in (0.0, 0.5, 1.0):
        expected = 1.3125 / 3 - invariance * (1.25 / 3) ** 2
        assert scale_invariant(found, true, known, invariance).item() == pytest.approx(expected)


def test_a_factor_that_all_share_is_forgiven():
    generator = torch.Generator().manual_seed(0)
    found, true = torch.randn(2, 2, 1, 4, 5, generator=generator)
    known = (torch.rand(2, 1, 4, 5, generator=generator) < 0.7).float()
    losses = [[scale_invariant(found + shift, true, known, share).item() for shift in (0, 0.7)] for share in (1.0, 0.5)]
    assert losses[0][0] == pytest.approx(losses[0][1], abs=1e-6)
    assert losses[1][0] != pytest.approx(losses[1][1], abs=1e-3)


def test_what_is_not_known_has_no_derivative():
    found = row(0.3, 0.2, 0.1).requires_grad_()
    scale_invariant(found, row(0.0, float("nan"), 0.5), row(1.0, 0.0, 1.0), 0.5).backward()
    assert found.grad is not None
    assert found.grad[..., 1].item() == 0
    assert (found.grad[..., [0, 2]] != 0).all()
    assert scale_invariant(found, found.detach(), row(0.0, 0.0, 0.0), 0.5).item() == 0


def test_derivatives_in_double_precision():
    found, true = torch.randn(2, 1, 1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    known = torch.tensor([[1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1.0]], dtype=torch.float64)[None, None]
    assert torch.autograd.gradcheck(lambda x: scale_invariant(x, true, known, 0.5), found.requires_grad_())


def batch_of(depth_m: float, fx: float) -> Batch:
    images = torch.randint(0, 255, (2, 1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    depth = torch.full((2, 1, 1, 64, 64), depth_m)
    depth[:, :, :, ::2] = 0
    intrinsics = torch.tensor([[fx, 0, 32], [0, fx, 32], [0, 0, 1.0]]).expand(2, 3, 3)
    return Batch(images, depth, intrinsics)


def test_twice_the_focal_length_shows_things_twice_as_far_alike():
    """An image says how large things are in it: the same one, by a lens twice as long, is of things twice as far."""
    torch.manual_seed(0)
    method = SupervisedDepth(replace(SMALL, recoloured_share=0.0))
    losses = [
        method.loss(batch_of(depth_m, fx), StepContext(0, 10, StepRandom(0, 0, 2))).total.item()
        for depth_m, fx in ((6.0, 40.0), (12.0, 80.0), (12.0, 40.0))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[2] != pytest.approx(losses[0], rel=1e-3)


def test_depth_begins_in_the_middle_and_an_untrained_one_is_refused():
    """sqrt(0.3 * 120) = 6 at a focal length of one width, 3 m for one of half a width."""
    torch.manual_seed(0)
    method = SupervisedDepth(SMALL)
    image = torch.rand(1, 3, 50, 70)
    with pytest.raises(InputError, match="not trained"):
        method(image)
    method.after_update({"focal_share": torch.tensor([0.4, 0.6])}, StepContext(0, 10, StepRandom(0, 0, 2)))
    depth, valid, _ = method(image)
    assert depth.shape == (1, 1, 50, 70)
    assert valid.all()
    assert depth.median().item() == pytest.approx(3.0, rel=0.2)


@pytest.mark.parametrize(
    ("change", "line"), [({"near": 0.0}, "near = 0, far = 120"), ({"invariance": 1.5}, r"invariance = 1\.5")]
)
def test_settings_that_do_not_fit_are_one_line(change: dict, line: str):
    with pytest.raises(InputError, match=f"^{line}"):
        replace(SMALL, **change)


@pytest.mark.slow
def test_tiny_learns(tmp_path):
    """On a street that it has not seen: below three fifths of the best constant depth's Abs Rel."""
    torch.manual_seed(0)
    method = SupervisedDepth.of_preset("tiny")
    rows = []
    for seed in range(1, 7):
        clips = Clips(simulate("street", seed=seed, frames=30, height=64, width=192), method.wanted)
        rows += [clips.sample(i) for i in range(0, 30, 3)]
    data = Arrays(method.wanted, {name: np.stack([row[name] for row in rows]) for name in rows[0]})
    recipe = replace(SupervisedDepth.PRESETS["tiny"].recipe, steps=400)
    fit(method, data, recipe, tmp_path, runtime=Runtime(device="cpu"))
    unseen, found, constants = simulate("street", seed=9, frames=20, height=64, width=192), [], []
    for frame in range(0, 20, 4):
        true, valid = unseen.truth.depth[frame]
        judged = valid & (true < 80)
        depth = method.eval()(unseen.images["left"][frame]).depth[0, 0].numpy()
        found.append(np.mean(np.abs(depth - true)[judged] / true[judged]))
        constants.append([np.mean(np.abs(guess - true)[judged] / true[judged]) for guess in np.geomspace(2, 60, 60)])
    best_constant = np.min(np.mean(constants, 0))
    print(f"Abs Rel {np.mean(found):.3f}, best constant {best_constant:.3f}")
    assert np.mean(found) < 0.6 * best_constant
