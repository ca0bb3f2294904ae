"""Depth and disparity errors against loops over pixels."""

import math
import statistics

import numpy as np
import pytest

from firstsight.evaluation.depth import DepthErrors, DepthProtocol, DisparityErrors
from firstsight.recordings.recording import DepthImage, DisparityImage
from firstsight.run_folder import Metric


def values(metrics: tuple[Metric, ...]) -> dict[str, float]:
    return {metric.name: metric.value for metric in metrics}


def random_depth(rng: np.random.Generator, height: int = 20, width: int = 30) -> DepthImage:
    return DepthImage(rng.uniform(0.5, 120, (height, width)).astype(np.float32), rng.random((height, width)) < 0.7)


def slow_depth_errors(estimate: DepthImage, truth: DepthImage, cap_m: float, median: bool, garg: bool) -> list[float]:
    """Eigen et al. (2014), one pixel at a time."""
    height, width = truth.depth.shape
    pairs = []
    for y in range(height):
        for x in range(width):
            in_crop = int(0.40810811 * height) <= y < int(0.99189189 * height) and int(0.03594771 * width) <= x < int(
                0.96405229 * width
            )
            if (
                truth.valid[y, x]
                and estimate.valid[y, x]
                and 1e-3 < truth.depth[y, x] < cap_m
                and (in_crop or not garg)
            ):
                pairs.append((float(estimate.depth[y, x]), float(truth.depth[y, x])))
    scale = statistics.median(t for _, t in pairs) / statistics.median(e for e, _ in pairs) if median else 1.0
    pairs = [(min(max(e * scale, 1e-3), cap_m), t) for e, t in pairs]
    n = len(pairs)
    within = [sum(max(e / t, t / e) < 1.25**k for e, t in pairs) / n * 100 for k in (1, 2, 3)]
    return [
        sum(abs(e - t) / t for e, t in pairs) / n,
        sum((e - t) ** 2 / t for e, t in pairs) / n,
        math.sqrt(sum((e - t) ** 2 for e, t in pairs) / n),
        math.sqrt(sum((math.log(e) - math.log(t)) ** 2 for e, t in pairs) / n),
        *within,
    ]


def test_inverse_depth_is_fitted_by_factor_and_shift() -> None:
    """An estimate of 1 / (3 / depth + 0.2) is the truth, one pixel apart; medians alone would not find it."""
    true = np.array([[2.0, 4.0, 5.0, 10.0, 20.0, 40.0]], np.float32)
    seen = np.ones((1, 6), bool)
    found = DepthImage(1 / (3 / true + 0.2), seen)
    errors = DepthErrors(DepthProtocol(align="inverse"))
    errors.add(found, DepthImage(true, seen))
    assert values(errors.metrics())["depth Abs Rel"] == pytest.approx(0, abs=1e-5)
    assert "per-image factor and shift of inverse depth by least squares" in errors.metrics()[0].protocol
    # (x, y) = (0, 0.1), (1, 0.2), (2, 0.6) of inverse depths: the line through them is 0.05 + 0.25 x
    far = DepthErrors(DepthProtocol(align="inverse"))
    far.add(
        DepthImage(np.array([[1e9, 1.0, 0.5]], np.float32), seen[:, :3]),
        DepthImage(1 / np.array([[0.1, 0.2, 0.6]], np.float32), seen[:, :3]),
    )
    expected = [abs(1 / 0.05 - 10) / 10, abs(1 / 0.3 - 5) / 5, abs(1 / 0.55 - 1 / 0.6) * 0.6]
    assert values(far.metrics())["depth Abs Rel"] == pytest.approx(sum(expected) / 3, rel=1e-4)
    # what the line puts behind infinity is at the cap: (1e9, 0.5, 1/3) against 0.01, 0.02, 0.5 gives -0.0683 at x = 0
    capped = DepthErrors(DepthProtocol(align="inverse", cap_m=101.0))
    capped.add(
        DepthImage(np.array([[1e9, 0.5, 1 / 3]], np.float32), seen[:, :3]),
        DepthImage(1 / np.array([[0.01, 0.02, 0.5]], np.float32), seen[:, :3]),
    )
    assert values(capped.metrics())["depth RMSE"] > 1


@pytest.mark.parametrize("median", [False, True])
@pytest.mark.parametrize("garg", [False, True])
def test_equals_the_loop_and_averages_over_images(median: bool, garg: bool) -> None:
    rng = np.random.default_rng(0)
    protocol = DepthProtocol(cap_m=60.0, align="median" if median else "none", crop="garg" if garg else "none")
    errors, slow = DepthErrors(protocol), []
    for _ in range(3):
        estimate, truth = random_depth(rng), random_depth(rng)
        errors.add(estimate, truth)
        slow.append(slow_depth_errors(estimate, truth, 60, median, garg))
    fast = [metric.value for metric in errors.metrics()[:-1]]
    np.testing.assert_allclose(fast, np.mean(slow, axis=0), rtol=1e-9)


