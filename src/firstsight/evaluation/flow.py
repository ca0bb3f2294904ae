"""Errors of optical flow: end-point error, KITTI's outlier share and the angular error.

Source: Baker et al., A Database and Evaluation Methodology for Optical Flow (2011), section 4.1 (end-point and angular error);
Menze and Geiger (2015), section 5 (Fl).
"""

import numpy as np

from firstsight.evaluation.pixel_errors import KITTI_OUTLIER, PixelErrors
from firstsight.evaluation.shares import share
from firstsight.recordings.recording import FlowImage
from firstsight.run_folder import Metric


class FlowErrors:
    """Flow errors over frames, pooled over pixels: those seen in both frames, and all with a true value."""

    def __init__(self) -> None:
        self.visible = PixelErrors(
            "pixels with true flow that are seen in both frames", {"Fl-all visible": KITTI_OUTLIER}
        )
        self.all = PixelErrors("pixels with true flow, occluded ones included", {"Fl-all": KITTI_OUTLIER})
        self._angle_sum_rad = 0.0

    def add(self, estimate: FlowImage, truth: FlowImage) -> None:
        """Takes one frame. The estimate is judged where it is `valid`."""
        error = np.linalg.norm(estimate.flow - truth.flow, axis=-1)
        magnitude = np.linalg.norm(truth.flow, axis=-1)
        visible = truth.valid & truth.visible
        self.visible.add(error, magnitude, estimate.valid, visible)
        self.all.add(error, magnitude, estimate.valid, truth.valid)
        chosen = visible & estimate.valid
        self._angle_sum_rad += float(angular_error_rad(estimate.flow[chosen], truth.flow[chosen]).sum())

    def metrics(self) -> tuple[Metric, ...]:
        words = f"mean angle between (u, v, 1) and (u*, v*, 1) over answered {self.visible.pixels}"
        angle_sum_deg = float(np.degrees(self._angle_sum_rad))
        return (
            *self.visible.metrics("flow EPE visible"),
            *self.all.metrics("flow EPE"),
            *share("flow angular error visible", angle_sum_deg, self.visible.answered, words, "deg"),
        )


def angular_error_rad(estimated: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Angle between (u, v, 1) and (u*, v*, 1) in space-time, of flows (n, 2) in px. Source: Baker et al. (2011), section 4.1."""
    a = np.concatenate([estimated, np.ones_like(estimated[:, :1])], 1).astype(np.float64)
    b = np.concatenate([true, np.ones_like(true[:, :1])], 1).astype(np.float64)
    # atan2 of cross and dot: arccos alone loses half the digits near zero
    return np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), (a * b).sum(1))
