"""Trajectory errors against evo (a program of its own, run as one), loops, and known perturbations."""

import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from firstsight.errors import InputError
from firstsight.evaluation.trajectory import (
    Alignment,
    align,
    apply,
    drift_errors,
    rotation_angles_rad,
    trajectory_metrics,
)
from firstsight.formats.trajectory import on_frames, read_kitti, read_tum, write_tum


def random_walk(rng: np.random.Generator, frames: int = 80) -> np.ndarray:
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(np.cumsum(rng.normal(0, 0.1, (frames, 3)), 0)).as_matrix()
    poses[:, :3, 3] = np.cumsum(rng.normal(0.1, 0.3, (frames, 3)), 0)
    return poses


def disturbed(rng: np.random.Generator, poses: np.ndarray, scale: float) -> np.ndarray:
    """The trajectory with noise, in another world and another unit."""
    noisy = poses.copy()
    noisy[:, :3, 3] += rng.normal(0, 0.05, (len(poses), 3))
    noisy[:, :3, :3] = noisy[:, :3, :3] @ Rotation.from_rotvec(rng.normal(0, 0.02, (len(poses), 3))).as_matrix()
    noisy[:, :3, 3] *= scale
    other_world = np.eye(4)
    other_world[:3, :3] = Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()
    other_world[:3, 3] = [3, -8, 2]
    return other_world @ noisy


def measured(estimated: np.ndarray, true: np.ndarray, alignment: Alignment, step: int = 1) -> dict[str, float]:
    return {metric.name: metric.value for metric in trajectory_metrics(estimated, true, alignment, step=step)}


@pytest.fixture(scope="module")
def evo(tmp_path_factory: pytest.TempPathFactory):
    """Runs a command of evo on two trajectories and returns the RMSE it prints."""
    program_folder = Path(sys.executable).parent
    if shutil.which("evo_ape", path=str(program_folder)) is None:
        pytest.skip("evo is not installed beside this Python (pip install evo)")
    home = tmp_path_factory.mktemp("evo_home")

    def run(program: str, estimated: np.ndarray, true: np.ndarray, *options: str) -> float:
        stamps_ns = np.arange(len(true), dtype=np.int64) * 10**8
        for name, poses in (("true.txt", true), ("estimated.txt", estimated)):
            write_tum(home / name, stamps_ns, poses)
        command = [str(program_folder / program), "tum", str(home / "true.txt"), str(home / "estimated.txt"), *options]
        # evo prints six digits; in micrometres and microdegrees those are enough
        ended = subprocess.run(
            command, env=os.environ | {"HOME": str(home)}, capture_output=True, text=True, timeout=120
        )
        found = re.search(r"rmse\s+([\d.e+-]+)", ended.stdout)
        assert found, ended.stdout + ended.stderr
        return float(found[1])

    return run


@pytest.mark.parametrize(
    ("alignment", "options"), [("none", []), ("se3", ["-a"]), ("sim3", ["-as"]), ("first", ["--align_origin"])]
)
def test_ate_equals_evo(evo, alignment: Alignment, options: list[str]) -> None:
    rng = np.random.default_rng(5)
    true = random_walk(rng)
    estimated = disturbed(rng, true, 1.0 if alignment == "se3" else 0.7)
    ours = measured(estimated, true, alignment)["ATE RMSE"]
    assert ours == pytest.approx(evo("evo_ape", estimated, true, *options), abs=1e-6)


@pytest.mark.parametrize("step", [1, 5])
def test_rpe_equals_evo(evo, step: int) -> None:
    rng = np.random.default_rng(6)
    true = random_walk(rng)
    estimated = disturbed(rng, true, 1.0)
    ours = measured(estimated, true, "se3", step=step)
    pairs = ["-d", str(step), "-u", "f", "--all_pairs"]
    assert ours["RPE translation"] == pytest.approx(evo("evo_rpe", estimated, true, *pairs), abs=1e-6)
    degrees = evo("evo_rpe", estimated, true, "-r", "angle_deg", *pairs)
    assert ours["RPE rotation"] == pytest.approx(degrees, abs=1e-6)


def test_kitti_00_equals_evo(evo, shared_data: Path) -> None:
    true = read_kitti(shared_data / "trajectories" / "KITTI_00_gt.txt")
    estimated = read_kitti(shared_data / "trajectories" / "KITTI_00_ORB.txt")
    for alignment, options in (("se3", ["-a"]), ("sim3", ["-as"])):
        ours = measured(estimated, true, alignment)["ATE RMSE"]
        assert ours == pytest.approx(evo("evo_ape", estimated, true, *options), abs=2e-6)


