"""What must never happen: weights that are not finite are saved, damage stops a training, two trainings share a folder."""

import json
import os
import shutil
import signal
from dataclasses import replace

import pytest
import torch
from harness import CPU, Killer, Stop, same_tensors, state
from torch import nn
from toy import Toy, colours, toy

from firstsight.errors import InputError
from firstsight.formats.storage.lock import locked
from firstsight.formats.storage.weights import load_weights
from firstsight.training import checkpoint
from firstsight.training.fit import StoppedError, fit
from firstsight.training.metrics_log import Callback, read_metrics
from firstsight.training.recipe import Recipe

RECIPE = Recipe(steps=10, batch=8, learning_rate=1e-2, weight_decay=1e-2, clip=1.0, log_every=1, checkpoint_every=5)


class Breaks(Toy):
    """Something is not finite in the step with this number."""

    def __init__(self, step: int, what: str):
        super().__init__()
        self.step, self.what = step, what

    def loss(self, batch, context):
        loss = super().loss(batch, context)
        if context.step != self.step:
            return loss
        if self.what == "loss":
            return replace(loss, total=loss.total * torch.nan, features=loss.features * torch.nan)
        if self.what == "features":
            return replace(loss, features=loss.features * torch.nan)
        # the slope of a root at 0 is infinite, and 0 times it is not a number
        return replace(loss, total=loss.total + (self.head.bias * 0).square().sum().sqrt())


def breaking(step: int, what: str) -> Breaks:
    torch.manual_seed(0)
    return Breaks(step, what)


def names(folder) -> list[str]:
    return [path.name for path in checkpoint.written(folder)]


@pytest.mark.parametrize("what", ["loss", "features", "gradient"])
@pytest.mark.parametrize("step", [7, 9])
def test_a_step_that_is_not_finite_changes_nothing(tmp_path, what, step):
    """Step 9 is the last one, whose weights would be published."""
    words = {"loss": "the loss is nan", "features": "the features are", "gradient": "the norm of the gradients is nan"}
    method = breaking(step, what)
    with pytest.raises(InputError, match=rf"{words[what]}.* in step {step + 1}; the last good .*00000005\. Lower"):
        fit(method, colours(), RECIPE, tmp_path, runtime=CPU)
    assert all(bool(parameter.isfinite().all()) for parameter in method.parameters())
    assert names(tmp_path) == ["00000005"]
    assert not (tmp_path / "model.safetensors").exists()


