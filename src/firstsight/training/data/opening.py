"""From what a user names to a data set: recordings, folders of images, archives, shards, logs as arrays.

drive                              a recording (docs/recordings.md), or a folder of images
drive@frames=0:100                 some frames of it
drive@frames=0:100@taught=RUN      with the pseudo-labels that a finished run has of these frames
phone.mp4@fov-deg=70               a camera without calibration whose field of view is known
desk@depth-per-metre=1000          depth images whose unit is known
images.zip, images.tar.gz      images in an archive
shards/                            a folder of tar files, for millions of images
log.npz, logs/                     arrays by name, in one file or in a folder of them
sim:layers                         pairs of images with true flow and disparity, drawn as they are asked for (layered.pairs)
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from firstsight.errors import InputError
from firstsight.recordings.files import image_files
from firstsight.recordings.opening import FORMATS, frame_indices, open_recording
from firstsight.recordings.recording import Recording
from firstsight.training.data.archives.reading import tar_images, zip_images
from firstsight.training.data.archives.shards import open_shards
from firstsight.training.data.archives.unpacking import OPENERS
from firstsight.training.data.arrays import logged_arrays
from firstsight.training.data.clips import Clips
from firstsight.training.data.dataset import Dataset, Joined
from firstsight.training.data.images import Images, image_folder, takes_single_images
from firstsight.training.data.taught import finished_run
from firstsight.training.data.wanted import Wanted
from firstsight.training.layered.pairs import LayeredPairs, is_layers

SETTINGS = ("frames", "fov-deg", "taught", "depth-per-metre")


class Source(NamedTuple):
    """A source as a user writes it: `name` is the path or the simulated world, the rest its settings.

    `others` are settings of other names: in logs, what an array is called there.
    """

    name: str
    frames: str | None = None
    fov_deg: float | None = None
    taught: str | None = None
    depth_per_metre: float | None = None
    others: Mapping[str, str] = MappingProxyType({})

    @property
    def path(self) -> Path:
        return Path(self.name).expanduser()

    @property
    def main(self) -> tuple[str | float | None, ...]:
        """What it has of SETTINGS, in their order."""
        return (self.frames, self.fov_deg, self.taught, self.depth_per_metre)

    def recording(self) -> Recording:
        """Opens it as a recording. Raises InputError where it is none, or the settings do not suit it."""
        return open_recording(self.name, frames=self.frames, fov_deg=self.fov_deg, depth_per_metre=self.depth_per_metre)


def parse_source(text: str) -> Source:
    """The longest part that is a path that exists is the name. Raises InputError for a setting that does not exist."""
    parts = re.split(r"(?=@[\w-]+=)", text)
    named = (count for count in range(len(parts), 1, -1) if Path("".join(parts[:count])).expanduser().exists())
    count = next(named, 1)
    name, settings = "".join(parts[:count]), parts[count:]
    given = dict(setting[1:].split("=", 1) for setting in settings)
    others = {key: value for key, value in given.items() if key not in SETTINGS}
    return Source(
        name,
        given.get("frames"),
        _number(text, given.get("fov-deg"), "fov-deg is a number of degrees"),
        given.get("taught"),
        _number(text, given.get("depth-per-metre"), "depth-per-metre is a number, such as 1000 for millimetres"),
        others,
    )


def _number(text: str, value: str | None, what: str) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        raise InputError(f"{text}: {what}") from None


def with_settings(text: str, settings: Mapping[str, str | float | None]) -> str:
    """The source with those of the settings that are given and that it does not have itself."""
    source = parse_source(text)
    own = dict(zip(SETTINGS, source.main, strict=True))
    added = [f"@{name}={value}" for name, value in settings.items() if value is not None and own[name] is None]
    return "".join([text, *added])


def open_dataset(sources: Sequence[str], wanted: Wanted, scratch: Path, method: str | None = None) -> Joined:
    """All that the sources hold for learning. `scratch` is for unpacking (`unpacking.scratch_folder`), `method` the name
    that messages call the learner by. Raises InputError for a source that lacks what is wanted.
    """
    named = wanted if method is None else replace(wanted, method=method)
    opened = [open_source(source, named, scratch) for source in sources]
    return Joined([part.for_training() if isinstance(part, Images) else part for part in opened])


def open_source(text: str, wanted: Wanted, scratch: Path) -> Dataset:
    """All samples of a source, those for testing included."""
    source = parse_source(text)
    if is_layers(source.name):
        require_settings(source, set(), "drawn pairs")
        return LayeredPairs(source.name, wanted)
    if source.path.exists() and not is_recording(source):
        if holds_arrays(source.path):
            require_settings(source, set(wanted.fields), "arrays")
            return logged_arrays(source.path, wanted, source.others)
        images = open_images(source, wanted, scratch)
        if images is not None:
            require_settings(source, {"frames"}, "single images")
            images.remarks += images.light_remarks()
            return images if source.frames is None else images.select(frame_indices(source.frames, len(images)))
    require_settings(source, set(SETTINGS), "a recording")
    recording = source.recording()
    teacher = None if source.taught is None else finished_run(source.taught, recording, source.frames)
    return Clips(recording, wanted, teacher)


def require_settings(source: Source, known: set[str], what: str) -> None:
    """Raises InputError for settings that this kind of source does not have."""
    given = {name for name, value in zip(SETTINGS, source.main, strict=True) if value is not None}
    given |= set(source.others)
    if unknown := sorted(given - known):
        raise InputError(f"{source.name}@{unknown[0]}=: {what} can have {', '.join(sorted(known)) or 'no settings'}")


def is_recording(source: Source) -> bool:
    return source.name.startswith("sim:") or any(reader.recognises(source.path) for reader in FORMATS[:-1])


def open_images(source: Source, wanted: Wanted, scratch: Path) -> Images | None:
    """Single images, where the source is an archive or shards, or a folder of which single images are wanted."""
    path = source.path
    if path.suffix == ".zip":
        return zip_images(path, wanted)
    if path.suffix in (".tar", ".tgz") or (path.suffix in OPENERS and path.stem.endswith(".tar")):
        return tar_images(path, wanted, scratch)
    if not path.is_dir():
        return None
    if not image_files(path) and any(path.glob("*.tar")):
        return open_shards(path, wanted, scratch)
    return image_folder(path, wanted) if takes_single_images(wanted) else None


def holds_arrays(path: Path) -> bool:
    """Whether it is an .npz file, or a folder of them without images."""
    if path.is_dir():
        return any(path.glob("*.npz")) and not image_files(path)
    return path.suffix == ".npz"
