"""What networks that learn flow from true flow have in common: the loss over scales, and flow at any size.

Paper:  Dosovitskiy et al. FlowNet: Learning Optical Flow with Convolutional Networks. ICCV 2015, section 4.2.
Idea:   a network answers with flow at several scales, finest first, each in px of the images             -> flows()
        loss = sum over scales of w_s mean over known pixels of |f_s - f|, f averaged over the scale's squares   -> of_scales()
        The authors' weights .005, .01, .02, .08, .32 of sums over pixels, a quarter as many each time, are 1, 1/2, 1/4, 1/4, 1/4
        of means.
        PWC-Net's second loss is (|f_s - f| + .01)^.4 instead, which cares less for what is far off
        valid is what the flow from b to a takes back; the way there and back tells the error, too  -> LearnedFlow.estimate()
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from firstsight.errors import InputError
from firstsight.flow.expected_error import expected_errors_px
from firstsight.geometry.pixels import resize
from firstsight.geometry.warp import forward_backward_check, warp_by_flow
from firstsight.roles import Flow, FlowEstimator, Images
from firstsight.training.data.batch import unit_range
from firstsight.training.data.wanted import Wanted, frames
from firstsight.training.trainable import Loss, StepContext, Trainable
from firstsight.training.views import recoloured

SCALE_WEIGHTS = (1.0, 0.5, 0.25, 0.25, 0.25)  # finest first; further ones as the last
UNIT_PX = 20.0  # networks answer in this unit
LEAST_KNOWN = 0.5  # of a coarse pixel, for its mean to be compared

Flows = Float[Tensor, "batch 2 height width"]


class Batch(NamedTuple):
    """Two frames and the true flow from the first to the second."""

    images: UInt8[Tensor, "batch time 3 height width"]
    flow_ab: Float32[Tensor, "batch 2 height width"]
    valid: Bool[Tensor, "batch 1 height width"]


class Settings(Protocol):
    """What every configuration has: the size (height, width) of training, the loss, and the share of recoloured samples."""

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def robust(self) -> bool: ...
    @property
    def recoloured_share(self) -> float: ...


def check_size(name: str, size: tuple[int, int], multiple: int) -> None:
    """Raises InputError for a size that the network's halvings do not fit."""
    if any(side % multiple or side < multiple for side in size):
        raise InputError(f"{name}: size {size[0]}x{size[1]}: both sides must be multiples of {multiple}")


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


class LearnedFlow(FlowEstimator, Trainable[Batch]):
    """Flow by a network; a subclass says what the network answers. `multiple` is that of the sides it takes."""

    multiple: ClassVar[int] = 64
    config: Any

    @abstractmethod
    def flows(self, image_a: Images, image_b: Images) -> list[Tensor]:
        """The flow from a to b at each scale, finest first, on grids of their own, in px of the images."""

    @property
    def wanted(self) -> Wanted:
        return Wanted(Batch, self.config.size, clip=frames(0, 1))

    def loss(self, batch: Batch, context: StepContext) -> Loss:
        pair = [unit_range(batch.images[:, time]) for time in (0, 1)]
        image_a, image_b = recoloured(pair, context.random, self.config.recoloured_share)
        found = self.flows(image_a, image_b)
        total = of_scales(found, batch.flow_ab, batch.valid, self.config.robust)
        return Loss(total, {"epe_px": scale_error(found[0].detach(), batch.flow_ab, batch.valid, False)})

    def whole(self, image_a: Images, image_b: Images) -> Flows:
        """The flow of images of any size, on their pixels."""
        height, width = image_a.shape[-2:]
        rows, columns = (-(-side // self.multiple) * self.multiple for side in (height, width))
        found = self.flows(resize(image_a, rows, columns), resize(image_b, rows, columns))[0]
        scale = found.new_tensor([width / columns, height / rows])[:, None, None]
        return F.interpolate(found, (height, width), mode="bilinear", align_corners=False) * scale

    def estimate(self, image_a: Images, image_b: Images) -> Flow:
        with torch.no_grad():
            both = self.whole(torch.cat([image_a, image_b]), torch.cat([image_b, image_a]))
            flow_ab, flow_ba = both.chunk(2)
            valid, gap = forward_backward_check(flow_ab, flow_ba)
        return Flow(flow_ab, valid, expected_errors_px(image_a, gap, valid))

    def example_inputs(self, rows: int = 2, scale: float = 1.0) -> dict[str, Tensor]:
        one, other = (super(LearnedFlow, self).example_inputs(rows, scale)["image"] for _ in "ab")
        return {"image_a": one, "image_b": other.roll((1, 2), (2, 3))}

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
