"""MC-CNN: where patches are compared, the losses by hand, the cost against loops, weights of others, and that it learns."""

import math
import sys
from dataclasses import replace
from importlib import invalidate_caches
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from firstsight.depth import mc_cnn
from firstsight.depth.mc_cnn import Batch, Config, LearnedCost, McCnn, TaughtBatch, hinge, places
from firstsight.errors import InputError
from firstsight.nets.patch_descriptors import Comparison, Descriptor, standardised
from firstsight.training.data.batch import collate
from firstsight.training.layered.pairs import LayeredPairs
from firstsight.training.random_numbers import StepRandom
from firstsight.training.trainable import StepContext

TINY = Config(size=(32, 64), layers=2, width=8, points=64, hidden=12, hidden_layers=1)


def test_images_are_standardised_each_by_itself():
    """Mean 2 and spread 1.5; an even image stays finite."""
    grey = torch.tensor([[[[0.5, 3.5]]], [[[7.0, 7.0]]]])
    assert standardised(grey).tolist() == [[[[-1, 1]]], [[[0, 0]]]]


def test_places_counted_by_hand():
    """Of a row of 40 one pixel is known, 8 px; positives are at most 1 px off, negatives 4 to 10 px on either side."""
    disparity = torch.zeros(3, 40)
    disparity[1, 25] = 8.0
    drawn = torch.tensor([
        [0.0, 0.0, 0.0, 0.0], [0.9, 0.99, 0.0, 0.9], [0.5, 0.5, 0.999, 0.1], [0.5, 0.2, 0.5, 0.6]
    ])  # fmt: skip
    found = places(disparity, drawn, TINY)
    assert (found.y.tolist(), found.x.tolist()) == ([1] * 4, [25] * 4)
    assert found.positive.tolist() == [16, 18, 17, 16], "17 and -1, 0.98, 0, -0.6, rounded"
    assert found.negative.tolist() == [13, 21, 7, 24], "17 and -4, 4, -9.994, 7, rounded"


def test_negatives_are_never_near_the_truth_and_stay_inside():
    disparity = torch.full((2, 60), 5.4)
    found = places(disparity, torch.rand(4000, 4, generator=torch.Generator().manual_seed(0)), TINY)
    off = found.negative - (found.x - 5.4)
    assert off.abs().min() >= 3.5
    assert off.abs().max() <= 10.5
    assert 0.45 < (off > 0).float().mean() < 0.55
    assert found.negative.min() >= 0
    assert found.negative.max() < 60
    assert (found.positive - (found.x - 5.4)).abs().max() <= 1.5


@pytest.mark.parametrize("disparity", [torch.zeros(4, 50), torch.full((4, 18), 3.0)])
def test_nothing_known_or_no_room_is_no_point(disparity: Tensor):
    assert len(places(disparity, torch.rand(5, 4), TINY).y) == 0


def test_hinge_by_hand():
    """0.2 + 0.5 - 0.9 is below 0; 0.2 + 0.6 - 0.7 = 0.1; 0.2 + 0.4 + 0.3 = 0.9."""
    found = hinge(torch.tensor([0.9, 0.7, -0.3]), torch.tensor([0.5, 0.6, 0.4]), 0.2)
    assert found.item() == pytest.approx(1.0 / 3)
    assert hinge(torch.zeros(0), torch.zeros(0), 0.2).item() == 0


def test_the_accurate_loss_by_hand():
    """-log sigmoid(2) - log (1 - sigmoid(-1)), and the same of 0 and 3."""
    method = McCnn(replace(TINY, kind="accurate"))
    found = method.of_points(torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 3.0]))
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log(2) + math.log1p(math.exp(3))) / 2
    assert found.item() == pytest.approx(expected)


def random_features(seed: int, height: int = 3, width: int = 20, channels: int = 6) -> np.ndarray:
    features = np.random.default_rng(seed).normal(size=(height, width, channels)).astype(np.float32)
    return features / np.linalg.norm(features, axis=2, keepdims=True)


