"""Every sensor frame is decoded or simulated once per run, in bounded memory and on bounded disk."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from threading import Barrier

import cv2
import numpy as np
import pytest
from rich.console import Console

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.perceive.execution.frames import FrameStore, Key, decoded_once
from firstsight.perceive.run import Settings, perceive
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import DepthImage, Scan
from firstsight.recordings.simulated.sensing.views import Views

# Ten bytes each.
VALUES = [np.full(10, i, np.uint8) for i in range(6)]


class Loading:
    """Counts what is loaded."""

    def __init__(self) -> None:
        self.loaded: list[int] = []

    def __call__(self, frame: int) -> np.ndarray:
        self.loaded.append(frame)
        if frame == 5:
            raise InputError("frame 5: cut off")
        return VALUES[frame]


def test_beyond_memory_frames_go_to_disk_and_come_back(tmp_path: Path):
    store, load = FrameStore(tmp_path / "frames", memory_bytes=25, disk_bytes=1000), Loading()
    for _ in range(3):
        for frame in range(5):
            np.testing.assert_array_equal(store.get(Key("left", frame), load), VALUES[frame])
    assert load.loaded == [0, 1, 2, 3, 4]
    assert len(list((tmp_path / "frames" / "left").iterdir())) == 5


def test_beyond_the_disk_s_share_they_are_decoded_again(tmp_path: Path):
    store, load = FrameStore(tmp_path / "frames", memory_bytes=15, disk_bytes=20), Loading()
    for _ in range(2):
        for frame in range(4):
            store.get(Key("left", frame), load)
    assert load.loaded == [0, 1, 2, 3, 2, 3]
    assert len(list((tmp_path / "frames" / "left").iterdir())) == 2


def test_a_frame_that_cannot_be_decoded_is_tried_once(tmp_path: Path):
    store, load = FrameStore(tmp_path / "frames"), Loading()
    for _ in range(2):
        with pytest.raises(InputError, match="cut off"):
            store.get(Key("left", 5), load)
    assert load.loaded == [5]


def test_files_of_another_process_are_not_believed_and_damaged_ones_decoded_again(tmp_path: Path):
    planted = tmp_path / "frames" / "left" / "000000.npz"
    planted.parent.mkdir(parents=True)
    planted.write_bytes(b"planted")
    store, load = FrameStore(tmp_path / "frames", memory_bytes=5, disk_bytes=1000).without_files(), Loading()
    assert not planted.exists()
    for frame in (0, 1):
        store.get(Key("left", frame), load)
    planted.write_bytes(b"damaged")
    np.testing.assert_array_equal(store.get(Key("left", 0), load), VALUES[0])
    assert load.loaded == [0, 1, 0]


def test_what_one_process_decodes_another_reads(tmp_path: Path):
    """Each has its part of the bounds: 60 bytes on disk for two are three frames for each."""
    stores = [FrameStore(tmp_path / "frames", memory_bytes=20, disk_bytes=60, sharers=2) for _ in range(2)]
    loads = Loading(), Loading()
    for frame in range(5):
        stores[0].get(Key("left", frame), loads[0])
    for frame in range(5):
        np.testing.assert_array_equal(stores[1].get(Key("left", frame), loads[1]), VALUES[frame])
    assert loads[0].loaded == [0, 1, 2, 3, 4]
    assert loads[1].loaded == [3, 4]


def test_two_that_want_a_frame_at_once_decode_it_once(tmp_path: Path):
    stores = [FrameStore(tmp_path / "frames", sharers=2) for _ in range(2)]
    load, begun = Loading(), Barrier(2)

    def slow(frame: int) -> np.ndarray:
        time.sleep(0.2)
        return load(frame)

    def get(store: FrameStore) -> np.ndarray:
        begun.wait()
        return store.get(Key("left", 2), slow)

    with ThreadPoolExecutor(2) as threads:
        values = list(threads.map(get, stores))
    assert [value.tolist() for value in values] == [[2] * 10, [2] * 10]
    assert load.loaded == [2]


def test_depth_and_sweeps_come_back_as_they_were(tmp_path: Path):
    store = FrameStore(tmp_path / "frames", memory_bytes=1, disk_bytes=10_000)
    depth = DepthImage(np.ones((2, 3), np.float32), np.ones((2, 3), bool))
    scans = (Scan(np.ones((4, 3), np.float32)), Scan(np.ones((4, 3), np.float32), None, np.arange(4.0)))
    for frame, value in enumerate((depth, *scans)):
        store.get(Key("any", frame), lambda _, value=value: value)
    for frame, value in enumerate((depth, *scans)):
        again = store.get(Key("any", frame), lambda _: None)
        assert type(again) is type(value)
        for part, was in zip(again, value, strict=True):
            assert part is None if was is None else np.array_equal(part, was)
    assert store.get(Key("none", 0), lambda _: None) is None


def test_a_simulated_run_renders_each_image_and_sweep_once(tmp_path: Path, monkeypatch):
    """Though the doctor, four stages, the viewer's file and the report look at them."""
    rendered: Counter = Counter()
    image, scan = Views.image, Views.scan
    monkeypatch.setattr(Views, "image", lambda self, *key: rendered.update([key]) or image(self, *key))
    monkeypatch.setattr(Views, "scan", lambda self, key: rendered.update([("scan", key)]) or scan(self, key))
    monkeypatch.setattr(import_module("firstsight.recordings.simulated.simulate"), "KEPT_BYTES", 0)
    perceive("sim:street:frames=5,height=48,width=160", tmp_path / "run", console=Console(quiet=True))
    assert {key: rendered[key] for key in rendered if rendered[key] > 1} == {}
    assert sum(key[0] in ("left", "right") for key in rendered) == 10


def test_a_folder_of_images_is_decoded_once_after_its_size_was_found(tmp_path: Path, monkeypatch):
    (tmp_path / "images").mkdir()
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), noise)
    decoded: Counter = Counter()
    decode = png.decode_bytes

    def counted(content: bytes, path: Path, flags: int) -> np.ndarray:
        if path.parent.name == "images":
            decoded.update([path.name])
        return decode(content, path, flags)

    monkeypatch.setattr(png, "decode_bytes", counted)
    perceive(tmp_path / "images", tmp_path / "run", Settings(), console=Console(quiet=True))
    at_opening, in_the_run = 1, 1
    assert decoded == {f"{i}.png": at_opening + in_the_run for i in range(4)}


def test_the_truth_is_left_as_it_is(tmp_path: Path):
    recording = open_recording("sim:street:frames=2,height=48,width=160")
    once = decoded_once(recording, FrameStore(tmp_path))
    assert once.truth is recording.truth
    np.testing.assert_array_equal(once[1].image("right"), recording[1].image("right"))
    assert once[0].depth() is None
