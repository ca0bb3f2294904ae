"""One place mistaken for another many frames running counts once, however well the loops agree with each other."""

import numpy as np
import pytest

from firstsight.roles.pose_graph import Between, PoseGraph, planar, pose_graph
from firstsight.slam.pose_graphs.descent import Config
from firstsight.slam.pose_graphs.factors import inverse
from firstsight.slam.pose_graphs.false_loops.consistency import log_space, odometry_of
from firstsight.slam.pose_graphs.false_loops.groups import groups_of, next_groups, posterior_bound, standing
from firstsight.slam.pose_graphs.pose_graph import optimise

GATE, ODDS = 11.34, float(np.log(1000))


def joined(*parts: Between) -> Between:
    return Between(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def closed_ring(seed: int) -> tuple[PoseGraph, int]:
    """A ring of 110 poses about 100 m round, odometry that drifts, and 13 loops where it closes; how many are odometry."""
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(110) / 97
    true = np.array([planar(15 * np.sin(t), 15 - 15 * np.cos(t), t) for t in angle])
    a = np.concatenate([np.arange(109), np.arange(13)])
    b = np.concatenate([np.arange(1, 110), 97 + np.arange(13)])
    noise = np.array([planar(*t) for t in rng.normal(size=(122, 3)) * (0.05, 0.05, 0.02)])
    motions = inverse(true[a]) @ true[b] @ noise
    start = [true[0]]
    for step in motions[:109]:
        start.append(start[-1] @ step)
    information = np.tile(np.diag([400.0, 400, 2500]), (122, 1, 1))
    return pose_graph(np.array(start), Between(a, b, motions, information)), 109


def mistaken(poses: np.ndarray, a: int, b: int, same: np.ndarray, seed: int) -> Between:
    """Ten frames from b on, taken for the ten from a on; `same` is b as seen from a."""
    rng, steps = np.random.default_rng(seed), np.arange(10)
    noise = np.array([planar(*t) for t in rng.normal(size=(10, 3)) * (0.02, 0.02, 0.005)])
    motions = inverse(poses[a + steps]) @ poses[a] @ same @ np.linalg.inv(poses[b]) @ poses[b + steps] @ noise
    return Between(a + steps, b + steps, motions, np.tile(np.diag([400.0, 400, 2500]), (10, 1, 1)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("places", [[(20, 61)], [(20, 61), (5, 42), (33, 70), (15, 84), (50, 75)]])
def test_groups_of_false_loops_are_left_out(synthetic, seed, places):
    graph, odometry = closed_ring(seed)
    clean = optimise(graph)
    false = [
        mistaken(clean.world_from_node, *ends, planar(0.5, -0.3 + 0.1 * k, 0.2), seed + k)
        for k, ends in enumerate(places)
    ]
    found = optimise(graph._replace(between=joined(graph.between, *false)), Config(false_loops="consistent"))
    assert (found.confidence[:122] == 1).all()
    assert (found.confidence[122:] == 0).all()
    assert len(found.confidence) == odometry + 13 + 10 * len(places)
    assert synthetic.position_error(found.world_from_node, clean.world_from_node) < 1e-3


def test_groups_are_of_loops_that_are_near_at_both_ends_and_agree():
    graph, odometry = closed_ring(0)
    loops = Between(*(part[odometry:][[0, 1, 2, 12, 5]] for part in graph.between))
    loops.a_from_b[4] = planar(4.0, 3.0, 1.0)
    far = mistaken(graph.world_from_node, 30, 64, planar(0.0, 0.5, 0.1), 0)
    loops = joined(loops, Between(*(part[[0, 9]] for part in far)))
    chain = odometry_of(graph.between, 110)
    group = groups_of(loops, chain, GATE, ODDS, log_space(chain.poses))
    assert group[0] == group[1] == group[2] == group[3]
    assert group[5] == group[6]
    assert len({group[0], group[4], group[5]}) == 3


def test_of_groups_that_nothing_confirms_the_largest_is_where_to_begin():
    graph, odometry = closed_ring(1)
    true = Between(*(part[odometry:] for part in graph.between))
    false = mistaken(optimise(graph).world_from_node, 20, 61, planar(0.5, -0.3, 0.2), 1)
    chain = odometry_of(graph.between, 110)
    both, group = joined(true, false), np.repeat([4, 2], [13, 10])
    kept = standing(both, group, chain, GATE, ODDS, log_space(chain.poses))
    assert kept.tolist() == [True] * 13 + [False] * 10
    fewer = Between(*(part[8:] for part in both))
    kept = standing(fewer, group[8:], chain, GATE, ODDS, log_space(chain.poses))
    assert kept.sum() in (5, 10)
    assert len(set(group[8:][kept])) == 1


def test_the_odds_of_a_loop_follow_from_how_many_groups_turned_out_true():
    group = np.array([0, 0, 1, 2, 3, 4, 4, 5])
    inside = np.array([True, True, True, True, True, False, False, False])
    against = np.array([False, False, False, False, True, True, True, True])
    assert posterior_bound(group, inside, against) == pytest.approx(np.log(20 * 3 / 4))
    assert posterior_bound(group, inside & (group == 0), against) == np.inf
    assert posterior_bound(group, inside, np.zeros(8, bool)) == pytest.approx(np.log(20 / 4))
    assert posterior_bound(np.arange(10), np.arange(10) < 2, np.zeros(10, bool)) == -np.inf


def test_the_surest_groups_are_let_in_first():
    group, odds = np.array([7, 7, 3, 3, 5]), np.array([1.0, 4.0, 6.0, 2.0, 9.0])
    fits = np.array([True, True, True, True, False])
    assert next_groups(group, fits, odds, 1).tolist() == [False, False, True, True, False]
    assert next_groups(group, fits, odds, 2).tolist() == [True, True, True, True, False]
    assert not next_groups(group, np.zeros(5, bool), odds, 3).any()


def chain_of_single_loops(false: int) -> PoseGraph:
    """Six turns of a circle with one unsure loop from turn to turn in each of ten places; the last ones may be false."""
    rng, nodes = np.random.default_rng(3), 360
    true = np.array([planar(20 * np.cos(t), 20 * np.sin(t), t + np.pi / 2) for t in np.arange(nodes) * np.pi / 30])
    first = np.array([3, 47, 71, 118, 133, 166, 197, 214, 251, 281])
    a, b = np.concatenate([np.arange(nodes - 1), first]), np.concatenate([np.arange(1, nodes), first + 60])
    noise = np.array([planar(*t) for t in rng.normal(size=(len(a), 3)) * (0.1, 0.1, 0.01)])
    information = np.tile(np.diag([100.0, 100, 1e4]), (len(a), 1, 1))
    information[nodes - 1 :] = np.diag([0.5, 0.5, 4.0])
    motions = inverse(true[a]) @ true[b] @ noise
    motions[len(a) - false :] = planar(-30.0, 25.0, 2.0)
    return pose_graph(true, Between(a, b, motions, information))


def test_unsure_loops_are_kept_where_none_contradicts():
    """No loop says much by itself; a loop that does not fit is left out, and the others stay."""
    clean = optimise(chain_of_single_loops(0), Config(false_loops="consistent"))
    assert (clean.confidence == 1).all()
    spoiled = optimise(chain_of_single_loops(1), Config(false_loops="consistent"))
    assert spoiled.confidence[-1] == 0
    assert (spoiled.confidence[:-1] == 1).mean() > 0.97
