"""The command: what it writes and who can read it, that a killed run continues, and one clear line for bad input."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from firstsight.commands.work.reconstruct import print_summary
from firstsight.errors import InputError
from firstsight.formats.colmap_model import read_colmap
from firstsight.formats.png import read_image, write_image
from firstsight.formats.point_cloud import read_ply
from firstsight.formats.storage.state import write_state
from firstsight.reconstruct import job
from firstsight.reconstruct.job import Summary, reconstruct_folder
from firstsight.reconstruct.photo_folder import known_lenses
from firstsight.reconstruct.scratch import Scratch, features_key
from firstsight.recordings.simulated.photo_set import photo_set
from firstsight.show.reconstruction_image import BACKGROUND, CAMERA, PANEL_PX
from firstsight.slam.photos.features import Features
from firstsight.slam.photos.lenses import PhotoLens
from firstsight.slam.photos.pairs import Pair

COUNT, SIZE = 7, (240, 320)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for i, photo in enumerate(photo_set(COUNT, SIZE).photos):
        write_image(folder / f"photo{i}.png", photo)
    return folder


@pytest.fixture(scope="module")
def done(photos, tmp_path_factory):
    return reconstruct_folder(photos, tmp_path_factory.mktemp("out") / "model")


def test_everything_is_written_and_agrees(done):
    folder, summary = done
    assert {path.name for path in folder.iterdir()} == {
        "cameras.txt", "images.txt", "points3D.txt", "points.ply", "reconstruction.png", "summary.json",
    }  # fmt: skip
    written = json.loads((folder / "summary.json").read_text())
    assert written["placed"] == summary.placed == COUNT
    assert written["left_out"] == {}
    assert 0 < written["mean_error_px"] < 0.5
    assert written["lenses"][0]["focal_length"] == "assumed, then refined"
    model = read_colmap(folder)
    assert sorted(model.names) == [f"photo{i}.png" for i in range(COUNT)]
    assert len(read_ply(folder / "points.ply")[0]) == len(model.points_world) == summary.points
    assert len(model.observations.point) == summary.observations


def test_a_photo_that_cannot_be_read_is_left_out_with_its_reason(photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        (folder / f"photo{i}.png").symlink_to(photos / f"photo{i}.png")
    (folder / "photo1b.png").write_bytes((photos / "photo1.png").read_bytes()[:5000])
    (folder / "photo2b.png").symlink_to(tmp_path / "moved.png")
    _, summary = reconstruct_folder(folder, tmp_path / "model")
    assert (summary.photos, summary.placed) == (5, 3)
    assert list(summary.left_out) == ["photo1b.png", "photo2b.png"]
    assert summary.left_out["photo2b.png"].endswith("photo2b.png: missing image; restore it or leave its frame out")
    assert summary.left_out["photo1b.png"].endswith(
        "photo1b.png: damaged or truncated image; copy it again or leave its frame out"
    )


def test_the_model_loads_in_pycolmap(done):
    pycolmap = pytest.importorskip("pycolmap")
    folder, summary = done
    model = pycolmap.Reconstruction(str(folder))
    model.update_point_3d_errors()
    assert model.num_reg_images() == COUNT
    assert model.num_points3D() == summary.points
    assert model.compute_mean_reprojection_error() == pytest.approx(
        summary.mean_error_px, rel=0.3
    )  # a mean over points


def test_the_image_shows_points_and_cameras(done):
    shown = read_image(done[0] / "reconstruction.png")
    assert shown.shape == (PANEL_PX, 2 * PANEL_PX, 3)
    for half in (shown[:, :PANEL_PX], shown[:, PANEL_PX:]):
        assert (half == CAMERA).all(-1).sum() > 50
        assert (half != BACKGROUND).any(-1).mean() > 0.005


def test_the_summary_is_printed(done, capsys):
    folder, summary = done
    print_summary(folder, Summary(**{**vars(summary), "left_out": {"x.png": "shows nothing"}}))
    printed = capsys.readouterr().out
    assert f"{COUNT} of {COUNT}" in printed
    assert "left out: x.png: shows nothing" in printed
    assert "assumed" in printed


@pytest.mark.parametrize("killed_in", ["seen_photo", "pair_of"])
def test_a_killed_run_continues_and_gives_the_same(photos, done, tmp_path, monkeypatch, killed_in):
    work, calls = getattr(job, killed_in), []

    def counted(*arguments):
        calls.append(arguments)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return work(*arguments)

    monkeypatch.setattr(job, killed_in, counted)
    with pytest.raises(KeyboardInterrupt):
        reconstruct_folder(photos, tmp_path / "model")
    before = len(calls)
    folder, _ = reconstruct_folder(photos, tmp_path / "model")
    everything = COUNT if killed_in == "seen_photo" else COUNT * (COUNT - 1) // 2
    again = 1 if killed_in == "seen_photo" else 5  # pairs are kept photo by photo
    assert len(calls) - before == everything - 5 + again
    for name in ("cameras.txt", "images.txt", "points3D.txt", "points.ply"):
        assert (folder / name).read_bytes() == (done[0] / name).read_bytes()


def test_other_folders_are_not_overwritten(photos, done, tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="holds other files; choose another --out"):
        reconstruct_folder(photos, tmp_path)
    (tmp_path / ".work").mkdir()
    with pytest.raises(InputError, match="holds other files; choose another --out"):
        reconstruct_folder(photos, tmp_path, overwrite=True)
    with pytest.raises(InputError, match="holds a reconstruction"):
        reconstruct_folder(photos, done[0])
    with pytest.raises(InputError, match="is a file"):
        reconstruct_folder(photos, tmp_path / "notes.txt")


def test_a_folder_of_somebodys_own_survives_overwriting(photos, tmp_path):
    """A summary.json that is no reconstruction's, and a .work with other files in it."""
    own = tmp_path / "precious"
    (own / ".work").mkdir(parents=True)
    (own / "summary.json").write_text('{"my": "project"}')
    (own / ".work" / "thesis.txt").write_text("all of it")
    with pytest.raises(InputError, match=r"summary\.json: is not of a reconstruction; choose another --out"):
        reconstruct_folder(photos, own, overwrite=True)
    assert (own / "summary.json").read_text() == '{"my": "project"}'
    assert (own / ".work" / "thesis.txt").read_text() == "all of it"


