from pathlib import Path

import cv2
import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.recordings import files


def test_images_are_in_natural_order_and_hidden_files_left_out(tmp_path):
    for name in ("frame10.png", "frame2.png", "frame1.png", ".frame3.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in files.image_files(tmp_path)] == ["frame1.png", "frame2.png", "frame10.png"]


def test_a_truncated_image_is_named_when_its_frame_is_loaded(tmp_path):
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    for path in paths:
        cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8))
    paths[1].write_bytes(paths[1].read_bytes()[:500])
    channel = files.image_channel(paths, files.image_kind(paths))
    assert channel[0].shape == (40, 60, 3)
    with pytest.raises(InputError, match=r"1\.png: damaged or truncated"):
        channel[1]


def test_a_damaged_first_image_does_not_lose_the_recording(tmp_path):
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    paths[0].write_bytes(b"not an image")
    cv2.imwrite(str(paths[1]), np.zeros((4, 6, 3), np.uint8))
    assert files.image_kind(paths).size == (4, 6)
    with pytest.raises(InputError, match="none of its 1 images"):
        files.image_kind(paths[:1])


def test_where_all_of_a_few_are_damaged_the_first_that_can_be_read_decides(tmp_path):
    """Of eight images the numbers 0, 1, 3, 5 and 7 are looked at first; 2 uses 10 bits, 4 uses 12 and has another size."""
    paths = [tmp_path / f"{number}.png" for number in range(8)]
    for path in paths:
        path.write_bytes(b"not an image")
    cv2.imwrite(str(paths[2]), np.full((4, 6), 700, np.uint16))
    cv2.imwrite(str(paths[4]), np.full((5, 7), 2049, np.uint16))
    assert files.image_kind(paths) == ((4, 6), 1023)
    assert [files.votes(count) for count in (1, 3, 5, 8)] == [[0], [0, 1, 2], [0, 1, 2, 3, 4], [0, 1, 3, 5, 7]]


def test_an_image_that_lies_about_its_size_loses_its_frame_only(tmp_path):
    for index, shape in enumerate([(4, 6, 3), (5, 6, 3), (5, 6, 3)]):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros(shape, np.uint8))
    paths = files.image_files(tmp_path)
    assert files.image_kind(paths).size == (5, 6)
    channel = files.image_channel(paths, files.ImageKind((5, 6), 65535))
    assert channel[1].shape == (5, 6, 3)
    with pytest.raises(InputError, match=r"0\.png: is 6x4, the others are 6x5"):
        channel[0]


def test_the_size_is_that_of_the_decoded_image_where_a_photo_is_stored_turned(tmp_path):
    from PIL import Image

    stored = Image.new("RGB", (60, 40))
    rotated = Image.Exif()
    # orientation: turn by 90 degrees when it is shown
    rotated[0x0112] = 6
    stored.save(tmp_path / "0.jpg", exif=rotated)
    assert files.image_kind([tmp_path / "0.jpg"]).size == (60, 40)
    assert files.image_channel([tmp_path / "0.jpg"], files.ImageKind((60, 40), 65535))[0].shape == (60, 40, 3)


@pytest.mark.parametrize("name", ["../secret.png", "rgb/../../secret.png", "/etc/secret.png", "link/../secret.png"])
def test_a_listed_name_outside_of_the_folder_is_refused_with_its_line(tmp_path, name):
    folder = tmp_path / "desk"
    (tmp_path / "elsewhere" / "inner").mkdir(parents=True)
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere" / "inner")
    with pytest.raises(InputError, match=rf"rgb\.txt: line 7 names '{name}', which lies outside of"):
        files.listed_file(folder, name, folder / "rgb.txt", 7)


