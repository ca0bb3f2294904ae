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


def sixteen_bit(path: Path, colour_type: int, pixels: list[list[int]]) -> Path:
    """A PNG of one row of 16-bit pixels, written by hand."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + b"".join(struct.pack(f">{len(pixel)}H", *pixel) for pixel in pixels)
    header = struct.pack(">IIBBBBB", len(pixels), 1, 16, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(row)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def test_flow_is_read_as_the_devkit_says(tmp_path):
    """u and v are (value - 2^15) / 64; the third channel says where they are valid."""
    flow, valid = png.read_flow(sixteen_bit(tmp_path / "a.png", 2, [[32864, 32608, 1], [0, 65535, 0], [32768, 0, 1]]))
    assert flow[0, [0, 2]].tolist() == [[1.5, -2.5], [0, -512]]
    assert valid.tolist() == [[True, False, True]]


@pytest.mark.parametrize(("colour_type", "pixel", "shape"), [(6, [1, 2, 3, 4], "4"), (4, [1, 2], "4"), (0, [1], None)])
def test_an_image_of_other_channels_is_no_flow(tmp_path, colour_type: int, pixel: list[int], shape: str | None):
    """With an alpha channel it was read as flow of three components."""
    found = rf"\(1, 1, {shape}\)" if shape else r"\(1, 1\)"
    with pytest.raises(
        InputError, match=rf"a\.png: expected a 16-bit three-channel KITTI flow PNG, found uint16 {found}"
    ):
        png.read_flow(sixteen_bit(tmp_path / "a.png", colour_type, [pixel]))


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


def textured(suffix: str, *settings: int) -> bytes:
    pixels = np.random.default_rng(5).integers(0, 255, (40, 60, 3), np.uint8)
    return cv2.imencode(suffix, pixels, settings)[1].tobytes()


@pytest.mark.parametrize(
    "content",
    [textured(".jpg"), textured(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1), textured(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
     textured(".png")],
    ids=["jpg", "progressive", "restarts", "png"],
)  # fmt: skip
def test_what_lies_behind_the_image_does_not_count(content):
    """The film of a motion photo, without the bytes of an end: whole, while a cut image is not."""
    assert not png.is_truncated(content)
    assert not png.is_truncated(content + b"\0\0\0\x18ftypmp42" + bytes(60_000))
    assert png.is_truncated(content[:-2])
    assert png.is_truncated(content[: len(content) // 2])
    assert png.is_truncated(content[: len(content) // 2] + bytes(60_000))


def test_the_end_of_a_thumbnail_is_not_that_of_the_photo():
    thumbnail, photo = textured(".jpg"), textured(".jpg")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    content = photo[:2] + segment + photo[2:]
    assert not png.is_truncated(content)
    assert png.is_truncated(content[: 2 + len(segment) + len(photo) // 2])


def test_sixteen_bit_light_is_scaled_to_its_white(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.array([[0, 1000, 2000, 4095, 5000]], np.uint16))
    assert png.read_image(tmp_path / "a.png", white=4095)[0, :, 0].tolist() == [0, 62, 124, 255, 255]
    assert png.read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 3, 7, 15, 19]
    assert png.read_image(tmp_path / "a.png", white=None)[0, :, 0].tolist() == [0, 31, 62, 127, 155]


def test_the_white_of_a_recording_is_all_ones_of_its_brightest_pixel():
    dark, bright = np.full((2, 3), 700, np.uint16), np.full((2, 3), 2049, np.uint16)
    assert png.white_of([dark, bright]) == 4095
    assert png.white_of([dark]) == 1023
    assert png.white_of([np.full((2, 3), 3, np.uint16)]) == 255
    assert png.white_of([np.full((2, 3), 65535, np.uint16)]) == 65535
    assert png.white_of([np.full((2, 3), 200, np.uint8)]) == 65535


def test_floats_are_said_to_be_floats(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tiff"), np.ones((4, 6), np.float32))
    with pytest.raises(InputError, match=r"a\.tiff: holds 32-bit floats; convert it to 8 or 16 bits"):
        png.read_image(tmp_path / "a.tiff")
    for numbers in (np.ones((4, 6, 3), np.float32), np.ones((4, 6), np.int32)):
        cv2.imwrite(str(tmp_path / "b.tiff"), numbers)
        with pytest.raises(InputError, match=r"b\.tiff: a TIFF that is damaged, or holds other numbers than 8 or 16"):
            png.read_image(tmp_path / "b.tiff")
