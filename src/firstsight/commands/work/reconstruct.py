"""What `firstsight reconstruct` prints when it is done."""

from pathlib import Path

from firstsight.reconstruct.job import Summary
from firstsight.terminal import results, say, table


def print_summary(folder: Path, summary: Summary) -> None:
    """Prints what was placed, how exactly, what was left out and why, and where it is written."""
    rows = table("reconstruction", "")
    rows.add_row("photos placed", f"{summary.placed} of {summary.photos}")
    rows.add_row("points", f"{summary.points}")
    rows.add_row("mean reprojection error", f"{summary.mean_error_px:.3f} px")
    rows.add_row("mean track length", f"{summary.mean_track_length:.2f} photos")
    for lens in summary.lenses:
        size = f"{lens['width']}x{lens['height']}"
        rows.add_row(f"focal length ({size})", f"{lens['focal_px']:.1f} px, {lens['focal_length']}")
    rows.add_row("time", f"{summary.seconds:.1f} s")
    results().print(rows)
    for name, reason in summary.left_out.items():
        say(f"left out: {name}: {reason}")
    say("scale: unknown (photos alone do not tell it)")
    say(f"written: {folder} (COLMAP text model, points.ply, reconstruction.png, summary.json)")
