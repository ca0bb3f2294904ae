"""Depth that a run teaches: the loss against the paper's formula, mirrors, what fills the sweep's gaps, and that it learns."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from firstsight.depth import taught_depth
from firstsight.depth.filled_sweep import FilledSweep, filled
from firstsight.depth.taught_depth import Answer, Batch, Config, TaughtDepth, mirrored, of_teacher
from firstsight.errors import InputError
from firstsight.recordings.recording import Recording
from firstsight.recordings.simulated import simulate
from firstsight.roles import Depth
from firstsight.training.data.dataset import Arrays
from firstsight.training.fit import Runtime, fit
from firstsight.training.random_numbers import StepRandom
from firstsight.training.trainable import StepContext

SMALL = Config(size=(64, 64), encoder_width=8, decoder_width=4, norm="none")


def test_the_teachers_term_is_that_of_a_laplace_distribution():
    """|log 3 - log 2| / 0.5 + log 0.5 and |log 1 - log 4| / 0.1 + log 0.1; what the run does not know says nothing."""
    answer = Answer(
        torch.tensor([3.0, 1.0, 7.0]).log()[None, None, None], torch.tensor([0.5, 0.1, 0.2])[None, None, None]
    )
    depth = torch.tensor([2.0, 4.0, 0.0])[None, None, None]
    expected = (math.log(1.5) / 0.5 + math.log(0.5) + math.log(4) / 0.1 + math.log(0.1)) / 2
    assert of_teacher(answer, depth).item() == pytest.approx(expected, rel=1e-6)
    assert of_teacher(answer, 0 * depth).item() == 0


def street_batch(street: Recording, frame: int, share: float = 1.0) -> Batch:
    """The truth as a perfect teacher, of a share of the pixels."""
    around = (frame - 1, frame, frame + 1)
    camera = street.rig.cameras[0]
    images = np.stack([street.images[camera.name][k].transpose(2, 0, 1) for k in around])
    depth = np.stack([np.where(street.truth.depth[k].valid, street.truth.depth[k].depth, 0) for k in around])
    known = np.random.default_rng(frame).random(depth.shape) < share
    return Batch(
        torch.from_numpy(images)[None],
        torch.from_numpy(camera.intrinsics).float()[None],
        torch.from_numpy((depth * known).astype(np.float32))[None, :, None],
        torch.from_numpy(street.truth.world_from_camera[list(around)])[None],
    )


@pytest.fixture(scope="module")
def street() -> Recording:
    return simulate("street", seed=3, frames=6, height=64, width=192)


def test_truth_explains_the_neighbours_better_than_what_is_off(street: Recording):
    """Both signs, of depth and of the motions' parts; the mirrored clip says exactly the same."""
    method = TaughtDepth(replace(SMALL, size=(64, 192)))
    sample = taught_depth.sample_of(street_batch(street, 2))
    depth = sample.depth.clamp(max=150)
    depth = torch.where(depth > 0, depth, 150)
    right = method.of_neighbours(sample, depth).item()
    for factor in (0.8, 1.25):
        assert method.of_neighbours(sample, factor * depth).item() > 1.02 * right
    for shift in (-0.3, 0.3):
        moved = sample.after_from_target.clone()
        moved[:, 2, 3] += shift
        assert method.of_neighbours(sample._replace(after_from_target=moved), depth).item() > right
    swapped = sample._replace(before_from_target=sample.after_from_target, after_from_target=sample.before_from_target)
    assert method.of_neighbours(swapped, depth).item() > 1.1 * right
    seen = mirrored(sample, torch.tensor([True]))
    assert method.of_neighbours(seen, depth.flip(-1)).item() == pytest.approx(right, rel=2e-3)
    assert seen.intrinsics[0, 0, 2].item() == pytest.approx(191 - sample.intrinsics[0, 0, 2].item())
    assert all(
        a is b or torch.equal(a, b) for a, b in zip(mirrored(sample, torch.tensor([False])), sample, strict=True)
    )


