"""Every figure, one line each. A line names its function; what is listed of it is read from its module's docstring."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from firstsight.catalogue import Entry
from firstsight.errors import InputError
from firstsight.suggestions import unknown

FIGURES = {
    "energy-approach": "firstsight.gallery.figures.depth.energy_approach:energy_approach",
    "cost-slice": "firstsight.gallery.figures.depth.cost_slice:cost_slice",
    "path-directions": "firstsight.gallery.figures.depth.path_directions:path_directions",
    "monodepth-losses": "firstsight.gallery.figures.depth.monodepth_losses:monodepth_losses",
    "aperture-problem": "firstsight.gallery.figures.flow.aperture_problem:aperture_problem",
    "correlation-volume": "firstsight.gallery.figures.flow.correlation_volume:correlation_volume",
    "ekf-slam": "firstsight.gallery.figures.slam.ekf_slam:ekf_slam",
    "photo-reconstruction": "firstsight.gallery.figures.slam.photo_reconstruction:photo_reconstruction",
    "pose-graph-loops": "firstsight.gallery.figures.slam.pose_graph_loops:pose_graph_loops",
    "slam-cost": "firstsight.gallery.figures.slam.slam_cost:slam_cost",
    "moving-smear": "firstsight.gallery.figures.mapping.moving_smear:moving_smear",
    "dino-collapse": "firstsight.gallery.figures.representation.dino_collapse:dino_collapse",
    "attention-heads": "firstsight.gallery.figures.representation.attention_heads:attention_heads",
    "rbm-filters": "firstsight.gallery.figures.representation.rbm_filters:rbm_filters",
    "slots-over-iterations": "firstsight.gallery.figures.discovery.slot_iterations:slot_iterations",
}
SECONDS = {
    "energy-approach": 7,
    "cost-slice": 8,
    "path-directions": 7,
    "aperture-problem": 6,
    "correlation-volume": 2,
    "ekf-slam": 66,
    "photo-reconstruction": 18,
    "pose-graph-loops": 7,
    "slam-cost": 26,
    "moving-smear": 58,
    "attention-heads": 173,
    "rbm-filters": 36,
    "slots-over-iterations": 267,
}
"""The time that each figure takes on one idle core, once its kernels are compiled."""


def find(name: str) -> Callable[..., Any]:
    """The figure's function (scale: float = 1) -> Drawing. Its experiment is smaller and faster for a scale below 1.

    Raises InputError with the nearest name where there is no figure of that name.
    """
    if name not in FIGURES:
        raise InputError(unknown(name, "figure", FIGURES, "firstsight gallery"))
    module, function = FIGURES[name].split(":")
    return getattr(import_module(module), function)


def listed() -> list[tuple[str, str, str]]:
    """(name, what it shows, the course's slide) of every figure, without importing it."""
    entries = (Entry(name, target) for name, target in FIGURES.items())
    return [(entry.name, entry.section("Shows"), entry.section("Slide")) for entry in entries]
