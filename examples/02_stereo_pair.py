"""Depth from two rectified images, without a recording around them.

    python examples/02_stereo_pair.py [LEFT RIGHT [FOLDER]]

Writes disparity.png, coloured, with what could not be matched left dark. Without images it takes a pair of the simulated street.
"""

import sys
from pathlib import Path

from firstsight.depth.semi_global_matching import Config, SemiGlobalMatching
from firstsight.formats import png
from firstsight.geometry.images import to_tensor
from firstsight.recordings.recording import DepthImage
from firstsight.recordings.simulated import simulate
from firstsight.show.colour import colour_depth, depth_scale


def main(left: Path | None, right: Path | None, folder: Path) -> None:
    if left is not None and right is not None:
        images = [png.read_image(path) for path in (left, right)]
    else:
        street = simulate("street", frames=1)
        images = [street[0].image(name) for name in ("left", "right")]

    match = SemiGlobalMatching(Config(max_disparity_px=96))
    disparity, valid = match(*map(to_tensor, images))  # (1, 1, height, width), px
    print(f"{100 * valid.float().mean():.0f} % matched, disparity up to {disparity[valid].max():.1f} px")

    # depth is focal_px * baseline_m / disparity; without a calibration its inverse still tells near from far
    relative = DepthImage((1 / disparity[0, 0].clamp(min=0.5)).numpy(), valid[0, 0].numpy())
    png.write_image(folder / "disparity.png", colour_depth(relative, depth_scale([relative])))
    print(f"image in {folder}")


if __name__ == "__main__":
    paths = [Path(argument) for argument in sys.argv[1:]]
    main(*(paths[:2] or (None, None)), paths[2] if len(paths) > 2 else Path("runs/stereo_pair"))
