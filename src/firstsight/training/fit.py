"""The one training loop. It asks a method for its loss and knows nothing else of it.

    for every step: samples in the order of the seed -> loss -> gradients, averaged over processes -> clip -> optimiser
                    -> teachers follow -> now and then a line in the diary and a checkpoint

A run goes on from its last checkpoint as if nothing had happened: order and random numbers are functions of (seed, step).
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.formats.atomic import write_json
from firstsight.formats.weights import save_weights
from firstsight.training import checkpoint, collapse
from firstsight.training.averaging import follow
from firstsight.training.checkpoint import Training
from firstsight.training.configuration import to_json
from firstsight.training.data.batches import batches
from firstsight.training.data.samples import Dataset
from firstsight.training.diary import Diary, Watch
from firstsight.training.distributed import World, mean_over_processes, world
from firstsight.training.draws import Draws
from firstsight.training.recipe import Recipe, learning_rate, teacher_momentum, weight_decay
from firstsight.training.trainable import Loss, Moment, Samples, Trainable

SAVE_AFTER_S = 120.0  # one process also saves when this much work would be lost
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where and how a training runs; nothing of it changes the result on one device."""

    device: str | None = None  # None: a GPU where there is one
    workers: int = 0  # processes that decode samples; 0: none
    tensorboard: bool = False


class Fitted(NamedTuple):
    """`steps` done in all, and the last logged numbers."""

    steps: int
    numbers: dict[str, float]


def fit(
    method: Trainable,
    samples: Dataset,
    recipe: Recipe,
    folder: Path | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    surroundings: Surroundings | None = None,
    watch: Watch | None = None,
) -> Fitted:
    """Trains the method in place; with a `folder`, continues the training there if it was begun.

    `about` is kept in the folder's config.json; a training goes on only with the same.

    Raises InputError for a loss that is not finite (the last checkpoint stays), a batch that does not fit into memory,
    samples that cannot be read, and a folder that holds another training.
    """
    around = surroundings or Surroundings()
    with world(around.device) as here, torch.random.fork_rng():
        check(recipe, here, len(samples))
        if folder is not None:
            begin(folder, {**checkpoint.identity(method), "recipe": to_json(recipe), **(about or {})}, here)
        told = watch if watch and here.leads else Watch()
        return _fit(method.to(here.device).train(), samples, recipe, folder, around, told, here)


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

    def forward(self, samples: Samples, moment: Moment) -> Loss:
        return self.method.loss(samples, moment)


def _fit(
    method: Trainable,
    samples: Dataset,
    recipe: Recipe,
    folder: Path | None,
    around: Surroundings,
    watch: Watch,
    here: World,
) -> Fitted:
    training = Training(
        method, make_optimiser(method, recipe), torch.amp.GradScaler(enabled=recipe.precision == "fp16")
    )
    done = checkpoint.read(folder, training, here) if folder is not None else 0
    diary = Diary(folder if here.leads else None, done, around.tensorboard)
    model, pace, numbers, saved_at = here.wrapped(Step(method)), Pace(recipe.batch), {}, time.monotonic()
    watch.began(done, recipe.steps)
    for moment, batch in moments(samples, recipe, here, range(done, recipe.steps), around.workers):
        loss = advance(model, training, recipe, moment, batch)
        done = moment.step + 1
        logged = done % recipe.log_every == 0 or done == recipe.steps
        if logged:
            numbers = finite(summary(loss, recipe, moment.step) | pace.measure(done), done, folder)
            diary.note(done, numbers)
        watch.stepped(done, numbers if logged else None)
        late = here.size == 1 and time.monotonic() - saved_at > SAVE_AFTER_S
        if folder is not None and (done % recipe.checkpoint_every == 0 or late or done == recipe.steps):
            finite({"loss": float(mean_over_processes(loss.total))}, done, folder)
            checkpoint.write(folder, done, training, here)
            saved_at = time.monotonic()
            if here.leads:
                watch.saved(done, look(method, batch, moment))
    diary.close()
    method.eval()
    if folder is not None and here.leads:
        save_weights(folder / "model.safetensors", method.state_dict(), checkpoint.identity(method))
    return Fitted(done, numbers)


def moments(
    samples: Dataset, recipe: Recipe, here: World, steps: range, workers: int
) -> Iterator[tuple[Moment, Samples]]:
    rows = here.rows(recipe.batch)
    read = batches(samples, seed=recipe.seed, batch=recipe.batch, rows=rows, steps=steps, workers=workers)
    for step, batch in read:
        draws = Draws(recipe.seed, step, recipe.batch, rows, here.device)
        yield Moment(step, recipe.steps, draws), batch.to(here.device)


