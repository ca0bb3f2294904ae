from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from firstsight.errors import InputError
from firstsight.formats.bal import read_bal
from firstsight.geometry.se3 import se3_exp
from firstsight.optimisation.bundle.camera_model import as_lenses
from firstsight.optimisation.bundle.equations import BEHIND
from firstsight.optimisation.bundle.problem import Linearised, Move
from firstsight.optimisation.bundle.structure import system_of
from firstsight.optimisation.bundle_adjustment import (
    Config,
    adjust,
    problem_of,
    residuals,
)
from firstsight.optimisation.robust_kernels import Kernel
from firstsight.roles.reconstruction import Lenses, Observations, Reconstruction


def exp(tangents: np.ndarray) -> np.ndarray:
    return se3_exp(torch.from_numpy(np.asarray(tangents, float))).numpy()


def looking_at_origin(centres: np.ndarray) -> np.ndarray:
    poses = np.tile(np.eye(4), (len(centres), 1, 1))
    for pose, centre in zip(poses, centres, strict=True):
        z = -centre / np.linalg.norm(centre)
        x = np.cross([0.0, 1.0, 0.0], z)
        x /= np.linalg.norm(x)
        pose[:3, :3], pose[:3, 3] = np.stack([x, np.cross(z, x), z], 1), centre
    return poses


