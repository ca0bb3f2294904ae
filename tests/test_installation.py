"""The description of an installation, whole and broken."""

from importlib import metadata

import pytest

from firstsight import installation
from firstsight.extras import install_command
from firstsight.installation import describe, opencv, optional, print_installation, required, torchvision


def test_this_installation_is_described(capsys: pytest.CaptureFixture[str]):
    print_installation()
    printed = capsys.readouterr().out
    assert metadata.version("torch") in printed
    for part in ("firstsight", "Python", "OpenCV", "processor", "GPU", "torchvision"):
        assert part in printed


def test_a_missing_part_is_named_with_its_command():
    assert required("no-such-distribution").verdict == "problem"
    line = optional("no_such_module", "no-such-distribution", "view")
    assert (line.verdict, line.advice) == ("note", install_command("view"))
    assert "[view]'" in line.advice


def test_the_command_of_an_extra_is_printed_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(installation, "find_spec", lambda _: None)
    print_installation()
    printed = capsys.readouterr().out
    for extra in ("view", "tensorboard", "hub", "export", "fleet", "dev"):
        assert f"[{extra}]'" in printed


def test_two_opencv_wheels_are_a_conflict(monkeypatch: pytest.MonkeyPatch):
    present = {"opencv-python": "4.11", "opencv-python-headless": "5.0"}
    monkeypatch.setattr(installation, "version", present.get)
    line = opencv()
    assert line.verdict == "problem"
    assert "pip uninstall opencv-python opencv-python-headless" in line.advice


def test_no_opencv(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installation, "version", lambda _: None)
    assert opencv().found == "missing"


@pytest.mark.parametrize(
    "error", [RuntimeError("operator torchvision::nms does not exist\nmore"), ImportError("libcuda")]
)
def test_a_torchvision_that_does_not_fit(monkeypatch: pytest.MonkeyPatch, error: Exception):
    def broken(name: str):
        raise error

    monkeypatch.setattr(installation, "find_spec", lambda _: object())
    monkeypatch.setattr(installation, "import_module", broken)
    line = torchvision()
    assert line.verdict == "problem"
    assert str(error).splitlines()[0] in line.found
    assert "\n" not in line.found


def test_nothing_importable_is_still_described(monkeypatch: pytest.MonkeyPatch):
    def broken(name: str):
        raise ImportError(f"no {name}")

    monkeypatch.setattr(installation, "import_module", broken)
    lines = {line.part: line for line in describe()}
    assert lines["GPU"].verdict == lines["OpenCV"].verdict == "problem"
