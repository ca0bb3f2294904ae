"""The report's drawings of where the camera went: the plan over the map, the map's image, and values along the way."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from firstsight.errors import InputError
from firstsight.evaluation.trajectory import align_trajectories, apply, has_pose
from firstsight.formats.occupancy import FREE, OCCUPIED, UNKNOWN, read_map
from firstsight.formats.point_cloud import read_ply
from firstsight.formats.trajectory import on_frames
from firstsight.recordings.recording import Recording, Transforms
from firstsight.run_folder import RunFolder
from firstsight.show.cloud_image import draw_cloud
from firstsight.show.figures import ACCENT, INK, LOOP, MUTED, WARM, Backdrop, Line, chart, plan
from firstsight.show.page import data_address, figure, image_tag, legend

CHART_SAMPLES = 100  # frames read for the values along the way
# RGBA by cell: light enough for either page colour
CELL_COLOURS = {FREE: (127, 140, 160, 56), OCCUPIED: (100, 116, 139, 255), UNKNOWN: (0, 0, 0, 0)}


@dataclass(frozen=True, kw_only=True)
class Paths:
    """world_from_camera by frame, all in the world of the run's map; NaN where a frame has none."""

    estimated: Transforms
    true: Transforms | None
    odometry: Transforms | None
    unit: str
    without_loops: Transforms | None = None
    loops: tuple[tuple[int, int], ...] = ()
    breaks: tuple[tuple[int, int], ...] = ()  # frames between which the motion was not measured


def read_paths(run: RunFolder, recording: Recording, unit: str) -> Paths | None:
    """None where the run has no trajectory. Truth is laid over the estimate by least squares, odometry by the first pose."""
    rows = run.read_trajectory()
    if rows is None or not len(rows[0]):
        return None
    estimated = on_frames(*rows, recording.stamps_ns)
    true = _laid_over(recording.truth.world_from_camera, estimated, "se3" if unit == "m" else "sim3")
    camera, odometry = recording.rig.reference, recording.odometry
    if camera is not None and odometry is not None:
        odometry = odometry @ camera.body_from_camera
    loops, before = tuple(run.read_loops(len(recording))), run.read_odometry()
    return Paths(
        without_loops=on_frames(*before, recording.stamps_ns) if before is not None and loops else None,
        loops=loops,
        breaks=broken_between(run.read_segments(), estimated),
        estimated=estimated,
        true=true,
        odometry=_laid_over(odometry, estimated if true is None else true, "first"),
        unit=unit,
    )


def broken_between(segments: Int64[np.ndarray, " rows"] | None, estimated: Transforms) -> tuple[tuple[int, int], ...]:
    """The frames before and after each change of segment, of a trajectory with a row for each frame that has a pose."""
    known = np.flatnonzero(has_pose(estimated))
    if segments is None or len(segments) != len(known):
        return ()
    changes = np.flatnonzero(np.diff(segments))
    return tuple((int(known[i]), int(known[i + 1])) for i in changes)


def _laid_over(poses: Transforms | None, onto: Transforms, alignment) -> Transforms | None:
    """The poses in the other ones' world; None where there are none or too few in common."""
    if poses is None:
        return None
    try:
        return apply(align_trajectories(poses, onto, alignment), poses)
    except InputError:
        return None


def plan_figure(run: RunFolder, paths: Paths) -> str:
    """The plan: trajectory, truth and raw odometry over the occupancy map, with its legend."""
    backdrop = occupancy_backdrop(run) if run.occupancy_path.exists() else None
    lines, keys = [Line("estimated trajectory", paths.estimated[:, :2, 3], ACCENT, width=2.6)], [("", "estimated")]
    if paths.without_loops is not None:
        lines.append(Line("before its loops were closed", paths.without_loops[:, :2, 3], MUTED, "2 4", 1.8))
        lines.append(Line("loops", loop_edges(paths), LOOP, width=1.4))
        keys += [("open", "before its loops were closed"), ("loop", "loops: one place, seen twice")]
    if paths.breaks:
        lines.append(Line("breaks", edges(paths.estimated, paths.breaks), WARM, "2 6", 2.2))
        keys.append(("break", "broken: the motion between was not measured"))
    if paths.true is not None:
        lines.append(Line("true trajectory", paths.true[:, :2, 3], INK, "5 5", 1.6))
        keys.append(("truth", "true, laid over by least squares"))
    if paths.odometry is not None:
        lines.append(Line("raw odometry", paths.odometry[:, :2, 3], WARM, "1 5", 2.2))
        keys.append(("odometry", "raw odometry, from the same start"))
    if backdrop is not None:
        keys += [("occupied", "occupied"), ("free", "free")]
    drawing = plan(lines, backdrop, paths.unit, "The way of the camera from above, over the map")
    return figure(drawing, legend(keys), "plan")


