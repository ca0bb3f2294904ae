"""Drawings as SVG text: the plan of a trajectory over its map, bars, lines, the legend of depth.

Colours are CSS variables with a fallback, so that a page can give them for light and dark; every drawing names itself to a
screen reader. Drawings are as wide as their place; text is in the drawing's own units.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from firstsight.show.colour import DepthScale, depth_table

INK, MUTED, RULE = "var(--ink, #1a1d21)", "var(--muted, #6a7078)", "var(--rule, #d9dce0)"
ACCENT, ACCENT_SOFT, WARM = "var(--accent, #1f6feb)", "var(--accent-soft, #a9c7f5)", "var(--warm, #d9822b)"
LOOP = "var(--loop, #1a9850)"
PLAN_WIDTH = 960.0
PLAN_HEIGHTS = (280.0, 540.0)  # a straight drive still gets a strip, a tower no skyscraper
NEAREST_REACH_M = 3.0  # so much of the map around the lines is always worth seeing
CHART_WIDTH, CHART_HEIGHT = 360.0, 164.0


class Line(NamedTuple):
    """One line of a plan or a chart; a NaN point interrupts it. `dash` is SVG's dash pattern, "" for solid."""

    name: str
    points: Float[np.ndarray, "points 2"]
    colour: str = ACCENT
    dash: str = ""
    width: float = 2.0


class Backdrop(NamedTuple):
    """An image under a plan: a data address and the (x, y) in metres of its lower-left and upper-right corners."""

    address: str
    lower_m: tuple[float, float]
    upper_m: tuple[float, float]


def svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A drawing with its title for screen readers and on hovering."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}" '
        f'font-family="inherit" font-size="13"><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )


def text(x: float, y: float, words: str, anchor: str = "start", colour: str = MUTED) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def rule(x1: float, y1: float, x2: float, y2: float, colour: str = RULE, width: float = 1.0) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width:g}"/>'


def polyline(points: Float[np.ndarray, "points 2"], line: Line) -> str:
    """The pieces of a line between its NaN points, in drawing units."""
    known = np.isfinite(points).all(1)
    pieces = np.split(points, np.flatnonzero(~known))
    path = " ".join(
        "M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn) for drawn in map(_finite, pieces) if len(drawn)
    )
    dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
    return (
        f'<path d="{path}" fill="none" stroke="{line.colour}" stroke-width="{line.width:g}" stroke-linejoin="round" '
        f'stroke-linecap="round"{dash}><title>{escape(line.name)}</title></path>'
    )


def _finite(points: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "known 2"]:
    return points[np.isfinite(points).all(1)]


class DrawingScale(NamedTuple):
    """The map from (x right, y up) in metres to drawing units (y down)."""

    lower_m: tuple[float, float]
    scale: float
    height: float

    def __call__(self, points_m: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 2"]:
        x, y = (points_m - np.array(self.lower_m)).T * self.scale
        return np.stack([x, self.height - y], 1)


def plan(lines: Sequence[Line], backdrop: Backdrop | None, unit: str, title: str) -> str:
    """Lines seen from above (x right, y up) over a map, equal scale in x and y, with a scale bar.

    The first line decides what is seen: all of it, and what lies around it. `unit` is "m", or "units" for unknown scale.
    """
    view = _view_of(lines, backdrop)
    parts = [_backdrop_image(backdrop, view)] if backdrop else []
    parts += [polyline(view(line.points), line) for line in lines]
    track = _finite(view(lines[0].points))
    if len(track):
        (x, y) = track[0]
        (end_x, end_y) = track[-1]
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="var(--page, #fff)" stroke="{lines[0].colour}" stroke-width="2"/>',
            f'<circle cx="{end_x:.1f}" cy="{end_y:.1f}" r="5" fill="{lines[0].colour}"/>',
        ]
    return svg(PLAN_WIDTH, view.height, title, [*parts, *_scale_bar(view, unit)])


def _view_of(lines: Sequence[Line], backdrop: Backdrop | None) -> DrawingScale:
    """Everything drawn, but of the map no more than lies near the lines, in a format neither flat nor tall."""
    points = _finite(np.concatenate([line.points for line in lines]))
    points = points if len(points) else np.zeros((1, 2))
    lower, upper = points.min(0), points.max(0)
    margin = 0.08 * float((upper - lower).max()) + 0.1
    if backdrop is not None:
        reach = max(float((upper - lower).max()), NEAREST_REACH_M)
        lower, upper = np.clip(backdrop.lower_m, lower - reach, lower), np.clip(backdrop.upper_m, upper, upper + reach)
    lower, upper = lower - margin, upper + margin
    scale = min(PLAN_WIDTH / float(upper[0] - lower[0]), PLAN_HEIGHTS[1] / float(upper[1] - lower[1]))
    height = max(PLAN_HEIGHTS[0], scale * float(upper[1] - lower[1]))
    centre = (lower + upper) / 2
    corner = centre - np.array([PLAN_WIDTH, height]) / scale / 2
    return DrawingScale((float(corner[0]), float(corner[1])), scale, height)


