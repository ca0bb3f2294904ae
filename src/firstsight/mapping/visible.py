"""What a frame shows, whichever sensor saw it: the part that all maps share."""

import torch
from jaxtyping import Float64
from torch import Tensor

from firstsight.geometry.camera import unproject
from firstsight.roles import Observation


def visible_points(observation: Observation, columns: int) -> Float64[Tensor, "points 3"]:
    """Points in the sensor's frame: the valid depth sampled down to about so many columns, else all LiDAR points, else none."""
    if observation.depth is None or observation.intrinsics is None:
        none = torch.zeros(0, 3, dtype=torch.float64)
        return none if observation.points_lidar is None else observation.points_lidar.double()
    points = unproject(observation.depth.depth, observation.intrinsics[None])[0].permute(1, 2, 0)
    stride = max(1, round(points.shape[1] / columns))
    return points[::stride, ::stride][observation.depth.valid[0, 0, ::stride, ::stride]].double()


def median_distance_m(observation: Observation) -> float | None:
    """Median depth of the valid pixels, or median range of the LiDAR points; None where the frame shows neither.

    In the unit of the depth, which is metres only where the scale is known.
    """
    if observation.depth is not None:
        distances = observation.depth.depth[observation.depth.valid]
    elif observation.points_lidar is not None:
        distances = observation.points_lidar.norm(dim=-1)
    else:
        return None
    return float(distances.median()) if len(distances) else None
