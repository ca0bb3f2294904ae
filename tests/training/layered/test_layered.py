"""Drawn pairs: the truth of a scene made by hand, of homographies, of every sample, and that samples never change."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates, maximum_filter, minimum_filter

from firstsight.errors import InputError
from firstsight.geometry.warp import warp_by_disparity
from firstsight.training.data.opening import open_dataset
from firstsight.training.data.wanted import Wanted, frames
from firstsight.training.layered.pairs import LayeredPairs, parse_options
from firstsight.training.layered.scene import Layer, Settings, draw_layers, own_motion, plane_motion
from firstsight.training.layered.view_kernels import lay
from firstsight.training.layered.views import moved, occluded, seen

SIZE = (48, 80)


class Everything(NamedTuple):
    images: Any
    flow_ab: Any
    flow_ba: Any
    valid: Any
    occluded: Any
    occluded_ba: Any
    layer: Any


class Stereo(NamedTuple):
    images: Any
    right: Any
    disparity: Any
    occluded_right: Any


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
    # In the right image the square is one pixel further left, over two pixels of the ground.
    right = seen(layers, (4, 6), lambda layer: layer.right_from_left)
    flow = moved(first.layer, [layer.right_from_left for layer in layers])
    assert flow[0].tolist() == (-first.layer).tolist()
    hidden = occluded(flow, first.layer, right.layer)
    assert np.argwhere(hidden).tolist() == [[1, 0], [2, 0]]


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
    assert [depth, u / w - x, v / w - y] == pytest.approx([20.253165, 11.257488, -0.844758], abs=1e-6)


def test_what_moves_by_a_part_of_a_pixel_is_drawn_there():
    """A ramp of 0.01 a pixel that moves by (0.25, -0.4), and a parabola: between pixels as on them."""
    y, x = np.mgrid[:12, :14].astype(np.float32)
    colours = np.stack([0.01 * x, 0.02 * y, 0.004 * x * x], -1)
    ground = Layer(colours, np.ones((12, 14), np.float32), (-3, -2), translation(0.25, -0.4), np.eye(3))
    view = seen([ground], (6, 8), lambda layer: layer.b_from_a).colours
    # Its pixel (2, 1) is (2 + 3 - 0.25, 1 + 2 + 0.4) = (4.75, 3.4) of the canvas.
    assert view[1, 2] == pytest.approx([0.0475, 0.068, 0.09025], abs=1e-6)
    assert view[3, 5] == pytest.approx([0.0775, 0.108, 0.24025], abs=1e-6)


def test_a_layer_is_read_by_keys_cubic_and_mirrored_beyond_its_canvas():
    """Against the formula of Keys (1981), equation 4 with a = -1/2, summed over a canvas mirrored by hand."""
    rng = np.random.default_rng(3)
    colours, alpha = rng.random((5, 7, 3)).astype(np.float32), rng.random((5, 7)).astype(np.float32)
    canvas_from_view = np.array([[1.1, -0.2, -4.0], [0.15, 0.8, -2.5], [0.004, -0.003, 1.0]])
    view, number = np.full((8, 9, 3), 0.3, np.float32), np.zeros((8, 9), np.int64)
    lay(colours, alpha, True, canvas_from_view, 1, 8, 0, 7, view, number, 4)
    wide = np.pad(colours, ((9, 9), (9, 9), (0, 0)), mode="symmetric")
    for y, x in np.ndindex(8, 9):
        if y < 1 or x >= 7:
            assert (view[y, x] == np.float32(0.3)).all()
            assert number[y, x] == 0
            continue
        s, t, ahead = canvas_from_view @ [x, y, 1]
        across, down = (keys(np.arange(size) - 9 - at / ahead) for size, at in ((25, s), (23, t)))
        assert view[y, x] == pytest.approx(np.einsum("i,j,ijc->c", down, across, wide), abs=1e-5)
        assert number[y, x] == 4


def keys(distance: np.ndarray) -> np.ndarray:
    s = np.abs(distance)
    near, far = 1.5 * s**3 - 2.5 * s**2 + 1, -0.5 * s**3 + 2.5 * s**2 - 4 * s + 2
    return np.where(s < 1, near, np.where(s < 2, far, 0))


def test_coverage_is_bilinear_and_nothing_behind_the_camera_is_drawn():
    alpha = np.array([[0.2, 1.0], [0.6, 0.4]], np.float32)
    white = np.ones((2, 2, 3), np.float32)
    view, number = np.zeros((2, 3, 3), np.float32), np.zeros((2, 3), np.int64)
    lay(white, alpha, False, np.array([[1, 0, -0.25], [0, 1, -0.5], [0, 0, 1.0]]), 0, 2, 0, 3, view, number, 1)
    # Rows at -0.5 and 0.5 of the canvas, columns at -0.25, 0.75 and 1.75.
    expected = [[0.5 * 0.75 * 0.2, 0.5 * (0.05 + 0.75), 0.5 * 0.25], [0.75 * 0.4, 0.25 * 0.4 + 0.75 * 0.7, 0.25 * 0.7]]
    np.testing.assert_allclose(view[..., 2], expected, atol=1e-6)
    assert number.tolist() == [[0, 0, 0], [0, 1, 0]]
    before = view.copy()
    lay(white, alpha, True, np.diag([1.0, 1, -1]), 0, 2, 0, 3, view, number, 2)
    assert np.array_equal(view, before)
    assert number.max() == 1


def test_what_moves_by_itself_moves_about_its_middle():
    """The middle goes as far as drawn, never farther than allowed, in all directions."""
    rng, middle = np.random.default_rng(0), np.array([30.0, 11.0])
    steps = []
    for _ in range(300):
        u, v, w = own_motion(rng, middle, 80, Settings(), 1.0) @ [*middle, 1]
        assert w == 1
        steps.append([u - 30, v - 11])
    lengths = np.linalg.norm(steps, axis=1)
    assert lengths.max() <= 0.25 * 80 + 1e-9
    assert 2.0 < lengths.mean() < 4.5  # 0.06 * 80 for three fifths, a fifth of that for the rest: 3.3
    assert (np.abs(np.mean(steps, 0)) < 0.6).all()


def test_most_motions_are_small_and_some_are_large():
    """As in video: the smaller the more frequent, and one in a hundred is longer than a sixth of the width."""
    flows, size = [], (18, 30)
    for i in range(120):
        layers = draw_layers(np.random.default_rng(i), size, Settings())
        flows.append(moved(seen(layers, size, lambda _: np.eye(3)).layer, [layer.b_from_a for layer in layers]))
    lengths = np.linalg.norm(np.stack(flows, 1), axis=0) / 30
    counts, _ = np.histogram(lengths, bins=[0, 0.02, 0.04, 0.08, 0.16, 0.32])
    density = counts / [0.02, 0.02, 0.04, 0.08, 0.16]
    assert (np.diff(density) < 0).all()
    assert np.quantile(lengths, 0.5) < 0.03
    assert 1 / 6 < np.quantile(lengths, 0.99) < 0.3


def away_from_edges(layer: np.ndarray) -> np.ndarray:
    """Pixels whose 5x5 surroundings show one layer."""
    return maximum_filter(layer, 5) == minimum_filter(layer, 5)


def test_images_follow_their_flow_and_flows_undo_each_other():
    """Of pixels seen in both, without noise: 98 of 100 within 1/255 away from edges, a third of those at edges; flows
    there and back add up to a hundredth of a pixel away from edges.
    """
    inner, outer, gaps = [], [], []
    for i in range(20):
        layers = draw_layers(np.random.default_rng(i), SIZE, Settings())
        first, second = seen(layers, SIZE, lambda _: np.eye(3)), seen(layers, SIZE, lambda layer: layer.b_from_a)
        motions = [layer.b_from_a for layer in layers]
        flow_ab, flow_ba = moved(first.layer, motions), moved(second.layer, [np.linalg.inv(m) for m in motions])
        x, y = np.mgrid[: SIZE[0], : SIZE[1]][::-1] + flow_ab
        inside = (x > 2) & (x < SIZE[1] - 3) & (y > 2) & (y < SIZE[0] - 3)
        visible = inside & ~occluded(flow_ab, first.layer, second.layer)
        clear = away_from_edges(first.layer) & (nearest(away_from_edges(second.layer).astype(int), x, y) > 0)
        again = np.stack([map_coordinates(c, [y, x], order=3) for c in second.colours.transpose(2, 0, 1)], -1)
        wrong = np.abs(again - first.colours).max(-1)
        inner.append(wrong[visible & clear])
        outer.append(wrong[visible & ~clear])
        back = np.stack([map_coordinates(part, [y, x], order=1) for part in flow_ba])
        gaps.append(np.linalg.norm(flow_ab + back, axis=0)[visible & clear])
    assert len(np.concatenate(inner)) > 20_000
    assert (np.concatenate(inner) < 1 / 255).mean() > 0.98
    assert (np.concatenate(outer) < 1 / 255).mean() > 0.33
    assert np.concatenate(gaps).max() < 0.01


def nearest(values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The value of the pixel that (x, y) lies in, -1 outside."""
    return map_coordinates(np.pad(values, 1, constant_values=-1), [y + 1, x + 1], order=0, mode="nearest")


