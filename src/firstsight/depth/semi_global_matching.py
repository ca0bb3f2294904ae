"""Stereo by semi-global matching of census codes.

Paper:  Hirschmueller. Stereo Processing by Semiglobal Matching and Mutual Information. TPAMI 30(2), 2008.
Idea:   match pixels by their surroundings, and let neighbours agree along straight paths from eight sides.
        C(p, d) = Hamming(census_L(p), census_R(p - d)), summed over 3x3 pixels  -> matching.cost_volume.census_cost()
        S(p, d) = sum over paths r of L_r(p, d)                    eq. 13, 15    -> matching.semi_global.aggregate()
        D(p) = argmin_d S(p, d), refined between them             section II-D  -> matching.winner.take_winners()
        valid where |D(p) - D_R(p - D(p))| <= tolerance            eq. 16        -> matching.winner.left_right_consistent()
        and not part of a small patch                              section II-E  -> matching.winner.drop_speckles()
        elsewhere the background beside it is the best guess       section II-E  -> matching.winner.fill_from_background()
Differs: census instead of mutual information (its cost is a table that must be learned from a first disparity), and costs summed
         over 3x3 pixels: fewer errors everywhere (benchmarks/stereo.md). Lines instead of a parabola between disparities.
Role:   StereoEstimator. Disparity in px; where it is not `valid` it is a guess, right about half of the time.
"""

from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8

from firstsight.errors import InputError
from firstsight.geometry.images import to_grey
from firstsight.matching.cost_volume import census_cost, largest_census_cost
from firstsight.matching.lanes import LANES
from firstsight.matching.semi_global import Penalties, aggregate, check_penalties
from firstsight.matching.winner import drop_speckles, fill_from_background, left_right_consistent, take_winners
from firstsight.roles import Disparity, Images, StereoEstimator


@dataclass(frozen=True, kw_only=True)
class Config:
    max_disparity_px: int | None = None  # rounded up to a multiple of 32; None: an eighth of the image's width
    census_radius: tuple[int, int] = (2, 3)  # rows, columns of the window on either side of its centre
    penalties: Penalties = field(default_factory=Penalties)
    paths: Literal[4, 8] = 8
    consistency_px: float = 1.0  # left-right check
    speckle_area_px: int = 100  # smaller patches of even disparity are dropped
    median_px: Literal[1, 3, 5] = 3  # width of the last smoothing; 1: none


def candidates(config: Config, width: int) -> int:
    """How many disparities 0, 1, ... are tried for images of this width."""
    wanted = config.max_disparity_px if config.max_disparity_px is not None else max(1, width // 8)
    return -(-wanted // LANES) * LANES


class SemiGlobalMatching(StereoEstimator):
    """Raises InputError for settings that do not fit together.

    The two volumes (3 bytes per pixel and disparity) are kept from call to call, since allocating them costs as much as filling them.
    """

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        if self.config.max_disparity_px is not None and self.config.max_disparity_px < 1:
            raise InputError(f"max_disparity_px={self.config.max_disparity_px}: choose at least 1")
        check_penalties(self.config.penalties, largest_census_cost(self.config.census_radius))
        self._volumes: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, left: Images, right: Images) -> Disparity:
        assert left.shape == right.shape, "a rectified pair has one size"
        pairs = [self._match(to_grey(a[None]), to_grey(b[None])) for a, b in zip(left, right, strict=True)]
        disparities, valid = (torch.from_numpy(np.stack(maps))[:, None] for maps in zip(*pairs, strict=True))
        return Disparity(disparities, valid)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_volumes": None}

    def _match(
        self, left: UInt8[np.ndarray, "height width"], right: UInt8[np.ndarray, "height width"]
    ) -> tuple[Float32[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
        config = self.config
        cost, total = self._buffers((*left.shape, candidates(config, left.shape[1])))
        census_cost(left, right, config.census_radius, cost)
        aggregate(cost, left, config.penalties, config.paths, total)
        disparity, of_right = take_winners(total)
        valid = left_right_consistent(disparity, of_right, config.consistency_px)
        valid = drop_speckles(disparity, valid, config.speckle_area_px)
        dense = fill_from_background(disparity, valid)
        return cv2.medianBlur(dense, config.median_px), valid

    def _buffers(self, shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        if self._volumes is None or self._volumes[0].shape != shape:
            self._volumes = (np.empty(shape, np.uint8), np.empty(shape, np.uint16))
        return self._volumes
