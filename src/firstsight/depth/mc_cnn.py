"""MC-CNN: whether two patches show the same point is learned, from pairs whose disparity is known.

Paper:  Zbontar, LeCun. Stereo Matching by Training a Convolutional Neural Network to Compare Image Patches. JMLR 17(65), 2016.
Idea:   for a pixel with disparity d, a positive at x - d + o, |o| <= 1, and a negative with 4 <= |o| <= 10       -> places()
        fast: cosines s of descriptors, loss max(0, 0.2 + s_- - s_+)                         eq. in section 3.1   -> hinge()
        accurate: a network's sigmoid, loss -log s_+ - log (1 - s_-)                         eq. in section 3.2
        then the cost C(p, d) = (1 - s) / 2, of the accurate one 1 - s, takes the place of census               -> LearnedCost
        cross-based averages, semi-global matching with edges of both images, left-right check -> depth.semi_global_matching
Differs: a descriptor depends on its patch alone, so that descriptors of whole images are sampled where the authors cut patches;
        offsets are rounded to pixels; a finished run can stand in for the truth (`taught`). Rotation, scale and shear of patches are left out; brightness and contrast are changed.
        Costs lie in [0, 1]; penalties are lower than the authors' (1.15 and 9.2 in this unit): fewer errors on cones and Motorcycle.
Role:   StereoEstimator.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from firstsight.depth import semi_global_matching as matching
from firstsight.errors import InputError
from firstsight.formats.storage.weights import read_published
from firstsight.geometry.images import luma
from firstsight.matching.aggregation.penalties import TwoImagePenalties
from firstsight.matching.correlation.local import Window, correlation
from firstsight.matching.costs.volumes import Grey, MatchingCost, Volume
from firstsight.nets.patch_descriptors import (
    Comparison,
    Descriptor,
    load_published,
    published_sizes,
    published_tensors,
)
from firstsight.roles import Disparity, Images, StereoEstimator
from firstsight.training.data.batch import unit_range
from firstsight.training.data.wanted import Wanted
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss, Preset, StepContext, Trainable
from firstsight.training.views import recoloured

Features = Float32[np.ndarray, "height width channels"]
Points = Int64[Tensor, " points"]
# Of the images, that are compared at a time: a hidden layer of the accurate network takes 25 MB of them.
BLOCK_PX = 2**14
PACKAGE, WEIGHTS = "mc_cnn", "weights/mc_cnn_fast_mb_weights.pt"


@dataclass(frozen=True, kw_only=True)
class Config:
    """`size` (height, width) of the images that are trained on. Offsets in px; costs and penalties as in [0, 1]."""

    size: tuple[int, int] = (256, 512)
    kind: Literal["fast", "accurate"] = "fast"
    layers: int = 4
    width: int = 64
    hidden_layers: int = 4
    hidden: int = 384
    margin: float = 0.2
    positive_px: float = 1.0
    negative_px: tuple[float, float] = (4.0, 10.0)
    points: int = 512  # of each image, in each step
    recoloured_share: float = 0.5
    taught: bool = False  # by what a finished run found, instead of by true disparity
    max_disparity_px: int | None = None  # of the matching; None: an eighth of the image's width
    p1: float = 0.3
    p2: float = 2.3
    edge: int = 10  # grey levels
    cross_passes: int = 2
    cross_px: int = 5

    def __post_init__(self):
        if not self.positive_px < self.negative_px[0] < self.negative_px[1]:
            raise InputError(
                "mc-cnn: negatives must be farther from the truth than positives: positive_px < negative_px"
            )


class Batch(NamedTuple):
    """Rectified pairs whose disparity is known in places, 0 elsewhere."""

    images: UInt8[Tensor, "batch time 3 height width"]
    right: UInt8[Tensor, "batch time 3 height width"]
    disparity: Float32[Tensor, "batch time 1 height width"]


class TaughtBatch(NamedTuple):
    """Rectified pairs, and the disparity of which a finished run is sure, 0 elsewhere."""

    images: UInt8[Tensor, "batch time 3 height width"]
    right: UInt8[Tensor, "batch time 3 height width"]
    taught_disparity: Float32[Tensor, "batch time 1 height width"]

    @property
    def disparity(self) -> Float32[Tensor, "batch time 1 height width"]:
        return self.taught_disparity


class Places(NamedTuple):
    """Rows and columns in the left image; columns of the positive and the negative in the right one."""

    y: Points
    x: Points
    positive: Points
    negative: Points


def places(disparity: Float32[Tensor, "height width"], drawn: Float32[Tensor, "points 4"], config: Config) -> Places:
    """As many points as are drawn (in [0, 1)), or none where no disparity is known with room for all offsets beside it."""
    low, high = config.negative_px
    columns = torch.arange(disparity.shape[1], device=disparity.device)
    match = columns - disparity
    room = (disparity > 0) & (match >= high + 1) & (match <= disparity.shape[1] - high - 2)
    y, x = room.nonzero(as_tuple=True)
    if not len(y):
        return Places(*4 * [y])
    chosen = (drawn[:, 0] * len(y)).long()
    y, x = y[chosen], x[chosen]
    near = config.positive_px * (2 * drawn[:, 1] - 1)
    far = (low + (high - low) * drawn[:, 2]) * torch.where(drawn[:, 3] < 0.5, -1, 1)
    there = match[y, x]
    return Places(y, x, (there + near).round().long(), (there + far).round().long())


def hinge(positive: Float[Tensor, " points"], negative: Float[Tensor, " points"], margin: float) -> Float[Tensor, ""]:
    """The mean of max(0, margin + s_- - s_+); 0 of no points."""
    return (margin + negative - positive).clamp(min=0).sum() / max(len(positive), 1)


@dataclass(frozen=True, eq=False)
class LearnedCost(MatchingCost):
    """1 less how well descriptors agree, in [0, 1]; `comparison` None: their cosine."""

    descriptor: Descriptor
    comparison: Comparison | None = None

    dtype: ClassVar[np.dtype] = np.dtype(np.float32)
    largest: ClassVar[float] = 1.0
    reach: ClassVar[int] = 0  # of what was described

    @torch.no_grad()
    def describe(self, image: Grey) -> Features:
        grey = torch.from_numpy(image.astype(np.float32))[None, None] / 255
        return self.descriptor(grey.to(self._device))[0].permute(1, 2, 0).contiguous().cpu().numpy()

    @torch.no_grad()
    def fill(self, left: Features, right: Features, volume: Volume) -> Volume:
        """Some rows at a time, so that what lies between takes little memory beside the volume."""
        by = self._fill_with_cosines if self.comparison is None else self._fill_by_comparison
        rows = max(BLOCK_PX // left.shape[1], 1)
        for y in range(0, len(left), rows):
            block = slice(y, y + rows)
            by(*(maps_of(features[block]).to(self._device) for features in (left, right)), volume[block])
        return volume

    def _fill_by_comparison(self, left: Tensor, right: Tensor, volume: Volume) -> None:
        columns = torch.arange(left.shape[3], device=left.device)
        for d in range(volume.shape[2]):
            volume[:, :, d] = self._unlike(left, right[..., (columns - d).clamp(min=0)])

    def _fill_with_cosines(self, left: Tensor, right: Tensor, volume: Volume) -> None:
        candidates, channels = volume.shape[2], left.shape[1]
        agree = channels * correlation(left, right, Window.disparities(candidates))[0]
        volume[:] = (0.5 - 0.5 * agree).permute(1, 2, 0).cpu().numpy()
        at_border = 0.5 - 0.5 * (left * right[..., :1]).sum(1)[0].cpu().numpy()  # (height, width)
        for x in range(min(candidates - 1, left.shape[3])):
            volume[:, x, x + 1 :] = at_border[:, x, None]

    @torch.no_grad()
    def between(self, a: Features, b: Features) -> Float32[np.ndarray, "height width"]:
        if self.comparison is None:
            return (0.5 - 0.5 * (a * b).sum(2)).astype(np.float32)
        return self._unlike(*(maps_of(features).to(self._device) for features in (a, b)))

    def _unlike(self, a: Tensor, b: Tensor) -> Float32[np.ndarray, "height width"]:
        """1 less the network's sigmoid."""
        assert self.comparison is not None
        return 1 - self.comparison(a, b)[0, 0].sigmoid().cpu().numpy()

    @property
    def _device(self) -> torch.device:
        """Where the networks are."""
        return next(self.descriptor.parameters()).device


