"""FlowNetC: features of each image by themselves, compared over a window of displacements, then as FlowNetS.

Paper:  Dosovitskiy et al. FlowNet: Learning Optical Flow with Convolutional Networks. ICCV 2015, eq. 1.
Idea:   three convolutions, the same for both images, to 1/8 of the resolution                            -> features()
        c(x, k) = <f_a(x), f_b(x + d_k)> / C for |d_k| up to 20 there in steps of 2: 21 x 21 scores  -> matching.correlation.local
        beside them a few of the first image's features; then contraction and decoder as in FlowNetS         -> flows()
Differs: as FlowNetS does; features are normalised before they are compared, as UFlow does. `reach` and `step` of the window can be chosen.
Role:   FlowEstimator.  Units: px; the network answers in units of 20 px.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from firstsight.flow.learned import flownet_s
from firstsight.flow.learned.comparing import compared
from firstsight.flow.learned.flownet_s import DECODER_WIDTHS, LAYERS
from firstsight.flow.learned.supervised import LONG, SHORT, UNIT_PX, LearnedFlow
from firstsight.matching.correlation.local import Window
from firstsight.nets.depth_net import normalised
from firstsight.nets.flow_decoder import FlowDecoder, convolution
from firstsight.roles import Images
from firstsight.training.trainable import Preset

SHARED, KEPT = 3, (3, 5, 7, 9)  # layers for each image alone; layers whose maps the decoder sees: 1/8 to 1/64
REDIRECTED = 0.5  # of the width, that goes past the correlation


@dataclass(frozen=True, kw_only=True)
class Config(flownet_s.Config):
    """`reach` and `step` of the displacements are in pixels of the features, an eighth of the images'."""

    reach: int = 20
    step: int = 2


@final
class FlowNetC(LearnedFlow):
    """Flow at 1/4 of the resolution, brought to the images' by interpolation."""

    PRESETS: ClassVar = {
        "paper": Preset(Config(), LONG),
        "tiny": Preset(Config(size=(64, 128), width=12, reach=4, step=1), SHORT),
    }

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        self.window = Window.square(c.reach // c.step, c.step)
        past = round(REDIRECTED * c.width)
        widths = [c.width * share for share, _, _ in LAYERS]
        before = [3, *widths[: SHARED - 1], past + len(self.window.displacements), *widths[SHARED:-1]]
        layers = [convolution(before[i], widths[i], size, stride) for i, (_, size, stride) in enumerate(LAYERS)]
        self.shared, self.contract = nn.ModuleList(layers[:SHARED]), nn.ModuleList(layers[SHARED:])
        self.redirect = convolution(widths[SHARED - 1], past, 1)
        channels = [widths[1], *(widths[i] for i in KEPT)]
        self.decoder = FlowDecoder(channels, [c.width * share for share in DECODER_WIDTHS])

    def features(self, images: Images) -> tuple[Tensor, Tensor]:
        """Maps at 1/4 and 1/8 of the resolution."""
        first, second, third = self.shared
        quarter = second(first(normalised(images)))
        return quarter, third(quarter)

    def flows(self, image_a: Images, image_b: Images) -> list[Tensor]:
        quarter, eighth = self.features(torch.cat([image_a, image_b]))
        of_a, of_b = eighth.chunk(2)
        scores = compared(of_a, of_b, self.window)
        maps, kept = torch.cat([self.redirect(of_a), scores], 1), [quarter.chunk(2)[0]]
        for i, layer in enumerate(self.contract, SHARED):
            maps = layer(maps)
            if i in KEPT:
                kept.append(maps)
        return [UNIT_PX * flow for flow in self.decoder(kept)]
