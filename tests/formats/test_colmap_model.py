from pathlib import Path

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats.colmap_model import read_colmap, write_colmap
from firstsight.roles.reconstruction import Lenses, Observations, Reconstruction


def rotated(angle: float, translation: list[float]) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]], translation
    return pose


def scene(
    radial: tuple[tuple[float, float], ...] = ((0, 0), (-0.1, 0), (-0.1, 0.02)), aspect: float = 1.0
) -> Reconstruction:
    """Four photos of six points, the last seen by nobody; pixels lie a little off the projections."""
    rng = np.random.default_rng(0)
    lenses = len(radial)
    intrinsics = np.tile(np.array([[400.0, 0, 319.5], [0, 400 * aspect, 239.5], [0, 0, 1]]), (lenses, 1, 1))
    poses = np.stack([rotated(0.1 * i - 0.2, [i - 1.5, 0.2 * i, -6.0]) for i in range(4)])
    camera, point = (each.ravel() for each in np.meshgrid(np.arange(4), np.arange(5)))
    keep = rng.permutation(len(camera))[:-4]
    return Reconstruction(
        ("first.jpg", "b/2.png", "c.png", "d.png"),
        poses,
        np.arange(4) % lenses,
        Lenses(np.tile([480, 640], (lenses, 1)), intrinsics, np.array(radial, float)),
        rng.uniform(-1, 1, (6, 3)),
        rng.integers(0, 256, (6, 3)).astype(np.uint8),
        Observations(camera[keep], point[keep], rng.uniform(0, 400, (len(keep), 2))),
    )


def projected(made: Reconstruction, camera: int, point: int) -> np.ndarray:
    """From the definition of Lenses."""
    p = np.linalg.inv(made.world_from_camera[camera]) @ np.append(made.points_world[point], 1)
    ray, (k1, k2) = p[:2] / p[2], made.lenses.radial[made.lens[camera]]
    squared = ray @ ray
    return (made.lenses.intrinsics[made.lens[camera]] @ [*(1 + k1 * squared + k2 * squared**2) * ray, 1])[:2]


def sorted_observations(seen: Observations) -> list[np.ndarray]:
    order = np.lexsort((seen.point, seen.camera))
    return [values[order] for values in seen]


@pytest.mark.parametrize(("radial", "aspect"), [(((0, 0), (-0.1, 0), (-0.1, 0.02)), 1.0), (((0.1, 0.02), (0, 0)), 1.1)])
def test_what_is_written_is_read_again(tmp_path, radial, aspect):
    made = scene(radial, aspect)
    write_colmap(tmp_path, made)
    again = read_colmap(tmp_path)
    assert again.names == made.names
    assert np.allclose(again.world_from_camera, made.world_from_camera, rtol=0, atol=1e-14)
    assert (again.lens == made.lens).all()
    for one, two in zip(made.lenses, again.lenses, strict=True):
        assert (one == two).all()
    assert (again.points_world == made.points_world).all()
    assert (again.colours == made.colours).all()
    for one, two in zip(sorted_observations(made.observations), sorted_observations(again.observations), strict=True):
        assert np.allclose(one, two, rtol=0, atol=1e-12)


def test_lenses_are_written_as_the_simplest_model_that_holds_them(tmp_path):
    write_colmap(tmp_path, scene())
    lines = (tmp_path / "cameras.txt").read_text().splitlines()[1:]
    assert lines == [
        "1 PINHOLE 640 480 400.0 400.0 320.0 240.0",
        "2 SIMPLE_RADIAL 640 480 400.0 320.0 240.0 -0.1",
        "3 RADIAL 640 480 400.0 320.0 240.0 -0.1 0.02",
    ]
    write_colmap(tmp_path, scene(((0.1, 0.0),), 1.25))
    lines = (tmp_path / "cameras.txt").read_text().splitlines()[1:]
    assert lines == ["1 OPENCV 640 480 400.0 500.0 320.0 240.0 0.1 0.0 0.0 0.0"]


