"""Stereo by semi-global matching: the energy approach, with census codes unless told otherwise.

Paper:  Hirschmueller. Stereo Processing by Semiglobal Matching and Mutual Information. TPAMI 30(2), 2008.
Idea:   match pixels by their surroundings, and let neighbours agree along straight paths from all sides:
        E(D) = sum_p C(p, D(p)) + sum over neighbours of P1 [step of 1] + P2 [larger]   eq. 11 -> matching.aggregation.energy.energy()
        P1 and P2 lower where the images have edges                     MC-CNN          -> matching.aggregation.penalties
        C(p, d) = Hamming(census_L(p), census_R(p - d)), summed over 3x3 pixels         -> matching.costs.census_cost.Census
        averaged over what looks like one surface where asked for                       -> matching.aggregation.cross_based
        S(p, d) = sum over paths r of L_r(p, d)                         eq. 13, 14      -> matching.aggregation.semi_global.aggregate()
        D(p) = argmin_d S(p, d), refined between them                   section II-D    -> matching.selection.winner.take_winners()
        valid where |D(p) - D_R(p - D(p))| <= tolerance                 eq. 16          -> matching.selection.consistency
        and not part of a small patch                                   section II-E    -> matching.selection.consistency.drop_speckles()
        elsewhere what lies around it is the best guess                 section II-E    -> matching.selection.filling
Differs: census instead of mutual information (its cost is a table that must be learned from a first disparity), and costs summed
         over 3x3 pixels: fewer errors everywhere (benchmarks/stereo.md). Lines instead of a parabola between disparities. Large
         images are swept strip by strip, with the same result.
         Images on a GPU are matched there (matching.aggregation.gpu), in one piece and with equal sums.
Role:   StereoEstimator. Disparity in px; where it is not `valid` it is a guess, right about half of the time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Literal, final

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32

from firstsight.errors import InputError
from firstsight.geometry.images import to_grey
from firstsight.kernels.lanes import LANES
from firstsight.matching.aggregation import gpu
from firstsight.matching.aggregation.cross_based import aggregate_cross_based, cross_arms
from firstsight.matching.aggregation.penalties import JumpRule, TwoImagePenalties
from firstsight.matching.aggregation.semi_global import SemiGlobal, aggregate_strips, path_types
from firstsight.matching.costs.census_cost import Census
from firstsight.matching.costs.volumes import Grey, MatchingCost, Volume, leave_out_left_border
from firstsight.matching.selection.consistency import Classes, MatchClass, classify, drop_speckles
from firstsight.matching.selection.filling import fill_classified, fill_from_background
from firstsight.matching.selection.smoothing import bilateral
from firstsight.matching.selection.winner import SubPixel, Winners, take_winners
from firstsight.roles import Disparity, Images, StereoEstimator

Map = Float32[np.ndarray, "height width"]
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class CrossBased:
    """Cross-based aggregation before the paths; the course's C^4_CBCA has four passes."""

    passes: int = 2
    length_px: int = 9
    threshold: float = 20.0  # grey levels


@dataclass(frozen=True, kw_only=True)
class Config:
    max_disparity_px: int | None = None  # rounded up to a multiple of 32; None: an eighth of the image's width
    cost: MatchingCost = field(default_factory=Census)
    outside: Literal["repeat", "none"] = "repeat"  # the right image's border, or no cost; the former has fewer errors
    cross_based: CrossBased | None = None
    penalties: JumpRule = field(default_factory=TwoImagePenalties)
    paths: Literal[4, 8, 16] = 8
    sub_pixel: SubPixel = "lines"
    consistency_px: float = 1.0  # left-right check
    speckle_area_px: int = 100  # smaller patches of even disparity are dropped
    filling: Literal["background", "classified"] = "background"
    median_px: Literal[1, 3, 5] = 3  # width of the smoothing after that; 1: none
    bilateral_px: float | None = None  # sigma of an edge-preserving mean at the end
    volume_bytes: int = 2**30  # of both cost volumes; larger ones are swept in strips, half as fast


@dataclass(frozen=True)
class Work:
    """A pair in work."""

    left: Grey
    right: Grey
    cost: MatchingCost
    candidates: int
    device: torch.device

    @cached_property
    def described(self) -> tuple[np.ndarray, np.ndarray]:
        """Both images as the cost compares them; not needed where a GPU does that."""
        return self.cost.describe(self.left), self.cost.describe(self.right)


