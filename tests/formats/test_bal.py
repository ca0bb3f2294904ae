import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from firstsight.errors import InputError
from firstsight.formats.bal import read_bal, write_bal
from firstsight.roles.reconstruction import Reconstruction

CAMERAS = np.array(
    [[0.1, -0.2, 0.3, 0.5, -0.4, -6.0, 500.0, -1e-2, 2e-3], [-0.3, 0.1, 0.2, 0.2, 0.3, -7.0, 480.5, 3e-2, -1e-3]]
)
POINTS = np.array([[0.1, 0.2, -0.3], [-0.5, 0.4, 0.2], [0.3, -0.6, 0.1]])
SEEN = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2)]


def bal_pixel(camera: np.ndarray, point: np.ndarray) -> np.ndarray:
    """As the format's page says: P = R X + t, p = -P / P.z, p' = f r(p) p."""
    moved = Rotation.from_rotvec(camera[:3]).as_matrix() @ point + camera[3:6]
    p = -moved[:2] / moved[2]
    squared = p @ p
    return camera[6] * (1 + camera[7] * squared + camera[8] * squared**2) * p


def text(off: float = 0.0) -> str:
    lines = ["2 3 5"]
    for camera, point in SEEN:
        x, y = bal_pixel(CAMERAS[camera], POINTS[point]) + off
        lines.append(f"{camera} {point}     {x:.16e} {y:.16e}")
    return "\n".join(lines + [f"{value:.16e}" for value in [*CAMERAS.ravel(), *POINTS.ravel()]]) + "\n"


def read_text(tmp_path: Path, content: str) -> Reconstruction:
    path = tmp_path / "problem.txt"
    path.write_text(content)
    return read_bal(path)


def our_pixels(made: Reconstruction) -> np.ndarray:
    """From the definition of Lenses."""
    seen, out = made.observations, []
    for camera, point in zip(seen.camera, seen.point, strict=True):
        p = np.linalg.inv(made.world_from_camera[camera]) @ np.append(made.points_world[point], 1)
        assert p[2] > 0
        ray, (k1, k2) = p[:2] / p[2], made.lenses.radial[made.lens[camera]]
        squared = ray @ ray
        out.append((made.lenses.intrinsics[made.lens[camera]] @ [*(1 + k1 * squared + k2 * squared**2) * ray, 1])[:2])
    return np.array(out)


def test_what_the_format_projects_is_where_our_cameras_see_it(tmp_path):
    made = read_text(tmp_path, text())
    assert np.allclose(our_pixels(made), made.observations.pixels, rtol=0, atol=1e-11)
    assert [tuple(pair) for pair in zip(made.observations.camera, made.observations.point, strict=True)] == SEEN


def test_pixels_that_lie_off_lie_off_down_instead_of_up(tmp_path):
    made = read_text(tmp_path, text(off=1.0))
    assert np.allclose(made.observations.pixels - our_pixels(made), [1, -1], rtol=0, atol=1e-11)


def test_lenses_are_one_for_each_camera(tmp_path):
    made = read_text(tmp_path, text())
    assert made.lens.tolist() == [0, 1]
    assert made.lenses.intrinsics[:, 0, 0].tolist() == made.lenses.intrinsics[:, 1, 1].tolist() == [500, 480.5]
    assert made.lenses.radial.tolist() == CAMERAS[:, 7:].tolist()
    assert made.names == ("0", "1")
    assert made.lenses.size.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz", ".txt.bz2"])
def test_what_is_written_is_read_again(tmp_path, suffix):
    made, path = read_text(tmp_path, text(off=0.3)), tmp_path / f"again{suffix}"
    write_bal(path, made)
    again = read_bal(path)
    assert np.allclose(again.world_from_camera, made.world_from_camera, rtol=0, atol=1e-14)
    assert (again.points_world == made.points_world).all()
    assert (again.lenses.intrinsics == made.lenses.intrinsics).all()
    assert (again.lenses.radial == made.lenses.radial).all()
    assert all((one == two).all() for one, two in zip(made.observations, again.observations, strict=True))
    unpack = {".gz": gzip.decompress, ".bz2": bz2.decompress}.get(path.suffix, bytes)
    numbers = np.array(unpack(path.read_bytes()).split(), dtype=float)
    assert np.allclose(numbers, np.array(text(off=0.3).split(), dtype=float), rtol=1e-13, atol=1e-13)


