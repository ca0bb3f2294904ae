"""Against a slow loop over cubes, and on shapes whose surface is known."""

import numpy as np
import pytest
import trimesh

from firstsight.mapping.marching_cubes import (
    CORNERS,
    EDGES,
    NONE,
    SIDE,
    Blocks,
    Surface,
    block_neighbours,
    case_triangles,
    cube_faces,
    marching_cubes,
)


def blocks_of(values: np.ndarray, known: np.ndarray | None = None, first: tuple[int, int, int] = (0, 0, 0)) -> Blocks:
    """A dense volume, whose sides are multiples of SIDE, in shuffled blocks."""
    counts = np.array(values.shape) // SIDE
    place = np.stack(np.unravel_index(np.random.default_rng(0).permutation(counts.prod()), tuple(counts)), 1)

    def cut(volume: np.ndarray) -> np.ndarray:
        split = volume.reshape(counts[0], SIDE, counts[1], SIDE, counts[2], SIDE).transpose(0, 2, 4, 1, 3, 5)
        return np.ascontiguousarray(split[tuple(place.T)].reshape(len(place), -1))

    known = np.ones(values.shape, bool) if known is None else known
    return Blocks(place + first, cut(values.astype(np.float32)), cut(known))


def sphere(radius: float, centre: tuple[float, float, float], side: int = 48) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.arange(side, dtype=np.float64),) * 3, indexing="ij"), -1)
    return np.linalg.norm(grid - centre, axis=-1) - radius


def mesh_of(surface: Surface) -> trimesh.Trimesh:
    return trimesh.Trimesh(surface.vertices, surface.faces, process=False)


def slow_triangles(values: np.ndarray, known: np.ndarray) -> set[tuple]:
    """Cube by cube: the case's triangles, with their corners by linear interpolation."""
    triangles, counts = case_triangles()
    found = set()
    for base in np.ndindex(*(side - 1 for side in values.shape)):
        corners = [tuple(np.add(base, corner)) for corner in CORNERS]
        if not all(known[corner] for corner in corners):
            continue
        case = sum(1 << n for n, corner in enumerate(corners) if values[corner] < 0)
        for triangle in triangles[case, : counts[case]]:
            points = []
            for edge in triangle:
                a, b = (corners[end] for end in EDGES[edge])
                fraction = values[a] / (values[a] - values[b])
                points.append(tuple(np.round(np.array(a) + fraction * (np.array(b) - a), 4)))
            found.add(tuple(points))
    return found


def test_it_equals_the_slow_rule_on_noise():
    rng = np.random.default_rng(0)
    values, known = rng.normal(size=(16, 8, 16)).astype(np.float32), rng.random((16, 8, 16)) < 0.9
    surface = marching_cubes(blocks_of(values, known))
    ours = [tuple(tuple(np.round(point, 4)) for point in triangle) for triangle in surface.vertices[surface.faces]]
    assert len(ours) == len(set(ours)) > 500
    assert set(ours) == slow_triangles(values.astype(np.float64), known)


def test_every_case_separates_inside_from_outside():
    """Each case's edges are those whose ends differ; every line within a face is shared with the neighbouring cube."""
    triangles, counts = case_triangles()
    for case in range(256):
        inside = [bool(case >> corner & 1) for corner in range(8)]
        cut = {n for n, (a, b) in enumerate(EDGES) if inside[a] != inside[b]}
        assert set(triangles[case, : counts[case]].ravel()) == cut
        lines = [line for t in triangles[case, : counts[case]] for line in zip(t, np.roll(t, -1), strict=True)]
        open_lines = [line for line in lines if line[::-1] not in lines]
        assert len(set(lines)) == len(lines)
        for a, b in lines:
            within_face = any({*EDGES[a], *EDGES[b]} <= set(face) for face in cube_faces())
            assert within_face == ((a, b) in open_lines)


