"""The order of samples: a function of (seed, step), every sample once in an epoch, blocks kept together."""

import numpy as np
import pytest
import torch

from firstsight.errors import InputError
from firstsight.training.data import order
from firstsight.training.data.order import Shuffled, Streamed, block_order
from firstsight.training.random_numbers import StepRandom, combine_seeds


def shown(steps: range, seed: int = 3, blocks=None) -> np.ndarray:
    shuffled = Shuffled(10, seed, 4, blocks)
    return np.concatenate([shuffled.at(step).indices for step in steps])


def test_every_epoch_shows_every_sample_once():
    both = shown(range(5))
    assert sorted(both[:10]) == sorted(both[10:]) == list(range(10))
    assert list(both[:10]) != list(both[10:])
    assert np.array_equal(shown(range(2, 3)), both[8:12])
    assert not np.array_equal(shown(range(1), seed=4), both[:4])


def test_the_order_without_blocks_is_the_permutation_of_the_seed_and_the_epoch():
    for epoch in range(2):
        expected = np.random.default_rng(combine_seeds(3, epoch)).permutation(10)
        assert np.array_equal(shown(range(5))[10 * epoch : 10 * epoch + 10], expected)


def test_an_order_in_blocks_shows_every_sample_once_and_resumes_anywhere(monkeypatch):
    monkeypatch.setattr(order, "WINDOW", 4)
    blocks = np.array([3, 2, 5])
    both = shown(range(5), blocks=blocks)
    assert sorted(both[:10]) == sorted(both[10:]) == list(range(10))
    assert np.array_equal(shown(range(3, 5), blocks=blocks), both[12:])
    assert list(both[:10]) != list(both[10:])


def test_windows_stay_within_the_blocks_that_follow_one_another():
    """24 blocks of four in windows of eight: each window holds two whole blocks, mixed, and these are neighbours by chance."""
    windows = block_order(np.array([4] * 24), 8, np.random.default_rng(0)).reshape(12, 8)
    pairs = [sorted(set((window // 4).tolist())) for window in windows]
    assert {len(pair) for pair in pairs} == {2}
    assert max(second - first for first, second in pairs) > 4
    assert sum(window.tolist() == sorted(window.tolist()) for window in windows) < 2


def test_blocks_of_one_length_are_not_needed():
    """Blocks 3, 2, 5 drawn as 5, 3, 2 or so: without a window each is shown whole and in its order."""
    indices = block_order(np.array([3, 2, 5]), 1, np.random.default_rng(1)).tolist()
    whole = [[0, 1, 2], [3, 4], [5, 6, 7, 8, 9]]
    shown = sorted(range(3), key=lambda block: indices.index(whole[block][0]))
    assert indices == [index for block in shown for index in whole[block]]


def test_streams_begin_anew_with_each_sequence_and_each_round():
    streams = Streamed([2, 5], 2)
    chosen = [streams.at(step) for step in range(4)]
    # seven samples are two shares of three: the last is never shown
    assert [step.indices.tolist() for step in chosen] == [[0, 3], [1, 4], [2, 5], [0, 3]]
    assert [step.starts.tolist() for step in chosen] == [[True, True], [False, False], [True, False], [True, True]]
    with pytest.raises(InputError, match="3 samples cannot be 4 streams"):
        Streamed([1, 2], 4)


def test_random_numbers_of_two_processes_are_the_rows_of_one():
    whole = StepRandom(1, 5, 6)
    parts = [StepRandom(1, 5, 6, slice(0, 3)), StepRandom(1, 5, 6, slice(3, 6))]
    for draw in (lambda r: r.uniform(2, low=-1.0), lambda r: r.normal(3), lambda r: r.below(9)):
        assert torch.equal(draw(whole), torch.cat([draw(part) for part in parts]))
    assert not torch.equal(StepRandom(1, 6, 6).normal(3), StepRandom(1, 5, 6).normal(3))
