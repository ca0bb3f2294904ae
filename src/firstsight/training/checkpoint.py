"""Checkpoints: weights and optimiser in safetensors, the rest in JSON, complete or not there at all.

    checkpoints/00000500/   model.safetensors  optimiser.safetensors  state.json  process-1.safetensors ...
    config.json  model.safetensors                     the method's settings and the final weights, as published

A checkpoint is written beside and renamed when it is whole, so that a kill leaves the one before. The last `KEPT` stay.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from firstsight.errors import InputError
from firstsight.formats.atomic import write_json
from firstsight.formats.configuration import to_json
from firstsight.formats.weights import load_into, load_weights, save_weights
from firstsight.training.processes import World
from firstsight.training.trainable import Trainable

FORMAT = 1
KEPT = 2


class Training(NamedTuple):
    """All that changes while training."""

    method: Trainable
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


def identity(method: Trainable) -> dict[str, Any]:
    """Which method with which settings: what weights must match."""
    kind = type(method)
    return {"format": FORMAT, "method": f"{kind.__module__}:{kind.__qualname__}", "config": to_json(method.config)}


def require_same(written: dict[str, Any], expected: dict[str, Any], path: Path) -> None:
    """Raises InputError where a file belongs to another method, to other settings or to a later format."""
    for part, mine in expected.items():
        theirs = written.get(part)
        if theirs == mine:
            continue
        if part == "format":
            raise InputError(f"{path}: format {theirs}, this version reads {mine}; install the version that wrote it")
        raise InputError(
            f"{path}: its {part} differs ({difference(theirs, mine)}); choose another folder, or overwrite it"
        )


def difference(theirs: Any, mine: Any) -> str:
    if isinstance(theirs, dict) and isinstance(mine, dict):
        name = next(key for key in {**theirs, **mine} if theirs.get(key) != mine.get(key))
        return f"{name}: {difference(theirs.get(name), mine.get(name))}"
    return f"{theirs} there, {mine} here"


def parameter_names(training: Training) -> list[str]:
    """In the optimiser's order."""
    names = {id(parameter): name for name, parameter in training.method.named_parameters()}
    return [names[id(p)] for group in training.optimiser.param_groups for p in group["params"]]


def write(folder: Path, step: int, training: Training, world: World) -> None:
    """The state after `step` steps. All processes take part: buffers are each one's own."""
    final = folder / "checkpoints" / f"{step:08d}"
    part = final.with_name(f".part-{step:08d}")
    if world.leads:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    world.barrier()
    if world.leads:
        save_weights(part / "model.safetensors", training.method.state_dict())
        names, states = parameter_names(training), training.optimiser.state_dict()["state"]
        named = {f"{names[i]}/{key}": value for i, state in states.items() for key, value in state.items()}
        save_weights(part / "optimiser.safetensors", {k: torch.as_tensor(v) for k, v in named.items() if v is not None})
        write_json(
            part / "state.json", {"step": step, "scaler": training.scaler.state_dict(), **identity(training.method)}
        )
    else:
        save_weights(part / f"process-{world.rank}.safetensors", dict(training.method.named_buffers()))
    world.barrier()
    if world.leads:
        shutil.rmtree(final, ignore_errors=True)
        os.replace(part, final)
        for old in written(folder)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    world.barrier()


def written(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(path for path in (folder / "checkpoints").glob("[0-9]*") if path.is_dir())


def read(folder: Path, training: Training, world: World) -> int:
    """Restores the newest checkpoint; returns the number of steps done, 0 where there is none."""
    found = written(folder)
    if not found:
        return 0
    newest = found[-1]
    state = read_json(newest / "state.json")
    require_same(state, identity(training.method), newest / "state.json")
    load_into(training.method, load_weights(newest / "model.safetensors"), newest / "model.safetensors")
    own = newest / f"process-{world.rank}.safetensors"
    if own.exists():
        buffers = dict(training.method.named_buffers())
        for name, tensor in load_weights(own).items():
            buffers[name].copy_(tensor)
    _restore_optimiser(training, load_weights(newest / "optimiser.safetensors"))
    training.scaler.load_state_dict(state["scaler"])
    return int(state["step"])


def _restore_optimiser(training: Training, tensors: dict[str, Tensor]) -> None:
    by_name: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        parameter, key = name.rsplit("/", 1)
        by_name.setdefault(parameter, {})[key] = tensor
    names = parameter_names(training)
    whole = training.optimiser.state_dict()
    whole["state"] = {i: by_name[name] for i, name in enumerate(names) if name in by_name}
    training.optimiser.load_state_dict(whole)


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        raise InputError(f"{path}: missing or not JSON; restore it") from None
