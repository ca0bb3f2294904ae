"""Problems for the benchmarks of solvers: scenes for bundle adjustment, walks of one camera, false loops. Not a benchmark itself."""

from typing import Literal

import numpy as np
import torch
from scipy.linalg import expm

from firstsight.gallery.worlds.street_walk import street_walk
from firstsight.geometry.se3 import se3_exp
from firstsight.optimisation.bundle_adjustment import residuals
from firstsight.roles.pose_graph import Between, PoseGraph, planar
from firstsight.roles.reconstruction import Lenses, Observations, Reconstruction
from firstsight.slam.pose_graphs import similarity_graph

SIMILARITY_SIGMAS = np.array([0.02, 0.02, 0.02, 0.005, 0.005, 0.005, 0.005])  # m, rad, log of scale, of each motion


def similarities(count: int, spread: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random ones, exp of tangents (translation, rotation, log of scale) of this spread."""
    xi = spread * rng.normal(size=(count, 7))
    generator = np.zeros((count, 4, 4))
    across = np.cross(xi[:, None, 3:6], np.eye(3)).transpose(0, 2, 1)
    generator[:, :3, :3] = across + xi[:, 6, None, None] * np.eye(3)
    generator[:, :3, 3] = xi[:, :3]
    return expm(generator)


def similarity_walk(keyframes: int, false: int, seed: int = 0) -> tuple[np.ndarray, Between, np.ndarray]:
    """The walk of one camera whose unit of length drifts: odometry's poses, motions (false loops last), true poses."""
    flat, rng = street_walk(keyframes, seed), np.random.default_rng(seed)
    true, (a, b) = np.tile(np.eye(4), (keyframes, 1, 1)), flat.between[:2]
    true[:, :2, :2], true[:, :2, 3] = flat.world_from_node[:, :2, :2], flat.world_from_node[:, :2, 2]
    unit = np.exp(np.cumsum(SIMILARITY_SIGMAS[6] * rng.normal(size=keyframes)))
    motions = np.linalg.inv(true[a]) @ true[b]
    motions[:, :3, 3] *= unit[a, None]
    motions[:, :3, :3] *= np.where(b == a + 1, 1.0, unit[a] / unit[b])[:, None, None]  # odometry does not see its drift
    noise = similarities(len(a), SIMILARITY_SIGMAS, rng)
    noise[b == a + 1] = similarity_graph.without_scale(noise[b == a + 1])
    motions = motions @ noise
    poses = [true[0]]
    for step in motions[b == a + 1]:
        poses.append(poses[-1] @ step)
    ends = np.sort([rng.choice(keyframes, 2, replace=False) for _ in range(false)]).reshape(-1, 2).astype(np.int64).T
    wrong = similarities(false, np.array([5, 5, 0, 0, 0, np.pi, 0.1]), rng)
    a, b, motions = (np.concatenate(pair) for pair in zip((a, b, motions), (*ends, wrong), strict=True))
    return np.array(poses), Between(a, b, motions, np.tile(np.diag(SIMILARITY_SIGMAS**-2), (len(a), 1, 1))), true


def with_false_loops(graph: PoseGraph, count: int, seed: int) -> PoseGraph:
    rng, nodes, between = np.random.default_rng(seed), len(graph.world_from_node), graph.between
    a, b = np.array([rng.choice(nodes, 2, replace=False) for _ in range(count)]).T
    motions = np.array([planar(*t) for t in rng.uniform(-1, 1, (count, 3)) * (5, 5, np.pi)])
    information = between.information[rng.integers(0, len(between.a), count)]
    parts = zip(between, (a, b, motions, information), strict=True)
    return graph._replace(between=Between(*(np.concatenate(pair) for pair in parts)))


def with_false_groups(graph: PoseGraph, groups: int, seed: int, running: int = 10) -> PoseGraph:
    """One place mistaken for another, so many frames running: loops that agree with each other and with odometry.

    The two places are taken for the same within 1 m and 0.3 rad. The graph's poses are those of its solution.
    """
    rng, poses, between = np.random.default_rng(seed), graph.world_from_node, graph.between
    steps, loops = np.arange(running), np.flatnonzero(np.abs(between.a - between.b) != 1)
    ends, motions = [], []
    while len(ends) < groups:
        a, b = np.sort(rng.integers(0, len(poses) - running, 2))
        same = planar(*(rng.uniform(-1, 1, 3) * (1, 1, 0.3)))
        true = np.linalg.inv(poses[a]) @ poses[b]
        if b - a < 2 * running or np.hypot(*(true - same)[:2, 2]) < 3:
            continue
        ends.append(np.stack([a + steps, b + steps]))
        away = np.linalg.inv(poses[a + steps]) @ poses[a], np.linalg.inv(poses[b]) @ poses[b + steps]
        noise = np.array([planar(*t) for t in rng.normal(size=(running, 3)) * (0.02, 0.02, 0.005)])
        motions.append(away[0] @ same @ away[1] @ noise)
    a, b = np.concatenate(ends, 1)
    information = between.information[rng.choice(loops, len(a))]
    parts = zip(between, (a, b, np.concatenate(motions), information), strict=True)
    return graph._replace(between=Between(*(np.concatenate(pair) for pair in parts)))


def exp(tangents: np.ndarray) -> np.ndarray:
    return se3_exp(torch.from_numpy(tangents)).numpy()


def simulated(cameras: int, points: int, shape: Literal["street", "ring"], seed: int = 0) -> Reconstruction:
    """One lens for all, 0.5 px of noise, a start that is off by 2 % of the distance to the points.

    street: cameras 1 m apart look sideways at a strip 6 to 14 m away; each point is seen by its neighbours only.
    ring: cameras around a cloud; each point is seen by ten cameras anywhere on the ring.
    """
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (cameras, 1, 1))
    if shape == "street":
        poses[:, 0, 3] = np.arange(cameras)
        world = np.stack(
            [rng.uniform(-4, cameras + 3, points), rng.uniform(-3, 3, points), rng.uniform(6, 14, points)], 1
        )
    else:
        angle = np.linspace(0, 2 * np.pi, cameras, endpoint=False)
        turn = np.zeros((cameras, 6))
        turn[:, 4] = angle
        poses = exp(turn)
        poses[:, :3, 3] = -10 * poses[:, :3, 2]
        world = rng.uniform(-3, 3, (points, 3))
    poses = poses @ exp(rng.normal(0, 0.02, (cameras, 6)))
    lenses = Lenses(
        np.array([[960, 1280]]), np.array([[[1000.0, 0, 640], [0, 1000, 480], [0, 0, 1]]]), np.array([[-0.05, 0.01]])
    )
    camera, point = (each.ravel() for each in np.meshgrid(np.arange(cameras), np.arange(points), indexing="ij"))
    made = Reconstruction(
        tuple(f"{i:06d}.png" for i in range(cameras)), poses, np.zeros(cameras, np.int64), lenses, world,
        np.zeros((points, 3), np.uint8), Observations(camera, point, np.zeros((len(camera), 2))),
    )  # fmt: skip
    if shape == "ring":
        chosen = rng.random((cameras, points)).argsort(0)[:10].ravel()
        camera, point = chosen, np.tile(np.arange(points), 10)
    else:
        pixels = residuals(made)
        inside = (np.abs(pixels - [640, 480]) < [640, 480]).all(1)
        camera, point = camera[inside], point[inside]
        often = np.bincount(point, minlength=points)[point] >= 3
        number = np.cumsum(np.bincount(point[often], minlength=points) > 0) - 1
        world = world[np.unique(point[often])]
        camera, point = camera[often], number[point[often]]
    made = made._replace(points_world=world, colours=np.zeros((len(world), 3), np.uint8))
    made = made._replace(observations=Observations(camera, point, np.zeros((len(camera), 2))))
    pixels = residuals(made) + rng.normal(0, 0.5, (len(camera), 2))
    return made._replace(
        observations=made.observations._replace(pixels=pixels),
        world_from_camera=poses @ exp(rng.normal(0, 0.02, (cameras, 6)) * [5, 5, 5, 1, 1, 1]),
        points_world=world + rng.normal(0, 0.2, world.shape),
        lenses=lenses._replace(intrinsics=lenses.intrinsics * [[1.03], [1.03], [1.0]], radial=np.zeros((1, 2))),
    )
