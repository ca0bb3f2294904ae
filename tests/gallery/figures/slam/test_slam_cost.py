"""That both methods saw the same walk, and what the figure says of them."""

import jaxtyping
import numpy as np
import pytest

from firstsight.gallery.figures.slam.slam_cost import experiment, growth, numbers
from firstsight.gallery.worlds.landmark_walk import placed_landmarks, travelled, true_motions


@pytest.fixture(scope="module")
def found():
    """Types and shapes are checked where the figure is drawn; here it would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        result = experiment(0.5)
    return result


def test_the_numbers_say_what_the_figure_shows(found):
    values = {metric.name: metric.value for metric in numbers(found)}
    assert values["GraphSLAM, map"] < 1.1 * values["EKF-SLAM, map"]
    assert values["GraphSLAM, path"] < 0.5 * values["odometry"]
    assert values["GraphSLAM, path"] < values["EKF-SLAM, path"]
    assert (found.course.graph_ms > 0).all()
    assert found.course.landmarks[-1] == len(found.graph_landmarks) == len(found.ekf_landmarks)


def test_growth_is_the_exponent():
    n = np.array([1.0, 50, 100, 150, 200])
    assert growth(n, 3 * n**2) == pytest.approx(2)


def test_a_stretched_walk_is_a_longer_loop():
    for stretch in (1, 4):
        assert travelled(true_motions(1.0, stretch))[-1] == pytest.approx([0, 0, 0], abs=1e-9)
    assert len(true_motions(1.0, 4)) == 88 + 3 * 64
    assert len(placed_landmarks(4)) == pytest.approx(len(true_motions(1.0, 4)) / 3, abs=1)
