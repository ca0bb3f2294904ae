"""A two-dimensional map of where there are obstacles and where a robot can go.

Paper:  Moravec, Elfes. High Resolution Maps from Wide Angle Sonar. ICRA 1985; Thrun, Burgard, Fox. Probabilistic Robotics,
        2005, chapter 9 (table 9.1 the update, table 9.2 the inverse sensor model).
Idea:   each cell keeps the log-odds of being occupied; a frame adds to cells where it sees an obstacle and takes from cells
        that its rays cross before they meet one:
        l <- clamp(l + l_hit) or clamp(l + l_miss)                                                -> update()
        Obstacles are points within a band of heights above the ground, which is fitted to each frame: the height that most
        points share, then a plane through the points near it                                     -> ground_plane()
        A cell is hit by `support` points or more, crossed if a ray of one of the bearings passes before its nearest hit. A
        bearing is as many rays as keep within half a cell of each other as far as it reaches            -> rays_of()
Differs: a ray reaches as far as something was seen along its bearing, since a camera that sees nothing there is silent; each
        frame counts once per cell, however many rays cross it; log-odds are clamped, so that the map can change its mind
        (Yguel, Aycard, Laugier 2008, as in OctoMap).
Role:   Mapper.  World z is up; rows grow with y. Lengths in the unit of the depth.
"""

from dataclasses import dataclass
from typing import NamedTuple, final, no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64
from numba import njit
from torch import Tensor

from firstsight.geometry.se3 import transform
from firstsight.mapping.visible import median_distance_m, visible_points
from firstsight.roles import Observation
from firstsight.roles.mapping import OccupancyMap, OccupancyMapper
from firstsight.roles.state import State

BEARINGS = 1440
# a wider image is sampled down to about this many columns
SAMPLED_COLUMNS = 640
# errors of depth images grow with the square of the distance, those of LiDAR do not
DEPTH_REACH, LIDAR_REACH = 1.5, 4.0
MAX_SLOPE = 0.15
# of the points below the camera, for the height they share to be the ground
GROUND_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class Config:
    # None: about 1/50 of the first frame's median distance: 0.2 m outdoors, 0.05 m indoors
    cell_size_m: float | None = None
    # None: DEPTH_REACH or LIDAR_REACH times the first frame's median distance
    max_range_m: float | None = None
    # heights of obstacles, as shares of the camera's height above the ground
    band: tuple[float, float] = (0.2, 1.5)
    # points of one frame that make a cell hit
    support: int = 6
    # log-odds of p = 0.7, and below of p = 0.4: OctoMap's values
    hit: float = 0.85
    miss: float = -0.4
    bounds: tuple[float, float] = (-2.0, 3.5)
    # beyond it the cells double in size
    max_cells: int = 4_000_000


def round_size(size: float) -> float:
    """The largest of 1, 2, 5, 10, ... times a power of ten that is not larger."""
    power = 10.0 ** np.floor(np.log10(size))
    return float(power * max(step for step in (1, 2, 5) if step * power <= size))


class Ground(NamedTuple):
    """z = height + slope . (x, y)."""

    height_m: float
    slope: Float64[np.ndarray, "2"]

    def heights_m(self, points: Float64[np.ndarray, "points 3"]) -> Float64[np.ndarray, " points"]:
        """How far points lie above the ground."""
        return points[:, 2] - points[:, :2] @ self.slope - self.height_m


def ground_plane(
    points: Float64[np.ndarray, "points 3"], origin: Float64[np.ndarray, "3"], tolerance_m: float
) -> Ground | None:
    """The plane near the height that most points below the camera share; None where no height stands out or it is steep."""
    below = points[points[:, 2] < origin[2] - tolerance_m]
    if len(below) < 30:
        return None
    levels = np.floor(below[:, 2] / tolerance_m).astype(np.int64)
    counts = np.bincount(levels - levels.min())
    shared = np.convolve(counts, [1, 1, 1], "same")
    mode = int(shared.argmax())
    if shared[mode] < GROUND_SHARE * len(below):
        return None
    ground = Ground((mode + levels.min() + 0.5) * tolerance_m, np.zeros(2))
    for tolerance in (2 * tolerance_m, tolerance_m, tolerance_m):
        near = below[np.abs(ground.heights_m(below)) < tolerance]
        if len(near) < 30:
            return None
        rows = np.column_stack([near[:, :2] - origin[:2], np.ones(len(near))])
        *slope, height = np.linalg.lstsq(rows, near[:, 2], rcond=None)[0]
        ground = Ground(float(height - origin[:2] @ slope), np.array(slope))
    return ground if np.linalg.norm(ground.slope) < MAX_SLOPE else None


