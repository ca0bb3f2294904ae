"""The one training loop. It asks a method for its loss and knows nothing else of it.

    for every step: samples in the order of the seed -> loss -> gradients, averaged over processes -> clip -> optimiser
                    -> teachers follow -> now and then a line in the log and a checkpoint

A run goes on from its last checkpoint as if nothing had happened: order and random numbers are functions of (seed, step).
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import write_json
from firstsight.formats.storage.configuration import read_json, to_json
from firstsight.formats.storage.lock import locked
from firstsight.formats.storage.weights import save_weights
from firstsight.training import checkpoint, collapse
from firstsight.training.data.batch import row_count, rows_of, to_device
from firstsight.training.data.dataset import Dataset
from firstsight.training.data.loading import batches
from firstsight.training.data.memory import KEEP_BYTES
from firstsight.training.initial import load_initial
from firstsight.training.metrics_log import Callback, MetricsLog, Silent
from firstsight.training.processes import (
    World,
    alone,
    begin_equal,
    gather_rows,
    mean_over_processes,
    stop_signal,
    world,
)
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import Recipe, learning_rate
from firstsight.training.step.batch_norm import synchronised
from firstsight.training.step.optimiser import make_optimiser
from firstsight.training.step.update import NotFiniteError, Training, advance, require_finite_parameters
from firstsight.training.trainable import Loss, StepContext, Trainable

SAVE_AFTER_S = 120.0  # one process also saves when this much work would be lost
PREVIEWED = 8  # samples of a preview


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """The place and manner of a training; nothing of it changes the result on one device."""

    # None: a GPU where there is one
    device: str | None = None
    # processes that decode samples; 0: none
    workers: int = 0
    # bytes of decoded samples that stay in memory
    keep_bytes: int = KEEP_BYTES
    tensorboard: bool = False


class FitResult(NamedTuple):
    """`steps` done in all, and the last logged numbers."""

    steps: int
    numbers: dict[str, float]


class StoppedError(InputError):
    """The training was asked to end, and has saved what it did."""


class Run(NamedTuple):
    """What a training consists of. `record` is all of it that a checkpoint must match."""

    method: Trainable
    data: Dataset
    recipe: Recipe
    folder: Path | None
    runtime: Runtime
    callback: Callback
    here: World
    record: dict[str, Any]


def fit(
    method: Trainable,
    data: Dataset,
    recipe: Recipe,
    folder: Path | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    runtime: Runtime | None = None,
    callback: Callback | None = None,
    initial: Path | None = None,
) -> FitResult:
    """Trains the method in place; with a `folder`, continues the training there if it was begun.

    `about` is kept in the folder's config.json; a training is continued only with the same, the same settings, data and
    recipe, of which only `checkpoint.MAY_CHANGE` may differ. A new training begins with the weights of `initial`, a folder
    or a safetensors file, as far as they fit.

    Raises InputError for a training that diverges (the last checkpoint stays), a batch that does not fit into memory,
    samples that cannot be read, and a folder that holds another training or is in use; StoppedError after SIGTERM.
    """
    runtime = runtime or Runtime()
    with world(runtime.device) as here, torch.random.fork_rng(), ExitStack() as held:
        check(method, data, recipe, here)
        listener = (callback or Callback()) if here.leads else Silent()
        record = {
            **checkpoint.identity(method),
            "recipe": to_json(recipe),
            "data": json.loads(json.dumps(data.fingerprint())),
            **(about or {}),
        }
        if folder is not None and here.leads:
            held.enter_context(locked(folder))
        here.barrier()
        method.to(here.device).train()
        run = Run(method, data, recipe, folder, runtime, listener, here, record)
        training = Training(
            method, make_optimiser(method, recipe), torch.amp.GradScaler(enabled=recipe.precision == "fp16")
        )
        return train(run, training, begin(run, training, initial))


def check(method: Trainable, data: Dataset, recipe: Recipe, here: World) -> None:
    """Raises InputError for a recipe that does not suit the method, the data or the machine."""
    here.rows(recipe.batch)
    if len(data) == 0:
        raise InputError("no samples to learn from")
    if data.wanted.order == "stream" and len(data) < recipe.batch:
        raise InputError(f"{len(data)} samples are too few for {recipe.batch} streams; choose a smaller batch")
    if recipe.precision != "float32" and here.device.type != "cuda":
        raise InputError(f"precision {recipe.precision}: reduced precision needs a GPU; use float32")
    if recipe.micro_batch is not None and method.couples_samples:
        raise InputError(
            f"micro_batch {recipe.micro_batch}: the loss of {type(method).__name__} compares the samples of a batch; "
            "leave micro_batch out, or choose a smaller batch"
        )


def begin(run: Run, training: Training, initial: Path | None) -> int:
    """Restores the newest checkpoint, or begins; returns the number of steps done."""
    done, known = 0, {}
    if run.folder is not None:
        path = run.folder / "config.json"
        if path.exists():
            known = read_json(path)
            checkpoint.require_same(known, run.record, path)
        done = restore(run, training)
        begun_with = {"initial": str(initial)} if initial is not None and done == 0 else {}
        if run.here.leads:
            write_json(path, {**known, **run.record, **begun_with})
    if done == 0:
        if initial is not None:
            run.callback.on_remark(load_initial(run.method, initial))
        begin_equal(run.method)
    return done


def restore(run: Run, training: Training) -> int:
    """Restores the newest whole checkpoint, which the first process chooses; returns its step, 0 where there is none."""
    assert run.folder is not None
    found = checkpoint.newest(run.folder, run.callback.on_remark) if run.here.leads else None
    step = run.here.agreed(int(found.name) if found else 0)
    if step == 0:
        return 0
    return checkpoint.read(checkpoint.place(run.folder, step), training, run.record, run.here)


def train(run: Run, training: Training, done: int) -> FitResult:
    """All steps that are left, and the published weights."""
    recipe, callback, here = run.recipe, run.callback, run.here
    log = MetricsLog(run.folder if here.leads else None, done, run.runtime.tensorboard)
    if log.damaged:
        callback.on_remark(f"{log.path}: {log.damaged} damaged lines are dropped")
    throughput, numbers, saved_at = Throughput(recipe.batch), {}, time.monotonic()
    callback.on_start(done, recipe.steps)
    if done == 0:
        report(log, 0, callback.numbers(0))
    with synchronised(run.method), stop_signal() as stop:
        for context, batch in steps_of(run, done):
            loss = try_to_advance(training, run, context, batch)
            done = context.step + 1
            logged = done % recipe.log_every == 0 or done == recipe.steps
            if logged:
                numbers = summary(loss, recipe, context.step) | throughput.measure(done)
            report(log, done, {**(numbers if logged else {}), **callback.numbers(done)})
            callback.on_step(done, numbers if logged else None)
            stopped = here.any(stop.received)
            late = here.size == 1 and time.monotonic() - saved_at > SAVE_AFTER_S
            if done % recipe.checkpoint_every == 0 or late or stopped or done == recipe.steps:
                save(run, training, context, batch)
                saved_at = time.monotonic()
            if stopped:
                raise StoppedError(stopped_line(run, done))
    log.close()
    run.method.eval()
    publish(run, done)
    return FitResult(done, numbers)


def steps_of(run: Run, done: int) -> Iterator[tuple[StepContext, Any]]:
    """Each step that is left, with this process's rows of its batch."""
    recipe, here, data = run.recipe, run.here, run.data
    rows, steps, runtime = here.rows(recipe.batch), range(done, recipe.steps), run.runtime
    read = batches(
        data,
        seed=recipe.seed,
        batch=recipe.batch,
        rows=rows,
        steps=steps,
        workers=runtime.workers,
        keep_bytes=runtime.keep_bytes,
    )
    for step, batch in read:
        random = StepRandom(recipe.seed, step, recipe.batch, rows, here.device)
        yield StepContext(step, recipe.steps, random, len(data)), to_device(batch, here.device)


