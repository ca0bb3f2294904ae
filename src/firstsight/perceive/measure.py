"""Metrics of a run against whatever truth its recording carries, and of its parts against each other, each with its protocol."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from firstsight.errors import InputError
from firstsight.evaluation.depth import DepthErrors, DepthProtocol, DisparityErrors
from firstsight.evaluation.flow import FlowErrors
from firstsight.evaluation.occupancy import Grid, occupancy_metrics
from firstsight.evaluation.segmentation import MaskErrors
from firstsight.evaluation.trajectory import align_trajectories, has_pose, trajectory_metrics
from firstsight.formats.occupancy import read_map
from firstsight.formats.trajectory import on_frames
from firstsight.geometry import se3
from firstsight.motion.triangle import Agreement, disagreement
from firstsight.perceive import stage
from firstsight.perceive.stages.mapping import with_moving_path
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import Channel
from firstsight.run_folder import Metric

# Frames in which depth, flow and motion are compared, evenly over the recording; flow below hardly tells one from another.
AGREEMENT_FRAMES, LEAST_FLOW_PX = 20, 3.0

T = TypeVar("T")
Metrics = tuple[Metric, ...]


class Measure(NamedTuple):
    """How something is measured; `needs` are the stages' products that it looks at, in the words of `stage.py`."""

    function: Callable[[Workspace, str], Metrics]
    needs: frozenset[str]


def measure(name: str, work: Workspace, scale: str) -> tuple[Metrics, str]:
    """The metrics of one of MEASURES that the recording's truth allows, and why they could not be computed ("" if they were).

    `scale` is the run's: "unknown" aligns scales before comparing.
    """
    try:
        return MEASURES[name].function(work, scale), ""
    except InputError as error:
        return (), f"{name}: {error}"
    except Exception as error:  # one metric that fails is not worth a run
        return (), " ".join(f"{name}: {type(error).__name__}: {error}".split())


def measure_disparity(work: Workspace, _: str) -> Metrics:
    truth, rig = work.recording.truth.disparity, work.recording.rig
    if truth is None or rig.baseline_m is None or work.recording.depth is not None:
        return ()
    left, right = rig.stereo_cameras
    focal_baseline = left.intrinsics[0, 0] * rig.baseline_m
    errors = DisparityErrors()
    for frame in range(len(work.recording)):
        depth = work.run.read_depth(frame)
        true = item(truth, frame)
        if depth is not None and true is not None:
            disparity = focal_baseline / np.where(depth.valid, depth.depth, 1) + (
                left.intrinsics[0, 2] - right.intrinsics[0, 2]
            )
            errors.add(disparity.astype(np.float32), depth.valid, true)
    return errors.metrics()


def measure_depth(work: Workspace, scale: str) -> Metrics:
    truth = work.recording.truth
    if truth.depth is None:
        return ()
    errors = DepthErrors(DepthProtocol(align="none" if scale == "metric" else "median"))
    for frame in range(len(work.recording)):
        depth, true = work.run.read_depth(frame), item(truth.depth, frame)
        if depth is not None and true is not None:
            errors.add(depth, true)
    return against(truth.depth_reference, errors.metrics())


def measure_flow(work: Workspace, _: str) -> Metrics:
    truth = work.recording.truth.flow
    if truth is None:
        return ()
    errors = FlowErrors()
    for frame in range(len(work.recording) - 1):
        flow, true = work.run.read_flow(frame), item(truth, frame)
        if flow is not None and true is not None:
            errors.add(flow, true)
    return errors.metrics()


def measure_trajectory(work: Workspace, scale: str) -> Metrics:
    recording, truth = work.recording, work.recording.truth
    true = truth.world_from_camera
    if true is None or (has_pose(work.world_from_camera) & has_pose(true)).sum() < 3:
        return ()
    alignment = "se3" if scale == "metric" else "sim3"
    metrics = trajectory_metrics(work.world_from_camera, true, alignment, truth.trajectory_reference)
    open_trajectory = work.run.read_odometry()
    if open_trajectory is not None:
        before = on_frames(*open_trajectory, recording.stamps_ns)
        error = trajectory_metrics(before, true, alignment, truth.trajectory_reference)[0]
        metrics = (metrics[0], replace(error, name=f"{error.name}, without loops"), *metrics[1:])
    if recording.odometry is None:
        return metrics
    raw = trajectory_metrics(recording.odometry @ work.body_from_camera, true, "se3", truth.trajectory_reference)
    return (*metrics, *(replace(metric, name=f"{metric.name}, raw odometry") for metric in raw))


