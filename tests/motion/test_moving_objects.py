from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch

from firstsight.geometry.se3 import se3_exp
from firstsight.geometry.warp import rigid_flow
from firstsight.motion.moving_objects import (
    Config,
    Evidence,
    MovingObjectSegmentation,
    gather_evidence,
    pieces,
    recall,
    surprise,
)
from firstsight.motion.object_tracks import Carried
from firstsight.motion.residual_flow import (
    Comparison,
    Noise,
    ResidualMemory,
    correct_motion,
    explain,
    fill_rows,
    measure_noise,
    read_scene,
)
from firstsight.motion.residual_flow import Scene as SceneArrays
from firstsight.roles import Depth, Flow, MovingObjects

HEIGHT, WIDTH = 96, 160
INTRINSICS = torch.tensor([[120.0, 0, 79.5], [0, 120.0, 40.0], [0, 0, 1]], dtype=torch.float64)
B_FROM_A = torch.eye(4, dtype=torch.float64)
B_FROM_A[2, 3] = -0.5  # the camera advances


class Body(NamedTuple):
    """An upright rectangle facing the camera: where it is at frame 0 and how far it moves per frame, in the world."""

    left_m: float
    distance_m: float
    width_m: float
    height_m: float
    step_m: tuple[float, float]  # x, z


class Frame(NamedTuple):
    depth: np.ndarray
    flow: np.ndarray
    owner: np.ndarray  # 1 + index of the body, 0 where static


def render(bodies: list[Body], frame: int) -> Frame:
    """Ground 1.5 m below the camera, a wall far ahead, and the bodies; exact depth and flow to the next frame."""
    k = INTRINSICS.numpy()
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ray_x, ray_y = (x - k[0, 2]) / k[0, 0], (y - k[1, 2]) / k[1, 1]
    advance = 0.5 * frame
    depth = np.full((HEIGHT, WIDTH), 60.0 - advance)
    depth = np.where(ray_y > 0, np.minimum(depth, 1.5 / np.maximum(ray_y, 1e-9)), depth)
    owner = np.zeros((HEIGHT, WIDTH), int)
    for i, body in enumerate(bodies):
        z = body.distance_m + body.step_m[1] * frame - advance
        left = body.left_m + body.step_m[0] * frame
        inside = (
            (ray_x * z >= left)
            & (ray_x * z < left + body.width_m)
            & (ray_y * z > 1.5 - body.height_m)
            & (ray_y * z <= 1.5)
        )
        nearer = inside & (z < depth)
        depth[nearer], owner[nearer] = z, i + 1
    steps = np.array([(0.0, 0.0), *(body.step_m for body in bodies)])[owner]
    z_b = depth + steps[..., 1] - 0.5
    flow = np.stack(
        [k[0, 0] * (ray_x * depth + steps[..., 0]) / z_b + k[0, 2] - x, k[1, 1] * ray_y * depth / z_b + k[1, 2] - y]
    )
    return Frame(depth.astype(np.float32), flow.astype(np.float32), owner)


def tensors(
    frame: Frame, depth_valid: np.ndarray | None = None, flow_valid: np.ndarray | None = None
) -> tuple[Depth, Flow]:
    everywhere = np.ones((HEIGHT, WIDTH), bool)
    depth_valid = everywhere if depth_valid is None else depth_valid
    flow_valid = everywhere if flow_valid is None else flow_valid
    return (
        Depth(torch.from_numpy(frame.depth)[None, None], torch.from_numpy(depth_valid)[None, None]),
        Flow(torch.from_numpy(frame.flow)[None], torch.from_numpy(flow_valid)[None, None]),
    )


def run(bodies: list[Body], frames: int, config: Config | None = None) -> Iterator[tuple[Frame, MovingObjects]]:
    segmentation = MovingObjectSegmentation(config)
    for i in range(frames):
        frame = render(bodies, i)
        yield frame, segmentation.step(*tensors(frame), B_FROM_A, INTRINSICS)


