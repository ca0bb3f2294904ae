"""What `firstsight evaluate` prints is right for the truth itself, worse for what is off, and said where there is no truth."""

import json

import numpy as np
import pytest
import torch

from firstsight import pretrained
from firstsight.commands.work import evaluate as command
from firstsight.commands.work.evaluate import Protocol, evaluate, write_metrics
from firstsight.discovery import slot_attention
from firstsight.errors import InputError
from firstsight.formats import png
from firstsight.recordings.opening import open_recording
from firstsight.representation.joint_embedding import dino
from firstsight.roles import Depth, DepthEstimator, Disparity, StereoEstimator

STREET = "sim:street:frames=3,height=96,width=160"


class Known(StereoEstimator, DepthEstimator):
    """Answers with the truth, one frame after the other, times `off`."""

    scale = "metric"

    def __init__(self, off: float = 1.0):
        truth = open_recording(STREET).truth
        self.disparities, self.depths, self.off, self.asked = truth.disparity, truth.depth, off, 0

    def forward(self, left, right=None):
        truth = (self.depths if right is None else self.disparities)[self.asked]
        self.asked += 1
        value, valid = (torch.from_numpy(np.array(part))[None, None] for part in (truth[0], truth[1]))
        return (Depth if right is None else Disparity)(self.off * value.float(), valid)

    __call__ = forward


def value(metrics, name):
    return next(metric.value for metric in metrics if name in metric.name)


def test_the_truth_is_without_error_and_what_is_off_is_not():
    depth = [command.depth(Known(off), STREET, None, Protocol()) for off in (1.0, 1.1)]
    assert value(depth[0], "Abs Rel") < 1e-6
    assert value(depth[1], "Abs Rel") == pytest.approx(0.1, abs=0.005)
    stereo = [command.stereo(Known(off), STREET, None, Protocol()) for off in (1.0, 1.3)]
    assert value(stereo[0], "disparity error visible") < 1e-4
    assert value(stereo[1], "disparity error visible") > 1


def test_methods_by_name_and_what_is_written(tmp_path):
    for name, needed in (
        ("semi-global-matching", "disparity error"),
        ("lucas-kanade", "flow EPE"),
        ("visual-odometry", "ATE RMSE"),
    ):
        metrics = evaluate(name, STREET)
        assert np.isfinite(value(metrics, needed))
    write_metrics(tmp_path / "found.json", name, STREET, metrics)
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["method"], found["source"]) == (name, STREET)
    assert {"name", "value", "unit", "protocol"} <= set(found["metrics"][0])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run") / "dino"
    pretrained.save(dino.Dino(dino.TINY_CONFIG), folder)
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


def test_masks_are_judged_at_the_size_of_training(tmp_path):
    torch.manual_seed(0)
    pretrained.save(slot_attention.SlotAttention(slot_attention.TINY_CONFIG), tmp_path)
    metrics = evaluate(str(tmp_path), "sim:objects:frames=3")
    assert 0 <= value(metrics, "mBO") <= 100
    assert abs(value(metrics, "FG-ARI")) < 100


def test_what_cannot_be_judged_is_one_line(encoder, tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for number in range(3):
        png.write_image(tmp_path / f"{number}.png", picture)
    for name, source, words in [
        ("semi-global-matching", str(tmp_path), "no stereo pair"),
        ("lucas-kanade", str(tmp_path), "true flow is not known"),
        ("monocular-odometry", str(tmp_path), "trajectory is not known"),
        ("lidar-odometry", "sim:rooms:frames=2", "has no points lidar"),
        ("pose-graph", STREET, "firstsight perceive"),
        ("no-such-method", STREET, "no-such-method"),
    ]:
        with pytest.raises(InputError, match=words):
            evaluate(name, source)