def maps_of(features: Features) -> Float32[Tensor, "1 channels height width"]:
    return torch.from_numpy(features).permute(2, 0, 1)[None]


def installed_weights() -> Path:
    """The file in an installed `mccnn` package, which is not imported. Raises InputError where it is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "weights of MC-CNN: package mccnn is not installed; `pip install mccnn`, or give the file's path"
        )
    return Path(spec.submodule_search_locations[0]) / WEIGHTS


@final
class McCnn(StereoEstimator, Trainable[Batch | TaughtBatch]):
    """The cost is `cost`, for other matching than this one's."""

    PRESETS: ClassVar = {
        # 14 epochs of 25 million pairs of patches of KITTI 2015; the rate is a tenth for the last 3
        "paper": Preset(
            Config(),
            Recipe(
                steps=50_000, batch=4, optimiser="sgd", learning_rate=0.002, momentum=0.9,
                schedule="cosine", final_rate=0.1, checkpoint_every=2000,
            ),
        ),
        "accurate": Preset(
            Config(kind="accurate", width=112),
            Recipe(
                steps=50_000, batch=4, optimiser="sgd", learning_rate=0.003, momentum=0.9,
                schedule="cosine", final_rate=0.1, checkpoint_every=2000,
            ),
        ),
        "tiny": Preset(
            Config(size=(96, 160), width=32, points=1024),
            Recipe(steps=1000, batch=4, learning_rate=2e-3, warm_up=0.03, schedule="cosine", log_every=50),
        ),
    }  # fmt: skip

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        self.descriptor = Descriptor(c.layers, c.width, unit=c.kind == "fast")
        self.comparison = Comparison(c.width, c.hidden, c.hidden_layers) if c.kind == "accurate" else None

    @classmethod
    def from_published(cls, path: Path | None = None) -> "McCnn":
        """The network of a file of the `mccnn` package (Apache-2.0), fast or accurate, such as mc_cnn_fast_mb_weights.pt.

        None: the fast one of Middlebury, of the package where it is installed. Raises InputError where it is not, and for a
        file that holds something else; nothing in it is run.
        """
        path = path or installed_weights()
        tensors = published_tensors(read_published(path), path)
        sizes = published_sizes(tensors)
        if sizes.hidden:
            config = Config(kind="accurate", **sizes._asdict())
        else:
            config = Config(layers=sizes.layers, width=sizes.width)
        method = cls(config)
        load_published(method.descriptor, method.comparison, tensors, path)
        return method

    @property
    def wanted(self) -> Wanted:
        return Wanted(TaughtBatch if self.config.taught else Batch, self.config.size)

    @property
    def cost(self) -> LearnedCost:
        return LearnedCost(self.descriptor, self.comparison)

    def loss(self, batch: Batch | TaughtBatch, context: StepContext) -> Loss:
        left, right = (unit_range(images[:, 0]) for images in (batch.images, batch.right))
        left, right = differently_coloured(left, right, context.random, self.config.recoloured_share)
        of_left, of_right = self.descriptor(luma(left)), self.descriptor(luma(right))
        drawn = context.random.uniform(self.config.points, 4)
        losses, right_order = [], []
        for i in range(len(left)):
            at = places(batch.disparity[i, 0, 0], drawn[i], self.config)
            here = of_left[i][:, at.y, at.x]
            positive, negative = (self.agreement(here, of_right[i][:, at.y, x]) for x in (at.positive, at.negative))
            losses.append(self.of_points(positive, negative))
            right_order.append((positive > negative).float().mean() if len(positive) else positive.new_ones(()))
        return Loss(torch.stack(losses).mean(), {"right_order": torch.stack(right_order).mean().detach()})

    def agreement(self, a: Float[Tensor, "channels points"], b: Float[Tensor, "channels points"]) -> Tensor:
        """The cosine of descriptors, or the logit of the network that compares them."""
        if self.comparison is None:
            return (a * b).sum(0)
        return self.comparison(a[None, :, :, None], b[None, :, :, None])[0, 0, :, 0]

    def of_points(self, positive: Tensor, negative: Tensor) -> Tensor:
        if self.comparison is None:
            return hinge(positive, negative, self.config.margin)
        return (F.softplus(-positive) + F.softplus(negative)).sum() / max(len(positive), 1)

    def matcher(self, max_disparity_px: int | None = None) -> matching.SemiGlobalMatching:
        """Semi-global matching with the learned cost; None: the settings' largest disparity."""
        c = self.config
        cross = matching.CrossBased(passes=c.cross_passes, length_px=c.cross_px) if c.cross_passes else None
        return matching.SemiGlobalMatching(
            matching.Config(
                max_disparity_px=max_disparity_px or c.max_disparity_px,
                cost=self.cost,
                cross_based=cross,
                penalties=TwoImagePenalties(p1=c.p1, p2=c.p2, edge=c.edge),
            )
        )

    def estimate(self, left: Images, right: Images) -> Disparity:
        """Raises InputError while it is exported: semi-global matching is not made of operators that ONNX has."""
        if torch.compiler.is_exporting():
            raise InputError("mc-cnn: cannot be exported, its matching is not part of a network; use the folder itself")
        return self.matcher().estimate(left, right)

    @torch.no_grad()
    def preview(self, batch: Batch | TaughtBatch, context: StepContext) -> dict[str, Tensor]:
        left, right = (unit_range(images[:, 0]) for images in (batch.images, batch.right))
        shown = {"left": left, "right": right, "disparity (px, 0 where unknown)": batch.disparity[:, 0]}
        if self.comparison is not None:
            return shown
        of_left, of_right = self.descriptor(luma(left)), self.descriptor(luma(right))
        best = correlation(of_left, of_right, Window.disparities(left.shape[-1] // 8)).argmax(1, keepdim=True)
        return shown | {"disparity of the best cosine (px)": best.float()}

    def example_inputs(self, rows: int = 2, scale: float = 1.0) -> dict[str, Tensor]:
        left = super().example_inputs(rows, scale)["image"]
        return {"left": left, "right": left.roll(-2, 3)}


def differently_coloured(left: Images, right: Images, random: StepRandom, share: float) -> Sequence[Images]:
    """Both recoloured alike, then the right ones' brightness and contrast changed: cameras differ."""
    left, right = recoloured([left, right], random, share)
    gain, offset = random.uniform(1, 1, 1, low=0.8, high=1.2), random.uniform(1, 1, 1, low=-0.1, high=0.1)
    return left, (gain * right + offset).clamp(0, 1)
