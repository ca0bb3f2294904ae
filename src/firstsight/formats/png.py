"""Images, and the 16-bit PNGs of KITTI for depth, disparity, flow and ids.

Source: KITTI devkits (Geiger et al. 2013; Menze and Geiger 2015; Uhrig et al. 2017): depth and disparity are value x 256 with
0 for none; flow is (u, v, valid) with u, v stored as 64 x value + 2^15, in RGB order.
"""

import re
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Integer, UInt8, UInt16
from PIL import Image as PillowImage

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import write_bytes
from firstsight.reading import read_bytes

# Of one image; the largest sensors of phones and cameras have 108 million. A header that says more is taken for damaged.
MAX_PIXELS = 2**27
# A marker with a length behind it, or the end: neither stuffing (FF 00), nor a restart (FF D0 to D7), nor filling (FF FF).
JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]", re.DOTALL)
JPEG_END = 0xD9
PNG_START = b"\x89PNG"
TIFF_STARTS = (b"II*\0", b"MM\0*")
# Pillow's modes of images that OpenCV does not decode.
NOT_READ = {"F": "32-bit floats"}
FULL_SCALE = 2**16 - 1  # of 16 bits

Values = tuple[Float32[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]


def decode(path: Path, flags: int) -> np.ndarray:
    """The pixels of an image file, channels as OpenCV orders them (BGR).

    Raises InputError where it is missing, damaged, no regular file or larger than MAX_PIXELS.
    """
    return decode_bytes(read_bytes(path, "image"), path, flags)


def decode_bytes(content: bytes, path: Path | str, flags: int) -> np.ndarray:
    """The pixels of an image file's content; `path` says what it is and names it where it is damaged."""
    if not content or is_truncated(content):
        raise not_read(content, path)
    require_sane_header(content, path)
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise not_read(content, path)
    return pixels


def not_read(content: bytes, path: Path | str) -> InputError:
    """The error of an image that cannot be decoded; a TIFF may hold what is none of light."""
    if content.startswith(TIFF_STARTS):
        return InputError(
            f"{path}: a TIFF that is damaged, or holds other numbers than 8 or 16 bits; copy it again or convert it"
        )
    return InputError(f"{path}: damaged or truncated image; copy it again or leave its frame out")


def light_of(
    content: bytes, path: Path | str
) -> UInt8[np.ndarray, "height width 3"] | UInt16[np.ndarray, "height width 3"]:
    """The pixels of a picture of light as they are stored, in 8 or 16 bits, BGR; raises as `decode_bytes` does."""
    pixels = decode_bytes(content, path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    return pixels if pixels.dtype in (np.uint8, np.uint16) else decode_bytes(content, path, cv2.IMREAD_COLOR)


def whole_size(path: Path) -> tuple[int, int]:
    """(height, width) of a PNG whose chunks lead to its end; the pixels are not decoded.

    Raises InputError where it is missing, no PNG or cut off.
    """
    content = read_bytes(path, "image")
    if not content.startswith(PNG_START) or is_truncated(content):
        raise not_read(content, path)
    return int.from_bytes(content[20:24], "big"), int.from_bytes(content[16:20], "big")


def require_sane_header(content: bytes, path: Path | str) -> None:
    """Raises InputError where an image's header cannot be read or says more than MAX_PIXELS, before memory is taken."""
    try:
        with warnings.catch_warnings():
            # Pillow warns at a size of its own
            warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)
            with PillowImage.open(BytesIO(content)) as image:
                mode, (width, height) = image.mode, image.size
    except PillowImage.DecompressionBombError as error:
        raise InputError(f"{path}: {error}; copy the image again or leave its frame out") from None
    except (OSError, ValueError, SyntaxError):
        raise not_read(content, path) from None
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{path}: its header says {width}x{height}, more than the {MAX_PIXELS:,} pixels that are read; "
            "copy it again or scale it down"
        )
    if mode in NOT_READ:
        raise InputError(f"{path}: holds {NOT_READ[mode]}; convert it to 8 or 16 bits")


def is_truncated(content: bytes) -> bool:
    """Whether the end is missing: OpenCV decodes such files and fills the rest with grey, saying nothing.

    What lies behind the end of the image, as the film in a phone's motion photo, does not count.
    """
    if content.startswith(PNG_START):
        return not _png_ends(content)
    if content.startswith(b"\xff\xd8"):
        return not _jpeg_ends(content)
    return False


