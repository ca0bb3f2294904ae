"""Loops in a world of points: found, verified, closed, with depth and without; look-alikes and strangers refused."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from firstsight.formats.storage.state import read_state, write_state
from firstsight.geometry.points import move_points, project_points
from firstsight.optimisation.pnp import reprojection_error_px
from firstsight.slam.loops import place_recognition
from firstsight.slam.loops.loop_closing import Config, LoopClosing
from firstsight.slam.loops.loop_graph import CORRELATED, DriftConfig, Loop, chain_of, possible
from firstsight.slam.loops.loop_verification import VerificationConfig, motion_information, verified
from firstsight.slam.loops.views import View, points_of
from firstsight.slam.photos.features import Features, match

INTRINSICS = np.array([[200.0, 0, 159.5], [0, 200, 119.5], [0, 0, 1]])
SIZE = np.array([320, 240])
RADIUS = 6.0


class World(NamedTuple):
    points: np.ndarray
    descriptors: np.ndarray


def world_of_points(rng: np.random.Generator, count: int = 4000) -> World:
    """Points about a circle, on which the camera walks, each with a descriptor of its own."""
    angle, radius = rng.uniform(0, 2 * np.pi, count), rng.uniform(2.0, 11.0, count)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(-2, 2, count)], 1)
    shares = rng.exponential(size=(count, 128))
    return World(points, np.clip(512 * np.sqrt(shares / shares.sum(1, keepdims=True)), 0, 255))


def camera_at(angle: float, heading: float = 0.0) -> np.ndarray:
    """On the circle, looking along it: x right, y down, z forward."""
    turn = angle + heading
    ahead, right = np.array([-np.sin(turn), np.cos(turn), 0]), np.array([np.cos(turn), np.sin(turn), 0])
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, [0, 0, -1], ahead
    pose[:3, 3] = [RADIUS * np.cos(angle), RADIUS * np.sin(angle), 0]
    return pose


def view(world: World, true: np.ndarray, drifted: np.ndarray, rng: np.random.Generator, depth: bool = True) -> View:
    """What a camera at `true`, thought to be at `drifted`, sees: up to 300 points, half a pixel off."""
    seen = move_points(world.points, np.linalg.inv(true))
    pixels = project_points(seen, INTRINSICS)
    inside = (seen[:, 2] > 0.5) & (seen[:, 2] < 8) & (pixels > 0).all(1) & (pixels < SIZE - 1).all(1)
    rows = np.flatnonzero(inside)[:300]
    noisy = world.descriptors[rows] + rng.normal(0, 2, (len(rows), 128))
    features = Features(
        pixels[rows] + rng.normal(0, 0.3, (len(rows), 2)),
        np.clip(noisy.round(), 0, 255).astype(np.uint8),
        np.zeros((len(rows), 3), np.uint8),
    )
    if not depth:
        return View(drifted, features, np.zeros(len(rows)), np.zeros(len(rows)))
    inverse = 1 / seen[rows, 2] + rng.normal(0, 0.003, len(rows))
    return View(drifted, features, inverse, np.full(len(rows), 1 / 0.005))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def walk(rng: np.random.Generator, laps: float, frames: int, bias: float, growth: float, depth: bool):
    """A walk round the circle with odometry that turns too far and whose unit grows: the closing, true and open poses."""
    world, angles = world_of_points(rng), np.linspace(0, 2 * np.pi * laps, frames)
    true = np.array([camera_at(angle) for angle in angles])
    closing, drifted = LoopClosing(Config(places=place_recognition.Config(words=16))), true[0]
    turn = np.eye(4)
    turn[0, 0] = turn[2, 2] = np.cos(bias)
    turn[0, 2], turn[2, 0] = np.sin(bias), -np.sin(bias)
    closing.intrinsics = INTRINSICS
    for i in range(frames):
        if i:
            step = np.linalg.inv(true[i - 1]) @ true[i] @ turn
            step[:3, 3] *= np.exp(growth * i)
            drifted = drifted @ step
        closing.skip(i * 10**8, drifted)
        if i % 2 == 0:
            closing.travelled.keep(view(world, true[i], drifted, rng, depth))
    return closing, true, closing.travelled.world_from_sensor


def worst_m(poses: np.ndarray, true: np.ndarray) -> float:
    return float(np.linalg.norm(poses[:, :3, 3] - true[:, :3, 3], axis=1).max())


def restored(closing: LoopClosing, path: Path) -> LoopClosing:
    """Another one that was given its state, through a file."""
    write_state(path, closing.state())
    again = LoopClosing(closing.config)
    again.restore(read_state(path))
    return again


def test_a_walk_with_biased_odometry_closes(rng: np.random.Generator, tmp_path: Path):
    closing, true, before = walk(rng, 1.15, 92, 0.0015, 0.0, depth=True)
    closed = restored(closing, tmp_path / "state.npz").close()
    assert len(closed.loops) >= 3
    assert (np.abs(closed.loops[:, 1] - closed.loops[:, 0] - 80) <= 10).all()
    assert worst_m(before, true) > 0.4
    assert worst_m(closed.world_from_sensor, true) < 0.15 * worst_m(before, true)
    np.testing.assert_allclose(closed.world_from_sensor[0], true[0], atol=1e-6)


def test_one_camera_s_drift_of_scale_closes(rng: np.random.Generator):
    from firstsight.evaluation.trajectory import absolute_errors_m

    closing, true, before = walk(rng, 1.15, 92, 0.0, 0.002, depth=False)
    closed = closing.close()
    assert len(closed.loops) >= 3
    open_m, closed_m = (
        float(np.sqrt((absolute_errors_m(poses, true, "sim3") ** 2).mean()))
        for poses in (before, closed.world_from_sensor)
    )
    assert open_m > 0.2
    assert closed_m < 0.2 * open_m


def test_state_grows_view_by_view_and_says_where_a_restored_one_goes_on(rng: np.random.Generator, tmp_path: Path):
    """Views that were stored once need not be stored again; the rest is a pose for each frame."""
    closing, true, _ = walk(rng, 0.1, 8, 0.0, 0.0, depth=True)
    before, world = closing.state(), world_of_points(rng)
    closing.skip(8 * 10**8, true[-1])
    closing.travelled.keep(view(world, true[-1], true[-1], rng))
    after = closing.state()
    assert [kept["frame"] for kept in before["grows"]] == [0, 2, 4, 6]
    assert [kept["frame"] for kept in after["grows"]] == [0, 2, 4, 6, 8]
    for kept, same in zip(before["grows"], after["grows"], strict=False):
        assert kept["precision"] is same["precision"]
        assert kept["features"]["descriptors"] is same["features"]["descriptors"]
    assert {name for name in after if name != "grows"} == {"poses", "intrinsics"}
    again = restored(closing, tmp_path / "state.npz")
    assert again.should_add(true[-1]) is closing.should_add(true[-1]) is False
    assert again.should_add(true[0]) is closing.should_add(true[0]) is True
    np.testing.assert_array_equal(again.travelled.world_from_sensor, closing.travelled.world_from_sensor)


def test_without_a_loop_nothing_changes(rng: np.random.Generator):
    closing, _, before = walk(rng, 0.6, 48, 0.001, 0.0, depth=True)
    closed = closing.close()
    assert len(closed.loops) == 0
    np.testing.assert_array_equal(closed.world_from_sensor, before)


def verify(a: View, b: View) -> Loop | None:
    return verified((a, b), (0, 9), match(a.features, b.features, 0.8), INTRINSICS, 0.5, VerificationConfig())


def test_the_same_place_from_aside_is_verified_and_its_motion_measured(rng: np.random.Generator):
    world, a, b = world_of_points(rng), camera_at(0.0), camera_at(0.08, 0.1)
    loop = verify(view(world, a, a, rng), view(world, b, b, rng))
    assert loop is not None
    error = np.linalg.inv(np.linalg.inv(a) @ b) @ loop.a_from_b
    sigma_m = np.sqrt(np.linalg.inv(loop.information)[:3, :3].trace())
    assert np.linalg.norm(error[:3, 3]) < 3 * sigma_m < 0.1
    assert abs(loop.scale - 1) < 0.01


def test_lengths_in_another_unit_are_measured(rng: np.random.Generator):
    world, a, b = world_of_points(rng), camera_at(0.0), camera_at(0.08, 0.1)
    of_b = view(world, b, b, rng)
    loop = verify(view(world, a, a, rng), of_b._replace(inverse_depth=of_b.inverse_depth / 2.5))
    assert loop is not None
    assert loop.scale == pytest.approx(2.5, rel=0.01)


def test_another_place_with_some_of_the_same_things_is_refused(rng: np.random.Generator):
    world, a = world_of_points(rng), camera_at(0.0)
    of_a, of_b = view(world, a, a, rng), view(world, camera_at(2.0), a, rng)
    shared = np.arange(0, 100)  # the same chairs, standing elsewhere
    of_b.features.descriptors[shared] = of_a.features.descriptors[shared]
    assert len(match(of_a.features, of_b.features, 0.8)) >= 90
    assert verify(of_a, of_b) is None


def test_one_thing_that_moved_is_refused(rng: np.random.Generator):
    """Many inliers, but in one corner of the image: a person who came along."""
    world, a = world_of_points(rng), camera_at(0.0)
    of_a = view(world, a, a, rng)
    corner = (of_a.features.pixels < SIZE / 3).all(1)
    features = Features(*(np.concatenate([part[corner]] * 5) for part in of_a.features))
    jitter = rng.normal(0, 8, features.pixels.shape)
    many = View(a, features._replace(pixels=features.pixels + jitter), *(np.tile(part[corner], 5) for part in of_a[2:]))
    descriptors = rng.integers(0, 80, many.features.descriptors.shape).astype(np.uint8)
    many = many._replace(features=many.features._replace(descriptors=descriptors))
    assert len(match(many.features, many.features, 0.8)) > 25
    assert verify(many, many) is None


def test_look_alikes_are_refused_by_odometry(rng: np.random.Generator):
    """Two walls with the same poster: features agree perfectly, but odometry leaves no doubt that they are apart."""
    closing, _, _ = walk(rng, 0.6, 48, 0.0, 0.0, depth=True)
    views = list(closing.travelled.views)
    views[20] = views[2]._replace(world_from_camera=views[20].world_from_camera)
    loop = verify(views[2], views[20])
    assert loop is not None
    loop, poses = loop._replace(a=2, b=20), np.array([v.world_from_camera for v in views])
    chain = chain_of(poses, np.array([v.distance for v in views]), DriftConfig())
    honest = loop._replace(a_from_b=np.linalg.inv(poses[2]) @ poses[20])
    assert possible([loop, honest], chain) == [honest]
    closing.travelled.views = views
    assert len(closing.close().loops) == 0


def test_information_is_the_inverse_of_the_scatter(rng: np.random.Generator):
    """Against solutions of drawn measurements; without the factor for correlated errors."""
    from firstsight.optimisation.pnp import refine_pose

    world, a, b = world_of_points(rng), camera_at(0.0), camera_at(0.05, 0.05)
    of_a = view(world, a, a, rng)
    rows, b_from_a, sigma_px = np.arange(80), np.linalg.inv(b) @ a, 0.5
    points = points_of(of_a, rows, INTRINSICS)
    pixels = project_points(move_points(points, b_from_a), INTRINSICS)
    drawn = []
    for _ in range(150):
        depths = of_a._replace(
            inverse_depth=of_a.inverse_depth + rng.normal(0, 1, len(of_a.precision)) / of_a.precision
        )
        measured = np.column_stack([pixels + rng.normal(0, sigma_px, pixels.shape), np.zeros(80)])
        weights = np.tile([1 / sigma_px, 1 / sigma_px, 0], (80, 1))
        found = refine_pose(
            b_from_a, points_of(depths, rows, INTRINSICS), measured, weights, INTRINSICS, threshold=100.0
        )
        error = b_from_a @ np.linalg.inv(found)
        drawn.append(error[:3, 3])
    predicted = np.linalg.inv(motion_information(of_a, rows, b_from_a, INTRINSICS, sigma_px) * CORRELATED)[:3, :3]
    ratio = np.cov(np.array(drawn).T).trace() / predicted.trace()
    assert 0.6 < ratio < 1.8


def test_the_world_of_points_is_seen_right(rng: np.random.Generator):
    world, a = world_of_points(rng), camera_at(1.0)
    of_a = view(world, a, a, rng)
    points = points_of(of_a, np.arange(len(of_a.precision)), INTRINSICS)
    assert reprojection_error_px(np.eye(4), points, of_a.features.pixels, INTRINSICS).max() < 1e-9
