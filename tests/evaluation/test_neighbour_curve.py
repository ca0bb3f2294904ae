import numpy as np
import pytest
import torch
from torch import nn

from firstsight.evaluation.neighbour_curve import NeighbourCurve
from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.dataset import Arrays
from firstsight.training.data.wanted import Wanted
from firstsight.training.fit import Runtime, fit
from firstsight.training.metrics_log import read_metrics
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss, Trainable


class Colours(Trainable[ImageBatch]):
    """Features are the mean colour about grey, until the first step turns them all the same way."""

    config = Recipe(steps=1, batch=1)
    wanted = Wanted(ImageBatch, (2, 2))

    def __init__(self):
        super().__init__()
        self.push = nn.Parameter(torch.zeros(1, 3))

    def loss(self, batch, context):
        assert self.training
        return Loss(-self.push.sum())

    def forward(self, image):
        assert not self.training
        return image.mean((2, 3)) - 0.5 + self.push


def test_the_curve_is_in_the_log(tmp_path):
    """Red, green and blue are told apart by direction; what is added makes all features equal: one class for all."""
    images = np.zeros((12, 1, 3, 2, 2), np.uint8)
    labels = [0, 1, 2] * 4
    for number, label in enumerate(labels):
        images[number, 0, label] = 255
    method, data = Colours(), Arrays(Colours.wanted, {"images": images})
    curve = NeighbourCurve(method, data, labels, range(6, 12), every=2, count=2)
    recipe = Recipe(steps=2, batch=4, optimiser="sgd", learning_rate=1e8, momentum=0.0, log_every=2)
    fit(method, data, recipe, tmp_path, runtime=Runtime(device="cpu"), callback=curve)
    found = {row["step"]: row["2-NN accuracy"] for row in read_metrics(tmp_path)}
    assert found == {0: 100.0, 2: pytest.approx(100 / 3)}
