"""Batches of equal and of unequal rows."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from firstsight.training.data.batch import Ragged, collate, row_count, rows_of, to_device, unit_range
from firstsight.training.data.wanted import Wanted, drawn, frames


class Seen(NamedTuple):
    points: Ragged
    label: Tensor


def points(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


ROWS = [
    {"points": [points(0), points(1, 2)], "label": np.int64(7)},
    {"points": [points(), points(3, 4, 5)], "label": np.int64(8)},
    {"points": [points(6), points()], "label": np.int64(9)},
]


def listed(ragged: Ragged) -> list[list[list[float]]]:
    return [[part.flatten().tolist() for part in row] for row in ragged.rows()]


def test_unequal_rows_are_kept_apart():
    batch = collate(Seen, ROWS)
    assert batch.points.lengths.tolist() == [[1, 2], [0, 3], [1, 0]]
    assert batch.points.values.flatten().tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert listed(batch.points) == [[[0], [1, 2]], [[], [3, 4, 5]], [[6], []]]
    assert batch.label.tolist() == [7, 8, 9]
    assert row_count(batch) == 3
    assert row_count((batch.label[:2],)) == 2


def test_some_rows_of_a_batch():
    batch = collate(Seen, ROWS)
    some = rows_of(batch, slice(1, 3))
    assert listed(some.points) == [[[], [3, 4, 5]], [[6], []]]
    assert some.label.tolist() == [8, 9]
    none = rows_of(batch, slice(2, 2))
    assert (none.points.values.shape, none.points.lengths.shape, len(none.label)) == ((0, 1), (0, 2), 0)
    assert listed(to_device(batch, "cpu").points) == listed(batch.points)


def test_images_become_shares_of_white():
    image = torch.tensor([255, 51, 0], dtype=torch.uint8).view(3, 1, 1)
    assert unit_range(image).flatten().tolist() == torch.tensor([1, 0.2, 0]).tolist()


def test_how_far_a_clip_reaches():
    assert [frames(*offsets).reach for offsets in ((2, -3), (4,), (-2,), (1, 3))] == [(-3, 2), (0, 4), (-2, 0), (0, 3)]
    assert frames(2, -3).offsets(5) == [2, -3]
    assert frames(2, -3).possible == [-3, 2]
    assert not frames(2, -3).drawn
    clip = drawn((0, 0), (1, 3), (-4, -2))
    assert clip.drawn
    assert (clip.reach, clip.possible) == ((-4, 3), [-4, -3, -2, 0, 1, 2, 3])
    found = [clip.offsets(seed) for seed in range(60)]
    assert [sorted(set(column)) for column in zip(*found, strict=True)] == [[0], [1, 2, 3], [-4, -3, -2]]
    assert clip.offsets(3) == clip.offsets(3)


def test_wanted_without_further_words():
    wanted = Wanted(Seen)
    assert wanted.fields == ("points", "label")
    assert (wanted.size, wanted.order, wanted.clip.offsets(0)) == (None, "shuffled", [0])
