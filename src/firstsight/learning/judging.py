"""Is what was learned better? Asked on frames that were held out: by the truth where there is one, else by the images alone.

Flow    EPE of all pixels, answered or not. Without truth: how far the flow of a crop is from what the whole images show, in the
        border of the crop, where the classical flow of the whole images closes: much of that has left the crop.
Depth   Abs Rel of all pixels; what a run leaves open counts as the median of what it gives, so that neither silence nor guessing
        pays. Without truth: how much the next image, seen with the run's depth and motion, differs from this one, so filled.
Source: Eigen et al. 2014 (Abs Rel); Baker et al. 2011 (EPE, interpolation error); Liu et al., DDFlow, AAAI 2019 (crops).
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from firstsight.errors import InputError
from firstsight.evaluation.depth import DepthErrors, DepthProtocol
from firstsight.geometry import se3
from firstsight.geometry.warp import rigid_flow, warp_by_flow
from firstsight.learning.lessons import DEPTH, FLOW, ONE_IMAGE
from firstsight.learning.record import Comparison
from firstsight.losses.photometric import photometric
from firstsight.losses.self_supervision import border_crop
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import DepthImage
from firstsight.roles import DepthEstimator, FlowEstimator, Images

WHOLE_RUN = "whole run"
MOST_PAIRS, MOST_FRAMES = 20, 60
CROP_SHARE = 0.1  # of the image's height, that the crop leaves out at each side
BORDER_SHARE = 0.2  # of the crop's height: the part of it that is judged

Values = dict[str, tuple[float, float]]
"""A value before and after, by the name of what is measured."""
Map = Float[Tensor, "1 1 height width"]


def spread(count: int, most: int) -> list[int]:
    """At most so many numbers below `count`, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def means(values: Iterable[Values]) -> Values:
    """The mean of each value over where it is known; what is known nowhere is left out."""
    listed = list(values)
    names = dict.fromkeys(name for one in listed for name in one)
    table = {name: np.array([one[name] for one in listed if name in one]) for name in names}
    known = {name: pairs[np.isfinite(pairs).all(1)] for name, pairs in table.items()}
    return {name: (float(pairs[:, 0].mean()), float(pairs[:, 1].mean())) for name, pairs in known.items() if len(pairs)}


@torch.no_grad()
def flow_comparisons(work: Workspace, before: FlowEstimator, after: FlowEstimator) -> list[Comparison]:
    """Both methods on pairs of the held-out frames."""
    pairs = spread(len(work.recording) - 1, MOST_PAIRS)
    values = means(values_of_pair(work, frame, (before, after)) for frame in pairs)
    words = {
        "EPE": ("px", "all pixels whose flow is known, answered or not"),
        "EPE visible": ("px", "pixels seen in both images, answered or not"),
        "crop gap": ("px", "in the border of a crop, from the whole images' flow where that closes"),
        "image from the next": ("%", "how the next image, taken back by the flow, differs (SSIM and colour)"),
    }
    decides = ("EPE", "EPE visible") if "EPE" in values else ("crop gap", "image from the next")
    return comparisons(FLOW, values, words, decides, f"{len(pairs)} pairs")


def values_of_pair(work: Workspace, frame: int, methods: tuple[FlowEstimator, FlowEstimator]) -> Values:
    image_a, image_b = work.image(frame), work.image(frame + 1)
    whole = [method(image_a, image_b) for method in methods]
    values: Values = {"image from the next": two(unlike(image_a, image_b, found.flow) for found in whole)}
    crop = border_crop(*image_a.shape[-2:], round(CROP_SHARE * image_a.shape[-2]))
    crop = crop._replace(resized_to=crop.size)
    expected, sure = crop.flow(whole[0].flow), crop.weight(whole[0].valid.float())
    judged = (sure[0, 0] == 1) & border(crop.size)
    if judged.any():
        inner = [method(*crop.images(image_a, image_b)).flow for method in methods]
        values["crop gap"] = two(float((one - expected).norm(dim=1)[0][judged].mean()) for one in inner)
    truth = work.recording.truth.flow
    true = None if truth is None else truth[frame]
    if true is not None:
        off = [np.linalg.norm(one.flow[0].permute(1, 2, 0).cpu().numpy() - true.flow, axis=2) for one in whole]
        for name, known in (("EPE", true.valid), ("EPE visible", true.valid & true.visible)):
            if known.any():
                values[name] = two(float(one[known].mean()) for one in off)
    return values


