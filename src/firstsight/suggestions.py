"""What is said of a name that does not exist: the nearest that does, not the whole list."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


def unknown(name: str, kind: str, names: Iterable[str], see: str = "") -> str:
    """Returns one line for a name that is none of `names`, which are of one `kind` ("method").

    The line proposes the nearest name. Where none is near, it says where to look (`see`), or lists all names. A name that
    is written as a path is called a missing folder or file.
    """
    if "/" in name or name.startswith((".", "~")):
        return f"{name}: {'nothing of use in it' if Path(name).expanduser().exists() else 'no such file or folder'}"
    known = {other.lower(): other for other in names}
    near = get_close_matches(name.lower(), known, cutoff=0.6) or [other for other in known if name.lower() in other]
    if near:
        return f"{name}: no such {kind}; did you mean {' or '.join(known[other] for other in near[:3])}?"
    return f"{name}: no such {kind}; " + (f"see {see}" if see else f"there are {', '.join(known.values())}")
