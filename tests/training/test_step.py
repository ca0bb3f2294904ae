"""One step of a training: groups, LARS, micro-batches and random numbers, against values counted by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from harness import CPU, Case, Killer, Stop, killed_and_resumed, same_tensors, state
from torch import nn
from toy import Config, Toy, colours, toy

from firstsight.errors import InputError
from firstsight.training.data.batch import ImageBatch
from firstsight.training.fit import fit
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import Recipe, learning_rate
from firstsight.training.step.lars import Lars
from firstsight.training.step.micro_batches import parts
from firstsight.training.step.optimiser import make_optimiser, set_rates
from firstsight.training.trainable import EmaPair, Group, Loss, StepContext, Trainable

RECIPE = Recipe(steps=10, batch=8, log_every=1, checkpoint_every=5)


class Line(Trainable[ImageBatch]):
    """Parameters whose gradients are 1 in every step: a kernel w (1, 2), a bias b (1) and a late kernel (1, 1)."""

    config = Config()

    def __init__(self, groups=None):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([[3.0, 4.0]]))
        self.b = nn.Parameter(torch.tensor([1.0]))
        self.late = nn.Parameter(torch.tensor([[5.0]]))
        self.teacher = nn.Linear(1, 1).requires_grad_(False)
        self.chosen = groups or (lambda: [Group([self.w, self.b, self.late])])

    @property
    def wanted(self):
        return toy().wanted

    def groups(self):
        return self.chosen()

    def loss(self, batch, context):
        return Loss(self.w.sum() + self.b.sum() + self.late.sum())


def ends(recipe: Recipe, make_groups=None) -> list[float]:
    """w, b and the late kernel after a training."""
    method = Line()
    if make_groups:
        method.chosen = lambda: make_groups(method)
    fit(method, colours(), recipe, runtime=CPU)
    return [*method.w.flatten().tolist(), method.b.item(), method.late.item()]


SGD = replace(RECIPE, optimiser="sgd", momentum=0.0, learning_rate=0.1, steps=4)


def test_kernels_decay_and_biases_do_not():
    """w <- w - 0.1 (1 + 0.5 w), once: 3 - 0.25, 4 - 0.3, 5 - 0.35; the bias loses 0.1."""
    assert ends(replace(SGD, steps=1, weight_decay=0.5)) == pytest.approx([2.75, 3.7, 0.9, 4.65])


def test_gradients_are_clipped_all_together_or_each_by_itself():
    """The gradients (1, 1), 1 and 1 are 2 long together: half of each remains. By itself w's is sqrt 2 long, the others 1."""
    together = ends(replace(SGD, steps=1, clip=1.0))
    assert together == pytest.approx([2.95, 3.95, 0.95, 4.95], abs=1e-6)
    each = ends(replace(SGD, steps=1, clip=1.0, clip_each=True))
    assert each == pytest.approx([3 - 0.1 / math.sqrt(2), 4 - 0.1 / math.sqrt(2), 0.9, 4.9], abs=1e-6)
    assert ends(replace(SGD, steps=1, clip=3.0)) == pytest.approx([2.9, 3.9, 0.9, 4.9])


def test_three_steps_of_adamw_by_hand():
    """Gradients of 1 give the step's rate whatever the betas: 0.1, 0.075 and 0.025 on half a cosine; w decays first."""
    recipe = replace(RECIPE, optimiser="adamw", steps=3, learning_rate=0.1, schedule="cosine", weight_decay=0.5)
    rates, w, bias = [0.1, 0.075, 0.025], 3.0, 1.0
    for rate in rates:
        w, bias = w * (1 - 0.5 * rate) - rate, bias - rate
    assert ends(recipe)[0] == pytest.approx(w, abs=1e-5)
    assert ends(recipe)[2] == pytest.approx(0.8, abs=1e-5)


def test_a_group_has_a_rate_of_its_own_and_may_not_decay():
    """Twice the rate without decay for w: 3 - 0.2, 4 - 0.2."""
    recipe = replace(SGD, steps=1, weight_decay=0.5)
    found = ends(recipe, lambda m: [Group([m.w], rate=2.0, decays=False), Group([m.b, m.late])])
    assert found == pytest.approx([2.8, 3.8, 0.9, 4.65])


