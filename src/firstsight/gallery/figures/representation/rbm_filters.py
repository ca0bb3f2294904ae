"""What a Boltzmann machine makes of bars that cross: its causes, its samples, and how likely it finds the data, exactly.

Shows:  an RBM on images of bars: filters, Gibbs chains from noise, exact log-likelihood of CD-1 and persistent chains
Slide:  Energy-Based Learning, RBMs
Reads:  each hidden unit is for some pixels (red) and against others (blue); some come to stand for one bar, though
        no one said that there are bars. A chain that begins at noise samples of bars in the end. With 14 hidden units
        Z is the sum of 16,384 terms, so that the likelihood is known, and so is the best that any model can reach. CD-1
        looks one step around the data: it reconstructs well early, and stops short of what persistent chains reach.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from matplotlib.axes import Axes
from torch import Tensor

from firstsight.gallery.drawing import Drawing, canvas, show_image
from firstsight.representation.energy.rbm import (
    Config,
    Machine,
    Rbm,
    bias_of,
    drawn,
    free_energy,
    gibbs,
    hidden_probability,
    log_partition,
    visible_probability,
)
from firstsight.run_folder import Metric
from firstsight.training.fit import Runtime, fit
from firstsight.training.metrics_log import Measurement
from firstsight.training.recipe import Recipe
from firstsight.training.toys.binary_images import BinaryImages, bars, bars_entropy

SIDE, HIDDEN, IMAGES = 6, 14, 1000
BATCH, STEPS, MEASURED = 50, 2500, 12
KINDS = {"persistent chains": True, "CD-1": False}
CHAIN_STEPS = (0, 1, 2, 5, 20, 100, 1000)
CHAINS = 6
COLOURS = {"persistent chains": "#1f4e9e", "CD-1": "#e07b00"}
ALONE = "#555555"


class Course(NamedTuple):
    """The exact log-likelihood of images that were not shown (mean, nats) and the reconstruction, after each of `steps`."""

    steps: list[int]
    log_likelihood: list[float]
    error: list[float]


class Experiment(NamedTuple):
    """`alone`: the log-likelihood under independent pixels. `chains` are states after each of CHAIN_STEPS."""

    data: Float32[Tensor, "images pixels"]
    filters: Float32[Tensor, "hidden 1 side side"]
    chains: Float32[Tensor, "times chains pixels"]
    courses: dict[str, Course]
    alone: float
    new: Float32[Tensor, "new pixels"]
    energies: tuple[Float32[Tensor, " new"], Float32[Tensor, " samples"], Float32[Tensor, " noise"]]


class Measuring(Measurement):
    """Notes the exact likelihood now and then."""

    def __init__(self, model: Rbm, new: Tensor, every: int):
        self.model, self.new = model, new
        self.every, self.course = every, Course([], [], [])

    @torch.no_grad()
    def measure(self, step: int) -> None:
        machine = self.model.machine
        self.course.steps.append(step)
        self.course.log_likelihood.append(log_likelihood(machine, self.new))
        explained = visible_probability(machine, hidden_probability(machine, self.new))
        self.course.error.append(float((explained - self.new).square().mean()))


@torch.no_grad()
def log_likelihood(machine: Machine, visible: Float32[Tensor, "rows visible"]) -> float:
    """Mean over the rows, exact, in nats."""
    return -float(free_energy(machine, visible).mean()) - log_partition(machine)


def as_rows(images: np.ndarray) -> Float32[Tensor, "images pixels"]:
    return torch.from_numpy(images).float().flatten(1)


def experiment(scale: float = 1.0) -> Experiment:
    shown, new = bars(IMAGES, SIDE), as_rows(bars(IMAGES, SIDE, seed=1))
    steps, courses, models = max(round(STEPS * scale), 2 * MEASURED), {}, {}
    for kind, persistent in KINDS.items():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = Rbm(Config(side=SIDE, hidden=HIDDEN, persistent=persistent, chains=BATCH))
        recipe = Recipe(
            steps=steps,
            batch=BATCH,
            optimiser="sgd",
            learning_rate=0.3,
            momentum=0.5,
            schedule="cosine",
            log_every=steps,
        )
        watch = Measuring(model, new, steps // MEASURED)
        fit(model, BinaryImages(shown), recipe, runtime=Runtime(device="cpu"), callback=watch)
        courses[kind], models[kind] = watch.course, model
    model, generator = models["persistent chains"], torch.Generator().manual_seed(0)

    def uniform(columns: int) -> Tensor:
        return torch.rand((IMAGES, columns), generator=generator)

    noise = drawn(as_rows(shown).mean().expand(IMAGES, SIDE**2), uniform)
    states = [noise]
    for before, after in pairwise(CHAIN_STEPS):
        states.append(gibbs(model.machine, states[-1], after - before, uniform))
    alone = Machine(torch.zeros(SIDE**2, 1), bias_of(as_rows(shown)), torch.zeros(1))
    with torch.no_grad():
        of_new, of_chains, of_noise = (free_energy(model.machine, rows) for rows in (new, states[-1], noise))
    energies = (of_new, of_chains, of_noise)
    chains = torch.stack([state[:CHAINS] for state in states])
    return Experiment(as_rows(shown), model.filters(), chains, courses, log_likelihood(alone, new), new, energies)


def numbers(found: Experiment) -> tuple[Metric, ...]:
    exact = f"mean of {IMAGES} images that were not shown, Z summed over 2^{HIDDEN} states"
    data, samples, noise = (float(part.mean()) for part in found.energies)
    return (
        Metric(
            name="log-likelihood, the best possible",
            value=-bars_entropy(SIDE),
            unit="nats",
            protocol="entropy of the bars",
        ),
        Metric(name="log-likelihood, independent pixels", value=found.alone, unit="nats", protocol=exact),
        *(
            Metric(name=f"log-likelihood, {kind}", value=course.log_likelihood[-1], unit="nats", protocol=exact)
            for kind, course in found.courses.items()
        ),
        *(
            Metric(
                name=f"reconstruction error, {kind}",
                value=course.error[-1],
                unit="",
                protocol="mean square, v -> h -> v",
            )
            for kind, course in found.courses.items()
        ),
        Metric(name="free energy of noise less that of new data", value=noise - data, unit="nats", protocol="means"),
        Metric(
            name="free energy of samples less that of new data", value=samples - data, unit="nats", protocol="means"
        ),
    )


def mosaic(rows: Float32[Tensor, "images pixels"], columns: int, between: float) -> np.ndarray:
    """Images side by side with a line between."""
    side = round(rows.shape[1] ** 0.5)
    lines = -(-len(rows) // columns)
    sheet = np.full((lines * (side + 1) - 1, columns * (side + 1) - 1), between, np.float32)
    for i, row in enumerate(rows):
        y, x = (side + 1) * (i // columns), (side + 1) * (i % columns)
        sheet[y : y + side, x : x + side] = row.view(side, side)
    return sheet


def rbm_filters(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    figure = canvas(1150, f"A restricted Boltzmann machine of {HIDDEN} hidden units learns bars")
    panels = figure.subplot_mosaic(
        [["data", "filters", "chains"], ["likelihood", "error", "energy"]], height_ratios=[1.1, 1]
    )
    show_image(panels["data"], mosaic(found.data[:36], 6, 0.5), "images it is shown")
    draw_filters(panels["filters"], found)
    show_image(
        panels["chains"],
        mosaic(found.chains.transpose(0, 1).flatten(0, 1), len(CHAIN_STEPS), 0.5),
        "Gibbs chains from noise",
    )
    panels["chains"].set(
        xticks=[(SIDE + 1) * i + SIDE / 2 for i in range(len(CHAIN_STEPS))],
        xticklabels=CHAIN_STEPS,
        xlabel="steps v → h → v",
    )
    draw_likelihood(panels["likelihood"], found)
    draw_error(panels["error"], found)
    draw_energies(panels["energy"], found)
    return Drawing(figure, numbers(found))


def draw_filters(axes: Axes, found: Experiment) -> None:
    rows = found.filters.flatten(1)
    limit = float(rows.abs().quantile(0.995))
    show_image(axes, np.zeros((1, 1)), f"weights of the {len(rows)} hidden units")
    axes.imshow(mosaic(rows, 4, np.nan), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set_xlabel(f"red: for the pixel, blue: against it (up to {limit:.1f})")


def draw_likelihood(axes: Axes, found: Experiment) -> None:
    for kind, course in found.courses.items():
        axes.plot(course.steps, course.log_likelihood, "o-", ms=4, color=COLOURS[kind], label=kind)
    axes.axhline(found.alone, color=ALONE, ls="--", label="independent pixels")
    axes.axhline(-bars_entropy(SIDE), color="black", ls=":", label="the best possible")
    axes.set(title="exact log-likelihood of new images", xlabel="step", ylabel="nats per image")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.2), fontsize=9)


def draw_error(axes: Axes, found: Experiment) -> None:
    for kind, course in found.courses.items():
        axes.plot(course.steps, course.error, "o-", ms=4, color=COLOURS[kind], label=kind)
    axes.set(title="reconstruction error of new images", xlabel="step", ylabel="mean square", ylim=(0, None))
    axes.legend(loc="upper right", fontsize=9)


def draw_energies(axes: Axes, found: Experiment) -> None:
    """Histograms of F: low is likely."""
    low, high = (float(fn(torch.cat(found.energies))) for fn in (torch.min, torch.max))
    bins = np.linspace(low, high, 50)
    labels = ("new images", f"chains after {CHAIN_STEPS[-1]} steps", "noise")
    for energies, label, colour in zip(found.energies, labels, ("#1f9e45", "#1f4e9e", ALONE), strict=True):
        axes.hist(energies.numpy(), bins.tolist(), alpha=0.55, color=colour, label=label)
    axes.set(title="free energy", xlabel="F(v), nats: low is likely", ylabel="images")
    axes.legend(fontsize=9)
