"""What another method makes of loops of which some were found to be false: none is safe alone.

Idea:   consistent loops are found by counting which confirm each other, graduated ones by how well they fit in the end. Where
        both leave out the same, that is two reasons; where they differ, a map may be wrong         -> second_opinion()
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from firstsight.roles.pose_graph import PoseGraph
from firstsight.slam.pose_graphs.descent import Config
from firstsight.slam.pose_graphs.false_loops.consistency import loops_of
from firstsight.slam.pose_graphs.pose_graph import Solution, optimise
from firstsight.slam.pose_graphs.starts import looks_bad

# the confidence of a motion below which it counts as false
HALF = 0.5

Edges = Bool[np.ndarray, " between"]


class Opinion(NamedTuple):
    """The other solution, and which loops it judges otherwise."""

    solution: Solution
    otherwise: Edges


def rejected_loops(graph: PoseGraph, solution: Solution) -> Edges:
    """The loops that a solution leaves out."""
    return loops_of(graph.between.a, graph.between.b) & (solution.confidence < HALF)


def second_opinion(graph: PoseGraph, solution: Solution, config: Config) -> Opinion | None:
    """What "graduated" finds where "consistent" found loops to be false, or ended with a high error; else None."""
    rejected = rejected_loops(graph, solution)
    if config.false_loops != "consistent" or not (rejected.any() or looks_bad(graph, solution.error)):
        return None
    other = optimise(graph, replace(config, false_loops="graduated"))
    return Opinion(other, rejected_loops(graph, other) != rejected)
