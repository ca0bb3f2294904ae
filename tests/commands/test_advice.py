"""What messages advise can be done: the flags they name exist, and the doctor's commands run and mend what they are for."""

import ast
import importlib
import inspect
import json
import re
import shlex
from dataclasses import is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from firstsight import cli, commands
from firstsight.doctor import Given, examine, print_findings
from firstsight.doctor.focal_length import Sweep, assumed
from firstsight.formats import png
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import Channel, Recording
from firstsight.run_folder import Finding, RunFolder

SOURCE = Path(commands.__file__).parents[1]
FLAG = re.compile(r"(?<!var\()(?<![\w-])--[a-z][a-z-]+")
# Of other programs, of every verb, and of the methods that train takes, which have flags of their own.
NOT_OURS = {
    "--bind",
    "--no-build-isolation",
    "--nproc-per-node",
    "--standalone",
    "--help",
    "--version",
    "--quiet",
    "--verbose",
}


def messages() -> dict[str, str]:
    """The texts in the code that name a flag, with where they stand; docstrings are for readers of the code."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        documentation = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and isinstance(next(iter(node.body), None), ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                for flag in FLAG.findall(node.value):
                    found[f"{path.relative_to(SOURCE)}:{node.lineno} {flag}"] = flag
    return found


def flags() -> set[str]:
    """All flags of the verbs: the names of their parameters, and of the fields of what they parse."""
    found = set()
    for verb in commands.VERBS:
        module = importlib.import_module(f"firstsight.commands.{verb}")
        ours = [thing for thing in vars(module).values() if getattr(thing, "__module__", "").startswith("firstsight")]
        for thing in ours:
            if inspect.isfunction(thing) or is_dataclass(thing):
                found |= {f"--{name.replace('_', '-')}" for name in inspect.signature(thing).parameters}
    return found


def test_every_flag_that_a_message_names_exists():
    named, known = messages(), flags() | NOT_OURS
    assert len(named) > 30
    assert {"--sensors", "--fov-deg", "--out", "--overwrite", "--use"} <= known
    assert [place for place, flag in named.items() if flag not in known and not flag.startswith("--tyro")] == []


def finding_of(recording: Recording, check: str) -> Finding | None:
    return next((finding for finding in examine(recording) if finding.check == check), None)


def sensors_in(advice: str) -> tuple[str, ...]:
    return tuple(re.search(r"--sensors ([a-z ]+)$", advice)[1].split())


def test_a_lidar_that_cannot_be_used_is_left_out_alone():
    street = open_recording("sim:street:frames=4,height=48,width=96")
    blind = replace(street, scans=Channel(4, lambda index: None))
    advice = finding_of(blind, "LiDAR sweeps").advice
    assert sensors_in(advice) == ("camera", "stereo", "odometry")
    followed = open_recording("sim:street:frames=4,height=48,width=96", sensors=frozenset(sensors_in(advice)))
    assert [finding.check for finding in examine(followed) if finding.verdict == "unfit"] == []
    alone = replace(blind, images={}, rig=replace(blind.rig, cameras=(), stereo=None), odometry=None)
    assert finding_of(alone, "LiDAR sweeps").advice == "record the LiDAR again: there is no other sensor"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Images of a camera that nobody knows, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("recordings") / "my drive"
    rooms = open_recording("sim:rooms:frames=8,height=72,width=96")
    for index in range(len(rooms)):
        png.write_image(folder / f"{index:03d}.png", rooms[index].image())
    return folder


def result(best: int) -> Sweep:
    """Three pairs of 100 points that fit the focal length of that index among the thirteen tried, and 2 px worse all others."""
    unexplained = np.full((3, 13), 3.0)
    unexplained[:, best] = 1.0
    return Sweep(unexplained, np.array([100, 100, 100]), 0.5)


@pytest.mark.parametrize(("found", "measured", "fov_deg"), [
    (result(2), "83 px assumed; about 58 px fits the motion better", 79.0),
    (result(6), "83 px assumed; the motion does not contradict (best 83 px)", None),
    (None, "83 px assumed; the motion cannot tell (too little turning)", None),
])  # fmt: skip
def test_a_focal_length_that_was_assumed_is_a_note(images: Path, found: Sweep | None, measured: str, fov_deg):
    """48 px to the edge: 60 degrees are 83.14 px, of which 0.7 are 58.20 px and 79.0 degrees."""
    camera = open_recording(str(images)).rig.reference
    finding = assumed(camera, camera.intrinsics[0, 0], found)
    assert (finding.verdict, finding.measured) == ("note", measured)
    advised = re.search(r"--fov-deg (\d+)", finding.advice)
    assert (float(advised[1]) if advised else None) == fov_deg
    if fov_deg is not None:
        stated = open_recording(str(images), fov_deg=fov_deg).rig.reference
        assert stated.intrinsics[0, 0] == pytest.approx(58.23, abs=0.01)
        assert not stated.assumed


@pytest.mark.slow
@pytest.mark.parametrize("given", [Given(), Given(frames="3:7", fov_deg=90.0)])
def test_the_command_that_the_doctor_proposes_runs(images: Path, tmp_path: Path, monkeypatch, capsys, given: Given):
    print_findings(str(images), given, as_json=True)
    name, *arguments = shlex.split(json.loads(capsys.readouterr().out)["command"])
    monkeypatch.chdir(tmp_path)
    cli.run([*arguments, "--workers", "1"])
    assert name == "firstsight"
    assert RunFolder(tmp_path / "runs" / "my drive").read_record().source == str(images)
    assert (tmp_path / "runs" / "my drive" / "report.html").exists()
