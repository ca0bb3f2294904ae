"""That each half alone collapses its own way, both together do not, and what the figure says of it."""

import jaxtyping
import numpy as np
import pytest

from firstsight.gallery.figures.representation.dino_collapse import LARGEST, VARIANTS, experiment, numbers, settled
from firstsight.training.toys.drawn_patterns import KINDS, Patterns


@pytest.fixture(scope="module")
def found():
    """Types and shapes are checked where the figure is drawn; here it would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        result = experiment(0.7)
    return result


def test_both_collapses_and_neither_with_both(found):
    entropy = {name: settled(curves.entropy) for name, curves in found.items()}
    divergence = {name: settled(curves.divergence) for name, curves in found.items()}
    assert entropy["centring only"] > 0.99 * LARGEST
    assert entropy["sharpening only"] < 0.05
    assert 0.3 * LARGEST < entropy["both"] < 0.95 * LARGEST
    assert max(value for name, value in divergence.items() if name != "both") < 0.03
    assert divergence["both"] > 0.1
    assert settled(found["both"].spread) > 2 * max(settled(found[name].spread) for name in VARIANTS if name != "both")


def test_the_numbers_say_what_the_figure_shows(found):
    values = {metric.name: metric.value for metric in numbers(found)}
    assert values["sharpening only, entropy"] == settled(found["sharpening only"].entropy)
    assert values["both, feature std"] == settled(found["both"].spread)
    assert set(found) == set(VARIANTS)


def test_patterns_are_of_one_mean_and_spread_and_drawn_anew_for_each_seed():
    patterns = Patterns(80)
    assert patterns.images.shape == (80, 3, 32, 32)
    assert patterns.labels[: len(KINDS) + 1].tolist() == [*range(len(KINDS)), 0]
    values = patterns.images.mean(1).astype(float)
    assert values.mean((1, 2)) == pytest.approx(127.5, abs=2)
    assert values.std((1, 2)).std() < 3
    assert np.array_equal(Patterns(80).images, patterns.images)
    assert not np.array_equal(Patterns(80, seed=1).images, patterns.images)
    assert patterns.sample(3)["images"].shape == (1, 3, 32, 32)