def iou(found: MovingObjects, frame: Frame) -> float:
    estimated, true = found.ids.numpy() > 0, frame.owner > 0
    return float((estimated & true).sum() / max((estimated | true).sum(), 1))


CROSSING = Body(-3.0, 12.0, 2.0, 1.6, (0.4, 0.0))
ONCOMING = Body(3.0, 14.0, 1.8, 1.5, (0.0, -1.0))
PARKED = Body(-6.5, 12.0, 2.0, 1.6, (0.0, 0.0))


def test_a_static_world_has_no_moving_objects():
    for _, found in run([PARKED], 4):
        assert not found.ids.any()
        assert found.residual_px.abs().max() < 1e-3


@pytest.mark.parametrize("body", [CROSSING, ONCOMING], ids=["across", "along the epipolar lines"])
def test_what_moves_is_found_whole_and_alone(body: Body):
    """A motion along the epipolar lines looks like another depth; the depth tells."""
    results = list(run([body, PARKED], 5))
    for frame, found in results[2:]:
        moving = Frame(frame.depth, frame.flow, np.where(frame.owner == 1, 1, 0))
        assert iou(found, moving) > 0.8


def test_noise_does_not_hide_or_invent_objects():
    generator = np.random.default_rng(0)
    segmentation = MovingObjectSegmentation()
    scores = []
    for i in range(6):
        frame = render([CROSSING, PARKED], i)
        disparity = 60 / frame.depth + generator.normal(0, 0.3, frame.depth.shape)
        noisy = Frame(
            (60 / disparity).astype(np.float32),
            (frame.flow + generator.normal(0, 0.2, frame.flow.shape)).astype(np.float32),
            np.where(frame.owner == 1, 1, 0),
        )
        wrong = B_FROM_A @ se3_exp(torch.from_numpy(generator.normal(0, [0.01] * 3 + [0.001] * 3)))
        found = segmentation.step(*tensors(noisy), wrong, INTRINSICS)
        scores.append(iou(found, noisy))
    assert np.mean(scores[2:]) > 0.75


def test_the_given_motion_may_be_a_little_wrong():
    wrong = B_FROM_A @ se3_exp(torch.tensor([0.0, 0, 0, 0.0, 0.004, 0], dtype=torch.float64))
    segmentation = MovingObjectSegmentation()
    for i in range(3):
        frame = render([PARKED], i)
        found = segmentation.step(*tensors(frame), wrong, INTRINSICS)
        assert not found.ids.any()
    assert found.residual_px.mean() < 0.1, "0.004 rad alone make half a pixel"


def test_ids_stay_with_their_objects():
    ids: dict[int, set[int]] = {1: set(), 2: set()}
    for frame, found in run([CROSSING, ONCOMING], 7):
        for owner, seen in ids.items():
            here = found.ids.numpy()[frame.owner == owner]
            if (here > 0).mean() > 0.5:
                seen.add(int(np.bincount(here[here > 0]).argmax()))
    assert [len(seen) for seen in ids.values()] == [1, 1]
    assert ids[1] != ids[2]
    assert min(ids[1] | ids[2]) >= 1


def test_an_object_outlives_frames_without_flow():
    segmentation = MovingObjectSegmentation()
    before = None
    for i in range(7):
        frame = render([CROSSING], i)
        lost = i in (3, 4)
        found = segmentation.step(*tensors(frame, flow_valid=np.full((HEIGHT, WIDTH), not lost)), B_FROM_A, INTRINSICS)
        found_ids = found.ids.numpy()[frame.owner == 1]
        if i == 2:
            before = int(np.bincount(found_ids).argmax())
        if i >= 3:
            assert int(np.bincount(found_ids).argmax()) == before, f"frame {i}"
    assert iou(found, frame) > 0.8