@njit(cache=True)
@no_type_check
def reach_of_bearings(points, is_obstacle, origin, hits, support):
    """How far each bearing is known to be free: to its nearest hit cell, else to the farthest point seen.

    points (n, 2) and origin (2,) in cells; is_obstacle (n,) bool; hits (rows, columns): obstacle points per cell.
    """
    nearest, farthest = np.full(BEARINGS, np.inf), np.zeros(BEARINGS)
    for i in range(len(points)):
        dx, dy = points[i, 0] - origin[0], points[i, 1] - origin[1]
        bearing = int((np.arctan2(dy, dx) / (2 * np.pi) + 0.5) * BEARINGS) % BEARINGS
        distance = np.hypot(dx, dy)
        if not is_obstacle[i]:
            farthest[bearing] = max(farthest[bearing], distance)
        elif hits[int(points[i, 1]), int(points[i, 0])] >= support:
            nearest[bearing] = min(nearest[bearing], distance)
    return np.where(np.isfinite(nearest), nearest, farthest)


@njit(cache=True)
@no_type_check
def rays_of(reach):
    """How many rays a bearing of this reach, in cells, is drawn as: with half a cell between them no cell is missed."""
    return int(np.ceil(4 * np.pi * reach / BEARINGS))


@njit(cache=True)
@no_type_check
def update(log_odds, points, is_obstacle, origin, support, change, bounds):
    """Adds one frame to log_odds (rows, columns) float32: `change` is (hit, miss). points (n, 2) and origin (2,) in cells."""
    hits = np.zeros(log_odds.shape, np.int32)
    crossed = np.zeros(log_odds.shape, np.bool_)
    for i in range(len(points)):
        hits[int(points[i, 1]), int(points[i, 0])] += is_obstacle[i]
    reach = reach_of_bearings(points, is_obstacle, origin, hits, support)
    for bearing in range(BEARINGS):
        rays = rays_of(reach[bearing])
        for ray in range(rays):
            angle = ((bearing + (ray + 0.5) / rays) / BEARINGS - 0.5) * 2 * np.pi
            for step in range(int(2 * reach[bearing])):  # half a cell at a time
                column, row = int(origin[0] + step / 2 * np.cos(angle)), int(origin[1] + step / 2 * np.sin(angle))
                if 0 <= row < crossed.shape[0] and 0 <= column < crossed.shape[1]:
                    crossed[row, column] = True
    for row in range(log_odds.shape[0]):
        for column in range(log_odds.shape[1]):
            if hits[row, column] >= support:
                log_odds[row, column] = min(log_odds[row, column] + change[0], bounds[1])
            elif crossed[row, column]:
                log_odds[row, column] = max(log_odds[row, column] + change[1], bounds[0])


