"""Depth from one image, learned from stereo pairs without depth: each camera's image must explain the other's.

Paper:  Godard, Mac Aodha, Brostow. Unsupervised Monocular Depth Estimation with Left-Right Consistency. CVPR 2017.
Idea:   a network sees the left image alone and answers with the disparities of both, d^l and d^r, at four scales. The
        right image moved by d^l must look like the left one, and the left one moved by d^r like the right one.
        I~^l(x) = I^r(x - d^l(x)),  I~^r(x) = I^l(x + d^r(x))                       -> geometry.warp.warp_by_disparity()
        C_ap = mean of alpha (1 - SSIM(I, I~)) / 2 + (1 - alpha) |I - I~|     eq. 2    -> losses.photometric
        C_ds = mean of |d_x| exp(-|I_x|) + |d_y| exp(-|I_y|)                  eq. 3    -> losses.smoothness
        C_lr^l = mean of |d^l(x) - d^r(x - d^l(x))|                           eq. 4    -> losses.consistency
        C_s = a_ap (C_ap^l + C_ap^r) + a_ds / 2^s (C_ds^l + C_ds^r) + a_lr (C_lr^l + C_lr^r) eq. 1 -> terms(), weighted()
        C = sum over the four scales s, each with the images of its size                     -> Monodepth.loss()
        afterwards one camera is enough: depth = fx baseline / d, of the cameras that trained it.
        Its left border, which the right camera did not see, is taken from the mirrored image -> blended()
Differs: the encoder is a residual network without batch normalisation and with 7 maps fewer (nets.unet); images are
        centred; the loss is that of whole 3x3 windows. `first_share` begins where small images have theirs.
Role:   DepthEstimator in metres, for cameras like those it learned from, whatever the size of the image.
Units:  disparities are shares of the width, as in the paper's code, so that losses of all scales weigh the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from firstsight.errors import InputError
from firstsight.geometry.pixels import resize
from firstsight.geometry.warp import warp_by_disparity
from firstsight.losses.consistency import left_right
from firstsight.losses.photometric import photometric
from firstsight.losses.smoothness import edge_aware
from firstsight.nets.depth_net import DepthNet, check_size
from firstsight.nets.resnet import Norm
from firstsight.nets.unet import SCALES
from firstsight.roles import Depth, DepthEstimator, Images
from firstsight.training.data.batch import unit_range
from firstsight.training.data.wanted import Wanted
from firstsight.training.processes import mean_over_processes
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss, Preset, StepContext, Trainable
from firstsight.training.views import recoloured

Shares = Float[Tensor, "batch 2 height width"]  # disparity of the left and of the right image
# Share of the cameras' reach that a step keeps.
KEPT = 0.99
# Of the width, at both borders.
RAMP = 0.05


@dataclass(frozen=True, kw_only=True)
class Config:
    """`size` (height, width): multiples of 32, at least 64. Weights of 0 leave a term out."""

    size: tuple[int, int] = (256, 512)
    layers: Literal[18, 34, 50, 101] = 50
    encoder_width: int = 64
    decoder_width: int = 16
    norm: Norm = "none"
    largest_share: float = 0.3  # of the width, that a disparity can have
    first_share: float = 0.15  # that it begins with
    alpha: float = 0.85
    appearance_weight: float = 1.0
    smoothness_weight: float = 0.1
    consistency_weight: float = 1.0
    recoloured_share: float = 0.5  # of the samples, whose colours are changed
    post_process: bool = True

    def __post_init__(self):
        check_size(self.size)
        if not 0 < self.first_share < self.largest_share:
            raise InputError(f"first_share = {self.first_share:g}: must lie between 0 and largest_share")


class Batch(NamedTuple):
    """Rectified pairs of one instant, from cameras of known focal length and baseline."""

    images: UInt8[Tensor, "batch time 3 height width"]
    right: UInt8[Tensor, "batch time 3 height width"]
    intrinsics: Float32[Tensor, "batch 3 3"]
    baseline_m: Float32[Tensor, " batch"]


class Terms(NamedTuple):
    """The terms of the loss at one scale, left and right added."""

    appearance: Float[Tensor, ""]
    smoothness: Float[Tensor, ""]
    consistency: Float[Tensor, ""]


def terms(left: Float[Tensor, "batch 3 height width"], right: Tensor, shares: Shares, alpha: float = 0.85) -> Terms:
    """C_ap, C_ds and C_lr of images and disparities of one size."""
    width = shares.shape[-1]
    of_left, of_right = shares.split(1, 1)
    left_again = warp_by_disparity(right, width * of_left).values
    right_again = warp_by_disparity(left, -width * of_right).values
    gap_left, gap_right = left_right(width * of_left, width * of_right)
    return Terms(
        photometric(left, left_again, alpha).mean() + photometric(right, right_again, alpha).mean(),
        edge_aware(of_left, left).mean() + edge_aware(of_right, right).mean(),
        (gap_left.mean() + gap_right.mean()) / width,
    )


def weighted(of_scales: Sequence[Terms], config: Config) -> Terms:
    """The three terms with their weights, summed over the scales."""
    return Terms(
        config.appearance_weight * sum_of([t.appearance for t in of_scales]),
        config.smoothness_weight * sum_of([t.smoothness / 2**s for s, t in enumerate(of_scales)]),
        config.consistency_weight * sum_of([t.consistency for t in of_scales]),
    )


def sum_of(values: Sequence[Tensor]) -> Float[Tensor, ""]:
    return torch.stack(list(values)).sum()


def pyramid(image: Float[Tensor, "batch channels height width"]) -> list[Tensor]:
    """The image at each scale of the network's answers, averaged over squares."""
    return [image if scale == 0 else F.avg_pool2d(image, 2**scale) for scale in range(SCALES)]