def test_a_listed_name_inside_of_the_folder_is_that_file(tmp_path, monkeypatch):
    assert files.listed_file(tmp_path, "a/../b.png", tmp_path / "rgb.txt", 1) == tmp_path / "a" / ".." / "b.png"
    assert files.listed_file(tmp_path, str(tmp_path / "b.png"), tmp_path / "rgb.txt", 1) == tmp_path / "b.png"
    monkeypatch.chdir(tmp_path)
    assert files.listed_file(Path("."), "rgb/b.png", Path("rgb.txt"), 1) == Path("rgb/b.png")
    with pytest.raises(InputError, match="line 1 names"):
        files.listed_file(Path("."), "../b.png", Path("rgb.txt"), 1)


@pytest.mark.parametrize("name", ["9" * 300 + ".png", "a\0b.png"])
def test_a_name_that_no_file_can_have_is_refused_with_its_line(tmp_path, name):
    with pytest.raises(InputError, match=r"rgb\.txt: line 3 names '.*', which no file can be called"):
        files.listed_file(tmp_path, name, tmp_path / "rgb.txt", 3)


def test_a_link_in_the_folder_is_followed_to_a_regular_file(tmp_path):
    (tmp_path / "desk").mkdir()
    cv2.imwrite(str(tmp_path / "stored.png"), np.full((4, 6, 3), 7, np.uint8))
    (tmp_path / "desk" / "0.png").symlink_to(tmp_path / "stored.png")
    path = files.listed_file(tmp_path / "desk", "0.png", tmp_path / "desk" / "rgb.txt", 1)
    assert files.image_channel([path], files.ImageKind((4, 6), 65535))[0][0, 0].tolist() == [7, 7, 7]


def test_an_image_of_another_size_is_named(tmp_path):
    for index, shape in enumerate([(4, 6, 3), (5, 6, 3)]):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros(shape, np.uint8))
    paths = files.image_files(tmp_path)
    with pytest.raises(InputError, match=r"1\.png: is 6x5, the others are 6x4"):
        files.image_channel(paths, files.ImageKind((4, 6), 65535))[1]


def write_scan(path: Path, points: np.ndarray) -> Path:
    path.write_bytes(points.astype("<f4").tobytes())
    return path


def test_nan_points_are_dropped_from_a_scan(tmp_path):
    table = np.arange(20, dtype=np.float32).reshape(5, 4)
    table[1, 2] = np.nan
    table[3, 0] = np.inf
    scan = files.read_velodyne(write_scan(tmp_path / "0.bin", table))
    np.testing.assert_array_equal(scan.points, table[[0, 2, 4], :3])
    np.testing.assert_array_equal(scan.intensity, table[[0, 2, 4], 3])


def test_a_scan_of_mostly_nan_is_an_error(tmp_path):
    table = np.full((10, 4), np.nan, dtype=np.float32)
    table[:4] = 1
    with pytest.raises(InputError, match=r"0\.bin: 60% of its points are NaN"):
        files.read_velodyne(write_scan(tmp_path / "0.bin", table))


@pytest.mark.parametrize("content", [b"", b"x" * 30])
def test_a_scan_that_is_cut_off_is_an_error(tmp_path, content):
    (tmp_path / "0.bin").write_bytes(content)
    with pytest.raises(InputError, match="not rows of 4 float32"):
        files.read_velodyne(tmp_path / "0.bin")


def test_files_without_a_number_are_named(tmp_path):
    with pytest.raises(InputError, match=r"cover\.png: files here are named by frame number"):
        files.numbered([tmp_path / "0001.png", tmp_path / "cover.png"])


@pytest.mark.parametrize("text", ["1 2\n3", "1 2 3\n4 5 six\n7 8 9", ""])
def test_a_matrix_of_another_shape_is_an_error(tmp_path, text):
    (tmp_path / "m.txt").write_text(text)
    with pytest.raises(InputError, match="expected a 3x3 matrix"):
        files.read_matrix(tmp_path / "m.txt", 3, 3)


