"""That the row gets better from stage to stage, and that the pixel shown is one that tells the stages apart."""

import numpy as np
import pytest

from firstsight.gallery.figures.depth.cost_slice import Experiment, experiment, numbers, row_errors, telling_pixel
from firstsight.gallery.figures.depth.stages import PATH, PIXEL, SURFACE


@pytest.fixture(scope="module")
def found() -> Experiment:
    return experiment(0.5)


def test_errors_fall_from_stage_to_stage(found: Experiment):
    bad = [metric.value for metric in numbers(found)]
    assert bad == sorted(bad, reverse=True)
    assert bad[-1] < bad[0] / 3


def test_the_pixel_is_one_that_only_the_last_stage_gets_right(found: Experiment):
    errors = {stage: row_errors(costs, found.truth)[found.pixel] for stage, costs in found.costs.items()}
    assert errors[PATH] <= 1 < min(errors[PIXEL], errors[SURFACE])


def test_a_pixel_without_truth_is_never_chosen():
    wrong, right = np.eye(4, dtype=np.float32), 1 - np.eye(4, dtype=np.float32)  # winners 1, 0, 0, 0 and 0, 1, 2, 3
    truth = np.array([0.0, 1.0, np.nan, np.nan])
    assert telling_pixel({PIXEL: wrong, SURFACE: wrong, PATH: right}, truth) in (0, 1)
