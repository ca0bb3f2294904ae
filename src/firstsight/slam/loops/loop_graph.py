"""Loops and odometry in one graph: which loops can be true, and where views are when those that agree are closed.

Paper:  Mangelson et al. Pairwise Consistent Measurement Set Maximization. ICRA 2018 (false loops);
        Strasdat, Montiel, Davison. Scale Drift-Aware Large Scale Monocular SLAM. RSS 2010 (one camera: Sim(3)).
Idea:   odometry is unsure by a random walk that grows with the path                                  -> chain_of()
        a loop's cycle with the odometry between its ends may be off by no more than that             -> possible()
        pose graph of odometry and loops; loops that contradict the others are left out           -> close_graph()
        one camera: a graph of similarities, for its scale drifts                           -> close_similarities()
Units:  the unit of the poses, radians; lengths in the configuration are relative to how far away things are. Tangents
        (translation, rotation) on the right of a_from_b.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.stats import chi2

from firstsight.roles.pose_graph import Between, pose_graph
from firstsight.slam.loops.travelled import Distances, Poses, Transform, angle_rad, path_length
from firstsight.slam.pose_graphs import pose_graph as graphs
from firstsight.slam.pose_graphs import similarity_graph
from firstsight.slam.pose_graphs.false_loops.consistency import cycle_errors, odometry_of
from firstsight.slam.pose_graphs.false_loops.second_opinion import HALF, second_opinion

# errors of features or points side by side are not independent: variances are so many times larger
CORRELATED = 4.0
# for a true loop to lie within what odometry leaves open
GATE_PROBABILITY = 1 - 1e-6
# what a still sensor is unsure by, as a path relative to the distance
MIN_PATH = 1e-3
# of the ratio of lengths that a loop of one camera measures
LOOP_SCALE_SIGMA = 0.02
# per square of the tangent's unit: of a motion that is known to be none
EXACT = 1e12


@dataclass(frozen=True, kw_only=True)
class DriftConfig:
    """One sigma of odometry after a path as long as the distance of what is seen."""

    # of the position, as a share of that distance
    share: float = 0.02
    rad: float = 0.006
    # of one camera's unit of length
    scale: float = 0.02


class Loop(NamedTuple):
    """View b as seen from view a, a < b, and the information (inverse covariance) of its right tangent."""

    a: int
    b: int
    a_from_b: Transform
    information: Float64[np.ndarray, "6 6"]
    # lengths of b over those of a
    scale: float = 1.0


class Chain(NamedTuple):
    """Views as odometry has them: their poses, how far away things are, the motions between them and their path."""

    world_from_view: Poses
    distance: Distances
    motions: Between
    path: Distances


class Found(NamedTuple):
    """The loops that hold, of `tried` pairs, and where views then are; `scale` is that of their lengths, 1 if metric.

    `disputed` are pairs, among these loops or not, that two methods judge differently.
    """

    loops: list[Loop]
    disputed: list[tuple[int, int]]
    tried: int
    world_from_view: Poses
    scale: Float64[np.ndarray, " views"]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The views of each loop."""
        return [(loop.a, loop.b) for loop in self.loops]


def chain_of(world_from_view: Poses, distance: Distances, drift: DriftConfig) -> Chain:
    """Motions from view to view; their variances grow with the path, relative to how far away things are."""
    path = path_length(world_from_view, distance)
    away, led = (distance[:-1] + distance[1:]) / 2, np.diff(path)
    translation = (drift.share * away) ** 2 * (led + MIN_PATH)
    rotation = drift.rad**2 * (led + MIN_PATH)
    precision = 1 / np.concatenate([np.tile(translation, (3, 1)), np.tile(rotation, (3, 1))]).T
    node = np.arange(len(led))
    steps = np.linalg.inv(world_from_view[:-1]) @ world_from_view[1:]
    return Chain(world_from_view, distance, Between(node, node + 1, steps, precision[:, None] * np.eye(6)), path)