def make_optimiser(method: Trainable, recipe: Recipe) -> torch.optim.Optimizer:
    """Weight decay is for matrices and kernels only."""
    learned = [p for p in method.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learned if p.ndim > 1], "decays": True},
        {"params": [p for p in learned if p.ndim <= 1], "decays": False, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay)
    kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, recipe.learning_rate, (recipe.momentum, 0.999), weight_decay=recipe.weight_decay)


def advance(model: nn.Module, training: Training, recipe: Recipe, moment: Moment, batch: Samples) -> Loss:
    """One step of the optimiser, and the teachers' after it."""
    method, optimiser, scaler = training
    torch.manual_seed(moment.draws.seed)  # for dropout
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(recipe, moment.step)
        group["weight_decay"] = weight_decay(recipe, moment.step) if group["decays"] else 0.0
    optimiser.zero_grad(set_to_none=True)
    try:
        with lower_precision(recipe, batch.images.device):
            loss = model(batch, moment)
        scaler.scale(loss.total).backward()
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise InputError(too_large(method, recipe, moment, batch)) from None
    scaler.unscale_(optimiser)
    method.before_update(moment)
    clip(method, recipe)
    scaler.step(optimiser)
    scaler.update()
    for teacher, student in method.averaged():
        follow(teacher, student, teacher_momentum(recipe, moment.step))
    return loss


def lower_precision(recipe: Recipe, device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, HALF[recipe.precision]) if recipe.precision in HALF else nullcontext()


def clip(method: Trainable, recipe: Recipe) -> None:
    if recipe.clip is None:
        return
    learned = [p for p in method.parameters() if p.grad is not None]
    for group in [[p] for p in learned] if recipe.clip_each else [learned]:
        nn.utils.clip_grad_norm_(group, recipe.clip)


def out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def too_large(method: Trainable, recipe: Recipe, moment: Moment, batch: Samples) -> str:
    """Which batch would fit: the largest of a half, a quarter, ... whose loss and gradients do."""
    rows = len(batch.images)
    while (rows := rows // 2) > 0:
        torch.cuda.empty_cache()
        draws = Draws(recipe.seed, moment.step, rows, device=batch.images.device)
        try:
            part = Samples(*(tensor[:rows] for tensor in batch))
            method.loss(part, moment._replace(draws=draws)).total.backward()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            continue
        fits = recipe.batch * rows // len(batch.images)
        return f"a batch of {recipe.batch} does not fit into memory; {fits} does"
    return "not even one sample fits into memory; choose smaller pictures"


def summary(loss: Loss, recipe: Recipe, step: int) -> dict[str, float]:
    """The loss and its parts, averaged over the processes, and how the features are."""
    values = {"loss": loss.total, **loss.parts}
    numbers = {name: float(mean_over_processes(value.detach())) for name, value in values.items()}
    if loss.features is not None:
        numbers["feature std"] = collapse.feature_std(loss.features)
        numbers["effective rank"] = collapse.effective_rank(loss.features)
    return numbers | {"learning rate": learning_rate(recipe, step)}


def finite(numbers: dict[str, float], step: int, folder: Path | None) -> dict[str, float]:
    """The numbers. Raises InputError where the loss is not finite."""
    if not math.isfinite(numbers["loss"]):
        kept = checkpoint.written(folder)[-1:] if folder is not None else []
        where = f"the last good checkpoint is {kept[0]}" if kept else "there is no checkpoint yet"
        raise InputError(
            f"the loss is {numbers['loss']} after step {step}; {where}. Lower the learning rate or clip gradients"
        )
    return numbers


@torch.no_grad()
def look(method: Trainable, batch: Samples, moment: Moment) -> dict[str, Tensor]:
    """The method's sheet of the batch's first samples."""
    rows = min(len(batch.images), 8)
    few = Samples(*(part[:rows] for part in batch))
    method.eval()
    draws = Draws(moment.draws.seed, moment.step, rows, device=batch.images.device)
    sheet = method.sheet(few, moment._replace(draws=draws))
    method.train()
    return {title: pictures.float().cpu() for title, pictures in sheet.items()}


class Pace:
    """Samples per second since the last measurement."""

    def __init__(self, batch: int):
        self.batch, self.step, self.at = batch, None, time.perf_counter()

    def measure(self, step: int) -> dict[str, float]:
        now = time.perf_counter()
        rate = None if self.step is None else self.batch * (step - self.step) / max(now - self.at, 1e-9)
        self.step, self.at = step, now
        return {} if rate is None else {"samples per second": round(rate, 2)}