def test_perfect_estimate_has_no_error() -> None:
    truth = random_depth(np.random.default_rng(1))
    errors = DepthErrors()
    errors.add(truth, truth)
    measured = values(errors.metrics())
    assert measured["depth Abs Rel"] == measured["depth RMSE"] == measured["depth RMSE log"] == 0
    assert measured["depth δ < 1.25"] == measured["depth density"] == 100


def test_a_tenth_too_far_is_abs_rel_one_tenth_and_median_scaling_removes_it() -> None:
    truth = DepthImage(np.full((4, 5), 8, np.float32), np.ones((4, 5), bool))
    far = truth._replace(depth=truth.depth * np.float32(1.1))
    plain, scaled = DepthErrors(), DepthErrors(DepthProtocol(align="median"))
    plain.add(far, truth)
    scaled.add(far, truth)
    assert values(plain.metrics())["depth Abs Rel"] == pytest.approx(0.1, abs=1e-6)
    assert values(scaled.metrics())["depth Abs Rel"] == pytest.approx(0, abs=1e-12)
    assert "median" in scaled.metrics()[0].protocol
    assert "80 m" in scaled.metrics()[0].protocol


def test_density_counts_unanswered_pixels_and_beyond_the_cap_is_not_judged() -> None:
    depth = np.full((2, 4), 10, np.float32)
    depth[0, 0] = 90
    valid = np.ones((2, 4), bool)
    answered = valid.copy()
    answered[1, :] = False
    errors = DepthErrors()
    errors.add(DepthImage(depth, answered), DepthImage(depth, valid))
    assert values(errors.metrics())["depth density"] == pytest.approx(100 * 3 / 7)


def test_nothing_judged_gives_no_metrics() -> None:
    nothing = DepthImage(np.ones((2, 2), np.float32), np.zeros((2, 2), bool))
    errors = DepthErrors()
    errors.add(nothing, nothing)
    assert errors.metrics() == ()


def test_disparity_errors_of_known_perturbations() -> None:
    true = np.full((1, 8), 100, np.float32)
    truth = DisparityImage(true, np.array([[1, 1, 1, 1, 1, 1, 1, 0]], bool), np.array([[1, 1, 1, 1, 1, 0, 0, 1]], bool))
    estimate = true + np.array([[0, 1.5, 2.5, 4, 6, 9, 0, 50]], np.float32)
    errors = DisparityErrors()
    errors.add(estimate, np.array([[1, 1, 1, 1, 1, 1, 0, 1]], bool), truth)
    measured = values(errors.metrics())
    assert measured["bad-1 visible (answered)"] == pytest.approx(80)
    assert measured["bad-2 visible (answered)"] == pytest.approx(60)
    assert measured["D1-all visible (answered)"] == pytest.approx(20)  # 4 px is within 5 % of 100 px
    assert measured["disparity error visible"] == pytest.approx(14 / 5)
    assert measured["D1-all (answered)"] == pytest.approx(100 * 2 / 6)
    assert measured["D1-all (missing counted as bad)"] == pytest.approx(100 * 3 / 7)
    assert measured["disparity error density"] == pytest.approx(100 * 6 / 7)


def test_disparity_errors_pool_pixels_not_images() -> None:
    errors = DisparityErrors()
    for size, offset in ((1, 5.0), (3, 0.0)):
        true = np.full((1, size), 20, np.float32)
        valid = np.ones((1, size), bool)
        errors.add(true + np.float32(offset), valid, DisparityImage(true, valid, valid))
    assert values(errors.metrics())["D1-all (answered)"] == pytest.approx(25)


def test_too_small_disparities_are_as_wrong_as_too_large_ones() -> None:
    """97 and 94 for 100 px: 3 and 6 px off, of which the second is also beyond 5 %."""
    true, valid = np.full((1, 2), 100, np.float32), np.ones((1, 2), bool)
    errors = DisparityErrors()
    errors.add(np.array([[97, 94]], np.float32), valid, DisparityImage(true, valid, valid))
    measured = values(errors.metrics())
    assert measured["disparity error"] == pytest.approx(4.5)
    assert measured["bad-2 (answered)"] == 100
    assert measured["D1-all (answered)"] == 50


def test_at_the_cap_is_beyond_it_and_estimates_are_clamped_at_both_ends() -> None:
    """True 80 m is not judged; 0 m counts as 0.001 m for a true 2 m, 500 m as 80 m for a true 40 m."""
    valid = np.ones((1, 3), bool)
    errors = DepthErrors()
    errors.add(
        DepthImage(np.array([[80, 0, 500]], np.float32), valid), DepthImage(np.array([[80, 2, 40]], np.float32), valid)
    )
    measured = values(errors.metrics())
    assert errors.judged == 2
    assert measured["depth Abs Rel"] == pytest.approx((1.999 / 2 + 1) / 2)
    # ln(0.001 / 2) = -7.600902, ln(80 / 40) = 0.693147
    assert measured["depth RMSE log"] == pytest.approx(math.sqrt((7.600902**2 + 0.693147**2) / 2), abs=1e-5)
