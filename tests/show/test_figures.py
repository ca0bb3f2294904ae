"""Drawings are well-formed, and what they draw is where it should be."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from firstsight.show.colour import DepthScale
from firstsight.show.figures import Backdrop, Bar, Line, bars, chart, depth_legend, nice_above, nice_below, plan, ticks


def parsed(drawing: str) -> ElementTree.Element:
    root = ElementTree.fromstring(drawing)
    assert root.tag == "svg"
    assert root.get("aria-label")
    assert root.findtext("title") == root.get("aria-label")
    return root


def path_points(path: ElementTree.Element) -> np.ndarray:
    return np.array([[float(v) for v in pair] for pair in re.findall(r"([\d.-]+),([\d.-]+)", path.get("d", ""))])


def test_plan_keeps_shapes_and_directions() -> None:
    square = np.array([[0, 0], [10, 0], [10, 10], [0, 10.0]])
    root = parsed(plan([Line("way", square)], None, "m", "A square & its <scale>"))
    drawn = path_points(root.findall("path")[0])
    sides = np.diff(drawn, axis=0)
    assert sides[0, 0] > 0
    assert sides[0, 1] == pytest.approx(0, abs=0.2)
    assert sides[1, 1] < 0, "y grows upwards"
    assert np.linalg.norm(sides, axis=1) == pytest.approx(np.linalg.norm(sides[0]), rel=0.01)
    _, _, width, height = (float(v) for v in root.get("viewBox", "").split())
    assert ((drawn > 0) & (drawn < [width, height])).all()


def test_scale_bar_has_the_length_it_says() -> None:
    root = parsed(plan([Line("way", np.array([[0, 0], [20, 4.0]]))], None, "m", "a drive"))
    pixels_per_metre = np.linalg.norm(np.diff(path_points(root.findall("path")[0]), axis=0)) / np.hypot(20, 4)
    label = next(text.text for text in root.findall("text") if text.text and text.text.endswith(" m"))
    bar = root.findall("line")[0]
    length = float(bar.get("x2", 0)) - float(bar.get("x1", 0))
    assert length / pixels_per_metre == pytest.approx(float(label.split()[0]), rel=0.01)


def test_missing_poses_interrupt_the_line() -> None:
    points = np.array([[0, 0], [1, 0], [np.nan, np.nan], [3, 0], [4, 1.0]])
    path = parsed(plan([Line("way", points)], None, "m", "a gap")).findall("path")[0]
    assert path.get("d", "").count("M") == 2
    assert len(path_points(path)) == 4


def test_map_lies_under_the_line_where_it_belongs() -> None:
    line = Line("way", np.array([[0, 0], [8, 0.0]]))
    root = parsed(plan([line], Backdrop("data:image/png;base64,", (0.0, 0.0), (8.0, 4.0)), "m", "map"))
    image, drawn = root.findall("image")[0], path_points(root.findall("path")[0])
    x, y, width, height = (float(image.get(name, 0)) for name in ("x", "y", "width", "height"))
    np.testing.assert_allclose([x, y + height], drawn[0], atol=0.2)
    np.testing.assert_allclose([x + width, y + height], drawn[1], atol=0.2)
    assert width / height == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("points", [np.full((3, 2), np.nan), np.zeros((2, 2)), np.zeros((0, 2))])
def test_drawings_without_extent_are_still_drawings(points: np.ndarray) -> None:
    parsed(plan([Line("way", points)], None, "units", "nowhere"))
    parsed(chart([Line("value", points)], "nothing", "s"))


def test_bars_are_as_long_as_their_values() -> None:
    root = parsed(bars([Bar("depth", 200, "200 ms"), Bar("flow", 50, "50 ms")], "times"))
    lengths = [float(bar.get("width", 0)) for bar in root.findall("rect")][1::2]
    assert lengths[0] / lengths[1] == pytest.approx(4)
    assert "200 ms" in [text.text for text in root.findall("text")]


def test_chart_lies_between_its_ticks() -> None:
    values = np.stack([np.linspace(0, 9, 50), np.sin(np.linspace(0, 9, 50)) * 3.7], 1)
    root = parsed(chart([Line("wave", values)], "wave", "s"))
    drawn = path_points(root.findall("path")[0])
    heights = [float(line.get("y1", 0)) for line in root.findall("line")]
    assert min(heights) - 0.1 <= drawn[:, 1].min()
    assert drawn[:, 1].max() <= max(heights) + 0.1
    assert drawn[np.argmax(values[:, 1]), 1] == drawn[:, 1].min()


def test_ticks_are_round_few_and_span_the_values() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        low = float(rng.normal(0, 10 ** rng.uniform(-3, 4)))
        high = low + float(10 ** rng.uniform(-3, 4))
        marks = ticks(low, high)
        assert marks[0] <= low + 1e-9
        assert marks[-1] >= high - 1e-9
        assert len(marks) <= 8


@pytest.mark.parametrize(("length", "below", "above"), [(1, 1, 1), (1.7, 1, 2), (0.04, 0.02, 0.05), (730, 500, 1000)])
def test_nice_lengths(length: float, below: float, above: float) -> None:
    assert nice_below(float(length)) == pytest.approx(below)
    assert nice_above(float(length)) == pytest.approx(above)


def test_depth_legend_puts_values_where_their_colour_is() -> None:
    root = parsed(depth_legend(DepthScale(1.0, 100.0), "m"))
    labels = {text.text: float(text.get("x", 0)) for text in root.findall("text")}
    assert labels["10 m"] == pytest.approx(180, abs=0.1)
    assert labels["1 m"] < labels["2 m"] < labels["5 m"] < labels["50 m"]
