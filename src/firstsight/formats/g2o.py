"""Pose graphs, as a value and as text: g2o (`VERTEX_SE2`, `EDGE_SE3:QUAT`, ...) and TORO (`VERTEX2`, `EDGE3`, ...).

Conventions there -> ours:
    SE(2) information in the order x y theta                             -> the same
    SE(3) information in the order x y z, rotation                       -> (translation, rotation), the same
    g2o rotation errors: vector part of the quaternion, half an angle    -> read as radians, as gtsam does
    quaternions x y z w                                                  -> matrices
    TORO SE(2) information I11 I12 I22 I33 I13 I23                        -> matrix; g2o's order where only that is positive
    TORO SE(3) rotation roll pitch yaw                                   -> R_z(yaw) R_y(pitch) R_x(roll)
    ids of any kind                                                      -> 0, 1, ... in their order; `ids` keeps them
    a pose the file does not give                                        -> NaN; `slam.pose_graphs.initialisation` fills it in
    FIX id                                                               -> a prior of FIXED_INFORMATION
    sensor offset of a point (PARAMS_SE3OFFSET)                          -> the point as seen from the node
    tags not named here (GPS, gravity, laser scans, ...)                 -> left out, counted in `left_out`
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from scipy.spatial.transform import Rotation

from firstsight.errors import InputError
from firstsight.formats.storage.atomic import write_text
from firstsight.geometry.se3 import matrix_to_quaternion_wxyz
from firstsight.reading import read_text
from firstsight.roles.pose_graph import (
    Between,
    PoseGraph,
    Priors,
    Sightings,
    planar,
)

FIXED_INFORMATION = 1e6
NO_OFFSET = np.eye(4)
# ids are kept as int64
MAX_ID = 2**63 - 1
UPPER = {size: np.triu_indices(size) for size in (2, 3, 6)}


class GraphLines(NamedTuple):
    """The line of the file that each measurement stands in, counted from 1."""

    between: Int64[np.ndarray, " between"]
    priors: Int64[np.ndarray, " priors"]
    sightings: Int64[np.ndarray, " sightings"]


class GraphFile(NamedTuple):
    """A graph with the ids of its nodes and landmarks in the file.

    `left_out` counts the lines whose tag is not known, by tag: what they say is not part of the graph.
    """

    graph: PoseGraph
    node_ids: Int64[np.ndarray, " nodes"]
    landmark_ids: Int64[np.ndarray, " landmarks"]
    lines: GraphLines
    left_out: dict[str, int]


def _spatial(values: list[float]) -> np.ndarray:
    """(4, 4) of x y z qx qy qz qw."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat(values[3:]).as_matrix()  # raises ValueError for a quaternion of zeros
    pose[:3, 3] = values[:3]
    return pose


def _by_angles(values: list[float]) -> np.ndarray:
    """(4, 4) of x y z roll pitch yaw."""
    (cr, cp, cy) = np.cos(values[3:])
    (sr, sp, sy) = np.sin(values[3:])
    pose = np.eye(4)
    pose[:3, :3] = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    pose[:3, 3] = values[:3]
    return pose


def _symmetric(upper: list[float], size: int) -> np.ndarray:
    """(size, size) of its upper triangle, row by row."""
    if len(upper) != size * (size + 1) // 2:
        raise ValueError("an information matrix of another size")
    matrix = np.zeros((size, size))
    matrix[UPPER[size]] = upper
    return matrix + np.triu(matrix, 1).T


def _toro_information(v: list[float]) -> np.ndarray:
    if len(v) != 6:
        raise ValueError("an information matrix of another size")
    toro = _symmetric([v[0], v[1], v[4], v[2], v[5], v[3]], 3)
    return toro if (np.linalg.eigvalsh(toro) > 0).all() else _symmetric(v, 3)


