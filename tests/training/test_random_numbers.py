"""Random numbers of a seed and a step: where they lie, and that they stay what they are."""

import pytest
import torch

from firstsight.training.random_numbers import StepRandom, combine_seeds


def test_seeds_stay_what_they_are():
    """A training that is resumed by a later version must find the same numbers."""
    assert [combine_seeds(0), combine_seeds(1, 2), combine_seeds(2, 1)] == [
        7896617691693857887,
        7764949442709860949,
        3304656143886516455,
    ]
    random = StepRandom(3, 4, batch=2)
    assert random.dropout_seed == random.seed == 8142286996972879346
    assert random.after_loss().seed == 1265883557026684161
    assert random.of_rows(slice(1, 2)).dropout_seed == 1265883557026684161


def test_numbers_lie_where_they_are_asked_for():
    random = StepRandom(0, 0, batch=500)
    even = random.uniform(20, low=-2.0, high=3.0)
    assert even.shape == (500, 20)
    assert -2 <= even.min() < -1.99
    assert 2.99 < even.max() < 3
    assert float(even.mean()) == pytest.approx(0.5, abs=0.05)
    assert 0 <= random.uniform(20).min() < random.uniform(20).max() < 1
    normal = random.normal(20)
    assert (float(normal.mean()), float(normal.std())) == pytest.approx((0, 1), abs=0.03)
    below = random.below(3, 20)
    assert below.unique().tolist() == [0, 1, 2]
    assert torch.bincount(below.flatten()).tolist() == pytest.approx([3333] * 3, abs=200)


def test_a_process_has_the_rows_of_its_samples():
    whole, own = StepRandom(0, 0, batch=5), StepRandom(0, 0, batch=5, rows=slice(2, 4))
    assert torch.equal(own.normal(3), whole.normal(3)[2:4])
    assert torch.equal(own.of_rows(slice(1, 2)).normal(3), StepRandom(0, 0, batch=5).normal(3)[3:4])
    assert own.on_device().normal(3).shape == (2, 3)
    assert own.on_device() is own.on_device()
