"""What keeps a student and its teacher from agreeing on nothing.

Shows:  DINO with centring and sharpening, with one of them, and with neither: teacher's entropy, KL, spread of features
Slide:  DINO, Centering and Sharpening
Reads:  the loss is least where teacher and student always say the same, whatever the image. Centring alone ends at the
        uniform distribution (entropy log K), sharpening alone at one prototype for all (entropy 0). In both nothing is
        left to learn: KL goes to 0, and the features of all images become alike. With both, the entropy stays between,
        KL stays above 0, and features spread. With neither, all stays as it began: the same answer to every image.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from firstsight.gallery.drawing import Drawing, canvas
from firstsight.representation.joint_embedding.dino import PATTERNS_CONFIG, PATTERNS_RECIPE, Config, Dino
from firstsight.run_folder import Metric
from firstsight.training.fit import Runtime, fit
from firstsight.training.metrics_log import Callback
from firstsight.training.toys.drawn_patterns import Patterns

CONFIG = replace(
    PATTERNS_CONFIG,
    large=tuple(replace(view, scale=(0.6, 1.0)) for view in PATTERNS_CONFIG.large),
    small=replace(PATTERNS_CONFIG.small, scale=(0.3, 0.7)),
    small_views=1,
    teacher_temperature=0.025,
    first_teacher_temperature=0.025,
)
RECIPE = replace(PATTERNS_RECIPE, learning_rate=1e-3, final_rate=0.2, ema=0.97, final_ema=0.99, clip_each=False)
BLUNT = {"teacher_temperature": CONFIG.student_temperature, "first_teacher_temperature": CONFIG.student_temperature}
VARIANTS = {
    "both": CONFIG,
    "centring only": replace(CONFIG, **BLUNT),
    "sharpening only": replace(CONFIG, centring=False),
    "neither": replace(CONFIG, centring=False, **BLUNT),
}
COLOURS = {"both": "#1f4e9e", "centring only": "#e07b00", "sharpening only": "#c0392b", "neither": "#555555"}
STEPS, COLLAPSED, EVERY = 100, 60, 5  # steps with both, and steps that show a collapse
IMAGES = 480
LARGEST = float(np.log(CONFIG.prototypes))


class Curves(NamedTuple):
    """What was logged of one training, at every logged step."""

    steps: list[int]
    entropy: list[float]
    divergence: list[float]
    spread: list[float]


class Following(Callback):
    def __init__(self):
        self.rows: list[tuple[int, float, float, float]] = []

    def on_step(self, step: int, numbers: Mapping[str, float] | None) -> None:
        if numbers:
            entropy, divergence = numbers["teacher entropy"], numbers["KL to student"]
            self.rows.append((step, entropy, divergence, numbers["feature std"]))


def experiment(scale: float = 1.0) -> dict[str, Curves]:
    """The curves of each variant."""
    images = Patterns(IMAGES, CONFIG.size[0])
    steps = {name: round(scale * (STEPS if name == "both" else COLLAPSED)) for name in VARIANTS}
    return {name: trained(config, images, steps[name]) for name, config in VARIANTS.items()}


def initial_model(config: Config) -> Dino:
    """The same weights for every variant."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Dino(config)


def trained(config: Config, images: Patterns, steps: int) -> Curves:
    following, recipe = Following(), replace(RECIPE, steps=steps, log_every=EVERY)
    fit(initial_model(config), images, recipe, runtime=Runtime(device="cpu"), callback=following)
    return Curves(*(list(column) for column in zip(*following.rows, strict=True)))


def numbers(found: dict[str, Curves]) -> tuple[Metric, ...]:
    metrics = []
    for name, curves in found.items():
        last = f"mean of the last tenth of {curves.steps[-1]} steps; log {CONFIG.prototypes} = {LARGEST:.2f}"
        spread = "of normalised features of a batch, times the root of their number"
        metrics += [
            Metric(name=f"{name}, entropy", value=settled(curves.entropy), unit="nats", protocol=last),
            Metric(name=f"{name}, KL", value=settled(curves.divergence), unit="nats", protocol=last),
            Metric(name=f"{name}, feature std", value=settled(curves.spread), unit="", protocol=spread),
        ]
    return tuple(metrics)


def settled(values: list[float]) -> float:
    return float(np.mean(values[-max(len(values) // 10, 1) :]))


def dino_collapse(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    figure = canvas(720, "DINO: centring and sharpening each prevent the collapse that the other one brings")
    entropy, divergence, spread = figure.subplots(1, 3)
    for name, curves in found.items():
        style = {"color": COLOURS[name], "label": name, "lw": 2.5 if name == "both" else 1.5}
        entropy.plot(curves.steps, curves.entropy, **style)
        divergence.plot(curves.steps, curves.divergence, **style)
        spread.plot(curves.steps, curves.spread, **style)
    entropy.axhline(LARGEST, color="black", ls=":", lw=1)
    entropy.annotate(
        f"uniform: log {CONFIG.prototypes}", (1, LARGEST), xytext=(2, 4), textcoords="offset points", fontsize=9
    )
    entropy.set(title="entropy of the teacher", xlabel="step", ylabel="nats", ylim=(-0.1, 1.1 * LARGEST))
    divergence.set(title="KL from teacher to student", xlabel="step", ylabel="nats")
    divergence.legend(loc="upper right", fontsize=9)
    spread.set(title="spread of the features (0: all images alike)", xlabel="step", ylim=(0, None))
    return Drawing(figure, numbers(found))
