import numpy as np
import pytest

from firstsight.matching.selection.edge_aware import EDGE_REACHES, PASSES, smooth


def slow_smooth(values, weights, log_depth, mask, reach_px, edge):
    """The recursion J[n] = I[n] + a^d (J[n-1] - I[n]), there and back along rows then columns, one line at a time."""

    def line(signal, depth, inside):
        steps = [
            1 + EDGE_REACHES * reach_px * (min(abs(depth[i] - depth[i + 1]) / edge, 1) + (inside[i] != inside[i + 1]))
            for i in range(len(signal) - 1)
        ]
        fades = [np.exp(-np.sqrt(2) / reach_px) ** step for step in steps]
        out = list(signal)
        for i in range(1, len(out)):
            out[i] = out[i] + fades[i - 1] * (out[i - 1] - out[i])
        for i in range(len(out) - 2, -1, -1):
            out[i] = out[i] + fades[i] * (out[i + 1] - out[i])
        return out

    filtered = []
    for image in (values * weights, weights):
        image = image.astype(np.float64)
        for _ in range(PASSES):
            image = np.array([line(image[y], log_depth[y], mask[y]) for y in range(len(image))])
            image = np.array([line(image[:, x], log_depth[:, x], mask[:, x]) for x in range(image.shape[1])]).T
        filtered.append(image)
    return filtered[0] / filtered[1]


def test_equals_the_recursion():
    generator = np.random.default_rng(0)
    values, weights, log_depth = generator.random((3, 9, 13)).astype(np.float32)
    log_depth *= 0.1
    mask = generator.random((9, 13)) < 0.2
    arguments = (values, weights + np.float32(0.1), log_depth, mask, 4.0, 0.2)
    np.testing.assert_allclose(smooth(*arguments), slow_smooth(*arguments), rtol=1e-4)


def test_a_value_spreads_over_its_surface_and_not_beyond():
    log_depth = np.where(np.arange(40) < 20, 1.0, 1.5).astype(np.float32) * np.ones((20, 1), np.float32)
    values = np.where(np.arange(40) < 20, 1.0, -1.0).astype(np.float32) * np.ones((20, 1), np.float32)
    weights = np.ones((20, 40), np.float32)
    weights[5:15, 5:35] = 1e-3  # unknown in the middle: the surroundings of the same depth decide
    values[5:15, 5:35] = 0
    result = smooth(values, weights, log_depth, np.zeros((20, 40), bool), 6.0, 0.1)
    assert result[:, :20].min() > 0.5
    assert result[:, 20:].max() < -0.5


def test_a_constant_stays():
    generator = np.random.default_rng(1)
    weights, log_depth = generator.random((2, 12, 15)).astype(np.float32)
    result = smooth(np.full((12, 15), 0.7, np.float32), weights, log_depth, np.zeros((12, 15), bool), 5.0, 0.1)
    assert result == pytest.approx(0.7, rel=1e-5)
