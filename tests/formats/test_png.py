"""Images whose headers lie."""

import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats import png


def with_header(path: Path, width: int, height: int) -> Path:
    """A grey PNG of 6x4 pixels whose header says another size, with a checksum that fits."""
    content = cv2.imencode(".png", np.zeros((4, 6), np.uint8))[1].tobytes()
    header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
    path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    return path


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (40_000, 40_000), (13_000, 13_000)])
def test_a_header_of_absurd_size_is_refused_before_memory_is_taken(tmp_path, width, height):
    path = with_header(tmp_path / "a.png", width, height)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a\.png: "):
        png.read_image(path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2_000_000


def test_the_message_names_both_sizes(tmp_path):
    with pytest.raises(InputError, match="its header says 13000x13000, more than the 134,217,728 pixels"):
        png.read_image(with_header(tmp_path / "a.png", 13_000, 13_000))


def test_a_large_photo_is_within_the_limit(tmp_path):
    """12000x9000, the largest of today's phones: the header passes, the missing rows are the damage."""
    content = with_header(tmp_path / "a.png", 12_000, 9_000).read_bytes()
    png.require_sane_header(content, "a.png")


def test_an_image_without_its_rows_is_damaged(tmp_path):
    with pytest.raises(InputError, match=r"a\.png: damaged or truncated"):
        png.read_image(with_header(tmp_path / "a.png", 60, 40))


def test_the_end_is_looked_for_by_content_not_by_name(tmp_path):
    """A JPEG that is called .png is whole."""
    content = cv2.imencode(".jpg", np.zeros((4, 6, 3), np.uint8))[1].tobytes()
    (tmp_path / "a.png").write_bytes(content)
    assert png.read_image(tmp_path / "a.png").shape == (4, 6, 3)
    (tmp_path / "a.png").write_bytes(content[:-2])
    with pytest.raises(InputError, match="damaged or truncated"):
        png.read_image(tmp_path / "a.png")
