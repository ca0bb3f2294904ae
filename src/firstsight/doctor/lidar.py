"""Is the LiDAR whole, and do its edges fall on the edges of the images?

Where the range jumps, images have edges. The correlation of range jumps with image edges peaks at the right calibration; here
it is computed for the given one and for others that scale and shift the projection (another focal length, another principal
point or a turned sensor), over all sampled sweeps.

Source: Levinson and Thrun, Automatic Online Calibration of Cameras and Lasers (RSS 2013), sections III and IV; differs by the
correlation coefficient in place of the product sum, which does not reward sliding into a part of the image rich in edges.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple, no_type_check

import cv2
import numpy as np
from jaxtyping import Float32, Float64
from numba import njit

from firstsight.doctor.samples import WIDTH_PX, Samples
from firstsight.doctor.tracking import Grey
from firstsight.recordings.opening import available_sensors
from firstsight.recordings.recording import Camera, Rig, Scan
from firstsight.run_folder import Finding

SWEEPS = "LiDAR sweeps"
ALIGNMENT = "LiDAR-camera alignment"
Values = Float64[np.ndarray, " points"]

FEW_POINTS = 500  # of a sweep; too sparse for a map of anything but walls
MANY_MISSING = 0.1
NEAREST_M = 1.0  # nearer returns come from the vehicle
NEIGHBOURS, NEIGHBOUR_PX = 8, 12.0  # where to look for a jump, at WIDTH_PX
MAX_JUMP = 0.5  # relative range jump that counts fully
EDGE_BLUR_PX = 2.0  # at WIDTH_PX: how far an edge attracts
MAX_POINTS = 4000  # of a sweep
SCALES = (0.5, 0.6, 0.7, 0.77, 0.84, 0.92, 1.0, 1.09, 1.19, 1.3, 1.43, 1.7, 2.0)
SHIFTS_X = tuple(np.linspace(-0.2, 0.2, 21))  # of the width
SHIFTS_Y = tuple(np.linspace(-0.1, 0.1, 11))
FINE = (0.9, 0.95, 0.975, 1.0, 1.025, 1.05, 1.1)
FINE_SHIFTS = (-0.02, -0.01, -0.005, 0.0, 0.005, 0.01, 0.02)
BETTER = 1.4  # times the correlation; the best placement near a right calibration reaches 1.2
CERTAIN = 3.0  # standard errors; the best of 3,000 placements by chance gains 2
MIN_CORRELATION = 0.08  # chance makes 0.05
OFF_SCALE, OFF_SHIFT = 0.1, 0.03  # wrong; half of it is worth a note


class Placement(NamedTuple):
    """How the projection is changed: scaled about the principal point, then shifted by shares of the width."""

    scale_x: float = 1.0
    scale_y: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    @property
    def off(self) -> float:
        """How wrong the given calibration is if this one is right, 1 = wrong."""
        scale = max(abs(self.scale_x - 1), abs(self.scale_y - 1)) / OFF_SCALE
        return max(scale, abs(self.shift_x) / OFF_SHIFT, abs(self.shift_y) / OFF_SHIFT)


class ProjectedSweep(NamedTuple):
    """A sweep in an image: where its points fall (px at WIDTH_PX, also outside), their range jumps, the image's edges."""

    points: Float64[np.ndarray, "points 2"]
    jumps: Values
    edges: Float32[np.ndarray, "height width"]


def sweeps(samples: Samples) -> Finding:
    """Points, range and missing sweeps."""
    scans = list(samples.scans.values())
    missing = 1 - len(scans) / samples.asked_scans
    if not scans:
        return Finding(
            check=SWEEPS,
            verdict="unfit",
            measured="no sweep can be read",
            advice=samples.why_unreadable("scan") or without_lidar(samples),
        )
    points = float(np.median([len(scan.points) for scan in scans]))
    measured, broken = range_text(scans)
    measured = f"{points:.0f} points, {measured}, {missing:.0%} of sweeps missing"
    advice = ""
    if points < FEW_POINTS:
        advice = "sparse sweeps: depth from them is coarse"
    elif missing > MANY_MISSING:
        advice = "frames without a sweep have no depth"
    elif broken > MANY_MISSING:
        advice = "many points are not finite: check the driver"
    return Finding(check=SWEEPS, verdict="note" if advice else "ok", measured=measured, advice=advice)