def test_depth_metres_and_missing_values():
    raw = np.array([[0, 500, 65535]], np.uint16)
    depth, valid = files.depth_from_raw(raw, 1000.0, (0, 65535))
    np.testing.assert_array_equal(valid, [[False, True, False]])
    assert depth[0, 1] == np.float32(0.5)


@pytest.mark.parametrize(
    "text", ["0 0 5\n0 30 5\n0 0 1", "30 0 5\n0 -30 5\n0 0 1", "30 0 5\n0 30 5\n1 1 1", "nan 0 5\n0 30 5\n0 0 1"]
)
def test_what_is_no_camera_matrix_is_an_error(tmp_path, text):
    (tmp_path / "k.txt").write_text(text)
    with pytest.raises(InputError, match=r"k\.txt: not a camera matrix"):
        files.read_intrinsics(tmp_path / "k.txt")


def test_names_that_are_seconds_are_in_the_order_of_time(tmp_path):
    names = ("1305031102.1.png", "1305031102.15.png", "1305031102.2.png", "1305031102.05.png")
    for name in names:
        (tmp_path / name).write_bytes(b"")
    assert [path.name[11:-4] for path in files.image_files(tmp_path)] == ["05", "1", "15", "2"]


@pytest.mark.parametrize(
    ("names", "ordered"),
    [
        (("0.1", "0.15", "0.2", "0.05", "10.0", "9.95"), ["0.05", "0.1", "0.15", "0.2", "9.95", "10.0"]),
        (("1.10", "1.9", "1.1", "2.1"), ["1.1", "1.9", "1.10", "2.1"]),
        (("img2", "img10", "0.15", "0.2"), ["0.2", "0.15", "img2", "img10"]),
    ],
)
def test_names_that_are_all_decimal_numbers_are_ordered_by_value(tmp_path, names, ordered):
    for name in names:
        (tmp_path / f"{name}.png").write_bytes(b"")
    assert [path.stem for path in files.image_files(tmp_path)] == ordered


def test_files_are_numbered_ascending_whatever_their_digits(tmp_path):
    for name in ("10.bin", "9.bin", "100.bin"):
        (tmp_path / name).write_bytes(b"")
    assert list(files.numbered(files.scan_files(tmp_path))) == [9, 10, 100]
    with pytest.raises(InputError, match=r"09\.bin: has the frame number of 9\.bin; rename or remove one of them"):
        files.numbered([tmp_path / "9.bin", tmp_path / "09.bin"])


def test_two_cameras_are_scaled_alike(tmp_path):
    for name, level in (("left", 900), ("right", 2100)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((4, 6), level, np.uint16))
    kinds = files.image_kinds({name: [tmp_path / f"{name}.png"] for name in ("left", "right")})
    assert kinds["left"] == ((4, 6), 4095)
    assert files.image_channel([tmp_path / "left.png"], kinds["left"])[0][0, 0].tolist() == [56, 56, 56]
    assert kinds["left"].remarks == ("images use 12 of 16 bits: 4095 is taken for white",)


@pytest.mark.parametrize("columns", [3, 5])
def test_a_scan_of_other_columns_is_refused(tmp_path, columns):
    """The sensor sees on both sides: coordinates of both signs come to stand where reflectances should."""
    rows = np.random.default_rng(2).uniform(-20, 20, (80, columns)).astype("<f4")
    rows[:, 3:] = np.abs(rows[:, 3:])
    (tmp_path / "0.bin").write_bytes(rows.tobytes())
    with pytest.raises(InputError, match=r"0\.bin: its numbers are no rows of x y z reflectance"):
        files.read_velodyne(tmp_path / "0.bin")


def test_a_scan_of_float64_is_refused(tmp_path):
    (tmp_path / "0.bin").write_bytes(np.random.default_rng(2).uniform(0, 20, (80, 4)).tobytes())
    with pytest.raises(InputError, match="its numbers are no rows of x y z reflectance"):
        files.read_velodyne(tmp_path / "0.bin")
