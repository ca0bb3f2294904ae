"""Errors of an occupancy grid against the static world.

The estimated grid lies in its own world and may have another origin and cell size: it is looked up at the centre of each true
cell (nearest cell), which `estimated_on_true` does through the plane z = 0 of the estimated world seen from above. Judged are
the true cells that the estimated map observed (free or occupied there).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from scipy.ndimage import binary_dilation

from firstsight.evaluation.shares import share
from firstsight.formats.occupancy import OCCUPIED, UNKNOWN
from firstsight.recordings.recording import OccupancyTruth, Transform
from firstsight.run_folder import Metric

EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


class Grid(NamedTuple):
    """An occupancy grid as formats.occupancy.read_map gives it: row 0 at the lowest y, values OCCUPIED, FREE, UNKNOWN."""

    values: UInt8[np.ndarray, "rows columns"]
    origin_m: tuple[float, float]
    cell_size_m: float


def estimated_on_true(
    grid: Grid, truth: OccupancyTruth, true_from_estimated: Transform
) -> UInt8[np.ndarray, "rows columns"]:
    """Value of the estimated grid at the centre of every true cell, UNKNOWN outside it."""
    x, y = estimated_positions_m(truth, true_from_estimated)
    columns = np.floor((x - grid.origin_m[0]) / grid.cell_size_m).astype(np.int64)
    rows = np.floor((y - grid.origin_m[1]) / grid.cell_size_m).astype(np.int64)
    height, width = grid.values.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    values = grid.values[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return np.where(inside, values, UNKNOWN).astype(np.uint8)


def estimated_positions_m(
    truth: OccupancyTruth, true_from_estimated: Transform
) -> Float64[np.ndarray, "2 rows columns"]:
    """(x, y) in the estimated world of the true cells' centres: the inverse of the motion restricted to the plane z = 0."""
    rows, columns = truth.occupied.shape
    y, x = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, indexing="ij")
    centres = np.array(truth.origin_m)[:, None, None] + truth.cell_size_m * np.stack([x, y])
    from_true = np.linalg.inv(true_from_estimated[:2, :2])
    return np.einsum("ij,jrc->irc", from_true, centres - true_from_estimated[:2, 3, None, None])


def occupancy_metrics(grid: Grid, truth: OccupancyTruth, true_from_estimated: Transform) -> tuple[Metric, ...]:
    """IoU of occupied cells over the observed ones, exact; then IoU, precision and recall where one cell off counts as met.

    Args:
        true_from_estimated: places the estimated world in the true one, e.g. by the first pose or a trajectory alignment.
    Values that no cell decides are left out.
    """
    values = estimated_on_true(grid, truth, true_from_estimated)
    observed = values != UNKNOWN
    estimated, true = values == OCCUPIED, truth.occupied & observed
    near_true, near_estimated = (binary_dilation(mask, EIGHT_NEIGHBOURS) for mask in (truth.occupied, estimated))
    both, either = count(estimated & true), count(estimated | true)
    met, missed = count(true & near_estimated), count(true & ~near_estimated)
    right, false = count(estimated & near_true), count(estimated & ~near_true)
    cells = f"{count(observed)} observed cells of {truth.cell_size_m:g} m, estimate read at the nearest cell"
    tolerant = f"an occupied cell within one cell (8 neighbours) counts as met; {cells}"
    return (
        *share("occupancy IoU", both, either, f"exact cells; {cells}", ""),
        *share("occupancy IoU (within one cell)", met, met + missed + false, tolerant, ""),
        *share("occupancy precision (within one cell)", right, right + false, tolerant, ""),
        *share("occupancy recall (within one cell)", met, met + missed, tolerant, ""),
        *share("occupancy observed", count(true), count(truth.occupied), "of the truly occupied cells"),
    )


def count(mask: Bool[np.ndarray, "rows columns"]) -> int:
    return int(mask.sum())
