"""Graphs with a known truth."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch

from firstsight.geometry.se3 import se3_exp
from firstsight.roles.pose_graph import Between, PoseGraph, planar, pose_graph
from firstsight.slam.pose_graphs.factors import inverse


def random_motions(count: int, dimension: int, spread: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    tangents = spread * rng.normal(size=(count, 3 * (dimension - 1)))
    if dimension == 2:
        return np.array([planar(*t) for t in tangents]).reshape(-1, 3, 3)
    return se3_exp(torch.from_numpy(tangents)).numpy()


def information(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    """Neither diagonal nor even, so that an order that is wrong shows."""
    size = 3 * (dimension - 1)
    roots = np.random.default_rng(seed).normal(size=(count, size, size))
    return roots @ roots.transpose(0, 2, 1) + np.diag(np.arange(1.0, size + 1))


def circle(nodes: int, dimension: int) -> np.ndarray:
    """Two turns of a circle of 5 m; in 3-D they climb, and roll."""
    poses = []
    for angle in np.linspace(0, 4 * np.pi, nodes, endpoint=False):
        flat = planar(5 * np.cos(angle), 5 * np.sin(angle), angle + np.pi / 2)
        pose = np.eye(4)
        pose[:2, :2], pose[:2, 3], pose[2, 3] = flat[:2, :2], flat[:2, 2], angle / 4
        pose = pose @ se3_exp(torch.tensor([0.0, 0, 0, 0.3 * np.sin(angle), 0, 0], dtype=torch.float64)).numpy()
        poses.append(flat if dimension == 2 else pose)
    return np.array(poses)


def loops(nodes: int, dimension: int, noise: float = 0.0, seed: int = 0) -> PoseGraph:
    """The circle at its true poses, with odometry and a loop from every second node to the turn before."""
    truth = circle(nodes, dimension)
    back = np.arange(nodes // 2, nodes, 2)
    a = np.concatenate([np.arange(nodes - 1), back])
    b = np.concatenate([np.arange(1, nodes), back - nodes // 2])
    motions = inverse(truth[a]) @ truth[b] @ random_motions(len(a), dimension, noise, seed)
    weights = np.tile(np.eye(3 * (dimension - 1)) / max(noise, 0.1) ** 2, (len(a), 1, 1))
    return pose_graph(truth, Between(a, b, motions, weights))


def perturbed(graph: PoseGraph, spread: float, seed: int = 1) -> PoseGraph:
    """All nodes but the first moved."""
    poses = graph.world_from_node @ random_motions(len(graph.world_from_node), graph.dimension, spread, seed)
    poses[0] = graph.world_from_node[0]
    return graph._replace(world_from_node=poses)


def position_error(poses: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square distance, m, with the first poses together."""
    return float(np.sqrt(((poses[:, :-1, -1] - truth[:, :-1, -1]) ** 2).sum(1).mean()))


class Synthetic(NamedTuple):
    """The functions of this file, as a fixture."""

    random_motions: Callable[..., np.ndarray] = random_motions
    information: Callable[..., np.ndarray] = information
    loops: Callable[..., PoseGraph] = loops
    perturbed: Callable[..., PoseGraph] = perturbed
    position_error: Callable[..., float] = position_error


@pytest.fixture(scope="session")
def synthetic() -> Synthetic:
    return Synthetic()