def scene(cameras: int = 10, points: int = 100, lenses: int = 1, seen: float = 1.0, seed: int = 0) -> Reconstruction:
    """Cameras on an arc around a cloud of points, each seen exactly by a share of the cameras; lenses in turns."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(-1, 1, cameras)
    centres = np.stack([8 * np.sin(angle), rng.uniform(-1, 1, cameras), -8 * np.cos(angle)], 1)
    poses = looking_at_origin(centres) @ exp(rng.normal(0, 0.05, (cameras, 6)))
    intrinsics = np.tile(np.array([[800.0, 0, 500], [0, 820, 380], [0, 0, 1]]), (lenses, 1, 1))
    radial = np.tile([-0.05, 0.01], (lenses, 1)) * rng.uniform(0.5, 1.5, (lenses, 2))
    sightings = rng.random((points, cameras)) < seen
    sightings[:, :2] |= sightings.sum(1, keepdims=True) < 2
    point, camera = np.nonzero(sightings)
    shuffled = rng.permutation(len(point))
    exact = Reconstruction(
        tuple(f"{i}.png" for i in range(cameras)),
        poses,
        np.arange(cameras) % lenses,
        Lenses(np.tile([760, 1000], (lenses, 1)), intrinsics, radial),
        rng.uniform(-2, 2, (points, 3)),
        np.zeros((points, 3), np.uint8),
        Observations(camera[shuffled], point[shuffled], np.zeros((len(point), 2))),
    )
    return seen_at(exact, residuals(exact))


def seen_at(made: Reconstruction, pixels: np.ndarray) -> Reconstruction:
    return made._replace(observations=made.observations._replace(pixels=pixels))


def noisy(made: Reconstruction, sigma_px: float, outliers: float = 0.0, seed: int = 1) -> Reconstruction:
    rng = np.random.default_rng(seed)
    pixels = made.observations.pixels + rng.normal(0, sigma_px, made.observations.pixels.shape)
    wrong = rng.random(len(pixels)) < outliers
    pixels[wrong] += rng.uniform(-100, 100, (wrong.sum(), 2))
    return seen_at(made, pixels)


def perturbed(made: Reconstruction, by: float = 0.05, seed: int = 2) -> Reconstruction:
    """Points moved by a share of their spread, cameras turned and moved as far; lenses as well."""
    rng = np.random.default_rng(seed)
    off = rng.normal(0, by, (len(made.names), 6)) * [1, 1, 1, 0.3, 0.3, 0.3]
    lenses = made.lenses
    intrinsics = lenses.intrinsics.copy()
    intrinsics[:, [0, 1], [0, 1]] *= np.exp(rng.normal(0, by, (len(intrinsics), 1)))
    return made._replace(
        world_from_camera=made.world_from_camera @ exp(off),
        points_world=made.points_world + rng.normal(0, 2 * by, made.points_world.shape),
        lenses=lenses._replace(intrinsics=intrinsics, radial=lenses.radial * (1 + by)),
    )


def perturbed_view(made: Reconstruction) -> Reconstruction:
    return perturbed(made)._replace(lenses=made.lenses)


def rmse(made: Reconstruction) -> float:
    return float(np.sqrt((residuals(made) ** 2).sum(1).mean()))


def nobody(made: Reconstruction) -> np.ndarray:
    return np.zeros(len(made.names), bool)


@pytest.mark.parametrize("lenses", [1, 10])
def test_a_perturbed_exact_scene_is_recovered(lenses):
    start = perturbed(scene(lenses=lenses, cameras=10))
    found = adjust(start, Config(kernel=Kernel.SQUARED, lens="radial", relative_tolerance=1e-14))
    assert rmse(start) > 10
    assert rmse(found.reconstruction) < 1e-8
    assert found.converged


@pytest.mark.parametrize("lens", ["fixed", "focal", "radial"])
def test_noise_leaves_the_cost_that_degrees_of_freedom_foretell(lens):
    """E[SSE] = sigma^2 (2 N - parameters + 7), 3 sigma band; the 7 are the gauge."""
    truth = scene()
    start = perturbed_view(noisy(truth, 0.5)) if lens == "fixed" else perturbed(noisy(truth, 0.5))
    if lens == "focal":
        start = start._replace(lenses=start.lenses._replace(radial=truth.lenses.radial))
    found = adjust(start, Config(kernel=Kernel.SQUARED, lens=lens, relative_tolerance=1e-12))
    parameters = 6 * 10 + 3 * 100 + {"fixed": 0, "focal": 1, "radial": 3}[lens]
    freedom = 2 * len(truth.observations.point) - parameters + 7
    assert abs(found.cost / 0.25 - freedom) < 3 * np.sqrt(2 * freedom)
    assert found.cost == pytest.approx((residuals(found.reconstruction) ** 2).sum(), rel=1e-12)


def gtsams_cost(made: Reconstruction, gtsam) -> float:
    """The least sum of squares that gtsam finds with the same lenses, held."""
    graph, values, noise = gtsam.NonlinearFactorGraph(), gtsam.Values(), gtsam.noiseModel.Isotropic.Sigma(2, 1.0)
    pose, lens, point = (gtsam.symbol(letter, 0) for letter in "xlp")
    for i, (world_from_camera, k) in enumerate(zip(made.world_from_camera, made.lenses.intrinsics, strict=True)):
        calibration = gtsam.Cal3Bundler(k[0, 0], *made.lenses.radial[i], 0, 0)
        values.insert(pose + i, gtsam.Pose3(world_from_camera))
        values.insert(lens + i, calibration)
        held = gtsam.noiseModel.Isotropic.Sigma(3, 1e-9)
        graph.add(gtsam.PriorFactorCal3Bundler(lens + i, calibration, held))
    for i, position in enumerate(made.points_world):
        values.insert(point + i, position)
    for c, p, pixel in zip(*made.observations, strict=True):
        graph.add(gtsam.GeneralSFMFactor2Cal3Bundler(pixel, noise, pose + int(c), point + int(p), lens + int(c)))
    return 2 * graph.error(gtsam.LevenbergMarquardtOptimizer(graph, values).optimize())


def test_the_dubrovnik_problem_ends_where_gtsam_ends():
    gtsam = pytest.importorskip("gtsam")
    made = read_bal(Path(gtsam.findExampleDataFile("dubrovnik-3-7-pre.txt")))
    found = adjust(made, Config(kernel=Kernel.SQUARED))
    assert (residuals(made) ** 2).sum() > 5000
    assert found.cost == pytest.approx(gtsams_cost(made, gtsam), rel=1e-5)
    assert found.cost == pytest.approx(4.63983, rel=1e-4)


def test_a_point_seen_once_does_not_stop_the_others():
    made = noisy(scene(points=30, cameras=4), 0.3)
    seen = made.observations
    once = made._replace(observations=Observations(*(v[(seen.point != 3) | (seen.camera == 1)] for v in seen)))
    found = adjust(perturbed_view(once), Config(kernel=Kernel.SQUARED, relative_tolerance=1e-10))
    others = once._replace(observations=Observations(*(v[once.observations.point != 3] for v in once.observations)))
    alone = adjust(perturbed_view(others), Config(kernel=Kernel.SQUARED, relative_tolerance=1e-10))
    assert found.converged
    assert found.cost == pytest.approx(alone.cost, rel=1e-6)


@pytest.mark.parametrize(("kernel", "recovers"), [(Kernel.SQUARED, False), (Kernel.HUBER, True), (Kernel.CAUCHY, True)])
def test_robust_kernels_recover_from_thirty_percent_outliers_and_squares_do_not(kernel, recovers):
    truth = scene(cameras=8, points=150)
    seen = noisy(truth, 0.3, outliers=0.3)
    held = np.arange(8) < 2
    start = perturbed_view(truth)._replace(observations=seen.observations)
    poses = np.where(held[:, None, None], truth.world_from_camera, start.world_from_camera)
    found = adjust(
        start._replace(world_from_camera=poses), Config(kernel=kernel, threshold_px=1.0), held
    ).reconstruction
    off = np.abs(found.world_from_camera - truth.world_from_camera)[:, :3, 3].max()
    assert off < 0.05 if recovers else off > 0.2


def equations_at(made: Reconstruction, config: Config, fixed: np.ndarray, small_system: int = 400):
    problem, state, _ = problem_of(made, config, fixed)
    across = problem.system.across
    system = system_of(problem.entries, problem.blocks.size, np.stack(across[:2], 1), small_system)
    problem = replace(problem, system=system, blocks=problem.blocks._replace(offset=system.layout.offset))
    linearised = problem.linearise(state)
    return problem, state, linearised.equations, linearised.cost


def step_of(problem, equations, damping: float):
    """The blocks' step, the points' step, the gain that is promised."""
    step = problem.step(Linearised(equations, 0.0), damping)
    return *step.tangent, step.predicted


def numeric_jacobian(made: Reconstruction, problem, state, chosen: np.ndarray) -> np.ndarray:
    """(2 seen, unknowns + 3 points) of the residuals by central differences; columns as in a step."""

    def at(step: np.ndarray) -> np.ndarray:
        there = problem.moved(state, Move(step[: problem.unknowns], step[problem.unknowns :].reshape(-1, 3)))
        points = made.points_world.copy()
        points[chosen] = there.points
        lenses = as_lenses(there.lenses, made.lenses)
        return residuals(made._replace(world_from_camera=there.world_from_camera, points_world=points, lenses=lenses))

    columns, h = problem.unknowns + state.points.size, 1e-5
    return np.stack([(at(h * unit) - at(-h * unit)).ravel() / (2 * h) for unit in np.eye(columns)], 1)


@pytest.mark.parametrize("small_system", [400, 0])
@pytest.mark.parametrize(("lens", "lenses"), [("fixed", 1), ("focal", 2), ("radial", 1), ("radial", 6)])
def test_the_step_is_that_of_dense_normal_equations_and_of_differences(lens, lenses, small_system):
    """The Schur complement, full and sparse, against all equations at once; its terms against differences."""
    made = perturbed(noisy(scene(cameras=6, points=12, lenses=lenses, seen=0.6), 1.0))
    fixed = np.arange(6) == 2
    config = Config(kernel=Kernel.SQUARED, lens=lens)
    problem, state, equations, cost = equations_at(made, config, fixed, small_system)
    assert (problem.system.structure is None) == (small_system > 0)
    jacobian = numeric_jacobian(made, problem, state, problem_of(made, config, fixed).points)
    residual = residuals(made).ravel()
    gradient = np.concatenate([equations.gradient, equations.point_gradient.ravel()])
    assert cost == pytest.approx(residual @ residual, rel=1e-12)
    assert np.allclose(gradient, jacobian.T @ residual, rtol=1e-6, atol=1e-5 * np.abs(gradient).max())

    dense = dense_equations(problem, equations)
    assert np.allclose(dense, jacobian.T @ jacobian, rtol=1e-6, atol=1e-7 * np.abs(dense).max())
    damping = 1e-3
    blocks, points, predicted = step_of(problem, equations, damping)
    expected = np.linalg.solve(dense + damping * np.diag(dense.diagonal()), -gradient)
    got = np.concatenate([blocks, points.ravel()])
    assert np.abs(got - expected).max() < 1e-10 * max(1, np.abs(expected).max())
    promised = -2 * gradient @ expected - expected @ dense @ expected
    assert predicted == pytest.approx(promised, rel=1e-8)


def dense_equations(problem, equations) -> np.ndarray:
    """J' J put together block by block."""
    size, points = problem.unknowns, len(equations.by_point)
    offset, sizes = problem.system.layout.offset, problem.system.layout.size
    dense = np.zeros((size + 3 * points,) * 2)
    for b, (at, n) in enumerate(zip(offset, sizes, strict=True)):
        dense[at : at + n, at : at + n] = equations.by_block[b, :n, :n]
    for camera, lens in set(zip(problem.sightings.camera.tolist(), problem.sightings.lens.tolist(), strict=True)):
        a, b = problem.blocks.camera[camera], problem.blocks.lens[lens]
        if a >= 0 and b >= 0:
            block = equations.by_across[problem.blocks.across_of_camera[camera], :, : sizes[b]]
            dense[offset[a] : offset[a] + 6, offset[b] : offset[b] + sizes[b]] = block
            dense[offset[b] : offset[b] + sizes[b], offset[a] : offset[a] + 6] = block.T
    for p in range(points):
        at = size + 3 * p
        dense[at : at + 3, at : at + 3] = equations.by_point[p]
        for entry in range(problem.entries.start[p], problem.entries.start[p + 1]):
            b = problem.entries.block[entry]
            block = equations.by_both[entry, :, : sizes[b]]
            dense[at : at + 3, offset[b] : offset[b] + sizes[b]] = block
            dense[offset[b] : offset[b] + sizes[b], at : at + 3] = block.T
    return dense


