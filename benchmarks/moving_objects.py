"""How many moving objects are found on different streets, and how many are invented where nothing moves.

.venv/bin/python benchmarks/moving_objects.py SEED...                        simulated streets, frames 4 to 27
.venv/bin/python benchmarks/moving_objects.py path/to/sequences/06           a stereo recording with true poses, frames 0 to 29
"""

import sys

import numpy as np
import torch

from firstsight import method
from firstsight.evaluation.segmentation import MIN_OBJECT_PX, MaskErrors
from firstsight.geometry import se3
from firstsight.geometry.images import to_tensor
from firstsight.motion.moving_objects import MovingObjectSegmentation
from firstsight.perceive.stages.depth import stereo_depth
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import Recording

LARGE_PX = 400


def judge(name: str, recording: Recording, frames: range) -> None:
    left, right = recording.rig.stereo_cameras
    matching, flow_method = method("semi-global-matching"), method("dense-inverse-search")
    segmentation, errors, ids = MovingObjectSegmentation(), MaskErrors(), set()
    found = {"large": [0, 0], "small": [0, 0]}
    intrinsics, poses = torch.from_numpy(left.intrinsics), torch.from_numpy(recording.truth.world_from_camera)
    for i in frames:
        image, later = (to_tensor(recording.images[left.name][i + k]) for k in (0, 1))
        depth = stereo_depth(recording.rig, matching(image, to_tensor(recording.images[right.name][i])))
        motion = se3.inverse(poses[i + 1]) @ poses[i]
        seen = segmentation.step(depth, flow_method(image, later), motion, intrinsics).ids.numpy()
        true = np.zeros_like(seen) if recording.truth.moving is None else recording.truth.moving[i].astype(np.int64)
        errors.add(seen, true)
        ids |= set(np.unique(seen).tolist()) - {0}
        for object_id, size in zip(*np.unique(true[true > 0], return_counts=True), strict=True):
            numbers, counts = np.unique(seen[true == object_id], return_counts=True)
            if size >= MIN_OBJECT_PX:
                kind = found["large" if size >= LARGE_PX else "small"]
                kind[0] += int(numbers[counts.argmax()] > 0 and 2 * counts.max() >= size)
                kind[1] += 1
    values = {metric.name: round(metric.value, 3) for metric in errors.metrics()}
    print(f"{name}: {len(ids)} ids for {len(errors.true_ids)} objects, found of all {found}, {values}", flush=True)


def main() -> None:
    torch.set_num_threads(1)
    for source in sys.argv[1:]:
        if source.isdigit():
            judge(source, open_recording(f"sim:street:seed={source}"), range(4, 28))
        else:
            judge(source, open_recording(source), range(30))


if __name__ == "__main__":
    main()
