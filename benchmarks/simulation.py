"""How fast the simulated worlds render, on one thread: `python benchmarks/simulation.py` writes benchmarks/simulation.md.

A frame is the left image, its depth, the flow to the next frame with occlusion, and the ids of moving objects. Times are CPU
time of the one thread that does the work, so that other work on the machine disturbs them less; the median over frames in order.
"""

import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from firstsight.recordings.recording import Recording
from firstsight.recordings.simulated import NAMES, simulate
from firstsight.recordings.simulated.sensing.lidar import BEAMS, COLUMNS
from firstsight.recordings.simulated.sensing.raycast import Caster
from firstsight.recordings.simulated.street.world import street

FRAMES, SIZES = 40, ((120, 160), (240, 320))
COMMAND = "python benchmarks/simulation.py"


def main() -> None:
    lines = ["# Speed of the simulated worlds", "", f"`{COMMAND}` on {processor()}, one thread.", ""]
    lines += ["| world | size | ms per frame | frames/s |", "|---|---|--:|--:|"]
    for name in NAMES:
        for height, width in SIZES:
            seconds = per_frame_s(simulate(name, frames=FRAMES, height=height, width=width))
            lines.append(f"| {name} | {width}x{height} | {1e3 * seconds:.1f} | {1 / seconds:.0f} |")
    lines += ["", "A frame: left RGB, depth, flow with occlusion, ids of moving objects.", ""]
    lines += ["| street, one sensor | ms | |", "|---|--:|---|"]
    scan = median_s(simulate("street", frames=FRAMES).scans.__getitem__)
    lines.append(f"| LiDAR sweep of {BEAMS * COLUMNS:,} rays | {1e3 * scan:.0f} | |")
    cast, rays = cast_s(240, 320)
    lines.append(f"| nearest hit of {rays:,} camera rays | {1e3 * cast:.1f} | {rays / cast / 1e6:.1f} million rays/s |")
    text = "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


def per_frame_s(recording: Recording) -> float:
    truth = recording.truth

    def render(frame: int) -> None:
        for channel in (recording.images["left"], truth.depth, truth.flow, truth.moving):
            assert channel is not None
            channel[frame]

    return median_s(render)


def cast_s(height: int, width: int) -> tuple[float, int]:
    """Seconds for the rays of one image of the street, and their number."""
    caster = Caster(street(0))
    instant = caster.instant(0.0)
    x, y = np.meshgrid(np.linspace(-0.9, 0.9, width), np.linspace(-0.7, 0.7, height))
    directions = np.stack([np.ones_like(x), -x, -y], -1).reshape(-1, 3).astype(np.float32)
    origins = np.tile(np.array([1.2, 0.0, 1.65], np.float32), (len(directions), 1))
    return median_s(lambda _: caster.cast(origins, directions, instant)), len(directions)


def median_s(render: Callable[[int], object]) -> float:
    """Median CPU seconds of the frames after the first two, which compile and fill the caches."""
    seconds = []
    for frame in range(FRAMES):
        start = time.thread_time()
        render(frame)
        seconds.append(time.thread_time() - start)
    return statistics.median(seconds[2:])


def processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
