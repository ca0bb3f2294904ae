"""What MC-CNN learns in a hundred steps: a cost that noise and brightness disturb less than they do census."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import jaxtyping
import numpy as np
import pytest
import torch

from firstsight.depth.mc_cnn import McCnn
from firstsight.geometry.images import to_grey
from firstsight.matching.costs.census_cost import Census
from firstsight.matching.costs.volumes import MatchingCost
from firstsight.training.fit import Runtime, fit
from firstsight.training.layered.pairs import LayeredPairs


def both_see(disparity: np.ndarray) -> np.ndarray:
    """The pixels of the left image that lie inside the right one, behind none of their row."""
    match = np.rint(np.arange(disparity.shape[1]) - disparity).astype(int)
    front = np.zeros_like(disparity)
    for row, columns, values in zip(front, match.clip(0), disparity, strict=True):
        np.maximum.at(row, columns, values)
    return (match >= 0) & (disparity >= np.take_along_axis(front, match.clip(0), 1) - 1)


def absolute_differences(left: np.ndarray, right: np.ndarray, width_px: int) -> np.ndarray:
    """Their means over squares, of 32 disparities."""
    columns = np.arange(left.shape[1])
    shifted = (right[:, (columns - d).clip(0)].astype(np.float32) for d in range(32))
    return np.stack([cv2.blur(np.abs(left - other), (width_px, width_px)) for other in shifted], 2)


def of_cost(cost: MatchingCost, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return cost.fill(cost.describe(left), cost.describe(right), np.empty((*left.shape, 32), cost.dtype))


def random_dots(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A square of 11 px before a ground of 4 px; the right image a fifth darker, both with noise of 5 percent."""
    disparity = np.full((64, 128), 4)
    disparity[18:46, 50:90] = 11
    dots = rng.random((2, 64, 160))
    left = np.where(disparity == 11, dots[1, :, :128], dots[0, :, :128])
    right = dots[0, :, 4:132]
    right[18:46, 39:79] = dots[1, 18:46, 50:90]
    noisy = (image + rng.normal(0, 0.05, image.shape) for image in (left, 0.8 * right))
    left, right = (np.rint(255 * image.clip(0, 1)).astype(np.uint8) for image in noisy)
    return left, right, disparity.astype(np.float32)


def shares_of_bad(method: McCnn, pairs: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """More than 1 px off where both cameras see: by the method's cost, by census, by the better of three squares' differences."""
    found = []
    for left, right, disparity in pairs:
        volumes = [of_cost(cost, left, right) for cost in (method.eval().cost, Census())]
        volumes += [absolute_differences(left, right, width_px) for width_px in (7, 9, 11)]
        off = np.array([np.abs(volume.argmin(2) - disparity) > 1 for volume in volumes])
        found.append(off[:, both_see(disparity)].mean(1))
    ours, census, *differences = np.mean(found, 0)
    return np.array([ours, census, min(differences)])


@pytest.mark.slow
def test_a_hundred_steps_beat_census_and_absolute_differences():
    """Bad-1 of the least cost alone on unseen layers, noise of 8 grey levels and brightness of 20 percent: ours 35 %, census 56,
    differences 61. On dots, which it never saw, 3 %; there windows of 11 px, larger than its patches, have 0.6.
    """
    torch.manual_seed(0)
    config, recipe = McCnn.PRESETS["tiny"]
    method, source = McCnn(replace(config, size=(64, 128), points=512)), "sim:layers:noise=8,light=20,pairs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        data = LayeredPairs(f"{source}=2000", method.wanted)
        fit(method, data, replace(recipe, steps=100), runtime=Runtime(device="cpu"))
    unseen = LayeredPairs(f"{source}=8,seed=7", method.wanted)
    of_layers = []
    for sample in map(unseen.sample, range(8)):
        left, right = (to_grey(torch.from_numpy(sample[name]) / 255) for name in ("images", "right"))
        of_layers.append((left, right, sample["disparity"][0, 0]))
    ours, census, differences = shares_of_bad(method, of_layers)
    assert ours < 0.4
    assert ours < 0.75 * census
    assert ours < 0.75 * differences
    print(f"layers: bad-1 {100 * ours:.1f} %, census {100 * census:.1f}, absolute differences {100 * differences:.1f}")
    ours, _, differences = shares_of_bad(method, [random_dots(np.random.default_rng(seed)) for seed in range(4)])
    print(f"dots: bad-1 {100 * ours:.1f} %, absolute differences {100 * differences:.1f}")
    assert ours < 0.05
