"""The toys of `contract_toys` with their data and recipes, and what processes compute together."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from contract_toys import (
    SIZE,
    Actions,
    Chains,
    Contrast,
    DrawnGaps,
    Dropped,
    Groups,
    Labels,
    MaskedTruth,
    MemoryBank,
    PosesAndDepth,
    RaggedBoxes,
    Stacked,
    StreamWithMemory,
)
from harness import Case
from torch import Tensor, nn

from firstsight.recordings.recording import Box, Camera, Channel, DepthImage, FlowImage, Recording, Rig, Truth
from firstsight.training.data.clips import Clips
from firstsight.training.data.dataset import Arrays, Dataset
from firstsight.training.data.wanted import Wanted
from firstsight.training.processes import World, gather_rows, sum_over_processes
from firstsight.training.recipe import Recipe
from firstsight.training.step.batch_norm import synchronised
from firstsight.training.trainable import Trainable

RECIPE = Recipe(steps=6, batch=4, optimiser="sgd", learning_rate=0.05, log_every=1, checkpoint_every=2)
FRAMES = 12


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
