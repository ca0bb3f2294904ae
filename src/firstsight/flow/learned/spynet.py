"""SPyNet: at each level of an image pyramid a small network finds what the flow so far left over.

Paper:  Ranjan, Black. Optical Flow Estimation using a Spatial Pyramid Network. CVPR 2017.
Idea:   images halved by averaging, K levels                                                                 -> pyramid
        V_k = up2(V_{k-1}) + G_k(a_k, b_k(x + up2(V_{k-1})), up2(V_{k-1}))         eq. 4 to 6              -> SpyNet.flows()
        G_k: five 7x7 convolutions, 32, 64, 32, 16, 2 channels                                          -> level_network()
        Large motions are small on a coarse level, so that no network has to see far.
Differs: all levels are trained together, each by its own error, not one after the other; `width` scales the networks.
Role:   FlowEstimator.  Units: px; the networks answer in units of 20 px.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.flow.learned.network_flow import check_size
from firstsight.flow.learned.supervised import SHORT, UNIT_PX, LearnedFlow
from firstsight.geometry.warp import warp_by_flow
from firstsight.nets.depth_net import normalised
from firstsight.nets.flow_decoder import convolution, flow_convolution
from firstsight.roles import Images
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Preset

KERNEL = 7
SHARES = (1, 2, 1, 0.5)  # of the width, each layer's channels but the last one's


@dataclass(frozen=True, kw_only=True)
class Config:
    """`size` (height, width): multiples of 64. `levels` of the pyramid, `width` of the first layers, 32 in the paper."""

    size: tuple[int, int] = (384, 512)
    levels: int = 5
    width: int = 32
    robust: bool = False
    recoloured_share: float = 0.5

    def __post_init__(self):
        check_size("spynet", self.size, 64)
        if not 1 <= self.levels <= 7:
            raise InputError(f"spynet: {self.levels} levels; choose 1 to 7")


def level_network(width: int) -> nn.Sequential:
    """G_k: both images and the flow so far in, what is left over out."""
    widths = [8, *(max(1, round(width * share)) for share in SHARES)]
    layers = [convolution(widths[i], widths[i + 1], KERNEL) for i in range(len(SHARES))]
    return nn.Sequential(*layers, flow_convolution(widths[-1], KERNEL))


@final
class SpyNet(LearnedFlow):
    """Flow at the images' own resolution."""

    PRESETS: ClassVar = {
        # each level in the paper: 200 epochs of 4,000 steps of 32 pairs, the rate 1e-4 for 60 of them, then a tenth
        "paper": Preset(
            Config(),
            Recipe(
                steps=800_000, batch=32, learning_rate=1e-4, schedule="cosine", final_rate=0.1, checkpoint_every=5000
            ),
        ),
        "tiny": Preset(
            Config(size=(64, 128), levels=4, width=16),
            SHORT,
        ),
    }

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        self.levels = nn.ModuleList(level_network(c.width) for _ in range(c.levels))

    def flows(self, image_a: Images, image_b: Images) -> list[Tensor]:
        pair, found = normalised(torch.cat([image_a, image_b])), []
        flow = image_a.new_zeros(len(image_a), 2, 1, 1)
        for level in reversed(range(len(self.levels))):
            a, b = (F.avg_pool2d(pair, 2**level) if level else pair).chunk(2)
            flow = F.interpolate(flow, a.shape[-2:], mode="bilinear", align_corners=False)
            moved = warp_by_flow(b, UNIT_PX / 2**level * flow).values
            flow = flow + self.levels[level](torch.cat([a, moved, flow], 1))
            found.append(flow)
        return [UNIT_PX * flow for flow in reversed(found)]
