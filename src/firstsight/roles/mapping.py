"""Maps from observations whose poses are known, by what can be read from them."""

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8
from torch import Tensor

from firstsight.roles.motion import Observation
from firstsight.roles.state import Resumable


class Mapper(Resumable):
    """Builds a map from observations whose poses are known; resumable after any of them."""

    @abstractmethod
    def integrate(self, observation: Observation, world_from_camera: Float64[Tensor, "4 4"]) -> None:
        """Adds a frame. The pose is the camera's, or the LiDAR's where the observation has no depth."""


class PointMapper(Mapper):
    """A map whose content is points with colours."""

    @abstractmethod
    def points(self) -> tuple[Float32[np.ndarray, "points 3"], UInt8[np.ndarray, "points 3"]]:
        """The points in the world frame and their RGB colours."""


class Mesh(NamedTuple):
    """Vertices in the world frame with colours; each face lists three vertices counter-clockwise seen from outside."""

    vertices: Float32[np.ndarray, "vertices 3"]
    colours: UInt8[np.ndarray, "vertices 3"]
    faces: Int32[np.ndarray, "faces 3"]


class SurfaceMapper(Mapper):
    """A map whose content is a surface."""

    @abstractmethod
    def mesh(self) -> Mesh:
        """The surface so far, in the world frame."""


class OccupancyMap(NamedTuple):
    """Row i, column j covers x in origin + j cell_size, y in origin + i cell_size; neither occupied nor free: unknown."""

    occupied: Bool[np.ndarray, "rows columns"]
    free: Bool[np.ndarray, "rows columns"]
    origin_m: tuple[float, float]
    cell_size_m: float


class OccupancyMapper(Mapper):
    """A map of the ground plane: where there are obstacles and where a robot can go."""

    @abstractmethod
    def occupancy(self) -> OccupancyMap:
        """The grid so far."""


class PlaceMapper(Mapper):
    """A topological map."""

    @abstractmethod
    def places(self) -> dict[str, Any]:
        """The content of places.json; a node's `frame` counts the calls of `integrate`, from 0."""
