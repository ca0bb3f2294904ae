"""What the figure measures of attention, and that what it shows is of the recording."""

import numpy as np
import pytest
import torch

from firstsight.gallery.figures.representation.attention_heads import (
    PATCH_PX,
    experiment,
    largest_patch,
    numbers,
    on_moving,
    peak,
)


def test_attention_on_what_moves_is_measured_against_its_area():
    moving = np.zeros((1, 16, 32), bool)
    moving[0, :PATCH_PX, :PATCH_PX] = True
    even, there = torch.full((1, 1, 2, 4), 0.1), torch.zeros(1, 1, 2, 4)
    there[..., 0, 0] = 0.5
    assert on_moving(even, moving) == pytest.approx(1.0)
    assert on_moving(there, moving) == pytest.approx(8.0)
    assert on_moving(torch.cat([even, there], 1), moving) == pytest.approx(8.0)
    assert peak(even) == pytest.approx(8.0, rel=1e-5)
    assert peak(there) == pytest.approx(1.0)


def test_the_patch_that_asks_is_on_a_toy():
    mask = np.zeros((16, 32), bool)
    mask[9:15, 17:30] = True
    assert largest_patch(mask) == (1, 2)


def test_the_numbers_are_of_what_is_shown():
    found = experiment(0.1)
    values = {metric.name: metric.value for metric in numbers(found)}
    patches = found.trained.heads[0, 0].numel()
    assert 1 <= values["patches looked at, untrained"] <= patches
    assert values["moving toys, untrained"] == pytest.approx(1.0, abs=0.5)  # it looks everywhere alike
    assert found.images.shape == (3, 3, 120, 160)
    for (row, column), mask in zip(found.places, found.moving, strict=True):
        place = (slice(row * PATCH_PX, (row + 1) * PATCH_PX), slice(column * PATCH_PX, (column + 1) * PATCH_PX))
        assert mask[place].any()
