"""What the figure of slots is made of; that slots find objects is tested with the method."""

import jaxtyping
import pytest
import torch

from firstsight.discovery.slot_attention import SlotAttention
from firstsight.gallery.figures.discovery.slot_iterations import MEASURED, SHOWN, TESTED, experiment, numbers

SHAPES_CONFIG = SlotAttention.PRESETS["shapes"].config


@pytest.fixture(scope="module")
def found():
    """Types and shapes are checked where the figure is drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        return experiment(0.2)


def test_the_course_begins_before_training_and_the_loss_falls(found):
    assert found.course.steps[0] == 0
    assert len(found.course.steps) >= MEASURED
    assert found.course.loss[-1] < 0.7 * found.course.loss[0]


def test_every_iteration_shares_every_place(found):
    size, slots = SHAPES_CONFIG.size, SHAPES_CONFIG.slots
    assert found.explained.attention.shape == (SHAPES_CONFIG.iterations, SHOWN, slots, *size)
    assert torch.allclose(
        found.explained.attention.sum(2), torch.ones(SHAPES_CONFIG.iterations, SHOWN, *size), atol=1e-5
    )


def test_the_numbers_stand_beside_those_of_baselines(found):
    values = {metric.name: metric.value for metric in numbers(found)}
    assert abs(values["FG-ARI, random masks"]) < 0.02
    assert values["FG-ARI, k-means of colour and place"] > 0.4
    assert values["mBO, slot attention"] == found.course.measures[-1]["mBO"]
    assert len(found.images) == TESTED
