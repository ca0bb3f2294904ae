"""Slot attention: a few vectors compete for the pixels of an image until each explains one object of it.

Paper:  Locatello, Weissenborn, Unterthiner, Mahendran, Heigold, Uszkoreit, Dosovitskiy, Kipf. Object-Centric Learning
        with Slot Attention. NeurIPS 2020; Watters, Matthey, Burgess, Lerchner. Spatial Broadcast Decoder. 2019.
Idea:   x = MLP(LN(CNN(image) + position)), one row for each place                               -> ImageEncoder
        slots m = mu + sigma n, n ~ N(0, 1): all from one learnt Gaussian; then T times
          A_ij = exp(k(x_i) q(m_j)' / sqrt(D)), divided by its sum over the slots j                  -> competition()
          w_ij = (A_ij + eps) / sum_i (A_ij + eps),  u_j = sum_i w_ij v(x_i)                       -> weighted_means()
          m = GRU(u, m),  m = m + MLP(LN(m))                                                  -> Slots.forward()
        with q of LN(m), k and v of LN(x)
        every slot alone is drawn at all places: RGB_j and a_j                                       -> SlotDecoder
        image' = sum_j alpha_j RGB_j,  alpha = softmax of a over the slots                             -> blended()
        loss = mean (image - image')^2                                                             -> SlotAttention
        Which slot takes what is decided by n alone: permuting the slots' noise permutes the result.
Differs: the slides lack exp in the softmax, add up values where the paper takes their weighted mean, and give the MLP
        the slots before the GRU; here as in the paper. Layer norms use PyTorch's epsilon. Where the paper's rate decays
        smoothly, RECIPE halves it every 100,000 steps. When not training, n is one fixed draw (Config.draw), the same
        for every image, so that the result is a function of the image; the mean of the Gaussian would give all
        slots the same object. The official code begins with Glorot's weights; here so do the slots, but the encoder's
        convolutions begin with He's, that colour is not drowned by place, and the decoder as PyTorch's layers do.
        Places are numbered as Config.edges says, in the paper from 0 to 1, in the small presets from -3 to 3.
        own_means gives each slot a learnt beginning of its own (as Jia, Liu, Huang. Improving Object-centric Learning
        with Query Optimization. ICLR 2023), crop learns from random crops, and decoder_kernel 1 draws smooth areas: where
        all images show one textured room, slots of one Gaussian stay alike (benchmarks/slots.md).
        Images of other sizes are scaled to the config's, masks back. The paper's encoder takes no strides;
        encoder_strides makes larger images affordable. The number of slots is no part of the weights.
Role:   Discoverer: alpha, which sums to 1 over the slots. One of them may become the background. explain() also
        gives the attention masks of every iteration, each slot's image and the slots.
Units:  RGB in [0, 1] outside, in [-1, 1] where it is compared.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, final

import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torch.nn import functional as F

from firstsight.errors import InputError
from firstsight.roles import Discoverer, Images
from firstsight.training.data.batch import ImageBatch, unit_range
from firstsight.training.data.wanted import Wanted
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss, Preset, StepContext, Trainable
from firstsight.training.views import View, view

EPSILON = 1e-8
# log of the first sigma where each slot has a mean of its own, from which the others' are 1.4 away in each direction
OWN_LOG_SIGMA = -2.0
# of crops: their least and greatest width / height, over that of the whole image
STRETCH = 0.8, 1.25

Noise = Float32[Tensor, "batch slots features"]
SlotVectors = Float32[Tensor, "batch slots features"]
Tokens = Float32[Tensor, "batch tokens features"]
Shares = Float32[Tensor, "batch tokens slots"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """The paper's for CLEVR6. Its last two encoder_strides are 1 and decoder_size x 2^upsamplings is the size."""

    size: tuple[int, int] = (128, 128)  # height, width
    slots: int = 7
    iterations: int = 3
    features: int = 64  # of a slot, and channels of encoder and decoder
    hidden: int = 128  # of the MLP after the GRU
    kernel: int = 5
    # of the decoder; None: as `kernel`. With 1 each slot draws smooth areas, and no texture
    decoder_kernel: int | None = None
    encoder_strides: tuple[int, ...] = (1, 1, 1, 1)
    decoder_size: tuple[int, int] = (8, 8)
    upsamplings: int = 4
    flat_convolutions: int = 1  # of the decoder, after the upsamplings
    edges: tuple[float, float] = (0.0, 1.0)  # coordinates of the first and last row or column of places
    # area share, least and most, of the random crops that are learned from; None: whole images
    crop: tuple[float, float] | None = None
    # (height, width) of the images that crops are taken from
    crop_from: tuple[int, int] = (128, 128)
    # each slot begins about a learnt vector of its own, and not all about one; their number is then part of the weights
    own_means: bool = False
    draw: int = 0  # which noise the slots begin with when not training

    def __post_init__(self):
        if self.slots < 2 or self.iterations < 1:
            raise InputError(f"slots = {self.slots}, iterations = {self.iterations}: at least 2 and 1 are needed")
        drawn = tuple(side * 2**self.upsamplings for side in self.decoder_size)
        if drawn != self.size:
            raise InputError(
                f"decoder_size doubled {self.upsamplings} times is {drawn}; size {self.size} must equal it"
            )


