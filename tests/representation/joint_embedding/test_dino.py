"""DINO's terms against loops written from the paper, its training in one and two processes, and what it learns."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_dino import BLINK_CONFIG, BLINK_RECIPE, dino

from firstsight.evaluation.probes import Labelled, encoded, linear_metric, neighbour_metric
from firstsight.representation.joint_embedding.dino import (
    PAPER,
    PATTERNS_CONFIG,
    PATTERNS_RECIPE,
    Config,
    Dino,
    Head,
    centred,
    cross_view,
    teacher_probs,
    teacher_temperature,
)
from firstsight.training.data.batch import ImageBatch, unit_range
from firstsight.training.fit import Runtime, fit
from firstsight.training.metrics_log import Callback
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import learning_rate, teacher_momentum, weight_decay
from firstsight.training.toys.drawn_patterns import Patterns
from firstsight.training.trainable import StepContext
from firstsight.training.views import views

HERE = Path(__file__).parent
CPU = Runtime(device="cpu")


def softmax(values: list[float]) -> list[float]:
    sizes = [math.exp(value) for value in values]
    return [size / sum(sizes) for size in sizes]


def test_equation():
    """L = mean over x large, x' another view, and images, of - sum_k P_t(x)_k log P_s(x')_k."""
    torch.manual_seed(0)
    teacher_logits, student, centre = torch.randn(2, 3, 5), torch.randn(4, 3, 5), torch.randn(5)
    terms, entropies, pairs = [], [], set()
    for x in range(2):
        for i in range(3):
            p = softmax([(g - c) / 0.5 for g, c in zip(teacher_logits[x, i].tolist(), centre.tolist(), strict=True)])
            entropies.append(-sum(q * math.log(q) for q in p))
            for other in range(4):
                if other != x:
                    says = softmax([g / 0.7 for g in student[other, i].tolist()])
                    terms.append(-sum(a * math.log(b) for a, b in zip(p, says, strict=True)))
                    pairs.add((x, other))
    agreement = cross_view(teacher_probs(teacher_logits, centre, 0.5), student, 0.7)
    cross_entropy, entropy = sum(terms) / len(terms), sum(entropies) / len(entropies)
    assert len(pairs) == 2 * (4 - 1)
    assert float(agreement.cross_entropy) == pytest.approx(cross_entropy, abs=1e-5)
    assert float(agreement.entropy) == pytest.approx(entropy, abs=1e-5)
    assert float(agreement.divergence) == pytest.approx(cross_entropy - entropy, abs=1e-5)


def test_uniform_is_the_entropy_of_all_prototypes_and_one_hot_is_none():
    uniform = cross_view(torch.full((2, 4, 64), 1 / 64), torch.zeros(6, 4, 64), 0.1)
    assert float(uniform.cross_entropy) == pytest.approx(math.log(64), abs=1e-5)
    assert float(uniform.divergence) == pytest.approx(0, abs=1e-5)
    one_hot = torch.eye(64)[torch.zeros(2, 4, dtype=torch.int64)]
    assert float(cross_view(one_hot, 100 * one_hot.repeat(3, 1, 1), 0.1).cross_entropy) == pytest.approx(0, abs=1e-5)


def test_the_centre_is_a_moving_average():
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(2, 3, 5, generator=generator) for _ in range(4)]
    centre = torch.zeros(5)
    for seen in logits:
        centre = centred(centre, seen, 0.9)
    expected = [
        sum(0.1 * 0.9 ** (3 - t) * seen[:, :, k].mean().item() for t, seen in enumerate(logits)) for k in range(5)
    ]
    assert centre.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_loss_is_that_of_the_centre_before_it_moves_and_of_a_temperature_that_rises():
    """A centre of random numbers, a quarter of the way: the teacher's temperature is 0.04 + 0.03 (0.25 / 0.3) = 0.065."""
    method, samples = apart(), first_samples(4)
    method.centre.copy_(torch.randn(32, generator=torch.Generator().manual_seed(1)))
    before = method.centre.clone()
    kinds = [*method.config.large, *[method.config.small] * 2]
    crops = views(unit_range(samples.images[:, 0]), kinds, StepRandom(0, 5, 4))
    with torch.no_grad():
        student = [method.student.head(method.student.vit(crop).cls) for crop in crops]
        logits = torch.stack([method.teacher.head(method.teacher.vit(crop).cls) for crop in crops[:2]])
    terms = []
    for x in range(2):
        for other in set(range(4)) - {x}:
            for g, s in zip(logits[x], student[other], strict=True):
                p = softmax([float(v) / 0.065 for v in g - before])
                terms.append(
                    -sum(a * math.log(b) for a, b in zip(p, softmax([float(v) / 0.1 for v in s]), strict=True))
                )
    context = StepContext(5, 20, StepRandom(0, 5, 4))
    found = method.loss(samples, context)
    assert float(found.total.detach()) == pytest.approx(sum(terms) / len(terms), abs=1e-4)
    assert torch.equal(method.centre, before)
    method.after_update(found.carry, context)
    assert torch.allclose(method.centre, 0.9 * before + 0.1 * logits.mean((0, 1)), atol=1e-6)


