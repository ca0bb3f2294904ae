"""What networks that learn flow from video have in common: each image must explain the next, and the sure teach the unsure.

Paper:  Jonschkowski et al. What Matters in Unsupervised Optical Flow. ECCV 2020 (UFlow), and those that it compares.
Idea:   L = photometric where seen + smoothness (+ consistency)                  -> losses.unsupervised_flow.unsupervised_flow()
        from half of the training on, flow of the whole images teaches that of a crop, which hides more
                                                                                 -> losses.self_supervision, lesson_of_crop()
        what a finished run is sure of may teach, too, weighted by how sure it is: a flow whose expected error is e px
        counts 1 / (1 + e^2); not in the paper, weight 0 unless told                             -> lesson_of_run()
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from firstsight.errors import InputError
from firstsight.flow.learned.network_flow import Flows
from firstsight.losses import unsupervised_flow as losses
from firstsight.losses.self_supervision import Crop, border_crop, self_supervision
from firstsight.roles import Images
from firstsight.training.data.batch import unit_range
from firstsight.training.data.wanted import Wanted, frames
from firstsight.training.trainable import Loss, StepContext
from firstsight.training.views import recoloured

BORDER_SHARE = 0.1  # of the image's height that the crop leaves out at each side: 64 of 640 px
BothWays = Callable[[Images, Images], tuple[Flows, Flows]]


class Pair(NamedTuple):
    """A frame and the next one."""

    images: UInt8[Tensor, "batch time 3 height width"]


class TaughtPair(NamedTuple):
    """A frame and the next one, and what a finished run found: flow, where it is sure, and the error that it expects there."""

    images: UInt8[Tensor, "batch time 3 height width"]
    taught_flow_ab: Float32[Tensor, "batch 2 height width"]
    taught_valid: Bool[Tensor, "batch 1 height width"]
    taught_flow_error: Float32[Tensor, "batch 1 height width"]


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What is learned from video, and when. Shares are of the training.

    `teach_weight` is that of the crops, `taught_weight` that of a finished run; 0 is without.
    """

    size: tuple[int, int]
    terms: losses.Config = field(default_factory=losses.Config)
    teach_weight: float = 0.3
    teach_from: float = 0.5
    teach_ramp: float = 0.1
    taught_weight: float = 0.0
    occlusion_from: float = 0.0  # before, all pixels that stay in the image count
    recoloured_share: float = 0.5

    def __post_init__(self):
        if not 0 <= self.teach_from <= 1 or not 0 <= self.teach_ramp <= 1:
            raise InputError(f"teach_from {self.teach_from:g}, teach_ramp {self.teach_ramp:g}: give shares from 0 to 1")

    @property
    def wanted(self) -> Wanted:
        return Wanted(TaughtPair if self.taught_weight > 0 else Pair, self.size, clip=frames(0, 1))

    def terms_at(self, progress: float) -> losses.Config:
        """The terms' settings at a share of the training."""
        return self.terms if progress >= self.occlusion_from else replace(self.terms, occlusion="none")

    def teaching_at(self, progress: float) -> float:
        """The weight of what crops are taught: 0 at first, then rising to its full value."""
        risen = 1.0 if self.teach_ramp == 0 else min(1.0, (progress - self.teach_from) / self.teach_ramp)
        return self.teach_weight * risen if progress >= self.teach_from else 0.0


def loss_of_video(both_ways: BothWays, batch: Pair | TaughtPair, lessons: Lessons, context: StepContext) -> Loss:
    """The loss of a network that finds the flow both ways on the images' pixels, of pairs without any truth."""
    pair = [unit_range(batch.images[:, time]) for time in (0, 1)]
    shown_a, shown_b = recoloured(pair, context.random, lessons.recoloured_share)
    flow_ab, flow_ba = both_ways(shown_a, shown_b)
    terms = losses.unsupervised_flow(*pair, flow_ab, flow_ba, lessons.terms_at(context.progress))
    parts = {"photometric": terms.photometric, "smoothness": terms.smoothness}
    total, weight = terms.total(), lessons.teaching_at(context.progress)
    if weight > 0:
        parts["taught"] = weight * lesson_of_crop(both_ways, (shown_a, shown_b), (flow_ab.detach(), flow_ba.detach()))
        total = total + parts["taught"]
    if isinstance(batch, TaughtPair):
        parts["taught by the run"] = lessons.taught_weight * lesson_of_run(flow_ab, batch)
        total = total + parts["taught by the run"]
    return Loss(total, {name: part.detach() for name, part in parts.items()} | {"seen_share": terms.seen_a.mean()})


def lesson_of_crop(both_ways: BothWays, images: tuple[Images, Images], teacher: tuple[Flows, Flows]) -> Tensor:
    """How far the flow of a crop is from that of the whole images, where the latter is sure and the former is not; both ways."""
    height, width = images[0].shape[-2:]
    crop = border_crop(height, width, round(BORDER_SHARE * height))
    student = both_ways(*crop.images(*images))
    back = Crop(crop.begin_b, crop.begin_a, crop.size, crop.resized_to)
    there = self_supervision(student, teacher, crop)
    return (there + self_supervision(student[::-1], teacher[::-1], back)) / 2


def lesson_of_run(flow_ab: Flows, batch: TaughtPair) -> Tensor:
    """The mean distance to the run's flow in px, of both components, weighted by how sure it is; 0 of what is not known."""
    sure = batch.taught_valid / (1 + batch.taught_flow_error.square())
    distance = (flow_ab - batch.taught_flow_ab).abs().sum(1, keepdim=True)
    return ((sure * distance).sum((1, 2, 3)) / sure.sum((1, 2, 3)).clamp(min=1e-6)).mean()
