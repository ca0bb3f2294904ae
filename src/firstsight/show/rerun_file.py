"""recording.rrd: a run as one file for the Rerun viewer, streamed frame by frame so that memory stays bounded.

Entities: world (z up) holds map/cloud, map/mesh, map/occupancy, true_trajectory, trajectory (so far), lidar, and camera with
its image, depth and moving objects; flow stands apart, as an image. Timelines: frame, and time since the first stamp. Images are
stored compressed and no wider than 640 px: uncompressed ones make the file some twenty times as large. They are made narrow
before they are coloured, which takes a quarter of the time.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16

from firstsight.errors import InputError
from firstsight.extras import install_command
from firstsight.formats import png
from firstsight.formats.mesh import read_mesh, vertex_normals
from firstsight.formats.occupancy import FREE, OCCUPIED, UNKNOWN, read_map
from firstsight.formats.point_cloud import read_ply
from firstsight.formats.storage.atomic import replacing
from firstsight.recordings.recording import Camera, FlowImage, Recording, Transforms
from firstsight.run_folder import RunFolder
from firstsight.show.colour import colour_flow, flow_scale_px, overlay_ids
from firstsight.show.frame_images import camera_image, read_scan, shown_frames
from firstsight.show.page import shrink
from firstsight.show.path_drawings import read_paths

IMAGE_WIDTH_PX = 640
JPEG_QUALITY = 80
DEPTH_PER_METRE = 256  # of the run folder's depth images
MAX_CLOUD_POINTS = 1_000_000
MAX_SCAN_POINTS = 8_000
MAX_TRAJECTORY_POINTS = 200  # drawn anew in every frame, so bounded
RVIZ_CELLS = {FREE: 0, OCCUPIED: 100, UNKNOWN: 255}  # nav_msgs/OccupancyGrid, -1 as 255
ACCENT, TRUTH = (37, 99, 201), (150, 150, 150)


def write_rerun(run: RunFolder, recording: Recording) -> None:
    """Writes the run's file for Rerun. Raises InputError where rerun-sdk is not installed."""
    rr = import_rerun()
    record = run.read_record()
    with replacing(run.rerun_path) as path:
        stream = rr.RecordingStream("firstsight", recording_id=record.source)
        stream.save(path, default_blueprint=layout(recording))
        writer = Writer(rr, stream, run, recording, "m" if record.scale == "metric" else "units")
        writer.write_static()
        for frame in range(len(recording)):
            writer.write_frame(frame)
        stream.flush()
        stream.disconnect()


def import_rerun() -> ModuleType:
    try:
        import rerun
    except ImportError:
        raise InputError(f"recording.rrd needs rerun-sdk; install it with: {install_command('view')}") from None
    return rerun


def layout(recording: Recording) -> Any:
    """The viewer's first layout: the world large, the images beside it."""
    import rerun.blueprint as rrb

    world = rrb.Spatial3DView(origin="world", name="World")
    if recording.rig.reference is None:
        return rrb.Blueprint(world, collapse_panels=True)
    images = rrb.Vertical(
        rrb.Spatial2DView(origin="world/camera/image", name="Camera", contents=["$origin", "$origin/moving"]),
        rrb.Spatial2DView(origin="world/camera/image/depth", name="Depth"),
        rrb.Spatial2DView(origin="flow", name="Flow"),
    )
    return rrb.Blueprint(rrb.Horizontal(world, images, column_shares=[2, 1]), collapse_panels=True)