def compared(comparison: Comparison, a: np.ndarray, b: np.ndarray) -> float:
    """The sigmoid of one hidden layer, as sums of numpy."""
    (first, bias), (last, offset) = (
        (layer.weight.detach().numpy()[:, :, 0, 0], layer.bias.detach().numpy())
        for layer in (comparison.layers[0], comparison.layers[2])
    )
    hidden = np.maximum(first @ np.concatenate([a, b]) + bias, 0)
    return 1 / (1 + math.exp(-float((last @ hidden + offset)[0])))


@pytest.mark.parametrize("block_px", [2**14, 45, 7])
@pytest.mark.parametrize("kind", ["fast", "accurate"])
def test_the_volume_against_loops(kind: str, block_px: int, monkeypatch: pytest.MonkeyPatch):
    """C(y, x, d) of left x and right max(x - d, 0), for more candidates than the row has pixels, some rows at a time."""
    monkeypatch.setattr(mc_cnn, "BLOCK_PX", block_px)
    torch.manual_seed(0)
    comparison = Comparison(6, 12, 1) if kind == "accurate" else None
    cost = LearnedCost(Descriptor(1, 6, unit=kind == "fast"), comparison)
    left, right = random_features(0), random_features(1)
    volume = cost.fill(left, right, np.full((3, 20, 32), np.nan, np.float32))
    expected = np.empty_like(volume)
    for y, x, d in np.ndindex(3, 20, 32):
        a, b = left[y, x], right[y, max(x - d, 0)]
        expected[y, x, d] = 1 - compared(comparison, a, b) if comparison else 0.5 - 0.5 * float(a @ b)
    np.testing.assert_allclose(volume, expected, atol=1e-5)
    assert 0 <= volume.min() < volume.max() <= 1
    np.testing.assert_allclose(cost.between(left, right), volume[:, :, 0], atol=1e-5)


def test_a_descriptor_sees_its_patch_alone():
    """Two layers of 3x3: a change three pixels away changes nothing but the image's mean and spread, which are kept."""
    torch.manual_seed(0)
    descriptor = Descriptor(2, 4, unit=True)
    grey = torch.rand(1, 1, 9, 12, generator=torch.Generator().manual_seed(1))
    swapped = grey.clone()
    swapped[0, 0, 1, [1, 10]] = grey[0, 0, 1, [10, 1]]
    same = (descriptor(grey) - descriptor(swapped)).abs().amax(1)[0] < 1e-6
    assert same[4:].all()
    assert same[1, 4:8].all()
    assert not same[1, 1]
    torch.testing.assert_close(descriptor(grey).norm(dim=1), torch.ones(1, 9, 12))


def loss_of(method: McCnn, disparity_shift: float, seed: int = 0) -> float:
    """The loss on drawn pairs whose disparity is said to be so much larger than it is."""
    data = LayeredPairs("sim:layers:noise=0,light=0", replace(method.wanted, size=(64, 128)))
    batch = collate(method.wanted.batch, [data.sample(i) for i in range(4)])
    wrong = batch._replace(disparity=batch.disparity + disparity_shift)
    with torch.no_grad():
        return method.loss(wrong, StepContext(0, 10, StepRandom(seed, 0, 4))).total.item()


def test_truth_beats_what_is_near_it():
    """Even with drawn weights patches of one point agree best: the loss rises where the disparity is wrong, on either side."""
    torch.manual_seed(1)
    method = McCnn(Config(size=(64, 128), layers=3, width=32, points=512, recoloured_share=0.0, margin=0.05))
    true = loss_of(method, 0)
    assert true < loss_of(method, 6)
    assert true < loss_of(method, -6)