def without_lidar(samples: Samples) -> str:
    """How to leave the LiDAR out and nothing else."""
    others = " ".join(name for name in available_sensors(samples.recording) if name != "lidar")
    return f"leave the LiDAR out: --sensors {others}" if others else "record the LiDAR again: there is no other sensor"


def range_text(scans: list[Scan]) -> tuple[str, float]:
    """Typical and longest range in words, and the share of points that are not finite."""
    points = np.concatenate([scan.points for scan in scans])
    finite = np.isfinite(points).all(1)
    ranges = np.linalg.norm(points[finite], axis=1)
    if len(ranges) == 0:
        return "no finite range", 1.0
    middle, far = np.percentile(ranges, [50, 99])
    return f"half of them within {middle:.1f} m, 99 % within {far:.1f} m", float(1 - finite.mean())


def alignment(samples: Samples) -> Finding:
    """Whether another projection of the sweeps fits the images clearly better than the given one."""
    rig = samples.recording.rig
    frames = [frame for frame in samples.scans if frame in samples.images]
    views = [projected_sweep(samples.scans[f], rig, samples.camera, samples.images[f].grey) for f in frames]
    views = [view for view in views if (view.jumps > 0).sum() > FEW_POINTS / 10]
    if not views:
        return Finding(
            check=ALIGNMENT, verdict="note", measured="no sweep falls into the image", advice="check extrinsics"
        )
    centre = small_intrinsics(samples.camera)[:2, 2]
    best = best_placement(views, centre)
    each = correlations(views, centre, [Placement(), best])
    given, best_value = each.mean(0).tolist()
    measured = f"correlation of range jumps with image edges {given:.2f}"
    if best_value < MIN_CORRELATION:
        return Finding(check=ALIGNMENT, verdict="ok", measured=f"{measured}: too little structure to tell")
    if best.off < 0.5 or best_value < BETTER * max(given, 0.0) or not is_certain(each[:, 1] - each[:, 0]):
        return Finding(check=ALIGNMENT, verdict="ok", measured=f"{measured}, best nearby {best_value:.2f}")
    return Finding(
        check=ALIGNMENT,
        verdict="unfit" if best.off >= 1 else "note",
        measured=f"{measured}, but {best_value:.2f} with {placement_text(best, samples.camera)}",
        advice=f"wrong intrinsics or extrinsics: check the calibration files, or {without_lidar(samples)}",
    )


def is_certain(gains: Float64[np.ndarray, " views"]) -> bool:
    """Whether the views agree that there is a gain: its mean is CERTAIN of its own standard errors above zero."""
    return bool(gains.mean() > CERTAIN * gains.std() / np.sqrt(len(gains)))


def placement_text(best: Placement, camera: Camera) -> str:
    """The better calibration in words: a scale is a focal length, a shift a principal point or a turned sensor."""
    fx, fy = camera.intrinsics[0, 0], camera.intrinsics[1, 1]
    width = camera.size[1]
    parts = []
    if max(abs(best.scale_x - 1), abs(best.scale_y - 1)) > OFF_SCALE / 2:
        parts.append(f"focal length ({fx * best.scale_x:.0f}, {fy * best.scale_y:.0f}) for ({fx:.0f}, {fy:.0f}) px")
    if max(abs(best.shift_x), abs(best.shift_y)) > OFF_SHIFT / 2:
        angle_deg = np.degrees(np.arctan(np.hypot(best.shift_x, best.shift_y) * width / fx))
        shift = f"({best.shift_x * width:+.0f}, {best.shift_y * width:+.0f}) px"
        parts.append(f"principal point moved by {shift} or the LiDAR turned by {angle_deg:.1f} deg")
    return " and ".join(parts)


def small_intrinsics(camera: Camera) -> Float64[np.ndarray, "3 3"]:
    """Intrinsics of the image at WIDTH_PX (or its own width if smaller)."""
    scale = min(WIDTH_PX / camera.size[1], 1.0)
    change = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2], [0, 0, 1]])
    return change @ camera.intrinsics


