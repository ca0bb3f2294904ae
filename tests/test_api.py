"""`import firstsight` is enough, costs next to nothing, and takes paths as text or as Path."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import firstsight
from firstsight import pretrained
from firstsight.depth.semi_global_matching import Config, SemiGlobalMatching
from firstsight.errors import InputError
from firstsight.recordings.recording import Recording

STREET = "sim:street:frames=2,height=48,width=96"


def test_importing_is_cheap():
    program = (
        "import json, sys, time; started = time.process_time(); import firstsight; "
        "seconds = time.process_time() - started; "
        "print(json.dumps([seconds, sorted({'torch', 'numpy', 'cv2', 'numba', 'rich'} & set(sys.modules))]))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    seconds, heavy = json.loads(ended.stdout)
    assert heavy == []
    assert seconds < 0.1


def test_what_the_package_offers():
    assert set(firstsight.__all__) <= set(dir(firstsight))
    assert firstsight.__version__.count(".") == 2
    assert (Path(firstsight.__file__).parent / "py.typed").is_file()


def test_open(tmp_path: Path):
    recording = firstsight.open(STREET, sensors="camera", frames="1:")
    assert isinstance(recording, Recording)
    assert (len(recording), recording.rig.stereo, recording.scans) == (1, None, None)
    with pytest.raises(InputError, match="no such file or folder"):
        firstsight.open(tmp_path / "nothing")


def test_a_method_by_name_takes_images_as_they_are():
    frame = firstsight.open("sim:street:frames=1,height=96,width=192")[0]
    matching = firstsight.method("semi-global-matching", Config(max_disparity_px=32))
    assert isinstance(matching, SemiGlobalMatching)
    found = matching(frame.image("left"), frame.image("right"))
    truth = frame.recording.truth.disparity[0]
    judged = found.valid[0, 0].numpy() & truth.visible
    assert judged.mean() > 0.5
    assert np.mean(np.abs(found.disparity[0, 0].numpy() - truth.disparity)[judged] > 1) < 0.1


def test_a_trained_method_by_its_folder(tmp_path: Path):
    torch.manual_seed(0)
    trained = firstsight.method("rbm")
    assert not trained.training
    pretrained.save(trained, tmp_path)
    image = torch.rand(1, 3, 28, 28)
    for folder in (tmp_path, str(tmp_path)):
        assert torch.equal(firstsight.method(folder)(image), trained(image))
    with pytest.raises(InputError, match="leave config out"):
        firstsight.method(tmp_path, trained.config)


def test_wrong_names_and_settings_are_one_line():
    with pytest.raises(InputError, match=r"lucas-kande: no such method; did you mean lucas-kanade\?"):
        firstsight.method("lucas-kande")
    with pytest.raises(InputError, match="runs/depth: no such folder"):
        firstsight.method("runs/depth")
    with pytest.raises(InputError, match=r"config is a dict; give a firstsight.flow.lucas_kanade.Config"):
        firstsight.method("lucas-kanade", {})


def test_perceive_is_called_whatever_was_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import firstsight.perceive.run

    asked = []
    monkeypatch.setattr(firstsight.perceive.run, "perceive", lambda *given, **named: asked.append((given, named)))
    firstsight.perceive(tmp_path, str(tmp_path / "run"), sensors=["camera"], use="lucas-kanade", overwrite=True)
    firstsight.perceive("sim:street")
    (source, out, settings), named = asked[0]
    assert (source, out, named) == (str(tmp_path), tmp_path / "run", {"overwrite": True})
    assert (settings.sensors, settings.use) == (("camera",), ("lucas-kanade",))
    assert asked[1][0] == ("sim:street", None, firstsight.perceive.run.Settings())