def test_freiburg_xyz_equals_the_published_error(shared_data: Path) -> None:
    """rgbdslam on fr1/xyz: the benchmark's own tool gives an ATE RMSE of 0.0135 m."""
    folder = shared_data / "trajectories"
    true_ns, true = read_tum(folder / "freiburg1_xyz-groundtruth.txt")
    stamps_ns, estimated = read_tum(folder / "freiburg1_xyz-rgbdslam.txt")
    nearest = np.abs(true_ns[None] - stamps_ns[:, None]).argmin(1)
    assert measured(estimated, true[nearest], "se3")["ATE RMSE"] == pytest.approx(0.0135, abs=2e-4)


def test_alignment_recovers_a_known_similarity_and_nothing_is_better() -> None:
    rng = np.random.default_rng(7)
    estimated = rng.normal(size=(30, 3))
    rotation, translation = Rotation.from_rotvec([0.2, 1.5, -0.6]).as_matrix(), np.array([4.0, -1.0, 0.5])
    exact = align(estimated, 2.5 * estimated @ rotation.T + translation, with_scale=True)
    np.testing.assert_allclose(exact.scale, 2.5)
    np.testing.assert_allclose(exact.true_from_estimated[:3, :3], rotation, atol=1e-12)
    np.testing.assert_allclose(exact.true_from_estimated[:3, 3], translation, atol=1e-12)

    true = 2.5 * estimated @ rotation.T + rng.normal(0, 0.3, estimated.shape)
    best = align(estimated, true, with_scale=True)

    def cost(scale: float, turn: np.ndarray) -> float:
        moved = scale * estimated @ (best.true_from_estimated[:3, :3] @ turn).T + best.true_from_estimated[:3, 3]
        return float(((moved - true) ** 2).sum())

    least = cost(best.scale, np.eye(3))
    for _ in range(50):
        turn = Rotation.from_rotvec(rng.normal(0, 0.02, 3)).as_matrix()
        assert cost(best.scale * rng.uniform(0.98, 1.02), turn) > least


def test_mirrored_points_get_a_rotation_not_a_reflection() -> None:
    points = np.random.default_rng(8).normal(size=(20, 3))
    aligned = align(points, points * [1, 1, -1], with_scale=False)
    assert np.linalg.det(aligned.true_from_estimated[:3, :3]) == pytest.approx(1)


@pytest.mark.parametrize("alignment", ["none", "first", "se3", "sim3"])
def test_perfect_trajectory_has_no_error(alignment: Alignment) -> None:
    true = random_walk(np.random.default_rng(9))
    values = measured(true, true, alignment)
    assert values["ATE RMSE"] == pytest.approx(0, abs=1e-9)
    assert values["RPE translation"] == pytest.approx(0, abs=1e-9)
    assert values["RPE rotation"] == pytest.approx(0, abs=1e-6)
    assert values["trajectory coverage"] == 100


def test_frames_without_truth_or_estimate_take_no_part() -> None:
    rng = np.random.default_rng(10)
    true = random_walk(rng, 40)
    estimated = disturbed(rng, true, 1.0)
    true_gap, estimated_gap = true.copy(), estimated.copy()
    true_gap[30:] = np.nan
    estimated_gap[:5] = np.nan
    gaps, kept = measured(estimated_gap, true_gap, "se3"), measured(estimated[5:30], true[5:30], "se3")
    assert gaps.pop("trajectory coverage") == pytest.approx(100 * 25 / 30)
    kept.pop("trajectory coverage")
    assert gaps == pytest.approx(kept)


def test_too_few_common_frames_is_the_users_to_know() -> None:
    true = random_walk(np.random.default_rng(11), 5)
    sparse = true.copy()
    sparse[2:] = np.nan
    with pytest.raises(InputError, match="2 frames have both"):
        trajectory_metrics(sparse, true, "se3")
    with pytest.raises(InputError, match="does not move"):
        trajectory_metrics(np.tile(np.eye(4), (5, 1, 1)), true, "sim3")


