"""The messages of a ROS bag by topic and position, read when asked for."""

import struct
import sys
import weakref
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from firstsight.errors import InputError
from firstsight.formats.trajectory import require_times

SUFFIXES = frozenset({".bag", ".mcap", ".db3"})
# Of a serialised message that starts with a Header, behind ROS 1's seq or CDR's encapsulation.
HEADER_STAMP = slice(4, 12)


def bag_file(path: Path) -> Path | None:
    """What rosbags opens at a path: a bag file, or a ROS 2 bag's folder; None where there is no bag."""
    if path.is_file():
        return path if path.suffix.lower() in SUFFIXES else None
    if (path / "metadata.yaml").is_file() and any(_files_inside(path)):
        return path
    inside = list(_files_inside(path)) if path.is_dir() else []
    return inside[0] if len(inside) == 1 else None


def _files_inside(folder: Path) -> Iterator[Path]:
    return (file for file in folder.iterdir() if not SUFFIXES.isdisjoint(file.suffixes) and file.is_file())


@cache
def parser_errors() -> tuple[type[Exception], ...]:
    """What rosbags, SQLite and its decompressors raise where a bag is damaged, and whatever they stumble over."""
    from apsw import Error as SqliteError
    from rosbags.highlevel import AnyReaderError
    from rosbags.highlevel.anyreader import ReaderErrors

    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdError
    else:
        from backports.zstd import ZstdError

    wrong_content = (ValueError, TypeError, LookupError, ArithmeticError)
    stumbles = (OSError, EOFError, AssertionError, RuntimeError, MemoryError, *wrong_content)
    return (AnyReaderError, *ReaderErrors, SqliteError, ZstdError, struct.error, *stumbles)


class Bag:
    """An open bag. Every damage found on the way is an InputError that names the file."""

    def __init__(self, path: Path, file: Path):
        """`path` is what the user named, `file` what is opened for it."""
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore

        self.path = path
        with self._reading():
            # the default types serve ROS 2 bags that were recorded without message definitions
            self._reader = AnyReader([file], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
            self._reader.open()
        weakref.finalize(self, self._reader.close)  # channels keep the bag; the file closes with the last of them

    @contextmanager
    def _reading(self) -> Generator[None]:
        """Turns what a damaged bag makes its parser raise into an InputError."""
        try:
            yield
        except parser_errors() as error:
            raise self.damaged(" ".join(str(error).split()) or type(error).__name__) from None

    def damaged(self, reason: str) -> InputError:
        """The error of a bag that cannot be read on."""
        return InputError(
            f"{self.path}: cannot be read as a ROS bag ({reason}); repair it with `rosbag reindex` or `mcap recover`"
        )

    def topics(self, *types: str) -> list[str]:
        """Names of the topics with messages of the given types (as `sensor_msgs/msg/Image`), sorted."""
        with self._reading():
            return sorted(name for name, info in self._reader.topics.items() if info.msgtype in types and info.msgcount)

    def count(self, topic: str) -> int:
        return self._reader.topics[topic].msgcount

    def messages(self, topic: str) -> Iterator[Any]:
        """All messages of a topic in the order of recording."""
        return (self.decode(raw, kind) for _, raw, kind in self.raw(topic))

    def first(self, topic: str) -> Any:
        return next(self.messages(topic))

    def raw(
        self, topic: str, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[tuple[int, bytes, str]]:
        """(time of recording in ns, serialised message, type) of a topic, in the order of recording.

        Raises InputError where of a topic that the bag's index names no message is left.
        """
        found = 0
        with self._reading():
            connections = self._reader.topics[topic].connections
            for connection, time_ns, raw in self._reader.messages(connections, start=start_ns, stop=stop_ns):
                if type(time_ns) is not int:  # SQLite keeps anything in any column
                    raise ValueError(f"{topic}: a time of recording is {time_ns!r:.40}")
                found += 1
                yield time_ns, bytes(raw), connection.msgtype
        if not found and start_ns is None and stop_ns is None:
            raise self.damaged(f"no message of {topic} is left")

    def decode(self, raw: bytes, kind: str) -> Any:
        with self._reading():
            return self._reader.deserialize(raw, kind)

    def header_stamp_ns(self, raw: bytes) -> int:
        """The stamp of a serialised message that starts with a header, 0 where it is not set."""
        big_endian = self._reader.is2 and raw[1] == 0  # CDR says its byte order, ROS 1 is little endian
        seconds, nanoseconds = np.frombuffer(raw[HEADER_STAMP], ">u4" if big_endian else "<u4").tolist()
        return seconds * 10**9 + nanoseconds


class Stream:
    """The messages of one topic by position; only their times stay in memory."""

    def __init__(self, bag: Bag, topic: str):
        self._bag, self.topic = bag, topic
        times = [(time_ns, bag.header_stamp_ns(raw) or time_ns) for time_ns, raw, _ in bag.raw(topic)]
        recorded, stamps = zip(*times, strict=True)
        self._recorded_ns = require_times(recorded, f"{bag.path}: {topic}")
        # a driver that never sets its clock
        frozen = len(stamps) > 1 and len(set(stamps)) == 1
        self.stamps_ns = self._recorded_ns if frozen else require_times(stamps, f"{bag.path}: {topic}")
        self.remarks = (f"all stamps of {topic} are equal: the times of recording are taken",) if frozen else ()
        if not np.all(np.diff(self._recorded_ns) >= 0):
            raise InputError(f"{bag.path}: messages of {topic} are not in the order of recording; rewrite the bag")

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def __getitem__(self, position: int) -> Any:
        time_ns = int(self._recorded_ns[position])
        twins = position - int(np.searchsorted(self._recorded_ns, time_ns))  # messages recorded in the same nanosecond
        for passed, (_, raw, kind) in enumerate(self._bag.raw(self.topic, time_ns, time_ns + 1)):
            if passed == twins:
                return self._bag.decode(raw, kind)
        raise InputError(f"{self._bag.path}: message {position} of {self.topic} is gone; was the file changed?")

    def where(self, position: int) -> str:
        """Names a message in errors."""
        return f"{self._bag.path}: {self.topic} message {position}"
