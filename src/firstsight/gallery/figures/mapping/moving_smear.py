"""What averaging makes of things that move: a smear, in images and in maps, and the same maps without them.

Shows:  the smear that moving things leave in mean images, occupancy grids and meshes, and the maps without it
Slide:  Common Drawbacks (dynamic objects: averaging across multiple scans)
Reads:  a camera that stands still: the mean of its images keeps a veil of who walked by, too thin for the eye, so its
        difference from the same room without people is drawn beside it; leaving moving pixels out takes it away.
        A camera that walks through the flat: red is what the maps hold where the same flat without people has nothing. The
        mean of surfaces alone keeps all of it; rays through empty space take back what is looked at again, and what is not
        stays; left out, it never gets in. The meshes are seen from above, cut below the ceiling, in grey but for ghosts.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from firstsight.formats.mesh import Mesh
from firstsight.gallery.drawing import Drawing, canvas, show_image
from firstsight.gallery.figures.mapping.fused_maps import (
    ALL,
    KEPT,
    LEFT_OUT,
    STATIC,
    Maps,
    Walk,
    area_m2,
    ghost_cells,
    ghost_faces,
    maps_of,
    walk_through,
)
from firstsight.gallery.figures.mapping.shaded_mesh import draw_mesh
from firstsight.geometry.camera import field_of_view_intrinsics
from firstsight.mapping.occupancy import OccupancyMap
from firstsight.mapping.tsdf import Config
from firstsight.recordings.recording import Camera, Image, Recording
from firstsight.recordings.simulated.scene import World
from firstsight.run_folder import Metric

WALKED, STEP = 200, 4  # frames; every STEP-th is mapped: with fewer, nothing that moves is seen twice in a place
STOOD, STOOD_STEP = 48, 2
CONFIG = Config(voxel_size_m=0.05)
BAND_ONLY = "moving objects kept, empty space not averaged"
CUT_M, EYE_M, FIELD_RAD = 1.9, (-0.5, -6.0, 9.5), 0.85  # what hides the flat from a camera above it is cut off
GHOST, SURFACE = (222, 45, 38), (30, 30, 34)
SEEN_FREE, UNSEEN = (236, 236, 232), (190, 192, 196)
PATH_COLOUR = "#1f4e9e"
LEGEND = {
    GHOST: "ghost: there only because something moved",
    SURFACE: "occupied",
    SEEN_FREE: "seen to be free",
    UNSEEN: "never seen",
}
SMEAR_LEVELS = 20  # of 255: where the colours of the difference end

MeanImage = Float32[np.ndarray, "height width 3"]


class Experiment(NamedTuple):
    """A standing camera's image and their mean, how far the means are off (levels); a walk's maps and their ghosts."""

    image: Image
    mean: MeanImage
    smears: dict[str, Float32[np.ndarray, "height width"]]
    walk: Walk
    maps: dict[str, Maps]
    cells: dict[str, Bool[np.ndarray, "rows columns"]]
    meshes: dict[str, Mesh]
    faces: dict[str, Bool[np.ndarray, " faces"]]


def experiment(scale: float = 1.0) -> Experiment:
    standing = walk_through("rooms", range(0, STOOD, STOOD_STEP), round(240 * scale), standing_still)
    mean, static_mean = mean_images(standing.with_moving, standing.frames)
    true, _ = mean_images(standing.static, standing.frames)
    smears = {name: np.abs(m - true).mean(2) for name, m in ((KEPT, mean), (LEFT_OUT, static_mean))}
    walk = walk_through("rooms", range(0, WALKED, STEP), round(240 * scale))
    config = replace(CONFIG, voxel_size_m=0.05 / scale**0.5)
    maps = {kind: maps_of(walk, kind, config) for kind in ALL}
    maps[BAND_ONLY] = maps_of(walk, KEPT, replace(config, carve=False))
    grid, meshes = maps[STATIC].grid.occupancy(), {kind: each.tsdf.mesh() for kind, each in maps.items()}
    cells = {kind: ghost_cells(maps[kind].grid.occupancy(), grid) for kind in (KEPT, LEFT_OUT)}
    size = maps[STATIC].tsdf.voxel_size_m
    faces = {kind: ghost_faces(meshes[kind], meshes[STATIC], size) for kind in (BAND_ONLY, KEPT, LEFT_OUT)}
    image = standing.with_moving.images["left"][STOOD // 2]
    return Experiment(image, mean, smears, walk, maps, cells, meshes, faces)


def standing_still(world: World) -> World:
    """The camera stays where the walk begins, while everyone else goes on."""
    return replace(world, world_from_body=lambda times: np.tile(world.world_from_body(np.zeros(1)), (len(times), 1, 1)))


def mean_images(recording: Recording, frames: range) -> tuple[MeanImage, MeanImage]:
    """Pixel by pixel over the frames, and over those in which the pixel shows nothing that moves (else over all)."""
    assert recording.truth.moving is not None
    images = np.stack([recording.images["left"][frame].astype(np.float32) for frame in frames])
    static = np.stack([recording.truth.moving[frame] == 0 for frame in frames])[..., None]
    mean, count = images.mean(0), static.sum(0)
    return mean, np.where(count > 0, (images * static).sum(0) / np.maximum(count, 1), mean).astype(np.float32)


def numbers(found: Experiment) -> tuple[Metric, ...]:
    frames = f"{len(found.walk.frames)} frames of sim:rooms, true depth, poses and masks"
    size = found.maps[KEPT].grid.cell_size_m
    cells = f"occupied cells of {size:g} m beyond one cell of the map of the flat without people; {frames}"
    voxel = found.maps[KEPT].tsdf.voxel_size_m
    area = f"triangles farther than 4 voxels of {voxel:.3g} m from the mesh of the flat without people; {frames}"
    still = f"mean of {STOOD // STOOD_STEP} images against that of the room without people, grey levels of 255"
    return (
        *(
            Metric(name=f"mean image, {kind}", value=float(found.smears[kind].mean()), unit="levels", protocol=still)
            for kind in (KEPT, LEFT_OUT)
        ),
        *(
            Metric(name=f"ghost cells, {kind}", value=float(found.cells[kind].sum()), unit="cells", protocol=cells)
            for kind in (KEPT, LEFT_OUT)
        ),
        *(
            Metric(
                name=f"ghost surface, {kind}",
                value=area_m2(found.meshes[kind], found.faces[kind]),
                unit="m2",
                protocol=area,
            )
            for kind in found.faces
        ),
    )


def moving_smear(scale: float = 1.0) -> Drawing:
    found = experiment(scale)
    measured = {metric.name: metric.value for metric in numbers(found)}
    figure = canvas(1500, "Averaging smears what moves")
    panels = figure.subplot_mosaic(
        [
            ["image"] * 3 + ["mean"] * 3 + [f"smear, {KEPT}"] * 3 + [f"smear, {LEFT_OUT}"] * 3,
            [f"grid, {KEPT}"] * 6 + [f"grid, {LEFT_OUT}"] * 6,
            [f"mesh, {BAND_ONLY}"] * 4 + [f"mesh, {KEPT}"] * 4 + [f"mesh, {LEFT_OUT}"] * 4,
        ],
        height_ratios=[1, 1.35, 1.1],
    )
    show_image(panels["image"], found.image, "a standing camera: one image")
    show_image(panels["mean"], found.mean.round().astype(np.uint8), f"mean of {STOOD // STOOD_STEP} images")
    draw_smears(figure, [panels[f"smear, {kind}"] for kind in found.smears], found)
    for kind in found.cells:
        draw_grid(panels[f"grid, {kind}"], found, kind)
        cells = measured[f"ghost cells, {kind}"]
        panels[f"grid, {kind}"].set_title(f"occupancy of a walk, {kind}: {cells:.0f} ghost cells")
    for kind in found.faces:
        area = f"{measured[f'ghost surface, {kind}']:.2f} m² of ghosts"
        show_image(panels[f"mesh, {kind}"], from_above(found.meshes[kind], found.faces[kind]), f"mesh, {kind}", area)
        panels[f"mesh, {kind}"].title.set_fontsize(10)
    figure.legend(handles=legend(), loc="outside lower center", ncols=5, frameon=False)
    return Drawing(figure, numbers(found))


def draw_smears(figure: Figure, axes: list[Axes], found: Experiment) -> None:
    """How far the mean images are from that of the room without people, in one scale that makes a thin veil visible."""
    for each, (kind, smear) in zip(axes, found.smears.items(), strict=True):
        show_image(each, smear, f"its error, {kind.removeprefix('moving ')}", f"{smear.mean():.2f} levels on average")
        each.images[0].set(cmap="inferno", clim=(0, SMEAR_LEVELS))
    figure.colorbar(axes[-1].images[0], ax=axes, label="difference (levels of 255)", shrink=0.8, extend="max")


def legend() -> list[Patch | Line2D]:
    """What the colours of the grids and, of ghosts, of the meshes mean."""
    patches = [Patch(fc=np.divide(colour, 255), ec="#707070", label=text) for colour, text in LEGEND.items()]
    return [*patches, Line2D([], [], color=PATH_COLOUR, label="path of the camera")]


def from_above(mesh: Mesh, ghosts: Bool[np.ndarray, " faces"]) -> Image:
    """The mesh in grey, without what is high up or turned away, its ghosts red and from both sides."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    low, high = np.percentile(mesh.vertices, [1, 99], axis=0)
    eye = (low + high) / 2 * [1, 1, 0] + EYE_M
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    shown = (corners[..., 2].max(1) < CUT_M) & (((normals * (eye - corners[:, 0])).sum(1) > 0) | ghosts)
    forward = -np.array(EYE_M) / np.linalg.norm(EYE_M)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.stack([right, np.cross(forward, right), forward], 1), eye
    size = (420, 520)
    intrinsics = field_of_view_intrinsics(*size, FIELD_RAD).numpy()
    camera = Camera(name="above", size=size, intrinsics=intrinsics, body_from_camera=np.eye(4))
    grey = mesh.colours.mean(1, keepdims=True).astype(mesh.colours.dtype).repeat(3, 1)
    return draw_mesh(mesh._replace(faces=mesh.faces[shown], colours=grey), camera, pose, ghosts[shown])


def draw_grid(axes: Axes, found: Experiment, kind: str) -> None:
    """The grid with its ghosts in red and the way of the camera."""
    grid, poses = found.maps[kind].grid.occupancy(), found.walk.with_moving.truth.world_from_camera
    assert poses is not None
    image = np.full((*grid.occupied.shape, 3), UNSEEN, np.uint8)
    for cells, colour in ((grid.free, SEEN_FREE), (grid.occupied, SURFACE), (found.cells[kind], GHOST)):
        image[cells] = colour
    axes.imshow(image, origin="lower", extent=extent_m(grid), interpolation="nearest")
    axes.plot(*poses[list(found.walk.frames), :2, 3].T, color=PATH_COLOUR, lw=1.5)
    axes.set(xlabel="x (m)", ylabel="y (m)", aspect="equal")


def extent_m(grid: OccupancyMap) -> tuple[float, float, float, float]:
    """(left, right, bottom, top) of the grid in the world."""
    rows, columns = grid.occupied.shape
    x, y = grid.origin_m
    return x, x + columns * grid.cell_size_m, y, y + rows * grid.cell_size_m
