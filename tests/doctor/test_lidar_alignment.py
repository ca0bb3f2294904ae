"""Range jumps, image edges, their correlation, and finding a placement again."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from firstsight.doctor.lidar import (
    Placement,
    ProjectedSweep,
    best_placement,
    coefficients,
    correlations,
    image_edges,
    is_certain,
    range_jumps,
    sweeps,
)
from firstsight.doctor.samples import Samples


def boxes(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An image (200, 400) of bright boxes before a dark wall, and the depth of each pixel."""
    random = np.random.default_rng(seed)
    grey, depth = np.full((200, 400), 40, np.uint8), np.full((200, 400), 30.0)
    for _ in range(14):
        x, y = int(random.integers(0, 360)), int(random.integers(0, 160))
        width, height = random.integers(15, 60, 2).tolist()
        cv2.rectangle(grey, (x, y), (x + width, y + height), int(random.integers(90, 250)), -1)
        cv2.rectangle(depth, (x, y), (x + width, y + height), float(random.uniform(5, 15)), -1)
    return grey, depth


def view(moved: Placement) -> ProjectedSweep:
    """Points on a grid over the boxes, with their pixels as a calibration that is off by `moved` would give them."""
    grey, depth = boxes()
    rows, columns = (axis.ravel() for axis in np.mgrid[0:200:3, 0:400:3])
    pixels = np.column_stack([columns, rows]).astype(np.float64)
    jumps = range_jumps(pixels, depth[rows, columns])
    centre = np.array([199.5, 99.5])
    given = centre + (pixels - centre - np.multiply(moved[2:], 400)) / moved[:2]
    return ProjectedSweep(given, jumps, image_edges(grey))


def test_a_jump_belongs_to_the_nearer_side():
    pixels = np.column_stack([np.arange(40.0), np.zeros(40)])
    z = np.where(np.arange(40) < 20, 5.0, 10.0)
    jumps = range_jumps(pixels, z)
    assert jumps[19] == 1.0  # the wall beside it is twice as far
    assert jumps[20] == jumps[0] == jumps[39] == 0.0


def test_coefficients_against_numpy():
    random = np.random.default_rng(0)
    points, jumps = random.uniform(-20, 120, (3000, 2)), random.uniform(0, 1, 3000)
    edges = random.uniform(0, 1, (80, 100)).astype(np.float32)
    centre, placement = np.array([49.5, 39.5]), (1.2, 0.9, 0.05, -0.02)
    seen, under = [], []
    for (x, y), jump in zip(points, jumps, strict=True):
        column = round(49.5 + (x - 49.5) * 1.2 + 5.0)
        row = round(39.5 + (y - 39.5) * 0.9 - 2.0)
        if 0 <= column < 100 and 0 <= row < 80:
            seen.append(jump)
            under.append(edges[row, column])
    found = coefficients(points, jumps, edges, centre, np.array([placement]))[0]
    assert found == pytest.approx(np.corrcoef(seen, under)[0, 1], abs=1e-9)


def test_coefficients_are_zero_where_nothing_varies():
    points = np.tile([[5.0, 5.0]], (1000, 1))
    found = coefficients(
        points, np.ones(1000), np.ones((10, 10), np.float32), np.zeros(2), np.array([[1.0, 1.0, 0.0, 0.0]])
    )
    assert found[0] == 0.0


@pytest.mark.parametrize(
    "moved",
    [
        Placement(),
        Placement(0.77, 0.77, 0.0, 0.0),
        Placement(1.3, 1.3, 0.0, 0.0),
        Placement(1.0, 1.0, 0.08, 0.0),
        Placement(1.0, 1.0, -0.06, 0.04),
    ],
)
def test_a_placement_is_found_again(moved: Placement):
    views, centre = [view(moved)], np.array([199.5, 99.5])
    found = best_placement(views, centre)
    np.testing.assert_allclose(found[:2], moved[:2], rtol=0.06)
    np.testing.assert_allclose(found[2:], moved[2:], atol=0.012)
    given, best = correlations(views, centre, [Placement(), found])[0]
    assert best >= given
    assert (moved == Placement()) == (found.off < 0.5)


def test_a_gain_in_some_views_is_not_certain():
    assert is_certain(np.array([0.1, 0.12, 0.09, 0.14]))
    assert not is_certain(np.array([0.2, 0.14, 0.08, 0.04, 0.01, 0.0, -0.02, -0.04]))


def test_sweeps_that_cannot_be_read_say_why(street_samples: Samples):
    damaged = replace(street_samples, scans={}, unreadable={"scan 0": "0.bin: copy it again"})
    finding = sweeps(damaged)
    assert (finding.verdict, finding.advice) == ("unfit", "0.bin: copy it again")
