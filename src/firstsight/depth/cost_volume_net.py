"""Stereo by a network that compares: features of both images, all their scores, and the mean disparity that these make likely.

Paper:  Kendall et al. End-to-End Learning of Geometry and Context for Deep Stereo Regression. ICCV 2017 (GC-Net); Mayer et al. A Large
        Dataset to Train Convolutional Networks for Disparity, Optical Flow, and Scene Flow Estimation. CVPR 2016 (scores by correlation).
Idea:   features at 1/4 of the resolution, the same network for both images
        c(d, x) = <f_l(x), f_r(x - d)> / C for all d                                              -> matching.correlation.local
        convolutions over disparity, rows and columns let neighbours agree                               -> Regulariser
        d^ = sum_d d softmax(-c)(d), which can be differentiated and lies between disparities     eq. 1  -> soft_argmin()
        Of two disparities that are equally likely it answers the middle, where nothing is: it is valid only where the right image's
        disparity, found by the same network from the mirrored pair, says the same.
Differs: GC-Net concatenates features where scores are taken here, and has a deep hourglass where there are a few convolutions.
Role:   StereoEstimator.  Units: px.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.geometry.warp import warp_by_disparity
from firstsight.matching.correlation.local import Window, correlation
from firstsight.nets.depth_net import normalised
from firstsight.nets.flow_decoder import SLOPE, convolution
from firstsight.roles import Disparity, Images, StereoEstimator
from firstsight.training.data.batch import unit_range
from firstsight.training.data.wanted import Wanted
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss, Preset, StepContext, Trainable
from firstsight.training.views import recoloured

STRIDE = 4  # of the features, px
AGREE_PX = 1.0  # of both images' disparities, and that share of them
AGREE_SHARE = 0.05

Map = Float[Tensor, "batch 1 height width"]
Volume = Float[Tensor, "batch candidates height width"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """`size` (height, width): multiples of 4. `largest_share` of the width that a disparity can have."""

    size: tuple[int, int] = (256, 512)
    width: int = 32
    inner: int = 16  # channels of the volume
    layers: int = 6
    largest_share: float = 0.375
    recoloured_share: float = 0.5

    def __post_init__(self):
        if any(side % STRIDE or side < 32 for side in self.size):
            raise InputError(
                f"cost-volume-net: size {self.size[0]}x{self.size[1]}: both sides must be multiples of 4, at least 32"
            )
        if self.layers < 2:
            raise InputError(f"cost-volume-net: {self.layers} layers; give at least 2")


class Batch(NamedTuple):
    """Rectified pairs whose disparity is known in places, 0 elsewhere."""

    images: UInt8[Tensor, "batch time 3 height width"]
    right: UInt8[Tensor, "batch time 3 height width"]
    disparity: Float32[Tensor, "batch time 1 height width"]


def soft_argmin(cost: Volume) -> Map:
    """The mean candidate, weighted by softmax of the costs' negative."""
    candidates = torch.arange(cost.shape[1], dtype=cost.dtype, device=cost.device)
    return (cost.neg().softmax(1) * candidates[:, None, None]).sum(1, keepdim=True)


def masked_error(found: Map, true: Map) -> Float[Tensor, ""]:
    """The mean of |found - true| over what is known (> 0) of each sample, then of all; 0 of one of which nothing is."""
    known = (true > 0).to(found.dtype)
    return ((known * (found - true).abs()).sum((1, 2, 3)) / known.sum((1, 2, 3)).clamp(min=1)).mean()


def agreeing(left: Map, right: Map) -> Bool[Tensor, "batch 1 height width"]:
    """Where the right image's disparity, at the pixel that the left one's points to, is the same."""
    there, inside = warp_by_disparity(right, left)
    return inside & ((left - there).abs() <= AGREE_PX + AGREE_SHARE * left)


