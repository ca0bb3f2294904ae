"""The report's images: a few frames of the recording beside what was made of them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from firstsight.errors import InputError
from firstsight.recordings.recording import Image, Recording, Scan
from firstsight.run_folder import RunFolder
from firstsight.show.colour import (
    DepthScale,
    colour_depth,
    colour_flow,
    depth_scale,
    depth_table,
    flow_scale_px,
    flow_wheel,
    overlay_ids,
)
from firstsight.show.figures import depth_legend
from firstsight.show.page import figure, image_tag, shrink

FRAMES_SHOWN = 4
WIDE_ASPECT = 1.7  # wider images stand two in a row, others four
SCAN_IMAGE_PX = 480


class Scales(NamedTuple):
    """What the colours mean, the same in all images of a report."""

    depth: DepthScale
    full_flow_px: float
    unit: str


def shown_frames(frames: int) -> list[int]:
    """A few frames, evenly spread, away from the ends."""
    count = min(FRAMES_SHOWN, frames)
    return [int((i + 0.5) * frames / count) for i in range(count)]


def frame_images(run: RunFolder, recording: Recording, unit: str) -> str:
    """HTML of all images with their legends; empty where there is nothing to see. `unit` is the unit of depth."""
    frames = shown_frames(len(recording))
    depths = [depth for depth in map(run.read_depth, frames) if depth is not None]
    flows = [flow for flow in map(run.read_flow, frames) if flow is not None]
    scales = Scales(depth_scale(depths), flow_scale_px(flows), unit)
    shown = {frame: list(_images(run, recording, frame, scales)) for frame in frames}
    shown = {frame: images for frame, images in shown.items() if images}
    if not shown:
        return ""
    seconds = (recording.stamps_ns - recording.stamps_ns[0]) / 1e9
    blocks = "".join(_frame(frame, float(seconds[frame]), images) for frame, images in shown.items())
    return f'{_legends(scales, bool(depths), bool(flows))}<div class="{_layout(shown.values())}">{blocks}</div>'


def _layout(shown: Iterable[Sequence[tuple[str, Image]]]) -> str:
    """Two frames stand side by side where each has few images."""
    if all(len(images) == 1 for images in shown):
        return "frames pairs single"
    few = all(len(images) <= 2 and not is_wide(images[0][1]) for images in shown)
    return "frames pairs" if few else "frames"


def _legends(scales: Scales, depth: bool, flow: bool) -> str:
    keys = []
    if depth:
        keys.append(figure(depth_legend(scales.depth, scales.unit), "Depth. Dark grey: no value."))
    if flow:
        words = f"Flow: hue is the direction of motion, full colour is {scales.full_flow_px:.3g} px or more per frame."
        keys.append(figure(image_tag(flow_wheel(108), "colours of flow by direction", "png"), words))
    return f'<div class="legends">{"".join(keys)}</div>' if keys else ""


def _frame(frame: int, seconds: float, images: Sequence[tuple[str, Image]]) -> str:
    layout = "images wide" if is_wide(images[0][1]) else "images"
    cells = "".join(figure(image_tag(shrink(image), f"{name}, frame {frame}"), name) for name, image in images)
    return f'<div class="frame"><h3>Frame {frame}<span>{seconds:.2f} s</span></h3><div class="{layout}">{cells}</div></div>'


def is_wide(image: Image) -> bool:
    return image.shape[1] > WIDE_ASPECT * image.shape[0]


def _images(run: RunFolder, recording: Recording, frame: int, scales: Scales) -> Iterator[tuple[str, Image]]:
    """What there is of a frame: the image, depth, flow, moving objects; the scan where there is no camera."""
    seen = camera_image(recording, frame)
    if seen is not None:
        yield "Camera", seen
    depth, flow, moving = run.read_depth(frame), run.read_flow(frame), run.read_moving(frame)
    if depth is not None:
        yield "Depth", colour_depth(depth, scales.depth)
    if flow is not None:
        yield "Flow to the next frame", colour_flow(flow, scales.full_flow_px)
    if moving is not None and seen is not None and moving.shape == seen.shape[:2]:
        yield "Moving objects", overlay_ids(seen, moving)
    if not recording.rig.cameras and (scan := read_scan(recording, frame)) is not None:
        yield "LiDAR from above, colour is height", draw_scan(scan.points)


def camera_image(recording: Recording, frame: int) -> Image | None:
    """The reference camera's image, None where there is no camera or the image is damaged."""
    if recording.rig.reference is None:
        return None
    try:
        return recording[frame].image()
    except InputError:
        return None


def read_scan(recording: Recording, frame: int) -> Scan | None:
    """The frame's sweep, None where there is none or it is damaged."""
    try:
        return recording[frame].scan()
    except InputError:
        return None


def draw_scan(points: Float32[np.ndarray, "points 3"], size_px: int = SCAN_IMAGE_PX) -> Image:
    """A sweep from above, x (forward) up and y (left) to the left; low is blue, high is red."""
    points = points[np.isfinite(points).all(1)]
    image = np.full((size_px, size_px, 3), 20, np.uint8)
    if not len(points):
        return image
    reach_m = float(np.percentile(np.abs(points[:, :2]).max(1), 90)) + 1e-3
    pixels: Float64[np.ndarray, "points 2"] = (1 - points[:, :2].astype(np.float64) / reach_m) * (size_px - 1) / 2
    inside = ((pixels >= 0) & (pixels <= size_px - 1)).all(1)
    rows, columns = np.rint(pixels[inside]).astype(int).T
    low, high = np.percentile(points[:, 2], [5, 95])
    height = np.clip((points[inside, 2] - low) / max(high - low, 1e-3), 0, 1)
    image[rows, columns] = depth_table()[np.rint(255 * (1 - height)).astype(int)]
    return image
