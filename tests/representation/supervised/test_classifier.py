"""The supervised baseline: its loss, its gradient, and that it learns kinds of pattern that pixels do not tell."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from firstsight.errors import InputError
from firstsight.evaluation.probes import Labelled, nearest_labels
from firstsight.representation.supervised.classifier import Batch, Classifier, Config, cross_entropy
from firstsight.training.data.batch import unit_range
from firstsight.training.data.dataset import Arrays
from firstsight.training.data.wanted import Wanted
from firstsight.training.fit import Runtime, fit
from firstsight.training.random_numbers import StepRandom
from firstsight.training.toys.drawn_patterns import KINDS, Patterns
from firstsight.training.trainable import DataFacts, StepContext

CPU = Runtime(device="cpu")
TINY = Classifier.PRESETS["tiny"]


def patterns(count: int, seed: int) -> Arrays:
    drawn = Patterns(count, 32, seed)
    return Arrays(Wanted(Batch, (32, 32)), {"images": drawn.images[:, None], "label": drawn.labels.astype(np.int64)})


def classifier(seed: int = 0, **changes) -> Classifier:
    torch.manual_seed(seed)
    return Classifier(replace(TINY.config, classes=KINDS, **changes))


def test_equation_by_hand():
    scores = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])
    # -log(3/4) and -log(1/5)
    expected = (math.log(4 / 3) + math.log(5)) / 2
    assert float(cross_entropy(scores, torch.tensor([1, 1]))) == pytest.approx(expected, rel=1e-6)


def test_equation_against_loops():
    scores = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    label = torch.tensor([0, 3, 4, 4, 1, 2, 0])
    total = 0.0
    for row in range(7):
        exponentials = [math.exp(float(score)) for score in scores[row]]
        total -= math.log(exponentials[int(label[row])] / sum(exponentials)) / 7
    assert float(cross_entropy(scores, label)) == pytest.approx(total, rel=1e-5)


def test_truth_beats_perturbation():
    scores = 4 * torch.eye(5)
    right = float(cross_entropy(scores, torch.arange(5)))
    for shift in range(1, 5):
        assert float(cross_entropy(scores, (torch.arange(5) + shift) % 5)) > right + 1


def test_gradient_is_probability_less_truth():
    scores = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    cross_entropy(scores, torch.tensor([2, 0, 3])).backward()
    expected = scores.detach().softmax(1)
    for row, label in enumerate((2, 0, 3)):
        expected[row, label] -= 1
    assert torch.allclose(scores.grad, expected / 3, atol=1e-6)


def test_the_data_decide_the_classes():
    completed = Classifier.completed(Config(), DataFacts(12, ("cat", "dog")))
    assert completed.classes == ("cat", "dog")
    assert Classifier.completed(Config(classes=("x", "y", "z")), DataFacts(12, ("cat", "dog"))).classes == (
        "x",
        "y",
        "z",
    )
    with pytest.raises(InputError, match="two classes or more"):
        Classifier(Config(size=(32, 32), layers=18, width=8)).loss(
            Batch(torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)),
            StepContext(0, 1, StepRandom(0, 0, 1)),
        )


def test_crops_are_drawn_by_the_step():
    method = classifier(crop=Classifier.PRESETS["paper"].config.crop)
    data = patterns(4, 0)
    batch = Batch(torch.from_numpy(data.arrays["images"]), torch.from_numpy(data.arrays["label"]))
    contexts = [StepContext(step, 9, StepRandom(0, step, 4)) for step in (0, 0, 1)]
    with torch.no_grad():
        losses = [float(method.loss(batch, context).total) for context in contexts]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert losses[0] != pytest.approx(losses[2], abs=1e-4)


def test_learns():
    """Nearest neighbours of pixels find the kind of fewer than half of the patterns; one in eight is chance."""
    method, known, others = classifier(), patterns(640, 0), patterns(200, 99)
    fit(method, known, TINY.recipe, runtime=CPU)
    images, labels = (torch.from_numpy(others.arrays[name]) for name in ("images", "label"))
    with torch.no_grad():
        found = method.scores(unit_range(images[:, 0])).argmax(1)
    accuracy = float((found == labels).float().mean())
    pixels = Labelled(
        unit_range(torch.from_numpy(known.arrays["images"])).flatten(1), torch.from_numpy(known.arrays["label"])
    )
    by_pixels = float((nearest_labels(unit_range(images).flatten(1), pixels) == labels).float().mean())
    print(f"accuracy {accuracy:.3f}, neighbours of pixels {by_pixels:.3f}")
    assert accuracy > 0.9
    assert accuracy > by_pixels + 0.2