def border(size: tuple[int, int]) -> Bool[Tensor, "height width"]:
    """The outer part of a crop."""
    inside, wide = torch.zeros(size, dtype=torch.bool), round(BORDER_SHARE * size[0])
    inside[wide : size[0] - wide, wide : size[1] - wide] = True
    return ~inside


def unlike(image_a: Images, image_b: Images, flow: Tensor) -> float:
    """How the second image, taken back, differs from the first where it does not leave it, %."""
    again, inside = warp_by_flow(image_b, flow)
    weight = inside.float()[..., 1:-1, 1:-1]
    return float(100 * (photometric(image_a, again) * weight).sum() / weight.sum().clamp(min=1))


@torch.no_grad()
def depth_comparisons(before: Workspace, after: Workspace) -> list[Comparison]:
    """The depth of two runs of the held-out frames, with the motion that each of them found."""
    frames = spread(len(before.recording), MOST_FRAMES)
    metric = before.run.read_record().scale == after.run.read_record().scale == "metric"
    values = means(values_of_frame((before, after), frame, metric) for frame in frames)
    reference = before.recording.truth.depth_reference
    scaling = "" if metric else "; each image scaled by the ratio of medians"
    words = {
        "Abs Rel, gaps filled": ("", f"against {reference}; gaps have the median of what is given{scaling}"),
        "Abs Rel": ("", f"against {reference}; where the run gives depth{scaling}"),
        "Abs Rel where both give": ("", f"against {reference}; where both runs give depth{scaling}"),
        "given": ("%", "of the pixels"),
        "image from the next": ("%", "how the next image, seen with depth and motion, differs; gaps filled likewise"),
    }
    by_truth = ("Abs Rel, gaps filled", "Abs Rel where both give")
    decides = by_truth if by_truth[0] in values else ("image from the next", "")
    return comparisons(DEPTH, values, words, decides, f"{len(frames)} frames")


def values_of_frame(works: tuple[Workspace, Workspace], frame: int, metric: bool) -> Values:
    depths = [work.run.read_depth(frame) for work in works]
    if any(depth is None or not depth.valid.any() for depth in depths):
        return {}
    known = [depth for depth in depths if depth is not None]
    values: Values = {"given": two(100 * float(depth.valid.mean()) for depth in known)}
    whole = [without_gaps(depth) for depth in known]
    truth = works[0].recording.truth.depth
    true = None if truth is None else truth[frame]
    if true is not None:
        protocol = DepthProtocol(align="none" if metric else "median")
        values["Abs Rel"] = two(abs_rel(depth, true, protocol) for depth in known)
        both = known[0].valid & known[1].valid
        values["Abs Rel where both give"] = two(abs_rel(depth._replace(valid=both), true, protocol) for depth in known)
        values["Abs Rel, gaps filled"] = two(abs_rel(depth, true, protocol) for depth in whole)
    values["image from the next"] = two(
        unlike_next(work, frame, depth) for work, depth in zip(works, whole, strict=True)
    )
    return values


def without_gaps(depth: DepthImage) -> DepthImage:
    filled = np.where(depth.valid, depth.depth, np.median(depth.depth[depth.valid])).astype(np.float32)
    return DepthImage(filled, np.ones_like(depth.valid))


def abs_rel(estimate: DepthImage, truth: DepthImage, protocol: DepthProtocol) -> float:
    """NaN where no pixel of both is known."""
    errors = DepthErrors(protocol)
    errors.add(estimate, truth)
    return next((m.value for m in errors.metrics() if m.name == "depth Abs Rel"), float("nan"))


