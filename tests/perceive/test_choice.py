"""Methods named by the user take a stage's place."""

from pathlib import Path

from firstsight.flow.dense_inverse_search import DenseInverseSearch
from firstsight.flow.lucas_kanade import LucasKanade
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
