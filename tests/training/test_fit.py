"""The training loop: resumes to the bit, can be prolonged, begins from weights, validates, and follows teachers."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from harness import CPU, Case, Killer, Stop, killed_and_resumed, same_tensors, state
from toy import Toy, colours, toy

from firstsight.errors import InputError
from firstsight.formats.storage.weights import load_weights, save_weights
from firstsight.training.fit import Runtime, Throughput, fit
from firstsight.training.metrics_log import Callback, Callbacks, read_metrics
from firstsight.training.recipe import Recipe
from firstsight.training.validation import Validation

RECIPE = Recipe(steps=10, batch=8, learning_rate=1e-2, weight_decay=1e-2, clip=1.0, log_every=1, checkpoint_every=5)


def test_it_learns():
    method = toy()
    before = fit(method, colours(), replace(RECIPE, steps=1), runtime=CPU).numbers["loss"]
    after = fit(method, colours(), replace(RECIPE, steps=300), runtime=CPU).numbers["loss"]
    assert after < 0.3 * before


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd", "lars"])
def test_a_killed_run_is_resumed_bit_for_bit(tmp_path, optimiser):
    recipe = replace(RECIPE, optimiser=optimiser, learning_rate=3e-3)
    case = Case(lambda: toy_of(dropout=0.5), lambda _: colours(), recipe, killed_after=7)
    method = killed_and_resumed(case, tmp_path)
    assert float(method.seen) == 80
    assert [row["step"] for row in read_metrics(tmp_path / "killed")] == list(range(1, 11))
    assert "seen" not in load_weights(tmp_path / "whole" / "model.safetensors")


def toy_of(**config) -> Toy:
    """A toy whose first weights are those of torch's seed."""
    return toy(int(torch.initial_seed()), **config)


def test_another_seed_is_another_training():
    ends = []
    for seed in (0, 0, 1):
        method = toy()
        fit(method, colours(), replace(RECIPE, seed=seed), runtime=CPU)
        ends.append(state(method))
    same_tensors(ends[0], ends[1])
    assert not torch.equal(ends[0]["head.weight"], ends[2]["head.weight"])


def test_the_teacher_is_the_moving_average():
    method = toy()
    expected, seen = method.teacher[1].weight.clone(), []

    class Watcher(Callback):
        def on_step(self, step, numbers):
            seen.append(method.net[1].weight.detach().clone())

    fit(method, colours(), replace(RECIPE, steps=3, ema=0.9, final_ema=0.9), runtime=CPU, callback=Watcher())
    for weight in seen:
        expected = 0.9 * expected + 0.1 * weight
    assert torch.allclose(method.teacher[1].weight, expected, atol=1e-7)


def test_the_teachers_momentum_rises_by_half_a_cosine():
    """From 0.5 to 1 in two steps: 0.5, then 0.75."""
    method = toy()
    before, seen = method.teacher[1].weight.clone(), []

    class Watcher(Callback):
        def on_step(self, step, numbers):
            seen.append(method.net[1].weight.detach().clone())

    fit(method, colours(), replace(RECIPE, steps=2, ema=0.5, final_ema=1.0), runtime=CPU, callback=Watcher())
    expected = 0.75 * (0.5 * before + 0.5 * seen[0]) + 0.25 * seen[1]
    assert torch.allclose(method.teacher[1].weight, expected, atol=1e-7)


def test_the_last_step_is_logged_and_saved_whatever_the_intervals(tmp_path):
    recipe = replace(RECIPE, steps=7, log_every=3, checkpoint_every=5)
    method = toy(dropout=0.5)
    assert fit(method, colours(), recipe, tmp_path, runtime=CPU).steps == 7
    assert [row["step"] for row in read_metrics(tmp_path)] == [3, 6, 7]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["00000005", "00000007"]
    assert not method.training, "dropout is off in a method that was trained"


def test_the_two_newest_checkpoints_stay(tmp_path):
    fit(toy(), colours(), replace(RECIPE, steps=8, checkpoint_every=2), tmp_path, runtime=CPU)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["00000006", "00000008"]


def test_workers_change_nothing():
    ends = []
    for workers in (0, 2):
        method = toy()
        fit(method, colours(), RECIPE, runtime=Runtime(device="cpu", workers=workers))
        ends.append(state(method))
    same_tensors(*ends)


def test_a_training_can_be_prolonged(tmp_path):
    constant = replace(RECIPE, final_ema=RECIPE.ema)
    longer = replace(constant, steps=20, log_every=2, checkpoint_every=7)
    fit(toy(), colours(), constant, tmp_path / "two", runtime=CPU)
    prolonged, whole = toy(seed=1), toy()
    assert fit(prolonged, colours(), longer, tmp_path / "two", runtime=Runtime(device="cpu", workers=1)).steps == 20
    fit(whole, colours(), longer, tmp_path / "one", runtime=CPU)
    same_tensors(state(whole), state(prolonged))
    assert json.loads((tmp_path / "two" / "config.json").read_text())["recipe"]["steps"] == 20


