"""Bundle adjustment beside gtsam, COLMAP's Ceres and scipy. Prints benchmarks/bundle_adjustment.md.

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 python benchmarks/bundle_adjustment.py

Not part of `make bench`, since it needs gtsam and pycolmap (pip install --no-deps gtsam pycolmap). The real problems are those in
gtsam's wheel. One thread; CPU time of the process, the best
of ROUNDS in turns, of one for problems of more than LARGE observations. All start from the same state, count
squared pixels without a robust kernel, refine the same lens parameters and stop when a step gains less than 1e-6 of the cost.
All costs are those of our `residuals`, taken of what each returned.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import gtsam
import numpy as np
import pycolmap
from scipy.optimize import least_squares
from scipy.sparse import lil_array
from solver_problems import simulated

from firstsight.formats.bal import read_bal
from firstsight.formats.colmap_model import read_colmap, write_colmap
from firstsight.optimisation.bundle.camera_model import as_lenses
from firstsight.optimisation.bundle.problem import Move
from firstsight.optimisation.bundle_adjustment import Config, adjust, check, problem_of, residuals
from firstsight.optimisation.robust_kernels import Kernel
from firstsight.roles.reconstruction import Lenses, Observations, Reconstruction

Lens = Literal["fixed", "focal", "radial"]
ROUNDS = 5
LARGE = 20_000
POSE, LENS, POINT = (gtsam.symbol(letter, 0) for letter in "xlp")
SCIPY_LIMIT = 10  # cameras, beyond which scipy takes minutes
LOSSES = """## What falls short

- On three cameras COLMAP is 5 to 8 times faster: an iteration of ours costs about 0.2 ms of Python whatever its size.
- The real problems here are small: the large ones of "Bundle Adjustment in the Large" are not in any package. What is
  said of 100 cameras and more is measured on simulated ones.
- dubrovnik-3-7-pre has 38 residuals; with lens radial it has 48 unknowns and any cost down to 0 is reached, so that is left out.
- The cameras' equations are factored, never solved by conjugate gradients: a ring of thousands of cameras that all share
  points would take a full matrix. Up to the street's 300 cameras sparse solving takes
  as long as full (0.19 s a step, measured apart): it only saves memory there.
- One thread. OpenBLAS's own threads make it slower: without OPENBLAS_NUM_THREADS=1 a step of 30 cameras took 52 ms instead of 8
  (measured apart).
- A local adjustment still checks and copies the whole reconstruction.
"""


def sse(made: Reconstruction) -> float:
    return float((residuals(made) ** 2).sum())


class Timed:
    """CPU seconds and wall seconds of what is run inside."""

    def __enter__(self) -> "Timed":
        self.cpu, self.wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu, self.wall = time.process_time() - self.cpu, time.perf_counter() - self.wall


Result = tuple[Reconstruction, int, float]  # with iterations and CPU seconds


def ours(made: Reconstruction, lens: Lens) -> Result:
    with Timed() as timed:
        found = adjust(made, Config(kernel=Kernel.SQUARED, lens=lens))
    return found.reconstruction, found.iterations, timed.cpu


def in_gtsam(made: Reconstruction, lens: Lens) -> Result:
    """gtsam's optimizer for structure from motion, with its Ceres-like settings and its Schur complement."""
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
    noise = gtsam.noiseModel.Isotropic.Sigma(2, 1.0)
    for i, pose in enumerate(made.world_from_camera):
        values.insert(POSE + i, gtsam.Pose3(pose))
    for i, (k, radial) in enumerate(zip(made.lenses.intrinsics, made.lenses.radial, strict=True)):
        calibration = gtsam.Cal3Bundler(k[0, 0], *radial, *k[:2, 2])
        values.insert(LENS + i, calibration)
        if lens != "radial":
            held = [1e6 if lens == "focal" else 1e-9, 1e-12, 1e-12]
            graph.add(
                gtsam.PriorFactorCal3Bundler(LENS + i, calibration, gtsam.noiseModel.Diagonal.Sigmas(np.array(held)))
            )
    for i, point in enumerate(made.points_world):
        values.insert(POINT + i, point)
    for camera, point, pixel in zip(*made.observations, strict=True):
        graph.add(
            gtsam.GeneralSFMFactor2Cal3Bundler(
                pixel, noise, POSE + int(camera), POINT + int(point), LENS + int(made.lens[camera])
            )
        )
    parameters = gtsam.SfmLevenbergMarquardtParams.ceresDefaults()
    parameters.setMaxIterations(100)
    parameters.setRelativeErrorTol(1e-6)
    with Timed() as timed:
        optimizer = gtsam.SfmLevenbergMarquardtOptimizer(graph, values, parameters)
        found = optimizer.optimize()
    calibrations = [found.atCal3Bundler(LENS + i) for i in range(len(made.lenses.size))]
    intrinsics = made.lenses.intrinsics.copy()
    intrinsics[:, [0, 1], [0, 1]] = np.array([c.fx() for c in calibrations])[:, None]
    lenses = Lenses(made.lenses.size, intrinsics, np.array([[c.k1(), c.k2()] for c in calibrations]))
    poses = np.array([found.atPose3(POSE + i).matrix() for i in range(len(made.names))])
    points = np.array([found.atPoint3(POINT + i) for i in range(len(made.points_world))])
    return made._replace(world_from_camera=poses, points_world=points, lenses=lenses), optimizer.iterations(), timed.cpu