class _Lines:
    """What was read so far, by kind; ids as in the file."""

    def __init__(self) -> None:
        self.poses: dict[int, np.ndarray] = {}
        self.points: dict[int, np.ndarray] = {}
        self.line_of: dict[int, int] = {}
        self.number = 0
        self.between: list[tuple[int, int, np.ndarray, np.ndarray]] = []
        self.priors: list[tuple[int, np.ndarray, np.ndarray]] = []
        self.fixed: list[int] = []
        self.sightings: list[tuple[int, int, np.ndarray, np.ndarray]] = []
        self.offsets: dict[int, np.ndarray] = {}
        # the line of each of the lists' entries
        self.lines: dict[str, list[int]] = {"between": [], "priors": [], "fixed": [], "sightings": []}
        self.left_out: Counter[str] = Counter()

    def take(self, number: int, tag: str, words: list[str]) -> None:
        """Raises ValueError, IndexError or KeyError where a line is not what its tag says, InputError where it says why.

        Lines of unknown tags are counted.
        """
        self.number = number
        if tag in ("VERTEX_SE2", "VERTEX2"):
            self._take_vertex(self.poses, _id(words[0]), planar(*_numbers(words[1:], 3)))
        elif tag == "VERTEX_SE3:QUAT":
            self._take_vertex(self.poses, _id(words[0]), _spatial(_numbers(words[1:], 7)))
        elif tag == "VERTEX3":
            self._take_vertex(self.poses, _id(words[0]), _by_angles(_numbers(words[1:], 6)))
        elif tag in ("VERTEX_XY", "VERTEX_TRACKXYZ"):
            self._take_vertex(self.points, _id(words[0]), np.array(_numbers(words[1:], 2 if tag == "VERTEX_XY" else 3)))
        elif tag == "PARAMS_SE3OFFSET":
            self.offsets[int(words[0])] = _spatial(_numbers(words[1:], 7))
        elif tag == "FIX":
            self.fixed += [_id(word) for word in words]
            self.lines["fixed"] += [number] * len(words)
        else:
            self._take_edge(tag, words)

    def _take_vertex(self, into: dict[int, np.ndarray], name: int, value: np.ndarray) -> None:
        """Keeps a pose or a point; the same id may come again with the same values, not with others."""
        before = self.line_of.setdefault(name, self.number)
        if name in into and not np.array_equal(into[name], value):
            raise InputError(f"id {name} is given with other values than in line {before}; renumber or remove one")
        into[name] = value

    def _take_edge(self, tag: str, words: list[str]) -> None:
        if tag in ("EDGE_SE2", "EDGE2", "EDGE_SE3:QUAT", "EDGE3"):
            a, b, values = _id(words[0]), _id(words[1]), _numbers(words[2:])
            self.lines["between"].append(self.number)
            if tag in ("EDGE_SE2", "EDGE2"):
                information = _symmetric(values[3:], 3) if tag == "EDGE_SE2" else _toro_information(values[3:])
                self.between.append((a, b, planar(*values[:3]), information))
            else:
                length, pose = (7, _spatial) if tag == "EDGE_SE3:QUAT" else (6, _by_angles)
                self.between.append((a, b, pose(values[:length]), _symmetric(values[length:], 6)))
        elif tag == "EDGE_PRIOR_SE2":
            values = _numbers(words[1:])
            self.lines["priors"].append(self.number)
            self.priors.append((_id(words[0]), planar(*values[:3]), _symmetric(values[3:], 3)))
        elif tag == "EDGE_SE2_XY":
            values = _numbers(words[2:])
            self.lines["sightings"].append(self.number)
            self.sightings.append((_id(words[0]), _id(words[1]), np.array(values[:2]), _symmetric(values[2:], 2)))
        elif tag == "EDGE_SE3_TRACKXYZ":
            self.lines["sightings"].append(self.number)
            self.sightings.append((_id(words[0]), _id(words[1]), *self._from_sensor(words)))
        else:
            self.left_out[tag] += 1

    def _from_sensor(self, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(point, information) in the node's frame."""
        values, offset = _numbers(words[3:]), self.offsets.get(int(words[2]), NO_OFFSET)
        rotation = offset[:3, :3]
        point = rotation @ values[:3] + offset[:3, 3]
        return point, rotation @ _symmetric(values[3:], 3) @ rotation.T


def _id(word: str) -> int:
    name = int(word)
    if abs(name) > MAX_ID:
        raise InputError(f"id {word} is larger than 2^63 - 1; renumber it")
    return name


def _numbers(words: list[str], count: int | None = None) -> list[float]:
    values = [float(word) for word in words]
    if not np.isfinite(values).all() or (count is not None and len(values) != count):
        raise ValueError("too few numbers, or one that is not finite")
    return values


def read_g2o(path: Path) -> GraphFile:
    """Reads g2o or TORO. Raises InputError naming the file and, where one line is at fault, the line."""
    try:
        text = read_text(path)
    except InputError:
        raise InputError(f"{path}: cannot be read as text; give a g2o or TORO file") from None
    lines = _Lines()
    rows = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1)]
    rows.sort(key=lambda row: not (row[1] and row[1][0].startswith("PARAMS")))  # offsets may follow their use
    for number, words in rows:
        if not words or words[0].startswith("#"):
            continue
        try:
            lines.take(number, words[0], words[1:])
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        except (ValueError, TypeError, IndexError):
            raise InputError(f"{path}, line {number}: not a valid {words[0]}; fix or remove the line") from None
    return _as_graph(path, lines)


