"""Layers that move: what pairs of images with true flow and disparity are drawn from.

Paper:  Dosovitskiy et al. FlowNet. ICCV 2015, section 4 (FlyingChairs: shapes with affine motions over backgrounds);
        Mayer et al. A Large Dataset to Train Convolutional Networks for Disparity, Optical Flow, and Scene Flow Estimation. CVPR 2016.
Idea:   each layer is a plane of inverse depth 1/Z = m' p, p = (x, y, 1) the pixel of the left camera in the first image, so that
        its disparity m' p f B is affine, and the camera's motion (R, t) moves it by H = K (R K^-1 + t m')     -> plane_motion()
        a layer may move by itself besides, by an affine map                                                      -> own_motion()
        Layers are sorted by disparity, so that what is near covers what is far in every image.
        All motions of a pair grow with the time between its images, which is exponential: most move little, as in video.
Units:  px of the image; focal length one image width, baseline 1, so that depth is width / disparity.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Float64

Homography = Float64[np.ndarray, "3 3"]

OCTAVES = (48, 24, 12, 6, 3)  # px: cells of the noise that textures are made of
STEPS_PER_PX = 16  # of outlines
SHAPE_MARGIN, BACKGROUND_MARGIN = 2, 0.2  # px about a shape; share of the width about the image
SMALL_SHARE = 0.4  # of the layers that move by themselves, whose motion is small


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Lengths are shares of the image's width."""

    layers: tuple[int, int] = (4, 9)
    longest_interval: float = (
        2.5  # between the images; an exponential distribution has mean 1, motions below are of that time
    )
    disparity: tuple[float, float] = (0.005, 0.13)
    turn_deg: float = 1.5  # standard deviation of the camera's turning about each axis
    way: float = 0.6  # of its motion, in baselines
    motion: float = 0.06  # of what moves by itself; an exponential distribution has this mean
    largest_motion: float = 0.25
    moving_share: float = 0.6  # of the layers before the background


class Layer(NamedTuple):
    """Colours and coverage on a canvas whose first pixel is at `corner` (x, y) in the first image."""

    colours: Float32[np.ndarray, "rows columns 3"]
    alpha: Float32[np.ndarray, "rows columns"]
    corner: tuple[int, int]
    b_from_a: Homography
    right_from_left: Homography


def draw_layers(rng: np.random.Generator, size: tuple[int, int], settings: Settings) -> list[Layer]:
    """Layers for images of a size (height, width), from the farthest, which covers all, to the nearest."""
    height, width = size
    count = int(rng.integers(settings.layers[0], settings.layers[1] + 1))
    disparities = np.sort(width * rng.uniform(*settings.disparity, count))
    interval = min(rng.exponential(), settings.longest_interval)
    camera = camera_motion(rng, settings, interval)
    layers = []
    for number, disparity in enumerate(disparities):
        slope = rng.normal(0, 0.15 * disparity / width, 2) * (number > 0)
        middle = rng.uniform([0, 0], [width, height]) if number else np.array([width / 2, height / 2])
        plane = np.array([*slope, disparity - slope @ middle])  # disparity of (x, y, 1)
        moves = plane_motion(plane, camera, size)
        if number and rng.random() < settings.moving_share:
            moves = own_motion(rng, middle, width, settings, interval) @ moves
        right_from_left = np.eye(3) - np.outer([1, 0, 0], plane)
        alpha, corner = shape(rng, middle, width) if number else background(size)
        layers.append(Layer(paint(rng, alpha.shape), alpha, corner, moves, right_from_left))
    return layers


def background(size: tuple[int, int]) -> tuple[Float32[np.ndarray, "rows columns"], tuple[int, int]]:
    """Coverage of the image and a margin about it, and the corner; the paint is mirrored beyond."""
    margin = round(BACKGROUND_MARGIN * size[1])
    return np.ones((size[0] + 2 * margin, size[1] + 2 * margin), np.float32), (-margin, -margin)


def camera_motion(rng: np.random.Generator, settings: Settings, interval: float) -> tuple[np.ndarray, np.ndarray]:
    """(R, t) of a camera after a time: small turns, and a motion more ahead than aside."""
    turn, _ = cv2.Rodrigues(interval * np.deg2rad(rng.normal(0, settings.turn_deg, 3)))
    return turn, interval * settings.way * rng.normal(size=3) * np.array([0.5, 0.3, 1.0])


def plane_motion(
    disparity: Float64[np.ndarray, "3"], camera: tuple[np.ndarray, np.ndarray], size: tuple[int, int]
) -> Homography:
    """H = K (R K^-1 + t m'), with m the disparity's coefficients over f B = width."""
    height, width = size
    k = np.array([[width, 0, (width - 1) / 2], [0, width, (height - 1) / 2], [0, 0, 1.0]])
    turn, way = camera
    return k @ (turn @ np.linalg.inv(k) + np.outer(way, disparity / width))


