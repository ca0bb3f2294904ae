"""That what moves smears means and maps, that leaving it out removes the smear, and how ghosts are told."""

import numpy as np
import pytest

from firstsight.formats.mesh import Mesh
from firstsight.gallery.figures.mapping.fused_maps import KEPT, LEFT_OUT, area_m2, ghost_cells, ghost_faces
from firstsight.gallery.figures.mapping.moving_smear import BAND_ONLY, Experiment, experiment, numbers
from firstsight.mapping.occupancy import OccupancyMap


@pytest.fixture(scope="module")
def measured() -> dict[str, float]:
    found: Experiment = experiment(0.4)
    return {metric.name: metric.value for metric in numbers(found)}


def test_the_mean_image_keeps_a_veil(measured: dict[str, float]):
    assert measured[f"mean image, {KEPT}"] > 2 * measured[f"mean image, {LEFT_OUT}"]


def test_leaving_out_what_moves_removes_the_ghosts(measured: dict[str, float]):
    assert measured[f"ghost cells, {KEPT}"] > 20
    assert measured[f"ghost cells, {LEFT_OUT}"] < 0.1 * measured[f"ghost cells, {KEPT}"]
    assert measured[f"ghost surface, {BAND_ONLY}"] > 0.5
    assert measured[f"ghost surface, {KEPT}"] < measured[f"ghost surface, {BAND_ONLY}"]
    assert measured[f"ghost surface, {LEFT_OUT}"] < 0.05 * measured[f"ghost surface, {BAND_ONLY}"]


def test_ghost_cells_are_those_with_nothing_beside_them_in_the_static_map():
    static, grid = np.zeros((6, 6), bool), np.zeros((8, 8), bool)
    static[2, 3] = True  # at x 3.5, y 2.5
    for row, column in ((3, 5), (5, 5), (7, 0), (0, 7)):
        grid[row, column] = True
    ghosts = ghost_cells(OccupancyMap(grid, ~grid, (-1.0, -1.0), 1.0), OccupancyMap(static, ~static, (0.0, 0.0), 1.0))
    assert np.argwhere(ghosts).tolist() == [[0, 7], [5, 5], [7, 0]]


def test_ghost_faces_are_those_far_from_the_static_mesh():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 9], [2, 0, 9], [0, 2, 9]], np.float32)
    mesh = Mesh(vertices, np.zeros((6, 3), np.uint8), np.array([[0, 1, 2], [3, 4, 5]], np.int32))
    static = mesh._replace(faces=mesh.faces[:1], vertices=vertices[:3], colours=mesh.colours[:3])
    ghosts = ghost_faces(mesh, static, 0.5)
    assert ghosts.tolist() == [False, True]
    assert area_m2(mesh, ghosts) == pytest.approx(2.0)
