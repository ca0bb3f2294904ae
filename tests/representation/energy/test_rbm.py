"""Every term against loops and enumeration, contrastive divergence against the true gradient, what is learnt."""

import math
from itertools import product

import jaxtyping
import numpy as np
import pytest
import torch

from firstsight.errors import InputError
from firstsight.representation.energy.rbm import (
    Config,
    Machine,
    Rbm,
    bias_of,
    binary_states,
    energy,
    estimated_log_partition,
    free_energy,
    gibbs,
    hidden_probability,
    log_partition,
    pixels,
    visible_probability,
)
from firstsight.training.data.batch import ImageBatch
from firstsight.training.fit import Runtime, fit
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import Recipe
from firstsight.training.toys.binary_images import BinaryImages, bars, bars_and_stripes, bars_entropy
from firstsight.training.trainable import StepContext

CPU = Runtime(device="cpu")
TINY_CONFIG, TINY = Rbm.PRESETS["tiny"]
VISIBLE, HIDDEN = binary_states(0, 16, 4), binary_states(0, 8, 3)


@pytest.fixture
def unchecked(monkeypatch):
    """Other tests check types and shapes; over thousands of steps doing so takes much of the time."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def machine(visible: int = 4, hidden: int = 3, scale: float = 1.0, seed: int = 0) -> Machine:
    rng = torch.Generator().manual_seed(seed)
    shapes = ((visible, hidden), (visible,), (hidden,))
    return Machine(*(scale * torch.randn(shape, generator=rng) for shape in shapes))


def rows_of(rows: int, seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    return lambda columns: torch.rand((rows, columns), generator=rng)


def law(given: Machine) -> torch.Tensor:
    """p(v) of all 16 states."""
    return (-free_energy(given, VISIBLE)).softmax(0)


def transitions(given: Machine) -> torch.Tensor:
    """T[v, v']: the chance that one step of Gibbs' sampler leads from v to v'."""
    on = hidden_probability(given, VISIBLE)
    to_hidden = torch.stack([torch.where(h > 0, on, 1 - on).prod(1) for h in HIDDEN], 1)
    on = visible_probability(given, HIDDEN)
    to_visible = torch.stack([torch.where(v > 0, on, 1 - on).prod(1) for v in VISIBLE], 1)
    return to_hidden @ to_visible


def mean_statistics(given: Machine, weights: torch.Tensor) -> torch.Tensor:
    """<v_i h_j> where the states have these weights."""
    return torch.einsum("s,si,sj->ij", weights, VISIBLE, hidden_probability(given, VISIBLE))


def shown(rows: torch.Tensor, side: int) -> ImageBatch:
    images = (255 * rows.view(-1, 1, 1, side, side)).expand(-1, 1, 3, -1, -1).byte()
    return ImageBatch(images)


def rbm(given: Machine | None = None, **config) -> Rbm:
    model = Rbm(Config(side=2, hidden=3, **config))
    for own, value in zip(model.machine, given or machine(), strict=True):
        own.data.copy_(value)
    return model


def gradient(model: Rbm, data: torch.Tensor, seed: int = 0) -> torch.Tensor:
    model.zero_grad()
    model.loss(shown(data, 2), StepContext(0, 1, StepRandom(seed, 0, len(data)))).total.backward()
    return model.weight.grad.clone()


def log_likelihood(given: Machine, visible: torch.Tensor) -> float:
    """Mean over the rows, nats."""
    return float(-free_energy(given, visible).mean().detach()) - log_partition(given)


# test_equation


def test_the_energy_is_a_sum_over_pairs():
    given = machine()
    for v, h in product(VISIBLE[::3], HIDDEN):
        slow = -sum(float(given.visible_bias[i] * v[i]) for i in range(4))
        slow -= sum(float(given.hidden_bias[j] * h[j]) for j in range(3))
        slow -= sum(float(v[i] * given.weight[i, j] * h[j]) for i, j in product(range(4), range(3)))
        assert float(energy(given, v[None], h[None])) == pytest.approx(slow, abs=1e-5)


def test_the_free_energy_adds_up_all_causes():
    given = machine()
    for v in VISIBLE:
        slow = -math.log(sum(math.exp(-float(energy(given, v[None], h[None]))) for h in HIDDEN))
        assert float(free_energy(given, v[None])) == pytest.approx(slow, abs=1e-5)


def test_conditionals_are_ratios_of_boltzmann_factors():
    given = machine()
    joint = torch.stack([torch.exp(-energy(given, VISIBLE, h.expand(16, -1))) for h in HIDDEN], 1)
    for j in range(3):
        expected = joint[:, HIDDEN[:, j] > 0].sum(1) / joint.sum(1)
        assert torch.allclose(hidden_probability(given, VISIBLE)[:, j], expected, atol=1e-5)
    for i in range(4):
        expected = joint[VISIBLE[:, i] > 0].sum(0) / joint.sum(0)
        assert torch.allclose(visible_probability(given, HIDDEN)[:, i], expected, atol=1e-5)


def test_the_partition_is_the_sum_over_both_layers():
    given = machine()
    slow = math.log(sum(math.exp(-float(energy(given, v[None], h[None]))) for v, h in product(VISIBLE, HIDDEN)))
    assert log_partition(given) == pytest.approx(slow, abs=1e-5)
    assert log_partition(given.transposed) == pytest.approx(slow, abs=1e-5)
    wide = machine(15, 14)
    assert log_partition(wide) == pytest.approx(log_partition(wide.transposed), abs=1e-3)
    with pytest.raises(InputError, match=r"2\^23 states are too many"):
        log_partition(machine(23, 23))


def test_the_loss_has_the_gradient_of_contrastive_divergence():
    """<v h> of the data less <v h> of where the chains ended, with the signs of a descent."""
    model, data = rbm(), VISIBLE[torch.tensor([1, 7, 7, 12])]
    found = gradient(model, data)
    uniform = StepRandom(0, 0, 4).uniform
    assert torch.equal((uniform(4) < data).float(), data)
    negative = gibbs(model.machine, data, 1, uniform)
    slow = torch.zeros(4, 3)
    for before, after in zip(data, negative, strict=True):
        for i, j in product(range(4), range(3)):
            p, q = (torch.sigmoid(model.hidden_bias[j] + v @ model.weight[:, j]).detach() for v in (before, after))
            slow[i, j] -= (before[i] * p - after[i] * q) / 4
    assert torch.allclose(found, slow, atol=1e-6)


# test_gradient: contrastive divergence and the likelihood


def test_the_exact_gradient_is_that_of_the_likelihood():
    given = Machine(*(part.double() for part in machine()))
    data = VISIBLE[torch.tensor([1, 7, 7, 12])].double()

    def likelihood(weight: torch.Tensor) -> float:
        changed = given._replace(weight=weight)
        return float(-free_energy(changed, data).mean() - torch.logsumexp(-free_energy(changed, VISIBLE.double()), 0))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        empirical = torch.bincount(torch.tensor([1, 7, 7, 12]), minlength=16) / 4
        model_law = (-free_energy(given, VISIBLE.double())).softmax(0)
        on = hidden_probability(given, VISIBLE.double())
        exact = torch.einsum("s,si,sj->ij", empirical - model_law, VISIBLE.double(), on)
        for i, j in product(range(4), range(3)):
            step = torch.zeros(4, 3, dtype=torch.float64)
            step[i, j] = 1e-6
            slope = (likelihood(given.weight + step) - likelihood(given.weight - step)) / 2e-6
            assert float(exact[i, j]) == pytest.approx(slope, abs=1e-8)


def test_more_steps_come_nearer_to_the_exact_gradient(unchecked):
    """Over all chains, by powers of the transition matrix; and the drawn gradient is that on average."""
    given, empirical = machine(scale=2.0), torch.bincount(torch.tensor([1, 7, 7, 12]), minlength=16) / 4
    exact = -mean_statistics(given, empirical - law(given))
    expected = {
        k: -mean_statistics(given, empirical - empirical @ torch.linalg.matrix_power(transitions(given), k))
        for k in (1, 2, 5, 10)
    }
    off = {k: float((found - exact).norm() / exact.norm()) for k, found in expected.items()}
    assert off == pytest.approx({1: 0.2168, 2: 0.0552, 5: 0.0019, 10: 0.0}, abs=2e-4)
    assert float((expected[1] * exact).sum()) > 0.5 * float(expected[1].norm() * exact.norm())
    data = VISIBLE[torch.tensor([1, 7, 7, 12])].repeat(5000, 1)
    for k in (1, 5):
        assert (gradient(rbm(given, k=k), data) - expected[k]).abs().max() < 0.01


def test_chains_end_with_boltzmanns_law():
    """Chi-square over all 16 states after 60 steps: with 15 degrees of freedom, 37.7 is exceeded once in a thousand."""
    given, runs = machine(), 20_000
    assert torch.allclose(law(given) @ transitions(given), law(given), atol=1e-6)
    ends = gibbs(given, torch.zeros(runs, 4), 60, rows_of(runs))
    counts = torch.bincount((ends @ (2.0 ** torch.arange(4))).long(), minlength=16)
    assert float(((counts - runs * law(given)) ** 2 / (runs * law(given))).sum()) < 37.7


# annealing


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_annealing_finds_log_z(scale, unchecked):
    given = machine(16, 12, scale)
    found = estimated_log_partition(given, torch.zeros(16), 300, rows_of(200))
    exact = log_partition(given)
    assert found.low < exact < found.high
    assert found.log_z == pytest.approx(exact, abs=0.1)
    assert found.low < found.log_z < found.high


def test_annealing_to_the_base_itself_is_exact():
    given = Machine(torch.zeros(5, 3), torch.tensor([1.0, -2, 0, 3, 0.5]), torch.zeros(3))
    found = estimated_log_partition(given, given.visible_bias, 4, rows_of(10))
    assert found.log_z == pytest.approx(log_partition(given), abs=1e-5)
    assert found.high - found.low < 1e-5


def test_base_biases_are_those_of_the_shares_that_are_on():
    data = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert torch.sigmoid(bias_of(data)).tolist() == pytest.approx([0.25, 0.75])


# test_truth_beats_perturbation, test_role


def test_data_of_a_machine_are_likelier_under_it_than_under_others():
    given, rng = machine(), torch.Generator().manual_seed(1)
    data = VISIBLE[torch.multinomial(law(given), 3000, replacement=True, generator=rng)]
    right = log_likelihood(given, data)
    for part in range(3):
        changed = list(given)
        changed[part] = given[part] + 2
        assert log_likelihood(Machine(*changed), data) < right


def test_features_are_the_probabilities_of_causes():
    model = rbm()
    image = torch.rand(5, 3, 2, 2)
    assert torch.equal(model(image), hidden_probability(model.machine, pixels(image)))
    assert model(torch.rand(2, 3, 40, 60)).shape == (2, 3)
    grey = torch.full((1, 3, 2, 2), 0.25)
    assert pixels(grey).tolist()[0] == pytest.approx([0.25] * 4)


def test_grey_pixels_are_drawn_or_used_as_they_are():
    grey = torch.full((4000, 4), 0.25)
    drawing, using = (gradient(rbm(pixels=kind), grey) for kind in ("drawn", "grey"))
    assert not torch.equal(drawing, using)
    seen = []
    model = rbm()
    model.negative_samples = lambda visible, context: seen.append(visible) or visible
    gradient(model, grey)
    assert seen[0].unique().tolist() == [0, 1]
    assert float(seen[0].mean()) == pytest.approx(63 / 255, abs=0.02)


def test_the_preview_shows_filters_and_dreams():
    preview = rbm().eval().preview(shown(VISIBLE[:5], 2), StepContext(0, 1, StepRandom(0, 0, 5)))
    assert preview["filters"].shape == (3, 1, 2, 2)
    assert preview["samples from noise"].unique().tolist() == [0, 1]
    assert preview["filters"][1, 0].flatten().tolist() == pytest.approx(machine().weight[:, 1].tolist())
    with pytest.raises(InputError, match="k = 0"):
        Config(k=0)


# training


def test_shares_of_a_batch_have_its_gradient():
    """What makes many processes equal to one: each draws its own rows of the same noise."""
    model, data = rbm(), VISIBLE[torch.tensor([1, 7, 7, 12])]
    whole, halves = gradient(model, data), torch.zeros(4, 3)
    for rows in (slice(0, 2), slice(2, 4)):
        model.zero_grad()
        model.loss(shown(data[rows], 2), StepContext(0, 1, StepRandom(0, 0, 4, rows))).total.backward()
        halves += model.weight.grad / 2
    assert torch.allclose(halves, whole, atol=1e-6)


BARS = Config(side=3, hidden=24, k=5, persistent=True, chains=100)
BARS_RECIPE = Recipe(
    steps=3000, batch=14, optimiser="sgd", learning_rate=0.1, momentum=0.5, schedule="cosine", log_every=1000
)


def test_bars_and_stripes_are_learnt(unchecked):
    """14 images of 512: no machine gives them more than log(1/14); their samples are the data's."""
    images = bars_and_stripes(3)
    data = torch.from_numpy(images).float().flatten(1)
    torch.manual_seed(0)
    model = Rbm(BARS)
    fit(model, BinaryImages(images), BARS_RECIPE, runtime=CPU)
    reached, bound = log_likelihood(model.machine, data), -math.log(14)
    assert bound - 0.2 < reached < bound
    assert log_likelihood(Machine(torch.zeros(9, 1), bias_of(data), torch.zeros(1)), data) < -6
    samples = gibbs(model.machine, model.chains.repeat(40, 1), 50, rows_of(4000))
    numbers, own = (rows @ (2.0 ** torch.arange(9)) for rows in (samples, data))
    shares = torch.tensor([float((numbers == number).float().mean()) for number in own])
    variation = 0.5 * (float((shares - 1 / 14).abs().sum()) + 1 - float(shares.sum()))
    assert variation < 0.2


def test_tiny_learns(unchecked):
    """Bars that cross: far likelier than under independent pixels, exactly, on images that were not shown."""
    side = TINY_CONFIG.side
    images = bars(1000, side)
    shown, new = (torch.from_numpy(part).float().flatten(1) for part in (images, bars(1000, side, seed=1)))
    torch.manual_seed(0)
    model = Rbm(TINY_CONFIG)
    fit(model, BinaryImages(images), TINY, runtime=CPU)
    alone = log_likelihood(Machine(torch.zeros(side**2, 1), bias_of(shown), torch.zeros(1)), new)
    reached = log_likelihood(model.machine, new)
    assert alone + 15 < reached < -bars_entropy(side) + 0.5


def test_the_images_are_what_their_names_say():
    for side in (2, 3, 4):
        assert len(bars_and_stripes(side)) == 2 ** (side + 1) - 2
    drawn = bars(2000, 4)
    assert np.array_equal(drawn[:3], bars(3, 4))
    assert drawn.mean() == pytest.approx(1 - 0.75**2, abs=0.02)
    names, counts = np.unique(drawn.reshape(2000, -1), axis=0, return_counts=True)
    shares = counts / 2000
    assert -(shares * np.log(shares)).sum() == pytest.approx(bars_entropy(4), abs=0.1)
    assert len(names) < 2**8
    assert 0 < bars_entropy(2) < 4 * math.log(2)
