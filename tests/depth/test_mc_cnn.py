"""MC-CNN: where patches are compared, the losses by hand, the cost against loops, weights of others, and that it learns."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from firstsight.depth.mc_cnn import Config, LearnedCost, McCnn, hinge, places
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


@pytest.mark.parametrize("kind", ["fast", "accurate"])
def test_the_volume_against_loops(kind: str):
    """C(y, x, d) of left x and right max(x - d, 0), for more candidates than the row has pixels."""
    torch.manual_seed(0)
    comparison = Comparison(6, 12, 1) if kind == "accurate" else None
    cost = LearnedCost(Descriptor(1, 6, unit=kind == "fast"), comparison)
    left, right = random_features(0), random_features(1)
    volume = cost.fill(left, right, np.empty((3, 20, 32), np.float32))
    assert 0 <= volume.min() < volume.max() <= 1
    for y, x, d in ((0, 0, 0), (1, 7, 3), (2, 19, 19), (1, 4, 9), (0, 18, 31), (2, 0, 1)):
        a, b = left[y, x], right[y, max(x - d, 0)]
        if comparison is None:
            expected = 0.5 - 0.5 * float(a @ b)
        else:
            both = torch.from_numpy(np.concatenate([a, b]))[None, :, None, None]
            hidden = torch.relu(comparison.layers[0](both))
            expected = 1 - torch.sigmoid(comparison.layers[2](hidden)).item()
        assert volume[y, x, d] == pytest.approx(expected, abs=1e-5)
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
    batch = collate(type(method).__orig_bases__[1].__args__[0], [data.sample(i) for i in range(4)])
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


def test_derivatives_in_double_precision():
    torch.manual_seed(0)
    descriptor = Descriptor(2, 3, unit=True).double()
    grey = torch.rand(1, 1, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(descriptor, grey)


def published(tmp_path: Path, **changes: Tensor) -> Path:
    """A small file with the names of the `mccnn` package's weights."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for layer, (inner, outer) in enumerate(((1, 6), (6, 6), (6, 6))):
        weights[f"conv_blocks.{2 * layer}.weight"] = torch.randn(outer, inner, 3, 3, generator=generator)
        weights[f"conv_blocks.{2 * layer}.bias"] = torch.randn(outer, generator=generator)
    path = tmp_path / "weights.pt"
    torch.save({"model": weights | changes}, path)
    return path


def test_published_weights_are_read_and_used(tmp_path: Path):
    """ReLU between convolutions, none behind the last: by the same layers, one after the other."""
    path = published(tmp_path)
    method, weights = McCnn.from_published(path), torch.load(path)["model"]
    assert (method.config.layers, method.config.width) == (3, 6)
    grey = torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(2))
    maps = (grey - grey.mean()) / grey.std(correction=0)
    for layer in range(3):
        maps = torch.nn.functional.conv2d(
            maps, weights[f"conv_blocks.{2 * layer}.weight"], weights[f"conv_blocks.{2 * layer}.bias"], padding=1
        )
        maps = maps.relu() if layer < 2 else maps
    torch.testing.assert_close(method.descriptor(grey), maps / maps.norm(dim=1, keepdim=True), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"conv_blocks.2.weight": torch.zeros(6, 5, 3, 3)}, r"weight layers\.2\.weight is \(6, 5, 3, 3\), expected"),
        ({"conv_blocks.0.weight": torch.zeros(6)}, r"weight conv_blocks\.0\.weight is missing"),
        ({"conv_blocks.4.bias": torch.full((6,), torch.nan)}, r"weight layers\.4\.bias is not finite"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(tmp_path: Path, change: dict, line: str):
    path = published(tmp_path, **change)
    with pytest.raises(InputError, match=f"^{path}: {line}"):
        McCnn.from_published(path)


def test_a_file_of_something_else_is_one_line(tmp_path: Path):
    path = tmp_path / "weights.pt"
    torch.save({"classifier": torch.zeros(3)}, path)
    with pytest.raises(InputError, match=r"give the weights of MC-CNN's fast network$"):
        McCnn.from_published(path)
    path.write_bytes(b"not a file of weights")
    with pytest.raises(InputError, match="not a file of weights alone"):
        McCnn.from_published(path)


def test_offsets_that_overlap_are_refused():
    with pytest.raises(InputError, match="negatives must be farther"):
        Config(positive_px=4.0)
