import numpy as np
import pytest
import torch

from firstsight.geometry.se3 import se3_exp
from firstsight.motion.odometry.sweep_agreement import disagreement_m


def corridor(seed: int) -> np.ndarray:
    """Points on the floor 1.5 m below and on walls 5 m to both sides, up to 20 m away."""
    rng = np.random.default_rng(seed)
    x, across, up = rng.uniform(-20, 20, 9000), rng.uniform(-5, 5, 9000), rng.uniform(-1.5, 3, 9000)
    floor, left, right = np.split(np.arange(9000), 3)
    points = np.column_stack([x, across, up])
    points[floor, 2], points[left, 1], points[right, 1] = -1.5, 5.0, -5.0
    return points


@pytest.mark.parametrize(("aside_m", "off_m"), [(0.0, 0.0), (0.06, 0.06), (0.2, 0.2)])
def test_sweeps_disagree_by_what_the_pose_is_off_along_the_normals(aside_m, off_m):
    """Two thirds of the points are on walls; the median is theirs."""
    true = se3_exp(torch.tensor([1.0, 0.3, 0.1, 0.02, -0.01, 0.1], dtype=torch.float64)).numpy()
    later = (corridor(1) - true[:3, 3]) @ true[:3, :3]
    wrong = true.copy()
    wrong[1, 3] += aside_m
    assert disagreement_m(corridor(0), later, wrong) == pytest.approx(off_m, abs=1e-6)


def test_sweeps_without_anything_in_common_say_nothing():
    far = np.eye(4)
    far[2, 3] = 100.0
    assert np.isnan(disagreement_m(corridor(0), corridor(1), far))
    assert np.isnan(disagreement_m(np.zeros((0, 3)), corridor(1), np.eye(4)))
    assert np.isnan(disagreement_m(corridor(0), np.zeros((50, 3)), np.eye(4)))
