"""Joint adjustment: keyframes and landmarks that agree best with where landmarks were seen and how far away they were.

Paper:  Mur-Artal, Tardos. ORB-SLAM2. T-RO 33(5), 2017, section III-D (full bundle adjustment after a loop).
Idea:   the adjustment of a window, over all keyframes and with another kernel                     window_adjustment.py
Differs: the kernel bounds what moving things can do, whose features agree with no still landmark.
Role:   what follows a closed loop: a pose graph keeps only what pairs of keyframes say, this keeps every sighting.
Units:  metres, or the unit of the given poses; residuals in sigmas.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from firstsight.optimisation import window_adjustment
from firstsight.optimisation.bundle.camera_model import Measurements
from firstsight.optimisation.robust_kernels import Kernel
from firstsight.optimisation.window_adjustment import Adjusted, Window


@dataclass(frozen=True, kw_only=True)
class Config(window_adjustment.Config):
    kernel: Kernel = Kernel.CAUCHY
    max_iterations: int = 30
    relative_tolerance: float = 1e-5


def adjust(
    world_from_camera: Float64[np.ndarray, "cameras 4 4"],
    points_world: Float64[np.ndarray, "points 3"],
    measurements: Measurements,
    intrinsics: Float64[np.ndarray, "3 3"],
    fixed: Bool[np.ndarray, " cameras"],
    config: Config | None = None,
) -> Adjusted:
    """Least robust cost near the given poses and points.

    Points must be seen by two cameras, or by one that measured their depth; every camera that is not fixed sees some.
    """
    window = Window(world_from_camera, points_world, measurements, intrinsics, fixed)
    return window_adjustment.adjust(window, config or Config())
