"""That the machine of the figure beats independent pixels, and nothing beats the best possible."""

import jaxtyping
import pytest

from firstsight.gallery.figures.representation.rbm_filters import (
    CHAIN_STEPS,
    CHAINS,
    HIDDEN,
    KINDS,
    SIDE,
    experiment,
    mosaic,
    numbers,
)
from firstsight.training.toys.binary_images import bars_entropy


@pytest.fixture(scope="module")
def found():
    """Types and shapes are checked where the figure is drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        return experiment(0.3)


def test_persistent_chains_learn_bars(found):
    reached = {kind: found.courses[kind].log_likelihood for kind in KINDS}
    for course in reached.values():
        assert course[-1] > course[0]
        assert course[-1] < -bars_entropy(SIDE) + 0.5
    assert reached["persistent chains"][-1] > found.alone + 3
    assert {metric.name: metric.value for metric in numbers(found)}["log-likelihood, persistent chains"] == reached[
        "persistent chains"
    ][-1]


def test_dreams_are_as_likely_as_data_and_noise_is_not(found):
    data, samples, noise = (float(part.mean()) for part in found.energies)
    assert abs(samples - data) < 0.5 * (noise - data)


def test_the_mosaic_holds_every_image(found):
    assert found.chains.shape == (len(CHAIN_STEPS), CHAINS, SIDE**2)
    assert mosaic(found.filters.flatten(1), 4, 0.0).shape == (
        -(-HIDDEN // 4) * (SIDE + 1) - 1,
        4 * (SIDE + 1) - 1,
    )
