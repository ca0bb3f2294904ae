"""Errors of masks of moving objects, and whether an object keeps its id.

Source: Everingham et al., The Pascal Visual Object Classes Challenge (2010), section 4.1.2, for the overlap; Bernardin and
Stiefelhagen, Evaluating Multiple Object Tracking Performance: the CLEAR MOT Metrics (2008), for id switches.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Integer

from firstsight.evaluation.shares import share
from firstsight.run_folder import Metric

MIN_OBJECT_PX = 50  # a smaller true object is not asked for its id: a few mixed pixels would decide


@dataclass
class MaskErrors:
    """Binary overlap (id > 0) and id consistency over frames; memory grows with the number of objects alone."""

    frames: int = 0
    both: int = 0
    estimated_only: int = 0
    true_only: int = 0
    seen: int = 0
    found: int = 0
    switches: int = 0
    last_id: dict[int, int] = field(default_factory=dict)  # true id -> estimated id when it was last found
    true_ids: set[int] = field(default_factory=set)

    def add(
        self,
        estimated_ids: Integer[np.ndarray, "height width"],
        true_ids: Integer[np.ndarray, "height width"],
        judged: Bool[np.ndarray, "height width"] | None = None,
    ) -> None:
        """Takes the next frame; `judged` (None: all pixels) are the pixels that count."""
        if judged is not None:
            estimated_ids, true_ids = np.where(judged, estimated_ids, 0), np.where(judged, true_ids, 0)
        estimated, true = estimated_ids > 0, true_ids > 0
        self.frames += 1
        self.both += int((estimated & true).sum())
        self.estimated_only += int((estimated & ~true).sum())
        self.true_only += int((true & ~estimated).sum())
        for true_id, size in zip(*np.unique(true_ids[true], return_counts=True), strict=True):
            if size >= MIN_OBJECT_PX:
                self._follow(int(true_id), estimated_ids[true_ids == true_id])

    def _follow(self, true_id: int, found_ids: Integer[np.ndarray, " pixels"]) -> None:
        """Found where one estimated id covers at least half of the object; a switch where that id is not the last one."""
        self.seen += 1
        self.true_ids.add(true_id)
        ids, counts = np.unique(found_ids, return_counts=True)
        best = int(ids[counts.argmax()])
        if best == 0 or counts.max() * 2 < len(found_ids):
            return
        self.found += 1
        self.switches += self.last_id.get(true_id, best) != best
        self.last_id[true_id] = best

    def metrics(self) -> tuple[Metric, ...]:
        """Values that no pixel or object decides are left out."""
        union = self.both + self.estimated_only + self.true_only
        pooled = f"moving or not, pixels pooled over {self.frames} frames"
        found = f"of {self.seen} appearances of true objects of {MIN_OBJECT_PX} px or more, one id covers at least half"
        switches = f"changes of the covering id between frames where an object is found; {len(self.true_ids)} objects"
        return (
            *share("moving mask IoU", self.both, union, pooled, ""),
            *share("moving mask precision", self.both, self.both + self.estimated_only, pooled, ""),
            *share("moving mask recall", self.both, self.both + self.true_only, pooled, ""),
            *share("moving objects found", self.found, self.seen, found),
            *share("id switches per object", self.switches, len(self.true_ids), switches, ""),
        )
