"""What reading costs a training, and what it costs to open millions of images. Prints benchmarks/reading.md.

    OMP_NUM_THREADS=1 python benchmarks/reading.py [IMAGES [RECORDING]]

IMAGES is a folder of images (by default 100 drawn ones of 256 x 256 px), RECORDING what monodepth2 learns from (by default
sim:street). One thread.
"""

import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from firstsight.depth.monodepth2 import Monodepth2
from firstsight.representation.energy.rbm import Rbm
from firstsight.training.data.archives.shard_index import Entry, write_index
from firstsight.training.data.archives.shards import open_shards
from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.dataset import Dataset, digest
from firstsight.training.data.loading import batches
from firstsight.training.data.opening import open_dataset
from firstsight.training.data.order import Shuffled
from firstsight.training.data.wanted import Wanted
from firstsight.training.fit import Runtime, fit
from firstsight.training.trainable import Trainable

CPU = Runtime(device="cpu")
SHARDS, IMAGES_PER_SHARD = 1000, 1000
BATCH = 256
ALONE = Wanted(ImageBatch, (224, 224))
LIMITS = """## What falls short

Each worker process keeps its own share of `keep_bytes`, and of what it read itself: with w workers an image is decoded up
to w times before all of them have it. Parquet is not read. Shards are not downloaded: they lie on a disk.
"""


def drawn_images(folder: Path, count: int = 100) -> Path:
    """Stand-ins for photographs: smooth noise as JPEG."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 255, (32, 32, 3), np.uint8)
        image = cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.jpg"), image)
    return folder


def never_kept(data: Dataset) -> Dataset:
    """The data without what is kept in memory."""
    data.keep = lambda budget: None  # ty: ignore[invalid-assignment]
    return data


def timed(work: Callable[[], object]) -> tuple[float, float, object]:
    """Wall and CPU seconds, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def trained(kind: type[Trainable], source: str, steps: int, kept: bool) -> tuple[float, float, str]:
    """Seconds of a training with the tiny preset, and its weights as a short number."""
    torch.manual_seed(0)
    method = kind.of_preset("tiny")
    with tempfile.TemporaryDirectory() as scratch:
        data = open_dataset([source], method.wanted, Path(scratch))
        recipe = replace(kind.PRESETS["tiny"].recipe, steps=steps)
        wall, cpu, _ = timed(lambda: fit(method, data if kept else never_kept(data), recipe, runtime=CPU))
    weights = digest(str(value.tolist()) for value in method.state_dict().values())
    return wall, cpu, weights


def kept_in_memory(images: str, recording: str) -> None:
    print("## Samples kept in memory\n\nThe tiny presets; `weights` is a digest of all weights after the training.\n")
    print("| training | reads | wall s | CPU s | weights |\n|---|---|--:|--:|---|")
    for kind, source, steps in ((Rbm, images, 3000), (Monodepth2, recording, 60)):
        for kept in (False, True):
            wall, cpu, weights = trained(kind, source, steps, kept)
            what = "each image once" if kept else "every time"
            print(f"| {kind.__name__}, {steps} steps | {what} | {wall:.1f} | {cpu:.1f} | {weights} |", flush=True)


def write_million(folder: Path) -> None:
    """A million entries for a thousand shards, whose files hold nothing."""
    for number in range(SHARDS):
        (folder / f"shard-{number:06d}.tar").touch()
    paths = sorted(folder.glob("*.tar"))
    stats = [path.stat() for path in paths]
    key = digest(f"{p.name} {s.st_size} {s.st_mtime_ns}" for p, s in zip(paths, stats, strict=True))
    entries = [
        [
            Entry(f"{s * IMAGES_PER_SHARD + i:012d}.jpg", 1024 * i, 512, f"class {i % 1000}")
            for i in range(IMAGES_PER_SHARD)
        ]
        for s in range(SHARDS)
    ]
    write_index(folder / ".firstsight-index", key, entries)


def resident_mib() -> float:
    """Memory of this process that is its own or mapped and touched."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def open_million(folder: str) -> None:
    """Runs in a process of its own: CPU seconds to open, memory, and steps of the order."""
    before = resident_mib()
    wall, cpu, data = timed(lambda: open_shards(Path(folder), ALONE, Path(folder)))
    opened = resident_mib() - before
    order = Shuffled(len(data), 0, BATCH, data.blocks())
    _, first, _ = timed(lambda: order.at(0))
    _, later, _ = timed(lambda: [order.at(step) for step in range(1, 1001)])
    _, names, _ = timed(lambda: [data.name(index) for index in order.at(0).indices])
    print(
        f"| {len(data):,} | {wall:.2f} | {cpu:.2f} | {opened:.0f} | {resident_mib() - before:.0f} | "
        f"{first * 1e3:.0f} | {later:.2f} | {names * 1e3:.1f} |"
    )


def opening() -> None:
    print(
        f"\n## A million images in {SHARDS} shards\n\nA process of its own; the index is there, the shards hold nothing. Times but the first are CPU time.\n\n"
        f"| images | opened, s | CPU s | MiB | MiB with the order | first order, ms | a step's, ms | {BATCH} names, ms |"
        "\n|--:|--:|--:|--:|--:|--:|--:|--:|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        write_million(Path(folder))
        subprocess.run([sys.executable, __file__, "--open", folder], check=True)


def throughput(images: str) -> None:
    """The same images 20 times, as files and as four shards, at 224 x 224."""
    print("\n## Images a second\n\n224 x 224 px, nothing kept, no workers; CPU time.\n\n| from | images/s |\n|---|--:|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = sorted(path for path in Path(images).iterdir() if path.suffix == ".jpg")
        for shard in range(4):
            with tarfile.open(folder / f"{shard}.tar", "w") as archive:
                for copy in range(5):
                    for path in files:
                        archive.add(path, f"{copy}-{path.name}")
        for name, source in (("a folder", images), ("shards", place)):
            data = never_kept(open_dataset([source], ALONE, folder))
            steps = range(20)
            read = batches(data, seed=0, batch=100, rows=slice(0, 100), steps=steps)
            _, cpu, _ = timed(lambda read=read: [None for _ in read])
            print(f"| {name} | {100 * len(steps) / cpu:.0f} |", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    given = sys.argv[1:]
    if given[:1] == ["--open"]:
        open_million(given[1])
        return
    with tempfile.TemporaryDirectory() as place:
        images = given[0] if given else str(drawn_images(Path(place)))
        recording = given[1] if given[1:] else "sim:street:frames=20,height=96,width=320"
        print(f"# Reading\n\n`OMP_NUM_THREADS=1 python benchmarks/reading.py {' '.join(given)}`, one thread.\n")
        kept_in_memory(images, recording)
        opening()
        throughput(images)
    print(f"\n{LIMITS}", end="")


if __name__ == "__main__":
    main()
