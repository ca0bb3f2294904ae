"""A classifier trained with labels: the baseline that features learned without labels are measured against.

Paper:  He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016, section 3.4;
        Krizhevsky, Sutskever, Hinton. ImageNet Classification with Deep Convolutional Neural Networks. NIPS 2012.
Idea:   f = a residual network's mean of its last stage, s = W f + b, one score for each class      -> nets.resnet
        loss = mean over images of -log softmax(s)_y, y the label                                   -> cross_entropy()
        Only a random crop, half of the time mirrored, is seen in training                          -> training.views
        f is what a probe or another task is given                                                  -> Classifier.encode()
Differs: the rate falls by a cosine where the paper divides it by ten three times; crops have no changed colours; images are
        centred with one mean and spread for all channels. The "tiny" preset sees whole images and has no crops.
Role:   Encoder: the features before the last layer. `scores` says how well each class of `Config.classes` fits.
Units:  the loss is in nats.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, final

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor, nn

from firstsight.errors import InputError
from firstsight.nets.depth_net import normalised
from firstsight.nets.resnet import Norm, ResNet
from firstsight.roles import Encoder, Images
from firstsight.training.data.batch import unit_range
from firstsight.training.data.wanted import Wanted
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import DataFacts, Loss, Preset, StepContext, Trainable
from firstsight.training.views import View, view

CROP = View(scale=(0.08, 1.0), jitter=0.0, grey=0.0, blur=0.0)


@dataclass(frozen=True, kw_only=True)
class Config:
    """`size` (height, width) of the images, from which `crop`s are cut. `classes` are the names in the data, in their order."""

    size: tuple[int, int] = (256, 256)
    crop: View | None = CROP
    layers: Literal[18, 34, 50, 101] = 50
    width: int = 64
    norm: Norm = "batch"
    classes: tuple[str, ...] = ()


class Batch(NamedTuple):
    """Images with the number of their class."""

    images: UInt8[Tensor, "batch time 3 height width"]
    label: Int64[Tensor, " batch"]


def cross_entropy(scores: Float32[Tensor, "batch classes"], label: Int64[Tensor, " batch"]) -> Float32[Tensor, ""]:
    """Mean over the images of -log softmax(scores) at the label."""
    return -scores.log_softmax(1).gather(1, label[:, None]).mean()


@final
class Classifier(Encoder, Trainable[Batch]):
    """Learns which of its classes an image shows."""

    PRESETS: ClassVar = {
        # 90 epochs of ImageNet
        "paper": Preset(
            Config(),
            Recipe(
                steps=450_000,
                batch=256,
                optimiser="sgd",
                learning_rate=0.1,
                weight_decay=1e-4,
                schedule="cosine",
                checkpoint_every=5000,
            ),
        ),
        "tiny": Preset(
            Config(size=(32, 32), crop=None, layers=18, width=8),
            Recipe(steps=120, batch=32, learning_rate=3e-3, warm_up=0.1, schedule="cosine", log_every=25),
        ),
    }

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = config or Config()
        self.net = ResNet(self.config.layers, width=self.config.width, norm=self.config.norm)
        self.head = nn.Linear(self.net.channels[-1], max(len(self.config.classes), 1))

    @classmethod
    def completed(cls, config: Any, facts: DataFacts) -> Any:
        """The settings with the classes of the data."""
        return config if config.classes else replace(config, classes=facts.classes)

    @property
    def wanted(self) -> Wanted:
        return Wanted(Batch, self.config.size)

    def loss(self, batch: Batch, context: StepContext) -> Loss:
        if len(self.config.classes) < 2:
            raise InputError("classifier: it learns from images of two classes or more, in folders by class")
        images = unit_range(batch.images[:, 0])
        if self.config.crop is not None:
            images = view(images, self.config.crop, context.random)
        features = self.encode(images)
        scores = self.head(features)
        right = (scores.argmax(1) == batch.label).float().mean()
        return Loss(cross_entropy(scores, batch.label), {"accuracy": right}, features.detach())

    def scores(self, image: Images) -> Float32[Tensor, "batch classes"]:
        """How well each class fits each image; their softmax are probabilities."""
        return self.head(self.encode(image))

    def encode(self, image: Images) -> Float32[Tensor, "batch features"]:
        return self.net(normalised(image))

    @torch.no_grad()
    def preview(self, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        return {"input": unit_range(batch.images[:, 0])}