def test_stopped_and_restored_it_goes_on_to_the_same_bits(carried_on):
    direct = MovingObjectSegmentation()
    for i in range(3):
        direct.step(*tensors(render([CROSSING, ONCOMING], i)), B_FROM_A, INTRINSICS)
    resumed = carried_on(direct, MovingObjectSegmentation())
    for i in range(3, 5):
        a, b = (s.step(*tensors(render([CROSSING, ONCOMING], i)), B_FROM_A, INTRINSICS) for s in (direct, resumed))
        assert torch.equal(a.ids, b.ids)
        assert a.ids.any()


def test_nothing_known_means_nothing_found():
    nowhere = np.zeros((HEIGHT, WIDTH), bool)
    frame = render([CROSSING], 0)
    for valid in ({"depth_valid": nowhere}, {"flow_valid": nowhere}):
        found = MovingObjectSegmentation().step(*tensors(frame, **valid), B_FROM_A, INTRINSICS)
        assert not found.ids.any()
        assert torch.isfinite(found.residual_px).all()


def test_values_that_are_not_valid_do_not_matter():
    frame = render([CROSSING], 0)
    hole = np.ones((HEIGHT, WIDTH), bool)
    hole[10:30, 20:50] = False
    poisoned = Frame(
        np.where(hole, frame.depth, np.nan).astype(np.float32),
        np.where(hole, frame.flow, np.nan).astype(np.float32),
        frame.owner,
    )
    results = [
        MovingObjectSegmentation().step(*tensors(f, depth_valid=hole, flow_valid=hole), B_FROM_A, INTRINSICS)
        for f in (frame, poisoned)
    ]
    assert torch.equal(results[0].ids, results[1].ids)
    assert torch.equal(results[0].residual_px, results[1].residual_px)


def test_the_residual_and_its_gradient_are_those_of_the_rigid_flow():
    generator = np.random.default_rng(3)
    rho = generator.uniform(0.05, 0.5, (12, 16)).astype(np.float32)
    b_from_a = se3_exp(torch.from_numpy(generator.normal(0, 0.05, 6)))
    flow = generator.normal(0, 2, (2, 12, 16)).astype(np.float32)

    def rigid(values: np.ndarray) -> np.ndarray:
        depth = torch.from_numpy(1 / values.astype(np.float64))[None, None]
        return rigid_flow(depth, b_from_a[None], INTRINSICS[None])[0][0].permute(1, 2, 0).numpy()

    residual, gradient = explain(rho, flow, b_from_a.numpy(), INTRINSICS.numpy())
    np.testing.assert_allclose(residual, flow.transpose(1, 2, 0) - rigid(rho), atol=1e-3)
    step = 1e-4
    np.testing.assert_allclose(gradient, (rigid(rho + step) - rigid(rho - step)) / (2 * step), rtol=1e-2, atol=0.05)


def test_surprise_is_what_noise_and_a_neighbour_do_not_explain():
    """Residuals of 3 px along (10 px per unit of inverse depth), across, and along beside a depth that explains 2 px."""
    residual = np.array([[[3.0, 0.0], [0.0, -3.0], [3.0, 0.0]]], np.float32)
    gradient = np.full((1, 3, 2), (10.0, 0.0), np.float32)
    nearby = np.zeros((1, 3), np.float32), np.array([[0.0, 0.0, 0.2]], np.float32)
    ones = np.ones((1, 3), np.float32)
    own, nearest = surprise(residual, gradient, nearby, ones, 0.04 * ones)
    np.testing.assert_allclose(own, [[9 / 5, 9, 9 / 5]], rtol=1e-4)
    np.testing.assert_allclose(nearest, [[9 / 5, 9, 1 / 5]], rtol=1e-4)
    uncertain, _ = surprise(residual, gradient, nearby, 8 * ones, 0.01 * ones)
    np.testing.assert_allclose(uncertain, [[1.0, 9 / 8, 1.0]], rtol=1e-4)


