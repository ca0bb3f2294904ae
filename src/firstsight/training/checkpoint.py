"""Checkpoints: weights and optimiser in safetensors, the rest in JSON, complete or not there at all.

    checkpoints/00000500/   model.safetensors  optimiser.safetensors  process-0.safetensors ...  state.json
    config.json  model.safetensors                     the method's settings and the final weights, as published

A checkpoint is written beside and renamed when it is whole, so that a kill leaves the one before. The last `KEPT` stay.
`state.json` holds what the training consists of and a checksum of every file; of `process-N` are the buffers of process N.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import write_json
from firstsight.formats.storage.configuration import read_json, to_json
from firstsight.formats.storage.weights import load_into, load_weights, save_weights
from firstsight.training.processes import World
from firstsight.training.step.update import Training
from firstsight.training.trainable import Trainable

FORMAT = 1
STATE_FORMAT = 2  # of state.json; 1 had no checksums
KEPT = 2
MAY_CHANGE = {"steps", "log_every", "checkpoint_every", "micro_batch"}
"""What of a recipe may differ when a training is continued."""

Record = Mapping[str, Any]
"""What a training consists of: its `identity`, recipe and data, and what the caller adds."""


def identity(method: Trainable) -> dict[str, Any]:
    """Which method with which settings: what weights must match."""
    kind = type(method)
    name = stable_name(f"{kind.__module__}:{kind.__qualname__}")
    return {"format": FORMAT, "method": name, "config": to_json(method.config)}


def stable_name(target: str) -> str:
    """A method's family and class ("depth:Monodepth") from the path of its class, which changes when modules move."""
    module, _, name = target.rpartition(":")
    parts = module.split(".")
    return f"{parts[1]}:{name}" if parts[0] == "firstsight" and len(parts) > 1 else target


def require_same(written: Record, expected: Record, path: Path) -> None:
    """Raises InputError where a file belongs to another training, or to another format."""
    for part, mine in expected.items():
        theirs = written.get(part)
        if part == "recipe":
            theirs, mine = fixed(theirs), fixed(mine)
        if part == "method" and isinstance(theirs, str):
            theirs = stable_name(theirs)
        if theirs == mine:
            continue
        if part == "format":
            raise InputError(f"{path}: format {theirs}, this version reads {mine}; install the version that wrote it")
        raise InputError(
            f"{path}: its {part} differs ({difference(theirs, mine)}); choose another folder, or overwrite it"
        )


def fixed(recipe: Any) -> Any:
    """What of a recipe must stay the same."""
    return {k: v for k, v in recipe.items() if k not in MAY_CHANGE} if isinstance(recipe, Mapping) else recipe


def difference(theirs: Any, mine: Any) -> str:
    """The first setting that differs, and how."""
    if isinstance(theirs, Mapping) and isinstance(mine, Mapping):
        # One that is null is not one that is missing.
        name = next(key for key in {**theirs, **mine} if key not in theirs or theirs[key] != mine.get(key, ...))
        return f"{name}: {difference(theirs.get(name), mine.get(name))}"
    return f"{theirs} there, {mine} here"


def parameter_names(training: Training) -> list[str]:
    """The parameters' names in the order in which the optimiser numbers them."""
    names = {id(parameter): name for name, parameter in training.method.named_parameters()}
    return [names[id(p)] for group in training.optimiser.param_groups for p in group["params"]]


def write(folder: Path, step: int, training: Training, record: Record, world: World) -> None:
    """Writes the state after `step` steps. All processes take part: buffers are each one's own."""
    final = place(folder, step)
    part = final.with_name(f".part-{step:08d}")
    if world.leads:
        for rest in final.parent.glob(".part-*"):
            shutil.rmtree(rest, ignore_errors=True)
        part.mkdir(parents=True)
    world.barrier()
    if world.leads:
        save_weights(part / "model.safetensors", training.method.state_dict())
        save_weights(part / "optimiser.safetensors", _optimiser_state(training))
    save_weights(part / f"process-{world.rank}.safetensors", dict(training.method.named_buffers()))
    world.barrier()
    if world.leads:
        files = {path.name: checksum(path) for path in sorted(part.iterdir())}
        about = {"state": STATE_FORMAT, "step": step, "processes": world.size, "scaler": training.scaler.state_dict()}
        write_json(part / "state.json", {**about, "files": files, **record})
        shutil.rmtree(final, ignore_errors=True)
        os.replace(part, final)
        for old in written(folder)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    world.barrier()