def test_a_group_may_keep_its_rate():
    """Halved after steps 2 and 3 of 4, the others move by 0.1 (1 + 1 + 1/2 + 1/4) = 0.275; the bias keeps 0.1."""
    recipe = replace(SGD, schedule="halving", halvings=(0.5, 0.75))
    found = ends(recipe, lambda m: [Group([m.w, m.late]), Group([m.b], scheduled=False)])
    assert found == pytest.approx([2.725, 3.725, 0.6, 4.725])


def test_a_group_is_frozen_for_a_share_of_the_steps():
    """Until half of 4 steps the late kernel neither moves nor decays nor gathers momentum."""
    recipe = replace(SGD, weight_decay=0.5, momentum=0.9)
    method = Line()
    method.chosen = lambda: [Group([method.w, method.b]), Group([method.late], frozen_until=0.5)]
    fit(method, colours(), recipe, runtime=CPU)
    # step 3: v = 1 + 2.5 = 3.5, late = 4.65; step 4: v = 0.9 3.5 + 1 + 2.325 = 6.475, late = 4.0025
    assert method.late.item() == pytest.approx(4.0025)


@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
def test_the_second_momentum_is_the_recipes(optimiser):
    recipe = replace(RECIPE, optimiser=optimiser, momentum=0.8, second_momentum=0.95)
    assert make_optimiser(Line(), recipe).param_groups[0]["betas"] == (0.8, 0.95)


@pytest.mark.parametrize(("make_groups", "line"), [
    (lambda m: [Group([m.w, m.b])], "parameter late is in 0 groups of Line, not in 1"),
    (lambda m: [Group([m.w, m.b, m.late]), Group([m.b])], "parameter b is in 2 groups of Line, not in 1"),
    (lambda m: [Group([m.w, m.b, m.late, m.teacher.weight])], "parameter teacher.weight is in 1 groups of Line, not in 0"),
    (lambda m: [Group([m.w, m.b, m.late, nn.Parameter(torch.ones(1))])], "hold 1 parameters that are not its own"),
])  # fmt: skip
def test_every_parameter_is_in_one_group(make_groups, line):
    method = Line()
    method.chosen = lambda: make_groups(method)
    with pytest.raises(AssertionError, match=line):
        fit(method, colours(), RECIPE, runtime=CPU)


def test_the_rate_is_in_proportion_to_the_batch_it_is_meant_for():
    """DINO's 0.0005 for 256 images: 0.002 for 1024, of which the first of 9 rising steps has a tenth."""
    recipe = Recipe(steps=90, batch=1024, learning_rate=5e-4, learning_rate_batch=256, warm_up=0.1)
    assert recipe.full_rate == 0.002
    assert learning_rate(recipe, 0) == pytest.approx(0.0002)
    assert learning_rate(recipe, 9) == 0.002
    assert ends(replace(SGD, steps=1, learning_rate_batch=16))[2] == pytest.approx(1 - 0.1 * 8 / 16)


@pytest.mark.parametrize(("setting", "value"), [
    ("clip", -1.0), ("clip", 0.0), ("ema", 2.0), ("final_ema", -0.1), ("halvings", (60.0, 80.0)), ("halvings", (0.5, -0.1)),
    ("warm_up", 1.0), ("warm_up", 100.0), ("warm_up", -0.1), ("seed", -1), ("seed", 2**63), ("momentum", 1.5),
    ("second_momentum", -1.0), ("weight_decay", -1.0), ("final_weight_decay", -1.0), ("final_rate", 2.0),
    ("learning_rate", 0.0), ("learning_rate", math.nan), ("learning_rate", math.inf), ("learning_rate_batch", 0),
    ("micro_batch", 0), ("steps", 0), ("batch", 0), ("log_every", 0), ("checkpoint_every", 0), ("ema", math.nan),
])  # fmt: skip
def test_a_recipe_out_of_range_is_one_line(setting, value):
    with pytest.raises(InputError, match=rf"^recipe: {setting} is .*must be"):
        Recipe(**{"steps": 10, "batch": 8, setting: value})


