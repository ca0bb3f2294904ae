"""How far off what was learned expects to be, set right on frames that did not teach."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from firstsight.depth.taught_depth import LearnsFromRun
from firstsight.formats.storage.weights import save_weights
from firstsight.learning.judging import MOST_FRAMES, spread
from firstsight.perceive.choice import load
from firstsight.perceive.workspace import Workspace
from firstsight.training.checkpoint import identity


def calibrated(folder: Path, work: Workspace) -> float:
    """Writes the factor of the expected error to the training in the folder and returns it; 1 for a method that tells none.

    `work` is a run of frames that did not teach, whose depth stands in for the truth where it is sure.
    """
    method = load(str(folder))
    if not isinstance(method, LearnsFromRun):
        return 1.0
    factor = method.calibrate(sure_depth(method, work))
    save_weights(folder / "model.safetensors", method.state_dict(), identity(method))
    return factor


def sure_depth(method: LearnsFromRun, work: Workspace) -> Iterator[tuple[Tensor, Tensor]]:
    """Images with the run's depth, 0 where it has none, in the unit of the method: a run of one camera has its own."""
    metric = work.run.read_record().scale == "metric"
    for frame in spread(len(work.recording), MOST_FRAMES):
        depth = work.depth(frame)
        if depth is None or not depth.valid.any():
            continue
        image, known = work.image(frame), torch.where(depth.valid, depth.depth, 0)
        if not metric:
            guess, _ = method.of_image(image)
            known = known * guess[depth.valid].median() / depth.depth[depth.valid].median()
        yield image, known
