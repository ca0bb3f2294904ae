"""What networks that learn flow from true flow have in common: the loss over scales.

Paper:  Dosovitskiy et al. FlowNet: Learning Optical Flow with Convolutional Networks. ICCV 2015, section 4.2.
Idea:   a network answers with flow at several scales, finest first, each in px of the images -> network_flow.NetworkFlow
        loss = sum over scales of w_s mean over known pixels of |f_s - f|, f averaged over the scale's squares   -> of_scales()
        The authors' weights .005, .01, .02, .08, .32 of sums over pixels, a quarter as many each time, are 1, 1/2, 1/4, 1/4, 1/4
        of means.
        PWC-Net's second loss is (|f_s - f| + .01)^.4 instead, which cares less for what is far off
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from firstsight.flow.learned.network_flow import Flows, NetworkFlow
from firstsight.geometry.warp import warp_by_flow
from firstsight.training.data.batch import unit_range
from firstsight.training.data.wanted import Wanted, frames
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss, StepContext
from firstsight.training.views import recoloured

SCALE_WEIGHTS = (1.0, 0.5, 0.25, 0.25, 0.25)  # finest first; further ones as the last
UNIT_PX = 20.0  # networks answer in this unit
LEAST_KNOWN = 0.5  # of a coarse pixel, for its mean to be compared


LONG = Recipe(
    steps=1_200_000,
    batch=8,
    learning_rate=1e-4,
    schedule="halving",
    halvings=(1 / 3, 1 / 2, 2 / 3, 5 / 6),
    weight_decay=4e-4,
    checkpoint_every=5000,
)
"""FlowNet's and PWC-Net's on FlyingChairs: the rate is halved every 200,000 steps after the first 400,000."""
SHORT = Recipe(steps=2000, batch=8, learning_rate=1e-3, warm_up=0.02, schedule="cosine", log_every=50)
"""Minutes on one core."""


class Batch(NamedTuple):
    """Two frames and the true flow from the first to the second."""

    images: UInt8[Tensor, "batch time 3 height width"]
    flow_ab: Float32[Tensor, "batch 2 height width"]
    valid: Bool[Tensor, "batch 1 height width"]


def on_grid(flow: Flows, valid: Bool[Tensor, "batch 1 height width"], height: int, width: int) -> tuple[Tensor, Tensor]:
    """The mean of the known flow in each square of a coarser grid, and the share of the square that is known."""
    size = (flow.shape[-2] // height, flow.shape[-1] // width)
    share = F.avg_pool2d(valid.to(flow.dtype), size)
    return F.avg_pool2d(torch.where(valid, flow, 0), size) / share.clamp(min=1e-6), share


def scale_error(found: Tensor, flow: Flows, valid: Bool[Tensor, "batch 1 height width"], robust: bool) -> Tensor:
    """The mean distance of one scale's flow to the truth in px, or of its robust measure: of each sample, then of all.

    A sample of which nothing is known counts 0.
    """
    truth, share = on_grid(flow, valid, *found.shape[-2:])
    known = (share >= LEAST_KNOWN).to(found.dtype)
    squared = (found - truth).square().sum(1, keepdim=True)
    # The root of 0 has no derivative; where nothing is known, truth may be anything.
    distance = torch.where(known * squared > 0, squared, 1).sqrt() * (known * squared > 0)
    measure = (distance + 0.01) ** 0.4 if robust else distance
    return ((known * measure).sum((1, 2, 3)) / known.sum((1, 2, 3)).clamp(min=1)).mean()


def of_scales(
    found: Sequence[Tensor], flow: Flows, valid: Bool[Tensor, "batch 1 height width"], robust: bool
) -> Tensor:
    """The weighted sum of the scales' errors."""
    weights = [SCALE_WEIGHTS[min(scale, len(SCALE_WEIGHTS) - 1)] for scale in range(len(found))]
    errors = [scale_error(one, flow, valid, robust) for one in found]
    return torch.stack([weight * error for weight, error in zip(weights, errors, strict=True)]).sum()


class LearnedFlow(NetworkFlow[Batch]):
    """Flow by a network that learns from true flow; its configuration has `size`, `robust` and `recoloured_share`."""

    @property
    def wanted(self) -> Wanted:
        return Wanted(Batch, self.config.size, clip=frames(0, 1))

    def loss(self, batch: Batch, context: StepContext) -> Loss:
        pair = [unit_range(batch.images[:, time]) for time in (0, 1)]
        image_a, image_b = recoloured(pair, context.random, self.config.recoloured_share)
        found = self.flows(image_a, image_b)
        total = of_scales(found, batch.flow_ab, batch.valid, self.config.robust)
        return Loss(total, {"epe_px": scale_error(found[0].detach(), batch.flow_ab, batch.valid, False)})

    @torch.no_grad()
    def preview(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        image_a, image_b = (unit_range(batch.images[:, time]) for time in (0, 1))
        found = self.whole(image_a, image_b)
        error = (found - batch.flow_ab).norm(dim=1, keepdim=True) * batch.valid
        return {
            "first image": image_a,
            "second image": image_b,
            "second image, taken back by the flow": warp_by_flow(image_b, found).values,
            "length of the flow (px)": found.norm(dim=1, keepdim=True),
            "length of the true flow (px)": batch.flow_ab.norm(dim=1, keepdim=True),
            "error (px, 0 where the truth is not known)": error,
        }
