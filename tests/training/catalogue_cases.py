"""Every method of the catalogue that learns, with its tiny settings and noise for data: all of them are tested alike."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from harness import Case, shorter
from torch import nn

from firstsight import catalogue
from firstsight.training.data.dataset import Arrays
from firstsight.training.data.wanted import Wanted
from firstsight.training.recipe import Recipe
from firstsight.training.trainable import DataFacts, Trainable

SAMPLES, CLASSES = 12, ("ash", "birch", "cedar")
BATCH, KILLED_AFTER = 4, 3
DIFFERENT_IN_TWO_PROCESSES = {
    "rbm": "each process has persistent chains of its own",
    "uflow": "on noise rounding grows a hundredfold with a step; of one step test_uflow compares the derivatives",
}

Noise = Callable[[np.random.Generator, int, tuple[int, int]], np.ndarray]
"""Draws a field of all samples: (generator, frames of a clip, size) -> array."""


def bytes_of(rng: np.random.Generator, time: int, size: tuple[int, int]) -> np.ndarray:
    return rng.integers(0, 255, (SAMPLES, time, 3, *size), np.uint8)


def cameras(_: np.random.Generator, __: int, size: tuple[int, int]) -> np.ndarray:
    """One camera of a field of view of 53 degrees."""
    height, width = size
    one = [[width, 0, width / 2 - 0.5], [0, width, height / 2 - 0.5], [0, 0, 1]]
    return np.tile(np.array(one, np.float32), (SAMPLES, 1, 1))


def depths(rng: np.random.Generator, time: int, size: tuple[int, int]) -> np.ndarray:
    return rng.uniform(1, 20, (SAMPLES, time, 1, *size)).astype(np.float32)


def poses(rng: np.random.Generator, time: int, _: tuple[int, int]) -> np.ndarray:
    poses = np.tile(np.eye(4), (SAMPLES, time, 1, 1))
    poses[..., :3, 3] = rng.normal(size=(SAMPLES, time, 3))
    return poses


FIELDS: dict[str, Noise] = {
    "images": bytes_of,
    "right": bytes_of,
    "intrinsics": cameras,
    "baseline_m": lambda *_: np.full(SAMPLES, 0.5, np.float32),
    "depth_m": depths,
    "disparity": depths,
    "flow_ab": lambda rng, _, size: rng.normal(size=(SAMPLES, 2, *size)).astype(np.float32),
    "valid": lambda rng, _, size: rng.random((SAMPLES, 1, *size)) < 0.7,
    "masks": lambda rng, time, size: rng.integers(0, 3, (SAMPLES, time, 1, *size)),
    "stamp_s": lambda rng, time, _: np.sort(rng.random((SAMPLES, time)), 1),
    "taught_depth_m": depths,
    "taught_world_from_camera": poses,
    "world_from_camera": poses,
    "world_from_body": poses,
    "label": lambda rng, *_: rng.integers(0, len(CLASSES), SAMPLES),
}
"""Noise for the fields of `training.data.fields`."""


def noise(wanted: Wanted) -> Arrays:
    """All that is wanted, at random."""
    rng, time = np.random.default_rng(0), len(wanted.clip.ranges)
    needed = [name for name in wanted.fields if name not in ("index", "starts")]
    return Arrays(wanted, {name: FIELDS[name](rng, time, wanted.size or (1, 1)) for name in needed}, "noise")


def learned() -> dict[str, type[Trainable]]:
    """The classes that learn, by the catalogue's names."""
    kinds = {entry.name: entry.load() for entry in catalogue.entries()}
    return {name: kind for name, kind in kinds.items() if issubclass(kind, Trainable)}


def maker(kind: type[Trainable]) -> Callable[[], Trainable]:
    config = kind.completed(kind.PRESETS["tiny"].config, DataFacts(SAMPLES, CLASSES))
    return lambda: kind(config)


def tiny(kind: type[Trainable]) -> Recipe:
    return shorter(kind.PRESETS["tiny"].recipe, batch=BATCH)


def plain(case: Case) -> Case:
    """The training without what makes much of rounding.

    Adam divides gradients that should be 0 by their own size; a batch norm of few values divides by small spreads.
    """
    recipe = replace(case.recipe, optimiser="sgd", learning_rate=1e-3, learning_rate_batch=None, momentum=0.0)
    norms = [module for module in case.make().modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return case._replace(recipe=replace(recipe, batch=SAMPLES, steps=2) if norms else recipe)


LEARNED = learned()
RESUMED = {name: Case(maker(kind), noise, tiny(kind), KILLED_AFTER) for name, kind in LEARNED.items()}
CASES = {name: plain(case) for name, case in RESUMED.items()}
"""The trainings that two processes share."""
torch.set_num_threads(1)
