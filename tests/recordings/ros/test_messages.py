"""What single fields of a message mean, by values worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from firstsight.recordings.ros import messages
from firstsight.recordings.ros.point_times import Clock

WHERE = "robot.bag: /topic message 0"


def image(encoding: str, content: bytes, size: tuple[int, int], step: int, big_endian: int = 0) -> SimpleNamespace:
    height, width = size
    return SimpleNamespace(
        encoding=encoding, data=content, height=height, width=width, step=step, is_bigendian=big_endian
    )


def test_metres_are_above_zero_and_finite():
    metres = np.array([[0.0, -0.5, 1.25], [np.nan, np.inf, 0.001]], "<f4")
    found = messages.depth(image("32FC1", metres.tobytes(), (2, 3), 12), WHERE)
    assert found.valid.tolist() == [[False, False, True], [False, False, True]]
    assert found.depth[0, 2] == 1.25
    assert np.isfinite(found.depth).all()


def test_the_byte_order_is_that_of_the_message():
    content = bytes([0x03, 0xE8, 0x00, 0x02, 9, 9])  # a row of two and padding
    big = messages.depth(image("16UC1", content, (1, 2), 6, big_endian=1), WHERE)
    np.testing.assert_allclose(big.depth, [[1.0, 0.002]], rtol=1e-6)
    little = messages.depth(image("16UC1", content, (1, 2), 6), WHERE)
    np.testing.assert_allclose(little.depth, [[59.395, 0.512]], rtol=1e-6)


@pytest.mark.parametrize(("encoding", "content"), [
    ("yuyv", bytes([145, 90, 41, 240])),
    ("yuv422_yuy2", bytes([145, 90, 41, 240])),
    ("uyvy", bytes([90, 145, 240, 41])),
    ("yuv422", bytes([90, 145, 240, 41])),
])  # fmt: skip
def test_luminance_and_colour_lie_where_the_encoding_says(encoding: str, content: bytes):
    """BT.601, limited range: Y 145 and 41 with U 90, V 240; red = 1.164 (Y - 16) + 1.596 (V - 128), and so on."""
    found = messages.image(image(encoding, content, (1, 2), 4), 255, WHERE)
    np.testing.assert_allclose(found, [[[255, 74, 73], [208, 0, 0]]], atol=2)


@pytest.mark.parametrize(("model", "ours"), [
    ("fisheye", "equidistant"), ("equidistant", "equidistant"), ("plumb_bob", "radial-tangential"),
])  # fmt: skip
def test_lens_models_have_our_names(model: str, ours: str):
    info = SimpleNamespace(
        k=[300.0, 0, 160, 0, 310, 120, 0, 0, 1],
        p=[290.0, 0, 158, -29, 0, 290, 119, 0, 0, 0, 1, 0],
        r=[1.0, 0, 0, 0, 1, 0, 0, 0, 1],
        d=np.array([-0.1, 0.02, 0.003, -0.004]),
        distortion_model=model,
    )
    found = messages.calibration(info, WHERE)
    assert (found.distortion.model, found.distortion.coefficients) == (ours, (-0.1, 0.02, 0.003, -0.004))
    assert found.intrinsics.tolist() == [[300, 0, 160], [0, 310, 120], [0, 0, 1]]
    assert found.rectified().intrinsics.tolist() == [[290, 0, 158], [0, 290, 119], [0, 0, 1]]
    assert found.rectified().distortion is None


def cloud(big_endian: bool) -> SimpleNamespace:
    """Two rows of two points and padding: x, y, z, intensity (int16), t (uint32); one NaN, one at the origin."""
    order = ">" if big_endian else "<"
    layout = np.dtype(
        [("x", f"{order}f4"), ("y", f"{order}f4"), ("z", f"{order}f4"), ("i", f"{order}i2"), ("t", f"{order}u4")]
    )
    points = np.zeros((2, 2), layout)
    points["x"], points["y"], points["z"] = [[1, np.nan], [0, -4]], [[2, 1], [0, 5]], [[-3, 1], [0, 6.5]]
    points["i"], points["t"] = [[7, 8], [9, -300]], [[0, 10], [20, 90_000_000]]
    rows = [row.tobytes() + b"pad" for row in points]
    kinds = {"x": 7, "y": 7, "z": 7, "i": 3, "t": 6}
    fields = [
        SimpleNamespace(name=name, offset=layout.fields[name][1], datatype=kind, count=1)
        for name, kind in kinds.items()
    ]
    step = layout.itemsize
    return SimpleNamespace(
        fields=fields, is_bigendian=big_endian, height=2, width=2, point_step=step, row_step=2 * step + 3, data=b"".join(rows)
    )  # fmt: skip


@pytest.mark.parametrize("big_endian", [False, True])
def test_points_that_are_no_returns_are_left_out_with_their_times(big_endian: bool):
    found = messages.scan(cloud(big_endian), 0, Clock(1.0, "stamp"), WHERE)
    assert found.points.tolist() == [[1, 2, -3], [-4, 5, 6.5]]
    assert found.intensity.tolist() == [7, -300]
    np.testing.assert_allclose(found.times_s, [0, 0.09])
