"""Meshes come back as they were written, and a foreign reader sees the same."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from firstsight.errors import InputError
from firstsight.formats.mesh import Mesh, read_mesh, vertex_normals, write_mesh
from firstsight.formats.point_cloud import read_ply, write_ply


def tetrahedron() -> Mesh:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], np.float32)
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7]], np.uint8)
    return Mesh(vertices, colours, np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]], np.int32))


def test_a_mesh_comes_back(tmp_path: Path):
    write_mesh(tmp_path / "m.ply", tetrahedron(), "made up")
    for ours, theirs in zip(read_mesh(tmp_path / "m.ply"), tetrahedron(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_trimesh_reads_it(tmp_path: Path):
    write_mesh(tmp_path / "m.ply", tetrahedron(), "made up")
    theirs = trimesh.load(tmp_path / "m.ply", process=False)
    np.testing.assert_array_equal(theirs.vertices, tetrahedron().vertices)
    np.testing.assert_array_equal(theirs.faces, tetrahedron().faces)
    np.testing.assert_array_equal(theirs.visual.vertex_colors[:, :3], tetrahedron().colours)
    assert theirs.volume == pytest.approx(1.0)


def test_normals_point_outwards():
    mesh = tetrahedron()
    normals = vertex_normals(mesh)
    expected = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    face_sums = np.zeros((4, 3))
    for face, normal, area in zip(expected.faces, expected.face_normals, expected.area_faces, strict=True):
        face_sums[face] += area * normal
    np.testing.assert_allclose(normals, face_sums / np.linalg.norm(face_sums, axis=1, keepdims=True), atol=1e-6)
    assert ((normals * (mesh.vertices - mesh.vertices.mean(0))).sum(1) > 0).all()
    alone = mesh._replace(faces=mesh.faces[:1])
    np.testing.assert_array_equal(vertex_normals(alone)[3], 0)


def test_an_empty_mesh(tmp_path: Path):
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8), np.zeros((0, 3), np.int32))
    write_mesh(tmp_path / "m.ply", empty, "nothing")
    assert [len(part) for part in read_mesh(tmp_path / "m.ply")] == [0, 0, 0]
    assert len(vertex_normals(empty)) == 0


def test_clouds_and_meshes_are_told_apart(tmp_path: Path):
    mesh = tetrahedron()
    write_mesh(tmp_path / "m.ply", mesh, "made up")
    write_ply(tmp_path / "c.ply", mesh.vertices, mesh.colours, "made up")
    with pytest.raises(InputError, match=r"m\.ply: not a point cloud"):
        read_ply(tmp_path / "m.ply")
    with pytest.raises(InputError, match=r"c\.ply: not a mesh"):
        read_mesh(tmp_path / "c.ply")


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_damaged_files_are_named(tmp_path: Path, damage: str):
    path = tmp_path / "m.ply"
    write_mesh(path, tetrahedron(), "made up")
    path.write_bytes({"cut": path.read_bytes()[:-5], "text": b"element face many\nend_header\n", "empty": b""}[damage])
    with pytest.raises(InputError, match=r"m\.ply: not a mesh"):
        read_mesh(path)


def test_what_is_missing_a_folder_or_names_other_vertices_is_one_line(tmp_path: Path):
    for read in (read_mesh, read_ply):
        with pytest.raises(InputError, match=r"x\.ply: missing"):
            read(tmp_path / "x.ply")
        with pytest.raises(InputError, match="a folder, device or pipe where the"):
            read(tmp_path)
    mesh = tetrahedron()
    write_mesh(tmp_path / "m.ply", mesh._replace(faces=np.array([[0, 1, 4]], np.int32)), "made up")
    with pytest.raises(InputError, match=r"m\.ply: its triangles name vertices that it does not have"):
        read_mesh(tmp_path / "m.ply")
