"""DINO: a student learns to say of small crops what its own moving average says of large ones.

Paper:  Caron, Touvron, Misra, Jégou, Mairal, Bojanowski, Joulin. Emerging Properties in Self-Supervised Vision
        Transformers. ICCV 2021.
Idea:   g = head(CLS), a point on the unit sphere compared with K prototypes                                    -> Head
        student   P_s = softmax(g_s / tau_s), of every view                                             -> cross_view()
        teacher   P_t = softmax((g_t - c) / tau_t), of the two large views, without gradient           -> teacher_probs()
                  Low tau_t sharpens: without it P_t becomes uniform. c centres: without it P_t becomes one-hot.
        L = mean over pairs (x large, x' another view) of H(P_t(x), P_s(x'))                            -> cross_view()
        c <- m c + (1 - m) mean g_t over the batch of all processes                                       -> centred()
        theta_t <- l theta_t + (1 - l) theta_s, l by a cosine from 0.996 to 1                    the recipe's `ema`
        tau_t rises linearly while training begins                                               -> teacher_temperature()
        The prototypes of the student are frozen for the first share of the training                     -> groups()
Differs: no stochastic depth (the authors' code has it, the paper does not name it). The length of each prototype is 1, as
        the code has it by default. Views are as in training/views.py. `centring` off and equal temperatures show collapse.
Role:   Encoder: the CLS features of the teacher.
Units:  temperatures and entropies (nats) are pure numbers.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import ClassVar, NamedTuple, final

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional as F

from firstsight.nets.vit import Config as VitConfig
from firstsight.nets.vit import VisionTransformer, initialise
from firstsight.representation.attention import at_pixels, cls_attention
from firstsight.roles import Encoder, Images
from firstsight.training.data.batch import ImageBatch, unit_range
from firstsight.training.data.wanted import Wanted
from firstsight.training.processes import mean_over_processes
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import EmaPair, Group, Loss, Preset, StepContext, Trainable
from firstsight.training.views import View, views

VIT_SMALL = VitConfig()
VIEW = View(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
LARGE = (
    replace(VIEW, scale=(0.4, 1.0), blur=1.0),
    replace(VIEW, scale=(0.4, 1.0), blur=0.1, solarise=0.2),
)
SMALL = replace(VIEW, size=(96, 96), scale=(0.05, 0.4), blur=0.5)

Logits = Float[Tensor, "views batch prototypes"]
LargeLogits = Float[Tensor, "large batch prototypes"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Shares are of all steps. `size` is that (height, width) of the images that views are cut from."""

    vit: VitConfig = VIT_SMALL
    size: tuple[int, int] = (256, 256)
    large: tuple[View, View] = LARGE
    small: View = SMALL
    small_views: int = 8
    hidden: int = 2048
    bottleneck: int = 256
    prototypes: int = 65536
    student_temperature: float = 0.1
    teacher_temperature: float = 0.07
    first_teacher_temperature: float = 0.04
    temperature_share: float = 0.3  # in which the teacher's temperature rises
    frozen_share: float = 0.01  # in which prototypes are frozen
    centring: bool = True
    centre_momentum: float = 0.9


