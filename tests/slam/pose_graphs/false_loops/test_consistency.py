"""Uncertainty of cycles against samples, loops held against the rest against solutions without them, votes."""

import numpy as np
import pytest

from firstsight.roles.pose_graph import Between
from firstsight.slam.pose_graphs.descent import Config, problem_of
from firstsight.slam.pose_graphs.factors import State, inverse
from firstsight.slam.pose_graphs.false_loops.consistency import (
    adjoints,
    carried,
    confirmed,
    covariance_of,
    cycle_errors,
    forward,
    held_against_rest,
    log_space,
    logs,
    loops_of,
    odometry_errors,
    odometry_of,
    outvoted,
)
from firstsight.slam.pose_graphs.false_loops.treatment import loop_errors
from firstsight.slam.pose_graphs.pose_graph import optimise

GATE, ODDS = 11.34, float(np.log(1000))


def parts(between: Between, chosen) -> Between:
    return Between(*(part[chosen] for part in between))


def test_the_first_motion_between_neighbours_is_odometry_and_no_other():
    a, b = np.array([0, 1, 3, 1, 0, 2]), np.array([1, 2, 2, 0, 3, 3])
    assert loops_of(a, b).tolist() == [False, False, False, True, True, True]


def test_odometry_is_joined_in_pieces(synthetic):
    graph = synthetic.loops(20, 2)
    whole = odometry_of(graph.between, 20)
    np.testing.assert_allclose(
        inverse(whole.poses[:1]) @ whole.poses, inverse(graph.world_from_node[:1]) @ graph.world_from_node, atol=1e-12
    )
    cut = parts(graph.between, np.arange(len(graph.between.a)) != 7)
    assert (odometry_of(cut, 20).piece[8:] != odometry_of(cut, 20).piece[7]).all()
    turned = graph.between._replace(a=graph.between.b, b=graph.between.a, a_from_b=inverse(graph.between.a_from_b))
    back = odometry_of(turned._replace(information=forward(turned).information), 20)
    np.testing.assert_allclose(back.poses, whole.poses, atol=1e-12)


@pytest.mark.parametrize("dimension", [2, 3])
def test_adjoints_carry_tangents(synthetic, dimension):
    motions, size = synthetic.random_motions(5, dimension, 1.0), 3 * (dimension - 1)
    small = 1e-6 * synthetic.random_motions(1, dimension, 0.0).shape[-1] * np.linspace(-1, 1, size)
    step = np.eye(dimension + 1) + hat(small)
    moved = logs(np.ascontiguousarray(motions @ step @ inverse(motions)))
    np.testing.assert_allclose(moved, adjoints(motions) @ small, atol=1e-10)


