"""What can be fuzzed: which sample is mutated, and how it is read through what users call."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from rich.console import Console
from rosbags.rosbag2 import StoragePlugin
from rosbags.typesys import Stores
from torch import Tensor

import firstsight
from firstsight.errors import InputError
from fuzzing import bags, samples
from fuzzing.checks import (
    faults_of_graph,
    faults_of_reconstruction,
    faults_of_recording,
    require_one_line,
)

QUIET = Console(quiet=True)
Sample = Callable[[Path], Any]
Read = Callable[[Path, Random], Iterator[str]]
"""Reads the mutated sample in a folder; yields what is wrong with what came out. InputError is a right answer."""


@dataclass(frozen=True)
class Target:
    """`mutated` is the folder within the sample that is mutated ("": all of it), `weight` how often it is drawn."""

    sample: Sample
    read: Read
    weight: int = 4
    mutated: str = ""


class LoggedBatch(NamedTuple):
    """What is wanted of arrays."""

    images: UInt8[Tensor, "batch time 3 height width"]
    actions: Float32[Tensor, "batch time 2"]


def each(readings: list[Callable[[], Iterator[str]]]) -> Iterator[str]:
    """All readings, each of which may be refused."""
    for reading in readings:
        try:
            yield from reading()
        except InputError as error:
            require_one_line(error)


def recording(root: Path, random: Random) -> Iterator[str]:
    """Opens the first path that is there: of a bag or a video its file, else the folder of the recording."""
    from firstsight.doctor import examine

    opened = firstsight.open(recording_path(root, random))
    yield from faults_of_recording(opened)
    if random.random() < 0.1:
        examine(opened)


def recording_path(root: Path, random: Random) -> Path:
    """Where a user would point."""
    drives = sorted(root.glob("*/*_sync"))
    inside = [*drives, root / "sequences" / "00", root / "robot", root / "robot.bag"]
    clips = sorted(root.glob("clip*"))
    return random.choice([path for path in inside if path.exists()] or clips or [root])


def perceived(root: Path, random: Random) -> Iterator[str]:
    """The main job on a recording."""
    from firstsight.perceive.run import perceive

    perceive(recording_path(root, random), root / "run", console=QUIET, workers=1)
    return iter(())


def spoilt_messages(root: Path, random: Random) -> Iterator[str]:
    """A bag whose messages were spoilt before they were written."""
    ros1 = random.random() < 0.3
    messages = bags.Robot(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE).messages()
    for _ in range(random.choice((1, 1, 2))):
        bags.spoil(messages, random)
    try:
        if ros1:
            bags.write_ros1(root, messages)
        else:
            bags.write_ros2(root, StoragePlugin.MCAP, messages)
    except Exception:  # no such message can be written
        return
    yield from recording(root, random)


def graphs(root: Path, random: Random) -> Iterator[str]:
    from firstsight.commands.work.optimise import Settings, optimise_file
    from firstsight.formats.g2o import read_g2o

    for path in sorted((*root.glob("*.g2o"), *root.glob("*.graph"))):
        yield from each([lambda path=path: faults_of_graph(read_g2o(path).graph)])
        if random.random() < 0.05:
            yield from each([lambda path=path: nothing_of(optimise_file(path, root / "out" / "a.g2o", Settings()))])


def nothing_of(_: Any) -> Iterator[str]:
    """What was read without an error is right."""
    return iter(())


def bal(root: Path, random: Random) -> Iterator[str]:
    from firstsight.formats.bal import read_bal

    paths = sorted(root.glob("problem*"))
    yield from each([lambda path=path: faults_of_reconstruction(read_bal(path)) for path in paths])


def colmap(root: Path, random: Random) -> Iterator[str]:
    from firstsight.formats.colmap_model import read_colmap

    yield from faults_of_reconstruction(read_colmap(root))


def models(root: Path, random: Random) -> Iterator[str]:
    from firstsight.formats.mesh import read_mesh, vertex_normals
    from firstsight.formats.occupancy import read_map
    from firstsight.formats.point_cloud import read_ply

    yield from each(
        [
            lambda: nothing_of(read_ply(root / "cloud.ply")),
            lambda: nothing_of(vertex_normals(read_mesh(root / "mesh.ply"))),
            lambda: faults_of_map(*read_map(root / "map.pgm")),
        ]
    )


def faults_of_map(values: np.ndarray, origin_m: tuple[float, float], cell_size_m: float) -> Iterator[str]:
    if not (np.isfinite(origin_m).all() and cell_size_m > 0 and np.isfinite(cell_size_m)):
        yield "a map without a place"


def run(root: Path, random: Random) -> Iterator[str]:
    """A finished run: its summary, its files, its report anew, as a teacher and under `show`."""
    yield from finished_run(root / "run")


def finished_run(path: Path) -> Iterator[str]:
    from firstsight.formats.mesh import read_mesh
    from firstsight.formats.occupancy import read_map
    from firstsight.formats.point_cloud import read_ply
    from firstsight.perceive.summary import print_summary
    from firstsight.run_folder import RunFolder
    from firstsight.show.path_drawings import read_paths
    from firstsight.show.viewer import show
    from firstsight.training.data.taught import finished_run as teacher

    run = RunFolder(path)
    source = firstsight.open(recording_path(path.parent / "drive", Random(0)))
    frames = range(len(source))
    yield from each(
        [
            lambda: nothing_of(print_summary(run)),
            lambda: nothing_of(show(path)),
            lambda: nothing_of(read_paths(run, source, "m")),
            lambda: nothing_of(teacher(str(path), source, None)),
            lambda: nothing_of(read_ply(run.cloud_path) if run.cloud_path.exists() else None),
            lambda: nothing_of(read_mesh(run.mesh_path) if run.mesh_path.exists() else None),
            lambda: nothing_of(read_map(run.occupancy_path) if run.occupancy_path.exists() else None),
            *(
                lambda read=read, frame=frame: nothing_of(read(frame))
                for read in (run.read_depth, run.read_flow, run.read_moving)
                for frame in frames
            ),
        ]
    )


def resumed_run(root: Path, random: Random) -> Iterator[str]:
    """A run that was killed is continued to its end."""
    from firstsight.perceive.run import perceive

    finished = perceive(recording_path(root / "drive", random), root / "run", console=QUIET, workers=1)
    yield from finished_run(finished.path)


def resumed_training(root: Path, random: Random) -> Iterator[str]:
    from firstsight import pretrained
    from firstsight.training.metrics_log import read_metrics

    samples.train(root, steps=6)
    method = pretrained.load(root / "out")
    read_metrics(root / "out")
    if not all(bool(tensor.isfinite().all()) for tensor in method.state_dict().values()):
        yield "weights not finite"


def trained(root: Path, random: Random) -> Iterator[str]:
    from firstsight import pretrained
    from firstsight.show.viewer import show

    show(root / "rbm")
    pretrained.name(root / "rbm")
    method = pretrained.load(root / "rbm")
    if not all(bool(tensor.isfinite().all()) for tensor in method.state_dict().values()):
        yield "weights not finite"


def vit(root: Path, random: Random) -> Iterator[str]:
    from firstsight.nets.vit import load_published

    for path in sorted(root.glob("vit*")):
        yield from each([lambda path=path: faults_of_weights(load_published(path))])


def faults_of_weights(network: Any) -> Iterator[str]:
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        yield "weights not finite"


def data_sets(root: Path, random: Random) -> Iterator[str]:
    """Archives, each by itself, and folders of shards or arrays as one source."""
    from firstsight.training.data.batch import ImageBatch
    from firstsight.training.data.wanted import Wanted

    archives = sorted(root.glob("images*"))
    kind = LoggedBatch if any(root.glob("*.npz")) else ImageBatch
    for path in archives or [root]:
        yield from each([lambda path=path: read_samples(str(path), Wanted(kind, (8, 8)), root / "scratch")])


def read_samples(source: str, wanted: Any, scratch: Path) -> Iterator[str]:
    from firstsight.training.data.opening import open_dataset

    data = open_dataset([source], wanted, scratch)
    data.fingerprint()
    for index in range(min(len(data), 6)):
        yield from each([lambda index=index: faults_of_sample(data.sample(index))])


def faults_of_sample(row: Any) -> Iterator[str]:
    images = row["images"]
    if images.dtype != np.uint8 or images.shape[-3:] != (3, 8, 8):
        yield "images of another shape"


def state(root: Path, random: Random) -> Iterator[str]:
    from firstsight.formats.storage.state import read_state

    read_state(root / "state.npz")
    return iter(())


def resumed_reconstruction(root: Path, random: Random) -> Iterator[str]:
    from firstsight.reconstruct.job import reconstruct_folder

    reconstruct_folder(root / "photos", root / "out", console=QUIET)
    return iter(())


TARGETS: dict[str, Target] = {
    "kitti_raw": Target(samples.kitti_raw, recording, 6),
    "kitti_odometry": Target(samples.kitti_odometry, recording),
    "tum": Target(samples.tum, recording),
    "euroc": Target(samples.euroc, recording),
    "euroc_fisheye": Target(samples.euroc_fisheye, recording, 2),
    "seven_scenes": Target(samples.seven_scenes, recording),
    "image_folder": Target(samples.image_folder, recording, 2),
    "video": Target(samples.video, recording, 3),
    "ros1": Target(samples.ros1, recording),
    "mcap": Target(samples.mcap, recording),
    "db3": Target(samples.db3, recording),
    "messages": Target(samples.nothing, spoilt_messages, 8),
    "graphs": Target(samples.graphs, graphs, 6),
    "bal": Target(samples.bal, bal),
    "colmap": Target(samples.colmap, colmap),
    "models": Target(samples.models, models),
    "run": Target(samples.run, run, 8, "run"),
    "resumed_run": Target(samples.killed_run, resumed_run, 4, "run"),
    "resumed_training": Target(samples.killed_training, resumed_training, 6, "out"),
    "resumed_reconstruction": Target(samples.photos, resumed_reconstruction, 3, "out"),
    "trained": Target(samples.trained, trained),
    "vit": Target(samples.vit, vit, 3),
    "archives": Target(samples.archives, data_sets, 6),
    "shards": Target(samples.shards, data_sets, 3),
    "arrays": Target(samples.arrays, data_sets, 3),
    "state": Target(samples.state, state, 2),
    "perceive_tum": Target(samples.tum, perceived, 1),
    "perceive_kitti": Target(samples.kitti_odometry, perceived, 1),
    "perceive_bag": Target(samples.db3, perceived, 1),
}
