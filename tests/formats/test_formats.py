import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from firstsight.errors import InputError
from firstsight.formats import coco, occupancy, png, point_cloud, trajectory
from firstsight.formats.storage import atomic

RNG = np.random.default_rng(0)


def test_depth_png_is_metres_times_256(tmp_path: Path):
    path = tmp_path / "d.png"
    depth = np.array([[1.5, 0.001, 300.0, np.nan]], np.float32)
    png.write_scaled(path, depth, np.array([[True, True, True, True]]))
    assert np.asarray(Image.open(path)).tolist() == [[384, 1, 0, 0]]
    values, valid = png.read_scaled(path)
    assert values[0, 0] == 1.5
    assert valid.tolist() == [[True, True, False, False]]


def test_flow_png_as_the_kitti_devkit_writes_it(tmp_path: Path):
    """Channels R, G, B = 64 u + 2^15, 64 v + 2^15, valid."""
    path = tmp_path / "f.png"
    flow = np.array([[[1.0, -2.5], [600.0, 0.0], [3.0, 3.0]]], np.float32)
    png.write_flow(path, flow, np.array([[True, True, False]]))
    import cv2

    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:, :, ::-1]
    assert stored[0, 0].tolist() == [64 + 2**15, 2**15 - 160, 1]
    assert stored[0, 1:].tolist() == [[0, 0, 0], [0, 0, 0]]
    values, valid = png.read_flow(path)
    assert values[0, 0].tolist() == [1.0, -2.5]
    assert valid.tolist() == [[True, False, False]]


