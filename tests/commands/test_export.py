"""Exported methods answer as the methods do, at sizes they were not exported with, and a wrong one is refused."""

import sys
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import onnxruntime
import pytest
import torch

from firstsight import pretrained
from firstsight.commands.work import export as command
from firstsight.depth import monodepth
from firstsight.errors import InputError
from firstsight.external import models
from firstsight.representation.joint_embedding import dino


@pytest.fixture(scope="module", params=["monodepth", "dino"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    pretrained.save(networks()[request.param], folder)
    return folder


@pytest.fixture(autouse=True)
def without_type_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes are symbols while a network is exported."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def networks() -> dict[str, torch.nn.Module]:
    deep = monodepth.Monodepth(
        replace(monodepth.Monodepth.PRESETS["tiny"].config, size=(64, 64), encoder_width=8, decoder_width=4)
    )
    deep.reach_m.fill_(12.0)
    return {"monodepth": deep, "dino": dino.Dino.of_preset("tiny")}


def test_both_forms_answer_as_the_method_does(folder):
    found = command.export(folder, folder / "export")
    assert len({parity.size for parity in found}) == 2
    assert max(max(parity.onnx, parity.torch_export) for parity in found) < 1e-5
    height, width = found[0].size[1:]
    image = torch.rand(3, 3, 2 * height, width)  # a third size
    expected = command.Flat(pretrained.load(folder))(image)
    session = onnxruntime.InferenceSession(folder / "export" / "model.onnx", providers=["CPUExecutionProvider"])
    for one, other in zip(expected, session.run(None, {"image": image.numpy()}), strict=True):
        np.testing.assert_allclose(one.detach().numpy(), other, rtol=1e-4, atol=1e-5)
    as_a_model(folder / "export" / "model.onnx", height, width)


def as_a_model(path: Path, height: int, width: int) -> None:
    """With the description that is written beside it, the network takes a stage's place."""
    method, model = pretrained.load(path.parent.parent), models.load(path)
    image = torch.rand(1, 3, height, width)
    expected, found = method(image), model(image)
    if isinstance(model, models.ExternalDepth):
        expected, found = expected.depth, found.depth
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-4)
    model.try_out()


@pytest.mark.parametrize("gap", [1e-4, float("nan")])
def test_one_that_differs_is_refused(gap, tmp_path):
    size = (1, 64, 64)
    command.require_equal([command.Parity(size, 1e-6, 0.0)], tmp_path)
    with pytest.raises(InputError, match="differs from the original"):
        command.require_equal([command.Parity(size, gap, 0.0)], tmp_path)


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no trained method in it"):
        command.export(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"\[export\]'"):
        command.import_onnx()
