"""Two methods to find false loops, where they agree and where they do not."""

import numpy as np
import pytest

from firstsight.roles.pose_graph import Between, PoseGraph, pose_graph
from firstsight.slam.loops.loop_graph import Chain, Loop, close_graph
from firstsight.slam.pose_graphs.descent import Config
from firstsight.slam.pose_graphs.false_loops.second_opinion import rejected_loops, second_opinion
from firstsight.slam.pose_graphs.pose_graph import optimise

NODES, LOOP_SIGMA_M = 12, 0.1


def pose(x: float, y: float, turn_rad: float) -> np.ndarray:
    c, s = np.cos(turn_rad), np.sin(turn_rad)
    return np.array([[c, -s, x], [s, c, y], [0, 0, 1]])


def round_trip(*errors_m: float) -> PoseGraph:
    """A way round an odd-shaped block whose last node is seen from the first, each time off by so much along x."""
    turns = np.deg2rad([20, 35, 25, 40, 30, 28, 33, 27, 36, 24, 31])
    steps = [pose(1.0 + 0.1 * k, 0.02 * k, turn) for k, turn in enumerate(turns)]
    poses = [np.eye(3)]
    for step in steps:
        poses.append(poses[-1] @ step)
    loops = [poses[-1] + np.array([[0, 0, error], [0, 0, 0], [0, 0, 0]]) for error in errors_m]
    a = np.array([*range(NODES - 1), *[0] * len(loops)])
    b = np.array([*range(1, NODES), *[NODES - 1] * len(loops)])
    sigmas = np.array([[0.2, 0.2, 0.05]] * (NODES - 1) + [[LOOP_SIGMA_M, LOOP_SIGMA_M, 0.02]] * len(loops))
    information = np.stack([np.diag(1 / sigma**2) for sigma in sigmas])
    return pose_graph(np.array(poses), Between(a, b, np.array(steps + loops), information))


def opinion(graph: PoseGraph, false_loops: str = "consistent"):
    config = Config(false_loops=false_loops)
    solution = optimise(graph, config)
    return solution, second_opinion(graph, solution, config)


def test_two_loops_five_sigmas_apart_are_judged_differently():
    """They contradict each other by 12.5 squared sigmas, and none says which is false; half way between, both are 6.25 off."""
    graph = round_trip(-0.25, 0.25)
    solution, second = opinion(graph)
    assert rejected_loops(graph, solution).sum() == 2
    assert second is not None
    assert rejected_loops(graph, second.solution).sum() == 0
    assert np.array_equal(second.otherwise, rejected_loops(graph, solution))


def test_a_loop_that_is_far_off_is_false_to_both():
    graph = round_trip(0.0, 0.04, 9.0)
    solution, second = opinion(graph)
    assert rejected_loops(graph, solution).tolist() == [False] * (NODES + 1) + [True]
    assert second is not None
    assert not second.otherwise.any()


@pytest.mark.parametrize(("errors_m", "method"), [((0.0, 0.04), "consistent"), ((-0.25, 0.25), "keep")])
def test_without_a_sign_of_false_loops_or_of_a_choice_none_is_asked(errors_m: tuple[float, ...], method: str):
    assert opinion(round_trip(*errors_m), method)[1] is None


def test_a_loop_closer_names_the_pairs_that_are_disputed():
    """In space: the end of a curved way seen from its beginning, once off to either side."""
    poses = np.tile(np.eye(4), (NODES, 1, 1))
    turn = np.deg2rad(np.linspace(0, 300, NODES))
    poses[:, 0, 3], poses[:, 2, 3], poses[:, 1, 3] = 3 * np.sin(turn), 3 * np.cos(turn), 0.1 * turn
    node = np.arange(NODES - 1)
    motions = Between(node, node + 1, np.linalg.inv(poses[:-1]) @ poses[1:], np.tile(25 * np.eye(6), (NODES - 1, 1, 1)))
    loops = []
    for a, b, error_m in ((0, 11, -0.32), (0, 11, 0.32)):
        a_from_b = np.linalg.inv(poses[a]) @ poses[b]
        a_from_b[0, 3] += error_m
        loops.append(Loop(a, b, a_from_b, np.diag([100.0] * 3 + [2500.0] * 3)))
    chain = Chain(poses, np.ones(NODES), motions, np.arange(NODES, dtype=float))
    found = close_graph(chain, loops, 7, Config(false_loops="consistent"))
    assert (len(found.loops), found.disputed, found.tried) == (0, [(0, 11), (0, 11)], 7)
    assert close_graph(chain, loops, 7, Config(false_loops="graduated")).disputed == []
