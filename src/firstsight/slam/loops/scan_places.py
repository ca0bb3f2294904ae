"""Which scans show one place: proposed by their descriptors, checked by registration of what lies around them.

Paper:  Kim, Kim. Scan Context. IROS 2018 (which places are alike);
        Behley, Stachniss. Efficient Surfel-Based SLAM using 3D Laser Range Data in Urban Environments. RSS 2018
        (loops verified by registration to a map).
Idea:   places that look alike, also from aside, the path having led away in between
                                                            -> proposed(), scan_context.py, place_recognition.py
        alike is not the same: the scans about one place must lie on those about the other, from the turn that the
        descriptor gives, walls on walls, both ways with one motion                 -> verified(), scan_registration.py
Differs: descriptors are of the scans about a place, not of one: what is seen from the other lane differs too much. They
        see as far as a multiple of how far away things are, so that rooms and streets need no settings.
Units:  metres, radians; the LiDAR's z axis points up.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

from firstsight.geometry.points import Points
from firstsight.slam.loops import place_recognition, scan_context, scan_registration
from firstsight.slam.loops.loop_graph import Loop, is_near
from firstsight.slam.loops.scan_registration import Registration, Surfaces
from firstsight.slam.loops.scan_views import Scans, around
from firstsight.slam.loops.travelled import Distances, Transform

# that descriptors see, times how far away things are
DESCRIBED_RANGE = 3.0
# to the left, times how far away things are: from where places are looked for, for the way back may lie beside the way there
LATERAL_OFFSETS = (-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3)
# earlier scans with the most similar ring keys, whose descriptors are compared
COMPARED = 40
# of a descriptor: how far off its centre, times how far away things are, and radians
GUESS_SIGMA = (0.2, 0.1)
# share of the points that lie below what is taken for the floor
FLOOR_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class AgreementConfig:
    # of upright points, both ways
    overlap: float = 0.55
    # spacings, at most
    residual: float = 0.15
    # of the weakest direction, at least
    hold: float = 0.03
    # of both ways: lengths over how far away things are, radians
    agreement: float = 0.01


class Proposed(NamedTuple):
    """Pairs (a, b), a < b, of scans that look alike, and a_from_b by their descriptors."""

    pairs: Int64[np.ndarray, "n 2"]
    a_from_b: Float64[np.ndarray, "n 4 4"]


class Alike(NamedTuple):
    """How alike each scan b is to the earlier scans a, and a_from_b where they were compared."""

    similarity: Float32[np.ndarray, "scans scans"]
    a_from_b: dict[tuple[int, int], Transform]


def proposed(scans: Scans, path: Distances, config: place_recognition.Config) -> Proposed:
    """Scans of places that look alike, also as they would be seen from aside."""
    alike = compared(scans, path, config.min_path_between)
    pairs = place_recognition.candidates(alike.similarity, path, config)
    return Proposed(pairs, np.array([alike.a_from_b[a, b] for a, b in pairs.tolist()]).reshape(-1, 4, 4))


def compared(scans: Scans, path: Distances, min_path_between: float) -> Alike:
    """Each scan, as seen from several places aside, with the most similar earlier ones and the one before it."""
    seen, offsets_m, sectors = descriptors(scans)
    straight = seen[:, int(np.abs(offsets_m).argmin())]
    keys, count = scan_context.ring_keys(straight), len(scans.views)
    alike = Alike(np.zeros((count, count), np.float32), {})
    for b in range(1, count):
        earlier = np.flatnonzero(path[b] - path[:b] >= min_path_between)
        for context, key, left_m in zip(seen[b], scan_context.ring_keys(seen[b]), offsets_m, strict=True):
            nearest = np.argsort(np.linalg.norm(keys[earlier] - key, axis=1), kind="stable")[:COMPARED]
            rows = np.append(earlier[nearest], b - 1)
            found = scan_context.aligned(straight[rows], context)
            better = found.similarity > alike.similarity[b, rows]
            alike.similarity[b, rows[better]] = found.similarity[better]
            for a, shift in zip(rows[better], found.shift[better], strict=True):
                turn = rotation(scan_context.yaw_rad(int(shift), sectors))
                alike.a_from_b[int(a), b] = turn @ shift_left(-left_m)
    return alike


def descriptors(
    scans: Scans,
) -> tuple[Float64[np.ndarray, "scans offsets rings sectors"], Float64[np.ndarray, " offsets"], int]:
    """What each place looks like from so far (m) to its left, and the number of sectors."""
    settings = scan_context.Config(max_range_m=DESCRIBED_RANGE * scans.unit_m)
    floor_m = float(np.median([np.quantile(view.points[:, 2], FLOOR_SHARE) for view in scans.views]))
    offsets_m = np.array(LATERAL_OFFSETS) * scans.unit_m
    places = [around(scans, k) for k in range(len(scans.views))]
    seen = np.array([described(points, offsets_m, floor_m, settings) for points in places])
    return seen, offsets_m, settings.sectors


def described(
    points: Points, offsets_m: Float64[np.ndarray, " offsets"], floor_m: float, settings: scan_context.Config
) -> Float64[np.ndarray, "offsets rings sectors"]:
    """Descriptors as seen from so far to the left of the sensor."""
    return np.array([scan_context.described(points - [0.0, y, 0.0], floor_m, settings) for y in offsets_m])


def guess(a: int, b: int, a_from_b: Transform, unit_m: float) -> Loop:
    """What descriptors say of a loop: the turn, and about where."""
    along, about = GUESS_SIGMA
    information = np.diag(np.repeat([1 / (along * unit_m) ** 2, 1 / about**2], 3))
    return Loop(a, b, a_from_b, information)


def verified(
    maps: tuple[Surfaces, Surfaces],
    start: Loop,
    unit_m: float,
    registration: scan_registration.Config,
    config: AgreementConfig,
) -> Loop | None:
    """The loop that both maps agree on, from a guess to start with; None where they do not."""
    forth = scan_registration.registered(maps[1], maps[0], start.a_from_b, registration)
    if forth is None or not agrees(forth, maps[0], config):
        return None
    back = scan_registration.registered(maps[0], maps[1], np.linalg.inv(forth.target_from_source), registration)
    if back is None or not agrees(back, maps[1], config):
        return None
    if not is_near(forth.target_from_source @ back.target_from_source, unit_m, config.agreement):
        return None
    return start._replace(a_from_b=forth.target_from_source, information=forth.information)


def agrees(registration: Registration, target: Surfaces, config: AgreementConfig) -> bool:
    """Whether one cloud lies on the other, held in every direction."""
    return (
        registration.overlap >= config.overlap
        and registration.residual_m <= config.residual * target.spacing_m
        and registration.hold >= config.hold
    )


def rotation(yaw_rad: float) -> Transform:
    """The motion that turns left about the upright axis."""
    pose = np.eye(4)
    pose[0, 0] = pose[1, 1] = np.cos(yaw_rad)
    pose[1, 0] = np.sin(yaw_rad)
    pose[0, 1] = -pose[1, 0]
    return pose


def shift_left(left_m: float) -> Transform:
    """The motion to the left."""
    pose = np.eye(4)
    pose[1, 3] = left_m
    return pose
