"""One lesson: as many steps as its share of the time allows, and the training, which a killed run goes on with."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from firstsight.learning.bar import TrainingBar
from firstsight.learning.lessons import Lesson
from firstsight.pretrained import learning
from firstsight.training.data.batch import collate, to_device
from firstsight.training.data.dataset import Dataset, Joined
from firstsight.training.data.opening import open_dataset
from firstsight.training.random_numbers import StepRandom
from firstsight.training.recipe import Recipe
from firstsight.training.rounds import fit_rounds
from firstsight.training.trainable import StepContext, Trainable

LEAST_STEPS, MOST_STEPS = 60, 20_000
TRIED = 3  # steps, to see how long one takes


def untrained(lesson: Lesson) -> Trainable:
    torch.manual_seed(lesson.recipe.seed)
    return learning(lesson.entry)(lesson.config)


def data_of(lesson: Lesson, sources: Sequence[str], scratch: Path) -> Joined:
    """What the lesson is learned from. Raises InputError where a source lacks it."""
    return open_dataset(sources, untrained(lesson).wanted, scratch, lesson.entry.name)


def steps_in(seconds: float, lesson: Lesson, data: Dataset) -> int:
    """How many steps take so long on this machine, once what can be remembered of the samples is."""
    method, device = untrained(lesson), "cuda" if torch.cuda.is_available() else "cpu"
    count, spent = lesson.recipe.batch, []
    rows = [data.sample(index % len(data)) for index in range(count)]
    batch = to_device(collate(method.to(device).wanted.batch, rows), device)
    for step in range(TRIED):
        begun = time.monotonic()
        method.loss(batch, StepContext(step, TRIED, StepRandom(0, step, count))).total.backward()
        spent.append(time.monotonic() - begun)
    return int(min(MOST_STEPS, max(LEAST_STEPS, seconds / min(spent))))


def train(lesson: Lesson, steps: int, data: Dataset, sources: Sequence[str], folder: Path, console: Console) -> None:
    """Trains or goes on with it; a training that is complete is left as it is."""
    with TrainingBar(folder, console, lesson.name) as bar:
        fit_rounds(
            untrained(lesson),
            lambda _: data,
            shortened(lesson.recipe, steps),
            folder,
            about={"name": lesson.entry.name, "sources": list(sources)},
            callback=bar,
        )


def shortened(recipe: Recipe, steps: int) -> Recipe:
    return replace(recipe, steps=steps, log_every=max(1, steps // 20), checkpoint_every=max(1, steps // 4))