def test_noise_gives_a_surface_without_holes():
    """Values at random meet every case; surrounded by outside, the surface is closed and each side of a triangle shared by two."""
    values = np.ones((24, 24, 24))
    values[1:-1, 1:-1, 1:-1] = np.random.default_rng(1).normal(size=(22, 22, 22))
    mesh = mesh_of(marching_cubes(blocks_of(values)))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    _, sharing = np.unique(np.sort(mesh.edges, axis=1), axis=0, return_counts=True)
    assert set(sharing) == {2}


def test_sphere():
    radius, centre = 17.3, (23.2, 24.1, 22.7)
    surface = marching_cubes(blocks_of(sphere(radius, centre), first=(-3, 5, 0)))
    mesh = mesh_of(surface)
    centre += SIDE * np.array([-3, 5, 0])
    assert mesh.is_watertight
    assert mesh.euler_number == 2
    assert mesh.area == pytest.approx(4 * np.pi * radius**2, rel=0.01)
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01), "positive: triangles turn outwards"
    assert np.abs(np.linalg.norm(surface.vertices - centre, axis=1) - radius).max() < 0.01
    outwards = (mesh.face_normals * (mesh.triangles_center - centre)).sum(1)
    assert outwards.min() > 0


def test_a_torus_has_a_hole():
    grid = np.stack(np.meshgrid(*(np.arange(40.0) - 19.6,) * 3, indexing="ij"), -1)
    values = np.hypot(np.hypot(grid[..., 0], grid[..., 1]) - 11, grid[..., 2]) - 4.5
    mesh = mesh_of(marching_cubes(blocks_of(values)))
    assert mesh.is_watertight
    assert mesh.euler_number == 0
    assert mesh.volume == pytest.approx(2 * np.pi**2 * 11 * 4.5**2, rel=0.015)


def test_a_plane_is_exact():
    normal = np.array([0.3, -0.5, 0.81])
    grid = np.stack(np.meshgrid(*(np.arange(16.0),) * 3, indexing="ij"), -1)
    surface = marching_cubes(blocks_of(grid @ normal - 4.2))
    assert len(surface.faces) > 200
    np.testing.assert_allclose(surface.vertices @ normal, 4.2, atol=1e-5)
    mesh = mesh_of(surface)
    normals = mesh.face_normals[mesh.area_faces > 1e-3]
    np.testing.assert_allclose(normals @ normal, np.linalg.norm(normal), atol=1e-5)


def test_ends_and_fraction_say_where_a_vertex_lies():
    values = sphere(5.0, (7.3, 7.9, 7.1), 16)
    blocks = blocks_of(values)
    surface = marching_cubes(blocks)
    a, b = (blocks.values.ravel()[surface.ends[:, end]] for end in (0, 1))
    assert (np.sign(a) != np.sign(b)).all()
    np.testing.assert_allclose((1 - surface.fraction) * a + surface.fraction * b, 0, atol=1e-6)


def test_where_a_corner_is_unknown_there_is_no_triangle():
    values = sphere(5.0, (7.3, 7.9, 7.1), 16)
    known = np.ones(values.shape, bool)
    known[8:] = False
    surface = marching_cubes(blocks_of(values, known))
    assert 6 < surface.vertices[:, 0].max() <= 7
    for nothing in (np.ones((8, 8, 8)), -np.ones((8, 8, 8))):
        assert len(marching_cubes(blocks_of(nothing)).faces) == 0
    empty = Blocks(np.zeros((0, 3), np.int64), np.zeros((0, SIDE**3), np.float32), np.zeros((0, SIDE**3), bool))
    assert [len(part) for part in marching_cubes(empty)] == [0, 0, 0, 0]


def test_neighbours_are_found_far_from_the_origin():
    place = np.array([[10**5, -(10**5), 7], [10**5 + 1, -(10**5), 7], [10**5 + 1, -(10**5) + 1, 8]])
    neighbours = block_neighbours(place)
    assert neighbours[0].tolist() == [0, 1, NONE, NONE, NONE, NONE, NONE, 2]
    assert neighbours[1].tolist() == [1, NONE, NONE, NONE, NONE, NONE, 2, NONE]
