"""Errors of depth and of disparity.

Source: Eigen, Puhrsch and Fergus, Depth Map Prediction from a Single Image (2014), section 4.1, for the depth metrics; Garg et
al. (2016) for the crop; Zhou et al., SfM-Learner (2017), for median scaling; Menze and Geiger (2015) for D1; Scharstein et
al. (2014) for bad-N; Ranftl et al., MiDaS (2020), equations 2-4, for the factor and shift of inverse depth.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32

from firstsight.evaluation.pixel_errors import KITTI_OUTLIER, OutlierRule, PixelErrors
from firstsight.evaluation.shares import share
from firstsight.recordings.recording import DepthImage, DisparityImage
from firstsight.run_folder import Metric

# Rows and columns kept by the crop of Garg et al. (2016), as shares of height and width: KITTI's LiDAR sees nothing above.
GARG_ROWS, GARG_COLUMNS = (0.40810811, 0.99189189), (0.03594771, 0.96405229)
DEPTH_METRICS = (
    ("Abs Rel", ""),
    ("Sq Rel", "m"),
    ("RMSE", "m"),
    ("RMSE log", ""),
    ("δ < 1.25", "%"),
    ("δ < 1.25²", "%"),
    ("δ < 1.25³", "%"),
)

Alignment = Literal["none", "median", "inverse"]
ALIGNMENTS: dict[Alignment, str] = {
    "none": "no scaling",
    "median": "per-image median scaling",
    "inverse": "per-image factor and shift of inverse depth by least squares",
}


@dataclass(frozen=True, kw_only=True)
class DepthProtocol:
    """Which pixels are judged (true depth in (`min_m`, `cap_m`), inside the crop) and what is done to the estimate before.

    `align` "median" multiplies each image's estimate by median(true) / median(estimated), for methods without scale;
    "inverse" fits its inverse to the true one by a factor and a shift, for methods that know neither. The estimate is then
    clamped to [min_m, cap_m], as the field does.
    """

    min_m: float = 1e-3
    cap_m: float = 80.0
    align: Alignment = "none"
    crop: Literal["none", "garg"] = "none"

    def __str__(self) -> str:
        crop = "no crop" if self.crop == "none" else "Garg crop"
        return f"true depth {self.min_m:g}-{self.cap_m:g} m, {crop}, {ALIGNMENTS[self.align]}, estimate clamped to that range"


@dataclass
class DepthErrors:
    """Depth errors over frames: the mean over images of each image's value. Memory does not grow with the frames."""

    protocol: DepthProtocol = field(default_factory=DepthProtocol)
    images: int = 0
    judged: int = 0
    answered: int = 0
    sums: Float[np.ndarray, " metrics"] = field(default_factory=lambda: np.zeros(len(DEPTH_METRICS)))

    def add(self, estimate: DepthImage, truth: DepthImage) -> None:
        """Takes one frame. An image without a single answered pixel counts for the density alone."""
        judged = judged_pixels(truth, self.protocol)
        chosen = judged & estimate.valid
        self.judged += int(judged.sum())
        self.answered += int(chosen.sum())
        if not chosen.any():
            return
        estimated, true = estimate.depth[chosen].astype(np.float64), truth.depth[chosen].astype(np.float64)
        if self.protocol.align == "median":
            estimated *= np.median(true) / np.median(estimated)
        elif self.protocol.align == "inverse":
            estimated = fitted_inverse(estimated, true, self.protocol.cap_m)
        self.images += 1
        self.sums += depth_errors(np.clip(estimated, self.protocol.min_m, self.protocol.cap_m), true)

    def metrics(self) -> tuple[Metric, ...]:
        """Values that no pixel decides are left out."""
        protocol = f"mean over {self.images} images of each image's value; {self.protocol}; answered pixels"
        errors = [
            Metric(name=f"depth {name}", value=float(total) / self.images, unit=unit, protocol=protocol)
            for (name, unit), total in zip(DEPTH_METRICS, self.sums, strict=True)
            if self.images
        ]
        density = f"answered share of the judged pixels ({self.protocol})"
        return (*errors, *share("depth density", self.answered, self.judged, density))


def fitted_inverse(
    estimated: Float[np.ndarray, " pixels"], true: Float[np.ndarray, " pixels"], cap_m: float
) -> Float[np.ndarray, " pixels"]:
    """The depth 1 / (s / estimated + t), at most `cap_m`, with s and t such that its inverse is nearest to that of `true`."""
    inverse = 1 / estimated
    terms = np.stack([inverse, np.ones_like(inverse)], 1)
    (factor, shift), *_ = np.linalg.lstsq(terms, 1 / true)
    return 1 / np.maximum(factor * inverse + shift, 1 / cap_m)


def judged_pixels(truth: DepthImage, protocol: DepthProtocol) -> Bool[np.ndarray, "height width"]:
    """Returns the pixels that the protocol judges."""
    judged = truth.valid & (truth.depth > protocol.min_m) & (truth.depth < protocol.cap_m)
    if protocol.crop == "garg":
        height, width = judged.shape
        (top, bottom) = (np.array(GARG_ROWS) * height).astype(int)
        (left, right) = (np.array(GARG_COLUMNS) * width).astype(int)
        inside = np.zeros_like(judged)
        inside[top:bottom, left:right] = True
        judged = judged & inside
    return judged


def depth_errors(
    estimated: Float[np.ndarray, " pixels"], true: Float[np.ndarray, " pixels"]
) -> Float[np.ndarray, " metrics"]:
    """Abs Rel, Sq Rel (m), RMSE (m), RMSE log, and the shares (%) within 1.25, 1.25², 1.25³ of one image (Eigen et al. 2014)."""
    difference = estimated - true
    ratio = np.maximum(estimated / true, true / estimated)
    return np.array(
        [
            np.mean(np.abs(difference) / true),
            np.mean(difference**2 / true),
            np.sqrt(np.mean(difference**2)),
            np.sqrt(np.mean(np.log(estimated / true) ** 2)),
            *(100 * np.mean(ratio < 1.25**power) for power in (1, 2, 3)),
        ]
    )


DISPARITY_RULES = {
    "D1-all": KITTI_OUTLIER,
    "bad-1": OutlierRule(absolute_px=1.0),
    "bad-2": OutlierRule(absolute_px=2.0),
}


class DisparityErrors:
    """Disparity errors over frames, pooled over pixels: those the right camera sees too, and all with a true value."""

    def __init__(self) -> None:
        self.visible = PixelErrors("pixels with true disparity that both cameras see", _named(" visible"))
        self.all = PixelErrors("pixels with true disparity, occluded ones included", _named(""))

    def add(
        self,
        disparity: Float32[np.ndarray, "height width"],
        valid: Bool[np.ndarray, "height width"],
        truth: DisparityImage,
    ) -> None:
        """Takes one frame's estimate of the left image's disparity in px, meaningless where not `valid`."""
        error = np.abs(disparity - truth.disparity)
        self.visible.add(error, np.abs(truth.disparity), valid, truth.visible & truth.valid)
        self.all.add(error, np.abs(truth.disparity), valid, truth.valid)

    def metrics(self) -> tuple[Metric, ...]:
        return (*self.visible.metrics("disparity error visible"), *self.all.metrics("disparity error"))


def _named(suffix: str) -> dict[str, OutlierRule]:
    return {name + suffix: rule for name, rule in DISPARITY_RULES.items()}
