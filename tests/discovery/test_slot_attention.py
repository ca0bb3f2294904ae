"""Each step against a slow loop written from the paper, the symmetries it must have, and objects without labels."""

from dataclasses import replace
from itertools import product

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from firstsight.discovery.slot_attention import (
    Config,
    SlotAttention,
    Slots,
    blended,
    competition,
    encoded_size,
    weighted_means,
)
from firstsight.errors import InputError
from firstsight.evaluation.object_masks import clustered_ids, ids_of
from firstsight.gallery.figures.discovery.slot_iterations import HASTY, as_images, measured
from firstsight.training.data.batch import ImageBatch, unit_range
from firstsight.training.fit import Runtime, fit
from firstsight.training.metrics_log import Callback
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import Recipe
from firstsight.training.toys.object_images import ObjectImages
from firstsight.training.trainable import StepContext

CPU = Runtime(device="cpu")
SHAPES_CONFIG, SHAPES = SlotAttention.PRESETS["shapes"]
THREE = (3, 3)  # objects in an image
SMALL = Config(
    size=(8, 8),
    slots=3,
    iterations=2,
    features=8,
    hidden=16,
    kernel=3,
    encoder_strides=(1, 2),
    decoder_size=(4, 4),
    upsamplings=1,
    flat_convolutions=0,
)


