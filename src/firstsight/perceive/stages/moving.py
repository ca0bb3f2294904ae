"""What moves by itself: per frame as ids, and as COCO results with a 3-D centre."""

from typing import Any

import numpy as np
import torch

from firstsight.formats import coco, png
from firstsight.formats.storage.atomic import write_json
from firstsight.geometry import se3
from firstsight.geometry.camera import unproject
from firstsight.perceive import stage
from firstsight.perceive.stage import Stage
from firstsight.perceive.workspace import Workspace
from firstsight.roles import Depth, MotionSegmenter, MovingObjects
from firstsight.roles.state import State

UNIT_RESIDUAL_PX = 3.0  # the residual flow at which an object's score is 1 - 1/e


class MovingStage(Stage):
    """Ids of what moves by itself, by flow that depth and the camera's motion do not explain."""

    name = "moving"
    needs = frozenset({stage.DEPTH, stage.TRAJECTORY, stage.FLOW})
    gives = frozenset({stage.MOVING_OBJECTS})
    role = MotionSegmenter
    default = "moving-object-segmentation"

    def __init__(self, work: Workspace) -> None:
        super().__init__(work)
        self.segmenter: MotionSegmenter = self.load_method()
        self.found: list[State] = []

    def state(self) -> State:
        """What grows are the objects of each frame."""
        return {"segmenter": self.segmenter.state(), "grows": self.found}

    def restore(self, state: State) -> None:
        self.segmenter.restore(state["segmenter"])
        self.found = state["grows"]

    def process(self, frame: int) -> None:
        work = self.work
        depth, flow = work.depth(frame), work.flow(frame)
        if depth is None or flow is None or not (work.has_pose(frame) and work.has_pose(frame + 1)):
            return
        world_from_camera = torch.from_numpy(work.world_from_camera)
        next_from_this = se3.inverse(world_from_camera[frame + 1]) @ world_from_camera[frame]
        found = self.segmenter.step(depth, flow, next_from_this, work.intrinsics)
        png.write_ids(work.run.moving_path(frame), found.ids.numpy())
        objects = [self.describe(frame, int(i), found, depth) for i in found.ids.unique() if i > 0]
        self.found.append({"objects": objects})

    def describe(self, frame: int, object_id: int, found: MovingObjects, depth: Depth) -> dict[str, Any]:
        """One COCO result. The centre is the median of the object's points, in the world frame."""
        mask = found.ids == object_id
        residual_px = float(found.residual_px[mask].median())
        known = mask & depth.valid[0, 0]
        centre = None
        if known.any():
            points = unproject(depth.depth, self.work.intrinsics[None].float())[0][:, known].median(1).values
            world_from_camera = torch.from_numpy(self.work.world_from_camera[frame])
            centre = [round(v, 4) for v in se3.transform(world_from_camera, points[None].double())[0].tolist()]
        return {
            "image_id": frame,
            "category_id": 1,
            "track_id": object_id,
            "bbox": list(coco.bounding_box(mask.numpy())),
            "score": round(1 - float(np.exp(-residual_px / UNIT_RESIDUAL_PX)), 4),
            "segmentation": coco.encode_mask(mask.numpy()),
            "centre_world": centre,
        }

    def finish(self) -> str:
        objects = [described for found in self.found for described in found["objects"]]
        write_json(self.work.run.objects_path, objects)
        return f"{len({found['track_id'] for found in objects})} objects"