@final
class Regulariser(nn.Module):
    """Convolutions over disparity, rows and columns, each but the first and the last added to what it is given."""

    def __init__(self, inner: int, layers: int):
        super().__init__()
        channels = [1] + (layers - 1) * [inner] + [1]
        self.layers = nn.ModuleList(nn.Conv3d(channels[i], channels[i + 1], 3, padding=1) for i in range(layers))

    def forward(self, scores: Volume) -> Volume:
        """Costs of scores."""
        maps = F.leaky_relu(self.layers[0](scores[:, None]), SLOPE)
        for layer in self.layers[1:-1]:
            maps = maps + F.leaky_relu(layer(maps), SLOPE)
        return self.layers[-1](maps)[:, 0]


@final
class CostVolumeNet(StereoEstimator, Trainable[Batch]):
    """Disparity at 1/4 of the resolution, brought to the images' by interpolation."""

    PRESETS: ClassVar = {
        "paper": Preset(
            Config(), Recipe(steps=150_000, batch=1, learning_rate=1e-3, schedule="cosine", checkpoint_every=2000)
        ),
        "tiny": Preset(
            Config(size=(96, 160), width=16, inner=8, layers=5, largest_share=0.2),
            Recipe(steps=1000, batch=4, learning_rate=2e-3, warm_up=0.03, schedule="cosine", log_every=50),
        ),
    }

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        self.features = nn.Sequential(
            convolution(3, c.width, 5, 2),
            convolution(c.width, c.width),
            convolution(c.width, c.width, 3, 2),
            convolution(c.width, c.width),
            nn.Conv2d(c.width, c.width, 3, padding=1),
        )
        self.sharpness = nn.Parameter(torch.tensor(10.0))  # of the scores, cosines
        self.regulariser = Regulariser(c.inner, c.layers)

    @property
    def wanted(self) -> Wanted:
        return Wanted(Batch, self.config.size)

    def disparity(self, left: Images, right: Images) -> Map:
        """The disparity of images whose sides are multiples of 4."""
        both = F.normalize(self.features(normalised(torch.cat([left, right]))), dim=1)
        of_left, of_right = both.chunk(2)
        count = max(2, round(self.config.largest_share * of_left.shape[-1]))
        scores = self.sharpness * of_left.shape[1] * correlation(of_left, of_right, Window.disparities(count))
        found = STRIDE * soft_argmin(self.regulariser(scores) - scores)
        return F.interpolate(found, left.shape[-2:], mode="bilinear", align_corners=False)

    def loss(self, batch: Batch, context: StepContext) -> Loss:
        pair = [unit_range(images[:, 0]) for images in (batch.images, batch.right)]
        left, right = recoloured(pair, context.random, self.config.recoloured_share)
        error = masked_error(self.disparity(left, right), batch.disparity[:, 0])
        return Loss(error, {"error_px": error.detach()})

    def estimate(self, left: Images, right: Images) -> Disparity:
        """Images are padded to multiples of 4 below and on the right; the right one's disparity comes from the mirrored pair."""
        height, width = left.shape[-2:]
        padding = (0, -width % STRIDE, 0, -height % STRIDE)
        left, right = (F.pad(image, padding, mode="replicate") for image in (left, right))
        with torch.no_grad():
            found = self.disparity(left, right)
            of_right = self.disparity(right.flip(-1), left.flip(-1)).flip(-1)
            valid = agreeing(found, of_right) & (found > 0)
        return Disparity(found[..., :height, :width], valid[..., :height, :width])

    def example_inputs(self, rows: int = 2, scale: float = 1.0) -> dict[str, Tensor]:
        left = super().example_inputs(rows, scale)["image"]
        return {"left": left, "right": left.roll(-2, 3)}

    @torch.no_grad()
    def preview(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        left, right = (unit_range(images[:, 0]) for images in (batch.images, batch.right))
        return {
            "left": left,
            "right": right,
            "disparity (px)": self.disparity(left, right),
            "true disparity (px, 0 where unknown)": batch.disparity[:, 0],
        }