def summary(loss: Loss, recipe: Recipe, step: int) -> dict[str, float]:
    """The loss and its parts, averaged over the processes, and how the features of all are."""
    numbers = {"loss": float(loss.total)}
    numbers |= {name: float(mean_over_processes(value)) for name, value in loss.parts.items()}
    if loss.features is not None:
        features = gather_rows(loss.features)
        numbers["feature std"] = collapse.feature_std(features)
        numbers["effective rank"] = collapse.effective_rank(features)
    return numbers | {"learning rate": learning_rate(recipe, step)}


def report(log: MetricsLog, step: int, numbers: Mapping[str, float]) -> None:
    """A line of the log, where there are numbers."""
    if numbers:
        log.append(step, numbers)


def try_to_advance(training: Training, run: Run, context: StepContext, batch: Any) -> Loss:
    """One step. Raises InputError where the training diverges; the last good checkpoint stays."""
    try:
        return advance(training, run.recipe, context, batch)
    except NotFiniteError as error:
        raise diverged(run, f"{error} in step {context.step + 1}") from None


def diverged(run: Run, what: str) -> InputError:
    """The one line for a training that cannot be continued."""
    kept = checkpoint.written(run.folder)[-1:] if run.folder is not None else []
    where = f"the last good checkpoint is {kept[0]}" if kept else "there is no checkpoint yet"
    return InputError(f"{what}; {where}. Lower the learning rate or clip gradients")


