"""Other starts where the given one ends in a wrong optimum, and only then."""

from pathlib import Path

import numpy as np
import pytest

from firstsight.formats.g2o import read_g2o
from firstsight.roles.pose_graph import Between, planar, pose_graph
from firstsight.slam.pose_graphs import starts
from firstsight.slam.pose_graphs.descent import Config
from firstsight.slam.pose_graphs.starts import best_of_starts, degrees_of_freedom, looks_bad


def ring_turned_twice():
    """Twelve exact steps that turn once, started at headings that turn twice: a wrong optimum, each step pi / 6 off."""
    a = np.arange(12)
    step = planar(1.0, 0.2, np.pi / 6)
    start = np.array([planar(np.cos(turn), np.sin(turn), turn) for turn in a * np.pi / 3])
    start[0] = np.eye(3)
    information = np.tile(np.diag([100.0, 100, 400]), (12, 1, 1))
    return pose_graph(start, Between(a, (a + 1) % 12, np.tile(step, (12, 1, 1)), information))


@pytest.mark.parametrize("method", ["gauss_newton", "levenberg_marquardt", "dogleg"])
def test_a_wrong_optimum_is_left_by_another_start(method):
    tried = best_of_starts(ring_turned_twice(), Config(method=method))
    assert tried.errors["given"] == pytest.approx(12 * 400 * (np.pi / 6) ** 2 / 2, rel=1e-6)
    assert set(tried.errors) == {"given", "spanning-tree", "chordal"}
    assert tried.solution.error < 1e-20
    np.testing.assert_allclose(
        tried.solution.world_from_node[3], np.linalg.matrix_power(planar(1.0, 0.2, np.pi / 6), 3), atol=1e-9
    )


def test_a_good_solution_is_not_looked_for_again(synthetic):
    graph = synthetic.perturbed(synthetic.loops(60, 2, noise=0.1), 0.02)
    assert list(best_of_starts(graph, Config()).errors) == ["given"]


def test_the_lowest_error_is_kept_whichever_start_it_came_from(monkeypatch):
    graph = ring_turned_twice()
    worse = graph.world_from_node.copy()
    worse[1:, :2, 2] += 40
    monkeypatch.setitem(starts.STARTS, "spanning-tree", lambda graph: graph._replace(world_from_node=worse))
    monkeypatch.setitem(starts.STARTS, "chordal", lambda graph: graph)
    tried = best_of_starts(graph, Config(max_iterations=1))
    assert tried.solution.error == min(tried.errors.values())
    assert tried.errors["spanning-tree"] != tried.errors["chordal"]


def test_where_loops_may_be_left_out_errors_are_not_compared():
    assert list(best_of_starts(ring_turned_twice(), Config(false_loops="consistent")).errors) == ["given"]


def test_degrees_of_freedom_and_the_limit():
    graph = ring_turned_twice()
    assert degrees_of_freedom(graph) == 3
    assert looks_bad(graph, 4.51)
    assert not looks_bad(graph, 4.49)


def test_mit_ends_where_a_chordal_start_does(shared_data: Path):
    path = shared_data / "pose_graphs" / "MIT.g2o"
    if not path.is_file():
        pytest.skip(f"{path.name} is not on this machine")
    tried = best_of_starts(read_g2o(path).graph, Config())
    assert tried.errors["given"] == pytest.approx(385.122, rel=1e-4)
    assert tried.solution.error == pytest.approx(20.6035, rel=1e-4)
