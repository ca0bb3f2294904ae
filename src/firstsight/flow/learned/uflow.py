"""Unsupervised flow: a network learns from video alone, since each image must explain the next one.

Paper:  Jonschkowski et al. What Matters in Unsupervised Optical Flow. ECCV 2020 (UFlow); after Yu, Harley, Derpanis 2016, Ren et al.
        2017, Wang et al. 2018 (occlusion by range map), Meister et al. 2018 (UnFlow: census, forward-backward), Liu et al. 2019.
Idea:   PWC-Net's flow both ways                                                              -> flow.learned.pwc_net
        L = photometric where seen + smoothness (+ consistency)                  -> losses.unsupervised_flow.unsupervised_flow()
        from half of the training on, flow of the whole images teaches that of a crop, which hides more
                                                                                 -> losses.self_supervision, taught()
        Each part can be exchanged or left out: `terms` says which, `teach_weight` 0 is without a teacher.
Differs: the network is PWC-Net as it is, without UFlow's level dropout and shared decoder. The loss is taken on
        the finest flow alone. Occluded pixels are told from the first step on, see `occlusion_from`.
Role:   FlowEstimator.  Units: px.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from firstsight.errors import InputError
from firstsight.flow.learned import pwc_net
from firstsight.flow.learned.network_flow import Flows, NetworkFlow, check_size
from firstsight.geometry.warp import warp_by_flow
from firstsight.losses import unsupervised_flow as losses
from firstsight.losses.self_supervision import Crop, border_crop, self_supervision
from firstsight.roles import Images
from firstsight.training.data.batch import unit_range
from firstsight.training.data.wanted import Wanted, frames
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss, Preset, StepContext
from firstsight.training.views import recoloured

BORDER_SHARE = 0.1  # of the image's height that the crop leaves out at each side: 64 of 640 px


class Pair(NamedTuple):
    """A frame and the next one."""

    images: UInt8[Tensor, "batch time 3 height width"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """`size` (height, width): multiples of 64. Shares are of the training."""

    size: tuple[int, int] = (384, 512)
    pwc: pwc_net.Config = field(default_factory=pwc_net.Config)
    terms: losses.Config = field(default_factory=losses.Config)
    teach_weight: float = 0.3
    teach_from: float = 0.5
    teach_ramp: float = 0.1
    occlusion_from: float = 0.0  # before, all pixels that stay in the image count
    recoloured_share: float = 0.5

    def __post_init__(self):
        check_size("uflow", self.size, 64)
        if not 0 <= self.teach_from <= 1 or not 0 <= self.teach_ramp <= 1:
            raise InputError(
                f"uflow: teach_from {self.teach_from:g}, teach_ramp {self.teach_ramp:g}: give shares from 0 to 1"
            )


@final
class UFlow(NetworkFlow[Pair]):
    """Learns from pairs of frames without any truth."""

    PRESETS: ClassVar = {
        "paper": Preset(
            Config(),
            Recipe(
                steps=1_000_000, batch=1, learning_rate=1e-4, schedule="cosine", final_rate=0.01, checkpoint_every=5000
            ),
        ),
        "tiny": Preset(
            Config(
                size=(64, 192),
                pwc=pwc_net.PwcNet.PRESETS["tiny"].config,
                terms=losses.Config(smoothness_weight=1.0, smoothness_scale=2),
            ),
            Recipe(steps=1500, batch=4, learning_rate=1e-3, warm_up=0.02, schedule="cosine", log_every=50),
        ),
    }

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = config or Config()
        self.net = pwc_net.PwcNet(self.config.pwc)

    @property
    def wanted(self) -> Wanted:
        return Wanted(Pair, self.config.size, clip=frames(0, 1))

    def flows(self, image_a: Images, image_b: Images) -> list[Tensor]:
        return self.net.flows(image_a, image_b)

    def both_ways(self, image_a: Images, image_b: Images) -> tuple[Flows, Flows]:
        """The flow from a to b and back, on the images' pixels."""
        found = self.flows(torch.cat([image_a, image_b]), torch.cat([image_b, image_a]))[0]
        whole = F.interpolate(found, image_a.shape[-2:], mode="bilinear", align_corners=False)
        flow_ab, flow_ba = whole.chunk(2)
        return flow_ab, flow_ba

    def loss(self, batch: Pair, context: StepContext) -> Loss:
        c, pair = self.config, [unit_range(batch.images[:, time]) for time in (0, 1)]
        shown_a, shown_b = recoloured(pair, context.random, c.recoloured_share)
        flow_ab, flow_ba = self.both_ways(shown_a, shown_b)
        terms = losses.unsupervised_flow(*pair, flow_ab, flow_ba, self.terms_at(context.progress))
        parts = {"photometric": terms.photometric.detach(), "smoothness": terms.smoothness.detach()}
        total, weight = terms.total(), self.teaching_at(context.progress)
        if weight > 0:
            lesson = taught(self.both_ways, (shown_a, shown_b), (flow_ab.detach(), flow_ba.detach()))
            total = total + weight * lesson
            parts["taught"] = weight * lesson.detach()
        return Loss(total, parts | {"seen_share": terms.seen_a.mean()})

    def terms_at(self, progress: float) -> losses.Config:
        """The terms' settings at a share of the training."""
        c = self.config
        return c.terms if progress >= c.occlusion_from else replace(c.terms, occlusion="none")

    def teaching_at(self, progress: float) -> float:
        """The weight of what is taught: 0 at first, then rising to its full value."""
        c = self.config
        risen = 1.0 if c.teach_ramp == 0 else min(1.0, (progress - c.teach_from) / c.teach_ramp)
        return c.teach_weight * risen if progress >= c.teach_from else 0.0

    @torch.no_grad()
    def preview(self, batch: Pair, context: StepContext) -> dict[str, Tensor]:
        image_a, image_b = (unit_range(batch.images[:, time]) for time in (0, 1))
        flow_ab, flow_ba = self.both_ways(image_a, image_b)
        return {
            "first image": image_a,
            "second image": image_b,
            "second image, taken back by the flow": warp_by_flow(image_b, flow_ab).values,
            "length of the flow (px)": flow_ab.norm(dim=1, keepdim=True),
            "seen in the second image (0 to 1)": losses.seen_in_other(flow_ab, flow_ba, self.config.terms.occlusion),
        }


def taught(
    both_ways: Callable[[Images, Images], tuple[Flows, Flows]],
    images: tuple[Images, Images],
    teacher: tuple[Flows, Flows],
) -> Tensor:
    """How far the flow of a crop is from that of the whole images, where the latter is sure and the former is not; both ways."""
    height, width = images[0].shape[-2:]
    crop = border_crop(height, width, round(BORDER_SHARE * height))
    student = both_ways(*crop.images(*images))
    back = Crop(crop.begin_b, crop.begin_a, crop.size, crop.resized_to)
    there = self_supervision(student, teacher, crop)
    return (there + self_supervision(student[::-1], teacher[::-1], back)) / 2
