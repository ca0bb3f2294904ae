"""The advice of messages about recordings, followed: afterwards the recording opens."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings.opening import open_recording

SIZE = (24, 40)
SECOND = "1305031102.175304"


class Case(NamedTuple):
    """A recording with a fault, a part of the advice that it gets, and the advice followed: changed files or settings."""

    broken: Callable[[Path], Path]
    advice: str
    followed: Callable[[Path], dict[str, Any] | None]


def write(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full(size, 9, np.uint8))


def tum(path: Path, time: str) -> Path:
    write(path / "rgb" / "0.png")
    (path / "rgb.txt").write_text(f"{time} rgb/0.png\n")
    return path


def scenes(path: Path) -> Path:
    write(path / "frame-000000.color.png")
    return path


def asl(path: Path, time: str = "1403715273262142976", right: tuple[int, int] = SIZE) -> Path:
    turn = "0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0, {}, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0"
    for name, (height, width), left_m in (("cam0", SIZE, 0.0), ("cam1", right, -0.1)):
        folder = path / "mav0" / name
        write(folder / "data" / "0.png", (height, width))
        (folder / "data.csv").write_text(f"{time},0.png\n")
        (folder / "sensor.yaml").write_text(
            f"T_BS: [{turn.format(left_m)}]\nresolution: [{width}, {height}]\nintrinsics: [30.0, 31.0, 19.5, 11.5]\n"
            "distortion_model: radial-tangential\ndistortion_coefficients: [0.1, 0.0, 0.0, 0.0]\n"
        )
    return path


def day(path: Path) -> Path:
    """A drive whose calibration is missing a file beside it."""
    write(path / "drive" / "image_02" / "data" / "0000000000.png")
    return path / "drive"


def calibrated_day(drive: Path) -> None:
    (drive.parent / "calib_cam_to_cam.txt").write_text(
        "R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: 30 0 19.5 0 0 31 11.5 0 0 0 1 0\n"
    )
    (drive.parent / "calib_velo_to_cam.txt").write_text("R: 0 -1 0 0 0 -1 1 0 0\nT: 0 0 0\n")


def calibrated(path: Path) -> None:
    (path / "camera-intrinsics.txt").write_text("30 0 19.5\n0 31 11.5\n0 0 1\n")


def twice_numbered(path: Path) -> Path:
    for name in ("0000000001.png", "0000000001.jpg"):
        write(path / "image_02" / "data" / name)
    calibrated_day(path)
    return path


def divided(path: Path) -> None:
    tum(path, SECOND)


def multiplied(path: Path) -> None:
    asl(path, "1403715273500000000")


CASES = {
    "nanoseconds": Case(lambda p: tum(p, "1305031102175304000"), "divide the column by 1000000000", divided),
    "milliseconds": Case(lambda p: tum(p, "1305031102175.304"), "divide the column by 1000", divided),
    "seconds": Case(lambda p: asl(p, "1403715273.5"), "multiply it by 1000000000", multiplied),
    "two sizes": Case(
        lambda p: asl(p, right=(12, 20)), "--sensors camera", lambda p: {"sensors": frozenset({"camera"})}
    ),
    "no calibration": Case(scenes, "add camera-intrinsics.txt", calibrated),
    "calibration beside": Case(day, "calib_cam_to_cam.txt: missing file", calibrated_day),
    "two of a number": Case(
        lambda p: twice_numbered(p / "drive"),
        "rename or remove one of them",
        lambda p: (p / "image_02" / "data" / "0000000001.jpg").unlink(),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_recording_opens_when_the_advice_is_followed(tmp_path, case):
    path = case.broken(tmp_path / "recording")
    with pytest.raises(InputError, match=re.escape(case.advice)):
        open_recording(str(path))
    settings = case.followed(path) or {}
    recording = open_recording(str(path), **settings)
    assert recording[0].image().shape == (*SIZE, 3)


def test_what_a_setting_cannot_be_used_for_is_said_and_it_opens_without(tmp_path):
    path = tum(tmp_path, SECOND)
    calibrated(path)
    for setting in ({"fov_deg": 70.0}, {"depth_per_metre": 1000.0}):
        with pytest.raises(InputError, match="leave the setting out"):
            open_recording(str(path), **setting)
    assert len(open_recording(str(path))) == 1
