"""A video file: frames from one camera, decoded when asked for.

Conventions there -> ours:
- Decoded BGR -> RGB; a rotation in the file's metadata is applied.
- Presentation times of the container (ms) -> ns from the first frame; where they do not grow, frames at the stated rate.
- Frame numbers count what decodes, not what the container's header says.
- No calibration -> a field of view of 60 degrees is assumed, and flagged (`open_recording(fov_deg=...)` states it).
"""

import os
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64, Int64

from firstsight.errors import InputError
from firstsight.recordings.image_folder import assumed_camera
from firstsight.recordings.recording import Channel, Image, Recording, Rig

NAME = "video file"
LAYOUT = "a file *.mp4, .avi, .mov, .mkv, .webm or .m4v"

SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"})
CAMERA = "video"
FORWARD_FRAMES = 60  # decoding this many frames ahead is cheaper than seeking
TIME_TOLERANCE_MS = 1e-3
SEEK_MARGINS_MS = (0.0, 1e3, 1e4)  # where a seek lands too late, one to an earlier time is tried


def recognises(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES


def read(path: Path) -> Recording:
    """Decodes the file once to count its frames. Raises InputError where it is damaged or empty."""
    video = Video(path)
    image = video.frame(0)
    camera = assumed_camera(CAMERA, image.shape[:2])
    remarks = ()
    if len(video) < video.stated_frames - 1:  # containers often count one frame too many
        remarks = (f"only {len(video)} of the {video.stated_frames} frames that the file states can be decoded",)
    return Recording(
        source=str(path),
        format=NAME,
        rig=Rig(cameras=(camera,)),
        stamps_ns=video.stamps_ns(),
        images={CAMERA: Channel(len(video), video.frame)},
        remarks=remarks,
    )


class Video:
    """Frames of a video file by their number in decoding order, exact after any jump.

    Seeking is only approximate in many codecs, so one pass over the file notes each frame's presentation time, and after
    a jump the time tells which frame was reached.
    """

    def __init__(self, path: Path):
        self._path = path
        self._open()
        self.stated_frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        times = []
        while self._capture.grab():
            times.append(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        if not times:
            raise InputError(f"{path}: no frame of this video can be decoded; convert it, for example to MP4 (H.264)")
        self._times_ms: Float64[np.ndarray, " frames"] = np.array(times)
        self._times_grow = bool(np.all(np.diff(self._times_ms) > 0))
        self._open()

    def __len__(self) -> int:
        return len(self._times_ms)

    def stamps_ns(self) -> Int64[np.ndarray, " frames"]:
        times_ms = self._times_ms - self._times_ms[0]
        if not self._times_grow:
            times_ms = np.arange(len(self)) * (1e3 / (self._rate_hz if self._rate_hz > 0 else 25.0))
        return np.rint(times_ms * 1e6).astype(np.int64)

    def frame(self, index: int) -> Image:
        """RGB of frame `index`. Raises InputError where it cannot be decoded."""
        if not self._reached <= index <= self._reached + FORWARD_FRAMES:
            self._seek(index)
        while self._reached < index and self._capture.grab():
            self._reached += 1
        decoded, image = self._capture.retrieve() if self._reached == index else (False, None)
        if not decoded or image is None:
            raise InputError(f"{self._path}: frame {index} cannot be decoded; convert the video or leave the frame out")
        return np.ascontiguousarray(image[:, :, ::-1])

    def _open(self) -> None:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg's own lines would stand beside our one
        self._capture = cv2.VideoCapture(
            str(self._path.absolute())
        )  # a relative name with a colon would be read as a protocol
        self._reached = -1  # number of the frame that was grabbed last
        if not self._capture.isOpened():
            raise InputError(f"{self._path}: not a video that can be decoded; convert it, for example to MP4 (H.264)")

    def _seek(self, index: int) -> None:
        """Goes to `index` or to a frame before it."""
        for margin_ms in SEEK_MARGINS_MS if self._times_grow else ():
            self._capture.set(cv2.CAP_PROP_POS_MSEC, max(self._times_ms[index] - margin_ms, 0.0))
            if self._capture.grab():
                time_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
                self._reached = int(np.argmin(np.abs(self._times_ms - time_ms)))
                if self._reached <= index and abs(self._times_ms[self._reached] - time_ms) < TIME_TOLERANCE_MS:
                    return
        self._open()