def _as_graph(path: Path, lines: _Lines) -> GraphFile:
    if not lines.between and not lines.sightings:
        raise InputError(f"{path}: no edges (EDGE_SE2, EDGE_SE3:QUAT, EDGE2, EDGE3, ...); give a g2o or TORO file")
    used = [node for edge in lines.between for node in edge[:2]] + [edge[0] for edge in lines.sightings]
    node_ids = sorted({*lines.poses, *used, *lines.fixed, *(prior[0] for prior in lines.priors)} - {*lines.points})
    landmark_ids = sorted({*lines.points, *(edge[1] for edge in lines.sightings)})
    if set(landmark_ids) & set(node_ids):
        raise InputError(f"{path}: id {min(set(landmark_ids) & set(node_ids))} is a pose and a point; renumber one")
    if any(node in lines.points for node in used):
        raise InputError(f"{path}: an edge of poses names a point; renumber it")
    d = len((lines.between or lines.sightings)[0][2]) - bool(lines.between)
    shapes = {len(pose) for pose in lines.poses.values()} | {len(edge[2]) for edge in lines.between}
    if shapes - {d + 1}:
        raise InputError(f"{path}: poses of SE(2) and of SE(3); keep one kind")
    place = {name: i for i, name in enumerate(node_ids)}
    point_place = {name: i for i, name in enumerate(landmark_ids)}
    lost, unseen = np.full((d + 1, d + 1), np.nan), np.full(d, np.nan)
    poses = np.array([lines.poses.get(name, lost) for name in node_ids]).reshape(-1, d + 1, d + 1)
    points = np.array([lines.points.get(name, unseen) for name in landmark_ids]).reshape(-1, d)
    size = 3 * (d - 1)
    priors = lines.priors + [(name, poses[place[name]], FIXED_INFORMATION * np.eye(size)) for name in lines.fixed]
    graph = PoseGraph(
        poses,
        Between(
            np.array([place[edge[0]] for edge in lines.between], np.int64),
            np.array([place[edge[1]] for edge in lines.between], np.int64),
            np.array([edge[2] for edge in lines.between], float).reshape(-1, d + 1, d + 1),
            np.array([edge[3] for edge in lines.between], float).reshape(-1, size, size),
        ),
        Priors(
            np.array([place[prior[0]] for prior in priors], np.int64),
            np.array([prior[1] for prior in priors], float).reshape(-1, d + 1, d + 1),
            np.array([prior[2] for prior in priors], float).reshape(-1, size, size),
        ),
        points,
        Sightings(
            np.array([place[edge[0]] for edge in lines.sightings], np.int64),
            np.array([point_place[edge[1]] for edge in lines.sightings], np.int64),
            np.array([edge[2] for edge in lines.sightings], float).reshape(-1, d),
            np.array([edge[3] for edge in lines.sightings], float).reshape(-1, d, d),
        ),
    )
    where = GraphLines(
        np.array(lines.lines["between"], np.int64),
        np.array(lines.lines["priors"] + lines.lines["fixed"], np.int64),
        np.array(lines.lines["sightings"], np.int64),
    )
    names = np.array(node_ids, np.int64), np.array(landmark_ids, np.int64)
    return GraphFile(graph, *names, where, dict(lines.left_out))


