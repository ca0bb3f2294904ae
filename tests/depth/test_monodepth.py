"""Monodepth: its losses against loops, the truth against what is near it, training that resumes and is shared, depth."""

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import jaxtyping
import numpy as np
import pytest
import torch

from firstsight.depth.monodepth import (
    Batch,
    Config,
    Monodepth,
    Terms,
    blended,
    mirrored_pairs,
    recoloured,
    terms,
    weighted,
)
from firstsight.errors import InputError
from firstsight.evaluation.depth import DepthErrors, DepthProtocol
from firstsight.recordings.recording import DepthImage, Recording
from firstsight.recordings.simulated import simulate
from firstsight.training.data.batch import collate, unit_range
from firstsight.training.data.clips import Clips
from firstsight.training.data.dataset import Arrays
from firstsight.training.data.wanted import Wanted
from firstsight.training.fit import Runtime, fit
from firstsight.training.random_numbers import StepRandom
from firstsight.training.trainable import StepContext

CPU = Runtime(device="cpu")
TINY = Monodepth.PRESETS["tiny"].recipe
SMALL = Config(size=(64, 64), layers=18, encoder_width=8, decoder_width=4, first_share=0.02)


def mono_street() -> Recording:
    recording = simulate("street", frames=2, height=64, width=64)
    return replace(recording, rig=replace(recording.rig, stereo=None))


def random_pairs() -> Arrays:
    """Stereo pairs of a texture that is 3 px nearer in the left image."""
    textures = [
        np.random.default_rng(i).integers(0, 255, (3, 16, 18), np.uint8).repeat(4, 1).repeat(4, 2) for i in range(8)
    ]
    return Arrays(
        Wanted(Batch, (64, 64)),
        {
            "images": np.stack([texture[None, :, :, :64] for texture in textures]),
            "right": np.stack([texture[None, :, :, 3:67] for texture in textures]),
            "intrinsics": np.tile(np.array([[50, 0, 31.5], [0, 50, 31.5], [0, 0, 1]], np.float32), (8, 1, 1)),
            "baseline_m": np.full(8, 0.25, np.float32),
        },
    )


def batch_of(count: int) -> Batch:
    pairs = random_pairs()
    return collate(Batch, [pairs.sample(i) for i in range(count)])


def left_and_right(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    return unit_range(batch.images[:, 0]), unit_range(batch.right[:, 0])


class Streets(NamedTuple):
    """Every few samples of some streets, in memory, with their true depth."""

    data: Arrays
    truth: list[DepthImage]


def streets_of(seeds: range, frames: int, every: int, method: Monodepth) -> Streets:
    rows, truth = [], []
    height, width = method.config.size
    for seed in seeds:
        recording = simulate("street", seed=seed, height=height, width=width, frames=frames)
        assert recording.truth.depth is not None
        clips = Clips(recording, method.wanted)
        rows += [clips.sample(i) for i in range(0, frames, every)]
        truth += [recording.truth.depth[i] for i in range(0, frames, every)]
    return Streets(Arrays(method.wanted, {name: np.stack([row[name] for row in rows]) for name in rows[0]}), truth)


def context(rows: int = 4, seed: int = 0) -> StepContext:
    return StepContext(0, 10, StepRandom(seed, 0, rows))


def small(seed: int = 0, **changes) -> Monodepth:
    torch.manual_seed(seed)
    return Monodepth(replace(SMALL, **changes))


def abs_rel(estimates: list[np.ndarray], truth: list[DepthImage]) -> float:
    errors = DepthErrors(DepthProtocol())
    for estimate, true in zip(estimates, truth, strict=True):
        errors.add(DepthImage(estimate, np.ones(estimate.shape, bool)), true)
    return next(m.value for m in errors.metrics() if m.name == "depth Abs Rel")


def best_constant(truth: list[DepthImage]) -> float:
    """Abs Rel of the one depth that is best for all these images, chosen with the truth at hand."""
    whole = [np.full(truth[0].depth.shape, depth, np.float32) for depth in np.geomspace(2, 60, 60)]
    return min(abs_rel([guess] * len(truth), truth) for guess in whole)


def moved(row: np.ndarray, x: float) -> float:
    x = min(max(x, 0.0), len(row) - 1.0)
    below = min(int(x), len(row) - 2)
    return float(row[below] * (below + 1 - x) + row[below + 1] * (x - below))


def test_equation():
    """Eq. 1 to 4 for images of 5x8, pixel by pixel."""
    draw = np.random.default_rng(0)
    images, shares = draw.random((2, 3, 5, 8)), 0.3 * draw.random((2, 5, 8))
    height, width = 5, 8
    expected = dict.fromkeys(Terms._fields, 0.0)
    for here, there, sign in ((0, 1, -1), (1, 0, 1)):
        again = np.zeros((3, height, width))
        for c in range(3):
            for y in range(height):
                for x in range(width):
                    again[c, y, x] = moved(images[there, c, y], x + sign * width * shares[here, y, x])
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                for c in range(3):
                    a, b = (p[c, y - 1 : y + 2, x - 1 : x + 2] for p in (images[here], again))
                    cov = ((a - a.mean()) * (b - b.mean())).mean()
                    ssim = (2 * a.mean() * b.mean() + 1e-4) * (2 * cov + 9e-4)
                    ssim /= (a.mean() ** 2 + b.mean() ** 2 + 1e-4) * (a.var() + b.var() + 9e-4)
                    value = 0.85 * (1 - ssim) / 2 + 0.15 * abs(a[1, 1] - b[1, 1])
                    expected["appearance"] += value / (3 * (height - 2) * (width - 2))
        for y in range(height):
            for x in range(width):
                d = shares[here, y, x]
                gap = abs(d - moved(shares[there, y], x + sign * width * d))
                expected["consistency"] += gap / (height * width)
                for y2, x2, pairs in ((y, x + 1, height * (width - 1)), (y + 1, x, (height - 1) * width)):
                    if y2 < height and x2 < width:
                        edge = np.abs(images[here, :, y2, x2] - images[here, :, y, x]).mean()
                        expected["smoothness"] += abs(shares[here, y2, x2] - d) * np.exp(-edge) / pairs
    left, right = torch.from_numpy(images).unsqueeze(1)
    measured = terms(left, right, torch.from_numpy(shares)[None])
    assert {k: float(v) for k, v in measured._asdict().items()} == pytest.approx(expected, rel=1e-9)


def test_scales_are_weighted_as_in_equation_1():
    one = Terms(*(torch.tensor(v) for v in (1.0, 10.0, 100.0)))
    total = weighted([one] * 4, Config(appearance_weight=2.0, smoothness_weight=0.1, consistency_weight=3.0))
    assert [float(v) for v in total] == pytest.approx([8, 0.1 * 10 * 1.875, 1200])


def test_truth_beats_perturbation():
    left, right = left_and_right(batch_of(4))
    shares = torch.full((4, 2, 64, 64), 3 / 64)
    best = weighted([terms(left, right, shares)], SMALL)
    for change in (0.5, -0.5, 3.0):
        other = weighted([terms(left, right, shares + change / 64)], SMALL)
        assert other.appearance > 1.5 * best.appearance
    assert terms(left, right, shares * torch.tensor([1.0, 1.5])[:, None, None]).consistency > 0.01


def test_gradient():
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.rand(1, 3, 5, 7, generator=draw, dtype=torch.float64) for _ in range(2))
    shares = 0.3 * torch.rand(1, 2, 5, 7, generator=draw, dtype=torch.float64)

    def total(s: torch.Tensor) -> torch.Tensor:
        return sum(weighted([terms(left, right, s)], SMALL))

    assert torch.autograd.gradcheck(total, shares.requires_grad_(), fast_mode=True)