def save(run: Run, training: Training, context: StepContext, batch: Any) -> None:
    """Writes a checkpoint after a step, where there is a folder. Raises InputError for parameters that are not finite."""
    if run.folder is None:
        return
    done = context.step + 1
    require_good(run, done)
    checkpoint.write(run.folder, done, training, run.record, run.here)
    if run.here.leads:
        with alone():
            run.callback.on_checkpoint(done, preview(run.method, batch, context))


def publish(run: Run, done: int) -> None:
    """Writes the trained weights, where there is a folder. Raises InputError for parameters that are not finite."""
    require_good(run, done)
    if run.folder is not None and run.here.leads:
        weights, about = run.method.state_dict(), checkpoint.identity(run.method)
        save_weights(run.folder / "model.safetensors", weights, about)


def require_good(run: Run, done: int) -> None:
    """Raises InputError for parameters that are not finite: such are neither saved nor published nor returned."""
    try:
        require_finite_parameters(run.method)
    except NotFiniteError as error:
        raise diverged(run, f"{error} after step {done}") from None


def stopped_line(run: Run, done: int) -> str:
    """What is said to a user who ended the training."""
    kept = "nothing is kept, since there is no folder" if run.folder is None else f"resume with the same {run.folder}"
    return f"stopped after step {done} of {run.recipe.steps}; {kept}"


@torch.no_grad()
def preview(method: Trainable, batch: Any, context: StepContext) -> dict[str, Tensor]:
    """What the method shows of the batch's first samples."""
    rows = min(row_count(batch), PREVIEWED)
    random = StepRandom(context.random.seed, context.step, rows, device=context.random.device)
    method.eval()
    shown = method.preview(rows_of(batch, slice(rows)), context._replace(random=random))
    method.train()
    return {title: images.float().cpu() for title, images in shown.items()}


class Throughput:
    """Samples per second since the last measurement."""

    def __init__(self, batch: int):
        self.batch, self.step, self.at = batch, None, time.perf_counter()

    def measure(self, step: int) -> dict[str, float]:
        """The rate, from the second measurement on."""
        now = time.perf_counter()
        rate = None if self.step is None else self.batch * (step - self.step) / max(now - self.at, 1e-9)
        self.step, self.at = step, now
        return {} if rate is None else {"samples per second": round(rate, 2)}
