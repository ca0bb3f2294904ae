"""Semi-global matching with more and more paths.

Shows:  the same pair with 1, 2, 4, 8 and 16 paths: streaks vanish
Slide:  The Energy-Based Approach
Reads:  along a path neighbours agree, across it nothing ties them: horizontal paths leave horizontal streaks, which
        vertical ones end. More directions mend ever less. With higher penalties that comes sooner: at twice these, two
        paths make nearly as few errors as eight, though their streaks are as plain to see.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from matplotlib.axes import Axes

from firstsight.gallery.drawing import Drawing, canvas
from firstsight.gallery.figures.depth.stereo_panels import add_disparity_bar, show_disparity, show_pair
from firstsight.gallery.figures.depth.street_pair import (
    BAD_1,
    JUDGED,
    Costs,
    StreetPair,
    bad_1,
    pixel_costs,
    street_pair,
)
from firstsight.matching.aggregation.penalties import JumpRule, JumpTable, Penalties, Steps
from firstsight.matching.aggregation.semi_global import SemiGlobal, aggregate
from firstsight.matching.selection.winner import take_winners
from firstsight.run_folder import Metric

PENALTIES = Penalties(p1=1.6, p2=12.8, adapt="constant")  # bits; high, since the costs are those of single pixels
HORIZONTAL = ((1, 0), (-1, 0))  # from the left, from the right
ORIGINS = {
    1: "from the left",
    2: "from left and right",
    4: "also from above and below",
    8: "also diagonal",
    16: "also half-way between",
}
COUNTS = tuple(ORIGINS)


@dataclass(frozen=True)
class OnlyAlong:
    """A JumpRule by which jumps cost nothing on any other path than these: there eq. 13 says L_r(p, d) = C(p, d)."""

    rule: JumpRule
    steps: tuple[tuple[int, int], ...]

    @property
    def p1(self) -> int | float:
        return self.rule.p1

    @property
    def p2(self) -> int | float:
        return self.rule.p2

    def table(self, steps: Steps) -> JumpTable:
        table = self.rule.table(steps)
        values = np.broadcast_to(table.values, (len(steps), *table.values.shape[1:])).copy()
        values[[tuple(step) not in self.steps for step in steps.tolist()]] = 0
        return table._replace(values=values)


class Experiment(NamedTuple):
    """The disparity (px) for each number of paths."""

    pair: StreetPair
    disparities: dict[int, Float32[np.ndarray, "height width"]]


def experiment(scale: float = 1.0) -> Experiment:
    pair = street_pair(scale)
    costs = pixel_costs(pair)
    return Experiment(pair, {count: take_winners(path_costs(pair, costs, count)).position for count in COUNTS})


def path_costs(pair: StreetPair, costs: Costs, count: int) -> Costs:
    """S(p, d) over so many paths. Fewer than four are four, less the costs that those without penalties add."""
    if count in (4, 8, 16):
        return aggregate(costs, SemiGlobal(pair.left, PENALTIES, count))
    rule = OnlyAlong(PENALTIES, HORIZONTAL[:count])
    return aggregate(costs, SemiGlobal(pair.left, rule, 4)) - (4 - count) * costs


def numbers(found: Experiment) -> tuple[Metric, ...]:
    return tuple(
        Metric(
            name=f"bad-1, {described(count)}",
            value=bad_1(found.pair, disparity),
            unit="%",
            protocol=f"{BAD_1}; {JUDGED}",
        )
        for count, disparity in found.disparities.items()
    )


def described(count: int) -> str:
    return "1 path" if count == 1 else f"{count} paths"


def path_directions(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    measured = numbers(found)
    bad = [metric.value for metric in measured]
    figure = canvas(1300, "Semi-global matching of single pixels' costs, with 1 to 16 paths")
    panels = figure.subplot_mosaic([["left", "truth"], ["1", "2"], ["4", "8"], ["16", "bars"]])
    show_pair(panels["left"], panels["truth"], found.pair)
    for count, value in zip(COUNTS, bad, strict=True):
        title = f"{described(count)}: {ORIGINS[count]}"
        show_disparity(panels[str(count)], found.pair, found.disparities[count], title, f"bad-1 {value:.1f} %")
    draw_bars(panels["bars"], bad)
    add_disparity_bar(figure, [panels["truth"], panels["2"], panels["8"]], found.pair)
    return Drawing(figure, measured)


def draw_bars(axes: Axes, bad: list[float]) -> None:
    labels = [described(count) for count in COUNTS]
    axes.bar_label(axes.barh(labels, bad, color="#4c72b0"), fmt="%.1f", padding=4)
    axes.set(title="wrong by more than 1 px", xlabel="bad-1 (%)", xlim=(0, 1.12 * max(bad)))
    axes.invert_yaxis()
