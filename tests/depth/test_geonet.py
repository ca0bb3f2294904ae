"""GeoNet: rigid flow in closed form, both losses at the truth, the consistency mask counted by hand, rounds, and that walls that pass by are explained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from firstsight.depth.geonet import GeoNet, ImagePair, Moves
from firstsight.depth.monodepth2 import Batch
from firstsight.geometry.warp import warp_by_flow
from firstsight.losses.photometric import photometric
from firstsight.recordings.recording import Recording
from firstsight.recordings.simulated import simulate
from firstsight.training.data.clips import Clips
from firstsight.training.data.dataset import Arrays
from firstsight.training.fit import Runtime
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import Recipe
from firstsight.training.rounds import fit_rounds
from firstsight.training.trainable import StepContext

TINY = GeoNet.PRESETS["tiny"].config
SMALL = replace(TINY, size=(64, 64), encoder_width=8, decoder_width=4)


def scales(maps: Tensor) -> list[Tensor]:
    """The map at 1, 1/2, 1/4 and 1/8 of its size, by means of squares."""
    return [maps if k == 0 else torch.nn.functional.avg_pool2d(maps, 2**k) for k in range(4)]


def test_rigid_flow_of_a_shift_aside_is_focal_length_times_way_over_depth():
    """fx t / Z = 80 x 0.5 / 8 = 5 px to the right at full size, 2.5, 1.25 and 0.625 at the coarser scales."""
    motion = torch.eye(4)[None]
    motion[0, 0, 3] = 0.5
    inner = torch.tensor([[[80.0, 0, 31.5], [0, 80, 31.5], [0, 0, 1]]])
    image = torch.rand(1, 3, 64, 64)
    moves = GeoNet(SMALL).moves(
        ImagePair(image, image, scales(torch.full((1, 1, 64, 64), 1 / 8)), motion, inner), residual=False
    )
    for flow, expected in zip(moves.rigid, (5, 2.5, 1.25, 0.625), strict=True):
        assert flow[0, 0].mean().item() == pytest.approx(expected, rel=1e-4)
        assert flow[0, 1].abs().max() < 1e-4
    assert moves.full is moves.rigid


def test_flow_that_does_not_come_back_is_not_judged():
    """There (4, 0), back (-3, 0): a gap of 1 px, within 3, 1.5, but not 0.75 and 0.375 px: L_gc is 0.2 at two of four scales."""
    method, image = GeoNet(SMALL), torch.rand(1, 3, 64, 64)
    pair = ImagePair(image, image, scales(torch.ones(1, 1, 64, 64)), torch.eye(4)[None], torch.eye(3)[None])

    def steady(x: float) -> Moves:
        flows = [torch.tensor([x, 0.0])[None, :, None, None].expand(1, 2, 64 // 2**k, 64 // 2**k) for k in range(4)]
        return Moves(flows, flows)

    terms = method.full_terms(pair, steady(4), steady(-3))
    assert terms["consistency"].item() == pytest.approx((0.2 + 0.2) / 4, rel=1e-5)
    assert terms["flow smoothness"].item() == 0
    assert method.full_terms(pair, steady(4), steady(-4))["consistency"].item() == 0
    assert method.full_terms(pair, steady(4), steady(0))["full warping"].item() == 0, "nothing is near"


def truth(street: Recording, frame: int) -> ImagePair:
    """The pair of a frame and the next as it is."""
    camera, poses = street.rig.cameras[0], street.truth.world_from_camera
    images = [
        torch.from_numpy(street.images[camera.name][frame + k].transpose(2, 0, 1)).float()[None] / 255 for k in (0, 1)
    ]
    true = street.truth.depth[frame]
    inverse_d = torch.from_numpy(np.where(true.valid, 1 / np.maximum(true.depth, 1e-3), 1e-3).astype(np.float32))[
        None, None
    ]
    motion = torch.from_numpy(np.linalg.inv(poses[frame + 1]) @ poses[frame]).float()[None]
    return ImagePair(*images, scales(inverse_d), motion, torch.from_numpy(camera.intrinsics).float()[None])


def test_the_truth_warps_better_than_what_is_off():
    """Depth and motion off to both sides; then flow that is whole against rigid flow that is off."""
    street, method = simulate("street", seed=3, frames=4, height=64, width=192), GeoNet(TINY)
    pair = truth(street, 1)

    def warping(changed: ImagePair) -> float:
        return method.rigid_terms(changed, method.moves(changed, residual=False))["rigid warping"].item()

    right = warping(pair)
    for factor in (0.7, 1.4):
        assert warping(pair._replace(inverse_depths=[factor * d for d in pair.inverse_depths])) > 1.02 * right
    for shift in (-0.4, 0.4):
        moved = pair.b_from_a.clone()
        moved[:, 2, 3] += shift
        assert warping(pair._replace(b_from_a=moved)) > 1.02 * right
    true = torch.from_numpy(street.truth.flow[1].flow.transpose(2, 0, 1).copy())[None]
    flows = [flow / 2**k for k, flow in enumerate(scales(true))]
    found = []
    for shift in (0.0, 1.0, -1.0):
        there = Moves(flows, [flow + shift / 2**k for k, flow in enumerate(flows)])
        # A way back that closes at every scale.
        back = Moves(flows, [-flow.mean((2, 3), keepdim=True).expand_as(flow) for flow in there.full])
        found.append(method.full_terms(pair, there, back)["full warping"].item())
    assert found[0] < min(found[1:])


def batch_of(street: Recording, frames: range) -> Batch:
    clips = Clips(street, GeoNet(TINY).wanted)
    rows = [clips.sample(frame - 1) for frame in frames]
    return Batch(*(torch.from_numpy(np.stack([row[name] for row in rows])) for name in Batch._fields))


def test_each_round_learns_its_part_alone():
    torch.manual_seed(0)
    method = GeoNet(SMALL)
    batch = Batch(
        torch.randint(0, 255, (1, 3, 3, 64, 64), dtype=torch.uint8),
        torch.tensor([[[64.0, 0, 31.5], [0, 64, 31.5], [0, 0, 1]]]),
    )
    seen = {}
    samples = Arrays(method.wanted, {"images": batch.images.numpy(), "intrinsics": batch.intrinsics.numpy()})
    for one in method.rounds(lambda _: samples, Recipe(steps=2, batch=1, learning_rate=1e-3)):
        method.zero_grad(set_to_none=True)
        loss = method.loss(batch, StepContext(0, 2, StepRandom(0, 0, 1)))
        loss.total.backward()
        learned = {
            name.split(".")[0] for name, p in method.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
        }
        assert {id(p) for group in method.groups() for p in group.parameters} == {
            id(p) for p in method.parameters() if p.requires_grad
        }
        seen[one.name] = (learned, set(loss.parts))
    assert seen["rigid"] == ({"net", "pose"}, {"rigid warping", "depth smoothness"})
    assert seen["residual"] == ({"residual"}, {"full warping", "flow smoothness", "consistency"})


def test_the_residual_begins_near_nothing_and_is_bounded():
    torch.manual_seed(0)
    method, image = GeoNet(SMALL), torch.rand(1, 3, 64, 64)
    answers = method.residual(image, image, torch.zeros(1, 2, 64, 64))
    assert [tuple(answer.shape[2:]) for answer in answers] == [(64, 64), (32, 32), (16, 16), (8, 8)]
    assert all(answer.abs().mean() < 0.02 * 0.25 * answer.shape[-1] for answer in answers)
    assert all(answer.abs().max() <= 0.25 * answer.shape[-1] for answer in answers)


def test_the_derivatives_of_a_batch_are_the_means_of_its_halves():
    torch.manual_seed(0)
    method = GeoNet(TINY)
    batch = batch_of(simulate("street", seed=3, frames=6, height=64, width=192), range(1, 3))

    def derivatives(rows: slice) -> list[Tensor]:
        method.zero_grad()
        part = Batch(*(field[rows] for field in batch))
        method.loss(part, StepContext(0, 10, StepRandom(0, 7, 2, rows))).total.backward()
        return [parameter.grad.clone() for parameter in method.parameters()]

    whole, first, second = (derivatives(rows) for rows in (slice(0, 2), slice(0, 1), slice(1, 2)))
    largest = max(float(one.abs().max()) for one in whole)
    for one, a, b in zip(whole, first, second, strict=True):
        torch.testing.assert_close(one, (a + b) / 2, atol=1e-4 * largest, rtol=0)


def walls(count: int) -> Batch:
    """Clips along walls of blocks 8 units away, which the camera passes to the right by 0.3 units (3 px) a frame."""
    rng, clips = np.random.default_rng(0), []
    for _ in range(count):
        wall = np.kron(rng.integers(0, 255, (16, 20, 3), np.uint8), np.ones((4, 4, 1), np.uint8)).transpose(2, 0, 1)
        clips.append([wall[:, :, 3 * k : 3 * k + 64] for k in range(3)])
    inner = np.tile(np.array([[80.0, 0, 31.5], [0, 80, 31.5], [0, 0, 1]], np.float32), (count, 1, 1))
    return Batch(torch.from_numpy(np.array(clips)), torch.from_numpy(inner))


@pytest.mark.slow
def test_what_passes_by_is_explained_in_two_rounds(tmp_path: Path):
    """Neighbours moved by depth and motion look like the image, far more than unmoved ones; then the whole flow does as well."""
    torch.manual_seed(0)
    method, batch = GeoNet(replace(SMALL, depth_smoothness=0.01, recoloured_share=0.0)), walls(12)
    data = Arrays(method.wanted, {name: getattr(batch, name).numpy() for name in Batch._fields})
    recipe = Recipe(steps=150, batch=4, learning_rate=1e-3, warm_up=1 / 15, schedule="cosine", log_every=50)
    fit_rounds(method, lambda _: data, recipe, tmp_path, runtime=Runtime(device="cpu"))
    image_a, image_b = (batch.images[:, k].float() / 255 for k in (1, 2))
    moves, near = method.eval().both_ways(image_a, image_b, batch.intrinsics)
    unmoved, rigid, full = (
        photometric(image_a, warp_by_flow(image_b, flow).values).mean().item()
        for flow in (0 * moves.rigid[0], moves.rigid[0], moves.full[0])
    )
    print(
        f"unlike: unmoved {unmoved:.4f}, by the rigid flow {rigid:.4f}, by the whole flow {full:.4f}; near {near.mean():.2f}"
    )
    assert rigid < 0.5 * unmoved
    assert full < 1.1 * rigid
    assert near.mean() > 0.8
