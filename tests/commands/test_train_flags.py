"""The flags of `firstsight train`: in any order, with the method's settings and its preset's values as defaults."""

import sys
from pathlib import Path
from typing import Any

import pytest

from firstsight import catalogue, cli
from firstsight.commands.parsing import split
from firstsight.commands.train import preset_of
from firstsight.commands.work import train as work
from firstsight.commands.work.presets import presets_of
from firstsight.errors import InputError


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a command line asks to be trained, without training it."""

    def called(*arguments: str) -> dict[str, Any]:
        calls: list[dict[str, Any]] = []

        def record(entry: catalogue.Entry, sources: list[str], out: Path, **settings: Any) -> None:
            calls.append({"name": entry.name, "sources": list(sources), "out": out, **settings})

        monkeypatch.setattr(work, "train", record)
        cli.run(["train", *arguments])
        assert len(calls) == 1
        return calls[0]

    return called


def test_flags_before_the_method_are_not_the_method(asked):
    for arguments in (
        ("--steps", "2", "monodepth", "sim:street"),
        ("monodepth", "--steps", "2", "sim:street"),
        ("monodepth", "sim:street", "--steps=2"),
        ("--overwrite", "monodepth", "--steps", "2", "sim:street"),
    ):
        call = asked(*arguments)
        assert (call["name"], call["sources"], call["changes"].steps) == ("monodepth", ["sim:street"], 2)
        assert call["extras"].overwrite == ("--overwrite" in arguments)
        assert call["out"] == Path("runs/monodepth")


def test_frames_and_what_is_known_of_the_camera_hold_for_all_sources(asked):
    call = asked("monodepth", "day", "night@frames=5:9", "--frames", "0:40:2", "--fov-deg", "70")
    assert call["sources"] == ["day@frames=0:40:2@fov-deg=70.0", "night@frames=5:9@fov-deg=70.0"]


def test_auto_looks_at_the_recording_without_its_settings(asked):
    call = asked("auto", "sim:street:frames=3,height=32,width=64@frames=1:3", "--frames", "0:2")
    assert call["name"] == "monodepth"
    assert call["sources"] == ["sim:street:frames=3,height=32,width=64@frames=1:3"]


def test_a_preset_is_meant_in_both_forms_with_its_settings(asked):
    entry = catalogue.find("monodepth")
    paper, tiny = (presets_of(entry)[name] for name in ("paper", "tiny"))
    assert paper.config.size != tiny.config.size
    for arguments in (("--preset=paper",), ("--preset", "paper")):
        call = asked(*arguments, "monodepth", "sim:street")
        assert call["preset"].name == "paper"
        assert call["preset"].recipe == paper.recipe
        assert call["config"] == paper.config
    assert asked("monodepth", "sim:street", "--preset", "tiny")["config"] == tiny.config


def test_without_a_gpu_the_preset_is_the_tiny_one(asked, monkeypatch):
    for has_gpu, name in ((False, "tiny"), (True, "paper")):
        monkeypatch.setattr("torch.cuda.is_available", lambda answer=has_gpu: answer)
        assert asked("rbm", "images")["preset"].name == name


def test_a_setting_of_the_method_is_a_flag(asked):
    call = asked("rbm", "a", "b", "--out", "there", "--config.hidden", "6", "--preset=tiny", "--seed", "-1")
    assert call["config"].hidden == 6
    assert call["sources"] == ["a", "b"]
    assert call["out"] == Path("there")
    assert call["changes"].seed == -1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("auto",), "train auto: SOURCE is missing"),
        (("monodepth",), "train monodepth: SOURCE is missing"),
        (("--steps", "2", "monodepth"), "train monodepth: SOURCE is missing"),
        (("rbm", "images", "--preset=papier"), "--preset papier: no such preset of rbm; did you mean paper?"),
        (("tsdf", "images"), "tsdf: is not trainable; methods that are: "),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(asked, arguments, words):
    with pytest.raises(InputError) as raised:
        asked(*arguments)
    assert str(raised.value).startswith(words)
    assert "\n" not in str(raised.value)


def test_help_shows_the_methods_settings_and_the_preset_that_they_come_from(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["firstsight", "train", "monodepth", "--preset", "tiny", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    shown = capsys.readouterr().out
    assert "METHOD SOURCE [SOURCE ...]" in shown
    assert "--config.size INT INT" in shown
    assert "(default: 64 192)" in shown
    assert "--config.post-process {True,False}" in shown


def test_words_and_flags_are_told_apart_by_how_many_values_a_flag_takes():
    arities = {"--steps": "one", "--sensors": "many", "--overwrite": "none"}
    given = ["--steps", "2", "a", "--overwrite", "b", "--steps=3", "c", "--sensors", "x", "y", "--steps", "4", "d"]
    words, flags = split(given, arities)
    assert words == ["a", "b", "c", "d"]
    assert flags == ["--steps", "2", "--overwrite", "--steps=3", "--sensors", "x", "y", "--steps", "4"]


def test_the_last_preset_counts():
    assert preset_of(["--steps", "2"]) == "auto"
    assert preset_of(["--preset", "tiny", "--preset=paper"]) == "paper"
    assert preset_of(["--preset"]) == "auto"