def _backdrop_image(backdrop: Backdrop, view: DrawingScale) -> str:
    (left, bottom), (right, top) = view(np.array([backdrop.lower_m, backdrop.upper_m]))
    return (
        f'<image href="{backdrop.address}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
        f'height="{bottom - top:.1f}" preserveAspectRatio="none" style="image-rendering:pixelated"/>'
    )


def _scale_bar(view: DrawingScale, unit: str) -> Iterator[str]:
    length = nice_below(PLAN_WIDTH / view.scale / 5)
    left, right, y = 16.0, 16.0 + length * view.scale, view.height - 16
    yield rule(left, y, right, y, INK, 2.0)
    yield rule(left, y - 4, left, y + 4, INK, 2.0)
    yield rule(right, y - 4, right, y + 4, INK, 2.0)
    yield text((left + right) / 2, y - 8, f"{length:g} {unit}", "middle", INK)


NICE = (1.0, 2.0, 5.0, 10.0)


def nice_below(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above `length`."""
    power = 10.0 ** math.floor(math.log10(length))
    return power * max(factor for factor in NICE if factor * power <= length * (1 + 1e-9))


def nice_above(length: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `length`."""
    power = 10.0 ** math.floor(math.log10(length))
    return power * min(factor for factor in NICE if factor * power >= length * (1 - 1e-9))


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values that span [low, high], low < high, in at most `most` steps inside."""
    step = nice_above((high - low) / most)
    return [step * i for i in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


class Bar(NamedTuple):
    name: str
    value: float
    note: str


def bars(rows: Sequence[Bar], title: str) -> str:
    """Horizontal bars, each under its name, its value written at the right."""
    width, pitch, longest = 560.0, 46.0, max((row.value for row in rows), default=0.0)
    parts = []
    for i, row in enumerate(rows):
        y, length = i * pitch, (width * row.value / longest if longest else 0.0)
        parts += [
            text(0.0, y + 18, row.name, colour=INK),
            text(width, y + 18, row.note, "end"),
            f'<rect x="0" y="{y + 27:g}" width="{width:g}" height="7" rx="3.5" fill="{RULE}"/>',
            f'<rect x="0" y="{y + 27:g}" width="{max(length, 3.0):.1f}" height="7" rx="3.5" fill="{ACCENT}"/>',
        ]
    return svg(width, pitch * len(rows), title, parts)


def chart(lines: Sequence[Line], title: str, x_label: str) -> str:
    """Values over x, with round ticks; y starts at zero where no value is below."""
    points = _finite(np.concatenate([line.points for line in lines]))
    low, high = (min(0.0, float(points[:, 1].min())), float(points[:, 1].max())) if len(points) else (0.0, 1.0)
    marks = ticks(low, high if high > low else low + 1)
    left, right = 42.0, CHART_WIDTH - 8.0
    top, bottom = 10.0, CHART_HEIGHT - 26.0
    first, last = (float(points[:, 0].min()), float(points[:, 0].max())) if len(points) else (0.0, 1.0)

    def place(values: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 2"]:
        x = left + (values[:, 0] - first) / max(last - first, 1e-12) * (right - left)
        return np.stack([x, bottom - (values[:, 1] - marks[0]) / (marks[-1] - marks[0]) * (bottom - top)], 1)

    parts = []
    for mark in marks:
        y = float(place(np.array([[first, mark]]))[0, 1])
        parts += [rule(left, y, right, y), text(left - 6, y + 4, f"{mark:.6g}", "end")]
    parts += [
        text(left, CHART_HEIGHT - 7, f"{first:.3g}"),
        text(right, CHART_HEIGHT - 7, f"{last:.3g} {x_label}", "end"),
    ]
    return svg(CHART_WIDTH, CHART_HEIGHT, title, [*parts, *(polyline(place(line.points), line) for line in lines)])


def depth_legend(scale: DepthScale, unit: str) -> str:
    """The depth colours from near to far with round values below."""
    width, height = 360.0, 34.0
    stops = "".join(
        f'<stop offset="{offset:.3f}" stop-color="rgb({red} {green} {blue})"/>'
        for offset, (red, green, blue) in zip(np.linspace(0, 1, 16), depth_table()[:: 255 // 15], strict=False)
    )
    marks = [factor * 10.0**power for power in range(-3, 5) for factor in (1, 2, 5)]
    labels = []
    for mark in (mark for mark in marks if scale.near <= mark <= scale.far):
        x = width * math.log(mark / scale.near) / math.log(scale.far / scale.near)
        labels += [rule(x, 10.0, x, 15.0, MUTED), text(x, 29.0, f"{mark:g} {unit}", _anchor(x, width))]
    gradient = f'<defs><linearGradient id="depth-colours">{stops}</linearGradient></defs>'
    bar = f'<rect width="{width:g}" height="10" rx="3" fill="url(#depth-colours)"/>'
    return svg(
        width, height, f"depth colours from {scale.near:.3g} to {scale.far:.3g} {unit}", [gradient, bar, *labels]
    )


def _anchor(x: float, width: float) -> str:
    """Keeps a label inside the drawing."""
    return "start" if x < 0.06 * width else "end" if x > 0.94 * width else "middle"
