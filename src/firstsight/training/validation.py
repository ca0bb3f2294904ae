"""The loss of samples that a training does not see."""

from collections.abc import Mapping

import torch

from firstsight.training.data.batch import row_count, to_device
from firstsight.training.data.dataset import Dataset
from firstsight.training.data.loading import batches
from firstsight.training.metrics_log import Measurement
from firstsight.training.processes import alone
from firstsight.training.random_numbers import StepRandom
from firstsight.training.trainable import StepContext, Trainable

SEED = 0  # of the augmentations, which are the same each time


class Validation(Measurement):
    """Logs the mean loss of held-out samples, and its parts, every so many steps: "validation loss" ..."""

    def __init__(self, method: Trainable, held_out: Dataset, every: int, batch: int):
        self.method, self.held_out, self.every = method, held_out, every
        self.batch = min(batch, len(held_out))

    def measure(self, step: int) -> Mapping[str, float]:
        training = self.method.training
        self.method.eval()
        try:
            with torch.no_grad(), alone():
                return self._mean(step)
        finally:
            self.method.train(training)

    def _mean(self, step: int) -> dict[str, float]:
        """The mean over as many whole batches as the samples fill."""
        device = next(self.method.parameters()).device
        count = len(self.held_out) // self.batch
        sums: dict[str, float] = {}
        rows = slice(0, self.batch)
        for number, batch in batches(self.held_out, seed=SEED, batch=self.batch, rows=rows, steps=range(count)):
            random = StepRandom(SEED, number, row_count(batch), device=device)
            context = StepContext(step, max(step, 1), random, len(self.held_out))
            loss = self.method.loss(to_device(batch, device), context)
            for name, value in {"loss": loss.total, **loss.parts}.items():
                sums[f"validation {name}"] = sums.get(f"validation {name}", 0.0) + float(value) / count
        return sums