def candidates(config: Config, width: int) -> int:
    """How many disparities 0, 1, ... are tried for images of this width."""
    wanted = config.max_disparity_px if config.max_disparity_px is not None else max(1, width // 8)
    return -(-wanted // LANES) * LANES


@final
class SemiGlobalMatching(StereoEstimator):
    """Raises InputError for settings that do not fit together.

    The two volumes are kept from call to call, since allocating them costs as much as filling them.
    """

    def __init__(self, config: Config | None = None):
        self.config = config or Config()
        if self.config.max_disparity_px is not None and self.config.max_disparity_px < 1:
            raise InputError(f"max_disparity_px={self.config.max_disparity_px}: choose at least 1")
        self._total_type()  # raises where penalties are too large
        self._volumes: tuple[np.ndarray, np.ndarray] | None = None

    def estimate(self, left: Images, right: Images) -> Disparity:
        device = left.device
        greys = [[to_grey(image[None]) for image in images.cpu()] for images in (left, right)]
        pairs = [self._match(a, b, device) for a, b in zip(*greys, strict=True)]
        disparities, valid = (torch.from_numpy(np.stack(maps))[:, None].to(device) for maps in zip(*pairs, strict=True))
        return Disparity(disparities, valid)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_volumes": None}

    def _match(self, left: Grey, right: Grey, device: torch.device) -> tuple[Map, Bool[np.ndarray, "height width"]]:
        disparity, classes = self.classified(left, right, device)
        correct = classes == MatchClass.CORRECT
        valid = drop_speckles(disparity, correct, self.config.speckle_area_px)
        classes[correct & ~valid] = MatchClass.MISMATCH
        completed = self.completed(disparity, classes, left)
        # Without disparity a pixel is at infinity, which is no distance.
        return completed, valid & (completed > 0)

    def classified(self, left: Grey, right: Grey, device: torch.device = CPU) -> tuple[Map, Classes]:
        """The winners, and which of them the right image confirms."""
        work = Work(left, right, self.config.cost, candidates(self.config, left.shape[1]), device)
        winners = self.winners_on_cpu(work) if device.type == "cpu" else [self.winners_on_gpu(work)]
        position, of_right, found = (np.concatenate(parts[::-1]) for parts in zip(*winners, strict=True))
        classes = classify(position, of_right, self.config.consistency_px, work.candidates)
        classes[~found] = MatchClass.OCCLUSION
        return position, classes

    def completed(self, disparity: Map, classes: Classes, left: Grey) -> Map:
        """Guesses where a pixel is not MatchClass.CORRECT, and smoothing."""
        if self.config.filling == "classified":
            dense = fill_classified(disparity, classes)
        else:
            dense = fill_from_background(disparity, classes == MatchClass.CORRECT)
        smooth = cv2.medianBlur(dense, self.config.median_px)
        return smooth if self.config.bilateral_px is None else bilateral(smooth, left, self.config.bilateral_px)

    @property
    def _context(self) -> int:
        """Rows above and below that the cost of a row depends on."""
        cross = self.config.cross_based
        return self.config.cost.reach + (cross.passes * cross.length_px if cross else 0)

    def winners_on_cpu(self, work: Work) -> Iterator[Winners]:
        """Strip by strip from the bottom up."""
        config = self.config
        settings = SemiGlobal(work.left, config.penalties, config.paths, work.right, config.cost.largest)
        strips = self._strips(work)
        room, sums = self._room(work, strips)
        for _, total in aggregate_strips(lambda rows: self._costs(work, rows, room), strips, settings, sums):
            yield take_winners(total, config.sub_pixel)

    def winners_on_gpu(self, work: Work) -> Winners:
        """Matches the image in one piece; costs that have no kernel there are computed on the CPU."""
        config = self.config
        left, right = (torch.from_numpy(image).to(work.device) for image in (work.left, work.right))
        if isinstance(config.cost, Census) and config.cross_based is None:
            cost = gpu.census_cost(left, right, work.candidates, config.cost)
            if config.outside == "none":
                gpu.leave_out_left_border(cost)
        else:
            room = np.empty((*work.left.shape, work.candidates), config.cost.dtype)
            cost = torch.from_numpy(self._costs(work, slice(0, len(work.left)), room)).to(work.device)
        settings = SemiGlobal(left, config.penalties, config.paths, right, config.cost.largest)
        winners = gpu.take_winners(gpu.aggregate(cost, settings), config.sub_pixel)
        return Winners(*(part.cpu().numpy() for part in winners))

    def _strips(self, work: Work) -> list[slice]:
        """The rows in as few pieces as the memory allows."""
        height, width = work.left.shape
        row_bytes = width * work.candidates * (self.config.cost.dtype.itemsize + self._total_type().itemsize)
        most = max(self.config.volume_bytes // row_bytes - 2 * self._context, 2 * self._context, 1)
        count = -(-height // most)
        edges = [height * i // count for i in range(count + 1)]
        return [slice(a, b) for a, b in pairwise(edges)]

    def _costs(self, work: Work, rows: slice, room: np.ndarray) -> Volume:
        """The cost volume of these rows; `room` is memory for them and their context."""
        context = slice(max(rows.start - self._context, 0), rows.stop + self._context)
        left, right = (description[context] for description in work.described)
        volume = self.config.cost.fill(left, right, room[: len(left)])
        if self.config.outside == "none":
            leave_out_left_border(volume)
        if cross := self.config.cross_based:
            arms = (cross_arms(grey[context], cross.length_px, cross.threshold) for grey in (work.left, work.right))
            volume = aggregate_cross_based(volume, *arms, passes=cross.passes)
        first = rows.start - context.start
        return volume[first : first + rows.stop - rows.start]

    def _total_type(self) -> np.dtype:
        """The data type of the sums of path costs."""
        config = self.config
        return np.dtype(path_types(config.cost.dtype, config.cost.largest, config.penalties, config.paths)[1])

    def _room(self, work: Work, strips: list[slice]) -> tuple[np.ndarray, np.ndarray]:
        """Memory for the costs and sums of a strip."""
        height, width = work.left.shape
        rows = max(strip.stop - strip.start for strip in strips)
        shapes = [(min(rows + 2 * self._context, height), width, work.candidates), (rows, width, work.candidates)]
        if self._volumes is None or [volume.shape for volume in self._volumes] != shapes:
            self._volumes = (np.empty(shapes[0], work.cost.dtype), np.empty(shapes[1], self._total_type()))
        return self._volumes
