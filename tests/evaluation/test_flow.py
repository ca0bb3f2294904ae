"""Flow errors against loops over pixels."""

import math

import numpy as np
import pytest

from firstsight.evaluation.flow import FlowErrors, angular_error_rad
from firstsight.recordings.recording import FlowImage


def random_flow(rng: np.random.Generator, spread_px: float) -> FlowImage:
    flow = rng.normal(0, spread_px, (12, 17, 2)).astype(np.float32)
    return FlowImage(flow, rng.random((12, 17)) < 0.8, rng.random((12, 17)) < 0.7)


def slow_flow_errors(pairs: list[tuple[FlowImage, FlowImage]], visible: bool) -> dict[str, float]:
    errors, missing, outliers, angles = [], 0, 0, []
    for estimate, truth in pairs:
        for y in range(truth.valid.shape[0]):
            for x in range(truth.valid.shape[1]):
                if not truth.valid[y, x] or (visible and not truth.visible[y, x]):
                    continue
                if not estimate.valid[y, x]:
                    missing += 1
                    continue
                (u, v), (u_true, v_true) = estimate.flow[y, x].astype(float), truth.flow[y, x].astype(float)
                error = math.hypot(u - u_true, v - v_true)
                errors.append(error)
                outliers += error > 3 and error > 0.05 * math.hypot(u_true, v_true)
                lengths = math.sqrt(u * u + v * v + 1) * math.sqrt(u_true**2 + v_true**2 + 1)
                angles.append(math.acos(min(1.0, (u * u_true + v * v_true + 1) / lengths)))
    judged = len(errors) + missing
    return {
        "EPE": sum(errors) / len(errors),
        "answered": 100 * outliers / len(errors),
        "missing": 100 * (outliers + missing) / judged,
        "density": 100 * len(errors) / judged,
        "angle": math.degrees(sum(angles) / len(angles)),
    }


def test_equals_the_loop() -> None:
    rng = np.random.default_rng(0)
    pairs, errors = [], FlowErrors()
    for _ in range(3):
        truth = random_flow(rng, 40)
        noisy = truth.flow + rng.normal(0, 3, truth.flow.shape).astype(np.float32)
        pairs.append((FlowImage(noisy, rng.random(truth.valid.shape) < 0.9, truth.valid), truth))
        errors.add(*pairs[-1])
    measured = {metric.name: metric.value for metric in errors.metrics()}
    for suffix, visible in ((" visible", True), ("", False)):
        slow = slow_flow_errors(pairs, visible)
        assert measured[f"flow EPE{suffix}"] == pytest.approx(slow["EPE"], rel=1e-5)
        assert measured[f"Fl-all{suffix} (answered)"] == pytest.approx(slow["answered"])
        assert measured[f"Fl-all{suffix} (missing counted as bad)"] == pytest.approx(slow["missing"])
        assert measured[f"flow EPE{suffix} density"] == pytest.approx(slow["density"])
    assert measured["flow angular error visible"] == pytest.approx(slow_flow_errors(pairs, True)["angle"], rel=1e-4)


def test_perfect_flow_has_no_error_and_a_shift_of_three_four_is_five() -> None:
    truth = random_flow(np.random.default_rng(1), 5)
    everywhere = truth._replace(valid=np.ones_like(truth.valid))
    perfect, shifted = FlowErrors(), FlowErrors()
    perfect.add(everywhere, truth)
    shifted.add(everywhere._replace(flow=truth.flow + np.array([3, 4], np.float32)), truth)
    assert {metric.value for metric in perfect.metrics() if "density" not in metric.name} == {0.0}
    measured = {metric.name: metric.value for metric in shifted.metrics()}
    assert measured["flow EPE"] == pytest.approx(5, rel=1e-5)
    assert measured["Fl-all (answered)"] == 100


def test_angular_error_of_a_unit_step_against_rest_is_45_degrees() -> None:
    angle = angular_error_rad(np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]]))
    np.testing.assert_allclose(np.degrees(angle), [45])


def test_nothing_true_gives_no_metrics() -> None:
    truth = random_flow(np.random.default_rng(2), 5)
    errors = FlowErrors()
    errors.add(truth, truth._replace(valid=np.zeros_like(truth.valid)))
    assert errors.metrics() == ()
