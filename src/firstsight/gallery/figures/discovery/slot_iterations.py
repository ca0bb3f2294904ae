"""How slots come to own objects: within an image over iterations, and over training.

Shows:  slot attention on drawn shapes: who attends where in each iteration, each slot's image, FG-ARI over training
Slide:  Slot Attention Networks
Reads:  slots begin as noise and share every place; from iteration to iteration each comes nearer to one object. The
        decoder then draws every slot alone, and where slots compete for a pixel the surest wins. Nothing but the error
        of the sum teaches this. FG-ARI says nothing about the ground, which slots may share; mBO, beside it, does:
        there k-means on colour and place, made for plain shapes, is ahead. Colours are learnt last.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import FigureBase
from torch import Tensor

from firstsight.discovery.slot_attention import Explanation, SlotAttention
from firstsight.evaluation.object_masks import ObjectMaskErrors, clustered_ids, ids_of
from firstsight.gallery.drawing import Drawing, canvas, show_image
from firstsight.run_folder import Metric
from firstsight.training.fit import Runtime, fit
from firstsight.training.metrics_log import Measurement
from firstsight.training.toys.object_images import ObjectImages

SHOWN, TESTED, TRAINED = 4, 100, 1000
MEASURED, OBJECTS, STEPS = 8, (3, 3), 500
SHAPES_CONFIG, SHAPES = SlotAttention.PRESETS["shapes"]
# Shows sooner where it leads.
HASTY = replace(SHAPES, learning_rate=3e-3, warm_up=0.015)
SLOT_COLOURS = ListedColormap(["#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860"])
COLOUR = {"FG-ARI": "#1f4e9e", "mBO": "#1f9e45"}


class Course(NamedTuple):
    """The measures of new images after each of `steps`, by name, and the loss."""

    steps: list[int]
    measures: list[dict[str, float]]
    loss: list[float]


class Experiment(NamedTuple):
    """New images, what became of the first of them, and the measures over training and of the baselines."""

    images: ObjectImages
    explained: Explanation
    course: Course
    baselines: dict[str, dict[str, float]]


def as_images(images: ObjectImages) -> Tensor:
    return torch.from_numpy(np.stack([scene.image for scene in images.drawn])).permute(0, 3, 1, 2).float() / 255


def measured(found: Int64[np.ndarray, "images height width"], images: ObjectImages) -> dict[str, float]:
    errors = ObjectMaskErrors()
    for ids, scene in zip(found, images.drawn, strict=True):
        errors.add(ids, scene.ids)
    return {metric.name: metric.value for metric in errors.metrics()}


class Measuring(Measurement):
    """Measures on new images now and then."""

    def __init__(self, model: SlotAttention, images: ObjectImages, every: int):
        self.model, self.images = model, images
        self.every, self.course = every, Course([], [], [])
        self._images = as_images(images)

    @torch.no_grad()
    def measure(self, step: int) -> None:
        found = self.model.explain(self._images, self.model.fixed_noise(len(self._images)))
        self.course.steps.append(step)
        self.course.measures.append(measured(ids_of(found.masks).numpy(), self.images))
        self.course.loss.append(4 * float((found.image - self._images).square().mean()))


def experiment(scale: float = 1.0) -> Experiment:
    size = SHAPES_CONFIG.size[0]
    shown, new = (ObjectImages(count, size, OBJECTS, seed=seed) for seed, count in enumerate((TRAINED, TESTED)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SlotAttention(SHAPES_CONFIG)
    recipe = replace(HASTY, steps=max(round(scale**2 * STEPS), 2 * MEASURED))
    watch = Measuring(model, new, recipe.steps // MEASURED)
    fit(model, shown, recipe, runtime=Runtime(device="cpu"), callback=watch)
    with torch.no_grad():
        explained = model.explain(as_images(new)[:SHOWN], model.fixed_noise(SHOWN))
    rng, slots = np.random.default_rng(0), SHAPES_CONFIG.slots
    clustered = np.stack([clustered_ids(scene.image, slots) for scene in new.drawn])
    baselines = {
        "k-means of colour and place": measured(clustered, new),
        "random masks": measured(rng.integers(0, slots, clustered.shape), new),
    }
    return Experiment(new, explained, watch.course, baselines)


def numbers(found: Experiment) -> tuple[Metric, ...]:
    protocol = f"{TESTED} new images, {found.course.steps[-1]} steps of training, {SHAPES_CONFIG.slots} slots"
    rows = {"slot attention": found.course.measures[-1], **found.baselines}
    measures = [
        Metric(name=f"{name}, {method}", value=values[name], unit="", protocol=protocol)
        for method, values in rows.items()
        for name in ("FG-ARI", "mBO")
    ]
    loss = Metric(
        name="loss", value=found.course.loss[-1], unit="", protocol=f"mean square of RGB in [-1, 1]; {protocol}"
    )
    return (*measures, loss)


def slot_iterations(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    figure = canvas(
        1140, "Slot attention: slots compete for pixels; most come to one object each, and share the ground"
    )
    halves: Any = figure.subfigures(2, 1, height_ratios=[1.7, 1])
    above, below = halves
    draw_rows(above, found)
    left, right = below.subplots(1, 2)
    draw_course(left, found)
    draw_loss(right, found.course)
    return Drawing(figure, numbers(found))


def as_uint8(image: Tensor) -> UInt8[np.ndarray, "height width 3"]:
    return (255 * image.clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()


def draw_rows(figure: FigureBase, found: Experiment) -> None:
    """A row for each image: itself, attention over iterations, masks, what all slots draw, what each draws."""
    explained, iterations, slots = found.explained, len(found.explained.attention), found.explained.masks.shape[1]
    panels = figure.subplots(SHOWN, iterations + slots + 3)
    for row, image in enumerate(found.images.drawn[:SHOWN]):
        attended = [f"attention,\niteration {t + 1}" for t in range(iterations)]
        titles = ["image", *attended, "masks", "drawn by\nall slots"]
        attention = [explained.attention[t, row].argmax(0).numpy() for t in range(iterations)]
        shown = [image.image, *attention, explained.masks[row].argmax(0).numpy(), as_uint8(explained.image[row])]
        for slot in range(slots):
            mask = explained.masks[row, slot]
            shown.append(as_uint8(explained.slot_images[row, slot] * mask + (1 - mask)))
            titles.append(f"drawn by\nslot {slot + 1}")
        for axes, values, title in zip(panels[row], shown, titles, strict=True):
            show_image(axes, values, title if row == 0 else "")
            axes.title.set_fontsize(9)
            if values.ndim == 2:
                axes.images[0].set(cmap=SLOT_COLOURS, clim=(-0.5, SLOT_COLOURS.N - 0.5))
    for slot in range(slots):
        axes = panels[0, iterations + 3 + slot]
        axes.title.set_color(SLOT_COLOURS(slot))
    figure.supxlabel(
        "attention and masks: the colour of the slot that has most of the place; a slot's image is white where others draw",
        fontsize=9,
    )


def draw_course(axes: Axes, found: Experiment) -> None:
    for name, colour in COLOUR.items():
        values = [measures[name] for measures in found.course.measures]
        axes.plot(found.course.steps, values, "o-", ms=4, color=colour, label=f"{name}, slot attention")
        for (method, measures), style in zip(found.baselines.items(), ("--", ":"), strict=True):
            axes.axhline(measures[name], color=colour, ls=style, lw=1.2, label=f"{name}, {method}")
    axes.set(title=f"measures on {TESTED} new images", xlabel="step", ylim=(-0.05, 1.02))
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))


def draw_loss(axes: Axes, course: Course) -> None:
    axes.semilogy(course.steps, course.loss, "o-", ms=4, color=COLOUR["FG-ARI"])
    axes.set(title="loss on the same images", xlabel="step", ylabel="mean square")