def own_motion(
    rng: np.random.Generator, middle: Float64[np.ndarray, "2"], width: int, settings: Settings, interval: float
) -> Homography:
    """An affine map after a time, about the middle of a layer: a shift of any direction, and a little turn, growth and shear."""
    typical = settings.motion * (0.2 if rng.random() < SMALL_SHARE else 1.0)
    length = width * min(interval * rng.exponential(typical), settings.largest_motion)
    direction, turn = rng.uniform(0, 2 * math.pi), interval * rng.normal(0, 0.08)
    linear = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    linear = linear @ (np.eye(2) + interval * rng.normal(0, 0.04, (2, 2)))
    shift = length * np.array([math.cos(direction), math.sin(direction)])
    moves = np.eye(3)
    moves[:2, :2], moves[:2, 2] = linear, middle + shift - linear @ middle
    return moves


def paint(rng: np.random.Generator, canvas: tuple[int, int]) -> Float32[np.ndarray, "rows columns 3"]:
    """Colours in [0, 1]: noise of several cell sizes about a base colour, some with stripes. Nothing is finer than 3 px."""
    rough = rng.uniform(0.3, 1.0)
    tone = np.zeros(canvas, np.float32)
    for cell in OCTAVES:
        lattice = rng.standard_normal(tuple(side // cell + 3 for side in canvas), np.float32)
        large = cv2.resize(lattice, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
        y, x = (int(rng.integers(0, cell)) for _ in range(2))
        tone += (cell / OCTAVES[0]) ** rough * large[y : y + canvas[0], x : x + canvas[1]]
    tone *= rng.uniform(0.06, 0.2) / max(float(tone.std()), 1e-6)
    if rng.random() < 0.3:
        tone += stripes(rng, canvas)
    base, tint = rng.uniform(0.15, 0.85, 3).astype(np.float32), rng.uniform(0.7, 1.3, 3).astype(np.float32)
    return np.clip(base + tone[:, :, None] * tint, 0, 1)


def stripes(rng: np.random.Generator, canvas: tuple[int, int]) -> Float32[np.ndarray, "rows columns"]:
    """Soft stripes of one direction and period, or two such crossed."""
    y, x = np.mgrid[: canvas[0], : canvas[1]].astype(np.float32)
    direction, period = rng.uniform(0, math.pi), rng.uniform(8, 30)
    turns = np.float32(2 * math.pi / period)
    along = np.sin(turns * (math.cos(direction) * x + math.sin(direction) * y))
    if rng.random() < 0.4:
        along = along * np.sin(turns * (math.cos(direction) * y - math.sin(direction) * x))
    return np.float32(rng.uniform(0.05, 0.2)) * along.astype(np.float32)


def shape(
    rng: np.random.Generator, middle: Float64[np.ndarray, "2"], width: int
) -> tuple[Float32[np.ndarray, "rows columns"], tuple[int, int]]:
    """Coverage of a bar, a polygon or a blob, some with a hole, antialiased, on a canvas that just holds it; its corner."""
    kind, radius = rng.choice(["bar", "polygon", "blob"]), width * rng.uniform(0.05, 0.22)
    if kind == "bar":
        half = np.array([radius * rng.uniform(1, 2.5), max(1.5, radius * rng.uniform(0.06, 0.25))])
        corners = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    else:
        count = int(rng.integers(4, 8)) if kind == "polygon" else 48
        angles = np.linspace(0, 2 * math.pi, count, endpoint=False)
        waves = sum(rng.normal(0, 0.25 / k) * np.cos(k * angles + rng.uniform(0, 2 * math.pi)) for k in range(1, 5))
        spread = rng.uniform(0.6, 1.3, count) if kind == "polygon" else np.maximum(1 + waves, 0.3)
        corners = radius * spread[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    turn = rng.uniform(0, 2 * math.pi)
    corners = corners @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    corner = np.floor(middle + corners.min(0)).astype(int) - SHAPE_MARGIN
    columns, rows = np.ceil(middle + corners.max(0)).astype(int) + SHAPE_MARGIN + 1 - corner
    covered = np.zeros((rows, columns), np.uint8)
    fill(covered, corners + middle - corner, 255)
    if kind != "bar" and rng.random() < 0.25:
        fill(covered, 0.45 * corners + middle - corner, 0)
    return covered.astype(np.float32) / 255, (int(corner[0]), int(corner[1]))


def fill(covered: np.ndarray, corners: Float64[np.ndarray, "corners 2"], value: int) -> None:
    """Fills a polygon, antialiased."""
    fixed = np.rint(STEPS_PER_PX * corners).astype(np.int32)
    cv2.fillPoly(covered, [fixed], value, cv2.LINE_AA, shift=4)
