"""The surfaces that things stand on: floors, roads, tables.

Paper:  Labayrade, Aubert, Tarel. Real Time Obstacle Detection in Stereovision on Non Flat Road Geometry through "V-disparity"
        Representation. IV 2002 (a road is a line in inverse depth over the image's rows); Torr, Zisserman. MLESAC. 2000
        (section 4: a hypothesis scores by how well, not only whether, a point fits).
Idea:   the plane n . X = 1 shows the inverse depth rho = (a, b, c) . (x, y, 1) with n = K^T (a, b, c); things stand on it where
        n points down the image, n_y > LEVEL |n|                                                               -> level()
        Hypotheses through three neighbouring pixels, the best refined by reweighted least squares             -> fit()
        A surface counts if it holds at least `share` of the pixels; what it leaves may hold a second one      -> on_support()
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64

SAMPLES = 4000
HYPOTHESES = 200
REFINEMENTS = 5
SURFACES = 2
LEVEL = 0.8  # cosine of the angle between a surface's normal and the camera's y axis

Grid = Float64[np.ndarray, "rows columns"]


def level(planes: Float64[np.ndarray, "n 3"], intrinsics: Float64[np.ndarray, "3 3"]) -> Bool[np.ndarray, " n"]:
    """Which planes (a, b, c) the camera looks at from above."""
    normals = planes @ intrinsics
    return normals[:, 1] > LEVEL * np.linalg.norm(normals, axis=1)


def fit(
    pixels: Float64[np.ndarray, "rows columns 3"],
    rho: Grid,
    free: Bool[np.ndarray, "rows columns"],
    tolerance: Grid,
    intrinsics: Float64[np.ndarray, "3 3"],
    generator: np.random.Generator,
) -> Float64[np.ndarray, "3"] | None:
    """(a, b, c) of the best surface through the free pixels (x, y, 1) of a grid; None where none is level."""
    rows, columns = rho.shape
    ys, xs = np.nonzero(free)
    chosen = generator.integers(0, len(ys), HYPOTHESES)
    away = generator.integers(-columns // 6, columns // 6 + 1, (2, HYPOTHESES, 2))
    y = np.column_stack([ys[chosen], (ys[chosen, None] + away[0]).clip(0, rows - 1)])
    x = np.column_stack([xs[chosen], (xs[chosen, None] + away[1]).clip(0, columns - 1)])
    usable = free[y, x].all(1) & (np.abs(np.linalg.det(pixels[y, x])) > 1)
    planes = np.linalg.solve(pixels[y, x][usable], rho[y, x][usable][..., None])[..., 0]
    planes = planes[level(planes, intrinsics)]
    if not len(planes):
        return None
    points, values, scale = pixels[free], rho[free], tolerance[free]
    misses = (points @ planes.T - values[:, None]) / scale[:, None]
    plane = planes[np.maximum(0, 1 - misses**2).sum(0).argmax()]
    for _ in range(REFINEMENTS):
        weights = np.maximum(0, 1 - ((points @ plane - values) / (1.5 * scale)) ** 2) / scale
        plane = np.linalg.lstsq(points * weights[:, None], values * weights, rcond=None)[0]
    return plane if level(plane[None], intrinsics)[0] else None


def on_support(
    inverse_depth: Float32[np.ndarray, "height width"],
    static: Bool[np.ndarray, "height width"],
    tolerance: Float32[np.ndarray, "height width"],
    intrinsics: Float64[np.ndarray, "3 3"],
    share: float,
) -> Bool[np.ndarray, "height width"]:
    """Pixels within `tolerance` of a surface that holds at least `share` of the `static` pixels, which alone vote."""
    height, width = inverse_depth.shape
    stride = max(1, int(np.sqrt(height * width / SAMPLES)))
    coarse = (slice(None, None, stride),) * 2
    y, x = np.mgrid[:height, :width].astype(np.float32)
    pixels = np.stack([x[coarse], y[coarse], np.ones_like(x[coarse])], -1).astype(np.float64)
    rho, free, scale = (
        inverse_depth[coarse].astype(np.float64),
        static[coarse].copy(),
        tolerance[coarse].astype(np.float64),
    )
    needed = max(share * free.sum(), 50)
    generator = np.random.default_rng(0)
    on = np.zeros((height, width), bool)
    for _ in range(SURFACES):
        plane = fit(pixels, rho, free, scale, intrinsics, generator) if free.sum() > needed else None
        if plane is None:
            break
        held = np.abs(pixels @ plane - rho) < scale
        if (held & free).sum() < needed:
            break
        free &= ~held
        a, b, c = plane.astype(np.float32)
        on |= np.abs(a * x + b * y + c - inverse_depth) < tolerance
    return cv2.medianBlur(on.astype(np.uint8), 5) > 0  # single pixels are chance
