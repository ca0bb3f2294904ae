"""A toy method for each need that a method can have of the training, its data, and how it is trained."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from harness import Case
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from firstsight.recordings.recording import (
    Box,
    Camera,
    Channel,
    DepthImage,
    FlowImage,
    Recording,
    Rig,
    Truth,
)
from firstsight.training.data.batch import Ragged, unit_range
from firstsight.training.data.clips import Clips
from firstsight.training.data.dataset import Arrays, Dataset
from firstsight.training.data.wanted import Wanted, drawn, frames
from firstsight.training.processes import World, gather_rows, sum_over_processes
from firstsight.training.recipe import Recipe
from firstsight.training.step.batch_norm import synchronised
from firstsight.training.trainable import EmaPair, Group, Loss, Round, Trainable

RECIPE = Recipe(steps=6, batch=4, optimiser="sgd", learning_rate=0.05, log_every=1, checkpoint_every=2)
SIZE = (6, 8)
FRAMES = 12


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


def recording() -> Recording:
    """A few frames of noise with all truth that the toys want; frame k has k % 4 boxes, and is k seconds late."""
    rng = np.random.default_rng(0)
    camera = Camera(name="left", size=SIZE, intrinsics=np.eye(3), body_from_camera=np.eye(4))
    images = rng.integers(0, 255, (FRAMES, *SIZE, 3), np.uint8)
    depth = rng.uniform(1, 5, (FRAMES, *SIZE)).astype(np.float32)
    flow = rng.normal(size=(FRAMES, *SIZE, 2)).astype(np.float32)
    known = rng.random((FRAMES, *SIZE)) < 0.5
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    poses[:, :3, 3] = np.cumsum(rng.random((FRAMES, 3)), 0)
    boxes = [tuple(Box(k, "car", np.eye(4), (1.0 + k, 2.0, 3.0), True) for k in range(i % 4)) for i in range(FRAMES)]
    truth = Truth(
        world_from_camera=poses,
        depth=Channel(FRAMES, lambda i: DepthImage(depth[i], known[i])),
        flow=Channel(FRAMES, lambda i: FlowImage(flow[i], known[i], known[i])),
        boxes=Channel(FRAMES, lambda i: boxes[i]),
    )
    stamps = np.arange(FRAMES, dtype=np.int64) * 10**9
    channels = {"left": Channel(FRAMES, lambda i: images[i])}
    return Recording(
        source="noise", format="arrays", rig=Rig(cameras=(camera,)), stamps_ns=stamps, images=channels, truth=truth
    )


def from_recording(wanted: Wanted) -> Dataset:
    return Clips(recording(), wanted)


def from_arrays(wanted: Wanted) -> Dataset:
    rng = np.random.default_rng(1)
    arrays = {
        "images": rng.integers(0, 255, (20, 1, 3, *SIZE), np.uint8),
        "label": rng.integers(0, 4, 20),
        "actions": rng.normal(size=(20, 2)).astype(np.float32),
        "velocity": rng.normal(size=(20, 1)).astype(np.float32),
    }
    return Arrays(wanted, {name: array for name, array in arrays.items() if name in wanted.fields})


def case(make: Callable[[], Trainable], data: Any, recipe: Recipe = RECIPE, killed_after: int = 3) -> Case:
    return Case(make, data, recipe, killed_after)


ADAM = replace(RECIPE, optimiser="adamw", learning_rate=1e-2, weight_decay=0.1, schedule="cosine")
CASES = {
    "truth with a mask": case(MaskedTruth, from_recording),
    "ragged boxes": case(RaggedBoxes, from_recording),
    "poses with depth": case(PosesAndDepth, from_recording),
    "drawn gaps": case(DrawnGaps, from_recording),
    "stream with memory": case(StreamWithMemory, from_recording),
    "labels": case(Labels, from_arrays),
    "index with a bank": case(MemoryBank, from_arrays),
    "actions": case(Actions, from_arrays),
    "rounds": case(Stacked, from_arrays, killed_after=9),
    "groups": case(Groups, from_arrays, ADAM),
    "contrast": case(Contrast, from_arrays),
    "chains": case(Chains, from_arrays),
    "dropout": case(Dropped, from_arrays),
}
"""By need."""
DIFFERENT_IN_TWO_PROCESSES = {
    "chains": "each process has chains of its own",
    "dropout": "each process drops other units",
}


def batch_norm_check(here: World) -> dict[str, Tensor]:
    """Batch norm of this process's share of a batch: outputs, gradients, and what it follows, in two kinds of momentum."""
    torch.manual_seed(3)
    values, weights = torch.randn(6, 3, 2, 2), torch.randn(6, 3, 2, 2)
    rows, found = here.rows(6), {}
    for name, momentum in (("share", 0.3), ("mean", None)):
        norm = nn.BatchNorm2d(3, momentum=momentum)
        nn.init.normal_(norm.weight)
        own = values[rows].clone().requires_grad_()
        with synchronised(norm):
            for _ in range(2):
                outputs = norm(own)
        (outputs * weights[rows]).sum().backward()
        found |= {f"{name} outputs": gather_rows(outputs.detach()), f"{name} slope": gather_rows(own.grad)}
        found |= {f"{name} weight": sum_over_processes(norm.weight.grad), **buffers(name, norm)}
        outside = norm(own)
        assert here.size == 1 or not torch.allclose(outside, outputs), "it sees its own rows again"
    return found


def buffers(name: str, norm: nn.Module) -> dict[str, Tensor]:
    return {f"{name} {part}": tensor.clone() for part, tensor in norm.named_buffers()}


def gathering_check(here: World) -> dict[str, Tensor]:
    """A loss of all pairs of a batch: its gradient for the rows of this process, of the mean over the processes."""
    torch.manual_seed(4)
    values = torch.randn(4, 3)
    own = values[here.rows(4)].clone().requires_grad_()
    every = gather_rows(own)
    (every @ every.T).square().tril(-1).sum().backward()
    return {"rows": every.detach(), "slope": gather_rows(own.grad) / here.size}


CHECKS = {"batch norm": batch_norm_check, "gathering": gathering_check}
