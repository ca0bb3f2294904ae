"""report.html: one page that shows a run. It asks for nothing from outside and needs no script."""

import platform
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from firstsight.evaluation.trajectory import has_pose, path_lengths_m
from firstsight.formats.storage.atomic import write_text
from firstsight.recordings.recording import Recording
from firstsight.run_folder import Metric, RunFolder, RunRecord, StageRecord
from firstsight.show.figures import Bar, bars
from firstsight.show.frame_images import frame_images
from firstsight.show.page import chip, figure, page, section, table
from firstsight.show.path_drawings import Paths, charts, cloud_figure, plan_figure, read_paths

HEADLINE_METRICS = ("ATE RMSE", "flow EPE visible", "bad-1 visible (answered)", "moving mask IoU", "depth Abs Rel")
TOPICS = {
    "Depth": ("depth", "disparity", "bad-", "D1"),
    "Flow": ("flow", "Fl-"),
    "Trajectory": ("ATE", "RPE", "drift", "trajectory"),
    "Moving objects": ("moving", "id "),
    "Map": ("occupancy",),
    "Depth, flow and motion": ("triangle",),
}
OTHER_TOPIC = "Other"
PACKAGES = {"numpy": np.__version__, "opencv": cv2.__version__, "torch": str(torch.__version__)}
FLAGGED_SHOWN = 20
TILES = 6


class Drawings(NamedTuple):
    """The drawn parts of the page as HTML: what takes time, and waits for no number."""

    images: str
    path: str
    course: str


def draw(run: RunFolder, recording: Recording) -> Drawings:
    """Draws what the run made of the recording, which gives its images and its truth."""
    paths = paths_of(run, recording)
    images = frame_images(run, recording, unit_of(run.read_record()))
    return Drawings(images, path_body(run, paths), multiples(run, recording, paths))


def write_report(run: RunFolder, recording: Recording, drawings: Drawings) -> None:
    """Writes the report of a run, whose numbers come from its folder."""
    record = run.read_record()
    body = "\n".join(
        [
            header(record, recording, paths_of(run, recording)),
            section("images", "What it saw", drawings.images),
            section("path", "Where it went", drawings.path),
            section("course", "Along the recording", drawings.course),
            section("metrics", "How well", metrics_body(record.metrics), metrics_lead(recording)),
            section("stages", "How it was done", stages_body(record.stages)),
            section("findings", "Is the recording fit?", findings_body(record)),
            section("details", "Details", details_body(run, record)),
        ]
    )
    write_text(run.report_path, page(f"{source_name(record.source)} · firstsight", body))


def unit_of(record: RunRecord) -> str:
    return "m" if record.scale == "metric" else "units"


def paths_of(run: RunFolder, recording: Recording) -> Paths | None:
    return read_paths(run, recording, unit_of(run.read_record()))


def source_name(source: str) -> str:
    return Path(source).name or source


def header(record: RunRecord, recording: Recording, paths: Paths | None) -> str:
    """What was looked at, its key numbers, and everything the user should know before believing them."""
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(unit)}</small></dd></div>"
        for name, value, unit in key_numbers(record, recording, paths)
    )
    return (
        f'<header><p class="brand"><b>firstsight</b> {escape(record.version)} · report of a run</p>'
        f"<h1>{escape(source_name(record.source))}</h1>"
        f'<p class="sub"><code>{escape(record.source)}</code><br>{escape(record.format)} · {escape(sensor_words(recording))}</p>'
        f'<dl class="tiles">{tiles}</dl>{notices(record)}</header>'
    )


def sensor_words(recording: Recording) -> str:
    """The sensors in a line."""
    rig, words = recording.rig, []
    if rig.reference is not None:
        height, width = rig.reference.size
        stereo = f"stereo pair, baseline {rig.baseline_m:.3g} m" if rig.baseline_m is not None else "camera"
        words.append(f"{stereo}, {width} × {height} px")
    has = {"depth camera": recording.depth, "LiDAR": recording.scans, "odometry": recording.odometry}
    return ", ".join([*words, *(name for name, channel in has.items() if channel is not None)])


def key_numbers(record: RunRecord, recording: Recording, paths: Paths | None) -> list[tuple[str, str, str]]:
    """(name, value, unit) of the tiles at the top."""
    seconds = float(recording.stamps_ns[-1] - recording.stamps_ns[0]) / 1e9
    numbers = [("frames", f"{record.frames:,}", ""), ("duration", number(seconds), "s")]
    if paths is not None:
        length = path_lengths_m(paths.estimated[has_pose(paths.estimated)])[-1]
        numbers.append(("distance travelled", number(float(length)), paths.unit))
    working = sum(stage.seconds for stage in record.stages)
    if working:
        numbers.append(("computing", number(1000 * working / max(record.frames, 1)), "ms/frame"))
    by_name = {metric.name: metric for metric in record.metrics}
    chosen = [by_name[name] for name in HEADLINE_METRICS if name in by_name]
    return [*numbers, *((metric.name, number(metric.value), metric.unit) for metric in chosen)][:TILES]


def number(value: float) -> str:
    """Three significant digits, whole above a thousand; a share of almost 100 % does not read as 100."""
    if not np.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-4:
        return f"{value:.1e}"
    digits = 4 if 99 < size < 100 else 3
    power = int(np.floor(np.log10(size)))
    return f"{round(value, digits - 1 - power) if size < 1000 else value:,.{max(0, digits - 1 - power)}f}"


