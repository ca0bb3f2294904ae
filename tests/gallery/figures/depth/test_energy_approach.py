"""That every stage does what the figure says of it."""

import numpy as np
import pytest

from firstsight.gallery.figures.depth.energy_approach import FILLED, Experiment, experiment, numbers
from firstsight.gallery.figures.depth.stages import PATH, PIXEL, SURFACE
from firstsight.matching.selection.consistency import MatchClass


@pytest.fixture(scope="module")
def found() -> Experiment:
    return experiment(0.5)


def test_errors_fall_from_stage_to_stage(found: Experiment):
    """Stated: from more than half of the pixels to less than a tenth."""
    bad = {metric.name: metric.value for metric in numbers(found)}
    stages = [bad[f"bad-1, {stage}"] for stage in (PIXEL, SURFACE, PATH, FILLED)]
    assert stages == sorted(stages, reverse=True)
    assert stages[0] > 50
    assert stages[-1] < 10
    assert bad["bad-1, left-right check"] < bad[f"bad-1, {PATH}"]


def test_semi_global_matching_lowers_the_energy_and_not_its_data_term(found: Experiment):
    energies = found.energies
    assert energies[PATH].total < energies[SURFACE].total < energies[PIXEL].total
    assert energies[SURFACE].data <= min(energies[PATH].data, energies[PIXEL].data)


def test_what_only_one_camera_sees_is_called_an_occlusion_more_often_than_anything_else(found: Experiment):
    truth = found.pair.truth
    hidden = found.classes[truth.valid & ~truth.visible]
    assert np.bincount(hidden).argmax() == MatchClass.OCCLUSION
    assert np.mean(found.classes[truth.visible] == MatchClass.OCCLUSION) < 0.05
