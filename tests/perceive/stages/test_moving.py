"""What is said of a moving object: its box, its runs, its score and where it is in the world."""

from pathlib import Path

import numpy as np
import pytest
import torch

from firstsight.formats import trajectory
from firstsight.perceive.stages.moving import MovingStage
from firstsight.perceive.workspace import Workspace
from firstsight.recordings.recording import BODY_FROM_FORWARD_CAMERA, Camera, Recording, Rig
from firstsight.roles import Depth, MovingObjects
from firstsight.run_folder import RunFolder


def test_an_object_is_described_in_pixels_and_in_the_world(tmp_path: Path):
    """Three pixels at 2, 4 and 8 m, of which the last is not known; the camera is at (10, 20, 30) and looks along x."""
    intrinsics = np.array([[2.0, 0, 1], [0, 4.0, 0], [0, 0, 1]])
    camera = Camera(name="left", size=(3, 4), intrinsics=intrinsics, body_from_camera=BODY_FROM_FORWARD_CAMERA)
    stamps = np.arange(2, dtype=np.int64)
    work = Workspace(Recording(source="", format="", rig=Rig(cameras=(camera,)), stamps_ns=stamps), RunFolder(tmp_path))
    pose = BODY_FROM_FORWARD_CAMERA.copy()
    pose[:3, 3] = 10, 20, 30
    trajectory.write_tum(work.run.trajectory_path, stamps, np.stack([np.eye(4), pose]))
    ids = torch.zeros(3, 4, dtype=torch.int64)
    depth, valid, residual = torch.ones(1, 1, 3, 4), torch.ones(1, 1, 3, 4, dtype=torch.bool), torch.zeros(3, 4)
    for (row, column), depth_m, residual_px in (((1, 1), 2.0, 1.5), ((1, 2), 4.0, 3.0), ((2, 2), 8.0, 9.0)):
        ids[row, column], depth[0, 0, row, column], residual[row, column] = 7, depth_m, residual_px
    valid[0, 0, 2, 2] = False
    stage = MovingStage(work)
    found = MovingObjects(ids, residual)
    told = stage.describe(1, 7, found, Depth(depth, valid))
    # points (0, 0.5, 2) and (2, 1, 4) in the camera; the lower median of two is the smaller; x is forward, y to the left
    assert told.pop("centre_world") == pytest.approx([12, 20, 29.5])
    assert told == {
        "image_id": 1,
        "category_id": 1,
        "track_id": 7,
        "bbox": [1, 1, 2, 2],
        "score": 0.6321,  # 1 - 1/e of the median residual, 3 px
        "segmentation": {"size": [3, 4], "counts": [4, 1, 2, 2, 3]},
    }
    assert stage.describe(1, 7, found, Depth(depth, torch.zeros_like(valid)))["centre_world"] is None
    stage.found = [{"objects": [told, told | {"track_id": 9}]}, {"objects": [told]}]
    assert stage.finish() == "2 objects"
    assert work.run.objects_path.read_text().count('"track_id": 7') == 2
