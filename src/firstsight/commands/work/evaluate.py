"""`firstsight evaluate`: a method, or a trained one, against what a recording knows to be true."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from firstsight import catalogue
from firstsight.errors import InputError
from firstsight.evaluation.depth import Alignment, DepthErrors, DepthProtocol, DisparityErrors
from firstsight.evaluation.flow import FlowErrors
from firstsight.evaluation.object_masks import ObjectMaskErrors, clustered_ids, ids_of
from firstsight.evaluation.probes import Labelled, encoded, linear_metric, neighbour_metric, numbered
from firstsight.evaluation.trajectory import trajectory_metrics
from firstsight.external.models import ExternalEncoder, ExternalInverseDepth
from firstsight.geometry.images import to_tensor
from firstsight.perceive import choice
from firstsight.perceive.measure import item
from firstsight.perceive.stages.depth import matched, stereo_depth
from firstsight.perceive.workspace import depth_image, depth_tensors
from firstsight.progress import progress_bars
from firstsight.recordings.opening import frame_indices, open_recording
from firstsight.recordings.recording import Channel, DisparityImage, FlowImage, Frame, Recording
from firstsight.roles import (
    Depth,
    DepthCompleter,
    DepthEstimator,
    Discoverer,
    Disparity,
    Encoder,
    FlowEstimator,
    LandmarkSlam,
    LoopCloser,
    MotionSegmenter,
    MultiViewDepthEstimator,
    Observation,
    Odometry,
    PoseGraphOptimiser,
    Reconstructor,
    StereoEstimator,
)
from firstsight.run_folder import Metric, RunFolder
from firstsight.training import Trainable
from firstsight.training.data.batch import ImageBatch, Row
from firstsight.training.data.images import Images, scaled, split_names
from firstsight.training.data.opening import open_source
from firstsight.training.data.wanted import Wanted
from firstsight.training.data.wanted import frames as clip_of
from firstsight.training.layered.pairs import LayeredPairs, TrueDisparity, TrueFlow, is_layers

T = TypeVar("T")
Metrics = tuple[Metric, ...]
Pair = tuple[Tensor, Tensor, FlowImage]
Matched = tuple[Disparity, DisparityImage]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What may be chosen about how it is judged: depth's cap and crop, and how many labelled images a probe sees."""

    cap_m: float = 80.0
    crop: Literal["none", "garg"] = "none"
    known: int = 2000
    held_out: int = 500


def evaluate(name: str, source: str, *, frames: str | None = None, protocol: Protocol | None = None) -> Metrics:
    """The field's metrics of a method of the catalogue, of the folder of a trained one, or of a network's file.

    Raises InputError where the source has no truth for what the method estimates, or in no frame, and for a method that
    must be trained.
    """
    method = choice.load(subject_of(name, source).name)
    for role, measure in MEASURES.items():
        if isinstance(method, role):
            with torch.no_grad():
                metrics = measure(method, source, frames, protocol or Protocol())
            if not metrics:
                raise InputError(f"{source}: none of its frames can be judged; give more of them, or another recording")
            return metrics
    instead = next((words for role, words in MEASURED_ELSEWHERE.items() if isinstance(method, role)), "")
    raise InputError(f"{name}: has no standalone evaluation{instead}")


class Subject(NamedTuple):
    """What is evaluated, against which source, and what it is in words."""

    kind: Literal["run"] | choice.Origin
    name: str
    source: str
    text: str


