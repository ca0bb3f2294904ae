"""The ground-truth folder: what is written comes back, and what does not fit is named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats.png import read_flow, read_sixteen_bit
from firstsight.recordings import ground_truth
from firstsight.recordings.recording import Channel, DepthImage, Recording, Truth
from firstsight.recordings.simulated import simulate

FRAMES = 2


@pytest.fixture(scope="module")
def written() -> Recording:
    return simulate("street", frames=FRAMES, height=48, width=160)


@pytest.fixture(scope="module")
def folder(written: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    ground_truth.write(written, folder)
    return folder


@pytest.fixture(scope="module")
def found(written: Recording, folder: Path) -> Recording:
    return ground_truth.read(folder, replace(written, truth=Truth(), odometry=None))


def test_depth_comes_back_to_a_512th_of_a_metre_up_to_255_m(written: Recording, found: Recording):
    for frame in range(FRAMES):
        true, read = written.truth.depth[frame], found.truth.depth[frame]
        storable = true.valid & (true.depth < 255.9)
        np.testing.assert_array_equal(read.valid, storable)
        assert np.abs(read.depth - true.depth)[storable].max() <= 1 / 512 + 1e-5


def test_disparity_comes_back_with_what_the_right_camera_sees(written: Recording, found: Recording):
    true, read = written.truth.disparity[1], found.truth.disparity[1]
    np.testing.assert_array_equal(read.valid, true.valid)
    np.testing.assert_array_equal(read.visible, true.visible)
    assert np.abs(read.disparity - true.disparity)[true.valid].max() <= 1 / 256


def test_flow_comes_back_with_what_stays_visible(written: Recording, found: Recording):
    true, read = written.truth.flow[1], found.truth.flow[1]
    storable = true.valid & (np.abs(true.flow) < 511).all(2)
    np.testing.assert_array_equal(read.valid, storable)
    np.testing.assert_array_equal(read.visible, true.visible & storable)
    assert np.abs(read.flow - true.flow)[storable].max() <= 1 / 128 + 1e-4


def test_ids_boxes_and_occupancy_come_back(written: Recording, found: Recording):
    np.testing.assert_array_equal(found.truth.moving[1], written.truth.moving[1])
    assert found.truth.moving[1].any()
    for read, true in zip(found.truth.boxes[1], written.truth.boxes[1], strict=True):
        assert (read.object_id, read.label, read.moving) == (true.object_id, true.label, true.moving)
        np.testing.assert_allclose(read.size_m, true.size_m)
        np.testing.assert_array_equal(read.camera_from_box, true.camera_from_box)
    np.testing.assert_array_equal(found.truth.occupancy.occupied, written.truth.occupancy.occupied)
    np.testing.assert_allclose(found.truth.occupancy.origin_m, written.truth.occupancy.origin_m)
    assert found.truth.occupancy.cell_size_m == written.truth.occupancy.cell_size_m


def test_trajectories_come_back_whatever_the_body_is(written: Recording, folder: Path):
    raised = np.eye(4)
    raised[2, 3] = 1.7
    cameras = [replace(c, body_from_camera=np.linalg.inv(raised) @ c.body_from_camera) for c in written.rig.cameras]
    other = replace(written, rig=replace(written.rig, cameras=tuple(cameras)), truth=Truth(), odometry=None)
    found = ground_truth.read(folder, other)
    np.testing.assert_allclose(found.truth.world_from_camera, written.truth.world_from_camera, atol=1e-8)
    np.testing.assert_allclose(found.odometry, written.odometry @ raised, atol=1e-8)


def test_the_files_are_in_kittis_conventions(written: Recording, folder: Path):
    depth, valid = written.truth.depth[0]
    y, x = np.argwhere(valid & (depth < 100))[0]
    assert read_sixteen_bit(folder / "depth" / "0000000000.png")[y, x] == round(float(depth[y, x]) * 256)
    flow, _ = read_flow(folder / "flow_occ" / "0000000000.png")
    assert flow[y, x] == pytest.approx(written.truth.flow[0].flow[y, x], abs=0.01)
    row = np.array((folder / "poses.txt").read_text().splitlines()[1].split(), dtype=float)
    np.testing.assert_allclose(row.reshape(3, 4), written.truth.world_from_camera[1][:3], atol=1e-8)


def test_parts_may_be_missing(written: Recording, tmp_path: Path):
    only = DepthImage(np.full((4, 5), 2.0, np.float32), np.ones((4, 5), bool))
    bare = replace(written, truth=Truth(depth=Channel(FRAMES, lambda _: only)), odometry=None)
    ground_truth.write(bare, tmp_path)
    found = ground_truth.read(tmp_path, bare)
    np.testing.assert_array_equal(found.truth.depth[1].depth, only.depth)
    for name in ("world_from_camera", "disparity", "flow", "moving", "boxes", "occupancy"):
        assert getattr(found.truth, name) is None
    assert found.odometry is None


def test_what_exists_is_not_written_again(written: Recording, folder: Path):
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*")}
    ground_truth.write(written, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/*")} == before


def test_counts_that_do_not_fit_are_named(written: Recording, tmp_path: Path):
    ground_truth.write(written, tmp_path)
    (tmp_path / "moving" / "0000000001.png").unlink()
    with pytest.raises(InputError, match=r"moving: 1 files for 2 frames"):
        ground_truth.read(tmp_path, written)
    ground_truth.write(written, tmp_path)
    (tmp_path / "poses.txt").write_text((tmp_path / "poses.txt").read_text().splitlines()[0] + "\n")
    with pytest.raises(InputError, match=r"poses.txt: 1 poses for 2 frames"):
        ground_truth.read(tmp_path, written)


def test_damaged_boxes_are_named(written: Recording, tmp_path: Path):
    ground_truth.write_frame(written, tmp_path, 1)
    (tmp_path / "boxes" / "0000000001.json").write_text('[{"object_id": 1}]')
    with pytest.raises(InputError, match=r"0000000001.json: not a list of boxes"):
        ground_truth.read_boxes(tmp_path, 1)


def test_boxes_nested_without_end_are_named(tmp_path: Path):
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / "0000000001.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"0000000001.json: not a list of boxes"):
        ground_truth.read_boxes(tmp_path, 1)
