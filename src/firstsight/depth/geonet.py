"""Depth, motion and flow of video, learned together: the world moves as depth and camera say, and the rest is residual.

Paper:  Yin, Shi. GeoNet: Unsupervised Learning of Dense Depth, Optical Flow and Camera Pose. CVPR 2018.
Idea:   f_rig(p) = K T D(p) K^-1 p - p of the depth of one network and the motion of another           eq. 1  -> Moves.rigid
        a third network sees both images, the second brought back by f_rig, f_rig and the error left, and answers with f_res;
        f = f_rig + f_res                                                                       section 3.3  -> GeoNet.moves()
        L_rw, L_fw: alpha (1 - SSIM) / 2 + (1 - alpha) |.| of the image and its neighbour, moved by f_rig or by f;   eq. 2, 6
        L_ds, L_fs: edge-aware smoothness of 1 / D and of f                                                  eq. 3
        delta(p): |f(p) + f'(p + f(p))| < max(3 px, 0.05 |f(p)|)                                 eq. 8  -> losses.consistency
        L_gc = 0.2 mean of |f + f'(p + f)|_1 where delta, and L_fw counts only there                         eq. 7
        first depth and motion alone, then the residual with both frozen                                     -> rounds()
        Each scale is that of the images shrunk to it, both directions between the middle frame and its neighbours.
Differs: the encoders are residual networks without ImageNet's weights, the decoder is monodepth's; the residual is bounded by a
        share of the width. Inverse depth is smoothed after division by its mean, as the authors' later code does. The bound of
        eq. 8 is in px of the full resolution at every scale, as in their code.
Role:   DepthEstimator of unknown scale.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from firstsight.depth.monodepth2 import Batch, PoseNet, inverse_depth, mirrored_clips
from firstsight.errors import InputError
from firstsight.geometry.pixels import resize, resize_flow
from firstsight.geometry.se3 import inverse
from firstsight.geometry.warp import rigid_flow, warp_by_flow
from firstsight.losses.consistency import returns_near, round_trip
from firstsight.losses.photometric import photometric
from firstsight.losses.smoothness import edge_aware
from firstsight.losses.unsupervised_flow import masked_mean
from firstsight.nets.depth_net import DepthNet, check_size, normalised
from firstsight.nets.resnet import Norm, ResNet
from firstsight.nets.unet import SCALES, UNet
from firstsight.roles import Depth, DepthEstimator, Images
from firstsight.training.data.batch import unit_range
from firstsight.training.data.wanted import Wanted, frames
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss, OpenData, Preset, Round, StepContext, Trainable
from firstsight.training.views import recoloured

FIRST = 1e-3  # spread of the first weights of what answers with the residual

Flow = Float[Tensor, "batch 2 height width"]
Map = Float[Tensor, "batch 1 height width"]
ScaleMap = Float[Tensor, "batch 1 _ _"]
ScaleFlow = Float[Tensor, "batch 2 _ _"]
Part = Literal["both", "rigid", "residual"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """`size` (height, width): multiples of 32, at least 64. Weights and bounds are the paper's; `reach` is a share of the width."""

    size: tuple[int, int] = (128, 416)
    layers: Literal[18, 34, 50, 101] = 50
    encoder_width: int = 64
    decoder_width: int = 16
    norm: Norm = "batch"
    near: float = 0.2
    far: float = 100.0
    alpha: float = 0.85
    depth_smoothness: float = 0.5
    flow_smoothness: float = 0.2
    consistency_weight: float = 0.2
    reach: float = 0.25
    recoloured_share: float = 0.5

    def __post_init__(self):
        check_size(self.size)
        if not 0 < self.near < self.far:
            raise InputError(f"near = {self.near:g}, far = {self.far:g}: choose 0 < near < far")


class Moves(NamedTuple):
    """Flow from one image to another in px, at four scales, finest first: what depth and motion say, and all of it."""

    rigid: Sequence[ScaleFlow]
    full: Sequence[ScaleFlow]


class ImagePair(NamedTuple):
    """From a to b: images, inverse depth of a at four scales, motion and camera."""

    image_a: Images
    image_b: Images
    inverse_depths: Sequence[ScaleMap]
    b_from_a: Float[Tensor, "batch 4 4"]
    intrinsics: Float[Tensor, "batch 3 3"]