def test_shared_lenses_and_principal_points_are_written_out(tmp_path):
    made = read_text(tmp_path, text())
    intrinsics = made.lenses.intrinsics[:1].copy()
    intrinsics[0, :2, 2] = [320, 240]
    lenses = made.lenses._replace(size=made.lenses.size[:1], intrinsics=intrinsics, radial=made.lenses.radial[:1])
    pixels = made.observations.pixels + np.array([320, 240])
    write_bal(
        tmp_path / "b.txt",
        made._replace(
            lens=np.zeros(2, np.int64), lenses=lenses, observations=made.observations._replace(pixels=pixels)
        ),
    )
    again = read_bal(tmp_path / "b.txt")
    assert np.allclose(again.observations.pixels, made.observations.pixels, rtol=0, atol=1e-12)
    assert again.lenses.intrinsics[:, 0, 0].tolist() == [500, 500]


def test_two_focal_lengths_cannot_be_written(tmp_path):
    made = read_text(tmp_path, text())
    lenses = made.lenses._replace(intrinsics=made.lenses.intrinsics * [[1.0], [1.1], [1.0]])
    with pytest.raises(InputError, match="one focal length"):
        write_bal(tmp_path / "b.txt", made._replace(lenses=lenses))


def test_gtsams_problem_as_gtsam_reads_it():
    gtsam = pytest.importorskip("gtsam")
    name = gtsam.findExampleDataFile("dubrovnik-3-7-pre.txt")
    made, theirs = read_bal(Path(name)), gtsam.SfmData.FromBalFile(name)
    for camera in range(3):
        there = theirs.camera(camera)
        assert np.allclose(there.pose().matrix(), made.world_from_camera[camera], rtol=0, atol=1e-12)
        assert there.calibration().fx() == made.lenses.intrinsics[camera, 0, 0]
    pixels = {}
    for point in range(7):
        track = theirs.track(point)
        for k in range(track.numberMeasurements()):
            camera, pixel = track.measurement(k)
            pixels[camera, point] = pixel
    for camera, point, pixel in zip(*made.observations, strict=True):
        assert np.allclose(pixels[int(camera), int(point)], pixel, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (text()[:-60], "ends early"),
        (text() + "1.0\n", "goes on"),
        ("", "does not begin with"),
        ("0 3 5\n", "does not begin with"),
        ("an image", "holds more than numbers"),
        (text().replace("1 2     ", "2 2     "), "observation 4 names"),
        (text().replace(f"{480.5:.16e}", "-1"), "camera 1 has a focal length of -1"),
        (text().replace(f"{480.5:.16e}", "nan"), "number 38 is not finite"),
        (text().replace(f"{-0.3:.16e}", "1e300", 1), "the numbers of camera 1 are beyond all bounds"),
        (text().replace("1 2     ", "1 1.5     "), "observation 4 names"),
        ("2 3 1e30\n", "does not begin with"),
    ],
)
def test_a_broken_file_is_named_in_one_line(tmp_path, content, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        read_text(tmp_path, content)
    assert str(tmp_path / "problem.txt") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_cut_archive_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_bal(tmp_path / "nothing.txt")
    for suffix, pack in ((".gz", gzip.compress), (".bz2", bz2.compress)):
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(pack(text().encode())[:-20])
        with pytest.raises(InputError, match="cannot be read"):
            read_bal(path)
        content = bytearray(pack(text().encode()))
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read"):
            read_bal(path)
        path.write_bytes(text().encode())
        with pytest.raises(InputError, match="cannot be read"):
            read_bal(path)