def killed_run(photos: Path, out: Path, monkeypatch) -> Path:
    """A run that ended after all features and the pairs of three photos; returns what it kept."""
    work, calls = job.pair_of, []

    def dying(*arguments):
        calls.append(arguments)
        if len(calls) > (COUNT - 1) + (COUNT - 2) + (COUNT - 3):
            raise KeyboardInterrupt
        return work(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(job, "pair_of", dying)
        with pytest.raises(KeyboardInterrupt):
            reconstruct_folder(photos, out)
    return out / ".work"


class Planted:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_damaged_and_planted_work_is_done_again(photos, done, tmp_path, monkeypatch):
    kept = killed_run(photos, tmp_path / "model", monkeypatch)
    (kept / "thesis.txt").write_text("mine")
    cut = kept / "features" / "photo0.png.npz"
    cut.write_bytes(cut.read_bytes()[:1000])
    (kept / "features" / "photo1.png.npz").write_bytes(b"")
    (kept / "pairs" / "000000.npz").write_bytes(pickle.dumps(Planted(tmp_path / "ran")))
    with (kept / "pairs" / "000001.npz").open("wb") as file:
        np.savez(file, rows=np.array([Planted(tmp_path / "ran")], dtype=object))
    write_state(kept / "pairs" / "000002.npz", {"pairs": [{"a": 2}]})
    with np.load(kept / "features" / "photo2.png.npz") as archive:
        arrays = dict(archive)
    np.savez(kept / "features" / "photo2.png.npz", **arrays | {"0": arrays["0"][:7]})
    folder, _ = reconstruct_folder(photos, tmp_path / "model")
    for name in ("cameras.txt", "images.txt", "points3D.txt", "points.ply"):
        assert (folder / name).read_bytes() == (done[0] / name).read_bytes()
    assert not (tmp_path / "ran").exists()
    assert [path.name for path in kept.iterdir()] == ["thesis.txt"]


def test_a_folder_in_the_place_of_kept_work_is_one_line_and_no_lost_photo(photos, tmp_path, monkeypatch):
    kept = killed_run(photos, tmp_path / "model", monkeypatch)
    (kept / "features" / "photo2.png.npz").unlink()
    (kept / "features" / "photo2.png.npz").mkdir()
    with pytest.raises(InputError, match=r"photo2\.png\.npz: is a folder, where a file of this reconstruction belongs"):
        reconstruct_folder(photos, tmp_path / "model")
    shutil.rmtree(kept / "pairs")
    (kept / "features" / "photo2.png.npz").rmdir()
    (kept / "pairs").write_text("")
    with pytest.raises(InputError, match=r"pairs: is a file, where a folder of this reconstruction belongs; remove it"):
        reconstruct_folder(photos, tmp_path / "model")


@pytest.mark.parametrize("place", ["summary.json", ".work/settings.json"])
def test_a_pipe_in_the_place_of_a_record_is_not_waited_for(tmp_path, place):
    pipe = tmp_path / "model" / place
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    with pytest.raises(InputError, match=r"model.*; choose another --out"):
        Scratch(tmp_path / "model", {}).begin(overwrite=False)


def test_pairs_of_other_features_are_found_anew(tmp_path):
    """They name photos and features by number, which mean others once a photo is left out or seen in another way."""
    pixels = [np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[8.0, 7.0]])]
    features = [
        Features(seen, np.zeros((len(seen), 128), np.uint8), np.zeros((len(seen), 3), np.uint8)) for seen in pixels
    ]
    key, other = features_key(features), features_key(features[::-1])
    scratch = Scratch(tmp_path, {})
    pair = Pair(0, 1, np.array([[1, 0]]), True, np.diag([1.0, 2.0, 3.0]))
    assert scratch.pairs(0, key, lambda: [pair])[0].rows.tolist() == [[1, 0]]
    assert scratch.pairs(0, key, lambda: [])[0].rows.tolist() == [[1, 0]]
    assert scratch.pairs(0, other, lambda: []) == []