@pytest.mark.parametrize("name", ["config.json", None])
def test_another_training_is_refused(tmp_path, name):
    """Also where config.json was lost: the checkpoint knows."""
    fit(toy(), colours(), RECIPE, tmp_path, about={"name": "toy"}, runtime=CPU)
    if name is None:
        (tmp_path / "config.json").unlink()
    file = "config" if name else "state"
    others = {
        r"config differs \(hidden: 8 there, 9 here\)": (toy(hidden=9), colours(), RECIPE),
        r"recipe differs \(learning_rate: 0.01 there, 0.1 here\)": (
            toy(),
            colours(),
            replace(RECIPE, learning_rate=0.1),
        ),
        r"data differs \(samples: 50 there, 60 here\)": (toy(), colours(60), RECIPE),
        r"data differs \(content: ": (toy(), colours(seed=1), RECIPE),
    }
    for line, (method, data, recipe) in others.items():
        with pytest.raises(InputError, match=rf"{file}\.json: its {line}"):
            fit(method, data, recipe, tmp_path, about={"name": "toy"}, runtime=CPU)
    with pytest.raises(InputError, match=r"its name differs \(toy there, other here\)"):
        fit(toy(), colours(), RECIPE, tmp_path, about={"name": "other"}, runtime=CPU)


def test_a_config_of_a_later_format_is_refused(tmp_path):
    fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU)
    written = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(written | {"format": 99}))
    with pytest.raises(InputError, match="format 99, this version reads 1"):
        fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU)


def test_initial_weights_are_taken_by_name_and_shape(tmp_path, capsys):
    given = toy(seed=5)
    fit(given, colours(), RECIPE, tmp_path / "first", runtime=CPU)
    taken, narrower = toy(), toy(hidden=4)
    fit(taken, colours(), replace(RECIPE, steps=1, learning_rate=1e-12), initial=tmp_path / "first", runtime=CPU)
    assert torch.allclose(taken.head.weight, given.head.weight, atol=1e-9)
    fit(narrower, colours(), replace(RECIPE, steps=1), initial=tmp_path / "first" / "model.safetensors", runtime=CPU)
    remarks = capsys.readouterr().err.splitlines()
    # net and teacher have a weight and a bias each, as the head has; of hidden 4 only the head's bias is as long
    assert [line.split(" weights")[0] for line in remarks] == ["firstsight: 6 of 6", "firstsight: 1 of 6"]
    save_weights(tmp_path / "other.safetensors", {"body": torch.zeros(3)})
    with pytest.raises(InputError, match=r"none of its 1 weights fits this method by name and shape \(body there"):
        fit(toy(), colours(), RECIPE, initial=tmp_path / "other.safetensors", runtime=CPU)


def test_initial_weights_are_for_a_new_training_only(tmp_path):
    fit(toy(seed=5), colours(), RECIPE, tmp_path / "given", runtime=CPU)
    whole, resumed = toy(), toy(seed=1)
    fit(whole, colours(), RECIPE, tmp_path / "whole", initial=tmp_path / "given", runtime=CPU)
    with pytest.raises(Stop):
        fit(toy(), colours(), RECIPE, tmp_path / "killed", initial=tmp_path / "given", runtime=CPU, callback=Killer(7))
    fit(resumed, colours(), RECIPE, tmp_path / "killed", runtime=CPU)
    same_tensors(state(whole), state(resumed))
    assert json.loads((tmp_path / "killed" / "config.json").read_text())["initial"] == str(tmp_path / "given")


def test_held_out_samples_are_measured_and_change_nothing(tmp_path):
    """The loss of 24 held-out samples in batches of 8, before training and after every fifth step."""
    method, plain = toy(dropout=0.5), toy(dropout=0.5)
    watch = Validation(method, colours(24, seed=3), every=5, batch=8)
    fit(method, colours(), RECIPE, tmp_path, runtime=CPU, callback=Callbacks(Callback(), watch))
    fit(plain, colours(), RECIPE, runtime=CPU)
    same_tensors(state(method), state(plain))
    measured = {row["step"]: row["validation loss"] for row in read_metrics(tmp_path) if "validation loss" in row}
    assert list(measured) == [0, 5, 10]
    assert measured[10] < measured[0]
    assert measured[10] == pytest.approx(watch.measure(10)["validation error"])


def test_features_are_watched(tmp_path):
    fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU)
    last = read_metrics(tmp_path)[-1]
    assert 0 < last["feature std"] <= 1
    assert 1 <= last["effective rank"] <= 8


def test_out_of_memory_says_which_batch_fits():
    class Large(Toy):
        def loss(self, batch, context):
            if len(batch.images) > 3:
                raise torch.OutOfMemoryError("not enough memory")
            return super().loss(batch, context)

    with pytest.raises(InputError, match="a batch of 8 does not fit into memory; 2 does, and so does micro_batch 2"):
        fit(Large(), colours(), RECIPE, runtime=CPU)
    assert fit(Large(), colours(), replace(RECIPE, micro_batch=2), runtime=CPU).steps == 10


@pytest.mark.parametrize(("recipe", "line"), [
    (replace(RECIPE, precision="bf16"), "precision bf16: reduced precision needs a GPU"),
    (replace(RECIPE, batch=51), "51 streams"),
])  # fmt: skip
def test_what_does_not_suit_is_refused(recipe, line):
    data = colours()
    if "streams" in line:
        data.wanted = replace(data.wanted, order="stream")
    with pytest.raises(InputError, match=line):
        fit(toy(), data, recipe, runtime=CPU)


def test_no_samples_are_one_line():
    data = colours()
    data.arrays = {"images": np.zeros((0, 1, 3, 4, 4), np.uint8)}
    data._count = 0
    with pytest.raises(InputError, match="no samples"):
        fit(toy(), data, RECIPE, runtime=CPU)


def test_throughput_is_of_the_steps_since_the_last_measurement(monkeypatch):
    """32 samples a step: 3 steps in 2 s, then 1 in 4 s."""
    now = iter([10.0, 11.0, 13.0, 17.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    throughput = Throughput(32)
    assert throughput.measure(2) == {}
    assert throughput.measure(5) == {"samples per second": 48.0}
    assert throughput.measure(6) == {"samples per second": 8.0}
