"""The cost volume of one image row: what each stage of aggregation makes of it.

Shows:  one row's cost C(x, d) before and after aggregation, with winner and truth
Slide:  The Energy-Based Approach
Reads:  the truth is a valley of low cost. A pixel alone knows many valleys; averaged over surfaces few are left; along
        paths the one that neighbours agree on remains. To the right, all candidates of one pixel that only the last
        stage gets right.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from firstsight.gallery.drawing import Drawing, canvas, show_image
from firstsight.gallery.figures.depth.stages import PATH, PATHS, PIXEL, SURFACE, SYMBOLS, stages
from firstsight.gallery.figures.depth.street_pair import BAD_1, StreetPair, street_pair
from firstsight.run_folder import Metric

ROW = 0.62  # of the height: through both cars and the pavement
TRUE_COLOUR, WINNER_COLOUR = "#ffb000", "#00e0ff"
STAGE_COLOURS = {PIXEL: "#7f7f7f", SURFACE: "#4c72b0", PATH: "#c44e52"}
TITLES = {
    PIXEL: "C(x, d), single pixels",
    SURFACE: "$C^4_{CBCA}$(x, d), averaged over surfaces",
    PATH: f"S(x, d) / {PATHS}, mean over {PATHS} paths",
}


class Experiment(NamedTuple):
    """The costs of one row by stage in bits, its true disparity (px; NaN: none) and the column of the chosen pixel."""

    pair: StreetPair
    row: int
    costs: dict[str, Float32[np.ndarray, "width candidates"]]
    truth: Float[np.ndarray, " width"]
    pixel: int


def experiment(scale: float = 1.0) -> Experiment:
    pair = street_pair(scale)
    row = round(ROW * len(pair.left))
    costs = {stage: volume[row] for stage, volume in stages(pair).items()}
    costs[PATH] = costs[PATH] / PATHS
    truth = np.where(pair.truth.valid[row], pair.truth.disparity[row], np.nan)
    return Experiment(pair, row, costs, truth, telling_pixel(costs, truth))


def row_errors(
    costs: Float32[np.ndarray, "width candidates"], truth: Float[np.ndarray, " width"]
) -> Float[np.ndarray, " width"]:
    """How far the winners are off (px); NaN where nothing is known."""
    return np.abs(costs.argmin(1) - truth)


def telling_pixel(costs: dict[str, Float32[np.ndarray, "width candidates"]], truth: Float[np.ndarray, " width"]) -> int:
    """Returns, of the pixels that the last stage gets right, the one that both before miss by most."""
    errors = {stage: row_errors(cost, truth) for stage, cost in costs.items()}
    missed = np.minimum(errors[PIXEL], errors[SURFACE])
    return int(np.where(errors[PATH] <= BAD_1.absolute_px, missed, -1).argmax())


def numbers(found: Experiment) -> tuple[Metric, ...]:
    known = ~np.isnan(found.truth)
    return tuple(
        Metric(
            name=f"bad-1 of the row, {stage}",
            value=100 * float((row_errors(costs, found.truth)[known] > BAD_1.absolute_px).mean()),
            unit="%",
            protocol=f"{BAD_1}; whole candidates; {known.sum()} pixels of row {found.row} with a true disparity",
        )
        for stage, costs in found.costs.items()
    )


def cost_slice(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    measured = numbers(found)
    figure = canvas(1420, "One row of the cost volume, stage by stage")
    panels = figure.subplot_mosaic(
        [
            ["image", ".", "legend"],
            [PIXEL, "pixel bar", "curves"],
            [SURFACE, "surface bar", "curves"],
            [PATH, "path bar", "curves"],
        ],
        width_ratios=[2.6, 0.04, 1],
        height_ratios=[1.45, 1, 1, 1],
    )
    show_image(panels["image"], found.pair.image, "left image and the row")
    panels["image"].axhline(found.row, color=TRUE_COLOUR, lw=1.5)
    panels["image"].plot(found.pixel, found.row, "o", mfc="none", mec=STAGE_COLOURS[PATH], ms=11, mew=2.5)
    for stage, bar, metric in zip(found.costs, ("pixel bar", "surface bar", "path bar"), measured, strict=True):
        shown = draw_slice(panels[stage], found, stage, metric.value)
        figure.colorbar(shown, cax=panels[bar], label="cost (bits)")
    draw_curves(panels["curves"], found)
    panels["legend"].axis("off")
    panels["legend"].legend(*panels["curves"].get_legend_handles_labels(), loc="lower center")
    figure.supxlabel(SYMBOLS, fontsize=10)
    return Drawing(figure, measured)


def draw_slice(axes: Axes, found: Experiment, stage: str, bad: float) -> AxesImage:
    """The costs, dark where low, with the true disparity and the winners; the dashed line is the chosen pixel."""
    costs = found.costs[stage]
    shown = axes.imshow(costs.T, cmap="gray", origin="lower", aspect="auto", interpolation="nearest")
    axes.plot(found.truth, color=TRUE_COLOUR, lw=2, label="true disparity")
    axes.plot(costs.argmin(1), ".", color=WINNER_COLOUR, ms=3, label="winner")
    axes.axvline(found.pixel, color=STAGE_COLOURS[PATH], lw=1, ls="--")
    axes.set_title(f"{TITLES[stage]}: bad-1 {bad:.1f} %", loc="left")
    axes.set(xlabel="x (px)", ylabel="d (px)")
    legend = {"loc": "lower right", "bbox_to_anchor": (1, 0.98), "ncols": 2, "frameon": False}
    axes.legend(fontsize=9, markerscale=4, **legend)
    return shown


def draw_curves(axes: Axes, found: Experiment) -> None:
    """All candidates of one pixel; a dot marks each curve's winner."""
    for stage, costs in found.costs.items():
        curve = costs[found.pixel]
        winner = int(curve.argmin())
        axes.plot(curve, np.arange(len(curve)), color=STAGE_COLOURS[stage], label=TITLES[stage])
        axes.plot(curve[winner], winner, "o", color=STAGE_COLOURS[stage], ms=8)
    axes.axhline(found.truth[found.pixel], color=TRUE_COLOUR, lw=2, label="true disparity")
    axes.set(title=f"all candidates of the pixel x = {found.pixel}", xlabel="cost (bits)", ylabel="d (px)")
