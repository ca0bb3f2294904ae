"""Errors of a trajectory: absolute (ATE), relative (RPE) and KITTI's drift.

ATE: p_i estimated and p*_i true camera positions, S the alignment (none, of the first pose, or SE(3) or Sim(3)
by least squares over all positions):
    ATE = sqrt(mean_i |S p_i - p*_i|^2)                                              `absolute_errors_m`
RPE over a step of n frames, P_i and Q_i the estimated and true world_from_camera, every i (steps overlap):
    E_i = (Q_i^-1 Q_i+n)^-1 (P_i^-1 P_i+n); RMSE of |trans E_i| and of angle E_i       `relative_errors`
Drift over path lengths of 100, 200, ..., 800 m: mean of |trans E| / length and angle E / length `drift_errors`

Only frames where both trajectories have a pose take part; frames correspond by index. Positions are those of the reference
camera's centre. Source: Sturm et al., A Benchmark for the Evaluation of RGB-D SLAM Systems (2012), section IV; Umeyama (1991)
for the alignment; Geiger, Lenz and Urtasun (2012), section 3, for the drift.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from firstsight.errors import InputError
from firstsight.evaluation.shares import share
from firstsight.recordings.recording import Transform, Transforms
from firstsight.run_folder import Metric

Alignment = Literal["none", "first", "se3", "sim3"]
ALIGNMENT_WORDS = {
    "none": "no alignment",
    "first": "alignment of the first pose",
    "se3": "SE(3) alignment",
    "sim3": "Sim(3) alignment",
}
FRAMES_NEEDED = {"none": 1, "first": 1, "se3": 3, "sim3": 3}
DRIFT_LENGTHS_M = (100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0)
DRIFT_STEP = 10  # a piece starts at every tenth frame, as in KITTI's devkit


class Aligned(NamedTuple):
    """x_true = scale * R x_estimated + t, with `true_from_estimated` holding R and t."""

    true_from_estimated: Transform
    scale: float


def align(
    estimated: Float64[np.ndarray, "points 3"], true: Float64[np.ndarray, "points 3"], with_scale: bool
) -> Aligned:
    """Least-squares similarity (rigid motion where not `with_scale`) of corresponding points. Source: Umeyama (1991), eqs. 34-42.

    Raises InputError where the estimated points do not move, so that a scale does not exist.
    """
    mean_estimated, mean_true = estimated.mean(0), true.mean(0)
    variance = float(((estimated - mean_estimated) ** 2).sum(1).mean())
    if with_scale and variance == 0:
        raise InputError("the estimated trajectory does not move, so its scale cannot be aligned; use SE(3) alignment")
    covariance = (true - mean_true).T @ (estimated - mean_estimated) / len(true)
    u, singular, vt = np.linalg.svd(covariance)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    scale = float((singular * sign).sum() / variance) if with_scale else 1.0
    true_from_estimated = np.eye(4)
    true_from_estimated[:3, :3] = (u * sign) @ vt
    true_from_estimated[:3, 3] = mean_true - scale * true_from_estimated[:3, :3] @ mean_estimated
    return Aligned(true_from_estimated, scale)


def apply(aligned: Aligned, estimated: Transforms) -> Transforms:
    """The estimated poses in the true world and its unit."""
    scaled = estimated.copy()
    scaled[:, :3, 3] *= aligned.scale
    return aligned.true_from_estimated @ scaled


def has_pose(world_from_camera: Transforms) -> Bool[np.ndarray, " frames"]:
    """Frames whose pose is known: no NaN in it."""
    return np.isfinite(world_from_camera.sum((1, 2)))


def align_trajectories(estimated: Transforms, true: Transforms, alignment: Alignment) -> Aligned:
    """The alignment over the frames both have. Raises InputError where they share too few for it."""
    both = np.flatnonzero(has_pose(estimated) & has_pose(true))
    if len(both) < FRAMES_NEEDED[alignment]:
        raise InputError(
            f"{len(both)} frames have both an estimated and a true pose; {ALIGNMENT_WORDS[alignment]} needs "
            f"{FRAMES_NEEDED[alignment]}"
        )
    if alignment == "none":
        return Aligned(np.eye(4), 1.0)
    if alignment == "first":
        return Aligned(true[both[0]] @ np.linalg.inv(estimated[both[0]]), 1.0)
    return align(estimated[both, :3, 3], true[both, :3, 3], with_scale=alignment == "sim3")


def absolute_errors_m(estimated: Transforms, true: Transforms, alignment: Alignment) -> Float64[np.ndarray, " frames"]:
    """Distance of each aligned position to the true one, NaN where either is missing."""
    aligned = apply(align_trajectories(estimated, true, alignment), estimated)
    return np.linalg.norm(aligned[:, :3, 3] - true[:, :3, 3], axis=1)


class RelativeErrors(NamedTuple):
    translation_m: Float64[np.ndarray, " pairs"]
    rotation_rad: Float64[np.ndarray, " pairs"]


def relative_errors(
    estimated: Transforms, true: Transforms, starts: Int64[np.ndarray, " pairs"], ends: Int64[np.ndarray, " pairs"]
) -> RelativeErrors:
    """Size of the difference between the estimated and the true motion from frame `starts` to frame `ends`."""
    start_from_end = np.linalg.inv(estimated[starts]) @ estimated[ends]
    true_end_from_start = np.linalg.inv(true[ends]) @ true[starts]
    error = true_end_from_start @ start_from_end
    return RelativeErrors(np.linalg.norm(error[:, :3, 3], axis=1), rotation_angles_rad(error[:, :3, :3]))


def rotation_angles_rad(rotations: Float64[np.ndarray, "pairs 3 3"]) -> Float64[np.ndarray, " pairs"]:
    """Angle of each rotation; atan2 of sine and cosine, since arccos alone loses half the digits near zero."""
    difference = rotations - rotations.transpose(0, 2, 1)
    sine = np.linalg.norm(difference, axis=(1, 2)) / np.sqrt(8)
    return np.arctan2(sine, (np.trace(rotations, axis1=1, axis2=2) - 1) / 2)


class Drift(NamedTuple):
    """Means over `pieces`: translation error per length, rotation error per length (rad/m). NaN where there is no piece."""

    translation: float
    rotation_rad_per_m: float
    pieces: int


def drift_errors(estimated: Transforms, true: Transforms, lengths_m: tuple[float, ...] = DRIFT_LENGTHS_M) -> Drift:
    """KITTI's drift. A piece starts at every tenth frame and ends where the true path first exceeds a length."""
    both = has_pose(estimated) & has_pose(true)
    estimated, true = estimated[both], true[both]
    path_m = path_lengths_m(true)
    starts = np.arange(0, len(true), DRIFT_STEP)
    translation, rotation = [], []
    for length_m in lengths_m:
        ends = np.searchsorted(path_m, path_m[starts] + length_m, side="right")
        complete = ends < len(true)
        errors = relative_errors(estimated, true, starts[complete], ends[complete])
        translation.extend(errors.translation_m / length_m)
        rotation.extend(errors.rotation_rad / length_m)
    if not translation:
        return Drift(np.nan, np.nan, 0)
    return Drift(float(np.mean(translation)), float(np.mean(rotation)), len(translation))