def covers(layer: Layer, k: int, view_from_a: np.ndarray, x: int, y: int) -> bool:
    """Whether a layer covers half of a pixel of a view, point by point."""
    s, t, ahead = np.linalg.inv(view_from_a) @ [x, y, 1]
    if k == 0 or ahead <= 0:
        return k == 0
    s, t = s / ahead - layer.corner[0], t / ahead - layer.corner[1]
    total = 0.0
    for i, j in product(range(int(t) - 1, int(t) + 3), range(int(s) - 1, int(s) + 3)):
        if 0 <= i < layer.alpha.shape[0] and 0 <= j < layer.alpha.shape[1]:
            total += max(0, 1 - abs(t - i)) * max(0, 1 - abs(s - j)) * float(layer.alpha[i, j])
    return total >= 0.5


def test_occlusion_is_what_lies_nearer():
    """Pixel by pixel: the nearest layer there, where its motion takes it, and which layer is nearest in that pixel."""
    size, differ = (16, 24), 0
    for seed in (1, 2):
        layers = draw_layers(np.random.default_rng(seed), size, Settings(layers=(4, 4)))
        first, second = seen(layers, size, lambda _: np.eye(3)), seen(layers, size, lambda layer: layer.b_from_a)
        hidden = occluded(moved(first.layer, [layer.b_from_a for layer in layers]), first.layer, second.layer)
        for y, x in np.ndindex(size):
            k = max(k for k, layer in enumerate(layers) if covers(layer, k, np.eye(3), x, y))
            u, v, ahead = layers[k].b_from_a @ [x, y, 1]
            u, v = round(u / ahead), round(v / ahead)
            outside = not (0 <= u < size[1] and 0 <= v < size[0])
            nearer = any(covers(layers[n], n, layers[n].b_from_a, u, v) for n in range(k + 1, len(layers)))
            assert first.layer[y, x] == k
            differ += hidden[y, x] != (outside or nearer)
    assert differ == 0


