"""Samples of recordings, folders and archives, and their order."""

import gzip
import tarfile
import tracemalloc
import zipfile

import cv2
import numpy as np
import pytest
import torch
from firstsight.training.data.batches import batches
from firstsight.training.data.samples import Frames, covering, open_samples, scaled_intrinsics

from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.recordings.opening import open_recording
from firstsight.training.data.order import batch_indices
from firstsight.training.random_numbers import StepRandom
from firstsight.training.trainable import Wanted

ALONE = Wanted((16, 16))


@pytest.fixture
def pictures(tmp_path):
    """Three pictures of two classes and different sizes; the red value says which."""
    for number, (label, size) in enumerate([("cat", (20, 30)), ("cat", (16, 16)), ("dog", (40, 20))]):
        (tmp_path / "in" / label).mkdir(parents=True, exist_ok=True)
        picture = np.zeros((*size, 3), np.uint8)
        picture[..., 0] = 50 * (number + 1)
        png.write_image(tmp_path / "in" / label / f"{number}.png", picture)
    return tmp_path / "in"


def reds(samples) -> list[int]:
    return [int(samples[i].images[0, 0].mean()) for i in range(len(samples))]


def test_a_folder_an_archive_and_a_packed_archive_hold_the_same(pictures, tmp_path):
    with tarfile.open(tmp_path / "plain.tar", "w") as archive:
        archive.add(pictures, "in")
    (tmp_path / "packed.tar.gz").write_bytes(gzip.compress((tmp_path / "plain.tar").read_bytes()))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in pictures.rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path))
    for source in (pictures, tmp_path / "plain.tar", tmp_path / "packed.tar.gz", tmp_path / "all.zip"):
        samples = open_samples([str(source)], ALONE, tmp_path / "scratch")
        assert reds(samples) == [50, 100, 150]
        assert samples.parts[0].labels == ["cat", "cat", "dog"]
        assert samples[0].images.shape == (1, 3, 16, 16)
    assert reds(open_samples([str(pictures), str(pictures)], ALONE, tmp_path)) == [50, 100, 150] * 2


def test_covering_keeps_the_proportions_and_the_middle():
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 20:40] = 255
    assert covering(image, (10, 10)).shape == (3, 10, 10)
    assert covering(image, (10, 10)).min() == 255


def test_intrinsics_of_a_scaled_picture_see_the_same_ray():
    intrinsics = np.array([[300.0, 0, 159.5], [0, 310, 119.5], [0, 0, 1]])
    half = scaled_intrinsics(intrinsics, (240, 320), (120, 160))
    corner = np.linalg.inv(intrinsics) @ [-0.5, -0.5, 1]  # the outer edge of the first pixel
    assert np.linalg.inv(half) @ [-0.5, -0.5, 1] == pytest.approx(corner, abs=1e-6)


def test_frames_hand_over_the_neighbours_left_before_right():
    recording = open_recording("sim:street:frames=4,height=24,width=80")
    samples = Frames(recording, Wanted((12, 40), offsets=(-1, 0, 1), stereo=True))
    assert len(samples) == 2
    sample = samples[0]
    assert sample.images.shape == (6, 3, 12, 40)
    left = recording[1].image("left")
    assert np.array_equal(sample.images[2], cv2.resize(left, (40, 12), interpolation=cv2.INTER_AREA).transpose(2, 0, 1))
    assert sample.baseline_m == pytest.approx(recording.rig.baseline_m)


def test_recordings_that_cannot_teach_are_refused():
    recording = open_recording("sim:street:frames=2,height=24,width=80", sensors=frozenset({"camera"}))
    with pytest.raises(InputError, match="no stereo pair"):
        Frames(recording, Wanted((12, 40), stereo=True))
    with pytest.raises(InputError, match="has 2 frames"):
        Frames(recording, Wanted((12, 40), offsets=(-1, 0, 1)))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_truncated_picture_is_named(pictures, tmp_path, workers):
    path = pictures / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:40])
    samples = open_samples([str(pictures)], ALONE, tmp_path)
    with pytest.raises(InputError, match=r"cat/1\.png: damaged or truncated image"):
        list(batches(samples, seed=0, batch=3, rows=slice(0, 3), steps=range(1), workers=workers))


def test_nothing_to_learn_from_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures in it"):
        open_samples([str(tmp_path / "empty")], ALONE, tmp_path)
    with pytest.raises(InputError, match="no such file"):
        open_samples([str(tmp_path / "nowhere")], ALONE, tmp_path)
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress(b"x" * 5000)[:30])
    with pytest.raises(InputError, match=r"cut\.tar\.gz: not a readable archive"):
        open_samples([str(tmp_path / "cut.tar.gz")], ALONE, tmp_path)


def test_every_epoch_shows_every_sample_once():
    shown = np.concatenate([batch_indices(10, 3, step, 4) for step in range(5)])
    assert sorted(shown[:10]) == sorted(shown[10:]) == list(range(10))
    assert list(shown[:10]) != list(shown[10:])
    assert np.array_equal(batch_indices(10, 3, 2, 4), shown[8:12])
    assert not np.array_equal(batch_indices(10, 4, 0, 4), shown[:4])


def test_draws_of_two_processes_are_the_rows_of_one():
    whole = StepRandom(1, 5, 6)
    parts = [StepRandom(1, 5, 6, slice(0, 3)), StepRandom(1, 5, 6, slice(3, 6))]
    for draw in (lambda d: d.uniform(2, low=-1.0), lambda d: d.normal(3), lambda d: d.below(9)):
        assert torch.equal(draw(whole), torch.cat([draw(part) for part in parts]))
    assert not torch.equal(StepRandom(1, 6, 6).normal(3), StepRandom(1, 5, 6).normal(3))


def test_reading_many_batches_takes_the_memory_of_a_few(tmp_path):
    """300 pictures of 256x256: 59 MB if all were kept."""
    png.write_image(tmp_path / "0.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    for number in range(1, 300):
        (tmp_path / f"{number}.png").write_bytes((tmp_path / "0.png").read_bytes())
    samples = open_samples([str(tmp_path)], Wanted((256, 256)), tmp_path)
    tracemalloc.start()
    for _ in batches(samples, seed=0, batch=4, rows=slice(0, 4), steps=range(75)):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8e6