class Writer:
    """Logs the parts of a run to a stream, each left out where the run or the recording lacks it."""

    def __init__(self, rr: ModuleType, stream: Any, run: RunFolder, recording: Recording, unit: str):
        self.rr, self.stream = rr, stream
        self.run, self.recording = run, recording
        self.paths = read_paths(run, recording, unit)
        some_flows = [flow for flow in map(run.read_flow, shown_frames(len(recording))) if flow is not None]
        self.full_flow_px = flow_scale_px(some_flows)

    def write_static(self) -> None:
        """What does not change with time."""
        rr = self.rr
        self.stream.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        camera = self.recording.rig.reference
        if camera is not None:
            self.stream.log("world/camera/image", self._pinhole(camera), static=True)
        if self.paths is not None and self.paths.true is not None:
            line = rr.LineStrips3D([known_positions(self.paths.true)], colors=[TRUTH], radii=rr.Radius.ui_points(1))
            self.stream.log("world/true_trajectory", line, static=True)
        if self.run.cloud_path.exists():
            points, colours = read_ply(self.run.cloud_path)
            stride = max(1, -(-len(points) // MAX_CLOUD_POINTS))
            cloud = rr.Points3D(points[::stride], colors=colours[::stride], radii=rr.Radius.ui_points(1.5))
            self.stream.log("world/map/cloud", cloud, static=True)
        if self.run.mesh_path.exists():
            mesh = read_mesh(self.run.mesh_path)
            vertices, colours, faces = mesh
            surface = rr.Mesh3D(
                vertex_positions=vertices,
                vertex_colors=colours,
                vertex_normals=vertex_normals(mesh),
                triangle_indices=faces,
            )
            self.stream.log("world/map/mesh", surface, static=True)
        if self.run.occupancy_path.exists():
            self._write_occupancy()

    def _pinhole(self, camera: Camera) -> Any:
        height, width = camera.size
        scale = min(1.0, IMAGE_WIDTH_PX / width)
        change = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
        return self.rr.Pinhole(
            image_from_camera=change @ camera.intrinsics,
            resolution=[round(width * scale), round(height * scale)],
            camera_xyz=self.rr.ViewCoordinates.RDF,
        )

    def _write_occupancy(self) -> None:
        rr = self.rr
        values, (x_m, y_m), cell_size_m = read_map(self.run.occupancy_path)
        cells = np.zeros_like(values)
        for value, rviz in RVIZ_CELLS.items():
            cells[values == value] = rviz
        rows, columns = values.shape
        grid = rr.GridMap(
            data=cells[::-1].tobytes(),  # an image's first row is the highest y
            format=rr.components.ImageFormat(
                width=columns, height=rows, color_model=rr.ColorModel.L, channel_datatype=rr.ChannelDatatype.U8
            ),
            cell_size=cell_size_m,
            translation=[x_m, y_m, 0.0],
            colormap=rr.components.Colormap.RvizMap,
        )
        self.stream.log("world/map/occupancy", grid, static=True)

    def write_frame(self, frame: int) -> None:
        """Everything of one frame."""
        stamps_ns = self.recording.stamps_ns
        self.stream.set_time("frame", sequence=frame)
        self.stream.set_time("time", duration=np.timedelta64(int(stamps_ns[frame] - stamps_ns[0]), "ns"))
        if self.paths is not None:
            self._write_pose(frame, self.paths.estimated)
        self._write_images(frame)

    def _write_pose(self, frame: int, world_from_camera: Transforms) -> None:
        rr, pose = self.rr, world_from_camera[frame]
        so_far = known_positions(world_from_camera[: frame + 1])
        if len(so_far) > 1:
            chosen = np.linspace(0, len(so_far) - 1, min(len(so_far), MAX_TRAJECTORY_POINTS)).astype(int)
            strip = rr.LineStrips3D([so_far[chosen]], colors=[ACCENT], radii=rr.Radius.ui_points(2))
            self.stream.log("world/trajectory", strip)
        if not np.isfinite(pose).all():
            return
        self.stream.log("world/camera", rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
        scan, rig = read_scan(self.recording, frame), self.recording.rig
        if scan is not None and rig.lidar is not None:
            body_from_camera = rig.reference.body_from_camera if rig.reference is not None else np.eye(4)
            world_from_lidar = pose @ np.linalg.inv(body_from_camera) @ rig.lidar.body_from_lidar
            points = scan.points[:: max(1, -(-len(scan.points) // MAX_SCAN_POINTS))].astype(np.float64)
            points = points @ world_from_lidar[:3, :3].T + world_from_lidar[:3, 3]
            self.stream.log("world/lidar", rr.Points3D(points, colors=[ACCENT], radii=rr.Radius.ui_points(1)))

    def _write_images(self, frame: int) -> None:
        rr, image = self.rr, camera_image(self.recording, frame)
        moving, flow = self.run.read_moving(frame), self.run.read_flow(frame)
        if image is not None:
            self.stream.log("world/camera/image", jpeg(rr, image))
        if self.run.depth_path(frame).exists():
            content = small_depth(self.run.depth_path(frame))
            depth = rr.EncodedDepthImage(content, media_type="image/png", meter=DEPTH_PER_METRE)
            self.stream.log("world/camera/image/depth", depth)
        if moving is not None and image is not None and moving.shape == image.shape[:2]:
            ids = resize_nearest(moving)
            self.stream.log("world/camera/image/moving", tinted(rr, overlay_ids(resized(image, ids.shape), ids), ids))
        if flow is not None:
            valid = resize_nearest(flow.valid.view(np.uint8)).astype(bool)
            small = FlowImage(resize_nearest(flow.flow), valid, valid)
            self.stream.log("flow", jpeg(rr, colour_flow(small, self.full_flow_px)))


def known_positions(world_from_camera: Transforms) -> np.ndarray:
    """Positions (n, 3) of the frames that have a pose."""
    positions = world_from_camera[:, :3, 3]
    return positions[np.isfinite(positions).all(1)]


def jpeg(rr: ModuleType, image: UInt8[np.ndarray, "height width 3"]) -> Any:
    """The image as rerun's compressed image, at the stored width."""
    small = cv2.cvtColor(shrink(image, IMAGE_WIDTH_PX), cv2.COLOR_RGB2BGR)
    done, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return rr.EncodedImage(contents=content.tobytes(), media_type="image/jpeg")


def tinted(
    rr: ModuleType, overlay: UInt8[np.ndarray, "height width 3"], ids: UInt16[np.ndarray, "height width"]
) -> Any:
    """Moving objects as an image that is transparent elsewhere, to lie over the camera's."""
    layer = cv2.cvtColor(np.dstack([overlay, np.where(ids > 0, 255, 0).astype(np.uint8)]), cv2.COLOR_RGBA2BGRA)
    done, content = cv2.imencode(".png", layer)
    assert done
    return rr.EncodedImage(contents=content.tobytes(), media_type="image/png", draw_order=10)


def small_depth(path: Path) -> bytes:
    """The run's 16-bit depth image at the stored width; nearest, since a mean of two depths lies on neither surface."""
    depth = png.read_sixteen_bit(path)
    if depth.shape[1] <= IMAGE_WIDTH_PX:
        return path.read_bytes()
    done, content = cv2.imencode(".png", resize_nearest(depth))
    assert done
    return content.tobytes()


def resized(image: UInt8[np.ndarray, "height width 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "rows columns 3"]:
    """The image at that size, (rows, columns), each pixel the mean of what it covers."""
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def resize_nearest(image: np.ndarray) -> np.ndarray:
    """The image (height, width[, channels]) at no more than the stored width."""
    height, width = image.shape[:2]
    scale = min(1.0, IMAGE_WIDTH_PX / width)
    return cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_NEAREST)
