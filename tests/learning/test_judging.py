"""What is measured before and after, on scenes whose answers are known by heart."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from firstsight.formats.trajectory import write_tum
from firstsight.learning import judging
from firstsight.learning.record import Comparison
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Camera, Channel, DepthImage, FlowImage, Recording, Rig, Truth
from firstsight.roles import Depth, DepthEstimator, Flow, FlowEstimator
from firstsight.run_folder import Metric, RunFolder, RunRecord

SIZE, FRAMES, FLOW = (60, 80), 4, (3.0, -2.0)


class Steady(FlowEstimator):
    """The same flow everywhere, of crops as of whole images."""

    def __init__(self, x: float, y: float):
        self.flow = torch.tensor([float(x), float(y)])

    def estimate(self, image_a, image_b) -> Flow:
        flow = self.flow[None, :, None, None].expand(len(image_a), 2, *image_a.shape[-2:])
        return Flow(flow, torch.ones_like(flow[:, :1], dtype=torch.bool))


class Flat(DepthEstimator):
    """8 m, whatever is seen."""

    scale = "metric"

    def estimate(self, image) -> Depth:
        depth = torch.full_like(image[:, :1], 8.0)
        return Depth(depth, depth > 0)


def texture() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 255, (40, 40, 3), np.uint8), np.ones((4, 4, 1), np.uint8))


def recording(truth: Truth) -> Recording:
    """A texture 16 m away that moves by FLOW px a frame, seen by a camera of 100 px that moves against it."""
    wall = texture()
    images = [wall[40 + 2 * k : 100 + 2 * k, 40 - 3 * k : 120 - 3 * k] for k in range(FRAMES)]
    inner = np.array([[100.0, 0, 40], [0, 100, 30], [0, 0, 1]])
    camera = Camera(name="one", size=SIZE, intrinsics=inner, body_from_camera=np.eye(4))
    stamps = np.arange(FRAMES, dtype=np.int64) * 10**8
    channels = {"one": Channel(FRAMES, lambda k: np.ascontiguousarray(images[k]))}
    return Recording(
        source="wall", format="test", rig=Rig(cameras=(camera,)), stamps_ns=stamps, images=channels, truth=truth
    )


def poses() -> np.ndarray:
    """16 m (3, -2) / 100 px against the flow, a frame."""
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    poses[:, 0, 3], poses[:, 1, 3] = -0.48 * np.arange(FRAMES), 0.32 * np.arange(FRAMES)
    return poses


def work(folder: Path, truth: Truth | None = None, depth: np.ndarray | None = None, valid: Any = True) -> Workspace:
    """A run that found `depth` in each frame, and the camera's true motion."""
    seen, run = recording(truth or Truth()), RunFolder(folder)
    run.write_record(RunRecord(version="1", source="wall", format="test", frames=FRAMES))
    write_tum(run.trajectory_path, seen.stamps_ns, poses())
    if depth is not None:
        for frame in range(FRAMES):
            run.write_depth(frame, DepthImage(depth, np.ones(SIZE, bool) & valid))
    return Workspace(seen, run)


def by_name(found: list[Comparison]) -> dict[str, Comparison]:
    return {one.measure: one for one in found}


def test_numbers_are_spread_and_means_leave_out_what_is_not_known():
    assert judging.spread(10, 4) == [0, 3, 6, 9]
    assert judging.spread(3, 20) == [0, 1, 2]
    values = [{"a": (1.0, 2.0)}, {"a": (3.0, math.nan), "b": (5.0, 6.0)}, {"a": (2.0, 5.0)}, {"c": (math.nan, 1.0)}]
    assert judging.means(values) == {"a": (1.5, 3.5), "b": (5.0, 6.0)}


def test_the_border_of_a_crop_is_a_fifth_of_its_height_wide():
    assert int(judging.border((10, 20)).sum()) == 200 - 6 * 16


def test_flow_by_the_truth(tmp_path: Path):
    """Off by (1, 2) px before, right after; a quarter of the pixels is hidden, whose flow counts in one of both errors."""
    flow = np.tile(np.array(FLOW, np.float32), (*SIZE, 1))
    flow[:, :20] += 4
    visible = np.arange(80) >= 20
    truth = Truth(flow=Channel(FRAMES, lambda _: FlowImage(flow, np.ones(SIZE, bool), np.tile(visible, (60, 1)))))
    found = by_name(judging.flow_comparisons(work(tmp_path, truth), Steady(4, 0), Steady(*FLOW)))
    assert found["EPE visible"].before == pytest.approx(math.sqrt(5), rel=1e-5)
    assert found["EPE visible"].after == pytest.approx(0, abs=1e-5)
    assert found["EPE"].before == pytest.approx((3 * math.sqrt(5) + math.hypot(3, 2)) / 4, rel=1e-5)
    assert found["EPE"].after == pytest.approx(math.sqrt(32) / 4, rel=1e-5)
    assert [one.measure for one in found.values() if one.decides] == ["EPE"]
    assert [one.measure for one in found.values() if one.guards] == ["EPE visible"]
    assert found["image from the next"].after < 0.5 < 5 < found["image from the next"].before


def test_flow_without_truth_by_crops_of_what_the_classical_method_is_sure_of(tmp_path: Path):
    found = by_name(judging.flow_comparisons(work(tmp_path), Steady(*FLOW), Steady(3, 1)))
    assert found["crop gap"].before == pytest.approx(0, abs=1e-5)
    assert found["crop gap"].after == pytest.approx(3, rel=1e-5), "from the classical flow of the whole images"
    assert [one.measure for one in found.values() if one.decides] == ["crop gap"]


