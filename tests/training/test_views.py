"""Views: each change against a slow one, the distributions against torchvision's own drawing, equal in every process."""

import colorsys
import math
import random

import cv2
import numpy as np
import pytest
import torch

from firstsight.training import views as module
from firstsight.training.random_numbers import StepRandom
from firstsight.training.views import (
    View,
    blurred,
    brightened,
    contrasted,
    cropped,
    hue_turned,
    random_boxes,
    random_colours,
    saturated,
    solarised,
    to_grey,
    view,
    views,
)

PLAIN = {"jitter": 0.0, "grey": 0.0, "blur": 0.0, "flip": 0.0}


def random_images(count: int = 3, size: tuple[int, int] = (12, 16), seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def slow_bilinear(image: np.ndarray, x: float, y: float) -> np.ndarray:
    height, width = image.shape[1:]
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    left, top = min(int(x), width - 2), min(int(y), height - 2)
    a, b = x - left, y - top
    upper = (1 - a) * image[:, top, left] + a * image[:, top, left + 1]
    lower = (1 - a) * image[:, top + 1, left] + a * image[:, top + 1, left + 1]
    return (1 - b) * upper + b * lower


def test_crops_and_flips_of_any_box():
    images = random_images(2)
    boxes = torch.tensor([[2.25, 1.5, 9.5, 7.0], [0.0, 0.0, 16.0, 12.0]])
    done = cropped(images, boxes, torch.tensor([False, True]), (5, 6)).numpy()
    for image, box, flip, got in zip(images.numpy(), boxes.tolist(), (False, True), done, strict=True):
        for row in range(5):
            for column in range(6):
                across = (column + 0.5) / 6
                x = box[0] + box[2] * (1 - across if flip else across) - 0.5
                y = box[1] + box[3] * (row + 0.5) / 5 - 0.5
                assert got[:, row, column] == pytest.approx(slow_bilinear(image, x, y), abs=1e-5)


def test_a_whole_box_is_the_image_and_a_flip_its_mirror():
    images, whole = random_images(2), torch.tensor([[0.0, 0.0, 16.0, 12.0]] * 2)
    done = cropped(images, whole, torch.tensor([False, True]), (12, 16))
    assert torch.allclose(done, torch.stack([images[0], images[1].flip(-1)]), atol=1e-5)


def torchvision_box(height: int, width: int, kind: View, draw: random.Random) -> tuple[float, float, float, float]:
    """RandomResizedCrop.get_params, without its rounding to whole pixels."""
    for _ in range(10):
        area = height * width * draw.uniform(*kind.scale)
        aspect = math.exp(draw.uniform(*map(math.log, kind.ratio)))
        w, h = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if w <= width and h <= height:
            return draw.uniform(0, width - w), draw.uniform(0, height - h), w, h
    w, h = float(width), float(height)
    if width / height < kind.ratio[0]:
        h = w / kind.ratio[0]
    elif width / height > kind.ratio[1]:
        w = h * kind.ratio[1]
    return (width - w) / 2, (height - h) / 2, w, h


@pytest.mark.parametrize("size", [(60, 80), (20, 80), (64, 64)])
def test_boxes_are_distributed_as_torchvisions(size):
    kind, draw = View(scale=(0.3, 1.0)), random.Random(0)
    ours = torch.cat([random_boxes(StepRandom(0, step, 500), size, kind) for step in range(8)]).numpy()
    theirs = np.array([torchvision_box(*size, kind, draw) for _ in range(4000)])
    assert (ours[:, :2] >= -1e-3).all()
    assert (ours[:, 0] + ours[:, 2] <= size[1] + 1e-3).all()
    assert (ours[:, 1] + ours[:, 3] <= size[0] + 1e-3).all()
    for mine, other in zip(ours.T, theirs.T, strict=True):
        assert ks_distance(mine, other) < 1.95 * math.sqrt(2 / 4000)  # one in a thousand is farther


def ks_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Kolmogorov-Smirnov; values within rounding of each other are the same."""
    a, b = (np.sort(np.round(np.asarray(part, np.float64), 3)) for part in (a, b))
    both = np.concatenate([a, b])
    shares = [np.searchsorted(part, both, side="right") / len(part) for part in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())


def slow_hue(pixel: np.ndarray, turn: float) -> np.ndarray:
    hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
    return np.array(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value))


def slow_grey(pixel: np.ndarray) -> float:
    return 0.2989 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]


def per_pixel(images: torch.Tensor, factors: torch.Tensor, change) -> np.ndarray:
    done = np.empty(images.shape)
    for i, (image, factor) in enumerate(zip(images.numpy(), factors.tolist(), strict=True)):
        mean = np.mean([slow_grey(image[:, r, c]) for r in range(image.shape[1]) for c in range(image.shape[2])])
        for row in range(image.shape[1]):
            for column in range(image.shape[2]):
                done[i, :, row, column] = change(image[:, row, column], factor, mean)
    return done


CHANGES = {
    "brightness": (brightened, lambda p, f, _: np.clip(f * p, 0, 1), (0.3, 1.0, 1.7)),
    "contrast": (contrasted, lambda p, f, mean: np.clip(f * p + (1 - f) * mean, 0, 1), (0.3, 1.0, 1.7)),
    "saturation": (saturated, lambda p, f, _: np.clip(f * p + (1 - f) * slow_grey(p), 0, 1), (0.3, 1.0, 1.7)),
    "hue": (hue_turned, lambda p, f, _: slow_hue(p, f), (-0.5, -0.13, 0.21)),
    "grey": (lambda images, _: to_grey(images).expand_as(images), lambda p, f, _: np.full(3, slow_grey(p)), (0.0,) * 3),
    "solarise": (
        lambda images, _: solarised(images, 0.5),
        lambda p, f, _: np.where(p >= 0.5, 1 - p, p),
        (0.0,) * 3,
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_colours_equal_those_of_every_pixel_alone(name):
    ours, change, factors = CHANGES[name]
    images = random_images()
    images[0, :, 0, :3] = torch.tensor([[0.4, 1.0, 0.0]]).expand(3, 3)  # grey, white, black
    images[0, :, 1, 0] = torch.tensor([0.7, 0.7, 0.1])  # two largest alike
    expected = per_pixel(images.clone(), torch.tensor(factors), change)
    assert ours(images.clone(), torch.tensor(factors)).numpy() == pytest.approx(expected, abs=2e-6)


def test_blur_is_opencvs():
    images, sigmas = random_images(size=(20, 24)), torch.tensor([0.3, 1.0, 2.0])
    done = blurred(images, sigmas, 6)
    for image, sigma, got in zip(images.numpy(), sigmas.tolist(), done.numpy(), strict=True):
        expected = cv2.GaussianBlur(image.transpose(1, 2, 0), (13, 13), sigma, borderType=cv2.BORDER_REFLECT_101)
        assert got == pytest.approx(expected.transpose(2, 0, 1), abs=1e-5)


def test_what_is_drawn_is_distributed_as_it_says():
    kind = View(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1, jitter=0.8, grey=0.2, blur=0.5, solarise=0.2)
    colours = random_colours(StepRandom(0, 0, 4000), kind)
    for column, (low, high) in zip(colours.factors.T, ((0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1)), strict=True):
        assert low <= column.min() < low + 0.01 * (high - low)
        assert high >= column.max() > high - 0.01 * (high - low)
        assert column.mean().item() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
    shares = colours.done.double().mean(0).tolist()
    assert shares == pytest.approx([0.8, 0.2, 0.5, 0.2], abs=0.025)
    counts = torch.bincount(colours.order, minlength=24)
    assert counts.min() > 110
    assert counts.max() < 230


def test_each_image_has_its_order():
    """Brightness up and contrast down do not commute where values are cut off."""
    images, kind = random_images(40), View(size=(12, 16), **{**PLAIN, "jitter": 1.0})
    colours = random_colours(StepRandom(3, 0, 40), kind)
    together = module.coloured(images.clone(), colours, kind)
    changes = (brightened, contrasted, saturated, hue_turned)
    for i in range(40):
        alone = images[i : i + 1].clone()
        for number in module.ORDERS[int(colours.order[i])]:
            alone = changes[number](alone, colours.factors[i : i + 1, number])
        assert torch.allclose(together[i], alone[0], atol=1e-6)


KIND = View(size=(8, 10), solarise=0.3)


def test_any_split_into_processes_and_chunks_gives_the_same(monkeypatch):
    images = random_images(8, (16, 16))
    whole = view(images, KIND, StepRandom(5, 2, 8))
    parts = [view(images[rows], KIND, StepRandom(5, 2, 8, rows)) for rows in (slice(0, 2), slice(2, 8))]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)
    monkeypatch.setattr(module, "CHUNK_PX", 80)
    assert torch.allclose(view(images, KIND, StepRandom(5, 2, 8)), whole, atol=1e-6)


def test_the_given_images_stay_as_they_are_and_views_differ():
    images = random_images(8, (16, 16))
    before = images.clone()
    one, other, small = views(images, [KIND, KIND, View(size=(4, 4))], StepRandom(0, 0, 8))
    assert torch.equal(images, before)
    assert one.shape == other.shape == (8, 3, 8, 10)
    assert small.shape == (8, 3, 4, 4)
    assert ((one - other).abs().mean((1, 2, 3)) > 0.01).all()
    assert one.min() >= 0
    assert one.max() <= 1


def test_nothing_drawn_is_nothing_done():
    images = random_images(4)
    kind = View(size=(12, 16), scale=(1.0, 1.0), ratio=(4 / 3, 4 / 3), **PLAIN)
    assert torch.allclose(view(images, kind, StepRandom(0, 0, 4)), images, atol=1e-5)