def subject_of(name: str, source: str | None) -> Subject:
    """Returns what a name stands for: a run folder, a training, a network's file or a method of the catalogue.

    Raises InputError for a name that is none of these, for a method that must be trained first, a network that does not
    fit its description, where the source is missing, and for a run of another source.
    """
    if (Path(name) / "run.json").exists():
        record = RunFolder(Path(name)).read_record()
        if source not in (None, record.source):
            raise InputError(f"{name}: is a run of {record.source} and can be evaluated against that source alone")
        return Subject("run", name, record.source, f"run of {record.source}, as measured by firstsight perceive")
    kind = choice.origin(name)
    if kind == "method" and catalogue.find(name).learns:
        raise InputError(f"{name}: must be trained first: firstsight train {name} SOURCE; then evaluate its folder")
    if source is None:
        raise InputError(f"evaluate {name}: SOURCE is missing; give a recording with truth, such as sim:street")
    return Subject(kind, name, source, f"{choice.described(name)}, on {source}")


def measured(subject: Subject, *, frames: str | None = None, protocol: Protocol | None = None) -> Metrics:
    """Returns the metrics of a method or a training, or those that a run folder holds.

    Raises InputError as `evaluate` does, and for a run whose recording has no truth.
    """
    if subject.kind != "run":
        return evaluate(subject.name, subject.source, frames=frames, protocol=protocol)
    metrics = tuple(RunFolder(Path(subject.name)).read_record().metrics)
    if not metrics:
        raise InputError(
            f"{subject.name}: this run holds no metrics; {subject.source} has no truth, or the run is unfinished"
        )
    return metrics


def described(name: str, source: str, metrics: Metrics) -> dict[str, Any]:
    """Returns what was measured as a value for JSON."""
    return {"method": name, "source": source, "metrics": [asdict(metric) for metric in metrics]}


def stereo(method: StereoEstimator, source: str, frames: str | None, _: Protocol) -> Metrics:
    errors = DisparityErrors()
    for found, true in (drawn_stereo if is_layers(source) else recorded_stereo)(method, source, frames):
        errors.add(found.disparity[0, 0].numpy(), found.valid[0, 0].numpy(), true)
    return errors.metrics()


def recorded_stereo(method: StereoEstimator, source: str, frames: str | None) -> Iterable[Matched]:
    """What is found in each frame of a recording, and the true disparity."""
    recording = open_recording(source, frames=frames)
    if recording.rig.stereo is None:
        raise InputError(f"{source}: it has no stereo pair")
    for frame, true in judged(recording, known(recording.truth.disparity, source, "disparity")):
        yield matched(frame, method), true


def drawn_stereo(method: StereoEstimator, source: str, frames: str | None) -> Iterable[Matched]:
    """What is found in drawn stereo pairs, and the true disparity."""
    for row in drawn(source, frames, Wanted(TrueDisparity)):
        left, right = (torch.from_numpy(row[name][0]) for name in ("images", "right"))
        disparity = row["disparity"][0, 0]
        yield method(left, right), DisparityImage(disparity, disparity > 0, ~row["occluded_right"][0])


def depth(method: DepthEstimator, source: str, frames: str | None, protocol: Protocol) -> Metrics:
    recording = open_recording(source, frames=frames)
    truth = known(recording.truth.depth, source, "depth")
    errors = DepthErrors(DepthProtocol(cap_m=protocol.cap_m, crop=protocol.crop, align=alignment_of(method)))
    for frame, true in judged(recording, truth):
        errors.add(depth_image(method(to_tensor(frame.image()))), true)
    return errors.metrics()


def alignment_of(method: DepthEstimator) -> Alignment:
    """What each image's depth must be given before it can be judged: nothing, its factor, or its factor and shift."""
    if isinstance(method, ExternalInverseDepth):
        return "inverse"
    return "none" if method.scale == "metric" else "median"


def flow(method: FlowEstimator, source: str, frames: str | None, _: Protocol) -> Metrics:
    errors = FlowErrors()
    for image_a, image_b, true in drawn_pairs(source, frames) if is_layers(source) else recorded_pairs(source, frames):
        found = method(image_a, image_b)
        valid = found.valid[0, 0].numpy()
        errors.add(FlowImage(found.flow[0].permute(1, 2, 0).numpy(), valid, valid), true)
    return errors.metrics()