def test_parameters_that_are_not_finite_are_neither_saved_nor_published(tmp_path):
    """A finite gradient, and a rate that leaves the range of float32 in the last step."""
    recipe = replace(RECIPE, optimiser="sgd", learning_rate=3e38, clip=None, steps=1, momentum=0.0)

    class Steep(Toy):
        def loss(self, batch, context):
            loss = super().loss(batch, context)
            return replace(loss, total=loss.total + 1e3 * self.head.bias.sum())

    for folder in (tmp_path, None):
        torch.manual_seed(0)
        with pytest.raises(InputError, match=r"parameter .* is not finite after step 1; there is no checkpoint yet"):
            fit(Steep(), colours(), recipe, folder, runtime=CPU)
    assert names(tmp_path) == []
    assert not (tmp_path / "model.safetensors").exists()


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path, monkeypatch):
    def cut_off(path, content):
        if "00000010" in str(path):
            raise Stop
        path.write_text(json.dumps(content))

    monkeypatch.setattr(checkpoint, "write_json", cut_off)
    with pytest.raises(Stop):
        fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU)
    monkeypatch.undo()
    assert names(tmp_path) == ["00000005"]
    whole, resumed = toy(), toy(seed=1)
    fit(resumed, colours(), RECIPE, tmp_path, runtime=CPU)
    fit(whole, colours(), RECIPE, runtime=CPU)
    same_tensors(state(whole), state(resumed))
    assert not list((tmp_path / "checkpoints").glob(".part*"))


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def flip(path):
    """One bit of the last number: the file is still readable."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("file", "damage", "words"), [
    ("model.safetensors", cut, "model.safetensors is not what was written"),
    ("model.safetensors", flip, "model.safetensors is not what was written"),
    ("optimiser.safetensors", flip, "optimiser.safetensors is not what was written"),
    ("process-0.safetensors", lambda path: path.unlink(), "process-0.safetensors is missing"),
    ("optimiser.safetensors", lambda path: path.unlink(), "optimiser.safetensors is missing"),
    ("state.json", cut, "state.json is not readable"),
    ("state.json", lambda path: path.write_text("null"), "state.json is not readable"),
    ("state.json", lambda path: path.write_text("{}"), "state.json names no files"),
])  # fmt: skip
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(tmp_path, capsys, file, damage, words):
    whole, resumed = toy(), toy(seed=1)
    fit(whole, colours(), RECIPE, tmp_path, runtime=CPU)
    damage(checkpoint.written(tmp_path)[-1] / file)
    fit(resumed, colours(), RECIPE, tmp_path, runtime=CPU)
    assert f"00000010: damaged ({words}); using the checkpoint before it" in capsys.readouterr().err
    same_tensors(state(whole), state(resumed))


def test_where_all_checkpoints_are_damaged_nothing_is_begun(tmp_path):
    fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU)
    for path in checkpoint.written(tmp_path):
        cut(path / "model.safetensors")
    with pytest.raises(InputError, match="no checkpoint is whole; restore one, or overwrite the training"):
        fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU)


def test_stray_folders_are_ignored(tmp_path, capsys):
    fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU)
    for stray in ("00000099", "0tmp", "7", "notes"):
        (tmp_path / "checkpoints" / stray).mkdir()
    shutil.copytree(checkpoint.written(tmp_path)[0], tmp_path / "checkpoints" / "00000010 copy")
    assert fit(toy(seed=1), colours(), replace(RECIPE, steps=12), tmp_path, runtime=CPU).steps == 12
    assert capsys.readouterr().err == ""


def test_a_folder_in_use_is_refused(tmp_path):
    with locked(tmp_path), pytest.raises(InputError, match="another firstsight"):
        fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Stop):
        fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU, callback=Killer(2))
    assert fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU).steps == 10


def test_damaged_lines_of_the_log_are_dropped_with_a_remark(tmp_path, capsys):
    with pytest.raises(Stop):
        fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU, callback=Killer(7))
    lines = (tmp_path / "metrics.jsonl").read_bytes().splitlines()
    merged = lines[0] + lines[1]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([merged, b"\xff\xfe", b"[1]", *lines[2:], b'{"step": 8']))
    assert [row["step"] for row in read_metrics(tmp_path)] == [3, 4, 5, 6, 7]
    fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU)
    assert "metrics.jsonl: 3 damaged lines are dropped" in capsys.readouterr().err
    assert [row["step"] for row in read_metrics(tmp_path)] == [3, 4, 5, 6, 7, 8, 9, 10]


def test_a_request_to_end_saves_a_checkpoint_and_ends_in_one_line(tmp_path):
    class Ends(Callback):
        def on_step(self, step, numbers):
            if step == 7:
                os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError, match=rf"^stopped after step 7 of 10; resume with the same {tmp_path}$"):
        fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU, callback=Ends())
    assert signal.getsignal(signal.SIGTERM) == before
    assert names(tmp_path) == ["00000005", "00000007"]
    whole, resumed = toy(), toy(seed=1)
    fit(resumed, colours(), RECIPE, tmp_path, runtime=CPU)
    fit(whole, colours(), RECIPE, runtime=CPU)
    same_tensors(state(whole), state(resumed))


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU)
    path = checkpoint.written(tmp_path)[-1] / "state.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps({name: part for name, part in written.items() if name not in ("state", "files")}))
    with pytest.raises(InputError, match="written by another version of firstsight"):
        fit(toy(), colours(), RECIPE, tmp_path, runtime=CPU)


def test_methods_are_known_by_family_and_class():
    """Modules move; a class stays in its family."""
    assert checkpoint.stable_name("firstsight.depth.monodepth:Monodepth") == "depth:Monodepth"
    assert checkpoint.stable_name("firstsight.representation.rbm:Rbm") == "representation:Rbm"
    assert checkpoint.stable_name("firstsight.representation.energy.rbm:Rbm") == "representation:Rbm"
    assert checkpoint.stable_name("depth:Monodepth") == "depth:Monodepth"
    assert checkpoint.identity(toy())["method"] == "toy:Toy"


def test_a_training_of_before_the_move_is_resumed(tmp_path):
    """`config.json` of an earlier version holds the path of the class."""
    old, new = {"method": "firstsight.representation.rbm:Rbm"}, {"method": "representation:Rbm"}
    checkpoint.require_same(old, new, tmp_path)
    with pytest.raises(InputError, match="its method differs"):
        checkpoint.require_same(old, {"method": "representation:Dino"}, tmp_path)


def test_training_state_of_any_shape_is_kept_and_never_published(tmp_path):
    class Grows(Toy):
        def __init__(self):
            super().__init__()
            self.register_buffer("bank", None, persistent=False)
            self.norm = nn.BatchNorm1d(2)

        def loss(self, batch, context):
            loss = super().loss(batch, context)
            return replace(loss, total=loss.total + 0 * self.norm(torch.ones(2, 2)).sum())

        def after_update(self, carry, context):
            row = context.random.uniform(3)[:1]
            self.bank = row if self.bank is None else torch.cat([self.bank, row])

    torch.manual_seed(0)
    whole = Grows()
    fit(whole, colours(), RECIPE, tmp_path / "whole", runtime=CPU)
    with pytest.raises(Stop):
        fit(Grows(), colours(), RECIPE, tmp_path / "killed", runtime=CPU, callback=Killer(7))
    resumed = Grows()
    fit(resumed, colours(), RECIPE, tmp_path / "killed", runtime=CPU)
    assert whole.bank.shape == (10, 3)
    assert torch.equal(whole.bank, resumed.bank)
    assert len(whole.bank.unique(dim=0)) == 10
    assert "bank" not in load_weights(tmp_path / "whole" / "model.safetensors")
    assert int(whole.norm.num_batches_tracked) == 10
