"""A batch in parts that fit into memory. For a loss that is a mean over samples their gradients add up to the batch's."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from firstsight.training.data.batch import row_count, rows_of
from firstsight.training.trainable import Loss, StepContext


class Part(NamedTuple):
    """Some samples of a batch, and which share of it they are."""

    share: float
    context: StepContext
    batch: Any


def parts(batch: Any, context: StepContext, size: int | None) -> Iterator[Part]:
    """The batch in parts of at most `size` samples, each with its rows of the step's random numbers."""
    count = row_count(batch)
    if size is None or size >= count:
        yield Part(1.0, context, batch)
        return
    for first in range(0, count, size):
        rows = slice(first, min(first + size, count))
        inside = context._replace(random=context.random.of_rows(rows), rows=rows)
        yield Part((rows.stop - rows.start) / count, inside, rows_of(batch, rows))


def whole(losses: Sequence[Loss], shares: Sequence[float]) -> Loss:
    """The loss of a batch from those of its parts: means of numbers, and all rows of features and of what is carried."""
    if len(losses) == 1:
        return losses[0]
    first, features = losses[0], [loss.features for loss in losses if loss.features is not None]

    def mean(values: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack([share * value for share, value in zip(shares, values, strict=True)]).sum(0)

    return Loss(
        mean([loss.total for loss in losses]),
        {name: mean([loss.parts[name] for loss in losses]) for name in first.parts},
        torch.cat(features) if features else None,
        {name: torch.cat([loss.carry[name] for loss in losses]) for name in first.carry},
    )