def _png_ends(content: bytes) -> bool:
    """Whether the chunks, each of a length, a name, so many bytes and a checksum, lead to IEND."""
    at = 8
    while at + 12 <= len(content):
        if content[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    return False


def _jpeg_ends(content: bytes) -> bool:
    """Whether the segments, those with a length skipped (a thumbnail inside has an end of its own), lead to EOI."""
    marker = JPEG_MARKER.search(content, 2)
    while marker is not None:
        at, kind = marker.end(), marker.group()[1]
        if kind == JPEG_END:
            return True
        length = int.from_bytes(content[at : at + 2], "big")
        marker = JPEG_MARKER.search(content, at + length)
    return False


def read_image(path: Path, white: int | None = FULL_SCALE) -> UInt8[np.ndarray, "height width 3"]:
    """RGB image; grey files become three equal channels. Of 16-bit files the value `white` becomes 255, None: the file's own."""
    pixels = light_of(read_bytes(path, "image"), path)
    return np.ascontiguousarray(eight_bits(pixels, white or white_of([pixels]))[:, :, ::-1])


def eight_bits(
    light: UInt8[np.ndarray, "height width *channels"] | UInt16[np.ndarray, "height width *channels"], white: int
) -> UInt8[np.ndarray, "height width *channels"]:
    """16-bit light with `white` at 255, what is brighter cut off; 8-bit light as it is."""
    if light.dtype == np.uint8:
        return light
    if white == FULL_SCALE:
        return (light >> 8).astype(np.uint8)
    return np.minimum(light * np.float32(255 / white), 255).astype(np.uint8)


def white_of(light: Sequence[np.ndarray]) -> int:
    """The full scale of sampled 16-bit images: all ones of as many bits as their brightest pixel has, at least 8.

    Sensors of 10, 12 or 14 bits are stored in 16 by many drivers. 8-bit images have nothing to scale.
    """
    brightest = max((int(image.max()) for image in light if image.dtype == np.uint16), default=FULL_SCALE)
    return 2 ** max(brightest.bit_length(), 8) - 1


def white_remarks(white: int) -> tuple[str, ...]:
    """What the user should know where `white` is not the full scale."""
    if white == FULL_SCALE:
        return ()
    return (f"images use {white.bit_length()} of 16 bits: {white} is taken for white",)


def write_image(path: Path, image: UInt8[np.ndarray, "height width *channels"]) -> None:
    """RGB (or grey) image in the format of the suffix."""
    _write(path, image[:, :, ::-1] if image.ndim == 3 else image)


def read_sixteen_bit(path: Path) -> UInt16[np.ndarray, "height width"]:
    pixels = decode(path, cv2.IMREAD_UNCHANGED)
    if pixels.dtype != np.uint16 or pixels.ndim != 2:
        raise InputError(f"{path}: expected a 16-bit single-channel PNG, found {pixels.dtype} {pixels.shape}")
    return pixels


def read_scaled(path: Path, per_unit: float = 256.0) -> Values:
    """Values stored as value x per_unit with 0 for none: KITTI depth (m) and disparity (px)."""
    raw = read_sixteen_bit(path)
    return (raw / np.float32(per_unit)).astype(np.float32), raw > 0


def write_scaled(
    path: Path,
    values: Float32[np.ndarray, "height width"],
    valid: Bool[np.ndarray, "height width"],
    per_unit: float = 256.0,
) -> None:
    """The inverse of read_scaled; values that do not fit 16 bits become none, positive ones never round down to none."""
    scaled = np.nan_to_num(values * per_unit, nan=0.0, posinf=0.0, neginf=0.0)
    fits = valid & (scaled > 0) & (scaled < 65535.5)
    _write(path, np.where(fits, np.maximum(np.rint(scaled), 1), 0).astype(np.uint16))


def read_flow(path: Path) -> tuple[Float32[np.ndarray, "height width 2"], Bool[np.ndarray, "height width"]]:
    """Flow in px (x right, y down) and where it is valid."""
    raw = decode(path, cv2.IMREAD_UNCHANGED)
    if raw.dtype != np.uint16 or raw.shape[2:] != (3,):
        raise InputError(f"{path}: expected a 16-bit three-channel KITTI flow PNG, found {raw.dtype} {raw.shape}")
    flow = (raw[:, :, :0:-1].astype(np.float32) - 2**15) / 64
    return flow, raw[:, :, 0] > 0


def write_flow(
    path: Path, flow: Float32[np.ndarray, "height width 2"], valid: Bool[np.ndarray, "height width"]
) -> None:
    """KITTI flow PNG; values beyond +-512 px are stored as invalid."""
    scaled = np.rint(np.nan_to_num(flow) * 64 + 2**15)
    fits = valid & ((scaled >= 0) & (scaled <= 65535)).all(-1)
    stored = np.dstack([scaled, fits]).astype(np.float32) * fits[:, :, None]
    _write(path, stored[:, :, ::-1].astype(np.uint16))


def write_ids(path: Path, ids: Integer[np.ndarray, "height width"]) -> None:
    """16-bit ids, 0 = none."""
    _write(path, ids.astype(np.uint16))


def _write(path: Path, pixels: np.ndarray) -> None:
    # level 1: a third of the time of the default for a tenth more bytes
    done, content = cv2.imencode(path.suffix, np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    write_bytes(path, content.tobytes())
