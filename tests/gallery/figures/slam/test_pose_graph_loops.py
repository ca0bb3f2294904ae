"""That loops mend the path, and that the walk is one through streets with the noise it says."""

import numpy as np
import pytest

from firstsight.gallery.figures.slam.pose_graph_loops import experiment, numbers
from firstsight.gallery.worlds.street_walk import odometry_start, street_walk
from firstsight.slam.pose_graphs.factors import inverse
from firstsight.slam.pose_graphs.false_loops.consistency import logs


@pytest.fixture(scope="module")
def found():
    return experiment(0.6)


def test_the_numbers_say_what_the_figure_shows(found):
    values = {metric.name: metric.value for metric in numbers(found)}
    assert values["with loops"] < 0.5 * values["odometry alone"]
    assert values["error of loops after"] < 5
    assert values["error of loops before"] > 20 * values["error of loops after"]
    assert 0.8 < values["chi-square per degree of freedom"] < 1.2
    assert values["factor"] < 60
    assert found.solution.converged


def test_the_walk_keeps_to_its_streets_with_the_noise_it_says():
    graph = street_walk(2000, 0, (0.1, 0.05, 0.02))
    steps = np.diff(graph.world_from_node[:, :2, 2], axis=0)
    np.testing.assert_allclose(np.abs(steps).sum(1), 1, atol=1e-9)
    a, b, measured, information = graph.between
    errors = logs(np.ascontiguousarray(inverse(graph.world_from_node[b]) @ graph.world_from_node[a] @ measured))
    np.testing.assert_allclose(errors.std(0), [0.1, 0.05, 0.02], rtol=0.05)
    np.testing.assert_allclose(np.diagonal(information[0]), [100, 400, 2500])
    loops = b - a > 1
    assert loops.sum() > 300
    np.testing.assert_allclose(
        graph.world_from_node[a[loops], :2, 2], graph.world_from_node[b[loops], :2, 2], atol=1e-9
    )


def test_odometry_s_start_has_no_error_in_odometry():
    graph = odometry_start(street_walk(50))
    chain = graph.between.b - graph.between.a == 1
    moved = inverse(graph.world_from_node[:-1]) @ graph.world_from_node[1:]
    np.testing.assert_allclose(moved, graph.between.a_from_b[chain], atol=1e-12)