def path_lengths_m(world_from_camera: Transforms) -> Float64[np.ndarray, " frames"]:
    """Distance travelled up to each frame."""
    steps = np.linalg.norm(np.diff(world_from_camera[:, :3, 3], axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def trajectory_metrics(
    estimated: Transforms, true: Transforms, alignment: Alignment, reference: str = "ground truth", step: int = 1
) -> tuple[Metric, ...]:
    """ATE, RPE over `step` frames, drift where the path is longer than 100 m, and the share of frames with a pose.

    Args:
        estimated, true: world_from_camera by frame, NaN where there is none; each in its own world.
        alignment: "sim3" for a trajectory of unknown scale; RPE and drift then use the estimate in the aligned scale.
        reference: what the true trajectory is, for the protocol.
    Raises InputError where too few frames have both poses for the alignment.
    """
    aligned = align_trajectories(estimated, true, alignment)
    in_true = apply(aligned, estimated)
    both = has_pose(estimated) & has_pose(true)
    answered, asked = int(both.sum()), int(has_pose(true).sum())
    frames = f"{answered} frames against {reference}, {ALIGNMENT_WORDS[alignment]}"
    errors_m = np.linalg.norm(in_true[both, :3, 3] - true[both, :3, 3], axis=1)
    scale = Metric(
        name="trajectory scale", value=aligned.scale, unit="", protocol=f"true over estimated size; {frames}"
    )
    return (
        Metric(name="ATE RMSE", value=root_mean_square(errors_m), unit="m", protocol=f"camera positions, {frames}"),
        *_relative_metrics(in_true, true, step, frames),
        *_drift_metrics(in_true, true, frames),
        *((scale,) if alignment == "sim3" else ()),
        *share("trajectory coverage", answered, asked, "share of the true poses that were answered"),
    )


def _relative_metrics(estimated: Transforms, true: Transforms, step: int, frames: str) -> tuple[Metric, ...]:
    both = has_pose(estimated) & has_pose(true)
    starts = np.flatnonzero(both[:-step] & both[step:])
    if not len(starts):
        return ()
    errors = relative_errors(estimated, true, starts, starts + step)
    rotation_deg = root_mean_square(np.degrees(errors.rotation_rad))
    steps = "1 frame" if step == 1 else f"{step} frames"
    protocol = f"RMSE over all {len(starts)} overlapping steps of {steps}; {frames}"
    return (
        Metric(name="RPE translation", value=root_mean_square(errors.translation_m), unit="m", protocol=protocol),
        Metric(name="RPE rotation", value=rotation_deg, unit="deg", protocol=protocol),
    )


def _drift_metrics(estimated: Transforms, true: Transforms, frames: str) -> tuple[Metric, ...]:
    drift = drift_errors(estimated, true)
    if drift.pieces == 0:
        return ()
    protocol = f"KITTI: mean over {drift.pieces} pieces of 100-800 m; {frames}"
    rotation = 100 * float(np.degrees(drift.rotation_rad_per_m))
    return (
        Metric(name="drift translation", value=100 * drift.translation, unit="%", protocol=protocol),
        Metric(name="drift rotation", value=rotation, unit="deg/100 m", protocol=protocol),
    )


def root_mean_square(errors: Float64[np.ndarray, " errors"]) -> float:
    return float(np.sqrt(np.mean(errors**2)))
