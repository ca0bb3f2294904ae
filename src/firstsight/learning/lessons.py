"""What a rig can learn from itself: a method for each, its settings, and the frames that teach and that judge."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

from firstsight import catalogue
from firstsight.errors import InputError
from firstsight.learning.record import Held
from firstsight.pretrained import learning
from firstsight.recordings.opening import frame_indices
from firstsight.recordings.recording import Recording
from firstsight.training.recipe import Recipe

FLOW, DEPTH, ONE_IMAGE = "flow", "depth", "depth of one image"
TAUGHT_SHARE = 2 / 3  # of the frames, the first ones; the last ones judge
LEAST_TAUGHT, LEAST_HELD_OUT = 6, 3  # frames
# Of the images that are trained on: flow and depth see whole images, the stereo cost compares patches as sharp as possible.
SMALL_PX, SHARP_PX = 24_576, 98_304
MULTIPLE, LEAST_SIDE = 32, 64


class Lesson(NamedTuple):
    """What is learned: its name and folder, the method of the catalogue, its settings, and its share of the time."""

    name: str
    entry: catalogue.Entry
    config: Any
    recipe: Recipe
    share: float
    taught: bool  # whether a finished run teaches it


def held(source: str, frames: str | None, count: int) -> Held:
    """The first two thirds of the chosen frames teach, the rest judges. Raises InputError where there are too few."""
    chosen = chosen_frames(frames, count)
    split = round(TAUGHT_SHARE * len(chosen))
    if split < LEAST_TAUGHT or len(chosen) - split < LEAST_HELD_OUT:
        raise InputError(
            f"{source}: {len(chosen)} frames; learning takes {LEAST_TAUGHT + LEAST_HELD_OUT} or more, "
            "the last third of which judge; or name another recording that judges (--judge-on)"
        )
    return Held(source=source, taught=written(chosen[:split]), judge=source, held_out=written(chosen[split:]))


def judged_elsewhere(source: str, frames: str | None, count: int, judge: str, others: int) -> Held:
    """All chosen frames teach, and all of another recording judge. Raises InputError where there are too few."""
    chosen = chosen_frames(frames, count)
    for name, has, least in ((source, len(chosen), LEAST_TAUGHT), (judge, others, LEAST_HELD_OUT)):
        if has < least:
            raise InputError(f"{name}: {has} frames; {least} or more are needed")
    return Held(source=source, taught=written(chosen), judge=judge, held_out=written(range(others)))


def chosen_frames(frames: str | None, count: int) -> range:
    chosen = range(count) if frames is None else frame_indices(frames, count)
    assert isinstance(chosen, range)
    return chosen


def written(frames: range) -> str:
    return f"{frames.start}:{frames.stop}:{frames.step}"


def lessons(recording: Recording) -> list[Lesson]:
    """Flow, the stage's depth, and depth of one image, as far as the rig allows. Raises InputError where it has no camera."""
    rig = recording.rig
    if rig.reference is None:
        raise InputError(f"{recording.source}: it has no camera, from whose images alone `learn` learns so far")
    small, sharp = (image_size(rig.reference.size, area) for area in (SMALL_PX, SHARP_PX))
    chosen = [lesson(FLOW, "refined-search", "video", 1.0, size=small)]
    if rig.stereo is not None:
        chosen.append(lesson(DEPTH, "mc-cnn", "tiny", 1.0, size=sharp, taught=True))
    if rig.stereo is None and recording.depth is None and recording.scans is None:
        chosen.append(lesson(DEPTH, "filled-sweep", "tiny", 1.0, size=small))
    else:
        chosen.append(lesson(ONE_IMAGE, "taught-depth", "tiny", 1.0, size=small))
    total = sum(one.share for one in chosen)
    return [one._replace(share=one.share / total) for one in chosen]


def lesson(name: str, method: str, preset: str, share: float, **settings: Any) -> Lesson:
    entry = catalogue.find(method)
    config, recipe = learning(entry).PRESETS[preset]
    return Lesson(name, entry, replace(config, **settings), recipe, share, taught=name != FLOW)


def image_size(size: tuple[int, int], area: int) -> tuple[int, int]:
    """Height and width, multiples of MULTIPLE, of about that area and the images' shape; not larger than the images are."""
    height, width = size
    scale = min(1.0, math.sqrt(area / (height * width)))
    rows, columns = (max(LEAST_SIDE, MULTIPLE * round(scale * side / MULTIPLE)) for side in (height, width))
    return rows, columns
