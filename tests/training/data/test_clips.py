"""Which frames make a sample: fixed and drawn clips, frames that are not known, the ends of recordings."""

from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings.recording import Channel, select
from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.clips import Clips
from firstsight.training.data.dataset import Joined
from firstsight.training.data.loading import batches
from firstsight.training.data.memory import ENTRY_BYTES
from firstsight.training.data.wanted import Wanted, drawn, frames


class Stamps(NamedTuple):
    stamp_s: object
    starts: object
    index: object


class Labelled(NamedTuple):
    images: object
    label: object


class Poses(NamedTuple):
    world_from_camera: object


def numbers(clips, index: int, seed: int = 0) -> list[int]:
    """The frames of a sample; four make a second."""
    return (4 * clips.sample(index, seed)["stamp_s"]).tolist()


def test_a_sample_is_a_frame_with_its_neighbours_in_the_order_asked_for(recording):
    clips = Clips(recording, Wanted(Stamps, clip=frames(0, -1, 1)))
    assert len(clips) == 3
    assert [numbers(clips, index) for index in range(3)] == [[1, 0, 2], [2, 1, 3], [3, 2, 4]]


def test_too_short_a_recording_is_one_line(recording):
    with pytest.raises(InputError, match="drive: it has 2 usable frames; a sample takes 3"):
        Clips(select(recording, [0, 1]), Wanted(Stamps, clip=frames(-1, 0, 1)))


def test_gaps_are_drawn_evenly_and_by_the_seed_alone(recording):
    clips = Clips(recording, Wanted(Stamps, clip=drawn((0, 0), (1, 3))))
    assert len(clips) == 2
    seen = [tuple(numbers(clips, 1, seed)) for seed in range(200)]
    counts = Counter(seen)
    assert set(counts) == {(1, 2), (1, 3), (1, 4)}
    assert min(counts.values()) > 45
    assert seen == [tuple(numbers(clips, 1, seed)) for seed in range(200)]


def test_the_gaps_of_a_step_are_a_function_of_the_seed_and_the_step(recording):
    clips = Joined([Clips(recording, Wanted(Stamps, clip=drawn((0, 0), (1, 3))))])

    def gaps(seed: int, rows: slice, steps: range) -> list[list[float]]:
        read = batches(clips, seed=seed, batch=6, rows=rows, steps=steps)
        return [(batch.stamp_s[:, 1] - batch.stamp_s[:, 0]).tolist() for _, batch in read]

    whole = gaps(1, slice(0, 6), range(4))
    assert gaps(1, slice(0, 6), range(2, 4)) == whole[2:]
    assert gaps(1, slice(4, 6), range(4)) == [step[4:] for step in whole]
    assert gaps(2, slice(0, 6), range(4)) != whole
    assert len({tuple(step) for step in whole}) == 4


def test_samples_that_touch_an_unknown_pose_are_left_out_and_remarked_on(recording):
    clips = Clips(recording, Wanted(Poses, clip=frames(0, 1)))
    assert clips.frames.tolist() == [0, 1]
    assert clips.remarks == ("drive: 1 of 5 frames have no known pose and are left out",)
    assert Clips(recording, Wanted(Poses, clip=frames(-1, 1))).frames.tolist() == [1, 3]
    assert Clips(recording, Wanted(Poses, clip=drawn((0, 0), (1, 2)))).frames.tolist() == [0]
    assert Clips(recording, Wanted(Poses)).sequence_lengths() == [3, 1]
    assert Clips(recording, Wanted(Stamps)).remarks == ()


def test_a_stream_begins_anew_with_each_recording_and_each_round(recording):
    parts = [Clips(select(recording, list(range(count))), Wanted(Stamps, order="stream")) for count in (2, 4)]
    read = [batch for _, batch in batches(Joined(parts), seed=0, batch=2, rows=slice(0, 2), steps=range(4))]
    # six samples, of which row 0 walks through 0-2 and row 1 through 3-5; the second recording begins at 2
    assert [batch.index.tolist() for batch in read] == [[0, 3], [1, 4], [2, 5], [0, 3]]
    assert [batch.starts.tolist() for batch in read] == [[True, True], [False, False], [True, False], [True, True]]


def test_more_streams_than_samples_are_refused(recording):
    data = Joined([Clips(recording, Wanted(Stamps, order="stream"))])
    with pytest.raises(InputError, match="5 samples cannot be 6 streams; lower the batch"):
        list(batches(data, seed=0, batch=6, rows=slice(0, 6), steps=range(1)))


def test_labels_of_a_recording_are_refused(recording):
    with pytest.raises(InputError, match="drive: a recording has no label, from which this method learns"):
        Clips(recording, Wanted(Labelled, (2, 2)))


def test_what_is_kept_is_the_same_to_the_bit_and_read_once(recording):
    loads = Counter()

    def counted(frame: int) -> np.ndarray:
        loads[frame] += 1
        return recording.images["left"][frame]

    def read(keep_bytes: int) -> tuple[list, list[int]]:
        loads.clear()
        fresh = replace(recording, images={"left": Channel(5, counted, keep=1)})
        clips = Clips(fresh, Wanted(ImageBatch, (2, 2), frames(0, 1)))
        steps = batches(clips, seed=3, batch=4, rows=slice(0, 4), steps=range(6), keep_bytes=keep_bytes)
        return [batch.images.tolist() for _, batch in steps], sorted(loads.values())

    plain, many = read(0)
    assert min(many) > 2
    assert read(2**20) == (plain, [1, 1, 1, 1, 1])
    # room for two frames of 12 bytes and their places in the table, and not for a third
    some, counts = read(3 * (12 + ENTRY_BYTES) - 1)
    assert some == plain
    assert counts[:2] == [1, 1]
    assert counts[2] > 2
