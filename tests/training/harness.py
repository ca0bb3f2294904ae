"""Killed and resumed, one process and two: what is tested of every method that learns, in one place.

A module of cases defines `CASES: dict[str, Case]`, and where it has functions to be compared `CHECKS: dict[str, Check]`.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from firstsight.formats.storage.weights import load_weights, save_weights
from firstsight.training.fit import Runtime
from firstsight.training.metrics_log import Callback, read_metrics
from firstsight.training.processes import World, gather_rows, world
from firstsight.training.recipe import Recipe
from firstsight.training.rounds import fit_rounds
from firstsight.training.trainable import OpenData, Trainable

CPU = Runtime(device="cpu")
PROCESSES = 2
TIMEOUT_S = 300
Check = Callable[[World], dict[str, Tensor]]
"""Computes the same with one process as with many, or says what differs."""


class Case(NamedTuple):
    """A method, its data and how it is trained. `killed_after` counts the steps of all rounds."""

    make: Callable[[], Trainable]
    data: OpenData
    recipe: Recipe
    killed_after: int


class Stop(Exception):
    """A kill, for tests that stay in one process."""


class Killer(Callback):
    """Ends a training after so many steps."""

    def __init__(self, steps: int):
        self.left = steps

    def on_step(self, step, numbers):
        self.left -= 1
        if not self.left:
            raise Stop


def trained(case: Case, folder: Path, seed: int = 0, callback: Callback | None = None) -> Trainable:
    """The method of a case after its training into a folder; `seed` is that of its first weights."""
    torch.manual_seed(seed)
    method = case.make()
    fit_rounds(method, case.data, case.recipe, folder, runtime=CPU, callback=callback)
    return method


def killed_and_resumed(case: Case, folder: Path) -> Trainable:
    """Asserts that a killed training ends in the same bytes as one that was not; returns the method of the latter."""
    whole = trained(case, folder / "whole")
    with pytest.raises(Stop):
        trained(case, folder / "killed", callback=Killer(case.killed_after))
    # begun from other weights: all must come from the checkpoint
    resumed = trained(case, folder / "killed", seed=1)
    same_tensors(state(whole), state(resumed))
    files = [path.relative_to(folder / "whole") for path in (folder / "whole").rglob("*.safetensors")]
    assert len(files) >= 4
    for file in files:
        assert (folder / "whole" / file).read_bytes() == (folder / "killed" / file).read_bytes(), file
    assert timeless(folder / "whole") == timeless(folder / "killed")
    return whole


def state(method: nn.Module) -> dict[str, Tensor]:
    """All that a method remembers, what is not published included."""
    return {name: t.detach().clone() for name, t in [*method.named_parameters(), *method.named_buffers()]}


def same_tensors(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def timeless(folder: Path) -> list[dict[str, float]]:
    """What was logged in a training and its rounds, without what depends on the clock."""
    folders = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    rows = [row for part in folders for row in read_metrics(part)]
    return [{name: value for name, value in row.items() if "second" not in name} for row in rows]


def two_processes(cases: Path, names: Sequence[str], folder: Path) -> None:
    """Trains cases of a module, and does its checks, in two processes started once: into folder/NAME and folder/CHECK-rank."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(PROCESSES), "--standalone"]
    subprocess.run(
        [*run, str(Path(__file__)), str(cases), str(folder), *names], env=environment, check=True, timeout=TIMEOUT_S
    )


def equal_trainings(one: Path, many: Path, atol: float = 1e-5) -> None:
    """Asserts that two trainings published the same weights and logged the same losses."""
    alone, together = load_weights(one / "model.safetensors"), load_weights(many / "model.safetensors")
    assert alone.keys() == together.keys()
    for name, tensor in alone.items():
        assert torch.allclose(tensor, together[name], atol=atol), name
    losses = [[row["loss"] for row in timeless(folder)] for folder in (one, many)]
    assert losses[0] == pytest.approx(losses[1], abs=atol, rel=1e-4), losses


def module_of(path: Path):
    """The module of a file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def all_agree(method: Trainable) -> None:
    """Asserts that the processes hold the same published weights."""
    for name, tensor in method.state_dict().items():
        parts = gather_rows(tensor.detach().flatten()[None].float())
        assert torch.equal(parts, parts[:1].expand_as(parts)), name


def main(cases: Path, folder: Path, names: Sequence[str]) -> None:
    """What each of many processes does."""
    torch.set_num_threads(1)
    module = module_of(cases)
    with world("cpu") as here:
        for name in names:
            method = trained(module.CASES[name], folder / name)
            all_agree(method)
        for name, check in getattr(module, "CHECKS", {}).items():
            save_weights(folder / f"{name}-{here.rank}.safetensors", check(here))


def shorter(recipe: Recipe, **changes) -> Recipe:
    """A recipe of a few logged steps."""
    return replace(recipe, **{"steps": 4, "log_every": 1, "checkpoint_every": 2, **changes})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
