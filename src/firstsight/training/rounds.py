"""Methods that are several trainings one after the other: stacked autoencoders, self-training, a curriculum.

OUT/NAME/   each round is a training of its own, resumed or passed over as any other
OUT/        config.json from the start; model.safetensors of the last round's method at the end
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from firstsight.formats.storage.atomic import write_json
from firstsight.formats.storage.configuration import read_json, to_json
from firstsight.formats.storage.lock import locked
from firstsight.formats.storage.weights import save_weights
from firstsight.training import checkpoint
from firstsight.training.fit import FitResult, Runtime, fit
from firstsight.training.metrics_log import Callback
from firstsight.training.processes import World, world
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import OpenData, Trainable


def fit_rounds(
    method: Trainable,
    data: OpenData,
    recipe: Recipe,
    folder: Path | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    runtime: Runtime | None = None,
    callback: Callback | None = None,
    initial: Path | None = None,
) -> FitResult:
    """Trains all rounds of a method, each as `fit` does; returns the last one's result.

    A single round without a name is a training in `folder` itself. `initial` is for the first round.
    """
    runtime, result = runtime or Runtime(), FitResult(0, {})
    record = {**checkpoint.identity(method), "recipe": to_json(recipe), **(about or {})}
    with world(runtime.device) as here, ExitStack() as held:
        trained, name = method, ""
        for number, (name, trained, samples, settings) in enumerate(method.rounds(data, recipe)):
            assert name or number == 0, f"round {number + 1} of {type(method).__name__} has no name"
            if folder is not None and name and number == 0:
                _begin(folder, record, here, held)
            inside = folder / name if folder is not None else None
            first = initial if number == 0 else None
            result = fit(
                trained, samples, settings, inside, about=about, runtime=runtime, callback=callback, initial=first
            )
        if folder is not None and name and here.leads:
            _publish(folder, trained, record)
    return result


def _begin(folder: Path, record: dict[str, Any], here: World, held: ExitStack) -> None:
    """Takes the folder, and makes sure that it holds these rounds or nothing."""
    if here.leads:
        held.enter_context(locked(folder))
    here.barrier()
    path = folder / "config.json"
    if path.exists():
        known = read_json(path)
        checkpoint.require_same(known.get("trained_as", known), record, path)
    here.barrier()
    if here.leads and not path.exists():
        write_json(path, record)


def _publish(folder: Path, trained: Trainable, record: dict[str, Any]) -> None:
    """Writes the method that the last round has trained."""
    write_json(folder / "config.json", {**record, **checkpoint.identity(trained), "trained_as": record})
    save_weights(folder / "model.safetensors", trained.state_dict(), checkpoint.identity(trained))