def lars_of_the_paper(w, gradients, rate, momentum, decay):
    """Algorithm 1 for one matrix, number by number."""
    velocity = np.zeros_like(w)
    for gradient in gradients:
        slope = gradient + decay * w
        local = 0.001 * math.sqrt(sum(x * x for x in w.flat)) / math.sqrt(sum(x * x for x in slope.flat))
        velocity = momentum * velocity + rate * local * slope
        w = w - velocity
    return w


def test_lars_against_a_loop():
    rng = np.random.default_rng(0)
    start, bias = rng.normal(size=(3, 5)), rng.normal(size=4)
    gradients, slopes = rng.normal(size=(6, 3, 5)), rng.normal(size=(6, 4))
    w, b = nn.Parameter(torch.tensor(start)), nn.Parameter(torch.tensor(bias))
    optimiser = Lars([{"params": [w]}, {"params": [b], "weight_decay": 0.0}], 20.0, 0.9, 0.01)
    velocity, expected_bias = np.zeros(4), bias
    for gradient, slope in zip(gradients, slopes, strict=True):
        w.grad, b.grad = torch.tensor(gradient), torch.tensor(slope)
        optimiser.step()
        # biases: neither adapted nor decayed
        velocity = 0.9 * velocity + 20.0 * slope
        expected_bias = expected_bias - velocity
    expected = lars_of_the_paper(start, gradients, 20.0, 0.9, 0.01)
    assert w.detach().numpy() == pytest.approx(expected, abs=1e-12)
    assert b.detach().numpy() == pytest.approx(expected_bias, abs=1e-12)


def test_lars_by_hand():
    """|w| = 5, g = (1, 1): the step is 0.1 * 0.001 * 5 / sqrt(2) each; the bias moves by 0.1."""
    found = ends(replace(SGD, optimiser="lars", steps=1))
    assert found[0] == pytest.approx(3 - 0.0005 / math.sqrt(2), abs=1e-6)
    assert found[2] == pytest.approx(0.9)
    assert Line().w.grad is None


def test_lars_moves_parameters_that_are_zero():
    """Where a norm is 0 trust is 1, or nothing that begins at 0 would ever learn."""
    w = nn.Parameter(torch.zeros(2, 2))
    w.grad = torch.ones(2, 2)
    Lars([{"params": [w]}], 0.5).step()
    assert torch.equal(w, torch.full((2, 2), -0.5))


@pytest.mark.parametrize("size", [1, 3, 4])
def test_micro_batches_are_exact(size):
    """8 samples in parts of 3, 3 and 2: their means are weighted by their shares, their random numbers are the batch's."""
    whole, parted = toy(), toy()
    numbers = []
    for method, micro in ((whole, None), (parted, size)):
        recipe = replace(RECIPE, micro_batch=micro, optimiser="sgd", learning_rate=0.5)
        numbers.append(fit(method, colours(), recipe, runtime=CPU).numbers)
    for name, tensor in state(whole).items():
        assert torch.allclose(tensor, state(parted)[name], atol=1e-6), name
    for name in ("loss", "error", "feature std", "effective rank"):
        assert numbers[0][name] == pytest.approx(numbers[1][name], abs=1e-5)
    assert float(parted.seen) == 80


def test_micro_batches_know_their_rows():
    batch = ImageBatch(torch.arange(8, dtype=torch.uint8).reshape(8, 1, 1, 1, 1).expand(8, 1, 3, 1, 1))
    context = StepContext(0, 1, StepRandom(0, 0, 16, slice(8, 16)))
    expected = StepRandom(0, 0, 16).normal(2)[8:]
    found = list(parts(batch, context, 3))
    assert [part.context.rows for part in found] == [slice(0, 3), slice(3, 6), slice(6, 8)]
    assert [part.share for part in found] == [3 / 8, 3 / 8, 2 / 8]
    assert torch.equal(torch.cat([part.context.random.normal(2) for part in found]), expected)
    assert torch.equal(torch.cat([part.batch.images for part in found]), batch.images)