def flat_scene(shape: tuple[int, int], flow: np.ndarray) -> SceneArrays:
    """A wall 10 m away."""
    depth, nothing = np.full(shape, 10, np.float32), np.zeros(shape, np.float32)
    return SceneArrays(
        depth, 1 / depth, flow.astype(np.float32), np.ones(shape, bool), nothing, nothing.copy(), np.eye(3)
    )


def test_noise_is_measured():
    """Flow of 5 to 60 px with an error of 0.6 px and 2 %; 0.01 of inverse depth; a tenth moves and must not count."""
    generator = np.random.default_rng(4)
    shape = (150, 240)
    angle, length = generator.uniform(0, 2 * np.pi, shape), generator.uniform(300, 600, shape)
    gradient = (np.stack([np.cos(angle), np.sin(angle)], -1) * length[..., None]).astype(np.float32)
    flow = np.zeros((2, *shape))
    flow[0] = -generator.uniform(5, 60, shape)
    sigma = np.sqrt(0.36 + (0.02 * flow[0]) ** 2)
    residual = generator.normal(0, 1, (*shape, 2)) * sigma[..., None]
    residual += gradient * generator.normal(0, 0.01, shape)[..., None]
    residual[::10] += 30
    noise = measure_noise(residual.astype(np.float32), gradient, flat_scene(shape, flow))
    assert noise.flow_px == pytest.approx(0.6, rel=0.25)
    assert noise.relative == pytest.approx(0.02, rel=0.4), "the tenth that moves counts a little"
    assert noise.rho == pytest.approx(0.01, rel=0.3)
    unknown = flat_scene(shape, flow)._replace(known=np.zeros(shape, bool))
    assert measure_noise(residual.astype(np.float32), gradient, unknown) == (0.05, 0.0, pytest.approx(0.001))


def test_noise_of_a_flow_in_px():
    noise = Noise(0.3, 0.1, 0.0)
    assert noise.flow_variance(np.array([[3.0], [-4.0]], np.float32)) == pytest.approx([0.09 + 0.25])


def test_the_residual_of_several_frames_is_a_mean_that_forgets():
    """2 px, then 0 px: 0.7 x 2 / 1.7. Its chance has (1 + 0.49) / 1.7^2 of one frame's variance."""
    shape = (30, 40)
    scene, memory = flat_scene(shape, np.zeros((2, *shape))), ResidualMemory()
    gradient = np.ones((*shape, 2), np.float32)
    constant = np.zeros((*shape, 2), np.float32) + np.array([2.0, -1.0], np.float32)
    first = memory.add(constant, gradient, scene)
    assert first.share[5, 5] == pytest.approx(1.0)
    moved = np.zeros((2, *shape), np.float32)
    moved[0], moved[1] = 3, -2
    memory.carry(scene.depth, moved)
    second = memory.add(0 * constant, gradient, scene)
    np.testing.assert_allclose(second.residual[10, 20], [0.7 * 2 / 1.7, -0.7 / 1.7], rtol=1e-5)
    assert second.share[10, 20] == pytest.approx(1.49 / 1.7**2)
    assert second.residual[10, 2].tolist() == [0, 0], "nothing has come to the first three columns"
    assert second.residual[-1, 20].tolist() == [0, 0], "nor to the last two rows"
    memory.carry(scene.depth, 0 * moved)
    unseen = memory.add(0 * constant, gradient, scene._replace(known=np.zeros(shape, bool)))
    assert unseen.known[10, 20], "it is still remembered"
    assert not unseen.known[10, 2] or unseen.residual[10, 2].tolist() == [0, 0]


