"""The optimiser of a training: its parameter groups, and their rates and decays step by step."""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn

from firstsight.training.recipe import Recipe, learning_rate, weight_decay
from firstsight.training.step.lars import Lars
from firstsight.training.trainable import Group, Trainable

ADAM_KINDS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def make_optimiser(method: Trainable, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser of the method's groups. Matrices and kernels of a group decay, biases and norms do not.

    Every parameter that learns must be in one group; anything else is a defect of the method (AssertionError).
    """
    groups = method.groups()
    require_partition(method, groups)
    split = [part for group in groups for part in _split(group)]
    rate, decay = recipe.full_rate, recipe.weight_decay
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(split, rate, recipe.momentum, weight_decay=decay)
    if recipe.optimiser == "lars":
        return Lars(split, rate, recipe.momentum, decay)
    betas = (recipe.momentum, recipe.second_momentum)
    return ADAM_KINDS[recipe.optimiser](split, rate, betas, weight_decay=decay)


def require_partition(method: nn.Module, groups: Sequence[Group]) -> None:
    """Asserts that every parameter that learns is in exactly one group."""
    times = Counter(id(parameter) for group in groups for parameter in group.parameters)
    for name, parameter in method.named_parameters():
        count, expected = times.pop(id(parameter), 0), int(parameter.requires_grad)
        assert count == expected, f"parameter {name} is in {count} groups of {type(method).__name__}, not in {expected}"
    assert not times, f"the groups of {type(method).__name__} hold {len(times)} parameters that are not its own"


def _split(group: Group) -> list[dict[str, object]]:
    """The optimiser's groups of a group: what decays, and what does not."""
    decaying = [p for p in group.parameters if p.ndim > 1 and group.decays]
    others = [p for p in group.parameters if not (p.ndim > 1 and group.decays)]
    about = {"rate": group.rate, "scheduled": group.scheduled, "frozen_until": group.frozen_until}
    parts = ({"params": decaying, "decays": True}, {"params": others, "decays": False, "weight_decay": 0.0})
    return [{**part, **about} for part in parts if part["params"]]


def set_rates(optimiser: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    """Gives every group its learning rate and weight decay of this step."""
    scheduled, decay = learning_rate(recipe, step), weight_decay(recipe, step)
    for group in optimiser.param_groups:
        group["lr"] = group["rate"] * (scheduled if group["scheduled"] else recipe.full_rate)
        group["weight_decay"] = decay if group["decays"] else 0.0


def freeze(optimiser: torch.optim.Optimizer, progress: float) -> None:
    """Takes the gradients of groups that are still frozen: the optimiser then leaves them and their moments alone."""
    for group in optimiser.param_groups:
        if progress < group["frozen_until"]:
            for parameter in group["params"]:
                parameter.grad = None


def clip_gradients(parameters: Sequence[nn.Parameter], recipe: Recipe) -> None:
    """Shortens gradients to the recipe's norm, each parameter's by itself or all together."""
    if recipe.clip is None:
        return
    learned = [parameter for parameter in parameters if parameter.grad is not None]
    for group in [[parameter] for parameter in learned] if recipe.clip_each else [learned]:
        nn.utils.clip_grad_norm_(group, recipe.clip)
