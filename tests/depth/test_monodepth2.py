"""Monodepth2: each of its terms against loops, the truth against what is near it, and training on one moving camera."""

from dataclasses import replace

import jaxtyping
import numpy as np
import pytest
import torch

from firstsight.depth.monodepth2 import (
    Batch,
    Config,
    Monodepth2,
    PoseNet,
    automask,
    inverse_depth,
    min_reprojection,
    mirrored_clips,
    seen_from,
)
from firstsight.errors import InputError
from firstsight.geometry.pixels import resize
from firstsight.geometry.se3 import inverse, se3_exp
from firstsight.losses.photometric import photometric
from firstsight.training.data.batch import collate, unit_range
from firstsight.training.data.dataset import Arrays
from firstsight.training.data.images import Images
from firstsight.training.data.wanted import Wanted, frames
from firstsight.training.fit import Runtime, fit
from firstsight.training.random_numbers import StepRandom
from firstsight.training.trainable import StepContext

CPU = Runtime(device="cpu")
TINY = Monodepth2.PRESETS["tiny"].recipe
SMALL = Config(size=(64, 64), encoder_width=8, decoder_width=4, norm="none")
FOCAL_PX, WALL, STEP = 48.0, 4.0, 0.25


def wall() -> Arrays:
    """A camera that moves sideways along a textured wall: 3 px from frame to frame."""
    clips = []
    for index in range(8):
        texture = np.random.default_rng(index).random((3, 18, 24)).repeat(4, 1).repeat(4, 2)
        for axis in (1, 2):
            texture = (np.roll(texture, 1, axis) + texture + np.roll(texture, -1, axis)) / 3
        clips.append([texture[:, 2:66, 10 + 3 * k : 74 + 3 * k] for k in range(3)])
    intrinsics = np.array([[FOCAL_PX, 0, 31.5], [0, FOCAL_PX, 31.5], [0, 0, 1]], np.float32)
    arrays = {"images": (255 * np.array(clips)).astype(np.uint8), "intrinsics": np.tile(intrinsics, (8, 1, 1))}
    return Arrays(Wanted(Batch, (64, 64), frames(-1, 0, 1)), arrays)


def clips_of(count: int) -> Batch:
    data = wall()
    return collate(Batch, [data.sample(i) for i in range(count)])


def views_of(batch: Batch) -> list[torch.Tensor]:
    return [unit_range(batch.images[:, k]) for k in range(3)]


def context(rows: int) -> StepContext:
    return StepContext(0, 10, StepRandom(0, 0, rows))


def small(seed: int = 0, **changes) -> Monodepth2:
    torch.manual_seed(seed)
    return Monodepth2(replace(SMALL, **changes))


