"""`firstsight reconstruct`: a folder of photos in; COLMAP's text model, a point cloud, a picture and a summary out."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from firstsight.reconstruct.job import Summary, reconstruct_folder

__all__ = ["print_summary", "reconstruct_folder"]


def print_summary(folder: Path, summary: Summary) -> None:
    """Prints what was placed, how exactly, what was left out and why, and where it is written."""
    table = Table("reconstruction", "", box=None, header_style="bold", pad_edge=False)
    table.add_row("photos placed", f"{summary.placed} of {summary.photos}")
    table.add_row("points", f"{summary.points}")
    table.add_row("mean reprojection error", f"{summary.mean_error_px:.3f} px")
    table.add_row("mean track length", f"{summary.mean_track_length:.2f} photos")
    for lens in summary.lenses:
        size = f"{lens['width']}x{lens['height']}"
        table.add_row(f"focal length ({size})", f"{lens['focal_px']:.1f} px, {lens['focal_length']}")
    table.add_row("time", f"{summary.seconds:.1f} s")
    console = Console()
    console.print(table)
    for name, reason in summary.left_out.items():
        console.print(f"left out: {name}: {reason}", highlight=False, markup=False)
    console.print("scale: unknown (photos alone do not tell it)")
    console.print(f"written: {folder} (COLMAP text model, points.ply, reconstruction.png, summary.json)")
