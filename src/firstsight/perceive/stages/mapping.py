"""Maps in the world frame: a coloured cloud, a mesh, an occupancy grid and a graph of places, moving objects left out."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from firstsight.errors import InputError
from firstsight.formats import mesh, occupancy, point_cloud
from firstsight.formats.storage.atomic import write_json
from firstsight.perceive import stage
from firstsight.perceive.stage import Stage
from firstsight.perceive.workspace import Workspace
from firstsight.roles import Depth, Observation
from firstsight.roles.mapping import OccupancyMapper, PlaceMapper, PointMapper, SurfaceMapper
from firstsight.roles.state import State


class MappingStage(Stage):
    """Integrates every frame that has depth and a pose. A frame whose moving objects are unknown is left out."""

    needs = frozenset({stage.TRAJECTORY, stage.SURFACES})
    heeds = frozenset({stage.MOVING_OBJECTS})

    def __init__(self, work: Workspace) -> None:
        super().__init__(work)
        self.moving_known = work.run.objects_path.exists()
        # An instance of the stage's role.
        self.mapper: Any = self.load_method()
        self.frames: list[int] = []

    def process(self, frame: int) -> None:
        observation = self.observe(frame)
        if observation is not None:
            self.mapper.integrate(observation, self.pose(frame))
            self.frames.append(frame)

    def state(self) -> State:
        return {"mapper": self.mapper.state(), "frames": self.frames}

    def restore(self, state: State) -> None:
        self.mapper.restore(state["mapper"])
        self.frames = list(state["frames"])

    def finish(self) -> str:
        if not self.frames:
            raise InputError(
                f"no frame has both a pose and {'depth' if self.work.recording.rig.cameras else 'a sweep'}"
            )
        return self.write()

    @abstractmethod
    def write(self) -> str:
        """Writes the map; returns a remark, as `finish`."""

    def pose(self, frame: int) -> Float64[Tensor, "4 4"]:
        """World from the sensor that the observation comes from: the reference camera, or the LiDAR of a rig without one."""
        rig = self.work.recording.rig
        world_from_sensor = self.work.world_from_camera[frame]
        if not rig.cameras and rig.lidar is not None:
            world_from_sensor = world_from_sensor @ rig.lidar.body_from_lidar
        return torch.from_numpy(world_from_sensor)

    def observe(self, frame: int, with_moving: bool = False) -> Observation | None:
        """The frame with depth of what stands still (`with_moving`: of everything); of a rig without camera, its sweep."""
        if not self.work.has_pose(frame):
            return None
        if not self.work.recording.rig.cameras:
            return self.observe_lidar(frame)
        static, depth = self.static(frame), self.work.depth(frame)
        if depth is None or static is None:
            return None
        return Observation(
            self.work.recording[frame].stamp_ns,
            image=self.work.image(frame),
            intrinsics=self.work.intrinsics,
            depth=depth if with_moving else Depth(depth.depth, depth.valid & static),
        )

    def observe_lidar(self, frame: int) -> Observation | None:
        scan = self.work.recording[frame].scan()
        return scan and Observation(self.work.recording[frame].stamp_ns, points_lidar=torch.from_numpy(scan.points))

    def static(self, frame: int) -> Bool[Tensor, "height width"] | None:
        """Pixels that do not belong to a moving object; None where that is not known."""
        if not self.moving_known:
            return torch.ones(self.work.camera.size, dtype=torch.bool)
        ids = self.work.run.read_moving(frame)
        return None if ids is None else torch.from_numpy(ids == 0)


class CloudStage(MappingStage):
    """map.ply: coloured points."""

    name = "map"
    role = PointMapper
    default = "point-cloud-map"

    def write(self) -> str:
        points, colours = self.mapper.points()
        point_cloud.write_ply(self.work.run.cloud_path, points, colours, "firstsight map, world frame")
        return f"{len(points)} points"


class MeshStage(MappingStage):
    """mesh.ply: a surface, where there is depth."""

    name = "mesh"
    needs = frozenset({stage.TRAJECTORY, stage.DEPTH})
    role = SurfaceMapper
    default = "tsdf"

    def write(self) -> str:
        surface = self.mapper.mesh()
        mesh.write_mesh(self.work.run.mesh_path, surface, "firstsight map, world frame")
        return f"{len(surface.faces)} triangles"


class OccupancyStage(MappingStage):
    """map.pgm. Where the true occupancy is known, a second grid keeps the moving objects in, to measure what they cost."""

    name = "occupancy"
    gives = frozenset({stage.OCCUPANCY})
    role = OccupancyMapper
    default = "occupancy-grid"

    def __init__(self, work: Workspace) -> None:
        super().__init__(work)
        known = work.recording.truth.occupancy is not None
        self.with_moving: OccupancyMapper | None = self.load_method() if known else None

    def process(self, frame: int) -> None:
        super().process(frame)
        observation = None if self.with_moving is None else self.observe(frame, with_moving=True)
        if self.with_moving is not None and observation is not None:
            self.with_moving.integrate(observation, self.pose(frame))

    def state(self) -> State:
        return super().state() | {"with_moving": None if self.with_moving is None else self.with_moving.state()}

    def restore(self, state: State) -> None:
        super().restore(state)
        if self.with_moving is not None:
            self.with_moving.restore(state["with_moving"])

    def write(self) -> str:
        if not self.mapper.occupancy().occupied.size:
            raise InputError("no frame has a point that could be mapped")
        write_grid(self.work.run.occupancy_path, self.mapper)
        if self.with_moving is not None:
            write_grid(with_moving_path(self.work), self.with_moving)
        return ""


def with_moving_path(work: Workspace) -> Path:
    return work.scratch / "with_moving.pgm"


def write_grid(path: Path, grid: OccupancyMapper) -> None:
    result = grid.occupancy()
    occupancy.write_map(path, result.occupied, result.free, result.origin_m, result.cell_size_m)


class PlacesStage(MappingStage):
    """places.json. The graph counts the frames it is given; `frames` says which those are."""

    name = "places"
    role = PlaceMapper
    default = "keyframe-graph"

    def write(self) -> str:
        places = self.mapper.places()
        for node in places["nodes"]:
            node["frame"] = self.frames[node["frame"]]
        write_json(self.work.run.places_path, places)
        return f"{len(places['nodes'])} places, {sum(edge['kind'] == 'shortcut' for edge in places['edges'])} shortcuts"
