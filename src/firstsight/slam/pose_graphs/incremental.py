"""A pose graph that grows while a robot moves.

Idea:   nodes and motions are added one by one; solve() improves all poses, starting from those of the last solution, so
        it takes few iterations. Nothing is kept of the factor: with the structure of the equations found anew each time
        edges were added, 2,000 keyframes take a few hundredths of a second, which leaves nothing for a Bayes tree
        (iSAM2, Kaess et al. 2012) to gain at this size. Where no edge was added the structure is used again.
Role:   the back end of a SLAM system, next to what finds loops.
"""

import numpy as np
from jaxtyping import Float64

from firstsight.errors import InputError
from firstsight.optimisation.sparse_cholesky.symbolic import Structure
from firstsight.roles.pose_graph import Between, PoseGraph, pose_graph
from firstsight.slam.pose_graphs.descent import Config
from firstsight.slam.pose_graphs.graph_problem import structure_of
from firstsight.slam.pose_graphs.pose_graph import Solution, optimise


class IncrementalPoseGraph:
    """Starts with one node, node 0, which is held where it is."""

    def __init__(self, world_from_first: Float64[np.ndarray, "d1 d1"], config: Config | None = None):
        self.config = config or Config()
        self._poses = [world_from_first]
        self._edges: list[tuple[int, int, np.ndarray, np.ndarray]] = []
        self._structure: Structure | None = None

    def add_node(
        self, after: int, after_from_node: Float64[np.ndarray, "d1 d1"], information: Float64[np.ndarray, "size size"]
    ) -> int:
        """A new node, measured from the node `after` (odometry), which also says where it starts; returns its number."""
        self._check(after)
        self._poses.append(self._poses[after] @ after_from_node)
        self.add_between(after, len(self._poses) - 1, after_from_node, information)
        return len(self._poses) - 1

    def add_between(
        self,
        a: int,
        b: int,
        a_from_b: Float64[np.ndarray, "d1 d1"],
        information: Float64[np.ndarray, "size size"],
    ) -> None:
        """A measured motion between two nodes, such as a loop."""
        self._check(a)
        self._check(b)
        self._edges.append((a, b, a_from_b, information))
        self._structure = None

    def _check(self, node: int) -> None:
        if not 0 <= node < len(self._poses):
            raise InputError(f"pose graph: node {node} is not there; there are {len(self._poses)}")

    def graph(self) -> PoseGraph:
        """All that was added, at the poses of the last solution."""
        if not self._edges:
            raise InputError("pose graph: no edges; add a node first")
        a, b, motions, information = zip(*self._edges, strict=True)
        between = Between(np.array(a), np.array(b), np.array(motions), np.array(information))
        return pose_graph(np.array(self._poses), between)

    def solve(self) -> Solution:
        """Improves all poses."""
        graph = self.graph()
        self._structure = self._structure or structure_of(graph)
        solution = optimise(graph, self.config, self._structure)
        self._poses = list(solution.world_from_node)
        return solution
