"""Optical flow, dense and at points: time and errors beside OpenCV. Prints benchmarks/flow.md.

    python benchmarks/flow.py [FOLDER]      FOLDER holds flow/rubberwhale*.png; without it only the street is measured

One thread; CPU time of the process; rounds alternate between the methods and the best of each counts.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from firstsight.flow.dense_inverse_search import DenseInverseSearch
from firstsight.flow.lucas_kanade import Config, LocalFlow, LucasKanade, lucas_kanade, lucas_kanade_numba
from firstsight.flow.point_tracking import track_points
from firstsight.geometry.images import luma, to_grey, to_tensor
from firstsight.recordings.simulated import simulate
from firstsight.roles import FlowEstimator

ROUNDS = 7
SIZES = {"1242x375": {"width": 1242, "height": 375}, "640x192 (default)": {}}
FRAMES = (5, 30)
PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
Estimate = tuple[np.ndarray, np.ndarray]
STEPS_OF_POINTS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01)  # the defaults of both


class Pair(NamedTuple):
    """RGB images, true flow in px, and which pixels are seen in both."""

    a: np.ndarray
    b: np.ndarray
    truth: np.ndarray
    visible: np.ndarray


def street(frame: int, **size: int) -> Pair:
    recording = simulate("street", **size)
    images, truth = recording.images["left"], recording.truth.flow[frame]
    return Pair(images[frame], images[frame + 1], truth.flow, truth.valid & truth.visible)


def greys(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    return to_grey(to_tensor(pair.a)), to_grey(to_tensor(pair.b))


def estimator(pair: Pair, method: FlowEstimator) -> Callable[[], Estimate]:
    """A whole estimator, from float RGB tensors, with its check on the way back."""
    images = to_tensor(pair.a), to_tensor(pair.b)

    def estimate() -> Estimate:
        flow, valid, _ = method(*images)
        return flow[0].permute(1, 2, 0).numpy(), valid[0, 0].numpy()

    return estimate


def windows(pair: Pair, solve: Callable[..., LocalFlow]) -> Callable[[], Estimate]:
    """One way only, as OpenCV's methods; valid where the full flow is known."""
    images = luma(to_tensor(pair.a)), luma(to_tensor(pair.b))

    def estimate() -> Estimate:
        flow, kind, _ = solve(*images, Config())
        return flow[0].permute(1, 2, 0).numpy(), kind[0, 0].numpy() == 2

    return estimate


def inverse_search(pair: Pair, preset: int) -> Callable[[], Estimate]:
    method, (a, b) = cv2.DISOpticalFlow.create(preset), greys(pair)

    def estimate() -> Estimate:
        return method.calc(a, b, np.zeros((*a.shape, 2), np.float32)), np.ones(a.shape, bool)

    return estimate


def farneback(pair: Pair) -> Callable[[], Estimate]:
    """Three levels, window of 15 px, as in OpenCV's example."""
    a, b = greys(pair)

    def estimate() -> Estimate:
        start = np.zeros((*a.shape, 2), np.float32)
        return cv2.calcOpticalFlowFarneback(a, b, start, 0.5, 3, 15, 3, 5, 1.2, 0), np.ones(a.shape, bool)

    return estimate


def still(pair: Pair) -> Callable[[], Estimate]:
    return lambda: (np.zeros_like(pair.truth), np.ones_like(pair.visible))


def dense_methods(pair: Pair) -> dict[str, Callable[[], Estimate]]:
    methods = {
        "LucasKanade, both ways": estimator(pair, LucasKanade()),
        "lucas_kanade_numba, one way": windows(pair, lucas_kanade_numba),
        "lucas_kanade (torch), one way": windows(pair, lucas_kanade),
        "DenseInverseSearch, both ways": estimator(pair, DenseInverseSearch()),
    }
    methods |= {f"OpenCV DIS {name}": inverse_search(pair, preset) for name, preset in PRESETS.items()}
    return methods | {"OpenCV Farneback": farneback(pair), "no motion": still(pair)}


def best_s(methods: dict[str, Callable]) -> dict[str, float]:
    times = {name: [] for name in methods}
    for _ in range(ROUNDS):
        for name, method in methods.items():
            start = time.process_time()
            method()
            times[name].append(time.process_time() - start)
    return {name: min(each) for name, each in times.items()}


