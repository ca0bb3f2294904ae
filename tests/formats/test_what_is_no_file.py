"""No reader waits for a pipe, and none ends in a traceback because a folder stands where its file should be."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from firstsight.errors import InputError
from firstsight.formats.bal import read_bal
from firstsight.formats.colmap_model import read_colmap
from firstsight.formats.g2o import read_g2o
from firstsight.formats.mesh import read_mesh
from firstsight.formats.occupancy import read_map
from firstsight.formats.point_cloud import read_ply
from firstsight.formats.storage.configuration import read_json
from firstsight.formats.storage.state import read_state
from firstsight.formats.storage.weights import load_weights
from firstsight.formats.trajectory import read_kitti, read_tum
from firstsight.nets.vit import load_published
from firstsight.training.data.archives.reading import tar_images, zip_images
from firstsight.training.data.arrays import read_arrays
from firstsight.training.data.batch import ImageBatch
from firstsight.training.data.wanted import Wanted
from firstsight.training.metrics_log import read_metrics

WANTED = Wanted(ImageBatch, (8, 8))
READERS: dict[str, Callable[[Path], object]] = {
    "problem.txt": read_bal,
    "problem.txt.gz": read_bal,
    "graph.g2o": read_g2o,
    "cloud.ply": read_ply,
    "mesh.ply": read_mesh,
    "map.yaml": lambda path: read_map(path.with_suffix(".pgm")),
    "tum.txt": read_tum,
    "kitti.txt": read_kitti,
    "config.json": read_json,
    "state.npz": read_state,
    "log.npz": lambda path: read_arrays(path, ["a"]),
    "model.safetensors": load_weights,
    "vit.pth": load_published,
    "vit.safetensors": load_published,
    "images.zip": lambda path: zip_images(path, WANTED),
    "images.tar": lambda path: tar_images(path, WANTED, path.parent),
    "images.tgz": lambda path: tar_images(path, WANTED, path.parent),
    "cameras.txt": lambda path: read_colmap(path.parent),
    "metrics.jsonl": lambda path: read_metrics(path.parent),
}


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_one_line(tmp_path, name, make):
    make(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}\b") as caught:
        READERS[name](tmp_path / name)
    assert "\n" not in str(caught.value)
