"""The optional parts of an installation and the command that installs them here."""

import json
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlparse


def install_command(extra: str = "") -> str:
    """Returns the command that installs an extra into this installation, or firstsight itself.

    An installation from a clone names the clone (a dot where it is the current folder), for which an index has no package.
    """
    clone, editable = clone_of_installation()
    wanted = f"[{extra}]" if extra else ""
    if clone is None:
        return f"pip install 'firstsight{wanted}'" if wanted else "pip install firstsight"
    place = "." if clone == Path.cwd() else str(clone)
    return f"pip install {'-e ' if editable else ''}'{place}{wanted}'"


def clone_of_installation() -> tuple[Path | None, bool]:
    """Returns the folder that firstsight was installed from (None: from an index), and whether it runs from there."""
    try:
        noted = metadata.distribution("firstsight").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        noted = None
    origin = json.loads(noted or "{}")
    folder = Path(unquote(urlparse(origin.get("url", "")).path))
    if "dir_info" in origin and (folder / "pyproject.toml").exists():
        return folder, bool(origin["dir_info"].get("editable"))
    source = Path(__file__).resolve().parents[2]
    if noted is None and (source / "pyproject.toml").exists():
        return source, True
    return None, False
