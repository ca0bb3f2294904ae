"""What keeps a student and its teacher from agreeing on nothing.

Shows:  DINO with centring and sharpening, with one of them, and with neither: the teacher's entropy and KL to the student
Slide:  DINO, Centering and Sharpening
Reads:  the loss is least where teacher and student always say the same, whatever the picture. Centring alone ends at the
        uniform distribution (entropy log K), sharpening alone at one prototype for all (entropy 0); in both nothing is
        left to learn, and KL is 0. Together the entropy stays between, and features tell patterns apart better than the
        untrained network does. Neither alone is enough; with neither, the teacher's own smoothness decides.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes

from firstsight.evaluation.probes import Labelled, encoded, neighbour_metric
from firstsight.gallery.drawing import Drawing, canvas, show_picture
from firstsight.gallery.drawn_patterns import KINDS, Patterns
from firstsight.representation.dino import TINY, TINY_CONFIG, Config, Dino
from firstsight.run_folder import Metric
from firstsight.training.diary import Watch
from firstsight.training.fit import Surroundings, fit

BLUNT = {
    "teacher_temperature": TINY_CONFIG.student_temperature,
    "first_teacher_temperature": TINY_CONFIG.student_temperature,
}
VARIANTS = {
    "both": TINY_CONFIG,
    "centring only": replace(TINY_CONFIG, **BLUNT),
    "sharpening only": replace(TINY_CONFIG, centring=False),
    "neither": replace(TINY_CONFIG, centring=False, **BLUNT),
}
COLOURS = {"both": "#1f4e9e", "centring only": "#e07b00", "sharpening only": "#c0392b", "neither": "#555555"}
STEPS, COLLAPSED, KNOWN, HELD_OUT, EVERY = 150, 60, 480, 160, 5  # steps with both, and steps that show a collapse


class Curves(NamedTuple):
    """Of one training: at every logged step, and the accuracy (%) of its features at the end."""

    steps: list[int]
    entropy: list[float]
    divergence: list[float]
    accuracy: float


class Following(Watch):
    def __init__(self):
        self.rows: list[tuple[int, float, float]] = []

    def stepped(self, step: int, numbers: Mapping[str, float] | None) -> None:
        if numbers:
            self.rows.append((step, numbers["teacher entropy"], numbers["KL to student"]))


class Experiment(NamedTuple):
    known: Patterns
    curves: dict[str, Curves]
    untrained: float  # accuracy (%)


def experiment(scale: float = 1.0) -> Experiment:
    size_px = TINY_CONFIG.wanted[0]
    known, held_out = Patterns(round(scale * KNOWN), size_px), Patterns(round(scale * HELD_OUT), size_px, seed=1)
    steps = {name: round(scale * (STEPS if name == "both" else COLLAPSED)) for name in VARIANTS}
    curves = {name: trained(config, known, held_out, steps[name]) for name, config in VARIANTS.items()}
    return Experiment(known, curves, accuracy(beginning(TINY_CONFIG), known, held_out))


def beginning(config: Config) -> Dino:
    """The same weights for every variant."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Dino(config)


def trained(config: Config, known: Patterns, held_out: Patterns, steps: int) -> Curves:
    method, following = beginning(config), Following()
    recipe = replace(TINY, steps=steps, log_every=EVERY)
    fit(method, known, recipe, surroundings=Surroundings(device="cpu"), watch=following)
    steps_seen, entropy, divergence = (list(column) for column in zip(*following.rows, strict=True))
    return Curves(steps_seen, entropy, divergence, accuracy(method, known, held_out))


def accuracy(method: Dino, known: Patterns, held_out: Patterns) -> float:
    features = [encoded(method, patterns, range(len(patterns))) for patterns in (known, held_out)]
    labels = [torch.from_numpy(patterns.labels) for patterns in (known, held_out)]
    return neighbour_metric(Labelled(features[0], labels[0]), Labelled(features[1], labels[1])).value


def numbers(found: Experiment) -> tuple[Metric, ...]:
    prototypes = TINY_CONFIG.prototypes
    protocol = f"{len(KINDS)} kinds of pattern, 20-NN of {len(found.known)} known pictures"
    metrics = [Metric(name="untrained, accuracy", value=found.untrained, unit="%", protocol=protocol)]
    for name, curves in found.curves.items():
        last = f"mean of the last tenth of {curves.steps[-1]} steps; log {prototypes} = {np.log(prototypes):.2f}"
        metrics += [
            Metric(name=f"{name}, entropy", value=settled(curves.entropy), unit="nats", protocol=last),
            Metric(name=f"{name}, KL", value=settled(curves.divergence), unit="nats", protocol=last),
            Metric(name=f"{name}, accuracy", value=curves.accuracy, unit="%", protocol=protocol),
        ]
    return tuple(metrics)


def settled(values: list[float]) -> float:
    return float(np.mean(values[-max(len(values) // 10, 1) :]))


def dino_collapse(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    figure = canvas(760, "DINO: centring and sharpening each prevent the collapse that the other one brings")
    entropy, divergence, accuracies = figure.subplots(1, 3, width_ratios=[1.2, 1.2, 1])
    prototypes = TINY_CONFIG.prototypes
    draw_curves(entropy, {name: (curves.steps, curves.entropy) for name, curves in found.curves.items()})
    entropy.axhline(np.log(prototypes), color="black", ls=":", lw=1)
    entropy.annotate(f"uniform: log {prototypes}", (1, np.log(prototypes)), xytext=(2, 4), textcoords="offset points")
    entropy.set(title="entropy of the teacher", xlabel="step", ylabel="nats", ylim=(-0.1, 1.12 * np.log(prototypes)))
    draw_curves(divergence, {name: (curves.steps, curves.divergence) for name, curves in found.curves.items()})
    divergence.set(title="KL from teacher to student", xlabel="step", ylabel="nats")
    divergence.legend(loc="upper right", fontsize=9)
    draw_accuracies(accuracies, found)
    return Drawing(figure, numbers(found))


def draw_curves(axes: Axes, curves: Mapping[str, tuple[list[int], list[float]]]) -> None:
    for name, (steps, values) in curves.items():
        axes.plot(steps, values, color=COLOURS[name], label=name, lw=2.5 if name == "both" else 1.5)


def draw_accuracies(axes: Axes, found: Experiment) -> None:
    """Of the untrained network and of each variant, above some of the pictures."""
    values = {"untrained": found.untrained, **{name: curves.accuracy for name, curves in found.curves.items()}}
    colours = ["#bbbbbb", *(COLOURS[name] for name in found.curves)]
    bars = axes.bar(range(len(values)), list(values.values()), color=colours)
    axes.bar_label(bars, fmt="%.0f", fontsize=9)
    axes.set_xticks(range(len(values)), [name.replace(" ", "\n") for name in values], fontsize=9)
    axes.axhline(100 / len(KINDS), color="black", ls=":", lw=1)
    axes.set(title="20-NN accuracy of the features (%)", ylim=(0, 118))
    strip = np.concatenate([found.known.images[i].transpose(1, 2, 0) for i in range(len(KINDS))], 1)
    inset = axes.inset_axes((0.02, 0.88, 0.96, 0.11))
    show_picture(inset, strip, "")
