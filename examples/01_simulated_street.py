"""A simulated drive: look at a frame, its depth and its flow, and check the flow against the images.

    python examples/01_simulated_street.py [FOLDER]

Writes left.png, depth.png (metres x 256), flow.png (KITTI) and warped.png, the next frame brought back by the true flow.
"""

import sys
from pathlib import Path

import torch

from firstsight.formats import png
from firstsight.geometry.images import to_array, to_tensor
from firstsight.geometry.warp import warp_by_flow
from firstsight.recordings.simulated import simulate


def main(folder: Path) -> None:
    street = simulate("street", frames=2, height=96)  # nothing is rendered yet; frames are made when asked for
    camera = street.rig.cameras[0]
    print(f"{len(street)} frames of {camera.size[1]}x{camera.size[0]}, baseline {street.rig.baseline_m} m")

    left = street[0].image()  # uint8 (height, width, 3)
    depth, has_depth = street.truth.depth[0]  # metres along the optical axis
    flow, has_flow, visible = street.truth.flow[0]  # pixels to frame 1; visible: not hidden there
    print(f"depth {depth[has_depth].min():.1f} m to {depth[has_depth].max():.0f} m")
    for box in street.truth.boxes[0]:
        if box.moving:
            x, _, z = box.camera_from_box[:3, 3]
            print(f"  moving {box.label} {box.object_id}: {z:.0f} m ahead, {x:+.0f} m to the right")

    flow_ab = torch.from_numpy(flow).permute(2, 0, 1)[None]  # (1, 2, height, width)
    warped, inside = warp_by_flow(to_tensor(street[1].image()), flow_ab)
    seen = inside & torch.from_numpy(visible)
    error = (warped - to_tensor(left)).abs().mean(1, keepdim=True)[seen].mean()
    print(f"the next frame, brought back by the true flow, differs by {255 * error:.1f} grey levels of 255")

    png.write_image(folder / "left.png", left)
    png.write_image(folder / "warped.png", to_array(torch.where(seen, warped, 0.0)))
    png.write_scaled(folder / "depth.png", depth, has_depth)
    png.write_flow(folder / "flow.png", flow, has_flow)
    print(f"images in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/simulated_street"))
