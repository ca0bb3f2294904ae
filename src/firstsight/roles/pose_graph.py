"""Pose graphs: poses, and what was measured of them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64


class Between(NamedTuple):
    """Measured motions between nodes: `a_from_b[i]` is node `b[i]` as seen from node `a[i]`.

    `information` is the inverse covariance of the right tangent (translation, rotation), size 3 in SE(2), 6 in SE(3).
    """

    a: Int64[np.ndarray, " between"]
    b: Int64[np.ndarray, " between"]
    a_from_b: Float64[np.ndarray, "between d1 d1"]
    information: Float64[np.ndarray, "between size size"]


class Priors(NamedTuple):
    """Measured poses of single nodes."""

    node: Int64[np.ndarray, " priors"]
    world_from_node: Float64[np.ndarray, "priors d1 d1"]
    information: Float64[np.ndarray, "priors size size"]


class Sightings(NamedTuple):
    """Landmarks as points in the frame of the node that saw them."""

    node: Int64[np.ndarray, " sightings"]
    landmark: Int64[np.ndarray, " sightings"]
    point_node: Float64[np.ndarray, "sightings d"]
    information: Float64[np.ndarray, "sightings d d"]


class PoseGraph(NamedTuple):
    """Poses and what was measured of them; d = 2 for SE(2) and 3 for SE(3), d1 = d + 1."""

    world_from_node: Float64[np.ndarray, "nodes d1 d1"]
    between: Between
    priors: Priors
    landmarks: Float64[np.ndarray, "landmarks d"]
    sightings: Sightings

    @property
    def dimension(self) -> int:
        return self.world_from_node.shape[-1] - 1

    @property
    def tangent(self) -> int:
        """Unknowns of a pose."""
        return 3 if self.dimension == 2 else 6


def no_priors(dimension: int) -> Priors:
    size = 3 * (dimension - 1)
    return Priors(np.zeros(0, np.int64), np.zeros((0, dimension + 1, dimension + 1)), np.zeros((0, size, size)))


def no_sightings(dimension: int) -> Sightings:
    nobody = np.zeros(0, np.int64)
    return Sightings(nobody, nobody, np.zeros((0, dimension)), np.zeros((0, dimension, dimension)))


def pose_graph(world_from_node: Float64[np.ndarray, "nodes d1 d1"], between: Between) -> PoseGraph:
    """A graph of poses alone."""
    d = world_from_node.shape[-1] - 1
    return PoseGraph(world_from_node, between, no_priors(d), np.zeros((0, d)), no_sightings(d))


def planar(x: float, y: float, theta: float) -> Float64[np.ndarray, "3 3"]:
    """a_from_b in SE(2), theta in radians."""
    c, s = np.cos(theta), np.sin(theta)
    return np.array([[c, -s, x], [s, c, y], [0, 0, 1]])