def notices(record: RunRecord) -> str:
    """Remarks, what makes the recording unfit, unknown scale and flagged frames, where they cannot be missed."""
    unfit = [finding for finding in record.findings if finding.verdict == "unfit"]
    words = [*record.remarks, *(f"Unfit, {finding.check}: {finding.measured}. {finding.advice}" for finding in unfit)]
    if record.scale == "unknown":
        words.append("Scale: unknown. One camera alone cannot tell metres: lengths are in units of its own.")
    if record.flagged_frames:
        words.append(f"Flagged frames: {len(record.flagged_frames)} of {record.frames}; the details name them.")
    items = "".join(f"<li>{escape(remark)}</li>" for remark in words)
    return f'<ul class="notices">{items}</ul>' if items else ""


def path_body(run: RunFolder, paths: Paths | None) -> str:
    if paths is None:
        return ""
    return f'<div class="path">{plan_figure(run, paths)}{cloud_figure(run, paths)}</div>'


def multiples(run: RunFolder, recording: Recording, paths: Paths | None) -> str:
    drawn = "".join(charts(run, recording, paths))
    return f'<div class="multiples">{drawn}</div>' if drawn else ""


def metrics_lead(recording: Recording) -> str:
    truth = recording.truth
    references = {
        "trajectory": truth.trajectory_reference if truth.world_from_camera is not None else None,
        "depth": truth.depth_reference if truth.depth is not None else None,
    }
    known = [f"{name}: {escape(reference)}" for name, reference in references.items() if reference]
    return f"Measured against what the recording carries ({'; '.join(known)})." if known else ""


def metrics_body(metrics: Sequence[Metric]) -> str:
    """A table per topic; a protocol that is the same as in the row above is not said again."""
    by_topic = {topic: [metric for metric in metrics if topic_of(metric) == topic] for topic in (*TOPICS, OTHER_TOPIC)}
    return "".join(
        table((topic, "Value", "Unit", "How it was measured"), metric_rows(chosen), "numbers")
        for topic, chosen in by_topic.items()
        if chosen
    )


def topic_of(metric: Metric) -> str:
    return next((topic for topic, starts in TOPICS.items() if metric.name.startswith(starts)), OTHER_TOPIC)


def metric_rows(metrics: Sequence[Metric]) -> list[tuple[str, str, str, str]]:
    protocols = [sentence(metric.protocol) for metric in metrics]
    shown = [now if now != before else "" for now, before in zip(protocols, ["", *protocols], strict=False)]
    return [
        (escape(metric.name), number(metric.value), escape(metric.unit), escape(protocol))
        for metric, protocol in zip(metrics, shown, strict=True)
    ]


def sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def stages_body(stages: Sequence[StageRecord]) -> str:
    """What every stage did, or why not, and how long it took."""
    rows = [
        (
            escape(stage.name),
            escape(stage.method),
            chip(stage.status),
            str(stage.frames) if stage.frames else "",
            number(per_frame_ms(stage)) if stage.frames else "",
            escape(stage.reason),
        )
        for stage in stages
    ]
    timed = [
        Bar(stage.name, per_frame_ms(stage), f"{number(per_frame_ms(stage))} ms") for stage in stages if stage.frames
    ]
    timings = figure(bars(timed, "Milliseconds per frame by stage"), "Milliseconds per frame.", "bars") if timed else ""
    return (
        table(("Stage", "Method", "Status", "Frames", "ms/frame", "Remark"), rows, "stages") + timings if rows else ""
    )


def per_frame_ms(stage: StageRecord) -> float:
    return 1000 * stage.seconds / stage.frames


def findings_body(record: RunRecord) -> str:
    """What the doctor found."""
    rows = [
        (escape(finding.check), chip(finding.verdict), escape(finding.measured), escape(finding.advice))
        for finding in record.findings
    ]
    return table(("Check", "Verdict", "Measured", "Advice"), rows, "findings") if rows else ""


def details_body(run: RunFolder, record: RunRecord) -> str:
    """Settings, versions, flagged frames and the files beside this page."""
    settings = {name: "default" if value is None else str(value) for name, value in record.settings.items()}
    versions = {"firstsight": record.version, "python": platform.python_version()} | PACKAGES
    flagged = {f"frame {entry['frame']}": str(entry["reason"]) for entry in record.flagged_frames[:FLAGGED_SHOWN]}
    more = len(record.flagged_frames) - FLAGGED_SHOWN
    if more > 0:
        flagged["and"] = f"{more} more, in run.json"
    files = {path.name: f"{path.stat().st_size / 1e6:.2f} MB" for path in product_files(run)}
    parts = {"Flagged frames": flagged, "Settings": settings, "Versions": versions, "Files": files}
    return (
        '<div class="details">' + "".join(facts(heading, pairs) for heading, pairs in parts.items() if pairs) + "</div>"
    )


def product_files(run: RunFolder) -> list[Path]:
    """Single files of the run that a reader may want to open."""
    trajectories = (run.trajectory_path, run.odometry_path, run.loops_path)
    maps = (run.cloud_path, run.mesh_path, run.occupancy_path, run.places_path, run.objects_path)
    paths = (*trajectories, *maps, run.rerun_path)
    return [path for path in paths if path.exists()]


def facts(heading: str, pairs: dict[str, str]) -> str:
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs.items())
    return f'<div><h3>{escape(heading)}</h3><dl class="facts">{items}</dl></div>'