def loop_edges(paths: Paths) -> np.ndarray:
    """(3 per loop, 2): from where the camera seemed to be at each of two visits to the other, before; then an interruption."""
    assert paths.without_loops is not None
    return edges(paths.without_loops, paths.loops)


def edges(poses: Transforms, pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
    """(3 per pair, 2): from above, from one frame to the other; then an interruption."""
    ends = poses[np.array(pairs)][:, :, :2, 3]
    return np.concatenate([ends, np.full((len(ends), 1, 2), np.nan)], 1).reshape(-1, 2)


def occupancy_backdrop(run: RunFolder) -> Backdrop | None:
    """The known part of the occupancy map as an image; None where nothing is known."""
    values, origin_m, cell_m = read_map(run.occupancy_path)
    rows, columns = np.nonzero(values != UNKNOWN)
    if not len(rows):
        return None
    top, bottom = rows.max() + 1, rows.min()
    left, right = columns.min(), columns.max() + 1
    known = values[bottom:top, left:right]
    return Backdrop(
        data_address(colour_cells(known)[::-1], "png"),
        (origin_m[0] + float(left) * cell_m, origin_m[1] + float(bottom) * cell_m),
        (origin_m[0] + float(right) * cell_m, origin_m[1] + float(top) * cell_m),
    )


def colour_cells(values: UInt8[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "rows columns 4"]:
    """RGBA of an occupancy grid."""
    image = np.zeros((*values.shape, 4), np.uint8)
    for value, colour in CELL_COLOURS.items():
        image[values == value] = colour
    return image


def cloud_figure(run: RunFolder, paths: Paths) -> str:
    """The map's cloud with the trajectory in it; empty where there is no cloud."""
    if not run.cloud_path.exists():
        return ""
    points, colours = read_ply(run.cloud_path)
    known = paths.estimated[has_pose(paths.estimated)]
    if not len(points) or not len(known):
        return ""
    image = draw_cloud(points, colours, known)
    left_out = ", moving objects left out" if run.moving_path(0).exists() else ""
    return figure(
        image_tag(image, "the map as a coloured point cloud"),
        f"The map: {len(points):,} coloured points{left_out}. Red: the way of the camera.",
    )


def charts(run: RunFolder, recording: Recording, paths: Paths | None) -> Iterator[str]:
    """Small multiples of values along the recording."""
    seconds = (recording.stamps_ns - recording.stamps_ns[0]) / 1e9
    if paths is not None and len(seconds) > 2:
        yield from _path_charts(seconds, paths)
    frames = np.unique(np.linspace(0, len(recording) - 1, min(CHART_SAMPLES, len(recording))).astype(int))
    values = np.array([_frame_values(run, int(frame)) for frame in frames])
    captions = ("Pixels with a depth (%)", "Median flow (px per frame)", "Pixels on moving objects (%)")
    for caption, column in zip(captions, values.T, strict=True):
        if np.isfinite(column).sum() > 2:
            yield _chart(caption, np.stack([seconds[frames], column], 1), ACCENT)


def _path_charts(seconds: np.ndarray, paths: Paths) -> Iterator[str]:
    if paths.true is not None:
        error = np.linalg.norm(paths.estimated[:, :3, 3] - paths.true[:, :3, 3], axis=1)
        yield _chart(f"Distance to the true position ({paths.unit})", np.stack([seconds, error], 1), ACCENT)
    steps = np.linalg.norm(np.diff(paths.estimated[:, :3, 3], axis=0), axis=1)
    passed = np.diff(seconds)
    speed = np.divide(steps, passed, out=np.full_like(steps, np.nan), where=passed > 0)
    yield _chart(f"Speed ({paths.unit}/s)", np.stack([seconds[1:], speed], 1), ACCENT)
    height = paths.estimated[:, 2, 3] - paths.estimated[0, 2, 3]
    yield _chart(f"Height above the start ({paths.unit})", np.stack([seconds, height], 1), ACCENT)


def _chart(caption: str, points: np.ndarray, colour: str) -> str:
    return figure(chart([Line(caption, points, colour, width=1.8)], caption, "s"), caption)


def _frame_values(run: RunFolder, frame: int) -> tuple[float, float, float]:
    """Share of pixels with depth (%), median flow (px), share of moving pixels (%); NaN for what there is not."""
    depth, flow, moving = run.read_depth(frame), run.read_flow(frame), run.read_moving(frame)
    length = np.linalg.norm(flow.flow[flow.valid], axis=-1) if flow is not None else np.zeros(0)
    return (
        100 * float(depth.valid.mean()) if depth is not None else np.nan,
        float(np.median(length)) if len(length) else np.nan,
        100 * float((moving > 0).mean()) if moving is not None else np.nan,
    )