def _optimiser_state(training: Training) -> dict[str, Tensor]:
    names, states = parameter_names(training), training.optimiser.state_dict()["state"]
    named = {f"{names[i]}/{key}": value for i, state in states.items() for key, value in state.items()}
    return {key: torch.as_tensor(value) for key, value in named.items() if value is not None}


def checksum(path: Path) -> str:
    """The blake2b of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def place(folder: Path, step: int) -> Path:
    """The folder of the checkpoint after `step` steps."""
    return folder / "checkpoints" / f"{step:08d}"


def written(folder: Path) -> list[Path]:
    """The checkpoints, oldest first; folders that are none are left out."""
    numbered = [path for path in (folder / "checkpoints").glob("[0-9]*") if path.name == f"{_number(path):08d}"]
    found = [path for path in numbered if any((path / name).exists() for name in ("state.json", "model.safetensors"))]
    return sorted(found, key=_number)


def _number(path: Path) -> int:
    return int(path.name) if path.name.isdecimal() else -1


def newest(folder: Path, remark: Callable[[str], None]) -> Path | None:
    """The newest whole checkpoint, None where none was written. Damaged ones are named in a remark and passed over.

    Raises InputError where all are damaged.
    """
    found = written(folder)
    for path in reversed(found):
        damage = damage_of(path)
        if not damage:
            return path
        remark(f"{path}: damaged ({damage}); using the checkpoint before it")
    if found:
        raise InputError(f"{found[-1].parent}: no checkpoint is whole; restore one, or overwrite the training")
    return None


def damage_of(checkpoint: Path) -> str:
    """What is wrong with a checkpoint, "" where it is whole. Raises InputError for one of another version."""
    try:
        state = read_json(checkpoint / "state.json")
    except InputError:
        return "state.json is not readable"
    if "step" in state and state.get("state") != STATE_FORMAT:
        raise InputError(
            f"{checkpoint}: written by another version of firstsight; continue with that one, or overwrite it"
        )
    files = state.get("files")
    if not isinstance(files, dict) or not {"model.safetensors", "optimiser.safetensors"} <= set(files):
        return "state.json names no files"
    for name, expected in files.items():
        path = checkpoint / Path(name).name
        if not path.is_file():
            return f"{name} is missing"
        if checksum(path) != expected:
            return f"{name} is not what was written"
    return ""


def read(checkpoint: Path, training: Training, record: Record, world: World) -> int:
    """Restores a whole checkpoint; returns the number of steps done. Raises InputError for one of another training."""
    state = read_json(checkpoint / "state.json")
    require_same(state, record, checkpoint / "state.json")
    kinds = {"step": int, "processes": int, "scaler": dict}
    if not all(isinstance(state.get(name), kind) for name, kind in kinds.items()) or state["processes"] < 1:
        raise InputError(f"{checkpoint / 'state.json'}: not as it was written; restore it, or overwrite the training")
    load_into(training.method, load_weights(checkpoint / "model.safetensors"), checkpoint / "model.safetensors")
    # a process that there was not before takes the buffers of one that there was
    own = world.rank % state["processes"]
    _restore_buffers(training.method, load_weights(checkpoint / f"process-{own}.safetensors"))
    _restore_optimiser(training, load_weights(checkpoint / "optimiser.safetensors"))
    training.scaler.load_state_dict(state["scaler"])
    return state["step"]


def _restore_buffers(method: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Gives buffers their values, with the shapes that they had grown to."""
    device = next((parameter.device for parameter in method.parameters()), torch.device("cpu"))
    for name, tensor in tensors.items():
        owner, _, own_name = name.rpartition(".")
        buffer = getattr(method.get_submodule(owner), own_name)
        if buffer is not None and buffer.shape == tensor.shape:
            buffer.copy_(tensor)
        else:
            setattr(method.get_submodule(owner), own_name, tensor.to(device))


def _restore_optimiser(training: Training, tensors: Mapping[str, Tensor]) -> None:
    by_name: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        parameter, _, key = name.rpartition("/")
        by_name.setdefault(parameter, {})[key] = tensor
    names = parameter_names(training)
    whole = training.optimiser.state_dict()
    whole["state"] = {i: by_name[name] for i, name in enumerate(names) if name in by_name}
    training.optimiser.load_state_dict(whole)