def test_full_and_sparse_equations_give_the_same_step():
    made = perturbed(noisy(scene(cameras=12, lenses=2, seen=0.3, points=80), 0.5))
    steps = {}
    for small in (400, 0):
        problem, _, equations, _ = equations_at(made, Config(lens="radial"), nobody(made), small)
        step, points, _ = step_of(problem, equations, 1e-2)
        layout = problem.system.layout
        blocks = [step[a : a + n] for a, n in zip(layout.offset, layout.size, strict=True)]
        steps[small] = np.concatenate([*blocks, points.ravel()])
    assert np.abs(steps[0] - steps[400]).max() < 1e-10


def test_the_gradient_vanishes_at_what_is_called_converged():
    config = Config(lens="radial", relative_tolerance=1e-12)
    found = adjust(perturbed(noisy(scene(lenses=2), 1.0, outliers=0.1)), config).reconstruction
    problem, state, equations, cost = equations_at(found, config, nobody(found))
    assert step_of(problem, equations, 1e-8)[2] < 1e-7 * cost
    assert cost == pytest.approx(problem.cost(state))


def test_a_local_adjustment_moves_only_what_free_cameras_see():
    made = perturbed_view(noisy(scene(cameras=10, points=120, seen=0.25), 0.5))
    fixed = np.arange(10) != 4
    found = adjust(made, fixed=fixed).reconstruction
    seen = np.zeros(120, bool)
    seen[made.observations.point[made.observations.camera == 4]] = True
    assert (found.world_from_camera[fixed] == made.world_from_camera[fixed]).all()
    assert (found.points_world[~seen] == made.points_world[~seen]).all()
    assert 0 < seen.sum() < 60
    assert (np.abs(found.points_world[seen] - made.points_world[seen]).max(1) > 0).all()
    assert rmse(found) < rmse(made)


