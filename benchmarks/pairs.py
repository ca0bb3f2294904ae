"""Stereo pairs with true disparity, and timing, for the benchmarks of stereo. Not a benchmark itself."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from firstsight.recordings.simulated import simulate


class Pair(NamedTuple):
    """RGB images, true disparity (px), where it counts, and how many disparities to try."""

    left: np.ndarray
    right: np.ndarray
    truth: np.ndarray
    judged: np.ndarray
    candidates: int


def grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def street(frame: int, candidates: int, **size: int) -> Pair:
    recording = simulate("street", frames=frame + 2, **size)
    left, right = (recording.images[name][frame] for name in ("left", "right"))
    truth = recording.truth.disparity[frame]
    return Pair(left, right, truth.disparity, truth.valid & truth.visible, candidates)


def middlebury(folder: Path) -> dict[str, Pair]:
    """Motorcycle, cones and aloe of a folder that holds middlebury/."""
    return {name: _middlebury(folder / "middlebury", name) for name in ("motorcycle", "cones", "aloe")}


def _middlebury(folder: Path, name: str) -> Pair:
    def image(path: str) -> np.ndarray:
        return cv2.imread(str(folder / path))[:, :, ::-1].copy()

    if name == "motorcycle":
        stored = np.load(folder / "motorcycle_disp.npz")
        truth = np.nan_to_num(stored[stored.files[0]], posinf=0.0).astype(np.float32)
        return Pair(image("motorcycle_left.png"), image("motorcycle_right.png"), truth, truth > 0, 96)
    if name == "cones":
        truth = cv2.imread(str(folder / "cones/disp2.pgm"), cv2.IMREAD_UNCHANGED).astype(np.float32) / 4
        return Pair(image("cones/im2.png"), image("cones/im6.png"), truth, truth > 0, 64)
    truth = cv2.imread(str(folder / "aloe/aloeGT.png"), cv2.IMREAD_GRAYSCALE).astype(np.float32)
    return Pair(image("aloe/aloeL.jpg"), image("aloe/aloeR.jpg"), truth, truth > 0, 224)


def best_ms(methods: Mapping[str, Callable[[], Any]], rounds: int = 9) -> dict[str, float]:
    """CPU time of the process; rounds alternate between the methods and the best of each counts."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            start = time.process_time()
            method()
            times[name].append(1e3 * (time.process_time() - start))
    return {name: min(each) for name, each in times.items()}
