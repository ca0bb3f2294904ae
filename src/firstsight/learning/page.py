"""report.html of what was learned: verdicts, what was measured before and after, and pictures of both."""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from firstsight.formats.storage.atomic import write_text
from firstsight.learning.record import Comparison, LearnRecord
from firstsight.perceive.workspace import Workspace
from firstsight.show.frame_images import frame_images
from firstsight.show.page import chip, page, section, table

COLUMNS = ("Stage", "Measure", "Before", "After", "Change", "How")


def write_page(out: Path, learned: LearnRecord, works: Sequence[Workspace]) -> None:
    """`works` are the runs of the held-out frames: before, and where something is used, after."""
    sources = ", ".join(held.source for held in learned.recordings)
    body = "\n".join(
        [
            f"<header><h1>What {escape(sources)} taught itself</h1></header>",
            section("verdicts", "What is used", verdicts(learned), lead(learned)),
            section(
                "numbers", "Before and after", numbers(learned.comparisons), "On frames that nothing was learned from."
            ),
            section("lessons", "What was learned", trainings(learned)),
            *(pictures(out, work, name) for work, name in zip(works, ("before", "after"), strict=False)),
        ]
    )
    write_text(out / "report.html", page(f"learned: {sources}", body))


def lead(learned: LearnRecord) -> str:
    held = learned.recordings[0]
    judge = "" if held.judge == held.source else f" of {escape(held.judge)}"
    return f"Learned from frames {escape(held.taught)}, judged on frames {escape(held.held_out)}{judge}."


def verdicts(learned: LearnRecord) -> str:
    rows = [
        (escape(one.stage), escape(one.method), chip("used" if one.used else "refused"), escape(one.reason))
        for one in learned.verdicts
    ]
    return table(("Stage", "Method", "Verdict", "Why"), rows, "findings")


def numbers(comparisons: Sequence[Comparison]) -> str:
    rows = [
        (
            escape(one.stage),
            f"<strong>{escape(one.measure)}</strong>" if one.decides else escape(one.measure),
            f"{one.before:.4g} {escape(one.unit)}",
            f"{one.after:.4g} {escape(one.unit)}",
            f"{100 * one.gain:+.1f} %",
            escape(one.protocol),
        )
        for one in comparisons
    ]
    return table(COLUMNS, rows, "findings") if rows else ""


def trainings(learned: LearnRecord) -> str:
    rows = [
        (
            escape(one.name),
            escape(one.method),
            f"{one.steps:,}",
            f"{one.weights:,}",
            f"{one.seconds:.0f} s",
            f"{one.error_factor:.2f}",
        )
        for one in learned.trainings
        if not one.reason
    ]
    return (
        table(("Lesson", "Method", "Steps", "Weights", "Time", "Error, times what it expected"), rows, "stages")
        if rows
        else ""
    )


def pictures(out: Path, work: Workspace, name: str) -> str:
    unit = "m" if work.run.read_record().scale == "metric" else "units"
    link = os.path.relpath(work.run.report_path, out)
    return section(
        name,
        f"The frames that were held out, {name}",
        frame_images(work.run, work.recording, unit),
        f'<a href="{escape(link)}">The whole report of this run</a>',
    )
