"""What must hold of whatever was read: finite where it counts, and of the promised shape."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from firstsight.errors import InputError
from firstsight.recordings.recording import Camera, Channel, DepthImage, Recording, Scan
from firstsight.roles.pose_graph import PoseGraph
from firstsight.roles.reconstruction import Reconstruction

# So many frames are decoded; the samples have no more.
LOOKED_AT = 6


def faults_of_recording(recording: Recording) -> Iterator[str]:
    """What is wrong with a recording and the frames that can be decoded; a frame that raises InputError is flagged."""
    for camera in recording.rig.cameras:
        yield from faults_of_camera(camera)
    if recording.rig.lidar is not None and not np.isfinite(recording.rig.lidar.body_from_lidar).all():
        yield "body_from_lidar not finite"
    if (recording.rig.baseline_m or 1.0) <= 0:
        yield "baseline not positive"
    if recording.stamps_ns.dtype != np.int64 or (np.diff(recording.stamps_ns) < 0).any():
        yield "stamps not in order"
    poses = recording.truth.world_from_camera
    if poses is not None and (poses.shape != (len(recording), 4, 4) or np.isinf(poses).any()):
        yield "true poses of another shape or infinite"
    if recording.odometry is not None and recording.odometry.shape != (len(recording), 4, 4):
        yield "odometry of another shape"
    if recording.odometry is not None and np.isinf(recording.odometry).any():
        yield "odometry infinite"
    occupancy = recording.truth.occupancy
    if occupancy is not None and not (np.isfinite(occupancy.origin_m).all() and occupancy.cell_size_m > 0):
        yield "occupancy without a place"
    yield from faults_of_frames(recording)


def faults_of_camera(camera: Camera) -> Iterator[str]:
    k = camera.intrinsics
    if not (np.isfinite(k).all() and k[0, 0] > 0 and k[1, 1] > 0):
        yield "intrinsics not finite or focal length not positive"
    if not np.isfinite(camera.body_from_camera).all():
        yield "body_from_camera not finite"
    if camera.distortion is not None and not np.isfinite(camera.distortion.coefficients).all():
        yield "distortion not finite"


def faults_of_frames(recording: Recording) -> Iterator[str]:
    sizes = {camera.name: camera.size for camera in recording.rig.cameras}
    for name, channel in recording.images.items():
        for image in decoded(channel):
            if image.dtype != np.uint8 or image.shape != (*sizes[name], 3):
                yield "image of another shape or type"
    truth = recording.truth
    for channel in (recording.depth, truth.depth):
        for depth in decoded(channel):
            yield from faults_of_depth(depth)
    for scan in decoded(recording.scans):
        yield from faults_of_scan(scan)
    for flow in decoded(truth.flow):
        if not np.isfinite(flow.flow[flow.valid]).all():
            yield "valid flow not finite"
    for disparity in decoded(truth.disparity):
        if not np.isfinite(disparity.disparity[disparity.valid]).all():
            yield "valid disparity not finite"
    for boxes in decoded(truth.boxes):
        if not all(np.isfinite(box.camera_from_box).all() and np.isfinite(box.size_m).all() for box in boxes):
            yield "boxes not finite"
    for _ in decoded(truth.moving):
        pass


def decoded(channel: Channel[Any] | None) -> Iterator[Any]:
    """The items that can be decoded; others are flagged in a run."""
    for index in range(0 if channel is None else min(len(channel), LOOKED_AT)):
        try:
            yield channel[index]  # ty: ignore
        except InputError as error:
            require_one_line(error)


def require_one_line(error: InputError) -> None:
    if "\n" in str(error).strip("\n") or not str(error):
        raise AssertionError(f"a message of several lines, or of none: {str(error)!r}") from error


def faults_of_depth(depth: DepthImage) -> Iterator[str]:
    if not np.isfinite(depth.depth[depth.valid]).all():
        yield "valid depth not finite"
    elif (depth.depth[depth.valid] <= 0).any():
        yield "valid depth not positive"


def faults_of_scan(scan: Scan | None) -> Iterator[str]:
    if scan is not None and not np.isfinite(scan.points).all():
        yield "points not finite"
    if scan is not None and scan.times_s is not None and len(scan.times_s) != len(scan.points):
        yield "times of points of another number"


def faults_of_graph(graph: PoseGraph) -> Iterator[str]:
    """Poses that a file does not give are NaN; what was measured is finite."""
    parts = (graph.between.a_from_b, graph.between.information, graph.priors.information, graph.sightings.point_node)
    if not all(np.isfinite(part).all() for part in parts):
        yield "measurements not finite"
    if len(graph.between.a) and max(graph.between.a.max(), graph.between.b.max()) >= len(graph.world_from_node):
        yield "an edge to no node"


def faults_of_reconstruction(found: Reconstruction) -> Iterator[str]:
    if not (np.isfinite(found.world_from_camera).all() and np.isfinite(found.lenses.intrinsics).all()):
        yield "cameras not finite"
    if not ((found.lenses.intrinsics[:, [0, 1], [0, 1]] > 0).all() and np.isfinite(found.lenses.radial).all()):
        yield "lenses that are none"
    if not (np.isfinite(found.points_world).all() and np.isfinite(found.observations.pixels).all()):
        yield "points not finite"
