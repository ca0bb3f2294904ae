"""That each loss left out makes the disparities worse in the way the figure says."""

import jaxtyping
import pytest

from firstsight.gallery.figures.depth.monodepth_losses import ALL, VARIANTS, experiment, numbers


@pytest.fixture(scope="module")
def values() -> dict[str, float]:
    """Types and shapes are checked where the figure is drawn; here it would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        return {metric.name: metric.value for metric in numbers(experiment())}


def test_every_loss_is_needed(values):
    bad = {name: values[f"bad-1, {name}"] for name in VARIANTS}
    assert bad[ALL] < 18
    assert bad["without appearance"] > 60
    assert bad["without smoothness"] > 2 * bad[ALL]
    assert bad["without left-right consistency"] > bad[ALL] + 1.5


def test_without_consistency_left_and_right_disagree(values):
    assert values["disagreement, without left-right consistency"] > 1.3 * values[f"disagreement, {ALL}"]
