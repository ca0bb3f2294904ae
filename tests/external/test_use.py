"""A network's file takes a stage's place, is judged beside our methods, and what does not fit ends in one line."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import firstsight
from firstsight.cli import main, run
from firstsight.commands.work.evaluate import Protocol, alignment_of, evaluate, features
from firstsight.errors import InputError
from firstsight.external import models
from firstsight.external.models import ExternalFlow, ExternalRelativeDepth
from firstsight.formats import png
from firstsight.perceive import choice
from firstsight.perceive.plan import check_use, scale_of
from firstsight.perceive.settings import Settings
from firstsight.perceive.stages.depth import LearnedDepth
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Recording
from firstsight.roles import DepthEstimator
from firstsight.run_folder import RunFolder

Write = Callable[..., Path]
STREET = "sim:street:frames=3,height=64,width=192"
SMALL = "sim:street:frames=2,height=32,width=96"
LAYERS = "sim:layers:pairs=2,height=48,width=64"


@cache
def street() -> Recording:
    return Settings(sensors="camera").open(SMALL)


def ground(image: Tensor) -> Tensor:
    """Inverse depth that grows from the top of the image to its bottom."""
    rows = torch.ones_like(image[:, :1]).cumsum(2)
    return 0.01 + 0.5 * rows / rows.amax((1, 2, 3), keepdim=True) + 0 * image[:, :1]


def test_a_stage_is_done_by_a_network(written: Write, tmp_path: Path):
    path = written(lambda x: 1 / ground(x), {"role": "depth", "output": {"quantity": "depth_m"}})
    work = Workspace(street(), RunFolder(tmp_path / "run"), (str(path),))
    stage = LearnedDepth(work)
    stage.process(1)
    assert stage.method == "net.onnx"
    depth, valid = work.run.read_depth(1)
    assert valid.all()
    expected = 1 / (0.01 + 0.5 * np.array([1, 16, 32]) / 32)  # 39, 3.85 and 1.96 m
    np.testing.assert_allclose(depth[[0, 15, 31], 50], expected, atol=1 / 256)


@pytest.mark.slow
def test_a_run_is_made_with_a_network(written: Write, tmp_path: Path):
    path = written(lambda x: 1 / ground(x), {"role": "depth", "output": {"quantity": "depth_m"}})
    made = firstsight.perceive(STREET, tmp_path / "run", use=(path,), sensors="camera")
    record = made.read_record()
    assert [stage.method for stage in record.stages if stage.name == "depth"] == ["net.onnx"]
    assert (record.scale, record.settings["use"]) == ("metric", [str(path)])
    depth, valid = made.read_depth(1)
    assert valid.all()
    expected = 1 / (0.01 + 0.5 * np.array([1, 32, 64]) / 64)  # 56.1, 3.85 and 1.96 m
    np.testing.assert_allclose(depth[[0, 31, 63], 100], expected, atol=1 / 256)


def test_one_place_says_what_a_name_is(written: Write):
    inverse = str(written(ground, {"role": "depth", "output": {"quantity": "inverse_depth"}}))
    assert [choice.origin(name) for name in (inverse, "lucas-kanade")] == ["model", "method"]
    assert choice.kind(inverse) is models.ExternalInverseDepth
    assert choice.label(inverse) == "net.onnx"
    assert choice.described(inverse) == "network of the role depth"
    assert scale_of(street(), (inverse,)) == "unknown"
    check_use((inverse, "lucas-kanade"))
    relative = str(written(ground, {"role": "depth", "output": {"quantity": "depth"}}))
    assert isinstance(firstsight.method(relative), ExternalRelativeDepth)


def test_a_network_is_judged_beside_a_method(written: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def still(a: Tensor, b: Tensor) -> Tensor:
        return 0 * (a + b)[:, :2]

    path = written(still, {"role": "flow"}, inputs=("a", "b"))
    assert choice.kind(str(path)) is ExternalFlow
    out = tmp_path / "found.json"
    run(["evaluate", str(path), LAYERS, "--beside", "lucas-kanade", str(path), "--out", str(out)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{path}: network of the role flow, on sim:layers")
    assert lines[1].startswith("lucas-kanade: method of the family flow, on sim:layers")
    (header,) = (line.split() for line in lines if line.startswith("metric"))
    assert header[-1] == "lucas-kanade"
    found = {one["method"]: {m["name"]: m["value"] for m in one["metrics"]} for one in json.loads(out.read_text())}
    assert found[str(path)]["flow EPE"] > 1.5 * found["lucas-kanade"]["flow EPE"]
    epe = next(line for line in lines if line.startswith("flow EPE visible"))
    assert f"{found['lucas-kanade']['flow EPE visible']:.4g} px [" in epe


def test_inverse_depth_is_judged_up_to_factor_and_shift(written: Write):
    expected = {"depth_m": "none", "depth": "median", "inverse_depth": "inverse"}
    for quantity, alignment in expected.items():
        path = written(ground, {"role": "depth", "output": {"quantity": quantity}})
        model = choice.load(str(path))
        assert isinstance(model, DepthEstimator)
        assert alignment_of(model) == alignment


def test_an_encoder_is_judged_by_probes(written: Write, tmp_path: Path):
    for name, colour in (("red", (250, 9, 9)), ("blue", (9, 9, 250))):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(15):
            image = np.full((12, 16, 3), colour, np.uint8) - np.uint8(number % 5)
            png.write_image(tmp_path / "images" / name / f"{number}.png", image)
    about: dict[str, Any] = {"role": "encoder"}
    path = written(lambda x: x.mean((2, 3)), about)
    with pytest.raises(InputError, match="images of many sizes are judged at one; state size: fixed"):
        features(models.load(path), str(tmp_path / "images"), None, Protocol())
    about["input"] = {"size": {"fixed": [8, 8]}}
    path.with_suffix(".json").write_text(json.dumps(about))
    assert [metric.value for metric in evaluate(str(path), str(tmp_path / "images"))] == [100, 100]
    with pytest.raises(InputError, match=r"--use .*net.onnx: no stage takes it; .* or an ONNX network"):
        check_use((str(path),))


@pytest.mark.parametrize("verb", ["perceive", "evaluate"])
def test_what_does_not_fit_ends_with_status_2(
    written: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str
):
    path = written(ground, {"role": "depth", "output": {"quantity": "depth_m", "name": "metres"}})
    arguments = {
        "perceive": ["perceive", SMALL, "--out", str(tmp_path / "run"), "--use", str(path)],
        "evaluate": ["evaluate", str(path), SMALL],
    }
    monkeypatch.setattr("sys.argv", ["firstsight", *arguments[verb]])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        f"firstsight: {path}: has no output metres; name one of out in its description"
    ]
    assert not (tmp_path / "run").exists()
