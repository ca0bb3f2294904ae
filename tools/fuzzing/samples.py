"""Small intact inputs of every kind that firstsight reads."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch
from rich.console import Console
from rosbags.rosbag2 import StoragePlugin

from fuzzing import bags

SIZE = (24, 32)
FRAMES = 3


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """An image with some texture."""
    return np.random.default_rng(number).integers(0, 255, (*size, 3), np.uint8)


def write_picture(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def kitti_raw(root: Path, frames: int = 2, height: int = 32) -> Path:
    """A simulated drive with all that can be known about it; returns its folder."""
    from firstsight.recordings.opening import open_recording
    from firstsight.recordings.simulated.export import write_kitti_raw

    return write_kitti_raw(open_recording(f"sim:street:frames={frames},height={height},width={2 * height}"), root)


def kitti_odometry(root: Path) -> None:
    sequence = root / "sequences" / "00"
    for camera in ("image_2", "image_3"):
        for frame in range(FRAMES):
            write_picture(sequence / camera / f"{frame:06d}.png", picture(frame))
    (sequence / "velodyne").mkdir()
    for frame in range(FRAMES):
        points = np.random.default_rng(frame).uniform(1, 9, (20, 4)).astype("<f4")
        (sequence / "velodyne" / f"{frame:06d}.bin").write_bytes(points.tobytes())
    rows = [f"P{i}: 30 0 15.5 {-30 * x} 0 30 11.5 0 0 0 1 0" for i, x in enumerate((0, 0.54, -0.06, 0.47))]
    rows.append("Tr: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27")
    (sequence / "calib.txt").write_text("\n".join(rows) + "\n")
    (sequence / "times.txt").write_text("".join(f"{0.1 * frame:.6e}\n" for frame in range(FRAMES)))
    (root / "poses").mkdir()
    (root / "poses" / "00.txt").write_text("".join(f"1 0 0 0 0 1 0 0 0 0 1 {2 * f}\n" for f in range(FRAMES)))


def tum(root: Path) -> None:
    times = [f"1305031102.{175304 + 30000 * frame}" for frame in range(FRAMES)]
    for number, time in enumerate(times):
        write_picture(root / "rgb" / f"{time}.png", picture(number))
        write_picture(root / "depth" / f"{time}.png", np.full(SIZE, 5000 + number, np.uint16))
    for kind in ("rgb", "depth"):
        rows = [f"{time} {kind}/{time}.png" for time in times]
        (root / f"{kind}.txt").write_text("# timestamp filename\n" + "\n".join(rows) + "\n")
    poses = [f"{time} {number} 2 3 0 0 0.6 0.8" for number, time in enumerate(times)]
    (root / "groundtruth.txt").write_text("# comment\n" + "\n".join(poses) + "\n")


EUROC_SENSOR = """%YAML:1.0
# General sensor definitions.
sensor_type: camera
T_BS:
  cols: 4
  rows: 4
  data: [0.0, -1.0, 0.0, 0.1, 1.0, 0.0, 0.0, {right_m}, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
rate_hz: 20
resolution: [32, 24]
camera_model: pinhole
intrinsics: [30.0, 31.0, 15.5, 11.5] #fu, fv, cu, cv
distortion_model: {model}
distortion_coefficients: [-0.1, 0.01, 0.001, -0.002]
"""


def euroc(root: Path, model: str = "radial-tangential") -> None:
    stamps = [1403715273262142976 + 50_000_000 * frame for frame in range(FRAMES)]
    for camera, right_m in (("cam0", 0.0), ("cam1", 0.11)):
        folder = root / "mav0" / camera
        for number, stamp in enumerate(stamps):
            write_picture(folder / "data" / f"{stamp}.png", picture(number)[:, :, 0])
        rows = [f"{stamp},{stamp}.png" for stamp in stamps]
        (folder / "data.csv").write_text("#timestamp [ns],filename\r\n" + "\r\n".join(rows) + "\r\n")
        (folder / "sensor.yaml").write_text(EUROC_SENSOR.format(right_m=right_m, model=model))
    truth = root / "mav0" / "state_groundtruth_estimate0"
    truth.mkdir()
    rows = [f"{stamp},{number},2,3,0.8,0,0,0.6,0,0,0" for number, stamp in enumerate(stamps)]
    (truth / "data.csv").write_text("#timestamp, p_RS_R_x [m], ...\n" + "\n".join(rows) + "\n")


def euroc_fisheye(root: Path) -> None:
    euroc(root, "equidistant")


def seven_scenes(root: Path) -> None:
    for frame in range(FRAMES):
        write_picture(root / f"frame-{frame:06d}.color.png", picture(frame))
        write_picture(root / f"frame-{frame:06d}.depth.png", np.full(SIZE, 1500 + frame, np.uint16))
        pose = f"0 0 1 {frame}\n-1 0 0 0.5\n0 -1 0 0.25\n0 0 0 1\n"
        (root / f"frame-{frame:06d}.pose.txt").write_text(pose)
    (root / "camera-intrinsics.txt").write_text("30 0 15.5\n0 30 11.5\n0 0 1\n")


def image_folder(root: Path) -> None:
    for frame in range(FRAMES):
        write_picture(root / f"{frame:03d}.png", picture(frame))
    write_picture(root / "003.jpg", picture(3))


def video(root: Path) -> None:
    for name, codec in (("clip.mp4", "mp4v"), ("clip.avi", "MJPG")):
        writer = cv2.VideoWriter(str(root / name), cv2.VideoWriter_fourcc(*codec), 20.0, SIZE[::-1])
        for frame in range(FRAMES):
            writer.write(picture(frame))
        writer.release()


def ros1(root: Path) -> None:
    bags.write_ros1(root)


def mcap(root: Path) -> None:
    bags.write_ros2(root, StoragePlugin.MCAP)


def db3(root: Path) -> None:
    bags.write_ros2(root, StoragePlugin.SQLITE3)


def nothing(root: Path) -> None:
    """What is read is made for each case."""


def graphs(root: Path) -> None:
    flat = [f"VERTEX_SE2 {i} {i} {0.1 * i} {0.2 * i}" for i in range(4)]
    flat += [f"EDGE_SE2 {i} {i + 1} 1 0.1 0.2 10 0.1 0 20 0 30" for i in range(3)]
    flat += ["EDGE_SE2 3 0 -3 -0.3 -0.6 10 0 0 10 0 10", "FIX 0", "VERTEX_XY 9 2 3", "EDGE_SE2_XY 1 9 1 3 5 0 5"]
    (root / "flat.g2o").write_text("\n".join([*flat, "EDGE_PRIOR_SE2 2 2 0.2 0.4 1 0 0 1 0 1"]) + "\n")
    information = " ".join("10" if i == j else "0" for i in range(6) for j in range(i, 6))
    deep = [f"VERTEX_SE3:QUAT {i} {i} 0 0 0 0 0.6 0.8" for i in range(4)]
    deep += [f"EDGE_SE3:QUAT {i} {(i + 1) % 4} 1 0 0.2 0 0 0 1 {information}" for i in range(4)]
    deep += ["PARAMS_SE3OFFSET 0 0 0 0.1 0 0 0 1", "VERTEX_TRACKXYZ 7 1 2 3"]
    (root / "deep.g2o").write_text("\n".join([*deep, "EDGE_SE3_TRACKXYZ 0 7 0 1 2 3 4 0 0 4 0 4"]) + "\n")
    toro = [f"VERTEX2 {i} {i} 0 0.1" for i in range(4)]
    toro += [f"EDGE2 {i} {(i + 1) % 4} 1 0 0.1 10 0 10 20 0 0" for i in range(4)]
    (root / "toro.graph").write_text("\n".join(toro) + "\n")
    toro = [f"VERTEX3 {i} {i} 0 0.5 0.1 0.2 0.3" for i in range(3)]
    toro += [f"EDGE3 {i} {i + 1} 1 0 0 0.1 0 0 {information}" for i in range(2)]
    (root / "toro3.graph").write_text("\n".join(toro) + "\n")


def bal(root: Path) -> None:
    cameras = [f"{0.1 * i} 0 0.05 {i} 0 -5 500 0.01 0.001".replace(" ", "\n") for i in range(2)]
    seen = [f"{camera} {point} {10 * point - camera} {5 - point}" for point in range(3) for camera in range(2)]
    points = [f"{point}\n{1 - point}\n{0.5 * point}" for point in range(3)]
    text = "\n".join(["2 3 6", *seen, *cameras, *points]) + "\n"
    (root / "problem.txt").write_text(text)
    (root / "problem.txt.gz").write_bytes(gzip.compress(text.encode()))


def colmap(root: Path) -> None:
    (root / "cameras.txt").write_text("# comment\n1 SIMPLE_RADIAL 32 24 30 16 12 0.01\n2 PINHOLE 32 24 30 31 16 12\n")
    images = ["1 1 0 0 0 0 0 1 1 a.png", "3.5 4.5 1 10 11 -1 7 8 2", "2 0.8 0 0.6 0 1 0 1 2 b.png", "5 5 1 9 9 2"]
    (root / "images.txt").write_text("# comment\n" + "\n".join(images) + "\n")
    (root / "points3D.txt").write_text("1 1 2 5 10 20 30 0.5 1 0 2 0\n2 0 1 6 10 20 30 0.5 1 2 2 1\n")


def models(root: Path) -> None:
    from firstsight.formats.mesh import write_mesh
    from firstsight.formats.occupancy import write_map
    from firstsight.formats.point_cloud import write_ply
    from firstsight.roles.mapping import Mesh

    points = np.arange(15, dtype=np.float32).reshape(5, 3)
    colours = np.arange(15, dtype=np.uint8).reshape(5, 3)
    write_ply(root / "cloud.ply", points, colours, "a cloud")
    faces = np.array([[0, 1, 2], [2, 3, 4]], np.int32)
    write_mesh(root / "mesh.ply", Mesh(points, colours, faces), "a mesh")
    occupied = np.arange(12).reshape(3, 4) % 3 == 0
    write_map(root / "map.pgm", occupied, ~occupied, (1.5, -2.5), 0.1)


def run(root: Path) -> None:
    """A finished run and its recording."""
    from firstsight.perceive.run import perceive

    perceive(kitti_raw(root / "drive", FRAMES, 64), root / "run", console=Console(quiet=True), workers=1)


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


def killed_run(root: Path) -> None:
    """A run that was killed while it ended a late stage, and its recording."""
    from firstsight.perceive.execution import running
    from firstsight.perceive.run import perceive

    whole = running.concluded

    def concluded(stage, progress):
        if stage.name in ("moving", "map", "loops"):
            raise Killed
        return whole(stage, progress)

    with mock.patch.object(running, "SAVE_EVERY_S", -1.0), mock.patch.object(running, "concluded", concluded):
        try:
            perceive(kitti_raw(root / "drive", FRAMES, 64), root / "run", console=Console(quiet=True), workers=1)
        except Killed:
            return
    raise AssertionError("the run was not killed")


def trained(root: Path) -> None:
    from firstsight import pretrained
    from firstsight.representation.energy.rbm import Rbm

    torch.manual_seed(0)
    pretrained.save(Rbm.of_preset("tiny"), root / "rbm")


def killed_training(root: Path) -> None:
    """A training that can be resumed, and the images that it learns from."""
    image_folder(root / "images")
    train(root, steps=4)


def train(root: Path, steps: int) -> None:
    """Trains on root/images, in root/out."""
    from firstsight import catalogue
    from firstsight.commands.work.presets import chosen_preset
    from firstsight.commands.work.train import Changes
    from firstsight.commands.work.train import train as work
    from firstsight.representation.energy.rbm import Config

    entry = catalogue.find("rbm")
    preset = chosen_preset(entry, "tiny")
    changes = Changes(steps=steps, batch=2, checkpoint_every=2)
    work(entry, [str(root / "images")], root / "out", preset=preset, config=Config(hidden=4), changes=changes)


def vit(root: Path) -> None:
    from safetensors.torch import save_file

    from firstsight.nets.vit import Config, VisionTransformer

    weights = VisionTransformer(Config(size=(16, 16), patch=8, width=64, blocks=1, heads=1)).state_dict()
    save_file(weights, root / "vit.safetensors")
    torch.save(weights, root / "vit.pth")


def archives(root: Path) -> None:
    contents = {f"{kind}/{number}.png": png(number) for kind in ("cat", "dog") for number in range(2)}
    with zipfile.ZipFile(root / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    packed = tar_of(contents)
    (root / "images.tar").write_bytes(packed)
    (root / "images.tgz").write_bytes(gzip.compress(packed))


def shards(root: Path) -> None:
    for shard in range(2):
        contents = {
            f"{number:04d}.{kind}": png(number) if kind == "png" else b"3"
            for number in (0, 1)
            for kind in ("png", "cls")
        }
        (root / f"{shard:06d}.tar").write_bytes(tar_of(contents))

    data_set(root)


def data_set(root: Path) -> None:
    """Opens the shards, which writes their index beside them."""
    from firstsight.training.data.batch import ImageBatch
    from firstsight.training.data.opening import open_dataset
    from firstsight.training.data.wanted import Wanted

    open_dataset([str(root)], Wanted(ImageBatch, (8, 8)), root / "scratch")


def png(number: int) -> bytes:
    return cv2.imencode(".png", picture(number, (8, 8)))[1].tobytes()


def tar_of(contents: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def arrays(root: Path) -> None:
    for episode in range(2):
        images = np.stack([picture(number, (8, 8)) for number in range(4)])
        actions = np.arange(8, dtype=np.float32).reshape(4, 2)
        np.savez(root / f"{episode}.npz", images=images, actions=actions, episode_ends=np.array([2, 4]))


def state(root: Path) -> None:
    from firstsight.formats.storage.state import write_state

    content = {"frame": 3, "poses": np.eye(4), "words": ["a", None, {"deep": np.arange(3)}]}
    write_state(root / "state.npz", content)


def photos(root: Path) -> None:
    """A reconstruction that was killed after its features and pairs were found, and its photos."""
    from firstsight.reconstruct import job

    base = cv2.resize(picture(5, (40, 60)), (240, 160))
    for number in range(3):
        write_picture(root / "photos" / f"{number}.png", base[:, 20 * number : 20 * number + 160])
    with mock.patch.object(job, "reconstruct", side_effect=Killed):
        try:
            job.reconstruct_folder(root / "photos", root / "out", console=Console(quiet=True))
        except Killed:
            return
    raise AssertionError("the reconstruction was not killed")
