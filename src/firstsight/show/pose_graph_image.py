"""A pose graph seen from above: the path and its loops, before and after."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from firstsight.roles.pose_graph import PoseGraph

PATH, LOOP, FALSE = "#1f4e9e", "#2e9e4f", "#c0392b"
SEEN_EDGES = 3000  # beyond it, lines are drawn thinner


def before_and_after(
    before: PoseGraph, after: PoseGraph, loops: np.ndarray, rejected: np.ndarray, caption: str = ""
) -> Figure:
    """Two panels; loops that were found to be false are red in both. The caption says what the graph lacks."""
    figure = Figure(figsize=(13.3, 6.7), dpi=120)
    figure.set_layout_engine("constrained")
    left, right = figure.subplots(1, 2)
    draw_graph(left, before, loops, rejected)
    draw_graph(right, after, loops, rejected)
    left.set_title("before")
    right.set_title("after")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    if caption:
        figure.suptitle(caption, fontsize="medium", color=FALSE)
    return figure


def draw_graph(axes: Axes, graph: PoseGraph, loops: np.ndarray, rejected: np.ndarray) -> None:
    """The two axes of the world along which the path is longest, in metres."""
    places = graph.world_from_node[:, :-1, -1]
    shown = np.sort(np.argsort(-np.ptp(places, axis=0), kind="stable")[:2])
    flat, thin = places[:, shown], 0.5 if len(loops) < SEEN_EDGES else 0.2
    ends = np.stack([flat[graph.between.a], flat[graph.between.b]], 1)
    for chosen, colour, width, label in (
        (loops & ~rejected, LOOP, thin, f"{int((loops & ~rejected).sum())} loops"),
        (rejected, FALSE, 0.8, f"{int(rejected.sum())} false loops"),
        (~loops, PATH, 1.2, "estimate"),
    ):
        if chosen.any():
            axes.add_collection(LineCollection(list(ends[chosen]), colors=colour, linewidths=width, label=label))
    if len(graph.landmarks):
        axes.plot(*graph.landmarks[:, shown].T, "+", color="black", ms=4, label=f"{len(graph.landmarks)} landmarks")
    names = "xyz"
    axes.autoscale_view()
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel=f"{names[shown[0]]} (m)", ylabel=f"{names[shown[1]]} (m)")
