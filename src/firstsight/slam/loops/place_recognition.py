"""Place recognition: which places of a recording look as if they had been passed before.

Paper:  Jegou, Douze, Schmid, Perez. Aggregating local descriptors into a compact image representation. CVPR 2010 (VLAD);
        Galvez-Lopez, Tardos. Bags of Binary Words for Fast Place Recognition. T-RO 28(5), 2012 (the normalised score).
Idea:   a picture's summary is made of the differences of its features from the words of a vocabulary that is learned
        on the recording itself                                          -> photo_matching.photo_summaries()
        similar: score s(a, b) over what the place before, seen a moment ago, scores: s(b, b - 1)  -> candidates()
        passed before: since a the way led away, by `left` in distances of what was seen and radians   -> way_of()
Differs: of neighbouring candidates only the best is kept, in place of DBoW's islands and consistency over time: geometry
        judges next. A recording is looked through when it has ended, so that the vocabulary has seen all of it.
Role:   proposes; whether a place is the same is for loop_closing.py to verify.
Units:  metres, or the unit of the poses; radians.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from firstsight.optimisation.tangents import spatial_log

NO_SCORE = -np.inf


@dataclass(frozen=True, kw_only=True)
class Config:
    words: int = 64  # of the vocabulary
    per_place: int = 6  # candidates
    left: float = (
        2.0  # how far the way must have led in between: lengths over the distance of what is seen, plus radians
    )
    least_similarity: float = 0.05
    least_share: float = 0.2  # of the similarity to the place before
    island: int = 2  # places next to a better candidate are none


def way_of(
    world_from_place: Float64[np.ndarray, "places 4 4"], distance: Float64[np.ndarray, " places"]
) -> Float64[np.ndarray, " places"]:
    """How far the way has led up to each place: lengths over the distance of what is seen there, plus radians turned."""
    steps = np.linalg.inv(world_from_place[:-1]) @ world_from_place[1:]
    tangent = np.zeros(6)
    turns = np.zeros(len(steps))
    for i, step in enumerate(steps):
        spatial_log(np.ascontiguousarray(step), tangent)
        turns[i] = np.linalg.norm(tangent[3:])
    lengths = np.linalg.norm(steps[:, :3, 3], axis=1) / np.maximum((distance[:-1] + distance[1:]) / 2, 1e-9)
    return np.concatenate([[0.0], np.cumsum(lengths + turns)])


def candidates(
    similarity: Float[np.ndarray, "places places"], way: Float64[np.ndarray, " places"], config: Config
) -> Int64[np.ndarray, "found 2"]:
    """Pairs (a, b), a < b, of places that look alike with a way of `left` in between, by b, the most similar first."""
    found: list[tuple[int, int]] = []
    for b in range(1, len(similarity)):
        score = np.where(way[b] - way[:b] >= config.left, similarity[b, :b], NO_SCORE).astype(float)
        least = max(config.least_similarity, config.least_share * float(similarity[b, b - 1]))
        for _ in range(config.per_place):
            a = int(score.argmax())
            if score[a] < least:
                break
            found.append((a, b))
            score[max(0, a - config.island) : a + config.island + 1] = NO_SCORE
    return np.array(found, np.int64).reshape(-1, 2)