def test_micro_batches_of_losses_that_compare_samples_are_refused():
    class Compares(Toy):
        couples_samples = True

    for method in (Compares(), nn.Sequential):
        if method is nn.Sequential:
            method = toy()
            method.norm = nn.BatchNorm1d(3)
        with pytest.raises(InputError, match=r"micro_batch 2: the loss of \w+ compares the samples of a batch; leave"):
            fit(method, colours(), replace(RECIPE, micro_batch=2), runtime=CPU)


def test_micro_batches_are_resumed(tmp_path):
    recipe = replace(RECIPE, micro_batch=3)
    killed_and_resumed(Case(lambda: toy(int(torch.initial_seed())), lambda _: colours(), recipe, 7), tmp_path)
    with pytest.raises(Stop):
        fit(toy(), colours(), RECIPE, tmp_path / "other", runtime=CPU, callback=Killer(7))
    assert fit(toy(), colours(), recipe, tmp_path / "other", runtime=CPU).steps == 10


def test_random_numbers_on_the_device_are_those_of_the_row():
    """Whichever process draws a row, in whatever company, it gets the same numbers; each call gives new ones."""
    whole = StepRandom(3, 5, 8).on_device()
    first, second, whole_numbers = whole.normal(2, 3), whole.uniform(4, low=2.0, high=3.0), whole.below(9, 50)
    for rows in (slice(0, 4), slice(4, 8), slice(5, 6)):
        part = StepRandom(3, 5, 8, rows)
        assert torch.equal(part.on_device().normal(2, 3), first[rows])
        assert torch.equal(part.on_device().uniform(4, low=2.0, high=3.0), second[rows])
        assert torch.equal(part.on_device().below(9, 50), whole_numbers[rows])
    assert len(first.flatten().unique()) == 48
    assert 2 <= float(second.min()) < 2.1
    assert 2.9 < float(second.max()) < 3
    assert set(whole_numbers.flatten().tolist()) == set(range(9))
    assert not torch.equal(StepRandom(3, 6, 8).on_device().normal(2, 3), first)


def test_random_numbers_on_the_device_cost_only_the_own_rows(monkeypatch):
    drawn = []
    real = torch.randn
    monkeypatch.setattr(torch, "randn", lambda size, **how: drawn.append(tuple(size)) or real(size, **how))
    StepRandom(0, 0, 256, slice(8, 10)).on_device().normal(5)
    assert drawn == [(5,), (5,)]


def test_after_an_update_there_are_numbers_that_the_loss_has_not_seen():
    random = StepRandom(0, 0, 4)
    seen = random.uniform(3)
    fresh = random.after_loss().uniform(3)
    random.uniform(100)
    assert torch.equal(random.after_loss().uniform(3), fresh)
    assert not torch.equal(fresh, seen)


def test_parts_of_a_batch_drop_other_units():
    """The first rows' seed is the step's, as ever."""
    random = StepRandom(1, 2, 8)
    seeds = [random.dropout_seed, *(random.of_rows(slice(k, k + 2)).dropout_seed for k in (0, 2, 4, 6))]
    assert seeds[0] == seeds[1] == random.seed
    assert len(set(seeds[1:])) == 4


def test_pairs_may_have_a_momentum_of_their_own():
    class Own(Toy):
        def ema_pairs(self):
            return (EmaPair(self.teacher, self.net, momentum=0.25),)

    torch.manual_seed(0)
    method = Own()
    before = method.teacher[1].weight.clone()
    fit(method, colours(), replace(RECIPE, steps=1), runtime=CPU)
    assert torch.allclose(method.teacher[1].weight, 0.25 * before + 0.75 * method.net[1].weight, atol=1e-7)


def test_rates_are_set_for_each_step():
    optimiser = make_optimiser(Line(), replace(SGD, schedule="cosine", weight_decay=0.2, final_weight_decay=0.4))
    set_rates(optimiser, replace(SGD, schedule="cosine", weight_decay=0.2, final_weight_decay=0.4), 2)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.05, 0.05])
    assert [group["weight_decay"] for group in optimiser.param_groups] == pytest.approx([0.3, 0.0])


def test_the_same_seed_gives_the_same_state():
    ended = []
    for _ in range(2):
        method = toy(dropout=0.5)
        fit(method, colours(), RECIPE, runtime=CPU)
        ended.append(state(method))
    same_tensors(*ended)