def test_what_is_remembered_of_another_depth_is_forgotten():
    shape = (30, 40)
    scene, memory = flat_scene(shape, np.zeros((2, *shape))), ResidualMemory()
    gradient = np.ones((*shape, 2), np.float32)
    memory.add(gradient, gradient, scene)
    memory.carry(scene.depth, np.zeros((2, *shape), np.float32))
    depth = np.where(np.arange(40) < 20, 11.0, 12.0).astype(np.float32) * np.ones((30, 1), np.float32)
    seen_farther = memory.add(0 * gradient, gradient, scene._replace(depth=depth, rho=1 / depth))
    assert seen_farther.residual[3, 3, 0] == pytest.approx(0.7 / 1.7), "10 and 11 m: a tenth"
    assert seen_farther.residual[3, 30, 0] == 0, "10 and 12 m: a sixth"


def test_slow_motion_shows_in_several_frames():
    """A body of 12 m distance that goes 0.3 px a frame aside, under noise of 0.1 px: three sigmas, in the mean seven."""
    generator = np.random.default_rng(9)
    slow = Body(-3.0, 12.0, 2.0, 1.6, (0.03, 0.0))
    segmentation, shares = MovingObjectSegmentation(), []
    for i in range(10):
        frame = render([slow], i)
        noisy = frame._replace(flow=(frame.flow + generator.normal(0, 0.08, frame.flow.shape)).astype(np.float32))
        found = segmentation.step(*tensors(noisy), B_FROM_A, INTRINSICS).ids.numpy()
        shares.append(float((found > 0)[frame.owner == 1].mean()))
    assert shares[0] < 0.2
    assert np.mean(shares[-3:]) > 0.8


def test_a_flow_that_says_it_is_guessed_proves_nothing():
    """3 px on a part of the wall, of which the flow says that it may be off by 2 px; unsaid, they are taken for motion."""
    frame = render([CROSSING], 0)
    flow, error = frame.flow.copy(), np.full((HEIGHT, WIDTH), 0.05, np.float32)
    guessed = np.zeros((HEIGHT, WIDTH), bool)
    guessed[5:25, 90:150] = True
    flow[1, guessed] += 3
    error[guessed] = 2
    depth, measured = tensors(frame._replace(flow=flow))
    moving = []
    for told in (torch.from_numpy(error)[None, None], None):
        scene = read_scene(depth, measured._replace(error_px=told), INTRINSICS)
        residual, gradient = explain(scene.rho, scene.flow, B_FROM_A.numpy(), scene.intrinsics)
        comparison = alone(residual, gradient, Noise(0.1, 0.0, 1e-4), scene)
        moving.append(gather_evidence(scene, comparison, scene.rho * 0, Config()).moving)
    assert [share[guessed].mean() for share in moving] == [0, 1]
    assert [share[frame.owner == 1].mean() > 0.9 for share in moving] == [True, True]


def test_holes_are_filled_from_behind():
    depth = np.array([[3.0, 9.0, 9.0, 5.0, 9.0], [9.0, 9.0, 9.0, 9.0, 9.0]], np.float32)
    valid = np.array([[True, False, False, True, False], [False] * 5])
    assert fill_rows(depth, valid).tolist() == [[3, 5, 5, 5, 5], [0] * 5]


# A scene for each rule


def seen(bodies: list[Body]) -> SceneArrays:
    return read_scene(*tensors(render(bodies, 0)), INTRINSICS)


def alone(residual: np.ndarray, gradient: np.ndarray, noise: Noise, scene: SceneArrays) -> Comparison:
    """The comparison of a first frame."""
    return Comparison(residual, gradient, noise, scene.known, np.ones_like(scene.rho))


def test_memory_votes_where_the_object_was_expected_and_as_far_away():
    scene = seen([CROSSING])
    ids, near = np.zeros((HEIGHT, WIDTH), np.int32), np.full((HEIGHT, WIDTH), 12.0, np.float32)
    ids[30:50, 40:60] = 1
    beliefs = np.array([0.0, 0.5], np.float32)
    votes = recall(scene._replace(rho=1 / near), Carried(ids, near * np.float32(1.1)), beliefs)
    assert votes[40, 50] == pytest.approx(1.5)
    assert not votes[ids == 0].any()
    assert not recall(scene._replace(rho=1 / near), Carried(ids, near * np.float32(1.3)), beliefs).any()


