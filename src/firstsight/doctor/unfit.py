"""What the doctor calls unfit, said before hours are spent on it."""

from rich.console import Console

from firstsight.doctor import examine
from firstsight.recordings.recording import Recording


def warn_if_unfit(recording: Recording, console: Console) -> None:
    """Prints a line for each unfit finding."""
    for finding in examine(recording):
        if finding.verdict == "unfit":
            words = f"unfit: {recording.source}: {finding.check}: {finding.measured}. {finding.advice}"
            console.print(words, style="yellow", markup=False, soft_wrap=True)
