"""Global matching: every pixel is compared with all of the other image, so that no motion is too large.

Paper:  Xu, Zhang, Cai, Rezatofighi, Tao. GMFlow: Learning Optical Flow via Global Matching. CVPR 2022.
Idea:   features of both images, each made to know the other by layers of self- and cross-attention      -> Exchange
        M = softmax(F_a F_b' / sqrt(D)), flow = M G - G with G the pixels' places          eq. 1 to 3    -> matched()
        what has no match takes the flow of pixels like it: softmax(F_a F_a' / sqrt(D)) flow  eq. 4      -> propagated()
        Both are attention with places or flow as values, so that M is never held on a GPU.
Differs: features at 1/8 of the resolution from a plain residual encoder, attention over the whole map (no shifted windows),
        bilinear upsampling instead of a learned convex one; `scale` of the scores is learned.
Role:   FlowEstimator.  Units: px.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.flow.learned.network_flow import check_size
from firstsight.flow.learned.supervised import LearnedFlow
from firstsight.geometry.pixels import pixel_grid
from firstsight.nets.depth_net import normalised
from firstsight.nets.flow_decoder import convolution
from firstsight.roles import Images
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Preset

Maps = Float[Tensor, "batch channels height width"]
Tokens = Float[Tensor, "batch tokens channels"]
Flows = Float[Tensor, "batch 2 height width"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """`size` (height, width): multiples of 64. `width` of the features, `halvings` of the resolution, `layers` of attention."""

    size: tuple[int, int] = (384, 512)
    width: int = 128
    halvings: int = 3
    layers: int = 6
    robust: bool = False
    recoloured_share: float = 0.5

    def __post_init__(self):
        check_size("global-matching", self.size, 64)
        if self.width % 4 or self.halvings < 1:
            raise InputError(
                f"global-matching: width {self.width}, halvings {self.halvings}: give a multiple of 4, and at least 1"
            )


@final
class Exchange(nn.Module):
    """Self-attention, then cross-attention with the other image, then two linear layers; each added to what it is given."""

    def __init__(self, width: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.queries = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        self.rest = nn.ModuleList(nn.Linear(width, 2 * width, bias=False) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def attend(self, which: int, tokens: Tokens, others: Tokens) -> Tokens:
        keys, values = self.rest[which](others).chunk(2, -1)
        return self.out[which](F.scaled_dot_product_attention(self.queries[which](tokens), keys, values))

    def forward(self, both: Tokens) -> Tokens:
        """`both` are those of a, then those of b."""
        normed = self.norms[0](both)
        both = both + self.attend(0, normed, normed)
        normed = self.norms[1](both)
        both = both + self.attend(1, normed, torch.cat(normed.chunk(2)[::-1]))
        return both + self.mlp(self.norms[2](both))


def places(height: int, width: int, channels: int, like: Tensor) -> Float[Tensor, "tokens channels"]:
    """Sines and cosines of each pixel's place, relative to the image's size."""
    grid = pixel_grid(height, width, like.dtype, like.device).flatten(1)
    shares = (grid + 0.5) / grid.new_tensor([[width], [height]])
    turns = 2 * math.pi * shares[:, :, None] * 1.5 ** torch.arange(channels // 4, dtype=like.dtype, device=like.device)
    return torch.cat([turns.sin(), turns.cos()], -1).permute(1, 0, 2).flatten(1)


def tokens_of(maps: Maps) -> Tokens:
    return maps.flatten(2).transpose(1, 2)


def matched(of_a: Maps, of_b: Maps, scale: Tensor | float) -> Flows:
    """The flow to the mean place of b, weighted by the softmax of `scale` times the scores; in px of the maps."""
    height, width = of_a.shape[-2:]
    grid = pixel_grid(height, width, of_a.dtype, of_a.device)
    values = grid.flatten(1).T.expand(len(of_a), -1, -1)
    found = F.scaled_dot_product_attention(scale * tokens_of(of_a), tokens_of(of_b), values, scale=1.0)
    return found.transpose(1, 2).unflatten(2, (height, width)) - grid


def propagated(flow: Flows, keys: Tokens, queries: Tokens) -> Flows:
    """The mean flow of the pixels of one image that are alike."""
    found = F.scaled_dot_product_attention(queries, keys, tokens_of(flow))
    return found.transpose(1, 2).unflatten(2, flow.shape[-2:])


@final
class GlobalMatching(LearnedFlow):
    """Flow at 1/8 of the resolution, brought to the images' by interpolation."""

    PRESETS: ClassVar = {
        "paper": Preset(
            Config(),
            Recipe(
                steps=100_000, batch=16, optimiser="adamw", learning_rate=4e-4, weight_decay=1e-4, warm_up=0.05,
                schedule="cosine", clip=1.0, checkpoint_every=5000,
            ),
        ),
        "tiny": Preset(
            Config(size=(64, 128), width=48, halvings=2, layers=1),
            Recipe(
                steps=2000, batch=8, optimiser="adamw", learning_rate=1e-3, weight_decay=1e-4, warm_up=0.02,
                schedule="cosine", clip=1.0, log_every=50,
            ),
        ),
    }  # fmt: skip

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        widths = [3, *(max(c.width // 2, 16) for _ in range(c.halvings - 1)), c.width]
        layers = [
            nn.Sequential(convolution(widths[i], widths[i + 1], 3, 2), convolution(widths[i + 1], widths[i + 1]))
            for i in range(c.halvings)
        ]
        self.encoder = nn.Sequential(*layers, nn.Conv2d(c.width, c.width, 1))
        self.exchange = nn.ModuleList(Exchange(c.width) for _ in range(c.layers))
        self.similar = nn.Linear(c.width, 2 * c.width)
        self.log_scale = nn.Parameter(torch.tensor(-0.5 * math.log(c.width)))

    def flows(self, image_a: Images, image_b: Images) -> list[Tensor]:
        """After propagation and before, both in px of the images."""
        maps = self.encoder(normalised(torch.cat([image_a, image_b])))
        height, width = maps.shape[-2:]
        both = tokens_of(maps) + places(height, width, self.config.width, maps)
        for layer in self.exchange:
            both = layer(both)
        of_a, of_b = both.transpose(1, 2).unflatten(2, (height, width)).chunk(2)
        direct = matched(of_a, of_b, self.log_scale.exp())
        queries, keys = self.similar(tokens_of(of_a)).chunk(2, -1)
        return [2**self.config.halvings * flow for flow in (propagated(direct, keys, queries), direct)]
