"""What the checks load_small at: a bounded number of frames, loaded and tracked once, however long the recording is."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float64, Int64

from firstsight.doctor.tracking import Grey, Matches, Points, follow, match, track
from firstsight.errors import InputError
from firstsight.recordings.recording import Camera, Channel, DepthImage, Image, Recording, Scan

Verdict = Literal["ok", "note", "unfit"]

MAX_PAIRS = 24
MAX_WIDE_PAIRS = 8
WIDTH_PX = 640  # images are made this narrow before they are looked at
WIDE_MOTION_PX = 50.0  # at WIDTH_PX: far enough apart to tell geometry, near enough to share most of what is seen
WIDE_RETRY = 4  # times nearer is tried where a view was left altogether
MIN_MATCHES = 15  # fewer say nothing about a pair


class GreyImage(NamedTuple):
    """An image of the reference camera: made small and grey, with what is lost by that."""

    grey: Grey
    dark: float  # share of pixels without any light
    bright: float  # share of saturated pixels
    colour: float  # mean difference between the largest and the smallest of R, G, B, in grey levels


class Pair(NamedTuple):
    """Points that frames `a` and `b` share, in px of the full image."""

    a: int
    b: int
    matches: Matches


class WidePair(NamedTuple):
    """A pair so far apart that it tells geometry; what is known of the points' depth, NaN where nothing is.

    `depth_m` comes from a depth sensor, `disparity_px` from the right camera.
    """

    a: int
    b: int
    matches: Matches
    depth_m: Float64[np.ndarray, " points"]
    disparity_px: Float64[np.ndarray, " points"]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """`pairs` are neighbouring frames, `stereo` the same instant in left and right, `unreadable` says what could not be loaded.

    `asked_scans` is in how many frames a sweep was looked for.
    """

    recording: Recording
    images: dict[int, GreyImage] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    wide: tuple[WidePair, ...] = ()
    stereo: tuple[Pair, ...] = ()
    depths: dict[int, DepthImage] = field(default_factory=dict)
    scans: dict[int, Scan] = field(default_factory=dict)
    asked_scans: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def camera(self) -> Camera:
        camera = self.recording.rig.reference
        assert camera is not None, "a check of images was asked about a recording without a camera"
        return camera

    @property
    def unit_px(self) -> float:
        """Pixels of the full image per pixel of one WIDTH_PX wide: thresholds are given in the latter."""
        return self.camera.size[1] / WIDTH_PX

    def why_unreadable(self, sensor: str) -> str:
        """Why the first item of a sensor ("scan", "depth") could not be loaded; "" where none failed."""
        return next((why for name, why in self.unreadable.items() if name.startswith(f"{sensor} ")), "")

    def motions_px(self, pairs: Sequence[Pair | WidePair]) -> Float64[np.ndarray, " pairs"]:
        """How far the image moves in each pair that can be told, px at WIDTH_PX."""
        motions = [pair.matches.motion_px for pair in pairs if len(pair.matches.points_a) >= MIN_MATCHES]
        return np.array(motions, np.float64) / self.unit_px


def gather(recording: Recording) -> Samples:
    """Load and track what the checks need."""
    unreadable: dict[str, str] = {}
    asked = few(starts_of(recording))
    scans, looked_at = ({}, 0) if recording.scans is None else next_items(recording.scans, asked, "scan", unreadable)
    depths = {} if recording.depth is None else load_all(recording.depth, asked, "depth", unreadable)
    samples = Samples(recording=recording, scans=scans, depths=depths, asked_scans=looked_at, unreadable=unreadable)
    return samples if recording.rig.reference is None else with_images(samples)


def next_items(
    channel: Channel[Any], frames: Sequence[int], name: str, unreadable: dict[str, str]
) -> tuple[dict[int, Any], int]:
    """The first item from each of the frames on, before the next of them: a slow sensor has none for most frames.

    Returns them with how many frames were looked at.
    """
    found: dict[int, Any] = {}
    looked_at = 0
    for frame, end in zip(frames, [*frames[1:], len(channel)], strict=True):
        known = len(found) + len(unreadable)
        for following in range(frame, end):
            looked_at += 1
            found |= load_all(channel, [following], name, unreadable)
            if len(found) + len(unreadable) > known:
                break
    return found, looked_at


def starts_of(recording: Recording) -> list[int]:
    """The first frames of the pairs of neighbours."""
    return spread(max(len(recording) - 1, 1), MAX_PAIRS).tolist()


def few(frames: Sequence[int]) -> list[int]:
    """Returns at most MAX_WIDE_PAIRS of the frames, evenly."""
    return [frames[i] for i in spread(len(frames), MAX_WIDE_PAIRS)]


def spread(length: int, count: int) -> Int64[np.ndarray, " chosen"]:
    """Returns at most `count` indices, evenly over 0 ... length - 1."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(np.int64))


def load_all(channel: Channel[Any], frames: Sequence[int], name: str, unreadable: dict[str, str]) -> dict[int, Any]:
    """The items that are there and can be loaded; the others are noted in `unreadable`."""
    loaded = {}
    for frame in frames:
        try:
            item = channel[frame]
        except InputError as error:
            unreadable[f"{name} {frame}"] = str(error)
            continue
        if item is not None:
            loaded[frame] = item
    return loaded


