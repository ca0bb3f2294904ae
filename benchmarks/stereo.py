"""Stereo and depth from motion: time and errors beside OpenCV. Prints benchmarks/stereo.md.

    python benchmarks/stereo.py [FOLDER]      FOLDER holds middlebury/ and kitti_raw/; without it only the simulated street is measured

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

from firstsight.depth.plane_sweep import PlaneSweep
from firstsight.depth.semi_global_matching import Config, SemiGlobalMatching
from firstsight.geometry.images import to_grey, to_tensor
from firstsight.matching.census import census_transform
from firstsight.matching.cost_volume import block_cost, census_cost, halvings, hamming_volume
from firstsight.matching.semi_global import Penalties, aggregate
from firstsight.matching.winner import fill_from_background, find_peaks, left_right_consistent, take_winners
from firstsight.recordings.kitti_raw import read as read_kitti_raw
from firstsight.recordings.opening import with_lidar_as_true_depth
from firstsight.recordings.recording import Recording
from firstsight.recordings.simulated import simulate

ROUNDS = 9
MODES = {
    "SGBM HH, 8 paths": cv2.STEREO_SGBM_MODE_HH,
    "SGBM HH4, 4 paths": cv2.STEREO_SGBM_MODE_HH4,
    "SGBM, 5 paths": cv2.STEREO_SGBM_MODE_SGBM,
    "SGBM 3WAY, 3 paths": cv2.STEREO_SGBM_MODE_SGBM_3WAY,
}
Answer = tuple[np.ndarray, np.ndarray]


class Pair(NamedTuple):
    """RGB images, true disparity (px), where it counts, and how many disparities to try."""

    left: np.ndarray
    right: np.ndarray
    truth: np.ndarray
    judged: np.ndarray
    candidates: int


def opencv(pair: Pair, mode: int) -> Callable[[], Answer]:
    """StereoSGBM with the settings of its documentation for 3x3 blocks, on grey images."""
    matcher = cv2.StereoSGBM_create(0, pair.candidates, 3, 72, 288, 1, 63, 10, 100, 2, mode)
    greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (pair.left, pair.right)]

    def answer() -> Answer:
        disparity = matcher.compute(*greys)
        return disparity.astype(np.float32) / 16, disparity >= 0

    return answer


def ours(pair: Pair, paths: int = 8) -> Callable[[], Answer]:
    """The whole estimator, from float RGB tensors."""
    match = SemiGlobalMatching(Config(max_disparity_px=pair.candidates, paths=paths))
    images = to_tensor(pair.left), to_tensor(pair.right)

    def answer() -> Answer:
        estimate = match(*images)
        return estimate.disparity[0, 0].numpy(), estimate.valid[0, 0].numpy()

    return answer


def bad(disparity: np.ndarray, pair: Pair, where: np.ndarray, threshold_px: float) -> float:
    """Percentage of the judged pixels in `where` that err by more."""
    return 100 * float((np.abs(disparity - pair.truth) > threshold_px)[where & pair.judged].mean())


def middlebury(folder: Path, name: str) -> Pair:
    def picture(path: str) -> np.ndarray:
        return cv2.imread(str(folder / path))[:, :, ::-1].copy()

    if name == "motorcycle":
        stored = np.load(folder / "motorcycle_disp.npz")
        truth = np.nan_to_num(stored[stored.files[0]], posinf=0.0).astype(np.float32)
        return Pair(picture("motorcycle_left.png"), picture("motorcycle_right.png"), truth, truth > 0, 96)
    if name == "cones":
        truth = cv2.imread(str(folder / "cones/disp2.pgm"), cv2.IMREAD_UNCHANGED).astype(np.float32) / 4
        return Pair(picture("cones/im2.png"), picture("cones/im6.png"), truth, truth > 0, 64)
    truth = cv2.imread(str(folder / "aloe/aloeGT.png"), cv2.IMREAD_GRAYSCALE).astype(np.float32)
    return Pair(picture("aloe/aloeL.jpg"), picture("aloe/aloeR.jpg"), truth, truth > 0, 224)


def street(frame: int, candidates: int, **size: int) -> Pair:
    recording = simulate("street", **size)
    left, right = (recording.images[name][frame] for name in ("left", "right"))
    truth = recording.truth.disparity[frame]
    return Pair(left, right, truth.disparity, truth.valid & truth.visible, candidates)


def best_ms(methods: dict[str, Callable[[], Answer]]) -> dict[str, float]:
    times = {name: [] for name in methods}
    for _ in range(ROUNDS):
        for name, method in methods.items():
            start = time.process_time()
            method()
            times[name].append(1e3 * (time.process_time() - start))
    return {name: min(each) for name, each in times.items()}


def print_times() -> None:
    pair = street(0, 128, width=1242, height=375)
    methods = {"ours, 8 paths": ours(pair), "ours, 4 paths": ours(pair, paths=4)}
    methods |= {f"OpenCV {name}": opencv(pair, mode) for name, mode in MODES.items()}
    start = time.perf_counter()
    methods["ours, 8 paths"]()
    first_s = time.perf_counter() - start
    times = best_ms(methods)
    print("## Time at 1242x375 with 128 disparities\n\n| method | ms | OpenCV HH takes |\n|---|--:|--:|")
    for name, ms in times.items():
        print(f"| {name} | {ms:.0f} | {times['OpenCV SGBM HH, 8 paths'] / ms:.2f}x |")
    print(
        f"\nThe first call of this process took {first_s:.1f} s (wall; seconds more where nothing is compiled yet).\n"
    )
    print_step_times(pair)


def print_step_times(pair: Pair) -> None:
    left, right = (to_grey(to_tensor(image)) for image in (pair.left, pair.right))
    cost = np.empty((*left.shape, pair.candidates), np.uint8)
    total = np.empty(cost.shape, np.uint16)
    steps = {
        "census, Hamming, 3x3 sums": lambda: census_cost(left, right, (2, 3), cost),
        "aggregation, 8 paths": lambda: aggregate(cost, left, Penalties(), 8, total),
        "winners of both images": lambda: take_winners(total),
    }
    times = best_ms(steps)
    print("| step | ms |\n|---|--:|")
    for name, ms in times.items():
        print(f"| {name} | {ms:.0f} |")
    per_update_ns = 1e6 * times["aggregation, 8 paths"] / (cost.size * 8)
    print(f"\nAggregation: {per_update_ns:.2f} ns per pixel, disparity and path.\n")


def most_confident(pair: Pair, count: int) -> Answer:
    """Our `count` surest answers: those that pass the left-right check first, then by how far they stand out."""
    left, right = (to_grey(to_tensor(image)) for image in (pair.left, pair.right))
    cost = census_cost(left, right, (2, 3), np.empty((*left.shape, pair.candidates), np.uint8))
    total = aggregate(cost, left, Penalties())
    disparity, of_right = take_winners(total)
    doubt = find_peaks(total, 2).ratio + ~left_right_consistent(disparity, of_right, 1.0)
    return disparity, doubt <= np.partition(doubt[pair.judged], count - 1)[count - 1]


def print_errors(pairs: dict[str, Pair]) -> None:
    print(
        "## Errors\n\nPercent of the pixels with known disparity. Columns 2 to 4: those a method answers. "
        "Same pixels: those OpenCV HH answers. Same number: the surest answers, as many as OpenCV HH gives. "
        "Missing is bad: all pixels, no answer counts as an error.\n\n"
        "| pair | method | answered | bad-1 | bad-2 | bad-2, same pixels | bad-2, same number | bad-1, missing is bad |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|"
    )
    for name, pair in pairs.items():
        theirs, their_valid = opencv(pair, cv2.STEREO_SGBM_MODE_HH)()
        surest = most_confident(pair, int((their_valid & pair.judged).sum()))
        columns = {"ours": (*ours(pair)(), bad(surest[0], pair, surest[1], 2))}
        columns["OpenCV HH"] = (theirs, their_valid, bad(theirs, pair, their_valid, 2))
        for method, (disparity, valid, same_number) in columns.items():
            missing = 100 - (100 - bad(disparity, pair, valid, 1)) * valid[pair.judged].mean()
            print(
                f"| {name} | {method} | {100 * valid[pair.judged].mean():.1f} | {bad(disparity, pair, valid, 1):.2f} "
                f"| {bad(disparity, pair, valid, 2):.2f} | {bad(disparity, pair, their_valid, 2):.2f} "
                f"| {same_number:.2f} | {missing:.2f} |"
            )


def parabola(total: np.ndarray) -> np.ndarray:
    """The winners refined by a parabola instead of two lines."""
    best = np.clip(total.argmin(2), 1, total.shape[2] - 2)[..., None]
    before, here, after = (np.take_along_axis(total, best + i, 2)[..., 0].astype(np.float32) for i in (-1, 0, 1))
    offset = (before - after) / (2 * np.maximum(before + after - 2 * here, 1))
    return (best[..., 0] + offset.clip(-0.5, 0.5)).astype(np.float32)


def print_variants(pairs: dict[str, Pair]) -> None:
    """What the steps contribute; guesses fill what fails the check, no speckles are removed."""
    print(
        "\n## What the choices bring\n\nbad-1 over all judged pixels with guesses in the gaps; mean error of the pixels "
        "that pass the check and err by less than 1 px.\n\n| variant | "
        + " | ".join(f"{name}: bad-1 | px" for name in pairs)
        + " |"
    )
    print("|---|" + "--:|--:|" * len(pairs))
    for variant in ("default", "4 paths", "no 3x3 sums", "P2 the same everywhere", "parabola"):
        cells = []
        for pair in pairs.values():
            disparity, valid = variant_of(pair, variant)
            error = np.abs(disparity - pair.truth)[valid & pair.judged]
            dense = fill_from_background(disparity, valid)
            cells.append(f"{bad(dense, pair, np.ones_like(valid), 1):.2f} | {error[error < 1].mean():.3f}")
        print(f"| {variant} | " + " | ".join(cells) + " |")


def variant_of(pair: Pair, variant: str) -> Answer:
    left, right = (to_grey(to_tensor(image)) for image in (pair.left, pair.right))
    codes = (census_transform(image, (2, 3)) for image in (left, right))
    cost = hamming_volume(*codes, np.empty((*left.shape, pair.candidates), np.uint8))
    if variant != "no 3x3 sums":
        block_cost(cost, halvings((2, 3)))
    penalties = Penalties(contrast=1e9) if variant == "P2 the same everywhere" else Penalties()
    total = aggregate(cost, left, penalties, 4 if variant == "4 paths" else 8)
    disparity, of_right = take_winners(total)
    if variant == "parabola":
        disparity = parabola(total)
    return disparity, left_right_consistent(disparity, of_right, 1.0)


def swept(recording: Recording, frame: int, offsets: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, float]:
    """Relative errors and which are answered, of the static pixels with true depth below 80 m; CPU seconds."""
    images, cameras = recording.images[recording.rig.cameras[0].name], recording.truth.world_from_camera
    others = [frame + offset for offset in offsets]
    motion = torch.from_numpy(np.stack([np.linalg.inv(cameras[i]) @ cameras[frame] for i in others]))
    pictures = torch.cat([to_tensor(images[i]) for i in others])
    intrinsics = torch.from_numpy(recording.rig.cameras[0].intrinsics)
    start = time.process_time()
    depth, valid = PlaneSweep()(to_tensor(images[frame]), pictures, motion, intrinsics)
    seconds = time.process_time() - start
    truth = recording.truth.depth[frame]
    judged = truth.valid & (truth.depth < 80)
    if recording.truth.moving is not None:
        judged &= recording.truth.moving[frame] == 0
    return np.abs(depth[0, 0].numpy()[judged] / truth.depth[judged] - 1), valid[0, 0].numpy()[judged], seconds


def print_sweeps(recordings: dict[str, tuple[Recording, tuple[int, ...]]]) -> None:
    print(
        "\n## Depth from motion (plane sweep, poses given)\n\n"
        "KITTI 0000 stands in traffic: many LiDAR returns lie on vehicles that move, which no sweep can place.\n\n"
        "| recording | neighbours | answered | Abs Rel | median | s per frame |\n|---|---|--:|--:|--:|--:|"
    )
    for name, (recording, frames) in recordings.items():
        for offsets in ((-1, 1), (-2, -1, 1, 2), (-4, -2, 2, 4)):
            runs = [swept(recording, frame, offsets) for frame in frames]
            error, valid = (np.concatenate(parts) for parts in list(zip(*runs, strict=True))[:2])
            seconds = min(run[2] for run in runs)
            print(
                f"| {name} | {', '.join(f'{i:+d}' for i in offsets)} | {100 * valid.mean():.0f} % "
                f"| {error[valid].mean():.3f} | {np.median(error[valid]):.3f} | {seconds:.2f} |"
            )


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    pairs = {f"street {frame}": street(frame, 96) for frame in (0, 30)}
    sweeps = {"sim:street, static": (simulate("street"), (10, 30, 50))}
    if folder is not None:
        pairs |= {name: middlebury(folder / "middlebury", name) for name in ("motorcycle", "cones", "aloe")}
        drive = read_kitti_raw(folder / "kitti_raw" / "2011_09_26" / "2011_09_26_drive_0000_sync")
        sweeps["KITTI 0000, traffic and all"] = (with_lidar_as_true_depth(drive), (6, 10, 14))
    print(
        f"# Stereo and depth from motion\n\n`python benchmarks/stereo.py FOLDER`, OpenCV {cv2.__version__}, one thread.\n"
    )
    print_times()
    print_errors(pairs)
    print_variants(pairs)
    print_sweeps(sweeps)


if __name__ == "__main__":
    main()