@final
class OccupancyGrid(OccupancyMapper):
    """Integrates the depth of each frame, or its LiDAR points where it has no depth (the pose is then the LiDAR's).

    Where a frame shows no ground, the camera is taken to be as high above it as in the frame before; where none ever did,
    half the median distance of what it sees.
    """

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        self.cell_size_m = self.config.cell_size_m or 0.0  # 0: follows from the first frame, as the next two
        self.max_range_m = self.config.max_range_m or 0.0
        self.camera_height_m = 0.0
        self.log_odds: Float32[np.ndarray, "rows columns"] = np.zeros((0, 0), np.float32)
        self.corner = np.zeros(2, np.int64)  # (column, row) of cell [0, 0], counted from the world's origin

    def integrate(self, observation: Observation, world_from_camera: Float64[Tensor, "4 4"]) -> None:
        distance_m = median_distance_m(observation)
        if distance_m is None:
            return
        self.cell_size_m = self.cell_size_m or round_size(distance_m / 40)
        reach = LIDAR_REACH if observation.depth is None else DEPTH_REACH
        self.max_range_m = self.max_range_m or reach * distance_m
        self.camera_height_m = self.camera_height_m or distance_m / 2
        points_world = transform(world_from_camera, visible_points(observation, SAMPLED_COLUMNS)).numpy()
        self.integrate_points(points_world, world_from_camera[:3, 3].numpy())

    def integrate_points(
        self, points_world: Float64[np.ndarray, "points 3"], origin_world: Float64[np.ndarray, "3"]
    ) -> None:
        """Adds the points seen from one place."""
        near = np.hypot(*(points_world - origin_world).T[:2]) < self.max_range_m
        points = points_world[near]
        ground = ground_plane(points, origin_world, self.cell_size_m / 2)
        if ground is None:
            ground = Ground(float(origin_world[2]) - self.camera_height_m, np.zeros(2))
        self.camera_height_m = float(ground.heights_m(origin_world[None])[0])
        heights = ground.heights_m(points) / self.camera_height_m
        low, high = self.config.band
        kept = (heights > -low) & (heights < high)
        self._update(points[kept, :2], heights[kept] > low, origin_world[:2])

    def occupancy(self) -> OccupancyMap:
        """The map so far: occupied where the log-odds are above 0, free where below."""
        x, y = self.corner * self.cell_size_m
        return OccupancyMap(self.log_odds > 0, self.log_odds < 0, (float(x), float(y)), self.cell_size_m)

    def state(self) -> State:
        return {
            "cell_size_m": self.cell_size_m,
            "max_range_m": self.max_range_m,
            "camera_height_m": self.camera_height_m,
            "log_odds": self.log_odds,
            "corner": self.corner,
        }

    def restore(self, state: State) -> None:
        self.cell_size_m, self.max_range_m = state["cell_size_m"], state["max_range_m"]
        self.camera_height_m = state["camera_height_m"]
        self.log_odds, self.corner = state["log_odds"], state["corner"]

    def _update(
        self,
        points_m: Float64[np.ndarray, "points 2"],
        is_obstacle: Bool[np.ndarray, " points"],
        origin_m: Float64[np.ndarray, "2"],
    ) -> None:
        config = self.config
        self._make_room(np.vstack([points_m, origin_m]))
        cells = np.vstack([points_m, origin_m]) / self.cell_size_m - self.corner
        change = (config.hit, config.miss)
        update(self.log_odds, cells[:-1], is_obstacle, cells[-1], config.support, change, config.bounds)

    def _make_room(self, points_m: Float64[np.ndarray, "points 2"]) -> None:
        """Grows the grid by whole cells to hold the points, doubling the cell size while it would be too large."""
        if not self.log_odds.size:
            self.corner = np.floor(points_m[-1] / self.cell_size_m).astype(np.int64)
        corner, end = self._cells_to_hold(points_m)
        while np.prod(end - corner) > self.config.max_cells:
            self._coarsen()
            corner, end = self._cells_to_hold(points_m)
        grown = np.zeros((end - corner)[::-1], np.float32)
        x, y = self.corner - corner
        rows, columns = self.log_odds.shape
        grown[y : y + rows, x : x + columns] = self.log_odds
        self.log_odds, self.corner = grown, corner

    def _cells_to_hold(self, points_m: Float64[np.ndarray, "points 2"]) -> tuple[np.ndarray, np.ndarray]:
        """First cell and the one past the last, (column, row), of a grid that holds the old one and the points."""
        cells = np.floor(points_m / self.cell_size_m).astype(np.int64)
        end = self.corner + self.log_odds.shape[::-1]
        return np.minimum(cells.min(0), self.corner), np.maximum(cells.max(0) + 1, end)

    def _coarsen(self) -> None:
        """Four cells become one: occupied if any was, else as free as the freest."""
        rows, columns = self.log_odds.shape
        x, y = self.corner % 2
        even = np.pad(self.log_odds, ((y, (rows + y) % 2), (x, (columns + x) % 2)))
        fours = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2)
        most, least = fours.max((1, 3)), fours.min((1, 3))
        self.log_odds = np.where(most > 0, most, least)
        self.corner //= 2
        self.cell_size_m *= 2
