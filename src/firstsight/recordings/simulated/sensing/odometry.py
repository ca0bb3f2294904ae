"""What wheel odometry would report of a motion: true steps with a constant bias, which drifts, and white noise."""

import numpy as np
from jaxtyping import Float64

from firstsight.recordings.simulated.scene import OdometryNoise
from firstsight.recordings.simulated.surface import moved


def measured(
    world_from_body: Float64[np.ndarray, "frames 4 4"], noise: OdometryNoise, seed: int
) -> Float64[np.ndarray, "frames 4 4"]:
    """Odometry poses, equal to the truth in the first frame; frame i does not depend on how many follow."""
    poses = [world_from_body[0]]
    for i in range(1, len(world_from_body)):
        step = np.linalg.inv(world_from_body[i - 1]) @ world_from_body[i]
        length = float(np.linalg.norm(step[:3, 3]))
        x, y, yaw = np.random.default_rng((seed, i, 2)).standard_normal(3) * np.sqrt(length)
        error = moved(
            noise.scale * length + noise.translation_m * x,
            noise.translation_m * y,
            yaw_rad=noise.yaw_rad_per_m * length + noise.yaw_rad * yaw,
        )
        poses.append(poses[-1] @ step @ error)
    return np.stack(poses)