def test_the_poses_are_those_of_the_neighbours_seen_from_the_target():
    """The camera is at x = 1, 3, 4 and turned by nothing: what lies at 0 of the target lies at 2 of the one before."""
    poses = torch.eye(4, dtype=torch.float64).repeat(1, 3, 1, 1)
    poses[0, :, 0, 3] = torch.tensor([1.0, 3.0, 4.0])
    batch = Batch(
        torch.zeros(1, 3, 3, 64, 64, dtype=torch.uint8), torch.eye(3)[None], torch.ones(1, 3, 1, 64, 64), poses
    )
    sample = taught_depth.sample_of(batch)
    assert sample.before_from_target[0, 0, 3].item() == 2
    assert sample.after_from_target[0, 0, 3].item() == -1


def test_gaps_are_filled_in_the_sweeps_unit():
    """The guess is half of the sweep's depth at the left and a fifth at the right, where the image has an edge between."""
    image = torch.zeros(1, 3, 40, 60)
    image[..., 30:] = 1
    guess = torch.full((1, 1, 40, 60), 2.0)
    guess[..., 10:14, :] = 3
    ratio = torch.full((1, 1, 40, 60), 2.0)
    ratio[..., 30:] = 5
    known = torch.zeros(1, 1, 40, 60, dtype=torch.bool)
    known[..., ::4, ::4] = True
    found = filled(Depth(torch.where(known, guess * ratio, 0), known), guess, 0.1 * guess, image)
    assert found.error_m is not None
    assert found.error_m[0, 0, 22, 51].item() == pytest.approx(1, rel=0.03), "a tenth of 10, in the sweep's unit"
    assert not found.error_m[known].any()
    assert found.valid.all()
    torch.testing.assert_close(found.depth[known], (guess * ratio)[known])
    assert found.depth[0, 0, 11, 13].item() == pytest.approx(6, rel=0.03)
    assert found.depth[0, 0, 22, 51].item() == pytest.approx(10, rel=0.03)


def test_what_the_sweep_hardly_knows_is_not_filled():
    known = torch.zeros(1, 1, 40, 60, dtype=torch.bool)
    known[0, 0, 0, :20] = True
    sweep = Depth(known.float(), known)
    assert filled(sweep, torch.ones(1, 1, 40, 60), torch.ones(1, 1, 40, 60), torch.zeros(1, 3, 40, 60)) is sweep


def test_the_derivatives_of_a_batch_are_the_means_of_its_halves(street: Recording):
    torch.manual_seed(0)
    method = TaughtDepth(replace(SMALL, size=(64, 192)))
    one, two = street_batch(street, 1, 0.5), street_batch(street, 4, 0.2)
    both = Batch(*(torch.cat(parts) for parts in zip(one, two, strict=True)))

    def derivatives(batch: Batch, rows: slice) -> list[Tensor]:
        method.zero_grad()
        method.loss(batch, StepContext(0, 10, StepRandom(0, 7, 2, rows))).total.backward()
        return [parameter.grad.clone() for parameter in method.parameters()]

    whole = derivatives(both, slice(0, 2))
    halves = zip(derivatives(one, slice(0, 1)), derivatives(two, slice(1, 2)), strict=True)
    largest = max(float(part.abs().max()) for part in whole)
    for part, (a, b) in zip(whole, halves, strict=True):
        torch.testing.assert_close(part, (a + b) / 2, atol=1e-4 * largest, rtol=0)


def test_the_loss_is_the_sum_of_its_parts_and_weights_scale_them(street: Recording):
    torch.manual_seed(0)
    batch, context = street_batch(street, 2), StepContext(0, 10, StepRandom(0, 0, 1))
    method = TaughtDepth(replace(SMALL, size=(64, 192)))
    loss = method.loss(batch, context)
    assert loss.total.item() == pytest.approx(sum(part.item() for part in loss.parts.values()))
    method.config = replace(method.config, photometric_weight=3.0, smoothness_weight=0.05)
    heavier = method.loss(batch, context).parts
    assert heavier["photometric"].item() == pytest.approx(3 * loss.parts["photometric"].item(), rel=1e-5)
    assert heavier["smoothness"].item() == pytest.approx(5 * loss.parts["smoothness"].item(), rel=1e-5)
    method.config = replace(method.config, photometric_weight=0.0)
    assert "photometric" not in method.loss(batch, context).parts