def with_images(samples: Samples) -> Samples:
    """The samples with the reference camera's images, what was tracked in them, and the stereo partner's view."""
    recording, camera = samples.recording, samples.camera
    starts, last = starts_of(recording), len(recording) - 1
    followed = {min(start + 1, last) for start in starts}
    images = load_small(samples, camera.name, sorted({*starts, *followed, *samples.scans}))
    neighbours = [(f, f + 1) for f in starts if f in images and f + 1 in images]
    pairs = tuple(Pair(a, b, tracked(images[a], images[b], camera)) for a, b in neighbours)
    partner = {}
    if recording.rig.stereo is not None:
        partner = load_small(samples, recording.rig.stereo[1], few(starts))
    return replace(
        samples,
        pairs=pairs,
        stereo=tuple(Pair(f, f, tracked(images[f], partner[f], camera)) for f in partner if f in images),
        wide=wide_pairs(samples, images, partner, wide_hop(samples, pairs)),
        images=images,
    )


def load_small(samples: Samples, camera: str, frames: Sequence[int]) -> dict[int, GreyImage]:
    """The images that can be read."""
    images = load_all(samples.recording.images[camera], frames, f"image {camera}", samples.unreadable)
    return {frame: grey_image(image) for frame, image in images.items()}


def grey_image(image: Image) -> GreyImage:
    height, width = image.shape[:2]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    some = image[::4, ::4].astype(np.int16)
    small = (WIDTH_PX, max(round(height * WIDTH_PX / width), 1)) if width > WIDTH_PX else (width, height)
    return GreyImage(
        grey=cv2.resize(grey, small, interpolation=cv2.INTER_AREA),
        dark=float((grey <= 2).mean()),
        bright=float((grey >= 253).mean()),
        colour=float((some.max(-1) - some.min(-1)).mean()),
    )


def full_px(points: Points, grey: Grey, camera: Camera) -> Points:
    """Points of the small image in px of the full one; both have pixel centres at integers."""
    return (points + 0.5) * (camera.size[1] / grey.shape[1]) - 0.5


def tracked(a: GreyImage, b: GreyImage, camera: Camera) -> Matches:
    small = track(a.grey, b.grey)
    return Matches(full_px(small.points_a, a.grey, camera), full_px(small.points_b, b.grey, camera), small.sought)


def wide_hop(samples: Samples, pairs: Sequence[Pair]) -> int:
    """Returns over how many frames the image moves by about WIDE_MOTION_PX, at most half of the recording; 0 if unknown."""
    motions = samples.motions_px(pairs)
    if len(motions) == 0:
        return 0
    return int(np.clip(round(WIDE_MOTION_PX / max(np.median(motions), 1e-3)), 1, len(samples.recording) // 2))


def wide_pairs(
    samples: Samples, images: dict[int, GreyImage], partner: dict[int, GreyImage], hop: int
) -> tuple[WidePair, ...]:
    """Pairs `hop` frames apart, nearer where most of those share too little. Adds the images it loads to `images`."""
    last = len(samples.recording) - 1
    starts = sorted(partner) or sorted(images)  # with the partner's view their depth is known
    starts = [frame for frame in starts if frame in images and frame + hop <= last]
    if hop == 0 or not starts:
        return ()
    chosen = few(starts)
    images |= load_small(samples, samples.camera.name, [a + hop for a in chosen if a + hop not in images])
    pairs = tuple(wide_pair(samples, images, partner, a, a + hop) for a in chosen if a + hop in images)
    matched = sum(len(pair.matches.points_a) >= MIN_MATCHES for pair in pairs)
    return pairs if 2 * matched >= len(pairs) else wide_pairs(samples, images, partner, hop // WIDE_RETRY)


def wide_pair(
    samples: Samples, images: dict[int, GreyImage], partner: dict[int, GreyImage], a: int, b: int
) -> WidePair:
    """The points that a and b share, with their depth where a sensor or the right camera tells it."""
    camera = samples.camera
    grey_a, grey_b = images[a].grey, images[b].grey
    small = match(grey_a, grey_b)
    points_a = full_px(small.points_a, grey_a, camera)
    disparity = np.full(len(points_a), np.nan)
    if a in partner:
        there, found = follow(grey_a, partner[a].grey, small.points_a.astype(np.float32))
        disparity[found] = (points_a - full_px(there, grey_a, camera))[found, 0]
    matches = Matches(points_a, full_px(small.points_b, grey_b, camera), small.sought)
    return WidePair(a, b, matches, depth_at(samples, a, points_a), disparity)


def depth_at(samples: Samples, frame: int, points: Points) -> Float64[np.ndarray, " points"]:
    """The depth sensor's value at each point, NaN where it has none."""
    channel = samples.recording.depth
    loaded = {} if channel is None else load_all(channel, [frame], "depth", samples.unreadable)
    if frame not in loaded:
        return np.full(len(points), np.nan)
    depth, valid = loaded[frame]
    columns, rows = np.rint(points).astype(np.int64).T
    return np.where(valid[rows, columns], depth[rows, columns], np.nan).astype(np.float64)
