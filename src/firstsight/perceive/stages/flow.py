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
        images = {"a": self.work.recording[frame].image(), "b": self.work.recording[frame + 1].image()}
        return {**images, "error_path": str(self.work.run.flow_error_path(frame))}

    def is_done(self, frame: int) -> bool:
        """Whether the flow is there, and its error too where one was written; not every method tells it."""
        error_path = self.work.run.flow_error_path(frame)
        return super().is_done(frame) and (not error_path.exists() or self.work.run.holds(error_path))

    @staticmethod
    def solve(method: FlowEstimator, inputs: State, path: Path) -> None:
        flow, valid, error_px = method(to_tensor(inputs["a"]), to_tensor(inputs["b"]))
        seen = valid[0, 0].numpy()
        if error_px is not None:  # first, since a frame whose flow is there is done
            png.write_scaled(Path(inputs["error_path"]), error_px[0, 0].numpy(), seen)
        png.write_flow(path, np.ascontiguousarray(flow[0].permute(1, 2, 0).numpy()), seen)
