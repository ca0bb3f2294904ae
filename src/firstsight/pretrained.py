"""Trained methods as folders: `config.json` and `model.safetensors`, in the layout that model hubs use.

load("runs/monodepth")          a folder, of a training or saved
load("hf:somebody/a-method")    from the Hugging Face hub (extra `hub`), which is asked for no other name
save(method, "folder")
"""

from pathlib import Path
from typing import Any

from firstsight import catalogue
from firstsight.errors import InputError
from firstsight.extras import install_command
from firstsight.formats.storage.atomic import write_json
from firstsight.formats.storage.configuration import from_json, read_json
from firstsight.formats.storage.weights import load_into, load_weights, save_weights
from firstsight.training import Trainable
from firstsight.training.checkpoint import FORMAT, identity, stable_name

HUB = "hf:"
HUB_TIMEOUT_S = 10


def save(method: Trainable, folder: Path | str) -> None:
    """Writes the method's settings and weights."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", identity(method))
    save_weights(folder / "model.safetensors", method.state_dict(), identity(method))


def load(name: Path | str) -> Trainable:
    """The method with its weights, ready to use. Raises InputError where the folder holds none, or one of another version."""
    folder = find(name)
    about = read_json(folder / "config.json")
    if about.get("format") != FORMAT:
        raise InputError(f"{folder}/config.json: format {about.get('format')}, this version reads {FORMAT}")
    entry = entry_of(about, folder)
    learned = learning(entry)
    method = built(learned, about.get("config"), folder / "config.json")
    load_into(method, load_weights(folder / "model.safetensors"), folder / "model.safetensors")
    return method.eval()


def built(learned: type[Trainable], settings: Any, path: Path) -> Trainable:
    """An untrained method with settings that were read. Raises InputError where no method can have them."""
    config = from_json(type(learned.PRESETS["paper"].config), settings, str(path))
    try:
        return learned(config)
    except (RuntimeError, ValueError, MemoryError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: no method can be built with these settings ({reason}); restore it") from None


def learning(entry: catalogue.Entry) -> type[Trainable]:
    """The class of a method that learns. Raises InputError for one that does not."""
    kind = entry.load()
    if not issubclass(kind, Trainable):
        others = [other.name for other in catalogue.entries() if issubclass(other.load(), Trainable)]
        raise InputError(f"{entry.name}: is not trainable; methods that learn: {', '.join(others)}")
    return kind


def kind(folder: Path | str) -> type:
    """The class of a folder's method."""
    return described(folder).load()


def name(folder: Path | str) -> str:
    """The catalogue's name of a folder's method."""
    return described(folder).name


def described(folder: Path | str) -> catalogue.Entry:
    folder = find(folder) if from_hub(folder) else Path(folder)
    return entry_of(read_json(folder / "config.json"), folder)


def is_folder(name: str) -> bool:
    """Whether the name is a folder of a trained method, or names one of the hub."""
    return from_hub(name) or (Path(name) / "config.json").exists()


def from_hub(name: Path | str) -> bool:
    """Whether the name is that of a method on the hub. Only such a name may lead to a question to the network."""
    return str(name).startswith(HUB)


def find(name: Path | str) -> Path:
    """Returns the folder of a trained method; one of the hub is fetched into the hub's cache.

    Raises InputError where there is no such folder, where it holds no trained method, and where its training is unfinished.
    """
    if from_hub(name):
        return fetched(str(name).removeprefix(HUB))
    folder = Path(name).expanduser()
    if not folder.is_dir():
        hint = f"; from the Hugging Face hub: {HUB}{name}" if str(name).count("/") == 1 else ""
        raise InputError(f"{name}: no such folder; give the folder of a training (its --out){hint}")
    if not (folder / "config.json").exists():
        raise InputError(f"{name}: no trained method in it (config.json); give the folder of a training (its --out)")
    if not (folder / "model.safetensors").exists():
        raise InputError(f"{folder}: training unfinished; resume with `firstsight train` and the same --out")
    return folder


def fetched(name: str) -> Path:
    """Returns the folder in the hub's cache of a method on the hub. Raises InputError where the hub does not give it."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise InputError(f"{HUB}{name}: to fetch it from the hub: {install_command('hub')}") from None
    wanted = ["config.json", "model.safetensors"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted, etag_timeout=HUB_TIMEOUT_S))
    except Exception as error:  # the hub raises its own errors, the network's and the disk's
        raise InputError(f"{HUB}{name}: the hub did not give it ({type(error).__name__})") from None


def entry_of(about: dict[str, Any], folder: Path) -> catalogue.Entry:
    """The catalogue's line; only its methods are imported, whatever a file says."""
    target = about.get("method")
    named = [entry for entry in catalogue.entries() if stable_name(entry.target) == stable_name(str(target))]
    if not named:
        raise InputError(f"{folder}/config.json: {target} is no method of this version")
    return named[0]
