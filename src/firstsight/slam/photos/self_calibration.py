"""The focal length of a lens that nothing is known of, from pairs of its photos.

Paper:  Mendonca, Cipolla. A simple technique for self-calibration. CVPR 1999.
Idea:   the f for which K' F K has two equal singular values, as an E has, over all pairs -> focal_from_pairs()
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from firstsight.slam.photos.lenses import LensGroups, centred_intrinsics
from firstsight.slam.photos.pairs import Pair

# focal lengths that are tried, in longer sides
FOCALS = np.geomspace(0.4, 3.0, 80)
# share by which singular values may differ before it counts little whether by more
UNLIKE = 0.05
# of the highest cost, which the lowest must stay below; else the pairs cannot tell the focal length
TELLING = 0.8


def calibrated(groups: LensGroups, pairs: Sequence[Pair]) -> LensGroups:
    """The groups, with a guess from the pairs for every focal length that was assumed."""
    intrinsics = groups.lenses.intrinsics.copy()
    for lens in np.flatnonzero(groups.assumed):
        of_lens = [pair for pair in pairs if (groups.lens[[pair.a, pair.b]] == lens).all()]
        focal_px = focal_from_pairs(of_lens, groups.lenses.size[lens])
        if focal_px is not None:
            intrinsics[lens] = centred_intrinsics(focal_px, groups.lenses.size[lens])
    return groups._replace(lenses=groups.lenses._replace(intrinsics=intrinsics))


def focal_from_pairs(pairs: Sequence[Pair], size: Int64[np.ndarray, "2"]) -> float | None:
    """The focal length that most pairs of one lens agree on, in pixels; None where they cannot tell.

    Of E(f) = diag(f, f, 1) F diag(f, f, 1), with F about the middle of the photo, (s1 - s2) / (s1 + s2) is 0 at the true f.
    Source: Mendonca, Cipolla. A simple technique for self-calibration. CVPR 1999.
    """
    telling = [pair for pair in pairs if pair.general and pair.fundamental.any()]
    if not telling:
        return None
    matrices = np.array([pair.fundamental for pair in telling])
    middle = centred_intrinsics(1.0, size)
    about_middle = middle.T @ matrices @ middle
    tried = np.zeros((len(FOCALS), 3, 3))
    tried[:, 0, 0] = tried[:, 1, 1] = FOCALS * size.max()
    tried[:, 2, 2] = 1.0
    singular = np.linalg.svd(tried @ about_middle[:, None] @ tried, compute_uv=False)
    unlike = (singular[..., 0] - singular[..., 1]) / (singular[..., 0] + singular[..., 1])
    weight = np.array([len(pair.rows) for pair in telling])
    total = np.average(np.log1p((unlike / UNLIKE) ** 2), axis=0, weights=weight)
    best = int(total.argmin())
    if best in (0, len(FOCALS) - 1) or total[best] > TELLING * total.max():
        return None
    return float(FOCALS[best] * size.max())
