"""What `firstsight perceive` prints when it is done."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from firstsight.run_folder import Metric, RunFolder, RunRecord

WIDE = 140  # columns


def print_summary(run: RunFolder) -> None:
    record = run.read_record()
    console = Console()
    console.print(stage_table(record))
    if record.metrics:
        console.print(metric_table(record.metrics, console.width))
    if record.flagged_frames:
        console.print(f"{len(record.flagged_frames)} frames could not be used fully; the first: {first_flag(record)}")
    if record.scale == "unknown":
        console.print("scale: unknown (one camera alone; distances are in units of their own)")
    for finding in record.findings:
        if finding.verdict == "unfit":
            console.print(f"doctor: {finding.check}: {finding.measured}. {finding.advice}")
    console.print(f"report: {run.report_path}")


def first_flag(record: RunRecord) -> str:
    flag = record.flagged_frames[0]
    return f"frame {flag['frame']}: {flag['reason']}"


def stage_table(record: RunRecord) -> Table:
    table = Table("stage", "method", "frames", "ms/frame", "", box=None, header_style="bold", pad_edge=False)
    for stage in record.stages:
        rate = f"{1000 * stage.seconds / stage.frames:.0f}" if stage.frames else ""
        note = f"skipped: {stage.reason}" if stage.status == "skipped" else stage.reason
        table.add_row(stage.name, stage.method, str(stage.frames or ""), rate, note)
    return table


def print_metrics(metrics: Sequence[Metric]) -> None:
    console = Console()
    console.print(metric_table(metrics, console.width))
    if console.width < WIDE:
        console.print(f"protocol: {'; '.join(dict.fromkeys(metric.protocol for metric in metrics))}", markup=False)


def metric_table(metrics: Sequence[Metric], width: int) -> Table:
    """Values, and how each was measured where the terminal is wide enough; run.json and the report always say it."""
    with_protocol = width >= WIDE
    table = Table("metric", "value", *["protocol"] * with_protocol, box=None, header_style="bold", pad_edge=False)
    for column in table.columns:
        column.no_wrap = True
    for metric in metrics:
        shown = (metric.name, f"{metric.value:.4g} {metric.unit}".rstrip(), metric.protocol)
        table.add_row(*shown[: 2 + with_protocol])
    return table
