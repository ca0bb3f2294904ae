"""A recipe: everything about a training that is neither the method nor the data."""

import math
from dataclasses import dataclass
from typing import Literal

from firstsight.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`batch` is over all processes. Shares are of all steps."""

    steps: int
    batch: int
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = 1e-3
    warm_up: float = 0.0  # share of the steps in which the rate rises from 0
    schedule: Literal["constant", "cosine", "halving"] = "constant"
    final_rate: float = 0.0  # share of the learning rate that a cosine ends with
    halvings: tuple[float, ...] = ()  # shares after which the rate is halved
    momentum: float = 0.9  # of sgd, and beta_1 of Adam
    second_momentum: float = 0.999  # beta_2 of Adam
    weight_decay: float = 0.0  # of matrices and kernels, not of biases and norms
    final_weight_decay: float | None = None  # where it ends, by a cosine
    clip: float | None = None  # largest norm of each parameter's gradient if clip_each, of all together otherwise
    clip_each: bool = False
    ema: float = 0.996  # of teachers: share that stays at first,
    final_ema: float = 1.0  # and at the end, by a cosine
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    seed: int = 0
    log_every: int = 10
    checkpoint_every: int = 500

    def __post_init__(self):
        for name in ("steps", "batch", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise InputError(f"recipe: {name} is {getattr(self, name)}; it must be at least 1")
        if not self.learning_rate > 0:
            raise InputError(f"recipe: learning_rate is {self.learning_rate}; it must be above 0")


def cosine(start: float, end: float, progress: float) -> float:
    """Half a cosine from start at progress 0 to end at 1."""
    return end + (start - end) * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2


def learning_rate(recipe: Recipe, step: int) -> float:
    """The learning rate of a step, counted from 0."""
    rising = round(recipe.warm_up * recipe.steps)
    if step < rising:
        return recipe.learning_rate * (step + 1) / (rising + 1)
    if recipe.schedule == "cosine":
        progress = (step - rising) / max(recipe.steps - rising, 1)
        return cosine(recipe.learning_rate, recipe.learning_rate * recipe.final_rate, progress)
    if recipe.schedule == "halving":
        return recipe.learning_rate * 0.5 ** sum(step >= share * recipe.steps for share in recipe.halvings)
    return recipe.learning_rate


def weight_decay(recipe: Recipe, step: int) -> float:
    if recipe.final_weight_decay is None:
        return recipe.weight_decay
    return cosine(recipe.weight_decay, recipe.final_weight_decay, step / recipe.steps)


def teacher_momentum(recipe: Recipe, step: int) -> float:
    return cosine(recipe.ema, recipe.final_ema, step / recipe.steps)