def test_a_mirror_swaps_the_cameras():
    """A disparity that explains the pair explains the mirrored pair as well."""
    given = left_and_right(batch_of(8))
    left, right = mirrored_pairs(*given, StepRandom(0, 0, 8))
    rotated = (left != given[0]).flatten(1).any(1)
    assert 0 < rotated.sum() < 8
    shares = torch.full((8, 2, 64, 64), 3 / 64)
    assert terms(left, right, shares).appearance == pytest.approx(float(terms(*given, shares).appearance), rel=0.1)


def test_colours_change_alike_in_both_images():
    image = torch.rand(16, 3, 4, 4)
    a, b = recoloured([image, image], StepRandom(0, 0, 16), 0.5)
    assert torch.equal(a, b)
    changed = (a != image).flatten(1).any(1)
    assert 2 < changed.sum() < 14
    assert torch.equal(recoloured([image], StepRandom(0, 0, 16), 0.0)[0], image)


def test_post_processing_takes_each_border_from_the_image_that_saw_it():
    one, other = torch.full((1, 1, 2, 100), 1.0), torch.full((1, 1, 2, 100), 3.0)
    mixed = blended(one, other)[0, 0, 0]
    assert float(mixed[0]) == 3  # the left border: from the mirrored image
    assert float(mixed[-1]) == 1
    assert torch.equal(mixed[15:85], torch.full((70,), 2.0))


def test_images_of_other_sizes_are_answered_in_metres():
    method = small().eval()
    with pytest.raises(InputError, match="not trained"):
        method(torch.rand(1, 3, 64, 64))
    method.after_update(method.loss(batch_of(1), context(1)).carry, context(1))
    assert float(method.reach_m) == pytest.approx(50 * 0.25 / 64)
    image = torch.rand(2, 3, 64, 64)
    depth, valid, _ = method(image)
    share = method.left_share(image)
    assert valid.all()
    assert torch.allclose(depth, 50 * 0.25 / (64 * share), rtol=1e-5)
    large = method(torch.nn.functional.interpolate(image, scale_factor=2, mode="nearest")).depth
    assert large.shape == (2, 1, 128, 128)
    assert float((large.mean() / depth.mean()).log().abs()) < 0.05


def test_what_cannot_be_learned_from_is_said():
    with pytest.raises(InputError, match="multiples of 32"):
        Config(size=(100, 200))
    with pytest.raises(InputError, match=r"it has no stereo pair \(right\), from which"):
        Clips(mono_street(), small().wanted)


@cache
def learned(steps: int) -> tuple[float, float]:
    """Abs Rel on a street that it never saw, and that of the best constant depth there."""
    torch.manual_seed(0)
    method = Monodepth.of_preset("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        streets, unseen = streets_of(range(8), 40, 4, method), streets_of(range(100, 101), 40, 8, method)
        fit(method, streets.data, replace(TINY, steps=steps), runtime=CPU)
        images = [unit_range(torch.from_numpy(image)) for image in unseen.data.arrays["images"]]
        found = [method(image).depth[0, 0].numpy() for image in images]
    return abs_rel(found, unseen.truth), best_constant(unseen.truth)


def test_tiny_learns():
    error, constant = learned(100)
    assert error < 0.33
    assert error < 0.7 * constant


@pytest.mark.slow
def test_tiny_is_three_times_better_than_any_constant():
    error, constant = learned(TINY.steps)
    assert error < 0.16
    assert error < constant / 3
