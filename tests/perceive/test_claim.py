"""Whose a run folder is: somebody's own files survive every command, through links too."""

import json
from pathlib import Path

import pytest

from firstsight.errors import InputError
from firstsight.perceive.claim import begin, remove_run
from firstsight.run_folder import RunFolder, RunRecord

FOREIGN = {
    "an object": '{"my": "project"}',
    "null": "null",
    "a list": "[]",
    "words": "not json",
    "half of ours": '{"version": "0.1.0", "source": "sim:street"}',
}


def record(**changes: object) -> RunRecord:
    return RunRecord(**{"version": "0", "source": "sim:street", "format": "simulated", "frames": 2} | changes)


def a_run(folder: Path) -> RunFolder:
    """A finished run with every file that runs have, and somebody's own files among them."""
    run = RunFolder(folder)
    run.write_record(record())
    for path in run.single_files():
        path.write_text("ours")
    for path in (run.depth_path(0), run.flow_path(0), run.moving_path(0), run.scratch_path / "x" / "y.npz"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("ours")
    for name in ("thesis.txt", "depth/notes.txt", "chapters/one.txt", "chapters/run.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    return run


MINE = ["chapters/one.txt", "chapters/run.json", "depth/notes.txt", "thesis.txt"]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_overwriting_removes_the_files_of_the_run_and_no_other(tmp_path: Path):
    remove_run(a_run(tmp_path))
    assert files(tmp_path) == MINE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chapters", "depth", "thesis.txt"]


def test_a_folder_reached_through_a_link_keeps_its_other_files(tmp_path: Path):
    a_run(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    remove_run(RunFolder(tmp_path / "link"))
    assert files(tmp_path / "real") == MINE
    assert (tmp_path / "link").is_symlink()


def test_what_links_in_a_run_lead_to_is_not_touched(tmp_path: Path):
    run, photos = a_run(tmp_path / "run"), tmp_path / "photos"
    photos.mkdir()
    for name in ("000000.png", ".000000.12.part.png"):
        (photos / name).write_text("a photo")
    for name in ("flow", ".work"):
        for path in sorted((run.path / name).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (run.path / name).rmdir()
        (run.path / name).symlink_to(photos)
    begin(run, record(), overwrite=True)
    assert files(photos) == [".000000.12.part.png", "000000.png"]
    assert not (run.path / "flow").exists()


@pytest.mark.parametrize("content", FOREIGN.values(), ids=list(FOREIGN))
def test_a_record_that_is_not_ours_is_refused_with_everything_kept(tmp_path: Path, content: str):
    (tmp_path / "run.json").write_text(content)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "one.txt").write_text("mine")
    (tmp_path / "map.ply").write_text("mine")
    for overwrite, words in ((True, "not the record of a run"), (False, "not a run record")):
        with pytest.raises(InputError, match=words) as refused:
            begin(RunFolder(tmp_path), record(), overwrite=overwrite)
        assert "\n" not in str(refused.value)
    assert files(tmp_path) == ["map.ply", "run.json", "thesis/one.txt"]
    assert (tmp_path / "run.json").read_text() == content


def test_a_record_that_is_a_folder_is_refused(tmp_path: Path):
    (tmp_path / "run.json").mkdir()
    for overwrite in (True, False):
        with pytest.raises(InputError, match=r"run\.json"):
            begin(RunFolder(tmp_path), record(), overwrite=overwrite)


def test_a_run_of_another_version_is_ours_to_overwrite(tmp_path: Path):
    run = a_run(tmp_path)
    content = json.loads(run.record_path.read_text()) | {"unknown": 1, "version": "0.0.1"}
    run.record_path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="not a run record"):
        begin(run, record())
    assert begin(run, record(frames=7), overwrite=True).frames == 7
    assert files(tmp_path) == sorted([*MINE, "run.json"])
    assert run.read_record().frames == 7


def test_half_written_files_of_a_killed_process_do_not_count(tmp_path: Path):
    run = RunFolder(tmp_path)
    (tmp_path / ".run.123.part.json").write_text("half")
    assert begin(run, record()).frames == 2
    assert files(tmp_path) == ["run.json"]
    for path in (tmp_path / ".recording.55.part.rrd", run.depth_path(0).with_name(".000000.7.part.png")):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    assert begin(run, record()).source == "sim:street"
    assert files(tmp_path) == ["run.json"]


def test_what_only_looks_half_written_stays(tmp_path: Path):
    """Somebody's own hidden file, a folder, and what is in folders that no run has."""
    begin(RunFolder(tmp_path), record())
    for name in (".thesis.part-two", ".notes.part", "chapters/.one.12.part.txt", ".box.7.part/inside"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    begin(RunFolder(tmp_path), record())
    assert files(tmp_path) == [
        ".box.7.part/inside",
        ".notes.part",
        ".thesis.part-two",
        "chapters/.one.12.part.txt",
        "run.json",
    ]


def test_another_run_is_refused_by_the_part_that_differs(tmp_path: Path):
    begin(RunFolder(tmp_path), record())
    with pytest.raises(InputError, match=r"another frames \(2\)"):
        begin(RunFolder(tmp_path), record(frames=3))


@pytest.mark.parametrize("flags", ["[3]", '[{"frame": 1}]', '[{"reason": "dark"}]', '{"a": 1}', "7"])
def test_damaged_flags_and_loops_are_one_line(tmp_path: Path, flags: str):
    run = a_run(tmp_path)
    run.record_path.write_text(
        run.record_path.read_text().replace('"flagged_frames": []', f'"flagged_frames": {flags}')
    )
    run.loops_path.write_text(f'{{"loops": {flags}}}')
    for read in (run.read_record, lambda: run.read_loops(2)):
        with pytest.raises(InputError) as refused:
            read()
        assert "\n" not in str(refused.value)
        assert str(tmp_path) in str(refused.value)