@final
class ResidualNet(nn.Module):
    """Two images and a flow between them to what the flow lacks, px of each of four scales."""

    def __init__(self, config: Config):
        super().__init__()
        self.reach = config.reach
        self.encoder = ResNet(config.layers, in_channels=12, width=config.encoder_width, norm=config.norm)
        self.decoder = UNet(self.encoder.channels, 2, config.decoder_width)
        for layer in self.decoder.answer:  # begins as no residual
            nn.init.normal_(next(layer.parameters()), std=FIRST)

    def forward(self, image_a: Images, image_b: Images, flow_ab: Flow) -> list[ScaleFlow]:
        again = warp_by_flow(image_b, flow_ab).values
        error = (image_a - again).abs().mean(1, keepdim=True)
        shown = [*map(normalised, (image_a, image_b, again)), flow_ab / image_a.shape[-1], error]
        answers = self.decoder(self.encoder.features(torch.cat(shown, 1)))
        return [self.reach * answer.shape[-1] * (2 * answer - 1) for answer in answers]


@final
class GeoNet(DepthEstimator, Trainable[Batch]):
    """`learns` says which part the loss is of; rounds() begins with the rigid part."""

    PRESETS: ClassVar = {
        "paper": Preset(Config(), Recipe(steps=350_000, batch=4, learning_rate=2e-4, checkpoint_every=5000)),
        "tiny": Preset(
            Config(size=(64, 192), layers=18, encoder_width=16, decoder_width=8, norm="none"),
            Recipe(steps=400, batch=4, learning_rate=1e-3, warm_up=1 / 15, schedule="cosine", log_every=50),
        ),
    }
    scale: ClassVar = "unknown"

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        self.learns: Part = "both"
        self.net = DepthNet(1, 0.5, c.layers, (c.encoder_width, c.decoder_width), c.norm)
        self.pose = PoseNet(c.layers, c.encoder_width, c.norm)
        self.residual = ResidualNet(c)

    @property
    def wanted(self) -> Wanted:
        return Wanted(Batch, self.config.size, clip=frames(-1, 0, 1))

    def rounds(self, data: OpenData, recipe: Recipe) -> Iterator[Round]:
        """Depth and motion, then the residual."""
        samples = data(self.wanted)
        for part in ("rigid", "residual"):
            self.learn(part)
            yield Round(part, self, samples, recipe)

    def learn(self, part: Part) -> None:
        """Freezes what the part does not train."""
        self.learns = part
        self.net.requires_grad_(part != "residual")
        self.pose.requires_grad_(part != "residual")
        self.residual.requires_grad_(part != "rigid")

    def inverse_depths(self, image: Images) -> list[ScaleMap]:
        return [inverse_depth(output, self.config.near, self.config.far) for output in self.net(image)]

    def pairs(
        self, views: Sequence[Images], intrinsics: Float[Tensor, "batch 3 3"]
    ) -> list[tuple[ImagePair, ImagePair]]:
        """The middle frame with each neighbour, there and back."""
        before, target, after = views
        of_frames = self.inverse_depths(torch.cat([before, target, after]))
        depths = list(zip(*(one.chunk(3) for one in of_frames), strict=True))
        found = []
        motions = (inverse(self.pose(before, target)), self.pose(target, after))
        for neighbour, depth, motion in zip((before, after), (depths[0], depths[2]), motions, strict=True):
            there = ImagePair(target, neighbour, depths[1], motion, intrinsics)
            found.append((there, ImagePair(neighbour, target, depth, inverse(motion), intrinsics)))
        return found

    def moves(self, pair: ImagePair, *, residual: bool = True) -> Moves:
        """f_rig and f; without the residual f is f_rig."""
        height, width = pair.image_a.shape[-2:]
        whole = [
            rigid_flow(1 / resize(d, height, width), pair.b_from_a, pair.intrinsics)[0] for d in pair.inverse_depths
        ]
        rigid = [
            one if scale == 0 else resize_flow(one, *d.shape[-2:])
            for scale, (one, d) in enumerate(zip(whole, pair.inverse_depths, strict=True))
        ]
        if not residual:
            return Moves(rigid, rigid)
        fixed = [one.detach() for one in rigid]
        rest = self.residual(pair.image_a, pair.image_b, fixed[0])
        return Moves(rigid, [one + more for one, more in zip(fixed, rest, strict=True)])

    def loss(self, batch: Batch, context: StepContext) -> Loss:
        views = [unit_range(batch.images[:, number]) for number in range(3)]
        views, intrinsics = mirrored_clips(views, batch.intrinsics, context.random)
        views = list(recoloured(views, context.random, self.config.recoloured_share))
        parts: dict[str, Tensor] = {}
        for there, back in self.pairs(views, intrinsics):
            moved = [self.moves(pair, residual=self.learns != "rigid") for pair in (there, back)]
            if self.learns != "residual":
                add(parts, self.rigid_terms(there, moved[0]), self.rigid_terms(back, moved[1]))
            if self.learns != "rigid":
                add(parts, self.full_terms(there, *moved), self.full_terms(back, *moved[::-1]))
        return Loss(torch.stack(list(parts.values())).sum(), {name: part.detach() for name, part in parts.items()})

    def rigid_terms(self, pair: ImagePair, moves: Moves) -> dict[str, Tensor]:
        """L_rw and L_ds of one direction, means over the scales."""
        looks, rough = [], []
        for scale, (flow, d) in enumerate(zip(moves.rigid, pair.inverse_depths, strict=True)):
            image_a, image_b = (resize(image, *d.shape[-2:]) for image in (pair.image_a, pair.image_b))
            again, inside = warp_by_flow(image_b, flow)
            looks.append(masked_mean(photometric(image_a, again, self.config.alpha), inside.to(flow.dtype)))
            normal = d / d.mean((-2, -1), keepdim=True)
            rough.append(self.config.depth_smoothness / 2**scale * edge_aware(normal, image_a).mean())
        return {"rigid warping": mean_of(looks), "depth smoothness": mean_of(rough)}

    def full_terms(self, pair: ImagePair, there: Moves, back: Moves) -> dict[str, Tensor]:
        """L_fw, L_fs and L_gc of one direction, means over the scales."""
        c = self.config
        looks, rough, closing = [], [], []
        for scale, (flow, other) in enumerate(zip(there.full, back.full, strict=True)):
            image_a, image_b = (resize(image, *flow.shape[-2:]) for image in (pair.image_a, pair.image_b))
            again, inside = warp_by_flow(image_b, flow)
            near = returns_near(flow, other, absolute_px=3.0 / 2**scale) * inside
            looks.append(masked_mean(photometric(image_a, again, c.alpha), near))
            rough.append(c.flow_smoothness / 2 ** (scale + 1) * edge_aware(flow, image_a).mean())
            gap = round_trip(flow, other).values.abs().sum(1, keepdim=True)
            closing.append(c.consistency_weight * masked_mean(gap, near))
        return {"full warping": mean_of(looks), "flow smoothness": mean_of(rough), "consistency": mean_of(closing)}

    @torch.no_grad()
    def both_ways(self, image_a: Images, image_b: Images, intrinsics: Float[Tensor, "batch 3 3"]) -> tuple[Moves, Map]:
        """The flow from an earlier image to a later one, and delta: 1 where the way back closes. Of the size of training."""
        motion = self.pose(image_a, image_b)
        there = ImagePair(image_a, image_b, self.inverse_depths(image_a), motion, intrinsics)
        back = ImagePair(image_b, image_a, self.inverse_depths(image_b), inverse(motion), intrinsics)
        moves, again = self.moves(there), self.moves(back)
        return moves, returns_near(moves.full[0], again.full[0])

    def estimate(self, image: Images) -> Depth:
        with torch.no_grad():
            inverse_d = resize(self.inverse_depths(resize(image, *self.config.size))[0], *image.shape[-2:])
        return Depth(1 / inverse_d, torch.ones_like(inverse_d, dtype=torch.bool))

    @torch.no_grad()
    def preview(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        target, after = (unit_range(batch.images[:, number]) for number in (1, 2))
        moves, near = self.both_ways(target, after, batch.intrinsics)
        return {
            "image": target,
            "inverse depth (of the unknown unit, red is near)": self.inverse_depths(target)[0],
            "length of the rigid flow (px)": moves.rigid[0].norm(dim=1, keepdim=True),
            "length of the whole flow (px)": moves.full[0].norm(dim=1, keepdim=True),
            "length of the residual flow (px)": (moves.full[0] - moves.rigid[0]).norm(dim=1, keepdim=True),
            "the way back closes (1) or not (0)": near,
        }


def mean_of(values: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Of the scales."""
    assert len(values) == SCALES
    return torch.stack(list(values)).mean()


def add(parts: dict[str, Tensor], *terms: dict[str, Tensor]) -> None:
    """Adds a quarter of each term: there are two neighbours and two directions."""
    for one in terms:
        for name, value in one.items():
            parts[name] = parts.get(name, 0) + value / 4
