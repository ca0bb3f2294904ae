"""Unsupervised flow: a network learns from video alone, since each image must explain the next one.

Paper:  Jonschkowski et al. What Matters in Unsupervised Optical Flow. ECCV 2020 (UFlow); after Yu, Harley, Derpanis 2016, Ren et al.
        2017, Wang et al. 2018 (occlusion by range map), Meister et al. 2018 (UnFlow: census, forward-backward), Liu et al. 2019.
Idea:   PWC-Net's flow both ways                                                              -> flow.learned.pwc_net
        photometric where seen, smoothness, lessons of crops                             -> flow.learned.from_video.loss_of_video()
        Each part can be exchanged or left out: `terms` says which, `teach_weight` 0 is without a teacher.
Differs: the network is PWC-Net as it is, without UFlow's level dropout and shared decoder. The loss is taken on
        the finest flow alone. Occluded pixels are told from the first step on, see `occlusion_from`.
Role:   FlowEstimator.  Units: px.
"""

from dataclasses import dataclass, field
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor

from firstsight.flow.learned import from_video, pwc_net
from firstsight.flow.learned.from_video import Pair, TaughtPair, loss_of_video
from firstsight.flow.learned.network_flow import Flows, NetworkFlow, check_size
from firstsight.geometry.warp import warp_by_flow
from firstsight.losses import unsupervised_flow as losses
from firstsight.roles import Images
from firstsight.training.data.batch import unit_range
from firstsight.training.data.wanted import Wanted
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss, Preset, StepContext


@dataclass(frozen=True, kw_only=True)
class Config(from_video.Lessons):
    """`size` (height, width): multiples of 64."""

    size: tuple[int, int] = (384, 512)
    pwc: pwc_net.Config = field(default_factory=pwc_net.Config)

    def __post_init__(self):
        super().__post_init__()
        check_size("uflow", self.size, 64)


@final
class UFlow(NetworkFlow[Pair | TaughtPair]):
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
        return self.config.wanted

    def flows(self, image_a: Images, image_b: Images) -> list[Tensor]:
        return self.net.flows(image_a, image_b)

    def both_ways(self, image_a: Images, image_b: Images) -> tuple[Flows, Flows]:
        """The flow from a to b and back, on the images' pixels."""
        found = self.flows(torch.cat([image_a, image_b]), torch.cat([image_b, image_a]))[0]
        whole = F.interpolate(found, image_a.shape[-2:], mode="bilinear", align_corners=False)
        flow_ab, flow_ba = whole.chunk(2)
        return flow_ab, flow_ba

    def loss(self, batch: Pair | TaughtPair, context: StepContext) -> Loss:
        return loss_of_video(self.both_ways, batch, self.config, context)

    @torch.no_grad()
    def preview(self, batch: Pair | TaughtPair, context: StepContext) -> dict[str, Tensor]:
        image_a, image_b = (unit_range(batch.images[:, time]) for time in (0, 1))
        flow_ab, flow_ba = self.both_ways(image_a, image_b)
        return {
            "first image": image_a,
            "second image": image_b,
            "second image, taken back by the flow": warp_by_flow(image_b, flow_ab).values,
            "length of the flow (px)": flow_ab.norm(dim=1, keepdim=True),
            "seen in the second image (0 to 1)": losses.seen_in_other(flow_ab, flow_ba, self.config.terms.occlusion),
        }
