"""What `firstsight doctor SOURCE` prints."""

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from firstsight.doctor.examination import findings_of
from firstsight.doctor.samples import gather
from firstsight.doctor.settings import SENSOR_OF_CHECK, proposed_command
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import Recording
from firstsight.run_folder import Finding

DescribePlan = Callable[[Recording], Iterable[tuple[str, str]]]
"""(stage, its method or why it is skipped) of a recording: the plan lies above the doctor and is passed in."""

COLOURS = {"ok": "green", "note": "yellow", "unfit": "red"}


def print_findings(
    source: str, *, frames: str | None = None, fov_deg: float | None = None, plan: DescribePlan | None = None
) -> int:
    """Examine a recording and print what was found, what will be made of it and the command to use.

    `plan` tells of a recording which method does which stage. Returns the exit status: 0 where it is fit for use, 1 where
    something makes it unfit. Raises InputError where the source cannot be opened.
    """
    console = Console()
    recording = open_recording(source, frames=frames, fov_deg=fov_deg)
    samples = gather(recording)
    findings = findings_of(samples)
    console.print(f"[bold]{escape(source)}[/bold]: {recording.format}")
    for remark in recording.remarks:
        console.print(f"note: {remark}", markup=False)
    console.print(findings_table(findings))
    if plan is not None:
        console.print(plan_table(plan(recording)))
    command = proposed_command(samples, findings, source, frames, fov_deg)
    unfit = {finding.check for finding in findings if finding.verdict == "unfit"}
    occasion = "use it with" if unfit <= SENSOR_OF_CHECK.keys() else "once mended"
    console.print(f"{occasion}:  {command}", markup=False, soft_wrap=True)
    console.print(conclusion(findings), markup=False, soft_wrap=True)
    return int(bool(unfit))


def findings_table(findings: Sequence[Finding]) -> Table:
    table = Table("check", "verdict", "measured", "advice", box=None, header_style="bold", pad_edge=False)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for finding in findings:
        colour = COLOURS[finding.verdict]
        verdict = f"[{colour}]{finding.verdict}[/{colour}]"
        table.add_row(finding.check, verdict, escape(finding.measured), escape(finding.advice))
    return table


def plan_table(stages: Iterable[tuple[str, str]]) -> Table:
    """Which method does which stage, or why none does."""
    table = Table("stage", "what will do it", box=None, header_style="bold", pad_edge=False)
    for name, method in stages:
        table.add_row(escape(name), escape(method))
    return table


def conclusion(findings: Sequence[Finding]) -> str:
    """The verdict in one line."""
    unfit = [finding for finding in findings if finding.verdict == "unfit"]
    notes = [finding.check for finding in findings if finding.verdict == "note"]
    if unfit:
        return "unfit: " + "; ".join(f"{finding.check}: {finding.measured}" for finding in unfit)
    return f"fit for use; see the notes on {', '.join(notes)}" if notes else "fit for use"
