"""What `firstsight doctor SOURCE` prints, and what other commands say of an unfit recording."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from firstsight.doctor.examination import examine, findings_of
from firstsight.doctor.samples import gather
from firstsight.doctor.settings import SENSOR_OF_CHECK, Given, proposed_command
from firstsight.recordings.recording import Recording
from firstsight.run_folder import Finding
from firstsight.terminal import coloured, results, say, say_json, table

DescribePlan = Callable[[Recording], Iterable[tuple[str, str]]]
"""(stage, its method or why it is skipped) of a recording: the plan lies above the doctor and is passed in."""

COLOURS = {"ok": "green", "note": "yellow", "unfit": "red"}


def print_findings(
    source: str,
    given: Given | None = None,
    *,
    plan: DescribePlan | None = None,
    as_json: bool = False,
) -> int:
    """Examines a recording and prints what was found, what will be made of it and the command to use.

    `plan` tells of a recording which method does which stage; `as_json` prints all as JSON. Returns the exit status: 0 where it is fit for use, 1 where
    something makes it unfit. Raises InputError where the source cannot be opened.
    """
    given = given or Given()
    recording = given.open(source)
    samples = gather(recording)
    findings = findings_of(samples)
    stages = list(plan(recording)) if plan is not None else []
    command = proposed_command(samples, findings, source, given)
    unfit = {finding.check for finding in findings if finding.verdict == "unfit"}
    if as_json:
        say_json(
            {
                "source": source,
                "format": recording.format,
                "remarks": list(recording.remarks),
                "findings": [asdict(finding) for finding in findings],
                "stages": [{"stage": stage, "method": method} for stage, method in stages],
                "command": command,
                "conclusion": conclusion(findings),
            }
        )
        return int(bool(unfit))
    say(f"{source}: {recording.format}", *(f"note: {remark}" for remark in recording.remarks))
    results().print(findings_table(findings))
    if stages:
        results().print(plan_table(stages))
    occasion = "use it with" if unfit <= SENSOR_OF_CHECK.keys() else "once fixed"
    say(f"{occasion}:  {command}", conclusion(findings))
    return int(bool(unfit))


def findings_table(findings: Sequence[Finding]) -> Table:
    """Returns what was found, a row for each check."""
    made = table("check", "verdict", "measured", "advice")
    made.columns[1].no_wrap = True
    for finding in findings:
        made.add_row(finding.check, coloured(finding.verdict, COLOURS), finding.measured, finding.advice)
    return made


def plan_table(stages: Iterable[tuple[str, str]]) -> Table:
    """Returns which method does which stage, or why none does."""
    made = table("stage", "what will do it")
    for name, method in stages:
        made.add_row(name, method)
    return made


def conclusion(findings: Sequence[Finding]) -> str:
    """The verdict in one line."""
    unfit = [finding for finding in findings if finding.verdict == "unfit"]
    notes = [finding.check for finding in findings if finding.verdict == "note"]
    if unfit:
        return "unfit: " + "; ".join(f"{finding.check}: {finding.measured}" for finding in unfit)
    return f"fit for use; see the notes on {', '.join(notes)}" if notes else "fit for use"


def warn_if_unfit(recording: Recording, console: Console) -> None:
    """Prints a line for each unfit finding, before hours are spent on the recording."""
    for finding in examine(recording):
        if finding.verdict == "unfit":
            words = f"unfit: {recording.source}: {finding.check}: {finding.measured}. {finding.advice}"
            console.print(words, style="yellow", markup=False, soft_wrap=True)