def test_a_local_adjustment_works_on_the_free_part_alone():
    made = scene(cameras=60, points=2000, seen=0.1)
    problem, _, chosen = problem_of(made, Config(), np.arange(60) != 7)
    sees = made.observations.point[made.observations.camera == 7]
    assert len(chosen) == len(sees)
    assert (
        len(problem.sightings.point)
        == np.isin(made.observations.point, sees).sum()
        < 0.2 * len(made.observations.point)
    )


def test_lenses_of_fixed_cameras_alone_stay_and_shared_ones_move():
    made = perturbed(noisy(scene(lenses=2), 0.5))
    found = adjust(made, Config(lens="radial"), np.arange(10) % 2 == 1).reconstruction
    assert (found.lenses.intrinsics[1] == made.lenses.intrinsics[1]).all()
    assert (found.lenses.radial[1] == made.lenses.radial[1]).all()
    assert found.lenses.intrinsics[0, 0, 0] != made.lenses.intrinsics[0, 0, 0]
    ratio = found.lenses.intrinsics[0] / np.where(made.lenses.intrinsics[0] == 0, 1, made.lenses.intrinsics[0])
    assert ratio[0, 0] == pytest.approx(ratio[1, 1], rel=1e-12)
    assert ratio[0, 2] == ratio[1, 2] == 1


def test_without_free_cameras_nothing_moves():
    made = perturbed(scene())
    found = adjust(made, Config(lens="radial"), np.ones(10, bool))
    assert found.converged
    assert found.cost == found.iterations == 0
    assert (found.reconstruction.points_world == made.points_world).all()