def mirrored_pairs(left: Images, right: Images, random: StepRandom) -> tuple[Images, Images]:
    """Half of the pairs as a mirror shows them, in which the right camera is the left one."""
    mirrored = (random.uniform() < 0.5)[:, None, None, None]
    return torch.where(mirrored, right.flip(-1), left), torch.where(mirrored, left.flip(-1), right)


def blended(
    shares: Float[Tensor, "batch 1 height width"], mirrored: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, "batch 1 height width"]:
    """The mean of the answer and of the mirrored image's, mirrored back; at each border that which saw both sides."""
    from_left = torch.linspace(0, 1, shares.shape[-1], dtype=shares.dtype, device=shares.device)
    at_left = 1 - ((from_left - RAMP) / RAMP).clamp(0, 1)
    at_right = at_left.flip(-1)
    return at_left * mirrored + at_right * shares + (1 - at_left - at_right) * (shares + mirrored) / 2


@final
class Monodepth(DepthEstimator, Trainable[Batch]):
    """`reach_m` = fx baseline / width is the depth whose disparity is as wide as the image; it is kept with the weights."""

    PRESETS: ClassVar = {
        # 50 epochs of KITTI's 29,000 pairs
        "paper": Preset(
            Config(),
            Recipe(
                steps=181_250,
                batch=8,
                learning_rate=1e-4,
                schedule="halving",
                halvings=(0.6, 0.8),
                checkpoint_every=2000,
            ),
        ),
        "tiny": Preset(
            Config(size=(64, 192), layers=18, encoder_width=16, decoder_width=8, first_share=0.02, post_process=True),
            Recipe(steps=600, batch=4, learning_rate=2e-3, warm_up=1 / 30, schedule="cosine", log_every=50),
        ),
    }
    scale: ClassVar = "metric"
    reach_m: Tensor

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        widths = (c.encoder_width, c.decoder_width)
        self.net = DepthNet(2, c.first_share / c.largest_share, c.layers, widths, c.norm)
        self.register_buffer("reach_m", torch.zeros(()))

    @property
    def wanted(self) -> Wanted:
        return Wanted(Batch, self.config.size)

    def disparities(self, left: Images) -> list[Tensor]:
        """The disparities of both images at each scale, from the left one."""
        return [self.config.largest_share * output for output in self.net(left)]

    def loss(self, batch: Batch, context: StepContext) -> Loss:
        left, right = unit_range(batch.images[:, 0]), unit_range(batch.right[:, 0])
        left, right = mirrored_pairs(left, right, context.random)
        left, right = recoloured([left, right], context.random, self.config.recoloured_share)
        scales = zip(pyramid(left), pyramid(right), self.disparities(left), strict=True)
        parts = weighted([terms(*scale, self.config.alpha) for scale in scales], self.config)
        shown = {name: part.detach() for name, part in parts._asdict().items()}
        return Loss(
            sum_of(parts), shown, carry={"reach_m": batch.intrinsics[:, 0, 0] * batch.baseline_m / left.shape[-1]}
        )

    def after_update(self, carry: Mapping[str, Tensor], context: StepContext) -> None:
        """Follows the cameras' reach, which turns disparity into depth where there is one camera only."""
        seen = mean_over_processes(carry["reach_m"].mean())
        kept = KEPT if self.reach_m > 0 else 0.0
        self.reach_m.copy_(kept * self.reach_m + (1 - kept) * seen)

    def left_share(self, image: Images) -> Float32[Tensor, "batch 1 height width"]:
        """The disparity of the image as if it were a left one, post-processed, at the size of training."""
        share = self.disparities(image)[0][:, :1]
        if not self.config.post_process:
            return share
        return blended(share, self.disparities(image.flip(-1))[0][:, :1].flip(-1))

    def estimate(self, image: Images) -> Depth:
        if not torch.compiler.is_exporting() and not self.reach_m > 0:
            raise InputError("monodepth is not trained: train it, or load weights")
        with torch.no_grad():
            share = self.left_share(resize(image, *self.config.size))
            depth = self.reach_m / resize(share, *image.shape[-2:])
        return Depth(depth, torch.ones_like(depth, dtype=torch.bool))

    @torch.no_grad()
    def preview(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        left, right = unit_range(batch.images[:, 0]), unit_range(batch.right[:, 0])
        shares = self.disparities(left)[0]
        again = warp_by_disparity(right, left.shape[-1] * shares[:, :1]).values
        return {
            "left": left,
            "left image from the right": again,
            "disparity of the left image (share of the width, red is near)": shares[:, :1],
            "disparity of the right image (share of the width, red is near)": shares[:, 1:],
        }
