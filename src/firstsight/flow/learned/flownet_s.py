"""FlowNetS: the two images laid on each other, and a network that has to find out by itself what to do with them.

Paper:  Dosovitskiy et al. FlowNet: Learning Optical Flow with Convolutional Networks. ICCV 2015.
Idea:   six channels in, halved six times by convolutions with growing widths                        -> contract
        flow from the coarsest scale to 1/4 by a decoder with skips                          -> nets.flow_decoder.FlowDecoder
        trained on drawn pairs with true flow, an error at each of five scales               -> supervised.of_scales()
Differs: `width` scales all layers; the last flow is doubled bilinearly, without the paper's variational refinement.
Role:   FlowEstimator.  Units: px; the network answers in units of 20 px.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from firstsight.flow.learned.network_flow import check_size
from firstsight.flow.learned.supervised import LONG, SHORT, UNIT_PX, LearnedFlow
from firstsight.nets.depth_net import normalised
from firstsight.nets.flow_decoder import FlowDecoder, convolution
from firstsight.roles import Images
from firstsight.training.trainable import Preset

# Output channels (in units of the width), kernel size and stride; the maps before each but the second stride of two are kept.
LAYERS = (
    (1, 7, 2),
    (2, 5, 2),
    (4, 5, 2),
    (4, 3, 1),
    (8, 3, 2),
    (8, 3, 1),
    (8, 3, 2),
    (8, 3, 1),
    (16, 3, 2),
    (16, 3, 1),
)
KEPT = (1, 3, 5, 7, 9)  # layers whose maps the decoder sees: 1/4 to 1/64
DECODER_WIDTHS = (1, 2, 4, 8)


@dataclass(frozen=True, kw_only=True)
class Config:
    """`size` (height, width): multiples of 64. `width` is that of the first layer, 64 in the paper."""

    size: tuple[int, int] = (384, 512)
    width: int = 64
    robust: bool = False
    recoloured_share: float = 0.5

    def __post_init__(self):
        check_size("flownet-s", self.size, 64)


@final
class FlowNetS(LearnedFlow):
    """Flow at 1/4 of the resolution, brought to the images' by interpolation."""

    PRESETS: ClassVar = {
        "paper": Preset(Config(), LONG),
        "tiny": Preset(
            Config(size=(64, 128), width=12),
            SHORT,
        ),
    }

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        widths = [6, *(c.width * share for share, _, _ in LAYERS)]
        self.contract = nn.ModuleList(
            convolution(widths[i], widths[i + 1], size, stride) for i, (_, size, stride) in enumerate(LAYERS)
        )
        channels = [c.width * LAYERS[i][0] for i in KEPT]
        self.decoder = FlowDecoder(channels, [c.width * share for share in DECODER_WIDTHS])

    def flows(self, image_a: Images, image_b: Images) -> list[Tensor]:
        maps, kept = torch.cat([normalised(image_a), normalised(image_b)], 1), []
        for i, layer in enumerate(self.contract):
            maps = layer(maps)
            if i in KEPT:
                kept.append(maps)
        return [UNIT_PX * flow for flow in self.decoder(kept)]
