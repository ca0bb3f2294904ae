"""Stereo: time, memory and errors beside OpenCV. Prints benchmarks/stereo.md.

    python benchmarks/stereo.py [FOLDER]      FOLDER holds middlebury/; without it only the simulated street is measured

One thread; CPU time of the process; rounds alternate between the methods and the best of each counts.
"""

import multiprocessing
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from pairs import Pair, best_ms, grey, middlebury, street

from firstsight.depth.semi_global_matching import Config, CrossBased, SemiGlobalMatching
from firstsight.geometry.images import to_tensor
from firstsight.matching.aggregation.penalties import Penalties, TwoImagePenalties
from firstsight.matching.aggregation.semi_global import SemiGlobal, aggregate
from firstsight.matching.costs.absolute_difference import AbsoluteDifference
from firstsight.matching.costs.census_cost import Census
from firstsight.matching.costs.normalised_correlation import NormalisedCorrelation
from firstsight.matching.selection.consistency import MatchClass, drop_speckles, left_right_consistent
from firstsight.matching.selection.winner import find_peaks, take_winners

MODES = {
    "HH, 8 paths": cv2.STEREO_SGBM_MODE_HH,
    "HH4, 4 paths": cv2.STEREO_SGBM_MODE_HH4,
    "SGBM, 5 paths": cv2.STEREO_SGBM_MODE_SGBM,
    "3WAY, 3 paths": cv2.STEREO_SGBM_MODE_SGBM_3WAY,
}
CHOICES = {
    "default": {},
    "4 paths": {"paths": 4},
    "16 paths": {"paths": 16},
    "penalties of one image, smooth": {"penalties": Penalties()},
    "penalties of one image, inverse (Hirschmueller)": {"penalties": Penalties(adapt="inverse")},
    "penalties the same everywhere": {"penalties": Penalties(adapt="constant", p2=80)},
    "penalties as MC-CNN's code has V": {"penalties": TwoImagePenalties(as_released=True)},
    "no cost outside the right image": {"outside": "none"},
    "no 3x3 sums": {"cost": Census(block=False)},
    "cross-based aggregation, 2 passes": {"cross_based": CrossBased()},
    "cross-based instead of 3x3 sums, 4 passes": {"cross_based": CrossBased(passes=4), "cost": Census(block=False)},
    "absolute difference and gradient": {"cost": AbsoluteDifference()},
    "normalised correlation 7x7": {"cost": NormalisedCorrelation(), "penalties": TwoImagePenalties(p1=0.5, p2=3.2)},
    "parabola": {"sub_pixel": "parabola"},
    "gaps filled by class": {"filling": "classified"},
    "bilateral mean": {"bilateral_px": 1.67},
}
Estimate = tuple[np.ndarray, np.ndarray]


class Method(ABC):
    """prepare() turns a pair into what a method takes, outside of any timing, and returns the call that answers."""

    @abstractmethod
    def prepare(self, pair: Pair) -> Callable[[], Estimate]: ...

    def __call__(self, pair: Pair) -> Estimate:
        return self.prepare(pair)()


@dataclass
class OpenCV(Method):
    """StereoSGBM with the settings of its documentation for 3x3 blocks, on grey images; or StereoBM with 15x15 blocks."""

    mode: int | None

    def prepare(self, pair: Pair) -> Callable[[], Estimate]:
        images = grey(pair.left), grey(pair.right)
        if self.mode is None:
            matcher = cv2.StereoBM_create(pair.candidates, 15)
        else:
            matcher = cv2.StereoSGBM_create(0, pair.candidates, 3, 72, 288, 1, 63, 10, 100, 2, self.mode)

        def estimate() -> Estimate:
            disparity = matcher.compute(*images)
            return disparity.astype(np.float32) / 16, disparity >= 0

        return estimate


