"""Similarities against matrix exponentials and finite differences, graphs against a slow dense solution and the truth."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import chi2

from firstsight.optimisation.relative_motion import similarity_times_adjoint
from firstsight.optimisation.robust_kernels import confidences, first_mu
from firstsight.optimisation.similarities import (
    little_adjoint,
    similarity_log,
    similarity_move,
    similarity_right_inverse,
)
from firstsight.roles.pose_graph import Between
from firstsight.slam.pose_graphs.factors import State
from firstsight.slam.pose_graphs.similarity_graph import problem_of, scales, solve, without_scale

COEFFICIENTS = (1.0, 1 / 2, 1 / 12, 0.0, -1 / 720, 0.0, 1 / 30240, 0.0, -1 / 1209600)  # of J_r^-1, in powers of ad


def generator(xi: np.ndarray) -> np.ndarray:
    x, y, z = xi[3:6]
    out = np.zeros((4, 4))
    out[:3, :3] = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) + xi[6] * np.eye(3)
    out[:3, 3] = xi[:3]
    return out


def exps(xi: np.ndarray) -> np.ndarray:
    out = np.tile(np.eye(4), (len(xi), 1, 1))
    for s, step in zip(out, xi.copy(), strict=True):
        similarity_move(s, step)
    return out


def logs(similarities: np.ndarray) -> np.ndarray:
    out = np.empty((len(similarities), 7))
    for s, e in zip(similarities.copy(), out, strict=True):
        similarity_log(s, e)
    return out


def right_inverses(xi: np.ndarray) -> np.ndarray:
    out = np.empty((len(xi), 7, 7))
    for e, j in zip(xi, out, strict=True):
        similarity_right_inverse(e, np.empty((3, 7, 7)), j)
    return out


def little(xi: np.ndarray) -> np.ndarray:
    out = np.empty((7, 7))
    little_adjoint(xi, out)
    return out


def adjoint(g: np.ndarray) -> np.ndarray:
    out = np.empty((7, 7))
    similarity_times_adjoint(np.eye(7), g, out)
    return -out


@pytest.fixture
def xi(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(6, 7)) * np.array([1.0, 1e-6, 0.1, 1, 1, 1])[:, None]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def test_a_move_is_the_matrix_exponential_and_log_its_inverse(xi: np.ndarray, rng: np.random.Generator):
    found = exps(xi)
    np.testing.assert_allclose(found, [expm(generator(row)) for row in xi], atol=1e-13)
    np.testing.assert_allclose(logs(found), xi, atol=1e-12)
    start = exps(rng.normal(size=(6, 7)))
    moved, used_up = start.copy(), xi.copy()
    for s, step in zip(moved, used_up, strict=True):
        similarity_move(s, step)
    np.testing.assert_allclose(moved, start @ found, atol=1e-12)


def test_exp_and_log_where_a_part_vanishes():
    xi = np.array(
        [[1.0, 2, 3, 0, 0, 0, 0.4], [1, 2, 3, 0.3, -0.2, 0.1, 0], [1, 2, 3, 0, 0, 0, 0], [1, 2, 3, 3, 0, 0, 1]]
    )
    found = exps(xi)
    np.testing.assert_allclose(found, [expm(generator(row)) for row in xi], atol=1e-12)
    np.testing.assert_allclose(logs(found), xi, atol=1e-12)


def test_adjoints(xi: np.ndarray, rng: np.random.Generator):
    motion, step = exps(xi), rng.normal(size=(6, 7))
    found = np.array([adjoint(g) for g in motion])
    carried = np.einsum("nij,nj->ni", found, step)
    np.testing.assert_allclose(exps(carried) @ motion, motion @ exps(step), atol=1e-10)
    np.testing.assert_allclose([expm(little(row)) for row in xi], found, atol=1e-12)


def test_right_inverse_against_finite_differences(xi: np.ndarray):
    small, h = 0.3 * xi, 1e-6
    start = exps(small)

    def moved(k: int, by: float) -> np.ndarray:
        return logs(start @ exps(np.tile(by * np.eye(7)[k], (6, 1))))

    numeric = np.stack([(moved(k, h) - moved(k, -h)) / (2 * h) for k in range(7)], -1)
    np.testing.assert_allclose(right_inverses(small), numeric, atol=1e-7)


# The slow way: powers of ad one by one, a dense system, every graduation to its end


def slow_right_inverse(xi: np.ndarray) -> np.ndarray:
    return sum(c * np.linalg.matrix_power(little(xi), n) for n, c in enumerate(COEFFICIENTS))  # ty: ignore


def slow_errors(nodes: np.ndarray, between: Between) -> np.ndarray:
    inv = np.linalg.inv
    return logs(inv(between.a_from_b) @ inv(nodes[between.a]) @ nodes[between.b])


def slow_squared(nodes: np.ndarray, between: Between) -> np.ndarray:
    e = slow_errors(nodes, between)
    return np.einsum("ni,nij,nj->n", e, between.information, e)


def slow_equations(nodes: np.ndarray, between: Between, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    h, g = np.zeros((7 * len(nodes),) * 2), np.zeros(7 * len(nodes))
    h[:7, :7] = np.abs(between.information).max() * np.eye(7)
    errors = slow_errors(nodes, between)
    for a, b, information, e, w in zip(between.a, between.b, between.information, errors, confidence, strict=True):
        by_b = slow_right_inverse(e)
        by_a = -by_b @ adjoint(np.linalg.inv(nodes[b]) @ nodes[a])
        j, places = np.hstack([by_a, by_b]), np.concatenate([7 * a + np.arange(7), 7 * b + np.arange(7)])
        h[np.ix_(places, places)] += w * j.T @ information @ j
        g[places] += w * j.T @ information @ e
    return h, g


def slow_solve(nodes: np.ndarray, between: Between) -> tuple[np.ndarray, np.ndarray]:
    """Poses and confidences; mu grows by 1.4, nothing else, and full steps are taken until none gains."""
    loops, limit = np.abs(between.b - between.a) != 1, float(chi2.ppf(0.99, 7))
    squared = slow_squared(nodes, between)
    mu, confidence = first_mu(squared[loops], limit), np.full(len(loops), 0.5)
    while not np.isin(confidence, (0.0, 1.0)).all():
        confidence = np.where(loops, confidences(squared, limit, mu), 1.0)
        for _ in range(3):
            h, g = slow_equations(nodes, between, confidence)
            nodes = nodes @ exps(np.linalg.solve(h, -g).reshape(-1, 7))
        squared, mu = slow_squared(nodes, between), 1.4 * mu
    for _ in range(4):
        h, g = slow_equations(nodes, between, confidence)
        nodes = nodes @ exps(np.linalg.solve(h, -g).reshape(-1, 7))
    return nodes, confidence


def circle(nodes: int, laps: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi * laps, nodes)
    poses = np.tile(np.eye(4), (nodes, 1, 1))
    poses[:, :2, :2] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    poses[:, 0, 3], poses[:, 1, 3] = 10 * np.cos(angle), 10 * np.sin(angle)
    return poses


def drifting(true: np.ndarray, growth: float) -> tuple[np.ndarray, Between, np.ndarray]:
    """Odometry whose unit shrinks by `growth` each step, its chain, and the unit at each node."""
    steps = np.linalg.inv(true[:-1]) @ true[1:]
    unit = np.exp(growth * np.arange(len(true)))
    steps[:, :3, 3] *= unit[:-1, None]
    poses = [true[0]]
    for step in steps:
        poses.append(poses[-1] @ step)
    node = np.arange(len(steps))
    information = np.diag([1e2, 1e2, 1e2, 1e4, 1e4, 1e4, 1e4])
    return np.array(poses), Between(node, node + 1, steps, np.tile(information, (len(steps), 1, 1))), unit


def looped(chain: Between, true: np.ndarray, unit: np.ndarray, pairs: list[tuple[int, int]]) -> Between:
    a, b = np.array(pairs).T
    motion = np.linalg.inv(true[a]) @ true[b]
    motion[:, :3, 3] *= unit[a][:, None]
    motion[:, :3, :3] *= (unit[a] / unit[b])[:, None, None]  # lengths of b times this are lengths of a
    information = np.tile(1e4 * np.eye(7), (len(a), 1, 1))
    return Between(*(np.concatenate(p) for p in zip(chain, (a, b, motion, information), strict=True)))


def noisy(graph: Between, rng: np.random.Generator) -> Between:
    """Every motion off by a tenth of what it says it may be off, and information neither diagonal nor even."""
    roots = rng.normal(size=(len(graph.a), 7, 7))
    information = graph.information + 0.1 * graph.information[:, :1, :1] * (roots @ roots.transpose(0, 2, 1))
    sigmas = 0.1 / np.sqrt(graph.information.diagonal(axis1=1, axis2=2))
    return graph._replace(
        a_from_b=graph.a_from_b @ exps(sigmas * rng.normal(size=sigmas.shape)), information=information
    )


def test_normal_equations_against_the_slow_ones(rng: np.random.Generator):
    true = circle(30, 1.2)
    poses, chain, unit = drifting(true, 0.01)
    graph = noisy(looped(chain, true, unit, [(0, 24), (26, 2), (3, 27)]), rng)
    nodes, confidence = poses @ exps(0.1 * rng.normal(size=(30, 7))), rng.uniform(0, 1, len(graph.a))
    problem = problem_of(nodes, graph).with_confidence(np.append(confidence, 1.0))
    state = State(nodes, np.zeros((0, 3)))
    equations = problem.linearise(state)
    matrix, gradient = equations.matrix, equations.gradient
    h, g = slow_equations(nodes, graph, confidence)
    places = (problem.structure.offset[:, None] + np.arange(7)).ravel()
    np.testing.assert_allclose(gradient[places], g, rtol=1e-9, atol=1e-9 * np.abs(g).max())
    for _ in range(5):
        x = rng.normal(size=len(g))
        permuted = np.empty_like(x)
        permuted[places] = x
        assert matrix.quadratic_form(permuted) == pytest.approx(x @ h @ x, rel=1e-11)
    np.testing.assert_allclose(problem.errors(state)[0][:-1], slow_squared(nodes, graph), rtol=1e-9)
    undamped = matrix.diagonal()
    np.testing.assert_allclose(undamped[places], np.diag(h), rtol=1e-11)


@pytest.mark.parametrize("false", [0, 2])
def test_the_solution_is_the_slow_one_s(rng: np.random.Generator, false: int):
    true = circle(24, 1.25)
    poses, chain, unit = drifting(true, 0.005)
    graph = noisy(looped(chain, true, unit, [(k, k + 18) for k in range(6)]), rng)
    graph.a_from_b[len(graph.a) - false :, 0, 3] += 8.0
    found = solve(poses, graph)
    nodes, confidence = slow_solve(poses, graph)
    np.testing.assert_array_equal(found.confidence, confidence)
    assert (confidence == 0).sum() == false
    np.testing.assert_allclose(found.world_from_node, nodes, atol=1e-8)


def test_scale_drift_is_recovered():
    true = circle(80, 1.25)
    poses, chain, unit = drifting(true, 0.005)
    graph = looped(chain, true, unit, [(k, k + 63) for k in range(0, 16, 3)])
    found = solve(poses, graph)
    before = np.linalg.norm(poses[:, :3, 3] - true[:, :3, 3], axis=1).max()
    after = np.linalg.norm(without_scale(found.world_from_node)[:, :3, 3] - true[:, :3, 3], axis=1).max()
    assert before > 3
    assert after < 0.2 * before
    np.testing.assert_allclose(scales(found.world_from_node)[-1], 1 / unit[-1], rtol=0.05)
    np.testing.assert_allclose(found.world_from_node[0], poses[0], atol=1e-3)
    assert (found.confidence == 1).all()


def test_a_false_loop_is_left_out():
    true = circle(80, 1.25)
    poses, chain, unit = drifting(true, 0.002)
    graph = looped(chain, true, unit, [(k, k + 63) for k in range(0, 16, 3)])
    graph.a_from_b[-1, :3, 3] += 8.0
    found = solve(poses, graph)
    assert found.confidence[-1] == 0
    assert found.confidence[:-1].min() == 1