def test_images_are_rgb(tmp_path: Path):
    image = RNG.integers(0, 255, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert (png.read_image(tmp_path / "a.png") == image).all()
    png.write_image(tmp_path / "b.png", image)
    assert (np.asarray(Image.open(tmp_path / "b.png")) == image).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_and_missing_images_are_named(tmp_path: Path, suffix: str):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(InputError, match=f"a{suffix}: missing"):
        png.read_image(path)
    Image.fromarray(RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(InputError, match=f"a{suffix}: damaged or truncated"):
        png.read_image(path)


def test_trajectories_round_trip_to_the_nanosecond(tmp_path: Path):
    from scipy.spatial.transform import Rotation

    poses = np.tile(np.eye(4), (20, 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = Rotation.random(20, rng=0).as_matrix(), RNG.normal(size=(20, 3)) * 100
    stamps = 1403715273262142976 + np.arange(20, dtype=np.int64) * 50000001
    trajectory.write_tum(tmp_path / "t.txt", stamps, poses)
    read_stamps, read_poses = trajectory.read_tum(tmp_path / "t.txt")
    assert (read_stamps == stamps).all()
    np.testing.assert_allclose(read_poses, poses, atol=1e-8)
    trajectory.write_kitti(tmp_path / "k.txt", poses)
    np.testing.assert_allclose(trajectory.read_kitti(tmp_path / "k.txt"), poses, atol=1e-6)


def test_tum_says_where_another_segment_begins(tmp_path: Path):
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, 0, 3] = [0.5, 1.5, 7.0, 8.0, 2.5]
    path = tmp_path / "t.txt"
    trajectory.write_tum(path, np.arange(1, 6) * 10**8, poses, np.array([0, 0, 1, 1, 0]))
    still = "0.000000000 0.000000000 0.000000000 0.000000000 0.000000000 1.000000000"
    assert path.read_text().splitlines() == [
        "# time tx ty tz qx qy qz qw",
        f"0.100000000 0.500000000 {still}",
        f"0.200000000 1.500000000 {still}",
        "# segment 1",
        f"0.300000000 7.000000000 {still}",
        f"0.400000000 8.000000000 {still}",
        "# segment 0",
        f"0.500000000 2.500000000 {still}",
    ]
    assert trajectory.read_segments(path).tolist() == [0, 0, 1, 1, 0]
    assert len(trajectory.read_tum(path)[0]) == 5
    path.write_text("# segment of the way\n# segment -1\n1 0 0 0 0 0 0 1 # segment 4\n\n2 0 0 0 0 0 0 1\n")
    assert trajectory.read_segments(path).tolist() == [0, 0]


def test_tum_order_is_translation_then_quaternion_xyzw(tmp_path: Path):
    """A quarter turn about z is qz = qw = sqrt(1/2)."""
    (tmp_path / "t.txt").write_text("# comment\n1.5 1 2 3 0 0 0.70710678 0.70710678\n")
    stamps, poses = trajectory.read_tum(tmp_path / "t.txt")
    assert stamps.tolist() == [1_500_000_000]
    np.testing.assert_allclose(poses[0], [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], atol=1e-8)


@pytest.mark.parametrize("content", ["1 2 3\n", "a b c d e f g h\n"])
def test_malformed_trajectory_is_named(tmp_path: Path, content: str):
    (tmp_path / "t.txt").write_text(content)
    with pytest.raises(InputError, match=r"t\.txt"):
        trajectory.read_tum(tmp_path / "t.txt")


def test_point_cloud_opens_in_another_library(tmp_path: Path):
    import trimesh

    points = RNG.normal(size=(50, 3)).astype(np.float32)
    colours = RNG.integers(0, 255, (50, 3), dtype=np.uint8)
    point_cloud.write_ply(tmp_path / "c.ply", points, colours, "test")
    cloud = trimesh.load(tmp_path / "c.ply")
    np.testing.assert_allclose(cloud.vertices, points)
    assert (np.asarray(cloud.colors)[:, :3] == colours).all()
    again = point_cloud.read_ply(tmp_path / "c.ply")
    assert (again[0] == points).all()
    assert (again[1] == colours).all()


def test_occupancy_map_puts_high_y_on_top(tmp_path: Path):
    occupied = np.zeros((3, 4), bool)
    occupied[2, 1] = True  # the highest y
    free = ~occupied
    free[0, 0] = False
    occupancy.write_map(tmp_path / "map.pgm", occupied, free, (-1.0, 2.0), 0.5)
    image = np.asarray(Image.open(tmp_path / "map.pgm"))
    assert image[0].tolist() == [254, 0, 254, 254]
    assert image[2, 0] == 205
    cells, origin, size = occupancy.read_map(tmp_path / "map.pgm")
    assert ((cells == occupancy.OCCUPIED) == occupied).all()
    assert (origin, size) == ((-1.0, 2.0), 0.5)
    assert "resolution: 0.5" in (tmp_path / "map.yaml").read_text()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("map.yaml", None, r"map\.yaml: missing file"),
        ("map.yaml", b"", r"map\.yaml: has no 'origin"),
        ("map.yaml", b"\xff\xfe", r"map\.yaml: cannot be read as text"),
        ("map.yaml", b"origin: [1, 2]\nresolution: 0.5\n", r"map\.yaml: has no 'origin"),
        ("map.yaml", b"origin: [1, 2, 0]\nresolution: nan\n", r"map\.yaml: origin and resolution must be finite"),
        ("map.yaml", b"origin: [1, 2, 0]\nresolution: 0\n", r"map\.yaml: origin and resolution must be finite"),
        ("map.pgm", None, r"map\.pgm: missing map"),
        ("map.pgm", b"P5\n4 3\n255\n" + bytes(11), r"map\.pgm: not a whole binary PGM map"),
        ("map.pgm", b"P5\n4\n", r"map\.pgm: not a whole binary PGM map"),
        ("map.pgm", b"P5\nfour 3\n255\n" + bytes(12), r"map\.pgm: not a whole binary PGM map"),
        ("map.pgm", b"P2\n4 3\n255\n" + bytes(12), r"map\.pgm: not a whole binary PGM map"),
    ],
)
def test_a_broken_occupancy_map_is_named(tmp_path: Path, name, content, message):
    cells = np.zeros((3, 4), bool)
    occupancy.write_map(tmp_path / "map.pgm", cells, ~cells, (-1.0, 2.0), 0.5)
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        occupancy.read_map(tmp_path / "map.pgm")


@pytest.mark.parametrize("time", ["1e30", "-1e30", "1e999999", "nan", "inf"])
def test_times_out_of_range_in_a_trajectory_are_named(tmp_path: Path, time: str):
    (tmp_path / "t.txt").write_text(f"{time} 0 0 0 0 0 0 1\n")
    with pytest.raises(InputError, match=rf"t\.txt: '{time}' is not a time"):
        trajectory.read_tum(tmp_path / "t.txt")


def test_run_lengths_go_down_the_columns():
    mask = np.array([[0, 1], [1, 1]], bool)
    assert coco.encode_mask(mask) == {"size": [2, 2], "counts": [1, 3]}
    assert coco.bounding_box(mask) == (0, 0, 2, 2)
    for density in (0.0, 0.3, 1.0):
        random = RNG.random((7, 11)) < density
        lengths = coco.encode_mask(random)
        assert sum(lengths["counts"]) == 77
        assert (coco.decode_mask(lengths) == random).all()


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")
    script = (
        "import os, sys; from pathlib import Path; from firstsight.formats.storage.atomic import replacing\n"
        "with replacing(Path(sys.argv[1])) as part:\n    part.write_text('half'); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert killed.returncode == -9
    assert path.read_text() == "old"
