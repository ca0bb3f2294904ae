"""Rates, decays and momenta of a step, counted by hand; what a recipe is without further words."""

import math
from dataclasses import asdict

import pytest

from firstsight.training.recipe import Recipe, cosine, learning_rate, teacher_momentum, weight_decay


def test_a_recipe_without_further_words():
    assert asdict(Recipe(steps=3, batch=2)) == {
        "steps": 3,
        "batch": 2,
        "micro_batch": None,
        "optimiser": "adam",
        "learning_rate": 0.001,
        "learning_rate_batch": None,
        "warm_up": 0.0,
        "schedule": "constant",
        "final_rate": 0.0,
        "halvings": (),
        "momentum": 0.9,
        "second_momentum": 0.999,
        "weight_decay": 0.0,
        "final_weight_decay": None,
        "clip": None,
        "clip_each": False,
        "ema": 0.996,
        "final_ema": 1.0,
        "precision": "float32",
        "seed": 0,
        "log_every": 10,
        "checkpoint_every": 500,
    }


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("warm_up", (0.0, 0.999)),
        ("final_rate", (0.0, 1.0)),
        ("halvings", ((), (0.0, 1.0))),
        ("momentum", (0.0, 1.0)),
        ("second_momentum", (0.0, 1.0)),
        ("weight_decay", (0.0, 1e6)),
        ("final_weight_decay", (0.0, 1e6)),
        ("ema", (0.0, 1.0)),
        ("final_ema", (0.0, 1.0)),
        ("seed", (0, 2**63 - 1)),
        ("micro_batch", (1,)),
        ("learning_rate_batch", (1,)),
        ("log_every", (1,)),
        ("checkpoint_every", (1,)),
        ("learning_rate", (1e-9, 1e9)),
        ("clip", (1e-9,)),
    ],
)
def test_the_ends_of_a_range_are_in_it(setting: str, values: tuple):
    for value in values:
        assert getattr(Recipe(**{"steps": 1, "batch": 1, setting: value}), setting) == value


def test_half_a_cosine_stays_where_it_ends():
    assert [cosine(2.0, 1.0, at) for at in (-1.0, 0.0, 0.25, 0.5, 1.0, 3.0)] == pytest.approx(
        [2, 2, 1 + (1 + math.sqrt(0.5)) / 2, 1.5, 1, 1]
    )


def test_a_rate_rises_and_falls_by_a_cosine():
    """Two of ten steps rise by thirds, and eight fall to a tenth: half way down it is 0.55 of the rate."""
    recipe = Recipe(steps=10, batch=1, learning_rate=3.0, warm_up=0.2, schedule="cosine", final_rate=0.1)
    rates = [learning_rate(recipe, step) for step in (0, 1, 2, 6, 9)]
    assert rates == pytest.approx([1.0, 2.0, 3.0, 1.65, 3 * (0.1 + 0.9 * 0.0380602337)])
    assert learning_rate(Recipe(steps=1, batch=1, warm_up=0.6, schedule="cosine"), 0) == pytest.approx(0.0005)


def test_a_rate_is_halved_after_shares_of_the_steps():
    recipe = Recipe(steps=10, batch=1, learning_rate=8.0, schedule="halving", halvings=(0.5, 0.7))
    assert [learning_rate(recipe, step) for step in (4, 5, 6, 7, 9)] == [8, 4, 4, 2, 2]
    assert learning_rate(Recipe(steps=10, batch=1, learning_rate=8.0), 9) == 8


def test_decay_and_the_teachers_momentum_go_to_their_ends_by_a_cosine():
    recipe = Recipe(steps=10, batch=1, weight_decay=0.04, final_weight_decay=0.4, ema=0.9)
    assert [weight_decay(recipe, step) for step in (0, 5, 10)] == pytest.approx([0.04, 0.22, 0.4])
    assert [teacher_momentum(recipe, step) for step in (0, 5, 10)] == pytest.approx([0.9, 0.95, 1.0])
    assert weight_decay(Recipe(steps=10, batch=1, weight_decay=0.3), 7) == 0.3