def measure_moving(work: Workspace, _: str) -> Metrics:
    truth = work.recording.truth.moving
    if truth is None:
        return ()
    errors = MaskErrors()
    for frame in range(len(work.recording)):
        ids, true = work.run.read_moving(frame), item(truth, frame)
        if ids is not None and true is not None:
            errors.add(ids, true)
    return errors.metrics()


def measure_occupancy(work: Workspace, _: str) -> Metrics:
    truth = work.recording.truth
    if truth.occupancy is None or truth.world_from_camera is None or not work.run.occupancy_path.exists():
        return ()
    true_from_estimated = align_trajectories(work.world_from_camera, truth.world_from_camera, "se3").true_from_estimated
    left_out = occupancy_metrics(Grid(*read_map(work.run.occupancy_path)), truth.occupancy, true_from_estimated)
    if not with_moving_path(work).exists():
        return left_out
    kept_in = occupancy_metrics(Grid(*read_map(with_moving_path(work))), truth.occupancy, true_from_estimated)
    return (*left_out, *(replace(metric, name=f"{metric.name}, moving objects kept in") for metric in kept_in))


def measure_agreement(work: Workspace, _: str) -> Metrics:
    """Whether depth, flow and motion of the run say the same of what stands still; it takes no truth."""
    chosen = np.unique(np.linspace(0, len(work.recording) - 2, AGREEMENT_FRAMES).astype(int))
    found = [agreed for frame in chosen.tolist() if (agreed := agreement(work, frame)) is not None]
    found = [agreed for agreed in found if agreed.median_flow_px >= LEAST_FLOW_PX]
    if not found:
        return ()
    odd = Counter(agreed.odd_one_out for agreed in found if agreed.odd_one_out)
    blamed = "".join(f"; {name} is the odd one out in {count}" for name, count in odd.most_common())
    protocol = (
        f"the flow that depth and motion of the run give, against its flow; moving objects left out; {len(found)} frames whose "
        f"flow is {LEAST_FLOW_PX:g} px or more{blamed}"
    )
    share = 100 * float(np.mean([agreed.agreeing for agreed in found]))
    return (
        Metric(
            name="triangle residual", value=float(np.median([a.median_px for a in found])), unit="px", protocol=protocol
        ),
        Metric(name="triangle agreeing", value=share, unit="%", protocol=f"within 3 px or 5 %; {protocol}"),
    )


def agreement(work: Workspace, frame: int) -> Agreement | None:
    """That of one frame; None where it lacks depth, flow or motion."""
    depth, flow, ids = work.depth(frame), work.flow(frame), work.run.read_moving(frame)
    if depth is None or flow is None or not (work.has_pose(frame) and work.has_pose(frame + 1)):
        return None
    world_from_camera = torch.from_numpy(work.world_from_camera)
    next_from_this = se3.inverse(world_from_camera[frame + 1]) @ world_from_camera[frame]
    still = flow.valid & depth.valid if ids is None else flow.valid & depth.valid & torch.from_numpy(ids == 0)
    found = disagreement(depth.depth, flow.flow, still, next_from_this[None], work.intrinsics[None])
    return found if np.isfinite(found.median_px) else None


def against(reference: str, metrics: Metrics) -> Metrics:
    return tuple(replace(metric, protocol=f"against {reference}; {metric.protocol}") for metric in metrics)


# What is measured, by the name under which it is missed.
MEASURES: dict[str, Measure] = {
    "disparity": Measure(measure_disparity, frozenset({stage.DEPTH})),
    "depth": Measure(measure_depth, frozenset({stage.DEPTH})),
    "flow": Measure(measure_flow, frozenset({stage.FLOW})),
    "trajectory": Measure(measure_trajectory, frozenset({stage.TRAJECTORY})),
    "moving objects": Measure(measure_moving, frozenset({stage.MOVING_OBJECTS})),
    "agreement": Measure(
        measure_agreement, frozenset({stage.DEPTH, stage.FLOW, stage.TRAJECTORY, stage.MOVING_OBJECTS})
    ),
    "occupancy": Measure(measure_occupancy, frozenset({stage.TRAJECTORY, stage.OCCUPANCY})),
}


def item(channel: Channel[T], frame: int) -> T | None:
    """A frame of the truth, None where it cannot be decoded: a damaged sweep must not end a run that is otherwise done."""
    try:
        return channel[frame]
    except InputError:
        return None
