"""The one training loop. It asks a method for its loss and knows nothing else of it.

    for every step: samples in the order of the seed -> loss -> gradients, averaged over processes -> clip -> optimiser
                    -> teachers follow -> now and then a line in the log and a checkpoint

A run goes on from its last checkpoint as if nothing had happened: order and random numbers are functions of (seed, step).
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.formats.atomic import write_json
from firstsight.formats.configuration import to_json
from firstsight.formats.weights import save_weights
from firstsight.training import checkpoint, collapse
from firstsight.training.checkpoint import Training
from firstsight.training.data.batch import row_count, rows_of, to_device
from firstsight.training.data.dataset import Dataset
from firstsight.training.data.loading import batches
from firstsight.training.metrics_log import Callback, MetricsLog
from firstsight.training.optimiser import make_optimiser
from firstsight.training.processes import World, mean_over_processes, world
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import Recipe, learning_rate
from firstsight.training.trainable import Loss, StepContext, Trainable
from firstsight.training.update import NotFiniteError, advance

SAVE_AFTER_S = 120.0  # one process also saves when this much work would be lost
PREVIEWED = 8  # samples of a preview


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how a training runs; nothing of it changes the result on one device."""

    device: str | None = None  # None: a GPU where there is one
    workers: int = 0  # processes that decode samples; 0: none
    tensorboard: bool = False


class FitResult(NamedTuple):
    """`steps` done in all, and the last logged numbers."""

    steps: int
    numbers: dict[str, float]


def fit(
    method: Trainable,
    data: Dataset,
    recipe: Recipe,
    folder: Path | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    runtime: Runtime | None = None,
    callback: Callback | None = None,
) -> FitResult:
    """Trains the method in place; with a `folder`, continues the training there if it was begun.

    `about` is kept in the folder's config.json; a training goes on only with the same.

    Raises InputError for a loss that is not finite (the last checkpoint stays), a batch that does not fit into memory,
    samples that cannot be read, and a folder that holds another training.
    """
    runtime = runtime or Runtime()
    with world(runtime.device) as here, torch.random.fork_rng():
        check(recipe, here, len(data))
        if folder is not None:
            begin(folder, {**checkpoint.identity(method), "recipe": to_json(recipe), **(about or {})}, here)
        told = callback if callback and here.leads else Callback()
        return _fit(method.to(here.device).train(), data, recipe, folder, runtime, told, here)


def check(recipe: Recipe, here: World, count: int) -> None:
    here.rows(recipe.batch)
    if count == 0:
        raise InputError("no samples to learn from")
    if recipe.precision != "float32" and here.device.type != "cuda":
        raise InputError(f"precision {recipe.precision} is for GPUs; on a CPU it is many times slower, use float32")


def begin(folder: Path, mine: dict[str, Any], here: World) -> None:
    """Writes config.json, or makes sure that the folder's is the same."""
    path = folder / "config.json"
    if path.exists():
        checkpoint.require_same(checkpoint.read_json(path), mine, path)
    here.barrier()
    if here.leads and not path.exists():
        write_json(path, mine)


class Step(nn.Module):
    """The method's loss as a forward pass, which is what averages gradients over processes."""

    def __init__(self, method: Trainable):
        super().__init__()
        self.method = method

    def forward(self, batch: Any, context: StepContext) -> Loss:
        return self.method.loss(batch, context)


def _fit(
    method: Trainable,
    data: Dataset,
    recipe: Recipe,
    folder: Path | None,
    runtime: Runtime,
    callback: Callback,
    here: World,
) -> FitResult:
    training = Training(
        method, make_optimiser(method.groups(), recipe), torch.amp.GradScaler(enabled=recipe.precision == "fp16")
    )
    done = checkpoint.read(folder, training, here) if folder is not None else 0
    log = MetricsLog(folder if here.leads else None, done, runtime.tensorboard)
    model, throughput, numbers, saved_at = here.wrapped(Step(method)), Throughput(recipe.batch), {}, time.monotonic()
    callback.on_start(done, recipe.steps)
    for context, batch in steps_of(data, recipe, here, range(done, recipe.steps), runtime.workers):
        loss = try_to_advance(model, training, recipe, context, batch, folder)
        done = context.step + 1
        logged = done % recipe.log_every == 0 or done == recipe.steps
        if logged:
            numbers = summary(loss, recipe, context.step) | throughput.measure(done)
            log.append(done, numbers)
        callback.on_step(done, numbers if logged else None)
        late = here.size == 1 and time.monotonic() - saved_at > SAVE_AFTER_S
        if folder is not None and (done % recipe.checkpoint_every == 0 or late or done == recipe.steps):
            checkpoint.write(folder, done, training, here)
            saved_at = time.monotonic()
            if here.leads:
                callback.on_checkpoint(done, preview(method, batch, context))
    log.close()
    method.eval()
    if folder is not None and here.leads:
        save_weights(folder / "model.safetensors", method.state_dict(), checkpoint.identity(method))
    return FitResult(done, numbers)


def steps_of(
    data: Dataset, recipe: Recipe, here: World, steps: range, workers: int
) -> Iterator[tuple[StepContext, Any]]:
    rows = here.rows(recipe.batch)
    read = batches(data, seed=recipe.seed, batch=recipe.batch, rows=rows, steps=steps, workers=workers)
    for step, batch in read:
        random = StepRandom(recipe.seed, step, recipe.batch, rows, here.device)
        yield StepContext(step, recipe.steps, random, len(data)), to_device(batch, here.device)


def summary(loss: Loss, recipe: Recipe, step: int) -> dict[str, float]:
    """The loss and its parts, averaged over the processes, and how the features are."""
    values = {"loss": loss.total, **loss.parts}
    numbers = {name: float(mean_over_processes(value.detach())) for name, value in values.items()}
    if loss.features is not None:
        numbers["feature std"] = collapse.feature_std(loss.features)
        numbers["effective rank"] = collapse.effective_rank(loss.features)
    return numbers | {"learning rate": learning_rate(recipe, step)}


def try_to_advance(
    model: nn.Module, training: Training, recipe: Recipe, context: StepContext, batch: Any, folder: Path | None
) -> Loss:
    """One step. Raises InputError where the training diverges; the last good checkpoint stays."""
    try:
        return advance(model, training, recipe, context, batch)
    except NotFiniteError as error:
        kept = checkpoint.written(folder)[-1:] if folder is not None else []
        where = f"the last good checkpoint is {kept[0]}" if kept else "there is no checkpoint yet"
        raise InputError(
            f"{error} in step {context.step + 1}; {where}. Lower the learning rate or clip gradients"
        ) from None


@torch.no_grad()
def preview(method: Trainable, batch: Any, context: StepContext) -> dict[str, Tensor]:
    """What the method shows of the batch's first samples."""
    rows = min(row_count(batch), PREVIEWED)
    device = context.random.device
    method.eval()
    random = StepRandom(context.random.seed, context.step, rows, device=device)
    shown = method.preview(rows_of(batch, slice(rows)), context._replace(random=random))
    method.train()
    return {title: images.float().cpu() for title, images in shown.items()}


class Throughput:
    """Samples per second since the last measurement."""

    def __init__(self, batch: int):
        self.batch, self.step, self.at = batch, None, time.perf_counter()

    def measure(self, step: int) -> dict[str, float]:
        now = time.perf_counter()
        rate = None if self.step is None else self.batch * (step - self.step) / max(now - self.at, 1e-9)
        self.step, self.at = step, now
        return {} if rate is None else {"samples per second": round(rate, 2)}
