"""Are the intrinsics those of a real camera, and do the rows of a stereo pair correspond?"""

import numpy as np

from firstsight.doctor.samples import MIN_MATCHES, Samples, Verdict
from firstsight.recordings.recording import Camera
from firstsight.run_folder import Finding

STEREO_ROWS = "stereo rows"
NARROWEST_DEG, WIDEST_DEG = 20.0, 160.0  # lenses of robots; a pinhole model holds no wider
SQUARE = 0.05  # pixels of today's sensors are square to a fraction of this
CENTRED = 0.15  # of the size; lenses are mounted over the middle, cropping moves it a little
ROWS_PX, ROWS_UNFIT_PX = 0.7, 2.0  # semi-global matching searches along rows: it bears half a pixel, not two
SWAPPED = 0.5  # share of points that would lie behind the cameras
BASELINE_M = (0.02, 3.0)


def calibration(samples: Samples) -> Finding:
    """Plausibility of the reference camera's intrinsics."""
    camera = samples.camera
    (fx, _, cx), (_, fy, cy), _ = camera.intrinsics
    fov_deg = float(np.degrees(2 * np.arctan(camera.size[1] / 2 / fx)))
    measured = f"fx {fx:.0f}, fy {fy:.0f}, centre ({cx:.0f}, {cy:.0f}) px, field of view {fov_deg:.0f} deg"
    if camera.assumed:
        return Finding(
            check="calibration",
            verdict="note",
            measured=f"{measured}: assumed, not calibrated",
            advice="give --fov-deg or a calibration; distances depend on it",
        )
    verdict, advice = implausible(camera, fov_deg)
    return Finding(check="calibration", verdict=verdict, measured=measured, advice=advice)


def implausible(camera: Camera, fov_deg: float) -> tuple[Verdict, str]:
    """How odd the intrinsics are, and what is."""
    height, width = camera.size
    (fx, _, cx), (_, fy, cy), _ = camera.intrinsics
    if not NARROWEST_DEG <= fov_deg <= WIDEST_DEG:
        return "unfit", "wrong intrinsics: no such lens; were the images resized after calibration?"
    if not (0 <= cx < width and 0 <= cy < height):
        return "unfit", "wrong intrinsics: the principal point lies outside the image"
    if abs(fx / fy - 1) > SQUARE:
        return "note", "fx and fy differ: were the images stretched after calibration?"
    if abs(cx / width - 0.5) > CENTRED or abs(cy / height - 0.5) > CENTRED:
        return "note", "the principal point is far from the middle: were the images cropped after calibration?"
    return "ok", ""


def stereo_rows(samples: Samples) -> Finding:
    """Rectification: the same point must lie in the same row of left and right, further left in the right image."""
    rig = samples.recording.rig
    assert rig.stereo is not None, "asked about the rows of a recording without a stereo pair"
    pairs = [pair.matches for pair in samples.stereo if len(pair.matches.points_a) >= MIN_MATCHES]
    if not pairs:
        return Finding(
            check=STEREO_ROWS,
            verdict="unfit",
            measured="no corner of the left image is found in the right one",
            advice="are left and right of the same instant, and is the pair calibrated?",
        )
    shift = np.concatenate([matches.points_a - matches.points_b for matches in pairs])
    left, right = (rig.camera(name) for name in rig.stereo)
    off_px = float(np.median(np.abs(shift[:, 1])))
    behind = float((shift[:, 0] < left.intrinsics[0, 2] - right.intrinsics[0, 2]).mean())
    baseline_m = rig.baseline_m or 0.0
    measured = f"rows differ by {off_px:.2f} px, disparity {np.median(shift[:, 0]):.1f} px, baseline {baseline_m:.3f} m"
    verdict, advice = judged_rows(off_px / max(samples.unit_px, 1), behind, baseline_m)
    return Finding(check=STEREO_ROWS, verdict=verdict, measured=measured, advice=advice)


def judged_rows(off_px: float, behind: float, baseline_m: float) -> tuple[Verdict, str]:
    """Verdict and advice for rows that differ by `off_px` at samples.WIDTH_PX and a share of points behind the cameras."""
    if behind > SWAPPED or baseline_m <= 0:
        return "unfit", "left and right are swapped: name them the other way round"
    if off_px > ROWS_PX:
        return "unfit" if off_px > ROWS_UNFIT_PX else "note", "not rectified well: calibrate the pair again"
    if not BASELINE_M[0] <= baseline_m <= BASELINE_M[1]:
        return "note", "no plausible baseline: check the unit of the calibration (metres)"
    return "ok", ""
