"""What a robot in the plane measures: how far it moved, and where landmarks are seen; with what that leaves unsure.

Units:  metres and radians, angles from -pi to pi, float64. Frames are those of bodies: x forward, y left, bearings to the
        left. Odometry noise is a random walk: its variance grows with the distance and the angle, however they are cut
        into steps.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float64, Int64

from firstsight.errors import InputError

Pose = Float64[np.ndarray, "3"]
"""x, y, heading; of a motion: forward, left, turn."""
Observations = Float64[np.ndarray, "seen 2"]
"""Range, bearing."""
Indices = Int64[np.ndarray, " seen"]
Ids = Int64[np.ndarray, " ids"]
"""One for each observation, but not known to be."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """One sigma each. The gates are probabilities: of a true pair to lie inside."""

    forward_sigma_m_per_sqrt_m: float = 0.05
    sideways_sigma_m_per_sqrt_m: float = 0.02
    turn_sigma_rad_per_sqrt_m: float = 0.01
    turn_sigma_rad_per_sqrt_rad: float = 0.02
    range_sigma_m: float = 0.1
    bearing_sigma_rad: float = 0.02
    gate_probability: float = 0.99
    new_probability: float = 0.999999  # a landmark is new if it lies outside this gate of all others
    ambiguity_margin: float = 6.0  # d^2 by which a second reading must be worse: odds of 20 to 1

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            top = 1 if field.name.endswith("probability") else np.inf
            if not 0 < value < top:
                raise InputError(f"{field.name} = {value:g}: choose a number between 0 and {top:g}")
        if self.gate_probability > self.new_probability:
            raise InputError(f"new_probability = {self.new_probability:g}: must not be below gate_probability")


def motion_covariance(motion: Pose, config: Config) -> Float64[np.ndarray, "3 3"]:
    """M, the covariance of a measured motion."""
    distance_m, angle_rad = np.hypot(motion[0], motion[1]), abs(motion[2])
    forward = config.forward_sigma_m_per_sqrt_m**2 * distance_m
    sideways = config.sideways_sigma_m_per_sqrt_m**2 * distance_m
    turn = config.turn_sigma_rad_per_sqrt_m**2 * distance_m + config.turn_sigma_rad_per_sqrt_rad**2 * angle_rad
    return np.diag([forward, sideways, turn])


def observation_covariance(config: Config) -> Float64[np.ndarray, "2 2"]:
    """R of one observation."""
    return np.diag([config.range_sigma_m**2, config.bearing_sigma_rad**2])


def check(motion: Pose, observations: Observations, ids: Ids | None) -> None:
    """Raises InputError for what cannot have been measured."""
    if not np.isfinite(motion).all():
        raise InputError("odometry is not finite: leave the step out or measure it again")
    wrong = ~(np.isfinite(observations).all(1) & (observations[:, 0] > 0))
    if wrong.any():
        k = int(wrong.argmax())
        raise InputError(f"observation {k}: its range must be above 0 and both numbers finite; leave it out")
    if ids is not None and len(ids) != len(observations):
        raise InputError(f"{len(ids)} ids for {len(observations)} observations: give one each")
    if ids is not None and len(np.unique(ids)) < len(ids):
        raise InputError("a landmark is observed twice in one scan: give its mean")