def test_depth_by_the_truth_counts_gaps_as_the_median(tmp_path: Path):
    """Before: right in the left half, where it is 16 m, nothing in the right half, where the truth is 10 m. After: 18 m."""
    true = np.full(SIZE, 16.0, np.float32)
    true[:, 40:] = 10
    truth = Truth(depth=Channel(FRAMES, lambda _: DepthImage(true, np.ones(SIZE, bool))), depth_reference="a ruler")
    before = work(tmp_path / "a", truth, true, np.arange(80) < 40)
    after = work(tmp_path / "b", truth, np.full(SIZE, 18.0, np.float32))
    found = by_name(judging.depth_comparisons(before, after))
    assert (found["given"].before, found["given"].after, found["given"].better) == (50, 100, "higher")
    assert found["Abs Rel"].before == pytest.approx(0, abs=1e-6)
    assert found["Abs Rel"].after == pytest.approx((2 / 16 + 8 / 10) / 2, rel=1e-5)
    assert found["Abs Rel, gaps filled"].before == pytest.approx((0 + 6 / 10) / 2, rel=1e-5)
    assert found["Abs Rel, gaps filled"].after == found["Abs Rel"].after
    both = found["Abs Rel where both give"]
    assert (both.before, both.after, both.guards) == (pytest.approx(0, abs=1e-6), pytest.approx(2 / 16, rel=1e-5), True)
    assert "against a ruler" in found["Abs Rel"].protocol
    assert [one.measure for one in found.values() if one.decides] == ["Abs Rel, gaps filled"]


def test_depth_of_unknown_scale_is_scaled_first(tmp_path: Path):
    true = np.full(SIZE, 16.0, np.float32)
    true[:30] = 12
    truth = Truth(depth=Channel(FRAMES, lambda _: DepthImage(true, np.ones(SIZE, bool))), depth_reference="a ruler")
    works = [work(tmp_path / name, truth, factor * true) for name, factor in (("a", 0.5), ("b", 2.0))]
    for one in works:
        one.run.write_record(replace(one.run.read_record(), scale="unknown"))
    found = by_name(judging.depth_comparisons(*works))
    assert (found["Abs Rel"].before, found["Abs Rel"].after) == pytest.approx((0, 0), abs=1e-5)
    assert "ratio of medians" in found["Abs Rel"].protocol


def test_depth_without_truth_by_how_the_next_image_looks(tmp_path: Path):
    """16 m and the motion explain the next image; 8 m do not."""
    works = [work(tmp_path / name, None, np.full(SIZE, depth, np.float32)) for name, depth in (("a", 8.0), ("b", 16.0))]
    found = by_name(judging.depth_comparisons(*works))
    assert found["image from the next"].after < 0.5 < 5 < found["image from the next"].before
    assert found["image from the next"].decides


def test_one_image_beside_the_best_constant(tmp_path: Path):
    """The frames that taught are 5 m away; 8 m are said, the truth is 10 m."""
    truth = Truth(
        depth=Channel(FRAMES, lambda _: DepthImage(np.full(SIZE, 10.0, np.float32), np.ones(SIZE, bool))),
        depth_reference="a ruler",
    )
    taught = work(tmp_path / "a", None, np.full(SIZE, 5.0, np.float32))
    (found,) = judging.one_image_comparisons(taught, work(tmp_path / "b", truth), Flat())
    assert (found.before, found.after, found.decides) == (pytest.approx(0.5), pytest.approx(0.2), True)
    unlabelled = work(tmp_path / "c", None, np.full(SIZE, 4.0, np.float32), np.arange(80) < 5)
    (found,) = judging.one_image_comparisons(taught, unlabelled, Flat())
    assert (found.before, found.after) == (pytest.approx(0.25), pytest.approx(1.0))


@pytest.mark.parametrize(
    ("before", "after", "better", "gain"),
    [(2.0, 1.5, "lower", 0.25), (2.0, 2.5, "lower", -0.25), (50.0, 60.0, "higher", 0.2), (0.0, 1.0, "higher", 0.0)],
)
def test_a_gain_is_a_share_of_what_was(before: float, after: float, better: Any, gain: float):
    one = Comparison(stage="x", measure="y", unit="", before=before, after=after, better=better, protocol="")
    assert one.gain == pytest.approx(gain)


def test_what_runs_measure_of_themselves_is_put_side_by_side(tmp_path: Path):
    def run(folder: Path, **values: float) -> Workspace:
        made = work(folder)
        metrics = [Metric(name=n.replace("_", " "), value=v, unit="u", protocol="p") for n, v in values.items()]
        made.run.write_record(replace(made.run.read_record(), metrics=metrics))
        return made

    before = run(tmp_path / "a", ATE_RMSE=2.0, occupancy_IoU=0.5, gone=1.0)
    found = judging.of_runs(before, run(tmp_path / "b", occupancy_IoU=0.6, ATE_RMSE=3.0, new=1.0))
    assert [(one.measure, one.before, one.after, round(one.gain, 6)) for one in found] == [
        ("occupancy IoU", 0.5, 0.6, 0.2),
        ("ATE RMSE", 2.0, 3.0, -0.5),
    ]