def test_a_scale_error_of_two_percent_is_a_drift_of_two_percent() -> None:
    true = np.tile(np.eye(4), (400, 1, 1))
    true[:, 0, 3] = np.arange(400)
    estimated = true.copy()
    estimated[:, 0, 3] *= 1.02
    values = measured(estimated, true, "first")
    # a piece ends one frame (1 m) past its length: 30 pieces err by 2 % of 101 m over 100 m, 20 of 201 over 200, 10 of 301
    # over 300
    assert values["drift translation"] == pytest.approx(2 * (30 * 1.01 + 20 * 1.005 + 10 * 301 / 300) / 60, abs=1e-9)
    assert values["drift rotation"] == pytest.approx(0, abs=1e-9)


def test_drift_equals_the_loop_of_kittis_devkit() -> None:
    rng = np.random.default_rng(12)
    true = random_walk(rng, 120)
    true[:, :3, 3] *= 12
    estimated = disturbed(rng, true, 1.0)
    path = [0.0]
    for i in range(1, len(true)):
        path.append(path[-1] + float(np.linalg.norm(true[i, :3, 3] - true[i - 1, :3, 3])))
    shares, angles = [], []
    for first in range(0, len(true), 10):
        for length in (100.0, 200.0, 300.0):
            last = next((i for i in range(first, len(true)) if path[i] > path[first] + length), None)
            if last is None:
                continue
            true_motion = np.linalg.inv(true[first]) @ true[last]
            motion = np.linalg.inv(estimated[first]) @ estimated[last]
            error = np.linalg.inv(motion) @ true_motion
            shares.append(np.linalg.norm(error[:3, 3]) / length)
            angles.append(math.acos(min(1.0, (np.trace(error[:3, :3]) - 1) / 2)) / length)
    drift = drift_errors(estimated, true, (100.0, 200.0, 300.0))
    assert drift.pieces == len(shares) > 10
    assert drift.translation == pytest.approx(np.mean(shares))
    assert drift.rotation_rad_per_m == pytest.approx(np.mean(angles))


def test_rotation_angles_are_exact_near_zero_and_pi() -> None:
    angles = np.array([0.0, 1e-9, 1e-4, 1.0, math.pi - 1e-6])
    rotations = Rotation.from_rotvec(angles[:, None] * [[0.6, 0, 0.8]]).as_matrix()
    np.testing.assert_allclose(rotation_angles_rad(rotations), angles, atol=1e-12)


def test_rows_of_a_file_find_their_frames() -> None:
    poses = random_walk(np.random.default_rng(13), 3)
    placed = on_frames(np.array([30, 10, 99]), poses, np.array([10, 20, 30]))
    np.testing.assert_array_equal(placed[[0, 2]], poses[[1, 0]])
    assert np.isnan(placed[1]).all()


def test_applying_an_alignment_moves_positions_and_keeps_rotations_rigid() -> None:
    rng = np.random.default_rng(14)
    true = random_walk(rng, 20)
    estimated = disturbed(rng, true, 0.4)
    moved = apply(align(estimated[:, :3, 3], true[:, :3, 3], with_scale=True), estimated)
    np.testing.assert_allclose(np.linalg.det(moved[:, :3, :3]), 1)
    assert np.abs(moved[:, :3, 3] - true[:, :3, 3]).max() < 0.3


def test_a_turn_of_a_degree_in_100_m_is_a_drift_of_one_degree() -> None:
    """901 frames a metre apart, each turned 0.01 degrees too far: 80 pieces of 100 m, 70 of 200 m, ... and 10 of 800 m."""
    true = np.tile(np.eye(4), (901, 1, 1))
    true[:, 0, 3] = np.arange(901)
    estimated = true.copy()
    estimated[:, :3, :3] = Rotation.from_euler("z", 0.01 * np.arange(901)[:, None], degrees=True).as_matrix()
    metrics = {metric.name: metric for metric in trajectory_metrics(estimated, true, "none")}
    pieces = {100 * n: 90 - 10 * n for n in range(1, 9)}
    expected = sum(count * (length + 1) / length for length, count in pieces.items()) / 360
    assert metrics["drift rotation"].value == pytest.approx(expected, abs=1e-6)
    assert "all 900 overlapping steps of 1 frame;" in metrics["RPE rotation"].protocol
    assert "mean over 360 pieces of 100-800 m" in metrics["drift rotation"].protocol
    assert metrics["RPE rotation"].value == pytest.approx(0.01, abs=1e-9)


def test_the_scale_is_that_of_the_truth_over_the_estimate() -> None:
    true = random_walk(np.random.default_rng(15), 30)
    small = true.copy()
    small[:, :3, 3] *= 0.4
    assert measured(small, true, "sim3")["trajectory scale"] == pytest.approx(2.5)