def test_the_right_image_follows_the_disparity():
    """Bytes read bilinearly: 85 of 100 pixels that both see within 1.5 grey levels, half of the others 50 and more off."""
    both, left_alone = [], []
    data = pairs("sim:layers:noise=0,light=0", Stereo)
    for i in range(12):
        row = {name: torch.from_numpy(value) for name, value in data.sample(i).items()}
        assert row["disparity"].shape == (1, 1, *SIZE)
        assert (row["disparity"] > 0).all()
        again = warp_by_disparity(row["right"].float(), row["disparity"])
        wrong, inside, hidden = (
            (again.values - row["images"].float()).abs().mean(1),
            again.inside[:, 0],
            row["occluded_right"],
        )
        both.append(wrong[inside & ~hidden])
        left_alone.append(wrong[inside & hidden])
    assert torch.cat(both).quantile(0.85) < 1.5
    assert torch.cat(left_alone).quantile(0.5) > 50


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
    data = pairs()
    with ThreadPoolExecutor(3) as workers:
        backwards = list(workers.map(lambda i: data.sample(i)["images"].tobytes(), range(9, -1, -1)))
    assert backwards[::-1] == [pairs().sample(i)["images"].tobytes() for i in range(10)]
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
        (
            "sim:layers:colour=3",
            "'colour=3' is not a setting; write key=number with one of pairs, seed, noise, light, height",
        ),
        ("sim:layers:pairs=two", "'pairs=two' is not a setting"),
        ("sim:layers:pairs=0", "pairs is 0; it can be 1 to 10000000"),
        ("sim:layers:light=101", "light is 101; it can be 0 to 100"),
        ("sim:layers:noise=256", "noise is 256; it can be 0 to 255"),
        ("sim:layers:height=15", "height is 15; it can be 16 to 4096"),
        ("sim:layers:width=4097", "width is 4097; it can be 16 to 4096"),
        ("sim:layers:seed=3,seed=4", "seed is given twice; leave one out"),
        ("sim:layers:seed=²", "'seed=²' is not a setting"),
    ],
)
def test_settings_that_do_not_exist_are_one_line(source: str, line: str):
    with pytest.raises(InputError, match=f"^{source}: {line}"):
        parse_options(source)


def test_a_number_too_long_to_read_is_one_line():
    with pytest.raises(InputError, match=r"^sim:layers:seed=1{64}\.\.\.: 'seed=1{35}' is not a setting"):
        parse_options("sim:layers:seed=" + 5000 * "1")


def test_the_size_is_the_methods_or_that_of_the_source():
    free = Wanted(Stereo, None, frames(0))
    assert LayeredPairs("sim:layers", free).sample(0)["right"].shape == (1, 3, 96, 160)
    assert LayeredPairs("sim:layers:height=32,width=40", free).sample(0)["right"].shape == (1, 3, 32, 40)
    assert pairs("sim:layers:height=48,width=80").size == SIZE
    with pytest.raises(InputError, match=r"this method wants images of height 48 and width 80; leave both out$"):
        pairs("sim:layers:height=64")


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
