"""Maps in the world frame: a coloured cloud, a mesh, an occupancy grid and a graph of places, moving objects left out."""

from pathlib import Path

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from firstsight.formats import mesh, occupancy, point_cloud
from firstsight.formats.atomic import write_json
from firstsight.mapping.keyframes import KeyframeGraph
from firstsight.mapping.occupancy import OccupancyGrid
from firstsight.mapping.point_cloud import PointCloudMap
from firstsight.mapping.tsdf import Tsdf
from firstsight.perceive.stage import Stage
from firstsight.perceive.workspace import Workspace
from firstsight.roles import Depth, Observation


class MappingStage(Stage):
    """Integrates every frame that has depth and a pose. A frame whose moving objects are unknown is left out."""

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.moving_known = work.run.objects_path.exists()

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
    name = "map"
    method = "point-cloud-map"

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.state = PointCloudMap()

    def process(self, frame: int) -> None:
        observation = self.observe(frame)
        if observation is not None:
            self.state.integrate(observation, self.pose(frame))

    def finish(self) -> str:
        points, colours = self.state.points()
        point_cloud.write_ply(self.work.run.cloud_path, points, colours, "firstsight map, world frame")
        return f"{len(points)} points"


class MeshStage(MappingStage):
    name = "mesh"
    method = "tsdf"

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.state = Tsdf()

    def process(self, frame: int) -> None:
        observation = self.observe(frame)
        if observation is not None:
            self.state.integrate(observation, self.pose(frame))

    def finish(self) -> str:
        surface = self.state.mesh()
        mesh.write_mesh(self.work.run.mesh_path, surface, "firstsight map, world frame")
        return f"{len(surface.faces)} triangles"


class OccupancyStage(MappingStage):
    """Where the recording's true occupancy is known, a second grid keeps the moving objects in, to measure what they cost."""

    name = "occupancy"
    method = "occupancy-grid"

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.compare = work.recording.truth.occupancy is not None
        self.state = [OccupancyGrid() for _ in range(1 + self.compare)]

    def process(self, frame: int) -> None:
        for grid, with_moving in zip(self.state, (False, True), strict=False):
            observation = self.observe(frame, with_moving)
            if observation is not None:
                grid.integrate(observation, self.pose(frame))

    def finish(self) -> str:
        write_grid(self.work.run.occupancy_path, self.state[0])
        if self.compare:
            write_grid(with_moving_path(self.work), self.state[1])
        return ""


def with_moving_path(work: Workspace) -> Path:
    return work.scratch / "with_moving.pgm"


def write_grid(path: Path, grid: OccupancyGrid) -> None:
    result = grid.occupancy()
    occupancy.write_map(path, result.occupied, result.free, result.origin_m, result.cell_size_m)


class PlacesStage(MappingStage):
    """The graph counts the frames it is given; `state` also holds which frames those are."""

    name = "places"
    method = "keyframe-graph"

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.state = (KeyframeGraph(), [])

    def process(self, frame: int) -> None:
        graph, frames = self.state
        observation = self.observe(frame)
        if observation is not None:
            graph.integrate(observation, self.pose(frame))
            frames.append(frame)

    def finish(self) -> str:
        graph, frames = self.state
        places = graph.places()
        for node in places["nodes"]:
            node["frame"] = frames[node["frame"]]
        write_json(self.work.run.places_path, places)
        return f"{len(places['nodes'])} places, {sum(edge['kind'] == 'shortcut' for edge in places['edges'])} shortcuts"
