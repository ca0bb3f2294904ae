"""Optical flow from each frame to the next."""

from pathlib import Path

import numpy as np

from firstsight.formats import png
from firstsight.geometry.images import to_tensor
from firstsight.perceive import stage
from firstsight.perceive.stage import FrameStage
from firstsight.roles import FlowEstimator
from firstsight.roles.state import State


class FlowStage(FrameStage):
    """Flow of the reference camera's images; the last frame has none."""

    name = "flow"
    needs = frozenset({stage.CAMERA, stage.NEXT_FRAME})
    gives = frozenset({stage.FLOW})
    role = FlowEstimator
    default = "dense-inverse-search"

    def path(self, frame: int) -> Path:
        return self.work.run.flow_path(frame)

    def read(self, frame: int) -> State | None:
        if frame + 1 == len(self.work.recording):
            return None
        return {"a": self.work.recording[frame].image(), "b": self.work.recording[frame + 1].image()}

    @staticmethod
    def solve(method: FlowEstimator, inputs: State, path: Path) -> None:
        flow, valid = method(to_tensor(inputs["a"]), to_tensor(inputs["b"]))
        png.write_flow(path, np.ascontiguousarray(flow[0].permute(1, 2, 0).numpy()), valid[0, 0].numpy())
