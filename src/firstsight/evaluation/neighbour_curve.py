"""How good features become while they are learned: a curve of nearest neighbours' votes in the training's log."""

from collections.abc import Mapping, Sequence

import torch

from firstsight.evaluation.probes import Labelled, encoded, neighbour_metric
from firstsight.training.data.dataset import Dataset
from firstsight.training.metrics_log import Measurement
from firstsight.training.processes import alone
from firstsight.training.trainable import Trainable


class NeighbourCurve(Measurement):
    """Logs "k-NN accuracy" (%) of a method's features every so many steps, k being `count`.

    The method is an Encoder. `labels` are the classes of all samples of `data`; the held-out samples are classified by the known ones.
    """

    def __init__(
        self,
        method: Trainable,
        data: Dataset,
        labels: Sequence[int],
        held_out: range,
        *,
        every: int,
        count: int = 20,
    ):
        self.method, self.data = method, data
        self.every, self.count = every, count
        self.labels, self.held_out = torch.as_tensor(labels), list(held_out)
        self.known = [number for number in range(len(data)) if number not in held_out]

    def measure(self, step: int) -> Mapping[str, float]:
        training = self.method.training
        self.method.eval()
        try:
            with alone():
                known, others = self._labelled(self.known), self._labelled(self.held_out)
        finally:
            self.method.train(training)
        return {f"{self.count}-NN accuracy": neighbour_metric(known, others, self.count).value}

    def _labelled(self, numbers: list[int]) -> Labelled:
        device = next(self.method.parameters()).device

        def features(images: torch.Tensor) -> torch.Tensor:
            return self.method(images.to(device))

        return Labelled(encoded(features, self.data, numbers), self.labels[numbers])