def possible(loops: Sequence[Loop], chain: Chain) -> list[Loop]:
    """Loops whose cycle with the odometry between their ends has no larger error than odometry leaves open."""
    if not loops:
        return []
    measured, count = between_of(loops), len(loops)
    exact = np.tile(EXACT * np.eye(6), (count, 1, 1))
    still = Between(measured.a, measured.a, np.tile(np.eye(4), (count, 1, 1)), exact)
    odometry = odometry_of(chain.motions, len(chain.world_from_view))
    errors, unsure = cycle_errors(joined(measured, still), odometry, np.arange(count) + count, np.arange(count))
    squared = np.einsum("ni,ni->n", errors, np.linalg.solve(unsure, errors[..., None])[..., 0])
    limit = chi2.ppf(GATE_PROBABILITY, 6)
    return [loop for loop, error in zip(loops, squared, strict=True) if error <= limit]


def is_near(motion: Transform, distance: float, share: float) -> bool:
    """Whether a motion is almost none: less than a share of the distance, and so many radians."""
    return bool(np.linalg.norm(motion[:3, 3]) < share * distance) and angle_rad(motion) < share


def nothing_found(chain: Chain, tried: int) -> Found:
    """None of the pairs tried is a loop: views are where odometry has them."""
    return Found([], [], tried, chain.world_from_view, np.ones(len(chain.world_from_view)))


def close_graph(chain: Chain, loops: list[Loop], tried: int, config: graphs.Config) -> Found:
    """The loops that agree, and views where these and odometry have them."""
    edges = joined(chain.motions, between_of(loops))
    graph = pose_graph(chain.world_from_view, edges)
    solution = graphs.optimise(graph, config)
    first = len(chain.motions.a)
    kept, second = confident(loops, solution.confidence[first:]), second_opinion(graph, solution, config)
    otherwise = [] if second is None else np.flatnonzero(second.otherwise[first:]).tolist()
    disputed = [(loops[k].a, loops[k].b) for k in otherwise]
    return Found(kept, disputed, tried, solution.world_from_node, np.ones(len(chain.world_from_view)))


def close_similarities(chain: Chain, loops: list[Loop], tried: int, drift: DriftConfig) -> Found:
    """Does as `close_graph`, with the scale of every view unknown too."""
    measured, motions = between_of(loops), chain.motions
    led = np.diff(chain.path) + MIN_PATH
    of_chain = with_scale(motions.information, 1 / (drift.scale**2 * led))
    of_loops = with_scale(measured.information, np.full(len(loops), 1 / LOOP_SCALE_SIGMA**2))
    scaled = similarity_graph.similarity(measured.a_from_b, 1 / np.array([loop.scale for loop in loops]))
    edges = joined(motions._replace(information=of_chain), measured._replace(a_from_b=scaled, information=of_loops))
    solution = similarity_graph.solve(chain.world_from_view, edges)
    kept = confident(loops, solution.confidence[len(motions.a) :])
    world_from_view = similarity_graph.without_scale(solution.world_from_node)
    return Found(kept, [], tried, world_from_view, similarity_graph.scales(solution.world_from_node))


def confident(loops: list[Loop], confidence: Float64[np.ndarray, " loops"]) -> list[Loop]:
    """Those that the graph believes more than not."""
    return [loop for loop, share in zip(loops, confidence, strict=True) if share > HALF]


def between_of(loops: Sequence[Loop]) -> Between:
    """Loops as edges of a graph."""
    return Between(
        np.array([loop.a for loop in loops]),
        np.array([loop.b for loop in loops]),
        np.array([loop.a_from_b for loop in loops]),
        np.array([loop.information for loop in loops]),
    )


def joined(first: Between, then: Between) -> Between:
    """The edges of both."""
    return Between(*(np.concatenate(parts) for parts in zip(first, then, strict=True)))


def with_scale(
    information: Float64[np.ndarray, "n 6 6"], of_scale: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, "n 7 7"]:
    """Information of similarities, of whose scale so much is known by itself."""
    out = np.zeros((len(information), 7, 7))
    out[:, :6, :6], out[:, 6, 6] = information, of_scale
    return out
