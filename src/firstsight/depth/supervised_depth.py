"""Depth from one image, learned from depth that a LiDAR or a depth camera measured.

Paper:  Eigen, Puhrsch, Fergus. Depth Map Prediction from a Single Image using a Multi-Scale Deep Network. NIPS 2014.
Idea:   a network answers an image with log depth at four scales                                  -> log_depth(), nets.depth_net
        with e = log D^ - log D at the n pixels whose depth is known,
        L = mean of e^2 - lambda (mean of e)^2                                               eq. 4 -> scale_invariant()
        lambda = 1/2: half of an error that all pixels share is forgiven; with 1 all of it, so that only ratios count
Differs: one residual network with a decoder instead of two stacked ones, and the loss at each of its scales, where the truth is that of
        the nearest pixel. Depth is learned in units of the focal length over the image's width, so that a wider lens sees the same.
Role:   DepthEstimator in metres, for cameras whose field of view is like that of training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from firstsight.errors import InputError
from firstsight.geometry.pixels import resize
from firstsight.nets.depth_net import DepthNet, check_size
from firstsight.nets.resnet import Norm
from firstsight.roles import Depth, DepthEstimator, Images
from firstsight.training.data.batch import unit_range
from firstsight.training.data.wanted import Wanted
from firstsight.training.processes import mean_over_processes
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss, Preset, StepContext, Trainable
from firstsight.training.views import recoloured

KEPT = 0.99  # share of the cameras' field of view that a step keeps

Map = Float[Tensor, "batch 1 height width"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """`size` (height, width): multiples of 32, at least 64. Depth lies between `near` and `far`, and begins at their geometric mean."""

    size: tuple[int, int] = (224, 320)
    layers: Literal[18, 34, 50, 101] = 50
    encoder_width: int = 64
    decoder_width: int = 16
    norm: Norm = "batch"
    near: float = 0.3
    far: float = 120.0
    invariance: float = 0.5  # lambda
    recoloured_share: float = 0.5

    def __post_init__(self):
        check_size(self.size)
        if not 0 < self.near < self.far:
            raise InputError(f"near = {self.near:g}, far = {self.far:g}: choose 0 < near < far")
        if not 0 <= self.invariance <= 1:
            raise InputError(f"invariance = {self.invariance:g}: choose 0 to 1")


class Batch(NamedTuple):
    """Images with the depth of some of their pixels, 0 elsewhere."""

    images: UInt8[Tensor, "batch time 3 height width"]
    depth_m: Float32[Tensor, "batch time 1 height width"]
    intrinsics: Float32[Tensor, "batch 3 3"]


def scale_invariant(log_found: Map, log_true: Map, known: Map, invariance: float) -> Float[Tensor, ""]:
    """Eq. 4 of each sample, then the mean; 0 of a sample of which nothing is known. `known` is 1 or 0."""
    count = known.sum((1, 2, 3)).clamp(min=1)
    error = torch.where(known > 0, log_found - log_true, 0)
    mean, of_squares = error.sum((1, 2, 3)) / count, error.square().sum((1, 2, 3)) / count
    return (of_squares - invariance * mean.square()).mean()


@final
class SupervisedDepth(DepthEstimator, Trainable[Batch]):
    """`focal_share` = fx / width of the cameras that it learned from is kept with the weights."""

    PRESETS: ClassVar = {
        "paper": Preset(
            Config(), Recipe(steps=120_000, batch=16, learning_rate=1e-4, schedule="cosine", checkpoint_every=2000)
        ),
        "tiny": Preset(
            Config(size=(64, 192), layers=18, encoder_width=16, decoder_width=8, norm="none"),
            Recipe(steps=600, batch=4, learning_rate=2e-3, warm_up=1 / 30, schedule="cosine", log_every=50),
        ),
    }
    scale: ClassVar = "metric"
    focal_share: Tensor

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        self.net = DepthNet(1, 0.5, c.layers, (c.encoder_width, c.decoder_width), c.norm)
        self.register_buffer("focal_share", torch.zeros(()))

    @property
    def wanted(self) -> Wanted:
        return Wanted(Batch, self.config.size)

    def log_depth(self, image: Images) -> list[Tensor]:
        """The logarithm of depth over fx / width, at each scale of the network, finest first."""
        low, high = torch.tensor([self.config.near, self.config.far]).log().tolist()
        return [high - (high - low) * output for output in self.net(image)]

    def loss(self, batch: Batch, context: StepContext) -> Loss:
        (image,) = recoloured([unit_range(batch.images[:, 0])], context.random, self.config.recoloured_share)
        focal_share = batch.intrinsics[:, 0, 0] / image.shape[-1]
        true = batch.depth_m[:, 0] / focal_share[:, None, None, None]
        losses = []
        for found in self.log_depth(image):
            there = F.interpolate(true, found.shape[-2:], mode="nearest")
            known = (there > 0).to(found.dtype)
            losses.append(scale_invariant(found, there.clamp(min=1e-6).log(), known, self.config.invariance))
        total = torch.stack(losses).mean()
        return Loss(total, {"finest": losses[0].detach()}, carry={"focal_share": focal_share})

    def after_update(self, carry: Mapping[str, Tensor], context: StepContext) -> None:
        """Follows the cameras' field of view."""
        seen = mean_over_processes(carry["focal_share"].mean())
        kept = KEPT if self.focal_share > 0 else 0.0
        self.focal_share.copy_(kept * self.focal_share + (1 - kept) * seen)

    def estimate(self, image: Images) -> Depth:
        if not torch.compiler.is_exporting() and not self.focal_share > 0:
            raise InputError("supervised-depth is not trained: train it, or load weights")
        with torch.no_grad():
            found = self.log_depth(resize(image, *self.config.size))[0].exp()
            depth = self.focal_share * resize(found, *image.shape[-2:])
        return Depth(depth, torch.ones_like(depth, dtype=torch.bool))

    @torch.no_grad()
    def preview(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        image, true = unit_range(batch.images[:, 0]), batch.depth_m[:, 0]
        share = (batch.intrinsics[:, 0, 0] / image.shape[-1])[:, None, None, None]
        return {
            "image": image,
            "inverse depth (1/m, red is near)": 1 / (share * self.log_depth(image)[0].exp()),
            "true inverse depth (1/m, 0 where unknown)": torch.where(true > 0, 1 / true.clamp(min=1e-6), 0),
        }
