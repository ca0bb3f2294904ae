"""GraphSLAM: the whole path and all landmarks at once, from odometry and scans.

Paper:  Thrun, Montemerlo. The GraphSLAM Algorithm with Applications to Large-Scale Mapping. IJRR 25(5-6), 2006.
Idea:   a motion (forward, left, turn) of covariance M is a motion between two nodes, of right tangent (R' (x, y), turn)
        with covariance G M G', G = [R' 0; 0 1], R the turn                                            -> motion_edge()
        an observation z = (range, bearing) of covariance R is a landmark at p(z) in the node's frame, with J R J',
        J = dp/dz                                                                                 -> sighting_of()
        all of them are one sparse least-squares problem, solved anew from the last solution        pose_graph.py
        marginalisation of the landmarks is left to the order of elimination.
Differs: observations are linearised where they were made, not where they are expected; ids of landmarks must be given.
Role:   LandmarkSlam. Time for a step grows with the length of the path, not with the square of the map as in ekf.py, and
        all poses are corrected, not the last alone.
Units:  as in measurements.py, whose Config says how large the noise is.
"""

from typing import final

import numpy as np
from jaxtyping import Float64, Int64

from firstsight.errors import InputError
from firstsight.roles import LandmarkSlam
from firstsight.roles.pose_graph import Between, PoseGraph, Sightings, no_priors, planar
from firstsight.roles.state import State
from firstsight.slam.landmarks.measurements import (
    Config,
    Ids,
    Indices,
    Observations,
    Pose,
    check,
    motion_covariance,
    observation_covariance,
)
from firstsight.slam.pose_graphs.pose_graph import Solution, optimise

# of a motion that the noise model holds exact, such as standing still
MIN_SIGMA = 1e-6


def motion_edge(motion: Pose, config: Config) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3 3"]]:
    """(a_from_b, information) of a motion between two nodes."""
    a_from_b, rotation = planar(*motion), np.eye(3)
    rotation[:2, :2] = a_from_b[:2, :2].T
    covariance = motion_covariance(motion, config) + MIN_SIGMA**2 * np.eye(3)
    return a_from_b, rotation @ np.linalg.inv(covariance) @ rotation.T


def sighting_of(
    observations: Observations, config: Config
) -> tuple[Float64[np.ndarray, "seen 2"], Float64[np.ndarray, "seen 2 2"]]:
    """(point_node, information) of each observation."""
    range_m, bearing = observations.T
    way = np.stack([np.cos(bearing), np.sin(bearing)], 1)
    across = np.stack([-way[:, 1], way[:, 0]], 1)
    frame = np.stack([way, across], 2)
    sigma = np.sqrt(np.diag(observation_covariance(config)))
    weights = np.stack([np.full_like(range_m, sigma[0] ** -2), (range_m * sigma[1]) ** -2], 1)
    return range_m[:, None] * way, frame * weights[:, None] @ frame.transpose(0, 2, 1)


@final
class GraphSlam(LandmarkSlam):
    """Takes odometry and scans with ids. It solves after every `solve_every` steps, and when `solve` is called."""

    def __init__(self, config: Config | None = None, solve_every: int = 1):
        self.config, self.solve_every = config or Config(), solve_every
        self.world_from_node = [np.eye(3)]
        self.landmarks: list[Float64[np.ndarray, 2]] = []
        self._motions: list[tuple[np.ndarray, np.ndarray]] = []
        self._seen: list[tuple[np.ndarray, ...]] = []
        self._index_of_id: dict[int, int] = {}

    @property
    def ids(self) -> Int64[np.ndarray, " landmarks"]:
        """The ids of the landmarks, in their order."""
        return np.array(list(self._index_of_id), np.int64)

    def step(self, motion: Pose, observations: Observations, ids: Ids | None = None) -> Indices:
        """Raises InputError where ids are missing, and as EkfSlam."""
        if ids is None:
            raise InputError("GraphSlam does not associate: give the ids of landmarks, or use EkfSlam")
        check(motion, observations, ids)
        self._motions.append(motion_edge(motion, self.config))
        node = len(self._motions)
        self.world_from_node.append(self.world_from_node[-1] @ self._motions[-1][0])
        points, information = sighting_of(observations, self.config)
        for name, point in zip(ids.tolist(), points, strict=True):
            if name not in self._index_of_id:
                self._index_of_id[name] = len(self.landmarks)
                self.landmarks.append(self.world_from_node[-1][:2, :2] @ point + self.world_from_node[-1][:2, 2])
        found = np.array([self._index_of_id[name] for name in ids.tolist()], np.int64)
        self._seen.append((np.full(len(found), node), found, points, information))
        if node % self.solve_every == 0:
            self.solve()
        return found

    def graph(self) -> PoseGraph:
        """All measurements, at the last solution."""
        if not self._motions:
            raise InputError("GraphSlam: no steps yet; take one first")
        motions, information = (np.array(part) for part in zip(*self._motions, strict=True))
        first = np.arange(len(motions))
        sightings = Sightings(*(np.concatenate(part) for part in zip(*self._seen, strict=True)))
        between = Between(first, first + 1, motions, information)
        landmarks = np.array(self.landmarks).reshape(-1, 2)
        return PoseGraph(np.array(self.world_from_node), between, no_priors(2), landmarks, sightings)

    def solve(self) -> Solution:
        """Improves all poses and landmarks."""
        solution = optimise(self.graph())
        self.world_from_node, self.landmarks = list(solution.world_from_node), list(solution.landmarks)
        return solution

    def state(self) -> State:
        """All measurements, at the last solution."""
        motions, sightings = list(zip(*self._motions, strict=True)), list(zip(*self._seen, strict=True))
        return {
            "world_from_node": np.array(self.world_from_node),
            "landmarks": np.array(self.landmarks).reshape(-1, 2),
            "ids": self.ids,
            "motions": [np.array(part) for part in motions],
            "sightings": [np.concatenate(part) for part in sightings],
        }

    def restore(self, state: State) -> None:
        """Become as the instance was whose state this is."""
        self.world_from_node, self.landmarks = list(state["world_from_node"]), list(state["landmarks"])
        self._index_of_id = {int(name): index for index, name in enumerate(state["ids"])}
        self._motions = list(zip(*state["motions"], strict=True))
        self._seen = [tuple(state["sightings"])] if state["sightings"] else []
