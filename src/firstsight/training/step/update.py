"""One step of a training: loss, gradients, their check, the optimiser, and what follows it."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.training.data.batch import row_count, rows_of
from firstsight.training.processes import alone, average_gradients, mean_over_processes
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import Recipe, teacher_momentum
from firstsight.training.step.ema import update_ema
from firstsight.training.step.micro_batches import Part, parts, whole
from firstsight.training.step.optimiser import clip_gradients, freeze, set_rates
from firstsight.training.trainable import Loss, StepContext, Trainable

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Training(NamedTuple):
    """All that changes while training."""

    method: Trainable
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


class NotFiniteError(ArithmeticError):
    """A loss, a gradient or a parameter is not a finite number."""


def advance(training: Training, recipe: Recipe, context: StepContext, batch: Any) -> Loss:
    """One step; returns the loss without gradient, its total that of all processes.

    Raises NotFiniteError before anything has changed, and InputError for a batch that does not fit into memory.
    """
    method, optimiser, scaler = training
    learning = [parameter for parameter in method.parameters() if parameter.requires_grad]
    set_rates(optimiser, recipe, context.step)
    optimiser.zero_grad(set_to_none=True)
    loss = backward(training, recipe, context, batch)
    average_gradients(learning)
    scaler.unscale_(optimiser)
    freeze(optimiser, context.progress)
    require_finite(loss, learning, scaler.is_enabled())
    clip_gradients(learning, recipe)
    scaler.step(optimiser)
    scaler.update()
    for pair in method.ema_pairs():
        momentum = teacher_momentum(recipe, context.step) if pair.momentum is None else pair.momentum
        update_ema(pair.teacher, pair.student, momentum)
    with torch.no_grad():
        method.after_update(loss.carry, context._replace(random=context.random.after_loss()))
    return loss


def backward(training: Training, recipe: Recipe, context: StepContext, batch: Any) -> Loss:
    """Adds up the gradients of the batch's parts; returns the loss of the whole."""
    losses, shares = [], []
    try:
        for part in parts(batch, context, recipe.micro_batch):
            losses.append(backward_of_part(training, recipe, part))
            shares.append(part.share)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise InputError(too_large(training.method, recipe, context, batch)) from None
    loss = whole(losses, shares)
    return replace(loss, total=mean_over_processes(loss.total))


def backward_of_part(training: Training, recipe: Recipe, part: Part) -> Loss:
    """Adds the gradients of a part's share; returns its loss without gradient."""
    torch.manual_seed(part.context.random.dropout_seed)
    with lower_precision(recipe, part.context.random.device):
        loss = training.method.loss(part.batch, part.context)
    training.scaler.scale(part.share * loss.total).backward()
    return Loss(
        loss.total.detach(),
        {name: value.detach() for name, value in loss.parts.items()},
        None if loss.features is None else loss.features.detach(),
        {name: value.detach() for name, value in loss.carry.items()},
    )


def require_finite(loss: Loss, parameters: Sequence[nn.Parameter], scaled: bool) -> None:
    """Raises NotFiniteError where the loss, its features or a gradient are not finite.

    Of scaled gradients the scaler takes care: it leaves such a step out.
    """
    total = float(loss.total)
    if not math.isfinite(total):
        raise NotFiniteError(f"the loss is {total}")
    if loss.features is not None and not bool(loss.features.isfinite().all()):
        raise NotFiniteError("the features are not finite")
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if scaled or not gradients:
        return
    norm = float(nn.utils.get_total_norm(gradients))
    if not math.isfinite(norm):
        raise NotFiniteError(f"the norm of the gradients is {norm}")


def require_finite_parameters(method: nn.Module) -> None:
    """Raises NotFiniteError naming the first parameter that is not finite."""
    for name, parameter in method.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise NotFiniteError(f"parameter {name} is not finite")


def lower_precision(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    """Half precision where the recipe asks for it."""
    return torch.autocast(device.type, HALF[recipe.precision]) if recipe.precision in HALF else nullcontext()


def out_of_memory(error: RuntimeError) -> bool:
    """Whether torch found too little memory, on a GPU or on a CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def too_large(method: Trainable, recipe: Recipe, context: StepContext, batch: Any) -> str:
    """Which batch would fit: the largest of a half, a quarter, ... whose loss and gradients do."""
    count = row_count(batch)
    rows = min(count, recipe.micro_batch or count)
    while (rows := rows // 2) > 0:
        torch.cuda.empty_cache()
        random = StepRandom(recipe.seed, context.step, rows, device=context.random.device)
        try:
            with alone():
                total: Tensor = method.loss(rows_of(batch, slice(rows)), context._replace(random=random)).total
                total.backward()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            continue
        fits = f"a batch of {recipe.batch} does not fit into memory; {recipe.batch * rows // count} does"
        return fits if method.couples_samples else f"{fits}, and so does micro_batch {rows}"
    return "not even one sample fits into memory; choose smaller images"
