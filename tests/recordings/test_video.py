"""Frames of written videos against the frames that went in, in any order."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings import video
from firstsight.recordings.opening import open_recording

FRAMES, RATE_HZ, SIZE = 90, 20.0, (48, 64)


def numbered_image(frame: int) -> np.ndarray:
    """RGB; seven 16 px squares, black or white, spell the frame's number; a red strip below tells RGB from BGR."""
    image = np.zeros((*SIZE, 3), np.uint8)
    for bit in range(7):
        row, column = divmod(bit, 4)
        image[16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 255 * (frame >> bit & 1)
    image[32:, :, 0] = 250
    return image


def number_of(image: np.ndarray) -> int:
    centres = [image[16 * (bit // 4) + 8, 16 * (bit % 4) + 8].mean() > 127 for bit in range(7)]
    return sum(int(centre) << bit for bit, centre in enumerate(centres))


def write_video(path: Path, codec: str) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), RATE_HZ, SIZE[::-1])
    assert writer.isOpened()
    for frame in range(FRAMES):
        writer.write(numbered_image(frame)[:, :, ::-1])
    writer.release()
    return path


@pytest.fixture(params=[("mp4", "mp4v"), ("avi", "MJPG"), ("mkv", "mp4v")], ids=lambda p: ".".join(p))
def file(request, tmp_path):
    suffix, codec = request.param
    return write_video(tmp_path / f"clip.{suffix}", codec)


def test_frames_are_exact_in_any_order(file):
    images = video.read(file).images["video"]
    assert len(images) == FRAMES
    order = [0, 1, 2, 89, 3, 45, 44, 43, 88, 0, *np.random.default_rng(0).permutation(FRAMES).tolist()]
    assert [number_of(images[frame]) for frame in order] == order


def test_images_are_rgb(file):
    red, green, blue = video.read(file).images["video"][7][40, 30]
    assert red > 200
    assert green < 60
    assert blue < 60


def test_stamps_are_the_presentation_times(file):
    stamps = video.read(file).stamps_ns
    np.testing.assert_allclose(stamps, np.arange(FRAMES) / RATE_HZ * 1e9, atol=1e6)  # containers round to 1 ms


def test_the_count_is_of_frames_that_decode(tmp_path):
    path = write_video(tmp_path / "clip.avi", "MJPG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    recording = video.read(path)
    assert 20 < len(recording) < 60
    assert number_of(recording.images["video"][len(recording) - 1]) == len(recording) - 1


def test_without_calibration_sixty_degrees_are_assumed_and_said(file):
    recording = open_recording(str(file))
    assert recording.format == video.NAME
    assert recording.rig.reference.assumed
    assert recording.rig.reference.intrinsics[0, 0] == pytest.approx(32 / math.tan(math.radians(30)))
    assert any(remark.startswith("field of view assumed: 60 degrees") for remark in recording.remarks)


@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02" * 500])
def test_a_file_that_is_no_video_is_an_error(tmp_path, content):
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"clip\.mp4: not a video that can be decoded"):
        open_recording(str(tmp_path / "clip.mp4"))


@pytest.mark.parametrize("name", ["dashcam.mp4", "tree.avi"])
def test_a_jump_reaches_the_same_frame_as_decoding_from_the_start(shared_data, name):
    """tree.avi shows each of its 68 images for a different time, so a seek by frame number goes wrong there."""
    path = shared_data / "video" / name
    capture = cv2.VideoCapture(str(path))
    expected = {}
    for frame in range(66):
        decoded, image = capture.read()
        assert decoded
        if frame in (3, 30, 31, 65):
            expected[frame] = image[:, :, ::-1]
    recorded = video.Video(path)
    for frame in (65, 30, 31, 3):
        np.testing.assert_array_equal(recorded.frame(frame), expected[frame])


def test_a_colon_in_a_relative_name_is_no_protocol(file, tmp_path, monkeypatch):
    (tmp_path / "10:20:30.avi").write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(video.read(Path("10:20:30.avi"))) == len(video.read(file))
