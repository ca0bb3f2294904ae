"""Batches are the methods' own NamedTuples of tensors; what holds for all of them is here."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped, UInt8
from torch import Tensor

B = TypeVar("B")
Row = Mapping[str, Any]
"""One sample: of each field an array, or for a ragged field the list of its arrays over time."""


class ImageBatch(NamedTuple):
    """Images alone: what most methods that learn features take."""

    images: UInt8[Tensor, "batch time 3 height width"]


class Ragged(NamedTuple):
    """Values of which every row has another number: the points of a scan, the boxes of a frame.

    `values` are all of them, row after row and within it time after time; `lengths` says how many there are of each.
    """

    values: Shaped[Tensor, "total ..."]
    lengths: Int64[Tensor, "batch time"]

    def rows(self) -> list[list[Tensor]]:
        """The values by row and time."""
        parts = self.values.split(self.lengths.flatten().tolist())
        times = self.lengths.shape[1]
        return [list(parts[first : first + times]) for first in range(0, len(parts), times)]


def collate(kind: type[B], rows: Sequence[Row]) -> B:
    """The batch of these rows, on the CPU."""
    return kind(**{name: _together([row[name] for row in rows]) for name in kind._fields})  # ty: ignore[missing-attribute]


def _together(values: Sequence[Any]) -> Tensor | Ragged:
    if not isinstance(values[0], list):
        return torch.from_numpy(np.stack([np.asarray(value) for value in values]))
    lengths = torch.tensor([[len(part) for part in row] for row in values], dtype=torch.int64)
    return Ragged(torch.from_numpy(np.concatenate([part for row in values for part in row])), lengths)


def row_count(batch: Any) -> int:
    """The number of samples in a batch."""
    first = batch[0]
    return len(first.lengths if isinstance(first, Ragged) else first)


def to_device(batch: B, device: torch.device | str) -> B:
    """The batch on a device."""
    return _mapped(batch, lambda tensor: tensor.to(device, non_blocking=True))


def rows_of(batch: B, rows: slice) -> B:
    """Some samples of a batch."""

    def of_field(field: Tensor | Ragged) -> Tensor | Ragged:
        if not isinstance(field, Ragged):
            return field[rows]
        kept = [part for row in field.rows()[rows] for part in row]
        return Ragged(torch.cat(kept) if kept else field.values[:0], field.lengths[rows])

    return type(batch)(*(of_field(field) for field in batch))  # ty: ignore[not-iterable]


def _mapped(batch: Any, change: Any) -> Any:
    return type(batch)(*(_mapped(part, change) if isinstance(part, tuple) else change(part) for part in batch))


def unit_range(images: UInt8[Tensor, "*batch 3 height width"]) -> Float32[Tensor, "*batch 3 height width"]:
    """RGB in [0, 1]."""
    return images.float() / 255
