"""A small ASL recording written by hand; one test per line of the reader's conventions."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings import euroc
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA

SIZE = (24, 40)
STAMPS = (1403715273262142976, 1403715273312143104, 1403715273362142976)
# an IMU whose x points up, y right, z ahead: cam0 at 0.1 m along its x, cam1 0.11 m further right
IMU_FROM_CAM0 = np.array([[0.0, -1, 0, 0.1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
IMU_FROM_CAM1 = np.array([[0.0, -1, 0, 0.1], [1, 0, 0, 0.11], [0, 0, 1, 0], [0, 0, 0, 1]])
SENSOR = """%YAML:1.0
# General sensor definitions.
sensor_type: camera
T_BS:
  cols: 4
  rows: 4
  data: {extrinsics}
resolution: [40, 24]
intrinsics: [30.0, 31.0, 19.5, 11.5] #fu, fv, cu, cv
distortion_model: {model}
distortion_coefficients: [-0.1, 0.01, 0.001, -0.002]
"""


def write_asl(root: Path, cameras=("cam0", "cam1"), model="radial-tangential") -> Path:
    for name, imu_from_camera in zip(cameras, (IMU_FROM_CAM0, IMU_FROM_CAM1), strict=False):
        folder = root / "mav0" / name
        (folder / "data").mkdir(parents=True)
        rows = [f"{stamp},{stamp}.png" for stamp in STAMPS]
        (folder / "data.csv").write_text("#timestamp [ns],filename\r\n" + "\r\n".join(rows) + "\r\n")
        for frame, stamp in enumerate(STAMPS):
            cv2.imwrite(str(folder / "data" / f"{stamp}.png"), np.full(SIZE, 10 * frame, np.uint8))
        text = SENSOR.format(extrinsics=imu_from_camera.ravel().tolist(), model=model)
        (folder / "sensor.yaml").write_text(text)
    return root


def test_the_folder_and_its_parent_are_recognised(tmp_path):
    write_asl(tmp_path)
    for path in (tmp_path, tmp_path / "mav0"):
        recording = open_recording(str(path))
        assert recording.format == euroc.NAME
        assert len(recording) == 3


def test_the_body_is_a_forward_camera_at_cam0(tmp_path):
    recording = euroc.read(write_asl(tmp_path))
    np.testing.assert_allclose(recording.rig.reference.body_from_camera, BODY_FROM_FORWARD_CAMERA, atol=1e-12)
    np.testing.assert_allclose(recording.rig.camera("cam1").body_from_camera[:3, 3], [0, -0.11, 0], atol=1e-12)
    assert recording.rig.baseline_m == pytest.approx(0.11)


def test_intrinsics_and_size(tmp_path):
    camera = euroc.read(write_asl(tmp_path)).rig.reference
    np.testing.assert_array_equal(camera.intrinsics, [[30, 0, 19.5], [0, 31, 11.5], [0, 0, 1]])
    assert camera.size == SIZE


@pytest.mark.parametrize("model", ["radial-tangential", "equidistant"])
def test_distortion(tmp_path, model):
    distortion = euroc.read(write_asl(tmp_path, model=model)).rig.reference.distortion
    assert distortion.model == model
    assert distortion.coefficients == (-0.1, 0.01, 0.001, -0.002)


def test_frames_are_the_stamps_with_both_images(tmp_path):
    write_asl(tmp_path)
    (tmp_path / "mav0" / "cam1" / "data" / f"{STAMPS[1]}.png").unlink()
    recording = euroc.read(tmp_path)
    np.testing.assert_array_equal(recording.stamps_ns, [STAMPS[0], STAMPS[2]])
    assert recording.images["cam0"][1][0, 0].tolist() == [20, 20, 20]
    assert recording.remarks == ("1 of 3 frames left out: an image is missing in cam0 or cam1",)


def test_the_state_of_the_imu_becomes_the_pose_of_cam0(tmp_path):
    write_asl(tmp_path)
    state = tmp_path / "mav0" / euroc.TRUTH
    state.mkdir()
    # half a turn about z (w x y z = 0 0 0 1), 4 ms after the first frame; the other frames have no row near them
    row = f"{STAMPS[0] + 4_000_000},1.0,2.0,3.0,0.0,0.0,0.0,1.0" + ",0" * 9
    (state / "data.csv").write_text("#timestamp, p_RS_R_x [m], ...\n" + row + "\n")
    poses = euroc.read(tmp_path).truth.world_from_camera
    np.testing.assert_allclose(poses[0][:3, 3], [0.9, 2.0, 3.0], atol=1e-12)
    np.testing.assert_allclose(poses[0][:3, 2], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(poses[0][:3, 0], [0, -1, 0], atol=1e-12)  # the camera's x is the IMU's y
    assert np.isnan(poses[1:]).all()


def test_one_camera_is_enough(tmp_path):
    recording = open_recording(str(write_asl(tmp_path, cameras=("cam0",))))
    assert recording.rig.stereo is None
    assert recording[0].image().shape == (*SIZE, 3)


def replaced(text, by):
    def spoil(mav0):
        file = mav0 / "cam0" / "sensor.yaml"
        file.write_text(file.read_text().replace(text, by))

    return spoil


def write_state(row):
    def spoil(mav0):
        (mav0 / euroc.TRUTH).mkdir()
        (mav0 / euroc.TRUTH / "data.csv").write_text(row)

    return spoil


def listing(row):
    return lambda mav0: (mav0 / "cam1" / "data.csv").write_text(f"#timestamp [ns],filename\n{row}\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: (m / "cam0" / "sensor.yaml").unlink(), r"sensor\.yaml: missing file"),
        (lambda m: (m / "cam1" / "data.csv").unlink(), r"data\.csv: missing file"),
        (lambda m: (m / "cam1" / "data.csv").write_text("when\n"), r"line 1 is no row 'nanoseconds,file name'"),
        (
            lambda m: (m / "cam1" / "data.csv").write_text("when,what\n"),
            r"data\.csv: 'when' is not a time in nanoseconds",
        ),
        (
            listing("1403715273.262142976,1.png"),
            r"'1403715273\.262142976' is not a time in nanoseconds; it looks like seconds: multiply it by 1000000000",
        ),
        (listing("1,../../../secret.png"), r"data\.csv: line 2 names '\.\./\.\./\.\./secret\.png', which lies outside"),
        (listing(f"{10**30},1.png"), rf"data\.csv: '{10**30}' is not a time in nanoseconds"),
        (listing(f"{'9' * 5000},1.png"), r"data\.csv: '9{40}' is not a time in nanoseconds"),
        (write_state(f"{10**30},1,2,3,1,0,0,0"), rf"data\.csv: '{10**30}' is not a time in nanoseconds"),
        (lambda m: (m / "cam0" / "sensor.yaml").write_text("[" * 1000), r"sensor\.yaml: not YAML"),
        (replaced("[30.0, 31.0,", "[.nan, 31.0,"), r"sensor\.yaml: not a camera matrix"),
        (
            lambda m: (m / "cam1" / "data.csv").write_text(""),
            r"no image that cam1/data.csv lists is there; unpack cam1/data",
        ),
        (replaced("[40, 24]", "[40, 24"), r"sensor\.yaml: not YAML"),
        (replaced("[40, 24]", "[24, 40]"), r"images are 40x24 but calibrated for 24x40"),
        (replaced("[30.0, 31.0,", "[30.0,"), r"'intrinsics' must be 4 numbers"),
        (replaced("radial-tangential", "omni"), r"distortion_model 'omni' is none of radial-tangential"),
        (replaced("[30.0, 31.0,", f"[30.0, {10**400},"), r"'intrinsics' must be 4 numbers"),
        (replaced("[30.0, 31.0,", "[30.0, true,"), r"'intrinsics' must be 4 numbers"),
        (replaced("T_BS", "T_CS"), r"'T_BS' must be 16 numbers"),
        (write_state("noon,1,2,3,1,0,0,0"), r"data\.csv: 'noon' is not a time in nanoseconds; fix or remove the row"),
        (write_state("1403715273262142976,1,2"), r"expected rows of 8 numbers"),
        (replaced("-1.0, 0.0, 0.1", "-3.0, 0.0, 0.1"), r"rotation is no rotation matrix"),
        (lambda m: (m / "cam0" / "sensor.yaml").write_text("just words"), r"not a sensor description"),
        (lambda m: (m / "cam0").rename(m / "cam7") and (m / "cam1").rename(m / "cam8"), r"without cam0"),
    ],
)
def test_what_is_broken_is_named(tmp_path, spoil, message):
    write_asl(tmp_path)
    spoil(tmp_path / "mav0")
    with pytest.raises(InputError, match=message):
        euroc.read(tmp_path)


def test_the_real_recording_keeps_the_pairs_that_exist(shared_data):
    recording = open_recording(str(shared_data / "euroc_mh01_still"))
    assert len(recording) == 19
    assert "76 of 95 frames left out" in recording.remarks[0]
    assert recording.rig.baseline_m == pytest.approx(0.11008, abs=1e-4)


def late(tmp_path, late_ns):
    """The recording with cam1's clock ahead, in its list and in the names of its images."""
    folder = write_asl(tmp_path) / "mav0" / "cam1"
    for stamp in STAMPS:
        (folder / "data" / f"{stamp}.png").rename(folder / "data" / f"{stamp + late_ns}.png")
    (folder / "data.csv").write_text("".join(f"{stamp + late_ns},{stamp + late_ns}.png\n" for stamp in STAMPS))
    return euroc.read(tmp_path)


