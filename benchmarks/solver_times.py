"""Times of every solver of two versions of the code, side by side, without peers.

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 python benchmarks/solver_times.py BEFORE/src AFTER/src DATA [WORD...]

DATA holds pose_graphs/*.g2o; with words, only problems whose names hold one of them. Each version runs in a process of its own, and
they take turns, problem by problem and round by round. CPU time (user and system), one thread, the least of all rounds. Prints the
tables of benchmarks/solver_times.md.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from solver_problems import exp, similarity_walk, simulated, with_false_loops

from firstsight.formats.g2o import read_g2o
from firstsight.gallery.worlds.street_walk import odometry_start, street_walk
from firstsight.optimisation import bundle_adjustment, joint_adjustment, pnp, window_adjustment
from firstsight.slam.pose_graphs import pose_graph, similarity_graph

ROUNDS, ENOUGH_S = 25, 8.0
SQUARED = type(bundle_adjustment.Config().kernel)(0)
Case = Callable[[], tuple[float, int]]  # solves; returns the final cost and the number of iterations, -1 if not told


def pose_graph_cases(folder: Path) -> dict[str, Case]:
    def solved(graph: Any, **settings: Any) -> Case:
        return lambda: pose_graph.optimise(graph, pose_graph.Config(**settings))[2:4]

    graphs = {
        name: read_g2o(folder / f"{name}.g2o").graph for name in ("manhattanOlson3500", "intel", "ring", "sphere2500")
    }
    cases = {
        f"{name}, {method}": solved(graph, method=method)
        for name, graph in graphs.items()
        for method in ("gauss_newton", "levenberg_marquardt", "dogleg")
    }
    cases["walk of 5000, gauss_newton"] = solved(odometry_start(street_walk(5000)), method="gauss_newton")
    for name, count in (("ring", 45), ("intel", 89)):
        spoiled = with_false_loops(graphs[name], count, 0)
        for kind in ("graduated", "switchable", "consistent"):
            cases[f"{name}, {count} false, {kind}"] = solved(spoiled, false_loops=kind)
    return cases


def similarity_cases() -> dict[str, Case]:
    def solved(poses: np.ndarray, between: Any) -> Case:
        return lambda: (similarity_graph.solve(poses, between).error, -1)

    return {
        f"similarities of {keyframes}, {false} false": solved(*similarity_walk(keyframes, false)[:2])
        for keyframes, false in ((500, 0), (500, 20), (2000, 0))
    }


def bundle_cases() -> dict[str, Case]:
    def solved(made: Any, **settings: Any) -> Case:
        fixed = settings.pop("fixed", None)
        return lambda: bundle_adjustment.adjust(made, bundle_adjustment.Config(**settings), fixed)[1:3]

    scenes = {f"street of {n}": simulated(n, 60 * n, "street") for n in (10, 30, 100)}
    scenes["ring of 100"] = simulated(100, 6000, "ring")
    cases = {f"{name}, radial": solved(made, kernel=SQUARED, lens="radial") for name, made in scenes.items()}
    for name, made in scenes.items():
        fixed = np.arange(len(made.names)) != len(made.names) // 2
        cases[f"{name}, one camera free"] = solved(made, fixed=fixed)
    return cases


INTRINSICS = np.array([[700.0, 0.0, 600.0], [0.0, 700.0, 180.0], [0.0, 0.0, 1.0]])


def keyframes(cameras: int, points: int, views: int) -> tuple[np.ndarray, np.ndarray, Any, np.ndarray]:
    """Poses off the truth, points, what the `views` nearest of the cameras measured of each, and the true poses."""
    rng = np.random.default_rng(0)
    truth = np.tile(np.eye(4), (cameras, 1, 1))
    truth[:, 0, 3] = 0.5 * np.arange(cameras)
    world = np.stack(
        [rng.uniform(-1, 0.5 * cameras, points), rng.uniform(-1, 1, points), rng.uniform(4, 12, points)], 1
    )
    nearest = np.argsort(np.abs(world[:, :1] - truth[None, :, 0, 3]), axis=1)[:, :views]
    camera, point = np.sort(nearest, 1).ravel(), np.repeat(np.arange(points), views)
    seen = world[point] - truth[camera, :3, 3]
    pixels = seen[:, :2] / seen[:, 2:] * 700 + INTRINSICS[:2, 2] + rng.normal(0, 0.5, (len(camera), 2))
    wrong = rng.random(len(camera)) < 0.05
    pixels[wrong] += rng.uniform(-40, 40, (wrong.sum(), 2))
    precision = (
        np.tile([2.0, 2.0, 200.0], (len(camera), 1)) * np.where(rng.random(len(camera)) < 0.5, 1.0, [[1], [1], [0]]).T
    )
    measured = np.column_stack([pixels, 1 / seen[:, 2] + rng.normal(0, 0.005, len(camera))])
    start = truth @ exp(rng.normal(0, 0.01, (cameras, 6)) * (np.arange(cameras) > 0)[:, None])
    return (
        start,
        world + rng.normal(0, 0.05, world.shape),
        window_adjustment.Measurements(camera, point, measured, precision),
        truth,
    )


def keyframe_cases() -> dict[str, Case]:
    def joint(cameras: int, points: int) -> Case:
        start, world, seen, _ = keyframes(cameras, points, 6)
        return lambda: joint_adjustment.adjust(start, world, seen, INTRINSICS, np.arange(cameras) < 1)[2:4]

    def window(tied: bool) -> Case:
        start, world, seen, truth = keyframes(8, 300, 8)
        a = np.arange(7 if tied else 0)
        ties = window_adjustment.Ties(
            a, a + 1, np.linalg.inv(truth[a]) @ truth[a + 1], np.tile(1e4 * np.eye(6), (len(a), 1, 1))
        )
        made = window_adjustment.Window(start, world, seen, INTRINSICS, np.arange(8) < 2, ties)
        return lambda: (window_adjustment.adjust(made).cost, -1)

    def pose(prior: bool) -> Case:
        start, world, seen, truth = keyframes(2, 300, 2)
        rows = seen.camera == 1
        arguments = np.linalg.inv(start[1]), world, seen.measured[rows], seen.precision[rows], INTRINSICS
        known = pnp.PosePrior(truth[1], 1e4 * np.eye(6)) if prior else None

        def solve() -> tuple[float, int]:
            for _ in range(10):
                found = pnp.refine_pose(*arguments, prior=known)
            return float(np.abs(np.linalg.inv(found) - truth[1]).max()), -1

        return solve

    return {
        "joint, 30 keyframes": joint(30, 2000),
        "joint, 150 keyframes": joint(150, 8000),
        "window of 8": window(False),
        "window of 8, tied": window(True),
        "ten poses": pose(False),
        "ten poses with priors": pose(True),
    }


def work(data: Path) -> None:
    """Runs the problem that each line of the input names; prints its CPU seconds, final cost and iterations."""
    torch.set_num_threads(1)
    cases = pose_graph_cases(data / "pose_graphs") | similarity_cases() | bundle_cases() | keyframe_cases()
    print("\t".join(cases), flush=True)
    for line in sys.stdin:
        start = time.process_time()
        cost, iterations = cases[line.strip()]()
        print(time.process_time() - start, f"{cost:.9g}", iterations, flush=True)


class Version:
    """A process that runs problems with the code in a folder."""

    def __init__(self, source: str, data: str):
        command = [sys.executable, __file__, "work", data]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, text=True, env=os.environ | {"PYTHONPATH": source}
        )
        self.cases = self._said().split("\t")

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def run(self, case: str) -> tuple[float, str, str]:
        assert self._process.stdin is not None
        print(case, file=self._process.stdin, flush=True)
        seconds, cost, iterations = self._said().split()
        return float(seconds), cost, iterations


def compare(before: Version, after: Version, words: list[str]) -> None:
    print("| problem | before ms | after ms | change | cost before | cost after | iterations before | after |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for case in before.cases:
        if words and not any(word in case for word in words):
            continue
        for version in (before, after):
            version.run(case)  # compiled
        best, began = [np.inf, np.inf], time.perf_counter()
        for turn in range(ROUNDS):
            ended = [version.run(case) for version in (before, after)]
            best = [min(least, end[0]) for least, end in zip(best, ended, strict=True)]
            if turn >= 2 and time.perf_counter() - began > ENOUGH_S:
                break
        times = " | ".join(f"{1e3 * seconds:.2f}" for seconds in best)
        told = " | ".join(f"{one[k]} | {other[k]}" for k in (1, 2) for one, other in [ended])
        print(f"| {case} | {times} | {100 * (best[1] / best[0] - 1):+.0f} % | {told} |", flush=True)


def main() -> None:
    if sys.argv[1] == "work":
        work(Path(sys.argv[2]))
    else:
        before, after, data = sys.argv[1:4]
        compare(Version(before, data), Version(after, data), sys.argv[4:])


if __name__ == "__main__":
    main()