def test_names_that_colmap_would_cut_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"'my photo\.jpg' has some; rename"):
        write_colmap(tmp_path, scene()._replace(names=("my photo.jpg", "b", "c", "d")))


def test_what_is_written_of_two_photos(tmp_path):
    """The second photo is turned by the quaternion w x y z = (1, 2, 4, 10) / 11; both see point 1, the second also point 3."""
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3] = np.array([[-111, -4, 48], [36, -87, 76], [32, 84, 81]]) / 121
    camera_from_world[:3, 3] = 1, 2, 3
    intrinsics = np.array([[[400.0, 0, 300], [0, 450, 200], [0, 0, 1]], [[500.0, 0, 310], [0, 500, 210], [0, 0, 1]]])
    model = Reconstruction(
        ("a.png", "b.png"),
        np.stack([np.eye(4), np.linalg.inv(camera_from_world)]),
        np.array([1, 0]),
        Lenses(np.array([[480, 640], [90, 120]]), intrinsics, np.array([[0.1, 0.2], [0.0, 0.3]])),
        np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]),
        np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]], np.uint8),
        Observations(np.array([1, 0, 1]), np.array([2, 0, 0]), np.array([[11.0, 12], [13, 14], [15, 16.25]])),
    )
    write_colmap(tmp_path, model)
    assert (tmp_path / "cameras.txt").read_text().splitlines()[1:] == [
        "1 OPENCV 640 480 400.0 450.0 300.5 200.5 0.1 0.2 0.0 0.0",
        "2 RADIAL 120 90 500.0 310.5 210.5 0.0 0.3",
    ]
    images = [line.split() for line in (tmp_path / "images.txt").read_text().splitlines()[2:]]
    assert images[0] == ["1", "1.0", "0.0", "0.0", "0.0", "0.0", "0.0", "0.0", "2", "a.png"]
    assert images[1] == ["13.5", "14.5", "1"]
    assert [float(word) for word in images[2][:9]] == pytest.approx([2, 1 / 11, 2 / 11, 4 / 11, 10 / 11, 1, 2, 3, 1])
    assert images[2][9:] == ["b.png"]
    assert images[3] == ["11.5", "12.5", "3", "15.5", "16.75", "1"]
    assert (tmp_path / "points3D.txt").read_text().splitlines()[1:] == [
        "1 1.0 2.0 3.0 10 20 30 -1 1 0 2 1",
        "2 4.0 5.0 6.0 40 50 60 -1",
        "3 7.0 8.0 9.0 70 80 90 -1 2 0",
    ]
    again = read_colmap(tmp_path)
    np.testing.assert_allclose(again.world_from_camera, model.world_from_camera, atol=1e-14)
    assert again.observations.point.tolist() == [0, 2, 0]


def test_tracks_name_each_keypoint(tmp_path):
    made = scene()
    write_colmap(tmp_path, made)
    images = [line.split() for line in (tmp_path / "images.txt").read_text().splitlines()[2:]]
    keypoints = {int(images[i][0]): np.array(images[i + 1], float).reshape(-1, 3) for i in range(0, len(images), 2)}
    links = 0
    for line in (tmp_path / "points3D.txt").read_text().splitlines()[1:]:
        number, *words = line.split()
        for image, place in np.array(words[7:], int).reshape(-1, 2):
            assert keypoints[image][place, 2] == int(number)
            links += 1
    assert links == len(made.observations.point)


