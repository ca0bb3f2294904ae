"""Simulated recordings, rendered once and kept in memory."""

from dataclasses import replace

import pytest

from firstsight.doctor.samples import Samples, gather
from firstsight.recordings.recording import Channel, Recording
from firstsight.recordings.simulated import simulate


def held(recording: Recording) -> Recording:
    """The recording with its images and sweeps in memory."""

    def kept(channel):
        items = [channel[i] for i in range(len(channel))]
        return Channel(len(items), items.__getitem__)

    return replace(
        recording,
        images={name: kept(channel) for name, channel in recording.images.items()},
        scans=None if recording.scans is None else kept(recording.scans),
    )


@pytest.fixture(scope="session")
def street() -> Recording:
    return held(simulate("street", frames=24, height=160, width=480))


@pytest.fixture(scope="session")
def rooms() -> Recording:
    return held(simulate("rooms", frames=48, height=144, width=192))


@pytest.fixture(scope="session")
def handheld(rooms: Recording) -> Recording:
    """The rooms as a depth camera sees them."""
    truth = rooms.truth.depth
    assert truth is not None
    depths = [truth[i] for i in range(len(rooms))]
    rig = replace(rooms.rig, cameras=rooms.rig.cameras[:1], stereo=None)
    name = rig.cameras[0].name
    return replace(
        rooms,
        rig=rig,
        images={name: rooms.images[name]},
        depth=Channel(len(depths), depths.__getitem__),
        odometry=None,
    )


@pytest.fixture(scope="session")
def street_samples(street: Recording) -> Samples:
    return gather(street)


@pytest.fixture(scope="session")
def rooms_samples(rooms: Recording) -> Samples:
    return gather(rooms)


@pytest.fixture(scope="session")
def handheld_samples(handheld: Recording) -> Samples:
    return gather(handheld)
