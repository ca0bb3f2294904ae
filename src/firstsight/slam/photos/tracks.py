"""Tracks: the features of many photos that show one point, from matches of two photos each.

Paper:  Snavely, Seitz, Szeliski. Photo Tourism. SIGGRAPH 2006, section 4.1;
        Moulon, Monasse. Unordered feature tracking made fast and easy. CVMP 2012 (union-find).
Idea:   features are nodes, matches edges, and a track is a connected set of nodes                    -> joined_tracks()
        a point is at one place in a photo: a set with two features of one photo holds a false match.
Differs: Photo Tourism drops such sets whole. Here a match that would bring two features of one photo together is refused,
        and matches of pairs that agree on many come first, so that a false match costs itself and not the track.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from firstsight.slam.photos.pairs import Pair


class Tracks(NamedTuple):
    """Feature `feature[i]` of photo `photo[i]` shows point `track[i]`. Ordered by track, then photo, and by size: track 0 is longest.

    `refused` counts the matches that would have made a track see one photo twice.
    """

    photo: Int64[np.ndarray, " seen"]
    feature: Int64[np.ndarray, " seen"]
    track: Int64[np.ndarray, " seen"]
    refused: int

    @property
    def points(self) -> int:
        """How many points the tracks show."""
        return int(self.track[-1]) + 1 if len(self.track) else 0


def joined_tracks(pairs: Sequence[Pair], features: Sequence[int]) -> Tracks:
    """Tracks of two features and more; `features` is how many each photo has."""
    first = np.concatenate([[0], np.cumsum(features)]).astype(np.int64)
    photo_of = np.repeat(np.arange(len(features)), features)
    parent, photos, refused = list(range(int(first[-1]))), [1 << int(p) for p in photo_of], 0
    for pair in sorted(pairs, key=lambda pair: -len(pair.rows)):
        for one, other in (pair.rows + first[[pair.a, pair.b]]).tolist():
            root, joined = _root(parent, one), _root(parent, other)
            if root == joined:
                continue
            if photos[root] & photos[joined]:
                refused += 1
                continue
            parent[joined] = root
            photos[root] |= photos[joined]
    root_of = np.array([_root(parent, node) for node in range(len(parent))], np.int64)
    return _numbered(root_of, photo_of, first, refused)


def _root(parent: list[int], node: int) -> int:
    """The representative of a node's set; the way there is halved for the next time."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def _numbered(
    root_of: Int64[np.ndarray, " nodes"],
    photo_of: Int64[np.ndarray, " nodes"],
    first: Int64[np.ndarray, " n"],
    refused: int,
) -> Tracks:
    sizes = np.bincount(root_of, minlength=len(root_of))
    nodes = np.flatnonzero(sizes[root_of] > 1)
    roots = np.flatnonzero(sizes > 1)
    number = np.zeros(len(root_of), np.int64)
    number[roots[np.argsort(-sizes[roots], kind="stable")]] = np.arange(len(roots))
    track, photo = number[root_of[nodes]], photo_of[nodes]
    order = np.lexsort((photo, track))
    return Tracks(photo[order], (nodes - first[photo])[order], track[order], refused)
