"""What is looked at: bounded, spread evenly, and sensors together."""

from dataclasses import replace

import numpy as np
import pytest

from firstsight.doctor import lidar
from firstsight.doctor.samples import MAX_PAIRS, MAX_WIDE_PAIRS, gather, grey_image, spread, tracked
from firstsight.recordings.recording import Channel, Recording


@pytest.mark.parametrize(("length", "count"), [(1, 8), (5, 8), (8, 8), (1000, 24)])
def test_spread_covers_both_ends(length: int, count: int):
    chosen = spread(length, count)
    assert len(chosen) == min(length, count)
    assert (chosen[0], chosen[-1]) == (0, length - 1)


def test_a_long_recording_costs_no_more_and_its_sensors_are_looked_at_together(street: Recording):
    asked: dict[str, list[int]] = {}

    def long(name: str, channel: Channel) -> Channel:
        def load(index: int):
            asked.setdefault(name, []).append(index)
            return channel[index % len(channel)]

        return Channel(5000, load)

    assert street.scans is not None
    samples = gather(
        replace(
            street,
            stamps_ns=np.arange(5000, dtype=np.int64) * 10**8,
            images={name: long(name, channel) for name, channel in street.images.items()},
            scans=long("scans", street.scans),
            odometry=None,
        )
    )
    assert len(samples.pairs) == MAX_PAIRS
    assert len(asked["scans"]) == MAX_WIDE_PAIRS == len(samples.scans)
    assert set(samples.scans) <= set(samples.images)
    assert sum(len(frames) for name, frames in asked.items() if name != "scans") <= 2 * MAX_PAIRS + 4 * MAX_WIDE_PAIRS


def test_a_sensor_slower_than_the_camera_is_looked_at_where_it_has_sweeps(street: Recording):
    scans = street.scans
    assert scans is not None
    sparse = Channel(len(street), lambda i: scans[i] if i in (2, 9, 17) else None)
    samples = gather(replace(street, scans=sparse))
    assert sorted(samples.scans) == [2, 9, 17]
    assert set(samples.scans) <= set(samples.images)
    assert samples.asked_scans == 20
    finding = lidar.sweeps(samples)
    assert finding.verdict == "note"
    assert "85% of sweeps missing" in finding.measured


def test_tracks_are_in_pixels_of_the_full_image(rooms: Recording):
    """An image larger than what is looked at, moved by 8 px."""
    camera = rooms.rig.cameras[0]
    image = np.repeat(np.repeat(rooms.images[camera.name][0], 8, axis=0), 8, axis=1)  # 1536 px wide
    moved = np.roll(image, 8, axis=1)
    matches = tracked(grey_image(image), grey_image(moved), replace(camera, size=image.shape[:2]))
    assert len(matches.points_a) > 50
    np.testing.assert_allclose(np.median(matches.points_b - matches.points_a, axis=0), [8.0, 0.0], atol=0.1)
    assert matches.points_a[:, 0].max() > 700  # not in pixels of the small image
