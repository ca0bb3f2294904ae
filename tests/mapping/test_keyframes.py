import numpy as np
import pytest
import torch

from firstsight.mapping.keyframes import KeyframeGraph, thumbnail
from firstsight.roles import Observation

WALL = (10.0, 10.5, -20.0, 20.0, 5.0)


def image(seed: int) -> torch.Tensor:
    """Large grey blobs: what a place looks like."""
    coarse = torch.from_numpy(np.random.default_rng(seed).random((1, 3, 6, 8)).astype(np.float32))
    return torch.nn.functional.interpolate(coarse, (48, 64), mode="bilinear", align_corners=False)


def walk(see, world_from_camera, stops: list[tuple[float, float, float, int]]) -> dict:
    """The graph of frames taken at (x, y, yaw_rad), each showing the image of the given seed."""
    graph = KeyframeGraph()
    for x, y, yaw_rad, seed in stops:
        pose = world_from_camera(x, y, yaw_rad)
        boxes = [(x + 10, x + 10.5, y - 20, y + 20, 5.0)]  # a wall ahead, wherever one stands
        graph.integrate(see(pose, boxes, image(seed)), pose)
    return graph.places()


def shortcuts(places: dict) -> list[tuple[int, int]]:
    return [(edge["a"], edge["b"]) for edge in places["edges"] if edge["kind"] == "shortcut"]


def test_a_standing_camera_makes_one_place(see, world_from_camera):
    places = walk(see, world_from_camera, [(0.01 * i, 0, 0, 0) for i in range(10)])
    assert [node["frame"] for node in places["nodes"]] == [0]
    assert places["edges"] == []


def test_places_are_spaced_by_travel(see, world_from_camera):
    places = walk(see, world_from_camera, [(0.5 * i, 0, 0, i) for i in range(40)])
    frames = np.array([node["frame"] for node in places["nodes"]])
    assert 4 < len(frames) < 20
    steps_m = 0.5 * np.diff(frames)
    assert steps_m.min() == steps_m.max()
    assert [(edge["a"], edge["b"]) for edge in places["edges"]] == [(i, i + 1) for i in range(len(frames) - 1)]
    assert [edge["length_m"] for edge in places["edges"]] == pytest.approx(steps_m)


def test_turning_makes_new_places(see, world_from_camera):
    places = walk(see, world_from_camera, [(0, 0, 0.05 * i, 0) for i in range(20)])
    frames = [node["frame"] for node in places["nodes"]]
    assert len(frames) >= 3
    assert max(np.diff(frames)) * 0.05 < 0.45


def test_a_walk_that_returns_gives_a_shortcut(see, world_from_camera):
    there = [(2.0 * i, 0, 0, i) for i in range(6)]
    aside = [(10.0 - 2 * i, 8.0, 0, 20 + i) for i in range(6)]
    places = walk(see, world_from_camera, [*there, *aside, (0.2, 0.3, 0.05, 0)])
    last = len(places["nodes"]) - 1
    assert shortcuts(places) == [(0, last)]
    assert places["edges"][-1]["length_m"] == pytest.approx(np.hypot(0.2, 0.3))


def test_places_that_look_alike_but_lie_apart_are_not_joined(see, world_from_camera):
    places = walk(see, world_from_camera, [(4.0 * i, 0, 0, i % 3) for i in range(12)])
    assert len(places["nodes"]) == 12
    assert shortcuts(places) == []


def test_a_place_that_looks_different_or_faces_another_way_is_not_joined(see, world_from_camera):
    there = [(2.0 * i, 0, 0, i) for i in range(6)]
    assert shortcuts(walk(see, world_from_camera, [*there, (0.0, 0.2, 0.0, 99)])) == []
    assert shortcuts(walk(see, world_from_camera, [*there, (0.0, 0.2, 2.0, 0)])) == []


def test_thumbnails_are_of_unit_length_and_ignore_brightness(see, world_from_camera):
    first = thumbnail(Observation(0, image=image(1)))
    assert first.shape == (192,)
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
    darker = thumbnail(Observation(0, image=image(1) * 0.5 + 0.1))
    assert first @ darker > 0.99
    assert abs(first @ thumbnail(Observation(0, image=image(2)))) < 0.6
    assert np.isfinite(thumbnail(Observation(0, image=torch.zeros(1, 3, 48, 64)))).all()


def test_lidar_scans_have_descriptors():
    generator = np.random.default_rng(0)
    scans = [torch.from_numpy(generator.normal(0, [8, 3 + 8 * i, 1], (500, 3)).astype(np.float32)) for i in range(2)]
    a, b = (thumbnail(Observation(0, points_lidar=scan)) for scan in scans)
    assert np.linalg.norm(a) == pytest.approx(1, abs=1e-5)
    assert a @ b < 0.9
    graph = KeyframeGraph()
    for i in range(5):
        world_from_lidar = torch.eye(4, dtype=torch.float64)
        world_from_lidar[0, 3] = 2.0 * i
        graph.integrate(Observation(0, points_lidar=scans[0]), world_from_lidar)
    assert len(graph.places()["nodes"]) > 1


def test_stopped_and_restored_it_goes_on_to_the_same_bits(see, world_from_camera, carried_on):
    direct = KeyframeGraph()
    for i in range(6):
        pose = world_from_camera(2.0 * i)
        direct.integrate(see(pose, [WALL], image(i)), pose)
    resumed = carried_on(direct, KeyframeGraph())
    for graph in (direct, resumed):
        graph.integrate(see(world_from_camera(0.1), [WALL], image(0)), world_from_camera(0.1))
    assert direct.places() == resumed.places()
    assert len(shortcuts(direct.places())) == 1
