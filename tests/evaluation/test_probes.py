"""Probes against slow ones and, where it is installed, scikit-learn."""

import math

import numpy as np
import pytest
import torch

from firstsight.errors import InputError
from firstsight.evaluation import probes
from firstsight.evaluation.probes import (
    Labelled,
    Linear,
    cross_entropy,
    encoded,
    fit_linear,
    linear_metric,
    nearest_labels,
    neighbour_metric,
    neighbours,
    numbered,
)
from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.dataset import Arrays
from firstsight.training.data.wanted import Wanted


def blobs(count: int, seed: int, spread: float = 1.0) -> Labelled:
    """Three classes around fixed middles, in features of different sizes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    middles = np.random.default_rng(99).normal(size=(3, 6))
    features = (middles[labels] + spread * generator.normal(size=(count, 6))) * [1, 10, 0.1, 1, 1, 1] + 2
    return Labelled(torch.from_numpy(features.astype(np.float32)), torch.from_numpy(labels))


def slow_neighbours(query: torch.Tensor, known: torch.Tensor, count: int) -> list[list[int]]:
    found = []
    for a in query.double().tolist():
        cosines = [
            sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))
            for b in known.double().tolist()
        ]
        found.append(sorted(range(len(cosines)), key=lambda i: -cosines[i])[:count])
    return found


@pytest.mark.parametrize("block", [7, 64, 1024])
def test_neighbours_in_any_blocks(monkeypatch, block):
    monkeypatch.setattr(probes, "BLOCK", block)
    known, held_out = blobs(90, 0), blobs(20, 1)
    cosines, numbers = neighbours(held_out.features, known.features, 8)
    assert numbers.tolist() == slow_neighbours(held_out.features, known.features, 8)
    assert (cosines.diff(dim=1) <= 0).all()


@pytest.mark.parametrize("temperature", [0.07, None])
def test_votes(temperature):
    known, held_out = blobs(90, 0, spread=2.0), blobs(40, 1, spread=2.0)
    cosines, numbers = neighbours(held_out.features, known.features, 9)
    for row, label in enumerate(nearest_labels(held_out.features, known, 9, temperature).tolist()):
        votes = [0.0, 0.0, 0.0]
        for cosine, number in zip(cosines[row].tolist(), numbers[row].tolist(), strict=True):
            votes[int(known.labels[number])] += 1.0 if temperature is None else math.exp(cosine / temperature)
        assert votes[label] == pytest.approx(max(votes), rel=1e-5)


def test_near_neighbours_outvote_many_far_ones():
    known = Labelled(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0], [-0.1, 1.0]]), torch.tensor([1, 0, 0, 0]))
    query = torch.tensor([[1.0, 0.05]])
    assert nearest_labels(query, known, 4, 0.07).item() == 1
    assert nearest_labels(query, known, 4, None).item() == 0


def test_more_neighbours_than_samples_is_an_error():
    with pytest.raises(InputError, match="20 neighbours of 10 samples; choose fewer"):
        neighbours(torch.zeros(1, 6), blobs(10, 0).features, 20)


def slow_objective(weights: np.ndarray, known: Labelled, decay: float) -> float:
    features = known.features.double().numpy()
    features = (features - features.mean(0)) / features.std(0)
    total = 0.0
    for row, label in zip(features, known.labels.tolist(), strict=True):
        scores = [float(w[:-1] @ row + w[-1]) for w in weights]
        total += math.log(sum(math.exp(score) for score in scores)) - scores[label]
    return total / len(features) + decay / 2 * float((weights[:, :-1] ** 2).sum())


def test_the_linear_probe_is_the_least_of_its_objective(monkeypatch):
    monkeypatch.setattr(probes, "BLOCK", 32)
    known, decay = blobs(100, 0), 1e-2
    probe = fit_linear(known, decay)
    least = slow_objective(probe.weights, known, decay)
    generator = np.random.default_rng(0)
    for _ in range(20):
        off = probe.weights + 0.02 * generator.normal(size=probe.weights.shape)
        assert slow_objective(off, known, decay) > least
    assert fit_linear(known, 1.0).weights[:, :-1].std() < 0.3 * probe.weights[:, :-1].std()


def test_the_linear_probe_of_two_samples():
    """Features -1 and 3 are -1 and 1 when standardised. Of weights -w and w: w (1 + exp 2w) = 1 / 0.001, so w = 2.9171."""
    probe = fit_linear(Labelled(torch.tensor([[-1.0], [3.0]]), torch.tensor([0, 1])))
    assert (probe.mean.item(), probe.std.item()) == pytest.approx((1, 2))
    assert probe.weights == pytest.approx(np.array([[-2.9171, 0], [2.9171, 0]]), abs=1e-3)
    assert probe.labels(torch.tensor([[1.5], [0.5]])).tolist() == [1, 0]


def test_biases_do_not_decay():
    """With weights held at 0 two of three samples say: twice as likely, ln 2 apart."""
    probe = fit_linear(Labelled(torch.tensor([[-1.0], [3.0], [1.0]]), torch.tensor([0, 1, 0])), decay=1e6)
    assert probe.weights[:, 0] == pytest.approx(np.zeros(2), abs=1e-5)
    assert probe.weights[0, 1] - probe.weights[1, 1] == pytest.approx(0.6931, abs=1e-4)


def test_the_gradient_of_the_cross_entropy():
    known = blobs(50, 0)
    weights = np.random.default_rng(1).normal(size=(3, 7))
    probe = Linear(np.zeros(6), np.ones(6), weights)
    _, gradient = cross_entropy(probe, known)
    for place in ((0, 0), (1, 3), (2, 6)):
        moved = np.zeros_like(weights)
        moved[place] = 1e-5
        up, down = (cross_entropy(probe._replace(weights=weights + sign * moved), known)[0] for sign in (1, -1))
        assert gradient[place] == pytest.approx((up - down) / 2e-5, rel=1e-4, abs=1e-7)


def test_the_linear_probe_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    known, held_out, decay = blobs(300, 0), blobs(200, 1), 1e-2
    probe = fit_linear(known, decay)
    theirs = linear_model.LogisticRegression(C=1 / (decay * 300), tol=1e-8, max_iter=1000)
    theirs.fit((known.features.double().numpy() - probe.mean) / probe.std, known.labels.numpy())
    scores = theirs.decision_function((held_out.features.double().numpy() - probe.mean) / probe.std)
    ours = probe.scores(held_out.features)
    assert ours - ours.mean(1, keepdims=True) == pytest.approx(scores - scores.mean(1, keepdims=True), abs=2e-3)


def test_metrics_print_their_protocol_and_fall_to_chance():
    known, held_out = blobs(300, 0), blobs(100, 1)
    near, linear = neighbour_metric(known, held_out), linear_metric(known, held_out)
    assert near.value > 70
    assert linear.value > 80
    assert (
        near.protocol == "20 nearest by cosine, votes exp(cosine / 0.07); 300 known and 100 other samples of 3 classes"
    )
    assert "decay 0.001; 300 known and 100 other" in linear.protocol
    shuffled = known._replace(labels=known.labels[torch.randperm(300, generator=torch.Generator().manual_seed(0))])
    assert neighbour_metric(shuffled, held_out).value < 50
    assert linear_metric(shuffled, held_out).value < 50
    assert "one vote each" in neighbour_metric(known, held_out, temperature=None).protocol


def ramp() -> Arrays:
    """Image i is of the value i."""
    values = np.arange(10, dtype=np.uint8)[:, None, None, None, None]
    return Arrays(Wanted(ImageBatch, (2, 2)), {"images": np.tile(values, (1, 1, 3, 2, 2))})


def test_features_come_in_the_order_of_the_samples():
    got = encoded(lambda images: images.mean((2, 3)), ramp(), [3, 9, 0, 4, 1], batch=2)
    assert (255 * got[:, 0]).tolist() == pytest.approx([3, 9, 0, 4, 1], abs=1e-4)
    assert numbered(["ship", "cat", "ship", "dog"]).tolist() == [2, 0, 2, 1]