class Explanation(NamedTuple):
    """What became of an image. `masks` and `attention[t]` sum to 1 over the slots; attention is per place."""

    image: Float32[Tensor, "batch 3 height width"]
    masks: Float32[Tensor, "batch slots height width"]
    slot_images: Float32[Tensor, "batch slots 3 height width"]
    attention: Float32[Tensor, "iterations batch slots rows columns"]
    slots: SlotVectors


def competition(keys: Tokens, queries: SlotVectors) -> Shares:
    """The share that every slot gets of every place: slots compete for places, not places for slots."""
    return (keys @ queries.mT * keys.shape[2] ** -0.5).softmax(2)


def weighted_means(shares: Shares, values: Tokens) -> SlotVectors:
    """Returns the weighted mean of the values of all places, for every slot."""
    weights = shares + EPSILON
    return (weights / weights.sum(1, keepdim=True)).mT @ values


def blended(
    slot_images: Float32[Tensor, "batch slots 3 height width"], masks: Float32[Tensor, "batch slots height width"]
) -> Float32[Tensor, "batch 3 height width"]:
    return (slot_images * masks[:, :, None]).sum(1)


class Slots(nn.Module):
    """The paper's algorithm 1."""

    def __init__(self, features: int, hidden: int, iterations: int):
        super().__init__()
        self.iterations = iterations
        self.norm_inputs, self.norm_slots, self.norm_hidden = (nn.LayerNorm(features) for _ in range(3))
        self.queries, self.keys, self.values = (nn.Linear(features, features, bias=False) for _ in range(3))
        self.gru = nn.GRUCell(features, features)
        self.mlp = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, features))

    def forward(self, inputs: Tokens, slots: SlotVectors) -> tuple[SlotVectors, list[Shares]]:
        """The slots at the end, and the shares of each iteration."""
        inputs = self.norm_inputs(inputs)
        keys, values, shares = self.keys(inputs), self.values(inputs), []
        for _ in range(self.iterations):
            shares.append(competition(keys, self.queries(self.norm_slots(slots))))
            updates = weighted_means(shares[-1], values)
            slots = self.gru(updates.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
            slots = slots + self.mlp(self.norm_hidden(slots))
        return slots, shares


class Position(nn.Module):
    """Adds a linear function of where each place lies between the four edges."""

    def __init__(self, features: int, size: tuple[int, int], edges: tuple[float, float]):
        super().__init__()
        y, x = torch.meshgrid(*(torch.linspace(*edges, side) for side in size), indexing="ij")
        self.register_buffer("places", torch.stack([y, x, sum(edges) - y, sum(edges) - x], -1), persistent=False)
        self.linear = nn.Linear(4, features)

    def forward(self, maps: Float32[Tensor, "batch features rows columns"]) -> Tensor:
        return maps + self.linear(self.places).permute(2, 0, 1)


class ImageEncoder(nn.Module):
    """An image as one vector for each place."""

    def __init__(self, config: Config):
        super().__init__()
        features, kernel = config.features, config.kernel
        layers, inputs = [], 3
        for stride in config.encoder_strides:
            layers += [nn.Conv2d(inputs, features, kernel, stride, kernel // 2), nn.ReLU()]
            inputs = features
        self.convolutions = nn.Sequential(*layers)
        self.size = encoded_size(config)
        self.position = Position(features, self.size, config.edges)
        self.mlp = nn.Sequential(
            nn.LayerNorm(features), nn.Linear(features, features), nn.ReLU(), nn.Linear(features, features)
        )

    def forward(self, image: Images) -> Tokens:
        maps = self.convolutions(image.contiguous(memory_format=torch.channels_last))
        return self.mlp(self.position(maps).flatten(2).mT)


def init_he(layer: nn.Module) -> None:
    """He's weights for convolutions, whose outputs are then as large as the inputs, and Glorot's for linear layers."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    elif isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
    if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
        nn.init.zeros_(layer.bias)


def encoded_size(config: Config) -> tuple[int, int]:
    height, width = config.size
    for stride in config.encoder_strides:
        height, width = -(-height // stride), -(-width // stride)
    return height, width


class SlotDecoder(nn.Module):
    """The image that each slot draws alone, and where it is sure of it (logits)."""

    def __init__(self, config: Config):
        super().__init__()
        features, kernel, layers = config.features, config.decoder_kernel or config.kernel, []
        self.size = config.decoder_size
        self.position = Position(features, self.size, config.edges)
        for _ in range(config.upsamplings):
            layers += [nn.ConvTranspose2d(features, features, kernel, 2, kernel // 2, output_padding=1), nn.ReLU()]
        for _ in range(config.flat_convolutions):
            layers += [nn.Conv2d(features, features, kernel, padding=kernel // 2), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(features, 4, min(kernel, 3), padding=min(kernel, 3) // 2))

    def forward(self, slots: SlotVectors) -> tuple[Tensor, Tensor]:
        everywhere = slots.flatten(0, 1)[:, :, None, None].expand(-1, -1, *self.size)
        maps = self.position(everywhere).contiguous(memory_format=torch.channels_last)
        drawn = self.convolutions(maps).unflatten(0, slots.shape[:2])
        return drawn[:, :, :3], drawn[:, :, 3]


PAPER = Preset(
    Config(),
    Recipe(
        steps=500_000,
        batch=64,
        learning_rate=4e-4,
        warm_up=0.02,
        schedule="halving",
        halvings=(0.2, 0.4, 0.6, 0.8),
    ),
)
SMALL = Config(
    size=(16, 16), upsamplings=1, features=32, hidden=64, kernel=3, encoder_strides=(1, 1, 1), edges=(-3.0, 3.0)
)
# Of drawn shapes on a plain ground (training/toys).
SHAPES = Preset(
    replace(SMALL, slots=5),
    Recipe(
        steps=2000, batch=16, learning_rate=2e-3, warm_up=0.1, schedule="cosine", final_rate=0.1, clip=1.0, log_every=50
    ),
)
# Of a room with a few toys, such as sim:objects.
TINY = Preset(
    replace(
        SMALL,
        size=(24, 32),
        slots=8,
        decoder_kernel=1,
        decoder_size=(24, 32),
        upsamplings=0,
        flat_convolutions=3,
        crop=(0.04, 0.5),
        crop_from=(48, 64),
        own_means=True,
    ),
    replace(SHAPES.recipe, learning_rate=3e-3),
)


@final
class SlotAttention(Discoverer, Trainable[ImageBatch]):
    """Learns to take images apart by having to draw them from few slots."""

    PRESETS: ClassVar = {"paper": PAPER, "tiny": TINY, "shapes": SHAPES}
    noise: Tensor

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = config or Config()
        features = self.config.features
        self.encoder, self.decoder = ImageEncoder(self.config), SlotDecoder(self.config)
        self.slots = Slots(features, self.config.hidden, self.config.iterations)
        means = self.config.slots if self.config.own_means else 1
        self.mean, self.log_sigma = (nn.Parameter(torch.empty(1, count, features)) for count in (means, 1))
        if self.config.own_means:
            nn.init.normal_(self.mean)
            nn.init.constant_(self.log_sigma, OWN_LOG_SIGMA)
        else:
            nn.init.xavier_uniform_(self.mean)
            nn.init.xavier_uniform_(self.log_sigma)
        drawn = torch.randn((self.config.slots, features), generator=torch.Generator().manual_seed(self.config.draw))
        self.register_buffer("noise", drawn, persistent=False)
        for part in (self.encoder.convolutions, self.slots):
            part.apply(init_he)

    @property
    def wanted(self) -> Wanted:
        return Wanted(ImageBatch, self.config.size if self.config.crop is None else self.config.crop_from)

    def loss(self, batch: ImageBatch, context: StepContext) -> Loss:
        image = self.shown(batch, context)
        found = self.explain(image, context.random.normal(self.config.slots, self.config.features))
        total = 4 * (found.image - image).square().mean()  # 4: of RGB in [-1, 1]
        return Loss(total, {}, found.slots.detach().flatten(0, 1))

    def shown(self, batch: ImageBatch, context: StepContext) -> Images:
        """The images that a step learns from, at the config's size."""
        image, c = unit_range(batch.images[:, 0]), self.config
        if c.crop is None:
            return image
        narrow, wide = (stretch * c.size[1] / c.size[0] for stretch in STRETCH)
        kind = View(size=c.size, scale=c.crop, ratio=(narrow, wide), jitter=0.0, grey=0.0, blur=0.0)
        return view(image, kind, context.random)

    def explain(self, image: Images, noise: Noise) -> Explanation:
        """Explains images of the config's size; `noise` says how many slots there are and where they begin."""
        inputs = self.encoder(2 * image - 1)
        slots, shares = self.slots(inputs, self.mean + self.log_sigma.exp() * noise)
        colours, logits = self.decoder(slots)
        colours, masks = (colours + 1) / 2, logits.softmax(1)
        attention = torch.stack(shares).mT.unflatten(3, self.encoder.size)
        return Explanation(blended(colours, masks), masks, colours, attention, slots)

    def fixed_noise(self, batch: int) -> Noise:
        """What slots begin with when not training."""
        return self.noise.expand(batch, -1, -1)

    def discover(self, image: Images) -> Float32[Tensor, "batch slots height width"]:
        """Each slot's share of each pixel."""
        size, given = self.config.size, image.shape[2:]
        if given != size:
            image = F.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
        masks = self.explain(image, self.fixed_noise(len(image))).masks
        return masks if given == size else F.interpolate(masks, given, mode="bilinear", align_corners=False)

    @torch.no_grad()
    def preview(self, batch: ImageBatch, context: StepContext) -> dict[str, Tensor]:
        image = self.shown(batch, context)
        found = self.explain(image, self.fixed_noise(len(image)))
        return {
            "input": image,
            "drawn from slots": found.image.clamp(0, 1),
            "masks": found.masks.argmax(1),
            "attention in the last iteration": found.attention[-1].argmax(1),
            **{f"slot {j + 1}": found.slot_images[:, j].clamp(0, 1) for j in range(self.config.slots)},
        }