def hat(xi: np.ndarray) -> np.ndarray:
    if len(xi) == 3:
        return np.array([[0, -xi[2], xi[0]], [xi[2], 0, xi[1]], [0, 0, 0]])
    x, y, z, a, b, c = xi
    return np.array([[0, -c, b, x], [c, 0, -a, y], [-b, a, 0, z], [0, 0, 0, 0]])


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize(("loop_i", "loop_j"), [((2, 30), (6, 33)), ((6, 33), (2, 30)), ((2, 33), (6, 30))])
def test_the_covariance_of_a_cycle_is_that_of_samples(synthetic, dimension, loop_i, loop_j):
    truth, size, draws = synthetic.loops(40, dimension), 3 * (dimension - 1), 4000
    rng, root = np.random.default_rng(0), 0.01 * np.eye(size)
    root[0, -1] = 0.004
    information = np.linalg.inv(root @ root.T)
    a = np.concatenate([np.arange(39), [loop_i[0], loop_j[0]]])
    b = np.concatenate([np.arange(1, 40), [loop_i[1], loop_j[1]]])
    exact = inverse(truth.world_from_node[a]) @ truth.world_from_node[b]
    weights = np.tile(information, (41, 1, 1))
    loops, i, j = np.array([39, 40]), np.array([0]), np.array([1])
    between = Between(a, b, exact, weights)
    errors, spread = cycle_errors(parts(between, loops), odometry_of(between, 40), i, j)
    np.testing.assert_allclose(errors, 0, atol=1e-9)
    samples = []
    involved = np.unique(
        np.concatenate([loops, np.arange(*sorted((loop_i[0], loop_j[0]))), np.arange(*sorted((loop_i[1], loop_j[1])))])
    )
    for _ in range(draws):
        noisy = exact.copy()
        noise = rng.normal(size=(len(involved), size)) @ root.T
        noisy[involved] = noisy[involved] @ (np.eye(dimension + 1) + np.array([hat(n) for n in noise]))
        (x, y), p = noisy[39:], np.eye(dimension + 1)
        steps = {}
        for name, (first, last) in {"a": (loop_j[0], loop_i[0]), "b": (loop_i[1], loop_j[1])}.items():
            p = np.eye(dimension + 1)
            for k in range(min(first, last), max(first, last)):
                p = p @ noisy[k]
            steps[name] = p if first < last else np.linalg.inv(p)
        samples.append(np.linalg.inv(y) @ steps["a"] @ x @ steps["b"])
    drawn = np.cov(logs(np.ascontiguousarray(samples)).T)
    scale = np.sqrt(np.outer(np.diag(drawn), np.diag(drawn)))
    np.testing.assert_allclose(spread[0] / scale, drawn / scale, atol=0.08)


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_loop_held_against_the_rest_is_one_held_against_a_solution_without_it(synthetic, dimension):
    graph = synthetic.perturbed(synthetic.loops(40, dimension, noise=0.02), 0.01)
    config = Config(relative_tolerance=0.0, absolute_tolerance=1e-18)
    numbers = np.flatnonzero(loops_of(graph.between.a, graph.between.b))
    chosen = parts(graph.between, numbers)
    problem, covariance = problem_of(graph, config, None), covariance_of(chosen.information)
    whole = optimise(graph, config)
    inside = np.ones(len(numbers), bool)
    errors, unsure = loop_errors(problem, State(whole.world_from_node, whole.landmarks), chosen, numbers)
    held = held_against_rest(errors, unsure, covariance, inside, 5.0)
    for k in (0, len(numbers) // 2):
        rest = optimise(
            graph._replace(between=parts(graph.between, np.arange(len(graph.between.a)) != numbers[k])), config
        )
        without = problem.with_confidence(np.where(np.arange(len(problem.confidence)) == numbers[k], 0.0, 1.0))
        errors, unsure = loop_errors(without, State(rest.world_from_node, rest.landmarks), chosen, numbers)
        spread = unsure[k] + covariance[k]
        squared = errors[k] @ np.linalg.inv(spread) @ errors[k]
        odds = 5.0 - (squared + np.linalg.slogdet(2 * np.pi * spread)[1]) / 2
        assert held.squared[k] == pytest.approx(squared, rel=0.02)
        assert held.odds[k] == pytest.approx(odds, abs=0.02)
        outside = held_against_rest(errors, unsure, covariance, ~inside, 5.0)
        assert outside.odds[k] == pytest.approx(odds, abs=1e-6)


def test_what_fits_everywhere_has_no_odds():
    """An error of 0 in an uncertainty as wide as the space says nothing; in a narrow one it says much."""
    nothing, wide, narrow = np.zeros((1, 3)), 9.0 * np.eye(3)[None], 1e-4 * np.eye(3)[None]
    inside = np.zeros(1, bool)
    assert held_against_rest(nothing, wide, narrow, inside, 3.0).odds[0] < 0
    assert held_against_rest(nothing, narrow, narrow, inside, 3.0).odds[0] > ODDS


def test_a_loop_that_only_it_holds_is_never_sure():
    """Inside a solution with R = C, nothing else says what it says."""
    one = np.eye(3)[None]
    held = held_against_rest(np.zeros((1, 3)), one, one, np.ones(1, bool), 5.0)
    assert held.odds[0] < -20


@pytest.mark.parametrize("dimension", [2, 3])
def test_true_loops_are_confirmed_and_false_ones_are_not(synthetic, dimension):
    graph = synthetic.loops(100, dimension, noise=0.02)
    loops = parts(graph.between, loops_of(graph.between.a, graph.between.b))
    false, rng = len(loops.a), np.random.default_rng(1)
    mixed = Between(
        np.concatenate([loops.a, rng.integers(0, 40, false)]),
        np.concatenate([loops.b, rng.integers(60, 100, false)]),
        np.concatenate([loops.a_from_b, synthetic.random_motions(false, dimension, 3.0, seed=5)]),
        np.concatenate([loops.information, loops.information]),
    )
    odometry = odometry_of(graph.between, 100)
    kept = confirmed(mixed, odometry, GATE, ODDS, log_space(odometry.poses))
    assert kept[:false].mean() > 0.8
    assert kept[false:].mean() < 0.05


def test_votes_take_out_the_worst_first():
    """Loops 0, 1, 2 confirm each other; 3 is contradicted by two of them and confirmed by 4 alone."""
    i, j = np.array([0, 0, 1, 0, 1, 3]), np.array([1, 2, 2, 3, 3, 4])
    votes = np.array([1, 1, 1, -1, -1, 1])
    assert outvoted(np.zeros(5, np.int64), i, j, votes).tolist() == [True, True, True, False, False]
    assert outvoted(np.array([0, 0, 0, 0, 1]), i, j, votes).tolist() == [True, True, True, False, True]


def test_loops_turned_round_say_the_same(synthetic):
    graph = synthetic.loops(40, 3, noise=0.02)
    loops = parts(graph.between, loops_of(graph.between.a, graph.between.b))
    there, back = (
        odometry_errors(forward(loops), odometry_of(graph.between, 40)),
        carried(loops.a_from_b, covariance_of(loops.information)),
    )
    assert (forward(loops).a < forward(loops).b).all()
    np.testing.assert_allclose(covariance_of(forward(loops).information), back, rtol=1e-4, atol=1e-9)
    assert np.isfinite(there[0]).all()