def test_what_is_too_far_to_have_a_depth_decides_nothing():
    """Noise of 0.01 in inverse depth: three sigmas are 33 m."""
    scene = seen([])
    residual, gradient = explain(scene.rho, scene.flow, B_FROM_A.numpy(), scene.intrinsics)
    evidence = gather_evidence(
        scene, alone(residual, gradient, Noise(0.25, 0.02, 0.01), scene), scene.rho * 0, Config()
    )
    far = scene.depth > 34
    assert far.any()
    assert not evidence.decided[far].any()
    assert evidence.decided[scene.depth < 32].all()
    unknown = scene._replace(known=scene.known & (np.arange(WIDTH) > 50))
    comparison = alone(residual, gradient, Noise(0.25, 0.02, 1e-4), unknown)
    assert not gather_evidence(unknown, comparison, scene.rho * 0, Config()).decided[:, :50].any()


def test_memory_has_no_say_on_the_ground():
    scene = seen([])
    residual, gradient = explain(scene.rho, scene.flow, B_FROM_A.numpy(), scene.intrinsics)
    comparison = alone(residual, gradient, Noise(0.25, 0.02, 1e-4), scene)
    memory = np.ones_like(scene.rho)
    evidence = gather_evidence(scene, comparison, memory, Config())
    road = np.zeros((HEIGHT, WIDTH), bool)
    road[60:90, 20:140] = True
    assert evidence.ground[road].mean() > 0.95
    assert np.median(evidence.vote[road]) == pytest.approx(-2.0, abs=0.01)
    assert np.median(evidence.vote[:30]) == pytest.approx(0.0, abs=0.01), "still, but remembered"


def test_chance_in_the_mean_and_error_of_the_flow_count_as_noise():
    """A fifth of 0.1^2 and an error of 0.03 px; of inverse depth half of 0.01^2 x 10^2 along the lines, not a fifth.

    Along: 0.19 / (0.0029 + 0.005) / 16 is 1.5; across: 0.0696 / 0.0029 / 16 as well.
    """
    shape = (30, 40)
    scene = flat_scene(shape, np.zeros((2, *shape)))
    scene.variance[:] = 0.03**2
    gradient = np.zeros((*shape, 2), np.float32) + np.array([10.0, 0.0], np.float32)
    share = np.full(shape, 0.2, np.float32)
    for residual in ([-(0.1896**0.5), 0.0], [0.0, 0.0696**0.5]):
        seen_flow = np.zeros((*shape, 2), np.float32) + np.array(residual, np.float32)
        comparison = Comparison(seen_flow, gradient, Noise(0.1, 0.0, 0.01), scene.known, share)
        evidence = gather_evidence(scene, comparison, scene.rho * 0, Config())
        np.testing.assert_allclose(evidence.vote, 0.5, atol=1e-3)
        assert evidence.moving.all()


def test_the_error_that_depth_expects_counts_along_the_lines_alone():
    """0.012 of inverse depth where it is told, 0.01 measured elsewhere: 0.1896 / (0.0029 + 0.0072) / 16 is 1.173; across 1.5."""
    shape = (30, 40)
    scene = flat_scene(shape, np.zeros((2, *shape)))
    scene.variance[:] = 0.03**2
    scene.rho_error[:, :20] = 0.012
    gradient = np.zeros((*shape, 2), np.float32) + np.array([10.0, 0.0], np.float32)
    share = np.full(shape, 0.2, np.float32)
    for residual, left in (([-(0.1896**0.5), 0.0], 0.1733), ([0.0, 0.0696**0.5], 0.5)):
        seen_flow = np.zeros((*shape, 2), np.float32) + np.array(residual, np.float32)
        comparison = Comparison(seen_flow, gradient, Noise(0.1, 0.0, 0.01), scene.known, share)
        evidence = gather_evidence(scene, comparison, scene.rho * 0, Config())
        np.testing.assert_allclose(evidence.vote[:, 25:], 0.5, atol=1e-3)
        np.testing.assert_allclose(evidence.vote[:, 5:15], left, atol=1e-3)


