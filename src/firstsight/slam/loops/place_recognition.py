"""Place recognition: which places of a recording look as if they had been passed before.

Paper:  Jegou, Douze, Schmid, Perez. Aggregating local descriptors into a compact image representation. CVPR 2010 (VLAD);
        Galvez-Lopez, Tardos. Bags of Binary Words for Fast Place Recognition. T-RO 28(5), 2012 (the normalised score).
Idea:   an image's summary is made of the differences of its features from the words of a vocabulary that is learned
        on the recording itself                                          -> photos/pairs.photo_summaries()
        similar: score s(a, b) over what the place before, seen a moment ago, scores: s(b, b - 1)  -> candidates()
        passed before: since a the path led away, by `min_path_between`       -> travelled.path_length()
Differs: of neighbouring candidates only the best is kept, in place of DBoW's islands and consistency over time: geometry
        judges next. A recording is looked through when it has ended, so that the vocabulary has seen all of it.
Role:   proposes; whether a place is the same is for loop_verification.py or scan_places.py to verify.
Units:  metres, or the unit of the poses; radians.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

NO_SCORE = -np.inf


@dataclass(frozen=True, kw_only=True)
class Config:
    # of the vocabulary
    words: int = 64
    # candidates for each place
    per_place: int = 6
    # how long the path must be in between: lengths over the distance of what is seen, plus radians
    min_path_between: float = 2.0
    min_similarity: float = 0.05
    # of the similarity to the place before
    min_share: float = 0.2
    # places next to a better candidate are none
    island: int = 2


def candidates(
    similarity: Float[np.ndarray, "places places"], path: Float64[np.ndarray, " places"], config: Config
) -> Int64[np.ndarray, "found 2"]:
    """Pairs (a, b), a < b, of places that look alike with a path of `min_path_between` in between, by b, the most similar first."""
    found: list[tuple[int, int]] = []
    for b in range(1, len(similarity)):
        score = np.where(path[b] - path[:b] >= config.min_path_between, similarity[b, :b], NO_SCORE).astype(float)
        minimum = max(config.min_similarity, config.min_share * float(similarity[b, b - 1]))
        for _ in range(config.per_place):
            a = int(score.argmax())
            if score[a] < minimum:
                break
            found.append((a, b))
            score[max(0, a - config.island) : a + config.island + 1] = NO_SCORE
    return np.array(found, np.int64).reshape(-1, 2)