def apart() -> Dino:
    """A method whose teacher is not its student."""
    method = dino()
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return method


def test_the_features_are_the_teachers():
    method, images = apart(), unit_range(first_samples(3).images[:, 0])
    with torch.no_grad():
        assert torch.equal(method(images), method.teacher.vit(images).cls)
        assert not torch.allclose(method(images), method.student.vit(images).cls, atol=1e-3)


def test_centring_evens_out_and_low_temperatures_sharpen():
    logits = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0)) + 6 * torch.eye(16)[3]
    plain = teacher_probs(logits, torch.zeros(16), 1.0)
    middle = teacher_probs(logits, logits.mean((0, 1)), 1.0)
    assert plain.mean((0, 1)).max() > 0.7
    assert middle.mean((0, 1)).max() < 0.2

    def entropy(temperature: float) -> float:
        return float(cross_view(teacher_probs(logits, torch.zeros(16), temperature), logits, 1.0).entropy)

    assert entropy(0.1) < 0.5 * entropy(1.0)


def test_the_head_compares_directions():
    torch.manual_seed(0)
    head = Head(6, 8, 4, 5)
    features = torch.randn(3, 6)
    head.requires_grad_(False)
    for row, point in zip(head(features), head.mlp(features), strict=True):
        for cosine, prototype in zip(row, head.prototypes, strict=True):
            assert float(cosine) == pytest.approx(float(torch.cosine_similarity(point, prototype, dim=0)), abs=1e-6)


def test_truth_beats_perturbation():
    """A student that says of each image what the teacher says is better than one that says it of another, or less surely."""
    logits = torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(0))
    teacher = teacher_probs(logits, torch.zeros(32), 0.3)
    agrees = teacher.mean(0).log().expand(4, -1, -1)  # the best that one answer to both views can be
    best = cross_view(teacher, 0.1 * agrees, 0.1).cross_entropy
    assert best < cross_view(teacher, 0.1 * agrees.roll(1, 1), 0.1).cross_entropy
    for scale in (0.5, 0.8, 1.25, 2.0):
        assert best < cross_view(teacher, scale * 0.1 * agrees, 0.1).cross_entropy


def test_gradient():
    torch.manual_seed(0)
    teacher = torch.randn(2, 2, 4, dtype=torch.float64).softmax(-1)
    student = torch.randn(4, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda logits: cross_view(teacher, logits, 0.1).cross_entropy, student)
    method = dino()
    method.loss(first_samples(4), StepContext(0, 20, StepRandom(0, 0, 4))).total.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.student.parameters())
    assert all(p.grad is None and not p.requires_grad for p in method.teacher.parameters())
    assert not method.centre.requires_grad


def first_samples(count: int) -> ImageBatch:
    images = torch.from_numpy(Patterns(count, 16).images)[:, None]
    return ImageBatch(images)