class Ours(Method):
    """The whole estimator, from float RGB tensors to a filled map."""

    def __init__(self, **settings):
        self.settings = settings

    def prepare(self, pair: Pair) -> Callable[[], Estimate]:
        match = SemiGlobalMatching(Config(max_disparity_px=pair.candidates, **self.settings))
        images = to_tensor(pair.left), to_tensor(pair.right)

        def estimate() -> Estimate:
            found = match(*images)
            return found.disparity[0, 0].numpy(), found.valid[0, 0].numpy()

        return estimate


class OursChecked(Ours):
    """Cost to checked disparity: grey images in, left-right check and small patches dropped, as StereoSGBM does."""

    def prepare(self, pair: Pair) -> Callable[[], Estimate]:
        match = SemiGlobalMatching(Config(max_disparity_px=pair.candidates, **self.settings))
        images = grey(pair.left), grey(pair.right)

        def estimate() -> Estimate:
            disparity, classes = match.classified(*images)
            return disparity, drop_speckles(disparity, classes == MatchClass.CORRECT, 100)

        return estimate


def methods() -> dict[str, Method]:
    ours = {
        "ours, to a filled map": Ours(),
        "ours": OursChecked(),
        "ours, one-image penalties": OursChecked(penalties=Penalties()),
        "ours, 4 paths": OursChecked(paths=4),
    }
    return ours | {f"OpenCV {name}": OpenCV(mode) for name, mode in MODES.items()} | {"OpenCV StereoBM": OpenCV(None)}


def bad(disparity: np.ndarray, pair: Pair, where: np.ndarray, threshold_px: float) -> float:
    """Percentage of the judged pixels in `where` that err by more."""
    return 100 * float((np.abs(disparity - pair.truth) > threshold_px)[where & pair.judged].mean())


def print_times(pairs: dict[str, Pair]) -> None:
    print(
        "## Time\n\nms, and in brackets how many times as long OpenCV HH takes. From grey images to checked disparity;"
    )
    print("'to a filled map' is the whole estimator, from float RGB tensors.\n")
    print("| method | " + " | ".join(pairs) + " | memory, MB |\n|---|" + "--:|" * (len(pairs) + 1))
    start = time.perf_counter()
    Ours()(next(iter(pairs.values())))
    first_s = time.perf_counter() - start
    times = {name: best_ms({n: m.prepare(pair) for n, m in methods().items()}) for name, pair in pairs.items()}
    for name in methods():
        cells = [f"{each[name]:.0f} ({each['OpenCV HH, 8 paths'] / each[name]:.2f}x)" for each in times.values()]
        print(f"| {name} | {' | '.join(cells)} | {memory_mb(name, next(iter(pairs.values()))):.0f} |")
    print(f"\nThe first call of this process took {first_s:.1f} s (wall). Memory: what the peak of a process grows by")
    print("in the first call on the first pair, images not counted.\n")


def memory_mb(name: str, pair: Pair) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(growth_mb, (name, pair))


def growth_mb(name: str, pair: Pair) -> float:
    """In a fresh process; a tiny pair first, which loads code."""
    method = methods()[name]
    method(Pair(*(part[:64, :256] for part in pair[:4]), 32))
    call, before = method.prepare(pair), peak_mb()
    call()
    return peak_mb() - before