def recorded_pairs(source: str, frames: str | None) -> Iterable[Pair]:
    """Each frame of a recording, the next one, and the true flow."""
    recording = open_recording(source, frames=frames)
    truth = known(recording.truth.flow, source, "flow")
    for frame, true in judged(recording, truth, len(recording) - 1):
        yield to_tensor(frame.image()), to_tensor(recording[frame.index + 1].image()), true


def drawn_pairs(source: str, frames: str | None) -> Iterable[Pair]:
    """Pairs of moving layers, and the true flow."""
    for row in drawn(source, frames, Wanted(TrueFlow, clip=clip_of(0, 1))):
        image_a, image_b = (torch.from_numpy(image) for image in row["images"])
        true = FlowImage(row["flow_ab"].transpose(1, 2, 0), row["valid"][0], ~row["occluded"][0])
        yield image_a, image_b, true


def drawn(source: str, frames: str | None, wanted: Wanted) -> Iterable[Row]:
    """The chosen samples of drawn pairs."""
    pairs = LayeredPairs(source, wanted)
    chosen = range(len(pairs)) if frames is None else frame_indices(frames, len(pairs))
    with progress_bars() as bars:
        for index in bars.track(chosen, total=len(chosen), description="evaluating"):
            yield pairs.sample(index)


def odometry(method: Odometry, source: str, frames: str | None, _: Protocol) -> Metrics:
    recording = open_recording(source, frames=frames)
    true = recording.truth.world_from_camera
    if true is None:
        raise InputError(f"{source}: its trajectory is not known")
    for frame in shown(recording):
        method.step(observation(frame, method.needs))
    found, valid, _ = (part.numpy() for part in method.trajectory())
    poses = np.where(valid[:, None, None], found, np.nan)
    alignment = "se3" if method.scale == "metric" else "sim3"
    try:
        return trajectory_metrics(poses, true, alignment, recording.truth.trajectory_reference)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


def features(method: Encoder, source: str, _: str | None, protocol: Protocol) -> Metrics:
    """Probes of an encoder that learned, on images whose folders are their classes."""
    if not isinstance(method, Trainable | ExternalEncoder):
        raise InputError(f"{type(method).__name__}: learns nothing; probes are for features that were learned")
    with TemporaryDirectory() as scratch:
        images = open_source(source, Wanted(ImageBatch, input_size(method)), Path(scratch))
        if not isinstance(images, Images) or len(set(images.class_names() or ())) < 2:
            raise InputError(f"{source}: probes need images in folders by class (or train/CLASS and test/CLASS)")
        labels = numbered(images.class_names() or [])
        train, test = split(images.relative_names, protocol.known, protocol.held_out)
        known = Labelled(encoded(method, images, train), labels[train])
        held_out = Labelled(encoded(method, images, test), labels[test])
    return (neighbour_metric(known, held_out), linear_metric(known, held_out))


def input_size(method: Trainable | ExternalEncoder) -> tuple[int, int]:
    """(height, width) of the images that the method was trained on, or that a network's description fixes."""
    if isinstance(method, ExternalEncoder):
        return method.image_size
    height, width = method.example_inputs()["image"].shape[-2:]
    return height, width


