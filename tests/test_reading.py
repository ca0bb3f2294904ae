import os

import pytest

from firstsight import reading
from firstsight.errors import InputError


def test_the_content_of_a_regular_file_or_of_a_link_to_one(tmp_path):
    (tmp_path / "a.txt").write_bytes("17 µm\n".encode())
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    assert reading.read_bytes(tmp_path / "b.txt", "scan") == b"17 \xc2\xb5m\n"
    assert reading.read_text(tmp_path / "b.txt") == "17 µm\n"


def test_a_pipe_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "frame0.png")
    for read in (lambda path: reading.read_bytes(path, "image"), reading.read_text):
        with pytest.raises(InputError, match=r"frame0\.png: a folder, device or pipe"):
            read(tmp_path / "frame0.png")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/"])
def test_a_link_to_a_device_or_folder_is_refused(tmp_path, device):
    (tmp_path / "0.png").symlink_to(device)
    with pytest.raises(InputError, match=r"0\.png: a folder, device or pipe where the image itself should be"):
        reading.read_bytes(tmp_path / "0.png", "image")


def test_a_file_too_large_for_what_it_is_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 10)
    (tmp_path / "0.bin").write_bytes(b"x" * 11)
    with pytest.raises(InputError, match=r"0\.bin: 11 bytes are too many for one scan"):
        reading.read_bytes(tmp_path / "0.bin", "scan")


def test_what_is_missing_or_not_text_is_named(tmp_path):
    with pytest.raises(InputError, match=r"calib\.txt: missing file"):
        reading.read_text(tmp_path / "calib.txt")
    with pytest.raises(InputError, match="missing image"):
        reading.read_bytes(tmp_path / "a\0b.png", "image")
    (tmp_path / "calib.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"calib\.txt: cannot be read as text"):
        reading.read_text(tmp_path / "calib.txt")
