"""PWC-Net: a pyramid of features, each level warped by the flow so far and compared near by, coarse to fine.

Paper:  Sun, Yang, Liu, Kautz. PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume. CVPR 2018.
Idea:   features halved at each level, the same network for both images                                    -> FeaturePyramid
        from the coarsest level: w(x) = f_b(x + up2(flow)(x))                             eq. 1   -> warped()
        cost(x, k) = <f_a(x), w(x + d_k)> / C for |d_k| <= 4                              eq. 2   -> matching.correlation.local
        cost, f_a, flow and maps of the level below to a dense decoder, to the level's flow                     -> Estimator
        on the finest level a context network of dilated convolutions adds what a wide view says                -> context
Differs: flow is stored in units of 20 px of the images at every level, so that warping divides by the level's stride (the
        authors' factors 0.625 ... 5); `widths` and the finest level can be chosen. What is warped from outside counts 0.
        Features are normalised before they are compared, as UFlow does.
Role:   FlowEstimator.  Units: px.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.flow.learned.comparing import compared
from firstsight.flow.learned.network_flow import check_size
from firstsight.flow.learned.supervised import LONG, SHORT, UNIT_PX, LearnedFlow
from firstsight.geometry.warp import warp_by_flow
from firstsight.matching.correlation.local import Window
from firstsight.nets.depth_net import normalised
from firstsight.nets.flow_decoder import convolution, doubling, flow_convolution
from firstsight.roles import Images
from firstsight.training.trainable import Preset

CONTEXT_DILATIONS = (1, 2, 4, 8, 16, 1)

Maps = Float[Tensor, "batch channels height width"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """`size` (height, width): multiples of 64. Level l, from 1, has `pyramid[l - 1]` channels at 1/2^l of the resolution.

    Flow is estimated down to level `finest`. `decoder` are the widths of the dense decoder, `context` those of the last network.
    """

    size: tuple[int, int] = (384, 448)
    pyramid: tuple[int, ...] = (16, 32, 64, 96, 128, 196)
    finest: int = 2
    reach: int = 4
    decoder: tuple[int, ...] = (128, 128, 96, 64, 32)
    context: tuple[int, ...] = (128, 128, 128, 96, 64, 32)
    robust: bool = False
    recoloured_share: float = 0.5

    def __post_init__(self):
        check_size("pwc-net", self.size, 64)
        if not 1 <= self.finest < len(self.pyramid) <= 6:
            raise InputError(
                f"pwc-net: finest level {self.finest} of {len(self.pyramid)}; it must be one of them, of 6 at most"
            )
        if len(self.context) != len(CONTEXT_DILATIONS):
            raise InputError(f"pwc-net: context has {len(self.context)} widths; give {len(CONTEXT_DILATIONS)}")


@final
class FeaturePyramid(nn.Module):
    """Maps of an image, halved at each level, by three convolutions each."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(convolution(before, width, 3, 2), convolution(width, width), convolution(width, width))
            for before, width in zip([3, *widths[:-1]], widths, strict=True)
        )

    def forward(self, images: Maps) -> list[Tensor]:
        """From the finest level, 1/2 of the resolution, to the coarsest."""
        return list(accumulate(self.levels, lambda maps, level: level(maps), initial=images))[1:]


@final
class Estimator(nn.Module):
    """A dense decoder: each convolution sees what all before it computed."""

    def __init__(self, in_channels: int, widths: Sequence[int]):
        super().__init__()
        before = list(accumulate(widths, initial=in_channels))
        self.layers = nn.ModuleList(convolution(count, width) for count, width in zip(before[:-1], widths, strict=True))
        self.predict = flow_convolution(before[-1])

    def forward(self, maps: Maps) -> tuple[Tensor, Tensor]:
        """The flow, and all maps."""
        for layer in self.layers:
            maps = torch.cat([layer(maps), maps], 1)
        return self.predict(maps), maps


def warped(maps_b: Maps, flow_px: Float[Tensor, "batch 2 height width"], stride: int) -> Maps:
    """Maps of b seen from a by a flow in px of the images, 0 where it leads outside; pixels of maps are `stride` px wide."""
    values, inside = warp_by_flow(maps_b, flow_px / stride)
    return values * inside


@final
class PwcNet(LearnedFlow):
    """Flow at 1/4 of the resolution unless told otherwise, brought to the images' by interpolation."""

    PRESETS: ClassVar = {
        "paper": Preset(Config(), LONG),
        "tiny": Preset(
            Config(
                size=(64, 128),
                pyramid=(8, 16, 24, 32, 40),
                decoder=(32, 24, 16),
                context=(24, 24, 24, 16, 16, 8),
            ),
            SHORT,
        ),
    }

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        self.window = Window.square(c.reach)
        scores = len(self.window.displacements)
        self.features = FeaturePyramid(c.pyramid)
        # Each level but the coarsest sees its own features, the flow from below and two maps from there.
        beside = [*(width + 4 for width in c.pyramid[c.finest - 1 : -1]), 0]
        self.estimators = nn.ModuleList(Estimator(scores + count, c.decoder) for count in beside)
        dense = [scores + count + sum(c.decoder) for count in beside]
        self.up_flow = nn.ModuleList(doubling(2, 2) for _ in dense[1:])
        self.up_maps = nn.ModuleList(doubling(count, 2) for count in dense[1:])
        widths = [dense[0], *c.context]
        wider = (convolution(*pair, dilation=d) for pair, d in zip(pairwise(widths), CONTEXT_DILATIONS, strict=True))
        self.context = nn.Sequential(*wider, flow_convolution(widths[-1]))

    def flows(self, image_a: Images, image_b: Images) -> list[Tensor]:
        pyramid = self.features(normalised(torch.cat([image_a, image_b])))[self.config.finest - 1 :]
        found: list[Tensor] = []
        maps = None
        for level in reversed(range(len(pyramid))):
            of_a, of_b = pyramid[level].chunk(2)
            if maps is None:
                beside = []
            else:
                flow = self.up_flow[level](found[-1])
                beside = [of_a, flow, self.up_maps[level](maps)]
                of_b = warped(of_b, UNIT_PX * flow, 2 ** (level + self.config.finest))
            scores = compared(of_a, of_b, self.window)
            flow, maps = self.estimators[level](torch.cat([scores, *beside], 1))
            found.append(flow)
        found[-1] = found[-1] + self.context(maps)
        return [UNIT_PX * flow for flow in reversed(found)]
