"""A method small enough to train in a blink that uses all that `fit` offers: a teacher, buffers, dropout, features."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from firstsight.training.data.batch import ImageBatch, unit_range
from firstsight.training.data.dataset import Arrays
from firstsight.training.data.wanted import Wanted
from firstsight.training.trainable import EmaPair, Loss, StepContext, Trainable

WANTED = Wanted(ImageBatch, (4, 4))


@dataclass(frozen=True, kw_only=True)
class Config:
    hidden: int = 8
    dropout: float = 0.0
    noise: float = 0.1


class Toy(Trainable[ImageBatch]):
    """Denoises small images; a teacher follows, and a buffer counts what this process saw."""

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = config or Config()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(48, self.config.hidden), nn.Tanh(), nn.Dropout(self.config.dropout)
        )
        self.head = nn.Linear(self.config.hidden, 48)
        self.teacher = copy.deepcopy(self.net).requires_grad_(False)
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    @property
    def wanted(self) -> Wanted:
        return WANTED

    def loss(self, batch: ImageBatch, context: StepContext) -> Loss:
        clean = unit_range(batch.images[:, 0]).flatten(1)
        features = self.net(clean + self.config.noise * context.random.normal(48))
        total = (self.head(features) - clean).square().mean()
        return Loss(total, {"error": total.detach()}, features.detach(), {"rows": torch.ones(len(clean))})

    def after_update(self, carry, context):
        self.seen += carry["rows"].sum()

    def ema_pairs(self):
        return (EmaPair(self.teacher, self.net),)


def colours(count: int = 50, seed: int = 0) -> Arrays:
    """Images of one colour each."""
    one = np.random.default_rng(seed).integers(0, 255, (count, 1, 3, 1, 1), np.uint8)
    return Arrays(WANTED, {"images": one.repeat(4, 3).repeat(4, 4)}, "colours")


def toy(seed: int = 0, **config) -> Toy:
    torch.manual_seed(seed)
    return Toy(Config(**config))