def test_cameras_whose_stamps_differ_a_little_are_paired_and_it_is_said(tmp_path):
    recording = late(tmp_path, 3_000)
    np.testing.assert_array_equal(recording.stamps_ns, STAMPS)
    assert recording.images["cam1"][2][0, 0, 0] == 20
    assert recording.remarks == ("cam0 and cam1 are up to 0.003 ms apart and taken for simultaneous",)


def test_of_cameras_of_two_clocks_one_is_left_out_with_the_difference(tmp_path):
    recording = late(tmp_path, 7_100_000_000)
    assert [camera.name for camera in recording.rig.cameras] == ["cam0"]
    assert recording.rig.stereo is None
    assert len(recording) == 3
    assert recording.remarks[-1].startswith(
        "cam1 left out: nothing of it is of the time of cam0, the nearest is 7 s off"
    )


def test_a_file_of_opencv_with_five_coefficients(tmp_path):
    mav0 = write_asl(tmp_path) / "mav0"
    replaced("T_BS:", "T_BS: !!opencv-matrix")(mav0)
    replaced("0.001, -0.002]", "0.001, -0.002, 0.03]")(mav0)
    camera = euroc.read(tmp_path).rig.reference
    assert camera.distortion.coefficients == (-0.1, 0.01, 0.001, -0.002, 0.03)
    np.testing.assert_allclose(camera.body_from_camera, BODY_FROM_FORWARD_CAMERA, atol=1e-12)


