"""What moves by itself: per frame as ids, and as COCO results with a 3-D centre."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from firstsight.formats import coco, png
from firstsight.formats.atomic import write_json
from firstsight.geometry import se3
from firstsight.geometry.camera import unproject
from firstsight.motion.moving_objects import MovingObjectSegmentation
from firstsight.perceive.stage import Stage
from firstsight.perceive.workspace import Workspace
from firstsight.roles import Depth, MovingObjects

UNIT_RESIDUAL_PX = 3.0  # the residual flow at which an object's score is 1 - 1/e


class MovingStage(Stage):
    name = "moving"
    method = "moving-object-segmentation"

    def __init__(self, work: Workspace):
        super().__init__(work)
        self.state = MovingObjectSegmentation()

    def process(self, frame: int) -> None:
        work = self.work
        depth, flow = work.depth(frame), work.flow(frame)
        if depth is None or flow is None or not (work.has_pose(frame) and work.has_pose(frame + 1)):
            return
        world_from_camera = torch.from_numpy(work.world_from_camera)
        next_from_this = se3.inverse(world_from_camera[frame + 1]) @ world_from_camera[frame]
        found = self.state.step(depth, flow, next_from_this, work.intrinsics)
        png.write_ids(work.run.moving_path(frame), found.ids.numpy())
        objects = [self.describe(frame, int(i), found, depth) for i in found.ids.unique() if i > 0]
        write_json(self.objects_path(frame), objects)

    def objects_path(self, frame: int) -> Path:
        return self.work.scratch / "objects" / f"{frame:06d}.json"

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
        files = [self.objects_path(frame) for frame in range(len(self.work.recording))]
        objects = [found for path in files if path.exists() for found in json.loads(path.read_text())]
        write_json(self.work.run.objects_path, objects)
        return f"{len({found['track_id'] for found in objects})} objects"