class Head(nn.Module):
    """Three layers, then the cosine with each prototype."""

    def __init__(self, width: int, hidden: int, bottleneck: int, prototypes: int):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        initialise(self.mlp)
        nn.init.kaiming_uniform_(self.prototypes, a=5**0.5)

    def forward(self, features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows prototypes"]:
        return F.normalize(self.mlp(features), dim=1) @ F.normalize(self.prototypes, dim=1).T


class Network(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.vit = VisionTransformer(config.vit)
        self.head = Head(config.vit.width, config.hidden, config.bottleneck, config.prototypes)

    def features(self, crops: Sequence[Tensor]) -> Float[Tensor, "rows width"]:
        """The CLS features of views, view after view of all images. Views of one size that follow each other go together."""
        together = [torch.cat(list(same)) for _, same in groupby(crops, key=lambda crop: crop.shape)]
        return torch.cat([self.vit(images).cls for images in together])


class Agreement(NamedTuple):
    """Means over images and pairs of views: cross entropy, entropy of the teacher, and their difference."""

    cross_entropy: Float[Tensor, ""]
    entropy: Float[Tensor, ""]
    divergence: Float[Tensor, ""]


def teacher_temperature(config: Config, progress: float) -> float:
    first, last = config.first_teacher_temperature, config.teacher_temperature
    return first + (last - first) * min(progress / max(config.temperature_share, 1e-9), 1.0)


def teacher_probs(logits: LargeLogits, centre: Float[Tensor, " prototypes"], temperature: float) -> LargeLogits:
    """P_t = softmax((g - c) / tau)."""
    return ((logits - centre) / temperature).softmax(-1)


def centred(centre: Float[Tensor, " prototypes"], logits: LargeLogits, momentum: float) -> Float[Tensor, " prototypes"]:
    """The moving average of what the teacher says, before its softmax."""
    return momentum * centre + (1 - momentum) * mean_over_processes(logits.mean((0, 1)))


def cross_view(teacher: LargeLogits, student_logits: Logits, student_temperature: float) -> Agreement:
    """H(P_t(x), P_s(x')) for every x of the teacher's views, which are the student's first, and every other x'."""
    log_student = (student_logits / student_temperature).log_softmax(-1)
    crossed = -torch.einsum("tbk,sbk->ts", teacher, log_student) / teacher.shape[1]
    others = ~torch.eye(*crossed.shape, dtype=torch.bool, device=crossed.device)
    entropy = -torch.xlogy(teacher, teacher).sum(-1).mean()
    cross_entropy = crossed[others].mean()
    return Agreement(cross_entropy, entropy, cross_entropy.detach() - entropy)


# Steps of an epoch: ImageNet in batches of 1024.
EPOCH = 1_281_167 // 1024
PAPER = Recipe(
    steps=100 * EPOCH,
    batch=1024,
    optimiser="adamw",
    learning_rate=5e-4,
    learning_rate_batch=256,
    warm_up=0.1,
    schedule="cosine",
    final_rate=5e-4,
    weight_decay=0.04,
    final_weight_decay=0.4,
    clip=3.0,
    clip_each=True,
    ema=0.996,
    log_every=50,
    checkpoint_every=EPOCH,
)
PLAIN = {"jitter": 0.0, "grey": 0.0, "blur": 0.0, "solarise": 0.0}
# Of drawn grey patterns, where it shows in 200 steps what DINO does; real pictures need more (benchmarks/dino.md).
PATTERNS_CONFIG = Config(
    vit=VitConfig(size=(24, 24), patch=4, width=48, blocks=3, heads=4),
    size=(24, 24),
    large=(replace(LARGE[0], size=(24, 24), **PLAIN), replace(LARGE[1], size=(24, 24), **PLAIN)),
    small=replace(SMALL, size=(12, 12), scale=(0.25, 0.6), **PLAIN),
    small_views=2,
    hidden=96,
    bottleneck=32,
    prototypes=64,
    teacher_temperature=0.02,
    first_teacher_temperature=0.015,
    frozen_share=0.1,
    centre_momentum=0.5,
)
PATTERNS_RECIPE = replace(
    PAPER,
    steps=200,
    batch=32,
    learning_rate=5e-4,
    learning_rate_batch=None,
    warm_up=0.1,
    ema=0.9,
    log_every=10,
    checkpoint_every=100,
)


MILD = {"jitter": 0.4, "grey": 0.1, "blur": 0.0, "solarise": 0.0}
CIFAR_CONFIG = Config(
    vit=VitConfig(size=(32, 32), patch=4, width=64, blocks=4, heads=4),
    size=(32, 32),
    large=(replace(LARGE[0], size=(32, 32), **MILD), replace(LARGE[1], size=(32, 32), **MILD)),
    small=replace(SMALL, size=(16, 16), scale=(0.2, 0.6), **MILD),
    small_views=2,
    hidden=256,
    bottleneck=64,
    prototypes=256,
    teacher_temperature=0.025,
    first_teacher_temperature=0.025,
    centre_momentum=0.5,
)
CIFAR_RECIPE = replace(
    PAPER,
    steps=5000,
    batch=64,
    learning_rate=5e-4,
    warm_up=0.04,
    final_weight_decay=0.1,
    ema=0.98,
    final_ema=0.995,
    clip_each=False,
    log_every=50,
    checkpoint_every=250,
)


@final
class Dino(Encoder, Trainable[ImageBatch]):
    """Images in, features out; learns from any images."""

    PRESETS: ClassVar = {
        "paper": Preset(Config(), PAPER),
        "cifar": Preset(CIFAR_CONFIG, CIFAR_RECIPE),
        # within ten minutes of one core: cifar's with a fifth of the steps at four times the rate
        "tiny": Preset(CIFAR_CONFIG, replace(CIFAR_RECIPE, steps=1000, learning_rate=2e-3, warm_up=0.1)),
        "patterns": Preset(PATTERNS_CONFIG, PATTERNS_RECIPE),
    }
    centre: Tensor

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = config = config or Config()
        self.student = Network(config)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.register_buffer("centre", torch.zeros(config.prototypes), persistent=False)

    @property
    def wanted(self) -> Wanted:
        return Wanted(ImageBatch, self.config.size)

    def encode(self, image: Images) -> Float32[Tensor, "batch features"]:
        return self.teacher.vit(image).cls

    def loss(self, batch: ImageBatch, context: StepContext) -> Loss:
        config = self.config
        crops = views(
            unit_range(batch.images[:, 0]), [*config.large, *[config.small] * config.small_views], context.random
        )
        features = self.student.features(crops)
        student = self.student.head(features).unflatten(0, (len(crops), -1))
        with torch.no_grad():
            logits = self.teacher.head(self.teacher.features(crops[:2])).unflatten(0, (2, -1))
            teacher = teacher_probs(logits, self.centre, teacher_temperature(config, context.progress))
        agreement = cross_view(teacher, student, config.student_temperature)
        parts = {"teacher entropy": agreement.entropy, "KL to student": agreement.divergence}
        shown = features[: len(batch.images)].detach()
        return Loss(agreement.cross_entropy, parts, shown, carry={"logits": logits.transpose(0, 1)})

    def groups(self) -> tuple[Group, ...]:
        """The prototypes begin to learn later than the rest."""
        prototypes = self.student.head.prototypes
        others = [parameter for parameter in self.student.parameters() if parameter is not prototypes]
        return Group(others), Group([prototypes], frozen_until=self.config.frozen_share)

    def ema_pairs(self) -> tuple[EmaPair, ...]:
        return (EmaPair(self.teacher, self.student),)

    def after_update(self, carry: Mapping[str, Tensor], context: StepContext) -> None:
        """Moves the centre towards what the teacher says."""
        if self.config.centring:
            logits = carry["logits"].transpose(0, 1)
            self.centre.copy_(centred(self.centre, logits, self.config.centre_momentum))

    def preview(self, batch: ImageBatch, context: StepContext) -> dict[str, Tensor]:
        images, config = unit_range(batch.images[:, 0]), self.config
        large, _, small = views(images, [*config.large, config.small], context.random)
        attention = at_pixels(cls_attention(self.teacher.vit, images), config.vit.patch).mean(1, keepdim=True)
        attention = attention / attention.amax((2, 3), keepdim=True)
        return {
            "input": images,
            "large view": large,
            "small view": small,
            "attention (share of the largest)": attention,
        }