def test_depth_tells_its_error_as_one_of_inverse_depth():
    """0.5 m at 10 m is 0.005 per metre."""
    depth = Depth(torch.full((1, 1, 4, 6), 10.0), torch.ones(1, 1, 4, 6) > 0, torch.full((1, 1, 4, 6), 0.5))
    flow = Flow(torch.zeros(1, 2, 4, 6), torch.ones(1, 1, 4, 6) > 0)
    scene = read_scene(depth, flow, torch.eye(3, dtype=torch.float64))
    np.testing.assert_allclose(scene.rho_error, 0.005, rtol=1e-5)
    assert not read_scene(depth._replace(error_m=None), flow, torch.eye(3, dtype=torch.float64)).rho_error.any()


def test_what_is_not_seen_now_stands_still_unless_an_object_is_expected_there():
    shape = (30, 40)
    scene = flat_scene(shape, np.zeros((2, *shape)))
    unseen = scene._replace(known=np.zeros(shape, bool), variance=np.full(shape, 100, np.float32))
    moved = np.zeros((*shape, 2), np.float32) + np.array([0.0, 3.0], np.float32)
    comparison = Comparison(moved, np.ones_like(moved), Noise(0.1, 0.0, 0.001), np.ones(shape, bool), scene.rho * 0 + 1)
    memory = np.zeros(shape, np.float32)
    memory[:, 25:] = 1.5
    evidence = gather_evidence(unseen, comparison, memory, Config())
    assert evidence.decided.sum() == 30 * 25
    np.testing.assert_allclose(evidence.vote[:, :25], 9 / 100 / 16 - 1, atol=1e-3)
    np.testing.assert_allclose(evidence.vote[:, 25:], 1.5 - 0.3, atol=1e-5)


def test_what_is_seen_to_move_may_stand_before_something_as_far_away():
    """A patch of 20 px on a wall; of the 3 px around it, 276 px, 3 x 26 are known to stand still: 28 %."""
    shape = (60, 60)
    patch, beside = np.zeros(shape, bool), np.zeros(shape, bool)
    patch[20:40, 20:40] = beside[17:43, 17:20] = True
    flat = np.zeros(shape, np.float32)
    still_mean = Comparison(np.zeros((*shape, 2), np.float32), np.ones((*shape, 2), np.float32), Noise(0.1, 0.0, 0.001), ~patch, flat + 1)  # fmt: skip
    found = []
    for moving in (patch, patch & False):
        vote = np.where(patch, np.float32(1), np.float32(-1))
        evidence = Evidence(vote, flat + 1, patch | ~patch, moving, beside, patch & False)
        found.append(pieces(still_mean, evidence, flat + 2, Config(reach_px=0.2)))
    assert (found[0] > 0).tolist() == patch.tolist()
    assert not found[1].any(), "28 % are more than a quarter"


def test_what_moves_does_not_bend_the_camera_s_motion():
    """A third of the pixels moves by 4 px aside; the motion was given 0.003 rad wrong."""
    scene = seen([PARKED])
    flow = scene.flow.copy()
    flow[0, :, 100:] += 4
    wrong = B_FROM_A.numpy() @ se3_exp(torch.tensor([0.0, 0, 0, 0.0, 0.003, 0], dtype=torch.float64)).numpy()
    _, gradient = explain(scene.rho, flow, wrong, scene.intrinsics)
    found = correct_motion(scene._replace(flow=flow), wrong, gradient, Noise(0.25, 0.02, 1e-4))
    angle = np.arccos(np.clip((np.trace(found[:3, :3]) - 1) / 2, -1, 1))
    assert angle < 0.0015
