"""What a simulated world consists of: what stands still, what moves by itself, the light, and the vehicle that looks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from firstsight.recordings.simulated.surface import Colour, Surface, Transform


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A thing that moves by itself, made of rigid parts; every pose is a function of time in seconds."""

    object_id: int  # > 0, the same in every frame
    label: str
    size_m: tuple[float, float, float]
    parts: tuple[str, ...]  # names in World.shapes
    world_from_box: Callable[[float], Transform]
    world_from_parts: Callable[[float], Sequence[Transform]]


@dataclass(frozen=True, kw_only=True)
class Landmark:
    """A thing that could move but does not, such as a parked car."""

    object_id: int
    label: str
    size_m: tuple[float, float, float]
    world_from_box: Transform


@dataclass(frozen=True, kw_only=True)
class Light:
    """A distant sun that casts shadows, light from all around, and lamps (world positions) without shadows."""

    towards_sun: tuple[float, float, float] = (0.0, 0.0, 1.0)
    sun: Colour = (0.0, 0.0, 0.0)
    ambient: Colour = (0.4, 0.4, 0.4)
    lamp: Colour = (0.0, 0.0, 0.0)
    lamps_m: tuple[tuple[float, float, float], ...] = ()
    haze_m: float = 1e6  # distance over which a surface takes on the sky's colour


@dataclass(frozen=True, kw_only=True)
class Viewpoint:
    """The sensors that the vehicle carries and how they are sampled."""

    size: tuple[int, int]
    horizontal_fov_rad: float
    baseline_m: float
    body_from_camera: Transform
    body_from_lidar: Transform | None
    rate_hz: float
    frames: int


@dataclass(frozen=True, kw_only=True)
class OdometryNoise:
    """Errors of the measured motion: constant ones that make it drift, and white ones per square root of metre."""

    scale: float
    yaw_rad_per_m: float
    translation_m: float
    yaw_rad: float


@dataclass(frozen=True, kw_only=True)
class World:
    """A world as a pure function of time. `world_from_body` is the identity at time 0 (the body stands on z = 0)."""

    name: str
    static: Surface
    shapes: Mapping[str, Surface]
    actors: Callable[[float], Sequence[Actor]]
    landmarks: Sequence[Landmark]
    world_from_body: Callable[[Float64[np.ndarray, " n"]], Float64[np.ndarray, "n 4 4"]]
    light: Light
    viewpoint: Viewpoint
    odometry: OdometryNoise
    obstacle_height_m: tuple[float, float]
    cell_size_m: float
