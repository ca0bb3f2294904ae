"""A topological map: places that were passed, and how one gets from one to the other.

Paper:  Savinov, Dosovitskiy, Koltun. Semi-parametric Topological Memory for Navigation. ICLR 2018 (section 3.2, the graph);
        descriptors as the tiny images of Milford, Wyeth. SeqSLAM. ICRA 2012 (section III-B).
Idea:   a frame becomes a place when the view has changed enough since the last place; consecutive places are joined by
        travel edges, and a place that one returns to by a shortcut edge, so that paths need not retrace the walk:
        new     = moved > travel_share distance  or  turned > turn_rad  or  overlap < min_overlap    -> moved_on()
        overlap = share of the last place's points that the frame has in view                        -> overlap()
        shortcut to the most similar place that is near, faces the same way, and was left long ago   -> shortcut()
Differs: similarity is the normalised correlation of thumbnails and nearness comes from the poses, where the paper learns a
        network that judges both from the images; two places that look alike but lie apart are never joined, and no median
        smoothing along the walk is needed.
Role:   Mapper.  Lengths are relative to how far away things are, so the scale may be unknown.
"""

from dataclasses import dataclass
from typing import Any, final

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from firstsight.geometry.camera import project
from firstsight.geometry.images import to_grey
from firstsight.geometry.se3 import inverse, so3_log, transform
from firstsight.mapping.visible import median_distance_m, visible_points
from firstsight.roles import Observation
from firstsight.roles.mapping import PlaceMapper
from firstsight.roles.state import State

THUMBNAIL = (16, 12)  # width, height
SAMPLED_COLUMNS = 32  # points of a place: its depth sampled down to so many columns


@dataclass(frozen=True, kw_only=True)
class Config:
    travel_share: float = 0.25  # of the median distance to what the last place shows
    turn_rad: float = 0.35
    min_overlap: float = 0.7
    near_share: float = 0.25  # of the median distance: places this near are one place
    min_similarity: float = 0.7  # correlation of thumbnails that confirms it


@dataclass(frozen=True, kw_only=True)
class Place:
    """A keyframe; `distance_m` is the median distance to what it shows."""

    frame: int
    world_from_camera: Float64[Tensor, "4 4"]
    descriptor: Float32[np.ndarray, " values"]
    distance_m: float


@dataclass(frozen=True, kw_only=True)
class Shortcut:
    """`a` and `b` count places, a < b."""

    a: int
    b: int


def thumbnail(observation: Observation) -> Float32[np.ndarray, " values"]:
    """The blurred, tiny grey image of a frame, or its LiDAR points counted by direction and range; zero mean, unit norm."""
    if observation.image is not None:
        tiny = cv2.resize(to_grey(observation.image), THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32)
        values = cv2.GaussianBlur(tiny, (3, 3), 0).ravel()
    else:
        assert observation.points_lidar is not None
        x, y, _ = observation.points_lidar.double().numpy().T
        counts, _, _ = np.histogram2d(np.arctan2(y, x), np.log1p(np.hypot(x, y)), THUMBNAIL, ((-np.pi, np.pi), (0, 5)))
        values = np.sqrt(counts).astype(np.float32).ravel()
    centred = values - values.mean()
    return centred / max(float(np.linalg.norm(centred)), 1e-6)


def overlap(
    points_world: Float64[Tensor, "points 3"], observation: Observation, world_from_camera: Float64[Tensor, "4 4"]
) -> float:
    """Share of the points that lie in the frame's view; 1 where there is no image plane to tell."""
    if observation.depth is None or observation.intrinsics is None or not len(points_world):
        return 1.0
    points = transform(inverse(world_from_camera), points_world)
    height, width = observation.depth.depth.shape[-2:]
    x, y = project(points, observation.intrinsics).unbind(-1)
    inside = (points[:, 2] > 0) & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return float(inside.double().mean())


def turned_rad(b_from_a: Float64[Tensor, "*places 4 4"]) -> Float64[Tensor, "*places"]:
    return so3_log(b_from_a[..., :3, :3]).norm(dim=-1)


