"""Optical flow from each frame to the next."""

import numpy as np

from firstsight.formats import png
from firstsight.perceive.choice import chosen
from firstsight.perceive.stage import Stage
from firstsight.perceive.workspace import Workspace
from firstsight.roles import FlowEstimator


class FlowStage(Stage):
    name = "flow"
    method = "dense-inverse-search"

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.method, self.estimator = chosen(work.use, FlowEstimator, self.method)

    def process(self, frame: int) -> None:
        path = self.work.run.flow_path(frame)
        if frame + 1 == len(self.work.recording) or path.exists():
            return
        flow, valid = self.estimator(self.work.image(frame), self.work.image(frame + 1))
        png.write_flow(path, np.ascontiguousarray(flow[0].permute(1, 2, 0).numpy()), valid[0, 0].numpy())
