"""Drawn pairs: the truth of a scene made by hand, of homographies, of every sample, and that samples never change."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from firstsight.errors import InputError
from firstsight.geometry.warp import warp_by_disparity, warp_by_flow
from firstsight.training.data.opening import open_dataset
from firstsight.training.data.wanted import Wanted, frames
from firstsight.training.layered.pairs import LayeredPairs, parse_options
from firstsight.training.layered.scene import Layer, Settings, draw_layers, own_motion, plane_motion
from firstsight.training.layered.views import moved, occluded, seen

SIZE = (48, 80)


class Everything(NamedTuple):
    images: Any
    flow_ab: Any
    flow_ba: Any
    valid: Any
    occluded: Any
    occluded_ba: Any


class Stereo(NamedTuple):
    images: Any
    right: Any
    disparity: Any


def pairs(source: str = "sim:layers", batch: type = Everything, **changes: Any) -> LayeredPairs:
    clip = frames(0, 1) if batch is Everything else frames(0)
    return LayeredPairs(source, Wanted(batch, SIZE, clip), Settings(**changes))


def translation(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def by_hand() -> list[Layer]:
    """A dark ground that moves by (1, 0) over 4x6 pixels, and a bright square of 2x2 at (1, 1) that moves by (2, -1)."""
    ground = Layer(
        np.full((6, 8, 3), 0.2, np.float32), np.ones((6, 8), np.float32), (-1, -1), translation(1, 0), np.eye(3)
    )
    square = np.zeros((4, 4), np.float32)
    square[1:3, 1:3] = 1
    return [ground, Layer(np.full((4, 4, 3), 0.9, np.float32), square, (0, 0), translation(2, -1), translation(-1, 0))]


def test_a_scene_made_by_hand():
    layers = by_hand()
    first = seen(layers, (4, 6), lambda _: np.eye(3))
    second = seen(layers, (4, 6), lambda layer: layer.b_from_a)
    assert first.layer.tolist() == [[0] * 6, [0, 1, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0] * 6]
    assert second.layer.tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 0], [0] * 6, [0] * 6]
    np.testing.assert_allclose(second.colours[..., 1], np.where(second.layer, 0.9, 0.2), atol=1e-6)
    flow = moved(first.layer, [layer.b_from_a for layer in layers])
    np.testing.assert_allclose(flow[0], np.where(first.layer, 2, 1), atol=1e-6)
    np.testing.assert_allclose(flow[1], np.where(first.layer, -1, 0), atol=1e-6)
    # The last column leaves the image; of the first two rows columns 2 and 3 of the ground go under the square.
    expected = np.zeros((4, 6), bool)
    expected[:, 5] = expected[0, 2:4] = expected[1, 3] = True
    assert np.array_equal(occluded(flow, first.layer, second.layer), expected)


def test_the_motion_of_a_plane():
    """A point of the slanted plane Z = 80 / disparity, turned and moved, and seen again: where H says."""
    turn = np.deg2rad(7)
    r = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    t, disparity = np.array([0.3, -0.2, -0.5]), np.array([0.02, -0.01, 4.0])
    h = plane_motion(disparity, (r, t), SIZE)
    x, y = 13.0, 31.0
    depth = 80 / (0.02 * x - 0.01 * y + 4.0)
    point = r @ (depth * np.array([(x - 39.5) / 80, (y - 23.5) / 80, 1])) + t
    expected = [80 * point[0] / point[2] + 39.5, 80 * point[1] / point[2] + 23.5]
    u, v, w = h @ [x, y, 1]
    assert [u / w, v / w] == pytest.approx(expected, abs=1e-9)


def test_what_moves_by_itself_moves_about_its_middle():
    """The middle goes as far as drawn, never farther than allowed, in all directions."""
    rng, middle = np.random.default_rng(0), np.array([30.0, 11.0])
    steps = []
    for _ in range(300):
        u, v, w = own_motion(rng, middle, 80, Settings()) @ [*middle, 1]
        assert w == 1
        steps.append([u - 30, v - 11])
    lengths = np.linalg.norm(steps, axis=1)
    assert lengths.max() <= 0.25 * 80 + 1e-9
    assert 2.0 < lengths.mean() < 4.5  # 0.06 * 80 for three fifths, a fifth of that for the rest: 3.3
    assert (np.abs(np.mean(steps, 0)) < 0.6).all()


def test_images_follow_their_flow_and_flows_undo_each_other():
    """Without noise, on pixels seen in both: 1.5 grey levels (cubic on bilinear) and a hundredth of a pixel."""
    differences, gaps = [], []
    data = pairs("sim:layers:noise=0,light=0")
    for i in range(12):
        row = {name: torch.from_numpy(value) for name, value in data.sample(i).items()}
        image_a, image_b = row["images"].float()
        flow_ab, flow_ba = row["flow_ab"][None], row["flow_ba"][None]
        again = warp_by_flow(image_b[None], flow_ab)
        visible = (~row["occluded"] & again.inside[0])[0]
        differences.append((again.values[0] - image_a).abs().mean(0)[visible])
        gaps.append((flow_ab + warp_by_flow(flow_ba, flow_ab).values).norm(dim=1)[0][visible])
    assert torch.cat(differences).quantile(0.8) < 1.5
    assert torch.cat(gaps).quantile(0.9) < 0.01


def test_the_right_image_follows_the_disparity():
    differences = []
    data = pairs("sim:layers:noise=0,light=0", Stereo)
    for i in range(12):
        row = {name: torch.from_numpy(value) for name, value in data.sample(i).items()}
        assert row["disparity"].shape == (1, 1, *SIZE)
        assert (row["disparity"] > 0).all()
        again = warp_by_disparity(row["right"].float(), row["disparity"])
        differences.append((again.values - row["images"].float()).abs().mean(1)[again.inside[:, 0]])
    assert torch.cat(differences).quantile(0.75) < 1.5


def test_what_is_near_moves_and_covers():
    """Layers are sorted by disparity, and each moves its own way."""
    layers = draw_layers(np.random.default_rng(5), SIZE, Settings())
    middles = [-(layer.right_from_left @ [40, 24, 1] - [40, 24, 1])[0] for layer in layers]
    assert len(layers) >= 4
    assert middles[0] < middles[-1] < 0.2 * 80
    assert len({layer.b_from_a.tobytes() for layer in layers}) == len(layers)


def test_a_sample_is_a_function_of_seed_and_number():
    one, other = pairs().sample(7, seed=1), pairs("sim:layers:pairs=9").sample(7, seed=2)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    images = [pairs(source).sample(i)["images"] for source in ("sim:layers", "sim:layers:seed=1") for i in (0, 1)]
    assert len({image.tobytes() for image in images}) == 4


def test_noise_and_light_are_what_was_asked_for():
    """2 grey levels in each image; brightness differs by at most 10 percent."""
    clean, noisy = pairs("sim:layers:noise=0,light=0"), pairs("sim:layers:light=0")
    difference = noisy.sample(0)["images"][0].astype(float) - clean.sample(0)["images"][0]
    middle = np.abs(clean.sample(0)["images"][0].astype(float) - 127) < 110
    assert difference[middle].std() == pytest.approx(2, rel=0.1)
    bright = pairs("sim:layers:noise=0,light=10")
    ratios = [bright.sample(i)["images"][0].mean() / clean.sample(i)["images"][0].mean() for i in range(20)]
    assert 0.9 <= min(ratios) < 0.97
    assert 1.03 < max(ratios) <= 1.1


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("sim:layers:colour=3", "'colour=3' is not a setting; write key=number with one of pairs, seed, noise, light"),
        ("sim:layers:pairs=two", "'pairs=two' is not a setting"),
        ("sim:layers:pairs=0", "pairs=0 leaves nothing to learn from"),
    ],
)
def test_settings_that_do_not_exist_are_one_line(source: str, line: str):
    with pytest.raises(InputError, match=f"^{source}: {line}"):
        parse_options(source)


class Poses(NamedTuple):
    images: Any
    world_from_camera: Any


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        (Wanted(Poses, SIZE), "it has no world_from_camera, from which this method learns; it has images, flow_ab"),
        (Wanted(Everything, SIZE, frames(-1, 0, 1)), "has pairs of frames; this method wants frames -1, 0, 1"),
        (Wanted(Stereo, SIZE, frames(0, 1)), "has a right image of the first frame alone"),
    ],
)
def test_what_it_lacks_is_one_line(wanted: Wanted, line: str):
    with pytest.raises(InputError, match=f"^sim:layers: {line}"):
        LayeredPairs("sim:layers", wanted)


def test_it_is_a_source_of_trainings(tmp_path):
    data = open_dataset(
        ["sim:layers:pairs=3", "sim:layers:pairs=2,seed=4"], Wanted(Everything, SIZE, frames(0, 1)), tmp_path
    )
    assert len(data) == 5
    assert data.sample(4)["images"].shape == (2, 3, *SIZE)
    with pytest.raises(InputError, match=r"^sim:layers@frames=: drawn pairs can have no settings$"):
        open_dataset(["sim:layers@frames=0:3"], Wanted(Everything, SIZE, frames(0, 1)), tmp_path)
