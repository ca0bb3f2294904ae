"""The disparity of one street image after every stage of the energy approach, and the energy that it lowers.

Shows:  disparity stage by stage, from single pixels to the filled map, with bad-1 and E(D)
Slide:  The Energy-Based Approach
Reads:  a pixel alone finds its match seldom; averaged over what looks like one surface mostly; smoothness along paths
        mends what is left within surfaces. What only one camera sees is then found out and filled in from around it.
        The winner of the averaged costs has the lowest data term that there is; semi-global matching pays a little more
        for its data, much less for jumps, and has the lower E(D).
"""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from firstsight.gallery.drawing import Drawing, canvas, show_image
from firstsight.gallery.figures.depth.stages import PATH, PATHS, PENALTIES, PIXEL, SURFACE, SYMBOLS, stages
from firstsight.gallery.figures.depth.stereo_panels import (
    add_disparity_bar,
    disparity_colours,
    show_disparity,
    show_pair,
)
from firstsight.gallery.figures.depth.street_pair import BAD_1, JUDGED, StreetPair, bad_1, street_pair
from firstsight.matching.aggregation.energy import Energy, energy
from firstsight.matching.selection.consistency import Classes, MatchClass, classify
from firstsight.matching.selection.filling import fill_classified
from firstsight.matching.selection.winner import take_winners
from firstsight.run_folder import Metric

CONSISTENCY_PX = 1.0
MEDIAN_PX = 5
FILLED = "filled"
TITLES = {
    PIXEL: "winner-take-all of the pixel cost: argmin C(p, d)",
    SURFACE: "after cross-based aggregation: argmin $C^4_{CBCA}$(p, d)",
    PATH: f"after semi-global matching, {PATHS} paths: argmin S(p, d)",
    FILLED: f"holes filled, then the median of {MEDIAN_PX}x{MEDIAN_PX} px",
}
CLASS_COLOURS = {MatchClass.OCCLUSION: (0.0, 0.0, 0.0), MatchClass.MISMATCH: (1.0, 1.0, 1.0)}


class Experiment(NamedTuple):
    """Disparities by stage (px), what the right image says of the semi-global one, and E(D) by stage."""

    pair: StreetPair
    disparities: dict[str, Float32[np.ndarray, "height width"]]
    classes: Classes
    energies: dict[str, Energy]


def experiment(scale: float = 1.0) -> Experiment:
    pair = street_pair(scale)
    volumes = stages(pair)
    winners = {stage: take_winners(volume) for stage, volume in volumes.items()}
    disparities = {stage: winner.position for stage, winner in winners.items()}
    classes = classify(disparities[PATH], winners[PATH].of_right, CONSISTENCY_PX, pair.candidates)
    disparities[FILLED] = cv2.medianBlur(fill_classified(disparities[PATH], classes), MEDIAN_PX)
    whole = {stage: take_winners(volume, "none").position.astype(int) for stage, volume in volumes.items()}
    energies = {stage: energy(d, volumes[SURFACE], PENALTIES.p1, PENALTIES.p2) for stage, d in whole.items()}
    return Experiment(pair, disparities, classes, energies)


def numbers(found: Experiment) -> tuple[Metric, ...]:
    pair, trusted = found.pair, found.classes == MatchClass.CORRECT
    bad = {stage: bad_1(pair, disparity) for stage, disparity in found.disparities.items()}
    protocol = f"{BAD_1}; {JUDGED}"
    terms = f"C^4_CBCA, P1 {PENALTIES.p1:g}, P2 {PENALTIES.p2:g} bits, 4 neighbours, each pair once"
    return (
        *(Metric(name=f"bad-1, {stage}", value=value, unit="%", protocol=protocol) for stage, value in bad.items()),
        Metric(
            name="bad-1, left-right check",
            value=bad_1(pair, found.disparities[PATH], trusted),
            unit="%",
            protocol=f"{BAD_1}; of the {100 * trusted.mean():.0f} % of pixels that both views agree on",
        ),
        *(
            Metric(name=f"E(D), {stage}", value=value.total / pair.left.size, unit="bits per pixel", protocol=terms)
            for stage, value in found.energies.items()
        ),
    )


def energy_approach(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    measured = numbers(found)
    values = {metric.name: metric.value for metric in measured}
    figure = canvas(1300, "The energy approach: one stereo pair, stage by stage")
    panels = figure.subplot_mosaic([["left", "truth"], [PIXEL, SURFACE], [PATH, "checked"], [FILLED, "energy"]])
    show_pair(panels["left"], panels["truth"], found.pair)
    for stage, title in TITLES.items():
        caption = f"bad-1 {values[f'bad-1, {stage}']:.1f} %"
        if stage in found.energies:
            caption += f"      E(D) {values[f'E(D), {stage}']:.2f} bits per pixel"
        show_disparity(panels[stage], found.pair, found.disparities[stage], title, caption)
    draw_check(panels["checked"], found, values["bad-1, left-right check"])
    draw_energies(panels["energy"], found)
    add_disparity_bar(figure, [panels["truth"], panels[SURFACE], panels["checked"]], found.pair)
    figure.supxlabel(f"{SYMBOLS}   E(D): the energy of a disparity map D.", fontsize=10)
    return Drawing(figure, measured)


def draw_check(axes: Axes, found: Experiment, bad: float) -> None:
    """The semi-global disparity, with what the right image does not confirm in two colours."""
    trusted = found.classes == MatchClass.CORRECT
    colours = disparity_colours(found.pair, found.disparities[PATH], trusted)
    for kind, colour in CLASS_COLOURS.items():
        colours[found.classes == kind] = colour
    caption = f"bad-1 {bad:.1f} % of the {100 * trusted.mean():.0f} % that remain"
    show_image(axes, colours, "after the left-right check", caption)
    patches = [Patch(fc=colour, ec="grey", label=kind.name.lower()) for kind, colour in CLASS_COLOURS.items()]
    axes.legend(handles=patches, loc="upper left", fontsize=9)


def draw_energies(axes: Axes, found: Experiment) -> None:
    """E(D) as bars of its terms, so that one sees which of them falls."""
    stages, pixels = list(found.energies), found.pair.left.size
    terms = np.array([found.energies[stage] for stage in stages]) / pixels
    left = np.zeros(len(stages))
    labels = ("data: C(p, D(p))", "steps of 1: P1", "larger jumps: P2")
    for term, label, colour in zip(terms.T, labels, ("#4c72b0", "#dd8452", "#c44e52"), strict=True):
        bars = axes.barh(stages, term, left=left, label=label, color=colour)
        left += term
    axes.bar_label(bars, [f"{total:.2f}" for total in left], padding=4)
    axes.set(title="E(D) of the three maps", xlabel="bits per pixel", xlim=(0, 1.12 * left.max()))
    axes.invert_yaxis()
    axes.legend(loc="lower right", fontsize=9)
