"""Batches in the order of the seed, decoded by workers that stay only a few batches ahead."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from firstsight.errors import InputError
from firstsight.training.data.order import batch_indices
from firstsight.training.data.samples import Dataset, Sample
from firstsight.training.trainable import Samples

AHEAD = 2  # batches that each worker may hold ready


class Unreadable(NamedTuple):
    """What a worker hands over in place of a sample: an exception would arrive with the worker's traceback."""

    reason: str


class _Guarded(torch.utils.data.Dataset):
    def __init__(self, samples: Dataset):
        self.samples = samples

    def __getitem__(self, index: int) -> Sample | Unreadable:
        try:
            return self.samples[index]
        except InputError as error:
            return Unreadable(str(error))


class _Order:
    """The indices of this process's rows, step by step."""

    def __init__(self, count: int, seed: int, batch: int, rows: slice, steps: range):
        self.count, self.seed, self.batch, self.rows, self.steps = count, seed, batch, rows, steps

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            yield batch_indices(self.count, self.seed, step, self.batch)[self.rows].tolist()


def collate(rows: list[Sample | Unreadable]) -> Samples | Unreadable:
    """A batch, or the first of its rows that could not be read."""
    samples = [row for row in rows if isinstance(row, Sample)]
    unreadable = [row for row in rows if isinstance(row, Unreadable)]
    if unreadable:
        return unreadable[0]
    return Samples(
        torch.from_numpy(np.stack([row.images for row in samples])),
        torch.from_numpy(np.stack([row.intrinsics for row in samples])),
        torch.tensor([row.baseline_m for row in samples], dtype=torch.float32),
    )


def batches(
    samples: Dataset, *, seed: int, batch: int, rows: slice, steps: range, workers: int = 0
) -> Iterator[tuple[int, Samples]]:
    """(step, this process's rows of its batch). Raises InputError where a sample cannot be read."""
    loader = DataLoader(
        _Guarded(samples),
        batch_sampler=_Order(len(samples), seed, batch, rows, steps),
        collate_fn=collate,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        pin_memory=torch.cuda.is_available(),
    )
    for step, read in zip(steps, loader, strict=True):
        if isinstance(read, Unreadable):
            raise InputError(read.reason)
        yield step, read