def print_dense() -> None:
    for title, size in SIZES.items():
        pairs = [street(frame, **size) for frame in FRAMES]
        estimates = [{name: method() for name, method in dense_methods(pair).items()} for pair in pairs]
        times = best_s(dense_methods(pairs[0]))
        print(f"## Dense, sim:street at {title}, frames {' and '.join(map(str, FRAMES))}\n")
        print("| method | ms | EPE | EPE where valid | median where valid | valid |\n|---|--:|--:|--:|--:|--:|")
        for name, seconds in times.items():
            print(f"| {name} | {1e3 * seconds:.0f} | {' | '.join(errors(pairs, [each[name] for each in estimates]))} |")
        print()
    print(
        "EPE: px, over all pixels that are seen in both images. Where Lucas-Kanade is not valid it gives the part it "
        "knows (normal flow or 0), so its EPE over all pixels is not that of a method that fills in.\n"
    )


def errors(pairs: list[Pair], estimates: list[Estimate]) -> tuple[str, ...]:
    error = np.concatenate(
        [
            np.linalg.norm(flow - pair.truth, axis=-1)[pair.visible]
            for pair, (flow, _) in zip(pairs, estimates, strict=True)
        ]
    )
    valid = np.concatenate([valid[pair.visible] for pair, (_, valid) in zip(pairs, estimates, strict=True)])
    return (
        f"{error.mean():.2f}",
        f"{error[valid].mean():.2f}",
        f"{np.median(error[valid]):.3f}",
        f"{100 * valid.mean():.0f} %",
    )


def every_fourth(shape: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[2 : shape[0] : 4, 2 : shape[1] : 4].astype(np.float32)
    return np.column_stack([x.ravel(), y.ravel()])


def opencv_points(a: np.ndarray, b: np.ndarray, points: np.ndarray) -> Estimate:
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        a, b, points[:, None], None, winSize=(21, 21), maxLevel=3, criteria=STEPS_OF_POINTS
    )
    return moved[:, 0], found[:, 0] > 0


def our_points(a: np.ndarray, b: np.ndarray, points: np.ndarray) -> Estimate:
    tracks = track_points(a, b, points)
    return tracks.points_b, tracks.valid


def print_points(images: dict[str, tuple[np.ndarray, np.ndarray, Pair | None]]) -> None:
    print(
        "## Points, window 21 px, 4 pyramid levels, at most 30 steps down to 0.01 px\n\n"
        "Pyramids included. The gap is between ours and OpenCV's where both are valid.\n\n"
        "| images | points | ours us/point | OpenCV us/point | ours takes | median gap px | above 0.05 px "
        "| valid ours, OpenCV | median error ours, OpenCV px |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for name, (a, b, pair) in images.items():
        corners = cv2.goodFeaturesToTrack(a, 1000, 0.01, 5)[:, 0]
        for points in (corners, every_fourth(a.shape)):
            print(f"| {name} | {' | '.join(compared(a, b, points, pair))} |")


def compared(a: np.ndarray, b: np.ndarray, points: np.ndarray, pair: Pair | None) -> tuple[str, ...]:
    methods = {
        "ours": lambda: our_points(a, b, points),
        "OpenCV": lambda: opencv_points(a, b, points),
    }
    (ours, valid), (theirs, found) = methods["ours"](), methods["OpenCV"]()
    us = {name: 1e6 * seconds / len(points) for name, seconds in best_s(methods).items()}
    gap = np.linalg.norm(ours - theirs, axis=1)[valid & found]
    return (
        f"{len(points)}",
        f"{us['ours']:.1f}",
        f"{us['OpenCV']:.1f}",
        f"{us['ours'] / us['OpenCV']:.2f}x",
        f"{np.median(gap):.4f}",
        f"{100 * (gap > 0.05).mean():.1f} %",
        f"{100 * valid.mean():.0f}, {100 * found.mean():.0f} %",
        "unknown" if pair is None else ", ".join(f"{e:.3f}" for e in point_errors(pair, points, (ours, theirs))),
    )


def point_errors(pair: Pair, points: np.ndarray, moved: tuple[np.ndarray, ...]) -> list[float]:
    """Medians over the points that are seen in both images; corners lie on whole pixels."""
    x, y = points.astype(int).T
    visible = pair.visible[y, x]
    return [float(np.median(np.linalg.norm(each - points - pair.truth[y, x], axis=1)[visible])) for each in moved]


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(f"# Optical flow\n\n`python benchmarks/flow.py FOLDER`, OpenCV {cv2.__version__}, one thread.\n")
    print_dense()
    pair = street(5, **SIZES["1242x375"])
    images = {"street, 1242x375": (*greys(pair), pair)}
    if len(sys.argv) > 1:
        files = [str(Path(sys.argv[1]) / "flow" / f"rubberwhale{i}.png") for i in (1, 2)]
        images["RubberWhale"] = (*(cv2.imread(file, cv2.IMREAD_GRAYSCALE) for file in files), None)
    print_points(images)


if __name__ == "__main__":
    main()
