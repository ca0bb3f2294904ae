"""What `firstsight evaluate` prints is right for the truth itself, worse for what is off, and said where there is no truth."""

import json

import cv2
import numpy as np
import pytest
import torch

from firstsight import pretrained
from firstsight.commands import evaluate as verb
from firstsight.commands.work import evaluate as command
from firstsight.commands.work.evaluate import Protocol, described, evaluate
from firstsight.discovery import slot_attention
from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.perceive.summary import print_metrics
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import Recording
from firstsight.representation.joint_embedding import dino
from firstsight.roles import Depth, DepthEstimator, Disparity, Flow, FlowEstimator, StereoEstimator
from firstsight.run_folder import Metric, RunFolder, RunRecord

STREET = "sim:street:frames=3,height=96,width=160"


class Known(StereoEstimator, DepthEstimator):
    """Answers with the truth, one frame after the other, times `off`."""

    scale = "metric"

    def __init__(self, off: float = 1.0):
        truth = open_recording(STREET).truth
        self.disparities, self.depths, self.off, self.asked = truth.disparity, truth.depth, off, 0

    def estimate(self, left, right=None):
        truth = (self.depths if right is None else self.disparities)[self.asked]
        self.asked += 1
        value, valid = (torch.from_numpy(np.array(part))[None, None] for part in (truth[0], truth[1]))
        return (Depth if right is None else Disparity)(self.off * value.float(), valid)

    __call__ = estimate


def value(metrics, name):
    return next(metric.value for metric in metrics if name in metric.name)


def test_the_truth_is_without_error_and_what_is_off_is_not():
    depth = [command.depth(Known(off), STREET, None, Protocol()) for off in (1.0, 1.1)]
    assert value(depth[0], "Abs Rel") < 1e-6
    assert value(depth[1], "Abs Rel") == pytest.approx(0.1, abs=0.005)
    stereo = [command.stereo(Known(off), STREET, None, Protocol()) for off in (1.0, 1.3)]
    assert value(stereo[0], "disparity error visible") < 1e-4
    assert value(stereo[1], "disparity error visible") > 1


def test_methods_by_name_and_what_is_written():
    for name, needed in (
        ("semi-global-matching", "disparity error"),
        ("lucas-kanade", "flow EPE"),
        ("visual-odometry", "ATE RMSE"),
    ):
        metrics = evaluate(name, STREET)
        assert np.isfinite(value(metrics, needed))
    found = described(name, STREET, metrics)
    assert (found["method"], found["source"]) == (name, STREET)
    assert {"name", "value", "unit", "protocol"} <= set(found["metrics"][0])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run") / "dino"
    pretrained.save(dino.Dino.of_preset("tiny"), folder)
    return str(folder)


def test_features_are_probed_on_folders_by_class(encoder, tmp_path):
    rng = np.random.default_rng(0)
    for kind, colour in (("red", (200, 60, 60)), ("green", (60, 200, 60))):
        for number in range(40):
            noise = rng.integers(-50, 50, (24, 24, 3))
            png.write_image(tmp_path / kind / f"{number}.png", (np.array(colour) + noise).clip(0, 255).astype(np.uint8))
    metrics = evaluate(encoder, str(tmp_path))
    assert value(metrics, "20-NN") > 90  # untrained features tell red from green
    assert "64 known and 16 other samples of 2 classes" in metrics[0].protocol
    with pytest.raises(InputError, match="folders by class"):
        evaluate(encoder, str(tmp_path / "red"))


def test_masks_are_judged_at_the_size_of_training(tmp_path, monkeypatch):
    """Those that hold the true objects are right; moved by two pixels of that size they are not."""
    torch.manual_seed(0)
    pretrained.save(slot_attention.SlotAttention.of_preset("tiny"), tmp_path)
    source = "sim:objects:frames=2"
    truth = open_recording(source).truth.moving
    shift, asked = 0, []

    def discover(_, image):
        height, width = image.shape[-2:]
        ids = cv2.resize(truth[len(asked)], (width, height), interpolation=cv2.INTER_NEAREST).astype(np.int64)
        asked.append((height, width))
        return torch.nn.functional.one_hot(torch.from_numpy(ids).roll(shift, 1), 7).permute(2, 0, 1)[None].float()

    monkeypatch.setattr(slot_attention.SlotAttention, "discover", discover)
    metrics = evaluate(str(tmp_path), source)
    assert asked == 2 * [slot_attention.SlotAttention.PRESETS["tiny"].config.crop_from]
    assert [metric.value for metric in metrics[:4]] == [1, 1, 1, 1]
    shift = 2
    asked.clear()
    moved = evaluate(str(tmp_path), source)
    assert max(value(moved, "mBO"), value(moved, "ARI")) < 0.6
    names = [metric.name for metric in metrics]
    assert names == ["FG-ARI", "ARI", "mBO", "mIoU", *(f"{name}, k-means" for name in ("FG-ARI", "ARI", "mBO", "mIoU"))]
    # as many clusters of colour and place as there are masks: FG-ARI does not ask for borders
    assert 0.3 < value(metrics, "FG-ARI, k-means") < 0.9