def test_pycolmap_loads_it_and_projects_as_we_do(tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    made = scene()
    write_colmap(tmp_path, made)
    model = pycolmap.Reconstruction(tmp_path)
    assert model.num_images() == 4
    assert model.num_cameras() == 3
    assert model.compute_num_observations() == len(made.observations.point)
    ours = {(int(c), int(p)): x - projected(made, int(c), int(p)) for c, p, x in zip(*made.observations, strict=True)}
    theirs = {}
    for number, image in model.images.items():
        assert image.name == made.names[number - 1]
        for keypoint in image.points2D:
            seen_at = image.project_point(model.points3D[keypoint.point3D_id].xyz)
            theirs[number - 1, keypoint.point3D_id - 1] = keypoint.xy - seen_at
    assert ours.keys() == theirs.keys()
    assert max(np.abs(ours[key] - theirs[key]).max() for key in ours) < 1e-9
    assert (model.points3D[3].color == made.colours[2]).all()


def test_what_pycolmap_writes_is_read(tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    made = scene()
    write_colmap(tmp_path / "ours", made)
    (tmp_path / "theirs").mkdir()
    pycolmap.Reconstruction(tmp_path / "ours").write_text(tmp_path / "theirs")
    again = read_colmap(tmp_path / "theirs")
    assert again.names == made.names
    assert np.allclose(again.world_from_camera, made.world_from_camera, rtol=0, atol=1e-12)
    for one, two in zip(sorted_observations(made.observations), sorted_observations(again.observations), strict=True):
        assert np.allclose(one, two, rtol=0, atol=1e-6)


def test_ids_may_have_gaps_and_keypoints_need_no_point(tmp_path):
    (tmp_path / "cameras.txt").write_text("# a comment\n7 SIMPLE_PINHOLE 640 480 400 320.5 240.5\n")
    (tmp_path / "images.txt").write_text(
        "9 1 0 0 0 1 2 3 7 late one.png\n10.5 20.5 4 1 1 -1\n3 1 0 0 0 0 0 0 7 early.png\n\n"
    )
    (tmp_path / "points3D.txt").write_text("4 1 2 3 9 8 7 0.5 9 0\n\n2 4 5 6 1 1 1 -1\n")
    made = read_colmap(tmp_path)
    assert made.names == ("early.png", "late one.png")
    assert made.lenses.intrinsics[0].tolist() == [[400, 0, 320], [0, 400, 240], [0, 0, 1]]
    assert made.lenses.size.tolist() == [[480, 640]]
    assert made.world_from_camera[1, :3, 3].tolist() == [-1, -2, -3]
    assert made.points_world.tolist() == [[4, 5, 6], [1, 2, 3]]
    assert [values.tolist() for values in made.observations] == [[1], [1], [[10, 20]]]


def without(path: Path, old: str, new: str) -> None:
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("cameras.txt", "RADIAL", "FISHEYE", "line 3: camera model SIMPLE_FISHEYE; undistort or use one of"),
        ("cameras.txt", " 640 480 400.0 400.0", " 640 480 400.0", "line 2: not a line"),
        ("cameras.txt", "400.0", "nan", "line 2: not a line"),
        ("cameras.txt", "400.0", "-50.0", r"line 2: 640x480 pixels and a focal length of -50 are no camera's"),
        ("cameras.txt", " 640 ", f" {10**30} ", "line 2: 1000000000000000000000000000000x480 pixels"),
        ("cameras.txt", "1 PINHOLE", "5 PINHOLE", "camera 1 is not in cameras.txt"),
        ("images.txt", " 1 first", " first", "line 3: not a line"),
        ("points3D.txt", "\n1 ", "\n77 ", "names point 1, which points3D.txt lacks"),
        ("points3D.txt", " -1 ", " ", "line 2: not a line"),
    ],
)
def test_a_broken_model_is_named_in_one_line(tmp_path, name, old, new, complaint):
    write_colmap(tmp_path, scene())
    without(tmp_path / name, old, new)
    with pytest.raises(InputError, match=complaint) as caught:
        read_colmap(tmp_path)
    assert "\n" not in str(caught.value)


def test_tangential_distortion_and_missing_files_are_named(tmp_path):
    write_colmap(tmp_path, scene(((0.1, 0.0),), 1.25))
    without(tmp_path / "cameras.txt", "0.0 0.0\n", "0.0 0.1\n")
    with pytest.raises(InputError, match="line 2: tangential distortion"):
        read_colmap(tmp_path)
    (tmp_path / "images.txt").unlink()
    without(tmp_path / "cameras.txt", "0.0 0.1\n", "0.0 0.0\n")
    with pytest.raises(InputError, match=r"images\.txt: missing file"):
        read_colmap(tmp_path)
