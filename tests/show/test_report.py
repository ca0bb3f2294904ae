"""The report: whole, closed in itself, true to the run, and right on a laptop and a phone."""

import base64
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings.recording import Channel, Image, Recording, Rig, Truth
from firstsight.run_folder import RunFolder
from firstsight.show.report import draw, number, write_report

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects what a test asks of a page; fails where tags do not match."""

    def __init__(self, content: str):
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.images_without_words = 0
        self.feed(content)
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        given = dict(attrs)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.images_without_words += tag == "img" and not given.get("alt")
        assert tag not in ("script", "link", "iframe")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def decoded(address: str) -> np.ndarray:
    head, _, body = address.partition(",")
    assert re.fullmatch(r"data:image/(webp|png|jpeg);base64", head)
    image = cv2.imdecode(np.frombuffer(base64.b64decode(body, validate=True), np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


def report(run: RunFolder, recording: Recording) -> Page:
    write_report(run, recording, draw(run, recording))
    return Page(run.report_path.read_text())


def test_report_is_whole_and_closed_in_itself(run: RunFolder, recording: Recording) -> None:
    page = report(run, recording)
    assert page.addresses
    for address in page.addresses:
        assert decoded(address).size
    assert page.images_without_words == 0
    style = re.search(r"<style>(.*?)</style>", run.report_path.read_text(), re.DOTALL)
    assert style
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert "http" not in run.report_path.read_text()
    assert run.report_path.stat().st_size < 5e6


def test_report_says_what_the_run_says(run: RunFolder, recording: Recording) -> None:
    text = report(run, recording).text
    record = run.read_record()
    for stage in record.stages:
        assert stage.name in text
        assert stage.method in text
        assert stage.reason in text
    for metric in record.metrics:
        assert metric.name in text
        assert metric.protocol[1:] in text
    for words in (
        recording.source,
        "the field of view is <assumed>",
        "image damaged",
        "12 % saturated",
        "expose less",
        "0.0123",
        "200 ms",
        "3,000 coloured points",
        "raw odometry",
        "baseline 0.5 m",
    ):
        assert words in text, words


def test_every_kind_of_image_is_there(run: RunFolder, recording: Recording) -> None:
    text = report(run, recording).text
    for caption in ("Camera", "Depth", "Flow to the next frame", "Moving objects", "Where it went", "Speed (m/s)"):
        assert caption in text


def test_nothing_from_outside_becomes_markup(run: RunFolder, recording: Recording) -> None:
    write_report(run, recording, draw(run, recording))
    content = run.report_path.read_text()
    assert "made <up>" not in content
    assert escape("made <up> & small") in content


def test_missing_products_are_left_out_and_their_reason_stays(
    recording: Recording, write_record: Callable[..., RunFolder]
) -> None:
    page = report(write_record(recording, findings=[], metrics=[], flagged_frames=[], remarks=[]), recording)
    assert "Where it went" not in page.text
    assert "How well" not in page.text
    assert "Camera" in page.text
    assert "the drive closes no loop" in page.text


def test_unknown_scale_is_said_and_metres_are_not(run: RunFolder, recording: Recording) -> None:
    run.write_record(replace(run.read_record(), scale="unknown"))
    text = report(run, recording).text
    assert "Scale: unknown" in text
    assert "Speed (units/s)" in text
    assert "Speed (m/s)" not in text


def test_a_recording_of_lidar_alone_shows_its_scans(
    recording: Recording, write_record: Callable[..., RunFolder]
) -> None:
    lidar_alone = replace(recording, rig=Rig(lidar=recording.rig.lidar), images={}, truth=Truth())
    page = report(write_record(lidar_alone), lidar_alone)
    assert "LiDAR from above" in page.text
    assert "Camera" not in page.text


def test_damaged_images_do_not_stop_the_report(
    run: RunFolder, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(channel: Channel, index: int) -> Image:
        raise InputError("image damaged")

    monkeypatch.setattr(Channel, "__getitem__", damaged)
    page = report(run, recording)
    assert "Depth" in page.text
    assert "Camera" not in page.text


def test_one_frame_is_a_recording_too(recording: Recording, write_record: Callable[..., RunFolder]) -> None:
    single = replace(
        recording,
        stamps_ns=recording.stamps_ns[:1],
        images={"left": recording.images["left"].at([0])},
        scans=None,
        odometry=None,
        truth=Truth(),
    )
    assert "Frame 0" in report(write_record(single), single).text


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (0.0123, "0.0123"),
        (0.01, "0.0100"),
        (99.96, "99.96"),
        (100.0, "100"),
        (3.14159, "3.14"),
        (999.6, "1,000"),
        (12345.6, "12,346"),
        (-0.5, "-0.500"),
        (1e-9, "1.0e-09"),
        (float("nan"), "–"),
    ],
)
def test_numbers_have_three_digits(value: float, written: str) -> None:
    assert number(value) == written


def browser() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_page_is_never_wider_than_the_window(run: RunFolder, recording: Recording, tmp_path: Path, width: int) -> None:
    """The page is laid out in a frame of the given width: the browser's own window cannot be as narrow as a phone."""
    program = browser()
    write_report(run, recording, draw(run, recording))
    script = "const page=frame.contentDocument.documentElement;document.title=`widths ${page.scrollWidth} ${page.clientWidth}`"
    probe = tmp_path / "probe.html"
    probe.write_text(
        f'<!doctype html><title>waiting</title><iframe id="frame" width="{width}" height="900" style="border:0" '
        f'onload="{escape(script)}" srcdoc="{escape(run.report_path.read_text())}"></iframe>'
    )
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--virtual-time-budget=5000",
        "--dump-dom",
    ]
    command = [program, *options, f"--user-data-dir={tmp_path / 'profile'}", probe.as_uri()]
    dump = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    found = re.search(r"widths (\d+) (\d+)", dump)
    assert found, dump[:300]
    assert int(found[2]) == width
    assert int(found[1]) <= width
