"""Depth from one image, learned from what one moving camera records: images must explain those before and after.

Paper:  Godard, Mac Aodha, Firman, Brostow. Digging Into Self-Supervised Monocular Depth Estimation. ICCV 2019; after
        Zhou, Brown, Snavely, Lowe. Unsupervised Learning of Depth and Ego-Motion from Video. CVPR 2017.
Idea:   one network answers with the depth D of image I_t, another with the camera's motion T to the image before
        and the one after; where both are right, those images seen from where I_t was taken look like it.
        D = 1 / (1 / far + (1 / near - 1 / far) sigma)                                section 3.2 -> inverse_depth()
        I_t'->t(p) = I_t'(project(K T_t->t' D(p) K^-1 p))                             eq. 2       -> seen_from()
        L_p(p) = min over t' of pe(I_t, I_t'->t)(p), pe = losses.photometric          eq. 4       -> min_reprojection()
        mu(p) = [min pe(I_t, I_t'->t) < min pe(I_t, I_t')]: what stays where it is while the camera moves, and a camera
        that stands, say nothing of depth                                             eq. 5       -> automask()
        L_s = |d*_x| exp(-|I_x|) + |d*_y| exp(-|I_y|), d* = 1 / D over its mean       eq. 3       -> losses.smoothness
        L = mean over the four scales of mu L_p + lambda / 2^s L_s; for L_p D of every scale is brought to full size, L_s is
        that of each scale's own size, as in the authors' code                                   -> Monodepth2.loss()
Differs: the first weights are drawn, not ImageNet's; the decoder is monodepth's; only whole windows are judged. Norm
        "none" makes the loss of a sample independent of its batch. Pixels that mu leaves out count with the error of
        the unmoved neighbour instead of with 0: the gradient is the same, and the loss falls as the network learns.
Role:   DepthEstimator of unknown scale: one camera cannot tell a small world from a large one.
Units:  depth and translation share one unknown unit, in which depth lies between `near` and `far`, begins near 2 `near`
        and the camera moves by some POSE_UNITs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, final

import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.geometry.pixels import resize
from firstsight.geometry.se3 import inverse, se3_exp
from firstsight.geometry.warp import rigid_flow, warp_by_flow
from firstsight.losses.photometric import photometric
from firstsight.losses.smoothness import edge_aware
from firstsight.nets.depth_net import DepthNet, check_size, normalised
from firstsight.nets.resnet import Norm, ResNet
from firstsight.roles import Depth, DepthEstimator, Images
from firstsight.training.data.batch import unit_range
from firstsight.training.data.wanted import Wanted, frames
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss, Preset, StepContext, Trainable
from firstsight.training.views import recoloured

Output = Float[Tensor, "batch 1 height width"]
ScaleOutput = Float[Tensor, "batch 1 _ _"]
ErrorMap = Float[Tensor, "batch 1 rows columns"]
Motion = Float[Tensor, "batch 4 4"]
# Of the pose network's outputs: motion begins small, and suits a depth of 0.2.
POSE_UNIT = 0.01
POSE_CHANNELS = 256


@dataclass(frozen=True, kw_only=True)
class Config:
    """`size` (height, width): multiples of 32, at least 64. `first_share`: the sigma that the depth network begins with."""

    size: tuple[int, int] = (192, 640)
    layers: Literal[18, 34, 50, 101] = 18
    encoder_width: int = 64
    decoder_width: int = 16
    norm: Norm = "batch"
    near: float = 0.1
    far: float = 100.0
    first_share: float = 0.5
    alpha: float = 0.85
    smoothness_weight: float = 1e-3
    minimum: bool = True  # False: the mean over the neighbours
    masked: bool = True
    recoloured_share: float = 0.5

    def __post_init__(self):
        check_size(self.size)
        if not 0 < self.near < self.far:
            raise InputError(f"near = {self.near:g}, far = {self.far:g}: choose 0 < near < far")


def inverse_depth(output: Output, near: float, far: float) -> Output:
    """1 / D of the network's output in [0, 1]."""
    return 1 / far + (1 / near - 1 / far) * output


def seen_from(
    source: Float[Tensor, "batch 3 height width"],
    depth: Output,
    source_from_target: Motion,
    intrinsics: Float[Tensor, "batch 3 3"],
) -> Float[Tensor, "batch 3 height width"]:
    """The source image from where the target was taken, whose depth is given."""
    flow, _ = rigid_flow(depth, source_from_target, intrinsics)
    return warp_by_flow(source, flow).values


def min_reprojection(errors: Sequence[ErrorMap], minimum: bool = True) -> ErrorMap:
    """That of the best neighbour: a pixel hidden in one is often seen in another. The mean without `minimum`."""
    stacked = torch.stack(list(errors))
    return stacked.amin(0) if minimum else stacked.mean(0)


def automask(moved: ErrorMap, unmoved: ErrorMap) -> Bool[Tensor, "batch 1 rows columns"]:
    """Returns where moving the neighbour explains the image better than leaving it as it is."""
    return moved < unmoved


def mirrored_clips(
    views: Sequence[Images], intrinsics: Float32[Tensor, "batch 3 3"], random: StepRandom
) -> tuple[list[Images], Float32[Tensor, "batch 3 3"]]:
    """Half of the samples as a mirror shows them, with the principal point where it then is."""
    mirrored = random.uniform() < 0.5
    mirrored_intrinsics = intrinsics.clone()
    mirrored_intrinsics[:, 0, 2] = views[0].shape[-1] - 1 - intrinsics[:, 0, 2]
    chosen = mirrored[:, None, None, None]
    return [torch.where(chosen, view.flip(-1), view) for view in views], torch.where(
        mirrored[:, None, None], mirrored_intrinsics, intrinsics
    )


