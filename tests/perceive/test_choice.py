"""Methods named by the user take a stage's place."""

import pytest

from firstsight.errors import InputError
from firstsight.flow.dense_inverse_search import DenseInverseSearch
from firstsight.flow.lucas_kanade import LucasKanade
from firstsight.perceive.choice import check_use, chosen
from firstsight.perceive.stages.flow import FlowStage
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.simulated import simulate
from firstsight.roles import FlowEstimator
from firstsight.run_folder import RunFolder


def test_the_named_method_of_the_role_is_used_else_the_default():
    assert isinstance(chosen((), FlowEstimator, "dense-inverse-search")[1], DenseInverseSearch)
    name, method = chosen(("plane-sweep", "lucas-kanade"), FlowEstimator, "dense-inverse-search")
    assert name == "lucas-kanade"
    assert isinstance(method, LucasKanade)


def test_a_stage_says_what_it_uses(tmp_path):
    work = Workspace(simulate("street", frames=2, height=96, width=320), RunFolder(tmp_path), ("lucas-kanade",))
    stage = FlowStage(work)
    assert stage.method == "lucas-kanade"
    stage.process(0)
    written = work.flow(0)
    assert written is not None
    assert written.valid.float().mean() > 0.5


@pytest.mark.parametrize(("name", "said"), [("magic", "no such method"), ("occupancy-grid", "no stage takes it")])
def test_what_no_stage_takes_is_refused_in_one_line(name, said):
    with pytest.raises(InputError, match=said):
        check_use((name,))
