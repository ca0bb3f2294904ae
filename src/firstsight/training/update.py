"""One step of a training: loss, gradients, their check, the optimiser, and what follows it."""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from firstsight.errors import InputError
from firstsight.training.checkpoint import Training
from firstsight.training.data.batch import row_count, rows_of
from firstsight.training.ema import update_ema
from firstsight.training.optimiser import clip_gradients, freeze, set_rates
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import Recipe, teacher_momentum
from firstsight.training.trainable import Loss, StepContext

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class NotFiniteError(ArithmeticError):
    """The loss or a gradient is not a finite number; the parameters are as before the step."""


def advance(model: nn.Module, training: Training, recipe: Recipe, context: StepContext, batch: Any) -> Loss:
    """One step. Raises NotFiniteError before anything has changed."""
    method, optimiser, scaler = training
    torch.manual_seed(context.random.seed)  # for dropout
    set_rates(optimiser, recipe, context.step)
    optimiser.zero_grad(set_to_none=True)
    try:
        with lower_precision(recipe, context.random.device):
            loss = model(batch, context)
        scaler.scale(loss.total).backward()
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise InputError(too_large(training, recipe, context, batch)) from None
    scaler.unscale_(optimiser)
    freeze(optimiser, context.progress)
    require_finite(loss, list(method.parameters()), scaler.is_enabled())
    clip_gradients(list(method.parameters()), recipe)
    scaler.step(optimiser)
    scaler.update()
    for pair in method.ema_pairs():
        momentum = teacher_momentum(recipe, context.step) if pair.momentum is None else pair.momentum
        update_ema(pair.teacher, pair.student, momentum)
    with torch.no_grad():
        method.after_update(loss.carry, context)
    return loss


def require_finite(loss: Loss, parameters: list[nn.Parameter], scaled: bool) -> None:
    """Raises NotFiniteError for a loss or a gradient that is not finite; of scaled gradients the scaler takes care."""
    total = float(loss.total.detach())
    if not math.isfinite(total):
        raise NotFiniteError(f"the loss is {total}")
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if scaled or not gradients:
        return
    norm = float(nn.utils.get_total_norm(gradients))
    if not math.isfinite(norm):
        raise NotFiniteError(f"the norm of the gradients is {norm}")


def lower_precision(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, HALF[recipe.precision]) if recipe.precision in HALF else nullcontext()


def out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def too_large(training: Training, recipe: Recipe, context: StepContext, batch: Any) -> str:
    """Which batch would fit: the largest of a half, a quarter, ... whose loss and gradients do."""
    count = rows = row_count(batch)
    while (rows := rows // 2) > 0:
        torch.cuda.empty_cache()
        random = StepRandom(recipe.seed, context.step, rows, device=context.random.device)
        try:
            part = rows_of(batch, slice(rows))
            training.method.loss(part, context._replace(random=random)).total.backward()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            continue
        return f"a batch of {recipe.batch} does not fit into memory; {recipe.batch * rows // count} does"
    return "not even one sample fits into memory; choose smaller images"