@pytest.fixture
def unchecked(monkeypatch):
    """Other tests check types and shapes; over hundreds of steps doing so takes much of the time."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def small(seed: int = 0, **changes) -> SlotAttention:
    torch.manual_seed(seed)
    return SlotAttention(replace(SMALL, **changes))


def some(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def context(step: int = 0, batch: int = 4) -> StepContext:
    return StepContext(step, 10, StepRandom(0, step, batch))


def samples(batch: int = 4, size: int = 8) -> ImageBatch:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (batch, 1, 3, size, size), np.uint8))
    return ImageBatch(images)


# test_equation


def test_competition_is_the_softmax_over_slots():
    keys, queries = some(2, 5, 4), some(2, 3, 4, seed=1)
    shares = competition(keys, queries)
    for b, i in product(range(2), range(5)):
        powers = [float(torch.exp(keys[b, i] @ queries[b, j] / 2)) for j in range(3)]
        assert shares[b, i].tolist() == pytest.approx([power / sum(powers) for power in powers], rel=1e-5)
    assert torch.allclose(shares.sum(2), torch.ones(2, 5))


def test_updates_are_weighted_means():
    shares, values = some(2, 5, 3).softmax(2), some(2, 5, 4, seed=1)
    found = weighted_means(shares, values)
    for b, j in product(range(2), range(3)):
        weights = [float(shares[b, i, j]) + 1e-8 for i in range(5)]
        slow = sum(w * values[b, i] for i, w in enumerate(weights)) / sum(weights)
        assert torch.allclose(found[b, j], slow, atol=1e-6)
    assert torch.allclose(weighted_means(shares, torch.full((2, 5, 4), 3.0)), torch.tensor(3.0))


def test_a_slot_that_gets_nothing_takes_the_mean_of_all():
    shares = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert weighted_means(shares, torch.tensor([[[2.0], [4.0]]]))[0, 1, 0] == pytest.approx(3)


def test_an_iteration_is_the_papers():
    """Algorithm 1 slot by slot, the GRU by its own equations."""
    torch.manual_seed(0)
    module, inputs, slots = Slots(4, 6, 1), some(1, 5, 4), some(1, 3, 4, seed=1)
    found, _ = module(inputs, slots)
    x = F.layer_norm(inputs[0], (4,))
    k, v = x @ module.keys.weight.T, x @ module.values.weight.T
    q = F.layer_norm(slots[0], (4,)) @ module.queries.weight.T
    shares = (k @ q.T / 4**0.5).softmax(1) + 1e-8
    for j in range(3):
        u, m = (shares[:, j : j + 1] * v).sum(0) / shares[:, j].sum(), slots[0, j]
        wx, wm = module.gru.weight_ih @ u + module.gru.bias_ih, module.gru.weight_hh @ m + module.gru.bias_hh
        reset, keep = torch.sigmoid(wx[:4] + wm[:4]), torch.sigmoid(wx[4:8] + wm[4:8])
        m = (1 - keep) * torch.tanh(wx[8:] + reset * wm[8:]) + keep * m
        m = m + module.mlp[2](F.relu(module.mlp[0](F.layer_norm(m, (4,)))))
        assert torch.allclose(found[0, j], m, atol=1e-6)


class First(nn.Module):
    def forward(self, updates, slots):
        return updates


class Nothing(nn.Module):
    def forward(self, slots):
        return torch.zeros_like(slots)


def test_with_identity_maps_it_is_soft_k_means():
    module, inputs, centres = Slots(4, 4, 1), 3 * some(1, 30, 4), some(1, 3, 4, seed=1)
    for name in ("norm_inputs", "norm_slots", "queries", "keys", "values"):
        setattr(module, name, nn.Identity())
    module.gru, module.mlp = First(), Nothing()
    found, _ = module(inputs, centres)
    for centre in range(3):
        sums, weight = torch.zeros(4), 0.0
        for x in inputs[0]:
            likeness = [float(torch.exp(x @ c / 2)) for c in centres[0]]
            sums, weight = sums + likeness[centre] / sum(likeness) * x, weight + likeness[centre] / sum(likeness)
        assert torch.allclose(found[0, centre], sums / weight, atol=1e-5)


def test_the_loss_is_the_mean_square_of_what_the_slots_draw_together():
    model, seen = small(), samples()
    noise = context().random.normal(3, 8)
    with torch.no_grad():
        found, image = model.explain(unit_range(seen.images[:, 0]), noise), unit_range(seen.images[:, 0])
    total = 0.0
    for b, c, y, x in product(range(4), range(3), range(8), range(8)):
        mixed = sum(float(found.masks[b, j, y, x] * found.slot_images[b, j, c, y, x]) for j in range(3))
        total += ((2 * mixed - 1) - (2 * float(image[b, c, y, x]) - 1)) ** 2
    assert model.loss(seen, context()).total.item() == pytest.approx(total / (4 * 3 * 64), rel=1e-5)
    assert torch.equal(blended(found.slot_images, found.masks), found.image)


def test_what_it_explains_is_in_the_images_unit():
    """Images in [0, 1] outside, in [-1, 1] inside: the encoder sees 2 x - 1, and a drawn c is shown as (c + 1) / 2."""
    model, image, noise = small(), unit_range(samples().images[:, 0]), some(4, 3, 8, seed=5)
    with torch.no_grad():
        found = model.explain(image, noise)
        slots, _ = model.slots(model.encoder(2 * image - 1), model.mean + model.log_sigma.exp() * noise)
        drawn, logits = model.decoder(slots)
    assert torch.allclose(found.slots, slots, atol=1e-6)
    assert torch.allclose(found.slot_images, 0.5 * drawn + 0.5, atol=1e-6)
    assert torch.allclose(found.masks, logits.softmax(1), atol=1e-6)
    assert float(found.slot_images.mean()) > 0.3, "near the middle of [0, 1] before training, not of [-1, 1]"


# symmetries


def test_the_order_of_places_does_not_matter_and_that_of_slots_is_kept():
    torch.manual_seed(0)
    module, inputs, slots = Slots(8, 16, 3), some(2, 20, 8), some(2, 4, 8, seed=1)
    places, order = torch.randperm(20), torch.tensor([2, 0, 3, 1])
    found, shares = module(inputs, slots)
    assert torch.allclose(module(inputs[:, places], slots)[0], found, atol=1e-6)
    rotated, rotated_shares = module(inputs, slots[:, order])
    assert torch.allclose(rotated, found[:, order], atol=1e-6)
    assert torch.allclose(rotated_shares[-1], shares[-1][:, :, order], atol=1e-6)


def test_the_same_places_twice_change_nothing():
    torch.manual_seed(0)
    module, inputs, slots = Slots(8, 16, 3), some(2, 20, 8), some(2, 4, 8, seed=1)
    assert torch.allclose(module(inputs.repeat(1, 2, 1), slots)[0], module(inputs, slots)[0], atol=1e-6)


def test_masks_and_attention_sum_to_1_and_any_number_of_slots_goes():
    model, image = small(), unit_range(samples().images[:, 0])
    for count in (2, 6):
        found = model.explain(image, some(4, count, 8))
        assert found.attention.shape == (2, 4, count, 4, 4)
        assert torch.allclose(found.masks.sum(1), torch.ones(4, 8, 8), atol=1e-6)
        assert torch.allclose(found.attention.sum(2), torch.ones(2, 4, 4, 4), atol=1e-6)


def test_slots_that_begin_the_same_stay_the_same():
    """Why the fixed draw is not the mean."""
    slots = small().explain(unit_range(samples().images[:, 0]), torch.zeros(4, 3, 8)).slots
    assert torch.allclose(slots[:, 0], slots[:, 1])


def test_slots_with_means_of_their_own_differ_without_noise():
    model = small(own_means=True)
    slots = model.explain(unit_range(samples().images[:, 0]), torch.zeros(4, 3, 8)).slots
    assert model.mean.shape == (1, 3, 8)
    assert float(model.log_sigma.detach().mean()) == -2
    assert float((slots[:, 0] - slots[:, 1]).detach().abs().max()) > 0.1


def test_crops_have_the_share_of_the_area_that_was_asked_for():
    """Of images whose red rises by 1 from the left edge to the right one and whose green does so from top to bottom."""
    model = small(crop=(0.2, 0.4), crop_from=(32, 32))
    ramp = (255 * (torch.arange(32) + 0.5) / 32).round().byte()
    image = torch.stack([ramp.expand(32, 32), ramp[:, None].expand(32, 32), torch.zeros(32, 32, dtype=torch.uint8)])
    shown = model.shown(ImageBatch(image.expand(64, 1, 3, 32, 32)), context(batch=64))
    assert model.wanted.size == (32, 32)
    assert shown.shape == (64, 3, 8, 8)
    # of 8 pixels the outermost centres are 7 / 8 of the crop's side apart
    across, down = ((shown[:, c].amax((1, 2)) - shown[:, c].amin((1, 2))) * 8 / 7 for c in (0, 1))
    area = across * down
    assert 0.19 < float(area.min()) < 0.23
    assert 0.37 < float(area.max()) < 0.41
    assert set(model.eval().preview(samples(size=32), context())) >= {"input", "masks", "slot 3"}


def test_a_decoder_of_single_pixels_knows_no_neighbours():
    layers = [layer for layer in small(decoder_kernel=1, upsamplings=0, decoder_size=(8, 8)).decoder.convolutions]
    assert [layer.kernel_size for layer in layers if isinstance(layer, nn.Conv2d)] == [(1, 1)]


# test_truth_beats_perturbation, test_gradient, test_role


def test_the_true_masks_and_colours_explain_an_image_best():
    pixels, ids = ObjectImages(1, 16).drawn[0]
    image = torch.from_numpy(pixels).float().permute(2, 0, 1)[None] / 255
    masks = F.one_hot(torch.from_numpy(ids)).permute(2, 0, 1)[None].float()
    colours = [(image * mask).sum((2, 3)) / mask.sum() for mask in masks[0]]
    slot_images = torch.stack(colours, 1)[..., None, None].expand(-1, -1, -1, 16, 16)
    right = (blended(slot_images, masks) - image).square().mean()
    assert float(right) == pytest.approx(0, abs=1e-6)
    for shift in (1, 2, 4):
        wrong, right = (blended(slot_images, masks.roll(shift, 3)) - image).square().mean(), right
        assert wrong > right


def test_the_gradient_is_that_of_finite_differences(unchecked):
    model, seen = small().double(), samples()
    image, noise = unit_range(seen.images[:, 0]).double(), some(4, 3, 8).double()

    def loss() -> torch.Tensor:
        inputs = model.encoder(2 * image - 1)
        colours, logits = model.decoder(model.slots(inputs, model.mean + model.log_sigma.exp() * noise)[0])
        return ((colours * logits.softmax(1)[:, :, None]).sum(1) - 2 * image + 1).square().mean()

    loss().backward()
    for name, parameter in model.named_parameters():
        flat, rng = parameter.data.view(-1), np.random.default_rng(len(name))
        for i in rng.integers(0, len(flat), 2).tolist():
            kept = float(flat[i])
            ends = []
            for shift in (1e-6, -1e-6):
                flat[i] = kept + shift
                ends.append(float(loss().detach()))
            flat[i] = kept
            assert float(parameter.grad.view(-1)[i]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-3, abs=1e-7), (
                name
            )


def test_masks_have_the_size_of_the_image_and_are_a_function_of_it():
    model = small().eval()
    image = torch.rand(2, 3, 11, 20)
    masks = model(image)
    assert masks.shape == (2, 3, 11, 20)
    assert torch.allclose(masks.sum(1), torch.ones(2, 11, 20), atol=1e-5)
    assert torch.equal(masks, model(image))
    assert torch.allclose(model(image[:1]), masks[:1], atol=1e-6)
    other = small(draw=1).eval()
    assert not torch.allclose(other(image), masks)


def test_it_can_be_exported():
    model, image = small().eval(), torch.rand(2, 3, 8, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        exported = torch.export.export(model, (image,))
    assert torch.allclose(exported.module()(image), model(image), atol=1e-6)


def test_the_preview_shows_masks_and_every_slot():
    preview = small().eval().preview(samples(), context())
    assert set(preview) == {
        "input",
        "drawn from slots",
        "masks",
        "attention in the last iteration",
        "slot 1",
        "slot 2",
        "slot 3",
    }
    assert preview["masks"].shape == (4, 8, 8)
    assert preview["attention in the last iteration"].shape == (4, 4, 4)
    assert preview["slot 1"].shape == (4, 3, 8, 8)


def test_sizes_are_the_papers_and_others_must_fit():
    paper = Config()
    assert encoded_size(paper) == (128, 128)
    assert (paper.slots, paper.iterations, paper.features, paper.hidden) == (7, 3, 64, 128)
    with pytest.raises(InputError, match=r"decoder_size doubled 4 times is \(128, 128\); size \(96, 128\)"):
        Config(size=(96, 128))
    with pytest.raises(InputError, match="slots = 1"):
        Config(slots=1)


# training


class Stop(Exception):
    """A kill."""


class Killer(Callback):
    def on_step(self, step, numbers):
        if step == 4:
            raise Stop


def test_a_killed_training_goes_on_bit_for_bit(tmp_path, unchecked):
    recipe = Recipe(steps=6, batch=4, learning_rate=1e-3, clip=1.0, checkpoint_every=3)
    whole, resumed, images = small(), small(seed=1), ObjectImages(10, 8, (1, 2))
    fit(whole, images, recipe, runtime=CPU)
    with pytest.raises(Stop):
        fit(small(), images, recipe, tmp_path, runtime=CPU, callback=Killer())
    fit(resumed, images, recipe, tmp_path, runtime=CPU)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert torch.equal(whole(torch.ones(1, 3, 8, 8)), resumed(torch.ones(1, 3, 8, 8)))


def test_shares_of_a_batch_have_its_mean_loss_and_gradient():
    """What makes many processes equal to one: each draws its own rows of the same noise."""
    model, seen = small(), samples()
    model.loss(seen, context()).total.backward()
    whole = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for rows in (slice(0, 2), slice(2, 4)):
        share = ImageBatch(seen.images[rows])
        (model.loss(share, StepContext(0, 10, StepRandom(0, 0, 4, rows))).total / 2).backward()
    for expected, parameter in zip(whole, model.parameters(), strict=True):
        assert torch.allclose(parameter.grad, expected, atol=1e-6)


def random_masks(new: ObjectImages) -> dict[str, float]:
    ids = np.random.default_rng(0).integers(0, SHAPES_CONFIG.slots, (len(new), *SHAPES_CONFIG.size))
    return measured(ids, new)


def k_means(new: ObjectImages, clusters: int) -> dict[str, float]:
    return measured(np.stack([clustered_ids(image.image, clusters) for image in new.drawn]), new)


def found_by(recipe: Recipe) -> tuple[SlotAttention, dict[str, float], ObjectImages]:
    """SHAPES_CONFIG after a training, and its measures on images that were not shown."""
    torch.manual_seed(recipe.seed)
    model, new = SlotAttention(SHAPES_CONFIG), ObjectImages(100, SHAPES_CONFIG.size[0], THREE, seed=99)
    fit(model, ObjectImages(8000, SHAPES_CONFIG.size[0], THREE, seed=recipe.seed), recipe, runtime=CPU)
    with torch.no_grad():
        return model, measured(ids_of(model(as_images(new))).numpy(), new), new


def test_it_learns_objects_within_a_few_hundred_steps(unchecked):
    """Masks of single objects, though not of all."""
    model, found, new = found_by(replace(HASTY, steps=300, schedule="constant"))
    assert found["FG-ARI"] > 0.35
    assert abs(random_masks(new)["FG-ARI"]) < 0.02
    assert found["mBO"] > 1.5 * random_masks(new)["mBO"]
    blurred = as_images(new).mean(0)
    with torch.no_grad():
        drawn = model.explain(as_images(new), model.fixed_noise(len(new))).image
    assert (drawn - as_images(new)).square().mean() < 0.9 * (blurred - as_images(new)).square().mean()


@pytest.mark.slow  # two minutes of a core for each
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tiny_learns(seed, unchecked):
    """Above k-means of colour and place, which is not given the number of objects but one cluster for each slot."""
    _, found, new = found_by(replace(SHAPES, seed=seed))
    assert found["FG-ARI"] > 0.7
    assert found["FG-ARI"] > k_means(new, SHAPES_CONFIG.slots)["FG-ARI"] + 0.05
    assert found["mBO"] > 2 * random_masks(new)["mBO"]


def test_images_of_shapes_show_enough_of_each():
    images = ObjectImages(30, 16, (3, 4), striped=True).drawn
    for image, ids in images:
        assert set(np.unique(ids)) in ({0, 1, 2, 3}, {0, 1, 2, 3, 4})
        assert (image[ids == 0] == image[ids == 0][0]).all()
        assert len(np.unique(image[ids == 1], axis=0)) <= 2
    again = ObjectImages(3, 16, (3, 4), striped=True).drawn
    assert all(np.array_equal(a.image, b.image) for a, b in zip(again, images, strict=False))


def test_k_means_of_plain_shapes_is_a_strong_baseline():
    new = ObjectImages(50, 16, THREE, seed=99)
    assert 0.45 < k_means(new, 4)["FG-ARI"] < k_means(new, 5)["FG-ARI"] < 0.75


def test_weights_begin_as_the_docstring_says():
    model = SlotAttention(replace(SHAPES_CONFIG, features=64)).requires_grad_(False)
    assert float(model.slots.keys.weight.std()) == pytest.approx((2 / 128) ** 0.5, rel=0.05)
    assert float(model.encoder.convolutions[2].weight.std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    assert float(model.decoder.convolutions[2].weight.std()) == pytest.approx((1 / (3 * 9 * 64)) ** 0.5, rel=0.05)
    assert not model.encoder.convolutions[2].bias.any()
    # the slots' Gaussian: Glorot's bound for 1 x 64 numbers is sqrt(6 / 128) = 0.2165
    for first in (model.mean, model.log_sigma):
        assert 0.19 < float(first.detach().abs().max()) < 0.2166
        assert float(first.mean()) == pytest.approx(0, abs=0.05)


def test_places_are_numbered_from_edge_to_edge():
    assert small().encoder.position.places[0, -1].tolist() == [0, 1, 1, 0]
    assert small(edges=(-3.0, 3.0)).decoder.position.places[0, -1].tolist() == [-3, 3, 3, -3]
