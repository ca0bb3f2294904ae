"""The pieces of a mask that can be objects: one depth, one motion, and an outline of their own."""

from typing import no_type_check

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int32
from numba import njit

RING_PX = 3  # width of the surroundings in which an outline is looked for
SAME_DEPTH = 0.1  # difference of log depth below which the surroundings belong to the same surface

Labels = Int32[np.ndarray, "height width"]


@njit(cache=True)
@no_type_check
def flood(mask, log_depth, residual, known, edge, residual_edge_px):
    """Labels (h, w) of regions connected over 4-neighbours; see label()."""
    height, width = mask.shape
    labels = np.zeros((height, width), np.int32)
    waiting = np.empty((height * width, 2), np.int32)
    count = 0
    for start_y in range(height):
        for start_x in range(width):
            if not mask[start_y, start_x] or labels[start_y, start_x]:
                continue
            count += 1
            labels[start_y, start_x] = count
            waiting[0] = start_y, start_x
            top = 1
            while top:
                top -= 1
                y, x = waiting[top]
                for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                    v, u = y + dy, x + dx
                    if not (0 <= v < height and 0 <= u < width) or not mask[v, u] or labels[v, u]:
                        continue
                    change = max(abs(residual[v, u, 0] - residual[y, x, 0]), abs(residual[v, u, 1] - residual[y, x, 1]))
                    same_motion = change < residual_edge_px or not (known[v, u] and known[y, x])
                    if same_motion and abs(log_depth[v, u] - log_depth[y, x]) < edge:
                        labels[v, u] = count
                        waiting[top] = v, u
                        top += 1
    return labels


def label(
    mask: Bool[np.ndarray, "height width"],
    log_depth: Float32[np.ndarray, "height width"],
    residual: Float32[np.ndarray, "height width 2"],
    known: Bool[np.ndarray, "height width"],
    edge: float,
    residual_edge_px: float,
) -> Labels:
    """Regions 1, 2, ... of the mask, 0 outside: neighbours in one differ little in depth and, where `known`, in residual flow."""
    return flood(mask, log_depth, residual, known, edge, residual_edge_px)


def open_share(
    labels: Labels, log_depth: Float32[np.ndarray, "height width"], still: Bool[np.ndarray, "height width"]
) -> Float32[np.ndarray, " labels"]:
    """Returns for each label the share of its surroundings that are `still` and as far away: an object ends where depth does."""
    size = RING_PX * 2 + 1
    grown = cv2.dilate(labels.astype(np.float32), np.ones((size, size), np.uint8)).astype(np.int32)
    ring = (grown > 0) & (labels == 0)
    count = int(labels.max()) + 1
    total = np.bincount(labels.ravel(), weights=log_depth.ravel(), minlength=count)
    mean = total / np.maximum(np.bincount(labels.ravel(), minlength=count), 1)
    same = ring & still & (np.abs(log_depth - mean[grown]) < SAME_DEPTH)
    around = np.bincount(grown[ring], minlength=count)
    return (np.bincount(grown[same], minlength=count) / np.maximum(around, 1)).astype(np.float32)


def keep(labels: Labels, kept: Bool[np.ndarray, " labels"]) -> Labels:
    """The labels that are kept, 0 elsewhere."""
    return np.where(kept[labels] & (labels > 0), labels, 0).astype(np.int32)
