"""How well masks that a method found agree with true objects, whatever the masks are called.

Source: Hubert, Arabie. Comparing Partitions. Journal of Classification 2, 1985, equation 5 (adjusted Rand index);
        Kabra, Burgess, et al. Multi-Object Datasets, 2019, and Locatello et al., NeurIPS 2020, section 4.1 (FG-ARI: pixels
        whose truth is background are left out); Pont-Tuset, Arbelaez, Barron, Marques, Malik. Multiscale Combinatorial
        Grouping. TPAMI 39(1), 2017, section 5.1 (best overlap); Kuhn 1955, Munkres 1957 (matching).

FG-ARI does not see where objects end and background begins: one mask may hold half the background at no cost. Best overlap
and matched overlap see it, so they are always shown beside it.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, Integer, UInt8
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from firstsight.run_folder import Metric

BACKGROUND = 0  # the true id of what is no object

Ids = Integer[np.ndarray, "height width"]
Counts = Int64[np.ndarray, "estimated true"]


def ids_of(weights: Float32[Tensor, "batch objects height width"]) -> Int64[Tensor, "batch height width"]:
    """What a Discoverer found, as ids: the object of the largest weight, from 1; 0 where what the weights lack to 1 is larger."""
    rest = (1 - weights.sum(1, keepdim=True)).clamp_min(0)
    return torch.cat([rest, weights], 1).argmax(1)


def clustered_ids(image: UInt8[np.ndarray, "height width 3"], clusters: int) -> Int64[np.ndarray, "height width"]:
    """Returns the ids, from 1, of the baseline that learns nothing: k-means of each pixel's colour and place, each in [0, 1]."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    rows = np.dstack([image / 255, y / height, x / width]).reshape(-1, 5).astype(np.float32)
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
    _, ids, _ = cv2.kmeans(rows, clusters, np.zeros((len(rows), 1), np.int32), stop, 5, cv2.KMEANS_PP_CENTERS)
    return ids.reshape(height, width).astype(np.int64) + 1


def contingency(estimated_ids: Integer[np.ndarray, "*shape"], true_ids: Integer[np.ndarray, "*shape"]) -> Counts:
    """How many pixels have each pair of ids; ids in ascending order, only those that occur."""
    estimated, rows = np.unique(estimated_ids, return_inverse=True)
    true, columns = np.unique(true_ids, return_inverse=True)
    pairs = np.bincount((rows * len(true) + columns).ravel(), minlength=len(estimated) * len(true))
    return pairs.reshape(len(estimated), len(true)).astype(np.int64)


def adjusted_rand_index(counts: Counts) -> float:
    """1 where two partitions are the same, 0 on average where they have nothing to do with each other."""

    def pairs(sizes: np.ndarray) -> float:
        return float((sizes * (sizes - 1.0)).sum() / 2)

    together, estimated, true = pairs(counts), pairs(counts.sum(1)), pairs(counts.sum(0))
    every = pairs(counts.sum(keepdims=True))
    chance = estimated * true / every if every else 0.0
    best = (estimated + true) / 2
    return 1.0 if best == chance else (together - chance) / (best - chance)


def ari(estimated_ids: Ids, true_ids: Ids) -> float:
    """Returns the adjusted Rand index over all pixels; the background counts as one more object."""
    return adjusted_rand_index(contingency(estimated_ids, true_ids))


def foreground_ari(estimated_ids: Ids, true_ids: Ids) -> float:
    """Returns the adjusted Rand index over the pixels of true objects. NaN where there is none."""
    judged = true_ids != BACKGROUND
    return adjusted_rand_index(contingency(estimated_ids[judged], true_ids[judged])) if judged.any() else float("nan")


def overlaps(estimated_ids: Ids, true_ids: Ids) -> Float64[np.ndarray, "estimated objects"]:
    """Intersection over union of every mask with every true object. Every id that was estimated is a mask, 0 as well."""
    counts = contingency(estimated_ids, true_ids)
    union = counts.sum(1, keepdims=True) + counts.sum(0, keepdims=True) - counts
    return (counts / union)[:, np.unique(true_ids) != BACKGROUND]


def best_overlap(estimated_ids: Ids, true_ids: Ids) -> float:
    """Returns the mean over true objects of the largest overlap with any mask. NaN where there is no object."""
    overlap = overlaps(estimated_ids, true_ids)
    return float(overlap.max(0).mean()) if overlap.shape[1] else float("nan")


def matched_overlap(estimated_ids: Ids, true_ids: Ids) -> float:
    """The same where no mask may serve two objects: the matching of largest sum, 0 for objects that get none."""
    overlap = overlaps(estimated_ids, true_ids)
    if not overlap.shape[1]:
        return float("nan")
    return float(overlap[linear_sum_assignment(overlap, maximize=True)].sum() / overlap.shape[1])


@dataclass
class ObjectMaskErrors:
    """The measures of each image with a true object."""

    fg_ari: list[float] = field(default_factory=list)
    ari: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    matched: list[float] = field(default_factory=list)

    def add(self, estimated_ids: Ids, true_ids: Ids) -> None:
        """Takes the next image."""
        if (true_ids == BACKGROUND).all():
            return
        self.fg_ari.append(foreground_ari(estimated_ids, true_ids))
        self.ari.append(ari(estimated_ids, true_ids))
        self.best.append(best_overlap(estimated_ids, true_ids))
        self.matched.append(matched_overlap(estimated_ids, true_ids))

    def metrics(self) -> tuple[Metric, ...]:
        """Means over images; nothing where no image had an object."""
        if not self.fg_ari:
            return ()
        count = f"mean over {len(self.fg_ari)} images"
        found = [
            ("FG-ARI", self.fg_ari, "pixels of true objects only"),
            ("ARI", self.ari, "all pixels, the background one object more"),
            ("mBO", self.best, "IoU of each true object with its best mask, mean over an image's objects"),
            (
                "mIoU",
                self.matched,
                "IoU after Hungarian matching, 0 for unmatched objects, mean over an image's objects",
            ),
        ]
        return tuple(
            Metric(name=name, value=float(np.mean(values)), unit="", protocol=f"{protocol}; {count}")
            for name, values, protocol in found
        )