def test_prototypes_are_frozen_at_first():
    method, moved = dino(), []
    start = method.student.head.prototypes.detach().clone()

    class Watcher(Callback):
        def on_step(self, step, numbers):
            moved.append(not torch.equal(method.student.head.prototypes, start))

    fit(method, Patterns(32, 16), BLINK_RECIPE, runtime=CPU, callback=Watcher())
    assert moved == [False] * 4 + [True] * 16


def test_the_recipe_is_the_papers():
    epoch = PAPER.steps / 100
    assert learning_rate(PAPER, 10 * int(epoch)) == pytest.approx(5e-4 * 1024 / 256)
    assert learning_rate(PAPER, PAPER.steps) == pytest.approx(1e-6, rel=1e-3)
    assert (weight_decay(PAPER, 0), weight_decay(PAPER, PAPER.steps)) == pytest.approx((0.04, 0.4))
    assert (teacher_momentum(PAPER, 0), teacher_momentum(PAPER, PAPER.steps)) == pytest.approx((0.996, 1.0))
    config = Config()
    assert [teacher_temperature(config, p) for p in (0.0, 0.15, 0.3, 1.0)] == pytest.approx([0.04, 0.055, 0.07, 0.07])
    assert [kind.scale for kind in (*config.large, config.small)] == [(0.4, 1.0), (0.4, 1.0), (0.05, 0.4)]
    assert [kind.blur for kind in (*config.large, config.small)] == [1.0, 0.1, 0.5]
    assert [kind.solarise for kind in (*config.large, config.small)] == [0.0, 0.2, 0.0]


def test_tiny_is_for_real_pictures_on_a_cpu():
    """A rate of 0.002 for 256 images is 0.0005 for 64; colours change, as they do in real pictures and not in grey patterns."""
    config, recipe = Dino.PRESETS["tiny"]
    assert learning_rate(recipe, 100) == pytest.approx(5e-4)
    assert (teacher_momentum(recipe, 0), teacher_momentum(recipe, 1000)) == pytest.approx((0.98, 0.995))
    assert [view.jitter for view in (*config.large, config.small)] == [0.4, 0.4, 0.4]
    assert [view.jitter for view in Dino.PRESETS["patterns"].config.large] == [0.0, 0.0]


def test_it_is_an_encoder_and_shows_its_attention():
    method = dino()
    samples, context = first_samples(3), StepContext(0, 20, StepRandom(0, 0, 3))
    assert method(unit_range(samples.images[:, 0])).shape == (3, BLINK_CONFIG.vit.width)
    preview = method.preview(samples, context)
    assert {title: part.shape for title, part in preview.items()} == {
        "input": (3, 3, 16, 16),
        "large view": (3, 3, 16, 16),
        "small view": (3, 3, 8, 8),
        "attention (share of the largest)": (3, 1, 16, 16),
    }
    assert preview["attention (share of the largest)"].amax((2, 3)).allclose(torch.ones(3, 1))


def labelled(encoder: Callable[[torch.Tensor], torch.Tensor], patterns: Patterns) -> Labelled:
    return Labelled(encoded(encoder, patterns, range(len(patterns))), torch.from_numpy(patterns.labels))


def test_it_learns_patterns():
    """From images alone, its features tell kinds of pattern apart that untrained ones and pixels confuse."""
    size_px = PATTERNS_CONFIG.size[0]
    patterns, held_out = Patterns(640, size_px), Patterns(240, size_px, seed=1)
    torch.manual_seed(0)
    method = Dino(PATTERNS_CONFIG)

    def measured(encoder: Callable[[torch.Tensor], torch.Tensor]) -> tuple[float, float]:
        """% by a linear probe of all labels, and by 5 neighbours among 80."""
        known, other = labelled(encoder, patterns), labelled(encoder, held_out)
        few = Labelled(known.features[:80], known.labels[:80])
        return linear_metric(known, other, 1e-2).value, neighbour_metric(few, other, 5).value

    pixels, untrained = measured(lambda images: images.flatten(1) - 0.5), measured(method)
    fit(method, patterns, PATTERNS_RECIPE, runtime=CPU)
    learned = measured(method)
    assert learned[0] > max(untrained[0], pixels[0]) + 20
    assert learned[1] > max(untrained[1], pixels[1]) + 5