def test_points_behind_cameras_are_charged_and_pull_at_nothing():
    made = perturbed_view(noisy(scene(points=40), 0.2))
    points = made.points_world.copy()
    points[3] = made.world_from_camera[5] @ [0, 0, -1.0, 1] @ np.eye(4)[:, :3]
    there = made._replace(points_world=points)
    behind = np.isinf(residuals(there)).all(1)
    z = np.einsum("ni,ni->n", points[made.observations.point] - made.world_from_camera[made.observations.camera, :3, 3],
                  made.world_from_camera[made.observations.camera, :3, 2])  # fmt: skip
    assert (behind == (z < 1e-3)).all()
    assert behind.any()
    config = Config(kernel=Kernel.SQUARED)
    problem, _, equations, cost = equations_at(there, config, nobody(there))
    ahead = (residuals(there)[~behind] ** 2).sum()
    assert cost == pytest.approx(ahead + behind.sum() * BEHIND**2, rel=1e-12)
    assert np.isfinite(step_of(problem, equations, 1e-4)[0]).all()
    found = adjust(there, Config(kernel=Kernel.HUBER))
    assert np.isfinite(found.reconstruction.world_from_camera).all()
    chosen = problem_of(there, Config(), nobody(there))
    assert found.cost < chosen.problem.cost(chosen.start)


def test_the_order_of_observations_does_not_matter():
    made = perturbed(noisy(scene(points=30), 0.5))
    order = np.random.default_rng(5).permutation(len(made.observations.point))
    other = made._replace(observations=Observations(*(values[order] for values in made.observations)))
    one, two = (adjust(each, Config(lens="focal", relative_tolerance=1e-12)) for each in (made, other))
    assert one.cost == pytest.approx(two.cost, rel=1e-9)
    assert (residuals(made)[order] == residuals(other)).all()


def test_a_point_seen_twice_by_one_camera_counts_twice():
    made = perturbed(noisy(scene(points=20, cameras=4), 0.5))
    seen = made.observations
    twice = made._replace(observations=Observations(*(np.concatenate([values, values[:7]]) for values in seen)))
    for small in (400, 0):
        problem, _, equations, _ = equations_at(twice, Config(lens="radial"), nobody(twice), small)
        blocks, points, _ = step_of(problem, equations, 1e-3)
        dense = dense_equations(problem, equations)
        gradient = np.concatenate([equations.gradient, equations.point_gradient.ravel()])
        expected = np.linalg.solve(dense + 1e-3 * np.diag(dense.diagonal()), -gradient)
        assert np.allclose(np.concatenate([blocks, points.ravel()]), expected, atol=1e-9)


def broken(what: str) -> Reconstruction:
    made = scene(cameras=3, points=10)
    seen, lenses = made.observations, made.lenses
    last = np.array([-1] + [0] * (len(seen.point) - 1))
    cases = {
        "observation 0 names number 3 of 3 cameras": {"observations": seen._replace(camera=np.where(last, 3, seen.camera))},
        "observation 0 names number -1 of 10 points": {"observations": seen._replace(point=np.where(last, -1, seen.point))},
        "camera 1 names number 2 of 1 lenses": {"lens": np.array([0, 2, 0])},
        "camera 2 is not finite": {"world_from_camera": made.world_from_camera * np.array([1, 1, np.nan])[:, None, None]},
        "point 4 is not finite": {"points_world": made.points_world + np.where(np.arange(10) == 4, np.inf, 0)[:, None]},
        "observation 0 is not finite": {"observations": seen._replace(pixels=seen.pixels + np.where(last, np.nan, 0)[:, None])},
        "lens 0 is not finite": {"lenses": lenses._replace(radial=lenses.radial * np.nan)},
        "lens 0 has a focal length of -800": {"lenses": lenses._replace(intrinsics=lenses.intrinsics * [[-1], [1], [1]])},
        "camera 1.png sees no point": {"observations": Observations(*(values[seen.camera != 1] for values in seen))},
    }  # fmt: skip
    return made._replace(**cases[what])


@pytest.mark.parametrize(
    "what",
    [
        "observation 0 names number 3 of 3 cameras",
        "observation 0 names number -1 of 10 points",
        "camera 1 names number 2 of 1 lenses",
        "camera 2 is not finite",
        "point 4 is not finite",
        "observation 0 is not finite",
        "lens 0 is not finite",
        "lens 0 has a focal length of -800",
        "camera 1.png sees no point",
    ],
)
def test_what_cannot_be_adjusted_is_said_in_one_line(what):
    with pytest.raises(InputError, match=what) as caught:
        adjust(broken(what))
    assert "\n" not in str(caught.value)
