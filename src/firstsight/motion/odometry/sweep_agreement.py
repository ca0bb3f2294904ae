"""How well sweeps of a LiDAR lie on each other by a trajectory: which of two trajectories is the better one.

Idea:   by true poses the points of a later sweep lie on the planes that an earlier one saw; what poses are off by, along
        the normals, is seen by surfaces in all directions.
        d = |n . (a_from_b p_b - p_a)| of the nearest p_b, median over points p_a with a plane about them -> disagreement_m()
Units:  metres.
"""

import numpy as np
from jaxtyping import Float64
from scipy.spatial import KDTree

from firstsight.geometry.points import move_points

# points of the earlier sweep that are looked at, and neighbours that make a plane about each
SAMPLES, NEIGHBOURS = 3000, 12
# the plane's thickness over its width, at most
FLAT = 0.2
# farther points are seen too sparsely, nearer ones are the vehicle's own
RANGE_M = (3.0, 40.0)
# farther off it is another surface
MAX_GAP_M = 0.5


def disagreement_m(
    sweep_a: Float64[np.ndarray, "a 3"], sweep_b: Float64[np.ndarray, "b 3"], a_from_b: Float64[np.ndarray, "4 4"]
) -> float:
    """The median distance of b's points from a's planes; NaN where too little of them is in common."""
    points_a, points_b = _within_range(sweep_a), _within_range(sweep_b)
    if len(points_a) < NEIGHBOURS or not len(points_b):
        return float("nan")
    chosen = points_a[np.linspace(0, len(points_a) - 1, min(SAMPLES, len(points_a))).astype(int)]
    around = points_a[KDTree(points_a).query(chosen, NEIGHBOURS)[1]]
    _, widths, axes = np.linalg.svd(around - around.mean(1, keepdims=True), full_matrices=False)
    distance, nearest = KDTree(move_points(points_b, a_from_b)).query(chosen, distance_upper_bound=MAX_GAP_M)
    used = (widths[:, 2] < FLAT * widths[:, 1]) & np.isfinite(distance)
    if not used.any():
        return float("nan")
    gaps = move_points(points_b[nearest[used]], a_from_b) - chosen[used]
    return float(np.median(np.abs(np.einsum("ni,ni->n", gaps, axes[used, 2]))))


def _within_range(points: Float64[np.ndarray, "points 3"]) -> Float64[np.ndarray, "kept 3"]:
    ranges = np.linalg.norm(points, axis=1)
    return points[(ranges > RANGE_M[0]) & (ranges < RANGE_M[1])]
