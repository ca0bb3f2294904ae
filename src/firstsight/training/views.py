"""Views: random crops of images with random colours, whole batches at once, on the device where the images are.

Paper:  Chen, Kornblith, Norouzi, Hinton. SimCLR. ICML 2020, appendix A (two views);
        Caron et al. SwAV. NeurIPS 2020, section 3.2 (multi-crop); Grill et al. BYOL. NeurIPS 2020, appendix B (solarise).
Idea:   every number is a row of `random`, so that an image gets the same views in any process
        crop       area share U(scale), log of width / height U(ratio); flipped half the time   -> random_boxes(), cropped()
        colours    brightness, contrast, saturation, hue in an order of the image's own                     -> coloured()
        grey, blur (sigma U), solarise (what is above the threshold is inverted)          -> to_grey(), blurred(), solarised()
Differs: distributions are torchvision's, with which the papers train, but boxes are not rounded to whole pixels, crops are
        bilinear without smoothing before (the papers: bicubic with), and a Gaussian ends at three of the largest sigma.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor
from torch.nn import functional as F

from firstsight.geometry.pixels import sample
from firstsight.training.random_numbers import StepRandom

ATTEMPTS = 10  # at a box that fits
CHUNK_PX = 2**16  # of the images that a CPU works on at a time: few enough to stay in its cache
GREY = (0.2989, 0.587, 0.114)
ORDERS = list(itertools.permutations(range(4)))

Images = Float32[Tensor, "batch 3 height width"]
Factors = Float32[Tensor, " batch"]


@dataclass(frozen=True, kw_only=True)
class View:
    """What may happen to an image. The values are SimCLR's for ImageNet, at a strength of 1."""

    size: tuple[int, int] = (224, 224)
    scale: tuple[float, float] = (0.08, 1.0)  # of the image's area
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height
    flip: float = 0.5  # probabilities: this, jitter, grey, blur, solarise
    jitter: float = 0.8
    brightness: float = 0.8  # factors are U(1 - this, 1 + this)
    contrast: float = 0.8
    saturation: float = 0.8
    hue: float = 0.2  # turns, U(-this, this)
    grey: float = 0.2
    blur: float = 0.5
    sigma_px: tuple[float, float] = (0.1, 2.0)
    solarise: float = 0.0
    threshold: float = 0.5


def views(images: Images, kinds: Sequence[View], random: StepRandom) -> list[Tensor]:
    """One view of every image for each kind."""
    return [view(images, kind, random) for kind in kinds]


@torch.no_grad()
def view(images: Images, kind: View, random: StepRandom) -> Float32[Tensor, "batch 3 rows columns"]:
    """The images by themselves, or a few at a time: what is worked on stays in a CPU's cache."""
    height, width = images.shape[-2:]
    boxes = random_boxes(random, (height, width), kind)
    flips = random.uniform() < kind.flip
    colours = random_colours(random, kind)
    step = len(images) if images.is_cuda else max(CHUNK_PX // math.prod(kind.size), 1)
    done = []
    for start in range(0, len(images), step):
        rows = slice(start, start + step)
        some = cropped(images[rows], boxes[rows], flips[rows], kind.size)
        done.append(coloured(some, Colours(*(drawn[rows] for drawn in colours)), kind))
    return torch.cat(done)


# Geometry


def random_boxes(random: StepRandom, size: tuple[int, int], kind: View) -> Float32[Tensor, "batch 4"]:
    """(left, top, width, height) in px from the image's outer edge; the first that fits, or the largest in the middle."""
    height, width = size
    area = random.uniform(ATTEMPTS, low=kind.scale[0], high=kind.scale[1]) * (height * width)
    aspect = random.uniform(ATTEMPTS, low=math.log(kind.ratio[0]), high=math.log(kind.ratio[1])).exp()
    place = random.uniform(2)
    sides = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], -1)
    fits = (sides <= sides.new_tensor([width, height])).all(-1)
    first = fits.int().argmax(1)[:, None, None].expand(-1, 1, 2)
    aspect = min(max(width / height, kind.ratio[0]), kind.ratio[1])
    largest = sides.new_tensor([min(width, height * aspect), min(height, width / aspect)])
    any_fits = fits.any(1, keepdim=True)
    chosen = torch.where(any_fits, sides.gather(1, first)[:, 0], largest)
    corner = (sides.new_tensor([width, height]) - chosen) * torch.where(any_fits, place, 0.5)
    return torch.cat([corner, chosen], 1)


def cropped(
    images: Images, boxes: Float32[Tensor, "batch 4"], flips: Bool[Tensor, " batch"], size: tuple[int, int]
) -> Float32[Tensor, "batch 3 rows columns"]:
    """The boxes at a size, flipped where `flips`."""
    left, top, width, height = boxes.unbind(1)
    rows, columns = ((torch.arange(n, device=boxes.device) + 0.5) / n for n in size)
    across = torch.where(flips[:, None], 1 - columns, columns)
    x = left[:, None] + across * width[:, None] - 0.5
    y = top[:, None] + rows * height[:, None] - 0.5
    pixels = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), 1)
    return sample(images, pixels).values


# Colours


class Colours(NamedTuple):
    """What happens to the colours of each image. `factors` are of brightness, contrast, saturation and hue."""

    factors: Float32[Tensor, "batch 4"]
    order: Int64[Tensor, " batch"]  # of ORDERS
    done: Bool[Tensor, "batch 4"]  # jitter, grey, blur, solarise
    sigma_px: Factors


