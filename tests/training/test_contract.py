"""The contract of `training.trainable`, by a toy for each need: killed and resumed, and shared by two processes."""

from pathlib import Path

import contract_cases
import contract_toys
import pytest
import torch
from contract_cases import CASES, CHECKS, DIFFERENT_IN_TWO_PROCESSES
from harness import CPU, equal_trainings, killed_and_resumed, trained, two_processes

from firstsight.errors import InputError
from firstsight.formats.storage.weights import load_weights
from firstsight.training.metrics_log import read_metrics
from firstsight.training.processes import World
from firstsight.training.rounds import fit_rounds


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """All toys trained by two processes, which are started once."""
    folder = tmp_path_factory.mktemp("shared")
    two_processes(Path(contract_cases.__file__), list(CASES), folder)
    return folder


@pytest.mark.parametrize("need", CASES)
def test_a_killed_training_is_resumed_to_the_same_bytes(need, tmp_path):
    killed_and_resumed(CASES[need], tmp_path)


@pytest.mark.parametrize("need", CASES)
def test_two_processes_equal_one_or_there_is_a_reason(need, tmp_path, shared):
    trained(CASES[need], tmp_path)
    if need not in DIFFERENT_IN_TWO_PROCESSES:
        equal_trainings(tmp_path, shared / need)
        return
    one, two = (load_weights(folder / "model.safetensors") for folder in (tmp_path, shared / need))
    assert not torch.allclose(one["net.weight"], two["net.weight"], atol=1e-4), DIFFERENT_IN_TWO_PROCESSES[need]


@pytest.mark.parametrize("name", CHECKS)
def test_what_processes_compute_together_is_what_one_does(name, shared):
    alone = CHECKS[name](World(0, 1, torch.device("cpu")))
    for rank in (0, 1):
        together = load_weights(shared / f"{name}-{rank}.safetensors")
        assert together.keys() == alone.keys()
        for part, tensor in alone.items():
            assert torch.allclose(together[part].double(), tensor.double(), atol=1e-6), part


def test_each_process_keeps_its_own_state(shared):
    newest = shared / "stream with memory" / "checkpoints" / "00000006"
    memories = [load_weights(newest / f"process-{rank}.safetensors")["memory"] for rank in (0, 1)]
    assert [memory.shape for memory in memories] == [(2, 4), (2, 4)]
    assert not torch.equal(*memories)
    assert "memory" not in load_weights(shared / "stream with memory" / "model.safetensors")
    banks = [
        load_weights(shared / "index with a bank" / "checkpoints" / "00000006" / f"process-{rank}.safetensors")["bank"]
        for rank in (0, 1)
    ]
    assert torch.equal(*banks)


def test_both_collapse_numbers_are_those_of_all_rows(tmp_path, shared):
    trained(CASES["index with a bank"], tmp_path)
    for one, two in zip(read_metrics(tmp_path), read_metrics(shared / "index with a bank"), strict=True):
        assert one["feature std"] == pytest.approx(two["feature std"], abs=1e-5)
        assert one["effective rank"] == pytest.approx(two["effective rank"], abs=1e-4)


def test_a_parameter_that_a_step_leaves_out_is_left_alone(tmp_path):
    """It neither decays nor moves by its momentum, as where it is the only one."""
    torch.manual_seed(0)
    before = CASES["contrast"].make()
    after = trained(CASES["contrast"], tmp_path)
    assert torch.equal(before.never.weight, after.never.weight)
    assert not torch.equal(before.sometimes.weight, after.sometimes.weight)


def test_gaps_are_drawn_anew_for_each_step(tmp_path):
    """Of four gaps from one to three seconds; the mean of a step is a multiple of a quarter."""
    trained(CASES["drawn gaps"], tmp_path)
    gaps = [row["gap"] for row in read_metrics(tmp_path)]
    assert all(1 <= gap <= 3 for gap in gaps)
    assert all((4 * gap).is_integer() for gap in gaps)
    assert len(set(gaps)) > 1


def test_rounds_lie_in_folders_of_their_own_and_the_last_is_published(tmp_path):
    trained(CASES["rounds"], tmp_path)
    first, second = (load_weights(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    published = load_weights(tmp_path / "model.safetensors")
    assert published.keys() == second.keys()
    assert all(torch.equal(published[name], second[name]) for name in second)
    # the second round builds on the weights that the first has learned, and leaves them
    assert torch.equal(second["below.net.weight"], first["net.weight"])
    steps = [[row["step"] for row in read_metrics(tmp_path / name)] for name in ("first", "second")]
    assert steps == [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4]]


def test_finished_rounds_are_passed_over(tmp_path):
    class Counted:
        def __init__(self):
            self.steps = 0

    case, counted = CASES["rounds"], Counted()

    class Watch(contract_toys.Stacked):
        def loss(self, batch, context):
            counted.steps += 1
            return super().loss(batch, context)

    torch.manual_seed(0)
    fit_rounds(Watch(), case.data, case.recipe, tmp_path, runtime=CPU)
    assert counted.steps == 6
    fit_rounds(Watch(), case.data, case.recipe, tmp_path, runtime=CPU)
    assert counted.steps == 6


def test_rounds_of_another_training_are_refused(tmp_path):
    case = CASES["rounds"]
    trained(case, tmp_path)
    wider = contract_toys.Stacked(contract_toys.Config(width=5))
    with pytest.raises(InputError, match=r"config\.json: its config differs \(width: 4 there, 5 here\)"):
        fit_rounds(wider, case.data, case.recipe, tmp_path, runtime=CPU)


def test_example_inputs_are_of_the_wanted_size():
    image = CASES["labels"].make().example_inputs(3, scale=0.5)["image"]
    assert image.shape == (3, 3, 3, 4)
    assert CASES["actions"].make().example_inputs()["actions"].shape == (2, 2)
