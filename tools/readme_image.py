"""Draws docs/images/street.jpg from a run of sim:street: image, depth, flow and moving objects of one frame.

make demo && .venv/bin/python tools/readme_image.py runs/demo
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from firstsight.recordings.opening import open_recording
from firstsight.run_folder import RunFolder
from firstsight.show.colour import colour_depth, colour_flow, depth_scale, flow_scale_px, overlay_ids

FRAME = 7
TARGET = Path(__file__).parents[1] / "docs" / "images" / "street.jpg"


def main(run: RunFolder) -> None:
    recording = open_recording(run.read_record().source)
    image = recording[FRAME].image()
    depth, flow, ids = run.read_depth(FRAME), run.read_flow(FRAME), run.read_moving(FRAME)
    assert depth is not None
    assert flow is not None
    assert ids is not None
    coloured = (
        image,
        colour_depth(depth, depth_scale([depth])),
        colour_flow(flow, flow_scale_px([flow])),
        overlay_ids(image, ids),
    )
    mosaic = np.vstack([np.hstack(coloured[:2]), np.hstack(coloured[2:])])
    Image.fromarray(mosaic).save(TARGET, quality=88)


if __name__ == "__main__":
    main(RunFolder(Path(sys.argv[1])))
