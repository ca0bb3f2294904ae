"""A toy method for each need that a method can have of the training."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from firstsight.training.data.batch import Ragged, unit_range
from firstsight.training.data.wanted import Wanted, drawn, frames
from firstsight.training.processes import gather_rows
from firstsight.training.trainable import EmaPair, Group, Loss, Round, Trainable

SIZE = (6, 8)


@dataclass(frozen=True, kw_only=True)
class Config:
    width: int = 4


class ToyMethod(Trainable):
    """What the toys have in common: a small network, and the batch and clip that they learn from."""

    batch: type[Any]
    clip = frames(0)
    order: Any = "shuffled"
    size: tuple[int, int] | None = SIZE
    inputs = 3

    def __init__(self, config: Config | None = None):
        super().__init__()
        self.config = config or Config()
        self.net = nn.Linear(self.inputs, self.config.width)

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.batch, self.size, self.clip, self.order)


def colour(images: Tensor) -> Tensor:
    """The mean colour of images."""
    return unit_range(images).mean((-2, -1))


class FlowBatch(NamedTuple):
    images: UInt8[Tensor, "batch time 3 height width"]
    flow_ab: Float32[Tensor, "batch 2 height width"]
    valid: Bool[Tensor, "batch 1 height width"]


class MaskedTruth(ToyMethod):
    """Learns true flow where it is known; of a sample the mean over its known pixels."""

    batch, clip = FlowBatch, frames(0, 1)

    def __init__(self, config: Config | None = None):
        super().__init__(config)
        self.net = nn.Conv2d(6, 2, 1)

    def loss(self, batch: FlowBatch, context) -> Loss:
        error = (self.net(unit_range(batch.images).flatten(1, 2)) - batch.flow_ab).abs() * batch.valid
        return Loss((error.sum((1, 2, 3)) / batch.valid.sum((1, 2, 3)).clamp_min(1)).mean())


class BoxBatch(NamedTuple):
    images: UInt8[Tensor, "batch time 3 height width"]
    boxes: Ragged


class RaggedBoxes(ToyMethod):
    """Learns how many boxes there are, and their mean size; frames have none to three."""

    batch, clip = BoxBatch, frames(-1, 0)

    def loss(self, batch: BoxBatch, context) -> Loss:
        found = self.net(colour(batch.images[:, -1]))
        now = [row[-1] for row in batch.boxes.rows()]
        sizes = torch.stack([boxes[:, 3:6].sum(0) / max(len(boxes), 1) for boxes in now])
        count = batch.boxes.lengths[:, -1:].float()
        return Loss((found - torch.cat([count, sizes], 1)).square().mean())


class PoseBatch(NamedTuple):
    depth_m: Float32[Tensor, "batch time 1 height width"]
    world_from_camera: Float64[Tensor, "batch time 4 4"]
    stamp_s: Float64[Tensor, "batch time"]


class PosesAndDepth(ToyMethod):
    """Learns the way between two frames from their depth and the time between them."""

    batch, clip, inputs = PoseBatch, frames(0, 2), 3

    def loss(self, batch: PoseBatch, context) -> Loss:
        first, second = batch.world_from_camera.unbind(1)
        way = (torch.linalg.inv(first) @ second)[:, :3, 3].float()
        passed = (batch.stamp_s[:, 1] - batch.stamp_s[:, 0]).float()[:, None]
        found = self.net(torch.cat([batch.depth_m.mean((2, 3, 4)), passed], 1))
        return Loss((found[:, :3] - way).square().mean())


class ImagesAndTimes(NamedTuple):
    images: UInt8[Tensor, "batch time 3 height width"]
    stamp_s: Float64[Tensor, "batch time"]


class DrawnGaps(ToyMethod):
    """Learns from pairs whose distance in time is drawn anew in each step."""

    batch, clip = ImagesAndTimes, drawn((0, 0), (1, 3))

    def loss(self, batch: ImagesAndTimes, context) -> Loss:
        near = self.net(colour(batch.images[:, 0])) - self.net(colour(batch.images[:, 1]))
        gap = (batch.stamp_s[:, 1] - batch.stamp_s[:, 0]).float()
        return Loss((near.square().mean(1) - gap).square().mean(), {"gap": gap.mean()})


class StreamBatch(NamedTuple):
    images: UInt8[Tensor, "batch time 3 height width"]
    starts: Bool[Tensor, " batch"]


class StreamWithMemory(ToyMethod):
    """Predicts the next memory of a stream; each process remembers its own rows."""

    batch, order = StreamBatch, "stream"

    def __init__(self, config: Config | None = None):
        super().__init__(config)
        self.register_buffer("memory", None, persistent=False)

    def loss(self, batch: StreamBatch, context) -> Loss:
        now = self.net(colour(batch.images[:, 0]))
        before = torch.zeros_like(now) if self.memory is None else self.memory
        before = torch.where(batch.starts[:, None], 0.0, before)
        return Loss((now - before - 0.1).square().mean(), carry={"memory": 0.5 * before + now})

    def after_update(self, carry, context):
        self.memory = carry["memory"]


class LabelBatch(NamedTuple):
    images: UInt8[Tensor, "batch time 3 height width"]
    label: Int64[Tensor, " batch"]


class Labels(ToyMethod):
    """A classifier."""

    batch = LabelBatch

    def loss(self, batch: LabelBatch, context) -> Loss:
        return Loss(F.cross_entropy(self.net(colour(batch.images[:, 0])), batch.label))


class IndexBatch(NamedTuple):
    images: UInt8[Tensor, "batch time 3 height width"]
    index: Int64[Tensor, " batch"]


class MemoryBank(ToyMethod):
    """Tells samples apart by a bank of the features that each had last, of all samples and so the same in all processes."""

    batch = IndexBatch

    def __init__(self, config: Config | None = None):
        super().__init__(config)
        self.register_buffer("bank", torch.zeros(0, self.config.width), persistent=False)

    def loss(self, batch: IndexBatch, context) -> Loss:
        features = F.normalize(self.net(colour(batch.images[:, 0])), dim=1)
        bank = self.bank if len(self.bank) else torch.zeros(context.sample_count, self.config.width)
        total = F.cross_entropy(features @ bank.T, batch.index)
        return Loss(total, features=features, carry={"index": batch.index, "features": features})

    def after_update(self, carry, context):
        if not len(self.bank):
            self.bank = torch.zeros(context.sample_count, self.config.width)
        self.bank[gather_rows(carry["index"])] = gather_rows(carry["features"])


class ActionBatch(NamedTuple):
    actions: Float32[Tensor, "batch 2"]
    velocity: Float32[Tensor, "batch 1"]


class Actions(ToyMethod):
    """Learns without images: what an action does to the velocity."""

    batch, size, inputs = ActionBatch, None, 2

    def loss(self, batch: ActionBatch, context) -> Loss:
        noise = 0.1 * context.random.on_device().normal(2)
        return Loss((self.net(batch.actions + noise).mean(1, keepdim=True) - batch.velocity).square().mean())

    def example_inputs(self, rows: int = 2, scale: float = 1.0) -> dict[str, Tensor]:
        return {"actions": torch.ones(rows, 2)}


class Stacked(ToyMethod):
    """Two layers, each learned when the one below has ended."""

    batch, size, inputs = ActionBatch, None, 2

    def __init__(self, config: Config | None = None, below: nn.Module | None = None):
        super().__init__(config)
        self.below, self.next = below, None
        if below is not None:
            self.net = nn.Linear(self.config.width, self.config.width)
            below.requires_grad_(False)

    def features(self, actions: Tensor) -> Tensor:
        return self.net(actions if self.below is None else self.below.features(actions)).tanh()

    def loss(self, batch: ActionBatch, context) -> Loss:
        return Loss((self.features(batch.actions).mean(1, keepdim=True) - batch.velocity).square().mean())

    def rounds(self, data, recipe):
        samples = data(self.wanted)
        yield Round("first", self, samples, recipe)
        torch.manual_seed(0)
        yield Round("second", Stacked(self.config, self), samples, replace(recipe, steps=4))


class Groups(ToyMethod):
    """A slow network, a head at a constant rate, and a scale that is frozen at first."""

    batch = LabelBatch

    def __init__(self, config: Config | None = None):
        super().__init__(config)
        self.head, self.scale = nn.Linear(self.config.width, 3), nn.Parameter(torch.ones(3))

    def groups(self):
        head = list(self.head.parameters())
        return (
            Group(list(self.net.parameters()), rate=0.1),
            Group(head, scheduled=False, decays=False),
            Group([self.scale], frozen_until=0.5),
        )

    def loss(self, batch: LabelBatch, context) -> Loss:
        return Loss(
            F.cross_entropy(self.scale * self.head(self.net(colour(batch.images[:, 0])).tanh()), batch.label % 3)
        )


class Contrast(ToyMethod):
    """Compares all samples of a batch, normalised over it, with a teacher; one layer is used every second step, one never."""

    batch = LabelBatch
    couples_samples = True

    def __init__(self, config: Config | None = None):
        super().__init__(config)
        width = self.config.width
        self.norm, self.sometimes, self.never = nn.BatchNorm1d(width), nn.Linear(width, width), nn.Linear(width, width)
        self.teacher = nn.Linear(3, width).requires_grad_(False)

    def ema_pairs(self):
        return (EmaPair(self.teacher, self.net, momentum=0.9),)

    def loss(self, batch: LabelBatch, context) -> Loss:
        features = self.norm(self.net(colour(batch.images[:, 0])))
        if context.step % 2:
            features = self.sometimes(features)
        keys = gather_rows(self.teacher(colour(batch.images[:, 0])))
        logits = gather_rows(F.normalize(features, dim=1)) @ F.normalize(keys, dim=1).T
        return Loss(F.cross_entropy(5 * logits, torch.arange(len(logits))), features=features)


class Chains(ToyMethod):
    """Each process has chains of its own: that is why two processes are not one."""

    batch = LabelBatch
    couples_samples = True

    def __init__(self, config: Config | None = None):
        super().__init__(config)
        self.register_buffer("chains", torch.zeros(2, 3), persistent=False)

    def loss(self, batch: LabelBatch, context) -> Loss:
        moved = self.chains + context.random.normal(3)[: len(self.chains)]
        total = self.net(colour(batch.images[:, 0])).square().mean() - self.net(moved).square().mean().clamp_max(1)
        return Loss(total, carry={"chains": moved})

    def after_update(self, carry, context):
        self.chains.copy_(carry["chains"])


class Dropped(ToyMethod):
    """Dropout: each process drops other units of its rows than one process with all rows does."""

    batch = LabelBatch

    def loss(self, batch: LabelBatch, context) -> Loss:
        return Loss(F.cross_entropy(F.dropout(self.net(colour(batch.images[:, 0]))), batch.label))
