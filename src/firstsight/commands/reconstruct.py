"""`firstsight reconstruct`: photos in, cameras and points out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from firstsight.commands.parsing import FovDeg, Switch, option, parse
from firstsight.terminal import notes


def main(arguments: Sequence[str]) -> None:
    parse(reconstruct, "reconstruct", arguments)


def reconstruct(
    photos: Positional[Annotated[Path, option("PHOTOS", "A folder of photos of one scene, in any order.")]],
    /,
    out: Annotated[Path | None, option("FOLDER")] = None,
    fov_deg: FovDeg = None,
    overwrite: Switch = False,
) -> None:
    """Find the cameras and the points of a scene from photos of it.

    Writes COLMAP's text model, a point cloud, an image and a summary.

    Args:
        out: The folder to write to; by default runs/PHOTOS-reconstruction. A killed run continues where it stopped.
        overwrite: Replace the reconstruction that the folder holds.
    """
    from firstsight.commands.work.reconstruct import print_summary
    from firstsight.reconstruct.job import reconstruct_folder

    print_summary(*reconstruct_folder(photos, out, fov_deg=fov_deg, overwrite=overwrite, console=notes()))
