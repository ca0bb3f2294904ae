"""Batches in the order of the seed, decoded by workers that stay only a few batches ahead."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from firstsight.errors import InputError
from firstsight.training.data.batch import Row, collate
from firstsight.training.data.dataset import Dataset
from firstsight.training.data.memory import KEEP_BYTES, Budget
from firstsight.training.data.order import Shuffled, Streamed
from firstsight.training.random_numbers import combine_seeds

PREFETCH = 2  # batches that each worker may hold ready


class Request(NamedTuple):
    """A sample to read: its number, the seed of what is drawn for it in this step, and whether a stream begins with it."""

    index: int
    seed: int
    starts: bool


class Unreadable(NamedTuple):
    """What a worker hands over in place of a sample: an exception would arrive with the worker's traceback."""

    reason: str


class _Guarded(torch.utils.data.Dataset):
    def __init__(self, data: Dataset):
        self.data = data

    def __getitem__(self, index: Request) -> Row | Unreadable:
        try:
            row = self.data.sample(index.index, index.seed)
        except InputError as error:
            return Unreadable(str(error))
        return {**row, "index": np.int64(index.index), "starts": np.bool_(index.starts)}


class _Requests:
    """The requests of this process's rows, step by step."""

    def __init__(self, data: Dataset, seed: int, batch: int, rows: slice, steps: range):
        self.seed, self.rows, self.steps = seed, range(batch)[rows], steps
        self.drawn = data.wanted.clip.drawn
        if data.wanted.order == "stream":
            self.order = Streamed(data.sequence_lengths(), batch)
        else:
            self.order = Shuffled(len(data), seed, batch, data.blocks())

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[Request]]:
        for step in self.steps:
            chosen = self.order.at(step)
            seeds = [combine_seeds(self.seed, step, row) if self.drawn else 0 for row in self.rows]
            yield [
                Request(int(chosen.indices[row]), seed, bool(chosen.starts[row]))
                for row, seed in zip(self.rows, seeds, strict=True)
            ]


class _Collate:
    """A batch of the method's own type, or the first of its rows that could not be read."""

    def __init__(self, kind: type):
        self.kind = kind

    def __call__(self, rows: Sequence[Row | Unreadable]) -> Any:
        samples = [row for row in rows if not isinstance(row, Unreadable)]
        unreadable = [row for row in rows if isinstance(row, Unreadable)]
        return unreadable[0] if unreadable else collate(self.kind, samples)


def batches(
    data: Dataset,
    *,
    seed: int,
    batch: int,
    rows: slice,
    steps: range,
    workers: int = 0,
    keep_bytes: int = KEEP_BYTES,
) -> Iterator[tuple[int, Any]]:
    """(step, this process's rows of its batch). Raises InputError where a sample cannot be read.

    What was decoded is kept in memory up to `keep_bytes`, of which each worker has its share and keeps what it read itself.
    """
    data.keep(Budget(keep_bytes // max(workers, 1)))
    loader = DataLoader(
        _Guarded(data),
        batch_sampler=_Requests(data, seed, batch, rows, steps),
        collate_fn=_Collate(data.wanted.batch),
        num_workers=workers,
        # recordings hold functions, which only a forked process inherits
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        prefetch_factor=PREFETCH if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    for step, read in zip(steps, loader, strict=True):
        if isinstance(read, Unreadable):
            raise InputError(read.reason)
        yield step, read
