"""What each of monodepth's three losses is for: the disparities of one pair, found without the loss in question.

Shows:  disparity, error and left-right disagreement with all of monodepth's losses and with each of them left out
Slide:  Self-Supervised Depth
Reads:  no network: the disparities of both images are themselves what is optimised. Without appearance nothing is
        known of depth and all stays as it began. Without left-right consistency each image is explained for itself,
        also where the other camera sees nothing, and the two contradict each other. Without smoothness even surfaces
        become rough where the image has little to say; it weighs more here than in the paper, whose network is smooth.
"""

import math
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32
from matplotlib import colormaps
from matplotlib.axes import Axes
from torch import Tensor

from firstsight.depth.monodepth import Config, Shares, pyramid, sum_of, terms, weighted
from firstsight.gallery.drawing import Drawing, canvas, show_image
from firstsight.gallery.figures.depth.stereo_panels import NO_VALUE, add_disparity_bar, show_disparity, show_pair
from firstsight.gallery.figures.depth.street_pair import FRAME, JUDGED, StreetPair, bad_1, street_pair
from firstsight.geometry.images import to_tensor
from firstsight.losses.consistency import left_right
from firstsight.recordings.recording import Image
from firstsight.recordings.simulated import simulate
from firstsight.run_folder import Metric

SHARE = 0.35  # of the pair's full size
STEPS = 120
LEARNING_RATE = 0.05
GRIDS = 6  # of logits, each half as fine as the one before, which are added
FIRST_SHARE = 0.02
SMOOTHNESS = 3.0  # thirty times the paper's: there is no network here that is smooth of itself
MAX_ERROR_PX = 3.0

ALL = "all three losses"
VARIANTS = {
    ALL: {},
    "without appearance": {"appearance_weight": 0.0},
    "without smoothness": {"smoothness_weight": 0.0},
    "without left-right consistency": {"consistency_weight": 0.0},
}
Map = Float32[np.ndarray, "height width"]


class Found(NamedTuple):
    """The left image's disparity, and how far the right one's is from it (px)."""

    disparity: Map
    disagreement: Map


class Experiment(NamedTuple):
    pair: StreetPair
    right: Image
    found: dict[str, Found]


def experiment(scale: float = 1.0, steps: int = STEPS) -> Experiment:
    pair = street_pair(SHARE * scale)
    height, width = pair.left.shape
    right = simulate("street", height=height, width=width)[FRAME].image("right")
    given = to_tensor(pair.image), to_tensor(right)
    variants = {name: replace(Config(smoothness_weight=SMOOTHNESS), **left_out) for name, left_out in VARIANTS.items()}
    return Experiment(pair, right, {name: optimised(*given, config, steps) for name, config in variants.items()})


def optimised(left: Tensor, right: Tensor, config: Config, steps: int) -> Found:
    """Disparities of least loss, from equal ones."""
    height, width = left.shape[-2:]
    sizes = [(math.ceil(height / 2**k), math.ceil(width / 2**k)) for k in range(GRIDS)]
    grids = [torch.zeros(1, 2, *size, requires_grad=True) for size in sizes]
    optimiser, images = torch.optim.Adam(grids, LEARNING_RATE), list(zip(pyramid(left), pyramid(right), strict=True))
    for _ in range(steps):
        scales = zip(images, pyramid(shares(grids, config)), strict=True)
        loss = sum_of(weighted([terms(*pair, s, config.alpha) for pair, s in scales], config))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        of_left, of_right = (width * shares(grids, config)).split(1, 1)
        return Found(of_left[0, 0].numpy(), left_right(of_left, of_right)[0][0, 0].numpy())


def shares(grids: list[Tensor], config: Config) -> Shares:
    """Disparities as shares of the width: coarse grids move whole regions, fine ones their details."""
    size = grids[0].shape[-2:]
    first = math.log(FIRST_SHARE / (config.largest_share - FIRST_SHARE))
    logits = torch.stack([F.interpolate(grid, size, mode="bilinear") for grid in grids]).sum(0)
    return config.largest_share * (first + logits).sigmoid()


def numbers(measured: Experiment) -> tuple[Metric, ...]:
    pair, everywhere = measured.pair, f"{JUDGED}; {STEPS} steps from equal disparities"
    bad = [
        Metric(name=f"bad-1, {name}", value=bad_1(pair, found.disparity), unit="%", protocol=everywhere)
        for name, found in measured.found.items()
    ]
    gaps = [
        Metric(
            name=f"disagreement, {name}",
            value=float(found.disagreement.mean()),
            unit="px",
            protocol="mean |d^l(x) - d^r(x - d^l(x))| over all pixels",
        )
        for name, found in measured.found.items()
    ]
    return (*bad, *gaps)


def monodepth_losses(scale: float = 1.0) -> Drawing:
    measured = experiment(scale)
    values = numbers(measured)
    named = {metric.name: metric.value for metric in values}
    figure = canvas(1080, "Monodepth: what each loss is for")
    rows = [[f"{kind} {name}" for kind in ("disparity", "error", "gap")] for name in VARIANTS]
    panels: dict[str, Axes] = figure.subplot_mosaic(cast(Any, [["left", "truth", "right"], *rows]))
    show_pair(panels["left"], panels["truth"], measured.pair)
    show_image(panels["right"], measured.right, "right image")
    for name, found in measured.found.items():
        bad, gap = (f"{named[f'{number}, {name}']:.2g}" for number in ("bad-1", "disagreement"))
        show_disparity(panels[f"disparity {name}"], measured.pair, found.disparity, name, f"bad-1 {bad} %")
        error = np.abs(found.disparity - measured.pair.truth.disparity)
        show_error(panels[f"error {name}"], error, "error", "", measured.pair.truth.valid)
        show_error(panels[f"gap {name}"], found.disagreement, "left and right disagree", f"mean {gap} px")
    add_disparity_bar(figure, [panels[f"gap {name}"] for name in VARIANTS], measured.pair)
    return Drawing(figure, values)


def show_error(axes: Axes, error: Map, title: str, caption: str, valid: np.ndarray | None = None) -> None:
    """Black is none, bright MAX_ERROR_PX and more."""
    colours = colormaps["inferno"](error / MAX_ERROR_PX)[..., :3]
    if valid is not None:
        colours = np.where(valid[..., None], colours, NO_VALUE)
    show_image(axes, colours, title, caption or f"black 0, bright {MAX_ERROR_PX:g} px and more")