def test_the_expected_error_is_calibrated_on_what_did_not_teach(monkeypatch: pytest.MonkeyPatch):
    """It answers 4 m, spread 0.1; log 4/5 and log 4/3 are 2.23 and 2.88 spreads off, mean 2.554; sqrt 2 of that is 14.45 % a spread."""
    method = TaughtDepth(SMALL)
    answer = Answer(torch.full((1, 1, 64, 64), math.log(4)), torch.full((1, 1, 64, 64), 0.1))
    monkeypatch.setattr(method, "answers", lambda _: [answer])
    depth = torch.zeros(1, 1, 64, 64)
    depth[..., :10, :], depth[..., 10:20, :] = 5, 3
    image = torch.zeros(1, 3, 64, 64)
    expected = (math.log(5 / 4) + math.log(4 / 3)) / 0.2
    assert method.calibrate([(image, depth)]) == pytest.approx(expected, rel=1e-5)
    found = method(image)
    assert found.error_m is not None
    assert found.error_m.mean().item() == pytest.approx(expected * math.sqrt(2) * 0.1 * 4, rel=1e-4)
    assert method.calibrate([]) == 1


def test_near_and_far_that_cannot_be_are_one_line():
    with pytest.raises(InputError, match=r"^near = 3, far = 2: choose 0 < near < far$"):
        Config(near=3.0, far=2.0)


def errors(method: TaughtDepth, street: Recording) -> tuple[float, float, float]:
    """Abs Rel of all pixels, that of the best constant, and the mean log likelihood's gain by knowing which are worse."""
    found, constant, gains = [], [], []
    depths = [street.truth.depth[k] for k in range(len(street))]
    all_depths = np.concatenate([d.depth[d.valid] for d in depths])
    best = min(np.quantile(all_depths, np.linspace(0.05, 0.9, 40)), key=lambda c: np.mean(np.abs(c / all_depths - 1)))
    for k, true in enumerate(depths):
        image = torch.from_numpy(street.images[street.rig.cameras[0].name][k].transpose(2, 0, 1)).float()[None] / 255
        depth = true.depth[true.valid]
        estimate = method.eval()(image).depth[0, 0].numpy()[true.valid]
        found.append(np.mean(np.abs(estimate / depth - 1)))
        constant.append(np.mean(np.abs(best / depth - 1)))
        with torch.no_grad():
            spread = method.answers(image)[0].spread[0, 0].numpy()[true.valid]
        off = np.abs(np.log(estimate / depth))
        gains.append(np.log(off.mean()) + 1 - np.mean(off / spread + np.log(spread)))
    return float(np.mean(found)), float(np.mean(constant)), float(np.mean(gains))


@pytest.mark.slow
def test_tiny_learns(tmp_path):
    """From the truth of a third of the pixels of two streets; judged on a street that it has not seen."""
    torch.manual_seed(0)
    config, recipe = TaughtDepth.PRESETS["tiny"]
    method, rows = TaughtDepth(config), []
    for seed in (1, 2):
        world = simulate("street", seed=seed, frames=24, height=64, width=192)
        rows += [street_batch(world, k, 0.3) for k in range(1, 23)]
    data = {name: torch.cat([getattr(row, name) for row in rows]).numpy() for name in Batch._fields}
    fit(method, Arrays(method.wanted, data), replace(recipe, steps=300), tmp_path, runtime=Runtime(device="cpu"))
    found, constant, gain = errors(method, simulate("street", seed=7, frames=8, height=64, width=192))
    print(f"Abs Rel {found:.3f}, best constant {constant:.3f}; log likelihood {gain:+.2f} by its own spread")
    assert found < 0.2
    assert found < 0.6 * constant


def test_filled_sweep_is_a_sweep_with_no_gaps(street: Recording):
    torch.manual_seed(0)
    method = FilledSweep(replace(SMALL, size=(64, 192)))
    images = [torch.from_numpy(street.images["left"][k].transpose(2, 0, 1)).float()[None] / 255 for k in (1, 2, 3)]
    poses = torch.from_numpy(street.truth.world_from_camera)
    motions = torch.linalg.inv(poses[[1, 3]]) @ poses[2]
    inner = torch.from_numpy(street.rig.cameras[0].intrinsics)
    with torch.no_grad():
        swept = method.sweep(images[1], torch.cat([images[0], images[2]]), motions, inner)
        found = method(images[1], torch.cat([images[0], images[2]]), motions, inner)
    assert 0.1 < swept.valid.float().mean() < 0.95
    assert found.valid.all()
    assert (found.depth > 0).all()
    assert torch.equal(found.depth[swept.valid], swept.depth[swept.valid])