def projected_sweep(scan: Scan, rig: Rig, camera: Camera, grey: Grey) -> ProjectedSweep:
    """The sweep projected with the given calibration, kept as far outside the image as a placement may bring it inside."""
    assert rig.lidar is not None, "a sweep without a LiDAR"
    camera_from_lidar = np.linalg.inv(camera.body_from_camera) @ rig.lidar.body_from_lidar
    points = scan.points[np.isfinite(scan.points).all(1)].astype(np.float64)
    points = points @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
    points = points[points[:, 2] > NEAREST_M]
    intrinsics = small_intrinsics(camera)
    pixels = points[:, :2] / points[:, 2:] * intrinsics.diagonal()[:2] + intrinsics[:2, 2]
    height, width = grey.shape
    near = (np.abs(pixels - (width / 2, height / 2)) < (width, height)).all(1)
    pixels, z = pixels[near], points[near, 2]
    jumps = range_jumps(pixels, z)
    rows = slice(None, None, max(len(z) // MAX_POINTS, 1))
    return ProjectedSweep(pixels[rows], jumps[rows], image_edges(grey))


def range_jumps(pixels: Float64[np.ndarray, "points 2"], z: Values) -> Values:
    """How much further the background beside each point is, relative to its own depth, in [0, 1]."""
    from scipy.spatial import KDTree

    if len(z) <= NEIGHBOURS:
        return np.zeros(len(z))
    _, neighbours = KDTree(pixels).query(pixels, k=NEIGHBOURS + 1, distance_upper_bound=NEIGHBOUR_PX)
    background = np.append(z, -np.inf)[neighbours].max(1)  # a neighbour that is missing has index len(z)
    return np.clip((background - z) / z, 0, MAX_JUMP) / MAX_JUMP


def image_edges(grey: Grey) -> Float32[np.ndarray, "height width"]:
    """Gradient magnitude, the strongest clipped, spread a little so that near misses count."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0).astype(np.float32)
    strength = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    strength = np.minimum(strength / max(float(np.percentile(strength, 95)), 1e-6), 1.0)
    return cv2.GaussianBlur(strength.astype(np.float32), (0, 0), EDGE_BLUR_PX)


def correlations(
    views: Sequence[ProjectedSweep], centre: Float64[np.ndarray, "2"], placements: Sequence[Placement]
) -> Float64[np.ndarray, "views placements"]:
    """The correlation coefficient of range jumps with image edges in each view with each placement."""
    table = np.array(placements, np.float64)
    return np.stack([coefficients(points, jumps, edges, centre, table) for points, jumps, edges in views])


@njit(cache=True)
@no_type_check
def coefficients(points, jumps, edges, centre, placements):
    """Pearson's coefficient of jumps (points) with the edges under the placed points (points, 2), for (placements, 4).

    0 where too few points fall into the image or where jumps or edges do not vary.
    """
    height, width = edges.shape
    found = np.zeros(len(placements))
    for k in range(len(placements)):
        scale_x, scale_y, shift_x, shift_y = placements[k]
        count, a, b = 0, 0.0, 0.0
        aa, ab, bb = 0.0, 0.0, 0.0
        for i in range(len(points)):
            x = int(np.rint(centre[0] + (points[i, 0] - centre[0]) * scale_x + shift_x * width))
            y = int(np.rint(centre[1] + (points[i, 1] - centre[1]) * scale_y + shift_y * width))
            if 0 <= x < width and 0 <= y < height:
                jump, edge = jumps[i], edges[y, x]
                count += 1
                a, b = a + jump, b + edge
                aa, ab, bb = aa + jump * jump, ab + jump * edge, bb + edge * edge
        spread = (count * aa - a * a) * (count * bb - b * b)
        if count >= FEW_POINTS and spread > 0:
            found[k] = (count * ab - a * b) / np.sqrt(spread)
    return found


def best_placement(views: Sequence[ProjectedSweep], centre: Float64[np.ndarray, "2"]) -> Placement:
    """The placement of highest correlation: a coarse grid on some of the points, then each of its numbers by itself."""
    some = [ProjectedSweep(points[::2], jumps[::2], edges) for points, jumps, edges in views]
    grid = [Placement(s, s, x, y) for s, x, y in product(SCALES, SHIFTS_X, SHIFTS_Y)]
    best = grid[int(np.argmax(correlations(some, centre, grid).mean(0)))]
    for _ in range(3):
        for part, steps in zip(Placement._fields, (FINE, FINE, FINE_SHIFTS, FINE_SHIFTS), strict=True):
            now = getattr(best, part)
            tried = [best._replace(**{part: now * step if part.startswith("scale") else now + step}) for step in steps]
            best = tried[int(np.argmax(correlations(views, centre, tried).mean(0)))]
    return best