def random_colours(random: StepRandom, kind: View) -> Colours:
    spread = (kind.brightness, kind.contrast, kind.saturation)
    factors = [random.uniform(low=max(0.0, 1 - by), high=1 + by) for by in spread]
    factors.append(random.uniform(low=-kind.hue, high=kind.hue))
    order = random.below(len(ORDERS))
    done = [random.uniform() < share for share in (kind.jitter, kind.grey, kind.blur, kind.solarise)]
    sigma_px = random.uniform(low=kind.sigma_px[0], high=kind.sigma_px[1])
    return Colours(torch.stack(factors, 1), order, torch.stack(done, 1), sigma_px)


def coloured(images: Images, colours: Colours, kind: View) -> Images:
    """Changes colours in the order of the papers' code: jitter, grey, blur, solarise."""
    jitters, greys, blurs, inverted = (chosen(done) for done in colours.done.T.tolist())
    orders = colours.order.tolist()
    for place in range(4):
        for number, change in enumerate((brightened, contrasted, saturated, hue_turned)):
            rows = [row for row in jitters if ORDERS[orders[row]][place] == number]
            images = replaced(images, rows, change, colours.factors[:, number])
    radius = math.ceil(3 * kind.sigma_px[1])
    images = replaced(images, greys, lambda some, _: to_grey(some).expand_as(some), colours.sigma_px)
    images = replaced(images, blurs, lambda some, sigma_px: blurred(some, sigma_px, radius), colours.sigma_px)
    return replaced(images, inverted, lambda some, _: solarised(some, kind.threshold), colours.sigma_px)


def chosen(done: list[bool]) -> list[int]:
    return [row for row, yes in enumerate(done) if yes]


def replaced(images: Images, rows: list[int], change: Callable[[Images, Factors], Images], factors: Factors) -> Images:
    """The images, some of them changed. What was given may change as well."""
    if not rows:
        return images
    if len(rows) == len(images):
        return change(images, factors)
    images[rows] = change(images[rows], factors[rows])
    return images


def to_grey(images: Images) -> Float32[Tensor, "batch 1 height width"]:
    """ITU-R BT.601."""
    red, green, blue = images.unbind(1)
    return (GREY[0] * red).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])[:, None]


def brightened(images: Images, factors: Factors) -> Images:
    return (images * per_image(factors)).clamp_(0, 1)


def contrasted(images: Images, factors: Factors) -> Images:
    """Away from the image's mean grey."""
    mean = to_grey(images).mean((2, 3), keepdim=True)
    return torch.lerp(mean, images, per_image(factors)).clamp_(0, 1)


def saturated(images: Images, factors: Factors) -> Images:
    """Away from each pixel's grey."""
    return torch.lerp(to_grey(images), images, per_image(factors)).clamp_(0, 1)


def hue_turned(images: Images, turns: Factors) -> Images:
    """Hue, in six parts from red over green and blue, moves; the largest and the least channel keep their values (HSV)."""
    red, green, blue = images.unbind(1)
    high, low = torch.maximum(torch.maximum(red, green), blue), torch.minimum(torch.minimum(red, green), blue)
    chroma = high - low
    scale = chroma.clamp(min=1e-12).reciprocal_()
    of_blue = (red - green).mul_(scale).add_(4)
    of_green = (blue - red).mul_(scale).add_(2)
    of_red = (green - blue).mul_(scale)
    hue = torch.lerp(torch.lerp(of_blue, of_green, equal(high, green)), of_red, equal(high, red))
    hue = hue.add_(6 * turns[:, None, None] + 6).remainder_(6)
    parts = ((hue - 3).abs_().sub_(1), 2 - (hue - 2).abs_(), 2 - (hue - 4).abs_())
    return torch.stack([part.clamp_(0, 1).mul_(chroma).add_(low) for part in parts], 1)


def recoloured(views: Sequence[Images], random: StepRandom, share: float) -> list[Images]:
    """All views of a sample with the same gamma, brightness and tint, for a share of the samples (section 4)."""
    gamma, brightness = random.uniform(1, 1, 1, low=0.8, high=1.2), random.uniform(1, 1, 1, low=0.5, high=2.0)
    tint = random.uniform(3, 1, 1, low=0.8, high=1.2)
    chosen = (random.uniform() < share)[:, None, None, None]
    return [torch.where(chosen, (view**gamma * brightness * tint).clamp(0, 1), view) for view in views]


def solarised(images: Images, threshold: float) -> Images:
    return torch.lerp(images, 1 - images, images.clone().ge_(threshold))


def blurred(images: Images, sigmas_px: Factors, radius: int) -> Images:
    """A Gaussian cut off at `radius`, rows and columns one after the other, mirrored at the border."""
    radius = min(radius, *(side - 1 for side in images.shape[-2:]))  # no more than can be mirrored
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernels = torch.exp(-0.5 * (offsets / sigmas_px[:, None]) ** 2)
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0)[:, None]
    flat = F.pad(images.flatten(0, 1)[None], (radius,) * 4, mode="reflect")
    across = F.conv2d(flat, kernels[:, :, None], groups=flat.shape[1])
    return F.conv2d(across, kernels[..., None], groups=flat.shape[1])[0].unflatten(0, images.shape[:2])


def equal(values: Tensor, others: Tensor) -> Tensor:
    """1.0 where they are, else 0.0: on a CPU, mixing by such weights takes a third of the time of `torch.where`."""
    return values.clone().eq_(others)


def per_image(factors: Factors) -> Float32[Tensor, "batch 1 1 1"]:
    return factors[:, None, None, None]