def put(folder: Path, *names: str) -> None:
    """Photos of noise, which no two share."""
    for seed, name in enumerate(names):
        noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((160, 120)).save(folder / name)


def test_bad_input_is_one_line(tmp_path):
    folder = tmp_path / "photos"
    with pytest.raises(InputError, match=r"photos: not a folder"):
        reconstruct_folder(folder)
    folder.mkdir()
    with pytest.raises(InputError, match=r"photos: holds no photos"):
        reconstruct_folder(folder)
    put(folder, "a.jpg")
    with pytest.raises(InputError, match=r"photos: holds one photo only; put in photos of one scene"):
        reconstruct_folder(folder)
    put(folder, "a.jpg", "b.jpg")
    with pytest.raises(InputError, match=r"photos: no two photos show the same points; take photos that overlap"):
        reconstruct_folder(folder, tmp_path / "out")
    (folder / "b.jpg").write_bytes((folder / "a.jpg").read_bytes()[:900])
    with pytest.raises(InputError, match=r"1 of 2 photos cannot be read; .*b\.jpg: damaged or truncated image; copy"):
        reconstruct_folder(folder, tmp_path / "out")
    (folder / "b.jpg").rename(folder / "c 1.jpg")
    with pytest.raises(InputError, match=r"c 1\.jpg: .*spaces; rename it"):
        reconstruct_folder(folder, tmp_path / "out")


def test_a_calibration_beside_the_photos_or_a_field_of_view_is_taken(tmp_path):
    photos = [PhotoLens(SIZE, None, "")] * 2
    groups, exact = known_lenses(tmp_path, photos, 60.0)
    assert not exact
    assert groups.lenses.intrinsics[0, 0, 0] == pytest.approx(160 / np.tan(np.radians(30)))
    (tmp_path / "intrinsics.txt").write_text("300 0 160\n0 301 120\n0 0 1\n")
    groups, exact = known_lenses(tmp_path, photos, None)
    assert exact
    assert groups.lenses.intrinsics[0].tolist() == [[300, 0, 160], [0, 301, 120], [0, 0, 1]]
    with pytest.raises(InputError, match=r"intrinsics\.txt: holds for photos of one size"):
        known_lenses(tmp_path, [*photos, PhotoLens((480, 640), None, "")], None)
    with pytest.raises(InputError, match="between 1 and 175 degrees"):
        known_lenses(tmp_path / "elsewhere", photos, 200.0)


def test_the_command_ends_with_status_2(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "firstsight", "reconstruct", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert (
        ended.stderr
        == f"firstsight: {tmp_path}: holds no photos (png, jpg, ...); put in photos of one scene from two places or more\n"
    )