def split(relative_names: Sequence[str], known: int, held_out: int) -> tuple[list[int], list[int]]:
    """Some for the probe and some to judge it by: of train/ and test/ where the source has such folders, else of all."""
    order = np.random.default_rng(0).permutation(len(relative_names)).tolist()
    parts = split_names(relative_names)
    test, train = ([i for i in order if parts[i] == part] for part in ("test", "train"))
    if not test:
        cut = min(held_out, max(len(order) // 5, 1))
        test, train = order[:cut], order[cut:]
    return train[:known], test[:held_out]


def objects(method: Discoverer, source: str, frames: str | None, _: Protocol) -> Metrics:
    """Masks against the true ids of what moves, at the size that the method was trained at, beside those of k-means."""
    if not isinstance(method, Trainable):
        raise InputError(f"{type(method).__name__}: learns nothing; there is no evaluation for it yet")
    recording = open_recording(source, frames=frames)
    truth = known(recording.truth.moving, source, "objects")
    errors, baseline, size = ObjectMaskErrors(), ObjectMaskErrors(), input_size(method)
    for frame, true in judged(recording, truth):
        image = scaled(frame.image(), size)
        true_ids = cv2.resize(true, size[::-1], interpolation=cv2.INTER_NEAREST).astype(np.int64)
        masks = method(torch.from_numpy(image)[None].float() / 255)
        errors.add(ids_of(masks)[0].numpy(), true_ids)
        baseline.add(clustered_ids(image.transpose(1, 2, 0), masks.shape[1]), true_ids)
    return (*errors.metrics(), *(replace(metric, name=f"{metric.name}, k-means") for metric in baseline.metrics()))


def observation(frame: Frame, needs: frozenset[str]) -> Observation:
    """What the method needs of a frame. Raises InputError where the rig lacks it."""
    camera, source = frame.recording.rig.reference, frame.recording.source
    given: dict[str, Any] = {
        "image": lambda: camera and to_tensor(frame.image()),
        "intrinsics": lambda: camera and torch.from_numpy(camera.intrinsics),
        "depth": lambda: measured_depth(frame),
        "points_lidar": lambda: (scan := frame.scan()) and torch.from_numpy(scan.points),
    }
    found = {need: given[need]() for need in needs}
    for need, value in found.items():
        if value is None:
            raise InputError(f"{source}: frame {frame.index} has no {need.replace('_', ' ')}, which the method needs")
    return Observation(frame.stamp_ns, **found)


def measured_depth(frame: Frame) -> Depth | None:
    """A depth sensor's, or of a stereo pair by semi-global matching."""
    rig, sensed = frame.recording.rig, frame.depth()
    if sensed is not None:
        return depth_tensors(sensed)
    if rig.stereo is None:
        return None
    estimator = catalogue.find("semi-global-matching").load()()
    return stereo_depth(rig, matched(frame, estimator))


def known(truth: Any, source: str, what: str) -> Any:
    if truth is None:
        raise InputError(f"{source}: its true {what} is not known; evaluate on sim:street or on a recording with truth")
    return truth


def shown(recording: Recording, count: int | None = None) -> Iterable[Frame]:
    """Yields the first `count` frames (by default all) one after the other, with a progress bar."""
    total = len(recording) if count is None else count
    with progress_bars() as bars:
        yield from bars.track((recording[i] for i in range(total)), total=total, description="evaluating")


def judged(recording: Recording, truth: Channel[T], count: int | None = None) -> Iterable[tuple[Frame, T]]:
    """Yields those of the first `count` frames (by default all) whose truth is there, with it; a LiDAR's is not in each."""
    for frame in shown(recording, count):
        true = item(truth, frame.index)
        if true is not None:
            yield frame, true


MEASURES: dict[type, Callable[..., Metrics]] = {
    StereoEstimator: stereo,
    DepthEstimator: depth,
    FlowEstimator: flow,
    Odometry: odometry,
    Encoder: features,
    Discoverer: objects,
}
BY_PERCEIVE = "; `firstsight perceive SOURCE` measures it together with what it needs"
MEASURED_ELSEWHERE: dict[type, str] = {
    MultiViewDepthEstimator: BY_PERCEIVE,
    DepthCompleter: BY_PERCEIVE,
    LoopCloser: BY_PERCEIVE,
    MotionSegmenter: BY_PERCEIVE,
    PoseGraphOptimiser: "; `firstsight optimise GRAPH` says by how much it lowers a graph's error",
    Reconstructor: "; `firstsight reconstruct PHOTOS` says its reprojection error",
    LandmarkSlam: "; `firstsight gallery ekf-slam` draws its errors",
}
