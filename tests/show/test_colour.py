"""Colours mean what their legends say."""

import colorsys

import numpy as np
import pytest

from firstsight.recordings.recording import DepthImage, FlowImage
from firstsight.show.colour import (
    NO_VALUE,
    DepthScale,
    colour_depth,
    colour_error,
    colour_flow,
    colour_ids,
    depth_fraction,
    depth_scale,
    flow_scale_px,
    flow_wheel,
    id_colour,
    overlay_ids,
)


def hue_deg(colour: np.ndarray) -> float:
    return 360 * colorsys.rgb_to_hsv(*(float(channel) / 255 for channel in colour))[0]


def depth_row(values: list[float]) -> DepthImage:
    depth = np.array([values], np.float32)
    return DepthImage(depth, depth > 0)


def test_depth_fraction_is_the_logarithm_between_near_and_far() -> None:
    fractions = depth_fraction(np.array([1, 2, 10, 100, 1000], np.float32), DepthScale(1.0, 100.0))
    np.testing.assert_allclose(fractions, [0, np.log(2) / np.log(100), 0.5, 1, 1], atol=1e-6)


def test_depth_colours_turn_steadily_from_red_to_blue() -> None:
    row = depth_row(list(np.geomspace(2, 80, 60)))
    hues = [hue_deg(colour) for colour in colour_depth(row, DepthScale(2.0, 80.0))[0]]
    assert hues[0] < 20
    assert 215 < hues[-1] < 260
    assert (np.diff(hues) > -1).all()


def test_depth_without_value_is_dark_grey_even_where_it_is_not_a_number() -> None:
    row = DepthImage(np.array([[np.nan, 5]], np.float32), np.array([[False, True]]))
    colours = colour_depth(row, DepthScale(1.0, 10.0))
    assert (colours[0, 0] == NO_VALUE).all()
    assert (colours[0, 1] != NO_VALUE).any()


def test_depth_scale_leaves_outliers_out_and_survives_nothing() -> None:
    depth = np.full((100, 100), 10, np.float32)
    depth[:50] = 20
    depth[0, 0] = 60_000
    scale = depth_scale([DepthImage(depth, np.ones_like(depth, bool))])
    assert scale == (10, 20)
    assert depth_scale([]).near < depth_scale([]).far
    flat = DepthImage(np.full((9, 9), 3, np.float32), np.ones((9, 9), bool))
    assert depth_scale([flat]).far > depth_scale([flat]).near


@pytest.mark.parametrize(
    ("direction", "hue"),
    [((1, 0), 0), ((0, 1), 55), ((-1, 0), 180), ((0, -1), 250)],
    ids=["right is red", "down is yellow", "left is cyan", "up is violet-blue"],
)
def test_flow_directions_have_the_hues_of_the_middlebury_wheel(direction: tuple[int, int], hue: float) -> None:
    flow = np.array([[direction]], np.float32) * 5
    colour = colour_flow(FlowImage(flow, np.ones((1, 1), bool), np.ones((1, 1), bool)), 5.0)[0, 0]
    difference = abs((hue_deg(colour) - hue + 180) % 360 - 180)
    assert difference < 22, colour


def test_flow_saturation_is_length_and_longer_flow_is_darker() -> None:
    flow = np.array([[[0, 0], [2, 0], [4, 0], [9, 0], [np.nan, 0]]], np.float32)
    valid = np.array([[True, True, True, True, False]])
    rest, half, full, beyond, missing = colour_flow(FlowImage(flow, valid, valid), 4.0)[0].astype(int)
    assert (rest == 255).all()
    assert 120 < half[1] < 135
    assert list(full) == [255, 0, 0]
    assert list(beyond) == [191, 0, 0]
    assert (missing == NO_VALUE).all()


def test_the_wheel_shows_each_direction_at_its_place_and_nothing_outside() -> None:
    wheel = flow_wheel(101)
    assert wheel[0, 0, 3] == 0
    assert (wheel[50, 50, :3] > 250).all()
    directions = {(50, 97): (1, 0), (97, 50): (0, 1), (50, 3): (-1, 0), (3, 50): (0, -1)}
    for (row, column), direction in directions.items():
        valid = np.ones((1, 1), bool)
        colour = colour_flow(FlowImage(np.array([[direction]], np.float32), valid, valid), 1.0)[0, 0]
        assert abs((hue_deg(wheel[row, column, :3]) - hue_deg(colour) + 180) % 360 - 180) < 3


def test_flow_scale_ignores_invalid_flow_and_is_never_below_a_pixel() -> None:
    flow = np.zeros((20, 20, 2), np.float32)
    flow[:10] = [6, 8]
    flow[10:] = 1000
    valid = np.arange(20)[:, None].repeat(20, 1) < 10
    assert flow_scale_px([FlowImage(flow, valid, valid)]) == pytest.approx(10)
    assert flow_scale_px([FlowImage(np.zeros_like(flow), valid, valid)]) == 1


def test_an_id_keeps_its_colour_and_neighbours_differ() -> None:
    ids = np.arange(12, dtype=np.uint16).reshape(3, 4)
    alone = np.full((2, 2), 7, np.uint16)
    assert tuple(colour_ids(ids)[1, 3]) == tuple(colour_ids(alone)[0, 0]) == id_colour(7)
    assert (colour_ids(ids)[0, 0] == NO_VALUE).all()
    for i in range(1, 30):
        assert np.abs(np.subtract(id_colour(i), id_colour(i + 1))).max() > 60


def test_errors_go_from_blue_to_dark_red() -> None:
    colours = colour_error(np.array([[0, 3, 50, np.nan]]), np.array([[True, True, True, False]]), 3.0)[0].astype(int)
    assert colours[0, 2] > colours[0, 0] + 50
    assert colours[1, 0] > colours[1, 2] + 50
    assert (colours[1] == colours[2]).all()
    assert (colours[3] == NO_VALUE).all()


def test_overlay_tints_objects_alone_and_writes_their_id() -> None:
    image = np.full((60, 120, 3), 120, np.uint8)
    ids = np.zeros((60, 120), np.uint16)
    ids[20:50, 40:90] = 3
    drawn = overlay_ids(image, ids)
    assert (drawn[5, 5] == 90).all()
    expected = (np.array(id_colour(3)) + 120) / 2
    assert np.abs(drawn[22, 44] - expected).max() <= 2
    inside = drawn[22:48, 42:88].reshape(-1, 3)
    assert (inside > 210).all(1).any(), "the id is written in white"
    assert (image == 120).all(), "the image itself stays as it was"