@final
class PoseNet(nn.Module):
    """Two images in the order of time in, later_from_earlier out."""

    def __init__(self, layers: Literal[18, 34, 50, 101], width: int, norm: Norm):
        super().__init__()
        self.encoder = ResNet(layers, in_channels=6, width=width, norm=norm)
        inner = POSE_CHANNELS * width // 64
        self.head = nn.Sequential(
            nn.Conv2d(self.encoder.channels[-1], inner, 1),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(inner, 6, 1),
        )

    def forward(self, earlier: Images, later: Images) -> Motion:
        both = normalised(torch.cat([earlier, later], 1))
        tangent = self.head(self.encoder.features(both)[-1]).mean((-2, -1))
        return se3_exp(POSE_UNIT * tangent)


class Batch(NamedTuple):
    """Clips of three frames, before, target and after, from a camera whose intrinsics are known."""

    images: UInt8[Tensor, "batch time 3 height width"]
    intrinsics: Float32[Tensor, "batch 3 3"]


class Terms(NamedTuple):
    """The terms of one scale."""

    appearance: Float[Tensor, ""]
    smoothness: Float[Tensor, ""]


@final
class Monodepth2(DepthEstimator, Trainable[Batch]):
    """Learns from each image with the one before and the one after."""

    PRESETS: ClassVar = {
        # 20 epochs of KITTI's 39,810 clips
        "paper": Preset(
            Config(),
            Recipe(
                steps=66_000,
                batch=12,
                learning_rate=1e-4,
                schedule="halving",
                halvings=(0.75,),
                checkpoint_every=2000,
            ),
        ),
        "tiny": Preset(
            Config(size=(64, 192), encoder_width=16, decoder_width=8, norm="none"),
            Recipe(steps=300, batch=4, learning_rate=1e-3, warm_up=1 / 15, schedule="cosine", log_every=50),
        ),
    }
    scale: ClassVar = "unknown"

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        self.net = DepthNet(1, c.first_share, c.layers, (c.encoder_width, c.decoder_width), c.norm)
        self.pose = PoseNet(c.layers, c.encoder_width, c.norm)

    @property
    def wanted(self) -> Wanted:
        return Wanted(Batch, self.config.size, clip=frames(-1, 0, 1))

    def inverse_depths(self, image: Images) -> list[ScaleOutput]:
        """1 / D at each scale, at the scale's own size; the first is as large as the image."""
        return [inverse_depth(output, self.config.near, self.config.far) for output in self.net(image)]

    def motions(self, before: Images, target: Images, after: Images) -> tuple[Motion, Motion]:
        """before_from_target, after_from_target."""
        return inverse(self.pose(before, target)), self.pose(target, after)

    def loss(self, batch: Batch, context: StepContext) -> Loss:
        views = [unit_range(batch.images[:, number]) for number in range(3)]
        views, intrinsics = mirrored_clips(views, batch.intrinsics, context.random)
        shown = recoloured(views, context.random, self.config.recoloured_share)
        of_scales = self.terms(views, intrinsics, self.inverse_depths(shown[1]), self.motions(*shown))
        appearance = torch.stack([t.appearance for t in of_scales]).sum() / len(of_scales)
        smoothness = torch.stack([t.smoothness / 2**s for s, t in enumerate(of_scales)]).sum() / len(of_scales)
        total = appearance + self.config.smoothness_weight * smoothness
        return Loss(total, {"appearance": appearance.detach(), "smoothness": smoothness.detach()})

    def terms(
        self,
        views: Sequence[Images],
        intrinsics: Float[Tensor, "batch 3 3"],
        inverse_depths: Sequence[ScaleOutput],
        motions: Sequence[Motion],
    ) -> list[Terms]:
        """mu L_p at the images' size and L_s at that of each scale's 1 / D, for images (before, target, after)."""
        before, target, after = views
        sources, c = (before, after), self.config
        unmoved = min_reprojection([photometric(target, source, c.alpha) for source in sources], c.minimum)
        of_scales = []
        for inverse_d in inverse_depths:
            depth = 1 / resize(inverse_d, *target.shape[-2:])
            seen = [
                seen_from(source, depth, motion, intrinsics) for source, motion in zip(sources, motions, strict=True)
            ]
            moved = min_reprojection([photometric(target, again, c.alpha) for again in seen], c.minimum)
            judged = torch.where(automask(moved, unmoved), moved, unmoved) if c.masked else moved
            normal = inverse_d / inverse_d.mean((-2, -1), keepdim=True)
            of_its_size = resize(target, *inverse_d.shape[-2:])
            of_scales.append(Terms(judged.mean(), edge_aware(normal, of_its_size).mean()))
        return of_scales

    def estimate(self, image: Images) -> Depth:
        with torch.no_grad():
            output = resize(self.net(resize(image, *self.config.size))[0], *image.shape[-2:])
            depth = 1 / inverse_depth(output, self.config.near, self.config.far)
        return Depth(depth, torch.ones_like(depth, dtype=torch.bool))

    @torch.no_grad()
    def preview(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        before, target, after = (unit_range(batch.images[:, number]) for number in range(3))
        inverse_d, motions = self.inverse_depths(target)[0], self.motions(before, target, after)
        again = seen_from(after, 1 / inverse_d, motions[1], batch.intrinsics)
        return {
            "image": target,
            "image from the next": again,
            "inverse depth (of the unknown unit, red is near)": inverse_d,
        }
