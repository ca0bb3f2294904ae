"""Occupancy errors against a loop over cells, and on maps that were moved."""

import math

import numpy as np
import pytest

from firstsight.evaluation.occupancy import Grid, occupancy_metrics
from firstsight.formats.occupancy import FREE, OCCUPIED, UNKNOWN
from firstsight.recordings.recording import OccupancyTruth


def measured(grid: Grid, truth: OccupancyTruth, true_from_estimated: np.ndarray) -> dict[str, float]:
    return {metric.name: metric.value for metric in occupancy_metrics(grid, truth, true_from_estimated)}


def rotation_about_z(angle_rad: float, x_m: float, y_m: float) -> np.ndarray:
    a_from_b = np.eye(4)
    a_from_b[:2, :2] = [[math.cos(angle_rad), -math.sin(angle_rad)], [math.sin(angle_rad), math.cos(angle_rad)]]
    a_from_b[:2, 3] = x_m, y_m
    return a_from_b


def random_truth(rng: np.random.Generator) -> OccupancyTruth:
    return OccupancyTruth(rng.random((23, 31)) < 0.15, (-3.0, 2.0), 0.5)


def slow_metrics(grid: Grid, truth: OccupancyTruth, true_from_estimated: np.ndarray) -> dict[str, float]:
    """Each true cell's centre is looked up in the estimated grid; neighbours are searched one by one."""
    rows, columns = truth.occupied.shape
    estimated_from_true = np.linalg.inv(true_from_estimated)
    looked_up = {}
    for i in range(rows):
        for j in range(columns):
            centre = (
                truth.origin_m[0] + (j + 0.5) * truth.cell_size_m,
                truth.origin_m[1] + (i + 0.5) * truth.cell_size_m,
            )
            x, y, _, _ = estimated_from_true @ np.array([*centre, 0, 1])
            column = math.floor((x - grid.origin_m[0]) / grid.cell_size_m)
            row = math.floor((y - grid.origin_m[1]) / grid.cell_size_m)
            inside = 0 <= row < grid.values.shape[0] and 0 <= column < grid.values.shape[1]
            looked_up[i, j] = grid.values[row, column] if inside else UNKNOWN

    def near(i: int, j: int, is_in) -> bool:
        cells = [(i + di, j + dj) for di in (-1, 0, 1) for dj in (-1, 0, 1)]
        return any(cell in looked_up and is_in(cell) for cell in cells)

    observed = [cell for cell, value in looked_up.items() if value != UNKNOWN]
    estimated = [cell for cell in observed if looked_up[cell] == OCCUPIED]
    true = [cell for cell in observed if truth.occupied[cell]]
    met = sum(near(*cell, lambda c: looked_up[c] == OCCUPIED) for cell in true)
    right = sum(near(*cell, lambda c: bool(truth.occupied[c])) for cell in estimated)
    return {
        "occupancy IoU": len(set(estimated) & set(true)) / len(set(estimated) | set(true)),
        "occupancy IoU (within one cell)": met / (len(true) + len(estimated) - right),
        "occupancy precision (within one cell)": right / len(estimated),
        "occupancy recall (within one cell)": met / len(true),
        "occupancy observed": 100 * len(true) / truth.occupied.sum(),
    }


@pytest.mark.parametrize("cell_size_m", [0.5, 0.2, 0.7])
def test_equals_the_loop_for_other_cells_origins_and_worlds(cell_size_m: float) -> None:
    rng = np.random.default_rng(3)
    truth = random_truth(rng)
    values = rng.choice(np.array([FREE, OCCUPIED, UNKNOWN], np.uint8), (40, 50), p=[0.5, 0.2, 0.3])
    grid, motion = Grid(values, (-5.3, -1.1), cell_size_m), rotation_about_z(0.3, 1.2, -0.4)
    assert measured(grid, truth, motion) == pytest.approx(slow_metrics(grid, truth, motion))


def test_the_true_map_in_a_turned_world_is_perfect() -> None:
    truth = random_truth(np.random.default_rng(4))
    # a quarter turn and a shift by whole cells: cell (i, j) of the truth is cell (30 - j, i) of the estimate
    values = np.where(np.rot90(truth.occupied, 1), OCCUPIED, FREE).astype(np.uint8)
    rotated = rotation_about_z(math.pi / 2, 0, 0)
    corner = np.linalg.inv(rotated) @ np.array([-3.0 + 31 * 0.5, 2.0, 0, 1])
    grid = Grid(values, (float(corner[0]), float(corner[1])), 0.5)
    assert set(measured(grid, truth, rotated).values()) == {1.0, 100.0}


def test_one_cell_off_is_wrong_exactly_and_right_within_the_tolerance() -> None:
    occupied = np.zeros((9, 9), bool)
    occupied[4, 1:8] = True
    truth = OccupancyTruth(occupied, (0.0, 0.0), 1.0)
    values = np.where(np.roll(occupied, 1, axis=0), OCCUPIED, FREE).astype(np.uint8)
    result = measured(Grid(values, (0.0, 0.0), 1.0), truth, np.eye(4))
    assert result["occupancy IoU"] == 0
    assert result["occupancy IoU (within one cell)"] == 1


def test_cells_never_observed_are_not_judged() -> None:
    occupied = np.zeros((4, 4), bool)
    occupied[:, 1:3] = True
    values = np.full((4, 4), UNKNOWN, np.uint8)
    values[:, 1] = OCCUPIED
    result = measured(Grid(values, (0.0, 0.0), 1.0), OccupancyTruth(occupied, (0.0, 0.0), 1.0), np.eye(4))
    assert result["occupancy IoU"] == 1
    assert result["occupancy observed"] == 50
