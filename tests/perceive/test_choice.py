"""Methods named by the user take a stage's place."""

from pathlib import Path

import pytest

from firstsight import pretrained
from firstsight.depth.monodepth import Monodepth
from firstsight.errors import InputError
from firstsight.flow.dense_inverse_search import DenseInverseSearch
from firstsight.flow.lucas_kanade import LucasKanade
from firstsight.perceive.choice import check_ready, kind, label, load
from firstsight.perceive.stages.flow import FlowStage
from firstsight.perceive.stages.mapping import MeshStage
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Recording
from firstsight.recordings.simulated import simulate
from firstsight.run_folder import RunFolder


def street() -> Recording:
    return simulate("street", frames=2, height=96, width=320)


def test_the_last_named_method_of_the_role_is_used_else_the_default(tmp_path: Path):
    assert isinstance(FlowStage(Workspace(street(), RunFolder(tmp_path))).solver, DenseInverseSearch)
    named = ("dense-inverse-search", "plane-sweep", "lucas-kanade")
    stage = FlowStage(Workspace(street(), RunFolder(tmp_path), named))
    assert isinstance(stage.solver, LucasKanade)
    assert MeshStage(stage.work).method == "tsdf"


def test_a_stage_says_what_it_uses(tmp_path: Path):
    work = Workspace(street(), RunFolder(tmp_path), ("lucas-kanade",))
    stage = FlowStage(work)
    assert stage.method == "lucas-kanade"
    stage.process(0)
    written = work.flow(0)
    assert written is not None
    assert written.valid.float().mean() > 0.5


def test_a_method_that_learns_is_named_by_the_folder_of_its_training(tmp_path: Path):
    pretrained.save(Monodepth.of_preset("tiny"), tmp_path / "mine")
    folder = str(tmp_path / "mine")
    assert kind(folder) is kind("monodepth") is Monodepth
    assert (label(folder), label("lucas-kanade")) == ("monodepth (mine)", "lucas-kanade")
    assert isinstance(load(folder), Monodepth)
    assert isinstance(load("lucas-kanade"), LucasKanade)
    check_ready(folder)
    check_ready("lucas-kanade")
    with pytest.raises(
        InputError, match="--use monodepth: it must be trained first: firstsight train monodepth SOURCE"
    ):
        check_ready("monodepth")
    (tmp_path / "mine" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="mine"):
        check_ready(folder)
