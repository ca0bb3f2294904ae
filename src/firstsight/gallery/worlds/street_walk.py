"""A walk through streets on a grid, with a loop where a crossing is met again."""

import numpy as np

from firstsight.roles.pose_graph import Between, PoseGraph, planar, pose_graph
from firstsight.slam.pose_graphs.factors import inverse

WAYS = ((1, 0), (0, 1), (-1, 0), (0, -1))
TURN_SHARE, LOOP_SHARE = 0.3, 0.5
SIGMAS = (0.02, 0.02, 0.005)  # x and y in m, heading in rad, of each motion


def street_walk(
    nodes: int, seed: int = 0, sigmas: tuple[float, float, float] = SIGMAS, loop_share: float = LOOP_SHARE
) -> PoseGraph:
    """Returns a graph at its true poses, in steps of 1 m; its motions have noise of these sigmas and say so."""
    rng = np.random.default_rng(seed)
    side, heading = int(np.sqrt(nodes) / 2), 0
    x, y = side // 2, side // 2
    poses, seen, edges = [], {}, []

    def inside() -> bool:
        return 0 <= x + WAYS[heading][0] < side and 0 <= y + WAYS[heading][1] < side

    for i in range(nodes):
        poses.append(planar(float(x), float(y), heading * np.pi / 2))
        if i:
            edges.append((i - 1, i))
        edges += [(j, i) for j in seen.get((x, y), [])[-1:] if rng.random() < loop_share]
        seen.setdefault((x, y), []).append(i)
        if rng.random() < TURN_SHARE or not inside():
            heading = (heading + rng.choice([1, 3])) % 4
        while not inside():
            heading = (heading + 1) % 4
        x, y = x + WAYS[heading][0], y + WAYS[heading][1]
    truth, (a, b) = np.array(poses), np.array(edges).T
    noise = np.array([planar(*t) for t in rng.normal(size=(len(a), 3)) * sigmas])
    information = np.tile(np.diag(np.array(sigmas) ** -2.0), (len(a), 1, 1))
    return pose_graph(truth, Between(a, b, inverse(truth[a]) @ truth[b] @ noise, information))


def odometry_start(graph: PoseGraph) -> PoseGraph:
    """The same graph at the poses that its odometry alone says, from the first node's on."""
    poses = graph.world_from_node.copy()
    step = {int(b): motion for a, b, motion in zip(*graph.between[:3], strict=True) if b == a + 1}
    for i in range(1, len(poses)):
        poses[i] = poses[i - 1] @ step[i]
    return graph._replace(world_from_node=poses)
