"""One known value per convention, round trips, and messages that name the line."""

from pathlib import Path

import numpy as np
import pytest

from firstsight.errors import InputError
from firstsight.formats.g2o import read_g2o, write_g2o, write_toro
from firstsight.roles.pose_graph import Between, PoseGraph, Priors, Sightings, planar

HALF = np.sqrt(0.5)


def read(folder: Path, text: str):
    path = folder / "graph.g2o"
    path.write_text(text)
    return read_g2o(path)


def test_planar(tmp_path):
    text = "# a comment\nVERTEX_SE2 7 1 2 0.5\nVERTEX_SE2 3 0 0 0\nEDGE_SE2 3 7 1 2 0.5 1 2 3 4 5 6\n"
    graph, ids = read(tmp_path, text)[:2]
    assert ids.tolist() == [3, 7]
    np.testing.assert_allclose(graph.world_from_node[1], planar(1.0, 2.0, 0.5))
    assert (graph.between.a.tolist(), graph.between.b.tolist()) == ([0], [1])
    np.testing.assert_array_equal(graph.between.information[0], [[1, 2, 3], [2, 4, 5], [3, 5, 6]])


def test_spatial_quaternions_are_xyzw(tmp_path):
    information = " ".join(str(v) for v in range(1, 22))
    text = f"VERTEX_SE3:QUAT 0 1 2 3 0 0 {HALF} {HALF}\nEDGE_SE3:QUAT 0 1 0 0 1 0 0 0 1 {information}\n"
    graph = read(tmp_path, text).graph
    np.testing.assert_allclose(graph.world_from_node[0] @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-15)
    assert np.isnan(graph.world_from_node[1]).all()  # named by an edge only
    assert graph.between.information[0, 0, 5] == graph.between.information[0, 5, 0] == 6
    assert graph.between.information[0, 3, 3] == 16