class Impatient(FlowEstimator):
    """Notes how many frames the recording had given when it was first asked."""

    def __init__(self, given: list[int]):
        self.given, self.frames_before = given, -1

    def estimate(self, image_a, image_b):
        if self.frames_before < 0:
            self.frames_before = len(self.given)
        height, width = image_a.shape[-2:]
        return Flow(torch.zeros(1, 2, height, width), torch.ones(1, 1, height, width, dtype=torch.bool))


def test_frames_are_read_as_they_are_needed(monkeypatch):
    """Not all of them while the progress bar runs to its end: a long recording does not fit into memory."""
    given: list[int] = []
    take = Recording.__getitem__
    monkeypatch.setattr(Recording, "__getitem__", lambda self, i: given.append(i) or take(self, i))
    method = Impatient(given)
    command.flow(method, STREET, None, Protocol())
    assert method.frames_before == 2
    assert max(given) == 2


def test_a_training_and_a_run_are_told_apart(encoder, tmp_path):
    assert command.subject_of(encoder, "images").text == "training of dino, on images"
    assert command.subject_of("lucas-kanade", STREET).text == f"method of the family flow, on {STREET}"
    run = RunFolder(tmp_path / "run")
    ate = Metric(name="ATE RMSE", value=0.5, unit="m", protocol="camera positions")
    run.write_record(RunRecord(version="1", source=STREET, format="simulated", frames=3, metrics=[ate]))
    subject = command.subject_of(str(run.path), None)
    assert (subject.kind, subject.source) == ("run", STREET)
    assert command.measured(subject) == (ate,)
    with pytest.raises(InputError, match=f"is a run of {STREET} and can be evaluated against that source alone"):
        command.subject_of(str(run.path), "sim:rooms")
    run.write_record(RunRecord(version="1", source=STREET, format="simulated", frames=3))
    with pytest.raises(InputError, match="this run holds no metrics"):
        command.measured(command.subject_of(str(run.path), None))
    with pytest.raises(InputError, match="evaluate lucas-kanade: SOURCE is missing"):
        command.subject_of("lucas-kanade", None)


def test_each_protocol_is_printed_once(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    shared = "error > 3 px and > 5 % of the true value; over answered pixels with true disparity"
    print_metrics(
        [
            Metric(name="D1-all [red]", value=0.489659, unit="%", protocol=shared),
            Metric(name="bad-1", value=2.0, unit="%", protocol=shared),
            Metric(name="ATE RMSE", value=0.5, unit="m", protocol="camera positions\x1b[2J"),
        ]
    )
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "metric        value     protocol",
        "D1-all [red]  0.4897 %  [1]",
        "bad-1         2 %       [1]",
        "ATE RMSE      0.5 m     [2]",
        "",
        "[1]  error > 3 px and > 5 % of the true value; over answered",
        "     pixels with true disparity",
        "[2]  camera positions\\x1b[2J",
    ]


def test_the_command_prints_what_it_judged_or_json(encoder, tmp_path, capsys):
    out = tmp_path / "found.json"
    verb.main(["lucas-kanade", STREET, "--out", str(out), "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text())
    assert printed["method"] == "lucas-kanade"
    assert "flow EPE" in [metric["name"] for metric in printed["metrics"]]


def test_what_cannot_be_judged_is_one_line(encoder, tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for number in range(3):
        png.write_image(tmp_path / f"{number}.png", image)
    for name, source, words in [
        ("semi-global-matching", str(tmp_path), "no stereo pair"),
        ("lucas-kanade", str(tmp_path), "true flow is not known"),
        ("monocular-odometry", str(tmp_path), "trajectory is not known"),
        ("lidar-odometry", "sim:rooms:frames=2", "has no points lidar"),
        ("pose-graph", STREET, "no standalone evaluation; `firstsight optimise GRAPH`"),
        ("tsdf", STREET, "tsdf: has no standalone evaluation$"),
        ("depth-completion", STREET, "firstsight perceive SOURCE"),
        ("monodepth2", STREET, "must be trained first: firstsight train monodepth2 SOURCE"),
        ("runs/nowhere", STREET, "runs/nowhere: no such folder"),
        ("no-such-method", STREET, "no-such-method"),
    ]:
        with pytest.raises(InputError, match=words):
            evaluate(name, source)


def test_flow_is_judged_on_drawn_pairs():
    metrics = {metric.name: metric.value for metric in evaluate("lucas-kanade", "sim:layers:pairs=9", frames="1:4")}
    assert 0 < metrics["flow EPE visible"] < metrics["flow EPE"]
    assert metrics["flow EPE visible density"] < 100


def test_stereo_is_judged_on_drawn_pairs():
    """What the right image does not show is judged apart."""
    source = "sim:layers:pairs=9,height=64,width=96"
    metrics = {metric.name: metric.value for metric in evaluate("semi-global-matching", source, frames="1:4")}
    assert 0 < metrics["disparity error visible"] < 0.8
    assert metrics["disparity error visible"] < metrics["disparity error"]
    assert metrics["bad-2 visible (missing counted as bad)"] < metrics["bad-2 (missing counted as bad)"] < 40
