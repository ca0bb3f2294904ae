"""Errors in px of disparity and flow, pooled over all pixels of all frames, and KITTI's outlier rule.

Source: Menze and Geiger, Object Scene Flow for Autonomous Vehicles (2015), section 5: a pixel is an outlier where its error
exceeds both 3 px and 5 % of the true value. Middlebury's bad-N (Scharstein et al. 2014) is the share with an error over N px.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from firstsight.evaluation.shares import share
from firstsight.run_folder import Metric


@dataclass(frozen=True, kw_only=True)
class OutlierRule:
    """A pixel is bad where its error is over `absolute_px` and over `relative` times the true magnitude."""

    absolute_px: float
    relative: float = 0.0

    def __str__(self) -> str:
        relative = f" and > {100 * self.relative:g} % of the true value" if self.relative else ""
        return f"error > {self.absolute_px:g} px{relative}"


KITTI_OUTLIER = OutlierRule(absolute_px=3.0, relative=0.05)


@dataclass
class PixelErrors:
    """Counts over one set of judged pixels; memory does not grow with the number of frames.

    `pixels` names the set in words, `rules` the outlier rules by metric name.
    """

    pixels: str
    rules: Mapping[str, OutlierRule]
    judged: int = 0
    answered: int = 0
    error_sum_px: float = 0.0
    bad: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        error_px: Float[np.ndarray, "height width"],
        magnitude_px: Float[np.ndarray, "height width"],
        answered: Bool[np.ndarray, "height width"],
        judged: Bool[np.ndarray, "height width"],
    ) -> None:
        """Takes one frame; the error is read only where a judged pixel was answered."""
        chosen = judged & answered
        error, magnitude = error_px[chosen].astype(np.float64), magnitude_px[chosen].astype(np.float64)
        self.judged += int(judged.sum())
        self.answered += len(error)
        self.error_sum_px += float(error.sum())
        for name, rule in self.rules.items():
            bad = (error > rule.absolute_px) & (error > rule.relative * magnitude)
            self.bad[name] = self._bad(name) + int(bad.sum())

    def metrics(self, mean_name: str) -> tuple[Metric, ...]:
        """Mean error, shares of bad pixels (among answered ones, then with missing ones counted as bad), density.

        Values that no pixel decides are left out.
        """
        missing = self.judged - self.answered
        mean = share(mean_name, self.error_sum_px, self.answered, f"mean over answered {self.pixels}", "px")
        bad = [
            metric
            for name, rule in self.rules.items()
            for metric in (
                *share(f"{name} (answered)", self._bad(name), self.answered, f"{rule}; over answered {self.pixels}"),
                *share(
                    f"{name} (missing counted as bad)",
                    self._bad(name) + missing,
                    self.judged,
                    f"{rule}, or no estimate; over {self.pixels}",
                ),
            )
        ]
        return (
            *mean,
            *bad,
            *share(f"{mean_name} density", self.answered, self.judged, f"answered share of {self.pixels}"),
        )

    def _bad(self, name: str) -> int:
        return self.bad.get(name, 0)