@pytest.mark.parametrize("kind", ["fast", "accurate"])
def test_derivatives_in_double_precision(kind: Literal["fast", "accurate"]):
    """Of the loss of three points, by both images: through the descriptors and what compares them."""
    torch.manual_seed(0)
    method = McCnn(replace(TINY, kind=kind, width=3, hidden=4, margin=0.7)).double()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 1, 1, 4, 7, dtype=torch.float64, generator=generator).requires_grad_()

    def loss(images: Tensor) -> Tensor:
        left, right = (method.descriptor(image)[0] for image in images)
        here, match, other = (
            left[:, [0, 2, 3], [4, 5, 6]],
            right[:, [0, 2, 3], [2, 4, 3]],
            right[:, [0, 2, 3], [6, 0, 1]],
        )
        return method.of_points(method.agreement(here, match), method.agreement(here, other))

    assert torch.autograd.gradcheck(loss, images)


def published(folder: Path, hidden: tuple[int, ...] = (), **changes: Tensor) -> Path:
    """A small file with the names of the `mccnn` package's weights; of the accurate network where there are hidden layers."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for layer, (inner, outer) in enumerate(((1, 6), (6, 6), (6, 6))):
        weights[f"conv_blocks.{2 * layer}.weight"] = torch.randn(outer, inner, 3, 3, generator=generator)
        weights[f"conv_blocks.{2 * layer}.bias"] = torch.randn(outer, generator=generator)
    for layer, (inner, outer) in enumerate(pairwise((12, *hidden, 1)) if hidden else ()):
        weights[f"fl_blocks.{2 * layer}.weight"] = 0.1 * torch.randn(outer, inner, generator=generator)
        weights[f"fl_blocks.{2 * layer}.bias"] = torch.randn(outer, generator=generator)
    path = folder / "mc_cnn_fast_mb_weights.pt"
    torch.save({"model": weights | changes}, path)
    return path


def convolved(grey: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """The three layers, ReLUs between them and none behind the last."""
    maps = (grey - grey.mean()) / grey.std(correction=0)
    for layer in range(3):
        kernel, bias = (weights[f"conv_blocks.{2 * layer}.{part}"] for part in ("weight", "bias"))
        maps = torch.nn.functional.conv2d(maps, kernel, bias, padding=1)
        maps = maps.relu() if layer < 2 else maps
    return maps


def test_published_weights_are_read_and_used(tmp_path: Path):
    path = published(tmp_path)
    method, weights = McCnn.from_published(path), torch.load(path)["model"]
    assert (method.config.kind, method.config.layers, method.config.width) == ("fast", 3, 6)
    grey = torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(2))
    maps = convolved(grey, weights)
    torch.testing.assert_close(method.descriptor(grey), maps / maps.norm(dim=1, keepdim=True), atol=1e-5, rtol=1e-4)


def test_published_weights_of_the_accurate_network_are_not_taken_for_the_fast_one(tmp_path: Path):
    """Its fully connected layers compare pixel (2, 3) of the left image with (2, 1) of the right one, as matrices."""
    path = published(tmp_path, hidden=(5, 5))
    method, weights = McCnn.from_published(path), torch.load(path)["model"]
    assert (method.config.kind, method.config.hidden_layers, method.config.hidden) == ("accurate", 2, 5)
    greys = np.random.default_rng(3).integers(0, 256, (2, 6, 7), np.uint8)
    left, right = (method.cost.describe(grey) for grey in greys)
    volume = method.cost.fill(left, right, np.empty((6, 7, 4), np.float32))
    maps = [convolved(torch.from_numpy(grey / np.float32(255))[None, None], weights).relu()[0] for grey in greys]
    score = torch.cat([maps[0][:, 2, 3], maps[1][:, 2, 1]])
    for layer in (0, 2, 4):
        score = weights[f"fl_blocks.{layer}.weight"] @ score + weights[f"fl_blocks.{layer}.bias"]
        score = score.relu() if layer < 4 else score
    assert abs(score.item()) < 3, "where the sigmoid is not flat"
    assert volume[2, 3, 2] == pytest.approx(1 / (1 + math.exp(score.item())), abs=1e-5)


@pytest.mark.parametrize(
    ("hidden", "change", "line"),
    [
        (
            (),
            {"conv_blocks.2.weight": torch.zeros(6, 5, 3, 3)},
            r"weight conv_blocks\.2\.weight is \(6, 5, 3, 3\), expected",
        ),
        ((), {"conv_blocks.0.weight": torch.zeros(6)}, r"weight conv_blocks\.0\.weight is missing"),
        ((), {"conv_blocks.4.bias": torch.full((6,), torch.nan)}, r"weight conv_blocks\.4\.bias is not finite"),
        ((), {"norm.weight": torch.ones(6)}, r"weight norm\.weight is not one of this method"),
        ((), {"fl_blocks.0.weight": torch.ones(4, 12)}, r"weight fl_blocks\.0\.weight is \(4, 12, 1, 1\), expected"),
        ((5,), {"fl_blocks.0.weight": torch.tensor(1.0)}, r"weight fl_blocks\.0\.weight is \(\), expected"),
        ((5,), {"fl_blocks.0.weight": torch.ones(5, 11)}, r"weight fl_blocks\.0\.weight is \(5, 11, 1, 1\), expected"),
        ((5,), {"fl_blocks.2.weight": torch.ones(3)}, r"weight fl_blocks\.2\.weight is \(3,\), expected"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(tmp_path: Path, hidden: tuple[int, ...], change: dict, line: str):
    path = published(tmp_path, hidden, **change)
    with pytest.raises(InputError, match=f"^{path}: {line}"):
        McCnn.from_published(path)


def test_weights_of_an_installed_package_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The package is never imported."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(
        InputError, match="package mccnn is not installed; `pip install mccnn`, or give the file's path"
    ):
        McCnn.from_published()
    (tmp_path / "mc_cnn/weights").mkdir(parents=True)
    (tmp_path / "mc_cnn/__init__.py").write_text("raise AssertionError")
    invalidate_caches()
    with pytest.raises(InputError, match=r"mc_cnn_fast_mb_weights\.pt: missing"):
        McCnn.from_published()
    published(tmp_path / "mc_cnn/weights")
    assert McCnn.from_published().config.width == 6


def test_a_file_of_something_else_is_one_line(tmp_path: Path):
    path = tmp_path / "weights.pt"
    for other in ({"classifier": torch.zeros(3)}, {"model": torch.zeros(3)}, [torch.zeros(3)]):
        torch.save(other, path)
        with pytest.raises(InputError, match=r"give the weights of an MC-CNN$"):
            McCnn.from_published(path)
    path.write_bytes(b"not a file of weights")
    with pytest.raises(InputError, match="not a file of weights alone"):
        McCnn.from_published(path)


def test_offsets_that_overlap_are_refused():
    with pytest.raises(InputError, match="negatives must be farther"):
        Config(positive_px=4.0)


def test_export_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    with pytest.raises(InputError, match=r"^mc-cnn: cannot be exported"):
        McCnn(TINY)(torch.rand(1, 3, 32, 64), torch.rand(1, 3, 32, 64))


def test_a_run_can_stand_in_for_the_truth():
    torch.manual_seed(0)
    by_truth, by_run = McCnn(TINY), McCnn(replace(TINY, taught=True))
    by_run.load_state_dict(by_truth.state_dict())
    assert by_run.wanted.fields == ("images", "right", "taught_disparity")
    images = torch.randint(0, 255, (2, 2, 1, 3, 64, 96), dtype=torch.uint8)
    disparity = torch.full((2, 1, 1, 64, 96), 5.0)
    losses = [
        method.loss(kind(images[0], images[1], disparity), StepContext(0, 10, StepRandom(0, 0, 2))).total.item()
        for method, kind in ((by_truth, Batch), (by_run, TaughtBatch))
    ]
    assert losses[0] == losses[1] > 0