def moved_on(place: Place, world_from_camera: Float64[Tensor, "4 4"], config: Config) -> bool:
    """Whether the camera has gone or turned so far from the place that the view differs."""
    place_from_camera = inverse(place.world_from_camera) @ world_from_camera
    return bool(
        place_from_camera[:3, 3].norm() > config.travel_share * place.distance_m
        or turned_rad(place_from_camera) > config.turn_rad
    )


def shortcut(places: list[Place], config: Config) -> Shortcut | None:
    """The edge from the last place to the most similar one that was passed before, if it has been left in between."""
    here = places[-1]
    place_from_here = inverse(torch.stack([place.world_from_camera for place in places])) @ here.world_from_camera
    apart = place_from_here[:, :3, 3].norm(dim=-1) / torch.tensor([place.distance_m for place in places])
    near = ((apart < config.near_share) & (turned_rad(place_from_here) < config.turn_rad)).numpy()
    if near.all():
        return None
    similarity = np.stack([place.descriptor for place in places]) @ here.descriptor
    similarity[~near] = -1
    similarity[np.flatnonzero(~near)[-1] :] = -1  # not left since
    best = int(similarity.argmax())
    return Shortcut(a=best, b=len(places) - 1) if similarity[best] > config.min_similarity else None


@final
class KeyframeGraph(PlaceMapper):
    """Places in the order in which they were passed. `frame` counts the calls of integrate, from 0."""

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        self.frames = 0
        self.nodes: list[Place] = []
        self.points_world = torch.zeros(0, 3, dtype=torch.float64)  # a few that the last place shows
        self.shortcuts: list[Shortcut] = []

    def integrate(self, observation: Observation, world_from_camera: Float64[Tensor, "4 4"]) -> None:
        frame, self.frames = self.frames, self.frames + 1
        distance_m = median_distance_m(observation)
        if distance_m is None:
            return
        if self.nodes and not self._is_new(observation, world_from_camera):
            return
        place = Place(
            frame=frame,
            world_from_camera=world_from_camera,
            descriptor=thumbnail(observation),
            distance_m=distance_m,
        )
        self.points_world = transform(world_from_camera, visible_points(observation, SAMPLED_COLUMNS))
        self.nodes.append(place)
        found = shortcut(self.nodes, self.config)
        if found is not None:
            self.shortcuts.append(found)

    def state(self) -> State:
        """What grows are the places."""
        places = [
            {
                "frame": place.frame,
                "world_from_camera": place.world_from_camera.numpy(),
                "descriptor": place.descriptor,
                "distance_m": place.distance_m,
            }
            for place in self.nodes
        ]
        return {
            "frames": self.frames,
            "points_world": self.points_world.numpy(),
            "shortcuts": [[edge.a, edge.b] for edge in self.shortcuts],
            "grows": places,
        }

    def restore(self, state: State) -> None:
        self.frames = state["frames"]
        self.points_world = torch.from_numpy(state["points_world"])
        self.shortcuts = [Shortcut(a=a, b=b) for a, b in state["shortcuts"]]
        self.nodes = [
            Place(**place | {"world_from_camera": torch.from_numpy(place["world_from_camera"])})
            for place in state["grows"]
        ]

    def _is_new(self, observation: Observation, world_from_camera: Float64[Tensor, "4 4"]) -> bool:
        """Whether the frame shows enough that the last place does not."""
        shared = overlap(self.points_world, observation, world_from_camera)
        return shared < self.config.min_overlap or moved_on(self.nodes[-1], world_from_camera, self.config)

    def places(self) -> dict[str, Any]:
        """The content of places.json: nodes, edges with their length in the unit of the poses, and descriptors by id."""
        travel = [self._edge(i, i + 1, "travel") for i in range(len(self.nodes) - 1)]
        return {
            "nodes": [
                {"id": i, "frame": place.frame, "world_from_camera": place.world_from_camera.tolist(), "descriptor": i}
                for i, place in enumerate(self.nodes)
            ],
            "edges": travel + [self._edge(edge.a, edge.b, "shortcut") for edge in self.shortcuts],
            "descriptors": [[round(float(value), 4) for value in place.descriptor] for place in self.nodes],
        }

    def _edge(self, a: int, b: int, kind: str) -> dict[str, Any]:
        gap = self.nodes[a].world_from_camera[:3, 3] - self.nodes[b].world_from_camera[:3, 3]
        return {"a": a, "b": b, "kind": kind, "length_m": float(gap.norm())}
