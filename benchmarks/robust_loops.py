"""False loops, one by one and in groups, beside gtsam's GNC. Prints benchmarks/robust_loops.md.

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 python benchmarks/robust_loops.py DATA [--draws 10]

Not part of `make bench`, since it needs the graphs. DATA holds pose_graphs/ring.g2o, its true poses, and intel.g2o. Peer: gtsam
(pip install --no-deps gtsam), left out where it is not installed; odometry is among its known inliers, as it is with us.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from solver_problems import with_false_groups, with_false_loops

from firstsight.formats.g2o import read_g2o
from firstsight.roles.pose_graph import PoseGraph
from firstsight.slam.pose_graphs.descent import Config
from firstsight.slam.pose_graphs.false_loops.consistency import loops_of
from firstsight.slam.pose_graphs.pose_graph import optimise

try:
    import gtsam
except ImportError:
    gtsam = None

Robust = Callable[[PoseGraph], tuple[np.ndarray, np.ndarray]]
CASES = {
    "20 random": lambda graph, seed: with_false_loops(graph, 20, seed),
    "300 random": lambda graph, seed: with_false_loops(graph, 300, seed),
    "1 group of 10": lambda graph, seed: with_false_groups(graph, 1, seed),
    "5 groups of 10": lambda graph, seed: with_false_groups(graph, 5, seed),
}


def ours(kind: str) -> Robust:
    """Poses, and the confidence of every motion."""

    def solve(graph: PoseGraph) -> tuple[np.ndarray, np.ndarray]:
        solution = optimise(graph, Config(false_loops=kind))
        return solution.world_from_node, solution.confidence

    return solve


def gnc(graph: PoseGraph) -> tuple[np.ndarray, np.ndarray]:
    """gtsam's graduated non-convexity, truncated least squares, with its defaults and odometry as known inliers."""
    factors, values = gtsam.NonlinearFactorGraph(), gtsam.Values()

    def pose(m: np.ndarray):
        return gtsam.Pose2(m[0, 2], m[1, 2], np.arctan2(m[1, 0], m[0, 0]))

    for i, world_from_node in enumerate(graph.world_from_node):
        values.insert(i, pose(world_from_node))
    for a, b, motion, information in zip(*graph.between, strict=True):
        noise = gtsam.noiseModel.Gaussian.Information(information)
        factors.add(gtsam.BetweenFactorPose2(int(a), int(b), pose(motion), noise))
    hold = gtsam.noiseModel.Gaussian.Information(np.eye(3) * np.abs(graph.between.information).max())
    factors.add(gtsam.PriorFactorPose2(0, pose(graph.world_from_node[0]), hold))
    edges, loops = len(graph.between.a), loops_of(graph.between.a, graph.between.b)
    parameters = gtsam.GncLMParams()
    parameters.setKnownInliers([*np.flatnonzero(~loops).tolist(), edges])
    optimizer = gtsam.GncLMOptimizer(factors, values, parameters)
    found = optimizer.optimize()
    poses = np.array([found.atPose2(i).matrix() for i in range(len(graph.world_from_node))])
    return poses, np.asarray(optimizer.getWeights())[:edges]


def aligned_error(poses: np.ndarray, truth: np.ndarray) -> float:
    """ATE: root mean square distance of positions after rigid alignment, m."""
    a, b = poses[:, :2, 2] - poses[:, :2, 2].mean(0), truth - truth.mean(0)
    u, _, vt = np.linalg.svd(a.T @ b)
    turn = u @ np.diag([1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return float(np.sqrt(((a @ turn - b) ** 2).sum(1).mean()))


def print_graph(name: str, graph: PoseGraph, truth: np.ndarray | None, draws: int, methods: dict[str, Robust]) -> None:
    """The rows of one graph. False loops are added to the solution's graph, and solved from the file's start."""
    solution = optimise(graph)
    poses, edges = solution.world_from_node, len(graph.between.a)
    true = loops_of(graph.between.a, graph.between.b)
    truth = poses[:, :2, 2] if truth is None else truth
    clean = aligned_error(poses, truth)
    for case, spoil in CASES.items():
        for method, solve in methods.items():
            ate, seconds, kept, dropped = [], [], 0, 0
            for seed in range(draws):
                spoiled = spoil(graph._replace(world_from_node=poses), seed)
                start = time.process_time()
                found, confidence = solve(spoiled._replace(world_from_node=graph.world_from_node))
                seconds.append(time.process_time() - start)
                ate.append(aligned_error(found, truth))
                kept += int((confidence[edges:] > 0.5).sum())
                dropped += int((confidence[:edges][true] < 0.5).sum())
            held = sum(error <= max(1.1 * clean, 0.05) for error in ate)
            cells = f"{clean:.3f} | {np.median(ate):.3f} ({max(ate):.3f}) | {held} of {draws} | {kept} | {dropped}"
            print(f"| {name} | {case} | {method} | {cells} | {1e3 * np.median(seconds):.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--methods", nargs="*", default=["consistent", "graduated", "switchable", "gtsam GNC"])
    arguments = parser.parse_args()
    folder = arguments.data / "pose_graphs"
    methods = {name: ours(name) for name in arguments.methods if name != "gtsam GNC"}
    if gtsam is not None and "gtsam GNC" in arguments.methods:
        methods["gtsam GNC"] = gnc
    print("| graph | false | method | ATE without | ATE median (worst) | held | kept | dropped | ms |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|")
    ring = np.loadtxt(folder / "ring_ground_truth_poses.txt")[:, 1:3]
    for name, truth in (("ring", ring), ("intel", None)):
        print_graph(name, read_g2o(folder / f"{name}.g2o").graph, truth, arguments.draws, methods)


if __name__ == "__main__":
    main()
