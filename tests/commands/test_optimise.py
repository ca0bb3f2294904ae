"""The command: what it prints, what it writes, and one line for what cannot be used."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from firstsight.commands.work.optimise import Settings, optimise_file, optimised, second_line, small_ring, started
from firstsight.errors import InputError
from firstsight.extras import install_command
from firstsight.formats.g2o import read_g2o, write_g2o
from firstsight.gallery.worlds.street_walk import odometry_start, street_walk
from firstsight.roles.pose_graph import Between, pose_graph
from firstsight.show import pose_graph_image
from firstsight.slam.pose_graphs import starts
from firstsight.slam.pose_graphs.factors import inverse
from firstsight.slam.pose_graphs.false_loops.second_opinion import Opinion
from firstsight.slam.pose_graphs.pose_graph import optimise


def spoiled(nodes: int = 80):
    """A walk from odometry, with four false loops at its end."""
    graph = odometry_start(street_walk(nodes, seed=1))
    a, b = np.array([3, 9, 20, 31]), np.array([60, 44, 72, 55])
    false = Between(a, b, graph.world_from_node[[7, 30, 50, 70]], np.tile(np.diag([2500.0, 2500, 40000]), (4, 1, 1)))
    return graph._replace(between=Between(*(np.concatenate(p) for p in zip(graph.between, false, strict=True))))


def test_it_prints_and_writes_the_solution_and_its_image(tmp_path: Path, capsys):
    write_g2o(tmp_path / "walk.g2o", spoiled())
    optimise_file(tmp_path / "walk.g2o", None, Settings(false_loops="consistent"))
    captured = capsys.readouterr()
    shown = captured.out.splitlines()
    assert captured.err.count("compiling") <= 1
    result = optimised(spoiled(), Settings(false_loops="consistent"))
    loops = int(result.loops.sum())
    assert shown[0] == f"graph       SE(2), 80 nodes, {79 + loops} edges, {loops} of them loops"
    assert shown[1].startswith("error  ")
    assert shown[2].startswith("iterations  ")
    assert shown[3] == f"rejected    4 of {loops} loops: 3-60, 9-44, 20-72, 31-55"
    assert shown[4] == "checked     graduated rejects the same loops"
    assert shown[5] == f"written     {tmp_path / 'walk_optimised.g2o'}"
    assert result.rejected[-4:].all()
    written = read_g2o(tmp_path / "walk_optimised.g2o").graph
    np.testing.assert_allclose(written.world_from_node, result.after.world_from_node, atol=1e-12)
    with Image.open(tmp_path / "walk_optimised.png") as image:
        assert image.width > 1000
        assert all(low < high for low, high in image.convert("RGB").getextrema())


def test_where_the_error_stays_high_it_hints(tmp_path: Path, capsys):
    write_g2o(tmp_path / "walk.g2o", spoiled())
    optimise_file(tmp_path / "walk.g2o", tmp_path / "kept.g2o", Settings())
    assert "try --false-loops consistent" in capsys.readouterr().out
    write_g2o(tmp_path / "true.g2o", odometry_start(street_walk(80, seed=1)))
    optimise_file(tmp_path / "true.g2o", tmp_path / "kept.g2o", Settings())
    assert "hint" not in capsys.readouterr().out


def test_where_two_methods_differ_it_is_said():
    """The second one keeps a loop that the first one rejects, and its map lies 3 m beside."""
    result = optimised(spoiled(), Settings(false_loops="consistent"))
    ids, second = np.arange(80) * 10, result.second
    assert second is not None
    assert second_line(result, second, ids) == "checked     graduated rejects the same loops"
    poses = result.after.world_from_node.copy()
    poses[:, 1, 2] += 3
    otherwise = second.otherwise.copy()
    otherwise[-3] = True
    line = second_line(result, Opinion(second.solution._replace(world_from_node=poses), otherwise), ids)
    assert line == "checked     graduated judges 1 loops otherwise, poses 3 m apart; look at: 90-440"
    assert optimised(odometry_start(street_walk(80, seed=1)), Settings(false_loops="consistent")).second is None


@pytest.mark.parametrize("start", ["file", "spanning-tree", "chordal"])
def test_starts_without_poses(start):
    graph = street_walk(60)
    lost = graph._replace(world_from_node=np.full_like(graph.world_from_node, np.nan))
    assert np.isfinite(started(lost, start).world_from_node).all()
    first = inverse(graph.world_from_node[:1])
    solution = optimised(lost, Settings(start=start)).solution
    np.testing.assert_allclose(solution.world_from_node, first @ graph.world_from_node, atol=0.5)


def test_without_matplotlib_there_is_no_image_and_a_line_says_so(tmp_path: Path, monkeypatch, capsys):
    write_g2o(tmp_path / "walk.g2o", street_walk(30))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    optimise_file(tmp_path / "walk.g2o", None, Settings())
    assert install_command("view") in capsys.readouterr().out
    assert not list(tmp_path.glob("*.png"))


def test_what_cannot_be_used_is_one_line_and_exit_status_2(tmp_path: Path):
    (tmp_path / "empty.g2o").write_text("VERTEX_SE2 0 0 0 0\n")
    ended = subprocess.run(
        [sys.executable, "-m", "firstsight", "optimise", str(tmp_path / "empty.g2o")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"firstsight: {tmp_path / 'empty.g2o'}: no edges")


def test_messages(tmp_path: Path):
    path = tmp_path / "walk.g2o"
    write_g2o(path, street_walk(30))
    with pytest.raises(InputError, match=r"absent\.g2o: no such file"):
        optimise_file(tmp_path / "absent.g2o", None, Settings())
    with pytest.raises(InputError, match=r"name that ends in \.g2o"):
        optimise_file(path, tmp_path / "out.txt", Settings())
    with pytest.raises(InputError, match="would replace the graph"):
        optimise_file(path, path, Settings())
    (tmp_path / "taken").touch()
    with pytest.raises(InputError, match="taken: a file is in the way"):
        optimise_file(path, tmp_path / "taken" / "out.g2o", Settings())
    whole = street_walk(30)
    cut = pose_graph(whole.world_from_node, Between(*(part[:3] for part in whole.between)))
    write_g2o(path, cut)
    with pytest.raises(InputError, match=r"walk\.g2o: node 3 is not connected to the largest part \(and 26 others\)"):
        optimise_file(path, None, Settings())


def numbered_chain(*more: str) -> str:
    """Four nodes, 1000, 1010, 1020 and 1030, in a line, with one loop; and other lines."""
    nodes = [f"VERTEX_SE2 {1000 + 10 * i} {i} 0 0" for i in range(4)]
    edges = [f"EDGE_SE2 {1000 + 10 * i} {1010 + 10 * i} 1 0 0 100 0 0 100 0 400" for i in range(3)]
    return "\n".join([*nodes, *edges, "EDGE_SE2 1000 1030 3 0 0 100 0 0 100 0 400", *more]) + "\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("VERTEX_SE2 5000 1 1 0", "lines.g2o: node 5000 is not connected to the largest part; add"),
        ("VERTEX_SE2 5000 1 1 0\nFIX 1000", "lines.g2o: node 5000 is not connected to a prior; add"),
        ("EDGE_SE2 1000 1020 2 0 0 100 0 0 -9 0 400", "lines.g2o, line 9: this edge has .* negative eigenvalue -9;"),
        ("EDGE_PRIOR_SE2 1010 1 0 0 1 0 0 1 0 -2", "lines.g2o, line 9: this prior has .* negative eigenvalue -2;"),
        ("EDGE_SE2 1020 1020 0 0 0 1 0 0 1 0 1", "lines.g2o, line 9: this edge joins a node with itself"),
    ],
)
def test_messages_are_in_the_ids_and_lines_of_the_file(tmp_path: Path, line, message):
    (tmp_path / "lines.g2o").write_text(numbered_chain(line))
    with pytest.raises(InputError, match=message):
        optimise_file(tmp_path / "lines.g2o", None, Settings())


def test_what_the_reader_does_not_know_is_counted_in_the_terminal_and_in_the_image(tmp_path: Path, monkeypatch, capsys):
    captions = []
    drawn = pose_graph_image.before_and_after
    monkeypatch.setattr(pose_graph_image, "before_and_after", lambda *all: captions.append(all[4:]) or drawn(*all))
    gps = "EDGE_SE2_PRIOR_XY 1010 0 5 100 0 100"
    (tmp_path / "gps.g2o").write_text(numbered_chain(gps, "EDGE_SE2_GPS 1000 1 2 3", gps))
    optimise_file(tmp_path / "gps.g2o", None, Settings())
    line = "left out    1 EDGE_SE2_GPS, 2 EDGE_SE2_PRIOR_XY"
    assert line in capsys.readouterr().out.splitlines()
    assert captions == [(line,)]
    written = (tmp_path / "gps_optimised.g2o").read_text().splitlines()
    assert [row.split()[1] for row in written if row.startswith("VERTEX")] == ["1000", "1010", "1020", "1030"]
    assert [row.split()[1:3] for row in written if row.startswith("EDGE")][3] == ["1000", "1030"]


def test_a_bad_start_is_left_before_false_loops_are_spoken_of(tmp_path: Path, capsys):
    """Twelve exact steps that turn once, started at headings that turn twice."""
    rows = [f"VERTEX_SE2 {i} {np.cos(i * np.pi / 3)} {np.sin(i * np.pi / 3)} {i * np.pi / 3}" for i in range(1, 12)]
    rows += [f"EDGE_SE2 {i} {(i + 1) % 12} 1 0.2 {np.pi / 6} 100 0 0 100 0 400" for i in range(12)]
    (tmp_path / "ring.g2o").write_text("\n".join(["VERTEX_SE2 0 0 0 0", *rows]) + "\n")
    optimise_file(tmp_path / "ring.g2o", None, Settings())
    shown = capsys.readouterr().out
    assert "starts      file 657.974, spanning-tree " in shown
    assert "hint" not in shown


@pytest.mark.parametrize("dimension", [2, 3])
@pytest.mark.parametrize("method", ["gauss-newton", "levenberg-marquardt", "dogleg"])
def test_the_small_ring_that_compiles_the_kernels_can_be_solved(dimension, method):
    solution = optimised(small_ring(dimension), Settings(method=method, start="spanning-tree")).solution
    assert solution.error < 1e-12
    np.testing.assert_allclose(solution.world_from_node[2, :2, -1], [1, 1], atol=1e-9)


def test_compiling_is_not_counted_as_solving(tmp_path: Path, monkeypatch, capsys):
    """The first solution of a process takes what the kernels need: here a second."""
    solved: list[int] = []

    def slow_at_first(graph, config):
        time.sleep(0 if solved else 1)
        solved.append(len(graph.world_from_node))
        return optimise(graph, config)

    monkeypatch.setattr(starts, "optimise", slow_at_first)
    write_g2o(tmp_path / "walk.g2o", street_walk(30))
    optimise_file(tmp_path / "walk.g2o", None, Settings())
    assert solved == [4, 30]
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("iterations"))
    assert float(line.split(" in ")[1].split()[0]) < 1
