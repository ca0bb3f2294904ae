"""The training loop: resumes to the bit, is the same for many processes as for one, and fails in one clear line."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy import Colours, Toy, toy

from firstsight.errors import InputError
from firstsight.formats.weights import load_weights
from firstsight.training import checkpoint
from firstsight.training.fit import Runtime, fit
from firstsight.training.metrics_log import Callback, read_metrics
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss

HERE = Path(__file__).parent
RECIPE = Recipe(steps=10, batch=8, learning_rate=1e-2, weight_decay=1e-2, clip=1.0, log_every=1, checkpoint_every=5)
CPU = Runtime(device="cpu")


class Stop(Exception):
    """A kill, for tests that stay in one process."""


class Killer(Callback):
    def __init__(self, step: int):
        self.step = step

    def on_step(self, step, numbers):
        if step == self.step:
            raise Stop


def weights(method: Toy) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in method.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns():
    method = toy()
    before = fit(method, Colours(), replace(RECIPE, steps=1), runtime=CPU).numbers["loss"]
    after = fit(method, Colours(), replace(RECIPE, steps=300), runtime=CPU).numbers["loss"]
    assert after < 0.3 * before


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, optimiser):
    recipe = replace(RECIPE, optimiser=optimiser, learning_rate=3e-3)
    whole = toy(dropout=0.5)
    fit(whole, Colours(), recipe, tmp_path / "whole", runtime=CPU)
    with pytest.raises(Stop):
        fit(toy(dropout=0.5), Colours(), recipe, tmp_path / "killed", runtime=CPU, callback=Killer(7))
    resumed = toy(seed=1, dropout=0.5)  # begun from other weights: all must come from the checkpoint
    fit(resumed, Colours(), recipe, tmp_path / "killed", runtime=CPU)
    assert same(weights(whole), weights(resumed))
    assert float(resumed.seen) == 80
    timeless = [
        [{k: v for k, v in row.items() if "second" not in k} for row in read_metrics(tmp_path / name)]
        for name in ("whole", "killed")
    ]
    assert timeless[0] == timeless[1]
    assert [row["step"] for row in timeless[1]] == list(range(1, 11))


def test_another_seed_is_another_training():
    ends = []
    for seed in (0, 0, 1):
        method = toy()
        fit(method, Colours(), replace(RECIPE, seed=seed), runtime=CPU)
        ends.append(weights(method))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path, monkeypatch):
    def cut_off(path, content):
        if path.parent.name == "checkpoints" or "00000010" in str(path):
            raise Stop
        path.write_text(json.dumps(content))

    monkeypatch.setattr(checkpoint, "write_json", cut_off)
    with pytest.raises(Stop):
        fit(toy(), Colours(), RECIPE, tmp_path, runtime=CPU)
    monkeypatch.undo()
    assert [path.name for path in checkpoint.written(tmp_path)] == ["00000005"]
    whole, resumed = toy(), toy(seed=1)
    fit(resumed, Colours(), RECIPE, tmp_path, runtime=CPU)
    fit(whole, Colours(), RECIPE, runtime=CPU)
    assert same(weights(whole), weights(resumed))


def test_the_teacher_is_the_moving_average():
    method = toy()
    start = method.teacher[1].weight.clone()
    seen = []

    class Watcher(Callback):
        def on_step(self, step, numbers):
            seen.append(method.net[1].weight.detach().clone())

    fit(method, Colours(), replace(RECIPE, steps=3, ema=0.9, final_ema=0.9), runtime=CPU, callback=Watcher())
    expected = start
    for weight in seen:
        expected = 0.9 * expected + 0.1 * weight
    assert torch.allclose(method.teacher[1].weight, expected, atol=1e-7)


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(tmp_path):
    class Breaks(Toy):
        def loss(self, samples, moment):
            loss = super().loss(samples, moment)
            return Loss(loss.total / (0.0 if moment.step == 7 else 1.0), loss.parts)

    torch.manual_seed(0)
    with pytest.raises(InputError, match=r"inf after step 8; the last good checkpoint is .*00000005\. Lower"):
        fit(Breaks(), Colours(), RECIPE, tmp_path, runtime=CPU)
    assert [path.name for path in checkpoint.written(tmp_path)] == ["00000005"]


def test_out_of_memory_says_which_batch_fits():
    class Large(Toy):
        def loss(self, samples, moment):
            if len(samples.images) > 3:
                raise torch.OutOfMemoryError("not enough memory")
            return super().loss(samples, moment)

    with pytest.raises(InputError, match="a batch of 8 does not fit into memory; 2 does"):
        fit(Large(), Colours(), RECIPE, runtime=CPU)


def test_a_folder_of_another_training_is_refused(tmp_path):
    fit(toy(), Colours(), RECIPE, tmp_path, runtime=CPU)
    with pytest.raises(InputError, match=r"config\.json: its config differs \(hidden: 8 there, 9 here\)"):
        fit(toy(hidden=9), Colours(), RECIPE, tmp_path, runtime=CPU)
    with pytest.raises(InputError, match=r"its recipe differs \(steps: 10 there, 20 here\)"):
        fit(toy(), Colours(), replace(RECIPE, steps=20), tmp_path, runtime=CPU)
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(written | {"format": 99}))
    with pytest.raises(InputError, match="format 99, this version reads 1"):
        fit(toy(), Colours(), RECIPE, tmp_path, runtime=CPU)


def test_a_damaged_checkpoint_is_one_line(tmp_path):
    fit(toy(), Colours(), RECIPE, tmp_path, runtime=CPU)
    path = checkpoint.written(tmp_path)[-1] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="not readable as safetensors"):
        fit(toy(), Colours(), RECIPE, tmp_path, runtime=CPU)


def test_half_precision_is_refused_on_a_cpu():
    with pytest.raises(InputError, match="precision bf16 is for GPUs"):
        fit(toy(), Colours(), replace(RECIPE, precision="bf16"), runtime=CPU)


def test_workers_change_nothing():
    ends = []
    for workers in (0, 2):
        method = toy()
        fit(method, Colours(), RECIPE, runtime=Runtime(device="cpu", workers=workers))
        ends.append(weights(method))
    assert same(*ends)


def test_features_are_watched(tmp_path):
    fit(toy(), Colours(), RECIPE, tmp_path, runtime=CPU)
    last = read_metrics(tmp_path)[-1]
    assert 0 < last["feature std"] <= 1
    assert 1 <= last["effective rank"] <= 8


PROGRAM = """
import sys
from pathlib import Path
import torch
from toy import Colours, toy
from firstsight.training.fit import Runtime, fit
from firstsight.training.recipe import Recipe
torch.set_num_threads(1)
method = toy()
recipe = Recipe(steps=20, batch=8, learning_rate=1e-2, weight_decay=1e-2, clip=1.0, log_every=1, checkpoint_every=10)
fit(method, Colours(), recipe, Path(sys.argv[1]), runtime=Runtime(device="cpu"))
"""


@pytest.mark.parametrize("processes", [2])
def test_two_processes_equal_one_with_their_batches_together(tmp_path, processes):
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    subprocess.run(
        [*run, str(tmp_path / "program.py"), str(tmp_path / "many")], env=environment, check=True, timeout=120
    )
    alone = toy()
    recipe = replace(RECIPE, steps=20, checkpoint_every=10)
    fit(alone, Colours(), recipe, tmp_path / "one", runtime=CPU)
    many = load_weights(tmp_path / "many" / "model.safetensors")
    for name, tensor in weights(alone).items():
        if name != "seen":  # each process counts its own
            assert torch.allclose(tensor, many[name], atol=1e-5), name
    losses = [[row["loss"] for row in read_metrics(tmp_path / folder)] for folder in ("one", "many")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
