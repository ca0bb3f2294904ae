"""Depth from one image, learned from what a finished run found by other means: its depth where it was sure, its poses.

Paper:  Klodt, Vedaldi. Supervising the New with the Old: Learning SfM from SfM. ECCV 2018; photometric terms as in Godard et al.
        Digging Into Self-Supervised Monocular Depth Estimation. ICCV 2019; Watson et al., Depth Hints, ICCV 2019, for stereo.
Idea:   a network answers with log depth d and with how far off it expects to be, a Laplace spread b     -> LearnsFromRun.answers()
        L_t = mean over pixels whose depth the run knows of |d - d_t| / b + log b     section 3.2   -> of_teacher()
        L_p: neighbours seen with d and the run's poses must look like the image; the best neighbour counts, and none where
        leaving it as it is explains more                                -> monodepth2.min_reprojection(), automask()
        L = L_t + w_p L_p + w_s smoothness of 1 / D, at the finest scale; L_t at four                    -> loss()
        The unit is the run's: metres where its sensors know them, so that there is no pose network and no unknown scale.
Differs: the run's poses are taken as they are, where Klodt and Vedaldi learn a pose network from them as well.
Role:   DepthEstimator, for cameras like those of the runs that taught it, in their unit.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from torch import Tensor

from firstsight.depth.monodepth2 import automask, min_reprojection, seen_from
from firstsight.errors import InputError
from firstsight.geometry.pixels import resize
from firstsight.geometry.se3 import inverse
from firstsight.losses.photometric import photometric
from firstsight.losses.smoothness import edge_aware
from firstsight.nets.depth_net import DepthNet, check_size
from firstsight.nets.resnet import Norm
from firstsight.roles import Depth, DepthEstimator, Images
from firstsight.training.data.batch import unit_range
from firstsight.training.data.wanted import Wanted, frames
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import Loss, Preset, StepContext, Trainable
from firstsight.training.views import recoloured

Map = Float[Tensor, "batch 1 height width"]
# Laplace spreads of log depth, that can be answered.
LEAST_SPREAD, LARGEST_SPREAD = 0.01, 1.0


@dataclass(frozen=True, kw_only=True)
class Config:
    """`size` (height, width): multiples of 32, at least 64. Depth lies between `near` and `far`, in the run's unit."""

    size: tuple[int, int] = (192, 640)
    layers: Literal[18, 34, 50, 101] = 18
    encoder_width: int = 64
    decoder_width: int = 16
    norm: Norm = "batch"
    near: float = 0.1
    far: float = 200.0
    alpha: float = 0.85
    photometric_weight: float = 1.0
    smoothness_weight: float = 0.01
    recoloured_share: float = 0.5

    def __post_init__(self):
        check_size(self.size)
        if not 0 < self.near < self.far:
            raise InputError(f"near = {self.near:g}, far = {self.far:g}: choose 0 < near < far")


class Batch(NamedTuple):
    """Clips of three frames, before, target and after, and what a finished run knows of them."""

    images: UInt8[Tensor, "batch time 3 height width"]
    intrinsics: Float32[Tensor, "batch 3 3"]
    taught_depth_m: Float32[Tensor, "batch time 1 height width"]
    taught_world_from_camera: Float64[Tensor, "batch time 4 4"]


class Sample(NamedTuple):
    """A clip as the loss takes it: images, the taught depth of the middle one, and how the camera moved."""

    before: Images
    target: Images
    after: Images
    depth: Map
    before_from_target: Float32[Tensor, "batch 4 4"]
    after_from_target: Float32[Tensor, "batch 4 4"]
    intrinsics: Float32[Tensor, "batch 3 3"]


class Answer(NamedTuple):
    """Log depth, and the Laplace spread of its error."""

    log_depth: Map
    spread: Map


def sample_of(batch: Batch) -> Sample:
    poses = batch.taught_world_from_camera
    motions = [(inverse(poses[:, time]) @ poses[:, 1]).float() for time in (0, 2)]
    views = [unit_range(batch.images[:, time]) for time in range(3)]
    return Sample(*views, batch.taught_depth_m[:, 1], *motions, batch.intrinsics)


def mirrored(sample: Sample, chosen: Bool[Tensor, " batch"]) -> Sample:
    """The chosen clips as a mirror shows them: x is reversed in images, motion and principal point."""
    flip = torch.diag(sample.intrinsics.new_tensor([-1.0, 1.0, 1.0, 1.0]))
    intrinsics = sample.intrinsics.clone()
    intrinsics[:, 0, 2] = sample.target.shape[-1] - 1 - intrinsics[:, 0, 2]
    turned = Sample(
        *(image.flip(-1) for image in sample[:4]),
        *(flip @ motion @ flip for motion in (sample.before_from_target, sample.after_from_target)),
        intrinsics,
    )
    return Sample(
        *(
            torch.where(chosen.view(-1, *[1] * (one.ndim - 1)), two, one)
            for one, two in zip(sample, turned, strict=True)
        )
    )


def of_teacher(answer: Answer, depth: Map) -> Float[Tensor, ""]:
    """L_t of each clip, then the mean; `depth` is of the answer's size, 0 where the run knows none."""
    known = depth > 0
    off = (answer.log_depth - depth.clamp(min=1e-6).log()).abs() / answer.spread + answer.spread.log()
    return (torch.where(known, off, 0).sum((1, 2, 3)) / known.sum((1, 2, 3)).clamp(min=1)).mean()