def peak_mb() -> float:
    """Of this process, from Linux; getrusage() would inherit the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def most_confident(pair: Pair, count: int) -> Estimate:
    """Our `count` surest answers: those that pass the left-right check first, then by how far they stand out."""
    left, right = grey(pair.left), grey(pair.right)
    census = Census()
    cost = np.empty((*left.shape, pair.candidates), np.uint8)
    census.fill(census.describe(left), census.describe(right), cost)
    total = aggregate(cost, SemiGlobal(left, Config().penalties, 8, right, census.largest))
    disparity, of_right, _ = take_winners(total)
    doubt = find_peaks(total, 2).ratio + ~left_right_consistent(disparity, of_right, 1.0)
    return disparity, doubt <= np.partition(doubt[pair.judged], count - 1)[count - 1]


def print_errors(pairs: dict[str, Pair]) -> None:
    print(
        "## Errors\n\nPercent of the pixels with known disparity. bad-1, bad-2, bad-4: of those a method answers. "
        "Same pixels: those OpenCV HH answers. Same number: the surest answers, as many as OpenCV HH gives. "
        "Missing is bad: all pixels, no answer counts as an error.\n\n"
        "| pair | method | answered | bad-1 | bad-2 | bad-4 | bad-2, same pixels | bad-2, same number | bad-1, missing is bad |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|--:|"
    )
    for name, pair in pairs.items():
        theirs, their_valid = OpenCV(cv2.STEREO_SGBM_MODE_HH)(pair)
        surest = most_confident(pair, int((their_valid & pair.judged).sum()))
        columns = {"ours": (*Ours()(pair), bad(surest[0], pair, surest[1], 2))}
        columns["OpenCV HH"] = (theirs, their_valid, bad(theirs, pair, their_valid, 2))
        for method, (disparity, valid, same_number) in columns.items():
            missing = 100 - (100 - bad(disparity, pair, valid, 1)) * valid[pair.judged].mean()
            print(
                f"| {name} | {method} | {100 * valid[pair.judged].mean():.1f} "
                + "".join(f"| {bad(disparity, pair, valid, threshold):.2f} " for threshold in (1, 2, 4))
                + f"| {bad(disparity, pair, their_valid, 2):.2f} | {same_number:.2f} | {missing:.2f} |"
            )


def print_choices(pairs: dict[str, Pair]) -> None:
    """What the steps contribute."""
    print(
        "\n## What the choices bring\n\nPercent answered, bad-2 of these, and bad-2 of all judged pixels with guesses in the "
        "gaps.\n\n| variant | "
        + " | ".join(f"{name}: answered | bad-2 | all" for name in pairs)
        + " |\n|---|"
        + "--:|--:|--:|" * len(pairs)
    )
    for variant, settings in CHOICES.items():
        cells = []
        for pair in pairs.values():
            disparity, valid = Ours(**settings)(pair)
            all_pixels = bad(disparity, pair, pair.judged, 2)
            cells.append(
                f"{100 * valid[pair.judged].mean():.1f} | {bad(disparity, pair, valid, 2):.2f} | {all_pixels:.2f}"
            )
        print(f"| {variant} | " + " | ".join(cells) + " |")


def print_growth() -> None:
    """How time grows with the image and the disparities."""
    print(
        "\n## Growth\n\nsim:street; ms, ns per pixel and disparity in brackets; the last column lets ours have 256 MB.\n\n"
        "| image | disparities | ours | OpenCV HH | HH / ours | ours in strips |\n|---|--:|--:|--:|--:|--:|"
    )
    for height, width in ((188, 621), (375, 1242), (750, 2484)):
        for candidates in (64, 128, 256):
            pair = street(0, candidates, height=height, width=width)
            each = {
                "ours": OursChecked(volume_bytes=2**33),
                "HH": OpenCV(cv2.STEREO_SGBM_MODE_HH),
                "strips": OursChecked(volume_bytes=2**28),
            }
            times = best_ms({name: method.prepare(pair) for name, method in each.items()}, rounds=3)
            cell = {name: f"{ms:.0f} ({1e6 * ms / (height * width * candidates):.2f})" for name, ms in times.items()}
            print(
                f"| {width}x{height} | {candidates} | {cell['ours']} | {cell['HH']} | {times['HH'] / times['ours']:.2f}x "
                f"| {cell['strips']} |"
            )


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pairs = {f"street {frame}": street(frame, 96) for frame in (0, 30)}
    real = middlebury(Path(sys.argv[1])) if len(sys.argv) > 1 else {}
    print(f"# Stereo\n\n`python benchmarks/stereo.py FOLDER`, OpenCV {cv2.__version__}, one thread.\n")
    print_times({"street 1242x375x128": street(0, 128, width=1242, height=375)} | real)
    print_errors(pairs | real)
    print_choices(pairs | real)
    print_growth()


if __name__ == "__main__":
    main()