def test_of_cameras_of_two_sizes_one_alone_can_be_used(tmp_path):
    folder = write_asl(tmp_path) / "mav0" / "cam1"
    for image in (folder / "data").iterdir():
        cv2.imwrite(str(image), np.zeros((12, 20), np.uint8))
    (folder / "sensor.yaml").write_text((folder / "sensor.yaml").read_text().replace("[40, 24]", "[20, 12]"))
    with pytest.raises(InputError, match="use one camera alone: --sensors camera"):
        open_recording(str(tmp_path))
    assert open_recording(str(tmp_path), sensors=frozenset({"camera"})).rig.cameras[0].size == SIZE


def test_a_list_with_a_byte_order_mark(tmp_path):
    table = write_asl(tmp_path) / "mav0" / "cam0" / "data.csv"
    table.write_text(table.read_text(), encoding="utf-8-sig")
    assert len(euroc.read(tmp_path)) == 3


def test_a_list_may_have_more_columns_comments_and_empty_lines(tmp_path):
    listed = write_asl(tmp_path) / "mav0" / "cam0" / "data.csv"
    listed.write_text("# ns, file, exposure\n\n" + "".join(f"{stamp} , {stamp}.png , 0.01\n" for stamp in STAMPS))
    recording = euroc.read(tmp_path)
    np.testing.assert_array_equal(recording.stamps_ns, STAMPS)
    assert recording.images["cam0"][2][0, 0, 0] == 20