def write_g2o(path: Path, graph: PoseGraph, ids: tuple[np.ndarray, np.ndarray] | None = None) -> None:
    """Writes a graph with these ids of nodes and landmarks; by default they are numbered from 0, landmarks after nodes.

    Priors are written for SE(2) only: g2o has no plain one of SE(3).
    """
    first = len(graph.world_from_node)
    name, landmark_name = ids or (np.arange(first), first + np.arange(len(graph.landmarks)))
    names = ("VERTEX_SE2", "VERTEX_XY", "EDGE_SE2", "EDGE_SE2_XY", "")
    if graph.dimension == 3:
        names = ("VERTEX_SE3:QUAT", "VERTEX_TRACKXYZ", "EDGE_SE3:QUAT", "EDGE_SE3_TRACKXYZ", "0 ")
    pose, point, motion, sighting, sensor = names
    lines = [f"{pose} {i} {_words(_pose_values(value))}" for i, value in zip(name, graph.world_from_node, strict=True)]
    lines += [f"{point} {i} {_words(value)}" for i, value in zip(landmark_name, graph.landmarks, strict=True)]
    for a, b, value, information in zip(*graph.between, strict=True):
        lines.append(f"{motion} {name[a]} {name[b]} {_words(_pose_values(value))} {_words(_upper(information))}")
    if sensor and len(graph.sightings.node):
        lines.append("PARAMS_SE3OFFSET 0 0 0 0 0 0 0 1")
    for node, landmark, value, information in zip(*graph.sightings, strict=True):
        ends = f"{name[node]} {landmark_name[landmark]}"
        lines.append(f"{sighting} {ends} {sensor}{_words(value)} {_words(_upper(information))}")
    if graph.dimension == 2:
        for node, value, information in zip(*graph.priors, strict=True):
            lines.append(f"EDGE_PRIOR_SE2 {name[node]} {_words(_pose_values(value))} {_words(_upper(information))}")
    write_text(path, "\n".join(lines) + "\n")


def write_toro(path: Path, graph: PoseGraph) -> None:
    """Poses and motions as VERTEX2, EDGE2 or VERTEX3, EDGE3; TORO has no landmarks and no priors."""
    kind, lines = graph.dimension, []
    for i, value in enumerate(graph.world_from_node):
        lines.append(f"VERTEX{kind} {i} {_words(_toro_values(value))}")
    for a, b, value, information in zip(*graph.between, strict=True):
        upper = _upper(information)
        if kind == 2:
            upper = upper[[0, 1, 3, 5, 2, 4]]
        lines.append(f"EDGE{kind} {a} {b} {_words(_toro_values(value))} {_words(upper)}")
    write_text(path, "\n".join(lines) + "\n")


def _words(values: np.ndarray) -> str:
    return " ".join(f"{value:.17g}" for value in values)


def _upper(matrix: np.ndarray) -> np.ndarray:
    return matrix[np.triu_indices(len(matrix))]


def _pose_values(pose: np.ndarray) -> np.ndarray:
    """x y theta, or x y z qx qy qz qw."""
    if len(pose) == 3:
        return np.array([pose[0, 2], pose[1, 2], np.arctan2(pose[1, 0], pose[0, 0])])
    w, *xyz = matrix_to_quaternion_wxyz(torch.from_numpy(pose[:3, :3].copy())).tolist()
    return np.array([*pose[:3, 3], *xyz, w])


def _toro_values(pose: np.ndarray) -> np.ndarray:
    """x y theta, or x y z roll pitch yaw."""
    if len(pose) == 3:
        return _pose_values(pose)
    roll, yaw = np.arctan2(pose[2, 1], pose[2, 2]), np.arctan2(pose[1, 0], pose[0, 0])
    return np.array([*pose[:3, 3], roll, np.arctan2(-pose[2, 0], np.hypot(pose[0, 0], pose[1, 0])), yaw])