def in_colmap(made: Reconstruction, lens: Lens) -> Result:
    """COLMAP's bundle adjustment (Ceres), with a free gauge: its own of two held cameras takes three times the steps."""
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length, options.refine_extra_params = lens != "fixed", lens == "radial"
    options.print_summary = False
    solver = options.ceres.solver_options
    solver.function_tolerance, solver.gradient_tolerance, solver.num_threads = 1e-6, 0.0, 1
    if lens == "radial" and (made.lenses.radial[:, 1] == 0).any():
        tiny = made.lenses.radial.copy()
        tiny[:, 1] = 1e-12  # so that the lens is written as RADIAL, with k2
        made = made._replace(lenses=made.lenses._replace(radial=tiny))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_colmap(folder, made)
        model = pycolmap.Reconstruction(folder)
        config = pycolmap.BundleAdjustmentConfig()
        for image in model.images:
            config.add_image(image)
        if lens == "fixed":
            for camera in model.cameras:
                config.set_constant_cam_intrinsics(camera)
        with Timed() as timed:
            summary = pycolmap.create_default_ceres_bundle_adjuster(options, config, model).solve()
        model.write_text(folder)
        found = read_colmap(folder)
    report = summary.ceres_summary
    return found, report.num_successful_steps + report.num_unsuccessful_steps, timed.cpu


def in_scipy(made: Reconstruction, lens: Lens) -> Result:
    """least_squares with the pattern of the Jacobian and differences, as in scipy's cookbook."""
    problem, state, _ = problem_of(made, Config(lens=lens), np.zeros(len(made.names), bool))
    seen, offset, size = problem.sightings, problem.blocks.offset, problem.blocks.size
    pattern = lil_array((2 * len(seen.point), problem.unknowns + 3 * len(state.points)), dtype=np.int8)
    for i in range(len(seen.point)):
        for block in (problem.blocks.camera[seen.camera[i]], problem.blocks.lens[seen.lens[i]]):
            if block >= 0:
                pattern[2 * i : 2 * i + 2, offset[block] : offset[block] + size[block]] = 1
        column = problem.unknowns + 3 * seen.point[i]
        pattern[2 * i : 2 * i + 2, column : column + 3] = 1
    ordered = made._replace(observations=Observations(seen.camera, seen.point, seen.measured[:, :2]))

    def at(x: np.ndarray) -> Reconstruction:
        there = problem.moved(state, Move(x[: problem.unknowns], x[problem.unknowns :].reshape(-1, 3)))
        return ordered._replace(
            world_from_camera=there.world_from_camera, points_world=there.points,
            lenses=as_lenses(there.lenses, made.lenses),
        )  # fmt: skip

    with Timed() as timed:
        found = least_squares(
            lambda x: np.clip(residuals(at(x)).ravel(), -1e3, 1e3), np.zeros(pattern.shape[1]),
            jac_sparsity=pattern, x_scale="jac", method="trf", ftol=1e-6, xtol=1e-15, max_nfev=100,
        )  # fmt: skip
    return at(found.x), found.nfev, timed.cpu


