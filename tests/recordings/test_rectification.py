"""Rectified cameras against the projection of points through the known lenses."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from firstsight.errors import InputError
from firstsight.geometry.camera import distort_equidistant, distort_radial_tangential
from firstsight.recordings.opening import open_recording
from firstsight.recordings.recording import (
    BODY_FROM_FORWARD_CAMERA,
    Camera,
    Channel,
    DepthImage,
    Distortion,
    Recording,
    Rig,
    Truth,
)
from firstsight.recordings.rectification import rectify, rows_correspond

SIZE = (240, 320)
LENSES = {
    "radial-tangential": Distortion(model="radial-tangential", coefficients=(-0.28, 0.07, 2e-4, -3e-4)),
    "equidistant": Distortion(model="equidistant", coefficients=(0.02, -0.01, 0.005, -0.001)),
}


def camera(name: str, distortion: Distortion | None, right_m: float, turn: tuple[float, float, float]) -> Camera:
    forward_from_camera = np.eye(4)
    forward_from_camera[:3, :3] = cv2.Rodrigues(np.array(turn))[0]
    forward_from_camera[:3, 3] = [right_m, 0.004 * right_m, 0.002]
    return Camera(
        name=name,
        size=SIZE,
        intrinsics=np.array([[190.0 + 5 * right_m, 0, 161.0], [0, 192.0, 118.0], [0, 0, 1]]),
        body_from_camera=BODY_FROM_FORWARD_CAMERA @ forward_from_camera,
        distortion=distortion,
    )


def pair(lens: str) -> Rig:
    left = camera("left", LENSES[lens], 0.0, (0.01, -0.02, 0.005))
    right = camera("right", LENSES[lens], 0.12, (-0.012, 0.015, -0.02))
    return Rig(cameras=(left, right), stereo=("left", "right"))


def seen_by(camera: Camera, points_body: np.ndarray) -> np.ndarray:
    """Pixels of body points through the lens, by this package's own projection rather than OpenCV's."""
    points = points_body @ np.linalg.inv(camera.body_from_camera)[:3, :3].T
    points = points + np.linalg.inv(camera.body_from_camera)[:3, 3]
    plane = torch.from_numpy(points[:, :2] / points[:, 2:])
    if camera.distortion is not None:
        coefficients = torch.tensor(camera.distortion.coefficients, dtype=torch.float64)
        lens = distort_equidistant if camera.distortion.model == "equidistant" else distort_radial_tangential
        plane = lens(plane, coefficients)
    return plane.numpy() @ camera.intrinsics[:2, :2].T + camera.intrinsics[:2, 2]


def points_in_view() -> np.ndarray:
    """Points 3 m ahead, more than 20 px apart."""
    left, up = np.meshgrid(np.linspace(-1.2, 1.0, 6), np.linspace(-0.8, 0.8, 5))
    return np.stack([np.full(left.size, 3.0), left.ravel(), up.ravel()], -1)


def spots(pixels: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(SIZE)
    distance = (columns[..., None] - pixels[:, 0]) ** 2 + (rows[..., None] - pixels[:, 1]) ** 2
    return np.repeat((250 * np.exp(-distance / 8).sum(-1)).clip(0, 255).astype(np.uint8)[..., None], 3, -1)


def centroid(image: np.ndarray, near: np.ndarray) -> np.ndarray:
    rows, columns = np.indices(SIZE)
    weight = image[..., 0] * (np.hypot(columns - near[0], rows - near[1]) < 9)
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


def recording_of(rig: Rig, points: np.ndarray) -> Recording:
    images = {c.name: spots(seen_by(c, points)) for c in rig.cameras}
    channels = {name: Channel(1, lambda _, name=name: images[name]) for name in images}
    return Recording(source="", format="", rig=rig, stamps_ns=np.zeros(1, np.int64), images=channels)


@pytest.mark.parametrize("lens", LENSES)
def test_rows_correspond_and_spots_lie_where_the_new_cameras_say(lens):
    points = points_in_view()
    recording = rectify(recording_of(pair(lens), points))
    left, right = recording.rig.cameras
    assert left.distortion is None
    assert rows_correspond(recording.rig)
    expected = {c.name: seen_by(c, points) for c in (left, right)}
    inside = np.all([(p > 12).all(1) & (p < [SIZE[1] - 12, SIZE[0] - 12]).all(1) for p in expected.values()], axis=0)
    assert inside.sum() >= 12
    for index in np.flatnonzero(inside):
        found = {c: centroid(recording.images[c][0], expected[c][index]) for c in expected}
        assert abs(found["left"][1] - found["right"][1]) < 0.1
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name][index], atol=0.1)


def test_disparity_gives_depth_with_the_rectified_rig():
    points = points_in_view()
    rig = rectify(recording_of(pair("radial-tangential"), points)).rig
    left, right = rig.cameras
    disparity = seen_by(left, points)[:, 0] - seen_by(right, points)[:, 0]
    z = (points @ np.linalg.inv(left.body_from_camera)[2, :3]) + np.linalg.inv(left.body_from_camera)[2, 3]
    offset = left.intrinsics[0, 2] - right.intrinsics[0, 2]
    np.testing.assert_allclose(left.intrinsics[0, 0] * rig.baseline_m / (disparity - offset), z, rtol=1e-9)


def test_the_true_trajectory_stays_that_of_the_same_place():
    rig = pair("radial-tangential")
    poses = np.eye(4)[None] @ rig.cameras[0].body_from_camera
    recording = rectify(replace(recording_of(rig, points_in_view()), truth=Truth(world_from_camera=poses)))
    expected = recording.rig.cameras[0].body_from_camera
    np.testing.assert_allclose(recording.truth.world_from_camera[0], expected, atol=1e-12)


def plane_depth(camera: Camera, distance_m: float) -> np.ndarray:
    """Depth of the plane x = distance in the body frame, for a camera without distortion."""
    rows, columns = np.indices(SIZE)
    rays = np.stack([columns, rows, np.ones(SIZE)], -1) @ np.linalg.inv(camera.intrinsics).T
    ahead = rays @ camera.body_from_camera[0, :3]
    return ((distance_m - camera.body_from_camera[0, 3]) / ahead).astype(np.float32)


def test_depth_follows_the_turn_of_the_camera():
    cameras = (camera("left", None, 0.0, (0.0, 0.1, 0.0)), camera("right", None, 0.12, (0.0, -0.1, 0.0)))
    depth = plane_depth(cameras[0], 4.0)
    recording = replace(
        recording_of(Rig(cameras=cameras, stereo=("left", "right")), points_in_view()),
        depth=Channel(1, lambda _: DepthImage(depth, np.ones(SIZE, bool))),
    )
    rectified = rectify(recording)
    found = rectified.depth[0]
    expected = plane_depth(rectified.rig.cameras[0], 4.0)
    assert np.abs(expected - depth).max() > 0.3
    assert found.valid.mean() > 0.9
    np.testing.assert_allclose(found.depth[found.valid], expected[found.valid], rtol=3e-3)  # nearest pixel, not between


def test_what_is_rectified_already_passes_through():
    cameras = (camera("left", None, 0.0, (0.0, 0.0, 0.0)), camera("right", None, 0.0, (0.0, 0.0, 0.0)))
    moved = cameras[1].body_from_camera.copy()
    moved[1, 3] -= 0.5
    moved[2, 3] -= 0.0025  # as in KITTI, whose colour cameras are that much apart in height
    cameras = (cameras[0], replace(cameras[1], body_from_camera=moved))
    recording = recording_of(Rig(cameras=cameras, stereo=("left", "right")), points_in_view())
    assert rectify(recording) is recording


def test_one_distorted_camera_is_undistorted_in_place():
    rig = Rig(cameras=pair("radial-tangential").cameras[:1])
    points = points_in_view()
    recording = rectify(recording_of(rig, points))
    assert recording.rig.cameras[0].distortion is None
    np.testing.assert_array_equal(recording.rig.cameras[0].body_from_camera, rig.cameras[0].body_from_camera)
    for pixel in seen_by(recording.rig.cameras[0], points)[[8, 14, 20]]:
        np.testing.assert_allclose(centroid(recording.images["left"][0], pixel), pixel, atol=0.1)


def test_a_pair_of_different_lenses_is_an_error():
    left, _ = pair("radial-tangential").cameras
    _, right = pair("equidistant").cameras
    with pytest.raises(InputError, match="left and right: a stereo pair needs one image size and one kind of lens"):
        rectify(recording_of(Rig(cameras=(left, right), stereo=("left", "right")), points_in_view()))


def corner_row_differences(recording: Recording, frame: int) -> np.ndarray:
    left, right = (cv2.cvtColor(recording.images[name][frame], cv2.COLOR_RGB2GRAY) for name in recording.rig.stereo)
    corners = cv2.goodFeaturesToTrack(left, 400, 0.01, 8)
    tracked, there, _ = cv2.calcOpticalFlowPyrLK(left, right, corners, None, winSize=(21, 21), maxLevel=4)
    back, here, _ = cv2.calcOpticalFlowPyrLK(right, left, tracked, None, winSize=(21, 21), maxLevel=4)
    kept = (there[:, 0] & here[:, 0] > 0) & (np.linalg.norm((back - corners)[:, 0], axis=1) < 0.3)
    return (tracked - corners)[kept, 0, 1]


def test_rows_of_the_real_recording_correspond(shared_data):
    """Measured over all 19 pairs: median 0.087 px (12.7 px before rectification)."""
    recording = open_recording(str(shared_data / "euroc_mh01_still"))
    differences = np.concatenate([corner_row_differences(recording, frame) for frame in (0, 9, 18)])
    assert len(differences) > 300
    assert np.median(np.abs(differences)) < 0.3


def bare_pair(*distortions: Distortion | None, right_m: float) -> Recording:
    cameras = tuple(
        camera(name, distortion, x_m, (0.0, 0.0, 0.0))
        for name, distortion, x_m in zip(("left", "right"), distortions, (0.0, right_m), strict=True)
    )
    rig = Rig(cameras=cameras, stereo=("left", "right"))
    return Recording(source="drive", format="", rig=rig, stamps_ns=np.zeros(1, np.int64))


def test_an_aligned_pair_of_two_image_sizes_is_an_error():
    """Nothing that compares the two images would take them."""
    left = camera("left", None, 0.0, (0.0, 0.0, 0.0))
    right = replace(left, name="right", size=(120, 320), body_from_camera=left.body_from_camera.copy())
    right.body_from_camera[1, 3] = -0.12
    recording = recording_of(Rig(cameras=(left, right), stereo=("left", "right")), points_in_view())
    with pytest.raises(
        InputError, match=r"^street: left and right: a stereo pair needs one image size .* --sensors camera"
    ):
        rectify(replace(recording, source="street"))


def test_a_pair_at_one_place_is_named():
    with pytest.raises(InputError, match=r"^drive: its cameras cannot be rectified"):
        rectify(bare_pair(None, None, right_m=0.0))


@pytest.mark.parametrize("model", ["radial-tangential", "equidistant"])
def test_a_distortion_that_cannot_be_undone_is_named(model):
    bent = Distortion(model=model, coefficients=(float("nan"),) * 4)
    with pytest.raises(InputError, match=r"^drive: (its cameras cannot|camera left without its distortion)"):
        rectify(bare_pair(bent, bent, right_m=0.1))


def test_three_coefficients_are_named():
    bent = Distortion(model="radial-tangential", coefficients=(0.1, 0.01, 0.001))
    with pytest.raises(InputError, match=r"^drive: its cameras cannot be rectified"):
        rectify(bare_pair(bent, bent, right_m=0.1))


@pytest.mark.parametrize(
    ("aside_m", "turn_rad", "focal_px", "principal_px", "same_rows"),
    [
        # rows of points ten baselines away, 5 m, differ by 192 px times what is aside per 5 m, and by 192 px times the turn,
        # by a tenth more since the left camera is then aside as the right one sees it
        ((0.0, 0.0129), 0.0, 192.0, (161.0, 118.0), True),
        ((0.0, 0.0131), 0.0, 192.0, (161.0, 118.0), False),
        ((0.0129, 0.0), 0.0, 192.0, (161.0, 118.0), True),
        ((-0.0131, 0.0), 0.0, 192.0, (161.0, 118.0), False),
        ((0.0, 0.0), 0.0023, 192.0, (161.0, 118.0), True),
        ((0.0, 0.0), -0.0025, 192.0, (161.0, 118.0), False),
        ((0.0, 0.0), 0.0, 192.04, (175.0, 118.04), True),
        ((0.0, 0.0), 0.0, 192.06, (161.0, 118.0), False),
        ((0.0, 0.0), 0.0, 192.0, (161.0, 117.94), False),
    ],
)
def test_rows_that_agree_to_half_a_pixel_correspond(aside_m, turn_rad, focal_px, principal_px, same_rows):
    """A right camera 0.5 m aside, `aside_m` lower and farther ahead, turned about its z axis."""
    left = Camera(
        name="left",
        size=SIZE,
        intrinsics=np.array([[192.0, 0, 161.0], [0, 192.0, 118.0], [0, 0, 1]]),
        body_from_camera=BODY_FROM_FORWARD_CAMERA,
    )
    left_from_right = np.eye(4)
    left_from_right[:3, :3], left_from_right[:3, 3] = cv2.Rodrigues(np.array([0, 0, turn_rad]))[0], (0.5, *aside_m)
    intrinsics = np.array([[focal_px, 0, principal_px[0]], [0, focal_px, principal_px[1]], [0, 0, 1]])
    right = replace(
        left, name="right", intrinsics=intrinsics, body_from_camera=BODY_FROM_FORWARD_CAMERA @ left_from_right
    )
    assert rows_correspond(Rig(cameras=(left, right), stereo=("left", "right"))) == same_rows