def test_toro(tmp_path):
    graph = read(tmp_path, "VERTEX2 0 0 0 0\nVERTEX2 1 1 0 0\nEDGE2 0 1 1 0 0 1 0.2 3 4 0.5 0.6\n").graph
    np.testing.assert_array_equal(graph.between.information[0], [[1, 0.2, 0.5], [0.2, 3, 0.6], [0.5, 0.6, 4]])
    g2o_order = read(tmp_path, "EDGE2 0 1 1 0 0 3 0 0 3 0 5\n").graph
    np.testing.assert_array_equal(g2o_order.between.information[0], np.diag([3, 3, 5]))
    quarter = np.pi / 2
    spatial = read(tmp_path, f"VERTEX3 0 0 0 0 0 0 {quarter}\nEDGE3 0 1 1 0 0 {quarter} 0 0 {'1 ' * 21}\n").graph
    np.testing.assert_allclose(spatial.world_from_node[0][:3, :3] @ [1, 0, 0], [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(spatial.between.a_from_b[0][:3, :3] @ [0, 1, 0], [0, 0, 1], atol=1e-15)


def test_landmarks_priors_and_fixed_nodes(tmp_path):
    text = "VERTEX_SE2 0 0 0 0\nVERTEX_XY 1 3 4\nEDGE_SE2_XY 0 1 3 4 1 0 2\nFIX 0\nEDGE_PRIOR_SE2 0 1 0 0 1 0 0 1 0 1\n"
    file = read(tmp_path, text)
    graph, landmark_ids, lines = file.graph, file.landmark_ids, file.lines
    assert (lines.between.tolist(), lines.priors.tolist(), lines.sightings.tolist()) == ([], [5, 4], [3])
    assert landmark_ids.tolist() == [1]
    np.testing.assert_array_equal(graph.landmarks, [[3, 4]])
    np.testing.assert_array_equal(graph.sightings.information[0], np.diag([1, 2]))
    np.testing.assert_array_equal(graph.priors.world_from_node[0], planar(1.0, 0.0, 0.0))
    np.testing.assert_array_equal(graph.priors.information[1], np.diag([1e6, 1e6, 1e6]))


def test_points_come_from_the_sensor_s_frame(tmp_path):
    text = (
        "VERTEX_SE3:QUAT 0 0 0 0 0 0 0 1\nVERTEX_TRACKXYZ 1 0 0 0\n"
        f"EDGE_SE3_TRACKXYZ 0 1 5 1 0 0 4 0 0 9 0 16\nPARAMS_SE3OFFSET 5 0 0 2 0 0 {HALF} {HALF}\n"
    )
    sightings = read(tmp_path, text).graph.sightings
    np.testing.assert_allclose(sightings.point_node[0], [0, 1, 2], atol=1e-15)
    np.testing.assert_allclose(sightings.information[0], np.diag([9, 4, 16]), atol=1e-14)


def example(dimension: int) -> PoseGraph:
    rng, size = np.random.default_rng(dimension), 3 * (dimension - 1)
    flat = np.array([planar(*rng.normal(size=3)) for _ in range(6)])
    poses = flat
    if dimension == 3:
        poses = np.tile(np.eye(4), (6, 1, 1))
        poses[:, :2, :2], poses[:, :2, 3] = flat[:, :2, :2], flat[:, :2, 2]
        poses = poses @ poses[::-1, [2, 0, 1, 3]][:, :, [2, 0, 1, 3]]
    roots = rng.normal(size=(4, size, size))
    information = roots @ roots.transpose(0, 2, 1)
    point_information = np.tile(np.diag(np.arange(1.0, dimension + 1)), (2, 1, 1))
    seen = Sightings(np.array([0, 2]), np.array([0, 0]), rng.normal(size=(2, dimension)), point_information)
    between = Between(np.array([0, 1, 2]), np.array([1, 2, 0]), poses[3:], information[:3])
    return PoseGraph(
        poses[:3], between, Priors(np.array([1]), poses[1:2], information[3:]), rng.normal(size=(1, dimension)), seen
    )


@pytest.mark.parametrize("write", [write_g2o, write_toro])
@pytest.mark.parametrize("dimension", [2, 3])
def test_round_trip(tmp_path, dimension, write):
    graph = example(dimension)
    write(tmp_path / "graph.txt", graph)
    found = read_g2o(tmp_path / "graph.txt").graph
    np.testing.assert_allclose(found.world_from_node, graph.world_from_node, atol=1e-14)
    for ours, theirs in zip(found.between, graph.between, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-13)
    if write is write_g2o:
        np.testing.assert_allclose(found.landmarks, graph.landmarks)
        np.testing.assert_allclose(found.sightings.point_node, graph.sightings.point_node)
        assert len(found.priors.node) == (1 if dimension == 2 else 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("VERTEX_SE2 0 0 0 0\nEDGE_SE2 0 1 1 0\n", "line 2: not a valid EDGE_SE2; fix or remove"),
        ("EDGE_SE2 0 1 1 0 nan 1 0 0 1 0 1\n", "line 1: not a valid EDGE_SE2"),
        ("EDGE_SE2 0 x 1 0 0 1 0 0 1 0 1\n", "line 1: not a valid EDGE_SE2"),
        ("VERTEX_SE3:QUAT 0 0 0 0 0 0 0 0\n", "line 1: not a valid VERTEX_SE3:QUAT"),
        ("VERTEX_SE2 0 inf 0 0\n", "line 1: not a valid VERTEX_SE2"),
        ("VERTEX_SE2 0 0 0 0\n", "no edges"),
        ("VERTEX_SE3:QUAT 0 0 0 0 0 0 0 1\nEDGE_SE2 0 1 1 0 0 1 0 0 1 0 1\n", "keep one kind"),
        (
            "VERTEX_SE2 3 1 2 0.5\nVERTEX_SE2 3 1 2 0.5\nVERTEX_SE2 3 1 7 0.5\n",
            "line 3: id 3 is given with other values than in line 1; renumber or remove one",
        ),
        ("VERTEX_SE2 9223372036854775808 0 0 0\n", r"line 1: id 9223372036854775808 is larger than 2\^63 - 1"),
        ("EDGE_SE2 0 16212958658533785600 1 0 0 1 0 0 1 0 1\n", "line 1: id 16212958658533785600 is larger"),
        ("VERTEX_XY 0 0 0\nEDGE_SE2 0 1 1 0 0 1 0 0 1 0 1\n", "names a point"),
    ],
)
def test_messages_name_file_line_and_mend(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as failure:
        read(tmp_path, text)
    assert "graph.g2o" in str(failure.value)


def test_lines_of_unknown_tags_are_counted(tmp_path):
    text = "EDGE_SE2 0 1 1 0 0 1 0 0 1 0 1\nEDGE_SE2_GPS 0 1 2 3\n# EDGE_X\nROBOTLASER1 0 0\nEDGE_SE2_GPS 1 1 2 3\n"
    file = read(tmp_path, text)
    assert file.left_out == {"EDGE_SE2_GPS": 2, "ROBOTLASER1": 1}
    assert len(file.graph.between.a) == 1


def test_ids_are_written_as_given(tmp_path):
    graph = example(2)
    write_g2o(tmp_path / "graph.txt", graph, (np.array([70, 1000, 2**63 - 1]), np.array([5])))
    file = read_g2o(tmp_path / "graph.txt")
    assert file.node_ids.tolist() == [70, 1000, 9223372036854775807]
    assert file.landmark_ids.tolist() == [5]
    assert (file.graph.between.b.tolist(), file.graph.priors.node.tolist()) == ([1, 2, 0], [1])


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(InputError, match=r"none\.g2o: cannot be read"):
        read_g2o(tmp_path / "none.g2o")


# of the quaternion x y z w = (2, 4, 10, 1) / 11, and of roll pitch yaw = TURN_ANGLES
TURN = np.array([[-111, -4, 48], [36, -87, 76], [32, 84, 81]]) / 121
TURN_ANGLES = (0.8035779784704266, -0.26764685737035426, 2.827972001373095)
UPPER_OF_SIX = [11, 12, 13, 14, 15, 16, 22, 23, 24, 25, 26, 33, 34, 35, 36, 44, 45, 46, 55, 56, 66]


def turned(*position: float) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = TURN, position
    return pose


def six_by_six() -> np.ndarray:
    """Row i, column j holds ij or ji: 12, 13, ..."""
    rows, columns = np.mgrid[1:7, 1:7]
    return 10.0 * np.minimum(rows, columns) + np.maximum(rows, columns)


def test_a_turn_about_three_axes_is_read_as_both_formats_mean_it(tmp_path):
    information = " ".join(map(str, UPPER_OF_SIX))
    turns = {"VERTEX_SE3:QUAT": np.array([2, 4, 10, 1]) / 11, "VERTEX3": TURN_ANGLES}
    for tag, numbers in turns.items():
        turn, edge = " ".join(map(repr, map(float, numbers))), {"VERTEX3": "EDGE3"}.get(tag, "EDGE_SE3:QUAT")
        graph = read(tmp_path, f"{tag} 4 1 2 3 {turn}\n{edge} 4 9 -3 5 7 {turn} {information}\n").graph
        np.testing.assert_allclose(graph.world_from_node[0], turned(1, 2, 3), atol=1e-15)
        np.testing.assert_allclose(graph.between.a_from_b[0], turned(-3, 5, 7), atol=1e-15)
        np.testing.assert_array_equal(graph.between.information[0], six_by_six())


def one_motion() -> PoseGraph:
    between = Between(np.array([1]), np.array([0]), turned(-3, 5, 7)[None], six_by_six()[None])
    seen = Sightings(
        np.array([1]), np.array([0]), np.array([[8.0, 9, 0.5]]), np.array([[[1.0, 2, 3], [2, 5, 6], [3, 6, 9]]])
    )
    poses = np.stack([np.eye(4), turned(1, 2, 3)])
    return PoseGraph(
        poses,
        between,
        Priors(np.zeros(0, np.int64), np.zeros((0, 4, 4)), np.zeros((0, 6, 6))),
        np.array([[4.0, 6, 0.25]]),
        seen,
    )


def fields_of(path: Path) -> list[tuple[list[str], list[float]]]:
    """Of each line its tag, and its numbers."""
    rows = [line.split() for line in path.read_text().splitlines()]
    return [(row[:1], [float(word) for word in row[1:]]) for row in rows]


def assert_written(path: Path, expected: list[tuple[str, list[float]]]) -> None:
    written = fields_of(path)
    assert [tag for tag, _ in written] == [[tag] for tag, _ in expected]
    for (_, numbers), (_, right) in zip(written, expected, strict=True):
        assert numbers == pytest.approx(right, abs=1e-15)


def test_what_is_written_of_a_spatial_graph(tmp_path):
    quaternion = [2 / 11, 4 / 11, 10 / 11, 1 / 11]
    write_g2o(tmp_path / "graph.g2o", one_motion())
    assert_written(tmp_path / "graph.g2o", [
        ("VERTEX_SE3:QUAT", [0, 0, 0, 0, 0, 0, 0, 1]),
        ("VERTEX_SE3:QUAT", [1, 1, 2, 3, *quaternion]),
        ("VERTEX_TRACKXYZ", [2, 4, 6, 0.25]),
        ("EDGE_SE3:QUAT", [1, 0, -3, 5, 7, *quaternion, *UPPER_OF_SIX]),
        ("PARAMS_SE3OFFSET", [0, 0, 0, 0, 0, 0, 0, 1]),
        ("EDGE_SE3_TRACKXYZ", [1, 2, 0, 8, 9, 0.5, 1, 2, 3, 5, 6, 9]),
    ])  # fmt: skip
    write_toro(tmp_path / "graph.graph", one_motion())
    assert_written(tmp_path / "graph.graph", [
        ("VERTEX3", [0, 0, 0, 0, 0, 0, 0]),
        ("VERTEX3", [1, 1, 2, 3, *TURN_ANGLES]),
        ("EDGE3", [1, 0, -3, 5, 7, *TURN_ANGLES, *UPPER_OF_SIX]),
    ])  # fmt: skip


def test_what_is_written_of_a_planar_graph(tmp_path):
    """Turns by 0.5 and -2.5: no quarter, and both signs; each entry of the information is another number."""
    poses, information = (
        np.stack([planar(1.0, 2.0, 0.5), planar(3.0, 4.0, -2.5)]),
        np.array([[11.0, 12, 13], [12, 22, 23], [13, 23, 33]]),
    )
    between = Between(np.array([1]), np.array([0]), planar(5.0, 6.0, 0.75)[None], information[None])
    priors = Priors(np.array([1]), planar(7.0, 8.0, 0.25)[None], 2 * information[None])
    seen = Sightings(np.array([1]), np.array([0]), np.array([[9.0, 10]]), np.array([[[1.0, 2], [2, 3]]]))
    graph = PoseGraph(poses, between, priors, np.array([[-1.0, -2]]), seen)
    write_g2o(tmp_path / "graph.g2o", graph)
    assert_written(tmp_path / "graph.g2o", [
        ("VERTEX_SE2", [0, 1, 2, 0.5]),
        ("VERTEX_SE2", [1, 3, 4, -2.5]),
        ("VERTEX_XY", [2, -1, -2]),
        ("EDGE_SE2", [1, 0, 5, 6, 0.75, 11, 12, 13, 22, 23, 33]),
        ("EDGE_SE2_XY", [1, 2, 9, 10, 1, 2, 3]),
        ("EDGE_PRIOR_SE2", [1, 7, 8, 0.25, 22, 24, 26, 44, 46, 66]),
    ])  # fmt: skip
    write_toro(tmp_path / "graph.graph", graph)
    assert_written(tmp_path / "graph.graph", [
        ("VERTEX2", [0, 1, 2, 0.5]),
        ("VERTEX2", [1, 3, 4, -2.5]),
        ("EDGE2", [1, 0, 5, 6, 0.75, 11, 12, 22, 33, 13, 23]),
    ])  # fmt: skip


def test_points_of_a_tilted_sensor(tmp_path):
    """The sensor stands at (5, 6, 7) and is turned by TURN; the point is 1 m along its x axis, known along it alone."""
    text = (
        "VERTEX_SE3:QUAT 0 0 0 0 0 0 0 1\nEDGE_SE3_TRACKXYZ 0 1 5 1 0 0 4 0 0 0 0 0\n"
        f"PARAMS_SE3OFFSET 5 5 6 7 {2 / 11} {4 / 11} {10 / 11} {1 / 11}\n"
    )
    sightings = read(tmp_path, text).graph.sightings
    axis = np.array([-111, 36, 32]) / 121
    np.testing.assert_allclose(sightings.point_node[0], axis + np.array([5, 6, 7]), atol=1e-14)
    np.testing.assert_allclose(sightings.information[0], 4 * np.outer(axis, axis), atol=1e-14)


def test_a_pose_and_a_point_of_one_id_is_said(tmp_path):
    with pytest.raises(InputError, match="id 1 is a pose and a point"):
        read(
            tmp_path,
            "VERTEX_SE2 0 0 0 0\nVERTEX_SE2 1 0 0 0\nEDGE_SE2 0 2 1 0 0 1 0 0 1 0 1\nEDGE_SE2_XY 0 1 3 4 1 0 2\n",
        )
