"""A method small enough to train in a blink that uses all that `fit` offers: a teacher, buffers, dropout, features."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from firstsight.training.data.samples import NO_CAMERA, Dataset, Sample
from torch import nn

from firstsight.training.trainable import Loss, Moment, Samples, Trainable, Wanted


@dataclass(frozen=True, kw_only=True)
class Config:
    hidden: int = 8
    dropout: float = 0.0
    noise: float = 0.1


class Toy(Trainable):
    """Denoises small pictures; a teacher follows, and a buffer counts what it saw."""

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = config or Config()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(48, self.config.hidden), nn.Tanh(), nn.Dropout(self.config.dropout)
        )
        self.head = nn.Linear(self.config.hidden, 48)
        self.teacher = copy.deepcopy(self.net).requires_grad_(False)
        self.register_buffer("seen", torch.zeros(()))

    @property
    def wanted(self) -> Wanted:
        return Wanted((4, 4))

    def loss(self, samples: Samples, moment: Moment) -> Loss:
        clean = samples.view(0).flatten(1)
        self.seen += len(clean)
        features = self.net(clean + self.config.noise * moment.draws.normal(48))
        total = (self.head(features) - clean).square().mean()
        return Loss(total, {"error": total.detach()}, features.detach())

    def averaged(self):
        return ((self.teacher, self.net),)


class Colours(Dataset):
    """Pictures of one colour each."""

    def __init__(self, count: int = 50):
        self.images = np.random.default_rng(0).integers(0, 255, (count, 1, 3, 1, 1), np.uint8).repeat(4, 3).repeat(4, 4)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.images[index], NO_CAMERA, 0.0)


def toy(seed: int = 0, **config) -> Toy:
    torch.manual_seed(seed)
    return Toy(Config(**config))