def unlike_next(work: Workspace, frame: int, depth: DepthImage) -> float:
    """NaN where the motion to the next frame is not known, or there is none."""
    if not (work.has_pose(frame) and work.has_pose(frame + 1)):
        return float("nan")
    poses = torch.from_numpy(work.world_from_camera).float()
    next_from_this = se3.inverse(poses[frame + 1]) @ poses[frame]
    flow, _ = rigid_flow(torch.from_numpy(depth.depth)[None, None], next_from_this[None], work.intrinsics[None].float())
    return unlike(work.image(frame), work.image(frame + 1), flow)


@torch.no_grad()
def one_image_comparisons(taught: Workspace, held_out: Workspace, after: DepthEstimator) -> list[Comparison]:
    """A method that sees one image, against the best that can be said without looking: the median of what taught it."""
    constant = typical_depth(taught)
    frames = spread(len(held_out.recording), MOST_FRAMES)
    truth = held_out.recording.truth.depth
    values = means(values_of_image(held_out, frame, constant, after) for frame in frames)
    against = "the run's own depth, where it gives some" if truth is None else held_out.recording.truth.depth_reference
    words = {"Abs Rel": ("", f"against {against}; before: the median depth of the frames that taught")}
    return comparisons(ONE_IMAGE, values, words, ("Abs Rel", ""), f"{len(frames)} frames")


def typical_depth(work: Workspace) -> float:
    """The median of a run's depth. Raises InputError where it has none."""
    depths = [work.run.read_depth(frame) for frame in spread(len(work.recording), MOST_FRAMES)]
    medians = [np.median(depth.depth[depth.valid]) for depth in depths if depth is not None and depth.valid.any()]
    if not medians:
        raise InputError(f"{work.run.path}: it has no depth that could teach")
    return float(np.median(medians))


def values_of_image(work: Workspace, frame: int, constant: float, method: DepthEstimator) -> Values:
    truth = work.recording.truth.depth
    true = work.run.read_depth(frame) if truth is None else truth[frame]
    if true is None or not true.valid.any():
        return {}
    found = method(work.image(frame)).depth[0, 0].cpu().numpy()
    everywhere, protocol = np.ones_like(true.valid), DepthProtocol()
    guesses = (np.full_like(true.depth, constant), found)
    return {"Abs Rel": two(abs_rel(DepthImage(guess, everywhere), true, protocol) for guess in guesses)}


def two(values: Iterable[float]) -> tuple[float, float]:
    before, after = values
    return before, after


def comparisons(
    stage: str, values: Values, words: dict[str, tuple[str, str]], decides: tuple[str, str], sample: str
) -> list[Comparison]:
    """The values in the order of `words`: by name their unit and how they were measured. `decides`: what does, what guards."""

    def better(name: str) -> Literal["lower", "higher"]:
        return "higher" if name == "given" else "lower"

    return [
        Comparison(
            stage=stage,
            measure=name,
            unit=unit,
            before=values[name][0],
            after=values[name][1],
            better=better(name),
            protocol=f"{how}; {sample}",
            decides=name == decides[0],
            guards=name == decides[1],
        )
        for name, (unit, how) in words.items()
        if name in values
    ]


def of_runs(before: Workspace, after: Workspace) -> list[Comparison]:
    """What both runs measured of themselves, by the field's protocols."""
    known = {metric.name: metric for metric in before.run.read_record().metrics}
    return [
        Comparison(
            stage=WHOLE_RUN,
            measure=metric.name,
            unit=metric.unit,
            before=known[metric.name].value,
            after=metric.value,
            better="higher" if is_higher_better(metric.name) else "lower",
            protocol=metric.protocol,
        )
        for metric in after.run.read_record().metrics
        if metric.name in known
    ]


HIGHER_IS_BETTER: Sequence[str] = (
    "density",
    "δ",
    "IoU",
    "precision",
    "recall",
    "agreeing",
    "confirmed",
    "found",
    "coverage",
    "observed",
)


def is_higher_better(name: str) -> bool:
    return any(word in name for word in HIGHER_IS_BETTER)
