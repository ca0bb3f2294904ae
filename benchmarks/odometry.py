"""How exact the parts of odometry are, on drawn scenes and a simulated street. Prints benchmarks/odometry.md.

python benchmarks/odometry.py

PnP beside least squares on the true inliers (OpenCV's, from the true pose); two-view starts on planes and elsewhere; a
camera that stands still in the dark.
"""

import cv2
import numpy as np
import torch

from firstsight.geometry.images import to_tensor
from firstsight.geometry.se3 import se3_exp
from firstsight.motion.odometry.two_view import TwoViewConfig, start_from_two_views
from firstsight.motion.visual_odometry import VisualOdometry
from firstsight.optimisation.pnp import robust_pnp
from firstsight.recordings.simulated import simulate
from firstsight.roles import Depth, Observation

INTRINSICS = np.array([[500.0, 0.0, 319.5], [0.0, 500.0, 239.5], [0.0, 0.0, 1.0]])


def motion(tangent: np.ndarray) -> np.ndarray:
    return se3_exp(torch.from_numpy(np.asarray(tangent, float))).numpy()


def projected(points: np.ndarray) -> np.ndarray:
    return points[:, :2] / points[:, 2:] * 500 + INTRINSICS[:2, 2]


def pnp_ratio(count: int, outliers: float, noise_px: float, draws: int = 300) -> float:
    """Root mean square error of the position over that of least squares on the true inliers."""
    rng, errors = np.random.default_rng(7), []
    camera_from_world = motion(np.array([0.4, -0.2, 0.9, 0.05, 0.2, -0.1]))
    for _ in range(draws):
        local = rng.uniform([-6, -4, 4], [6, 4, 40], (count, 3))
        points = (local - camera_from_world[:3, 3]) @ camera_from_world[:3, :3]
        pixels, wrong = projected(local) + rng.normal(0, noise_px, (count, 2)), int(outliers * count)
        pixels[:wrong] = rng.uniform([0, 0], [640, 480], (wrong, 2))
        found = robust_pnp(points, pixels, INTRINSICS)
        rotation, translation = cv2.Rodrigues(camera_from_world[:3, :3])[0], camera_from_world[:3, 3:].copy()
        best = cv2.solvePnPRefineLM(points[wrong:], pixels[wrong:], INTRINSICS, None, rotation, translation)
        centre = -cv2.Rodrigues(best[0])[0].T @ best[1][:, 0]
        true = -camera_from_world[:3, :3].T @ camera_from_world[:3, 3]
        if found is not None:
            errors.append(
                [np.linalg.norm(np.linalg.inv(found.camera_from_world)[:3, 3] - true), np.linalg.norm(centre - true)]
            )
    mine, least = np.sqrt(np.square(errors).mean(0))
    return float(mine / least)


def starts(bump: float, pairs: int = 100) -> tuple[int, int, float]:
    """Starts accepted of views of a slanted plane with bumps, those more than 10 degrees off, the median in degrees."""
    rng, off = np.random.default_rng(3), []
    for _ in range(pairs):
        direction = rng.normal(size=3)
        b_from_a = motion(
            np.array([*(rng.uniform(0.3, 1.7) * direction / np.linalg.norm(direction)), *(0.06 * rng.normal(size=3))])
        )
        pixels = rng.uniform([20, 20], [620, 460], (300, 2))
        rays = np.column_stack([(pixels - INTRINSICS[:2, 2]) / 500, np.ones(300)])
        z = 5 / (rays @ [*(0.4 * rng.normal(size=2)), 1.0]) * (1 + bump * rng.normal(size=300))
        seen = (rays * z[:, None]) @ b_from_a[:3, :3].T + b_from_a[:3, 3]
        kept = (z > 0) & (z < 50) & (seen[:, 2] > 0.5)
        noise = rng.normal(0, 0.5, (2, 300, 2))
        found = start_from_two_views(
            (pixels + noise[0])[kept], (projected(seen) + noise[1])[kept], INTRINSICS, TwoViewConfig()
        )
        if found is not None:
            turn = (np.trace(found.b_from_a[:3, :3] @ b_from_a[:3, :3].T) - 1) / 2
            along = found.b_from_a[:3, 3] @ b_from_a[:3, 3] / np.linalg.norm(b_from_a[:3, 3])
            off.append(np.degrees(np.arccos(np.clip([turn, along], -1, 1))).max())
    return len(off), int((np.array(off) > 10).sum()), float(np.median(off))


def in_the_dark(dark: int) -> float:
    """How far off a camera believes itself that stood still for so many dark frames, m; 0.4 m a frame before."""
    recording = simulate("street", frames=9)
    intrinsics = torch.from_numpy(recording.rig.cameras[0].intrinsics)
    seen = [
        Observation(
            frame.stamp_ns,
            to_tensor(frame.image()),
            intrinsics,
            Depth(*(torch.from_numpy(part)[None, None] for part in recording.truth.depth[frame.index])),
        )
        for frame in recording
    ]
    odometry = VisualOdometry()
    for observation in [*seen, *([seen[-1]._replace(image=torch.zeros_like(seen[-1].image))] * dark), seen[-1]]:
        odometry.step(observation)
    poses = odometry.trajectory().first_from_sensor.numpy()
    return float(np.linalg.norm(poses[-1, :3, 3] - poses[8, :3, 3]))


def main() -> None:
    print("# Parts of odometry\n\n`python benchmarks/odometry.py`; 300 draws, 100 pairs, the simulated street.\n")
    print("| PnP: points | outliers | noise, px | RMSE over least squares on the true inliers |\n|--:|--:|--:|--:|")
    for count, outliers, noise_px in (
        (40, 0.2, 0.5),
        (100, 0.0, 0.5),
        (100, 0.4, 0.5),
        (300, 0.2, 0.5),
        (100, 0.0, 1.0),
    ):
        print(f"| {count} | {outliers:.0%} | {noise_px} | {pnp_ratio(count, outliers, noise_px):.3f} |")
    print(
        "\n| two views, 0.5 px of noise: depths off a plane by | starts of 100 | over 10 deg off | median, deg |\n|--:|--:|--:|--:|"
    )
    for bump in (0.0, 0.02, 0.1):
        accepted, bad, median = starts(bump)
        print(f"| {bump:.0%} | {accepted} | {bad} | {median:.2f} |")
    print("\n| dark frames, the camera still | off by, m |\n|--:|--:|")
    for dark in (5, 6, 20, 40):
        print(f"| {dark} | {in_the_dark(dark):.4f} |")


if __name__ == "__main__":
    main()