class LearnsFromRun(Trainable[Batch]):
    """A network that is taught by a finished run; subclasses say what it is used for.

    `calibration` multiplies the spread: a network knows the frames that taught it better than others (`calibrate`).
    """

    calibration: Tensor

    PRESETS: ClassVar = {
        "paper": Preset(
            Config(), Recipe(steps=66_000, batch=12, learning_rate=1e-4, schedule="cosine", checkpoint_every=2000)
        ),
        "tiny": Preset(
            Config(size=(64, 192), encoder_width=16, decoder_width=8, norm="none"),
            Recipe(steps=600, batch=4, learning_rate=1e-3, warm_up=1 / 30, schedule="cosine", log_every=50),
        ),
    }

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = c = config or Config()
        self.net = DepthNet(2, 0.5, c.layers, (c.encoder_width, c.decoder_width), c.norm)
        self.register_buffer("calibration", torch.ones(()))

    @property
    def wanted(self) -> Wanted:
        return Wanted(Batch, self.config.size, clip=frames(-1, 0, 1))

    def answers(self, image: Images) -> list[Answer]:
        """At four scales, finest first."""
        low, high = np.log([self.config.near, self.config.far])
        least, largest = np.log([LEAST_SPREAD, LARGEST_SPREAD])
        outputs = [output.split(1, 1) for output in self.net(image)]
        return [Answer(high - (high - low) * one, (least + (largest - least) * two).exp()) for one, two in outputs]

    def loss(self, batch: Batch, context: StepContext) -> Loss:
        sample = mirrored(sample_of(batch), context.random.uniform() < 0.5)
        (shown,) = recoloured([sample.target], context.random, self.config.recoloured_share)
        answers = self.answers(shown)
        taught = [of_teacher(a, F.interpolate(sample.depth, a.spread.shape[-2:], mode="nearest")) for a in answers]
        inverse_depth = (-answers[0].log_depth).exp()
        parts = {"taught": torch.stack(taught).mean()}
        if self.config.photometric_weight > 0:
            parts["photometric"] = self.config.photometric_weight * self.of_neighbours(sample, 1 / inverse_depth)
        normal = inverse_depth / inverse_depth.mean((-2, -1), keepdim=True)
        parts["smoothness"] = self.config.smoothness_weight * edge_aware(normal, sample.target).mean()
        return Loss(torch.stack(list(parts.values())).sum(), {name: part.detach() for name, part in parts.items()})

    def of_neighbours(self, sample: Sample, depth: Map) -> Float[Tensor, ""]:
        """L_p."""
        sources = ((sample.before, sample.before_from_target), (sample.after, sample.after_from_target))
        again = [seen_from(source, depth, motion, sample.intrinsics) for source, motion in sources]
        moved = min_reprojection([photometric(sample.target, view, self.config.alpha) for view in again])
        unmoved = min_reprojection([photometric(sample.target, source, self.config.alpha) for source, _ in sources])
        return torch.where(automask(moved, unmoved), moved, unmoved).mean()

    @torch.no_grad()
    def calibrate(self, pairs: Iterable[tuple[Images, Map]]) -> float:
        """Scales the spread by what is off in images that did not teach; (image, depth in the unit of the network, 0 unknown).

        The factor is the mean of |log D - log D_t| / b, which for Laplace errors of spread b is 1; returned, 1 without pixels.
        """
        ratios = []
        for image, depth in pairs:
            answer = self.answers(resize(image, *self.config.size))[0]
            there = F.interpolate(depth, answer.spread.shape[-2:], mode="nearest")
            off = (answer.log_depth - there.clamp(min=1e-6).log()).abs() / answer.spread
            ratios.append(off[there > 0])
        known = torch.cat(ratios) if ratios else torch.empty(0)
        self.calibration.fill_(float(known.mean()) if len(known) else 1.0)
        return float(self.calibration)

    @torch.no_grad()
    def of_image(self, image: Images) -> tuple[Map, Map]:
        """Depth of images of any size, and the standard deviation of its error: that of a Laplace distribution is sqrt 2 b."""
        answer = self.answers(resize(image, *self.config.size))[0]
        depth, spread = (resize(maps, *image.shape[-2:]) for maps in (answer.log_depth, answer.spread))
        depth = depth.exp()
        return depth, self.calibration * math.sqrt(2) * spread * depth

    @torch.no_grad()
    def preview(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        sample = sample_of(batch)
        answer = self.answers(sample.target)[0]
        return {
            "image": sample.target,
            "inverse depth (1 / unit of the run, red is near)": (-answer.log_depth).exp(),
            "taught (0 where the run knows none)": torch.where(
                sample.depth > 0, 1 / sample.depth.clamp(min=1e-6), sample.depth
            ),
            "spread of log depth that is expected": answer.spread,
        }


@final
class TaughtDepth(DepthEstimator, LearnsFromRun):
    """One image is enough; nothing but the image is asked for."""

    scale: ClassVar = "metric"

    def estimate(self, image: Images) -> Depth:
        depth, error_m = self.of_image(image)
        return Depth(depth, torch.ones_like(depth, dtype=torch.bool), error_m)
