"""What is true of every method of the catalogue that learns, whatever it learns."""

from pathlib import Path

import catalogue_cases
import pytest
import torch
from catalogue_cases import CASES, DIFFERENT_IN_TWO_PROCESSES, LEARNED, RESUMED
from harness import equal_trainings, killed_and_resumed, trained, two_processes

from firstsight.roles import MultiViewDepthEstimator
from firstsight.training.recipe import Recipe
from firstsight.training.step.optimiser import make_optimiser


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """All methods trained by two processes, which are started once."""
    folder = tmp_path_factory.mktemp("shared")
    two_processes(Path(catalogue_cases.__file__), list(CASES), folder)
    return folder


@pytest.mark.parametrize("name", RESUMED)
def test_a_killed_training_is_resumed_to_the_same_bytes(name, tmp_path):
    """And what it has trained takes the inputs that the method says it takes."""
    method = killed_and_resumed(RESUMED[name], tmp_path).eval()
    with torch.no_grad():
        outputs = method(**method.example_inputs(2))
    first = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
    assert len(first) == (1 if isinstance(method, MultiViewDepthEstimator) else 2)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one_or_there_is_a_reason(name, tmp_path, shared):
    """In any case the two agree with each other, which `shared` asserts."""
    if name in DIFFERENT_IN_TWO_PROCESSES:
        assert (shared / name / "model.safetensors").exists(), DIFFERENT_IN_TWO_PROCESSES[name]
        return
    trained(CASES[name], tmp_path)
    equal_trainings(tmp_path, shared / name, atol=1e-4)


@pytest.mark.parametrize("name", LEARNED)
def test_presets_are_whole(name):
    """Each has settings of one kind and a recipe; "paper" and "tiny" are there; every parameter is in one group."""
    presets = LEARNED[name].PRESETS
    assert {"paper", "tiny"} <= set(presets)
    assert len({type(preset.config) for preset in presets.values()}) == 1
    assert all(isinstance(preset.recipe, Recipe) for preset in presets.values())
    method = CASES[name].make()
    for preset in presets.values():
        make_optimiser(method, preset.recipe)