def true_motions(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(before_from_target, after_from_target): the camera moves to the right."""
    tangent = torch.tensor([-STEP, 0, 0, 0, 0, 0]).expand(rows, 6)
    return se3_exp(-tangent), se3_exp(tangent)


def test_equation_2_pixel_by_pixel():
    draw = torch.Generator().manual_seed(0)
    source = torch.rand(1, 3, 6, 8, generator=draw, dtype=torch.float64)
    depth = 2 + torch.rand(1, 1, 6, 8, generator=draw, dtype=torch.float64)
    motion = se3_exp(0.05 * torch.randn(1, 6, generator=draw, dtype=torch.float64))
    k = torch.tensor([[7.0, 0, 3.5], [0, 6.0, 2.5], [0, 0, 1]], dtype=torch.float64)
    measured = seen_from(source, depth, motion, k[None])
    for y in range(6):
        for x in range(8):
            ray = torch.linalg.inv(k) @ torch.tensor([x, y, 1.0], dtype=torch.float64)
            point = k @ (motion[0, :3, :3] @ (depth[0, 0, y, x] * ray) + motion[0, :3, 3])
            u, v = (float(c.clamp(0, top)) for c, top in zip(point[:2] / point[2], (7, 5), strict=True))
            left, top = min(int(u), 6), min(int(v), 4)
            a, b = u - left, v - top
            four = source[0, :, top : top + 2, left : left + 2]
            rows = four[:, 0] * (1 - b) + four[:, 1] * b
            assert torch.allclose(measured[0, :, y, x], rows[:, 0] * (1 - a) + rows[:, 1] * a, atol=1e-9)


def test_equations_4_and_5():
    draw = torch.Generator().manual_seed(0)
    first, second, unmoved = (torch.rand(2, 1, 4, 5, generator=draw) for _ in range(3))
    smallest, mean, mask = (
        min_reprojection([first, second]),
        min_reprojection([first, second], minimum=False),
        automask(first, unmoved),
    )
    for n, _, y, x in torch.cartesian_prod(*map(torch.arange, first.shape)).tolist():
        a, b = float(first[n, 0, y, x]), float(second[n, 0, y, x])
        assert float(smallest[n, 0, y, x]) == min(a, b)
        assert float(mean[n, 0, y, x]) == pytest.approx((a + b) / 2)
        assert bool(mask[n, 0, y, x]) == (a < float(unmoved[n, 0, y, x]))


def test_smoothness_is_that_of_each_scales_own_size():
    """Equation 3 by a loop on the 32 x 32 map and the image of that size."""
    batch, method = clips_of(1), small()
    views = views_of(batch)
    draw = torch.Generator().manual_seed(0)
    maps = [0.2 + torch.rand(1, 1, side, side, generator=draw) for side in (64, 32)]
    found = method.terms(views, batch.intrinsics, maps, true_motions(1))
    image, values = resize(views[1], 32, 32)[0], maps[1][0, 0] / maps[1].mean()
    across, down = [], []
    for a in range(32):
        for b in range(31):
            for steps, here, there in ((across, (a, b), (a, b + 1)), (down, (b, a), (b + 1, a))):
                change = float((image[:, *there] - image[:, *here]).abs().mean())
                steps.append(abs(float(values[there] - values[here])) * np.exp(-change))
    assert float(found[1].smoothness) == pytest.approx(np.mean(across) + np.mean(down), rel=1e-5)
    # of maps of independent numbers: brought to full size first, that of scale 1 would be a quarter as rough
    assert 0.9 < float(found[1].smoothness / found[0].smoothness) < 1.1


def test_answers_span_near_and_far():
    output = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    assert (1 / inverse_depth(output, 0.1, 100.0)).flatten().tolist() == pytest.approx([100, 1 / 5.005, 0.1])


def test_truth_beats_perturbation():
    """Depth of the wall and the camera's motion explain both neighbours; other depths and a mirrored_intrinsics motion do not."""
    batch = clips_of(4)
    views, method = views_of(batch), small()

    def appearance(depth: float, motions: tuple[torch.Tensor, torch.Tensor]) -> float:
        maps = [torch.full((4, 1, 64, 64), 1 / depth)]
        return float(method.terms(views, batch.intrinsics, maps, motions)[0].appearance)

    truth = appearance(WALL, true_motions(4))
    assert truth < 0.01
    assert appearance(0.8 * WALL, true_motions(4)) > 3 * truth
    assert appearance(1.3 * WALL, true_motions(4)) > 3 * truth
    assert appearance(WALL, true_motions(4)[::-1]) > 3 * truth


def test_what_stands_still_says_nothing():
    """With the camera at rest no depth has a gradient; without the mask it has."""
    view = views_of(clips_of(1))[0]
    intrinsics = clips_of(1).intrinsics
    for masked in (True, False):
        inverse_d = torch.full((1, 1, 64, 64), 0.25, requires_grad=True)
        of_scale = small(masked=masked).terms([view] * 3, intrinsics, [inverse_d], true_motions(1))[0]
        of_scale.appearance.backward()
        assert inverse_d.grad is not None
        assert (inverse_d.grad.abs().max() == 0) == masked


def test_the_minimum_forgives_what_one_neighbour_hides():
    batch = clips_of(1)
    before, target, after = views_of(batch)
    before = before.clone()
    before[..., 20:40, 20:40] = 0  # something passes
    depth = torch.full((1, 1, 64, 64), WALL)
    seen = [
        seen_from(source, depth, motion, batch.intrinsics)
        for source, motion in zip((before, after), true_motions(1), strict=True)
    ]
    errors = [photometric(target, again) for again in seen]
    assert min_reprojection(errors).mean() < 0.2 * min_reprojection(errors, minimum=False).mean()


def test_a_mirror_keeps_the_geometry():
    """With the mirrored motion the wall explains mirrored images, whose principal point has moved as well."""
    batch = clips_of(8)
    intrinsics = batch.intrinsics.clone()
    intrinsics[:, 0, 2] = 20.0
    views, mirrored_intrinsics = mirrored_clips(views_of(batch), intrinsics, StepRandom(0, 0, 8))
    changed = mirrored_intrinsics[:, 0, 2] != 20
    assert 0 < changed.sum() < 8
    assert (mirrored_intrinsics[changed, 0, 2] == 63 - 20).all()
    to_the_left = torch.where(changed[:, None, None], true_motions(8)[0], true_motions(8)[1])
    again = seen_from(views[2], torch.full((8, 1, 64, 64), WALL), to_the_left, mirrored_intrinsics)
    assert photometric(views[1], again)[..., 4:-4].mean() < 0.01


def test_motion_back_is_the_inverse_of_motion_there():
    method = small()
    a, b = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    before_from_target, after_from_target = method.motions(a, b, b)
    assert torch.allclose(before_from_target, inverse(method.pose(a, b)))
    assert after_from_target.shape == (2, 4, 4)
    assert isinstance(method.pose, PoseNet)


def test_gradient():
    """By depth and motion, from float64 images."""
    draw = torch.Generator().manual_seed(0)
    source, target = (torch.rand(1, 3, 6, 7, generator=draw, dtype=torch.float64) for _ in range(2))
    k = torch.tensor([[6.0, 0, 3], [0, 6, 2.5], [0, 0, 1]], dtype=torch.float64)[None]
    depth = 2 + torch.rand(1, 1, 6, 7, generator=draw, dtype=torch.float64)
    tangent = 0.05 * torch.randn(1, 6, generator=draw, dtype=torch.float64)

    def error(depth, tangent):
        return photometric(target, seen_from(source, depth, se3_exp(tangent), k)).mean()

    assert torch.autograd.gradcheck(error, (depth.requires_grad_(), tangent.requires_grad_()), fast_mode=True)


def test_tiny_learns():
    """Along a wall: the neighbours explain the image better than unmoved ones do, and the wall is nearly flat."""
    method = small(recoloured_share=0.0)
    batch = clips_of(8)
    views = views_of(batch)
    unmoved = float(min_reprojection([photometric(views[1], views[k]) for k in (0, 2)]).mean())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        fit(method, wall(), replace(TINY, steps=60), runtime=CPU)
    with torch.no_grad():
        inverse_d, motions = method.inverse_depths(views[1])[0], method.motions(*views)
        seen = [
            seen_from(views[k], 1 / inverse_d, motion, batch.intrinsics)
            for k, motion in zip((0, 2), motions, strict=True)
        ]
        moved = float(min_reprojection([photometric(views[1], again) for again in seen]).mean())
    assert moved < 0.5 * unmoved
    depth, valid, _ = method(views[1])
    assert valid.all()
    assert depth.shape == (8, 1, 64, 64)
    assert method.scale == "unknown"


def test_what_cannot_be_learned_from_is_said():
    with pytest.raises(InputError, match="near < far"):
        Config(near=5.0, far=2.0)
    with pytest.raises(InputError, match="single images have no intrinsics, from which"):
        Images("folder", ["a.png"], lambda _: b"", small().wanted)
