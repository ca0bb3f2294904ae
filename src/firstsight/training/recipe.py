"""A recipe: everything about a training that is neither the method nor the data."""

import math
from dataclasses import dataclass
from typing import Literal

from firstsight.errors import InputError

MAX_SEED = 2**63 - 1
RANGES = {
    "warm_up": (0.0, 1.0),
    "final_rate": (0.0, 1.0),
    "halvings": (0.0, 1.0),
    "momentum": (0.0, 1.0),
    "second_momentum": (0.0, 1.0),
    "weight_decay": (0.0, 1e6),
    "final_weight_decay": (0.0, 1e6),
    "ema": (0.0, 1.0),
    "final_ema": (0.0, 1.0),
    "seed": (0, MAX_SEED),
}
"""The least and the greatest value of each setting."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`batch` is over all processes. Shares are of all steps.

    Raises InputError for a value out of its range.
    """

    steps: int
    batch: int
    # samples of one backward pass on each process; None: all at once
    micro_batch: int | None = None
    optimiser: Literal["adam", "adamw", "sgd", "lars"] = "adam"
    learning_rate: float = 1e-3
    # the batch that `learning_rate` is meant for; the rate used is in proportion to `batch`. None: whatever the batch
    learning_rate_batch: int | None = None
    # share of the steps in which the rate rises from 0
    warm_up: float = 0.0
    schedule: Literal["constant", "cosine", "halving"] = "constant"
    # share of the learning rate that a cosine ends with
    final_rate: float = 0.0
    # shares after which the rate is halved
    halvings: tuple[float, ...] = ()
    # of sgd and lars, and beta_1 of Adam
    momentum: float = 0.9
    # beta_2 of Adam
    second_momentum: float = 0.999
    # of matrices and kernels, not of biases and norms
    weight_decay: float = 0.0
    # where the weight decay ends, by a cosine
    final_weight_decay: float | None = None
    # largest norm of each parameter's gradient if clip_each, of all together otherwise
    clip: float | None = None
    clip_each: bool = False
    # of teachers: share that stays at first, and at the end, by a cosine
    ema: float = 0.996
    final_ema: float = 1.0
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    seed: int = 0
    log_every: int = 10
    checkpoint_every: int = 500

    def __post_init__(self):
        for name in ("steps", "batch", "log_every", "checkpoint_every", "micro_batch", "learning_rate_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"recipe: {name} is {value}; it must be at least 1")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if number is not None and not low <= number <= high:
                    raise InputError(f"recipe: {name} is {value}; it must be from {low:g} to {high:g}")
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"recipe: {name} is {value}; it must be above 0")
        if self.warm_up == 1:
            raise InputError("recipe: warm_up is 1; it is a share of the steps and must be below 1")

    @property
    def full_rate(self) -> float:
        """The learning rate of this batch, before any schedule."""
        meant_for = self.learning_rate_batch
        return self.learning_rate if meant_for is None else self.learning_rate * self.batch / meant_for


def cosine(start: float, end: float, progress: float) -> float:
    """Half a cosine from start at progress 0 to end at 1."""
    return end + (start - end) * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2


def learning_rate(recipe: Recipe, step: int) -> float:
    """The learning rate of a step, counted from 0."""
    rising, full = round(recipe.warm_up * recipe.steps), recipe.full_rate
    if step < rising:
        return full * (step + 1) / (rising + 1)
    if recipe.schedule == "cosine":
        progress = (step - rising) / max(recipe.steps - rising, 1)
        return cosine(full, full * recipe.final_rate, progress)
    if recipe.schedule == "halving":
        return full * 0.5 ** sum(step >= share * recipe.steps for share in recipe.halvings)
    return full


def weight_decay(recipe: Recipe, step: int) -> float:
    """The weight decay of a step, counted from 0."""
    if recipe.final_weight_decay is None:
        return recipe.weight_decay
    return cosine(recipe.weight_decay, recipe.final_weight_decay, step / recipe.steps)


def teacher_momentum(recipe: Recipe, step: int) -> float:
    """The share of a teacher that stays in a step, counted from 0."""
    return cosine(recipe.ema, recipe.final_ema, step / recipe.steps)
