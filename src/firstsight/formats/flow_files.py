"""Maps of floats in one file: flow as .flo, flow and disparity as .pfm.

Source: Middlebury's flow-code (Baker et al. 2011): "PIEH", width, height as int32, then u, v of each pixel as float32, row by row
        from the top, all little-endian; a component above 1e9 is unknown, Middlebury's own truths hold 1,666,666,752 there.
        PFM as Scharstein et al. (2014) and Mayer et al. (2016) write it: "Pf" or "PF" for one or three channels, width, height, and a
        scale whose sign says little-endian (-) or big; then float32 row by row from the bottom.
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from firstsight.errors import InputError
from firstsight.formats.png import MAX_PIXELS
from firstsight.formats.storage.atomic import write_bytes
from firstsight.reading import read_bytes

FLO_START = b"PIEH"
FLO_HEADER = 12  # bytes
UNKNOWN = 1e9
WRITTEN_UNKNOWN = 1_666_666_752
PFM_HEADER = re.compile(rb"(P[Ff])\s+(\d{1,9})\s+(\d{1,9})\s+([-+]?[\d.eE+-]{1,20})\s")

Flow = Float32[np.ndarray, "height width 2"]
Known = Bool[np.ndarray, "height width"]


def read_flo(path: Path) -> tuple[Flow, Known]:
    """Flow in px, 0 where it is unknown, and where it is known. Raises InputError for a damaged file."""
    content = read_bytes(path, "flow file")
    if len(content) < FLO_HEADER or not content.startswith(FLO_START):
        raise InputError(f"{path}: no .flo file (it does not begin with PIEH); copy it again")
    width, height = np.frombuffer(content, "<i4", 2, len(FLO_START)).tolist()
    values = pixels(path, content[FLO_HEADER:], (height, width, 2), "<f4")
    known = np.all(np.abs(values) < UNKNOWN, axis=-1)
    return np.where(known[..., None], values, np.float32(0)), known


def write_flo(path: Path, flow: Flow, known: Known) -> None:
    """Writes flow in px; what is not known is written as in Middlebury's truths."""
    height, width = known.shape
    values = np.where(known[:, :, None], flow, np.float32(WRITTEN_UNKNOWN)).astype("<f4")
    write_bytes(path, FLO_START + np.array([width, height], "<i4").tobytes() + values.tobytes())


def read_pfm(path: Path) -> Float32[np.ndarray, "height width *channels"]:
    """A map (height, width) of one channel, or (height, width, 3), from the top. Raises InputError for a damaged file."""
    content = read_bytes(path, "PFM file")
    header = PFM_HEADER.match(content)
    try:
        scale = float(header[4]) if header else 0.0
    except ValueError:
        scale = 0.0
    if header is None or scale == 0:
        raise InputError(f"{path}: no .pfm file (PF or Pf, width, height, scale); copy it again")
    width, height = int(header[2]), int(header[3])
    shape = (height, width, 3) if header[1] == b"PF" else (height, width)
    return pixels(path, content[header.end() :], shape, "<f4" if scale < 0 else ">f4")[::-1].astype(np.float32)


def write_pfm(path: Path, values: Float32[np.ndarray, "height width *channels"]) -> None:
    """Writes a map (height, width) or (height, width, 3), little-endian."""
    kind, (height, width) = "PF" if values.ndim == 3 else "Pf", values.shape[:2]
    write_bytes(path, f"{kind}\n{width} {height}\n-1\n".encode() + values[::-1].astype("<f4").tobytes())


def pixels(path: Path, content: bytes, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """The rest of a file as an array; its size is judged before it is believed."""
    height, width = shape[:2]
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise InputError(f"{path}: its header says {width}x{height}; copy it again")
    expected = int(np.prod(shape)) * 4
    if len(content) != expected:
        raise InputError(
            f"{path}: {len(content)} bytes of values where {width}x{height} need {expected}; copy it again"
        )
    return np.frombuffer(content, dtype).reshape(shape)
