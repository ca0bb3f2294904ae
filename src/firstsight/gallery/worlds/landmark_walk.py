"""A walk around a block past landmarks, as odometry and a sensor of range and bearing report it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from firstsight.slam.landmarks.ekf import Config, EkfSlam, State, expected, motion_covariance, moved

STEP_M = 1.0
LENGTH_M, WIDTH_M = 20.0, 12.0  # of the straight sides
CORNER_STEPS = 6  # of a quarter turn
LANDMARK_EVERY_M, OFFSETS_M = 3.0, (1.5, -3.5)  # along the way, to its left and right in turn
REACH_M, HALF_VIEW_RAD = 8.0, np.radians(100)  # of the sensor
LOST_STEPS = 40  # without a landmark, before seeing it again closes a loop


class Sighting(NamedTuple):
    """One scan: range and bearing, and which landmarks they are of."""

    ids: Int64[np.ndarray, " seen"]
    observations: Float64[np.ndarray, "seen 2"]


class Walk(NamedTuple):
    """The true robot, from its start on, and what was measured: a motion and a scan for each step."""

    landmarks: Float64[np.ndarray, "landmarks 2"]
    robots: Float64[np.ndarray, "steps+1 3"]
    motions: Float64[np.ndarray, "steps 3"]
    sightings: tuple[Sighting, ...]


def true_motions(laps: float, stretch: int = 1) -> Float64[np.ndarray, "steps 3"]:
    """Goes around a rectangle with round corners, anticlockwise from the start of a long side; `stretch` makes it longer."""
    corner = [(STEP_M, 0.0, np.pi / 2 / CORNER_STEPS)] * CORNER_STEPS
    straight = [[(STEP_M, 0.0, 0.0)] * round(stretch * side_m / STEP_M) for side_m in (LENGTH_M, WIDTH_M)]
    lap = 2 * (straight[0] + corner + straight[1] + corner)
    steps = round(laps * len(lap))
    return np.resize(np.array(lap), (steps, 3))


def travelled(motions: Float64[np.ndarray, "steps 3"]) -> Float64[np.ndarray, "steps+1 3"]:
    """Motions joined from the origin on: the truth, or odometry alone."""
    robots = [np.zeros(3)]
    for motion in motions:
        robots.append(moved(robots[-1], motion))
    return np.array(robots)


def placed_landmarks(stretch: int = 1) -> Float64[np.ndarray, "landmarks 2"]:
    """Places landmarks beside the way, at least 2 m from each other."""
    every = round(LANDMARK_EVERY_M / STEP_M)
    beside = travelled(true_motions(1.0, stretch))[:-1:every]
    offsets = np.resize(OFFSETS_M, len(beside))
    return beside[:, :2] + offsets[:, None] * np.stack([-np.sin(beside[:, 2]), np.cos(beside[:, 2])], 1)


def sight(
    robot: Float64[np.ndarray, "3"], landmarks: Float64[np.ndarray, "n 2"], config: Config, rng: np.random.Generator
) -> Sighting:
    """What is in reach and in view, with noise."""
    exact = expected(robot, landmarks)
    ids = np.flatnonzero((exact[:, 0] < REACH_M) & (abs(exact[:, 1]) < HALF_VIEW_RAD))
    noise = rng.normal(size=(len(ids), 2)) * [config.range_sigma_m, config.bearing_sigma_rad]
    return Sighting(ids, exact[ids] + noise)


def walk(config: Config, seed: int = 0, laps: float = 1.25, stretch: int = 1) -> Walk:
    """The same way and landmarks for all seeds; the noise is that of the filter's models."""
    rng = np.random.default_rng(seed)
    exact, landmarks = true_motions(laps, stretch), placed_landmarks(stretch)
    sigmas = np.sqrt([np.diag(motion_covariance(motion, config)) for motion in exact])
    robots = travelled(exact)
    sightings = tuple(sight(robot, landmarks, config, rng) for robot in robots[1:])
    return Walk(landmarks, robots, exact + rng.normal(size=exact.shape) * sigmas, sightings)


def followed(seen: Walk, slam: EkfSlam, *, known: bool = True) -> list[State]:
    """The filter's state after each step, told which landmarks it sees or not."""
    states = []
    for motion, (ids, observations) in zip(seen.motions, seen.sightings, strict=True):
        slam.step(motion, observations, ids if known else None)
        states.append(slam.estimate)
    return states


def closing_step(seen: Walk) -> int:
    """The first step whose scan holds a landmark that was out of sight for long."""
    last_seen: dict[int, int] = {}
    for step, sighting in enumerate(seen.sightings):
        for name in sighting.ids.tolist():
            if step - last_seen.get(name, step) > LOST_STEPS:
                return step
            last_seen[name] = step
    raise ValueError("the walk closes no loop")