def real_problems() -> list[tuple[str, Reconstruction, Lens]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "balbianello.txt"
        gtsam.writeBAL(str(path), gtsam.SfmData.FromBundlerFile(gtsam.findExampleDataFile("Balbianello.out")))
        balbianello = read_bal(path)
    small, smaller = (
        read_bal(Path(gtsam.findExampleDataFile(f"dubrovnik-3-7-{name}.txt"))) for name in ("pre", "18-pre")
    )
    lenses: tuple[Lens, ...] = ("fixed", "focal")
    return [
        *((f"dubrovnik-3-7-pre, lens {lens}", small, lens) for lens in lenses),
        ("dubrovnik-3-7-18-pre, lens fixed", smaller, "fixed"),
        *((f"Balbianello, lens {lens}", balbianello, lens) for lens in (*lenses, "radial")),
    ]


def simulated_problems() -> list[tuple[str, Reconstruction, Lens]]:
    street = [(f"street, {n} cameras", simulated(n, 60 * n, "street"), "radial") for n in (10, 30, 100, 300)]
    return [*street, ("ring, 100 cameras", simulated(100, 6000, "ring"), "radial")]


def compared(problems: list[tuple[str, Reconstruction, Lens]]) -> None:
    print(
        "| problem | cameras, points, observations | start | final cost gtsam | COLMAP | scipy | ours | ours / best peer - 1 "
        "| ms gtsam (its.) | COLMAP | scipy | ours |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for name, made, lens in problems:
        peers: dict[str, Callable[[Reconstruction, Lens], Result]] = {"gtsam": in_gtsam, "COLMAP": in_colmap}
        costs, times = {"scipy": "", "gtsam": "fails"}, {"scipy": "", "gtsam": ""}
        ours(made, lens)  # compiled
        found: dict[str, list[Result]] = {}
        for turn in range(ROUNDS if len(made.observations.point) < LARGE else 1):
            every = {
                **peers,
                **({"scipy": in_scipy} if len(made.names) <= SCIPY_LIMIT and turn == 0 else {}),
                "ours": ours,
            }
            for peer, solve in every.items():
                try:
                    found.setdefault(peer, []).append(solve(made, lens))
                except RuntimeError as failure:
                    print(f"<!-- {peer}: {str(failure).splitlines()[0]} -->")
        final = {peer: sse(results[0][0]) for peer, results in found.items()}
        costs |= {peer: f"{cost:.5g}" if cost < 1e-3 else f"{cost:.5f}" for peer, cost in final.items()}
        times |= {peer: f"{1e3 * min(r[2] for r in results):.1f} ({results[0][1]})" for peer, results in found.items()}
        best = min(cost for peer, cost in final.items() if peer != "ours")
        counts = f"{len(made.names)}, {len(made.points_world)}, {len(made.observations.point)}"
        print(
            f"| {name} | {counts} | {sse(made):.4g} | {costs['gtsam']} | {costs['COLMAP']} | {costs['scipy']} | {costs['ours']} "
            f"| {final['ours'] / best - 1:.1e} | {times['gtsam']} | {times['COLMAP']} | {times['scipy']} | {times['ours']} |",
            flush=True,
        )


def parts(problems: list[tuple[str, Reconstruction, Lens]]) -> None:
    """Where an iteration's time goes."""
    print(
        "| problem | unknowns of cameras and lens | solved | set-up ms | linearise | reduce and solve | cost |\n|---|--:|---|--:|--:|--:|--:|"
    )
    for name, made, lens in problems:
        nobody = np.zeros(len(made.names), bool)
        config = Config(kernel=Kernel.SQUARED, lens=lens)
        best = np.full(4, np.inf)
        for _ in range(ROUNDS):
            clock = [time.process_time()]
            problem, state, _ = problem_of(made, config, nobody)
            problem.linearise(state)
            clock.append(time.process_time())
            linearised = problem.linearise(state)
            clock.append(time.process_time())
            step = problem.step(linearised, 1e-4)
            clock.append(time.process_time())
            problem.cost(problem.moved(state, step.tangent))
            clock.append(time.process_time())
            best = np.minimum(best, 1e3 * np.diff(clock))
        kind = "sparse" if problem.system.structure else "full"
        print(
            f"| {name} | {problem.unknowns} | {kind} | {best[0]:.1f} | {best[1]:.1f} | {best[2]:.1f} | {best[3]:.1f} |"
        )


def local(problems: list[tuple[str, Reconstruction, Lens]]) -> None:
    """One camera in the middle and the points it sees."""
    print("| problem | points that take part | adjust ms (its.) | of which choosing them |\n|---|--:|--:|--:|")
    for name, made, _ in problems:
        fixed = np.arange(len(made.names)) != len(made.names) // 2
        best = np.full(2, np.inf)
        for _ in range(ROUNDS):
            with Timed() as whole:
                found = adjust(made, fixed=fixed)
            with Timed() as chosen:
                check(made, fixed)
                points = problem_of(made, Config(), fixed).points
            best = np.minimum(best, [1e3 * whole.cpu, 1e3 * chosen.cpu])
        print(f"| {name} | {len(points)} | {best[0]:.1f} ({found.iterations}) | {best[1]:.1f} |")


def main() -> None:
    print(
        "# Bundle adjustment\n\n`OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 python benchmarks/bundle_adjustment.py`, one thread.\n"
    )
    print("## Real problems\n")
    compared(real_problems())
    print("\n## Simulated problems, lens radial, one lens for all\n")
    problems = simulated_problems()
    compared(problems)
    print("\n## Where the time goes, ms of CPU time\n")
    parts(problems)
    print("\n## Local adjustment: one camera is free\n")
    local(problems)
    print(f"\n{LOSSES}", end="")


if __name__ == "__main__":
    main()
