"""What `firstsight perceive` and `firstsight evaluate` print of what was measured."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from firstsight.run_folder import Metric, RunFolder, RunRecord
from firstsight.terminal import columns_of, results, say, table

HEADLINES = (
    "D1-all (missing counted as bad)",
    "bad-1 visible (missing counted as bad)",
    "depth Abs Rel",
    "depth density",
    "flow EPE visible",
    "Fl-all (missing counted as bad)",
    "ATE RMSE",
    "RPE rotation",
    "drift translation",
    "moving mask IoU",
    "moving objects found",
    "occupancy IoU (within one cell)",
)
"""The metrics that tell most, at most twelve; run.json and the report hold all."""


def print_summary(run: RunFolder) -> None:
    """Prints what each stage did, the headline metrics and where the report is."""
    record, console = run.read_record(), results()
    console.print(stage_table(record))
    shown = headlines(record.metrics)
    if shown:
        console.print(metric_table(shown))
        left = len(record.metrics) - len(shown)
        if left:
            say(f"{left} more metrics, each with its protocol: report.html and run.json")
    if record.flagged_frames:
        say(f"{len(record.flagged_frames)} frames could not be used fully; the first: {first_flag(record)}")
    if record.scale == "unknown":
        say("scale: unknown (one camera alone; distances are in units of their own)")
    for finding in record.findings:
        if finding.verdict == "unfit":
            say(f"doctor: {finding.check}: {finding.measured}. {finding.advice}")
    say(f"report: {run.report_path}")


def headlines(metrics: Sequence[Metric]) -> list[Metric]:
    """Returns the metrics to look at first, at most as many as HEADLINES has names, in that order."""
    by_name = {metric.name: metric for metric in metrics}
    return [by_name[name] for name in HEADLINES if name in by_name]


def first_flag(record: RunRecord) -> str:
    flag = record.flagged_frames[0]
    return f"frame {flag['frame']}: {flag['reason']}"


def stage_table(record: RunRecord) -> Table:
    """Returns what became of each stage, a row each."""
    made = table("stage", "method", "frames", "ms/frame", "")
    made.columns[1].no_wrap = True
    for stage in record.stages:
        rate = f"{1000 * stage.seconds / stage.frames:.0f}" if stage.frames else ""
        note = f"skipped: {stage.reason}" if stage.status == "skipped" else stage.reason
        made.add_row(stage.name, stage.method, str(stage.frames or ""), rate, note)
    return made


def metric_table(metrics: Sequence[Metric]) -> Table:
    """Returns names and values, a row each."""
    made = table("metric", "value")
    made.columns[1].no_wrap = True
    for metric in metrics:
        made.add_row(metric.name, value_of(metric))
    return made


def value_of(metric: Metric) -> str:
    return f"{metric.value:.4g} {metric.unit}".rstrip()


def print_metrics(metrics: Sequence[Metric]) -> None:
    """Prints metrics with the number of their protocol, and below them each protocol once."""
    numbers, made = protocol_numbers(metrics), table("metric", "value", "protocol")
    made.columns[1].no_wrap = True
    for metric in metrics:
        made.add_row(metric.name, value_of(metric), numbers[metric.protocol])
    print_with_protocols(made, numbers)


def print_comparison(found: Mapping[str, Sequence[Metric]]) -> None:
    """Prints the metrics of several methods in one table, a column each, every value with the number of its protocol."""
    numbers = protocol_numbers([metric for metrics in found.values() for metric in metrics])
    made = table("metric", *found)
    names = dict.fromkeys(metric.name for metrics in found.values() for metric in metrics)
    cells = {
        (method, metric.name): f"{value_of(metric)} {numbers[metric.protocol]}"
        for method, metrics in found.items()
        for metric in metrics
    }
    for name in names:
        made.add_row(name, *(cells.get((method, name), "") for method in found))
    print_with_protocols(made, numbers)


def protocol_numbers(metrics: Sequence[Metric]) -> dict[str, str]:
    """Returns each protocol's number in brackets, in the order in which the metrics come."""
    protocols = dict.fromkeys(metric.protocol for metric in metrics)
    return {protocol: f"[{number}]" for number, protocol in enumerate(protocols, 1)}


def print_with_protocols(made: Table, numbers: Mapping[str, str]) -> None:
    console = results()
    console.print(made)
    say("", *columns_of([(number, protocol) for protocol, number in numbers.items()], console.width))
