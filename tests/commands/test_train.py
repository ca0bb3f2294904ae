"""`firstsight train` as users run it: killed and resumed, by several processes, and refused in one line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from firstsight import catalogue, pretrained
from firstsight.commands.methods import trainable
from firstsight.commands.work import train
from firstsight.commands.work.presets import presets_of
from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.formats.storage.weights import load_weights
from firstsight.training import Trainable
from firstsight.training.checkpoint import written

QUICK = ("--steps", "40", "--batch", "8", "--checkpoint-every", "10", "--device", "cpu", "--config.hidden", "6")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number, image in enumerate(np.random.default_rng(0).integers(0, 255, (20, 12, 12, 3), np.uint8)):
        png.write_image(folder / f"{number}.png", image)
    return folder


def command(*arguments: str | Path, launcher: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, *launcher, "-m", "firstsight", "train", *map(str, arguments)]


def run(*arguments: str | Path, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(*arguments, launcher=launcher),
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def same_weights(a: Path, b: Path, within: float = 0.0) -> bool:
    mine, theirs = (load_weights(folder / "model.safetensors") for folder in (a, b))
    return all(torch.allclose(mine[name], theirs[name], rtol=0, atol=within) for name in mine)


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "rbm"
    ended = run("rbm", images, "--out", out, *QUICK)
    assert ended.returncode == 0, ended.stderr
    return out


def test_it_leaves_what_it_says(trained, images):
    assert {path.name for path in trained.iterdir()} >= {
        "config.json",
        "model.safetensors",
        "metrics.jsonl",
        "preview.png",
    }
    assert png.read_image(trained / "preview.png").shape[1] > 100
    about = json.loads((trained / "config.json").read_text())
    assert about["name"] == "rbm"
    assert about["sources"] == [str(images)]
    assert about["config"]["hidden"] == 6


def test_a_process_killed_in_the_middle_goes_on_bit_for_bit(trained, images, tmp_path):
    folders = (tmp_path / f"killed {attempt}" for attempt in range(3))  # a busy machine may see the first one end
    folder = next((folder for folder in folders if killed(images, folder)), None)
    assert folder is not None, "three trainings ended before they were killed"
    ended = run("rbm", images, "--out", folder, *QUICK)
    assert ended.returncode == 0, ended.stderr
    assert same_weights(trained, folder)


def killed(images, folder) -> bool:
    """Whether a training was killed after its first checkpoint and before its end."""
    process = subprocess.Popen(
        command("rbm", images, "--out", folder, *QUICK),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not written(folder) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return bool(written(folder)) and not (folder / "model.safetensors").exists()


def test_mistakes_are_one_line(trained, images, tmp_path):
    for arguments, words in [
        (("semi-global-matching", images), "is not trainable; methods that are: "),
        (("rbm", tmp_path), "no images in it"),
        (("rbm", images, "--out", trained, *QUICK, "--learning-rate", "0.5"), "its recipe differs (learning_rate:"),
    ]:
        ended = run(*arguments)
        assert ended.returncode == 2
        assert words in ended.stderr.splitlines()[-1]
        assert "Traceback" not in ended.stderr


def test_loading_gives_the_trained_method(trained, tmp_path):
    method = pretrained.load(trained)
    image = method.example_inputs()["image"]
    pretrained.save(method, tmp_path / "saved")
    assert torch.equal(pretrained.load(tmp_path / "saved")(image), method(image))
    assert pretrained.name(trained) == "rbm"


def test_what_is_no_trained_method_is_one_line(trained, tmp_path):
    with pytest.raises(InputError, match="no trained method in it"):
        pretrained.load(tmp_path)
    pretrained.save(pretrained.load(trained), tmp_path / "saved")
    about = json.loads((tmp_path / "saved" / "config.json").read_text())
    for change, words in [
        ({"format": 7}, "format 7, this version reads 1"),
        ({"method": "os:system"}, "os:system is no method of this version"),
        ({"config": {"colour": 1}}, "unknown setting colour"),
    ]:
        (tmp_path / "saved" / "config.json").write_text(json.dumps(about | change))
        with pytest.raises(InputError, match=words):
            pretrained.load(tmp_path / "saved")


@pytest.mark.parametrize("name", [entry.name for entry in catalogue.entries() if entry.learns])
def test_every_trainable_method_has_both_presets(name):
    entry = trainable(name)
    presets = presets_of(entry)
    assert {"paper", "tiny"} <= set(presets)
    assert all(isinstance(preset.config, type(presets["paper"].config)) for preset in presets.values())
    assert presets["tiny"].recipe.steps < presets["paper"].recipe.steps
    assert issubclass(entry.load(), Trainable)


def test_auto_suits_the_sensors(images):
    assert train.chosen_method(["sim:street:frames=2"]) == "monodepth"
    assert train.chosen_method([str(images)]) == "dino"


def test_an_unfit_recording_is_called_so_before_it_starts(tmp_path):
    image = np.full((48, 64, 3), 90, np.uint8)
    for number in range(6):
        png.write_image(tmp_path / "still" / f"{number}.png", image)
    # a folder of images alone is no recording to a method of single images, so a method of clips it is
    ended = run("monodepth2", tmp_path / "still", "--out", tmp_path / "out", "--steps", "1", "--batch", "2")
    assert "unfit:" in ended.stderr
    assert ended.stderr.index("unfit:") < ended.stderr.index("weights,")


def test_auto_trains_what_it_chose_and_tensorboard_reads_it(images, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    ended = run("auto", images, "--out", tmp_path, "--steps", "4", "--batch", "4", "--device", "cpu", "--tensorboard")
    assert ended.returncode == 0, ended.stderr
    assert pretrained.name(tmp_path) == "dino"
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    seen = [(event.step, event.value) for event in events.Scalars("loss")]
    assert seen == [(line["step"], pytest.approx(line["loss"])) for line in lines]


def test_a_method_of_the_hub_is_found_in_its_cache_without_network(trained, tmp_path):
    """The folder is laid out as the hub's own library does it."""
    repository = tmp_path / "models--somebody--small-rbm"
    revision = "0" * 40
    shutil.copytree(trained, repository / "snapshots" / revision, ignore=shutil.ignore_patterns("checkpoints", ".work"))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    program = "from firstsight import pretrained; print(pretrained.load('hf:somebody/small-rbm').config.hidden)"
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.stdout.strip() == "6", ended.stderr
    missing = program.replace("small-rbm", "absent")
    ended = subprocess.run(
        [sys.executable, "-c", missing], env=environment, capture_output=True, text=True, check=False
    )
    assert "hf:somebody/absent: the hub did not give it" in ended.stderr
