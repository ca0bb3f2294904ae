"""That the walk is a loop with landmarks apart, that ellipses are where they belong, and what the figure says."""

import jaxtyping
import numpy as np
import pytest

from firstsight.gallery.figures.slam.ekf_slam import SIGMAS, Costs, ellipse, experiment, numbers, surrounded
from firstsight.gallery.worlds.landmark_walk import (
    LOST_STEPS,
    closing_step,
    placed_landmarks,
    travelled,
    true_motions,
    walk,
)
from firstsight.slam.landmarks.consistency import nees_band
from firstsight.slam.landmarks.ekf import expected
from firstsight.slam.landmarks.measurements import Config


@pytest.fixture(scope="module")
def found():
    """Types and shapes are checked where the figure is drawn; here it would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        result = experiment(0.45)
    return result


def test_the_numbers_say_what_the_figure_shows(found):
    values = {metric.name: metric.value for metric in numbers(found)}
    assert values["EKF-SLAM"] < 0.7 * values["odometry alone"]
    assert values["after it"] < 0.8 * values["before the loop closes"]
    assert values["NEES inside the band"] > 60  # of ten walks only
    assert values["NEES"] < values["NEES, heading noise x10"]
    assert found.unsure.nees[-1] > nees_band(3, found.unsure.runs)[1]
    assert values["map"] < 0.5


def test_costs_are_measured_for_every_size(found):
    costs: Costs = found.costs
    assert costs.landmarks.tolist() == [10, 20, 50, 100, 200]
    assert (costs.predict_ms > 0).all()
    assert (costs.update_ms > costs.predict_ms).all()
    assert len(surrounded(20).landmarks) == 20


def test_the_walk_is_a_loop_past_landmarks_that_lie_apart():
    lap = travelled(true_motions(1.0))
    assert lap[-1] == pytest.approx([0, 0, 0], abs=1e-9)
    landmarks = placed_landmarks()
    gaps = np.linalg.norm(landmarks[:, None] - landmarks, axis=-1) + 99 * np.eye(len(landmarks))
    assert gaps.min() > 2


def test_measurements_are_the_truth_with_the_configured_noise():
    config = Config()
    walks = [walk(config, seed) for seed in range(20)]
    residuals = [
        s.observations - expected(r, w.landmarks[s.ids])
        for w in walks
        for s, r in zip(w.sightings, w.robots[1:], strict=True)
    ]
    assert np.concatenate(residuals).std(0) == pytest.approx([config.range_sigma_m, config.bearing_sigma_rad], rel=0.05)
    motions = np.concatenate([w.motions - true_motions(1.25) for w in walks])
    assert motions[:, 0].std() == pytest.approx(config.forward_sigma_m_per_sqrt_m, rel=0.05)
    assert motions[:, 1].std() == pytest.approx(config.sideways_sigma_m_per_sqrt_m, rel=0.05)


def test_the_loop_closes_near_its_end_and_only_where_there_is_one():
    seen = walk(Config())
    assert LOST_STEPS < closing_step(seen) < len(true_motions(1.0))
    with pytest.raises(ValueError, match="closes no loop"):
        closing_step(walk(Config(), laps=0.5))


def test_an_ellipse_is_where_the_distance_is_three_sigma():
    mean, covariance = np.array([1.0, -2.0]), np.array([[2.0, 0.8], [0.8, 0.5]])
    shape = ellipse(mean, covariance)
    outline = shape.get_patch_transform().transform(shape.get_path().vertices) - mean
    on_curve = outline[:-1:3]  # the vertices of the Bezier curves that lie on them
    distances = np.sqrt(np.einsum("ka,ab,kb->k", on_curve, np.linalg.inv(covariance), on_curve))
    assert distances == pytest.approx(SIGMAS, rel=1e-3)
