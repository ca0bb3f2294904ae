"""From what a user names to a data set: recordings, folders of images, archives."""

from collections.abc import Sequence
from pathlib import Path

from firstsight.recordings.opening import FORMATS, open_recording
from firstsight.training.data.archives import image_folder, tar_images, zip_images
from firstsight.training.data.clips import Clips
from firstsight.training.data.dataset import Dataset, Joined
from firstsight.training.data.wanted import Wanted


def open_dataset(sources: Sequence[str], wanted: Wanted, scratch: Path) -> Joined:
    """All that the sources hold. `scratch` is for unpacking. Raises InputError for one that lacks what is wanted."""
    return Joined([open_source(source, wanted, scratch) for source in sources])


def open_source(source: str, wanted: Wanted, scratch: Path) -> Dataset:
    """A recording, a folder of images, or a tar or zip archive of images."""
    path = Path(source).expanduser()
    if source.startswith("sim:") or any(reader.recognises(path) for reader in FORMATS[:-1]):
        return Clips(open_recording(source), wanted)
    if path.is_dir() and takes_single_images(wanted):
        return image_folder(path, wanted)
    if "".join(path.suffixes[-2:]).endswith((".tar", ".tar.gz", ".tgz", ".zip")):
        return zip_images(path, wanted) if path.suffix == ".zip" else tar_images(path, wanted, scratch)
    return Clips(open_recording(source), wanted)


def takes_single_images(wanted: Wanted) -> bool:
    return wanted.clip.reach == (0, 0) and set(wanted.fields) <= {"images", "label", "index", "starts"}
